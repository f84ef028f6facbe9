"""Cups as moving walls for water: on which side of a shell a thing is, and what the shell does to it.

A wall is thinner than a cell of the grid, so a grid alone would leak. Every particle therefore knows
on which side of each cup it is, exchanges momentum only with nodes on its own side, and is put back when
a step carries it through.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit

INSIDE, OUTSIDE = 1, 2
"""Sides of a cup; 0 is above its mouth, from where either can be reached."""


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


@njit(cache=True, fastmath=True)
def tag(tags, low, inv, shape, cup, pos, rot, vessel, clear):
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
def stop(v, x, side, vessel, pos, rot, vel, spin, reach, local):
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
def lean(v, x, push, inv, vessel, pos, rot, local):
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
def contain(x, v, side, vessel, pos, rot, vel, spin, eps, local):
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
