"""The training loop of the transformer: batches, noise, loss, step; resumable to the bit.

Owns the order of those. Knows nothing of how clips were made or of sampling beyond asking for a sheet of
samples now and then.
"""

import time
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from worldtube import models
from worldtube.data import manifest
from worldtube.data.batches import STAGES, Batch, Batches, conditions, ready
from worldtube.data.catalog import Catalog
from worldtube.data.latents import CAPTIONS, TRUTH_CHANNELS, words
from worldtube.device import can_compile, find_dtype
from worldtube.errors import DataError, RequestError, WorldtubeError
from worldtube.generate import engine
from worldtube.generate.cost import resident
from worldtube.generate.tasks import TASKS
from worldtube.models.adapters import fingerprint, merged
from worldtube.models.local import FIRST_TRACKS, Card, LocalModel
from worldtube.tokens import TRACKS
from worldtube.train import lora, report
from worldtube.train.checkpoint import Checkpoints, differences
from worldtube.train.config import TrainConfig
from worldtube.train.loss import loss_of
from worldtube.train.optimizer import Optimizer, learning_rate
from worldtube.train.parallel import ALONE, Ranks, Reporter, distribute, joined, whole
from worldtube.train.start import repatched
from worldtube.train.steps import (
    Guard,
    Progress,
    alone,
    on_machine,
    record_from,
    stoppable,
    warn_of_dtype,
)
from worldtube.train.student import Distillation
from worldtube.train.tracking import tracked, trackers
from worldtube.train.validation import Validation
from worldtube.transformer import Transformer
from worldtube.video import Size, save_image, sheet
from worldtube.worlds.world import VALIDATION_SEEDS

VALIDATION_ROWS = 32
"""Rows of the batches that runs are measured on."""
RECORD, SAMPLES, MODEL = "record.jsonl", "samples.jsonl", "model.safetensors"
ADAPTERS = "adapters.safetensors"


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What the steps of a run work with."""

    model: LocalModel
    """Its transformer is the one that is trained, of which this process may have a part."""
    no_words: Tensor
    """(S, E) states of the empty prompt."""
    version: str
    """Of the codec's latents."""
    objective: Callable[..., tuple[Tensor, dict[str, float]]]
    """The loss, of (transformer, batch, step)."""
    optimizer: Optimizer
    ranks: Ranks
    dtype: torch.dtype
    """What the network computes in."""
    teacher: LocalModel | None = None
    """Of a student."""

    def batches(
        self,
        config: TrainConfig,
        data: list[Path],
        ids: Sequence[Sequence[str]] | None = None,
        stages: Sequence[Collection[str]] | None = None,
    ) -> Batches:
        """Rows of catalogs with latents and words. ids: of the clips in each; all when None. stages: see Batches."""
        return Batches(
            data,
            weights=config.weights or None,
            rows=config.rows,
            patch=self.model.card.patch,
            stride=self.model.stride[0],
            seed=config.seed,
            no_words=self.no_words,
            tokens_of=self.model.tokens,
            version=self.version,
            truth=self.model.transformer.config.truth_width > 0,
            mix=config.mix,
            ids=ids,
            stages=stages,
        )

    def averaged(self, **notes: Any) -> LocalModel:
        """The model with the averaged weights and no adapters; every process must ask. notes: for its card."""
        model = self.model
        state = {name: whole(value) for name, value in model.transformer.state_dict().items()}
        state = merged(state | self.optimizer.averaged())
        with torch.device("meta"):
            transformer = Transformer(model.transformer.config)
        transformer.load_state_dict(state, assign=True)
        transformer.to(self.ranks.device, self.dtype).eval().requires_grad_(False)
        card = replace(model.card, notes=model.card.notes | notes)
        made = LocalModel(card, model.codec, transformer, bank=model.bank)
        made.text = model.text  # loaded once
        return made

    def save(self, model: LocalModel, path: Path, *, clips_seen: int) -> None:
        """The file of what `averaged` gave; a student's is its teacher's, where `load(..., fast=True)` finds it."""
        if self.teacher is None:
            models.save(model, path)
            return
        notes = self.teacher.card.notes | {"student_clips_seen": clips_seen}
        card = replace(model.card, notes=notes)
        teacher = LocalModel(card, model.codec, self.teacher.transformer, bank=model.bank)
        models.save(teacher, path, student=model.transformer)


