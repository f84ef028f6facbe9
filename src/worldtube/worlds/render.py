"""Draws a scene of analytic solids with a small ray caster (numba, one core, no GL).

Owns the `Scene` that worlds fill in, its materials, grounds, skies and lights, and `render`.
Knows nothing of physics, seeds, captions or time: the same scene always gives the same pixels.
"""

import math
from dataclasses import dataclass, field

import numpy as np
from numba import njit

from worldtube.errors import RequestError
from worldtube.video import Size
from worldtube.worlds.world import STAIN_ID, WATER_ID, Camera

SPHERE, BOX, CYLINDER, CUP = 0, 1, 2, 3
"""Kinds of solids. `Scene.sizes` rows: sphere (radius, -, -, -); box (half x, half y, half z, -);
cylinder along its own z (radius, half height, -, -); cup, open at +z (top outer radius, bottom outer radius,
half height, wall thickness; the base is as thick as the wall)."""

MATERIALS = ("rubber", "plastic", "metal", "wood", "glass")
"""A material's index is what `Scene.materials` holds. Glass lets most of what is behind it through."""

GROUNDS = ("wood", "tiles", "cloth", "stone", "checker")
SKIES = ("day", "dusk", "studio", "mint")

PALETTE = {
    "red": (0.86, 0.07, 0.08),
    "orange": (1.0, 0.47, 0.02),
    "yellow": (0.99, 0.88, 0.10),
    "green": (0.08, 0.60, 0.18),
    "blue": (0.08, 0.27, 0.88),
    "purple": (0.52, 0.13, 0.70),
    "white": (0.97, 0.97, 0.97),
    "black": (0.11, 0.11, 0.12),
}
"""sRGB in [0, 1]; `linear` turns it into what `Scene.colours` wants."""


@dataclass(frozen=True, kw_only=True)
class Water:
    """Water as a density on a regular grid of nodes; its surface is where the density crosses `level`.

    The density is a depth under the surface, or at least no steeper than one: it rises by at most 1 a metre.
    """

    density: np.ndarray
    """float32 (X, Y, Z), or (1 + cups, X, Y, Z): first the water that is in none of `cups`, then theirs in turn."""
    origin: tuple[float, float, float]
    """World position of node (0, 0, 0)."""
    spacing: float
    level: float = 0.5
    absorption: tuple[float, float, float] = (3.2, 1.2, 0.7)
    """Per metre, for red, green and blue light."""
    cups: tuple[int, ...] = ()
    """Rows of the solids that hold a layer of their own, so that no water is seen through a thin wall."""


