"""Tokens: latents cut into patches, each with a place in spacetime, many clips packed in one row.

Owns patchify, positions, tracks and packing, and with them the one awkward fact about a causal
codec: its first latent frame holds one pixel frame, the others a whole stride. A clip is therefore a
row of *pieces*: each is encoded and decoded from its own first frame and placed by its position in
seconds. What is known in the middle or at the end begins a piece, and so does a shot after a cut.
Knows nothing of what makes latents or of what reads tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from einops import rearrange
from torch import Tensor

TRACKS: tuple[str, ...] = (
    *("rgb", "sound", "depth", "motion", "temperature", "action"),
    *("objects", "scene", "water"),
)
"""Names of the tracks on a clip's one clock. Saved models name theirs, so one may be added without losing old files."""

CUT = 4.0
"""Seconds by which the clock of a row jumps at a cut between shots, so that a network can tell it from going on."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The lattice of latents of one track of one clip, and where it lies in spacetime."""

    frames: int
    """Latent frames, t."""
    height: int
    """Latent rows, h."""
    width: int
    """Latent columns, w."""
    seconds_per_frame: float
    """Duration of one pixel frame."""
    stride: int
    """Pixel frames in each latent frame but the first, which holds one."""
    start: float = 0.0
    """Time of the first pixel frame, seconds."""
    track: str = "rgb"

    @property
    def num_frames(self) -> int:
        """Pixel frames that the grid decodes to."""
        return 1 + (self.frames - 1) * self.stride

    def seconds(self) -> Tensor:
        """(t,) middle of the time that each latent frame covers."""
        last = torch.arange(self.frames, dtype=torch.float32) * self.stride
        middle = last - (self.stride - 1) / 2
        middle[0] = 0
        return self.start + middle * self.seconds_per_frame


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where the N tokens of a packed row are; everything about them but their values."""

    positions: Tensor
    """(N, 3) seconds, y, x. y and x are relative to the middle, in units of sqrt(H * W)."""
    frames: Tensor
    """(N,) latent frame within the own clip; causal attention and staircases go by it."""
    kinds: Tensor
    """(N,) 2 * track index + 1 where the token holds a single pixel frame."""
    bounds: tuple[int, ...]
    """Row b is tokens bounds[b] : bounds[b + 1]."""
    causal: tuple[bool, ...]
    """Per row: are later frames of its row hidden from a token?"""
    slots: Tensor | None = None
    """int64 (N,) which member of a set each token is, 0 for tokens of other tracks; None where there are no sets."""
    spans: tuple[int, ...] = ()
    """Piece b is tokens spans[b] : spans[b + 1]; each reads words of its own. Rows, where none are said."""

    def __post_init__(self) -> None:
        if not self.spans:
            object.__setattr__(self, "spans", self.bounds)

    @property
    def lengths(self) -> tuple[int, ...]:
        """Tokens in each row."""
        return tuple(b - a for a, b in zip(self.bounds[:-1], self.bounds[1:], strict=True))

    @property
    def rows(self) -> Tensor:
        """(N,) which row each token belongs to."""
        return torch.repeat_interleave(torch.arange(len(self.lengths)), torch.tensor(self.lengths))

    def to(self, device: torch.device | str) -> "Layout":
        return replace(
            self,
            positions=self.positions.to(device),
            frames=self.frames.to(device),
            kinds=self.kinds.to(device),
            slots=None if self.slots is None else self.slots.to(device),
        )


def patchify(latents: Tensor, patch: int) -> Tensor:
    """(C, t, h, w) -> (t * h/p * w/p, C * p * p) tokens, time slowest."""
    return rearrange(latents, "c t (h p) (w q) -> (t h w) (c p q)", p=patch, q=patch)


def unpatchify(tokens: Tensor, grid: Grid, patch: int) -> Tensor:
    """Inverse of `patchify`."""
    return rearrange(
        tokens,
        "(t h w) (c p q) -> c t (h p) (w q)",
        t=grid.frames,
        h=grid.height // patch,
        w=grid.width // patch,
        p=patch,
        q=patch,
    )


def layout(grid: Grid, patch: int, *, causal: bool = False) -> Layout:
    """Positions of one clip's tokens, in the order of `patchify`."""
    rows, columns = grid.height // patch, grid.width // patch
    side = (grid.height * grid.width) ** 0.5
    y = (torch.arange(rows) + 0.5) * patch / side - grid.height / side / 2
    x = (torch.arange(columns) + 0.5) * patch / side - grid.width / side / 2
    seconds, y, x = torch.meshgrid(grid.seconds(), y, x, indexing="ij")
    frames = torch.arange(grid.frames)
    kinds = 2 * TRACKS.index(grid.track) + (frames == 0).long()
    each = rows * columns
    return Layout(
        positions=torch.stack([seconds, y, x], dim=-1).reshape(-1, 3),
        frames=frames.repeat_interleave(each),
        kinds=kinds.repeat_interleave(each),
        bounds=(0, grid.frames * each),
        causal=(causal,),
    )


