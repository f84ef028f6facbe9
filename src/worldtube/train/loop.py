"""The training loop of the transformer: batches, noise, loss, step; resumable to the bit.

Owns the order of those and the configuration. Knows nothing of how clips were made or of sampling
beyond asking for a sheet of samples now and then.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from worldtube import models
from worldtube.data.batches import Batch, Batches, Mix, draw
from worldtube.data.catalog import Catalog
from worldtube.data.latents import CAPTIONS, TRUTH_CHANNELS
from worldtube.diffusion import noise as noising
from worldtube.errors import DataError, RequestError, WorldtubeError
from worldtube.generate import engine
from worldtube.generate.tasks import TASKS
from worldtube.models.local import Card, LocalModel
from worldtube.records import Run
from worldtube.train import checkpoint, patterns
from worldtube.train.optimizer import Optimizer, learning_rate
from worldtube.train.start import repatched
from worldtube.train.student import Distillation, StudentConfig
from worldtube.transformer import Transformer, TransformerConfig
from worldtube.video import Size, save_image, sheet

logger = logging.getLogger(__name__)

SAMPLE_PROMPTS = (
    "a large red ball rolls to the right",
    "a small blue box falls onto the table",
    "two green cylinders stand side by side",
    "a large yellow cup stands still",
    "an orange ball hits a purple cylinder",
    "a white ball knocks over a cup of water",
)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that decides the numbers of a run."""

    model: TransformerConfig = field(default_factory=TransformerConfig)
    """Sizes of the network."""
    size: int = 64
    """Native picture side, pixels."""
    patch: int = 2
    """Latent cells per token side."""
    rows: int = 32
    """Clips in a packed batch."""
    steps: int = 10_000
    """Optimizer steps in all."""
    rate: float = 2e-3
    """Peak learning rate."""
    warmup: int = 100
    """Steps of warm-up."""
    decay: float = 0.2
    """Share of the steps over which the rate falls to 0 at the end."""
    muon: bool = True
    """Muon for the matrices of the blocks; AdamW for all when false."""
    weight_decay: float = 0.01
    """Of the matrices of the blocks."""
    ema_steps: float = 500
    """The average of the weights looks back over about this many steps."""
    level_mean: float = 1.3
    """Mean of the logit of the noise level: high, since a clip's tokens tell so much about each other
    that what stands where is decided above 0.9."""
    level_spread: float = 1.3
    """Spread of the logit of the noise level."""
    truth_weight: float = 0.1
    """Of the truth that a middle block also predicts, where the network has `truth_width`: supervision that
    engine-made clips give free (in the spirit of Yu et al. 2024, REPA)."""
    mix: Mix = field(default_factory=Mix)
    """What rows are made of the clips."""
    weights: tuple[float, ...] = ()
    """How often each data folder is drawn, relative to the others; by size when empty."""
    seed: int = 0
    """Of the initial weights, the order and the noise."""
    dtype: str = "bfloat16"
    """What the network computes in; masters are float32."""
    device: str = "cpu"
    """Where it computes."""
    sample_every: int = 1000
    """Steps between sheets of samples; 0 for none."""
    sample_steps: int = 16
    """Sampler steps for those."""
    student: StudentConfig | None = None
    """Learn to do in a few steps what the weights it starts from do in many; None to learn from clips."""
    log_every: int = 20
    """Steps between lines of the record."""
    checkpoint_minutes: float = 3.0
    """Time between checkpoints."""


Progress = Callable[[int, int, dict[str, float]], None]
"""Called with (step, steps, newest numbers)."""


