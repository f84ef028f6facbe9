"""The training loop of the codec: clips, noise on the latents, loss, step; resumable to the bit.

Owns the order of those and the configuration; the choice of pieces is in `pools`. Knows nothing of how
clips were made or of what the latents are used for.

Two phases: first encoder and decoder together; then, with `freeze_encoder`, the decoder alone,
while others train on the latents of the frozen encoder already.
"""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from worldtube.codec import CodecConfig, VideoCodec
from worldtube.codec.autoencoder import (
    FRAMES,
    PATCH,
    group_frames,
)
from worldtube.codec.losses import reconstruction_loss, variance_bound
from worldtube.device import find_device
from worldtube.errors import DataError, RequestError, WorldtubeError
from worldtube.evaluate import reconstruction
from worldtube.models.local import save_codec
from worldtube.train import report
from worldtube.train.checkpoint import Checkpoints, differences
from worldtube.train.config import check
from worldtube.train.optimizer import Optimizer, learning_rate
from worldtube.train.pools import Pool, draw_batch, draw_patches, identity, to_pixels
from worldtube.train.steps import (
    Guard,
    Progress,
    alone,
    on_machine,
    record_from,
    stoppable,
    warn_of_dtype,
)
from worldtube.video import Clip, save_image

logger = logging.getLogger(__name__)

WEIGHTS = "codec.safetensors"
RECORD = "run.jsonl"


@dataclass(frozen=True, kw_only=True)
class CodecTrainConfig:
    """Everything that decides the numbers of a run."""

    codec: CodecConfig = field(default_factory=CodecConfig)
    """Sizes of the network."""
    steps: int = 2500
    """Optimizer steps in all."""
    batch: int = 8
    """Pieces in a batch of `frames[0]` frames and side `sides[0]`; others get as many as cost the
    same."""
    frames: tuple[int, ...] = (13, 13, 13, 25, 5)
    """Lengths of the pieces, 1 + 4 k each; one is drawn for each step."""
    sides: tuple[int, ...] = (64, 48, 48)
    """Clips are cropped to one of these sides, pixels, at any offset: still grounds then lie in all
    ways on the grid of patches. The first is the native side; one that is listed twice is drawn
    twice as often."""
    focus: float = 0.75
    """Share of the crops that are laid over something that moves, where the masks know of
    something."""
    rate: float = 4e-3
    """Peak learning rate."""
    warmup: int = 20
    """Steps of warm-up."""
    decay: float = 0.3
    """Share of the steps over which the rate falls to 0 at the end."""
    weight_decay: float = 0.01
    """Of the matrices of the blocks."""
    ema_steps: float = 300
    """The average of the weights looks back over about this many steps."""
    noise: float = 0.05
    """Mean size of the noise on the latents; each clip draws its own, uniform from 0 to twice this.
    """
    square: float = 20.0
    """Weight of the square error, beside the absolute error with weight one."""
    edge: float = 0.3
    """Weight of the error of spatial differences."""
    temporal: float = 0.3
    """Weight of the error of differences over time."""
    objects: float = 2.0
    """Further weight of pixels on and next to objects."""
    variance: float = 0.1
    """Weight of the bound on the variance of the latents."""
    freeze_encoder: bool = False
    """Train the decoder only, on the latents of the encoder as it is."""
    seed: int = 0
    """Of the initial weights, the order and the noise."""
    dtype: str = "auto"
    """What the network computes in: float32 or bfloat16; auto is the fastest here. Masters are float32."""
    device: str = "auto"
    """Where it computes: auto, cpu, cuda, mps, or such as cuda:1."""
    log_every: int = 10
    """Steps between lines of the record."""
    validate_every: int = 250
    """Steps between measurements on the validation clips and sample sheets."""
    checkpoint_minutes: float = 3.0
    """Time between checkpoints."""

    def __post_init__(self) -> None:
        check(
            self.dtype,
            batch=self.batch,
            ema_steps=self.ema_steps,
            log_every=self.log_every,
            validate_every=self.validate_every,
        )
        for frames in self.frames:
            if frames < 1 or frames % FRAMES != 1:
                raise RequestError(f"frames has {frames} (accepted: 1, 5, 9, ... 1 + 4 k)")
        for side in self.sides:
            if side < PATCH or side % PATCH:
                raise RequestError(f"sides has {side} (accepted: multiples of {PATCH})")


