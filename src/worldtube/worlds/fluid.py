"""Water as particles: an MLS-MPM solver in three dimensions, in numba, for one core.

Owns the particles, the grid, the moving cups, the ball and the table as boundaries. Knows nothing
of seeds, rigid bodies' dynamics (poses come in from outside: one-way coupling) or of pictures.

Walls are thinner than a cell, so a grid alone would leak. Every particle therefore knows on which
side of each cup it is, exchanges momentum only with grid nodes on its own side (elsewhere it sees its
own velocity, stopped at the wall), and is projected back when a step carries it through.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit

GRAVITY = 9.81
INSIDE, OUTSIDE = 1, 2
_MARGIN = 3
_CLAMP = 0.25
_SETTLE = 5.0
_PANCAKE = 1.8


@dataclass(frozen=True, kw_only=True)
class Vessel:
    """A hollow cup; its own origin is the middle of its underside, its mouth looks along +z."""

    top_radius: float
    """Outer radius of the mouth."""
    bottom_radius: float
    """Outer radius of the underside."""
    height: float
    wall: float
    """Thickness of the wall and of the base."""

    def row(self) -> tuple[float, float, float, float]:
        return (self.top_radius, self.bottom_radius, self.height, self.wall)

    def inner_radius(self, z: float | np.ndarray) -> float | np.ndarray:
        slope = (self.top_radius - self.bottom_radius) / self.height
        return self.bottom_radius + slope * z - self.wall

    def volume(self, depth: float) -> float:
        """Of water that stands `depth` above the base, in cubic metres."""
        a, b = self.inner_radius(self.wall), self.inner_radius(self.wall + depth)
        return float(np.pi / 3 * depth * (a * a + a * b + b * b))


@dataclass(frozen=True, kw_only=True)
class Domain:
    """Where water can be: a box of cubic cells with a layer of nodes exactly at the table's top (z = 0)."""

    low: tuple[float, float, float]
    cells: tuple[int, int, int]
    cell: float
    table: tuple[float, float, float, float]
    """x low, x high, y low, y high of the table's top; beyond it water falls."""


@njit(cache=True, fastmath=True)
def _tag(tags, low, inv, shape, cup, pos, rot, vessel, clear):
    """Mark the nodes around one cup as inside or outside its shell (or unmark them)."""
    height, wall = vessel[2], vessel[3]
    outer = max(vessel[0], vessel[1])
    slope = (vessel[0] - vessel[1]) / height
    ny, nz = shape[1], shape[2]
    centre = pos + rot[:, 2] * (0.5 * height)
    begin = np.empty(3, np.int64)
    end = np.empty(3, np.int64)
    for a in range(3):
        reach = (
            abs(rot[a, 2]) * 0.5 * height
            + np.sqrt(max(0.0, 1.0 - rot[a, 2] ** 2)) * outer
            + 2.0 / inv
        )
        begin[a] = max(0, int((centre[a] - reach - low[a]) * inv))
        end[a] = min(shape[a], int((centre[a] + reach - low[a]) * inv) + 2)
    inside_bit = np.uint8(INSIDE << (2 * cup))
    outside_bit = np.uint8(OUTSIDE << (2 * cup))
    dx = 1.0 / inv
    for i in range(begin[0], end[0]):
        x = low[0] + i * dx - pos[0]
        for j in range(begin[1], end[1]):
            y = low[1] + j * dx - pos[1]
            for k in range(begin[2], end[2]):
                n = (i * ny + j) * nz + k
                if clear:
                    tags[n] = 0
                    continue
                z = low[2] + k * dx - pos[2]
                c = rot[0, 2] * x + rot[1, 2] * y + rot[2, 2] * z
                if c > height:
                    continue
                a = rot[0, 0] * x + rot[1, 0] * y + rot[2, 0] * z
                b = rot[0, 1] * x + rot[1, 1] * y + rot[2, 1] * z
                middle = vessel[1] + slope * c - 0.5 * wall
                if c > 0.5 * wall and a * a + b * b < middle * middle:
                    tags[n] |= inside_bit
                else:
                    tags[n] |= outside_bit


