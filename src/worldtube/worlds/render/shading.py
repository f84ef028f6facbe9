"""What colour a point has: patterns of grounds, light, shade, gloss and the backdrop. Compiled."""

import math

import numpy as np

from worldtube.worlds.render.compiled import fast
from worldtube.worlds.render.scene import linear
from worldtube.worlds.render.solids import FLOOR, MISS, SIDE, TOP, WALL, sunlit


def _linear_rows(rows):
    return np.array([linear(row) for row in rows])


# Muted on purpose: no ground and no sky may pass for one of the eight colours of things.
_GROUND_A = _linear_rows(
    [
        (0.60, 0.51, 0.43),
        (0.60, 0.63, 0.66),
        (0.56, 0.60, 0.56),
        (0.58, 0.57, 0.56),
        (0.64, 0.62, 0.61),
    ]
)
_GROUND_B = _linear_rows(
    [
        (0.51, 0.42, 0.35),
        (0.44, 0.46, 0.48),
        (0.53, 0.57, 0.53),
        (0.47, 0.46, 0.46),
        (0.47, 0.47, 0.49),
    ]
)
_SKY_LOW = _linear_rows(
    [(0.72, 0.76, 0.79), (0.76, 0.69, 0.66), (0.66, 0.66, 0.67), (0.69, 0.74, 0.71)]
)
_SKY_HIGH = _linear_rows(
    [(0.52, 0.62, 0.72), (0.47, 0.46, 0.55), (0.42, 0.42, 0.45), (0.50, 0.61, 0.60)]
)
_FLOOR_COLOUR = _linear_rows(
    [(0.45, 0.46, 0.47), (0.46, 0.43, 0.42), (0.40, 0.40, 0.41), (0.43, 0.46, 0.45)]
)


@fast
def _hash(i, j):
    h = (i * 374761393 + j * 668265263) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 1274126177) & 0xFFFFFFFF
    return ((h ^ (h >> 16)) & 0xFFFF) / 65535.0


@fast
def _noise(x, y):
    i, j = int(math.floor(x)), int(math.floor(y))
    u, v = x - i, y - j
    u, v = u * u * (3 - 2 * u), v * v * (3 - 2 * v)
    low = _hash(i, j) * (1 - u) + _hash(i + 1, j) * u
    high = _hash(i, j + 1) * (1 - u) + _hash(i + 1, j + 1) * u
    return low * (1 - v) + high * v


@fast
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


@fast
def backdrop(sky, z, dz):
    """The wall (or, for mirrored rays, the room) as a mix between the two sky colours."""
    s = min(1.0, max(0.0, (z + 0.7) / 2.3))
    s = s * s * (3 - 2 * s)
    return (
        _SKY_LOW[sky, 0] * (1 - s) + _SKY_HIGH[sky, 0] * s,
        _SKY_LOW[sky, 1] * (1 - s) + _SKY_HIGH[sky, 1] * s,
        _SKY_LOW[sky, 2] * (1 - s) + _SKY_HIGH[sky, 2] * s,
    )


@fast
def shade(
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
    if what == MISS:
        return backdrop(sky, 3.0 * dz, dz)
    if what == WALL:
        # Light falls off towards the sides of the wall, so that a turning camera is seen to turn.
        fall = 1.0 / (1.0 + 0.02 * (px - sun[0]) * (px - sun[0]))
        r, g, b = backdrop(sky, pz, dz)
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
    elif what == FLOOR:
        r, g, b = _FLOOR_COLOUR[sky, 0], _FLOOR_COLOUR[sky, 1], _FLOOR_COLOUR[sky, 2]
    else:
        share, shade = _ground(ground, px + ground_offset[0], py + ground_offset[1])
        if what == SIDE:
            shade *= 0.72
        r = (
            (_GROUND_A[ground, 0] * (1 - share) + _GROUND_B[ground, 0] * share)
            * shade
            * ground_tint[0]
        )
        g = (
            (_GROUND_A[ground, 1] * (1 - share) + _GROUND_B[ground, 1] * share)
            * shade
            * ground_tint[1]
        )
        b = (
            (_GROUND_A[ground, 2] * (1 - share) + _GROUND_B[ground, 2] * share)
            * shade
            * ground_tint[2]
        )
        if what == TOP and wet.shape[0] > 1:
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
    if what == FLOOR:
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
        radius = (
            0.5 * (sizes[what, 0] + sizes[what, 1])
            + (sizes[what, 0] - sizes[what, 1]) / (2 * half) * w
        )
        if (
            u * u + v * v < (radius - 0.5 * sizes[what, 3]) ** 2
            and w < half - 1e-4
            and w > 1e-3 - half
        ):
            ambient *= 0.25 + 0.5 * (w + half) / (2 * half)
    direct = nx * sx + ny * sy + nz * sz
    if direct > 0:
        e = 2e-4
        direct *= 0.80 * sunlit(
            px + e * nx,
            py + e * ny,
            pz + e * nz,
            sx,
            sy,
            sz,
            what in (FLOOR, SIDE) or pz < -1e-3,
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
            er, eg, eb = (
                0.8 * _GROUND_A[ground, 0],
                0.8 * _GROUND_A[ground, 1],
                0.8 * _GROUND_A[ground, 2],
            )
        else:
            er, eg, eb = backdrop(sky, pz + 2.2 * rz / (0.35 + abs(ry)), rz)
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
