"""The tabletop world: MuJoCo moves the things, `Witness` tells what happened, `render` draws them.

Owns the engine's model of a plan and the clock. Knows nothing of how a clip is drawn from a seed (`plan`), of
what counts as an event (`witness`) or of wording (`language`).
"""

from typing import Any

import numpy as np

from worldtube.errors import RequestError
from worldtube.video import Size
from worldtube.worlds import render
from worldtube.worlds.language import caption as tell
from worldtube.worlds.tabletop.drawing import make_scene
from worldtube.worlds.tabletop.engine import FPS, Engine, facts_of
from worldtube.worlds.tabletop.plan import VERSION, Plan, plan
from worldtube.worlds.world import Camera, Event


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
        self._engine = Engine(self.plan)
        self._screen: list[list[list[float] | None]] = []
        return self._picture(), self._info()

    def step(self, action: Any = None) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One frame."""
        if self.plan is None:
            raise RequestError("step was called before reset")
        if action is not None:
            self._engine.push(action)
        self._engine.step()
        self.frame += 1
        return self._picture(), 0.0, False, False, self._info()

    def close(self) -> None:
        self.plan = None

    def _info(self) -> dict[str, Any]:
        return {"state": self.state, "events": self.events}

    # what is

    @property
    def state(self) -> dict[str, np.ndarray]:
        """Positions, rotations (w, x, y, z), velocities and angular velocities (own axes), a row per object."""
        return {
            "positions": self._engine.positions,
            "rotations": self._engine.quaternions,
            "velocities": self._engine.velocities,
            "spins": self._engine.spins,
        }

    @property
    def events(self) -> tuple[Event, ...]:
        return self._engine.witness.events

    @property
    def truth(self) -> dict[str, Any]:
        p, witness = self._engine.plan, self._engine.witness
        return facts_of(p, witness) | {
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
        seed = (0x63617074, VERSION, self.plan.seed, len(length))
        facts = facts_of(self._engine.plan, self._engine.witness)
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
        scene = make_scene(
            p.things,
            self._engine.positions,
            self._engine.rotations,
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
