"""Training of the renderer on drawn and encoded windows of states, and its measures."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from worldtube.codec import VideoCodec
from worldtube.device import find_dtype
from worldtube.dynamics.bodies import rotation_from_vector
from worldtube.errors import RequestError
from worldtube.models.parts import save_part
from worldtube.renderer import Renderer, RendererConfig, Scenes
from worldtube.renderer.features import compute_features
from worldtube.train.pictures import Pictures
from worldtube.train.run import RunConfig, fit
from worldtube.train.steps import Progress

WEIGHTS = "renderer.safetensors"


@dataclass(frozen=True, kw_only=True)
class RendererTrainConfig:
    """Everything that decides the numbers of a run."""

    model: RendererConfig = field(default_factory=RendererConfig)
    """Sizes of the network."""
    run: RunConfig = field(default_factory=lambda: RunConfig(steps=8000, rate=3e-3, ema_steps=100))
    """Length and rate."""
    batch: int = 32
    """Latent frames in a batch."""
    object_weight: float = 2.5
    """Weight of cells in which a body may be seen; the others have 1."""
    dtype: str = "auto"
    """Compute dtype: auto, float32 or bfloat16; the weights that are trained are float32."""
    jitter: float = 0.01
    """Metres (and tenths of a radian) by which states are off at most: made states are not true ones."""

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise RequestError(f"batch must be at least 1, got {self.batch}")
        if self.jitter < 0:
            raise RequestError(f"jitter must be at least 0, got {self.jitter}")


def jitter(scenes: Scenes, amount: float, generator: torch.Generator) -> Scenes:
    """Move every body by up to `amount` metres, the same at all instants and a little more at each."""
    items, slots, instants = scenes.position.shape[:3]
    size = amount * torch.rand(items, 1, 1, 1, generator=generator)
    shift = torch.randn(items, slots, 1, 3, generator=generator)
    tremble = 0.5 * torch.randn(items, slots, instants, 3, generator=generator)
    tremble = torch.where(scenes.first[:, None, None, None], tremble[:, :, :1], tremble)
    turn = rotation_from_vector((0.1 / max(amount, 1e-6) * size * shift * amount).flatten(0, 2))
    turn = turn.view(items, slots, 1, 3, 3)
    return replace(
        scenes,
        position=scenes.position + size * (shift + tremble),
        rotation=turn @ scenes.rotation,
    )


@torch.no_grad()
def decoder_sensitivity(codec: VideoCodec, latents: Tensor, *, step: float = 0.1) -> Tensor:
    """(C,) mean square change of the decoded pixels per square change of each channel, relative to their mean.

    Args:
        latents: (B, C, h, w) first latent frames
    """
    clean = latents.float()[:, :, None]
    pixels = codec.decode(clean)
    changes = []
    for channel in range(clean.shape[1]):
        moved = clean.clone()
        moved[:, channel] += step
        changes.append((codec.decode(moved) - pixels).square().mean())
    values = torch.stack(changes)
    return values / values.mean()


def train_renderer(
    config: RendererTrainConfig,
    pictures: Pictures,
    codec: VideoCodec,
    folder: Path,
    *,
    validation: Pictures | None = None,
    start: Renderer | None = None,
    progress: Progress | None = None,
    until: Callable[[], bool] = lambda: False,
) -> Renderer:
    """Train in `folder`, going on where a run there stopped; leaves `renderer.safetensors` and `run.jsonl`.

    Args:
        codec: made the latents; its decoder says which channels are seen most
        start: begin with these weights
    """
    torch.manual_seed(config.run.seed)  # the only use of the global generator: initial weights
    model = Renderer(config.model)
    height, width = pictures.latents.shape[-2:]
    if start is not None:
        model.load_state_dict(start.state_dict())
    else:
        with torch.no_grad():
            model.head.bias.copy_(pictures.latents[:4000].float().mean((0, 2, 3)))
    is_first = pictures.scenes.first.nonzero()[:16, 0]
    channel_weight = 0.5 + 0.5 * decoder_sensitivity(codec, pictures.latents[is_first])
    channel_weight = (channel_weight / channel_weight.mean())[:, None, None]
    model.to(find_dtype(config.dtype)).train()

    def loss(step: int, generator: torch.Generator) -> tuple[Tensor, Mapping[str, Tensor]]:
        items = torch.randint(len(pictures), (config.batch,), generator=generator)
        scenes = jitter(pictures.scenes[items], config.jitter, generator)
        features = compute_features(scenes, height, width)
        error = (model(features, height, width) - pictures.latents[items].float()).square()
        cell = 1 + (config.object_weight - 1) * features.covered.float().view(-1, 1, height, width)
        weighted = (error * channel_weight * cell).mean() / cell.mean()
        return weighted, {"mse": error.mean()}

    def save(weights: Mapping[str, Tensor]) -> None:
        save_part("renderer", config.model, weights, folder / WEIGHTS)

    fit(
        model,
        folder,
        config.run,
        loss,
        save=save,
        validate=lambda _: {} if validation is None else measure(model, validation),
        identity={"model": asdict(config.model), "batch": config.batch, "pictures": len(pictures)},
        progress=progress,
        until=until,
    )
    return model.float().eval()


@torch.inference_mode()
def measure(model: Renderer, pictures: Pictures, *, batch: int = 32) -> dict[str, float]:
    """Mean square error of the latents: all (`latent_mse`), cells where bodies may be seen, and the others."""
    height, width = pictures.latents.shape[-2:]
    sums = torch.zeros(4, dtype=torch.float64)
    for begin in range(0, len(pictures), batch):
        features = compute_features(pictures.scenes[begin : begin + batch], height, width)
        made = model(features, height, width)
        error = (made - pictures.latents[begin : begin + batch].float()).square().mean(1).flatten(1)
        covered = features.covered
        parts = (error[covered].sum(), covered.sum(), error[~covered].sum(), (~covered).sum())
        sums += torch.tensor([float(part) for part in parts], dtype=torch.float64)
    on, on_count, off, off_count = sums.tolist()
    return {
        "latent_mse": (on + off) / (on_count + off_count),
        "latent_mse_bodies": on / max(on_count, 1),
        "latent_mse_rest": off / max(off_count, 1),
    }


def psnr(made: Tensor, truth: Tensor) -> float:
    """Decibels between pixels in [-1, 1]."""
    return 10 * math.log10(4 / float((made - truth).square().mean()))
