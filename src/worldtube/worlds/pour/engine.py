"""The pour world without pictures: MuJoCo moves the solids, MLS-MPM the water among them, `Witness` looks on.

The coupling is one way: moving cups and the ball push the water; the water only weighs the cup down, as a lump, until
it has left it. Owns the clock and the way from a plan to a `State`.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import mujoco
import numpy as np

from worldtube.errors import RequestError
from worldtube.state import Body, CameraPath, Poses, Pouring, State, Surroundings, Water
from worldtube.worlds import fluid, render
from worldtube.worlds.fluid.drawing import WET_CELL
from worldtube.worlds.pour.plan import VERSION, BallPlan, CupPlan, Plan
from worldtube.worlds.pour.sight import find_visible
from worldtube.worlds.pour.solids import (
    BALL_FRICTION,
    FRICTION,
    RESTITUTION,
    ball_mass,
    held_pose,
    lump,
    model,
)
from worldtube.worlds.pour.witness import Witness
from worldtube.worlds.world import Event

FPS = 12.0
# Water of a small cup moves in cells of 5 cm, that of a large one in cells of 8 cm: the same number of particles.
_CELL = {"small": 0.05, "large": 0.08}
_SUBSTEPS = {"small": 50, "large": 34}
_DRAG = 7.0
_INSTANT = 1e-4
"""Seconds over which the velocity of a held cup is told."""


class Engine:
    """The bodies and the water of one plan. Objects: the ball, if there is one, then the cups."""

    def __init__(self, plan: Plan):
        self.plan, self.frame = plan, 0
        self._shift = 1 if plan.ball is not None else 0
        size = plan.cups[0].size
        self._substeps = _SUBSTEPS[size]
        self._dt = 1 / FPS / self._substeps
        self._model = mujoco.MjModel.from_xml_string(model(plan, self._dt))
        self._data = mujoco.MjData(self._model)
        self._vessels = tuple(cup.vessel for cup in plan.cups)
        self._cup_body = [self._model.body(f"cup{k}").id for k in range(len(plan.cups))]
        if plan.ball is not None:
            start = self._model.joint("ball").dofadr[0]
            self._data.qvel[start : start + 3] = plan.ball.velocity
            self._data.qvel[start + 3 : start + 6] = plan.ball.spin
        mujoco.mj_forward(self._model, self._data)
        self._start_water()
        self.witness = Witness(plan, self.water)

    def _start_water(self) -> None:
        p = self.plan
        cell = _CELL[p.cups[0].size]
        rng = np.random.default_rng((0x776174, VERSION, p.seed))
        vessel, depth = self._vessels[0], p.cups[0].depth
        domain = fluid.Domain(
            low=(-cell * round(2.0 / cell), -cell * round(1.1 / cell), -cell * round(0.9 / cell)),
            cells=(round(4.0 / cell), round(2.3 / cell), round(2.9 / cell)),
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
        shape = tuple(
            int((b - a) / WET_CELL) + 2
            for a, b in ((p.table[0], p.table[1]), (p.table[2], p.table[3]))
        )
        self.wetness = np.zeros(shape, np.float32)
        """(X, Y) nodes, `WET_CELL` metres apart, from the left front corner of the table."""

    def push(self, action: Any) -> None:
        """Change the velocity of an object: {"object": index, "velocity": (x, y, z)}, metres per second."""
        try:
            index, velocity = (
                int(action["object"]),
                np.asarray(action["velocity"], float).reshape(3),
            )
        except (TypeError, KeyError, ValueError) as error:
            raise RequestError(
                f"the action {action!r} is not a push (accepted: None or {{'object': i, 'velocity': (x, y, z)}})"
            ) from error
        movable = [i for i in range(len(self.plan.objects)) if self._joint(i) is not None]
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

    def step(self) -> None:
        """Go on by one frame: first the solids, then the water among them. `look` is to be called after it."""
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
                pos[s, 0], rot[s, 0] = held_pose(p, now)
                before_pos, before_rot = held_pose(p, now - self._dt)
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
        self.frame += 1

    def look(self, visible: np.ndarray) -> None:
        """Let the witness see this frame; visible: bool (K,), which objects are in the picture."""
        self.witness.frame(self.frame / FPS, self.positions, self.rotations, visible)

    def _weigh(self) -> None:
        """Let the cup weigh what it and the water still in it weigh together."""
        cup, vessel, body = self.plan.cups[0], self._vessels[0], self._cup_body[0]
        share = float((self.water.side[:, 0] == fluid.INSIDE).mean())
        mass, centre, inertia = lump(cup, vessel, share)
        self._model.body_mass[body] = mass
        self._model.body_ipos[body] = (0.0, 0.0, centre)
        self._model.body_inertia[body] = inertia

    def _wet_table(self) -> None:
        water, p = self.water, self.plan
        low = water.alive & (water.x[:, 2] < 1.6 * water.spacing) & (water.x[:, 2] > -0.02)
        low &= ~(water.side == fluid.INSIDE).any(1)
        if low.any():
            fluid.soak(
                self.wetness,
                water.x[low],
                p.table[0],
                p.table[2],
                WET_CELL,
                1.3 * water.spacing,
            )

    def _watch_ball(self, now: float) -> None:
        if self.witness.hit is not None:
            return
        d, m = self._data, self._model
        ball, body = m.body("ball").id, self._cup_body[0]
        owners = m.geom_bodyid[d.contact.geom] if d.ncon else np.empty((0, 2))
        touches = ((owners == ball).any(1) & (owners == body).any(1)).any()
        self.witness.ball(now, bool(touches), d.xpos[ball, :2] - d.xpos[body, :2])

    # poses

    def _cup_pose(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        if self.plan.tilt is not None and k == 0:
            return held_pose(self.plan, self.frame / FPS)
        body = self._cup_body[k]
        return self._data.xpos[body].copy(), self._data.xmat[body].reshape(3, 3).copy()

    @property
    def positions(self) -> np.ndarray:
        """(K, 3): middles of the ball and of the cups, metres."""
        rows = [] if self.plan.ball is None else [self._data.body("ball").xpos.copy()]
        for k, vessel in enumerate(self._vessels):
            pos, rot = self._cup_pose(k)
            rows.append(pos + 0.5 * vessel.height * rot[:, 2])
        return np.array(rows)

    @property
    def rotations(self) -> np.ndarray:
        """(K, 3, 3), body axes to world axes."""
        rows = [] if self.plan.ball is None else [self._data.body("ball").xmat.reshape(3, 3).copy()]
        return np.array(rows + [self._cup_pose(k)[1] for k in range(len(self._vessels))])

    @property
    def velocities(self) -> np.ndarray:
        """(K, 3) of the bodies' origins (a cup's is the middle of its underside), metres per second; a held cup's
        are 0."""
        velocities = np.zeros((len(self.plan.objects), 3))
        for i in range(len(velocities)):
            joint = self._joint(i)
            if joint is not None:
                start = self._model.joint(joint).dofadr[0]
                velocities[i] = self._data.qvel[start : start + 3]
        return velocities

    @property
    def poses(self) -> Poses:
        """This instant; velocities are those of the middles."""
        rotations, velocities = self.rotations, self.velocities
        spins = np.zeros_like(velocities)
        for i in range(len(velocities)):
            joint = self._joint(i)
            if joint is not None:
                start = self._model.joint(joint).dofadr[0]
                spins[i] = rotations[i] @ self._data.qvel[start + 3 : start + 6]
            else:
                now = self.frame / FPS
                (pos, rot), (next_pos, next_rot) = (
                    held_pose(self.plan, now + step) for step in (-_INSTANT, _INSTANT)
                )
                velocities[i] = (next_pos - pos) / (2 * _INSTANT)
                turn = (next_rot @ rot.T - np.eye(3)) / (2 * _INSTANT)
                spins[i] = turn[2, 1], turn[0, 2], turn[1, 0]
            if i >= self._shift:
                height = self._vessels[i - self._shift].height
                velocities[i] += np.cross(spins[i], 0.5 * height * rotations[i, :, 2])
        values = {
            "positions": self.positions,
            "rotations": rotations,
            "velocities": velocities,
            "spins": spins,
        }
        return Poses(**{name: value[None].astype(np.float32) for name, value in values.items()})


def simulate(
    plan: Plan, *, num_frames: int = 25, pushes: Mapping[int, Any] | None = None
) -> tuple[State, Witness]:
    """Run a plan without drawing it.

    Args:
        plan: which cups and ball, what is poured
        num_frames: picture frames of the state
        pushes: frame -> action as for `Engine.push`, applied before the step that follows that frame

    Returns:
        The state, and the witness that tells events and motions. What falls off the table is said to where it can be
        seen in a square picture.
    """
    engine = Engine(plan)
    names = ("positions", "velocities", "sides", "present", "wetness")
    poses: list[Poses] = []
    rows: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for frame in range(num_frames):
        if frame:
            engine.step()
        engine.look(find_visible(plan.camera_at(frame), engine.positions, engine.rotations, plan))
        if pushes and frame in pushes:
            engine.push(pushes[frame])
        poses.append(engine.poses)
        water = engine.water
        for name, value in zip(
            names, (water.x, water.v, water.side, water.alive, engine.wetness), strict=True
        ):
            rows[name].append(value.copy())
    arrays = {name: np.stack(values) for name, values in rows.items()}
    cup = plan.cups[0]
    state_water = Water(
        cups=tuple(range(len(plan.objects) - len(plan.cups), len(plan.objects))),
        spacing=engine.water.spacing,
        particle_volume=cup.vessel.volume(cup.depth) / len(engine.water.x),
        positions=arrays["positions"].astype(np.float32),
        velocities=arrays["velocities"].astype(np.float32),
        sides=arrays["sides"],
        present=arrays["present"],
        wetness=arrays["wetness"],
        wetness_origin=(plan.table[0], plan.table[2]),
        wetness_spacing=WET_CELL,
    )
    return describe(plan, Poses.concat(poses), state_water), engine.witness


def describe(plan: Plan, poses: Poses, water: Water | None) -> State:
    """The state of a plan whose bodies and water move like that; what is poured is the plan's."""
    cameras = [plan.camera_at(frame) for frame in range(len(poses))]
    tilt = plan.tilt
    if water is not None:
        pouring = None
        if tilt is not None:
            pouring = Pouring(
                body=water.cups[0],
                heading=tilt.heading,
                start=tilt.start,
                duration=tilt.duration,
                angle=tilt.angle,
            )
        water = replace(water, pouring=pouring)
    return State(
        fps=FPS,
        bodies=make_bodies(plan),
        poses=poses,
        surroundings=Surroundings(
            ground=render.GROUNDS[plan.ground],
            ground_tint=plan.ground_tint,
            ground_offset=plan.ground_offset,
            sky=render.SKIES[plan.sky],
            sun=plan.sun,
            table=plan.table,
        ),
        camera=CameraPath(
            positions=np.array([camera.position for camera in cameras], np.float32),
            targets=np.array([camera.target for camera in cameras], np.float32),
        ),
        water=water,
    )


