"""Attention within the rows of a pack: which rows go together, and the kernel that is fastest there.

Owns the plan of batched calls, the dict of kernels and the choice between them. Knows nothing of
weights, positions or noise. Shapes: N tokens in the pack, M keys, H heads, d head width, b rows of one
call, n and m tokens and keys in each of them.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from worldtube.device import has_fast_bfloat16
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
    """(N,) which places of q are tokens, in their order; None for all."""


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
        tokens = real.flatten().nonzero()[:, 0]
        return (Run(rows=len(q_lengths), q=index, k=k, seen=seen, real=tokens),)
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
    few = _few(q, runs)
    if _own(q) and not few and not torch.compiler.is_compiling():
        made = (
            _Packed.apply(q, k, v, runs) if torch.is_grad_enabled() else _packed(q, k, v, runs)[0]
        )
        return cast(Tensor, made).flatten(1)
    q_places, k_places = [run.q for run in runs], [run.k for run in runs]
    parts = zip(runs, _parts(q, q_places), _parts(k, k_places), _parts(v, k_places), strict=True)
    pieces = []
    for run, *part in parts:
        batch, keys, values = (rearrange(z, "(b n) h d -> b h n d", b=run.rows) for z in part)
        kernel = KERNELS["fused" if few else _choose(batch, keys)]
        out = kernel(batch, keys, values, run.seen)  # (b, H, n, d)
        out = rearrange(out, "b h n d -> (b n) (h d)")
        pieces.append(out if run.real is None else out.index_select(0, run.real))
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces)


def _parts(z: Tensor, places: Sequence[slice | Tensor]) -> Sequence[Tensor]:
    """What stands at each run's places. One split where they are neighbours: its gradient is one copy."""
    slices = [place for place in places if isinstance(place, slice)]
    if len(slices) == len(places):
        return z.split([one.stop - one.start for one in slices])
    return [_at(z, place) for place in places]


def _at(z: Tensor, place: slice | Tensor) -> Tensor:
    """z[place], with a gradient ten times as fast."""
    return z[place] if isinstance(place, slice) else z.index_select(0, place)


SHORT = 256
"""Up to this many keys, plain matrix products beat the fused kernel on a CPU (its backward above all)."""

FEW = 64
"""Up to this many tokens a row, as in a clip made frame after frame, the fused kernel wins where no backward follows:
what it computes slower is less than what it saves in small operators."""


def _few(q: Tensor, runs: Sequence[Run]) -> bool:
    quiet = not (torch.is_grad_enabled() or torch.compiler.is_compiling())
    return quiet and len(q) <= FEW * sum(run.rows for run in runs)


def _fast_bfloat16() -> bool:
    return has_fast_bfloat16()


# What `torch.compiler.assume_constant_result` would set, which imports the whole compiler to do so.
_fast_bfloat16._dynamo_marked_constant = True  # ty: ignore[missing-attribute]


def _own(q: Tensor) -> bool:
    """Whether `tiled` is used: in bfloat16 on a CPU that computes fast in it. On others its products are 30 times
    slower than PyTorch's kernel."""
    return q.device.type == "cpu" and q.dtype == torch.bfloat16 and _fast_bfloat16()


def _choose(q: Tensor, k: Tensor) -> str:
    """The fastest kernel, as `benchmarks/transformer_forward.py` and `benchmarks/packing.py` measured."""
    if _own(q):
        return "tiled"
    short = q.device.type == "cpu" and q.dtype == torch.float32 and k.shape[-2] <= SHORT
    return "plain" if short else "fused"


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

    PyTorch's own kernel reaches 60 GFLOP/s a core in bfloat16 where this reaches 150. Hidden in an
    operator of our own, or the compiler would recognise attention and put that kernel back; without the
    compiler `attend` does a whole pack in one operator.
    """
    return _tiled(q, k, v, seen)


KERNELS: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]] = {
    "fused": fused,
    "plain": plain,
    "tiled": tiled,
}
"""Ways to compute one batched call; all agree, they differ in speed."""

TILE = 2**20
"""Scores in a tile: 2 MB, about a core's cache."""

KEPT = 1024
"""Up to this many keys the probabilities are kept for the backward, else made again: they grow with the square."""

VECTOR = 32
"""bfloat16 numbers in a register. A softmax whose last register is not full takes up to five times as long."""


def _whole(num_keys: int) -> int:
    """With how many keys to compute: whole registers, where that adds little to the products."""
    filled = num_keys + -num_keys % VECTOR
    return filled if num_keys < VECTOR or filled - num_keys <= num_keys // 16 else num_keys


