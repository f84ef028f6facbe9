"""Every kernel computes the same, in tiles or whole, forward and backward; plans see what they should."""

import pytest
import torch

from worldtube.tokens import Grid, Words, layout, pack
from worldtube.transformer import (
    Transformer,
    TransformerConfig,
    attention,
    rms_norm,
    rotate,
)


def draw(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator)


def some_seen(b, m):
    """A mask over keys: row i sees all but its last i."""
    return (torch.arange(m)[None] < m - torch.arange(b)[:, None])[:, None, None, :]


@pytest.mark.parametrize("tile", [2**20, 60])  # whole, and some tokens of one head at a time
@pytest.mark.parametrize("kernel", ["plain", "tiled"])
@pytest.mark.parametrize("mask", [None, "keys", "frames"])
def test_kernels_agree_forward_and_backward(kernel, mask, tile, monkeypatch):
    monkeypatch.setattr(attention, "TILE", tile)
    seen = {
        None: None,
        "keys": some_seen(2, 9),
        "frames": (torch.arange(20)[:, None] // 2 >= torch.arange(9)[None])[None, None],
    }[mask]
    made = []
    for name in ("fused", kernel):
        q, k, v = (draw(2, 3, n, 8, seed=n).requires_grad_() for n in (20, 9, 9))
        out = attention.KERNELS[name](q, k, v, seen)
        (out * draw(*out.shape)).sum().backward()
        with torch.no_grad():
            torch.testing.assert_close(attention.KERNELS[name](q, k, v, seen), out)
        made.append([out, q.grad, k.grad, v.grad])
    for ours, theirs in zip(*made, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_tiles_cover_every_score_once():
    for heads, n, m, tile in [
        (6, 100, 96, 2**20),
        (6, 100, 96, 20_000),
        (5, 64, 320, 5000),
        (1, 7, 32, 1),
    ]:
        q, k = torch.empty(1, heads, n, 4), torch.empty(1, heads, m, 4)
        call = attention._Heads.of(q, k, k, None)
        count = torch.zeros(heads, n)
        for rows, tokens in call.tiles(tile):
            count[rows, tokens] += 1
        assert (count == 1).all()


def dense(q, k, v, q_bounds, k_bounds):
    """Attention over the whole pack under one mask."""
    row = lambda bounds: torch.repeat_interleave(  # noqa: E731
        torch.arange(len(bounds) - 1), torch.tensor(bounds).diff()
    )
    seen = row(q_bounds)[:, None] == row(k_bounds)[None]
    q, k, v = (z.transpose(0, 1) for z in (q, k, v))
    return attention.plain(q, k, v, seen).transpose(0, 1).flatten(1)


PACKS = [
    ((0, 5, 10, 15), (0, 3, 6, 9)),  # one length
    ((0, 5, 10, 13), (0, 3, 7, 9)),  # runs, keys of many lengths
    ((0, 3, 5, 9, 10, 16, 18), (0, 1, 4, 6, 7, 12, 14)),  # many short rows: padded together
    ((0, 70, 90), (0, 40, 103)),  # keys of more than one register
]


@pytest.mark.parametrize("kept", [0, 1024])
@pytest.mark.parametrize("tile", [2**20, 700])
@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("q_bounds, k_bounds", PACKS)
def test_a_plan_attends_within_rows(q_bounds, k_bounds, own, tile, kept, monkeypatch):
    """As the kernels do it call by call, and in one operator, its probabilities kept or made again."""
    monkeypatch.setattr(attention, "_own", lambda q: own)
    monkeypatch.setattr(attention, "TILE", tile)
    monkeypatch.setattr(attention, "KEPT", kept)
    runs = attention.plan(q_bounds, k_bounds, torch.device("cpu"))
    made = []
    for way in (
        lambda q, k, v: attention.attend(q, k, v, runs),
        lambda q, k, v: dense(q, k, v, q_bounds, k_bounds),
    ):
        q = draw(q_bounds[-1], 2, 8).requires_grad_()
        k, v = (draw(k_bounds[-1], 2, 8, seed=seed).requires_grad_() for seed in (1, 2))
        out = way(q, k, v)
        (out * draw(*out.shape, seed=3)).sum().backward()
        made.append([out, q.grad, k.grad, v.grad])
    for ours, theirs in zip(*made, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype, tolerance", [(torch.bfloat16, 0.02), (torch.float32, 1e-5)])
def test_the_norm_and_its_gradient(dtype, tolerance):
    made = []
    for norm in (rms_norm, lambda x: torch.nn.functional.rms_norm(x.float(), (64,), None, 1e-6)):
        x = draw(50, 3, 64).mul(3).to(dtype).requires_grad_()
        out = norm(x)
        (out.float() * draw(50, 3, 64, seed=1)).sum().backward()
        made.append((out.float(), x.grad.float()))
    for ours, theirs in zip(*made, strict=True):
        assert (ours - theirs).norm() < tolerance * theirs.norm()


def test_rotating_turns_pairs():
    x, angle = draw(5, 2, 6), draw(5, 1, 3, seed=1)
    cos, sin = angle.cos(), angle.sin()
    a, b = x.chunk(2, -1)
    made = rotate(x, torch.cat([cos, cos], -1), torch.cat([-sin, sin], -1))
    torch.testing.assert_close(made, torch.cat([a * cos - b * sin, a * sin + b * cos], -1))


@pytest.mark.parametrize(("fast", "kernel"), [(True, "tiled"), (False, "fused")])
def test_bf16_rows_take_tiles_where_bf16_is_fast_and_stay_near_float32(monkeypatch, fast, kernel):
    monkeypatch.setattr(attention, "_fast_bfloat16", lambda: fast)
    q, k, v = (draw(300, 2, 64, seed=seed) for seed in range(3))
    runs = attention.plan((0, 300), (0, 300), q.device)
    exact = attention.attend(q, k, v, runs)
    made = attention.attend(q.bfloat16(), k.bfloat16(), v.bfloat16(), runs)
    assert attention._choose(q.bfloat16()[None], k.bfloat16().transpose(0, 1)[None]) == kernel
    assert (made - exact).norm() < 0.01 * exact.norm()


@pytest.mark.compile
@pytest.mark.filterwarnings("ignore")  # of the compiler's own
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_compiled_equals_eager(dtype):
    torch.compiler.reset()
    torch.manual_seed(0)
    config = TransformerConfig(
        token_width=8, text_width=12, width=64, depth=2, head_width=16, hidden=96
    )
    net = Transformer(config).eval()
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    net.to(getattr(torch, dtype))
    grids = [Grid(frames=t, height=4, width=8, seconds_per_frame=0.1, stride=4) for t in (2, 1, 3)]
    together = pack([layout(grid, 2) for grid in grids])
    x = draw(together.bounds[-1], 8)
    words = Words.of([draw(n, 12) for n in (3, 5, 2)])
    with torch.inference_mode():
        reading = net.read(words)
        levels = [torch.full((len(x),), 0.5), together.frames / 4 + 0.2]
        eager = [net(x, sigma, together, reading)[0] for sigma in levels]
        net.compiled()
        made = [net(x, sigma, together, reading)[0] for sigma in levels]
    tolerance = 1e-5 if dtype == "float32" else 0.05
    for a, b in zip(made, eager, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)
        assert b.abs().mean() > 0.1
