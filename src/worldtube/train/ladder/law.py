"""The law L(N, D) = E + A / N^a + B / D^b: its fit, its uncertainty.

Owns the mathematics (Hoffmann et al. 2022, approach 3). Knows nothing of runs beyond their N, D and loss.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from worldtube.errors import MissingExtra

HUBER = 1e-3
"""Where a residual of the logarithm begins to count as an outlier."""
DRAWS = 100
"""Of the bootstrap."""


@dataclass(frozen=True, kw_only=True)
class Law:
    """What was fitted, and the same of resampled runs."""

    values: tuple[float, ...]
    """log E, log A, log B, a, b."""
    draws: tuple[tuple[float, ...], ...]

    def __call__(self, N: float, D: float) -> float:
        """The loss of N weights after D tokens."""
        return float(_loss(np.array(self.values), np.array([N]), np.array([D]))[0])

    @property
    def exponent(self) -> float:
        """The best N grows with compute to this power."""
        *_, a, b = self.values
        return b / (a + b)

    def told(self) -> dict[str, Any]:
        """The numbers and, of each, the middle 90 % of the resampled fits."""
        rows = np.array([self.values, *self.draws])
        every = {
            "E": np.exp(rows[:, 0]),
            "A": np.exp(rows[:, 1]),
            "B": np.exp(rows[:, 2]),
            "a": rows[:, 3],
            "b": rows[:, 4],
            "exponent": rows[:, 4] / (rows[:, 3] + rows[:, 4]),
        }
        return {
            name: {
                "value": float(each[0]),
                "interval": np.quantile(each[1:], [0.05, 0.95]).tolist(),
            }
            for name, each in every.items()
        }

    def interval(self, rows: Sequence[Mapping[str, Any]]) -> list[float]:
        """The middle 90 % of what the resampled fits say of the best of these runs."""
        N, D = (np.array([row[name] for row in rows], float) for name in "ND")
        best = [_loss(np.array(draw), N, D).min() for draw in self.draws]
        return np.quantile(best, [0.05, 0.95]).tolist()


def optimum(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of one budget: the N with the least loss by a parabola in log N through the best run and its neighbours.

    N is None where the best run is at the edge of the sizes: then the sizes do not hold the optimum.
    """
    rows = sorted(rows, key=lambda row: row["N"])
    best = min(range(len(rows)), key=lambda i: rows[i]["loss"])
    told: dict[str, Any] = {"width": rows[best]["width"], "loss": rows[best]["loss"], "N": None}
    if 0 < best < len(rows) - 1:
        near = rows[best - 1 : best + 2]
        curve = np.polyfit([np.log(row["N"]) for row in near], [row["loss"] for row in near], 2)
        told["N"] = float(np.exp(-curve[1] / (2 * curve[0])))
    return told


def _loss(values: np.ndarray, N: np.ndarray, D: np.ndarray) -> np.ndarray:
    e, log_a, log_b, a, b = values
    return np.exp(e) + np.exp(log_a - a * np.log(N)) + np.exp(log_b - b * np.log(D))


def fitted(rows: Sequence[Mapping[str, Any]], *, seed: int = 0) -> Law:
    """The law of runs with N, D and loss: least Huber loss of the logarithm, from many starts. Raises MissingExtra."""
    try:
        from scipy.optimize import minimize
    except ImportError as error:
        raise MissingExtra("fitting a law", "eval") from error
    N, D, loss = (np.array([row[name] for row in rows], float) for name in ("N", "D", "loss"))
    bounds = [
        (np.log(loss.min()) - 7, np.log(loss.min())),
        (-10, 30),
        (-10, 30),
        (0.02, 2),
        (0.02, 2),
    ]

    def cost(values: np.ndarray, weights: np.ndarray) -> float:
        apart = np.abs(np.log(_loss(values, N, D)) - np.log(loss))
        each = np.where(apart < HUBER, apart**2 / 2, HUBER * (apart - HUBER / 2))
        return float(1e6 * (weights * each).sum())

    def least(weights: np.ndarray, starts: Sequence[np.ndarray]) -> np.ndarray:
        found = [
            minimize(cost, start, args=(weights,), method="L-BFGS-B", bounds=bounds)
            for start in starts
        ]
        found += [
            minimize(cost, one.x, args=(weights,), method="Nelder-Mead", bounds=bounds)
            for one in found[:1]
        ]
        return min(found, key=lambda one: one.fun).x

    # The three terms share the loss in some way, and each of the two that fall does so at some pace.
    starts = []
    for floor in (0.3, 0.6, 0.9):
        for a in (0.1, 0.3, 0.6):
            for b in (0.1, 0.3, 0.6):
                rest = np.log(loss.mean() * (1 - floor) / 2)
                starts.append(
                    np.array(
                        [
                            np.log(loss.min() * floor),
                            rest + a * np.log(N).mean(),
                            rest + b * np.log(D).mean(),
                            a,
                            b,
                        ]
                    )
                )
    ones = np.ones(len(loss))
    starts.sort(key=lambda start: cost(start, ones))
    best = least(ones, starts)
    rng = np.random.default_rng(seed)
    draws = []
    for _ in range(DRAWS):
        weights = np.bincount(rng.integers(len(loss), size=len(loss)), minlength=len(loss))
        draws.append(tuple(float(v) for v in least(weights.astype(float), [best, starts[0]])))
    return Law(values=tuple(float(v) for v in best), draws=tuple(draws))
