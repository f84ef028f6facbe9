"""Patterns of the ground, looked up at points of the table top: the albedo texture that a renderer is given.

The same formulas as the ray caster's (`worlds/render/shading`), which a test compares.
"""

import torch
from torch import Tensor


def hash_lattice(i: Tensor, j: Tensor) -> Tensor:
    """Pseudo-random numbers in [0, 1] of integer lattice points, int64 (...)."""
    h = (i * 374761393 + j * 668265263) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 1274126177) & 0xFFFFFFFF
    return ((h ^ (h >> 16)) & 0xFFFF).float() / 65535.0


def value_noise(x: Tensor, y: Tensor) -> Tensor:
    """Smooth noise in [0, 1] with features of size 1."""
    i, j = x.floor(), y.floor()
    u, v = x - i, y - j
    i, j = i.long(), j.long()
    u, v = u * u * (3 - 2 * u), v * v * (3 - 2 * v)
    low = hash_lattice(i, j) * (1 - u) + hash_lattice(i + 1, j) * u
    high = hash_lattice(i, j + 1) * (1 - u) + hash_lattice(i + 1, j + 1) * u
    return low * (1 - v) + high * v


def _wood(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    row = (y / 0.24).floor()
    shade = 0.9 + 0.2 * hash_lattice(row.long(), torch.full_like(row, 7).long())
    seam = (y / 0.24 - row - 0.5).abs() > 0.47
    return 0.75 * value_noise(x * 2.2 + 13 * row, y * 26.0), torch.where(seam, shade * 0.78, shade)


def _tiles(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    u, v = x / 0.36, y / 0.36
    joint = (u - u.floor() < 0.05) | (v - v.floor() < 0.05)
    shade = 0.94 + 0.1 * hash_lattice(u.floor().long(), v.floor().long())
    return joint.float(), torch.where(joint, torch.ones(()), shade)


def _cloth(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    return value_noise(x * 9, y * 9), torch.ones_like(x)


def _stone(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    share = 0.65 * value_noise(x * 4, y * 4) + 0.35 * value_noise(x * 17, y * 17)
    return share, torch.ones_like(x)


def _checker(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    odd = ((x / 0.3).floor().long() + (y / 0.3).floor().long()) & 1
    return odd.float(), torch.ones_like(x)


PATTERNS = (_wood, _tiles, _cloth, _stone, _checker)
"""In the order of `scenes.GROUNDS`: (x, y) metres -> share of the second colour, and a factor on the brightness."""


def look_up(ground: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Patterns of several items.

    Args:
        ground: int64 (I,)
        x, y: (I, ...) metres, offsets included

    Returns:
        Share of the second colour and brightness, (I, ...) each.
    """
    share, shade = torch.zeros_like(x), torch.ones_like(x)
    for kind, pattern in enumerate(PATTERNS):
        chosen = (ground == kind).nonzero()[:, 0]
        if len(chosen):
            share[chosen], shade[chosen] = pattern(x[chosen], y[chosen])
    return share, shade
