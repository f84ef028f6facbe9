"""What captions are worth: the same small training with other words, and what each model then understands.

Owns the arms and their comparison. All arms begin from the same weights, which make pictures but know no word, and see
the same clips with the same noise in the same order; only the captions differ. Knows nothing of how captions are made.
"""

import json
import math
import shutil
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from worldtube import models, reader
from worldtube.data import manifest
from worldtube.data.batches import STAGES, Mix, conditions
from worldtube.data.catalog import Catalog
from worldtube.data.latents import CAPTIONS, cache_text
from worldtube.device import check_dtype
from worldtube.errors import DataError, RequestError, unknown
from worldtube.evaluate import adherence
from worldtube.files import atomic_write
from worldtube.models.adapters import fingerprint
from worldtube.models.local import LocalModel
from worldtube.text.encoder import TextEncoder
from worldtube.train.checkpoint import differences
from worldtube.train.loop import TrainConfig, train
from worldtube.train.start import wordless
from worldtube.transformer import Transformer
from worldtube.video import Size
from worldtube.worlds.world import VALIDATION_SEEDS

ARMS: dict[str, tuple[str | None, tuple[str, ...]]] = {
    "mixed": (None, CAPTIONS),
    "short": (None, ("short",)),
    "dense": (None, ("long",)),
    "own": ("own", CAPTIONS),
    "nothing": (None, ()),
}
"""Name -> (whose captions, of which lengths); None: those of the recording. `nothing` does not train."""
Progress = Callable[[str, int, int], None]
Scores = dict[str, Any]
"""Of `adherence.summary`."""


@dataclass(frozen=True, kw_only=True)
class WordingConfig:
    """One size for all arms."""

    arms: tuple[str, ...] = ("short", "dense", "mixed", "own")
    """Of ARMS."""
    steps: int = 150
    """Optimizer steps of each."""
    rows: int = 32
    """Clips in a step."""
    rate: float = 2e-3
    """Peak learning rate."""
    prompts: int = 50
    """Prompts of each kind."""
    first_seed: int = VALIDATION_SEEDS.start
    """Of the true clips whose captions are prompts."""
    seed: int = 0
    """Of the new weights, the order and the noise."""
    trainings: int = 1
    """Of each arm, with the seeds from `seed` on: what is told are means, and how far another training may be off."""
    dtype: str = "auto"
    """What networks compute in: float32 or bfloat16; auto is the fastest here."""
    device: str = "auto"
    """Where they compute: auto, cpu, cuda, mps, or such as cuda:1."""

    def __post_init__(self) -> None:
        check_dtype(self.dtype)
        for name in self.arms:
            if name not in ARMS:
                raise unknown("arm", name, ARMS)
        if not self.arms or min(self.steps, self.prompts, self.trainings) < 1:
            raise RequestError(
                f"arms {self.arms}, steps {self.steps}, prompts {self.prompts} and trainings "
                f"{self.trainings} are too few; one of each or more is accepted"
            )


