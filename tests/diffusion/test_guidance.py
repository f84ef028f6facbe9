"""Guidance as algebra."""

import pytest
import torch

from worldtube.diffusion.guidance import classifier_free
from worldtube.diffusion.noise import data_from_velocity


def told(x, s):
    return x + 1


def untold(x, s):
    return x - 1


def both(x, s):
    return told(x, s), untold(x, s)


def test_guidance():
    x, sigma = torch.zeros(3, 2), torch.tensor([0.1, 0.5, 0.9])
    assert classifier_free(told, both, 1.0) is told
    assert torch.equal(classifier_free(told, both, 0.0)(x, sigma), untold(x, sigma))
    assert torch.equal(classifier_free(told, both, 3.0)(x, sigma), torch.full((3, 2), 5.0))
    within = classifier_free(told, both, 3.0, interval=(0.4, 0.6))(x, sigma)
    assert within[:, 0].tolist() == [1, 5, 1]


def test_guidance_outside_its_interval_costs_nothing():
    def never(x, s):
        raise AssertionError("the unconditional pass was run")

    guided = classifier_free(lambda x, s: x, never, 3.0, interval=(0.4, 0.6))
    guided(torch.zeros(2, 1), torch.tensor([0.9, 0.1]))


@pytest.fixture
def packed():
    """(x, sigma, bounds, conditional, both): two clips, one token of them known, one outside the interval."""
    g = torch.Generator().manual_seed(0)
    x, a, b = torch.randn(3, 9, 6, generator=g)
    sigma = torch.tensor([0.0, 0.5, 0.5, 0.3, 0.9, 0.9, 1.0, 0.6, 0.7])
    return x, sigma, (0, 4, 9), lambda x, s: a[: len(x)], lambda x, s: (a[: len(x)], b[: len(x)])


def spread(x, sigma, velocity, chosen):
    return float(data_from_velocity(x, velocity, sigma)[chosen].std())


def test_rescale_pulls_the_spread_back_clip_by_clip(packed):
    x, sigma, bounds, conditional, both = packed
    keys = {"interval": (0.0, 0.95), "bounds": bounds}
    plain, half, whole = (
        classifier_free(conditional, both, 4.0, rescale=rescale, **keys)(x, sigma)
        for rescale in (0.0, 0.5, 1.0)
    )
    for chosen in ([1, 2, 3], [4, 5, 7, 8]):
        wide, middle, narrow = (spread(x, sigma, v, chosen) for v in (plain, half, whole))
        assert narrow == pytest.approx(spread(x, sigma, conditional(x, sigma), chosen), rel=1e-4)
        assert middle == pytest.approx((wide + narrow) / 2, rel=1e-4)
        assert wide > 2 * narrow
    assert torch.equal(whole[6], conditional(x, sigma)[6]), "outside the interval"
    assert whole.isfinite().all() and torch.equal(whole[0], plain[0]), "known"


def test_rescale_of_a_clip_does_not_depend_on_its_neighbours(packed):
    x, sigma, bounds, conditional, both = packed
    packed = classifier_free(conditional, both, 4.0, rescale=0.7, bounds=bounds)(x, sigma)
    alone = classifier_free(conditional, both, 4.0, rescale=0.7)(x[:4], sigma[:4])
    assert torch.equal(packed[:4], alone)


def test_rescale_of_nothing_is_nothing():
    x, sigma = torch.zeros(2, 3), torch.ones(2)
    flat = classifier_free(lambda x, s: x, lambda x, s: (x, x), 4.0, rescale=1.0)
    assert torch.equal(flat(x, sigma), x)
    assert torch.equal(flat(x + 1, sigma * 0), x + 1)