def loss_of(
    transformer: Transformer, batch: Batch, *, config: TrainConfig, step: int
) -> tuple[Tensor, dict[str, float]]:
    """Mean squared error of the velocity over unknown tokens, every row with the same weight per token.

    The noise is keyed by (seed, step), so it does not depend on what ran before.
    """
    rng = draw(config.seed, 3, step)
    sigma = patterns.levels(batch.layout, rng, mean=config.level_mean, spread=config.level_spread)
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    noise = torch.randn(batch.tokens.shape, generator=generator)
    device = config.device
    x = noising.corrupt(batch.tokens, noise, sigma).to(device)
    target = noising.velocity_target(batch.tokens, noise).to(device)
    sigma = sigma.to(device)
    layout = batch.layout.to(device)
    velocity, told = transformer(x, sigma, layout, transformer.read(batch.words.to(device)))
    error = (velocity - target).square().mean(-1)  # (N,)
    made = sigma > 0
    loss = error[made].mean()
    numbers = {"loss": float(loss.detach())}
    if told is not None and batch.truth is not None:
        truth = batch.truth.to(device)
        known = truth.isfinite()
        each = F.binary_cross_entropy_with_logits(
            told.float(), truth.nan_to_num(), reduction="none"
        )
        told_loss = (each * known).sum(-1).mean()
        numbers["loss_truth"] = float(told_loss.detach())
        loss = loss + config.truth_weight * told_loss
    detached = error.detach()
    for name, low, high in (("low", 0.0, 0.35), ("middle", 0.35, 0.7), ("high", 0.7, 1.01)):
        inside = (sigma > low) & (sigma <= high)
        if bool(inside.any()):
            numbers[f"loss_{name}_noise"] = float(detached[inside].mean())
    return loss, numbers


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What the steps of a run work with."""

    model: LocalModel
    no_words: Tensor
    """(S, E) states of the empty prompt."""
    version: str
    """Of the codec's latents."""
    objective: Callable[..., tuple[Tensor, dict[str, float]]]
    """The loss, of (transformer, batch, step)."""
    optimizer: Optimizer

    def batches(self, config: TrainConfig, data: list[Path]) -> Batches:
        """Rows of catalogs with latents and words."""
        return Batches(
            data,
            weights=config.weights or None,
            rows=config.rows,
            patch=self.model.card.patch,
            seed=config.seed,
            no_words=self.no_words,
            tokens_of=self.model.tokens,
            version=self.version,
            truth=config.model.truth_width > 0,
            mix=config.mix,
        )


def setup(config: TrainConfig, *, codec: Path, start: Path | None, name: str = "") -> Setup:
    """As before the first step; arguments as for `train`. Raises RequestError for a student without a teacher."""
    network, version = models.load_codec(codec)
    card = Card(name=name, patch=config.patch, width=config.size, height=config.size)
    area = card.patch**2
    sizes = replace(
        config.model,
        token_width=network.channels * area,
        truth_width=TRUTH_CHANNELS * area if config.model.truth_width else 0,
    )
    torch.manual_seed(config.seed)  # the only use of the global generator: initial weights
    transformer = Transformer(sizes)
    teacher = None
    if config.student is not None and start is None:
        raise RequestError(
            "a student was asked for without a teacher (accepted: --start, a model file)"
        )
    if start is not None:
        other = models.local.load(start, dtype=torch.float32)
        teacher = other.transformer
        if config.student is not None and other.card.patch != card.patch:
            raise RequestError(
                f"patch {card.patch} is not accepted for a student; its teacher's, {other.card.patch}, is"
            )
        transformer.load_state_dict(repatched(teacher.state_dict(), other.card.patch, card.patch))
        teacher.to(getattr(torch, config.dtype))
    transformer.to(config.device, getattr(torch, config.dtype)).train()
    model = LocalModel(card, network, transformer)
    no_words = model.text.encode([""])[0]
    objective = partial(loss_of, config=config)
    if config.student is not None and teacher is not None:
        distillation = Distillation(teacher, no_words, config.student, config.device)
        objective = partial(distillation, seed=config.seed)
    optimizer = Optimizer(
        transformer, muon=config.muon, weight_decay=config.weight_decay, ema_steps=config.ema_steps
    )
    return Setup(
        model=model, no_words=no_words, version=version, objective=objective, optimizer=optimizer
    )