def setup(
    config: TrainConfig,
    *,
    codec: Path,
    start: Path | None,
    name: str = "",
    ranks: Ranks = ALONE,
) -> Setup:
    """As before the first step; arguments as for `train`. Raises RequestError for a student without a teacher, and
    for weights to start from of another size."""
    network, version = models.load_codec(codec)
    network.to(ranks.device)
    other = None if start is None else models.local.load(start, device="cpu", dtype=torch.float32)
    card = replace(  # what a token is, and a second, stays as the weights know it
        Card(notes={}) if other is None else replace(other.card, notes={}),
        name=name,
        patch=config.patch,
        width=config.size,
        height=config.size,
        student_steps=0 if config.student is None else config.student.steps,
    )
    area = card.patch**2
    sizes = replace(
        config.model,
        token_width=network.channels * area,
        truth_width=TRUTH_CHANNELS * area if config.model.truth_width else 0,
    )
    torch.manual_seed(config.seed)  # the only use of the global generator: initial weights
    transformer = Transformer(sizes)
    if config.student is not None and start is None:
        raise RequestError(
            "a student was asked for without a teacher (accepted: --start, a model file)"
        )
    if config.student is not None and ranks.sequence > 1:
        raise RequestError(f"sequence {ranks.sequence} is not accepted for a student; 1 is")
    if other is not None:
        if config.student is not None and other.card.patch != card.patch:
            raise RequestError(
                f"patch {card.patch} is not accepted for a student; its teacher's, {other.card.patch}, is"
            )
        cells, there = other.card.patch**2, other.transformer.config
        there = replace(  # as they will be with the new patch
            there,
            token_width=there.token_width // cells * area,
            truth_width=there.truth_width // cells * area,
        )
        if said := differences(asdict(there), asdict(sizes)):
            raise RequestError(
                f"weights of {start} cannot start this network: {said} (accepted: a model file of the same sizes)"
            )
        weights = repatched(other.transformer.state_dict(), other.card.patch, card.patch)
        transformer.load_state_dict(weights)
    if config.lora:
        lora.adapt(transformer, config.lora, seed=config.seed)
    if config.gradient_checkpointing:
        checkpointed(transformer)
    if config.compile:
        if not can_compile(ranks.device):
            raise RequestError(
                "compile needs a C++ compiler on a CPU (g++, clang++ or the name in CXX), Triton on a GPU; found none"
            )
        transformer.compiled()
    dtype = find_dtype(config.dtype, ranks.device, trained_width=config.model.width)
    distribute(transformer.train(), ranks, dtype)
    model = LocalModel(card, network, transformer, bank=None if other is None else other.bank)
    no_words = model.text.encode([""])[0]
    objective = partial(loss_of, config=config, ranks=ranks)
    teacher = None if config.student is None else other
    if config.student is not None and teacher is not None:
        distillation = Distillation(teacher.transformer.to(dtype), no_words, config.student, ranks)
        objective = partial(distillation, seed=config.seed)
    optimizer = Optimizer(
        transformer,
        muon=config.muon and not config.lora,  # adapters are no maps that an orthogonal step suits
        weight_decay=config.weight_decay,
        ema_steps=config.ema_steps,
        ranks=ranks,
        dtype=dtype,
    )
    return Setup(
        model=model,
        no_words=no_words,
        version=version,
        objective=objective,
        optimizer=optimizer,
        ranks=ranks,
        dtype=dtype,
        teacher=teacher,
    )


def checkpointed(transformer: Transformer) -> None:
    """Keep of each block what goes in alone, and make the rest again for the gradients (Chen et al. 2016)."""
    for block in transformer.blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)


def train(
    config: TrainConfig,
    *,
    data: list[Path],
    codec: Path,
    out: Path,
    start: Path | None = None,
    validation: Sequence[Path] = (),
    progress: Progress | None = None,
    until: Callable[[], bool] = lambda: False,
    kept: Reporter | None = None,
    track: Sequence[str] = (),
) -> LocalModel:
    """Train, or go on with what is in `out`; leaves `out/model.safetensors` (the averaged weights, for a student
    beside its teacher's).

    Every process of a run calls this with the same arguments, under python, torchrun or Ray Train. data:
    catalogs with latents and text. codec: a model file whose codec made those latents. start: begin from the
    weights of this model file. validation: catalogs to measure on. until: asked after every step whether to
    stop early, with a checkpoint written. Ctrl-C does the same. kept: told of every checkpoint. track: names
    of `tracking.SINKS`, which get the numbers too. `out/report.html` shows the run so far. Raises DataError
    for a folder with a run of another network, seed or number of rows or with one that goes on, WorldtubeError after
    five bad steps in a row.
    """
    with (
        joined(config.parallel, sequence=config.sequence, device=config.device) as ranks,
        alone(out, ranks),
    ):
        return _train(
            config, ranks, data, codec, out, start, validation, progress, until, kept, track
        )


