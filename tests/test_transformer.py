"""Law 2: packed equals separate; a uniform level equals a scalar; order matters only through positions."""

import dataclasses

import pytest
import torch

from worldtube.tokens import Grid, Layout, Words, layout, pack
from worldtube.transformer import Transformer, TransformerConfig

CONFIG = TransformerConfig(
    token_width=8, text_width=12, width=64, depth=3, head_width=16, hidden=96, text_depth=1
)
SHAPES = [(3, 4, 4), (3, 4, 4), (1, 4, 6), (2, 2, 2)]


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    net = Transformer(CONFIG)
    with (
        torch.no_grad()
    ):  # open what starts closed, or every law would hold for a network that says 0
        for p in net.parameters():
            p.add_(0.05 * torch.randn_like(p))
    return net.eval()


def rows(shapes=SHAPES, causal=(False, False, False, False)):
    """Layouts, values, levels per frame and words for some clips of several sizes."""
    g = torch.Generator().manual_seed(1)
    out = []
    for i, ((t, h, w), flag) in enumerate(zip(shapes, causal, strict=True)):
        lay = layout(Grid(frames=t, height=h, width=w, seconds_per_frame=0.1), 2, causal=flag)
        x = torch.randn(lay.bounds[-1], CONFIG.token_width, generator=g)
        sigma = torch.rand(t, generator=g)[lay.frames]
        words = torch.randn(3 + 2 * i, CONFIG.text_width, generator=g)
        out.append((lay, x, sigma, words))
    return out


def together(net, items):
    lay = pack([i[0] for i in items])
    x = torch.cat([i[1] for i in items])
    sigma = torch.cat([i[2] for i in items])
    return net(x, sigma, lay, net.read(Words.of([i[3] for i in items])))[0]


def separately(net, items):
    return torch.cat([together(net, [item]) for item in items])


@pytest.mark.parametrize("causal", [(False,) * 4, (True, False, True, False)])
def test_packed_equals_separate_forward_and_gradients(network, causal):
    items = rows(causal=causal)
    results = []
    for run in (together, separately):
        network.zero_grad()
        out = run(network, items)
        out.square().sum().backward()
        results.append(
            (
                out.detach(),
                {n: p.grad.clone() for n, p in network.named_parameters() if p.grad is not None},
            )
        )
    (out, grads), (out2, grads2) = results
    torch.testing.assert_close(out, out2, rtol=1e-5, atol=1e-5)
    assert out.abs().mean() > 0.1
    assert grads.keys() == grads2.keys() and len(grads) > 30
    for name in grads:
        scale = grads[name].abs().max()
        torch.testing.assert_close(
            grads[name] / scale, grads2[name] / scale, rtol=1e-4, atol=1e-5, msg=name
        )


def test_neighbours_do_not_matter(network):
    items = rows()
    one = together(network, items[:1])
    torch.testing.assert_close(together(network, items)[: len(one)], one, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        together(network, items[::-1])[-len(one) :], one, rtol=1e-5, atol=1e-5
    )


def test_uniform_levels_equal_a_scalar(network):
    lay, x, _, words = rows()[0]
    reading = network.read(Words.of([words]))
    same = network(x, torch.full((len(x),), 0.3), lay, reading)[0]
    # A level that differs in one token takes the per-token path for all the others.
    levels = torch.full((len(x),), 0.3)
    levels[-1] = torch.nextafter(torch.tensor(0.3), torch.tensor(1.0))
    torch.testing.assert_close(network(x, levels, lay, reading)[0], same, rtol=1e-4, atol=1e-4)


def test_levels_matter_per_token(network):
    lay, x, _, words = rows()[0]
    reading = network.read(Words.of([words]))
    levels = torch.full((len(x),), 0.3)
    base = network(x, levels, lay, reading)[0]
    levels[0] = 0.9
    assert (network(x, levels, lay, reading)[0][0] - base[0]).abs().max() > 1e-2


def test_order_does_not_matter_beyond_positions(network):
    lay, x, sigma, words = rows()[0]
    reading = network.read(Words.of([words]))
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(3))
    moved = Layout(
        positions=lay.positions[order],
        frames=lay.frames[order],
        kinds=lay.kinds[order],
        bounds=lay.bounds,
        causal=lay.causal,
    )
    out = network(x, sigma, lay, reading)[0]
    torch.testing.assert_close(
        network(x[order], sigma[order], moved, reading)[0], out[order], rtol=1e-4, atol=1e-5
    )
    still = dataclasses.replace(moved, positions=lay.positions)
    assert (network(x[order], sigma[order], still, reading)[0] - out[order]).abs().max() > 1e-2


def test_causal_rows_do_not_see_the_future(network):
    (lay, x, sigma, words), *_ = rows(causal=(True, False, False, False))
    reading = network.read(Words.of([words]))
    out = network(x, sigma, lay, reading)[0]
    changed = x + (lay.frames == 2)[:, None]
    after = network(changed, sigma, lay, reading)[0]
    past = lay.frames < 2
    torch.testing.assert_close(after[past], out[past], rtol=1e-5, atol=1e-6)
    assert (after[~past] - out[~past]).abs().max() > 1e-2


def test_words_matter(network):
    lay, x, sigma, words = rows()[0]
    out = network(x, sigma, lay, network.read(Words.of([words])))[0]
    other = network(x, sigma, lay, network.read(Words.of([words.flip(0)])))[0]
    assert (out - other).abs().max() > 1e-3
