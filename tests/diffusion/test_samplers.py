"""Order of convergence of every sampler on the exact model."""

import itertools
import math

import pytest
import torch

from worldtube.diffusion import schedule
from worldtube.diffusion.samplers import EVALUATIONS, SAMPLERS
from worldtube.models.gaussian import GaussianModel
from worldtube.tokens import pack
from worldtube.video import Size

ORDERS = {"euler": 1, "heun": 2}


@pytest.fixture(scope="module")
def exact():
    """(velocity, noise, start) on one clip of five frames, the second of them known."""
    model = GaussianModel()
    layout = pack([model.layout(model.grid(Size(1, 1), 5, 4.0))])
    reading = model.read(model.embed(["four"]))
    g = torch.Generator().manual_seed(0)
    x = torch.randn(5, 3, generator=g, dtype=torch.float64)
    start = torch.tensor([1, 0, 1, 1, 1], dtype=torch.float64)
    return (lambda x, s: model.velocity(x, s, layout, reading)), x, start


def test_every_sampler_has_an_order_and_a_cost():
    assert set(SAMPLERS) == set(ORDERS) == set(EVALUATIONS)


@pytest.mark.parametrize("name", SAMPLERS)
def test_order_of_convergence(name, exact):
    velocity, x, start = exact

    def run(sampler, steps):
        # A path that is fine at its end: the exact velocity bends sharply as sigma goes to 0.
        path = torch.linspace(1, 0, steps + 1, dtype=torch.float64) ** 2
        path = torch.cat([path[:-1].clamp(min=0.02), torch.tensor([0.02], dtype=torch.float64)])
        path = torch.linspace(1, 0.02, steps + 1, dtype=torch.float64)
        return SAMPLERS[sampler](velocity, x, schedule.from_start(path, start), None)

    truth = run("heun", 2048)
    errors = [float((run(name, steps) - truth).norm()) for steps in (32, 64, 128)]
    orders = [math.log2(a / b) for a, b in itertools.pairwise(errors)]
    assert orders[-1] == pytest.approx(ORDERS[name], abs=0.2), orders


@pytest.mark.parametrize("name", SAMPLERS)
def test_known_tokens_keep_their_bits(name, exact):
    velocity, x, start = exact
    out = SAMPLERS[name](
        velocity, x, schedule.from_start(schedule.uniform(7).double(), start), None
    )
    assert torch.equal(out[1], x[1])
    assert not torch.equal(out[0], x[0])


def test_a_known_token_survives_an_unbounded_slope():
    levels = torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    x = torch.ones(2, 1)
    out = SAMPLERS["euler"](lambda x, s: torch.tensor([[math.inf], [1.0]]), x, levels, None)
    assert out.tolist() == [[1.0], [0.0]]