def make_bodies(plan: Plan) -> tuple[Body, ...]:
    """What does not change about the ball and the cups; a cup's mass is without water."""

    def body(item: BallPlan | CupPlan, group: int, **known: Any) -> Body:
        return Body(
            colour=item.colour,
            material=item.material,
            size=item.size,
            restitution=RESTITUTION,
            group=group,
            **known,
        )

    balls = [] if plan.ball is None else [plan.ball]
    bodies = [
        body(
            ball,
            0,
            shape="ball",
            dimensions=(ball.radius, 0.0, 0.0, 0.0),
            mass=ball_mass(ball),
            friction=BALL_FRICTION,
        )
        for ball in balls
    ]
    for k, cup in enumerate(plan.cups):
        top, bottom, height, wall = cup.vessel.row()
        bodies.append(
            body(
                cup,
                len(balls) + k,
                shape="cup",
                dimensions=(top, bottom, 0.5 * height, wall),
                mass=lump(cup, cup.vessel, 0.0)[0],
                friction=FRICTION,
            )
        )
    return tuple(bodies)


def facts_of(plan: Plan, witness: Witness, *, aspect: float = 1.0) -> dict[str, Any]:
    """What captions tell (JSON-able): groups and how they move, relations, events, camera, ground, sky, water.

    Args:
        aspect: width of the picture divided by its height
    """
    across = render.project(plan.camera_at(0), witness.path[0], aspect)[:, 0]
    return {
        "world": "pour",
        "version": VERSION,
        "seed": plan.seed,
        "template": plan.template,
        "groups": witness.groups(FPS),
        "relations": witness.relations(across),
        "event": witness.event,
        "events": tell_events(witness.events),
        "objects": plan.objects,
        "camera": {"kind": plan.camera, "direction": plan.camera_direction},
        "ground": render.GROUNDS[plan.ground],
        "sky": render.SKIES[plan.sky],
        "spilled_fraction": round(witness.spilled_fraction, 4),
    }


def tell_events(events: tuple[Event, ...]) -> list[dict[str, Any]]:
    """Events as facts hold them."""
    return [{"kind": e.kind, "seconds": round(e.seconds, 3), "a": e.a, "b": e.b} for e in events]
