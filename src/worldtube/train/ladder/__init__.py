"""An isoFLOP ladder: many small runs of equal budgets, the law that they follow, and how far it holds.

Owns which runs there are, what they cost and the record of them. Knows nothing of how a run is trained
(`train.loop`), of how a law is fitted (`law`) or drawn (`picture`).

The recipe is that of Hoffmann et al. 2022 with the cautions of the papers on diffusion transformers: depth
goes with width, the learning rate is tuned for each size (its error is larger than the gap between sizes),
and the validation loss of the averaged weights is at fixed clips, levels and noise. The largest budget is
run with rates chosen before and is not fitted: it says how far the law reaches.
"""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

from worldtube import workers
from worldtube.data.batches import Mix
from worldtube.data.catalog import Catalog
from worldtube.errors import DataError, RequestError
from worldtube.models.local import embedded_path, load_codec
from worldtube.records import Run, read
from worldtube.train.ladder.law import Law, fitted, optimum
from worldtube.train.loop import TrainConfig, train
from worldtube.transformer import TransformerConfig
from worldtube.video import Size

RECORD = "record.jsonl"
HEAD = 24
"""Width of an attention head; a network has a block for each of them."""
LEAST_STEPS = 20
"""Of a run; sizes for which a budget allows fewer are left out of it."""
FACTOR = 2.0
"""Between learning rates that are tried."""
COMPUTE = (1, 4, 32)
"""Multiples of compute in the picture, as in Brooks et al. 2024 (Sora)."""
TRAIN_SEEDS, VALIDATION_SEEDS = range(7_000_000, 8_000_000), range(8_000_000, 9_000_000)


@dataclass(frozen=True, kw_only=True)
class LadderConfig:
    """What decides the numbers of a ladder."""

    budgets: tuple[float, ...]
    """FLOPs of a run, rising; the last one is held out."""
    widths: tuple[int, ...]
    """Sizes of the network: multiples of 24, with a block for every 24."""
    rows: int = 16
    """Clips in a batch."""
    rate: float = 4e-3
    """In the middle of the learning rates that are tried first."""
    size: int = 64
    """Picture side, pixels."""
    num_frames: int = 25
    """Of a clip, at 12 a second."""
    patch: int = 2
    """Latent cells per token side."""
    clips: int = 300
    """To record where no data are named."""
    held_out_clips: int = 48
    """Clips that are validated on."""
    levels: int = 10
    """Noise levels at which each of them is, evenly spread."""
    dtype: str = "float32"
    """What runs compute in."""
    seed: int = 0


LADDERS: dict[str, tuple[str, LadderConfig]] = {
    "tiny": (
        "three budgets of seconds each, for the test of the tool itself",
        LadderConfig(
            budgets=(8e8, 2.6e9, 8.6e9), widths=(24, 48), rows=2, clips=8, held_out_clips=4,
            size=16, num_frames=5, patch=1,
        ),
    ),
    "ci": (
        "four budgets of clips of one second at 32x32; minutes on two cores",
        LadderConfig(
            budgets=(1.5e10, 4.5e10, 1.35e11, 4.05e11), widths=(24, 48, 72, 96), rows=8, clips=800, size=32,
            num_frames=13, patch=1,
        ),
    ),
    "laptop": (
        "five budgets of clips of two seconds at 64x64; a night on eight cores",
        LadderConfig(
            budgets=(1e12, 3e12, 9e12, 2.7e13, 8.1e13), widths=(72, 96, 120, 144, 192, 240),
            rows=32, clips=4000, held_out_clips=100, dtype="bfloat16",
        ),
    ),
}  # fmt: skip
"""name -> (what it is for, configuration)."""


def network(config: LadderConfig, width: int) -> TransformerConfig:
    """The network of a width; token_width is set by the codec."""
    if width % HEAD or width < HEAD:
        raise RequestError(f"width {width} is not accepted; multiples of {HEAD} are")
    hidden = 8 * round(width / 3)
    return TransformerConfig(
        width=width, depth=width // HEAD, head_width=HEAD, hidden=hidden, text_depth=1
    )


def block_weights(sizes: TransformerConfig) -> int:
    """Weights that every token passes, N: attention to tokens and to words, and the MLP, of all blocks."""
    return sizes.depth * (6 * sizes.width**2 + 3 * sizes.width * sizes.hidden)


