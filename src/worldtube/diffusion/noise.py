"""The noise convention, said once, with every conversion.

Owns the path between data and noise and the names of its corners. Knows nothing of schedules, of
networks or of what the numbers depict.

    sigma in [0, 1]: 0 = data, 1 = noise            (Flux, Wan, diffusers; SiT runs time the other way)
    x        = (1 - sigma) * data + sigma * noise   (rectified flow: Liu et al. 2022, eq. 1)
    velocity = noise - data = dx / dsigma

Every `sigma` here may be a scalar tensor or one level per token, `(N,)`, against values `(N, P)`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

MIN_LOGIT_NORMAL = 1e-3


def _column(sigma: Tensor, like: Tensor) -> Tensor:
    """Give `sigma` trailing axes until it broadcasts against `like`."""
    return sigma.reshape(sigma.shape + (1,) * (like.ndim - sigma.ndim)) if sigma.ndim else sigma


def corrupt(data: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """The noisy value at level `sigma`."""
    sigma = _column(sigma, data)
    return (1 - sigma) * data + sigma * noise


def velocity_target(data: Tensor, noise: Tensor) -> Tensor:
    """What a network is trained to say: dx/dsigma."""
    return noise - data


def data_from_velocity(x: Tensor, velocity: Tensor, sigma: Tensor) -> Tensor:
    """x - sigma * v = data."""
    return x - _column(sigma, x) * velocity


def noise_from_velocity(x: Tensor, velocity: Tensor, sigma: Tensor) -> Tensor:
    """x + (1 - sigma) * v = noise."""
    return x + (1 - _column(sigma, x)) * velocity


def velocity_from_data(x: Tensor, data: Tensor, sigma: Tensor) -> Tensor:
    """(x - data) / sigma; undefined at sigma = 0, where x already is the data."""
    return (x - data) / _column(sigma, x)


def velocity_from_noise(x: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """(noise - x) / (1 - sigma); undefined at sigma = 1, where x already is the noise."""
    return (noise - x) / (1 - _column(sigma, x))


# --- the variance-preserving view, for weights trained as DDPM (Ho et al. 2020) -------------------
#
# x_vp = alpha * data + beta * noise with alpha^2 + beta^2 = 1 is our x divided by
# s = sqrt((1 - sigma)^2 + sigma^2), at the sigma for which sigma / (1 - sigma) = beta / alpha.


def vp_from_sigma(sigma: Tensor) -> tuple[Tensor, Tensor]:
    """(alpha, beta) of the variance-preserving process at the same signal-to-noise ratio."""
    scale = ((1 - sigma) ** 2 + sigma**2).sqrt()
    return (1 - sigma) / scale, sigma / scale


def sigma_from_vp(alpha: Tensor, beta: Tensor) -> Tensor:
    """The level with the signal-to-noise ratio of (alpha, beta)."""
    return beta / (alpha + beta)


def x_to_vp(x: Tensor, sigma: Tensor) -> Tensor:
    """Our noisy value, rescaled to what a variance-preserving network expects."""
    sigma = _column(sigma, x)
    return x / ((1 - sigma) ** 2 + sigma**2).sqrt()


def x_from_vp(x_vp: Tensor, sigma: Tensor) -> Tensor:
    """Inverse of `x_to_vp`."""
    sigma = _column(sigma, x_vp)
    return x_vp * ((1 - sigma) ** 2 + sigma**2).sqrt()


def data_from_v_prediction(x_vp: Tensor, v: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """Salimans & Ho 2022: v = alpha * noise - beta * data, so data = alpha * x_vp - beta * v."""
    return _column(alpha, x_vp) * x_vp - _column(beta, x_vp) * v


def velocity_from_v_prediction(x_vp: Tensor, v: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """Our velocity: noise = alpha * v + beta * x_vp, less data as above. Finite at both ends."""
    alpha, beta = _column(alpha, x_vp), _column(beta, x_vp)
    return (beta - alpha) * x_vp + (alpha + beta) * v


def logit_normal(
    rng: np.random.Generator, count: int, *, mean: float = 0.0, spread: float = 1.0
) -> np.ndarray:
    """Draw training levels: the sigmoid of a Gaussian (Esser et al. 2024, section 3.1).

    Args:
        mean: of the Gaussian; above 0 there are more high levels.
        spread: its standard deviation.

    Returns:
        (count,) levels in [MIN_LOGIT_NORMAL, 1].
    """
    z = mean + spread * rng.standard_normal(count)
    return (1 / (1 + np.exp(-z))).clip(MIN_LOGIT_NORMAL, 1.0)
