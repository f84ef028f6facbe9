"""The network: packed tokens with a noise level each, and words, to velocity.

Owns the block, the order of the parts and the initialisation. Knows nothing of pixels, of the codec,
of schedules or of where its weights come from. Shapes: N tokens in the pack, S text tokens, D width,
H heads, d = D / H, U distinct noise levels.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Self, cast

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from worldtube.tokens import TRACKS, Layout, Words
from worldtube.transformer.attention import Run, attend, plan, plan_self

Attend = Callable[[Tensor, Tensor, Tensor, Sequence[Run]], Tensor]
"""As `attention.attend`."""


@dataclass(frozen=True, kw_only=True)
class TrackConfig:
    """A track beside the picture."""

    name: str
    """One of `tokens.TRACKS`."""
    width: int
    """Numbers in its tokens."""
    slots: int = 0
    """Members of the set, each with an embedding of its own; 0 for a track that is no set."""
    prediction: Literal["velocity", "data"] = "velocity"
    """What its projection predicts. Data suits tokens of many numbers some of which vary little: their noise then
    does not have to pass through the network."""


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """Sizes of the network."""

    token_width: int = 96
    """Numbers in a picture token: codec channels times patch area; training sets it from the codec. 0 for a network
    without pictures."""
    tracks: tuple[TrackConfig, ...] = ()
    """Further tracks, each with projections of its own."""
    text_width: int = 1280
    """Numbers in a text token state."""
    width: int = 256
    """D; a multiple of 64 times the number of heads is not needed, heads are D / head_width."""
    depth: int = 6
    """Blocks."""
    text_depth: int = 2
    """Blocks that refine the words before the tokens read them; they bind 'red' to 'ball'."""
    head_width: int = 64
    """d, per head."""
    hidden: int = 704
    """Inner width of SwiGLU, about 8/3 of D."""
    truth_width: int = 0
    """Numbers per token that a middle block also predicts in training (object classes); 0 for none. Training sets
    it from the data where it is not 0."""
    truth_block: int = 3
    """After which block the truth is predicted."""

    def __post_init__(self) -> None:
        tracks = tuple(TrackConfig(**t) if isinstance(t, dict) else t for t in self.tracks)
        object.__setattr__(self, "tracks", tracks)  # of a saved configuration they are dictionaries
        if unknown := [track.name for track in tracks if track.name not in TRACKS[1:]]:
            raise ValueError(f"tracks must be of {', '.join(TRACKS[1:])}, got {unknown[0]}")

    @property
    def widest(self) -> int:
        """Numbers in the widest token: narrower ones are padded with zeros where tracks share a row."""
        return max([self.token_width, *(track.width for track in self.tracks)])


def rope_angles(positions: Tensor, head_width: int) -> Tensor:
    """(N, d/2) angles for `(seconds, y, x)` (Su et al. 2021, with axes as in Flux).

    Wavelengths run from 0.6 to 40 seconds in time, and from two patches of a 64-pixel clip (1/8 of the
    picture's side: twice what the smallest trained clip can resolve) to four pictures in space.
    """
    half = head_width // 2
    parts = (half - 2 * (half // 3), half // 3, half // 3)
    spans = ((0.6, 40.0), (0.125, 4.0), (0.125, 4.0))
    angles = []
    for axis, (count, (short, long)) in enumerate(zip(parts, spans, strict=True)):
        exponent = torch.linspace(0, 1, count, device=positions.device)
        frequency = 2 * math.pi / (short * (long / short) ** exponent)
        angles.append(positions[:, axis : axis + 1] * frequency)
    return torch.cat(angles, dim=-1)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding, half-split layout. x (N, H, d), cos and sin (N, 1, d), sin negative in its first half."""
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin)


EPSILON = 1e-6
MIN_SIGMA = 0.06
"""Noise levels below count as this where a velocity is computed from predicted data: the loss stays bounded."""


def rms_norm(x: Tensor, weight: Tensor | None = None) -> Tensor:
    """Root-mean-square norm over the last axis, staying in the dtype of `x`."""
    if x.device.type == "cpu" and not torch.compiler.is_compiling():
        out = cast(Tensor, _Norm.apply(x))
        return out if weight is None else out * weight.to(x.dtype)
    return F.rms_norm(x, x.shape[-1:], None if weight is None else weight.to(x.dtype), EPSILON)


