"""A plan as tokens: which bodies, where they start and how fast, which surroundings and camera path, as numbers.

A set track (`objects`, one token per body) and a vector track (`scene`, one token). Numbers have about mean 0 and
variance 1; names are one-hot numbers. Positions are relational: what stands on, or hangs above, the one resting body
is told relative to it, and what rests is told relative to the line along which the first mover moves. Absolute
positions would leave such relations as inexact as the sum of two errors.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from worldtube.errors import DataError
from worldtube.state import (
    Body,
    CameraPath,
    Poses,
    State,
    Surroundings,
    find_supports,
    vertical_reach,
    volume,
)

SHAPES = ("ball", "box", "cylinder", "cup")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "white", "black")
MATERIALS = ("rubber", "plastic", "metal", "wood")
GROUNDS = ("wood", "tiles", "cloth", "stone", "checker")
SKIES = ("day", "dusk", "studio", "mint")
WIDTHS = {"small": 0.32, "large": 0.54}
"""Metres across of a size."""

OBJECT_WIDTH = 41
SCENE_WIDTH = 37

_EXISTS = 0
_SHAPE, _COLOUR, _MATERIAL = slice(1, 5), slice(5, 13), slice(13, 17)
_SIZE, _WIDTH, _ASPECT = 17, 18, 19
_POSITION, _UP, _SIDE = slice(20, 23), slice(23, 26), slice(26, 29)
_VELOCITY, _SPIN = slice(29, 32), slice(32, 35)
_MOVING, _AIRBORNE, _ON = 35, 36, 37
_FRICTION, _DENSITY, _RESTITUTION = 38, 39, 40

_GROUND, _SKY = slice(0, 5), slice(5, 9)
_TINT, _OFFSET, _SUN, _EDGES, _CAMERA = (
    slice(9, 12),
    slice(12, 14),
    slice(14, 17),
    slice(17, 19),
    slice(19, 37),
)

_POSITION_MEAN, _POSITION_STD = np.array([0.0, 0.08, 0.35]), np.array([0.55, 0.28, 0.42])
_AXIS_STD, _VELOCITY_STD, _SPIN_STD = 0.58, 0.8, 4.0
_OFFSET_STD, _ASIDE_STD = 0.12, 0.35  # metres: of what is above another, of what a mover aims at
_SUN_MEAN, _SUN_STD = np.array([0.0, -0.45, 0.76]), np.array([0.45, 0.2, 0.1])
_CAMERA_MEAN = np.array([0.0, -2.9, 1.6, 0.0, 0.05, 0.43])
_CAMERA_STD = np.array([0.3, 0.16, 0.2, 0.08, 0.04, 0.09])
_TABLE = (-3.0, 3.0, -0.75, 0.95)

_STILL = 0.01
"""Metres per second below which a body does not move."""


@dataclass(frozen=True, kw_only=True)
class PlanTokens:
    """A plan's numbers."""

    objects: np.ndarray
    """float32 (K, OBJECT_WIDTH); empty slots have `exists` below 0."""
    scene: np.ndarray
    """float32 (SCENE_WIDTH,)."""
    water: np.ndarray | None = None
    """float32 (codec.water.WATER_WIDTH,); None where nothing is said of water."""


def mark_lasting(tokens: PlanTokens) -> PlanTokens:
    """Ones where numbers tell what stays the same from shot to shot: which objects there are and how they look, and
    the surroundings; not where they are, how they move, or the camera."""
    lasting = np.zeros(OBJECT_WIDTH, np.float32)
    lasting[: _ASPECT + 1] = 1
    lasting[[_FRICTION, _DENSITY, _RESTITUTION]] = 1
    exists = (tokens.objects[:, _EXISTS] > 0).astype(np.float32)
    scene = np.zeros(SCENE_WIDTH, np.float32)
    scene[: _CAMERA.start] = 1
    return PlanTokens(objects=exists[:, None] * lasting, scene=scene)