def _train(
    config: TrainConfig,
    ranks: Ranks,
    data: list[Path],
    codec: Path,
    out: Path,
    start: Path | None,
    validation: Sequence[Path],
    progress: Progress | None,
    until: Callable[[], bool],
    kept: Reporter | None,
    track: Sequence[str],
) -> LocalModel:
    trackers(track)  # before anything that takes long
    config = on_machine(config, ranks.device, ranks)
    checkpoints = Checkpoints(out, ranks=ranks, keep=config.checkpoints)
    made = setup(config, codec=codec, start=start, name=out.name, ranks=ranks)
    model, optimizer, transformer = made.model, made.optimizer, made.model.transformer
    sizes = asdict(transformer.config) | {"patch": config.patch, "lora": config.lora}
    sizes |= {"muon": config.muon and not config.lora, "track_names": list(TRACKS)}
    order: dict[str, Any] = {"seed": config.seed, "rows": config.rows}
    if (
        config.lora or config.student
    ):  # their checkpoints hold what was added, not what it was added to
        order["start"] = fingerprint(start)
    facts, step, bad = checkpoints.facts(), 0, 0
    if facts is not None:
        unnamed = {
            "muon": sizes["muon"],
            "tracks": [],
            "track_names": list(FIRST_TRACKS),
        }  # in older checkpoints
        if said := differences(unnamed | facts["model"], sizes):
            raise DataError(
                f"{out} holds a checkpoint of another network: {said} (accepted: another folder)"
            )
        if said := differences(order | facts.get("order", {}), order):
            raise DataError(
                f"{out} holds a run that began otherwise: {said} (accepted: as it began, or another folder)"
            )
        state = optimizer.state_dict()
        checkpoints.load(state)
        optimizer.load_state_dict(state)
        step, bad = facts["step"], facts["bad"]
        if ranks.rank == 0:
            warn_of_dtype(out, step, facts.get("dtype"), config.dtype)
    begun = frozen(out, data, config.view, ranks)
    model.bank = caption_bank(model, data, begun.ids)
    batches = made.batches(config, data, begun.ids, begun.versions)
    if ranks.share[1] > config.rows:
        raise RequestError(f"{config.rows} rows cannot be shared by {ranks.share[1]} processes")
    measure = None
    if validation:
        begun = frozen(out, list(validation), "", ranks, manifest.MEASURED)
        rows = held_out(config, processes=ranks.share[1])
        held = made.batches(rows, list(validation), begun.ids, begun.versions)
        measure = Validation(held, ranks)

    def keep() -> LocalModel:
        """The model's file before the checkpoint, so that a run that is done by its checkpoint has both."""
        averaged = made.averaged(clips_seen=step * config.rows)
        adapters = optimizer.averaged() if config.lora else None
        if ranks.rank == 0:
            made.save(averaged, out / MODEL, clips_seen=step * config.rows)
            report.write(out)
            if adapters is not None:
                lora.save(adapters, out / ADAPTERS, base=start)
        facts = {"bad": guard.bad, "model": sizes, "order": order, "dtype": config.dtype}
        checkpoints.save(optimizer.state_dict(), step=step, **facts)
        if kept is not None:
            kept(step, numbers)
        return averaged

    guard = Guard(bad)
    tokens, told, numbers = 0.0, step, {}
    since = saved = time.monotonic()
    with ExitStack() as stack:
        stack.enter_context(checkpoints)
        stop = stack.enter_context(stoppable())
        log = sampled = tell = _nowhere
        if ranks.rank == 0:
            log = stack.enter_context(record_from(out / RECORD, config, step)).log
            tell = stack.enter_context(tracked(track, out, asdict(config), step))
            if config.log_samples:
                sampled = stack.enter_context(record_from(out / SAMPLES, config, step)).log
        while step < config.steps and not ranks.anyone(stop() or until()):
            rate = learning_rate(
                step,
                peak=config.rate,
                warmup=config.warmup,
                steps=config.steps,
                decay=config.decay,
            )
            batch = batches.batch(step, ranks.share)
            loss, numbers = made.objective(transformer, batch, step=step)
            loss.backward()
            norm = optimizer.step(rate)
            tokens += numbers.pop("tokens")
            try:
                skipped = guard(step, norm, partial(suspects, batch, ranks))
            except WorldtubeError:
                keep()
                raise
            step += 1
            numbers = {} if skipped else numbers  # none is finite, and JSON knows no other
            line: dict[str, Any] = {"skipped": guard.bad} if skipped else {}
            if config.log_samples:
                ids = sorted(ranks.gathered(list(zip(batch.rows, batch.ids, strict=True))))
                sampled(step=step, ids=[name for _, name in ids])
            measured = {}
            if measure is not None and (step % config.validate_every == 0 or step == config.steps):
                measured = measure(made.averaged().transformer)
            if step % config.log_every == 0 or step == config.steps or measured:
                seconds = time.monotonic() - since
                line |= numbers | measured | {"rate": rate}
                line |= {} if skipped else {"gradient": norm}
                line["clips_per_second"] = (step - told) * config.rows / seconds
                line["tokens_per_second"] = tokens / seconds
                line["memory_mb"] = memory(ranks)
                tokens, told, since = 0.0, step, time.monotonic()
            if line:
                for write in (log, tell):
                    write(step=step, **line)
            if progress is not None and ranks.rank == 0:
                progress(step, config.steps, numbers)
            if config.sample_every and step % config.sample_every == 0:
                averaged = made.averaged()
                if ranks.rank == 0:
                    sample_sheet(averaged, out / f"samples-{step:06d}.png", config)
            late = time.monotonic() - saved > 60 * config.checkpoint_minutes
            if step < config.steps and ranks.first_says(late):
                keep()
                saved = time.monotonic()
        return keep()