@dataclass(frozen=True, kw_only=True)
class _Heads:
    """One batched call laid out for matrix products: every head by itself, keys filled up to whole registers."""

    q: Tensor
    """(b H, n, d)."""
    k: Tensor
    """(b H, m, d), divided by sqrt(d)."""
    v: Tensor
    """(b H, m, d)."""
    bias: Tensor | None
    """(b H, 1 or n, m) added to the scores."""
    num_keys: int
    """How many of the m are none that fill up."""

    @classmethod
    def of(cls, q: Tensor, k: Tensor, v: Tensor, seen: Tensor | None) -> "_Heads":
        """From (b, H, n or m, d)."""
        filled, bias = _whole(k.shape[2]) - k.shape[2], None
        if seen is not None:
            bias = F.pad(_bias(seen, q.dtype), (0, filled), value=-torch.inf)
            bias = bias.expand(*q.shape[:2], -1, -1).flatten(0, 1)
        k, v = _flat(k, filled, q.shape[-1] ** -0.5), _flat(v, filled)
        return cls(q=_flat(q), k=k, v=v, bias=bias, num_keys=k.shape[1] - filled)

    def tiles(self, tile: int) -> list[tuple[slice, slice]]:
        """Pieces of (b H, n): some whole heads each, or some tokens of one head where a head is too big."""
        heads, n, m = self.q.shape[0], self.q.shape[1], self.k.shape[1]
        some = _even(heads, max(1, tile // (n * m)))
        tokens = n if n * m <= tile else _even(n, max(16, tile // m))
        return [
            (slice(i, i + some), slice(a, a + tokens))
            for i in range(0, heads, some)
            for a in range(0, n, tokens)
        ]

    def probabilities(self, rows: slice, tokens: slice) -> Tensor:
        scores = torch.bmm(self.q[rows, tokens], self.k[rows].transpose(1, 2))
        if self.bias is not None:
            scores += self.bias[rows] if self.bias.shape[1] == 1 else self.bias[rows, tokens]
        elif self.k.shape[1] > self.num_keys:
            scores[..., self.num_keys :].fill_(-torch.inf)
        return scores.softmax(-1)

    def forward(self, *, keep: bool) -> tuple[Tensor, list[Tensor]]:
        """(b H, n, d), and the probabilities of each tile if they are to be kept."""
        out, kept = torch.empty_like(self.q), []
        for rows, tokens in self.tiles(TILE):
            p = self.probabilities(rows, tokens)
            torch.bmm(p, self.v[rows], out=out[rows, tokens])
            if keep and self.num_keys <= KEPT:
                kept.append(p)
        return out, kept

    def backward(self, grad: Tensor, kept: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """grad (b H, n, d) -> gradients of q, k and v, likewise, of what fills up none."""
        grad_q, grad_k, grad_v = (torch.empty_like(z) for z in (self.q, self.k, self.v))
        for i, (rows, tokens) in enumerate(self.tiles(TILE if kept else TILE // 2)):
            p = kept[i] if kept else self.probabilities(rows, tokens)
            from_above = grad[rows, tokens]
            _add(grad_v[rows], p, from_above, new=tokens.start == 0)
            grad_p = torch.bmm(from_above, self.v[rows].transpose(1, 2))
            grad_s = torch._softmax_backward_data(grad_p, p, -1, p.dtype)
            torch.bmm(grad_s, self.k[rows], out=grad_q[rows, tokens])
            _add(grad_k[rows], grad_s, self.q[rows, tokens], new=tokens.start == 0)
        grad_k *= self.q.shape[-1] ** -0.5
        return grad_q, grad_k[:, : self.num_keys], grad_v[:, : self.num_keys]


def _even(count: int, most: int) -> int:
    """Pieces of nearly one size, at most `most` each."""
    return -(-count // -(-count // most))


def _add(out: Tensor, p: Tensor, z: Tensor, *, new: bool) -> None:
    """out = p^T z, or += it."""
    if new:
        torch.bmm(p.transpose(1, 2), z, out=out)
    else:
        out.baddbmm_(p.transpose(1, 2), z)


def _flat(z: Tensor, filled: int = 0, scale: float = 1.0) -> Tensor:
    """(b, H, n, d) -> (b H, n + filled, d) in one pass, with zeros behind."""
    b, heads, n, d = z.shape
    out = (z.new_zeros if filled else z.new_empty)(b, heads, n + filled, d)
    part = out[:, :, :n] if filled else out
    torch.mul(z, scale, out=part) if scale != 1 else part.copy_(z)
    return out.flatten(0, 1)


def _packed(
    q: Tensor, k: Tensor, v: Tensor, runs: Sequence[Run], *, keep: bool = False
) -> tuple[Tensor, list[_Heads], list[list[Tensor]]]:
    """All runs of a pack: (N, H, d) as q; and their calls and probabilities."""
    out = torch.empty_like(q, memory_format=torch.contiguous_format)
    calls, kept = [], []
    for run in runs:
        calls.append(_Heads.of(*_rows(run, q, k, v), run.seen))
        made, p = calls[-1].forward(keep=keep)
        _put(out, run, made)
        kept.append(p)
    return out, calls, kept


class _Packed(torch.autograd.Function):
    """`_packed` with its gradient. One operator, for a dozen rows cost more in small ones than they compute."""

    @staticmethod
    def forward(ctx, q: Tensor, k: Tensor, v: Tensor, runs: Sequence[Run]) -> Tensor:
        out, calls, kept = _packed(q, k, v, runs, keep=any(ctx.needs_input_grad))
        ctx.runs, ctx.shapes = runs, [z.shape for z in (q, k, v)]
        ctx.num_keys = [one.num_keys for one in calls]
        ctx.counts = [len(p) for p in kept]
        saved = [[one.q, one.k, one.v, one.bias, *p] for one, p in zip(calls, kept, strict=True)]
        ctx.save_for_backward(*itertools.chain.from_iterable(saved))
        return out

    @staticmethod
    def backward(ctx, *above: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = above
        saved = iter(ctx.saved_tensors)
        grad_q, grad_k, grad_v = (grad.new_zeros(shape) for shape in ctx.shapes)
        for run, num_keys, count in zip(ctx.runs, ctx.num_keys, ctx.counts, strict=True):
            q, k, v, bias = itertools.islice(saved, 4)
            call = _Heads(q=q, k=k, v=v, bias=bias, num_keys=num_keys)
            of_q, of_k, of_v = call.backward(
                _above(run, grad), list(itertools.islice(saved, count))
            )
            _put(grad_q, run, of_q)
            _add_keys(grad_k, run, of_k)
            _add_keys(grad_v, run, of_v)
        return grad_q, grad_k, grad_v, None


def _rows(run: Run, q: Tensor, k: Tensor, v: Tensor) -> list[Tensor]:
    """Packed tokens and keys -> those of one run, (b, H, n or m, d)."""
    parts = (_at(q, run.q), _at(k, run.k), _at(v, run.k))
    return [part.unflatten(0, (run.rows, -1)).transpose(1, 2) for part in parts]


def _tokens(run: Run) -> Tensor:
    """Places of the tokens of a run that has some places twice."""
    return cast(Tensor, run.q)[run.real]


def _above(run: Run, grad: Tensor) -> Tensor:
    """Gradients (N, H, d) of what one run made -> (b H, n, d), zero where no token is."""
    if run.real is None:
        part = grad[run.q]
    else:
        part = grad.new_zeros(len(cast(Tensor, run.q)), *grad.shape[1:])
        part.index_copy_(0, run.real, grad.index_select(0, _tokens(run)))
    return _flat(part.unflatten(0, (run.rows, -1)).transpose(1, 2))


def _put(whole: Tensor, run: Run, part: Tensor) -> None:
    """What one run made for its tokens, (b H, n, d), to their places in (N, H, d)."""
    part = part.unflatten(0, (run.rows, -1)).transpose(1, 2)
    if run.real is None:
        whole[run.q].unflatten(0, part.shape[:2]).copy_(part)
    else:
        whole.index_copy_(0, _tokens(run), part.flatten(0, 1).index_select(0, run.real))


def _add_keys(whole: Tensor, run: Run, part: Tensor) -> None:
    """What one run made for its keys, (b H, m, d), added to (M, H, d); a key may stand at several places."""
    part = part.unflatten(0, (run.rows, -1)).transpose(1, 2)
    if isinstance(run.k, slice):
        whole[run.k].unflatten(0, part.shape[:2]).copy_(part)
    else:
        whole.index_add_(0, run.k, part.flatten(0, 1))


@torch.library.custom_op("worldtube::tiled_attention", mutates_args=())
def _tiled(q: Tensor, k: Tensor, v: Tensor, seen: Tensor | None) -> Tensor:
    return _Heads.of(q, k, v, seen).forward(keep=False)[0].unflatten(0, q.shape[:2])


@torch.library.custom_op("worldtube::tiled_attention_backward", mutates_args=())
def _tiled_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, seen: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    made = _Heads.of(q, k, v, seen).backward(_flat(grad), ())
    of_q, of_k, of_v = (z.unflatten(0, q.shape[:2]).contiguous() for z in made)
    return of_q, of_k, of_v


@_tiled.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, seen: Tensor | None) -> Tensor:
    return torch.empty_like(q, memory_format=torch.contiguous_format)


@_tiled_backward.register_fake
def _(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, seen: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    dense = torch.contiguous_format
    of_q, of_k, of_v = (torch.empty_like(z, memory_format=dense) for z in (q, k, v))
    return of_q, of_k, of_v


def _keep(ctx, inputs, output) -> None:  # the names are PyTorch's
    ctx.save_for_backward(*inputs)


def _back(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
    return *_tiled_backward(grad, *ctx.saved_tensors), None


_tiled.register_autograd(_back, setup_context=_keep)
