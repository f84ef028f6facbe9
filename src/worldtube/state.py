"""The physical state of a clip: rigid bodies and how they move, water, the scene around them, the camera.

Owns the names, units and shapes that simulators, learned dynamics, renderers and files share, the JSON form that
people read and edit, and the limits of what can be drawn. NumPy alone; knows nothing of how a state comes about or of
how it is drawn.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from worldtube.errors import DataError, RequestError
from worldtube.files import atomic_path

FORMAT = 1
"""Version of the JSON form."""
_CONTACT = 0.012
"""Metres that a standing body may be above what it stands on."""

NAMES: dict[str, tuple[str, ...]] = {
    "shape": ("ball", "box", "cylinder", "cup"),
    "colour": ("red", "orange", "yellow", "green", "blue", "purple", "white", "black"),
    "material": ("rubber", "plastic", "metal", "wood", "glass"),
    "size": ("small", "large"),
    "ground": ("wood", "tiles", "cloth", "stone", "checker"),
    "sky": ("day", "dusk", "studio", "mint"),
}
"""field of a body or of the surroundings -> the names that it may have."""
MAX_BODIES = 4
"""Bodies of a state that can be drawn."""
MAX_FPS = 120.0
"""Frames per second of a state that can be drawn."""
_WORLD = ((-20.0, 20.0), (-20.0, 20.0), (-1.0, 20.0))
"""Lowest and highest x, y and z of a body's centre in the first frame, metres: the floor lies 0.9 m below the table."""
_FAR = 1000.0
"""Metres from the origin within which everything stays in all frames."""
_LIMITS: dict[str, tuple[float, float, str]] = {
    "mass": (0.001, 1000.0, "kilograms"),
    "friction": (0.0, 2.0, ""),
    "restitution": (0.0, 1.0, ""),
}
_LENGTHS = {"ball": 1, "box": 3, "cylinder": 2, "cup": 4}
"""How many of a body's dimensions its shape has."""
_LENGTH = (0.01, 2.0)
"""Smallest and largest dimension, metres; the wall of a cup may be thinner."""
_LARGEST = 1e12
"""Largest number of a readable form, of either sign."""
_SPEED, _SPIN = 100.0, 1000.0
"""Metres per second and radians per second at most, in the first frame."""


@dataclass(frozen=True, kw_only=True)
class Body:
    """What does not change about a rigid body."""

    shape: str
    """`ball`, `box`, `cylinder` or `cup`."""
    colour: str
    material: str
    size: str
    """`small` or `large`, as captions say it."""
    dimensions: tuple[float, float, float, float]
    """Metres: ball (radius, 0, 0, 0); box (half x, half y, half z, 0); cylinder (radius, half height, 0, 0);
    cup (top radius, bottom radius, half height, wall)."""
    mass: float
    """Kilograms."""
    friction: float = 0.5
    """Coefficient of sliding friction."""
    restitution: float = 0.3
    """Speed after a bounce divided by the speed before it."""
    group: int = 0
    """Bodies of one group look alike and are named together by a caption; group 0 acts."""

    @property
    def half_height(self) -> float:
        """From the ground to the centre when the body stands upright, metres."""
        radius, second, third, _ = self.dimensions
        return {"ball": radius, "box": third, "cylinder": second, "cup": third}[self.shape]