@dataclass(frozen=True, kw_only=True)
class Wording:
    """The experiment over one catalog, which needs latents and text, and captions of every captioner among the arms."""

    data: Path
    start: Path
    """Model file whose words are forgotten."""
    out: Path
    config: WordingConfig = field(default_factory=WordingConfig)

    def run(self, progress: Progress | None = None) -> dict[str, Any]:
        """Train what is not trained yet and score what is not scored; leaves `result.json` in `out` and returns it.

        `progress(what, step, steps)` is of one arm at a time, trained and then scored.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        self.same_as_before()
        kinds, config = self.prompts(), self.config
        told = [
            {"seed": seed, "arm": arm, "prompts": kind} | scores
            for seed in range(config.seed, config.seed + config.trainings)
            for arm in config.arms
            for kind, scores in self.scored(arm, seed, kinds, progress).items()
        ]
        result = {"clips": config.steps * config.rows, "prompts": config.prompts, "told": told}
        _write(self.out / "result.json", result)
        return result

    def same_as_before(self) -> None:
        """Raises DataError where `out` has trainings of other settings: they would be told under these."""
        asked = {name: getattr(self.config, name) for name in ("steps", "rows", "rate")}
        catalogs = [Catalog(self.data)]
        clips = manifest.freeze(catalogs, conditions(catalogs), STAGES)
        asked |= {"start": fingerprint(self.start), "data": clips.hash[:12]}
        path = self.out / "settings.json"
        if not path.is_file():
            _write(path, asked)
        if said := differences(json.loads(path.read_text(encoding="utf-8")), asked):
            raise DataError(
                f"{self.out} holds an experiment that began otherwise: {said} "
                "(accepted: as it began, or another folder)"
            )

    def beginning(self, seed: int) -> Path:
        """The model file that all arms of a seed begin from."""
        path = self.out / f"seed-{seed}" / "start.safetensors"
        if not path.is_file():
            other = models.local.load(self.start, device="cpu", dtype=torch.float32)
            torch.manual_seed(seed)
            fresh = Transformer(other.transformer.config)
            fresh.load_state_dict(wordless(other.transformer.state_dict(), fresh.state_dict()))
            path.parent.mkdir(parents=True, exist_ok=True)
            models.save(LocalModel(other.card, other.codec, fresh), path)
        return path

    def trained(self, name: str, seed: int, progress: Progress | None = None) -> Path:
        """The model file of an arm."""
        by, lengths = ARMS[name]
        start = self.beginning(seed)
        if not lengths:
            return start
        folder = self.data
        if by is not None:
            folder = self.out / f"data-{by}"
            if not folder.is_dir():
                shutil.copytree(self.data, self.out / "data.partial", dirs_exist_ok=True)
                (self.out / "data.partial").replace(folder)
            catalog = Catalog(folder, mode="a")
            cache_text(catalog, TextEncoder(), captions=by)
        card, sizes = (one := models.local.load(start, device="cpu")).card, one.transformer.config
        config = TrainConfig(
            model=sizes,
            size=card.width,
            patch=card.patch,
            rows=self.config.rows,
            steps=self.config.steps,
            rate=self.config.rate,
            warmup=max(1, self.config.steps // 15),
            decay=0.4,
            ema_steps=max(1, self.config.steps // 8),
            mix=replace(Mix(), images=0.05, captions=lengths),
            seed=seed,
            dtype=self.config.dtype,
            device=self.config.device,
            sample_every=0,
        )
        out = start.parent / name
        report = None if progress is None else (lambda step, steps, _: progress(name, step, steps))
        train(config, data=[folder], codec=start, out=out, start=start, progress=report)
        return out / "model.safetensors"

    def scored(
        self,
        name: str,
        seed: int,
        kinds: Mapping[str, Sequence[adherence.Line]],
        progress: Progress | None = None,
    ) -> dict[str, Scores]:
        """Kind of prompt -> scores of an arm's clips, kept beside the arm; a new training also has new noise."""
        path = self.out / f"seed-{seed}" / f"scores-{name}.json"
        asked = {"prompts": self.config.prompts, "first_seed": self.config.first_seed}
        if path.is_file() and (kept := json.loads(path.read_text(encoding="utf-8")))["of"] == asked:
            return kept["kinds"]
        trained = self.trained(name, seed, progress)
        model = models.local.load(trained, device=self.config.device, dtype=self.config.dtype)
        eyes = reader.load()
        found: dict[str, Scores] = {}
        for kind, lines in kinds.items():
            clips = adherence.make(
                model,
                [line.prompt for line in lines],
                seeds=range(seed * len(lines), (seed + 1) * len(lines)),
                progress=partial(progress, f"{name}, {kind}") if progress else None,
            )
            found[kind] = adherence.compare(lines, [eyes.read(clip) for clip in clips], eyes)
        _write(path, {"of": asked, "kinds": found})
        return found

    def prompts(self) -> dict[str, list[adherence.Line]]:
        """Kind -> prompts with facts: held-out free wording, and captions of true clips that no training saw."""
        from worldtube.worlds.record import record

        count = self.config.prompts
        kinds = {"free": adherence.read_prompts(adherence.embedded_prompts())[:count]}
        kinds |= {"short captions": [], "dense captions": []}
        for seed in range(self.config.first_seed, self.config.first_seed + count):
            _, captions, truth = record("tabletop", seed, Size(64, 64), num_frames=25)
            for kind, length in (("short captions", "short"), ("dense captions", "long")):
                kinds[kind].append(replace(adherence.of_truth(truth), prompt=captions[length]))
        return kinds


def _write(path: Path, told: Mapping[str, Any]) -> None:
    atomic_write(path, json.dumps(told, indent=1))


def means(told: Sequence[Mapping[str, Any]], *, against: str = "mixed") -> list[dict[str, Any]]:
    """A row per arm: shares of all prompts, the mean of its trainings; beside them how they differ from `against`.

    `points` are an arm's shares less those of `against`, both trained from the same weights in the same order, in
    points, the mean of the seeds that both have; `error` is the standard error of that mean (None of one seed).
    `told` are rows of `Wording.run`.
    """
    parts: dict[tuple[str, str], dict[int, list[float]]] = {}
    for one in told:
        for key in adherence.KEYS:
            part = parts.setdefault((one["arm"], key), {}).setdefault(one["seed"], [0, 0])
            part[0] += (one[key] or 0) * one["n"][key]
            part[1] += one["n"][key]
    shares = {
        which: {seed: right / number for seed, (right, number) in seeds.items() if number}
        for which, seeds in parts.items()
    }
    rows = []
    for arm in dict.fromkeys(one["arm"] for one in told):
        row: dict[str, Any] = {"arm": arm, "points": {}, "error": {}}
        row["trainings"] = len({one["seed"] for one in told if one["arm"] == arm})
        for key in adherence.KEYS:
            own, other = shares[arm, key], shares.get((against, key), {})
            row[key] = statistics.mean(own.values()) if own else None
            both = [100 * (own[seed] - other[seed]) for seed in own.keys() & other.keys()]
            if arm != against and both:
                row["points"][key] = statistics.mean(both)
                row["error"][key] = (
                    statistics.stdev(both) / math.sqrt(len(both)) if len(both) > 1 else None
                )
        rows.append(row)
    return rows


def rows(result: dict[str, Any]) -> dict[str, Any]:
    """The result as tables: for each kind of prompt a row per arm and training; for all of them one per arm."""
    told = result["told"]
    tables = {
        kind: {
            f"{one['arm']}, seed {one['seed']}": {key: one[key] for key in adherence.KEYS}
            for one in told
            if one["prompts"] == kind
        }
        for kind in dict.fromkeys(one["prompts"] for one in told)
    }
    arms = means(told)
    head = {"measure": "wording", "clips": result["clips"], "prompts": result["prompts"]}
    return (
        head
        | tables
        | {
            "all prompts": {one["arm"]: {key: one[key] for key in adherence.KEYS} for one in arms},
            "points beside mixed": {one["arm"]: one["points"] for one in arms if one["points"]},
            "their standard error": {one["arm"]: one["error"] for one in arms if one["points"]},
        }
    )
