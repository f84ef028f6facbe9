"""Where a ray meets a solid, the table or the room, and how much of the sun a point sees. Compiled."""

import math

from worldtube.worlds.render.compiled import fast

# Rays are six floats; a hit is (t, what, normal), where what >= 0 is a solid's row and the rest is:
MISS, TOP, SIDE, FLOOR, WALL = -1, -2, -3, -4, -5
FAR = 1e9
_WALL_Y = 3.4


@fast
def _solid(kind, size, ox, oy, oz, dx, dy, dz):
    """Nearest hit with one solid, all in its own axes, d unit: t (or FAR) and the outward normal."""
    best = FAR
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
                nx, ny, nz = (
                    (ox + t * dx) / size[0],
                    (oy + t * dy) / size[0],
                    (oz + t * dz) / size[0],
                )
        return best, nx, ny, nz
    if kind == 1:
        near, far = -FAR, FAR
        axis, sign = 0, 1.0
        for a in range(3):
            o = ox if a == 0 else (oy if a == 1 else oz)
            d = dx if a == 0 else (dy if a == 1 else dz)
            if abs(d) < 1e-12:
                if abs(o) > size[a]:
                    return FAR, 0.0, 0.0, 0.0
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
        return FAR, 0.0, 0.0, 0.0
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


@fast
def nearest(ox, oy, oz, dx, dy, dz, kinds, positions, rotations, sizes, bounds, room):
    """Nearest thing along a ray."""
    best, what = FAR, MISS
    nx, ny, nz = 0.0, 0.0, 0.0
    # The table is a slab; the floor and the wall have no end.
    if dz < -1e-9:
        t = -oz / dz
        if t > 1e-6:
            x, y = ox + t * dx, oy + t * dy
            if room[0] <= x <= room[1] and room[2] <= y <= room[3]:
                best, what = t, TOP
                nx, ny, nz = 0.0, 0.0, 1.0
        if what == MISS:
            t = (room[5] - oz) / dz
            if t > 1e-6 and t < best:
                best, what = t, FLOOR
                nx, ny, nz = 0.0, 0.0, 1.0
    if what != TOP:
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
                best, what = t, SIDE
                nx, ny, nz = 0.0, 0.0, 0.0
                if side == 0:
                    ny = -1.0
                else:
                    nx = -1.0 if side == 1 else 1.0
    if dy > 1e-9:
        t = (_WALL_Y - oy) / dy
        if 1e-6 < t < best:
            best, what = t, WALL
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


@fast
def sunlit(
    ox, oy, oz, dx, dy, dz, below, kinds, positions, rotations, sizes, bounds, materials, room
):
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
        if t < FAR:
            if materials[k] != 4:
                return 0.0
            light *= 0.75
    return light
