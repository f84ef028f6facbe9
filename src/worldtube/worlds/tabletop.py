"""Balls, boxes, cylinders and cups on a table: dropped, thrown, rolled, slid, stacked, collided, off the edge.

Owns the draw of a scene from a seed (`plan`), its rigid motion (MuJoCo) and what happened, read from the
state. Knows nothing of how a picture is drawn (`render`) or of a caption's wording (`language`).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import mujoco
import numpy as np

from worldtube.errors import RequestError
from worldtube.video import Size
from worldtube.worlds import render
from worldtube.worlds.language import caption as tell
from worldtube.worlds.world import COLOURS, HELD_OUT, SHAPES, VALIDATION_SEEDS, Camera, Event

VERSION = 1
FPS = 12.0
SUBSTEPS = 24
DIAMETER = {"small": 0.32, "large": 0.54}
MATERIALS = {"rubber": 1000.0, "plastic": 700.0, "metal": 1700.0, "wood": 800.0}
"""Name -> density."""
_SETTLED = 0.06
"""Seconds after which a first touch is a hit; before, things that were put together have come to rest."""
_WALLS = 12
_CUP = (0.5, 0.39, 1.03, 0.056)
"""Top radius, bottom radius, height, wall of a cup, in diameters; the cups of `pour` are the same."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What the things of one group share."""

    colour: str
    shape: str
    size: str
    material: str
    scale: float

    @property
    def diameter(self) -> float:
        return DIAMETER[self.size] * self.scale

    @property
    def half_height(self) -> float:
        """Of the thing as it stands."""
        d = self.diameter
        return {"ball": 0.5, "box": 0.46, "cylinder": 0.47, "cup": _CUP[2] / 2}[self.shape] * d

    @property
    def radius(self) -> float:
        """Half of its width."""
        return {"ball": 0.5, "box": 0.46, "cylinder": 0.43, "cup": 0.5}[self.shape] * self.diameter


@dataclass(frozen=True, kw_only=True)
class Thing:
    """One body at the start."""

    group: int
    position: tuple[float, float, float]
    velocity: tuple[float, float, float] = (0.0, 0.0, 0.0)
    spin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    turn: float = 0.0
    """About the vertical, radians."""
    lying: bool = False
    """A cylinder on its side, its axis along y before `turn`."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that a seed decides."""

    seed: int
    template: str
    kinds: tuple[Kind, ...]
    things: tuple[Thing, ...]
    mover: int | None
    """The thing that is aimed at another, for 'missed'."""
    slippery: bool
    table: tuple[float, float, float, float]
    camera: str
    camera_direction: str | None
    azimuth: float
    ground: int
    ground_tint: tuple[float, float, float]
    ground_offset: tuple[float, float]
    sky: int
    sun: tuple[float, float, float]


