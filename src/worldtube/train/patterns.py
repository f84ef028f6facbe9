"""Patterns: which noise level every token of a training row has, and which tokens are known.

Owns the table of patterns, the training half of the idea that a task is data. Knows nothing of
networks or batches.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from worldtube.tokens import Layout


def _level(rng: np.random.Generator, mean: float, spread: float, count: int = 1) -> np.ndarray:
    """Logit-normal levels (Esser et al. 2024, section 3.1)."""
    return (1 / (1 + np.exp(-(mean + spread * rng.standard_normal(count))))).clip(1e-3, 1.0)


# Each pattern: (rng, number of latent frames t, mean, spread) -> (t,) levels; 0 = known.


def together(rng: np.random.Generator, frames: int, mean: float, spread: float) -> np.ndarray:
    """One level for the whole clip: words to video, images."""
    return np.repeat(_level(rng, mean, spread), frames)


def independent(rng: np.random.Generator, frames: int, mean: float, spread: float) -> np.ndarray:
    """A level per latent frame of its own (Chen et al. 2024, Diffusion Forcing)."""
    return _level(rng, mean, spread, frames)


def prefix(rng: np.random.Generator, frames: int, mean: float, spread: float) -> np.ndarray:
    """The first frames are known: image to video, extension."""
    levels = together(rng, frames, mean, spread)
    levels[: rng.integers(1, frames)] = 0
    return levels


def suffix(rng: np.random.Generator, frames: int, mean: float, spread: float) -> np.ndarray:
    """The last frames are known: extension backward."""
    return prefix(rng, frames, mean, spread)[::-1].copy()


def ends(rng: np.random.Generator, frames: int, mean: float, spread: float) -> np.ndarray:
    """Both ends are known: connection."""
    levels = together(rng, frames, mean, spread)
    levels[[0, -1]] = 0
    return levels


def staircase(rng: np.random.Generator, frames: int, mean: float, spread: float) -> np.ndarray:
    """Levels that rise with time: rollout."""
    return np.sort(_level(rng, mean, spread, frames))


PATTERNS: dict[str, tuple[float, Callable[..., np.ndarray]]] = {
    "together": (0.50, together),
    "independent": (0.15, independent),
    "prefix": (0.20, prefix),
    "suffix": (0.05, suffix),
    "ends": (0.05, ends),
    "staircase": (0.05, staircase),
}
"""name -> (share of the rows, pattern). Half of the rows have one level, half a level per token."""


def levels(layout: Layout, rng: np.random.Generator, *, mean: float, spread: float) -> Tensor:
    """(N,) one level per token for every row of a pack. One-frame rows always go `together`."""
    names = list(PATTERNS)
    shares = np.array([PATTERNS[name][0] for name in names])
    out = torch.empty(layout.bounds[-1])
    for a, b in zip(layout.bounds[:-1], layout.bounds[1:], strict=True):
        frames = layout.frames[a:b]
        count = int(frames.max()) + 1
        name = names[rng.choice(len(names), p=shares / shares.sum())]
        pattern = PATTERNS[name][1] if count > 2 else together
        per_frame = torch.from_numpy(pattern(rng, count, mean, spread).astype(np.float32))
        out[a:b] = per_frame[frames]
    return out