class _Norm(torch.autograd.Function):
    """On a CPU, where PyTorch's own walks through x seven times, in bfloat16 through copies of it in float32."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        inverse = torch.rsqrt(norm.square() / x.shape[-1] + EPSILON).to(x.dtype)
        out = x * inverse
        ctx.save_for_backward(out, inverse)
        return out

    @staticmethod
    def backward(ctx, *above: Tensor) -> Tensor:
        (grad,), (out, inverse) = above, ctx.saved_tensors
        along = (grad * out).mean(-1, keepdim=True)
        return torch.addcmul(grad, out, along, value=-1).mul_(inverse)


class SwiGLU(nn.Module):
    """(silu(x W1) * x W2) W3 (Shazeer 2020)."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.inner = nn.Linear(width, 2 * hidden, bias=False)
        self.outer = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.inner(x).chunk(2, dim=-1)
        return self.outer(F.silu(gate) * value)


class Attention(nn.Module):
    """Self-attention with QK norm and rotary positions."""

    def __init__(self, width: int, head_width: int):
        super().__init__()
        self.head_width = head_width
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.q_norm = nn.Parameter(torch.ones(head_width))
        self.k_norm = nn.Parameter(torch.ones(head_width))
        self.attend: Attend = attend  # a hook: where tokens of other processes come in

    def forward(
        self,
        x: Tensor,
        rope: tuple[Tensor, Tensor],
        runs: Sequence[Run],
        past: tuple[Tensor, Tensor] | None = None,
        kept: list[Tensor] | None = None,
    ) -> Tensor:
        """`past` are keys and values (M, H, d) that come before the tokens' own; `kept` collects those."""
        q, k, v = rearrange(self.qkv(x), "n (three h d) -> three n h d", three=3, d=self.head_width)
        q, k = rms_norm(q, self.q_norm), rms_norm(k, self.k_norm)  # (N, H, d)
        if kept is not None:
            kept.append(torch.stack([k, v], dim=1))  # (N, 2, H, d)
        q, k = rotate(q, *rope), rotate(k, *rope)  # (N, H, d)
        if past is not None:
            k, v = torch.cat([past[0], k]), torch.cat([past[1], v])  # (M + N, H, d)
        return self.out(self.attend(q, k, v, runs))  # (N, D)