class _Draw:
    """One seed's draw: things are put in, in the order in which they are told of."""

    def __init__(self, rng: np.random.Generator, held_out: frozenset[tuple[str, str]]):
        self.rng, self.held_out = rng, held_out
        self.kinds: list[Kind] = []
        self.things: list[Thing] = []
        self.table = list(render.Scene.table)
        self.mover: int | None = None
        self.slippery = False

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def uniform(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def way(self) -> float:
        return 1.0 if self.chance(0.5) else -1.0

    def pick(self, options: tuple[str, ...]) -> str:
        return options[int(self.rng.integers(len(options)))]

    def kind(self, shapes: tuple[str, ...] = SHAPES, size: str | None = None) -> Kind:
        """A new group: its colour is not that of another group."""
        shape = self.pick(shapes)
        taken = {k.colour for k in self.kinds}
        free = tuple(c for c in COLOURS if (c, shape) not in self.held_out and c not in taken)
        kind = Kind(
            colour=self.pick(free),
            shape=shape,
            size=size or ("small" if self.chance(0.5) else "large"),
            material=self.pick(("plastic", "metal") if shape == "cup" else tuple(MATERIALS)),
            scale=self.uniform(0.96, 1.04),
        )
        self.kinds.append(kind)
        return kind

    def put(self, kind: Kind, x: float, y: float, z: float | None = None, **more: Any) -> None:
        """A thing of the group; standing on the table unless z, its middle, is said."""
        at = (x, y, (kind.half_height if z is None else z) + 0.0005)
        turn = more.pop("turn", self.uniform(-0.5, 0.5))
        self.things.append(Thing(group=self.kinds.index(kind), position=at, turn=turn, **more))

    def row(self, kinds: list[Kind], y: float) -> None:
        """Things side by side, in random gaps, in the middle of the picture."""
        widths = [2 * kind.radius for kind in kinds]
        gaps = [self.uniform(0.08, 0.22) for _ in kinds[1:]]
        total = sum(widths) + sum(gaps)
        room = max(0.0, 0.85 - total / 2)
        x = self.uniform(-room, room) - total / 2
        for kind, width, gap in zip(kinds, widths, [*gaps, 0.0], strict=True):
            self.put(kind, x + width / 2, y + self.uniform(-0.08, 0.08))
            x += width + gap


def _drop(d: _Draw) -> None:
    count = (1, 1, 1, 2, 2, 3)[int(d.rng.integers(6))]
    kind = d.kind(size="small" if count == 3 else None)
    kinds = [kind] * count
    if count == 2 and d.chance(0.5):
        kinds[1] = d.kind()
    d.row(kinds, d.uniform(-0.2, 0.3))
    high = d.uniform(0.62, 0.95)
    for i, thing in enumerate(d.things):
        x, y, z = thing.position
        d.things[i] = replace(thing, position=(x, y, z + high + d.uniform(0, 0.08)))


def _throw(d: _Draw) -> None:
    kind, way = d.kind(("ball", "ball", "box", "cylinder")), d.way()
    spin = tuple(float(v) for v in d.rng.normal(0, 1.5, 3))
    d.put(
        kind, -way * d.uniform(0.65, 0.85), d.uniform(-0.2, 0.35), d.uniform(0.4, 0.7),
        velocity=(way * d.uniform(0.8, 1.3), d.uniform(-0.2, 0.2), d.uniform(1.6, 2.8)), spin=spin,
    )  # fmt: skip
    _scenery(d, 0.3)


def _scenery(d: _Draw, chance: float) -> None:
    """Something that just stands behind what moves."""
    if d.chance(chance):
        d.put(d.kind(), d.uniform(-0.6, 0.6), 0.72)


def _rolling(d: _Draw, kind: Kind, x: float, y: float, vx: float, vy: float = 0.0) -> None:
    heading = math.atan2(vy, vx)
    r = kind.radius
    d.put(
        kind, x, y, r, velocity=(vx, vy, 0.0), spin=(-vy / r, vx / r, 0.0), lying=kind.shape == "cylinder",
        turn=heading if kind.shape == "cylinder" else d.uniform(-0.5, 0.5),
    )  # fmt: skip


def _roll(d: _Draw) -> None:
    kind, way = d.kind(("ball", "ball", "ball", "cylinder")), d.way()
    speed = d.uniform(0.4, 0.65) if d.chance(0.5) else d.uniform(1.0, 1.4)
    _rolling(d, kind, -way * d.uniform(0.5, 0.8), d.uniform(-0.25, 0.35), way * speed, d.uniform(-0.1, 0.1))
    _scenery(d, 0.3)


def _slide(d: _Draw) -> None:
    kind, way = d.kind(("box", "cup", "cylinder", "box", "cup")), d.way()
    d.slippery = True
    speed = d.uniform(0.8, 1.2) if d.chance(0.5) else d.uniform(1.5, 2.0)
    d.put(kind, -way * d.uniform(0.45, 0.8), d.uniform(-0.25, 0.35), velocity=(way * speed, d.uniform(-0.08, 0.08), 0.0))
    _scenery(d, 0.3)


def _rest(d: _Draw) -> None:
    if d.chance(0.6):
        count = 1 + int(d.rng.integers(4))
        d.row([d.kind(size="small" if count > 3 else None)] * count, d.uniform(-0.25, 0.35))
        return
    first, second = ((1, 1), (1, 1), (1, 2), (2, 1), (1, 3), (2, 2))[int(d.rng.integers(6))]
    size = "small" if first + second > 2 else None
    d.row([d.kind(size=size)] * first + [d.kind(size=size)] * second, d.uniform(-0.25, 0.35))


def _stack(d: _Draw) -> None:
    count = 2 + int(d.rng.integers(3))
    size = "small" if count > 2 else None
    lower = d.kind(("box", "cylinder", "box"), size)
    kinds = [lower] * count
    if d.chance(0.4):
        kinds[-1] = d.kind(("box", "cylinder", "cup", "box"), "small")
    _tower(d, kinds, d.uniform(-0.5, 0.5), d.uniform(-0.2, 0.35))
    if kinds[-1] is not lower:  # what is on top is told of first
        d.kinds = [kinds[-1], lower]
        d.things = [replace(thing, group=1 - thing.group) for thing in reversed(d.things)]


def _tower(d: _Draw, kinds: list[Kind], x: float, y: float) -> None:
    z, turn = 0.0, d.uniform(-0.5, 0.5)
    for kind in kinds:
        d.put(kind, x + d.uniform(-0.012, 0.012), y + d.uniform(-0.012, 0.012), z + kind.half_height, turn=turn)
        z += 2 * kind.half_height + 0.0005


def _collide(d: _Draw) -> None:
    way = d.way()
    mover = d.kind(("ball", "ball", "ball", "cylinder", "box"))
    stack = d.chance(0.35)
    target = d.kind(("box", "cylinder", "box") if stack else SHAPES, "small" if stack else None)
    count = 2 + int(d.rng.integers(2)) if stack else 1
    x, y = way * d.uniform(0.0, 0.35), d.uniform(-0.1, 0.25)
    reach = mover.radius + target.radius
    if d.chance(0.25):  # past it, in front of it or behind it
        aside = reach * d.uniform(1.2, 1.5) * d.way()
        aside = -aside if not -0.65 < y + aside < 0.8 else aside
    else:
        aside = reach * d.uniform(-0.35, 0.35)
    start, speed = max(-0.8, min(0.8, x - way * (reach + d.uniform(0.3, 0.55)))), way * d.uniform(0.9, 1.8)
    if mover.shape == "box":
        d.slippery = True
        d.put(mover, start, y + aside, velocity=(speed * 1.15, 0.0, 0.0), turn=0.0)
    else:
        _rolling(d, mover, start, y + aside, speed)
    _tower(d, [target] * count, x, y)
    d.mover = 0


def _edge(d: _Draw) -> None:
    way = d.way()
    kind = d.kind(("ball", "ball", "box", "cylinder", "cup"))
    y, edge = d.uniform(-0.2, 0.3), d.uniform(0.25, 0.5)
    d.table[1 if way > 0 else 0] = way * edge
    start = -way * d.uniform(0.2, 0.5)
    if kind.shape in ("ball", "cylinder"):
        _rolling(d, kind, start, y, way * d.uniform(1.1, 1.8))
    else:
        d.slippery = True
        d.put(kind, start, y, velocity=(way * d.uniform(2.0, 2.5), 0.0, 0.0))


def _hit_drop(d: _Draw) -> None:
    upper = d.kind(("ball", "box", "ball", "cylinder"))
    lower = d.kind()
    x, y = d.uniform(-0.45, 0.45), d.uniform(-0.15, 0.3)
    d.put(upper, x + d.uniform(-0.06, 0.06), y + d.uniform(-0.05, 0.05), 2 * lower.half_height + upper.half_height + d.uniform(0.3, 0.5))
    d.put(lower, x, y)


TEMPLATES: dict[str, Callable[[_Draw], None]] = {
    "drop": _drop,
    "throw": _throw,
    "roll": _roll,
    "slide": _slide,
    "rest": _rest,
    "stack": _stack,
    "collide": _collide,
    "edge": _edge,
    "hit_drop": _hit_drop,
}
_SHARES = (0.15, 0.09, 0.16, 0.11, 0.17, 0.08, 0.13, 0.05, 0.06)


def plan(seed: int) -> Plan:
    """Draw a scene; cheap, nothing is simulated."""
    if seed < 0:
        raise RequestError(f"seed is {seed} (accepted: 0 or more)")
    rng = np.random.default_rng((0x7461626C, VERSION, seed))
    d = _Draw(rng, HELD_OUT if seed < VALIDATION_SEEDS.start else frozenset())
    template = list(TEMPLATES)[int(rng.choice(len(TEMPLATES), p=_SHARES))]
    TEMPLATES[template](d)
    kind = ("fixed", "orbit", "dolly")[int(rng.choice(3, p=(0.7, 0.15, 0.15)))]
    direction = None
    if kind != "fixed":
        direction = d.pick(("left", "right") if kind == "orbit" else ("in", "out", "left", "right"))
    around, up = rng.uniform(0, 2 * math.pi), rng.uniform(0.75, 1.15)
    return Plan(
        seed=seed,
        template=template,
        kinds=tuple(d.kinds),
        things=tuple(d.things),
        mover=d.mover,
        slippery=d.slippery,
        table=tuple(float(v) for v in d.table),
        camera=kind,
        camera_direction=direction,
        azimuth=d.uniform(-0.1, 0.1),
        ground=int(rng.integers(len(render.GROUNDS))),
        ground_tint=tuple(float(v) for v in rng.uniform(0.93, 1.07, 3)),
        ground_offset=tuple(float(v) for v in rng.uniform(-3, 3, 2)),
        sky=int(rng.integers(len(render.SKIES))),
        sun=(math.cos(around) * math.cos(up), math.sin(around) * math.cos(up), math.sin(up)),
    )


class Tabletop:
    """The world; see `World`."""

    name = "tabletop"
    version = VERSION
    fps = FPS

    def __init__(self, *, size: Size | None = None, supersample: int = 2):
        self.size, self.supersample = size or Size(64, 64), supersample
        self.plan: Plan | None = None

    # --- running -----------------------------------------------------------------------------------------

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start over; `options` may hold a whole `plan` in place of the seed's."""
        options = options or {}
        if strange := set(options) - {"plan"}:
            raise RequestError(f"unknown option {min(strange)!r} (accepted: plan)")
        self.plan = options.get("plan") or plan(0 if seed is None else seed)
        p = self.plan
        self.frame = 0
        self._model = mujoco.MjModel.from_xml_string(_xml(p))
        self._data = mujoco.MjData(self._model)
        for i, thing in enumerate(p.things):
            start = 6 * i
            self._data.qvel[start : start + 3] = thing.velocity
            matrix = _rotation(thing)
            self._data.qvel[start + 3 : start + 6] = matrix.T @ np.array(thing.spin)
        mujoco.mj_forward(self._model, self._data)
        self._owner = self._model.geom_bodyid - 2  # body 1 is the table
        self._touched: dict[tuple[int, int], float] = {}
        self._path, self._tilt = [self._positions()], [self._uprightness()]
        self._vertical = [self._data.qvel[2::6].copy()]
        picture = self._picture()
        self._visible = [self._seen()]
        return picture, {"state": self.state}

    def step(self, action: Any = None) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One frame. `action` is None or a push: {"object": index, "velocity": (vx, vy, vz)}, metres per second."""
        if self.plan is None:
            raise RequestError("step was called before reset")
        if action is not None:
            self._push(action)
        for s in range(SUBSTEPS):
            mujoco.mj_step(self._model, self._data)
            self._watch((self.frame + (s + 1) / SUBSTEPS) / FPS)
        self.frame += 1
        self._path.append(self._positions())
        self._tilt.append(self._uprightness())
        self._vertical.append(self._data.qvel[2::6].copy())
        picture = self._picture()
        self._visible.append(self._seen())
        return picture, 0.0, False, False, {"state": self.state, "events": self.events}

    def close(self) -> None:
        self.plan = None

    def _push(self, action: Any) -> None:
        try:
            index, velocity = int(action["object"]), np.asarray(action["velocity"], float).reshape(3)
        except (TypeError, KeyError, ValueError) as error:
            raise RequestError(
                f"the action {action!r} is not a push (accepted: None or {{'object': i, 'velocity': (x, y, z)}})"
            ) from error
        if not 0 <= index < len(self.plan.things):
            raise RequestError(f"object {index} cannot be pushed (accepted: 0 to {len(self.plan.things) - 1})")
        self._data.qvel[6 * index : 6 * index + 3] += velocity

    def _watch(self, now: float) -> None:
        """Remember first contacts between things."""
        data = self._data
        if not data.ncon:
            return
        owners = self._owner[data.contact.geom]
        for a, b in owners[(owners >= 0).all(1)]:
            self._touched.setdefault((min(a, b), max(a, b)), now)

    # --- what happened -----------------------------------------------------------------------------------

    def _first_hit(self, index: int) -> float | None:
        """When a thing was first touched by something that was not already touching it at the start."""
        times = [t for pair, t in self._touched.items() if index in pair and t > _SETTLED]
        return min(times) if times else None

    @property
    def events(self) -> tuple[Event, ...]:
        """Read from the state so far."""
        p, found = self.plan, []
        path, tilt, vertical = np.array(self._path), np.array(self._tilt), np.array(self._vertical)
        visible = np.array(self._visible)
        groups = [thing.group for thing in p.things]
        begun_together = {pair for pair, t in self._touched.items() if t <= _SETTLED}
        for (a, b), t in self._touched.items():
            if t > _SETTLED and groups[a] != groups[b]:
                mover, other = (a, b) if self._moved_before(a, t) >= self._moved_before(b, t) else (b, a)
                found.append(Event(kind="hit", seconds=t, a=int(mover), b=int(other)))
        for i, kind in enumerate(self._kinds()):
            below = np.nonzero((path[:, i, 2] < -0.1) & (visible[:, i] > 0))[0]
            if len(below):
                found.append(Event(kind="fell_off", seconds=below[0] / FPS, a=i))
            if kind.shape != "ball" and not p.things[i].lying and p.template not in ("throw", "drop"):
                over = np.nonzero((tilt[:, i] < 0.64) | (path[0, i, 2] - path[:, i, 2] > 0.4 * path[0, i, 2] + 0.05))[0]
                stands = path[0, i, 2] < kind.half_height + 0.01 or any(i in pair for pair in begun_together)
                over = over[path[over, i, 2] > 0]
                if len(over) and stands:
                    found.append(Event(kind="toppled", seconds=over[0] / FPS, a=i))
            down = np.nonzero(vertical[:, i] < -1.2)[0]
            if len(down):
                rising = np.nonzero(vertical[down[0] :, i] > 0.7)[0]
                rising = rising[(path[down[0] + rising, i, 2] > 0) & (visible[down[0] + rising, i] > 0)]
                if len(rising) and kind.shape == "ball":
                    found.append(Event(kind="bounced", seconds=(down[0] + rising[0]) / FPS, a=i))
        if p.mover is not None:
            targets = [i for i in range(len(groups)) if groups[i] != groups[p.mover]]
            touched = any(p.mover in pair and set(pair) & set(targets) for pair in self._touched)
            way = math.copysign(1.0, p.things[p.mover].velocity[0])
            past = np.nonzero(way * (path[:, p.mover, 0] - path[:, targets[0], 0]) > 0)[0]
            if not touched and len(past):
                found.append(Event(kind="missed", seconds=past[0] / FPS, a=p.mover, b=targets[0]))
        for a, b in sorted(begun_together):
            upper, lower = (a, b) if path[-1, a, 2] > path[-1, b, 2] else (b, a)
            rise = path[-1, upper, 2] - path[-1, lower, 2]
            still = np.abs(path[-1, [a, b]] - path[0, [a, b]]).max() < 0.05
            if still and rise > 0.1:
                found.append(Event(kind="stacked", seconds=0.0, a=int(upper), b=int(lower)))
        return tuple(sorted(found, key=lambda event: event.seconds))

    def _moved_before(self, index: int, seconds: float) -> float:
        frame = max(1, min(len(self._path) - 1, math.ceil(seconds * FPS)))
        return float(np.linalg.norm(self._path[frame][index] - self._path[0][index]))

    @property
    def event(self) -> str | None:
        """The headline."""
        kinds = {event.kind for event in self.events}
        order = ("missed", "fell_off", "toppled", "hit", "bounced", "stacked")
        return next((kind for kind in order if kind in kinds), None)

    def _motion(self, index: int) -> str:
        """right, left, fall or rest: the first second, or until the thing was hit or had hit."""
        path = np.array(self._path)[:, index]
        last = min(len(path) - 1, round(FPS))
        hit = self._first_hit(index)
        if hit is not None:
            last = max(1, min(last, int(hit * FPS)))
        shift = path[last] - path[0]
        if hit is not None and last == 1 and np.abs(shift).max() < 0.04:
            return "rest"
        if np.abs(path[: last + 1] - path[0]).max() < 0.04:
            return "rest"
        lowest = path[: last + 1, 2].min() - path[0, 2]
        if lowest < -0.15 and -lowest > abs(shift[0]):
            return "fall"
        return "right" if shift[0] > 0 else "left"

    def _speed(self, index: int) -> str | None:
        """slow or fast over the first half second, or until a hit; nothing in between."""
        path, hit = np.array(self._path)[:, index], self._first_hit(index)
        last = min(len(path) - 1, 6 if hit is None else max(2, int(hit * FPS)))
        pace = abs(path[last, 0] - path[0, 0]) * FPS / max(last, 1)
        return "fast" if pace > 0.9 else "slow" if pace < 0.75 else None

    @property
    def truth(self) -> dict[str, Any]:
        p, events = self.plan, self.events
        groups = []
        for g, kind in enumerate(p.kinds):
            members = [i for i, thing in enumerate(p.things) if thing.group == g]
            motion = self._motion(members[0])
            speed = self._speed(members[0]) if motion in ("right", "left") else None
            groups.append({
                "count": len(members), "colour": kind.colour, "size": kind.size, "shape": kind.shape,
                "material": kind.material, "motion": motion, "speed": speed, "objects": members,
            })  # fmt: skip
        return {
            "world": self.name,
            "version": self.version,
            "seed": p.seed,
            "template": p.template,
            "groups": groups,
            "relations": self._relations(events),
            "event": self.event,
            "events": [{"kind": e.kind, "seconds": round(e.seconds, 3), "a": e.a, "b": e.b} for e in events],
            "objects": [
                {"colour": k.colour, "shape": k.shape, "size": k.size, "material": k.material, "group": t.group}
                for k, t in zip(self._kinds(), p.things, strict=True)
            ],
            "camera": {"kind": p.camera, "direction": p.camera_direction},
            "ground": render.GROUNDS[p.ground],
            "sky": render.SKIES[p.sky],
        }

    def _relations(self, events: tuple[Event, ...]) -> list[dict[str, Any]]:
        """Between the first group and the second, as seen at the start."""
        p = self.plan
        if len(p.kinds) < 2:
            return []
        start = np.array(self._path[0])
        members = [[i for i, t in enumerate(p.things) if t.group == g] for g in (0, 1)]
        if p.mover is not None:
            hit = any(event.kind == "hit" for event in events)
            return [{"a": 0, "relation": "into" if hit else "towards", "b": 1}]
        if p.template in ("stack", "hit_drop"):
            return [{"a": 0, "relation": "on top of", "b": 1}] if p.template == "stack" else []
        if p.template not in ("rest", "drop"):
            return []
        a, b = start[members[0]], start[members[1]]
        if a[:, 0].max() < b[:, 0].min():
            return [{"a": 0, "relation": "left of", "b": 1}]
        if a[:, 0].min() > b[:, 0].max():
            return [{"a": 0, "relation": "right of", "b": 1}]
        return []

    def caption(self, length: str = "medium") -> str:
        seed = (0x63617074, VERSION, self.plan.seed, len(length))
        return tell(self.truth, length, np.random.default_rng(seed))

    # --- poses ---------------------------------------------------------------------------------------------

    def _kinds(self) -> list[Kind]:
        return [self.plan.kinds[thing.group] for thing in self.plan.things]

    def _positions(self) -> np.ndarray:
        return self._data.xpos[2:].copy()

    def _uprightness(self) -> np.ndarray:
        """(K,) cosine between each thing's own up and up."""
        return self._data.xmat[2:, 8].copy()

    @property
    def state(self) -> dict[str, np.ndarray]:
        """Things' positions (K, 3), rotations (w, x, y, z) (K, 4), velocities and spins (K, 3)."""
        velocity = self._data.qvel.reshape(-1, 6)
        return {
            "positions": self._positions(),
            "rotations": self._data.xquat[2:].copy(),
            "velocities": velocity[:, :3].copy(),
            "spins": velocity[:, 3:].copy(),
        }

    # --- pictures ------------------------------------------------------------------------------------------

    def camera(self, frame: int | None = None) -> Camera:
        """Where the camera is at a frame (by default now)."""
        p = self.plan
        s = (self.frame if frame is None else frame) / 24
        azimuth, distance, aside, up = p.azimuth, 3.15, 0.0, 0.43
        if p.camera == "orbit":
            azimuth += (0.40 if p.camera_direction == "right" else -0.40) * (s - 0.5)
        elif p.camera_direction in ("in", "out"):
            distance *= 1 + (-0.26 if p.camera_direction == "in" else 0.26) * (s - 0.5)
        elif p.camera == "dolly":
            aside = (0.4 if p.camera_direction == "right" else -0.4) * (s - 0.5)
        target = (aside, 0.08, 0.36)
        return Camera(
            position=(
                target[0] + distance * math.sin(azimuth) * math.cos(up),
                target[1] - distance * math.cos(azimuth) * math.cos(up),
                target[2] + distance * math.sin(up),
            ),
            target=target,
        )

    def _scene(self) -> render.Scene:
        p, kinds = self.plan, self._kinds()
        solids = {"ball": render.SPHERE, "box": render.BOX, "cylinder": render.CYLINDER, "cup": render.CUP}
        return render.Scene(
            kinds=np.array([solids[k.shape] for k in kinds]),
            positions=self._positions(),
            rotations=self._data.xmat[2:].reshape(-1, 3, 3).copy(),
            sizes=np.array([_size(k) for k in kinds], float),
            colours=np.array([render.linear(render.PALETTE[k.colour]) for k in kinds]),
            materials=np.array([render.MATERIALS.index(k.material) for k in kinds]),
            object_ids=np.arange(1, len(kinds) + 1),
            ground=p.ground,
            ground_tint=p.ground_tint,
            ground_offset=p.ground_offset,
            sky=p.sky,
            sun=p.sun,
            table=p.table,
        )

    def _draw(self, size: Size | None, camera: Camera | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if self.plan is None:
            raise RequestError("a picture was asked for before reset")
        return render.render(
            self._scene(), camera or self.camera(), size or self.size, supersample=self.supersample
        )

    def _picture(self) -> np.ndarray:
        rgb, self._ids, self._depth = self._draw(None, None)
        return rgb

    def _seen(self) -> np.ndarray:
        return np.bincount(self._ids.ravel(), minlength=256)[1 : 1 + len(self.plan.things)]

    def render(self, size: Size | None = None, camera: Camera | None = None) -> np.ndarray:
        return self._draw(size, camera)[0]

    def masks(self, size: Size | None = None, camera: Camera | None = None) -> np.ndarray:
        if size is None and camera is None:
            return self._ids.copy()
        return self._draw(size, camera)[1]


# --- solids ----------------------------------------------------------------------------------------------


def _size(kind: Kind) -> tuple[float, float, float, float]:
    """As `render.Scene.sizes` wants it."""
    d, r, h = kind.diameter, kind.radius, kind.half_height
    return {
        "ball": (r, 0.0, 0.0, 0.0),
        "box": (r, r, h, 0.0),
        "cylinder": (r, h, 0.0, 0.0),
        "cup": (_CUP[0] * d, _CUP[1] * d, h, _CUP[3] * d),
    }[kind.shape]


def _rotation(thing: Thing) -> np.ndarray:
    c, s = math.cos(thing.turn), math.sin(thing.turn)
    matrix = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    if thing.lying:  # the cylinder's own axis, z, goes to y
        matrix = matrix @ np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
    return matrix


def _xml(p: Plan) -> str:
    """The MuJoCo model: table, floor and things."""
    x0, x1, y0, y1 = p.table
    bodies = []
    for i, thing in enumerate(p.things):
        kind = p.kinds[thing.group]
        d, r, h, density = kind.diameter, kind.radius, kind.half_height, MATERIALS[kind.material]
        quat = np.zeros(4)
        mujoco.mju_mat2Quat(quat, _rotation(thing).ravel())
        bouncy = {"ball": "-3000 -12", "box": "-4000 -70"}.get(kind.shape, "-4000 -70")
        mass = density * {"ball": 4.19 * r**3, "box": 8 * r * r * h, "cylinder": 6.28 * r * r * h, "cup": 0.5 * d**3}[kind.shape]
        bouncy = " ".join(str(float(v) * mass / mass) for v in bouncy.split())
        surface = f'solref="{bouncy}"'
        if kind.shape == "ball":
            geoms = f'<geom type="sphere" size="{r}" density="{density}" {surface}/>'
        elif kind.shape == "box":
            geoms = f'<geom type="box" size="{r} {r} {h}" density="{density}" {surface}/>'
        elif kind.shape == "cylinder":
            geoms = f'<geom type="cylinder" size="{r} {h}" density="{density}" {surface}/>'
        else:
            geoms = _cup(d, density, surface)
        x, y, z = thing.position
        bodies.append(
            f'<body name="thing{i}" pos="{x} {y} {z}" quat="{" ".join(map(str, quat))}"><freejoint/>{geoms}</body>'
        )
    friction = 0.18 if p.slippery else 0.7
    return f"""<mujoco><option timestep="{1 / FPS / SUBSTEPS}" gravity="0 0 -9.81" integrator="implicitfast"/>
<default><geom friction="{friction} 0.004 0.0006" condim="6"/></default>
<worldbody>
<body name="table"><geom type="box" pos="{(x0 + x1) / 2} {(y0 + y1) / 2} -0.05" size="{(x1 - x0) / 2} {(y1 - y0) / 2} 0.05"/></body>
<geom type="plane" pos="0 0 -0.9" size="20 20 0.1"/>
{"".join(bodies)}
</worldbody></mujoco>"""


def _cup(d: float, density: float, surface: str) -> str:
    """Flat staves around a base; the body's origin is the middle of the cup's height."""
    top, bottom, height, wall = (v * d for v in _CUP)
    slope = math.atan2(top - bottom, height)
    radius = 0.5 * (top + bottom) - 0.5 * wall
    staves = "".join(
        f'<geom type="box" size="{wall / 2} {1.02 * radius * math.tan(math.pi / _WALLS)} {height / 2}"'
        f' pos="{radius * math.cos(a)} {radius * math.sin(a)} 0"'
        f' xyaxes="{math.cos(a) * math.cos(slope)} {math.sin(a) * math.cos(slope)} {-math.sin(slope)}'
        f' {-math.sin(a)} {math.cos(a)} 0" density="{density}" {surface}/>'
        for a in (2 * math.pi * i / _WALLS for i in range(_WALLS))
    )
    base = f'<geom type="cylinder" size="{bottom} {wall / 2}" pos="0 0 {wall / 2 - height / 2}" density="{density}" {surface}/>'
    return base + staves
