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
SCALE = 1e6
"""Of the cost, so that the optimizer does not take its small numbers for none."""
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


def _terms(values: np.ndarray, N: np.ndarray, D: np.ndarray) -> np.ndarray:
    """(3, n) logarithms of E, A / N^a and B / D^b."""
    e, log_a, log_b, a, b = values
    return np.stack([np.full(len(N), e), log_a - a * np.log(N), log_b - b * np.log(D)])


def _loss(values: np.ndarray, N: np.ndarray, D: np.ndarray) -> np.ndarray:
    return np.exp(_terms(values, N, D)).sum(0)


def fitted(rows: Sequence[Mapping[str, Any]], *, seed: int = 0) -> Law:
    """The law of runs with N, D and loss: least Huber loss of the logarithm, from many starts. Raises MissingExtra."""
    try:
        from scipy.optimize import minimize
    except ImportError as error:
        raise MissingExtra("fitting a law", "eval") from error
    N, D, loss = (np.array([row[name] for row in rows], float) for name in ("N", "D", "loss"))
    floor = np.log(loss.min())
    bounds = [(floor - 7, floor), (-10, 30), (-10, 30), (0.02, 2), (0.02, 2)]

    def cost(values: np.ndarray, weights: np.ndarray) -> tuple[float, np.ndarray]:
        """Huber loss and its gradient."""
        terms = np.exp(_terms(values, N, D))
        apart = np.log(terms.sum(0)) - np.log(loss)
        each = np.where(np.abs(apart) < HUBER, apart**2 / 2, HUBER * (np.abs(apart) - HUBER / 2))
        slope = weights * np.clip(apart, -HUBER, HUBER) * terms / terms.sum(0)  # (3, n)
        _, of_a, of_b = slope
        paces = [-(of_a * np.log(N)).sum(), -(of_b * np.log(D)).sum()]
        gradient = np.array([*slope.sum(1), *paces])
        return SCALE * float((weights * each).sum()), SCALE * gradient

    def least(weights: np.ndarray, starts: Sequence[np.ndarray]) -> np.ndarray:
        how = {"method": "L-BFGS-B", "bounds": bounds, "options": {"maxiter": 2000}}
        found = [minimize(cost, start, args=(weights,), jac=True, **how) for start in starts]
        return min(found, key=lambda one: one.fun).x

    # E has some share of the loss, the two terms that fall have the rest, and each falls at some pace.
    starts = [
        np.array(
            [
                np.log(loss.min() * share),
                np.log(loss.mean() * (1 - share) / 2) + a * np.log(N).mean(),
                np.log(loss.mean() * (1 - share) / 2) + b * np.log(D).mean(),
                a,
                b,
            ]
        )
        for share in (0.3, 0.6, 0.9)
        for a in (0.1, 0.3, 0.6)
        for b in (0.1, 0.3, 0.6)
    ]
    best = least(np.ones(len(loss)), starts)
    rng = np.random.default_rng(seed)
    draws = []
    for _ in range(DRAWS):
        drawn = np.bincount(rng.integers(len(loss), size=len(loss)), minlength=len(loss))
        draws.append(tuple(float(v) for v in least(drawn.astype(float), [best, *starts[::13]])))
    return Law(values=tuple(float(v) for v in best), draws=tuple(draws))