@njit(cache=True, fastmath=True)
def advance(
    x, v, c, ratio, side, alive,
    mass, momentum, tags, touched,
    low, shape, cell, full, dt, sound, gain, drag, settle,
    vessels, cup_pos, cup_rot, cup_vel, cup_spin,
    ball_pos, ball_vel, ball_radius, table,
):  # fmt: skip
    """Carry the particles through `len(cup_pos)` substeps, one row of poses for each.

    x, v (N, 3) · c (N, 3, 3) local velocity gradient · ratio (N,) volume over rest volume
    side (N, K) of each cup · alive (N,) still in the domain · grid arrays are flat over nodes.
    """
    inv = 1.0 / cell
    count, cups, balls = x.shape[0], vessels.shape[0], ball_radius.shape[0]
    ny, nz = shape[1], shape[2]
    w = np.empty((3, 3))
    ghost = np.empty(3)
    local = np.empty(3)
    n_v = np.empty(3)
    node = np.empty(3)
    limit = 0.45 * cell / dt
    eps = 0.08 * cell
    for s in range(cup_pos.shape[0]):
        if s > 0:
            for k in range(cups):
                _tag(
                    tags,
                    low,
                    inv,
                    shape,
                    k,
                    cup_pos[s - 1, k],
                    cup_rot[s - 1, k],
                    vessels[k],
                    True,
                )
        for k in range(cups):
            _tag(
                tags,
                low,
                inv,
                shape,
                k,
                cup_pos[s, k],
                cup_rot[s, k],
                vessels[k],
                False,
            )
        # particles to grid
        used = 0
        for p in range(count):
            if not alive[p]:
                continue
            bar = 0
            for k in range(cups):
                if side[p, k] == INSIDE:
                    bar |= OUTSIDE << (2 * k)
                elif side[p, k] == OUTSIDE:
                    bar |= INSIDE << (2 * k)
            gx, gy, gz = (
                (x[p, 0] - low[0]) * inv,
                (x[p, 1] - low[1]) * inv,
                (x[p, 2] - low[2]) * inv,
            )
            bx, by, bz = int(gx - 0.5), int(gy - 0.5), int(gz - 0.5)
            fx, fy, fz = gx - bx, gy - by, gz - bz
            w[0, 0], w[0, 1], w[0, 2] = (
                0.5 * (1.5 - fx) ** 2,
                0.75 - (fx - 1) ** 2,
                0.5 * (fx - 0.5) ** 2,
            )
            w[1, 0], w[1, 1], w[1, 2] = (
                0.5 * (1.5 - fy) ** 2,
                0.75 - (fy - 1) ** 2,
                0.5 * (fy - 0.5) ** 2,
            )
            w[2, 0], w[2, 1], w[2, 2] = (
                0.5 * (1.5 - fz) ** 2,
                0.75 - (fz - 1) ** 2,
                0.5 * (fz - 0.5) ** 2,
            )
            # Pressure only pushes: water in tension separates into spray.
            push = 4.0 * inv * inv * dt * sound * sound * max(0.0, 1.0 - ratio[p])
            a00, a01, a02 = c[p, 0, 0] + push, c[p, 0, 1], c[p, 0, 2]
            a10, a11, a12 = c[p, 1, 0], c[p, 1, 1] + push, c[p, 1, 2]
            a20, a21, a22 = c[p, 2, 0], c[p, 2, 1], c[p, 2, 2] + push
            vx, vy, vz = v[p, 0], v[p, 1], v[p, 2]
            for i in range(3):
                dx = (i - fx) * cell
                for j in range(3):
                    dy = (j - fy) * cell
                    wij = w[0, i] * w[1, j]
                    row = ((bx + i) * ny + by + j) * nz + bz
                    for k in range(3):
                        n = row + k
                        if tags[n] & bar:
                            continue
                        dz = (k - fz) * cell
                        weight = wij * w[2, k]
                        if mass[n] == 0.0:
                            touched[used] = n
                            used += 1
                        mass[n] += weight
                        momentum[n, 0] += weight * (vx + a00 * dx + a01 * dy + a02 * dz)
                        momentum[n, 1] += weight * (vy + a10 * dx + a11 * dy + a12 * dz)
                        momentum[n, 2] += weight * (vz + a20 * dx + a21 * dy + a22 * dz)
                        momentum[n, 3] += weight * push
        # the grid: gravity, table, ball
        for t in range(used):
            n = touched[t]
            if mass[n] < 1e-12:
                continue
            scale = 1.0 / mass[n]
            n_v[0], n_v[1] = momentum[n, 0] * scale, momentum[n, 1] * scale
            n_v[2] = momentum[n, 2] * scale - GRAVITY * dt
            k = n % nz
            j = (n // nz) % ny
            i = n // (ny * nz)
            px, py, pz = low[0] + i * cell, low[1] + j * cell, low[2] + k * cell
            for b in range(balls):
                ux, uy, uz = (
                    px - ball_pos[s, b, 0],
                    py - ball_pos[s, b, 1],
                    pz - ball_pos[s, b, 2],
                )
                d2 = ux * ux + uy * uy + uz * uz
                if d2 < ball_radius[b] ** 2 and d2 > 1e-12:
                    r = 1.0 / np.sqrt(d2)
                    ux, uy, uz = ux * r, uy * r, uz * r
                    into = (
                        (n_v[0] - ball_vel[s, b, 0]) * ux
                        + (n_v[1] - ball_vel[s, b, 1]) * uy
                        + (n_v[2] - ball_vel[s, b, 2]) * uz
                    )
                    if into < 0.0:
                        n_v[0] -= into * ux
                        n_v[1] -= into * uy
                        n_v[2] -= into * uz
            room = 1.0
            if tags[n]:
                # A node near a wall lacks the push of the water that is not there behind the wall: the
                # wall gives it, as a mirror image of the water on this side would.
                node[0], node[1], node[2] = px, py, pz
                push = momentum[n, 3] * scale * cell
                for q in range(cups):
                    if tags[n] & (INSIDE << (2 * q)):
                        room *= _lean(
                            n_v, node, push, inv, vessels[q], cup_pos[s, q], cup_rot[s, q], local,
                        )  # fmt: skip
                        _stop(
                            n_v, node, INSIDE, vessels[q], cup_pos[s, q], cup_rot[s, q],
                            cup_vel[s, q], cup_spin[s, q], _CLAMP * cell, local,
                        )  # fmt: skip
            if pz < 0.5 * cell:
                # Nodes next to the edge stay free, or water would hang on to it.
                slack = 1.5 * cell if pz < -0.5 * cell else 0.5 * cell
                if (
                    px >= table[0] + slack
                    and px <= table[1] - slack
                    and py >= table[2] + slack
                    and py <= table[3] - slack
                ):
                    hold = max(0.0, 1.0 - drag * dt)
                    n_v[0] *= hold
                    n_v[1] *= hold
                    n_v[2] = max(n_v[2], 0.0)
            momentum[n, 0], momentum[n, 1], momentum[n, 2] = n_v[0], n_v[1], n_v[2]
            momentum[n, 3] = room
        # grid to particles
        for p in range(count):
            if not alive[p]:
                continue
            bar = 0
            held = False
            for k in range(cups):
                if side[p, k] == INSIDE:
                    held = True
                    bar |= OUTSIDE << (2 * k)
                elif side[p, k] == OUTSIDE:
                    bar |= INSIDE << (2 * k)
            gx, gy, gz = (
                (x[p, 0] - low[0]) * inv,
                (x[p, 1] - low[1]) * inv,
                (x[p, 2] - low[2]) * inv,
            )
            bx, by, bz = int(gx - 0.5), int(gy - 0.5), int(gz - 0.5)
            fx, fy, fz = gx - bx, gy - by, gz - bz
            w[0, 0], w[0, 1], w[0, 2] = (
                0.5 * (1.5 - fx) ** 2,
                0.75 - (fx - 1) ** 2,
                0.5 * (fx - 0.5) ** 2,
            )
            w[1, 0], w[1, 1], w[1, 2] = (
                0.5 * (1.5 - fy) ** 2,
                0.75 - (fy - 1) ** 2,
                0.5 * (fy - 0.5) ** 2,
            )
            w[2, 0], w[2, 1], w[2, 2] = (
                0.5 * (1.5 - fz) ** 2,
                0.75 - (fz - 1) ** 2,
                0.5 * (fz - 0.5) ** 2,
            )
            crowd = space = 0.0
            vx = vy = vz = g0 = g1 = g2 = g3 = 0.0
            b00 = b01 = b02 = b10 = b11 = b12 = b20 = b21 = b22 = 0.0
            for i in range(3):
                dx = (i - fx) * cell
                for j in range(3):
                    dy = (j - fy) * cell
                    wij = w[0, i] * w[1, j]
                    row = ((bx + i) * ny + by + j) * nz + bz
                    for k in range(3):
                        n = row + k
                        weight = wij * w[2, k]
                        dz = (k - fz) * cell
                        if tags[n] & bar:
                            g0 += weight
                            g1 += weight * dx
                            g2 += weight * dy
                            g3 += weight * dz
                            continue
                        ax = momentum[n, 0] * weight
                        ay = momentum[n, 1] * weight
                        az = momentum[n, 2] * weight
                        crowd += weight * mass[n]
                        space += weight * momentum[n, 3]
                        vx += ax
                        vy += ay
                        vz += az
                        b00 += ax * dx
                        b01 += ax * dy
                        b02 += ax * dz
                        b10 += ay * dx
                        b11 += ay * dy
                        b12 += ay * dz
                        b20 += az * dx
                        b21 += az * dy
                        b22 += az * dz
            if g0 > 0.0:
                # Nodes beyond a wall move as the water on this side does, but not into the wall.
                scale = 1.0 / max(1.0 - g0, 1e-6)
                ghost[0], ghost[1], ghost[2] = vx * scale, vy * scale, vz * scale
                for q in range(cups):
                    _stop(
                        ghost, x[p], side[p, q], vessels[q], cup_pos[s, q], cup_rot[s, q],
                        cup_vel[s, q], cup_spin[s, q], 1.5 * cell, local,
                    )  # fmt: skip
                vx += g0 * ghost[0]
                vy += g0 * ghost[1]
                vz += g0 * ghost[2]
                b00 += ghost[0] * g1
                b01 += ghost[0] * g2
                b02 += ghost[0] * g3
                b10 += ghost[1] * g1
                b11 += ghost[1] * g2
                b12 += ghost[1] * g3
                b20 += ghost[2] * g1
                b21 += ghost[2] * g2
                b22 += ghost[2] * g3
            f = 4.0 * inv * inv
            c[p, 0, 0], c[p, 0, 1], c[p, 0, 2] = b00 * f, b01 * f, b02 * f
            c[p, 1, 0], c[p, 1, 1], c[p, 1, 2] = b10 * f, b11 * f, b12 * f
            c[p, 2, 0], c[p, 2, 1], c[p, 2, 2] = b20 * f, b21 * f, b22 * f
            change = 1.0 + dt * f * (b00 + b11 + b22)
            new = ratio[p] * change
            if held:
                # Inside a cup the volume is also held to what the particles around really take up, or
                # every splash would leave the water a little thicker.
                new += settle * dt * (min(1.0 + gain, max(0.85, full * space / crowd)) - new)
            ratio[p] = min(1.0 + gain, max(0.6, new))
            speed = np.sqrt(vx * vx + vy * vy + vz * vz)
            if speed > limit:
                vx, vy, vz = vx * limit / speed, vy * limit / speed, vz * limit / speed
            v[p, 0], v[p, 1], v[p, 2] = vx, vy, vz
            x[p, 0] += dt * vx
            x[p, 1] += dt * vy
            x[p, 2] += dt * vz
            for b in range(balls):
                ux, uy, uz = (
                    x[p, 0] - ball_pos[s, b, 0],
                    x[p, 1] - ball_pos[s, b, 1],
                    x[p, 2] - ball_pos[s, b, 2],
                )
                d2 = ux * ux + uy * uy + uz * uz
                if d2 < ball_radius[b] ** 2 and d2 > 1e-12:
                    r = ball_radius[b] / np.sqrt(d2) - 1.0
                    # Never faster than the speed limit, so that a squeezed drop is not shot away.
                    x[p, 0] += ux * min(r, 0.3)
                    x[p, 1] += uy * min(r, 0.3)
                    x[p, 2] += uz * min(r, 0.3)
            for q in range(cups):
                side[p, q] = _contain(
                    x[p], v[p], side[p, q], vessels[q], cup_pos[s, q], cup_rot[s, q],
                    cup_vel[s, q], cup_spin[s, q], eps, local,
                )  # fmt: skip
            if (
                x[p, 2] < eps
                and x[p, 2] > -cell
                and x[p, 0] >= table[0]
                and x[p, 0] <= table[1]
                and x[p, 1] >= table[2]
                and x[p, 1] <= table[3]
            ):
                x[p, 2] = eps
                v[p, 2] = max(v[p, 2], 0.0)
            for a in range(3):
                g = (x[p, a] - low[a]) * inv
                if not (g > _MARGIN - 1 and g < shape[a] - _MARGIN):
                    alive[p] = False
        for t in range(used):
            n = touched[t]
            mass[n] = 0.0
            momentum[n, 0] = 0.0
            momentum[n, 1] = 0.0
            momentum[n, 2] = 0.0
            momentum[n, 3] = 0.0
    last = cup_pos.shape[0] - 1
    for k in range(cups):
        _tag(
            tags,
            low,
            inv,
            shape,
            k,
            cup_pos[last, k],
            cup_rot[last, k],
            vessels[k],
            True,
        )


@njit(cache=True, fastmath=True, inline="always")
def _wall_velocity(x, pos, vel, spin, a):
    b, d = (a + 1) % 3, (a + 2) % 3
    return vel[a] + spin[b] * (x[d] - pos[d]) - spin[d] * (x[b] - pos[b])


@njit(cache=True, fastmath=True)
def _halt(v, x, pos, vel, spin, nx, ny, nz):
    """Take away the part of v that runs against the normal (nx, ny, nz) of a moving wall."""
    into = (
        (v[0] - _wall_velocity(x, pos, vel, spin, 0)) * nx
        + (v[1] - _wall_velocity(x, pos, vel, spin, 1)) * ny
        + (v[2] - _wall_velocity(x, pos, vel, spin, 2)) * nz
    )
    if into < 0.0:
        v[0] -= into * nx
        v[1] -= into * ny
        v[2] -= into * nz


@njit(cache=True, fastmath=True)
def _stop(v, x, side, vessel, pos, rot, vel, spin, reach, local):
    """Stop the velocity v at the walls of one cup that lie within `reach` of x."""
    if side == 0:
        return
    for a in range(3):
        local[a] = (
            rot[0, a] * (x[0] - pos[0]) + rot[1, a] * (x[1] - pos[1]) + rot[2, a] * (x[2] - pos[2])
        )
    r = np.sqrt(local[0] ** 2 + local[1] ** 2) + 1e-9
    slope = (vessel[0] - vessel[1]) / vessel[2]
    tilt = 1.0 / np.sqrt(1.0 + slope * slope)
    ux, uy, uz = tilt * local[0] / r, tilt * local[1] / r, -tilt * slope
    nx, ny, nz = (
        rot[0, 0] * ux + rot[0, 1] * uy + rot[0, 2] * uz,
        rot[1, 0] * ux + rot[1, 1] * uy + rot[1, 2] * uz,
        rot[2, 0] * ux + rot[2, 1] * uy + rot[2, 2] * uz,
    )
    outer = vessel[1] + slope * local[2]
    if side == INSIDE:
        if outer - vessel[3] - r < reach:
            _halt(v, x, pos, vel, spin, -nx, -ny, -nz)
        if local[2] - vessel[3] < reach:
            _halt(v, x, pos, vel, spin, rot[0, 2], rot[1, 2], rot[2, 2])
    elif local[2] < 0.0 and r < outer:
        _halt(v, x, pos, vel, spin, -rot[0, 2], -rot[1, 2], -rot[2, 2])
    elif r - outer < reach:
        _halt(v, x, pos, vel, spin, nx, ny, nz)


@njit(cache=True, fastmath=True)
def _beyond(u):
    """Of a node's kernel `u` cells from a wall: its mass on this side, its first moment beyond the wall."""
    u = max(u, 0.0)
    if u >= 1.5:
        return 1.0, 0.0
    if u >= 0.5:
        a = 1.5 - u
        return 1.0 - a**3 / 6.0, 0.25 * a**3 - 0.125 * a**4
    return 0.5 + 0.75 * u - u**3 / 3.0, 0.203125 - 0.375 * u * u + 0.25 * u**4


@njit(cache=True, fastmath=True)
def _lean(v, x, push, inv, vessel, pos, rot, local):
    """Add what the wall and the base of a cup give to a node inside it that feels the pressure `push`.

    Returns the share of the node's kernel that is inside.
    """
    for a in range(3):
        local[a] = (
            rot[0, a] * (x[0] - pos[0]) + rot[1, a] * (x[1] - pos[1]) + rot[2, a] * (x[2] - pos[2])
        )
    r = np.sqrt(local[0] ** 2 + local[1] ** 2) + 1e-9
    inner = vessel[1] + (vessel[0] - vessel[1]) / vessel[2] * local[2] - vessel[3]
    m_side, f_side = _beyond((inner - r) * inv)
    m_base, f_base = _beyond((local[2] - vessel[3]) * inv)
    side, up = -push * f_side / m_side / r, push * f_base / m_base
    for a in range(3):
        v[a] += rot[a, 0] * side * local[0] + rot[a, 1] * side * local[1] + rot[a, 2] * up
    return m_side * m_base


@njit(cache=True, fastmath=True)
def _contain(x, v, side, vessel, pos, rot, vel, spin, eps, local):
    """Put a particle that crossed the shell back on its side; returns the side it is on now."""
    for a in range(3):
        local[a] = (
            rot[0, a] * (x[0] - pos[0]) + rot[1, a] * (x[1] - pos[1]) + rot[2, a] * (x[2] - pos[2])
        )
    height, base = vessel[2], vessel[3]
    if local[2] > height:
        return 0
    outer = vessel[1] + (vessel[0] - vessel[1]) / height * local[2]
    inner = outer - base
    r = np.sqrt(local[0] ** 2 + local[1] ** 2) + 1e-9
    if side == 0:
        side = INSIDE if (r < 0.5 * (inner + outer) and local[2] > 0.5 * base) else OUTSIDE
    shift_r, shift_z = 0.0, 0.0
    if side == INSIDE:
        if r > inner - eps:
            shift_r = inner - eps - r
        if local[2] < base + eps:
            shift_z = base + eps - local[2]
    elif r < outer + eps and local[2] > -eps:
        if r > 0.7 * inner or local[2] > base:
            shift_r = outer + eps - r
        else:
            shift_z = -eps - local[2]
    if shift_r != 0.0:
        ux, uy = local[0] / r, local[1] / r
        sign = 1.0 if shift_r > 0.0 else -1.0
        nx, ny, nz = (
            rot[0, 0] * ux + rot[0, 1] * uy,
            rot[1, 0] * ux + rot[1, 1] * uy,
            rot[2, 0] * ux + rot[2, 1] * uy,
        )
        _halt(v, x, pos, vel, spin, sign * nx, sign * ny, sign * nz)
        x[0] += shift_r * nx
        x[1] += shift_r * ny
        x[2] += shift_r * nz
    if shift_z != 0.0:
        sign = 1.0 if shift_z > 0.0 else -1.0
        _halt(v, x, pos, vel, spin, sign * rot[0, 2], sign * rot[1, 2], sign * rot[2, 2])
        x[0] += shift_z * rot[0, 2]
        x[1] += shift_z * rot[1, 2]
        x[2] += shift_z * rot[2, 2]
    return side


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


class Water:
    """Particles of one liquid and the scratch grid they move on."""

    def __init__(
        self,
        domain: Domain,
        vessels: tuple[Vessel, ...],
        positions: np.ndarray,
        *,
        spacing: float,
        sound: float = 8.0,
        gain: float = 0.01,
        drag: float = 2.0,
    ):
        self.domain, self.spacing = domain, spacing
        self.sound, self.gain, self.drag = sound, gain, drag
        self.vessels = np.array([vessel.row() for vessel in vessels], float).reshape(-1, 4)
        count, nodes = len(positions), int(np.prod(domain.cells))
        self.x = np.array(positions, float).reshape(-1, 3)
        self.v = np.zeros((count, 3))
        self.ratio = np.ones(count)
        self.side = np.zeros((count, len(vessels)), np.int8)
        self.alive = np.ones(count, np.bool_)
        self._gradient = np.zeros((count, 3, 3))
        self._mass, self._momentum = np.zeros(nodes), np.zeros((nodes, 4))
        self._tags, self._touched = np.zeros(nodes, np.uint8), np.zeros(nodes, np.int64)
        self._low, self._shape = np.array(domain.low, float), np.array(domain.cells)
        self._table = np.array(domain.table, float)

    def advance(
        self,
        dt: float,
        cups: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
        balls: tuple[np.ndarray, np.ndarray, np.ndarray],
    ) -> None:
        """Run through S substeps of dt seconds.

        cups: positions (S, K, 3), rotations (S, K, 3, 3), velocities and spins (S, K, 3) in world axes;
        balls: positions and velocities (S, B, 3), radii (B,).
        """
        advance(
            self.x, self.v, self._gradient, self.ratio, self.side, self.alive,
            self._mass, self._momentum, self._tags, self._touched,
            self._low, self._shape, self.domain.cell, (self.domain.cell / self.spacing) ** 3, dt,
            self.sound, self.gain, self.drag, _SETTLE,
            self.vessels, *cups, *balls, self._table,
        )  # fmt: skip

    def settle(self, top: float) -> None:
        """Press the resting water as its own depth would (the free surface is at height `top`)."""
        depth = np.clip(top - self.x[:, 2], 0.0, None)
        self.ratio[:] = 1.0 - GRAVITY * depth / self.sound**2

    def energy(self) -> float:
        """Kinetic and potential energy per unit of mass, J/kg, of the particles still in the domain."""
        moving, height = self.v[self.alive], self.x[self.alive, 2]
        if not len(height):
            return 0.0
        return float((0.5 * (moving**2).sum(1) + GRAVITY * height).mean())

    def volume_drift(self) -> float:
        """Mean relative change of the particles' volume since the start (0 is perfectly incompressible)."""
        return float(self.ratio[self.alive].mean() - 1.0) if self.alive.any() else 0.0


def lattice(
    vessel: Vessel,
    depth: float,
    spacing: float,
    rng: np.random.Generator,
    jitter: float = 0.15,
) -> np.ndarray:
    """Positions (N, 3) that fill an upright cup to `depth` above its base, in the cup's own axes."""
    widest = max(vessel.top_radius, vessel.bottom_radius)
    side = np.arange(-np.ceil(widest / spacing), np.ceil(widest / spacing) + 1) * spacing
    layers = max(1, round(depth / spacing))
    z = vessel.wall + (np.arange(layers) + 0.5) * depth / layers
    grid = np.stack(np.meshgrid(side, side, z, indexing="ij"), -1).reshape(-1, 3)
    grid = grid[np.hypot(grid[:, 0], grid[:, 1]) < vessel.inner_radius(grid[:, 2]) - 0.2 * spacing]
    return grid + rng.uniform(-jitter, jitter, grid.shape) * spacing
