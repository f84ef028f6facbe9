"""Attention within the rows of a pack: which rows go together, and the kernel that is fastest there.

Owns the plan of batched calls, the dict of kernels and the choice between them. Knows nothing of
weights, positions or noise. Shapes: N tokens in the pack, M keys, H heads, d head width, b rows of one
call, n and m tokens and keys in each of them.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from worldtube.tokens import Layout


@dataclass(frozen=True, kw_only=True)
class Run:
    """Rows that attend in one batched call, padded where their lengths differ."""

    rows: int
    q: slice | Tensor
    """Their tokens: neighbours, or (b * n,) places with a row's last token repeated."""
    k: slice | Tensor
    """Their keys, likewise."""
    seen: Tensor | None = None
    """(b, 1, 1 or n, m) which keys a token sees; None for all."""
    real: Tensor | None = None
    """(b * n,) which places of q are tokens; None for all."""


def plan(q_bounds: Sequence[int], k_bounds: Sequence[int], device: torch.device) -> tuple[Run, ...]:
    """Row b of q sees row b of k; worked out once per forward, used by every block.

    Neighbouring rows of one length of q go in one call, with keys padded under a mask where their
    lengths differ, as with words; so no dense mask over the pack is ever made, which on a CPU is three
    times faster. Many short rows of different lengths, as words have, are padded together.
    """
    q_lengths = _lengths(q_bounds)
    groups = [(length, len(list(rows))) for length, rows in itertools.groupby(q_lengths)]
    if len(groups) > 4 and max(q_lengths) <= 64:
        index, real = _slots(q_bounds, device)
        k, seen = _keys(k_bounds, device)
        return (Run(rows=len(q_lengths), q=index, k=k, seen=seen, real=real.reshape(-1)),)
    runs, first = [], 0
    for _, count in groups:
        last = first + count
        k, seen = _keys(k_bounds[first : last + 1], device)
        runs.append(Run(rows=count, q=slice(q_bounds[first], q_bounds[last]), k=k, seen=seen))
        first = last
    return tuple(runs)


def plan_self(layout: Layout, past: Sequence[int] | None = None) -> tuple[Run, ...]:
    """As `plan` on one packing, but rows marked causal see no later frame of their own row.

    `past` says how many remembered tokens each row has: all of them lie before the row's own, which
    see them all. Among the keys they come first, those of all rows. Raises ValueError where a row with
    a past is not causal: its past would have to see what came after.
    """
    if past is None and not any(layout.causal):
        return plan(layout.bounds, layout.bounds, layout.frames.device)
    counts = tuple(past or (0,) * len(layout.lengths))
    if any(count and not causal for count, causal in zip(counts, layout.causal, strict=True)):
        raise ValueError("a row with a past must be causal")
    runs = []
    alike = itertools.groupby(
        range(len(counts)), lambda b: (layout.lengths[b], counts[b], layout.causal[b])
    )
    for (length, count, causal), rows in alike:
        rows = list(rows)
        where = slice(layout.bounds[rows[0]], layout.bounds[rows[-1] + 1])
        seen = None
        frames = layout.frames[where].view(len(rows), length)
        if causal and not (count and bool((frames == frames[:, :1]).all())):
            seen = (frames[:, :, None] >= frames[:, None, :])[:, None]  # (b, 1, n, n)
            seen = F.pad(seen, (count, 0), value=True)  # (b, 1, n, m)
        keys = where if past is None else _behind(layout, counts, rows)
        runs.append(Run(rows=len(rows), q=where, k=keys, seen=seen))
    return tuple(runs)


def _behind(layout: Layout, past: Sequence[int], rows: Sequence[int]) -> slice | Tensor:
    """Places of some rows' keys where those of every row's past come before all rows' own."""
    if len(past) == 1:
        return slice(0, past[0] + layout.bounds[-1])
    device, first = layout.frames.device, [0, *itertools.accumulate(past)]
    own = [first[-1] + bound for bound in layout.bounds]
    pairs = [(ends[b], ends[b + 1]) for b in rows for ends in (first, own)]
    return torch.cat([torch.arange(a, b, device=device) for a, b in pairs])


