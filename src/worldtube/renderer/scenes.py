"""States as tensors: one item per latent frame, with the few picture instants that it covers.

Owns the vocabulary that a renderer knows and the layout of an item. Knows nothing of rays or networks.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from worldtube.errors import DataError
from worldtube.state import State

SHAPES = ("ball", "box", "cylinder", "cup")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "white", "black")
MATERIALS = ("rubber", "plastic", "metal", "wood", "glass")
GROUNDS = ("wood", "tiles", "cloth", "stone", "checker")
SKIES = ("day", "dusk", "studio", "mint")
"""The order of names is part of every saved model."""

_RADIUS = {"ball": 1.0, "box": 1 / 0.9, "cylinder": 1 / 0.86, "cup": 1.0}
"""Nominal radius of a shape: its first dimension times this."""

NUM_ATTRIBUTES = 1 + len(SHAPES) + len(COLOURS) + len(MATERIALS) + 5
NUM_SURROUNDINGS = len(GROUNDS) + len(SKIES) + 3 + 3


@dataclass(frozen=True, kw_only=True)
class Scenes:
    """I items of K slots over S instants, float32 unless said otherwise."""

    exists: Tensor
    """bool (I, K)."""
    shape: Tensor
    """int64 (I, K)."""
    attributes: Tensor
    """(I, K, NUM_ATTRIBUTES), of order one."""
    radius: Tensor
    """(I, K) metres."""
    position: Tensor
    """(I, K, S, 3) metres."""
    rotation: Tensor
    """(I, K, S, 3, 3) body axes to world axes."""
    eye: Tensor
    """(I, S, 3) camera positions."""
    target: Tensor
    """(I, S, 3) points in the middle of the picture."""
    half_height: Tensor
    """(I,) tangent of half the vertical field of view."""
    sun: Tensor
    """(I, 3) unit vectors towards the sun."""
    ground: Tensor
    """int64 (I,)"""
    ground_offset: Tensor
    """(I, 2) metres."""
    table: Tensor
    """(I, 4) left, right, front, back, metres."""
    surroundings: Tensor
    """(I, NUM_SURROUNDINGS) ground, sky, tint and sun as a network reads them."""
    first: Tensor
    """bool (I,) whether the item is a clip's first latent frame, which holds one picture."""

    def __len__(self) -> int:
        return len(self.exists)

    def __getitem__(self, items: Tensor | slice) -> "Scenes":
        return Scenes(**{f.name: getattr(self, f.name)[items] for f in fields(self)})

    @classmethod
    def concat(cls, parts: Sequence["Scenes"]) -> "Scenes":
        """Items of several batches, whose slots are filled up to the same number."""
        slots = max(part.exists.shape[1] for part in parts)
        padded = [part.pad(slots) for part in parts]
        return cls(**{f.name: torch.cat([getattr(p, f.name) for p in padded]) for f in fields(cls)})

    def pad(self, slots: int) -> "Scenes":
        """Add empty slots."""
        missing = slots - self.exists.shape[1]
        if missing <= 0:
            return self

        def pad(value: Tensor) -> Tensor:
            return F.pad(value, [0, 0] * (value.ndim - 2) + [0, missing])

        names = ("exists", "shape", "attributes", "radius", "position", "rotation")
        return replace(self, **{name: pad(getattr(self, name)) for name in names})

    @classmethod
    def from_state(cls, state: State, *, stride: int, slots: int | None = None) -> "Scenes":
        """The items of a state's latent frames.

        Args:
            state: 1 + stride * n frames
            stride: picture frames that each latent frame but the first covers
            slots: K; as many as there are bodies by default

        Raises:
            DataError: for a name that renderers do not know, or another number of frames
        """
        if (state.num_frames - 1) % stride:
            raise DataError(
                f"a state must have 1 + {stride} n frames to be rendered, got {state.num_frames}"
            )
        items = 1 + (state.num_frames - 1) // stride
        instants = np.concatenate(
            [np.zeros((1, stride), int), 1 + np.arange((items - 1) * stride).reshape(-1, stride)]
        )

        def repeated(value: Tensor) -> Tensor:
            return value[None].expand(items, *value.shape)

        bodies, around = state.bodies, state.surroundings
        shape = torch.tensor([_index("shape", b.shape, SHAPES) for b in bodies], dtype=torch.long)
        columns = [
            (
                *_one_hot("shape", b.shape, SHAPES),
                *_one_hot("colour", b.colour, COLOURS),
                *_one_hot("material", b.material, MATERIALS),
            )
            for b in bodies
        ]
        radius = torch.tensor([b.dimensions[0] * _RADIUS[b.shape] for b in bodies])
        dimensions = torch.tensor([b.dimensions for b in bodies], dtype=torch.float32).reshape(
            -1, 4
        )
        radii = radius[:, None].clamp(min=1e-4)
        attributes = torch.cat(
            [
                torch.ones(len(bodies), 1),
                torch.tensor(columns, dtype=torch.float32).reshape(len(bodies), -1),
                (radius[:, None] - 0.21) / 0.06,
                dimensions / radii,
            ],
            dim=-1,
        )
        sun = F.normalize(torch.tensor(around.sun, dtype=torch.float32), dim=0)
        ground = _index("ground", around.ground, GROUNDS)
        surroundings = torch.tensor(
            [
                *_one_hot("ground", around.ground, GROUNDS),
                *_one_hot("sky", around.sky, SKIES),
                *((t - 0.98) / 0.075 for t in around.ground_tint),
                *((v - m) / s for v, m, s in zip(sun.tolist(), _SUN_MEAN, _SUN_STD, strict=True)),
            ],
            dtype=torch.float32,
        )
        position = torch.from_numpy(state.poses.positions[instants])  # (I, S, K, 3)
        rotation = torch.from_numpy(state.poses.rotations[instants])
        half_height = math.tan(math.radians(state.camera.field_of_view) / 2)
        scenes = cls(
            exists=torch.ones(items, len(bodies), dtype=torch.bool),
            shape=repeated(shape),
            attributes=repeated(attributes),
            radius=repeated(radius.float()),
            position=position.transpose(1, 2),
            rotation=rotation.transpose(1, 2),
            eye=torch.from_numpy(state.camera.positions[instants]),
            target=torch.from_numpy(state.camera.targets[instants]),
            half_height=torch.full((items,), half_height),
            sun=repeated(sun),
            ground=torch.full((items,), ground),
            ground_offset=repeated(torch.tensor(around.ground_offset, dtype=torch.float32)),
            table=repeated(torch.tensor(around.table, dtype=torch.float32)),
            surroundings=repeated(surroundings),
            first=torch.arange(items) == 0,
        )
        return scenes.pad(slots or len(bodies))


_SUN_MEAN, _SUN_STD = (0.0, -0.45, 0.76), (0.45, 0.2, 0.1)


def _index(kind: str, name: str, names: Sequence[str]) -> int:
    if name not in names:
        raise DataError(f"{kind} must be one of {', '.join(names)}, got {name!r}")
    return names.index(name)


def _one_hot(kind: str, name: str, names: Sequence[str]) -> list[float]:
    """One-hot numbers with mean 0 and variance 1 over equally frequent names."""
    index, n = _index(kind, name, names), len(names)
    scale = 1 / math.sqrt((1 / n) * (1 - 1 / n))
    return [((k == index) - 1 / n) * scale for k in range(n)]
