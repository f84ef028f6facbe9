"""What captions are worth: the same small training with other words, and what each model then understands.

Owns the arms and their comparison. All arms begin from the same weights, which make pictures but know no word, and see
the same clips with the same noise in the same order; only the captions differ. Knows nothing of how captions are made.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from worldtube import models, reader
from worldtube.data.batches import Mix
from worldtube.data.catalog import Catalog
from worldtube.data.latents import CAPTIONS, cache_text
from worldtube.errors import RequestError, unknown
from worldtube.evaluate import adherence
from worldtube.models.local import LocalModel
from worldtube.text.encoder import TextEncoder
from worldtube.train.loop import TrainConfig, train
from worldtube.train.start import wordless
from worldtube.transformer import Transformer
from worldtube.video import Size

ARMS: dict[str, tuple[str | None, tuple[str, ...]]] = {
    "mixed": (None, CAPTIONS),
    "short": (None, ("short",)),
    "dense": (None, ("long",)),
    "own": ("own", CAPTIONS),
    "nothing": (None, ()),
}
"""Name -> (whose captions, of which lengths); None: those of the recording. `nothing` does not train."""
Progress = Callable[[str, int, int], None]


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
    first_seed: int = 8_000_000
    """Of the true clips whose captions are prompts."""
    seed: int = 0
    """Of the new weights, the order and the noise."""

    def __post_init__(self) -> None:
        for name in self.arms:
            if name not in ARMS:
                raise unknown("arm", name, ARMS)
        if not self.arms or self.steps < 1 or self.prompts < 1:
            raise RequestError(
                f"arms {self.arms}, steps {self.steps} and prompts {self.prompts} are too few"
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
        """Train what is not trained yet and score it; leaves `result.json` in `out` and returns what it holds."""
        self.out.mkdir(parents=True, exist_ok=True)
        kinds = self.prompts()
        arms = {}
        for name in self.config.arms:
            model = models.local.load(self.trained(name, progress))
            arms[name] = {kind: self.scored(model, lines) for kind, lines in kinds.items()}
        result = {
            "clips": self.config.steps * self.config.rows,
            "prompts": self.config.prompts,
            "arms": arms,
        }
        (self.out / "result.json").write_text(json.dumps(result, indent=1), encoding="utf-8")
        return result

    def beginning(self) -> Path:
        """The model file that all arms begin from."""
        path = self.out / "start.safetensors"
        if not path.is_file():
            other = models.local.load(self.start, dtype=torch.float32)
            torch.manual_seed(self.config.seed)
            fresh = Transformer(other.transformer.config)
            fresh.load_state_dict(wordless(other.transformer.state_dict(), fresh.state_dict()))
            models.save(LocalModel(other.card, other.codec, fresh), path)
        return path

    def trained(self, name: str, progress: Progress | None = None) -> Path:
        """The model file of an arm."""
        by, lengths = ARMS[name]
        start = self.beginning()
        if not lengths:
            return start
        folder = self.data
        if by is not None:
            folder = self.out / f"data-{by}"
            if not folder.is_dir():
                shutil.copytree(self.data, self.out / "data.partial", dirs_exist_ok=True)
                (self.out / "data.partial").replace(folder)
            with Catalog(folder, mode="a") as catalog:
                cache_text(catalog, TextEncoder(), captions=by)
        card, sizes = (one := models.local.load(start)).card, one.transformer.config
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
            seed=self.config.seed,
            sample_every=0,
        )
        out = self.out / name
        report = None if progress is None else (lambda step, steps, _: progress(name, step, steps))
        train(config, data=[folder], codec=start, out=out, start=start, progress=report)
        return out / "model.safetensors"

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

    def scored(self, model: LocalModel, lines: Sequence[adherence.Line]) -> dict[str, Any]:
        clips = adherence.make(model, [line.prompt for line in lines], seeds=range(len(lines)))
        eyes = reader.load()
        return adherence.compare(lines, [eyes.read(clip) for clip in clips], eyes)


def rows(result: dict[str, Any]) -> dict[str, Any]:
    """The result as tables: for each kind of prompt a row per arm."""
    kinds = next(iter(result["arms"].values()))
    tables = {kind: {name: arm[kind] for name, arm in result["arms"].items()} for kind in kinds}
    shares = {
        kind: {name: {key: one[key] for key in adherence.KEYS} for name, one in arms.items()}
        for kind, arms in tables.items()
    }
    return {"measure": "wording", "clips": result["clips"], "prompts": result["prompts"]} | shares