def select(layout: Layout, keep: Tensor) -> Layout:
    """Some tokens, keep (n,) bool; they stay at their places, in their rows, frames and pieces."""
    upto = torch.cat([torch.zeros(1, dtype=torch.long), keep.long().cumsum(0)])
    return replace(
        layout,
        positions=layout.positions[keep],
        frames=layout.frames[keep],
        kinds=layout.kinds[keep],
        slots=None if layout.slots is None else layout.slots[keep],
        bounds=tuple(int(upto[bound]) for bound in layout.bounds),
        spans=tuple(sorted({int(upto[bound]) for bound in layout.spans})),
    )


def join(layouts: Sequence[Layout]) -> Layout:
    """Pieces of one clip, in the order of time, become one row: they attend to each other.

    Latent frames are counted on from piece to piece.
    """
    frames, first = [], 0
    for one in layouts:
        frames.append(one.frames + first)
        first += int(one.frames.max()) + 1
    return Layout(
        positions=torch.cat([one.positions for one in layouts]),
        frames=torch.cat(frames),
        kinds=torch.cat([one.kinds for one in layouts]),
        slots=_concat_slots(layouts),
        bounds=(0, sum(one.bounds[-1] for one in layouts)),
        causal=(any(one.causal[0] for one in layouts),),
        spans=_bounds([one.spans for one in layouts]),
    )


def overlay(layouts: Sequence[Layout]) -> Layout:
    """Tracks of one clip on one clock become one row: they attend to each other and read the same words.

    Tokens of one latent frame share its index, whatever their track, unlike those that `join` puts one after the
    other. Each layout is one piece of one row.
    """
    for layout in layouts:
        if len(layout.lengths) != 1 or layout.spans != layout.bounds:
            raise ValueError(
                f"a track must be one piece of one row, got {len(layout.spans) - 1} pieces"
            )
    return Layout(
        positions=torch.cat([one.positions for one in layouts]),
        frames=torch.cat([one.frames for one in layouts]),
        kinds=torch.cat([one.kinds for one in layouts]),
        slots=_concat_slots(layouts),
        bounds=(0, sum(one.bounds[-1] for one in layouts)),
        causal=(any(one.causal[0] for one in layouts),),
    )


def set_layout(
    track: str, slots: int, *, seconds: Sequence[float] = (0.0,), causal: bool = False
) -> Layout:
    """Positions of a set's tokens, members within frames: they have a time and no place.

    Args:
        track: one of TRACKS
        slots: members of the set
        seconds: time of each latent frame; 1 for what does not change
    """
    frames = torch.arange(len(seconds)).repeat_interleave(slots)
    time = torch.tensor(seconds, dtype=torch.float32).repeat_interleave(slots)
    return Layout(
        positions=torch.stack([time, torch.zeros_like(time), torch.zeros_like(time)], dim=-1),
        frames=frames,
        kinds=2 * TRACKS.index(track) + (frames == 0).long(),
        slots=torch.arange(slots).repeat(len(seconds)),
        bounds=(0, len(frames)),
        causal=(causal,),
    )


def _concat_slots(layouts: Sequence[Layout]) -> Tensor | None:
    if all(layout.slots is None for layout in layouts):
        return None
    return torch.cat(
        [
            torch.zeros_like(layout.frames) if layout.slots is None else layout.slots
            for layout in layouts
        ]
    )


def _bounds(each: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """Bounds within each of several stretches -> bounds within all of them, one after the other."""
    bounds = [0]
    for one in each:
        offset = bounds[-1]
        bounds += [offset + bound for bound in one[1:]]
    return tuple(bounds)


def pack(layouts: Sequence[Layout]) -> Layout:
    """Several clips become one packed row with boundaries: they do not see each other."""
    return Layout(
        positions=torch.cat([one.positions for one in layouts]),
        frames=torch.cat([one.frames for one in layouts]),
        kinds=torch.cat([one.kinds for one in layouts]),
        slots=_concat_slots(layouts),
        bounds=_bounds([one.bounds for one in layouts]),
        causal=tuple(flag for one in layouts for flag in one.causal),
        spans=_bounds([one.spans for one in layouts]),
    )


def behind(first: Tensor, then: Tensor, lengths: tuple[Sequence[int], Sequence[int]]) -> Tensor:
    """Values of two packings of the same rows, (M, ...) and (N, ...) -> (M + N, ...): in each row `first`, then `then`.

    `lengths` are those of the rows in either packing.
    """
    if all(len(set(each)) == 1 for each in lengths):  # one stack: for thousands of rows far faster
        pair = zip((first, then), lengths, strict=True)
        stacks = [part.unflatten(0, (len(each), each[0])) for part, each in pair]
        return torch.cat(stacks, dim=1).flatten(0, 1)
    pairs = zip(first.split(list(lengths[0])), then.split(list(lengths[1])), strict=True)
    return torch.cat([part for pair in pairs for part in pair])


@dataclass(frozen=True, kw_only=True)
class Words:
    """Packed text: the token states of one prompt per piece."""

    states: Tensor
    """(S, E) from the text encoder."""
    bounds: tuple[int, ...]

    @classmethod
    def of(cls, states: Sequence[Tensor]) -> "Words":
        """Pack one (S_i, E) per piece."""
        bounds = [0]
        for one in states:
            bounds.append(bounds[-1] + len(one))
        return cls(states=torch.cat(list(states)), bounds=tuple(bounds))

    def to(self, device: torch.device | str) -> "Words":
        return replace(self, states=self.states.to(device))
