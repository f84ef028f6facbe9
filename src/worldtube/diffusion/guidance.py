"""Guidance: wrappers around a velocity. They know two velocities and how to combine them, nothing of text."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from worldtube.diffusion.noise import data_from_velocity

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from worldtube.diffusion.samplers import Velocity


def classifier_free(
    conditional: Velocity,
    both: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    scale: float,
    *,
    interval: tuple[float, float] = (0.0, 1.0),
    rescale: float = 0.0,
    bounds: Sequence[int] = (),
) -> Velocity:
    """v = v_un + scale * (v_cond - v_un) (Ho & Salimans 2022, eq. 6).

    `both` is the conditional and the unconditional velocity: whoever computes them knows whether one pass
    over both costs less than two. `interval` is where guidance acts (Kynkäänniemi et al. 2024); tokens at
    other levels, and everything at scale 1, get the conditional velocity. When no token is inside,
    `conditional` alone is asked.

    `rescale` pulls the spread of what is predicted back to that of the conditional prediction: 0 not at
    all, 1 wholly (Lin et al. 2023, section 3.4). Clip b is tokens bounds[b] : bounds[b + 1]; without
    bounds there is one clip.
    """
    if scale == 1.0:
        return conditional
    low, high = interval

    def velocity(x: Tensor, sigma: Tensor) -> Tensor:
        inside = (sigma >= low) & (sigma <= high)
        if not bool(inside.any()):
            return conditional(x, sigma)
        told, untold = both(x, sigma)
        guided = told + (scale - 1) * inside[:, None] * (told - untold)
        if rescale == 0:
            return guided
        return _rescaled(x, sigma, told, guided, inside, rescale, bounds or (0, len(x)))

    return velocity


def _rescaled(
    x: Tensor,
    sigma: Tensor,
    told: Tensor,
    guided: Tensor,
    inside: Tensor,
    rescale: float,
    bounds: Sequence[int],
) -> Tensor:
    """`guided` (N, P) with data of the spread that `told` has, over each clip's guided tokens.

    Spread is that of the data, x - sigma * v, as in Lin et al., whose v at high noise is the data: ours
    has the noise of x in it as well, and to shrink that would leave noise in the clip.
    """
    level = sigma[:, None]
    before, after = (data_from_velocity(x, v, sigma) for v in (told, guided))
    out = guided.clone()
    for first, last in pairwise(bounds):
        # At level 0 data is x, whatever the velocity.
        chosen = (inside & (sigma > 0))[first:last].nonzero()[:, 0] + first
        if len(chosen) and (wide := float(after[chosen].std(correction=0))):
            factor = 1 + rescale * (before[chosen].std(correction=0) / wide - 1)
            out[chosen] += (1 - factor) * after[chosen] / level[chosen]
    return out
