"""Levels: which noise level every token has at every step.

Owns the matrices `(steps + 1, N)` that samplers walk down. Knows nothing of tasks: a task says at
which level each token starts and, for staircases, how late it starts.
"""

import math

import torch
from torch import Tensor


def shift_for(num_tokens: int, native_tokens: int, *, native_shift: float = 3.0) -> float:
    """The shift for clips of `num_tokens`, when `native_shift` is right for `native_tokens`.

    The more tokens say the same thing, the more noise hides it, by the square root of their number
    (Esser et al. 2024, eq. 23); shifts multiply. At the native number it is exactly `native_shift`.
    """
    return native_shift * math.sqrt(num_tokens / native_tokens)


def uniform(steps: int, *, shift: float = 1.0) -> Tensor:
    """`(steps + 1,)` levels from 1 to exactly 0.

    `shift` > 1 spends more steps at high noise, as larger clips need
    (Esser et al. 2024, eq. 23): sigma' = shift * sigma / (1 + (shift - 1) * sigma).
    """
    sigma = torch.linspace(1.0, 0.0, steps + 1, dtype=torch.float64)
    return (shift * sigma / (1 + (shift - 1) * sigma)).to(torch.float32)


def from_start(path: Tensor, start: Tensor) -> Tensor:
    """`(steps + 1, N)` levels: token i walks down from `start[i]`; a token with start 0 stays known.

    `path` is `(steps + 1,)` from 1 to 0. Scaling the path (instead of cutting its head off) lets every
    token use all the steps, whatever its start.
    """
    return path[:, None] * start[None, :]


def staircase(path: Tensor, start: Tensor, frame: Tensor, lag: int) -> Tensor:
    """As `from_start`, but a token of latent frame f begins `lag * f` steps late.

    `frame` `(N,)` counts from 0. The result has `steps + lag * max(frame) + 1` rows (Chen et al. 2024,
    Diffusion Forcing, figure 2). `lag` 0 is `from_start`; `lag` = steps is frame after frame.
    """
    steps = len(path) - 1
    rows = steps + lag * int(frame.max()) + 1
    index = torch.arange(rows)[:, None] - lag * frame[None, :].cpu()
    return path[index.clamp(0, steps)].to(start.device) * start[None, :]
