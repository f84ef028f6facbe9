"""What every engine-made world is: the protocol, the vocabulary, the camera.

Knows nothing of tensors, of captions' wording (`language`) or of how a picture is drawn (`render`).
"""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from worldtube.video import Size

COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "white", "black")
SHAPES = ("ball", "box", "cylinder", "cup")
SIZES = ("small", "large")
MOTIONS = ("right", "left", "fall", "rest")

WATER_ID, STAIN_ID = 200, 201
"""What masks show for water and for what it wetted; 0 is ground and sky, 1 + i object i."""

HELD_OUT = frozenset(
    {
        ("red", "cylinder"),
        ("orange", "cup"),
        ("yellow", "box"),
        ("green", "ball"),
        ("blue", "cup"),
        ("purple", "box"),
        ("white", "cylinder"),
        ("black", "ball"),
    }
)
"""(colour, shape) pairs that no training seed ever shows, so that adherence to new combinations can be measured."""

VALIDATION_SEEDS = range(8_000_000, 9_000_000)
"""Seeds for validation and our own scores; everything below is for training, everything above is reserved."""


@dataclass(frozen=True, kw_only=True)
class Camera:
    """A pinhole camera: x right, y away from the viewer, z up, metres."""

    position: tuple[float, float, float]
    target: tuple[float, float, float]
    field_of_view: float = 35.0
    """Vertical, degrees."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that was found in the state, not in the plan."""

    kind: str
    seconds: float
    a: int
    b: int | None = None


@runtime_checkable
class World(Protocol):
    """A seeded simulator that can be stepped, looked at and told about.

    `reset` and `step` have Gymnasium's signatures; one step is one frame. Same seed and same actions
    give the same frames on one machine.
    """

    name: str
    version: int
    fps: float

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]: ...

    def step(self, action: Any = None) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]: ...

    def render(self, size: Size | None = None, camera: Camera | None = None) -> np.ndarray:
        """uint8 (H, W, 3)."""
        ...

    def masks(self, size: Size | None = None, camera: Camera | None = None) -> np.ndarray:
        """uint8 (H, W): 0 ground and sky, 1 + i object i, 200 water, 201 wet stain."""
        ...

    @property
    def state(self) -> dict[str, np.ndarray]:
        """Exact positions (K, 3), rotations (K, 4), velocities (K, 3) and whatever else the world has."""
        ...

    @property
    def events(self) -> tuple[Event, ...]: ...

    @property
    def truth(self) -> dict[str, Any]:
        """What a witness could tell after the clip: groups, relations, event, camera (JSON-able)."""
        ...

    def caption(self, length: str = "medium") -> str:
        """`short`, `medium` or `long`, from the parameters and from events found in the state."""
        ...

    def close(self) -> None: ...
