"""Guidance: wrappers around a velocity. They know two velocities and a scale, nothing of text."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from worldtube.diffusion.samplers import Velocity


def classifier_free(
    conditional: Velocity,
    unconditional: Velocity,
    scale: float,
    *,
    interval: tuple[float, float] = (0.0, 1.0),
) -> Velocity:
    """v = v_un + scale * (v_cond - v_un) (Ho & Salimans 2022, eq. 6).

    `interval` is where guidance acts (Kynkäänniemi et al. 2024); tokens at other levels, and everything
    at scale 1, get the conditional velocity. When no token is inside, the second pass is not run.
    """
    if scale == 1.0:
        return conditional
    low, high = interval

    def velocity(x: Tensor, sigma: Tensor) -> Tensor:
        told = conditional(x, sigma)
        inside = (sigma >= low) & (sigma <= high)
        if not bool(inside.any()):
            return told
        untold = unconditional(x, sigma)
        return told + (scale - 1) * inside[:, None] * (told - untold)

    return velocity
