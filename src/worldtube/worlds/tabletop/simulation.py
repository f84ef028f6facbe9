"""The tabletop world: MuJoCo moves the things, `Witness` tells what happened, `render` draws them.

Owns the engine's model of a plan and the clock. Knows nothing of how a clip is drawn from a seed (`plan`), of
what counts as an event (`witness`) or of wording (`language`).
"""

import math
from typing import Any

import mujoco
import numpy as np

from worldtube.errors import RequestError
from worldtube.video import Size
from worldtube.worlds import render
from worldtube.worlds.language import caption as tell
from worldtube.worlds.tabletop.plan import VERSION, Plan, plan
from worldtube.worlds.tabletop.templates import GRAVITY
from worldtube.worlds.tabletop.things import Thing
from worldtube.worlds.tabletop.witness import Witness
from worldtube.worlds.world import Camera, Event

FPS = 12.0
_LOOKS, _STEPS = 14, 3
"""A frame is 42 steps of 1.98 ms; contacts are looked at after every third."""
_CUP_WALLS = 12
_STIFF = 200.0
"""Angular frequency of contacts, 1 / s: a bounce lasts 16 ms."""
_DENSITY = {"rubber": 420.0, "plastic": 330.0, "wood": 380.0, "metal": 800.0}
_BOUNCE = {"rubber": 0.72, "plastic": 0.58, "wood": 0.42, "metal": 0.35}
"""Height of speed after a bounce over that before; bodies with corners keep less."""
_CORNERS = 0.32


