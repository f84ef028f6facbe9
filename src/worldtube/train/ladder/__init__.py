"""An isoFLOP ladder: many small runs of equal budgets, the law that they follow, and how far it holds.

Owns which runs there are and the record of them. Knows nothing of how a run is made (`trial`), of how a law is
fitted (`law`) or drawn (`picture`).

The recipe is that of Hoffmann et al. 2022 with the cautions of the papers on diffusion transformers: depth
goes with width, the learning rate is tuned for each size (its error is larger than the gap between sizes),
and the validation loss of the averaged weights is at fixed clips, levels and noise. The largest budget is
run with rates chosen before and is not fitted: it says how far the law reaches.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from worldtube import workers
from worldtube.errors import DataError, RequestError
from worldtube.models.local import embedded_path
from worldtube.records import Run, begun, read
from worldtube.train.ladder import picture
from worldtube.train.ladder.config import LADDERS, LadderConfig, block_weights, flops, network
from worldtube.train.ladder.law import Law, fitted, optimum
from worldtube.train.ladder.trial import Scene, Trial, carry_out, prepared
from worldtube.train.steps import alone

__all__ = [
    "COMPUTE",
    "LADDERS",
    "LadderConfig",
    "Scene",
    "Trial",
    "beyond",
    "block_weights",
    "carry_out",
    "climb",
    "flops",
    "network",
    "prepared",
]
RECORD = "record.jsonl"
FACTOR = 2.0
"""Between learning rates that are tried."""
WORTH = 0.01
"""Share of the loss that a further learning rate must promise."""
COMPUTE = (1, 4, 32)
"""Multiples of compute in the picture, as in Brooks et al. 2024 (Sora)."""

Progress = Callable[[int, int, dict[str, float]], None]


class Ladder:
    """The runs of a record, those made and those to make."""

    def __init__(self, scene: Scene, run: Run, rows: list[dict[str, Any]], processes: int | None):
        self.scene, self.run, self.rows, self.processes = scene, run, rows, processes
        self.progress: Progress | None = None

    def make(self, trials: Iterable[Trial]) -> list[dict[str, Any]]:
        """The rows of these runs; those that are not there yet are made, a process each."""
        trials = list(dict.fromkeys(trials))
        there = {(row["budget"], row["width"], row["rate"]): row for row in self.rows}
        todo = [t for t in trials if (t.flops, t.width, t.rate) not in there]
        todo.sort(key=lambda t: t.width)  # the small ones take longest
        made = workers.map(partial(carry_out, scene=self.scene), todo, processes=self.processes)
        for _, row in made:
            self.rows.append(row)
            self.run.log(step=len(self.rows), **row)
            there[(row["budget"], row["width"], row["rate"])] = row
            if self.progress is not None:
                told = {key: row[key] for key in ("budget", "width", "rate", "loss")}
                self.progress(len(self.rows), self.expected(), told)
        return [there[(t.flops, t.width, t.rate)] for t in trials]

    def expected(self) -> int:
        """About how many runs there will be."""
        config = self.scene.config
        return max(
            len(self.rows),
            (5 * len(config.budgets) // 2 - 1) * len(config.widths) + len(COMPUTE) - 1,
        )

    def tuned(self, budget: float, known: dict[int, float]) -> list[dict[str, Any]]:
        """The best run of each width at a budget. known: of a smaller budget, the best rate of a width.

        Of a width that is new, three rates are tried; of one that is known the best so far and half of it, since a
        longer run wants no higher one. Twice, where the best is at the edge of those, the next is tried.
        """
        widths = self.scene.widths(budget)
        trials = [
            Trial(
                flops=budget,
                width=width,
                rate=rounded(known.get(width, self.scene.config.rate) * step),
            )
            for width in widths
            for step in ((1 / FACTOR, 1.0) if width in known else (1 / FACTOR, 1.0, FACTOR))
        ]
        rows = self.make(trials)
        for _ in range(2):
            further = [
                Trial(flops=budget, width=width, rate=rounded(rate))
                for width in widths
                for rate in beyond({r["rate"]: r["loss"] for r in rows if r["width"] == width})
            ]
            rows += self.make(further)
        return [
            min((row for row in rows if row["width"] == width), key=lambda row: row["loss"])
            for width in widths
        ]


def rounded(rate: float) -> float:
    """As it is told, so that a record finds it again."""
    return float(f"{rate:.4g}")


def beyond(losses: Mapping[float, float]) -> list[float]:
    """The learning rate beyond those tried (rate -> loss) that is worth a run, if there is one.

    Where the best is at the edge, the next is, unless the best is better than its neighbour by less than WORTH: the
    loss is convex in the logarithm of the rate, so that a further step gains less than the last one.
    """
    rates = sorted(losses)
    for edge, neighbour, step in ((rates[0], rates[1], 1 / FACTOR), (rates[-1], rates[-2], FACTOR)):
        if losses[edge] == min(losses.values()):
            return [edge * step] if losses[edge] < (1 - WORTH) * losses[neighbour] else []
    return []


def climb(
    config: LadderConfig,
    *,
    out: Path,
    data: list[Path] | None = None,
    validation: Path | None = None,
    codec: Path | None = None,
    processes: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Make a ladder, or go on with the one in `out`; leaves its record, plot and picture there.

    data, validation: catalogs with latents and words, recorded here where none are named. processes: runs at
    a time, None for one on each core. Returns the record's path. Raises DataError for the record of another
    ladder or one that goes on, MissingExtra.
    """
    if len(config.budgets) < 3 or sorted(config.budgets) != list(config.budgets):
        raise RequestError(f"budgets {config.budgets} are not accepted; 3 or more that rise are")
    picture.require()
    with alone(out):
        scene = prepared(config, out, data, validation, codec or embedded_path(), processes)
        return _climb(scene, processes, progress)


