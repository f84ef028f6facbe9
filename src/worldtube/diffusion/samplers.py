"""Samplers: functions `(velocity, x, levels, noise) -> x` that walk a matrix of levels down.

`velocity(x, sigma)` takes values `(N, P)` and one level per token `(N,)`; `levels` is `(steps + 1, N)`;
`noise(x)` draws standard normal numbers in the shape of x, which only stochastic samplers ask for.

Every token walks by its own levels. Where its level stays from one row to the next, it is not changed,
so what is known comes back bit for bit, whatever its velocity; what a solver remembers of earlier
steps it remembers per token, of the rows where that token moved, so one that starts late starts afresh.

A sampler knows nothing else: no task, no guidance, no network. (torch is only named, not imported: the
names of the samplers are needed where a request is checked, long before anything is computed.)
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING

from worldtube.diffusion.noise import data_from_velocity

if TYPE_CHECKING:
    from torch import Tensor

    Velocity = Callable[[Tensor, Tensor], Tensor]
    Noise = Callable[[Tensor], Tensor]
    Sampler = Callable[[Velocity, Tensor, Tensor, Noise], Tensor]


def _moved(x: Tensor, now: Tensor, after: Tensor, slope: Tensor) -> Tensor:
    """One straight step; tokens that stay at their level keep their bits even if `slope` is not finite."""
    change = (after - now)[:, None]
    return x.where(change == 0, x + change * slope)


def _half(before: Tensor, now: Tensor, after: Tensor) -> Tensor:
    """(N, 1) half of this step over the token's last one: how far a line through the last two values must
    be followed to the middle of this step. 0 for a token's first step, which makes that step first order."""
    return ((after - now) / (now - before) / 2).where(now != before, 0)[:, None]


def euler(velocity: Velocity, x: Tensor, levels: Tensor, noise: Noise) -> Tensor:
    """First order: one evaluation a step."""
    for now, after in pairwise(levels):
        x = _moved(x, now, after, velocity(x, now))
    return x


def heun(velocity: Velocity, x: Tensor, levels: Tensor, noise: Noise) -> Tensor:
    """Second order: two evaluations a step, the mean of the slopes at both ends (Karras et al. 2022, alg. 1)."""
    for now, after in pairwise(levels):
        slope = velocity(x, now)
        guess = _moved(x, now, after, slope)
        x = _moved(x, now, after, (slope + velocity(guess, after)) / 2)
    return x


def adams(velocity: Velocity, x: Tensor, levels: Tensor, noise: Noise) -> Tensor:
    """Second order at one evaluation a step: the slope at a step's end makes that step anew, and begins the next.

    Adams-Bashforth guesses along the line through the last two slopes, Adams-Moulton corrects with the
    mean of the slopes at both ends, as `heun` does. To correct without a further evaluation is the idea
    of UniPC (Zhao et al. 2023); slopes over sigma stay finite at both ends, where log-SNR does not.
    """
    # Where each token's last step began: value, slope, level.
    origin, last, before = x, x, levels[0]
    for now, after in pairwise(levels):
        moves = (after != now)[:, None]
        slope = velocity(x, now)
        x = x.where(~moves, origin + (now - before)[:, None] * (last + slope) / 2)
        ahead = slope + _half(before, now, after) * (slope - last)
        origin, last = x.where(moves, origin), slope.where(moves, last)
        before = now.where(moves[:, 0], before)
        x = _moved(origin, now, after, ahead).where(moves, x)
    return x


def sde(velocity: Velocity, x: Tensor, levels: Tensor, noise: Noise, *, eta: float = 1.0) -> Tensor:
    """Stochastic, second order, one evaluation a step: adds fresh noise and takes as much of the old away.

    One of the reverse processes that share their marginals (Karras et al. 2022, eq. 6): at `eta` 1 the
    reverse SDE, which draws from the posterior, at 0 the ODE. Where data D is constant over a step from
    s to t, and e is the ratio of (1 - sigma) / sigma at s to that at t, it is solved exactly by

        x_t = t/s * e^(eta^2) * x_s + (1 - t) * (1 - e^(1 + eta^2)) * D + t * sqrt(1 - e^(2 eta^2)) * noise

    (Xue et al. 2023, SA-Solver; at eta 1 SDE-DPM-Solver++, Lu et al. 2022). Second order comes from D in
    the middle of the step, on the line through its last two values (2M): a line over sigma, since over
    log-SNR both ends are infinitely far.
    """
    # Where each token's last step began: data, level.
    past, before = x, levels[0]
    for now, after in pairwise(levels):
        moves = after != now
        data = data_from_velocity(x, velocity(x, now), now)
        middle = data + _half(before, now, after) * (data - past)
        ratio = (1 - now) * after / ((1 - after) * now)
        keep = after / now * ratio**eta**2
        gain = (1 - after) * (1 - ratio ** (1 + eta**2))
        new = keep[:, None] * x + gain[:, None] * middle
        if eta:
            new = new + (after * (1 - ratio ** (2 * eta**2)).sqrt())[:, None] * noise(x)
        past, before = data.where(moves[:, None], past), now.where(moves, before)
        x = new.where(moves[:, None], x)
    return x


def dpm(velocity: Velocity, x: Tensor, levels: Tensor, noise: Noise) -> Tensor:
    """Second order, one evaluation a step: `sde` without noise, which is DPM-Solver++(2M) (Lu et al. 2022)."""
    return sde(velocity, x, levels, noise, eta=0.0)


SAMPLERS: dict[str, Sampler] = {
    "euler": euler,
    "heun": heun,
    "adams": adams,
    "dpm": dpm,
    "sde": sde,
}
EVALUATIONS: dict[str, int] = {"euler": 1, "heun": 2, "adams": 1, "dpm": 1, "sde": 1}
"""Network evaluations a step, for progress and planning."""
