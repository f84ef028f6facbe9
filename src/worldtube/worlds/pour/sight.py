"""Whether a thing can be seen from the camera, without a picture: lines of sight past the table and other things."""

import math

import numpy as np

from worldtube.worlds import render
from worldtube.worlds.pour.plan import Plan
from worldtube.worlds.pour.witness import FALLEN
from worldtube.worlds.world import Camera

_POINTS = 160
"""Points on a thing that are looked at."""
_LEAST = 2
"""How many of them have to be seen."""
_BLOCKS = 0.85
"""Radius of a ball that hides as much as a cup does, over the cup's own."""


def find_visible(
    camera: Camera, positions: np.ndarray, rotations: np.ndarray, plan: Plan
) -> np.ndarray:
    """Which of the things that fell below the table top can be seen in a square picture; the others count as seen.

    Args:
        positions: (K, 3), middles of the plan's objects, metres
        rotations: (K, 3, 3)

    Returns:
        bool (K,).
    """
    visible = np.ones(len(positions), bool)
    for k in np.nonzero(positions[:, 2] < FALLEN)[0]:
        visible[k] = _is_visible(camera, int(k), positions, rotations, plan)
    return visible


def _is_visible(
    camera: Camera, k: int, positions: np.ndarray, rotations: np.ndarray, plan: Plan
) -> bool:
    points = positions[k] + _surface(plan, k) @ rotations[k].T
    screen = render.project(camera, points)
    seen = (screen[:, 2] > 0) & ((screen[:, :2] > 0) & (screen[:, :2] < 1)).all(1)
    eye = np.asarray(camera.position)
    x0, x1, y0, y1 = plan.table
    low = np.array((x0, y0, -render.Scene.table_thickness))
    high = np.array((x1, y1, 0.0))
    seen &= ~_cross_box(eye, points, low, high) & (points[:, 2] > render.Scene.floor)
    for other, radius in enumerate(_radii(plan)):
        if other != k:
            seen &= ~_cross_ball(eye, points, positions[other], radius)
    return int(seen.sum()) >= _LEAST


def _surface(plan: Plan, k: int) -> np.ndarray:
    """(_POINTS, 3) points on object k, in its own axes from its middle."""
    i = np.arange(_POINTS) + 0.5
    turn, up = math.pi * (1 + math.sqrt(5)) * i, 1 - 2 * i / _POINTS
    if plan.ball is not None and k == 0:
        across = np.sqrt(1 - up * up)
        return plan.ball.radius * np.stack([across * np.cos(turn), across * np.sin(turn), up], -1)
    vessel = plan.cups[k - (plan.ball is not None)].vessel
    radius = 0.5 * (vessel.top_radius + vessel.bottom_radius)
    radius = radius + 0.5 * (vessel.top_radius - vessel.bottom_radius) * up
    return np.stack(
        [radius * np.cos(turn), radius * np.sin(turn), 0.5 * vessel.height * up], axis=-1
    )


def _radii(plan: Plan) -> list[float]:
    """Radius of a ball that hides what object k hides."""
    balls = [] if plan.ball is None else [plan.ball.radius]
    return balls + [_BLOCKS * cup.vessel.top_radius for cup in plan.cups]


def _cross_box(
    eye: np.ndarray, points: np.ndarray, low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    """Whether the way from the eye to each point passes the box, bool (P,)."""
    way = points - eye
    way = np.where(np.abs(way) < 1e-9, 1e-9, way)
    first, second = (low - eye) / way, (high - eye) / way
    near, far = np.minimum(first, second).max(1), np.maximum(first, second).min(1)
    return (near < far) & (far > 0) & (near < 1)


def _cross_ball(
    eye: np.ndarray, points: np.ndarray, middle: np.ndarray, radius: float
) -> np.ndarray:
    """Whether the way from the eye to each point passes the ball, bool (P,)."""
    way = points - eye
    share = ((middle - eye) * way).sum(1) / (way * way).sum(1)
    nearest = eye + way * share.clip(0, 1)[:, None]
    return np.linalg.norm(nearest - middle, axis=1) < radius
