"""Samplers: functions `(velocity, x, levels, generator) -> x` that walk a matrix of levels down.

`velocity(x, sigma)` takes values `(N, P)` and one level per token `(N,)`. A token whose level does not
change between two rows is not changed, so what is known comes back bit for bit. A sampler knows
nothing else: no task, no guidance, no network. (torch is only named, not imported: the names of the
samplers are needed where a request is checked, long before anything is computed.)
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    Velocity = Callable[[Tensor, Tensor], Tensor]
    Sampler = Callable[[Velocity, Tensor, Tensor, torch.Generator | None], Tensor]


def _moved(x: Tensor, now: Tensor, after: Tensor, slope: Tensor) -> Tensor:
    """One straight step; tokens that stay at their level keep their bits even if `slope` is not finite."""
    change = (after - now)[:, None]
    return x.where(change == 0, x + change * slope)


def euler(
    velocity: Velocity, x: Tensor, levels: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """First order: one evaluation a step."""
    for now, after in pairwise(levels):
        x = _moved(x, now, after, velocity(x, now))
    return x


def heun(
    velocity: Velocity, x: Tensor, levels: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """Second order: two evaluations a step, the mean of the slopes at both ends (Karras et al. 2022, alg. 1)."""
    for now, after in pairwise(levels):
        slope = velocity(x, now)
        guess = _moved(x, now, after, slope)
        x = _moved(x, now, after, (slope + velocity(guess, after)) / 2)
    return x


SAMPLERS: dict[str, Sampler] = {"euler": euler, "heun": heun}
EVALUATIONS: dict[str, int] = {"euler": 1, "heun": 2}
"""Network evaluations a step, for progress and planning."""