class Tabletop:
    """The world; see `World`. An action is None or a push: (object index, (x, y, z) impulse in newton seconds)."""

    name = "tabletop"
    version = VERSION
    fps = FPS

    def __init__(self, *, size: Size | None = None, supersample: int = 2):
        self.size, self.supersample = size or Size(64, 64), supersample
        self.plan: Plan | None = None

    # running

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start over; `options` may hold a `shot` (which camera) or a whole `plan` in place of the seed's."""
        options = options or {}
        if unknown := set(options) - {"plan", "shot"}:
            raise RequestError(f"unknown option {min(unknown)!r} (accepted: plan, shot)")
        self.plan = options.get("plan") or plan(
            0 if seed is None else seed, shot=options.get("shot", 0)
        )
        self.frame = 0
        self._model = mujoco.MjModel.from_xml_string(_xml(self.plan))
        self._data = mujoco.MjData(self._model)
        count = len(self.plan.things)
        self._bodies = slice(1, 1 + count)
        # Which thing a geom belongs to: -1 for table and floor.
        self._owner = self._model.geom_bodyid - 1
        for k, thing in enumerate(self.plan.things):
            turn = np.zeros(9)
            mujoco.mju_quat2Mat(turn, np.array(thing.rotation))
            self._data.qvel[6 * k : 6 * k + 3] = thing.velocity
            self._data.qvel[6 * k + 3 : 6 * k + 6] = turn.reshape(3, 3).T @ thing.spin
        mujoco.mj_forward(self._model, self._data)
        self._witness = Witness(self.plan, self._positions)
        self._screen: list[list[list[float] | None]] = []
        return self._picture(), self._info()

    def step(self, action: Any = None) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One frame."""
        if self.plan is None:
            raise RequestError("step was called before reset")
        if action is not None:
            self._push(action)
        model, data = self._model, self._data
        for _ in range(_LOOKS):
            mujoco.mj_step(model, data, _STEPS)
            self._look()
        self.frame += 1
        self._witness.frame(self._positions)
        return self._picture(), 0.0, False, False, self._info()

    def close(self) -> None:
        self.plan = None

    def _push(self, action: Any) -> None:
        try:
            index, impulse = int(action[0]), np.asarray(action[1], float).reshape(3)
        except (TypeError, ValueError, IndexError, KeyError) as error:
            raise RequestError(
                f"the action {action!r} is not a push (accepted: None or (object, (x, y, z)))"
            ) from error
        count = len(self.plan.things)
        if not 0 <= index < count:
            raise RequestError(f"object {index} cannot be pushed (accepted: 0 to {count - 1})")
        self._data.qvel[6 * index : 6 * index + 3] += impulse / self._model.body_mass[1 + index]

    def _look(self) -> None:
        data, count = self._data, len(self.plan.things)
        grounded = np.zeros(count, bool)
        touching = set()
        if data.ncon:
            for a, b in self._owner[data.contact.geom].tolist():
                if a < 0 or b < 0:
                    grounded[max(a, b)] = True
                else:
                    touching.add((min(a, b), max(a, b)))
        self._witness.look(
            data.time,
            data.xpos[self._bodies].copy(),
            data.xmat[self._bodies, 2::3],
            self._velocities,
            touching,
            grounded,
        )

    def _info(self) -> dict[str, Any]:
        return {"state": self.state, "events": self.events}

    # what is

    @property
    def _positions(self) -> np.ndarray:
        return self._data.xpos[self._bodies].copy()

    @property
    def _velocities(self) -> np.ndarray:
        return self._data.qvel.reshape(-1, 6)[:, :3].copy()

    @property
    def state(self) -> dict[str, np.ndarray]:
        """Positions, rotations (w, x, y, z), velocities and angular velocities (own axes), a row per object."""
        return {
            "positions": self._positions,
            "rotations": self._data.xquat[self._bodies].copy(),
            "velocities": self._velocities,
            "spins": self._data.qvel.reshape(-1, 6)[:, 3:].copy(),
        }

    @property
    def events(self) -> tuple[Event, ...]:
        return self._witness.events

    @property
    def truth(self) -> dict[str, Any]:
        p, witness = self.plan, self._witness
        return {
            "world": self.name,
            "version": self.version,
            "seed": p.seed,
            "shot": p.shot,
            "template": p.template,
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
                for thing in p.things
            ],
            "camera": {"kind": p.view.kind, "direction": p.view.direction},
            "ground": render.GROUNDS[p.ground],
            "sky": render.SKIES[p.sky],
            "trajectories": np.round(np.array(witness.path), 3).transpose(1, 0, 2).tolist(),
            "screen": [list(row) for row in zip(*self._screen, strict=True)],
            "camera_path": [
                {
                    "position": [round(v, 4) for v in camera.position],
                    "target": [round(v, 4) for v in camera.target],
                    "field_of_view": camera.field_of_view,
                }
                for camera in (p.view.camera(t) for t in range(len(witness.path)))
            ],
        }

    def caption(self, length: str = "medium") -> str:
        measured = ("trajectories", "screen", "camera_path")
        facts = {key: value for key, value in self.truth.items() if key not in measured}
        seed = (0x63617074, VERSION, self.plan.seed, len(length))
        return tell(facts, length, np.random.default_rng(seed))

    # pictures

    def camera(self, frame: int | None = None) -> Camera:
        """Where the camera is at a frame (by default now)."""
        return self.plan.view.camera(self.frame if frame is None else frame)

    def _draw(
        self, size: Size | None, camera: Camera | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if self.plan is None:
            raise RequestError("a picture was asked for before reset")
        p = self.plan
        scene = render.Scene(
            kinds=np.array([_KINDS[thing.shape] for thing in p.things]),
            positions=self._positions,
            rotations=self._data.xmat[self._bodies].reshape(-1, 3, 3).copy(),
            sizes=np.array([thing.dimensions for thing in p.things]),
            colours=np.array([render.linear(render.PALETTE[thing.colour]) for thing in p.things]),
            materials=np.array([render.MATERIALS.index(thing.material) for thing in p.things]),
            object_ids=np.arange(1, 1 + len(p.things)),
            ground=p.ground,
            ground_tint=p.ground_tint,
            ground_offset=p.ground_offset,
            sky=p.sky,
            sun=p.sun,
            table=p.table,
        )
        return render.render(
            scene, camera or self.camera(), size or self.size, supersample=self.supersample
        )

    def _picture(self) -> np.ndarray:
        rgb, self._ids, self._depth = self._draw(None, None)
        height, width = self._ids.shape
        row: list[list[float] | None] = []
        for k in range(len(self.plan.things)):
            y, x = np.nonzero(self._ids == k + 1)
            seen = (
                [
                    round((float(x.mean()) + 0.5) / width, 4),
                    round((float(y.mean()) + 0.5) / height, 4),
                    len(x),
                ]
                if len(x)
                else None
            )
            row.append(seen)
        self._screen.append(row)
        return rgb

    def render(self, size: Size | None = None, camera: Camera | None = None) -> np.ndarray:
        return self._draw(size, camera)[0]

    def masks(self, size: Size | None = None, camera: Camera | None = None) -> np.ndarray:
        if size is None and camera is None:
            return self._ids.copy()
        return self._draw(size, camera)[1]


_KINDS = {
    "ball": render.SPHERE,
    "box": render.BOX,
    "cylinder": render.CYLINDER,
    "cup": render.CUP,
}


def _geoms(thing: Thing) -> str:
    bounce = _BOUNCE[thing.material] * (1.0 if thing.shape == "ball" else _CORNERS)
    log = math.log(bounce)
    damping = 2 * _STIFF * -log / math.hypot(math.pi, log)
    density = thing.heaviness * _DENSITY[thing.material] * (2.0 if thing.shape == "cup" else 1.0)
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
  <option timestep="{1 / FPS / (_LOOKS * _STEPS):.10g}" gravity="0 0 {-GRAVITY}" integrator="implicitfast"/>
  <worldbody>
    <geom type="box" pos="{(x0 + x1) / 2:.8g} {(y0 + y1) / 2:.8g} {-thickness / 2:.8g}"
          size="{(x1 - x0) / 2:.8g} {(y1 - y0) / 2:.8g} {thickness / 2:.8g}"/>
    <geom type="plane" pos="0 0 {floor}" size="20 20 1"/>
    {bodies}
  </worldbody>
</mujoco>"""
