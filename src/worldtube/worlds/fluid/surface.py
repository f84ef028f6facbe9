"""What a picture wants of water: the depth under its surface on a grid, and where it has wetted a plane."""

import numpy as np
from numba import njit

from worldtube.worlds.fluid.walls import INSIDE

_PANCAKE = 1.8
"""How many times wider than high a particle of a thin layer on the table is drawn."""


@njit(cache=True, fastmath=True)
def _gather(x, seen, flat_below, side, low, cell, radius, drop, out, total, centre, nodes):
    """Fill `out` (layers, nodes) with the depth under the surface, and leave the scratch arrays clean."""
    inv = 1.0 / cell
    layers, nx, ny, nz = out.shape
    reach_z = int(np.ceil(radius * inv))
    r2 = radius * radius
    used = 0
    for p in range(x.shape[0]):
        if not seen[p]:
            continue
        gx, gy, gz = (
            (x[p, 0] - low[0]) * inv,
            (x[p, 1] - low[1]) * inv,
            (x[p, 2] - low[2]) * inv,
        )
        i0, j0, k0 = int(np.floor(gx)), int(np.floor(gy)), int(np.floor(gz))
        # A thin layer on the table is drawn as pancakes that meet, not as beads.
        wide = _PANCAKE if -flat_below < x[p, 2] < flat_below else 1.0
        reach, shrink = int(np.ceil(wide * radius * inv)), 1.0 / wide
        home = 0
        for q in range(side.shape[1]):
            if side[p, q] == INSIDE:
                home = q + 1
        for layer in range(layers):
            # A drop above a mouth belongs to the air and, so that surfaces join, to that cup.
            if layer != home and not (home == 0 and layer > 0 and side[p, layer - 1] == 0):
                continue
            for i in range(max(0, i0 - reach + 1), min(nx, i0 + reach + 1)):
                dx = (i - gx) * cell * shrink
                for j in range(max(0, j0 - reach + 1), min(ny, j0 + reach + 1)):
                    dy = (j - gy) * cell * shrink
                    for k in range(max(0, k0 - reach_z + 1), min(nz, k0 + reach_z + 1)):
                        dz = (k - gz) * cell
                        d2 = (dx * dx + dy * dy + dz * dz) / r2
                        if d2 >= 1.0:
                            continue
                        n = ((layer * nx + i) * ny + j) * nz + k
                        if total[n] == 0.0:
                            nodes[used] = n
                            used += 1
                        weight = (1.0 - d2) ** 3
                        total[n] += weight
                        centre[n, 0] += weight * dx
                        centre[n, 1] += weight * dy
                        centre[n, 2] += weight * dz
    flat = out.reshape(-1)
    flat[:] = drop - radius
    for t in range(used):
        n = nodes[t]
        a, b, d = centre[n, 0], centre[n, 1], centre[n, 2]
        flat[n] = drop - np.sqrt(a * a + b * b + d * d) / total[n]
        total[n] = 0.0
        centre[n, 0] = 0.0
        centre[n, 1] = 0.0
        centre[n, 2] = 0.0


def surface(
    x: np.ndarray,
    seen: np.ndarray,
    flat_below: float,
    side: np.ndarray,
    low: np.ndarray,
    cell: float,
    radius: float,
    drop: float,
    shape: tuple[int, int, int],
) -> np.ndarray:
    """Depth under the water's surface (negative above it) on a grid of nodes, float32 (1 + K, X, Y, Z).

    Zhu and Bridson's field: a drop's radius less the distance to the weighted middle of the particles
    within `radius`; lower than `flat_below` over the table it is stretched sideways. Layer 0 is the water
    outside every cup, layer 1 + k the water in cup k: a picture that asks the layer of the side it looks
    at never sees water through an opaque wall.
    """
    out = np.empty((1 + side.shape[1], *shape), np.float32)
    _gather(
        x, seen, flat_below, side, low, cell, radius, drop, out,
        np.zeros(out.size, np.float32), np.zeros((out.size, 3), np.float32), np.empty(out.size, np.int64),
    )  # fmt: skip
    return out


@njit(cache=True, fastmath=True)
def soak(wetness, x, low_x, low_y, cell, radius):
    """Wet the nodes of a flat map around particles; what is wet stays wet."""
    inv = 1.0 / cell
    nx, ny = wetness.shape
    for p in range(x.shape[0]):
        gx, gy, r = (x[p, 0] - low_x) * inv, (x[p, 1] - low_y) * inv, radius * inv
        for i in range(max(0, int(np.ceil(gx - r))), min(nx, int(gx + r) + 1)):
            for j in range(max(0, int(np.ceil(gy - r))), min(ny, int(gy + r) + 1)):
                d2 = ((i - gx) ** 2 + (j - gy) ** 2) / (r * r)
                if d2 < 1.0:
                    wetness[i, j] = max(wetness[i, j], min(1.0, 1.6 * (1.0 - d2)))