@dataclass(frozen=True, kw_only=True)
class Stain:
    """How wet the table top is: 0 dry to 1 wet, on a regular grid of nodes."""

    wetness: np.ndarray
    """float32 (X, Y)."""
    origin: tuple[float, float]
    spacing: float


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Everything that a picture shows. K solids, world axes x right, y away, z up; the table top is z = 0."""

    kinds: np.ndarray
    """int64 (K,): SPHERE, BOX, CYLINDER or CUP."""
    positions: np.ndarray
    """float64 (K, 3): centres."""
    rotations: np.ndarray
    """float64 (K, 3, 3): own axes to world axes (MuJoCo's xmat)."""
    sizes: np.ndarray
    """float64 (K, 4), see the kinds."""
    colours: np.ndarray
    """float64 (K, 3): linear RGB."""
    materials: np.ndarray
    """int64 (K,): indices into MATERIALS."""
    object_ids: np.ndarray
    """int64 (K,): what the masks show, 1 + object index."""
    ground: int = 0
    """Index into GROUNDS."""
    ground_tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Multiplies the ground's colours; keep it close to grey."""
    ground_offset: tuple[float, float] = (0.0, 0.0)
    """Where the pattern starts, so that two wooden tables are not the same table."""
    sky: int = 0
    """Index into SKIES."""
    sun: tuple[float, float, float] = (-0.4, -0.5, 0.77)
    """Towards the sun, any length."""
    table: tuple[float, float, float, float] = (-1.7, 1.7, -0.75, 0.95)
    """x0, x1, y0, y1 of the table top."""
    table_thickness: float = 0.10
    floor: float = -0.9
    """Height of the floor that the table stands on."""
    water: Water | None = field(default=None)
    stain: Stain | None = field(default=None)


def linear(srgb: tuple[float, float, float]) -> tuple[float, float, float]:
    """A colour as a screen shows it, as the linear light that `Scene.colours` wants."""
    return tuple(c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in srgb)


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
    _draw(
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


_NOTHING_4D = np.zeros((1, 1, 1, 1), np.float32)
_NOTHING_2D = np.zeros((1, 1), np.float32)


def _layers(water: Water) -> np.ndarray:
    density = np.ascontiguousarray(water.density, np.float32)
    layers = density if density.ndim == 4 else density[None]
    if len(layers) != 1 + len(water.cups):
        raise RequestError(f"water has {len(layers)} layers for {len(water.cups)} cups (accepted: one more than cups)")
    return layers


def _held(scene: Scene) -> np.ndarray:
    """(cups, 16): centre, axes and sizes of each cup that holds a layer of water."""
    rows = () if scene.water is None else scene.water.cups
    held = np.empty((len(rows), 16))
    for row, k in zip(held, rows, strict=True):
        row[:3], row[3:12], row[12:] = scene.positions[k], scene.rotations[k].ravel(), scene.sizes[k]
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


# From here on everything is compiled. Rays are six floats; a hit is (t, what, normal), where what >= 0 is a
# solid's row and the rest is:
_MISS, _TOP, _SIDE, _FLOOR, _WALL = -1, -2, -3, -4, -5
_FAR = 1e9
_WALL_Y = 3.4
_SCATTER = 15.0
"""Share of light that a metre of water scatters, as an exponent."""
_WATER = linear((0.42, 0.66, 0.88))
_LUT_SIZE = 4096
_SRGB = np.array(
    [
        round(255 * (12.92 * v if v <= 0.0031308 else 1.055 * v ** (1 / 2.4) - 0.055))
        for v in (i / (_LUT_SIZE - 1) for i in range(_LUT_SIZE))
    ],
    np.uint8,
)


def _linear_rows(rows):
    return np.array([linear(row) for row in rows])


# Muted on purpose: no ground and no sky may pass for one of the eight colours of things.
_GROUND_A = _linear_rows(
    [(0.60, 0.51, 0.43), (0.60, 0.63, 0.66), (0.56, 0.60, 0.56), (0.58, 0.57, 0.56), (0.64, 0.62, 0.61)]
)
_GROUND_B = _linear_rows(
    [(0.51, 0.42, 0.35), (0.44, 0.46, 0.48), (0.53, 0.57, 0.53), (0.47, 0.46, 0.46), (0.47, 0.47, 0.49)]
)
_SKY_LOW = _linear_rows([(0.72, 0.76, 0.79), (0.76, 0.69, 0.66), (0.66, 0.66, 0.67), (0.69, 0.74, 0.71)])
_SKY_HIGH = _linear_rows([(0.52, 0.62, 0.72), (0.47, 0.46, 0.55), (0.42, 0.42, 0.45), (0.50, 0.61, 0.60)])
_FLOOR_COLOUR = _linear_rows([(0.45, 0.46, 0.47), (0.46, 0.43, 0.42), (0.40, 0.40, 0.41), (0.43, 0.46, 0.45)])

_fast = njit(cache=True, fastmath=True, nogil=True, error_model="numpy")


@_fast
def _hash(i, j):
    h = (i * 374761393 + j * 668265263) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 1274126177) & 0xFFFFFFFF
    return ((h ^ (h >> 16)) & 0xFFFF) / 65535.0


@_fast
def _noise(x, y):
    i, j = int(math.floor(x)), int(math.floor(y))
    u, v = x - i, y - j
    u, v = u * u * (3 - 2 * u), v * v * (3 - 2 * v)
    low = _hash(i, j) * (1 - u) + _hash(i + 1, j) * u
    high = _hash(i, j + 1) * (1 - u) + _hash(i + 1, j + 1) * u
    return low * (1 - v) + high * v


@_fast
def _ground(kind, x, y):
    """Share of the second ground colour, and a brightness."""
    if kind == 0:
        row = math.floor(y / 0.24)
        shade = 0.9 + 0.2 * _hash(int(row), 7)
        seam = abs(y / 0.24 - row - 0.5)
        if seam > 0.47:
            shade *= 0.78
        return 0.75 * _noise(x * 2.2 + 13.0 * row, y * 26.0), shade
    if kind == 1:
        u, v = x / 0.36, y / 0.36
        fu, fv = u - math.floor(u), v - math.floor(v)
        if fu < 0.05 or fv < 0.05:
            return 1.0, 1.0
        return 0.0, 0.94 + 0.1 * _hash(int(math.floor(u)), int(math.floor(v)))
    if kind == 2:
        return _noise(x * 9.0, y * 9.0), 1.0
    if kind == 3:
        return 0.65 * _noise(x * 4.0, y * 4.0) + 0.35 * _noise(x * 17.0, y * 17.0), 1.0
    return float((int(math.floor(x / 0.3)) + int(math.floor(y / 0.3))) & 1), 1.0


@_fast
def _solid(kind, size, ox, oy, oz, dx, dy, dz):
    """Nearest hit with one solid, all in its own axes, d unit: t (or _FAR) and the outward normal."""
    best = _FAR
    nx, ny, nz = 0.0, 0.0, 0.0
    eps = 1e-6
    if kind == 0:
        b = ox * dx + oy * dy + oz * dz
        disc = b * b - (ox * ox + oy * oy + oz * oz - size[0] * size[0])
        if disc > 0:
            root = math.sqrt(disc)
            t = -b - root
            if t < eps:
                t = -b + root
            if t > eps:
                best = t
                nx, ny, nz = (ox + t * dx) / size[0], (oy + t * dy) / size[0], (oz + t * dz) / size[0]
        return best, nx, ny, nz
    if kind == 1:
        near, far = -_FAR, _FAR
        axis, sign = 0, 1.0
        for a in range(3):
            o = ox if a == 0 else (oy if a == 1 else oz)
            d = dx if a == 0 else (dy if a == 1 else dz)
            if abs(d) < 1e-12:
                if abs(o) > size[a]:
                    return _FAR, 0.0, 0.0, 0.0
                continue
            t0, t1 = (-size[a] - o) / d, (size[a] - o) / d
            s = -1.0
            if t0 > t1:
                t0, t1 = t1, t0
                s = 1.0
            if t0 > near:
                near, axis, sign = t0, a, s
            if t1 < far:
                far = t1
        if near < far and near > eps:
            return (
                near,
                sign if axis == 0 else 0.0,
                sign if axis == 1 else 0.0,
                sign if axis == 2 else 0.0,
            )
        return _FAR, 0.0, 0.0, 0.0
    if kind == 2:
        radius, half = size[0], size[1]
        a = dx * dx + dy * dy
        if a > 1e-12:
            b = ox * dx + oy * dy
            disc = b * b - a * (ox * ox + oy * oy - radius * radius)
            if disc > 0:
                t = (-b - math.sqrt(disc)) / a
                z = oz + t * dz
                if t > eps and abs(z) <= half:
                    best = t
                    nx, ny, nz = (ox + t * dx) / radius, (oy + t * dy) / radius, 0.0
        if abs(dz) > 1e-12:
            s = -1.0 if dz > 0 else 1.0
            t = (s * half - oz) / dz
            x, y = ox + t * dx, oy + t * dy
            if eps < t < best and x * x + y * y <= radius * radius:
                best = t
                nx, ny, nz = 0.0, 0.0, s
        return best, nx, ny, nz
    # A cup: the outer cone, the inner cone, the rim, the underside and the inner base.
    top, bottom, half, wall = size[0], size[1], size[2], size[3]
    slope = (top - bottom) / (2 * half)
    for side in range(2):
        middle = 0.5 * (top + bottom) - wall * side
        a = dx * dx + dy * dy - slope * slope * dz * dz
        g = middle + slope * oz
        b = ox * dx + oy * dy - slope * dz * g
        c = ox * ox + oy * oy - g * g
        disc = b * b - a * c
        if disc > 0 and abs(a) > 1e-12:
            root = math.sqrt(disc)
            for k in range(2):
                t = (-b - root) / a if k == 0 else (-b + root) / a
                z = oz + t * dz
                if eps < t < best and (-half + wall * side) <= z <= half:
                    radius = middle + slope * z
                    if radius > 0:
                        best = t
                        s = (1.0 - 2.0 * side) / (radius * math.sqrt(1 + slope * slope))
                        nx, ny = (ox + t * dx) * s, (oy + t * dy) * s
                        nz = -slope * radius * s
    if abs(dz) > 1e-12:
        for k in range(3):
            z = half if k == 0 else (-half if k == 1 else wall - half)
            t = (z - oz) / dz
            if eps < t < best:
                x, y = ox + t * dx, oy + t * dy
                q = x * x + y * y
                radius = 0.5 * (top + bottom) + slope * z
                inner = radius - wall
                inside = q <= radius * radius if k == 1 else q <= inner * inner
                if k == 0:
                    inside = inner * inner <= q <= radius * radius
                if inside:
                    best = t
                    nx, ny, nz = 0.0, 0.0, (-1.0 if k == 1 else 1.0)
    return best, nx, ny, nz


@_fast
def _nearest(ox, oy, oz, dx, dy, dz, kinds, positions, rotations, sizes, bounds, room):
    """Nearest thing along a ray."""
    best, what = _FAR, _MISS
    nx, ny, nz = 0.0, 0.0, 0.0
    # The table is a slab; the floor and the wall have no end.
    if dz < -1e-9:
        t = -oz / dz
        if t > 1e-6:
            x, y = ox + t * dx, oy + t * dy
            if room[0] <= x <= room[1] and room[2] <= y <= room[3]:
                best, what = t, _TOP
                nx, ny, nz = 0.0, 0.0, 1.0
        if what == _MISS:
            t = (room[5] - oz) / dz
            if t > 1e-6 and t < best:
                best, what = t, _FLOOR
                nx, ny, nz = 0.0, 0.0, 1.0
    if what != _TOP:
        for side in range(3):
            if side == 0:
                if dy <= 1e-9:
                    continue
                t = (room[2] - oy) / dy
                other, z = ox + t * dx, oz + t * dz
                inside = room[0] <= other <= room[1]
            else:
                edge = room[0] if side == 1 else room[1]
                if dx * (1.0 if side == 1 else -1.0) <= 1e-9:
                    continue
                t = (edge - ox) / dx
                other, z = oy + t * dy, oz + t * dz
                inside = room[2] <= other <= room[3]
            if inside and 1e-6 < t < best and -room[4] <= z <= 0:
                best, what = t, _SIDE
                nx, ny, nz = 0.0, 0.0, 0.0
                if side == 0:
                    ny = -1.0
                else:
                    nx = -1.0 if side == 1 else 1.0
    if dy > 1e-9:
        t = (_WALL_Y - oy) / dy
        if 1e-6 < t < best:
            best, what = t, _WALL
            nx, ny, nz = 0.0, -1.0, 0.0
    for k in range(kinds.shape[0]):
        lx, ly, lz = positions[k, 0] - ox, positions[k, 1] - oy, positions[k, 2] - oz
        along = lx * dx + ly * dy + lz * dz
        gap = lx * lx + ly * ly + lz * lz - along * along
        bound = bounds[k, 0]
        if gap > bound * bound or along < -bound or along - bound > best:
            continue
        r = rotations[k]
        t, sx, sy, sz = _solid(
            kinds[k],
            sizes[k],
            -(r[0, 0] * lx + r[1, 0] * ly + r[2, 0] * lz),
            -(r[0, 1] * lx + r[1, 1] * ly + r[2, 1] * lz),
            -(r[0, 2] * lx + r[1, 2] * ly + r[2, 2] * lz),
            r[0, 0] * dx + r[1, 0] * dy + r[2, 0] * dz,
            r[0, 1] * dx + r[1, 1] * dy + r[2, 1] * dz,
            r[0, 2] * dx + r[1, 2] * dy + r[2, 2] * dz,
        )
        if t < best:
            best, what = t, k
            nx = r[0, 0] * sx + r[0, 1] * sy + r[0, 2] * sz
            ny = r[1, 0] * sx + r[1, 1] * sy + r[1, 2] * sz
            nz = r[2, 0] * sx + r[2, 1] * sy + r[2, 2] * sz
    return best, what, nx, ny, nz


@_fast
def _sunlit(ox, oy, oz, dx, dy, dz, below, kinds, positions, rotations, sizes, bounds, materials, room):
    """Share of sunlight that reaches a point; `below` says that the table may be in the way."""
    light = 1.0
    if below and dz > 1e-9:
        t = -oz / dz
        x, y = ox + t * dx, oy + t * dy
        if t > 1e-4 and room[0] <= x <= room[1] and room[2] <= y <= room[3]:
            return 0.0
    for k in range(kinds.shape[0]):
        lx, ly, lz = positions[k, 0] - ox, positions[k, 1] - oy, positions[k, 2] - oz
        along = lx * dx + ly * dy + lz * dz
        gap = lx * lx + ly * ly + lz * lz - along * along
        bound = bounds[k, 0]
        if gap > bound * bound or along < -bound:
            continue
        r = rotations[k]
        t, _, _, _ = _solid(
            kinds[k],
            sizes[k],
            -(r[0, 0] * lx + r[1, 0] * ly + r[2, 0] * lz),
            -(r[0, 1] * lx + r[1, 1] * ly + r[2, 1] * lz),
            -(r[0, 2] * lx + r[1, 2] * ly + r[2, 2] * lz),
            r[0, 0] * dx + r[1, 0] * dy + r[2, 0] * dz,
            r[0, 1] * dx + r[1, 1] * dy + r[2, 1] * dz,
            r[0, 2] * dx + r[1, 2] * dy + r[2, 2] * dz,
        )
        if t < _FAR:
            if materials[k] != 4:
                return 0.0
            light *= 0.75
    return light


@_fast
def _backdrop(sky, z, dz):
    """The wall (or, for mirrored rays, the room) as a mix between the two sky colours."""
    s = min(1.0, max(0.0, (z + 0.7) / 2.3))
    s = s * s * (3 - 2 * s)
    return (
        _SKY_LOW[sky, 0] * (1 - s) + _SKY_HIGH[sky, 0] * s,
        _SKY_LOW[sky, 1] * (1 - s) + _SKY_HIGH[sky, 1] * s,
        _SKY_LOW[sky, 2] * (1 - s) + _SKY_HIGH[sky, 2] * s,
    )


@_fast
def _layer(density, info, layer, x, y, z):
    """Trilinear water density of one layer, far below the level outside the grid."""
    u, v, w = (x - info[0]) / info[3], (y - info[1]) / info[3], (z - info[2]) / info[3]
    i, j, k = int(math.floor(u)), int(math.floor(v)), int(math.floor(w))
    if i < 0 or j < 0 or k < 0:
        return info[4] - 0.5
    if i + 1 >= density.shape[1] or j + 1 >= density.shape[2] or k + 1 >= density.shape[3]:
        return info[4] - 0.5
    u, v, w = u - i, v - j, w - k
    d = density[layer]
    low = (d[i, j, k] * (1 - u) + d[i + 1, j, k] * u) * (1 - v) + (
        d[i, j + 1, k] * (1 - u) + d[i + 1, j + 1, k] * u
    ) * v
    high = (d[i, j, k + 1] * (1 - u) + d[i + 1, j, k + 1] * u) * (1 - v) + (
        d[i, j + 1, k + 1] * (1 - u) + d[i + 1, j + 1, k + 1] * u
    ) * v
    return low * (1 - w) + high * w


@_fast
def _grid3(density, info, held, x, y, z):
    """Water density at a point: that of the cup the point is in, else that of the open."""
    for q in range(held.shape[0]):
        h = held[q]
        lx, ly, lz = x - h[0], y - h[1], z - h[2]
        half = h[14]
        top = max(h[12], h[13])
        if lx * lx + ly * ly + lz * lz > (half + 2 * info[3]) ** 2 + top * top:
            continue
        w = h[5] * lx + h[8] * ly + h[11] * lz
        if w < -half or w > half + 2 * info[3]:
            continue
        u = h[3] * lx + h[6] * ly + h[9] * lz
        v = h[4] * lx + h[7] * ly + h[10] * lz
        radius = 0.5 * (h[12] + h[13]) + (h[12] - h[13]) / (2 * half) * min(w, half) - 0.5 * h[15]
        if u * u + v * v > radius * radius:
            continue
        inside = _layer(density, info, q + 1, x, y, z)
        if w < half:
            return inside
        return max(inside, _layer(density, info, 0, x, y, z))
    return _layer(density, info, 0, x, y, z)


@_fast
def _water(ox, oy, oz, dx, dy, dz, limit, density, info, held, inside):
    """Where a ray enters the water (or, from inside, leaves it) before `limit`; _FAR if it does not."""
    near, far = 0.0, limit
    for a in range(3):
        o = ox if a == 0 else (oy if a == 1 else oz)
        d = dx if a == 0 else (dy if a == 1 else dz)
        low, high = info[a], info[a] + info[3] * (density.shape[a + 1] - 1)
        if abs(d) < 1e-9:
            if o < low or o > high:
                return _FAR
            continue
        t0, t1 = (low - o) / d, (high - o) / d
        if t0 > t1:
            t0, t1 = t1, t0
        near, far = max(near, t0), min(far, t1)
    if near >= far:
        return _FAR
    step = 0.6 * info[3]
    t = near
    last = _grid3(density, info, held, ox + t * dx, oy + t * dy, oz + t * dz) - info[4]
    if not inside and last > 0:
        return t
    while t < far:
        # The density rises by at most 1 a metre: far below the level, a longer step misses nothing.
        t_next = min(t + max(step, -0.9 * last), far + 1e-6)
        value = _grid3(density, info, held, ox + t_next * dx, oy + t_next * dy, oz + t_next * dz) - info[4]
        if (value > 0) != inside:
            # Narrowed down to its far end, so that what follows starts on the other side for certain.
            for _ in range(5):
                middle = 0.5 * (t + t_next)
                value = _grid3(density, info, held, ox + middle * dx, oy + middle * dy, oz + middle * dz) - info[4]
                if (value > 0) != inside:
                    t_next = middle
                else:
                    t = middle
            return t_next
        t, last = t_next, value
    return _FAR


@_fast
def _shade(
    px,
    py,
    pz,
    dx,
    dy,
    dz,
    what,
    nx,
    ny,
    nz,
    sx,
    sy,
    sz,
    sun,
    kinds,
    positions,
    rotations,
    sizes,
    bounds,
    colours,
    materials,
    ground,
    ground_tint,
    ground_offset,
    sky,
    room,
    wet,
    wet_info,
):
    """Light that leaves an opaque point towards the eye; s is the (jittered) direction of the sun."""
    if what == _MISS:
        return _backdrop(sky, 3.0 * dz, dz)
    if what == _WALL:
        # Light falls off towards the sides of the wall, so that a turning camera is seen to turn.
        fall = 1.0 / (1.0 + 0.02 * (px - sun[0]) * (px - sun[0]))
        r, g, b = _backdrop(sky, pz, dz)
        return r * fall, g * fall, b * fall
    material = 0
    wetness = 0.0
    if what >= 0:
        r, g, b = colours[what, 0], colours[what, 1], colours[what, 2]
        material = materials[what]
        if material == 3:
            m = rotations[what]
            lx, ly, lz = px - positions[what, 0], py - positions[what, 1], pz - positions[what, 2]
            u = m[0, 0] * lx + m[1, 0] * ly + m[2, 0] * lz
            v = m[0, 1] * lx + m[1, 1] * ly + m[2, 1] * lz
            w = m[0, 2] * lx + m[1, 2] * ly + m[2, 2] * lz
            grain = 0.80 + 0.26 * _noise(24.0 * math.sqrt(u * u + v * v) + 3.0, 2.5 * w + 2.0 * u)
            r, g, b = r * grain, g * grain, b * grain
    elif what == _FLOOR:
        r, g, b = _FLOOR_COLOUR[sky, 0], _FLOOR_COLOUR[sky, 1], _FLOOR_COLOUR[sky, 2]
    else:
        share, shade = _ground(ground, px + ground_offset[0], py + ground_offset[1])
        if what == _SIDE:
            shade *= 0.72
        r = (_GROUND_A[ground, 0] * (1 - share) + _GROUND_B[ground, 0] * share) * shade * ground_tint[0]
        g = (_GROUND_A[ground, 1] * (1 - share) + _GROUND_B[ground, 1] * share) * shade * ground_tint[1]
        b = (_GROUND_A[ground, 2] * (1 - share) + _GROUND_B[ground, 2] * share) * shade * ground_tint[2]
        if what == _TOP and wet.shape[0] > 1:
            u, v = (px - wet_info[0]) / wet_info[2], (py - wet_info[1]) / wet_info[2]
            i, j = int(math.floor(u)), int(math.floor(v))
            if 0 <= i < wet.shape[0] - 1 and 0 <= j < wet.shape[1] - 1:
                u, v = u - i, v - j
                wetness = (wet[i, j] * (1 - u) + wet[i + 1, j] * u) * (1 - v) + (
                    wet[i, j + 1] * (1 - u) + wet[i + 1, j + 1] * u
                ) * v
                dark = 1.0 - 0.5 * min(1.0, wetness)
                r, g, b = r * dark, g * dark, b * dark
    # Ambient light: more from above than from the table, less beside other things.
    ambient = 0.33 + 0.12 * nz
    if what == _FLOOR:
        ambient *= 0.8
    for k in range(kinds.shape[0]):
        if k == what:
            continue
        lx, ly, lz = positions[k, 0] - px, positions[k, 1] - py, positions[k, 2] - pz
        q = lx * lx + ly * ly + lz * lz
        radius = bounds[k, 1]
        if q < 16 * radius * radius:
            facing = (lx * nx + ly * ny + lz * nz) / math.sqrt(q + 1e-9)
            if facing > 0:
                blocked = facing * min(1.0, radius * radius / (q + 1e-9))
                ambient *= 1.0 - (0.75 if materials[k] != 4 else 0.2) * blocked
    if what >= 0 and pz > 0 and nz < 0.2:
        # Contact shade where a thing stands on the table.
        ambient *= 0.75 + 0.25 * min(1.0, pz / (0.4 * bounds[what, 0]))
    if what >= 0 and kinds[what] == 3:
        # The inside of a cup sees less of the room, the deeper the less.
        m = rotations[what]
        lx, ly, lz = px - positions[what, 0], py - positions[what, 1], pz - positions[what, 2]
        u = m[0, 0] * lx + m[1, 0] * ly + m[2, 0] * lz
        v = m[0, 1] * lx + m[1, 1] * ly + m[2, 1] * lz
        w = m[0, 2] * lx + m[1, 2] * ly + m[2, 2] * lz
        half = sizes[what, 2]
        radius = 0.5 * (sizes[what, 0] + sizes[what, 1]) + (sizes[what, 0] - sizes[what, 1]) / (2 * half) * w
        if u * u + v * v < (radius - 0.5 * sizes[what, 3]) ** 2 and w < half - 1e-4 and w > 1e-3 - half:
            ambient *= 0.25 + 0.5 * (w + half) / (2 * half)
    direct = nx * sx + ny * sy + nz * sz
    if direct > 0:
        e = 2e-4
        direct *= 0.80 * _sunlit(
            px + e * nx,
            py + e * ny,
            pz + e * nz,
            sx,
            sy,
            sz,
            what in (_FLOOR, _SIDE) or pz < -1e-3,
            kinds,
            positions,
            rotations,
            sizes,
            bounds,
            materials,
            room,
        )
    else:
        direct = 0.0
    out_r = r * (ambient * 0.97 + direct)
    out_g = g * (ambient + direct * 0.98)
    out_b = b * (ambient * 1.04 + direct * 0.94)
    if (what >= 0 and material != 0 and material != 3) or wetness > 0.05:
        cos = -(dx * nx + dy * ny + dz * nz)
        if cos < 0:
            cos = 0.0
        rx, ry, rz = dx + 2 * cos * nx, dy + 2 * cos * ny, dz + 2 * cos * nz
        glint = rx * sx + ry * sy + rz * sz
        strength = 0.04 + 0.6 * (1 - cos) ** 5
        if material == 2:
            strength = 0.45
        elif what < 0:
            strength *= min(1.0, wetness)
        # One mirror bounce, into the room without its things.
        if rz < -1e-6 and pz > -1e-3:
            er, eg, eb = 0.8 * _GROUND_A[ground, 0], 0.8 * _GROUND_A[ground, 1], 0.8 * _GROUND_A[ground, 2]
        else:
            er, eg, eb = _backdrop(sky, pz + 2.2 * rz / (0.35 + abs(ry)), rz)
            bright = 1.0 + 0.5 * max(0.0, rz)
            er, eg, eb = er * bright, eg * bright, eb * bright
        if material == 2:
            # A tinted metal mirrors in its own colour, so a red one stays red.
            out_r = out_r * (1 - strength) + strength * er * (1.6 * r + 0.03)
            out_g = out_g * (1 - strength) + strength * eg * (1.6 * g + 0.03)
            out_b = out_b * (1 - strength) + strength * eb * (1.6 * b + 0.03)
        else:
            out_r += strength * er
            out_g += strength * eg
            out_b += strength * eb
        if glint > 0 and direct > 0:
            power = glint ** (28.0 if material == 2 else 48.0)
            power *= (0.9 if material == 2 else 0.55) * min(1.0, direct * 3)
            if what < 0:
                power *= min(1.0, wetness)
            out_r += power
            out_g += power
            out_b += power
    return out_r, out_g, out_b


@_fast
def _draw(
    rgb,
    ids,
    depth,
    eye,
    right,
    up,
    forward,
    half,
    supersample,
    kinds,
    positions,
    rotations,
    sizes,
    bounds,
    colours,
    materials,
    object_ids,
    ground,
    ground_tint,
    ground_offset,
    sky,
    sun,
    room,
    density,
    density_info,
    held,
    wet,
    wet_info,
):
    height, width = ids.shape
    scale = 2 * half / height
    has_water = density.shape[1] > 1
    # The sun is a disc of about 4 degrees: each ray of a pixel looks at another part of it.
    ax, ay, az = -sun[1], sun[0], 0.0
    length = math.sqrt(ax * ax + ay * ay)
    if length < 1e-6:
        ax, ay, length = 1.0, 0.0, 1.0
    ax, ay = ax / length, ay / length
    bx, by, bz = sun[1] * az - sun[2] * ay, sun[2] * ax - sun[0] * az, sun[0] * ay - sun[1] * ax
    samples = supersample * supersample
    weight = 1.0 / samples
    for row in range(height):
        for column in range(width):
            total_r, total_g, total_b = 0.0, 0.0, 0.0
            for s in range(samples + 1):
                # Ray number `samples` goes through the centre; it only tells ids and depth.
                if s < samples:
                    u = column + (s % supersample + 0.5) / supersample
                    v = row + (s // supersample + 0.5) / supersample
                else:
                    u, v = column + 0.5, row + 0.5
                x = (u - 0.5 * width) * scale
                y = (0.5 * height - v) * scale
                dx = forward[0] + x * right[0] + y * up[0]
                dy = forward[1] + x * right[1] + y * up[1]
                dz = forward[2] + x * right[2] + y * up[2]
                length = 1.0 / math.sqrt(dx * dx + dy * dy + dz * dz)
                dx, dy, dz = dx * length, dy * length, dz * length
                ox, oy, oz = eye[0], eye[1], eye[2]
                t, what, nx, ny, nz = _nearest(
                    ox, oy, oz, dx, dy, dz, kinds, positions, rotations, sizes, bounds, room
                )
                if s == samples:
                    seen = 0
                    distance = t
                    if has_water:
                        t_water = _water(ox, oy, oz, dx, dy, dz, t, density, density_info, held, False)
                        if t_water < t:
                            seen, distance = WATER_ID, t_water
                        elif what >= 0 and materials[what] == 4:
                            # Water seen through its glass is water.
                            t_water = _water(
                                ox, oy, oz, dx, dy, dz, t + 2 * bounds[what, 0], density, density_info, held, False
                            )
                            if t_water < _FAR:
                                seen, distance = WATER_ID, t_water
                    if seen == 0:
                        if what >= 0:
                            seen = object_ids[what]
                        elif what == _TOP and wet.shape[0] > 1:
                            i = int(round((ox + t * dx - wet_info[0]) / wet_info[2]))
                            j = int(round((oy + t * dy - wet_info[1]) / wet_info[2]))
                            if 0 <= i < wet.shape[0] and 0 <= j < wet.shape[1] and wet[i, j] > 0.3:
                                seen = STAIN_ID
                    ids[row, column] = seen
                    depth[row, column] = distance
                    continue
                # Golden-angle points on the sun's disc.
                angle, radius = 2.399963 * s + 0.6, 0.07 * math.sqrt((s + 0.5) * weight)
                ca, sa = radius * math.cos(angle), radius * math.sin(angle)
                sx, sy, sz = sun[0] + ca * ax + sa * bx, sun[1] + ca * ay + sa * by, sun[2] + ca * az + sa * bz
                r, g, b = 0.0, 0.0, 0.0
                wr, wg, wb = 1.0, 1.0, 1.0
                for layer in range(7):
                    if has_water:
                        t_water = _water(ox, oy, oz, dx, dy, dz, t, density, density_info, held, False)
                        if t_water < t:
                            qx, qy, qz = ox + t_water * dx, oy + t_water * dy, oz + t_water * dz
                            h = density_info[3]
                            gx = _grid3(density, density_info, held, qx - h, qy, qz) - _grid3(
                                density, density_info, held, qx + h, qy, qz
                            )
                            gy = _grid3(density, density_info, held, qx, qy - h, qz) - _grid3(
                                density, density_info, held, qx, qy + h, qz
                            )
                            gz = _grid3(density, density_info, held, qx, qy, qz - h) - _grid3(
                                density, density_info, held, qx, qy, qz + h
                            )
                            n = math.sqrt(gx * gx + gy * gy + gz * gz)
                            if n < 1e-9:
                                gx, gy, gz, n = -dx, -dy, -dz, 1.0
                            gx, gy, gz = gx / n, gy / n, gz / n
                            if 0 < qz < 2 * h and gz > 0:
                                # A thin layer lies flat; its drops as they are would glitter like gravel.
                                gz += 1.5
                                n = 1.0 / math.sqrt(gx * gx + gy * gy + gz * gz)
                                gx, gy, gz = gx * n, gy * n, gz * n
                            cos = -(dx * gx + dy * gy + dz * gz)
                            if cos < 0.05:
                                cos = 0.05
                            # Less than glass would at a grazing look, or every ripple would be foam.
                            mirror = 0.02 + 0.38 * (1 - cos) ** 5
                            rx, ry, rz = dx + 2 * cos * gx, dy + 2 * cos * gy, dz + 2 * cos * gz
                            er, eg, eb = _backdrop(sky, qz + 2.2 * rz / (0.35 + abs(ry)), rz)
                            glint = 0.35 * max(0.0, rx * sx + ry * sy + rz * sz) ** 60
                            r += wr * (mirror * er * 1.2 + glint)
                            g += wg * (mirror * eg * 1.2 + glint)
                            b += wb * (mirror * eb * 1.2 + glint)
                            # Into the water: bend, go on to whatever is opaque, fade with the way inside.
                            eta = 0.75
                            k = 1 - eta * eta * (1 - cos * cos)
                            bend = eta * cos - math.sqrt(k)
                            dx, dy, dz = eta * dx + bend * gx, eta * dy + bend * gy, eta * dz + bend * gz
                            n = 1.0 / math.sqrt(dx * dx + dy * dy + dz * dz)
                            dx, dy, dz = dx * n, dy * n, dz * n
                            e = 0.05 * h
                            ox, oy, oz = qx + e * dx, qy + e * dy, qz + e * dz
                            t, what, nx, ny, nz = _nearest(
                                ox, oy, oz, dx, dy, dz, kinds, positions, rotations, sizes, bounds, room
                            )
                            way = min(
                                t, _water(ox, oy, oz, dx, dy, dz, t, density, density_info, held, True)
                            )
                            keep = 1 - mirror
                            # Small water would pass for nothing at all: it scatters a pale blue as a lake does.
                            blue = keep * (1 - math.exp(-_SCATTER * way)) * (0.7 + 0.3 * max(0.0, gz))
                            r += wr * blue * _WATER[0]
                            g += wg * blue * _WATER[1]
                            b += wb * blue * _WATER[2]
                            keep *= math.exp(-_SCATTER * way)
                            wr *= keep * math.exp(-density_info[5] * way)
                            wg *= keep * math.exp(-density_info[6] * way)
                            wb *= keep * math.exp(-density_info[7] * way)
                            if way < t:
                                # Out again, unbent: one bend is what the eye expects of small water.
                                e = way + 0.3 * h
                                if e < t:
                                    ox, oy, oz = ox + e * dx, oy + e * dy, oz + e * dz
                                    t -= e
                                    continue
                    px, py, pz = ox + t * dx, oy + t * dy, oz + t * dz
                    lr, lg, lb = _shade(
                        px,
                        py,
                        pz,
                        dx,
                        dy,
                        dz,
                        what,
                        nx,
                        ny,
                        nz,
                        sx,
                        sy,
                        sz,
                        sun,
                        kinds,
                        positions,
                        rotations,
                        sizes,
                        bounds,
                        colours,
                        materials,
                        ground,
                        ground_tint,
                        ground_offset,
                        sky,
                        room,
                        wet,
                        wet_info,
                    )
                    if what >= 0 and materials[what] == 4 and layer < 6:
                        body = 0.30
                        r += wr * lr * body
                        g += wg * lg * body
                        b += wb * lb * body
                        wr *= (1 - body) * (0.6 + 0.4 * colours[what, 0])
                        wg *= (1 - body) * (0.6 + 0.4 * colours[what, 1])
                        wb *= (1 - body) * (0.6 + 0.4 * colours[what, 2])
                        ox, oy, oz = px + 1e-4 * dx, py + 1e-4 * dy, pz + 1e-4 * dz
                        t, what, nx, ny, nz = _nearest(
                            ox, oy, oz, dx, dy, dz, kinds, positions, rotations, sizes, bounds, room
                        )
                        continue
                    r += wr * lr
                    g += wg * lg
                    b += wb * lb
                    break
                # Clipped per ray, so that a highlight does not bleed over a whole pixel.
                total_r += min(r, 1.0)
                total_g += min(g, 1.0)
                total_b += min(b, 1.0)
            top = _LUT_SIZE - 1
            rgb[row, column, 0] = _SRGB[int(total_r * weight * top)]
            rgb[row, column, 1] = _SRGB[int(total_g * weight * top)]
            rgb[row, column, 2] = _SRGB[int(total_b * weight * top)]