def loss_of(
    codec: VideoCodec, pixels: Tensor, weights: Tensor, *, config: CodecTrainConfig, step: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of one batch; the noise on the latents is keyed by (seed, step)."""
    if config.freeze_encoder:
        with torch.no_grad():
            latents = codec.compress(group_frames(pixels)).float()  # (B, C, t, h, w)
    else:
        latents = codec.compress(group_frames(pixels)).float()
    generator = torch.Generator().manual_seed((config.seed << 32) + step)
    size = 2 * config.noise * torch.rand(len(latents), 1, 1, 1, 1, generator=generator)
    noise = size * torch.randn(latents.shape, generator=generator)
    made = codec.expand(latents + noise.to(latents.device)).float()[:, :, FRAMES - 1 :]
    loss, parts = reconstruction_loss(
        made, pixels, weights, square=config.square, edge=config.edge, temporal=config.temporal
    )
    if not config.freeze_encoder:
        parts["variance"] = variance_bound(latents)
        loss = loss + config.variance * parts["variance"]
    return loss, parts


def train_codec(
    config: CodecTrainConfig,
    pools: Sequence[Pool],
    folder: Path,
    *,
    validation: Sequence[Clip] = (),
    start: VideoCodec | None = None,
    progress: Progress | None = None,
    until: Callable[[], bool] = lambda: False,
) -> VideoCodec:
    """Train a codec in `folder`, going on from the checkpoint there if there is one; returns the
    averaged weights.

    Leaves `codec.safetensors` (the averaged weights, float32), `run.jsonl`, `checkpoints/` and
    `samples/`.
    start: begin from this codec instead of the linear optimum. until: asked after each step whether
    to stop here and go on another time. Ctrl-C also leaves a checkpoint. Raises WorldtubeError
    after five steps in a row that are not finite, DataError for a folder with a run of another codec, other clips
    or another seed, or one that goes on, RequestError for a device that is not there.
    """
    config = on_machine(config, str(find_device(config.device)))
    with alone(folder):
        return _train_codec(config, pools, folder, validation, start, progress, until)


def _train_codec(
    config: CodecTrainConfig,
    pools: Sequence[Pool],
    folder: Path,
    validation: Sequence[Clip],
    start: VideoCodec | None,
    progress: Progress | None,
    until: Callable[[], bool],
) -> VideoCodec:
    (folder / "samples").mkdir(parents=True, exist_ok=True)
    if config.freeze_encoder and start is None:
        raise RequestError(
            "freeze_encoder is set and start is not (accepted: a codec to start from)"
        )
    torch.manual_seed(config.seed)  # the only use of the global generator: initial weights
    codec = VideoCodec(config.codec if start is None else start.config)
    if start is not None:
        codec.load_state_dict(start.state_dict())
    checkpoints = Checkpoints(folder)
    facts = checkpoints.facts()
    if start is None and facts is None:
        kept = codec.fit_linear(draw_patches(pools, config.seed))
        logger.info("the linear codec keeps %.2f %% of the variance", 100 * kept)
    if config.freeze_encoder:
        codec.encoder.requires_grad_(False)
    frozen = {name: value.clone() for name, value in codec.state_dict().items()}  # float32
    codec.to(config.device, getattr(torch, config.dtype)).train()
    optimizer = Optimizer(codec, weight_decay=config.weight_decay, ema_steps=config.ema_steps)
    sizes = codec.config.to_dict()
    order = {"seed": config.seed, "batch": config.batch, "clips": identity(pools)}
    step, guard = 0, Guard()
    if facts is not None:
        if said := differences(facts["model"], sizes):
            raise DataError(
                f"{folder} holds a checkpoint of another codec: {said} (accepted: another folder)"
            )
        if said := differences(facts.get("order", order), order):
            raise DataError(
                f"{folder} holds a run that began otherwise: {said} (accepted: as it began, or another folder)"
            )
        state = optimizer.state_dict()
        checkpoints.load(state)
        optimizer.load_state_dict(state)
        step, guard.bad = facts["step"], facts["bad"]
        warn_of_dtype(folder, step, facts.get("dtype"), config.dtype)
        logger.info("going on from step %d", step)

    def averaged() -> VideoCodec:
        average = VideoCodec(codec.config)
        average.load_state_dict(frozen | {k: v.cpu() for k, v in optimizer.averaged().items()})
        return average.eval().requires_grad_(False)

    def keep() -> None:
        save_codec(averaged(), folder / WEIGHTS)
        report.write(folder)
        facts = {"bad": guard.bad, "model": sizes, "order": order, "dtype": config.dtype}
        checkpoints.save(optimizer.state_dict(), step=step, **facts)

    with ExitStack() as stack:
        stack.enter_context(checkpoints)
        run = stack.enter_context(record_from(folder / RECORD, asdict(config), step))
        stop = stack.enter_context(stoppable())
        saved = time.monotonic()
        while step < config.steps and not (stop() or until()):
            pixels, weights, names = draw_batch(pools, config, step)
            loss, parts = loss_of(
                codec,
                pixels.to(config.device),
                weights.to(config.device),
                config=config,
                step=step,
            )
            loss.backward()
            rate = learning_rate(
                step,
                peak=config.rate,
                warmup=config.warmup,
                steps=config.steps,
                decay=config.decay,
            )
            norm = optimizer.step(rate)
            try:
                bad = guard(step, norm, partial(list, dict.fromkeys(names)))
            except WorldtubeError:
                keep()
                raise
            step += 1
            if bad:
                run.log(step=step, skipped=guard.bad)
                continue
            numbers = {"loss": float(loss.detach()), "norm": norm, "rate": rate}
            numbers |= {name: float(part.detach()) for name, part in parts.items()}
            if step % config.validate_every == 0 or step == config.steps:
                numbers |= validate(averaged(), validation, folder, step)
            if step % config.log_every == 0 or step == config.steps or "psnr" in numbers:
                run.log(step=step, **numbers)
            if progress is not None:
                progress(step, config.steps, numbers)
            if time.monotonic() - saved > 60 * config.checkpoint_minutes:
                keep()
                saved = time.monotonic()
        keep()
    codec = averaged()
    if step >= config.steps and not config.freeze_encoder:
        calibrate(codec, pools, config.seed)
        save_codec(codec, folder / WEIGHTS)
    return codec


def validate(codec: VideoCodec, clips: Sequence[Clip], folder: Path, step: int) -> dict[str, float]:
    """Scores on the validation clips; leaves a sheet with rows of frames above rows of their
    reconstructions."""
    if not clips:
        return {}
    scores = reconstruction.measure(codec, clips)
    rows = []
    for clip in clips[:8]:
        chosen = np.linspace(0, clip.num_frames - 1, 6).round().astype(int)
        made = reconstruction.reconstruct(codec, clip)
        rows += [np.concatenate(list(frames[chosen]), axis=1) for frames in (clip.frames, made)]
    widest = max(row.shape[1] for row in rows)
    rows = [np.pad(row, ((0, 2), (0, widest - row.shape[1]), (0, 0))) for row in rows]
    save_image(np.concatenate(rows), folder / "samples" / f"{step:07d}.png")
    return {name: value for name, value in scores.items() if isinstance(value, float)}


@torch.no_grad()
def calibrate(codec: VideoCodec, pools: Sequence[Pool], seed: int, count: int = 200) -> None:
    """Measure the scale of the latents on random clips, and keep it inside the codec."""
    rng = np.random.default_rng([seed, 3])
    latents = []
    for _ in range(count):
        pool = pools[int(rng.integers(len(pools)))]
        length = 1 + (pool.frames.shape[1] - 1) // FRAMES * FRAMES
        high, wide = (side // PATCH * PATCH for side in pool.frames.shape[2:4])
        clip = pool.frames[rng.integers(len(pool), size=1)][:, :length, :high, :wide]
        latents.append(codec.encode(to_pixels(clip)).permute(0, 2, 3, 4, 1).flatten(0, 3))
    codec.set_scale(torch.cat(latents))
