"""`render`: a scene and a camera to colours, masks and depth. Checks them and lays them out for `rays`."""

import math

import numpy as np

from worldtube.errors import RequestError
from worldtube.video import Size
from worldtube.worlds.render.camera import camera_axes
from worldtube.worlds.render.rays import draw
from worldtube.worlds.render.scene import BOX, CYLINDER, SPHERE, Scene, Water
from worldtube.worlds.world import Camera


def render(
    scene: Scene, camera: Camera, size: Size, *, supersample: int = 2
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw one picture: rgb uint8 (H, W, 3), ids uint8 (H, W), depth float32 (H, W) metres along the ray.

    `supersample` squared rays are averaged in linear light; ids and depth are those of the pixel's centre.
    """
    if not 1 <= supersample <= 4:
        raise RequestError(f"supersample is {supersample} (accepted: 1 to 4)")
    width, height = size.width, size.height
    rgb = np.empty((height, width, 3), np.uint8)
    ids = np.empty((height, width), np.uint8)
    depth = np.empty((height, width), np.float32)
    eye, right, up, forward = camera_axes(camera)
    sun = np.asarray(scene.sun, np.float64)
    water, stain = scene.water, scene.stain
    draw(
        rgb,
        ids,
        depth,
        eye,
        right,
        up,
        forward,
        math.tan(math.radians(camera.field_of_view) / 2),
        supersample,
        np.ascontiguousarray(scene.kinds, np.int64),
        np.ascontiguousarray(scene.positions, np.float64),
        np.ascontiguousarray(scene.rotations, np.float64),
        np.ascontiguousarray(scene.sizes, np.float64),
        _bounds(scene),
        np.ascontiguousarray(scene.colours, np.float64),
        np.ascontiguousarray(scene.materials, np.int64),
        np.ascontiguousarray(scene.object_ids, np.int64),
        scene.ground,
        np.asarray(scene.ground_tint, np.float64),
        np.asarray(scene.ground_offset, np.float64),
        scene.sky,
        sun / np.linalg.norm(sun),
        np.asarray((*scene.table, scene.table_thickness, scene.floor), np.float64),
        _NOTHING_4D if water is None else _layers(water),
        np.asarray(
            (0, 0, 0, 1, 1, 0, 0, 0)
            if water is None
            else (*water.origin, water.spacing, water.level, *water.absorption),
            np.float64,
        ),
        _held(scene),
        _NOTHING_2D if stain is None else np.ascontiguousarray(stain.wetness, np.float32),
        np.asarray((0, 0, 1) if stain is None else (*stain.origin, stain.spacing), np.float64),
    )
    return rgb, ids, depth


_NOTHING_4D = np.zeros((1, 1, 1, 1), np.float32)
_NOTHING_2D = np.zeros((1, 1), np.float32)


def _layers(water: Water) -> np.ndarray:
    density = np.ascontiguousarray(water.density, np.float32)
    layers = density if density.ndim == 4 else density[None]
    if len(layers) != 1 + len(water.cups):
        raise RequestError(
            f"water has {len(layers)} layers for {len(water.cups)} cups (accepted: one more than cups)"
        )
    return layers


def _held(scene: Scene) -> np.ndarray:
    """(cups, 16): centre, axes and sizes of each cup that holds a layer of water."""
    rows = () if scene.water is None else scene.water.cups
    held = np.empty((len(rows), 16))
    for row, k in zip(held, rows, strict=True):
        row[:3], row[3:12], row[12:] = (
            scene.positions[k],
            scene.rotations[k].ravel(),
            scene.sizes[k],
        )
    return held


def _bounds(scene: Scene) -> np.ndarray:
    """(K, 2): the radius that holds the solid, and the radius of a ball that shades its surroundings as much."""
    bounds = np.empty((len(scene.kinds), 2))
    for k, (kind, size) in enumerate(zip(scene.kinds, scene.sizes, strict=True)):
        if kind == SPHERE:
            bounds[k] = size[0], size[0]
        elif kind == BOX:
            bounds[k] = math.hypot(*size[:3]), 1.2 * (size[0] * size[1] * size[2]) ** (1 / 3)
        elif kind == CYLINDER:
            bounds[k] = math.hypot(size[0], size[1]), 1.1 * (size[0] ** 2 * size[1]) ** (1 / 3)
        else:
            radius = max(size[0], size[1])
            bounds[k] = math.hypot(radius, size[2]), 1.1 * (size[0] * size[1] * size[2]) ** (1 / 3)
    bounds[:, 0] += 1e-6
    return bounds
