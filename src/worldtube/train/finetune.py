"""Fine-tuning: a model goes on with somebody's own clips, in minutes.

Owns the defaults for that, and the sheets before and after. The loop is `loop.train`. Knows nothing of how
clips came into a dataset.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from worldtube import models
from worldtube.data import caption
from worldtube.data.batches import Mix
from worldtube.data.catalog import Catalog
from worldtube.data.latents import TEXTS, captioner_of, words
from worldtube.data.prepare import prepare_dataset
from worldtube.errors import DataError, RequestError
from worldtube.models.local import LocalModel, embedded_path
from worldtube.text.encoder import TextEncoder
from worldtube.train.config import TrainConfig
from worldtube.train.loop import frozen, sample_sheet, train
from worldtube.train.parallel import ALONE
from worldtube.train.tracking import trackers

logger = logging.getLogger(__name__)

RANK = 16
NUM_PROMPTS = 6
BEFORE, AFTER = "before.png", "after.png"


def finetune_config(
    model: LocalModel,
    *,
    rank: int = RANK,
    steps: int = 200,
    rows: int = 8,
    rate: float | None = None,
    view: str = "",
    device: str = "auto",
    dtype: str = "auto",
) -> TrainConfig:
    """What suits a few dozen to a few thousand clips. rank: of the adapters; 0 trains the weights themselves. view,
    device and dtype: as in TrainConfig."""
    card = model.card
    return TrainConfig(
        model=model.transformer.config,
        size=card.width,
        patch=card.patch,
        view=view,
        device=device,
        dtype=dtype,
        rows=rows,
        steps=steps,
        rate=rate or (3e-3 if rank else 3e-4),
        warmup=min(10, steps // 4),
        decay=0.5,
        weight_decay=0.0,
        ema_steps=max(2.0, steps / 8),
        mix=Mix(images=0.1, drop_words=0.1, window=card.window - 1),
        lora=rank,
        sample_every=0,
        log_every=max(1, steps // 100),
        checkpoint_minutes=1.0,
    )


def finetune(
    data: Sequence[Path],
    out: Path,
    *,
    model: Path | None = None,
    config: TrainConfig | None = None,
    validation: Sequence[Path] = (),
    bar: Callable[[str], Any],
    **more: Any,
) -> Path:
    """Fine-tune a model file (the embedded one when None) on datasets; returns the new model's file.

    What the datasets lack of latents and text is computed first. Leaves `before.png` and `after.png`, sheets
    of the datasets' own captions, `model.safetensors` and, for adapters, `adapters.safetensors`. validation:
    datasets to measure on, which are completed too. bar: makes a progress bar from a name. more: for `loop.train`.
    Raises DataError for datasets without captions.
    """
    start = model or embedded_path()
    device, dtype = ("auto", "auto") if config is None else (config.device, config.dtype)
    with bar("loading the model"):
        network = models.local.load(start, device=device, dtype=dtype)
    config = config or finetune_config(network)
    if not data:
        raise RequestError("no dataset was named (accepted: --data DATASET ...)")
    trackers(more.get("track", ()))
    for folder in (*data, *validation):
        prepare(folder, start, device=config.device, bar=bar)
    out.mkdir(parents=True, exist_ok=True)
    ids = frozen(out, list(data), config.view, ALONE).ids
    config = replace(config, sample_prompts=own_prompts(data, ids) or config.sample_prompts)
    if not (out / BEFORE).exists():
        with bar("samples before") as progress:
            sample_sheet(network, out / BEFORE, config, progress=progress)
    with bar("fine-tuning") as progress:
        made = train(
            config,
            data=list(data),
            codec=start,
            start=start,
            out=out,
            validation=validation,
            progress=progress,
            **more,
        )
    with bar("samples after") as progress:
        sample_sheet(made, out / AFTER, config, progress=progress)
    return out / "model.safetensors"


def prepare(folder: Path, codec: Path, *, device: str = "auto", bar: Callable[[str], Any]) -> None:
    """Latents and text of the clips of a dataset that lack them.

    device: where the codec computes. Raises DataError where there are no captions, or words of different ones.
    """
    catalog = Catalog(folder, mode="r+")
    columns, by = catalog.columns(), captioner_of(catalog)
    worded = columns.keys() >= set(TEXTS)  # of whose captions, whoever made them chose
    captions = by or catalog.ids("problem IS NULL AND caption_medium IS NOT NULL")
    if not worded and not captions:
        told = caption.told_by(catalog)
        if told:
            raise DataError(
                f"{folder} has captions by {' and '.join(told)} of which nothing is cached "
                f"(accepted: the dataset after `worldtube cache {folder} --captions {told[0]}`)"
            )
        raise DataError(
            f"{folder} has no captions, so there is nothing to learn to follow "
            "(accepted: a dataset after `worldtube caption` and `worldtube cache --captions`)"
        )
    known = not worded or by is not None or columns[TEXTS[0]] == _plain_words()
    prepare_dataset(folder, codec, captions=by, text=known, device=device, bar=bar)
    if without := set().union(*map(catalog.missing, TEXTS)):
        logger.warning(
            "%d of the %d clips of %s have no caption and are left out (worldtube caption makes some)",
            *(len(without), len(catalog.ids("problem IS NULL")), folder),
        )


def _plain_words() -> str:
    """The version of text states of the captions that clips were recorded with."""
    encoder = TextEncoder()
    return f"{encoder.name}:{encoder.version}"


def own_prompts(
    data: Sequence[Path], ids: Sequence[Sequence[str]], count: int = NUM_PROMPTS
) -> tuple[str, ...]:
    """Captions of the clips that are learned from, evenly spread. ids: of them, by dataset."""
    told = [
        row for folder, each in zip(data, ids, strict=True) for row in words(Catalog(folder), each)
    ]
    captions = list(dict.fromkeys(row["medium"] for row in told if row["medium"]))
    each = max(1, len(captions) // count)
    return tuple(captions[::each][:count])
