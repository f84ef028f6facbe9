"""A cup of water that is knocked over, missed, or poured from.

Owns the draw of a scene from a seed (`plan`), the cups' and the ball's motion (MuJoCo), when the
water wakes, and what happened, read from the state. Knows nothing of how water moves (`fluid`), of
how a picture is drawn (`render`) or of a caption's wording (`language`).

The coupling is one way: moving cups and the ball push the water; the water only weighs the cup down,
as a lump, until it has left it.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import mujoco
import numpy as np

from worldtube.errors import RequestError
from worldtube.video import Size
from worldtube.worlds import fluid, render
from worldtube.worlds.language import caption as tell
from worldtube.worlds.world import COLOURS, HELD_OUT, VALIDATION_SEEDS, Camera, Event

VERSION = 1
FPS = 12.0
TEMPLATES = ("knock", "pour")

# Half of the sizes that the table top's other worlds use, times the scale of a `large` thing.
_SCALE = {"small": 1.0, "large": 0.54 / 0.32}
_CUP = {"top": 0.16, "bottom": 0.125, "height": 0.33, "wall": 0.018}
_BALL = 0.16
# Water of a small cup moves in cells of 5 cm, that of a large one in cells of 8 cm: the same number of particles.
_CELL = {"small": 0.05, "large": 0.08}
_SUBSTEPS = {"small": 50, "large": 34}
_WALLS = 14
_DRAG = 7.0
_REACH = 0.17
"""How far in front of the lip the poured water comes down, metres."""
_BALL_DENSITY = {"rubber": 1000.0, "plastic": 700.0, "wood": 900.0, "metal": 1700.0}
_CUP_DENSITY = {"plastic": 800.0, "glass": 1000.0}


@dataclass(frozen=True, kw_only=True)
class CupPlan:
    colour: str
    size: str
    material: str
    position: tuple[float, float, float]
    """Of the middle of its underside."""
    fill: float
    """Depth of its water as a share of the inner height; 0 is an empty cup."""

    @property
    def vessel(self) -> fluid.Vessel:
        scale = _SCALE[self.size]
        return fluid.Vessel(
            top_radius=_CUP["top"] * scale,
            bottom_radius=_CUP["bottom"] * scale,
            height=_CUP["height"] * scale,
            wall=_CUP["wall"] * scale,
        )

    @property
    def depth(self) -> float:
        return self.fill * (self.vessel.height - self.vessel.wall)


@dataclass(frozen=True, kw_only=True)
class BallPlan:
    colour: str
    size: str
    material: str
    position: tuple[float, float, float]
    velocity: tuple[float, float, float]

    @property
    def radius(self) -> float:
        return _BALL * _SCALE[self.size]


@dataclass(frozen=True, kw_only=True)
class TiltPlan:
    """How the held cup turns: about its lip, which stays where it is."""

    heading: float
    """Direction that the water is poured in, radians from +x."""
    start: float
    duration: float
    angle: float


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that a seed decides. The first cup is the one with water in it."""

    seed: int
    template: str
    cups: tuple[CupPlan, ...]
    ball: BallPlan | None
    tilt: TiltPlan | None
    table: tuple[float, float, float, float]
    camera: str
    camera_direction: str | None
    azimuth: float
    ground: int
    ground_tint: tuple[float, float, float]
    ground_offset: tuple[float, float]
    sky: int
    sun: tuple[float, float, float]


