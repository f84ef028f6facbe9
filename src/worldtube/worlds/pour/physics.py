"""From a state, or what plan tokens tell, back to a plan that the pour world runs.

Knows nothing of how the state came about.
"""

import math
from dataclasses import replace
from typing import Any

import numpy as np

from worldtube.codec.water import WaterPlan, find_water_plan
from worldtube.errors import RequestError
from worldtube.state import CameraPath, Pouring, State
from worldtube.worlds.pour.engine import FPS
from worldtube.worlds.pour.plan import (
    NUM_STEPS,
    ORBIT,
    SLIDE,
    ZOOM,
    BallPlan,
    CupPlan,
    Plan,
    TiltPlan,
)
from worldtube.worlds.render import GROUNDS, SKIES

_RESTS = 0.012
"""Metres above the table at which a thing stands or rolls on it."""
_CLEAR = 0.001
"""Metres that a rolling ball starts above the table."""


def plan_from_state(state: State, water: WaterPlan | None = None) -> Plan:
    """The plan that begins as a state does: its first frame, its camera path, and its water at rest in the first cup.

    Args:
        state: at 12 frames a second; of a clip of 25 frames, or else the camera makes its move in as many as that
        water: how full the first cup is and whether it is poured from; that of the state when not said

    Raises:
        RequestError: for what the pour world cannot run
    """
    if abs(state.fps - FPS) > 1e-3:
        raise RequestError(f"the state's fps must be {FPS:g}, got {state.fps:g}")
    water = water or find_water_plan(state)
    if water is None:
        raise RequestError("the state must have water to be poured, got none")
    balls = [k for k, body in enumerate(state.bodies) if body.shape == "ball"]
    cups = [k for k, body in enumerate(state.bodies) if body.shape == "cup"]
    if len(balls) + len(cups) < len(state.bodies) or len(balls) > 1 or not 1 <= len(cups) <= 2:
        shapes = ", ".join(body.shape for body in state.bodies) or "nothing"
        raise RequestError(f"water needs one or two cups and at most one ball, got {shapes}")
    if (water.pouring is None) == (not balls):
        raise RequestError("water is either poured or has a ball come at it, got both or neither")
    if water.pouring is not None and water.pouring.body != cups[0]:
        raise RequestError(f"the first cup, {cups[0]}, must be poured, got {water.pouring.body}")
    tilt = water.pouring
    around = state.surroundings
    view = _fit_view(state.camera)
    return Plan(
        seed=0,
        template="knock" if tilt is None else "pour",
        cups=tuple(
            _cup_plan(state, k, fill=0.0 if i else water.fill, held=tilt is not None and not i)
            for i, k in enumerate(cups)
        ),
        ball=_ball_plan(state, balls[0]) if balls else None,
        tilt=None if tilt is None else _tilt_plan(tilt),
        table=around.table,
        ground=GROUNDS.index(around.ground),
        ground_tint=around.ground_tint,
        ground_offset=around.ground_offset,
        sky=SKIES.index(around.sky),
        sun=around.sun,
        **view,
    )


def _tilt_plan(pouring: Pouring) -> TiltPlan:
    return TiltPlan(
        heading=pouring.heading,
        start=pouring.start,
        duration=pouring.duration,
        angle=pouring.angle,
    )


def _cup_plan(state: State, k: int, *, fill: float, held: bool) -> CupPlan:
    body, middle = state.bodies[k], state.poses.positions[0, k]
    cup = CupPlan(
        colour=body.colour,
        size=body.size,
        material="glass" if body.material == "glass" else "plastic",
        position=(0.0, 0.0, 0.0),
        fill=fill,
    )
    bottom = float(middle[2]) - 0.5 * cup.vessel.height
    position = (float(middle[0]), float(middle[1]), bottom if held else 0.0)
    return replace(cup, position=position)


def _ball_plan(state: State, k: int) -> BallPlan:
    body, middle = state.bodies[k], state.poses.positions[0, k]
    x, y, z = state.poses.velocities[0, k].tolist()
    ball = BallPlan(
        colour=body.colour,
        size=body.size,
        material=body.material,
        position=(0.0, 0.0, 0.0),
        velocity=(x, y, z),
    )
    height = float(middle[2])
    if height - ball.radius < _RESTS:
        height = ball.radius + _CLEAR
    return replace(ball, position=(float(middle[0]), float(middle[1]), height))


def _fit_view(path: CameraPath) -> dict[str, Any]:
    """The fields of a plan whose camera moves most nearly as the path does."""
    offset = (path.positions - path.targets).astype(float)
    distance = np.linalg.norm(offset, axis=-1)
    azimuth = np.unwrap(np.arctan2(offset[:, 0], -offset[:, 1]))
    share = max(len(path) - 1, 1) / NUM_STEPS  # of the whole move
    turn = float(azimuth[-1] - azimuth[0]) / share
    zoom = float(math.log(distance[-1] / distance[0])) / share
    slide = float(path.targets[-1, 0] - path.targets[0, 0]) / share
    kind, direction = "fixed", None
    if abs(turn) > 0.5 * ORBIT:
        kind, direction = "orbit", "right" if turn > 0 else "left"
    elif abs(zoom) > 0.5 * ZOOM:
        kind, direction = "dolly", "out" if zoom > 0 else "in"
    elif abs(slide) > 0.5 * SLIDE:
        kind, direction = "dolly", "right" if slide > 0 else "left"
    middle = float(azimuth[0]) + 0.5 * turn if kind == "orbit" else float(azimuth[0])
    return {"camera": kind, "camera_direction": direction, "azimuth": middle}