def _nowhere(**_: Any) -> None:
    """Only the first process writes the record."""


def memory(ranks: Ranks) -> float:
    """The most that this process held at once, in MB: of the device's memory, where it has its own."""
    if ranks.device.startswith("cuda"):
        return torch.cuda.max_memory_allocated() / 1e6
    return resident()[1] / 1e6


def suspects(batch: Batch, ranks: Ranks) -> list[str]:
    """The rows of all processes' batches that are not finite themselves, or else all of them."""
    bounds = zip(batch.layout.bounds[:-1], batch.layout.bounds[1:], strict=True)
    bad = [not bool(batch.tokens[a:b].isfinite().all()) for a, b in bounds]
    rows = ranks.gathered(list(zip(batch.ids, bad, strict=True)))
    return [name for name, one in rows if one] or [name for name, _ in rows]


def frozen(
    out: Path, data: list[Path], view: str, ranks: Ranks, file: str = manifest.FILE
) -> manifest.Manifest:
    """The clips that the run began with, the same in every process, also when the datasets grew since.

    Raises DataError where they are no longer what they were.
    """
    begun = None
    if ranks.rank == 0:
        catalogs = [Catalog(folder) for folder in data]
        missing = [f for f, each in zip(data, ready(catalogs, view), strict=True) if not each]
        if missing:
            raise DataError(
                f"{missing[0]} has no clips with latents and text"
                + (f" in view {view}" if view else " (run `worldtube cache`)")
            )
        begun = manifest.of_run(out, catalogs, conditions(catalogs, view), STAGES, file=file)
    return ranks.first_says(begun)


def held_out(config: TrainConfig, *, processes: int = 1) -> TrainConfig:
    """The same rows for every run: one seed, one number of them, whole clips, all with their words."""
    mix = replace(config.mix, drop_words=0.0, splits=0.0, causal=0.0)
    return replace(
        config,
        seed=VALIDATION_SEEDS.start,
        rows=max(VALIDATION_ROWS, processes),
        weights=(),
        mix=mix,
    )


def caption_bank(
    model: LocalModel, data: Sequence[Path], ids: Sequence[Sequence[str]], count: int = 1024
) -> Tensor | None:
    """(K, 512) sentence vectors of training captions of all lengths: what the model is at home with.

    ids: of the clips that are learned from, by dataset.
    Half of what it began with, where it has some, is kept, so that a model that is tuned further still knows it.
    """
    captions = []
    for folder, each in zip(data, ids, strict=True):
        told = words(Catalog(folder), each[: count // len(data)])
        captions += [row[CAPTIONS[i % len(CAPTIONS)]] for i, row in enumerate(told)]
    captions = [caption for caption in captions if caption]
    if not captions:
        return model.bank
    new = model.text.sentence(captions)
    if model.bank is None:
        return new
    return torch.cat([model.bank[:: max(1, 2 * len(model.bank) // count)].to(new), new])


def sample_sheet(
    model: LocalModel,
    path: Path,
    config: TrainConfig,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """A contact sheet of fixed prompts and seeds, to see what the numbers do not say.

    progress: called with evaluations of the network, done and in all.
    """
    size = Size(model.card.width, model.card.height)
    how = {"steps": config.sample_steps}
    if config.student is not None:
        student = config.student
        how = {"steps": student.steps, "shift": student.shift, "guidance": 1.0, "sampler": "euler"}
    requests = [
        TASKS["generate"](prompt, size=size, seed=seed, **how)
        for seed, prompt in enumerate(config.sample_prompts)
    ]
    clips = engine.generate(model, requests, progress=progress)
    save_image(sheet(clips, scale=2), path)