@dataclass(frozen=True, kw_only=True, eq=False)
class Poses:
    """How K bodies move over T instants; world axes x right, y away from the viewer, z up."""

    positions: np.ndarray
    """float32 (T, K, 3): centres, metres; the table top is z = 0."""
    rotations: np.ndarray
    """float32 (T, K, 3, 3): body axes to world axes."""
    velocities: np.ndarray
    """float32 (T, K, 3): metres per second."""
    spins: np.ndarray
    """float32 (T, K, 3): angular velocities in world axes, radians per second."""

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, instants: slice) -> "Poses":
        return Poses(**{f.name: getattr(self, f.name)[instants] for f in fields(self)})

    @classmethod
    def concat(cls, parts: Sequence["Poses"]) -> "Poses":
        """Join stretches of time."""
        return cls(
            **{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)}
        )


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What is around the bodies and does not move."""

    ground: str
    """Pattern of the table top."""
    ground_tint: tuple[float, float, float]
    """Factors on the colours of the ground."""
    ground_offset: tuple[float, float]
    """Where the pattern of the ground starts, metres."""
    sky: str
    sun: tuple[float, float, float]
    """Unit vector towards the sun."""
    table: tuple[float, float, float, float]
    """Left, right, front and back edge of the table top, metres."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CameraPath:
    """A pinhole camera over T frames."""

    positions: np.ndarray
    """float32 (T, 3), metres."""
    targets: np.ndarray
    """float32 (T, 3), metres: the point in the middle of the picture."""
    field_of_view: float = 35.0
    """Vertical, degrees."""

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, frames: slice) -> "CameraPath":
        return replace(self, positions=self.positions[frames], targets=self.targets[frames])


ABOVE, INSIDE, OUTSIDE = 0, 1, 2
"""Where a particle is with respect to a cup: above its mouth, in it, or neither."""


