"""The MLS-MPM solver: particles, the grid they meet on, and the cups, the ball and the table as boundaries.

Knows nothing of rigid bodies' dynamics: poses come in from outside, the coupling is one way.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit

from worldtube.worlds.fluid.walls import INSIDE, OUTSIDE, Vessel, contain, lean, stop, tag

GRAVITY = 9.81
_MARGIN = 3
"""Cells from the domain's border at which a particle is given up."""
_CLAMP = 0.25
"""Cells from a wall within which a node may not move into it."""
_SETTLE = 5.0
"""Per second, how fast the volume of water in a cup follows the room that its particles take up."""


@dataclass(frozen=True, kw_only=True)
class Domain:
    """Where water can be: a box of cubic cells with a layer of nodes exactly at the table's top (z = 0)."""

    low: tuple[float, float, float]
    cells: tuple[int, int, int]
    cell: float
    table: tuple[float, float, float, float]
    """x low, x high, y low, y high of the table's top; beyond it water falls."""


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
                tag(
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
            tag(
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
                        room *= lean(
                            n_v, node, push, inv, vessels[q], cup_pos[s, q], cup_rot[s, q], local,
                        )  # fmt: skip
                        stop(
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
                    stop(
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
                side[p, q] = contain(
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
        tag(
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
