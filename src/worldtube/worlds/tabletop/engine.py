"""MuJoCo's model of a tabletop plan, stepped frame by frame under the eyes of the `Witness`.

Owns the engine's model, its clock and pushes. Knows nothing of pictures, captions or how a plan is drawn.
"""

import math
from collections.abc import Mapping
from typing import Any

import mujoco
import numpy as np

from worldtube.errors import RequestError
from worldtube.state import Body, CameraPath, Poses, State, Surroundings
from worldtube.worlds import render
from worldtube.worlds.tabletop.plan import VERSION, Plan
from worldtube.worlds.tabletop.templates import GRAVITY
from worldtube.worlds.tabletop.things import Thing
from worldtube.worlds.tabletop.witness import Witness

FPS = 12.0
LOOKS, _STEPS = 14, 3
"""A frame is 42 steps of 1.98 ms; contacts are looked at after every third."""
_CUP_WALLS = 12
_STIFF = 200.0
"""Angular frequency of contacts, 1 / s: a bounce lasts 16 ms."""
DENSITY = {"rubber": 420.0, "plastic": 330.0, "wood": 380.0, "metal": 800.0}
_BOUNCE = {"rubber": 0.72, "plastic": 0.58, "wood": 0.42, "metal": 0.35}
"""Height of speed after a bounce over that before; bodies with corners keep less."""
_CORNERS = 0.32


