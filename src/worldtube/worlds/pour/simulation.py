"""The pour world: the `Engine` under the eyes of a camera, drawn by `render`.

Owns what `World` asks for. Knows nothing of how things and water move (`engine`) or of what happened (`witness`).
"""

from typing import Any

import mujoco
import numpy as np

from worldtube.errors import RequestError
from worldtube.video import Size
from worldtube.worlds import fluid, render
from worldtube.worlds.fluid.drawing import WET_CELL, make_surface
from worldtube.worlds.language import caption as tell
from worldtube.worlds.pour.engine import FPS, Engine, facts_of, make_bodies
from worldtube.worlds.pour.plan import VERSION, Plan, plan
from worldtube.worlds.tabletop.drawing import make_scene
from worldtube.worlds.world import Camera, Event


class Pour:
    """The world; see `World`. Objects: `knock` has the ball (0) and the cup (1), `pour` the held cup (0)
    and, in most seeds, another cup (1)."""

    name = "pour"
    version = VERSION
    fps = FPS

    def __init__(self, *, size: Size | None = None, supersample: int = 2):
        self.size, self.supersample = size or Size(64, 64), supersample
        self.plan: Plan | None = None

    # running

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
        self._engine = Engine(self.plan)
        self._bodies = make_bodies(self.plan)
        return self._picture(), {"state": self.state}

    def step(self, action: Any = None) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One frame. `action` is None or a push: {"object": index, "velocity": (vx, vy, vz)}, metres per second."""
        if self.plan is None:
            raise RequestError("step was called before reset")
        if action is not None:
            self._engine.push(action)
        self._engine.step()
        return self._picture(), 0.0, False, False, {"state": self.state}

    def close(self) -> None:
        self.plan = None

    # what is

    @property
    def frame(self) -> int:
        return self._engine.frame

    @property
    def water(self) -> fluid.Water:
        """The particles."""
        return self._engine.water

    @property
    def state(self) -> dict[str, np.ndarray]:
        """Objects' positions, rotations (w, x, y, z), velocities; particles' positions, velocities, sides."""
        engine = self._engine
        rotations = engine.rotations
        quaternions = np.zeros((len(rotations), 4))
        for row, matrix in zip(quaternions, rotations, strict=True):
            mujoco.mju_mat2Quat(row, matrix.ravel())
        return {
            "positions": engine.positions,
            "rotations": quaternions,
            "velocities": engine.velocities,
            "water_positions": self.water.x.copy(),
            "water_velocities": self.water.v.copy(),
            "water_in_cup": self.water.side == fluid.INSIDE,
        }

    @property
    def spilled_fraction(self) -> float:
        """Share of the water that is in no cup."""
        return self._engine.witness.spilled_fraction

    @property
    def events(self) -> tuple[Event, ...]:
        return self._engine.witness.events

    @property
    def event(self) -> str | None:
        """The headline."""
        return self._engine.witness.event

    @property
    def truth(self) -> dict[str, Any]:
        aspect = self.size.width / self.size.height
        return facts_of(self._engine.plan, self._engine.witness, aspect=aspect)

    def caption(self, length: str = "medium") -> str:
        seed = (0x63617074, VERSION, self.plan.seed, len(length))
        return tell(self.truth, length, np.random.default_rng(seed))

    # pictures

    def camera(self, frame: int | None = None) -> Camera:
        """Where the camera is at a frame (by default now)."""
        return self._engine.plan.camera_at(self.frame if frame is None else frame)

    def _scene(self) -> render.Scene:
        p, engine, water = self.plan, self._engine, self.water
        first_cup = len(self._bodies) - len(p.cups)
        return make_scene(
            self._bodies,
            engine.positions,
            engine.rotations,
            ground=p.ground,
            ground_tint=p.ground_tint,
            ground_offset=p.ground_offset,
            sky=p.sky,
            sun=p.sun,
            table=p.table,
            water=make_surface(
                water.x,
                water.alive,
                water.side,
                water.spacing,
                tuple(range(first_cup, len(self._bodies))),
            ),
            stain=render.Stain(
                wetness=engine.wetness, origin=(p.table[0], p.table[2]), spacing=WET_CELL
            ),
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
        """Draw this frame and let the witness see it."""
        rgb, self._ids, _ = self._draw(None, None)
        self._engine.look(np.isin(1 + np.arange(len(self._bodies)), self._ids))
        return rgb

    def render(self, size: Size | None = None, camera: Camera | None = None) -> np.ndarray:
        return self._draw(size, camera)[0]

    def masks(self, size: Size | None = None, camera: Camera | None = None) -> np.ndarray:
        if size is None and camera is None:
            return self._ids.copy()
        return self._draw(size, camera)[1]
