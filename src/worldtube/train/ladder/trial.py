"""One run of a ladder: its training configuration, its making, its measurement; and the clips that all runs share.

Knows nothing of which runs there are or of laws.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from worldtube.data.batches import Mix, of_codec, ready
from worldtube.data.catalog import Catalog, episode
from worldtube.data.ingest import record_world
from worldtube.data.latents import CAPTIONS
from worldtube.data.manifest import Manifest
from worldtube.data.prepare import prepare_dataset
from worldtube.errors import DataError, RequestError
from worldtube.files import atomic_write
from worldtube.models import local
from worldtube.train.ladder.config import LadderConfig, block_weights, flops, network
from worldtube.train.ladder.validation import Validation, held_out
from worldtube.train.loop import TrainConfig, train
from worldtube.transformer import TransformerConfig
from worldtube.video import Size
from worldtube.worlds.world import VALIDATION_SEEDS

SPENT = "cpu_seconds"
"""File in a run's folder: what it took up to its newest checkpoint, for the process that goes on."""
TRAIN_SEEDS = range(7_000_000, VALIDATION_SEEDS.start)


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
    identity: Mapping[str, str] = field(default_factory=dict)
    """What made the numbers and is in no other field: the codec's latents, the clips and their stages, as hashes."""

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
            device=self.config.device,
            sample_every=0,
            log_every=max(1, steps // 20),
        )

    def steps(self, budget: float, width: int) -> int:
        """That a budget allows."""
        clip = flops(self.sizes(width), self.tokens, self.words)
        return round(budget / (self.config.rows * clip))

    def widths(self, budget: float, least: int = 1) -> list[int]:
        """The sizes that a budget is enough for, and the clips. Raises RequestError for fewer than `least`."""
        low, high = self.config.least_steps, self.config.most_epochs * self.clips / self.config.rows
        fitting = [w for w in self.config.widths if low <= self.steps(budget, w) <= high]
        if len(fitting) < least:
            raise RequestError(
                f"a budget of {budget:.3g} FLOPs and {self.clips} clips suit {len(fitting)} of the widths "
                f"{', '.join(map(str, self.config.widths))} (accepted: {low} to {high:.0f} steps at {least} or more)"
            )
        return fitting

    def sizes(self, width: int) -> TransformerConfig:
        sizes = network(self.config, width)
        return replace(sizes, token_width=self.token_width)


def carry_out(trial: Trial, *, scene: Scene) -> dict[str, Any]:
    """Make a run, or what is left of it, and measure it: its row in the record."""
    folder = scene.out / "runs" / trial.name
    earlier = float((folder / SPENT).read_text()) if (folder / SPENT).exists() else 0.0
    began = time.process_time() - earlier

    def kept(*_: object) -> None:
        atomic_write(folder / SPENT, str(time.process_time() - began))

    made = scene.run_config(trial)
    train(made, data=list(scene.data), codec=scene.codec, out=folder, kept=kept)
    model = local.load(folder / "model.safetensors", device="cpu", dtype=torch.float32)
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


def prepared(
    config: LadderConfig,
    out: Path,
    data: list[Path] | None,
    validation: Path | None,
    codec: Path,
    processes: int | None,
) -> Scene:
    """The catalogs of a ladder, recorded and cached where they are not there, and what is counted in them."""
    trained = data or [out / "data" / "training"]
    watched = validation or out / "data" / "validation"
    if data is None:
        _recorded(config, trained[0], TRAIN_SEEDS[: config.clips], codec, processes)
    if validation is None:
        _recorded(config, watched, VALIDATION_SEEDS[: config.held_out_clips], codec, processes)
    made, version = local.load_codec(codec)
    catalogs = [Catalog(folder) for folder in (*trained, watched)]
    for folder, catalog in zip((*trained, watched), catalogs, strict=True):
        of_codec(catalog, folder, version)
    *learned, validated = catalogs
    ids = ready(learned)
    for folder, each in zip(trained, ids, strict=True):
        if not each:
            raise DataError(f"{folder} has no clips with latents and text (run `worldtube cache`)")
    fixed = held_out(validated, watched, config.held_out_clips)
    _grids([validated], [fixed], made.stride, config.patch)
    grids = _grids(learned, ids, made.stride, config.patch)
    if len(grids) > 1:
        sizes = " and ".join("x".join(map(str, grid)) for grid in sorted(grids))
        raise RequestError(
            f"clips with latents of {sizes} make no ladder (accepted: all of one size and length)"
        )
    [(t, h, w)] = grids
    if t > Mix().window:
        raise RequestError(
            f"clips with {t} latent frames make no ladder: training shows windows of them "
            f"(accepted: {Mix().window} or fewer)"
        )
    shots = [name for names in ids for name in names]
    if len({episode(name) for name in shots}) < len(shots):
        raise RequestError(
            "datasets with several shots of an episode make no ladder: a row has one to three of them "
            "(accepted: clips of one shot)"
        )
    clips = sum(map(len, ids))
    words = sum(
        len(names) * _words(catalog, names[:64])
        for catalog, names in zip(learned, ids, strict=True)
    )
    return Scene(
        config=config,
        out=out,
        data=tuple(trained),
        validation=watched,
        codec=codec,
        tokens=t * h * w / config.patch**2,
        words=round(words / clips, 1),
        clips=clips,
        token_width=made.channels * config.patch**2,
        identity={
            "codec": version,
            "training": _identity(learned, ids),
            "validation": _identity([validated], [fixed]),
        },
    )


def _grids(
    catalogs: Sequence[Catalog],
    ids: Sequence[Sequence[str]],
    stride: tuple[int, int, int],
    patch: int,
) -> set[tuple[int, int, int]]:
    """The sizes (t, h, w) of the latents of these clips. Raises RequestError where one does not divide into patches."""
    frames, rows, columns = stride
    found = {
        (1 + (fact["num_frames"] - 1) // frames, fact["height"] // rows, fact["width"] // columns)
        for catalog, names in zip(catalogs, ids, strict=True)
        for fact in catalog.take(names, ["num_frames", "height", "width"])
    }
    for _, height, width in found:
        if height % patch or width % patch:
            raise RequestError(
                f"clips with latents of {width}x{height} do not divide into patches of {patch}"
            )
    return found


def _identity(catalogs: Sequence[Catalog], ids: Sequence[Sequence[str]]) -> str:
    """The same for the same clips with what a ladder reads made by the same, and for no others."""
    read = {"latents", *(f"text_{length}" for length in CAPTIONS)}
    versions = [
        {name: version for name, version in catalog.columns().items() if name in read and version}
        for catalog in catalogs
    ]
    told = Manifest(ids=tuple(map(tuple, ids)), versions=tuple(versions), where=())
    return told.hash[:12]


def _words(catalog: Catalog, ids: list[str]) -> float:
    """Of a caption of these clips, on average."""
    columns = [f"text_{length}" for length in CAPTIONS]
    counts = [len(row[column]) for row in catalog.take(ids, columns) for column in columns]
    return sum(counts) / len(counts)


def _recorded(
    config: LadderConfig, folder: Path, seeds: range, codec: Path, processes: int | None
) -> None:
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
    prepare_dataset(folder, codec)