class Engine:
    """The rigid bodies of one plan."""

    def __init__(self, plan: Plan):
        self.plan = plan
        self.model = mujoco.MjModel.from_xml_string(_xml(plan))
        self.data = mujoco.MjData(self.model)
        count = len(plan.things)
        self._rows = slice(1, 1 + count)  # body 0 is the world
        # Which thing a geom belongs to: -1 for table and floor.
        self._owner = self.model.geom_bodyid - 1
        for k, thing in enumerate(plan.things):
            turn = np.zeros(9)
            mujoco.mju_quat2Mat(turn, np.array(thing.rotation))
            self.data.qvel[6 * k : 6 * k + 3] = thing.velocity
            self.data.qvel[6 * k + 3 : 6 * k + 6] = turn.reshape(3, 3).T @ thing.spin
        mujoco.mj_forward(self.model, self.data)
        self.witness = Witness(plan, self.positions)

    @property
    def positions(self) -> np.ndarray:
        """(K, 3), metres."""
        return self.data.xpos[self._rows].copy()

    @property
    def rotations(self) -> np.ndarray:
        """(K, 3, 3), body axes to world axes."""
        return self.data.xmat[self._rows].reshape(-1, 3, 3).copy()

    @property
    def quaternions(self) -> np.ndarray:
        """(K, 4), w first."""
        return self.data.xquat[self._rows].copy()

    @property
    def velocities(self) -> np.ndarray:
        """(K, 3), metres per second."""
        return self.data.qvel.reshape(-1, 6)[:, :3].copy()

    @property
    def spins(self) -> np.ndarray:
        """(K, 3), radians per second, body axes."""
        return self.data.qvel.reshape(-1, 6)[:, 3:].copy()

    @property
    def poses(self) -> Poses:
        """This instant."""
        rotations = self.rotations
        values = {
            "positions": self.positions,
            "rotations": rotations,
            "velocities": self.velocities,
            "spins": np.einsum("kij,kj->ki", rotations, self.spins),
        }
        return Poses(**{name: value[None].astype(np.float32) for name, value in values.items()})

    def push(self, action: Any) -> None:
        """Apply an impulse to a body: (index, (x, y, z) in newton seconds)."""
        try:
            index, impulse = int(action[0]), np.asarray(action[1], float).reshape(3)
        except (TypeError, ValueError, IndexError, KeyError) as error:
            raise RequestError(
                f"the action {action!r} is not a push (accepted: None or (object, (x, y, z)))"
            ) from error
        count = len(self.plan.things)
        if not 0 <= index < count:
            raise RequestError(f"object {index} cannot be pushed (accepted: 0 to {count - 1})")
        self.data.qvel[6 * index : 6 * index + 3] += impulse / self.model.body_mass[1 + index]

    def step(self, instants: int = 1) -> Poses:
        """Go on by one frame.

        Args:
            instants: how many evenly spaced instants of the frame are returned, the last at its end; a divisor of 14.
        """
        poses = []
        for look in range(LOOKS):
            mujoco.mj_step(self.model, self.data, _STEPS)
            self._look()
            if (look + 1) % (LOOKS // instants) == 0:
                poses.append(self.poses)
        self.witness.frame(self.positions)
        return Poses.concat(poses)

    def _look(self) -> None:
        data, count = self.data, len(self.plan.things)
        grounded = np.zeros(count, bool)
        touching = set()
        if data.ncon:
            for a, b in self._owner[data.contact.geom].tolist():
                if a < 0 or b < 0:
                    grounded[max(a, b)] = True
                else:
                    touching.add((min(a, b), max(a, b)))
        self.witness.look(
            data.time,
            data.xpos[self._rows].copy(),
            data.xmat[self._rows, 2::3],
            self.velocities,
            touching,
            grounded,
        )

    def bodies(self) -> tuple[Body, ...]:
        """What does not change about the things of the plan."""
        return tuple(
            Body(
                shape=thing.shape,
                colour=thing.colour,
                material=thing.material,
                size=thing.size,
                dimensions=thing.dimensions,
                mass=float(mass),
                friction=thing.friction,
                restitution=restitution(thing.shape, thing.material),
                group=thing.group,
            )
            for thing, mass in zip(self.plan.things, self.model.body_mass[self._rows], strict=True)
        )


def simulate(
    plan: Plan,
    *,
    num_frames: int = 25,
    pushes: Mapping[int, Any] | None = None,
    instants: int = 1,
) -> tuple[State, Witness]:
    """Run a plan without drawing it.

    Args:
        plan: which things, where, how they start
        num_frames: picture frames of the state
        pushes: frame -> action as for `Engine.push`, applied before the step that follows that frame
        instants: rows of poses per frame (the state then has 1 + instants * (num_frames - 1) of them, and its
            fps and camera count those); a divisor of 14

    Returns:
        The state, and the witness that tells events and motions.
    """
    engine = Engine(plan)
    parts = [engine.poses]
    for frame in range(num_frames - 1):
        if pushes and frame in pushes:
            engine.push(pushes[frame])
            parts[-1] = Poses.concat([parts[-1][:-1], engine.poses])
        parts.append(engine.step(instants))
    poses = Poses.concat(parts)
    return describe(plan, engine.bodies(), poses, instants=instants), engine.witness


def describe(plan: Plan, bodies: tuple[Body, ...], poses: Poses, *, instants: int = 1) -> State:
    """The state of a plan whose bodies move like that."""
    cameras = [plan.view.camera(t / instants) for t in range(len(poses))]
    return State(
        fps=FPS * instants,
        bodies=bodies,
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
    )


def facts_of(plan: Plan, witness: Witness) -> dict[str, Any]:
    """What captions tell (JSON-able): groups and how they move, relations, events, camera, ground, sky."""
    return {
        "world": "tabletop",
        "version": VERSION,
        "seed": plan.seed,
        "shot": plan.shot,
        "template": plan.template,
        "groups": witness.groups(FPS),
        "relations": witness.relations(),
        "event": witness.event,
        "events": [
            {"kind": e.kind, "seconds": round(e.seconds, 3), "a": e.a, "b": e.b}
            for e in witness.events
        ],
        "objects": [
            {
                "colour": thing.colour,
                "shape": thing.shape,
                "size": thing.size,
                "material": thing.material,
                "group": thing.group,
            }
            for thing in plan.things
        ],
        "camera": {"kind": plan.view.kind, "direction": plan.view.direction},
        "ground": render.GROUNDS[plan.ground],
        "sky": render.SKIES[plan.sky],
    }


def restitution(shape: str, material: str) -> float:
    """Height of speed after a bounce over that before; bodies with corners keep less."""
    return _BOUNCE[material] * (1.0 if shape == "ball" else _CORNERS)


def _geoms(thing: Thing) -> str:
    log = math.log(restitution(thing.shape, thing.material))
    damping = 2 * _STIFF * -log / math.hypot(math.pi, log)
    density = thing.heaviness * DENSITY[thing.material] * (2.0 if thing.shape == "cup" else 1.0)
    rolls = thing.shape in ("ball", "cylinder")
    common = (
        f'density="{density}" solref="{-(_STIFF**2):.6g} {-damping:.6g}" solimp="0.95 0.99 0.001" '
        f'priority="1" condim="{6 if rolls else 4}" '
        f'friction="{thing.friction:.6g} 0.01 {0.0015 if rolls else 0.0001}"'
    )
    d = thing.dimensions
    if thing.shape == "ball":
        return f'<geom type="sphere" size="{d[0]:.6g}" {common}/>'
    if thing.shape == "box":
        return f'<geom type="box" size="{d[0]:.6g} {d[1]:.6g} {d[2]:.6g}" {common}/>'
    if thing.shape == "cylinder":
        return f'<geom type="cylinder" size="{d[0]:.6g} {d[1]:.6g}" {common}/>'
    # A cup: a ring of leaning boxes on a flat cylinder.
    top, bottom, half, wall = d
    lean = math.atan2(top - bottom, 2 * half)
    middle = 0.5 * (top + bottom) - 0.5 * wall
    wide = math.tan(math.pi / _CUP_WALLS) * (middle + 0.5 * wall)
    parts = [
        f'<geom type="cylinder" size="{bottom:.6g} {0.5 * wall:.6g}" '
        f'pos="0 0 {0.5 * wall - half:.6g}" {common}/>'
    ]
    for k in range(_CUP_WALLS):
        angle = 2 * math.pi * k / _CUP_WALLS
        # Own x outwards: lean about the tangent, then turn about z.
        a, b = math.cos(lean / 2), math.sin(lean / 2)
        c, s = math.cos(angle / 2), math.sin(angle / 2)
        quat = f"{c * a:.6g} {-s * b:.6g} {c * b:.6g} {s * a:.6g}"
        parts.append(
            f'<geom type="box" size="{0.5 * wall:.6g} {wide:.6g} {half / math.cos(lean) - 0.5 * wall:.6g}" '
            f'pos="{middle * math.cos(angle):.6g} {middle * math.sin(angle):.6g} {0.25 * wall:.6g}" '
            f'quat="{quat}" {common}/>'
        )
    return "".join(parts)


def _xml(p: Plan) -> str:
    x0, x1, y0, y1 = p.table
    thickness, floor = render.Scene.table_thickness, render.Scene.floor
    bodies = "".join(
        f'<body pos="{thing.position[0]:.8g} {thing.position[1]:.8g} {thing.position[2]:.8g}" '
        f'quat="{" ".join(f"{v:.8g}" for v in thing.rotation)}"><freejoint/>{_geoms(thing)}</body>'
        for thing in p.things
    )
    return f"""
<mujoco>
  <option timestep="{1 / FPS / (LOOKS * _STEPS):.10g}" gravity="0 0 {-GRAVITY}" integrator="implicitfast"/>
  <worldbody>
    <geom type="box" pos="{(x0 + x1) / 2:.8g} {(y0 + y1) / 2:.8g} {-thickness / 2:.8g}"
          size="{(x1 - x0) / 2:.8g} {(y1 - y0) / 2:.8g} {thickness / 2:.8g}"/>
    <geom type="plane" pos="0 0 {floor}" size="20 20 1"/>
    {bodies}
  </worldbody>
</mujoco>"""
