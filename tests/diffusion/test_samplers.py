"""Laws of every sampler: exact on the Gaussian model at its order, a token at a time, what is known untouched."""

import math

import pytest
import torch

from worldtube.diffusion import schedule
from worldtube.diffusion.samplers import EVALUATIONS, SAMPLERS, sde
from worldtube.models.gaussian import GaussianModel, Prompted
from worldtube.tokens import pack
from worldtube.video import Size

ORDERS = {"euler": 1, "heun": 2, "adams": 2, "dpm": 2, "sde": 2}
MODEL = GaussianModel()
LAYOUT = pack([MODEL.layout(MODEL.grid(Size(1, 1), 5, 4.0))])
START = torch.tensor([1, 0, 1, 1, 1], dtype=torch.float64)  # the second of five frames is known
N = len(START)


def silent(x):
    return torch.zeros_like(x)


def error(sampler, levels):
    """How far the mean and the covariance of what comes out are from the truth, without drawing a sample.

    The model's velocity is affine, so that every draw of noise may be a unit vector of its own: the
    columns of x are what comes out of each, and one more column walks the mean.
    """
    rows, end = len(levels), float(levels[-1].max())
    x = torch.zeros(N, N * rows + 1, dtype=torch.float64)
    x[:, :N] = torch.diag(START)
    x[:, -1] = 1.0 - START  # where a frame is known, it is 1
    mean = torch.zeros(1, x.shape[1], dtype=torch.float64)
    mean[0, -1] = 0.4
    drawn = 0

    def noise(like):
        nonlocal drawn
        drawn += 1
        return torch.eye(N, like.shape[1], dtype=like.dtype).roll(N * drawn, 1)

    reading = Prompted(mean)
    out = sampler(lambda x, s: MODEL.velocity(x, s, LAYOUT, reading), x, levels, noise)

    free, known = START > 0, START == 0
    prior = MODEL.covariance(LAYOUT.positions)
    gain = torch.linalg.solve(prior[known][:, known], prior[known][:, free]).T
    covariance = prior[free][:, free] - gain @ prior[known][:, free]
    covariance = (1 - end) ** 2 * covariance + end**2 * torch.eye(len(covariance))
    made = out[free, :-1] @ out[free, :-1].T
    shift = out[free, -1] - (1 - end) * (0.4 + gain.sum(1) * 0.6)
    return max(float((made - covariance).abs().max()), float(shift.abs().max()))


def test_every_sampler_has_an_order_and_a_cost():
    assert set(SAMPLERS) == set(ORDERS) == set(EVALUATIONS)


@pytest.mark.parametrize("late", [False, True], ids=["together", "staircase"])
@pytest.mark.parametrize("name", SAMPLERS)
def test_order_of_convergence(name, late):
    def run(steps):
        # A path that ends above 0, where the exact velocity bends sharply.
        path = torch.linspace(1, 0.05, steps + 1, dtype=torch.float64)
        lag = steps // 4 if late else 0
        return error(SAMPLERS[name], schedule.staircase(path, START, LAYOUT.frames, lag))

    coarse, fine = run(96), run(192)
    assert math.log2(coarse / fine) == pytest.approx(ORDERS[name], abs=0.3)
    assert fine < (0.02 if ORDERS[name] == 1 else 0.0005)


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_way_to_the_very_end(name):
    """On the path that requests take, from sigma exactly 1 to exactly 0."""
    levels = schedule.from_start(schedule.uniform(64, shift=3.0).double(), START)
    assert error(SAMPLERS[name], levels) < (0.06 if ORDERS[name] == 1 else 0.02)


@pytest.mark.parametrize("eta", [0.3, 1.5])
def test_any_amount_of_noise_leaves_the_marginals(eta):
    def sampler(velocity, x, levels, noise):
        return sde(velocity, x, levels, noise, eta=eta)

    path = torch.linspace(1, 0.05, 129, dtype=torch.float64)
    assert error(sampler, schedule.from_start(path, START)) < 0.003


@pytest.mark.parametrize("name", SAMPLERS)
def test_cost(name):
    calls = 0

    def velocity(x, sigma):
        nonlocal calls
        calls += 1
        return x

    SAMPLERS[name](velocity, torch.ones(2, 3), torch.rand(8, 2).sort(0)[0].flip(0), silent)
    assert calls == 7 * EVALUATIONS[name]


@pytest.mark.parametrize("unknown", [math.nan, math.inf])
@pytest.mark.parametrize("name", SAMPLERS)
def test_known_tokens_keep_their_bits(name, unknown):
    """Whatever the network says of them."""

    def velocity(x, sigma):
        return x.where(torch.tensor([True, False, True])[:, None], unknown)

    g = torch.Generator().manual_seed(0)
    x = torch.randn(3, 4, generator=g)
    levels = schedule.from_start(schedule.uniform(7), torch.tensor([1.0, 0.0, 0.6]))
    out = SAMPLERS[name](velocity, x, levels, torch.randn_like)
    assert torch.equal(out[1], x[1])
    assert out.isfinite().all() and not (out[[0, 2]] == x[[0, 2]]).any()


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_token_walks_as_if_it_were_alone(name):
    """Where tokens do not look at each other it must not show that one starts late, pauses, ends early."""
    path = schedule.uniform(6, shift=2.0)
    columns = [
        torch.cat([path, path[-1:].expand(5)]),  # ends early
        torch.cat([path[:1].expand(5), path]),  # starts late
        torch.cat([path[:3], path[3:4].expand(5), path[3:]]) * 0.7,  # pauses, starts in between
    ]
    levels = torch.stack([column[:11] for column in columns], dim=1)
    levels[-1] = 0
    g = torch.Generator().manual_seed(0)
    x, noises = torch.randn(3, 4, generator=g), torch.randn(10, 3, 4, generator=g)

    def velocity(x, sigma):
        """Towards data of variance 1/4 around 1 (exact, of each number by itself)."""
        keep, sigma = 1 - sigma[:, None], sigma[:, None]
        return (sigma - keep / 4) * (x - keep) / (keep**2 / 4 + sigma**2) - 1

    rows = iter(noises)
    together = SAMPLERS[name](velocity, x, levels, lambda like: next(rows))
    for i in range(3):
        moves = levels[:-1, i] != levels[1:, i]
        own = torch.cat([levels[:-1, i][moves], levels[-1:, i]])
        mine = iter(noises[moves, i])
        alone = SAMPLERS[name](
            velocity, x[i : i + 1], own[:, None], lambda like, mine=mine: next(mine)[None]
        )
        assert torch.equal(together[i], alone[0]), i
