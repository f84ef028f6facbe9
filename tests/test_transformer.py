"""Law 2: packed equals separate; a uniform level equals a scalar; order matters only through positions.
Law 4: what is remembered equals what is computed again."""

import dataclasses

import pytest
import torch

from worldtube.tokens import Grid, Layout, Words, layout, pack, select
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
        lay = layout(
            Grid(frames=t, height=h, width=w, seconds_per_frame=0.1, stride=4), 2, causal=flag
        )
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


def part(items, low, high):
    """Frames low to high of some clips, as one pack; row b counts from low[b] to high[b]."""
    keep = [
        (i[0].frames >= a) & (i[0].frames < b) for i, a, b in zip(items, low, high, strict=True)
    ]
    lay = pack([select(i[0], k) for i, k in zip(items, keep, strict=True)])
    return lay, *(torch.cat([i[z][k] for i, k in zip(items, keep, strict=True)]) for z in (1, 2))


@pytest.mark.parametrize("done", [[1], [1, 3, 0]], ids=["one row", "three rows"])
def test_remembered_equals_computed_again(network, done):
    """Of causal rows, some without a past, two frames at a time of levels of their own; `done` frames are clean."""
    items = rows([(6, 4, 4), (6, 4, 4), (5, 2, 4)][: len(done)], (True,) * len(done))
    reading = network.read(Words.of([i[3] for i in items]))
    before = part(items, [0] * len(done), done)
    some = [b for b, count in enumerate(done) if count]
    words = network.read(Words.of([items[b][3] for b in some]))
    lay = pack([select(items[b][0], items[b][0].frames < done[b]) for b in some])
    split = network.remember(before[1], lay, words).split(lay.lengths)
    kept = [split[some.index(b)] if b in some else split[0][:0] for b in range(len(done))]
    for _ in range(3):
        past = network.recall(torch.cat(kept), part(items, [0] * len(done), done)[0])
        ends = [count + 2 for count in done]
        lay, x, sigma = part(items, done, ends)
        made = network(x, sigma, lay, reading, past)[0].split(lay.lengths)
        for item, one, low, high in zip(items, made, done, ends, strict=True):
            item[2][item[0].frames < low] = 0  # what is remembered is clean
            upto = part([item], [0], [high])
            again = network(upto[1], upto[2], upto[0], network.read(Words.of([item[3]])))[0]
            torch.testing.assert_close(one, again[-len(one) :], rtol=1e-5, atol=1e-5)
        lay, x, _ = part(items, done, [count + 1 for count in done])
        new = network.remember(x, lay, reading, past).split(lay.lengths)
        kept = [torch.cat(pair) for pair in zip(kept, new, strict=True)]
        done = [count + 1 for count in done]


def test_a_past_must_be_causal(network):
    (lay, x, _, words), *_ = rows()
    reading = network.read(Words.of([words]))
    past = network.recall(network.remember(x, lay, reading), lay)
    with pytest.raises(ValueError, match="causal"):
        network(x, torch.ones(len(x)), lay, reading, past)