def _lengths(bounds: Sequence[int]) -> list[int]:
    return [b - a for a, b in itertools.pairwise(bounds)]


def _slots(bounds: Sequence[int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Which token stands at each place of (rows, longest), flat, and which places are real."""
    lengths = _lengths(bounds)
    length = torch.tensor(lengths, device=device)[:, None]
    slot = torch.arange(max(lengths), device=device)[None]
    start = torch.tensor(bounds[:-1], device=device)[:, None]
    return (start + slot.minimum(length - 1)).reshape(-1), slot < length


def _keys(bounds: Sequence[int], device: torch.device) -> tuple[slice | Tensor, Tensor | None]:
    """Where the keys of some rows are, and which places are real (None: all of them)."""
    if len(set(_lengths(bounds))) == 1:
        return slice(bounds[0], bounds[-1]), None
    index, real = _slots(bounds, device)
    return index, real[:, None, None, :]


def attend(q: Tensor, k: Tensor, v: Tensor, runs: Sequence[Run]) -> Tensor:
    """q (N, H, d), k and v (M, H, d) -> (N, H * d)."""
    q_places, k_places = [run.q for run in runs], [run.k for run in runs]
    parts = zip(runs, _parts(q, q_places), _parts(k, k_places), _parts(v, k_places), strict=True)
    pieces = []
    for run, *part in parts:
        batch, keys, values = (rearrange(z, "(b n) h d -> b h n d", b=run.rows) for z in part)
        out = KERNELS[_choose(batch, keys)](batch, keys, values, run.seen)  # (b, H, n, d)
        out = rearrange(out, "b h n d -> (b n) (h d)")
        pieces.append(out if run.real is None else out[run.real])
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces)


def _parts(z: Tensor, places: Sequence[slice | Tensor]) -> Sequence[Tensor]:
    """What stands at each run's places. One split where they are neighbours: its gradient is one copy."""
    slices = [place for place in places if isinstance(place, slice)]
    if len(slices) == len(places):
        return z.split([one.stop - one.start for one in slices])
    return [z[place] for place in places]


SHORT = 256
"""Up to this many keys, plain matrix products beat the fused kernel on a CPU (its backward above all)."""


def _choose(q: Tensor, k: Tensor) -> str:
    """The fastest kernel, as `benchmarks/transformer_forward.py` and `benchmarks/packing.py` measured."""
    if q.device.type != "cpu":
        return "fused"
    if q.dtype == torch.bfloat16 and (k.shape[-2] > SHORT or torch.compiler.is_compiling()):
        return "tiled"
    return "plain" if k.shape[-2] <= SHORT else "fused"


def fused(q: Tensor, k: Tensor, v: Tensor, seen: Tensor | None) -> Tensor:
    """PyTorch's own kernel: the best there is on a GPU and for long rows in float32."""
    return F.scaled_dot_product_attention(q, k, v, attn_mask=seen)


def plain(q: Tensor, k: Tensor, v: Tensor, seen: Tensor | None) -> Tensor:
    """softmax(q k^T / sqrt(d)) v, written out."""
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)  # (b, H, n, m)
    if seen is not None:
        scores = scores + _bias(seen, scores.dtype)
    return scores.softmax(-1) @ v


def _bias(seen: Tensor, dtype: torch.dtype) -> Tensor:
    """What to add to scores: 0 where seen, else -inf. Several times faster than filling them in."""
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, -torch.inf)


