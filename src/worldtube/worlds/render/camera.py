"""Where a camera looks: its axes, and where a point of the world is seen. Knows nothing of scenes."""

import math

import numpy as np

from worldtube.worlds.world import Camera


def camera_axes(camera: Camera) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Eye, and the unit vectors to the right, up and forward as the picture has them."""
    eye = np.asarray(camera.position, np.float64)
    forward = np.asarray(camera.target, np.float64) - eye
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    return eye, right, np.cross(right, forward), forward


def project(camera: Camera, points: np.ndarray, aspect: float = 1.0) -> np.ndarray:
    """World points (..., 3) to (..., 3): x and y in [0, 1] from the picture's top left, and depth along the view."""
    eye, right, up, forward = camera_axes(camera)
    offset = np.asarray(points, np.float64) - eye
    depth = offset @ forward
    half = math.tan(math.radians(camera.field_of_view) / 2)
    x = 0.5 + 0.5 * (offset @ right) / (depth * half * aspect)
    y = 0.5 - 0.5 * (offset @ up) / (depth * half)
    return np.stack((x, y, depth), axis=-1)
