"""A picture's rays, one after another: through glass and water to what is opaque, averaged per pixel. Compiled."""

import math

import numpy as np

from worldtube.worlds.render.compiled import STAMP, fast, kept
from worldtube.worlds.render.shading import backdrop, shade
from worldtube.worlds.render.solids import FAR, TOP, nearest
from worldtube.worlds.render.water import SCATTER, WATER_COLOUR, density_at, next_surface
from worldtube.worlds.world import STAIN_ID, WATER_ID

_LUT_SIZE = 4096
_SRGB = np.array(
    [
        round(255 * (12.92 * v if v <= 0.0031308 else 1.055 * v ** (1 / 2.4) - 0.055))
        for v in (i / (_LUT_SIZE - 1) for i in range(_LUT_SIZE))
    ],
    np.uint8,
)


@fast
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
                t, what, nx, ny, nz = nearest(
                    ox, oy, oz, dx, dy, dz, kinds, positions, rotations, sizes, bounds, room
                )
                if s == samples:
                    seen = 0
                    distance = t
                    if has_water:
                        t_water = next_surface(
                            ox, oy, oz, dx, dy, dz, t, density, density_info, held, False
                        )
                        if t_water < t:
                            seen, distance = WATER_ID, t_water
                        elif what >= 0 and materials[what] == 4:
                            # Water seen through its glass is water.
                            t_water = next_surface(
                                ox,
                                oy,
                                oz,
                                dx,
                                dy,
                                dz,
                                t + 2 * bounds[what, 0],
                                density,
                                density_info,
                                held,
                                False,
                            )
                            if t_water < FAR:
                                seen, distance = WATER_ID, t_water
                    if seen == 0:
                        if what >= 0:
                            seen = object_ids[what]
                        elif what == TOP and wet.shape[0] > 1:
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
                sx, sy, sz = (
                    sun[0] + ca * ax + sa * bx,
                    sun[1] + ca * ay + sa * by,
                    sun[2] + ca * az + sa * bz,
                )
                r, g, b = 0.0, 0.0, 0.0
                wr, wg, wb = 1.0, 1.0, 1.0
                for layer in range(7):
                    if has_water:
                        t_water = next_surface(
                            ox, oy, oz, dx, dy, dz, t, density, density_info, held, False
                        )
                        if t_water < t:
                            qx, qy, qz = ox + t_water * dx, oy + t_water * dy, oz + t_water * dz
                            h = density_info[3]
                            gx = density_at(
                                density, density_info, held, qx - h, qy, qz
                            ) - density_at(density, density_info, held, qx + h, qy, qz)
                            gy = density_at(
                                density, density_info, held, qx, qy - h, qz
                            ) - density_at(density, density_info, held, qx, qy + h, qz)
                            gz = density_at(
                                density, density_info, held, qx, qy, qz - h
                            ) - density_at(density, density_info, held, qx, qy, qz + h)
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
                            er, eg, eb = backdrop(sky, qz + 2.2 * rz / (0.35 + abs(ry)), rz)
                            glint = 0.35 * max(0.0, rx * sx + ry * sy + rz * sz) ** 60
                            r += wr * (mirror * er * 1.2 + glint)
                            g += wg * (mirror * eg * 1.2 + glint)
                            b += wb * (mirror * eb * 1.2 + glint)
                            # Into the water: bend, go on to whatever is opaque, fade with the way inside.
                            eta = 0.75
                            k = 1 - eta * eta * (1 - cos * cos)
                            bend = eta * cos - math.sqrt(k)
                            dx, dy, dz = (
                                eta * dx + bend * gx,
                                eta * dy + bend * gy,
                                eta * dz + bend * gz,
                            )
                            n = 1.0 / math.sqrt(dx * dx + dy * dy + dz * dz)
                            dx, dy, dz = dx * n, dy * n, dz * n
                            e = 0.05 * h
                            ox, oy, oz = qx + e * dx, qy + e * dy, qz + e * dz
                            t, what, nx, ny, nz = nearest(
                                ox,
                                oy,
                                oz,
                                dx,
                                dy,
                                dz,
                                kinds,
                                positions,
                                rotations,
                                sizes,
                                bounds,
                                room,
                            )
                            way = min(
                                t,
                                next_surface(
                                    ox, oy, oz, dx, dy, dz, t, density, density_info, held, True
                                ),
                            )
                            keep = 1 - mirror
                            # Small water would pass for nothing at all: it scatters a pale blue as a lake does.
                            blue = (
                                keep * (1 - math.exp(-SCATTER * way)) * (0.7 + 0.3 * max(0.0, gz))
                            )
                            r += wr * blue * WATER_COLOUR[0]
                            g += wg * blue * WATER_COLOUR[1]
                            b += wb * blue * WATER_COLOUR[2]
                            keep *= math.exp(-SCATTER * way)
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
                    lr, lg, lb = shade(
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
                        t, what, nx, ny, nz = nearest(
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


def _keep(stamp: int):
    """`_draw`, compiled once for all processes; numba's key holds what a function closes over, hence the stamp."""

    @kept
    def draw(*everything):
        if stamp >= 0:
            _draw(*everything)

    return draw


draw = _keep(STAMP)