class CrossAttention(nn.Module):
    """Tokens read the words of their own piece; keys and values are made once per prompt."""

    def __init__(self, width: int, head_width: int):
        super().__init__()
        self.head_width = head_width
        self.q = nn.Linear(width, width, bias=False)
        self.kv = nn.Linear(width, 2 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.q_norm = nn.Parameter(torch.ones(head_width))
        self.k_norm = nn.Parameter(torch.ones(head_width))
        self.attend: Attend = attend

    def read(self, words: Tensor) -> tuple[Tensor, Tensor]:
        """(S, D) -> keys and values (S, H, d)."""
        k, v = rearrange(self.kv(words), "s (two h d) -> two s h d", two=2, d=self.head_width)
        return rms_norm(k, self.k_norm), v

    def forward(self, x: Tensor, kv: tuple[Tensor, Tensor], runs: Sequence[Run]) -> Tensor:
        q = rms_norm(rearrange(self.q(x), "n (h d) -> n h d", d=self.head_width), self.q_norm)
        return self.out(self.attend(q, *kv, runs))  # (N, D)


class TextBlock(nn.Module):
    """A plain pre-norm block over the words of each prompt."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.attention = Attention(config.width, config.head_width)
        self.mlp = SwiGLU(config.width, config.hidden)

    def forward(self, words: Tensor, rope: tuple[Tensor, Tensor], runs: Sequence[Run]) -> Tensor:
        words = words + self.attention(rms_norm(words), rope, runs)  # (S, D)
        return words + self.mlp(rms_norm(words))  # (S, D)


class Block(nn.Module):
    """Self-attention, words, SwiGLU; shift, scale and gate from the noise level.

    The modulation is one shared network plus a table per block (PixArt-alpha: Chen et al. 2023, section
    2.3): computed on U distinct levels, then spread over the tokens.
    """

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.attention = Attention(config.width, config.head_width)
        self.words = CrossAttention(config.width, config.head_width)
        self.mlp = SwiGLU(config.width, config.hidden)
        self.table = nn.Parameter(torch.zeros(6, config.width))

    def forward(
        self,
        x: Tensor,
        modulation: Tensor,
        level: Tensor | None,
        rope: tuple[Tensor, Tensor],
        kv: tuple[Tensor, Tensor],
        runs: Sequence[Run],
        word_runs: Sequence[Run],
        past: tuple[Tensor, Tensor] | None = None,
        kept: list[Tensor] | None = None,
    ) -> Tensor:
        parts = (modulation + self.table).to(x.dtype).unbind(1)  # 6 x (U, D)
        shift1, scale1, gate1, shift2, scale2, gate2 = (spread(part, level) for part in parts)
        made = self.attention(modulated(x, scale1, shift1), rope, runs, past, kept)
        x = torch.addcmul(x, gate1, made)
        x = x + self.words(rms_norm(x), kv, word_runs)
        return torch.addcmul(x, gate2, self.mlp(modulated(x, scale2, shift2)))  # (N, D)


def spread(part: Tensor, level: Tensor | None) -> Tensor:
    """(U, D) -> (N, D); the gradient of `part[level]` would take ten times as long."""
    return part if level is None else part.index_select(0, level)


def modulated(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Normed, scaled and shifted."""
    return torch.addcmul(shift, rms_norm(x), 1 + scale)


@dataclass(frozen=True)
class Reading:
    """What the network keeps of the words while it denoises: per block keys and values."""

    kv: tuple[tuple[Tensor, Tensor], ...]
    bounds: tuple[int, ...]


@dataclass(frozen=True)
class Past:
    """What the network needs of earlier tokens of causal rows while it denoises: per block keys, turned to
    their positions, and values, (M, H, d)."""

    kv: tuple[tuple[Tensor, Tensor], ...]
    lengths: tuple[int, ...]
    """Tokens of each row."""


@dataclass(frozen=True, kw_only=True)
class LayoutContext:
    """What the network derives from a layout: the same at every noise level."""

    layout: Layout
    """On the network's device."""
    kinds: Tensor
    """(n,) of the tokens that this process computes."""
    slots: Tensor | None
    """(n,) likewise; None where there are no sets."""
    members: dict[str, Tensor] | None
    """Rows of each further track by name; None where all tokens are of the picture."""
    rope: tuple[Tensor, Tensor]
    """Cosines and sines of the same tokens, (n, 1, d) each."""
    runs: tuple[Run, ...]
    """Self-attention within rows."""
    word_runs: tuple[Run, ...]
    """Attention of pieces to their words."""


class Transformer(nn.Module):
    """Velocity of packed tokens, each at its own noise level."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.config = config
        width = config.width
        self.token_in = nn.Linear(config.token_width, width) if config.token_width else None
        self.track_in = nn.ModuleDict({t.name: nn.Linear(t.width, width) for t in config.tracks})
        self.slots = nn.ModuleDict(
            {t.name: nn.Embedding(t.slots, width) for t in config.tracks if t.slots}
        )
        self.kind = nn.Embedding(2 * len(TRACKS), width)
        self.text_in = nn.Linear(config.text_width, width)
        self.text_blocks = nn.ModuleList(TextBlock(config) for _ in range(config.text_depth))
        self.level_in = nn.Sequential(nn.Linear(256, width), nn.SiLU(), nn.Linear(width, width))
        self.modulation = nn.Linear(width, 6 * width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.final_modulation = nn.Linear(width, 2 * width)
        self.token_out = nn.Linear(width, config.token_width) if config.token_width else None
        self.track_out = nn.ModuleDict({t.name: nn.Linear(width, t.width) for t in config.tracks})
        self.truth_out = nn.Linear(width, config.truth_width) if config.truth_width else None
        self.mine: Callable[[Tensor], Tensor] = (
            all_of  # a hook: which tokens of a pack are computed in this process
        )
        self._initialise()

    def _initialise(self) -> None:
        """Small uniform projections; everything that writes to the stream through a gate starts closed."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.normal_(self.kind.weight, std=0.02)
        for block in self.blocks:
            nn.init.zeros_(cast(Block, block).words.out.weight)
        for embedding in self.slots.values():
            nn.init.normal_(cast(nn.Embedding, embedding).weight, std=0.2)
        outs = [self.token_out, *self.track_out.values()]
        for closed in (self.modulation, self.final_modulation, *outs):
            if closed is not None:
                nn.init.zeros_(cast(nn.Linear, closed).weight)
                nn.init.zeros_(cast(nn.Linear, closed).bias)

    def compiled(self) -> Self:
        """This network with its blocks compiled; returns itself.

        One program serves all blocks and is made when a pack of a new shape comes, in some seconds; so
        it pays where many steps share few shapes.
        """
        for block in self.blocks:
            block.compile(dynamic=False)
        return self

    def read(self, words: Words) -> Reading:
        """Words -> keys and values for every block; once per prompt, not once per step."""
        dtype = self.text_in.weight.dtype
        x = self.text_in(words.states.to(dtype))  # (S, D)
        place = torch.cat(
            [torch.arange(b - a) for a, b in zip(words.bounds[:-1], words.bounds[1:], strict=True)]
        ).to(x.device)
        line = torch.stack([place, *[torch.zeros_like(place)] * 2], dim=-1)
        rope = self._rope(line * 0.25, x.dtype)  # a word is a quarter of a second apart
        runs = plan(words.bounds, words.bounds, x.device)
        for block in self.text_blocks:
            x = block(x, rope, runs)  # (S, D)
        x = rms_norm(x)
        blocks = [cast(Block, block) for block in self.blocks]
        return Reading(tuple(block.words.read(x) for block in blocks), words.bounds)

    def _rope(self, positions: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        angles = rope_angles(positions.float(), self.config.head_width)[:, None]  # (N, 1, d/2)
        cos, sin = angles.cos().to(dtype), angles.sin().to(dtype)
        return torch.cat([cos, cos], dim=-1), torch.cat([-sin, sin], dim=-1)

    def remember(
        self, x: Tensor, layout: Layout, reading: Reading, past: Past | None = None
    ) -> Tensor:
        """Clean tokens x (N, P) -> (N, depth, 2, H, d) what later tokens of their causal rows see of them.

        Tokens at level 0 that see no later ones never change, nor do their keys and values. The keys
        are those before the rotary embedding, so that a token may still be said to be elsewhere.
        """
        kept: list[Tensor] = []
        self(x, x.new_zeros(len(x)), layout, reading, past, kept)
        return torch.stack(kept, dim=1)

    def recall(self, kept: Tensor, layout: Layout) -> Past:
        """What `remember` made of tokens (M, depth, 2, H, d), and where they are, for the next steps."""
        rope = self._rope(layout.positions, kept.dtype)
        blocks = kept.unbind(1)
        return Past(tuple((rotate(kv[:, 0], *rope), kv[:, 1]) for kv in blocks), layout.lengths)

    def context(self, layout: Layout, reading: Reading, past: Past | None = None) -> LayoutContext:
        """Derive from a layout what does not change while its tokens are denoised: once per chunk, not per step."""
        kinds = self.mine(layout.kinds)
        return LayoutContext(
            layout=layout,
            kinds=kinds,
            slots=None if layout.slots is None else self.mine(layout.slots),
            members=self._members(kinds),
            rope=self._rope(self.mine(layout.positions), self.text_in.weight.dtype),
            runs=plan_self(layout, past.lengths if past else None),
            word_runs=plan(layout.spans, reading.bounds, layout.positions.device),
        )

    def forward(
        self,
        x: Tensor,
        sigma: Tensor,
        layout: Layout,
        reading: Reading,
        past: Past | None = None,
        kept: list[Tensor] | None = None,
        context: LayoutContext | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """x (N, P), sigma (N,) -> velocity (N, P) and, if the config asks, truth (N, truth_width).

        `past` are earlier tokens of the rows, all of which lie before those of x; `kept` collects what
        `remember` returns, block by block. `context`, what the method of this name returned for layout, reading and
        past, saves the time to compute it again. Where processes share the tokens, the results are `mine` of N.
        """
        dtype = self.text_in.weight.dtype
        context = context or self.context(layout, reading, past)
        x, sigma, members = self.mine(x), self.mine(sigma), context.members
        levels, level = torch.unique(sigma, return_inverse=True)  # (U,), (N,)
        if len(levels) == 1:
            level = None
        c = self.level_in(level_features(levels).to(dtype))  # (U, D)
        modulation = rearrange(self.modulation(F.silu(c)), "u (six d) -> u six d", six=6)
        final = self.final_modulation(F.silu(c))  # (U, 2D)
        rope, runs, word_runs = context.rope, context.runs, context.word_runs
        h = self._project_in(x.to(dtype), members, context.slots) + self.kind(
            context.kinds
        )  # (N, D)
        truth = None
        for i, (block, kv) in enumerate(zip(self.blocks, reading.kv, strict=True), start=1):
            before = past.kv[i - 1] if past else None
            h = block(h, modulation, level, rope, kv, runs, word_runs, before, kept)  # (N, D)
            if self.truth_out is not None and i == self.config.truth_block and self.training:
                truth = self.truth_out(rms_norm(h))  # (N, truth_width)
        shift, scale = (spread(part, level) for part in final.chunk(2, dim=-1))
        out = self._project_out(modulated(h, scale, shift), members, x, sigma)  # (N, P)
        return out, truth

    def _members(self, kinds: Tensor) -> dict[str, Tensor] | None:
        """Rows of each further track that is there, by name, int64; None where all tokens are of the picture."""
        if not self.config.tracks:
            return None
        found = {
            t.name: (kinds // 2 == TRACKS.index(t.name)).nonzero()[:, 0] for t in self.config.tracks
        }
        found = {name: rows for name, rows in found.items() if len(rows)}
        return found or None

    def _project_in(
        self, x: Tensor, members: dict[str, Tensor] | None, slots: Tensor | None
    ) -> Tensor:
        """Tokens (N, P) to (N, D), each by the projection of its track."""
        if members is None:
            assert self.token_in is not None, "a network without pictures got picture tokens"
            return self.token_in(x[:, : self.config.token_width])
        h = x.new_zeros(len(x), self.config.width)
        for name, rows in members.items():
            part = self.track_in[name](x[rows, : self.track_in[name].in_features])
            if name in self.slots and slots is not None:
                part = part + self.slots[name](slots[rows])
            h = h.index_copy(0, rows, part)
        rows = self._picture_rows(members, len(x), x.device)
        if len(rows):
            assert self.token_in is not None, "a network without pictures got picture tokens"
            h = h.index_copy(0, rows, self.token_in(x[rows, : self.config.token_width]))
        return h

    def _project_out(
        self, h: Tensor, members: dict[str, Tensor] | None, x: Tensor, sigma: Tensor
    ) -> Tensor:
        """(N, D) to velocities float32 (N, P), zeros where a track's tokens are narrower."""
        if members is None:
            assert self.token_out is not None, "a network without pictures got picture tokens"
            return _widen(self.token_out(h).float(), x.shape[1])
        out = torch.zeros(len(h), x.shape[1], device=h.device)
        for track in self.config.tracks:
            if track.name not in members:
                continue
            rows = members[track.name]
            part = self.track_out[track.name](h[rows]).float()
            if track.prediction == "data":
                noisy = x[rows, : track.width].float()
                part = (noisy - part) / sigma[rows, None].clamp(min=MIN_SIGMA).float()
            out = out.index_copy(0, rows, _widen(part, x.shape[1]))
        rows = self._picture_rows(members, len(h), h.device)
        if len(rows):
            assert self.token_out is not None, "a network without pictures got picture tokens"
            part = self.token_out(h[rows]).float()
            out = out.index_copy(0, rows, _widen(part, x.shape[1]))
        return out

    @staticmethod
    def _picture_rows(members: dict[str, Tensor], count: int, device: torch.device) -> Tensor:
        others = torch.zeros(count, dtype=torch.bool, device=device)
        others[torch.cat(list(members.values()))] = True
        return (~others).nonzero()[:, 0]


def _widen(x: Tensor, width: int) -> Tensor:
    """(N, P) to (N, width), zeros behind."""
    return x if x.shape[1] == width else F.pad(x, (0, width - x.shape[1]))


def all_of(z: Tensor) -> Tensor:
    """Every token of a pack."""
    return z


def level_features(sigma: Tensor) -> Tensor:
    """(U,) -> (U, 256) sinusoids of the noise level (Vaswani et al. 2017, on 1000 sigma)."""
    frequency = torch.exp(-math.log(10_000) * torch.arange(128, device=sigma.device) / 128)
    angles = 1000 * sigma[:, None] * frequency
    return torch.cat([angles.cos(), angles.sin()], dim=-1)
