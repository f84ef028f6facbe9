"""Every conversion there and back, and the special cases that the convention promises."""

import numpy as np
import pytest
import torch

from worldtube.diffusion import noise


@pytest.fixture
def corner():
    g = torch.Generator().manual_seed(0)
    data, eps = torch.randn(2, 50, 8, generator=g, dtype=torch.float64)
    sigma = torch.rand(50, generator=g, dtype=torch.float64) * 0.98 + 0.01
    return data, eps, sigma


@pytest.mark.parametrize("one_level", [True, False])
def test_velocity_tells_data_and_noise(corner, one_level):
    data, eps, sigma = corner
    sigma = sigma[0] if one_level else sigma
    x = noise.corrupt(data, eps, sigma)
    v = noise.velocity_target(data, eps)
    torch.testing.assert_close(noise.data_from_velocity(x, v, sigma), data)
    torch.testing.assert_close(noise.noise_from_velocity(x, v, sigma), eps)
    torch.testing.assert_close(noise.velocity_from_data(x, data, sigma), v)
    torch.testing.assert_close(noise.velocity_from_noise(x, eps, sigma), v)


def test_ends_are_data_and_noise(corner):
    data, eps, _ = corner
    assert torch.equal(noise.corrupt(data, eps, torch.zeros(50, dtype=torch.float64)), data)
    assert torch.equal(noise.corrupt(data, eps, torch.ones(50, dtype=torch.float64)), eps)


def test_velocity_is_the_slope_of_the_path(corner):
    data, eps, sigma = corner
    step = 1e-6
    slope = (noise.corrupt(data, eps, sigma + step) - noise.corrupt(data, eps, sigma - step)) / (
        2 * step
    )
    torch.testing.assert_close(slope, noise.velocity_target(data, eps), rtol=1e-6, atol=1e-6)


def test_variance_preserving_view(corner):
    data, eps, sigma = corner
    alpha, beta = noise.vp_from_sigma(sigma)
    torch.testing.assert_close(alpha**2 + beta**2, torch.ones_like(alpha))
    torch.testing.assert_close(noise.sigma_from_vp(alpha, beta), sigma)
    x_vp = noise.x_to_vp(noise.corrupt(data, eps, sigma), sigma)
    torch.testing.assert_close(x_vp, alpha[:, None] * data + beta[:, None] * eps)
    torch.testing.assert_close(noise.x_from_vp(x_vp, sigma), noise.corrupt(data, eps, sigma))
    v = alpha[:, None] * eps - beta[:, None] * data
    torch.testing.assert_close(noise.data_from_v_prediction(x_vp, v, alpha, beta), data)


def test_training_levels_are_logit_normal():
    rng = np.random.default_rng(0)
    levels = noise.logit_normal(rng, 20_000, mean=0.5, spread=2.0)
    assert levels.min() >= noise.MIN_LOGIT_NORMAL and levels.max() <= 1
    inside = levels[(levels > noise.MIN_LOGIT_NORMAL) & (levels < 1)]
    z = np.log(inside / (1 - inside))
    assert z.mean() == pytest.approx(0.5, abs=0.1) and z.std() == pytest.approx(2.0, abs=0.1)