def plan(seed: int) -> Plan:
    """Draw a scene; cheap, nothing is simulated."""
    if seed < 0:
        raise RequestError(f"seed is {seed} (accepted: 0 or more)")
    rng = np.random.default_rng((0x706F7572, VERSION, seed))
    held_out = HELD_OUT if seed < VALIDATION_SEEDS.start else frozenset()
    template = "knock" if rng.random() < 0.72 else "pour"
    taken: list[str] = []

    def colour(shape: str) -> str:
        free = [c for c in COLOURS if (c, shape) not in held_out and c not in taken]
        taken.append(free[int(rng.integers(len(free)))])
        return taken[-1]

    def cup(size: str, position: tuple[float, float, float], fill: float) -> CupPlan:
        glass = rng.random() < 0.4
        return CupPlan(
            colour=colour("cup"),
            size=size,
            material="glass" if glass else "plastic",
            position=position,
            fill=fill,
        )

    table = list(render.Scene.table)
    ball = tilt = None
    if template == "knock":
        size = "small" if rng.random() < 0.55 else "large"
        to_right = rng.random() < 0.5
        way = 1.0 if to_right else -1.0
        x, y = (
            way * rng.uniform(*((-0.15, 0.15) if size == "small" else (0.0, 0.2))),
            rng.uniform(-0.25, 0.3),
        )
        first = cup(size, (x, y, 0.0), rng.uniform(0.55, 0.85))
        ball = _aim(rng, first, way, colour("ball"))
        if rng.random() < 0.4:
            # The table ends not far behind the cup, so that water (or the cup) goes over the edge.
            edge = way * (abs(first.vessel.top_radius) + rng.uniform(0.06, 0.30)) + x
            table[1 if to_right else 0] = edge
        cups = (first,)
    else:
        size = "small" if rng.random() < 0.75 else "large"
        way = 1.0 if rng.random() < 0.5 else -1.0
        heading = (0.0 if way > 0 else math.pi) + rng.uniform(-0.45, 0.45)
        target = (
            "none"
            if size == "large" or rng.random() < 0.3
            else ("small" if rng.random() < 0.4 else "large")
        )
        x, y = -way * rng.uniform(0.0, 0.2), rng.uniform(-0.15, 0.15)
        under = 0.0 if target == "none" else _CUP["height"] * _SCALE[target]
        radius, height = _CUP["top"] * _SCALE[size], _CUP["height"] * _SCALE[size]
        # The held cup hangs clear of the table or of the other cup's rim.
        lip = np.array((x, y, under + height + rng.uniform(0.03, 0.12)))
        toward = np.array((math.cos(heading), math.sin(heading), 0.0))
        base = lip - radius * toward - np.array((0.0, 0.0, height))
        first = cup(size, tuple(float(v) for v in base), rng.uniform(0.6, 0.85))
        cups = (first,)
        if target != "none":
            reach = _REACH + (0.3 if rng.random() < 0.15 else 0.0)
            place = lip[:2] + toward[:2] * reach + rng.normal(0.0, 0.02, 2)
            cups += (cup(target, (float(place[0]), float(place[1]), 0.0), 0.0),)
        tilt = TiltPlan(
            heading=heading,
            start=float(rng.uniform(0.05, 0.3)),
            duration=float(rng.uniform(0.7, 1.2)),
            angle=float(rng.uniform(1.75, 2.2)),
        )
    kind = ("fixed", "orbit", "dolly")[int(rng.choice(3, p=(0.7, 0.16, 0.14)))]
    direction = None
    if kind != "fixed":
        direction = (("left", "right") if kind == "orbit" else ("in", "out"))[int(rng.integers(2))]
    azimuth = float(rng.uniform(-0.12, 0.12))
    around, up = rng.uniform(0, 2 * math.pi), rng.uniform(0.75, 1.15)
    return Plan(
        seed=seed,
        template=template,
        cups=cups,
        ball=ball,
        tilt=tilt,
        table=tuple(float(v) for v in table),
        camera=kind,
        camera_direction=direction,
        azimuth=azimuth,
        ground=int(rng.integers(len(render.GROUNDS))),
        ground_tint=tuple(float(v) for v in rng.uniform(0.93, 1.07, 3)),
        ground_offset=tuple(float(v) for v in rng.uniform(-3, 3, 2)),
        sky=int(rng.integers(len(render.SKIES))),
        sun=(
            math.cos(around) * math.cos(up),
            math.sin(around) * math.cos(up),
            math.sin(up),
        ),
    )


def _aim(rng: np.random.Generator, cup: CupPlan, way: float, colour: str) -> BallPlan:
    """A ball that comes along the screen, rolled or thrown, at the cup or past it."""
    size = "large" if cup.size == "large" or rng.random() < 0.3 else "small"
    material = tuple(_BALL_DENSITY)[int(rng.integers(4))]
    radius = _BALL * _SCALE[size]
    vessel = cup.vessel
    heading = rng.uniform(-0.5, 0.5)
    toward = np.array((way * math.cos(heading), math.sin(heading)))
    across = np.array((-toward[1], toward[0]))
    reach = radius + vessel.top_radius
    miss = rng.random() < 0.17
    if miss:
        aside = reach * rng.uniform(1.12, 1.5) * rng.choice((-1.0, 1.0))
        # Past it where there is table to roll on.
        if not -0.6 < cup.position[1] + aside * across[1] < 0.75:
            aside = -aside
    else:
        aside = reach * rng.uniform(-0.4, 0.4)
    away = reach + rng.uniform(0.30, 0.55)
    start = np.array(cup.position[:2]) - toward * away + across * aside
    # In the first picture the ball is to be seen.
    start[0] = np.clip(start[0], 0.5 * radius - 0.86, 0.86 - 0.5 * radius)
    thrown = not miss and rng.random() < 0.5
    speed = rng.uniform(1.5, 4.2)
    if thrown:
        speed = rng.uniform(2.0, 3.6) * (1.15 if cup.size == "large" else 1.0)
        height = max(radius, rng.uniform(0.6, 1.0) * vessel.height)
        low = max(radius + 0.02, rng.uniform(0.2, 0.7))
        gap = max(0.15, float(np.dot(np.array(cup.position[:2]) - start, toward)) - reach)
        time = gap / speed
        rise = (height - low) / time + 0.5 * fluid.GRAVITY * time
        z, vz = low, min(rise, 3.0)
    else:
        z, vz = radius + 0.001, 0.0
    return BallPlan(
        colour=colour,
        size=size,
        material=material,
        position=(float(start[0]), float(start[1]), float(z)),
        velocity=(float(speed * toward[0]), float(speed * toward[1]), float(vz)),
    )


