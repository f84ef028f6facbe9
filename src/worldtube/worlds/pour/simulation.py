"""The pour world itself: steps the solids and the water and shows them; `witness` finds what happened.

The coupling is one way: moving cups and the ball push the water; the water only weighs the cup
down, as a lump, until it has left it.
"""

import math
from typing import Any

import mujoco
import numpy as np

from worldtube.errors import RequestError
from worldtube.video import Size
from worldtube.worlds import fluid, render
from worldtube.worlds.language import caption as tell
from worldtube.worlds.pour.plan import VERSION, Plan, plan
from worldtube.worlds.pour.solids import held_pose, lump, model
from worldtube.worlds.pour.witness import Witness
from worldtube.worlds.world import Camera, Event

FPS = 12.0
# Water of a small cup moves in cells of 5 cm, that of a large one in cells of 8 cm: the same number of particles.
_CELL = {"small": 0.05, "large": 0.08}
_SUBSTEPS = {"small": 50, "large": 34}
_DRAG = 7.0


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
        if options.get("shot"):
            raise RequestError(f"shot is {options['shot']} (accepted: 0; pour has one camera)")
        if unknown := set(options) - {"plan", "shot"}:
            raise RequestError(f"unknown option {min(unknown)!r} (accepted: plan)")
        self.plan = options.get("plan") or plan(0 if seed is None else seed)
        p = self.plan
        self.frame = 0
        self._shift = 1 if p.ball is not None else 0
        size = p.cups[0].size
        self._substeps = _SUBSTEPS[size]
        self._dt = 1 / FPS / self._substeps
        self._model = mujoco.MjModel.from_xml_string(model(p, self._dt))
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
        self._witness = Witness(p, self.water)
        picture = self._picture()
        self._look()
        return picture, {"state": self.state}

    def step(self, action: Any = None) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One frame. `action` is None or a push: {"object": index, "velocity": (vx, vy, vz)}, metres per second."""
        p = self.plan
        if p is None:
            raise RequestError("step was called before reset")
        if action is not None:
            self._push(action)
        self._simulate(p)
        self.frame += 1
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

    def _start_water(self) -> None:
        p, size = self.plan, self.plan.cups[0].size
        cell = _CELL[size]
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
        # Its picture: a distance field on nodes as fine as the particles, and the table's wetness.
        self._field_cell = 1.15 * spacing
        self._wet_cell = 0.03
        shape = tuple(
            int((b - a) / self._wet_cell) + 2
            for a, b in ((p.table[0], p.table[1]), (p.table[2], p.table[3]))
        )
        self._wet = np.zeros(shape, np.float32)

    def _simulate(self, p: Plan) -> None:
        """One frame: first the solids, then the water among them."""
        m, d, count = self._model, self._data, self._substeps
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
        mass, centre, inertia = lump(cup, vessel, share)
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
        if self._witness.hit is not None:
            return
        d, m = self._data, self._model
        ball, body = m.body("ball").id, self._cup_body[0]
        owners = m.geom_bodyid[d.contact.geom] if d.ncon else np.empty((0, 2))
        touches = ((owners == ball).any(1) & (owners == body).any(1)).any()
        self._witness.ball(now, bool(touches), d.xpos[ball, :2] - d.xpos[body, :2])

    def _look(self) -> None:
        self._witness.frame(
            self.frame / FPS, self._object_positions(), self._object_rotations(), self._ids
        )

    @property
    def spilled_fraction(self) -> float:
        """Share of the water that is in no cup."""
        return self._witness.spilled_fraction

    @property
    def events(self) -> tuple[Event, ...]:
        return self._witness.events

    @property
    def event(self) -> str | None:
        """The headline."""
        return self._witness.event

    @property
    def truth(self) -> dict[str, Any]:
        p = self.plan
        aspect = self.size.width / self.size.height
        across = render.project(self.camera(0), self._witness.path[0], aspect)[:, 0]
        return {
            "world": self.name,
            "version": self.version,
            "seed": p.seed,
            "template": p.template,
            "groups": self._witness.groups(FPS),
            "relations": self._witness.relations(across),
            "event": self.event,
            "events": [
                {"kind": e.kind, "seconds": round(e.seconds, 3), "a": e.a, "b": e.b}
                for e in self.events
            ],
            "objects": p.objects,
            "camera": {"kind": p.camera, "direction": p.camera_direction},
            "ground": render.GROUNDS[p.ground],
            "sky": render.SKIES[p.sky],
            "spilled_fraction": round(self.spilled_fraction, 4),
        }

    def caption(self, length: str = "medium") -> str:
        seed = (0x63617074, VERSION, self.plan.seed, len(length))
        return tell(self.truth, length, np.random.default_rng(seed))

    # --- poses ---------------------------------------------------------------------------------------------

    def _cup_pose(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        p = self.plan
        if p is not None and p.tilt is not None and k == 0:
            return held_pose(p, self.frame / FPS)
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
        azimuth, distance, aside = p.azimuth, 3.0 if p.tilt is None else 3.3, 0.0
        if p.camera == "orbit":
            azimuth += (0.45 if p.camera_direction == "right" else -0.45) * (s - 0.5)
        elif p.camera_direction in ("in", "out"):
            distance *= 1 + (-0.28 if p.camera_direction == "in" else 0.28) * (s - 0.5)
        elif p.camera == "dolly":
            aside = (0.4 if p.camera_direction == "right" else -0.4) * (s - 0.5)
        up = 0.56 if p.tilt is None else 0.52
        target = (aside, 0.08, 0.18 if p.tilt is None else 0.42)
        return Camera(
            position=(
                target[0] + distance * math.sin(azimuth) * math.cos(up),
                target[1] - distance * math.cos(azimuth) * math.cos(up),
                target[2] + distance * math.sin(up),
            ),
            target=target,
        )

    def _scene(self) -> render.Scene:
        p, items = self.plan, self.plan.objects
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
        wide, deep, tall = (int(v) + 5 for v in np.ceil((water.x[near].max(0) - low) / cell))
        density = fluid.surface(
            water.x,
            near,
            1.3 * water.spacing,
            water.side,
            low,
            cell,
            2.1 * water.spacing,
            0.62 * water.spacing,
            (wide, deep, tall),
        )
        return render.Water(
            density=density,
            origin=(float(low[0]), float(low[1]), float(low[2])),
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