def encode_plan(state: State, slots: int) -> PlanTokens:
    """Encode the first frame of a state and its whole camera path.

    Raises:
        DataError: for more bodies than slots, or a name that plans do not have
    """
    if len(state.bodies) > slots:
        raise DataError(f"a plan has at most {slots} objects, got {len(state.bodies)}")
    start = state.poses
    supports, airborne = find_supports(state)
    moving = np.abs(start.velocities[0]).max(-1, initial=0) > _STILL
    order = _order(state)
    objects = np.zeros((slots, OBJECT_WIDTH))
    objects[:, _EXISTS] = -1
    for token, k in zip(objects, order, strict=False):
        body = state.bodies[k]
        up, side = _canonical_axes(body.shape, start.rotations[0, k])
        token[_EXISTS] = 1
        token[_SHAPE] = _one_hot("shape", body.shape, SHAPES)
        token[_COLOUR] = _one_hot("colour", body.colour, COLOURS)
        token[_MATERIAL] = _one_hot("material", body.material, MATERIALS)
        width = _width(body)
        token[_SIZE] = 1 if body.size == "large" else -1
        token[_WIDTH] = (width / WIDTHS[body.size] - 1) / 0.029
        if body.shape == "box":
            token[_ASPECT] = (body.dimensions[2] / body.dimensions[0] - 1) / 0.058
        token[_POSITION] = (start.positions[0, k] - _POSITION_MEAN) / _POSITION_STD
        token[_UP], token[_SIDE] = up / _AXIS_STD, side / _AXIS_STD
        token[_VELOCITY] = start.velocities[0, k] / _VELOCITY_STD
        token[_SPIN] = start.spins[0, k] / _SPIN_STD
        token[_MOVING] = 1 if moving[k] or airborne[k] else -1
        token[_AIRBORNE] = 1 if airborne[k] else -1
        token[_ON] = 1 if supports[k] is not None else -1
        token[_FRICTION] = (math.log(max(body.friction, 1e-3)) + 0.95) / 0.6
        token[_DENSITY] = (math.log(body.mass / volume(body)) - 6.1) / 0.4
        token[_RESTITUTION] = (body.restitution - 0.3) / 0.2
    _relate(objects, inverse=False)
    around = state.surroundings
    frames = [0, (state.num_frames - 1) // 2, state.num_frames - 1]
    cameras = np.concatenate(
        [state.camera.positions[frames], state.camera.targets[frames]], axis=-1
    )
    scene = np.zeros(SCENE_WIDTH)
    scene[_GROUND] = _one_hot("ground", around.ground, GROUNDS)
    scene[_SKY] = _one_hot("sky", around.sky, SKIES)
    scene[_TINT] = (np.array(around.ground_tint) - 0.98) / 0.075
    scene[_OFFSET] = np.array(around.ground_offset) / 5.2
    scene[_SUN] = (np.array(around.sun) - _SUN_MEAN) / _SUN_STD
    scene[_EDGES] = [around.table[0] - _TABLE[0], _TABLE[1] - around.table[1]]
    scene[_CAMERA] = ((cameras - _CAMERA_MEAN) / _CAMERA_STD).ravel()
    return PlanTokens(objects=objects.astype(np.float32), scene=scene.astype(np.float32))


def decode_plan(tokens: PlanTokens, *, num_frames: int, fps: float = 12.0) -> State:
    """The state that tokens tell: one frame of poses, repeated, and the whole camera path.

    The names are the likeliest ones, bodies of one colour and shape share their size and material, and what is said
    to stand, lie or rest does so exactly: see `resolve`. Bodies may still overlap.
    """
    objects = np.asarray(tokens.objects, float).copy()
    scene = np.asarray(tokens.scene, float)
    objects = objects[objects[:, _EXISTS] > 0]
    _harmonise(objects)
    _relate(objects, inverse=True)
    bodies, groups = [], {}
    for token in objects:
        shape, colour = SHAPES[int(token[_SHAPE].argmax())], COLOURS[int(token[_COLOUR].argmax())]
        size = "large" if token[_SIZE] > 0 else "small"
        width = WIDTHS[size] * (1 + 0.029 * float(np.clip(token[_WIDTH], -1.8, 1.8)))
        aspect = 1 + 0.058 * float(np.clip(token[_ASPECT], -1.8, 1.8))
        body = Body(
            shape=shape,
            colour=colour,
            material=MATERIALS[int(token[_MATERIAL].argmax())],
            size=size,
            dimensions=_dimensions(shape, width, aspect),
            mass=1.0,
            friction=float(np.clip(math.exp(token[_FRICTION] * 0.6 - 0.95), 0.012, 0.65)),
            restitution=float(np.clip(token[_RESTITUTION] * 0.2 + 0.3, 0.05, 0.8)),
            group=groups.setdefault((colour, shape), len(groups)),
        )
        density = math.exp(float(np.clip(token[_DENSITY], -3, 3)) * 0.4 + 6.1)
        bodies.append(replace(body, mass=density * volume(body)))
    poses = resolve(
        bodies,
        objects[:, _POSITION] * _POSITION_STD + _POSITION_MEAN,
        objects[:, _UP] * _AXIS_STD,
        objects[:, _SIDE] * _AXIS_STD,
        objects[:, _VELOCITY] * _VELOCITY_STD,
        objects[:, _SPIN] * _SPIN_STD,
        moving=objects[:, _MOVING] > 0,
        airborne=objects[:, _AIRBORNE] > 0,
        on_other=objects[:, _ON] > 0,
    )
    left, right = scene[_EDGES]
    sun = scene[_SUN] * _SUN_STD + _SUN_MEAN
    sun = sun / np.linalg.norm(sun)
    tint, offset = scene[_TINT] * 0.075 + 0.98, scene[_OFFSET] * 5.2
    surroundings = Surroundings(
        ground=GROUNDS[int(scene[_GROUND].argmax())],
        ground_tint=(float(tint[0]), float(tint[1]), float(tint[2])),
        ground_offset=(float(offset[0]), float(offset[1])),
        sky=SKIES[int(scene[_SKY].argmax())],
        sun=(float(sun[0]), float(sun[1]), float(sun[2])),
        table=(
            min(-0.2, _TABLE[0] + float(left)) if left > 0.5 else _TABLE[0],
            max(0.2, _TABLE[1] - float(right)) if right > 0.5 else _TABLE[1],
            _TABLE[2],
            _TABLE[3],
        ),
    )
    keys = scene[_CAMERA].reshape(3, 6) * _CAMERA_STD + _CAMERA_MEAN
    return State(
        fps=fps,
        bodies=tuple(bodies),
        poses=Poses.concat([poses] * num_frames),
        surroundings=surroundings,
        camera=_camera_path(keys, num_frames),
    )


def resolve(
    bodies: Sequence[Body],
    positions: np.ndarray,
    ups: np.ndarray,
    sides: np.ndarray,
    velocities: np.ndarray,
    spins: np.ndarray,
    *,
    moving: np.ndarray,
    airborne: np.ndarray,
    on_other: np.ndarray,
) -> Poses:
    """Poses (1, K, ...) that agree with what is said of each body.

    What is not in the air stands upright (cylinders may lie), on the table or on the nearest body below it; what rests
    has no velocity; balls and lying cylinders that move roll without slipping.

    Args:
        positions, ups, sides, velocities, spins: (K, 3), rough
        moving, airborne, on_other: bool (K,)
    """
    count = len(bodies)
    positions, velocities, spins = positions.copy(), velocities.copy(), spins.copy()
    rotations = np.zeros((count, 3, 3))
    heights = np.zeros(count)
    for k, body in enumerate(bodies):
        up = np.array([0.0, 0.0, 1.0])
        if body.shape != "ball" and np.linalg.norm(ups[k]) > 0.3:
            up = ups[k] / np.linalg.norm(ups[k])
        side = sides[k] if body.shape == "box" else np.array([1.0, 0.2, 0.0])
        lying = False
        if not moving[k] and not airborne[k]:
            velocities[k] = spins[k] = 0
        if not airborne[k]:
            velocities[k, 2] = 0
            lying = body.shape == "cylinder" and abs(up[2]) < 0.6 and not on_other[k]
            up = np.array([up[0], up[1], 0.0]) if lying else np.array([0.0, 0.0, 1.0])
            up /= np.linalg.norm(up)
            if body.shape == "box":
                side = np.array([side[0], side[1], 0.0])
            if lying:
                across = np.array([-up[1], up[0], 0.0])
                velocities[k] = across * (across @ velocities[k])
            if body.shape == "ball" or lying:
                radius = body.dimensions[0]
                spins[k] = [-velocities[k, 1] / radius, velocities[k, 0] / radius, 0]
            else:
                spins[k] = 0
        rotations[k] = _frame(up, side)
        heights[k] = body.dimensions[0] if lying else body.half_height
    stack: dict[int, float] = {}  # body -> height of its top
    for k in sorted(range(count), key=lambda k: positions[k, 2]):
        if airborne[k]:
            reach = vertical_reach(bodies[k], rotations[k])
            positions[k, 2] = max(positions[k, 2], reach + 0.01)
            continue
        ground = 0.0
        if on_other[k] and stack:
            asides = {o: np.linalg.norm(positions[k, :2] - positions[o, :2]) for o in stack}
            close = [o for o in stack if asides[o] < min(asides.values()) + 0.15]
            below = max(close, key=lambda o: stack[o])
            ground = stack[below]
            most = 0.12 * bodies[below].dimensions[0]
            offset = positions[k, :2] - positions[below, :2]
            if asides[below] > most:
                positions[k, :2] = positions[below, :2] + offset * most / asides[below]
        positions[k, 2] = ground + heights[k]
        stack[k] = positions[k, 2] + heights[k]
    return Poses(
        positions=positions[None].astype(np.float32),
        rotations=rotations[None].astype(np.float32),
        velocities=velocities[None].astype(np.float32),
        spins=spins[None].astype(np.float32),
    )


def _order(state: State) -> list[int]:
    """Slots in the order of groups, then height, then from left to right."""
    positions = state.poses.positions[0]

    def key(k: int) -> tuple[int, int, float]:
        return state.bodies[k].group, round(float(positions[k, 2]) / 0.12), float(positions[k, 0])

    return sorted(range(len(state.bodies)), key=key)


def _relate(objects: np.ndarray, *, inverse: bool) -> None:
    """Turn horizontal positions into relations where there is one, or back, in place."""
    exists, on = objects[:, _EXISTS] > 0, objects[:, _ON] > 0
    airborne, moving = objects[:, _AIRBORNE] > 0, objects[:, _MOVING] > 0
    position = objects[:, _POSITION] * _POSITION_STD + _POSITION_MEAN
    velocity = objects[:, _VELOCITY] * _VELOCITY_STD
    roots = np.nonzero(exists & ~on & ~airborne & ~moving)[0]
    movers = np.nonzero(exists & moving & (np.abs(velocity[:, 0]) > 0.25) & ~(on & airborne))[0]

    def line(x: float) -> float:
        """Where the mover's path is at x."""
        m = movers[0]
        slope = float(np.clip(velocity[m, 1] / velocity[m, 0], -0.6, 0.6))
        return position[m, 1] + (x - position[m, 0]) * slope

    def place_roots() -> None:
        for root in roots if len(movers) else ():
            if inverse:
                position[root, 1] = (
                    line(position[root, 0]) + objects[root, _POSITION][1] * _ASIDE_STD
                )
            else:
                objects[root, _POSITION.start + 1] = (
                    position[root, 1] - line(position[root, 0])
                ) / _ASIDE_STD

    if inverse:
        place_roots()
        for k in np.nonzero(exists & on)[0] if len(roots) else ():
            position[k, :2] = position[roots[0], :2] + objects[k, _POSITION][:2] * _OFFSET_STD
        objects[:, _POSITION] = (position - _POSITION_MEAN) / _POSITION_STD
        return
    for k in np.nonzero(exists)[0] if len(roots) else ():
        root = roots[0]
        offset = position[k, :2] - position[root, :2]
        reach = 0.25 if objects[root, _SIZE] > 0 else 0.15
        above = airborne[k] and abs(velocity[k, 0]) < 0.25 and np.linalg.norm(offset) < reach
        if k != root and (on[k] or (above and len(roots) == 1)):
            objects[k, _ON] = 1
            objects[k, _POSITION.start : _POSITION.start + 2] = offset / _OFFSET_STD
    place_roots()


def _harmonise(objects: np.ndarray) -> None:
    """Give bodies of one colour and shape one material, size, friction and density, in place."""
    groups: dict[tuple[int, int], list[int]] = {}
    for k, token in enumerate(objects):
        groups.setdefault((int(token[_COLOUR].argmax()), int(token[_SHAPE].argmax())), []).append(k)
    shared = [*range(_MATERIAL.start, _ASPECT + 1), _FRICTION, _DENSITY, _RESTITUTION]
    for members in groups.values():
        objects[np.ix_(members, shared)] = objects[np.ix_(members, shared)].mean(0)


def _canonical_axes(shape: str, rotation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Up and side axis of a body, the same for rotations that look the same; zeros where they cannot be seen."""
    zero = np.zeros(3)
    if shape == "ball":
        return zero, zero
    up, side = rotation[:, 2].astype(float), rotation[:, 0].astype(float)
    if shape == "cylinder" and (up[2] < -0.3 or (abs(up[2]) <= 0.3 and up[0] < 0)):
        up = -up
    if shape != "box":
        return up, zero
    if up[2] < 0:
        up = -up
    other = np.cross(up, side)
    # Of the four sides the one whose heading is nearest to 45 degrees.
    candidates = [side, other, -side, -other]
    headings = [
        abs(math.remainder(math.atan2(c[1], c[0]) - math.pi / 4, 2 * math.pi)) for c in candidates
    ]
    return up, candidates[int(np.argmin(headings))]


def _frame(up: np.ndarray, side: np.ndarray) -> np.ndarray:
    """The rotation whose z axis is `up` and whose x axis is as near to `side` as can be."""
    side = side - up * (side @ up)
    if np.linalg.norm(side) < 1e-3:
        side = np.cross([0.0, 1.0, 0.2], up)
    side = side / np.linalg.norm(side)
    return np.stack([side, np.cross(up, side), up], axis=1)


def _width(body: Body) -> float:
    return (
        body.dimensions[0]
        * {"ball": 2.0, "box": 1 / 0.45, "cylinder": 1 / 0.43, "cup": 2.0}[body.shape]
    )


def _dimensions(shape: str, width: float, aspect: float) -> tuple[float, float, float, float]:
    return {
        "ball": (0.5 * width, 0.0, 0.0, 0.0),
        "box": (0.45 * width, 0.45 * width, 0.45 * width * aspect, 0.0),
        "cylinder": (0.43 * width, 0.473 * width, 0.0, 0.0),
        "cup": (0.5 * width, 0.39 * width, 0.515 * width, 0.056 * width),
    }[shape]


def _one_hot(kind: str, name: str, names: Sequence[str]) -> list[float]:
    if name not in names:
        raise DataError(f"{kind} must be one of {', '.join(names)}, got {name!r}")
    n = len(names)
    scale = 1 / math.sqrt((1 / n) * (1 - 1 / n))
    return [((other == name) - 1 / n) * scale for other in names]


def _camera_path(keys: np.ndarray, num_frames: int) -> CameraPath:
    """A path through (first, middle, last) cameras (3, 6): around the target in one sweep, or still where it hardly
    moves."""
    offset = keys[:, :3] - keys[:, 3:]
    distance = np.linalg.norm(offset, axis=-1)
    azimuth, pitch = np.arctan2(offset[:, 0], -offset[:, 1]), np.arcsin(offset[:, 2] / distance)
    amounts = np.concatenate(
        [azimuth[:, None], pitch[:, None], distance[:, None], keys[:, 3:]], axis=-1
    )
    change = amounts[2] - amounts[0]
    change[np.abs(change) < (0.12, 9.0, 0.3, 0.14, 0.14, 9.0)] = 0
    time = np.linspace(-0.5, 0.5, num_frames)[:, None] if num_frames > 1 else np.zeros((1, 1))
    path = amounts[1] + time * change
    azimuth, pitch, distance = path[:, 0], path[:, 1], path[:, 2]
    back = np.stack(
        [np.sin(azimuth) * np.cos(pitch), -np.cos(azimuth) * np.cos(pitch), np.sin(pitch)], axis=-1
    )
    targets = path[:, 3:]
    positions = targets + back * distance[:, None]
    return CameraPath(positions=positions.astype(np.float32), targets=targets.astype(np.float32))