def _climb(scene: Scene, processes: int | None, progress: Progress | None) -> Path:
    config, out = scene.config, scene.out
    for budget, least in ((config.budgets[0], 2), (config.budgets[-1] / COMPUTE[-1], 1)):
        scene.widths(budget, least)
    path = out / RECORD
    told = asdict(config) | {
        "data": [one.name for one in scene.data],
        "training_clips": scene.clips,
        "tokens_a_clip": scene.tokens,
        "words_a_caption": scene.words,
        **scene.identity,
    }
    del told["device"]  # where a run computes does not decide its numbers
    rows: list[dict[str, Any]] = []
    if begun(path):
        header, rows = read(path)
        _same(header["config"], told, path)
        rows = [row for row in rows if "loss" in row]
        run = Run.resume(path, len(rows))
    else:
        run = Run(path, told)
    with run:
        ladder = Ladder(scene, run, rows, processes)
        ladder.progress = progress
        *fit, held_out = config.budgets
        rates: dict[int, float] = {}
        points: list[dict[str, Any]] = []
        for budget in fit:
            tuned = ladder.tuned(budget, rates)
            rates |= {row["width"]: row["rate"] for row in tuned}
            points += tuned
        rates = dict.fromkeys(config.widths, config.rate) | rates
        unseen = ladder.make(
            Trial(flops=held_out, width=width, rate=rates[width])
            for width in scene.widths(held_out)
        )
        law = fitted(points, seed=config.seed)
        of_compute = ladder.make(_compute(scene, law, rates))
        step = len(ladder.rows) + 1
        run.log(step=step, law=law.told(), **judged(law, points, unseen), compute=of_compute)
    picture.plot(path, out / "ladder.png")
    picture.compute(scene, COMPUTE, of_compute, out / "compute.png")
    return path


def _compute(scene: Scene, law: Law, rates: dict[int, float]) -> list[Trial]:
    """Runs of 1, 4 and 32 times one budget, each of the size that the law says is best for it."""
    config = scene.config
    trials = []
    for times in COMPUTE:
        budget = config.budgets[-1] * times / COMPUTE[-1]

        def loss(width: int, budget: float = budget) -> float:
            sizes = scene.sizes(width)
            clips = budget / flops(sizes, scene.tokens, scene.words)
            return law(block_weights(sizes), clips * scene.tokens)

        width = min(scene.widths(budget), key=loss)
        trials.append(Trial(flops=float(f"{budget:.4g}"), width=width, rate=rates[width]))
    return trials


def judged(law: Law, points: list[dict[str, Any]], unseen: list[dict[str, Any]]) -> dict[str, Any]:
    """How far the law holds: of the budget that it has not seen, the best run and all of them."""
    each = [law(row["N"], row["D"]) / row["loss"] - 1 for row in unseen]
    best, least = (min(row["loss"] for row in some) for some in (unseen, points))
    budgets = dict.fromkeys(row["budget"] for row in (*points, *unseen))
    optima = {
        f"{budget:.3g}": optimum([row for row in (*points, *unseen) if row["budget"] == budget])
        for budget in budgets
    }
    told = min(law(row["N"], row["D"]) for row in unseen)
    spread = law.interval(unseen)
    return {
        "held_out": {
            "budget": unseen[0]["budget"],
            "loss": best,
            "predicted": told,
            "interval": spread,
            "error": told / best - 1,
            "errors": each,
            "best_before": least,
        },
        "optima": optima,
        "residual": max(abs(law(row["N"], row["D"]) / row["loss"] - 1) for row in points),
    }


def _same(there: dict[str, Any], here: dict[str, Any], path: Path) -> None:
    """Raises DataError where the record is of another ladder, as far as it tells: an older one tells less."""
    plain = json.loads(json.dumps(here))
    differ = [name for name, value in there.items() if plain.get(name) != value]
    if differ:
        raise DataError(
            f"{path} is of a ladder with another {', '.join(differ)}; choose another folder"
        )
