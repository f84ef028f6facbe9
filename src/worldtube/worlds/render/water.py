"""Where a ray goes into water or out of it. Compiled; how water is lit is in `rays`."""

import math

from worldtube.worlds.render.compiled import fast
from worldtube.worlds.render.scene import linear
from worldtube.worlds.render.solids import FAR

SCATTER = 15.0
"""Share of light that a metre of water scatters, as an exponent."""
WATER_COLOUR = linear((0.42, 0.66, 0.88))


@fast
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


@fast
def density_at(density, info, held, x, y, z):
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


@fast
def next_surface(ox, oy, oz, dx, dy, dz, limit, density, info, held, inside):
    """Where a ray enters the water (or, from inside, leaves it) before `limit`; FAR if it does not."""
    near, far = 0.0, limit
    for a in range(3):
        o = ox if a == 0 else (oy if a == 1 else oz)
        d = dx if a == 0 else (dy if a == 1 else dz)
        low, high = info[a], info[a] + info[3] * (density.shape[a + 1] - 1)
        if abs(d) < 1e-9:
            if o < low or o > high:
                return FAR
            continue
        t0, t1 = (low - o) / d, (high - o) / d
        if t0 > t1:
            t0, t1 = t1, t0
        near, far = max(near, t0), min(far, t1)
    # Clear of the border, where rounding would decide whether the first sample is beyond the grid: from there the long
    # step would leap over thin water.
    near += 1e-6
    if near >= far:
        return FAR
    step = 0.6 * info[3]
    t = near
    last = density_at(density, info, held, ox + t * dx, oy + t * dy, oz + t * dz) - info[4]
    if not inside and last > 0:
        return t
    while t < far:
        # The density rises by at most 1 a metre: far below the level, a longer step misses nothing.
        t_next = min(t + max(step, -0.9 * last), far + 1e-6)
        value = (
            density_at(density, info, held, ox + t_next * dx, oy + t_next * dy, oz + t_next * dz)
            - info[4]
        )
        if (value > 0) != inside:
            # Narrowed down to its far end, so that what follows starts on the other side for certain.
            for _ in range(5):
                middle = 0.5 * (t + t_next)
                value = (
                    density_at(
                        density, info, held, ox + middle * dx, oy + middle * dy, oz + middle * dz
                    )
                    - info[4]
                )
                if (value > 0) != inside:
                    t_next = middle
                else:
                    t = middle
            return t_next
        t, last = t_next, value
    return FAR