class Pour:
    """The world; see `World`. Objects: `knock` has the ball (0) and the cup (1), `pour` the held cup (0)
    and, in most seeds, another cup (1)."""

    name = "pour"
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
        if unknown := set(options) - {"plan"}:
            raise RequestError(f"unknown option {min(unknown)!r} (accepted: plan)")
        self.plan = options.get("plan") or plan(0 if seed is None else seed)
        p = self.plan
        self.frame = 0
        self._shift = 1 if p.ball is not None else 0
        size = p.cups[0].size
        self._substeps = _SUBSTEPS[size]
        self._dt = 1 / FPS / self._substeps
        self._model = mujoco.MjModel.from_xml_string(_xml(p, self._dt))
        self._data = mujoco.MjData(self._model)
        self._vessels = tuple(cup.vessel for cup in p.cups)
        self._cup_body = [self._model.body(f"cup{k}").id for k in range(len(p.cups))]
        if p.ball is not None:
            qvel = self._data.qvel
            start = self._model.joint("ball").dofadr[0]
            qvel[start : start + 3] = p.ball.velocity
            if p.ball.velocity[2] == 0.0:  # it rolls
                qvel[start + 3 : start + 6] = np.cross((0, 0, 1), p.ball.velocity) / p.ball.radius
        mujoco.mj_forward(self._model, self._data)
        self._start_water()
        self._events: list[Event] = []
        self._path = [self._object_positions()]
        self._passed: float | None = None
        picture = self._picture()
        self._look()
        return picture, {"state": self.state}

    def step(self, action: Any = None) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One frame. `action` is None or a push: {"object": index, "velocity": (vx, vy, vz)}, metres per second."""
        if self.plan is None:
            raise RequestError("step was called before reset")
        if action is not None:
            self._push(action)
        self._simulate()
        self.frame += 1
        self._path.append(self._object_positions())
        picture = self._picture()
        self._look()
        return picture, 0.0, False, False, {"state": self.state}

    def close(self) -> None:
        self.plan = None

    def _push(self, action: Any) -> None:
        try:
            index, velocity = (
                int(action["object"]),
                np.asarray(action["velocity"], float).reshape(3),
            )
        except (TypeError, KeyError, ValueError) as error:
            raise RequestError(
                f"the action {action!r} is not a push (accepted: None or {{'object': i, 'velocity': (x, y, z)}})"
            ) from error
        movable = [i for i in range(len(self.truth_objects)) if self._joint(i) is not None]
        if index not in movable:
            raise RequestError(f"object {index} cannot be pushed (accepted: {movable})")
        start = self._model.joint(self._joint(index)).dofadr[0]
        self._data.qvel[start : start + 3] += velocity

    def _joint(self, index: int) -> str | None:
        """The free joint of an object; a held cup has none."""
        if index < self._shift:
            return "ball"
        k = index - self._shift
        return None if self.plan.tilt is not None and k == 0 else f"cup{k}"

    def _start_water(self) -> None:
        p, size = self.plan, self.plan.cups[0].size
        cell = _CELL[size]
        rng = np.random.default_rng((0x776174, VERSION, p.seed))
        vessel, depth = self._vessels[0], p.cups[0].depth
        low = tuple(-cell * round(v / cell) for v in (2.0, 1.1, 0.9))
        domain = fluid.Domain(
            low=low,
            cells=tuple(round(v / cell) for v in (4.0, 2.3, 2.9)),
            cell=cell,
            table=p.table,
        )
        spacing = cell / 2
        local = fluid.lattice(vessel, depth, spacing, rng)
        self.water = fluid.Water(
            domain,
            self._vessels,
            local + np.array(p.cups[0].position),
            spacing=spacing,
            drag=_DRAG,
        )
        self.water.settle(p.cups[0].position[2] + vessel.wall + depth)
        self.water.side[:] = fluid.OUTSIDE
        self.water.side[:, 0] = fluid.INSIDE
        self._awake = False
        # Its picture: a distance field on nodes as fine as the particles, and the table's wetness.
        self._field_cell = 1.15 * spacing
        self._wet_cell = 0.03
        shape = tuple(
            int((b - a) / self._wet_cell) + 2
            for a, b in ((p.table[0], p.table[1]), (p.table[2], p.table[3]))
        )
        self._wet = np.zeros(shape, np.float32)

    def _simulate(self) -> None:
        """One frame: first the solids, then the water among them."""
        p, m, d, count = self.plan, self._model, self._data, self._substeps
        cups, balls = len(p.cups), self._shift
        pos, rot = np.zeros((count, cups, 3)), np.zeros((count, cups, 3, 3))
        vel, spin = np.zeros((count, cups, 3)), np.zeros((count, cups, 3))
        ball_pos, ball_vel = np.zeros((count, balls, 3)), np.zeros((count, balls, 3))
        if p.tilt is None:
            self._weigh()
        clock = self.frame / FPS
        for s in range(count):
            now = clock + (s + 1) * self._dt
            if p.tilt is not None:
                pos[s, 0], rot[s, 0] = _held(p, now)
                before_pos, before_rot = _held(p, now - self._dt)
                vel[s, 0] = (pos[s, 0] - before_pos) / self._dt
                turn = (rot[s, 0] @ before_rot.T - np.eye(3)) / self._dt
                spin[s, 0] = turn[2, 1], turn[0, 2], turn[1, 0]
            mujoco.mj_step(m, d)
            for k in range(cups):
                if p.tilt is not None and k == 0:
                    continue
                body = self._cup_body[k]
                start = m.body_dofadr[body]
                pos[s, k], rot[s, k] = d.xpos[body], d.xmat[body].reshape(3, 3)
                vel[s, k] = d.qvel[start : start + 3]
                spin[s, k] = rot[s, k] @ d.qvel[start + 3 : start + 6]
            if p.ball is not None:
                start = m.joint("ball").dofadr[0]
                ball_pos[s, 0], ball_vel[s, 0] = (
                    d.body("ball").xpos,
                    d.qvel[start : start + 3],
                )
                self._watch_ball(now)
        self._pose = (pos[-1].copy(), rot[-1].copy(), vel[-1].copy())
        if not self._awake:
            # Water at rest in a cup at rest is left alone.
            stirred = np.abs(vel).max() > 0.02
            if p.ball is not None:
                middle = pos[:, 0] + 0.5 * self._vessels[0].height * rot[:, 0, :, 2]
                near = np.linalg.norm(ball_pos[:, 0] - middle, axis=-1).min()
                stirred |= near < p.ball.radius + 0.6 * self._vessels[0].height
            self._awake = bool(stirred)
        if self._awake:
            radii = np.array([p.ball.radius] if p.ball is not None else [], float)
            self.water.advance(self._dt, (pos, rot, vel, spin), (ball_pos, ball_vel, radii))
        self._wet_table()

    def _weigh(self) -> None:
        """Let the cup weigh what it and the water still in it weigh together."""
        cup, vessel, body = self.plan.cups[0], self._vessels[0], self._cup_body[0]
        share = float((self.water.side[:, 0] == fluid.INSIDE).mean())
        mass, centre, inertia = _lump(cup, vessel, share)
        self._model.body_mass[body] = mass
        self._model.body_ipos[body] = (0.0, 0.0, centre)
        self._model.body_inertia[body] = inertia

    def _wet_table(self) -> None:
        water, p, cell = self.water, self.plan, self._wet_cell
        low = water.alive & (water.x[:, 2] < 1.6 * water.spacing) & (water.x[:, 2] > -0.02)
        low &= ~(water.side == fluid.INSIDE).any(1)
        if low.any():
            fluid.soak(
                self._wet,
                water.x[low],
                p.table[0],
                p.table[2],
                cell,
                1.3 * water.spacing,
            )

    # --- what happened -----------------------------------------------------------------------------------

    def _watch_ball(self, now: float) -> None:
        if any(event.kind == "hit" for event in self._events):
            return
        d, m, p = self._data, self._model, self.plan
        ball, body = m.body("ball").id, self._cup_body[0]
        if d.ncon:
            owners = m.geom_bodyid[d.contact.geom]
            if ((owners == ball).any(1) & (owners == body).any(1)).any():
                self._events.append(Event(kind="hit", seconds=now, a=0, b=1))
                return
        if self._passed is None:
            velocity = np.array(p.ball.velocity[:2])
            gap = (d.xpos[ball, :2] - d.xpos[body, :2]) @ velocity / np.linalg.norm(velocity)
            if gap > 0:
                self._passed = now

    def _once(self, kind: str, a: int, b: int | None = None) -> None:
        if not any(event.kind == kind and event.a == a for event in self._events):
            self._events.append(Event(kind=kind, seconds=self.frame / FPS, a=a, b=b))

    def _look(self) -> None:
        """Find this frame's events in the state."""
        p, positions = self.plan, self._object_positions()
        rotations = self._object_rotations()
        for i, item in enumerate(self.truth_objects):
            # Only what a witness can see: a ball that drops behind the table is just gone.
            if positions[i, 2] < -0.15 and (self._ids == 1 + i).any():
                self._once("fell_off", i)
            if p.tilt is None and item["shape"] == "cup" and rotations[i, 2, 2] < 0.5:
                self._once("tipped", i)
        cup = self._shift
        if p.tilt is not None and self._held_share(0) <= 0.5:
            self._once("poured", cup)
        if (p.tilt is None or len(p.cups) > 1) and self._landed() >= 0.5:
            self._once("spilled", cup)

    def _held_share(self, cup: int) -> float:
        return float((self.water.side[:, cup] == fluid.INSIDE).mean())

    def _landed(self) -> float:
        """Share of the water that is in no cup and no longer in the air."""
        water = self.water
        down = ~water.alive | (water.x[:, 2] < 2 * water.spacing)
        return float((down & ~(water.side == fluid.INSIDE).any(1)).mean())

    @property
    def spilled_fraction(self) -> float:
        """Share of the water that is in no cup."""
        return float(1.0 - (self.water.side == fluid.INSIDE).any(1).mean())

    @property
    def events(self) -> tuple[Event, ...]:
        p, found = self.plan, list(self._events)
        kinds = {event.kind for event in found}
        if p.tilt is None:
            if "hit" not in kinds and self._passed is not None:
                found.append(Event(kind="missed", seconds=self._passed, a=0, b=1))
            up = float(self._object_rotations()[1, 2, 2])
            if (
                "hit" in kinds
                and not kinds & {"tipped", "spilled"}
                and up > 0.95
                and self.spilled_fraction < 0.1
            ):
                found.append(Event(kind="upright", seconds=self.frame / FPS, a=1))
        elif len(p.cups) > 1:
            # What was poured went into the other cup if most of it is there now.
            into = 1 if self._held_share(1) >= 0.5 * (1.0 - self._held_share(0)) else None
            found = [replace(event, b=into) if event.kind == "poured" else event for event in found]
        return tuple(sorted(found, key=lambda event: event.seconds))

    @property
    def event(self) -> str | None:
        """The headline."""
        kinds = [event.kind for event in self.events]
        for kind in (
            "poured",
            "tipped",
            "spilled",
            "fell_off",
            "upright",
            "missed",
            "hit",
        ):
            if kind in kinds and (
                kind != "fell_off"
                or any(e.kind == kind and e.a == self._shift for e in self.events)
            ):
                return kind
        return None

    @property
    def truth(self) -> dict[str, Any]:
        p, objects = self.plan, self.truth_objects
        path, screen = np.array(self._path), self._screen()
        # The ball's motion is the one it came with, not where it went after the hit.
        hit = next((event.seconds for event in self.events if event.kind == "hit"), None)
        until = None if hit is None else max(2, math.ceil(hit * FPS))
        groups = [
            {
                "count": 1,
                **{key: item[key] for key in ("colour", "size", "shape", "material")},
                "motion": self._word(
                    path[: until if item["shape"] == "ball" else None, i],
                    screen[:, i],
                    i,
                ),
                "speed": self._speed(i),
                "objects": [i],
            }
            for i, item in enumerate(objects)
        ]
        events = self.events
        relations = []
        if p.ball is not None:
            relations = [{"a": 0, "relation": "into" if hit is not None else "towards", "b": 1}]
        elif len(p.cups) > 1:
            relations = [
                {
                    "a": 0,
                    "relation": "left of" if screen[0, 0, 0] < screen[0, 1, 0] else "right of",
                    "b": 1,
                }
            ]
        return {
            "world": self.name,
            "version": self.version,
            "seed": p.seed,
            "template": p.template,
            "groups": groups,
            "relations": relations,
            "event": self.event,
            "events": [
                {"kind": e.kind, "seconds": round(e.seconds, 3), "a": e.a, "b": e.b} for e in events
            ],
            "objects": objects,
            "camera": {"kind": p.camera, "direction": p.camera_direction},
            "ground": render.GROUNDS[p.ground],
            "sky": render.SKIES[p.sky],
            "spilled_fraction": round(self.spilled_fraction, 4),
        }

    def _word(self, path: np.ndarray, screen: np.ndarray, index: int) -> str:
        # A held cup only turns.
        return "rest" if self._joint(index) is None else _motion(path, screen)

    def _speed(self, index: int) -> str | None:
        if self.plan.ball is None or index != 0:
            return None
        return "fast" if math.hypot(*self.plan.ball.velocity[:2]) > 2.4 else "slow"

    def caption(self, length: str = "medium") -> str:
        seed = (0x63617074, VERSION, self.plan.seed, len(length))
        return tell(self.truth, length, np.random.default_rng(seed))

    def _screen(self) -> np.ndarray:
        """(T, K, 2): where the objects' middles were seen, x and y in [0, 1] from the top left."""
        aspect = self.size.width / self.size.height
        return np.array(
            [render.project(self.camera(t), at, aspect)[:, :2] for t, at in enumerate(self._path)]
        )

    @property
    def truth_objects(self) -> list[dict[str, Any]]:
        p = self.plan
        items = [] if p.ball is None else [(p.ball, "ball")]
        items += [(cup, "cup") for cup in p.cups]
        return [
            {
                "colour": item.colour,
                "shape": shape,
                "size": item.size,
                "material": item.material,
                "group": i,
            }
            for i, (item, shape) in enumerate(items)
        ]

    # --- poses ---------------------------------------------------------------------------------------------

    def _cup_pose(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        if self.plan.tilt is not None and k == 0:
            return _held(self.plan, self.frame / FPS)
        body = self._cup_body[k]
        return self._data.xpos[body].copy(), self._data.xmat[body].reshape(3, 3).copy()

    def _object_positions(self) -> np.ndarray:
        """(K, 3): middles of the ball and of the cups."""
        rows = [] if self.plan.ball is None else [self._data.body("ball").xpos.copy()]
        for k, vessel in enumerate(self._vessels):
            pos, rot = self._cup_pose(k)
            rows.append(pos + 0.5 * vessel.height * rot[:, 2])
        return np.array(rows)

    def _object_rotations(self) -> np.ndarray:
        rows = [] if self.plan.ball is None else [self._data.body("ball").xmat.reshape(3, 3).copy()]
        return np.array(rows + [self._cup_pose(k)[1] for k in range(len(self._vessels))])

    @property
    def state(self) -> dict[str, np.ndarray]:
        """Objects' positions, rotations (w, x, y, z), velocities; particles' positions, velocities, sides."""
        rotations = self._object_rotations()
        quaternions = np.zeros((len(rotations), 4))
        for row, matrix in zip(quaternions, rotations, strict=True):
            mujoco.mju_mat2Quat(row, matrix.ravel())
        velocities = np.zeros((len(rotations), 3))
        for i in range(len(rotations)):
            joint = self._joint(i)
            if joint is not None:
                start = self._model.joint(joint).dofadr[0]
                velocities[i] = self._data.qvel[start : start + 3]
        return {
            "positions": self._object_positions(),
            "rotations": quaternions,
            "velocities": velocities,
            "water_positions": self.water.x.copy(),
            "water_velocities": self.water.v.copy(),
            "water_in_cup": self.water.side == fluid.INSIDE,
        }

    # --- pictures ------------------------------------------------------------------------------------------

    def camera(self, frame: int | None = None) -> Camera:
        """Where the camera is at a frame (by default now)."""
        p = self.plan
        s = (self.frame if frame is None else frame) / 24
        azimuth, distance = p.azimuth, 3.0 if p.tilt is None else 3.3
        if p.camera == "orbit":
            azimuth += (0.45 if p.camera_direction == "right" else -0.45) * (s - 0.5)
        elif p.camera == "dolly":
            distance *= 1 + (-0.28 if p.camera_direction == "in" else 0.28) * (s - 0.5)
        up = 0.56 if p.tilt is None else 0.46
        target = (0.0, 0.08, 0.18 if p.tilt is None else 0.42)
        return Camera(
            position=(
                target[0] + distance * math.sin(azimuth) * math.cos(up),
                target[1] - distance * math.cos(azimuth) * math.cos(up),
                target[2] + distance * math.sin(up),
            ),
            target=target,
        )

    def _scene(self) -> render.Scene:
        p, items = self.plan, self.truth_objects
        sizes, kinds = [], []
        if p.ball is not None:
            kinds.append(render.SPHERE)
            sizes.append((p.ball.radius, 0, 0, 0))
        for vessel in self._vessels:
            kinds.append(render.CUP)
            sizes.append(
                (
                    vessel.top_radius,
                    vessel.bottom_radius,
                    0.5 * vessel.height,
                    vessel.wall,
                )
            )
        return render.Scene(
            kinds=np.array(kinds),
            positions=self._object_positions(),
            rotations=self._object_rotations(),
            sizes=np.array(sizes, float),
            colours=np.array([render.linear(render.PALETTE[item["colour"]]) for item in items]),
            materials=np.array([render.MATERIALS.index(item["material"]) for item in items]),
            object_ids=np.arange(1, len(items) + 1),
            ground=p.ground,
            ground_tint=p.ground_tint,
            ground_offset=p.ground_offset,
            sky=p.sky,
            sun=p.sun,
            table=p.table,
            water=self._surface(),
            stain=render.Stain(
                wetness=self._wet,
                origin=(p.table[0], p.table[2]),
                spacing=self._wet_cell,
            ),
        )

    def _surface(self) -> render.Water | None:
        """The water's surface as the picture wants it: depth under the surface, a layer for each side."""
        water, cell = self.water, self._field_cell
        near = water.alive & (np.abs(water.x[:, 0]) < 1.8) & (water.x[:, 2] > -0.8)
        if not near.any():
            return None
        low = np.floor(water.x[near].min(0) / cell - 4) * cell
        shape = tuple(int(v) + 5 for v in np.ceil((water.x[near].max(0) - low) / cell))
        density = fluid.surface(
            water.x,
            near,
            1.3 * water.spacing,
            water.side,
            low,
            cell,
            2.1 * water.spacing,
            0.62 * water.spacing,
            shape,
        )
        return render.Water(
            density=density,
            origin=tuple(float(v) for v in low),
            spacing=cell,
            level=0.0,
            cups=tuple(range(self._shift, self._shift + len(self._vessels))),
        )

    def _draw(
        self, size: Size | None, camera: Camera | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if self.plan is None:
            raise RequestError("a picture was asked for before reset")
        return render.render(
            self._scene(),
            camera or self.camera(),
            size or self.size,
            supersample=self.supersample,
        )

    def _picture(self) -> np.ndarray:
        rgb, self._ids, self._depth = self._draw(None, None)
        return rgb

    def render(self, size: Size | None = None, camera: Camera | None = None) -> np.ndarray:
        return self._draw(size, camera)[0]

    def masks(self, size: Size | None = None, camera: Camera | None = None) -> np.ndarray:
        if size is None and camera is None:
            return self._ids.copy()
        return self._draw(size, camera)[1]


def _motion(path: np.ndarray, screen: np.ndarray) -> str:
    """The word for how a middle moved: path (T, 3) in metres, screen (>= T, 2) where it was seen."""
    shift = path[-1] - path[0]
    if np.abs(shift).max() < 0.12:
        return "rest"
    if shift[2] < -0.35 and -shift[2] > abs(shift[0]):
        return "fall"
    screen = screen[: len(path)]
    seen = screen[((screen > -0.1) & (screen < 1.1)).all(1)]
    across = seen[-1, 0] - seen[0, 0] if len(seen) > 1 else shift[0]
    if abs(across) < 0.03:
        return "rest"
    return "right" if across > 0 else "left"


# --- solids ----------------------------------------------------------------------------------------------


def _lump(
    cup: CupPlan, vessel: fluid.Vessel, share: float
) -> tuple[float, float, tuple[float, float, float]]:
    """Mass, height of the centre of mass and inertia of a cup with a share of its water."""
    r, h = 0.5 * (vessel.top_radius + vessel.bottom_radius), vessel.height
    shell = (
        _CUP_DENSITY[cup.material]
        * vessel.wall
        * (2 * math.pi * r * h + math.pi * vessel.bottom_radius**2)
    )
    depth = max(cup.depth, 1e-3) * max(share, 0.05)
    water = 1000.0 * vessel.volume(max(cup.depth, 1e-3)) * share
    mass = shell + water
    middle, water_middle = 0.45 * h, vessel.wall + 0.5 * depth
    centre = (shell * middle + water * water_middle) / mass
    upright = shell * r * r + 0.5 * water * r * r
    across = shell * (r * r / 2 + h * h / 12 + (middle - centre) ** 2) + water * (
        r * r / 4 + depth**2 / 12 + (water_middle - centre) ** 2
    )
    return mass, centre, (across, across, upright)


def _xml(p: Plan, dt: float) -> str:
    """The MuJoCo model: table, floor, ball and cups of flat staves."""
    x0, x1, y0, y1 = p.table
    bodies = []
    if p.ball is not None:
        x, y, z = p.ball.position
        bodies.append(
            f'<body name="ball" pos="{x} {y} {z}"><freejoint name="ball"/>'
            f'<geom type="sphere" size="{p.ball.radius}" density="{_BALL_DENSITY[p.ball.material]}"'
            ' friction="0.5 0.005 0.002"/></body>'
        )
    for k, cup in enumerate(p.cups):
        vessel = cup.vessel
        held = p.tilt is not None and k == 0
        mass, centre, inertia = _lump(cup, vessel, 1.0 if cup.fill else 0.0)
        slope = math.atan2(vessel.top_radius - vessel.bottom_radius, vessel.height)
        radius = 0.5 * (vessel.top_radius + vessel.bottom_radius) - 0.5 * vessel.wall
        contact = ' contype="0" conaffinity="0"' if held else ""
        staves = "".join(
            f'<geom type="box" size="{vessel.wall / 2} {1.02 * radius * math.tan(math.pi / _WALLS)}'
            f' {vessel.height / 2}" pos="{radius * math.cos(a)} {radius * math.sin(a)} {vessel.height / 2}"'
            f' xyaxes="{math.cos(a) * math.cos(slope)} {math.sin(a) * math.cos(slope)} {-math.sin(slope)}'
            f' {-math.sin(a)} {math.cos(a)} 0" mass="0"{contact}/>'
            for a in (2 * math.pi * i / _WALLS for i in range(_WALLS))
        )
        joint = "" if held else f'<freejoint name="cup{k}"/>'
        x, y, z = cup.position
        bodies.append(
            f'<body name="cup{k}" pos="{x} {y} {z}"{" mocap=" + chr(34) + "true" + chr(34) if held else ""}>{joint}'
            f'<inertial pos="0 0 {centre}" mass="{mass}" diaginertia="{inertia[0]} {inertia[1]} {inertia[2]}"/>'
            f'<geom type="cylinder" size="{vessel.bottom_radius} {vessel.wall / 2}" pos="0 0 {vessel.wall / 2}"'
            f' mass="0"{contact}/>{staves}</body>'
        )
    return f"""<mujoco><option timestep="{dt}" gravity="0 0 -{fluid.GRAVITY}"/>
<default><geom friction="1.6 0.005 0.001" solref="0.008 0.6"/></default>
<worldbody>
<geom type="box" pos="{(x0 + x1) / 2} {(y0 + y1) / 2} -0.05" size="{(x1 - x0) / 2} {(y1 - y0) / 2} 0.05"/>
<geom type="plane" pos="0 0 -0.9" size="20 20 0.1"/>
{"".join(bodies)}
</worldbody></mujoco>"""


def _held(p: Plan, seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """Pose of the held cup: it turns about its lip."""
    tilt, cup = p.tilt, p.cups[0]
    share = min(1.0, max(0.0, (seconds - tilt.start) / tilt.duration))
    angle = tilt.angle * share * share * (3 - 2 * share)
    toward = np.array((math.cos(tilt.heading), math.sin(tilt.heading), 0.0))
    lip = cup.vessel.top_radius * toward + np.array((0.0, 0.0, cup.vessel.height))
    ax, ay = -toward[1], toward[0]  # z turns towards `toward` about this axis
    c, s = math.cos(angle), math.sin(angle)
    rot = np.array(
        (
            (c + ax * ax * (1 - c), ax * ay * (1 - c), ay * s),
            (ax * ay * (1 - c), c + ay * ay * (1 - c), -ax * s),
            (-ay * s, ax * s, c),
        )
    )
    return np.array(cup.position) + lip - rot @ lip, rot
