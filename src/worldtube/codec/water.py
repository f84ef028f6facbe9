"""Water in a plan as one more token: how full the cup is, which cups are glass, what is poured when and how.

A vector track (`water`, one token per plan) beside the tokens of `plan`, for what those cannot tell. A plan without
water has a token that says so. Numbers have about mean 0 and variance 1.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from worldtube.codec.plan import PlanTokens, decode_plan, encode_plan
from worldtube.errors import DataError
from worldtube.state import Body, Pouring, State

WATER_WIDTH = 12
NO_WATER = np.array([-1.0, *[0.0] * (WATER_WIDTH - 1)], np.float32)
"""The token of a plan without water."""

_EXISTS, _POURED, _FILL = 0, 1, 2
_GLASS, _HEADING = slice(3, 5), slice(5, 7)
_START, _DURATION, _ANGLE = 7, 8, 9
_EDGES = slice(10, 12)

_FILL_MEAN, _FILL_STD = 0.72, 0.1
_HEADING_STD = np.array([1.0, 0.25])  # of the cosine and the sine: water is poured along the screen
_TILT_MEAN, _TILT_STD = np.array([0.175, 0.95, 1.975]), np.array([0.072, 0.144, 0.13])
_TILT_LOW, _TILT_HIGH = np.array([0.0, 0.4, 1.2]), np.array([1.5, 2.5, 2.8])
_EDGE_STD = 0.5
_TABLE = (-1.7, 1.7, -0.75, 0.95)
"""Edges of a table whose sides are far from what happens, metres."""
_NEAREST = 0.05
"""Metres from the middle that a side of the table has at least."""


@dataclass(frozen=True, kw_only=True)
class WaterPlan:
    """What a plan says of water that its bodies do not."""

    fill: float
    """Depth of the water in the first cup as a share of the cup's inner height."""
    pouring: Pouring | None
    """How the first cup is emptied, if a hand that is not seen does it."""


def find_water_plan(state: State) -> WaterPlan | None:
    """The water of a state's first frame; None where there is none.

    Raises:
        DataError: where the first cup holds no water, or another one does
    """
    water = state.water
    if water is None:
        return None
    held = water.held_volumes[0]
    if not len(held) or held[0] <= 0 or held[1:].any():
        raise DataError("a plan has its water in the first cup, got a state with it elsewhere")
    body = state.bodies[water.cups[0]]
    inner_height = 2 * body.dimensions[2] - body.dimensions[3]
    return WaterPlan(fill=_depth(body, float(held[0])) / inner_height, pouring=water.pouring)


def encode_water_plan(state: State, slots: int) -> tuple[PlanTokens, np.ndarray]:
    """Encode the first frame of a state with or without water, and its whole camera path.

    Returns:
        The tokens that every plan has, in which glass counts as plastic, and the water's, float32 (WATER_WIDTH,).

    Raises:
        DataError: for more bodies than slots, more than two cups beside water, or water that is not in the first cup
    """
    plan = find_water_plan(state)
    opaque = tuple(
        replace(body, material="plastic") if body.material == "glass" else body
        for body in state.bodies
    )
    tokens = encode_plan(replace(state, bodies=opaque), slots)
    token = np.zeros(WATER_WIDTH)
    token[_EXISTS] = -1
    if plan is not None and state.water is not None:
        cups = [state.bodies[k] for k in state.water.cups]
        if len(cups) > 2:
            raise DataError(f"a plan with water has at most 2 cups, got {len(cups)}")
        token[_EXISTS] = 1
        token[_POURED] = -1 if plan.pouring is None else 1
        token[_FILL] = (plan.fill - _FILL_MEAN) / _FILL_STD
        for k, cup in enumerate(cups):
            token[_GLASS.start + k] = 1 if cup.material == "glass" else -1
        if plan.pouring is not None:
            heading = np.array([math.cos(plan.pouring.heading), math.sin(plan.pouring.heading)])
            token[_HEADING] = heading / _HEADING_STD
            tilt = np.array([plan.pouring.start, plan.pouring.duration, plan.pouring.angle])
            token[_START : _ANGLE + 1] = (tilt - _TILT_MEAN) / _TILT_STD
        left, right = state.surroundings.table[:2]
        token[_EDGES] = np.array([left - _TABLE[0], _TABLE[1] - right]) / _EDGE_STD
    return tokens, token.astype(np.float32)


def decode_water_plan(
    tokens: PlanTokens, water: np.ndarray | None = None, *, num_frames: int, fps: float = 12.0
) -> tuple[State, WaterPlan | None]:
    """The state that tokens tell, without particles, and the plan of its water, which an engine fills in.

    The water token is that of `tokens` when `water` is not said. What it says of glass and of the table's edges is in
    the state. Where it says that there is no water, the state is that of `decode_plan`, and where there is no cup there
    is no water.
    """
    state = decode_plan(tokens, num_frames=num_frames, fps=fps)
    water = tokens.water if water is None else water
    token = np.asarray(NO_WATER if water is None else water, float)
    cups = [k for k, body in enumerate(state.bodies) if body.shape == "cup"]
    if token[_EXISTS] <= 0 or not cups:
        return state, None
    bodies = list(state.bodies)
    for k, value in zip(cups, token[_GLASS], strict=False):
        bodies[k] = replace(bodies[k], material="glass" if value > 0 else "plastic")
    left, right = token[_EDGES] * _EDGE_STD
    table = (
        min(-_NEAREST, _TABLE[0] + float(left)) if left > 0.3 else _TABLE[0],
        max(_NEAREST, _TABLE[1] - float(right)) if right > 0.3 else _TABLE[1],
        _TABLE[2],
        _TABLE[3],
    )
    pouring = None
    if token[_POURED] > 0:
        cosine, sine = token[_HEADING] * _HEADING_STD
        tilt = (token[_START : _ANGLE + 1] * _TILT_STD + _TILT_MEAN).clip(_TILT_LOW, _TILT_HIGH)
        start, duration, angle = tilt.tolist()
        pouring = Pouring(
            body=cups[0],
            heading=math.atan2(sine, cosine),
            start=start,
            duration=duration,
            angle=angle,
        )
    state = replace(
        state,
        bodies=tuple(bodies),
        surroundings=replace(state.surroundings, table=table),
    )
    fill = float(np.clip(token[_FILL] * _FILL_STD + _FILL_MEAN, 0.2, 0.95))
    return state, WaterPlan(fill=fill, pouring=pouring)


def _depth(cup: Body, volume: float) -> float:
    """Metres that a volume of water stands above the base of an upright cup."""
    top, bottom, half, wall = cup.dimensions
    slope = (top - bottom) / (2 * half)
    base = bottom + slope * wall - wall  # inner radius at the base
    if abs(slope) < 1e-6:
        return volume / (math.pi * base**2)
    return (math.cbrt(base**3 + 3 * slope * volume / math.pi) - base) / slope