def train(
    config: TrainConfig,
    *,
    data: list[Path],
    codec: Path,
    out: Path,
    start: Path | None = None,
    progress: Progress | None = None,
    until: Callable[[], bool] = lambda: False,
) -> LocalModel:
    """Train, or go on with what is in `out`; leaves `out/model.safetensors` (the averaged weights).

    data: catalogs with latents and text. codec: a model file whose codec made those latents. start:
    begin from the weights of this model file. until: asked after every step whether to stop early, with
    a checkpoint written. Ctrl-C does the same.
    """
    out.mkdir(parents=True, exist_ok=True)
    made = setup(config, codec=codec, start=start, name=out.name)
    model, optimizer, objective = made.model, made.optimizer, made.objective
    transformer, sizes = model.transformer, model.transformer.config
    model.bank = caption_bank(model, data)
    batches = made.batches(config, data)
    saved = checkpoint.load(out)
    step = 0
    if saved is not None:
        if saved["model"] != asdict(sizes):
            raise DataError(
                f"{out} holds a checkpoint of another network ({saved['model']}); choose another folder"
            )
        optimizer.load_state_dict(saved["optimizer"])
        step = saved["step"]
    record = out / "record.jsonl"
    run = Run.resume(record, step) if record.exists() else Run(record, config)

    def keep() -> None:
        state = {"step": step, "model": asdict(sizes), "optimizer": optimizer.state_dict()}
        checkpoint.save(state, out)
        export(model, optimizer, out / "model.safetensors", clips_seen=step * config.rows)

    bad, last_saved, began, first = 0, time.monotonic(), time.monotonic(), step
    with run:
        try:
            while step < config.steps and not until():
                rate = learning_rate(
                    step,
                    peak=config.rate,
                    warmup=config.warmup,
                    steps=config.steps,
                    decay=config.decay,
                )
                batch = batches.batch(step)
                loss, numbers = objective(transformer, batch, step=step)
                loss.backward()
                norm = optimizer.step(rate)
                bad = 0 if norm == norm and norm != float("inf") else bad + 1
                if bad:
                    logger.warning(
                        "step %d: gradient norm %s, nothing learned from %s", step, norm, batch.ids
                    )
                if bad >= 5:
                    raise WorldtubeError(
                        f"five steps in a row without a finite gradient, last at step {step}"
                    )
                step += 1
                if step % config.log_every == 0 or step == config.steps:
                    speed = (step - first) * config.rows / (time.monotonic() - began)
                    run.log(step=step, **numbers, gradient=norm, rate=rate, clips_per_second=speed)
                if progress is not None:
                    progress(step, config.steps, numbers)
                if config.sample_every and step % config.sample_every == 0:
                    sample_sheet(model, optimizer, out / f"samples-{step:06d}.png", config)
                if time.monotonic() - last_saved > 60 * config.checkpoint_minutes:
                    keep()
                    last_saved = time.monotonic()
        finally:
            keep()
    return model


def caption_bank(model: LocalModel, data: list[Path], count: int = 1024) -> Tensor:
    """(K, 512) sentence vectors of training captions of all lengths: what the model is at home with."""
    captions = []
    for folder in data:
        catalog = Catalog(folder)
        columns = [f"caption_{length}" for length in CAPTIONS]
        rows = catalog.take(catalog.ids("problem IS NULL")[: count // len(data)], columns)
        captions += [row[columns[i % len(columns)]] for i, row in enumerate(rows)]
    return model.text.sentence(captions)


class _Averaged:
    """The transformer computes with the averaged weights inside this context."""

    def __init__(self, model: LocalModel, optimizer: Optimizer):
        self.transformer, self.optimizer = model.transformer, optimizer

    def __enter__(self) -> None:
        with torch.no_grad():
            for p, ema in zip(self.optimizer.working, self.optimizer.ema, strict=True):
                p.copy_(ema)
        self.transformer.eval()

    def __exit__(self, *_) -> None:
        with torch.no_grad():
            for p, master in zip(self.optimizer.working, self.optimizer.masters, strict=True):
                p.copy_(master)
        self.transformer.train()


def export(model: LocalModel, optimizer: Optimizer, path: Path, *, clips_seen: int) -> None:
    """Write the averaged weights as a model file."""
    notes = model.card.notes | {"clips_seen": clips_seen}
    with _Averaged(model, optimizer):
        models.save(
            LocalModel(
                replace(model.card, notes=notes), model.codec, model.transformer, bank=model.bank
            ),
            path,
        )


def sample_sheet(model: LocalModel, optimizer: Optimizer, path: Path, config: TrainConfig) -> None:
    """A contact sheet of fixed prompts and seeds, to see what the numbers do not say."""
    size = Size(model.card.width, model.card.height)
    how = {"steps": config.sample_steps}
    if config.student is not None:
        student = config.student
        how = {"steps": student.steps, "shift": student.shift, "guidance": 1.0, "sampler": "euler"}
    requests = [
        TASKS["generate"](prompt, size=size, seed=seed, **how)
        for seed, prompt in enumerate(SAMPLE_PROMPTS)
    ]
    with _Averaged(model, optimizer):
        save_image(sheet(engine.generate(model, requests), scale=2), path)
