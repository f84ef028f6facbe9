"""Patterns: which noise level every token of a training row has, which tokens are known, and their noise.

Owns the table of patterns, the training half of the idea that a task is data. Knows nothing of
networks or batches.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from worldtube.diffusion.noise import logit_normal
from worldtube.tokens import Layout


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the n tokens of one row are."""

    frame: np.ndarray
    """(n,) 0, 1, 2, ... for the latent frames that are there, over all pieces."""
    piece: np.ndarray
    """(n,) which piece."""
    y: np.ndarray
    """(n,) relative, 0 in the middle."""
    x: np.ndarray
    """(n,)"""

    @property
    def frames(self) -> int:
        return int(self.frame.max()) + 1

    @property
    def pieces(self) -> int:
        return int(self.piece.max()) + 1


Draw = Callable[[int], np.ndarray]
"""count -> (count,) fresh levels."""


# Each pattern: (rng, where the tokens are, fresh levels) -> (n,) levels; 0 = known.


def together(rng: np.random.Generator, at: Place, draw: Draw) -> np.ndarray:
    """One level for the whole clip: words to video, images, storyboards."""
    return np.repeat(draw(1), len(at.frame))


def independent(rng: np.random.Generator, at: Place, draw: Draw) -> np.ndarray:
    """A level per latent frame of its own (Chen et al. 2024, Diffusion Forcing)."""
    return draw(at.frames)[at.frame]


def staircase(rng: np.random.Generator, at: Place, draw: Draw) -> np.ndarray:
    """Levels that rise with time: rollout."""
    return np.sort(draw(at.frames))[at.frame]


def _known(levels: np.ndarray, known: np.ndarray) -> np.ndarray:
    return np.where(known, 0.0, levels)


def animate(rng: np.random.Generator, at: Place, draw: Draw) -> np.ndarray:
    """The first frame is known: picture to clip."""
    return _known(together(rng, at, draw), at.frame == 0)


def extend(rng: np.random.Generator, at: Place, draw: Draw) -> np.ndarray:
    """The first frames are known."""
    return _known(together(rng, at, draw), at.frame < rng.integers(1, at.frames))


def before(rng: np.random.Generator, at: Place, draw: Draw) -> np.ndarray:
    """The last frames are known: backward, hop by hop."""
    return _known(together(rng, at, draw), at.frame >= rng.integers(1, at.frames))


def keyframes(rng: np.random.Generator, at: Place, draw: Draw) -> np.ndarray:
    """Single frames are known."""
    known = rng.random(at.frames) < 0.3
    known[rng.integers(at.frames)] = False
    return _known(together(rng, at, draw), known[at.frame])


def paint(rng: np.random.Generator, at: Place, draw: Draw) -> np.ndarray:
    """All is known but a rectangle, or nothing but a rectangle."""
    height, width = np.ptp(at.y) + 1e-6, np.ptp(at.x) + 1e-6
    top, left = at.y.min() + height * rng.uniform(0, 0.6), at.x.min() + width * rng.uniform(0, 0.6)
    inside = (at.y >= top) & (at.y <= top + height * rng.uniform(0.4, 0.9))
    inside &= (at.x >= left) & (at.x <= left + width * rng.uniform(0.4, 0.9))
    known = ~inside if rng.random() < 0.6 else inside
    return _known(together(rng, at, draw), ~known if known.all() else known)


def backward(rng: np.random.Generator, at: Place, draw: Draw) -> np.ndarray:
    """The last piece is known: what came before it?"""
    return _known(together(rng, at, draw), at.piece == at.pieces - 1)


def connect(rng: np.random.Generator, at: Place, draw: Draw) -> np.ndarray:
    """The first frames and the last piece are known: connect, loop."""
    known = at.frame < rng.integers(at.frame[at.piece == 0].max() + 1)
    return _known(together(rng, at, draw), known | (at.piece == at.pieces - 1))


def shots(rng: np.random.Generator, at: Place, draw: Draw) -> np.ndarray:
    """The first pieces are known: the next shot of a storyboard."""
    return _known(together(rng, at, draw), at.piece < rng.integers(1, at.pieces))


Pattern = Callable[[np.random.Generator, Place, Draw], np.ndarray]
PATTERNS: dict[str, tuple[float, Pattern]] = {
    "generate": (0.50, together),
    "independent": (0.11, independent),
    "animate": (0.08, animate),
    "extend": (0.12, extend),
    "before": (0.02, before),
    "keyframes": (0.03, keyframes),
    "paint": (0.08, paint),
    "staircase": (0.06, staircase),
}
"""For rows of one piece: name (the task's, where there is one) -> (share of the rows, pattern)."""
PIECES: dict[str, tuple[float, Pattern]] = {
    "storyboard": (0.30, together),
    "independent": (0.10, independent),
    "backward": (0.20, backward),
    "connect": (0.20, connect),
    "shots": (0.20, shots),
}
"""For rows of several pieces."""


def levels(
    layout: Layout, rngs: Sequence[np.random.Generator], *, mean: float, spread: float
) -> Tensor:
    """(N,) one level per token for every row of a pack, drawn with the row's own generator.

    One-frame rows always go `together`.
    """
    out = torch.empty(layout.bounds[-1])
    spans = np.searchsorted(layout.spans, np.arange(layout.bounds[-1]), side="right")
    for a, b, rng in zip(layout.bounds[:-1], layout.bounds[1:], rngs, strict=True):
        at = Place(
            frame=np.unique(layout.frames[a:b].numpy(), return_inverse=True)[1],
            piece=spans[a:b] - spans[a],
            y=layout.positions[a:b, 1].numpy(),
            x=layout.positions[a:b, 2].numpy(),
        )
        table = PATTERNS if at.pieces == 1 else PIECES
        shares = np.array([share for share, _ in table.values()])
        name = list(table)[rng.choice(len(table), p=shares / shares.sum())]
        pattern = table[name][1] if at.frames > 1 else together
        fresh_levels = partial(logit_normal, rng, mean=mean, spread=spread)
        made = pattern(rng, at, fresh_levels)
        out[a:b] = torch.from_numpy(made.astype(np.float32))
    return out


def noise(layout: Layout, rngs: Sequence[np.random.Generator], width: int) -> Tensor:
    """(N, width) of a normal distribution, drawn with each row's own generator."""
    out = torch.empty(layout.bounds[-1], width)
    for a, b, rng in zip(layout.bounds[:-1], layout.bounds[1:], rngs, strict=True):
        out[a:b].normal_(generator=torch.Generator().manual_seed(int(rng.integers(2**62))))
    return out