def flops(sizes: TransformerConfig, tokens: float, words: float) -> float:
    """Of one clip, forward and backward: 6 a weight and token, 12 a pair of attention and channel.

    What depends on the clip alone (its noise level) is counted once per clip, what reads the words once per
    word: plain 6 N D would overstate a diffusion transformer by half.
    """
    width, hidden = sizes.width, sizes.hidden
    ends = 2 * sizes.token_width * width
    word = sizes.text_width * width + sizes.text_depth * (4 * width**2 + 3 * width * hidden)
    word += sizes.depth * 2 * width**2
    once = 256 * width + 9 * width**2
    pairs = sizes.depth * tokens * (tokens + words) + sizes.text_depth * words**2
    per_token = block_weights(sizes) + ends
    return 6 * (per_token * tokens + word * words + once) + 12 * pairs * width


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A run that is to be made."""

    flops: float
    width: int
    rate: float

    @property
    def name(self) -> str:
        return f"c{self.flops:.3g}-w{self.width}-r{self.rate:.3g}"


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Where a ladder is: what all its runs share."""

    config: LadderConfig
    out: Path
    data: tuple[Path, ...]
    validation: Path
    codec: Path
    tokens: float
    """Of a clip."""
    words: float
    """Of a caption."""
    clips: int
    """To train on."""
    token_width: int

    def run_config(self, trial: Trial) -> TrainConfig:
        """As many steps as the budget allows. Raises RequestError where those are too few to learn anything."""
        sizes, rows = self.sizes(trial.width), self.config.rows
        steps = self.steps(trial.flops, trial.width)
        return TrainConfig(
            model=sizes,
            size=self.config.size,
            patch=self.config.patch,
            rows=rows,
            steps=steps,
            rate=trial.rate,
            warmup=math.ceil(0.05 * steps),
            decay=0.2,
            ema_steps=max(2.0, 0.05 * steps),
            mix=Mix(images=0.0),
            truth_weight=0.0,
            seed=self.config.seed,
            dtype=self.config.dtype,
            sample_every=0,
            log_every=max(1, steps // 20),
        )

    def steps(self, budget: float, width: int) -> int:
        """That a budget allows."""
        clip = flops(self.sizes(width), self.tokens, self.words)
        return round(budget / (self.config.rows * clip))

    def widths(self, budget: float, least: int = 1) -> list[int]:
        """The sizes that a budget is enough for. Raises RequestError for fewer than `least`."""
        fitting = [w for w in self.config.widths if self.steps(budget, w) >= LEAST_STEPS]
        if len(fitting) < least:
            raise RequestError(
                f"a budget of {budget:.3g} FLOPs is enough for {len(fitting)} of the widths "
                f"{', '.join(map(str, self.config.widths))} (accepted: {LEAST_STEPS} steps at {least} or more)"
            )
        return fitting

    def sizes(self, width: int) -> TransformerConfig:
        sizes = network(self.config, width)
        return TransformerConfig(**asdict(sizes) | {"token_width": self.token_width})


def carry_out(trial: Trial, *, scene: Scene) -> dict[str, Any]:
    """Make a run, or what is left of it, and measure it: its row in the record."""
    from worldtube import models
    from worldtube.train.ladder.validation import Validation

    began = time.process_time()
    made = scene.run_config(trial)
    folder = scene.out / "runs" / trial.name
    train(made, data=list(scene.data), codec=scene.codec, out=folder)
    model = models.local.load(folder / "model.safetensors", dtype=models.local.torch.float32)
    bins = Validation(scene.validation, scene.config, model)(model)
    samples = made.steps * made.rows
    return {
        "budget": trial.flops,
        "width": trial.width,
        "depth": made.model.depth,
        "rate": trial.rate,
        "steps": made.steps,
        "N": block_weights(made.model),
        "weights": sum(p.numel() for p in model.transformer.parameters()),
        "D": samples * scene.tokens,
        "epochs": samples / scene.clips,
        "loss": sum(bins) / len(bins),
        "bins": bins,
        "cpu_seconds": round(time.process_time() - began, 2),
    }


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
            len(self.rows), (3 * len(config.budgets) - 2) * len(config.widths) + len(COMPUTE) - 1
        )

    def best(self, budget: float, width: int) -> dict[str, Any]:
        """The run with the lowest loss of a budget and width."""
        some = [row for row in self.rows if (row["budget"], row["width"]) == (budget, width)]
        return min(some, key=lambda row: row["loss"])

    def tuned(self, budget: float, middle: dict[int, float]) -> list[dict[str, Any]]:
        """The best run of each width at a budget; where it is at the edge of the rates tried, another is."""
        widths = self.scene.widths(budget)

        def trial(width: int, rate: float) -> Trial:
            return Trial(flops=budget, width=width, rate=float(f"{rate:.4g}"))

        steps = (1 / FACTOR, 1.0, FACTOR)
        self.make(trial(width, middle[width] * step) for width in widths for step in steps)
        for _ in range(2):
            further = []
            for width in widths:
                rates = sorted(
                    row["rate"]
                    for row in self.rows
                    if (row["budget"], row["width"]) == (budget, width)
                )
                best = self.best(budget, width)["rate"]
                if best == rates[0]:
                    further.append(trial(width, best / FACTOR))
                elif best == rates[-1]:
                    further.append(trial(width, best * FACTOR))
            self.make(further)
        return [self.best(budget, width) for width in widths]


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
    ladder, MissingExtra.
    """
    from worldtube.train.ladder import picture

    if len(config.budgets) < 3 or sorted(config.budgets) != list(config.budgets):
        raise RequestError(f"budgets {config.budgets} are not accepted; 3 or more that rise are")
    picture.require()
    out.mkdir(parents=True, exist_ok=True)
    scene = prepared(config, out, data, validation, codec or embedded_path(), processes)
    for budget, least in ((config.budgets[0], 2), (config.budgets[-1] / COMPUTE[-1], 1)):
        scene.widths(budget, least)
    path = out / RECORD
    told = asdict(config) | {
        "data": [one.name for one in scene.data],
        "training_clips": scene.clips,
        "tokens_a_clip": scene.tokens,
        "words_a_caption": scene.words,
    }
    rows: list[dict[str, Any]] = []
    if path.exists():
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
        middle = dict.fromkeys(config.widths, config.rate)
        points: list[dict[str, Any]] = []
        for budget in fit:
            tuned = ladder.tuned(budget, middle)
            middle |= {row["width"]: row["rate"] for row in tuned}
            points += tuned
        unseen = ladder.make(
            Trial(flops=held_out, width=width, rate=middle[width])
            for width in scene.widths(held_out)
        )
        law = fitted(points, seed=config.seed)
        of_compute = ladder.make(_compute(scene, law, middle))
        step = len(ladder.rows) + 1
        run.log(step=step, law=law.told(), **judged(law, points, unseen), compute=of_compute)
    picture.plot(path, out / "ladder.png")
    picture.compute(scene, of_compute, out / "compute.png")
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
    import json

    plain = json.loads(json.dumps(here))
    differ = [name for name in {**there, **plain} if there.get(name) != plain.get(name)]
    if differ:
        raise DataError(
            f"{path} is of a ladder with another {', '.join(differ)}; choose another folder"
        )


def prepared(
    config: LadderConfig,
    out: Path,
    data: list[Path] | None,
    validation: Path | None,
    codec: Path,
    processes: int | None,
) -> Scene:
    """The catalogs of a ladder, recorded and cached where they are not there, and what is counted in them."""
    known = {field.name for field in fields(Scene)}
    trained = data or [out / "data" / "training"]
    watched = validation or out / "data" / "validation"
    if data is None:
        _recorded(config, trained[0], TRAIN_SEEDS[: config.clips], codec, processes)
    if validation is None:
        _recorded(config, watched, VALIDATION_SEEDS[: config.held_out_clips], codec, processes)
    from worldtube.data.latents import unpack_latents, unpack_text

    clips = 0
    for folder in trained:
        with Catalog(folder) as catalog:
            ready = catalog.ids("latents IS NOT NULL AND text_medium IS NOT NULL")
            clips += len(ready)
            some = catalog.take(ready[:64], ["latents", "text_short", "text_medium", "text_long"])
    if not clips:
        raise DataError(f"{trained} have no clips with latents and words (run `worldtube cache`)")
    channels, t, h, w = unpack_latents(some[0]["latents"]).shape
    words = [
        len(unpack_text(row[f"text_{length}"]))
        for row in some
        for length in ("short", "medium", "long")
    ]
    scene = {
        "config": config,
        "out": out,
        "data": tuple(trained),
        "validation": watched,
        "codec": codec,
        "tokens": t * h * w / config.patch**2,
        "words": round(sum(words) / len(words), 1),
        "clips": clips,
        "token_width": channels * config.patch**2,
    }
    assert set(scene) == known
    return Scene(**scene)


def _recorded(
    config: LadderConfig, folder: Path, seeds: range, codec: Path, processes: int | None
) -> None:
    from worldtube.data.ingest import record_world
    from worldtube.data.latents import cache_latents, cache_text
    from worldtube.text.encoder import TextEncoder

    size = Size(config.size, config.size)
    folder.parent.mkdir(parents=True, exist_ok=True)
    record_world(
        "tabletop",
        seeds=seeds,
        size=size,
        out=folder,
        num_frames=config.num_frames,
        processes=processes,
    )
    made, version = load_codec(codec)
    with Catalog(folder, mode="a") as catalog:
        cache_latents(catalog, made, version=version)
        cache_text(catalog, TextEncoder())