def tiled(q: Tensor, k: Tensor, v: Tensor, seen: Tensor | None) -> Tensor:
    """The same with the scores made tile by tile, so that they never leave the cache.

    PyTorch's own kernel gains nothing from bfloat16 on a CPU: it reaches 60 GFLOP/s a core where this
    reaches 150. Hidden in an operator of our own, or the compiler would recognise attention and put
    that kernel back.
    """
    flat = (q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1))  # 3 x (b H, n or m, d)
    bias = None
    if seen is not None:
        bias = _bias(seen, q.dtype).expand(*q.shape[:2], -1, -1).flatten(0, 1)  # (b H, 1 or n, m)
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        out = _tiled(*flat, bias)
    else:
        out = _tiled_forward(*flat, bias)  # an operator costs 40 us a call
    return out.unflatten(0, q.shape[:2])


KERNELS: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]] = {
    "fused": fused,
    "plain": plain,
    "tiled": tiled,
}
"""Ways to compute one batched call; all agree, they differ in speed."""

TILE = 2**20
"""Scores in a tile: 2 MB, about a core's cache."""


def _tiles(q: Tensor, k: Tensor, tile: int = TILE) -> list[tuple[slice, slice]]:
    """Pieces of (b H, n): some whole heads each, or some tokens of one head where a head is too big."""
    heads, n, m = q.shape[0], q.shape[1], k.shape[1]
    some = min(heads, max(1, tile // (n * m)))
    tokens = n if some * n * m <= tile else min(n, max(16, tile // m))
    return [
        (slice(i, i + some), slice(a, a + tokens))
        for i in range(0, heads, some)
        for a in range(0, n, tokens)
    ]


def _probabilities(q: Tensor, k: Tensor, bias: Tensor | None, rows: slice, tokens: slice) -> Tensor:
    scores = torch.bmm(q[rows, tokens], k[rows].transpose(1, 2))
    if bias is not None:
        scores += bias[rows] if bias.shape[1] == 1 else bias[rows, tokens]
    return scores.softmax(-1)


def _tiled_forward(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    q = (q * q.shape[-1] ** -0.5).contiguous()
    k, v = k.contiguous(), v.contiguous()
    tiles = _tiles(q, k)
    if len(tiles) == 1:
        return torch.bmm(_probabilities(q, k, bias, *tiles[0]), v)
    out = torch.empty_like(q)
    for rows, tokens in tiles:
        torch.bmm(_probabilities(q, k, bias, rows, tokens), v[rows], out=out[rows, tokens])
    return out


@torch.library.custom_op("worldtube::tiled_attention", mutates_args=())
def _tiled(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    return _tiled_forward(q, k, v, bias)


@torch.library.custom_op("worldtube::tiled_attention_backward", mutates_args=())
def _tiled_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """The probabilities are made again, tile by tile: cheaper than keeping them."""
    scale = q.shape[-1] ** -0.5
    q, k, v = (q * scale).contiguous(), k.contiguous(), v.contiguous()
    grad_q, grad_k, grad_v = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
    for rows, tokens in _tiles(q, k, TILE // 2):
        p = _probabilities(q, k, bias, rows, tokens)
        from_above = grad[rows, tokens]
        grad_v[rows] += torch.bmm(p.transpose(1, 2), from_above)
        grad_p = torch.bmm(from_above, v[rows].transpose(1, 2))
        grad_s = torch._softmax_backward_data(grad_p, p, -1, p.dtype)
        grad_q[rows, tokens] = torch.bmm(grad_s, k[rows]) * scale
        grad_k[rows] += torch.bmm(grad_s.transpose(1, 2), q[rows, tokens])
    return grad_q, grad_k, grad_v


@_tiled.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    return torch.empty_like(q, memory_format=torch.contiguous_format)


@_tiled_backward.register_fake
def _(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    dense = torch.contiguous_format
    of_q, of_k, of_v = (torch.empty_like(z, memory_format=dense) for z in (q, k, v))
    return of_q, of_k, of_v


def _keep(ctx, inputs, output) -> None:  # the names are PyTorch's
    ctx.save_for_backward(*inputs)


def _back(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
    return *_tiled_backward(grad.contiguous(), *ctx.saved_tensors), None


_tiled.register_autograd(_back, setup_context=_keep)