@dataclass(frozen=True, kw_only=True)
class Pouring:
    """How a held cup turns: about its lip, which stays where it is, by 3 s^2 - 2 s^3 of the angle at the share s of
    the duration."""

    body: int
    heading: float
    """Direction that the water is poured in, radians from +x."""
    start: float
    """Seconds after the first frame; below 0 where it began earlier."""
    duration: float
    """Seconds."""
    angle: float
    """Radians turned in all."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Water:
    """Water over T frames: N particles of one volume, and how wet the table top is on a grid of X x Y nodes."""

    cups: tuple[int, ...]
    """The C bodies whose walls hold it."""
    spacing: float
    """Metres between neighbouring particles at rest."""
    particle_volume: float
    """Cubic metres that a particle stands for."""
    positions: np.ndarray
    """float32 (T, N, 3), metres."""
    velocities: np.ndarray
    """float32 (T, N, 3), metres per second."""
    sides: np.ndarray
    """int8 (T, N, C): ABOVE, INSIDE or OUTSIDE of each cup."""
    present: np.ndarray
    """bool (T, N): False once a particle has left the scene."""
    wetness: np.ndarray
    """float32 (T, X, Y): 0 dry to 1 wet."""
    wetness_origin: tuple[float, float]
    """Where node (0, 0) is on the table top, metres."""
    wetness_spacing: float
    """Metres between nodes."""
    pouring: Pouring | None = None
    """What is poured by a hand that is not seen."""

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, frames: slice) -> "Water":
        """Those frames; `pouring` counts its start from the first frame that there was."""
        names = ("positions", "velocities", "sides", "present", "wetness")
        return replace(self, **{name: getattr(self, name)[frames] for name in names})

    @property
    def volumes(self) -> np.ndarray:
        """float64 (T,): cubic metres in the scene."""
        return self.present.sum(1) * self.particle_volume

    @property
    def held_volumes(self) -> np.ndarray:
        """float64 (T, C): cubic metres in each cup."""
        held = (self.sides == INSIDE) & self.present[..., None]
        return held.sum(1) * self.particle_volume

    def ground_heights(
        self, table: tuple[float, float, float, float], *, cell: float = 0.06, below: float = 0.1
    ) -> np.ndarray:
        """Mean height of the water that is in no cup and low over the table top, metres, float32 (T, X, Y).

        A cell's height times its area is the volume over it: the sum over all is the volume on the table.

        Args:
            table: left, right, front and back edge, metres
            cell: metres across of a square cell; the first one begins at the left front corner
            below: height under which water counts, metres
        """
        left, right, front, back = table
        shape = math.ceil((right - left) / cell), math.ceil((back - front) / cell)
        heights = np.zeros((len(self), *shape), np.float32)
        x, y, z = np.moveaxis(self.positions, -1, 0)
        on_table = (x >= left) & (x < right) & (y >= front) & (y < back) & (z > -0.02) & (z < below)
        free = self.present & on_table & ~(self.sides == INSIDE).any(-1)
        frame, particle = np.nonzero(free)
        column = ((x[frame, particle] - left) / cell).astype(int).clip(0, shape[0] - 1)
        row = ((y[frame, particle] - front) / cell).astype(int).clip(0, shape[1] - 1)
        np.add.at(heights, (frame, column, row), self.particle_volume / cell**2)
        return heights

    def to_json(self, *, digits: int = 5) -> dict[str, Any]:
        """Return the readable form; wetness as the nodes that change from frame to frame (all are dry before)."""

        def rounded(values: np.ndarray) -> list[Any]:
            return np.round(np.asarray(values, float), digits).tolist()

        wetness = np.round(self.wetness.astype(float), digits)
        change = np.diff(wetness, axis=0, prepend=np.zeros_like(wetness[:1]))
        changed = np.argwhere(change != 0)
        return {
            "cups": list(self.cups),
            "spacing": self.spacing,
            "particle_volume": self.particle_volume,
            "positions": rounded(self.positions),
            "velocities": rounded(self.velocities),
            "sides": self.sides.tolist(),
            "present": self.present.astype(int).tolist(),
            "wetness": {
                "origin": list(self.wetness_origin),
                "spacing": self.wetness_spacing,
                "nodes": list(self.wetness.shape[1:]),
                "changes": [[*index, float(wetness[tuple(index)])] for index in changed.tolist()],
            },
            "pouring": None if self.pouring is None else asdict(self.pouring),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], *, frames: int, bodies: int) -> "Water":
        """Read what `to_json` wrote. Raises DataError as `State.from_json` does."""
        names = ("cups", "spacing", "particle_volume", "positions", "velocities", "sides")
        _check_fields("water", data, (*names, "present", "wetness", "pouring"))
        cups = tuple(int(k) for k in _numbers("water.cups", data["cups"], (None,)))
        if any(not 0 <= k < bodies for k in cups):
            raise DataError(f"water.cups must be bodies, 0 to {bodies - 1}, got {list(cups)}")
        positions = _numbers("water.positions", data["positions"], (frames, None, 3))
        count = positions.shape[1]
        sides = _numbers("water.sides", data["sides"], (frames, count, len(cups)))
        if not np.isin(sides, (ABOVE, INSIDE, OUTSIDE)).all():
            raise DataError("water.sides must be 0 (above), 1 (inside) or 2 (outside)")
        wet = data["wetness"]
        _check_fields("water.wetness", wet, ("origin", "spacing", "nodes", "changes"))
        across, away = _numbers("water.wetness.nodes", wet["nodes"], (2,)).astype(int).tolist()
        wetness = np.zeros((frames, across, away), np.float32)
        changes = _numbers("water.wetness.changes", wet["changes"] or np.zeros((0, 4)), (None, 4))
        index = changes[:, :3].astype(int)
        if ((index < 0) | (index >= wetness.shape)).any():
            raise DataError(
                f"water.wetness.changes must be (frame, i, j, wetness) with frame, i, j below "
                f"{frames}, {across}, {away}"
            )
        order = np.argsort(index[:, 0], kind="stable")
        for (t, i, j), value in zip(index[order], changes[order, 3], strict=True):
            wetness[t:, i, j] = value
        pouring = data["pouring"]
        if pouring is not None:
            _check_fields("water.pouring", pouring, tuple(f.name for f in fields(Pouring)))
            pouring = Pouring(
                body=int(_numbers("water.pouring.body", pouring["body"], ()).item()),
                **{
                    name: _number(f"water.pouring.{name}", pouring[name])
                    for name in ("heading", "start", "duration", "angle")
                },
            )
            if pouring.body not in cups:
                raise DataError(f"water.pouring.body must be one of water.cups, got {pouring.body}")
        origin = wet["origin"]
        _numbers("water.wetness.origin", origin, (2,))
        return cls(
            cups=cups,
            spacing=_number("water.spacing", data["spacing"]),
            particle_volume=_number("water.particle_volume", data["particle_volume"]),
            positions=positions,
            velocities=_numbers("water.velocities", data["velocities"], (frames, count, 3)),
            sides=sides.astype(np.int8),
            present=_numbers("water.present", data["present"], (frames, count)) > 0.5,
            wetness=wetness,
            wetness_origin=(float(origin[0]), float(origin[1])),
            wetness_spacing=_number("water.wetness.spacing", wet["spacing"]),
            pouring=pouring,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class State:
    """A clip's physical state, a row of poses and a camera per picture frame."""

    fps: float
    bodies: tuple[Body, ...]
    poses: Poses
    surroundings: Surroundings
    camera: CameraPath
    water: Water | None = None
    """Where there is any."""

    def __post_init__(self):
        if self.water is not None and len(self.water) != len(self.poses):
            raise DataError(
                f"water must have as many frames as poses, {len(self.poses)}, got {len(self.water)}"
            )

    @property
    def num_frames(self) -> int:
        return len(self.poses)

    @property
    def seconds(self) -> float:
        """How long it lasts; where only the camera is known for longer, how long that is."""
        return max(self.num_frames, len(self.camera)) / self.fps

    def __getitem__(self, frames: slice) -> "State":
        water = self.water
        if water is not None:
            first = range(self.num_frames)[frames][:1]
            if water.pouring is not None and first:
                start = water.pouring.start - first[0] / self.fps
                water = replace(water, pouring=replace(water.pouring, start=start))
            water = water[frames]
        return replace(self, poses=self.poses[frames], camera=self.camera[frames], water=water)

    def __repr__(self) -> str:
        names = ", ".join(f"{body.colour} {body.shape}" for body in self.bodies)
        if self.water is not None:
            litres = 1000 * self.water.volumes[:1].sum()
            names += f"{', ' if names else ''}{litres:.3g} litres of water"
        return f"State({self.num_frames} frames at {self.fps:g} fps: {names or 'no bodies'})"

    def to_json(self, *, digits: int = 5) -> dict[str, Any]:
        """Return the readable form: metres, seconds, quaternions (w, x, y, z); see `docs/guides/state.md`."""

        def rounded(values: np.ndarray) -> list[Any]:
            return np.round(np.asarray(values, float), digits).tolist()

        quaternions = quaternions_from_rotations(self.poses.rotations)
        bodies = [
            asdict(body)
            | {
                "positions": rounded(self.poses.positions[:, k]),
                "rotations": rounded(quaternions[:, k]),
                "velocities": rounded(self.poses.velocities[:, k]),
                "spins": rounded(self.poses.spins[:, k]),
            }
            for k, body in enumerate(self.bodies)
        ]
        camera = {
            "positions": rounded(self.camera.positions),
            "targets": rounded(self.camera.targets),
            "field_of_view": self.camera.field_of_view,
        }
        surroundings = asdict(self.surroundings)
        water = {} if self.water is None else {"water": self.water.to_json(digits=digits)}
        return {
            "format": FORMAT,
            "fps": self.fps,
            "bodies": bodies,
            **water,
            "surroundings": surroundings,
            "camera": camera,
        }

    def save(self, path: str | Path) -> None:
        """Write the readable form to a JSON file, whole or not at all."""
        with atomic_path(Path(path)) as partial:
            partial.write_text(json.dumps(self.to_json(), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "State":
        """Read what `to_json` wrote, or what a person made of it.

        Bodies have a row for each frame of the camera, or one row alone: how they begin. Physics makes the rest.

        Raises:
            DataError: for an unknown or missing field, or a value of the wrong kind, in one sentence.
        """
        names = ("format", "fps", "bodies", "surroundings", "camera")
        _check_fields("state", data, names, optional=("water",))
        if data["format"] != FORMAT:
            raise DataError(f"state format must be {FORMAT}, got {data['format']!r}")
        fps = _numbers("fps", data["fps"], ()).item()
        if fps <= 0:
            raise DataError(f"fps must be above 0, got {fps:g}")
        camera = data["camera"]
        _check_fields("camera", camera, tuple(f.name for f in fields(CameraPath)))
        positions = _numbers("camera.positions", camera["positions"], (None, 3))
        frames = len(positions)
        path = CameraPath(
            positions=positions,
            targets=_numbers("camera.targets", camera["targets"], (frames, 3)),
            field_of_view=_numbers("camera.field_of_view", camera["field_of_view"], ()).item(),
        )
        _check_fields(
            "surroundings", data["surroundings"], tuple(f.name for f in fields(Surroundings))
        )
        surroundings = _surroundings(data["surroundings"])
        moving = {"positions": 3, "rotations": 4, "velocities": 3, "spins": 3}
        bodies, columns = [], {name: [] for name in moving}
        if not isinstance(data["bodies"], Sequence) or isinstance(data["bodies"], str):
            raise DataError(f"bodies must be a list, got {type(data['bodies']).__name__}")
        rows = 1 if _only_begins(data["bodies"]) else frames
        for k, entry in enumerate(data["bodies"]):
            _check_fields(f"bodies[{k}]", entry, (*(f.name for f in fields(Body)), *moving))
            constant = {f.name: entry[f.name] for f in fields(Body)}
            for name in ("shape", "colour", "material", "size"):
                if not isinstance(entry[name], str):
                    raise DataError(f"bodies[{k}].{name} must be a name, got {entry[name]!r:.60}")
            for name in ("mass", "friction", "restitution", "group"):
                _numbers(f"bodies[{k}].{name}", entry[name], ())
                constant[name] = int(entry[name]) if name == "group" else float(entry[name])
            _numbers(f"bodies[{k}].dimensions", entry["dimensions"], (4,))
            constant["dimensions"] = tuple(float(value) for value in entry["dimensions"])
            bodies.append(Body(**constant))
            for name, width in moving.items():
                columns[name].append(_numbers(f"bodies[{k}].{name}", entry[name], (rows, width)))
        stacked = {
            name: np.stack(values, axis=1)
            if values
            else np.zeros((rows, 0, moving[name]), "float32")
            for name, values in columns.items()
        }
        stacked["rotations"] = rotations_from_quaternions(stacked["rotations"])
        water = data.get("water")
        if water is not None:
            water = Water.from_json(water, frames=rows, bodies=len(bodies))
        return cls(
            fps=fps,
            bodies=tuple(bodies),
            poses=Poses(**stacked),
            surroundings=surroundings,
            camera=path,
            water=water,
        )


def check_state(state: State) -> State:
    """Return a state that can be drawn and goes on by the physics.

    Names and numbers are checked in all frames, where bodies are in the first: what moves may roll away later.

    Raises:
        RequestError: for a value outside of what is accepted, in one sentence that names both
    """
    if not 1 <= state.fps <= MAX_FPS:
        raise RequestError(f"fps must be between 1 and {MAX_FPS:g}, got {state.fps:g}")
    if not 1 <= len(state.bodies) <= MAX_BODIES:
        raise RequestError(f"bodies must be 1 to {MAX_BODIES}, got {len(state.bodies)}")
    around, camera = state.surroundings, state.camera
    _check_name("surroundings.ground", around.ground, NAMES["ground"])
    _check_name("surroundings.sky", around.sky, NAMES["sky"])
    left, right, front, back = around.table
    if not (left < right and front < back):
        raise RequestError(
            f"surroundings.table must be left, right, front and back edge in order, got {list(around.table)}"
        )
    if np.linalg.norm(around.sun) < 1e-3:
        raise RequestError(f"surroundings.sun must point somewhere, got {list(around.sun)}")
    _check_range("camera.field_of_view", camera.field_of_view, 5, 120, "degrees")
    aside = np.linalg.norm((camera.positions - camera.targets)[:, :2], axis=-1).min()
    if aside < 0.01:  # straight up and down there is no right and left
        raise RequestError(
            f"camera.positions and camera.targets must be 0.01 m apart in x and y, got {aside:.2g} m"
        )
    for k, body in enumerate(state.bodies):
        _check_body(f"bodies[{k}]", body)
    places = {f"bodies[{k}]": state.poses.positions[:, k] for k in range(len(state.bodies))}
    for name, path in (places | {"camera": camera.positions}).items():
        farthest = float(np.abs(path).max())
        if farthest > _FAR:
            raise RequestError(
                f"{name}.positions must be within {_FAR:g} m of the origin, got {farthest:g} m"
            )
    for k in range(len(state.bodies)):
        _check_start(state, k)
    for k in range(len(state.bodies)):
        for other in range(k):
            _check_apart(state, other, k)
    return state


def _check_body(name: str, body: Body) -> None:
    for field in ("shape", "colour", "material", "size"):
        _check_name(f"{name}.{field}", getattr(body, field), NAMES[field])
    low, high = _LENGTH
    for index, length in enumerate(body.dimensions[: _LENGTHS[body.shape]]):
        _check_range(f"{name}.dimensions[{index}]", length, 0.001 if index == 3 else low, high, "m")
    for field, (low, high, unit) in _LIMITS.items():
        _check_range(f"{name}.{field}", getattr(body, field), low, high, unit)


def _check_start(state: State, k: int) -> None:
    """Where a body is in the first frame and how it moves there."""
    name, poses = f"bodies[{k}]", state.poses
    for axis, value, (low, high) in zip("xyz", poses.positions[0, k], _WORLD, strict=True):
        if not low <= value <= high:
            raise RequestError(
                f"{name} must begin between {low:g} and {high:g} m in {axis}, got {value:g} m"
            )
    for field, most, unit in (("velocities", _SPEED, "m/s"), ("spins", _SPIN, "rad/s")):
        value = float(np.linalg.norm(getattr(poses, field)[0, k]))
        if value > most:
            raise RequestError(f"{name}.{field} must be at most {most:g} {unit}, got {value:g}")


def _check_apart(state: State, first: int, second: int) -> None:
    """Whether the centre of either body is outside of the other in the first frame; cups hold others."""
    pair = (first, second)
    if any(state.bodies[k].shape == "cup" for k in pair):
        return
    positions, rotations = state.poses.positions[0], state.poses.rotations[0]
    for outer, inner in (pair, pair[::-1]):
        body = state.bodies[outer]
        x, y, z = np.abs(rotations[outer].T @ (positions[inner] - positions[outer]))
        a, b, c, _ = body.dimensions
        inside = {
            "ball": x * x + y * y + z * z < a * a,
            "box": x < a and y < b and z < c,
            "cylinder": x * x + y * y < a * a and z < b,
        }[body.shape]
        if inside:
            raise RequestError(
                f"bodies[{inner}] must begin outside of bodies[{outer}], got centres "
                f"{np.linalg.norm(positions[inner] - positions[outer]):.2g} m apart"
            )


def _check_name(field: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise RequestError(f"{field} must be one of {', '.join(known)}, got {name!r:.60}")


def _check_range(field: str, value: float, low: float, high: float, unit: str) -> None:
    if not low <= value <= high:
        between = f"{low:g} and {high:g}{unit and ' ' + unit}"
        raise RequestError(f"{field} must be between {between}, got {value:g}")


def resample(state: State, fps: float, num_frames: int) -> State:
    """The same motion at another frame rate: positions, water and the camera in straight lines between frames,
    rotations along the shortest arc; what lies after the end is as the last frame.

    Args:
        fps: frames per second of the result
        num_frames: frames of the result
    """
    at = np.minimum(np.arange(num_frames) * (state.fps / fps), state.num_frames - 1)
    low = np.floor(at + 1e-6).astype(int)
    high = np.minimum(low + 1, state.num_frames - 1)
    share = (at - low).clip(0, 1)

    def mixed(values: np.ndarray) -> np.ndarray:
        weight = share.reshape(-1, *[1] * (values.ndim - 1))
        return (values[low] * (1 - weight) + values[high] * weight).astype(np.float32)

    quaternions = quaternions_from_rotations(state.poses.rotations)
    first, second = quaternions[low], quaternions[high]
    second = np.where((first * second).sum(-1, keepdims=True) < 0, -second, second)
    turned = first * (1 - share[:, None, None]) + second * share[:, None, None]
    exact = (share < 1e-6)[:, None, None, None]
    rotations = np.where(exact, state.poses.rotations[low], rotations_from_quaternions(turned))
    poses = Poses(
        positions=mixed(state.poses.positions),
        rotations=rotations.astype(np.float32),
        velocities=mixed(state.poses.velocities),
        spins=mixed(state.poses.spins),
    )
    camera = replace(
        state.camera, positions=mixed(state.camera.positions), targets=mixed(state.camera.targets)
    )
    water = state.water
    if water is not None:
        nearest = np.where(share < 0.5, low, high)
        water = replace(
            water,
            positions=mixed(water.positions),
            velocities=mixed(water.velocities),
            sides=water.sides[nearest],
            present=water.present[nearest],
            wetness=mixed(water.wetness),
        )
    return replace(state, fps=fps, poses=poses, camera=camera, water=water)


def _surroundings(data: Mapping[str, Any]) -> Surroundings:
    def numbers(name: str, count: int) -> Any:
        _numbers(f"surroundings.{name}", data[name], (count,))
        return tuple(float(value) for value in data[name])

    for name in ("ground", "sky"):
        if not isinstance(data[name], str):
            raise DataError(f"surroundings.{name} must be a name, got {data[name]!r:.60}")
    return Surroundings(
        ground=data["ground"],
        ground_tint=numbers("ground_tint", 3),
        ground_offset=numbers("ground_offset", 2),
        sky=data["sky"],
        sun=numbers("sun", 3),
        table=numbers("table", 4),
    )


def read_state(path: str | PathLike) -> State:
    """Read a state from a JSON file. Raises DataError for anything else."""
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"{path} is not a state file ({error})") from error
    if not isinstance(data, dict):
        raise DataError(
            f"{path} is not a state file (a JSON object is expected, got {type(data).__name__})"
        )
    return State.from_json(data)


def as_state(value: "State | str | PathLike | Mapping[str, Any]") -> State:
    """A state, its JSON form or the path of such a file, as a State. Raises DataError for anything else."""
    if isinstance(value, State):
        return value
    if isinstance(value, Mapping):
        return State.from_json(value)
    if isinstance(value, str | PathLike):
        return read_state(value)
    raise DataError(f"a state must be a State, its JSON form or a path, got {type(value).__name__}")


def _only_begins(bodies: Sequence[Any]) -> bool:
    """Whether every body of a readable form has one row of positions."""
    paths = [body.get("positions") if isinstance(body, Mapping) else None for body in bodies]
    return bool(paths) and all(isinstance(path, list) and len(path) == 1 for path in paths)


def _check_fields(
    name: str, data: Any, expected: Sequence[str], *, optional: Sequence[str] = ()
) -> None:
    if not isinstance(data, Mapping):
        raise DataError(f"{name} must be a JSON object, got {type(data).__name__}")
    if missing := set(expected) - set(data):
        raise DataError(f"{name} has no field {min(missing)!r} (fields: {', '.join(expected)})")
    if unknown := set(data) - set(expected) - set(optional):
        raise DataError(
            f"{name} has an unknown field {min(unknown)!r} "
            f"(fields: {', '.join((*expected, *optional))})"
        )


def _number(name: str, value: Any) -> float:
    """A number in double precision."""
    _numbers(name, value, ())
    return float(value)


def _numbers(name: str, value: Any, shape: tuple[int | None, ...]) -> np.ndarray:
    """float32 array of that shape, None for any length."""
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{name} must be numbers, got {value!r:.60}") from error
    fits = len(array.shape) == len(shape) and all(
        want in (None, got) for want, got in zip(shape, array.shape, strict=True)
    )
    if not fits:
        want = " x ".join("any" if n is None else str(n) for n in shape) or "one"
        raise DataError(f"{name} must be {want} finite numbers, got shape {array.shape}")
    wrong = ~(np.abs(array) <= _LARGEST)
    if wrong.any():
        raise DataError(
            f"{name} must be finite numbers of at most {_LARGEST:g}, got {array[wrong][0]:g}"
        )
    return array.astype(np.float32)


def rotations_from_quaternions(quaternions: np.ndarray) -> np.ndarray:
    """(..., 4) quaternions (w, x, y, z) of any length above 0 -> float32 (..., 3, 3)."""
    q = quaternions / np.linalg.norm(quaternions, axis=-1, keepdims=True).clip(1e-9)
    w, x, y, z = np.moveaxis(q, -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2).astype(np.float32)


def quaternions_from_rotations(rotations: np.ndarray) -> np.ndarray:
    """(..., 3, 3) -> float64 (..., 4) quaternions (w, x, y, z) with w >= 0 (Bar-Itzhack 2000)."""
    m = np.asarray(rotations, float)
    k = np.zeros((*m.shape[:-2], 4, 4))
    k[..., 0, 0] = m[..., 0, 0] + m[..., 1, 1] + m[..., 2, 2]
    for i, (a, b) in enumerate(((2, 1), (0, 2), (1, 0)), start=1):
        k[..., 0, i] = k[..., i, 0] = m[..., a, b] - m[..., b, a]
    for i in range(3):
        for j in range(3):
            k[..., i + 1, j + 1] = m[..., i, j] + m[..., j, i]
        k[..., i + 1, i + 1] = 2 * m[..., i, i] - k[..., 0, 0]
    quaternion = np.linalg.eigh(k)[1][..., -1]
    return np.where(quaternion[..., :1] < 0, -quaternion, quaternion)


def volume(body: Body) -> float:
    """Cubic metres of material in a ball, box or cylinder, and of a cup's wall and base."""
    a, b, c, wall = body.dimensions
    if body.shape == "ball":
        return 4 / 3 * math.pi * a**3
    if body.shape == "box":
        return 8 * a * b * c
    if body.shape == "cylinder":
        return 2 * math.pi * a**2 * b
    middle = 0.5 * (a + b) - 0.5 * wall
    return math.pi * b**2 * wall + 2 * math.pi * middle * wall * (2 * c - wall)


def find_supports(state: State, frame: int = 0) -> tuple[list[int | None], np.ndarray]:
    """Which body each one stands on (None: the table, or nothing), and which are in the air, bool (K,)."""
    positions, rotations = state.poses.positions[frame], state.poses.rotations[frame]
    bottoms = [
        positions[k, 2] - vertical_reach(body, rotations[k]) for k, body in enumerate(state.bodies)
    ]
    supports: list[int | None] = []
    airborne = np.zeros(len(state.bodies), bool)
    for k in range(len(state.bodies)):
        support = None
        for other, below in enumerate(state.bodies):
            top = positions[other, 2] + vertical_reach(below, rotations[other])
            aside = np.linalg.norm(positions[k, :2] - positions[other, :2])
            if (
                other != k
                and abs(bottoms[k] - top) < _CONTACT
                and aside < 1.5 * below.dimensions[0]
            ):
                support = other
        supports.append(support)
        airborne[k] = support is None and bottoms[k] > _CONTACT
    return supports, airborne


def vertical_reach(body: Body, rotation: np.ndarray) -> float:
    """Metres from the centre of a body to its lowest point, axes (3, 3) body to world."""
    axis = np.abs(rotation[2])  # how far each body axis is vertical
    a, b, c, _ = body.dimensions
    if body.shape == "ball":
        return a
    if body.shape == "box":
        return float(axis @ (a, b, c))
    height, radius = (b, a) if body.shape == "cylinder" else (c, max(a, b))
    return float(axis[2] * height + math.sqrt(max(0.0, 1 - axis[2] ** 2)) * radius)
