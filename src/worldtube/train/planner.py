"""Training of the planner: text to plan tokens by the transformer, on captions that are written anew for every step."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from worldtube.codec.plan import OBJECT_WIDTH, SCENE_WIDTH, PlanTokens, decode_plan
from worldtube.codec.water import WATER_WIDTH
from worldtube.device import find_dtype
from worldtube.errors import RequestError
from worldtube.generate.plan import SCENE, WATER, plan_layout, planner_config, sample_plans
from worldtube.models.parts import save_part
from worldtube.state import State
from worldtube.text.encoder import TextEncoder
from worldtube.tokens import Words, pack
from worldtube.train.plans import Plans
from worldtube.train.run import RunConfig, fit
from worldtube.train.steps import Progress
from worldtube.transformer import Transformer, TransformerConfig
from worldtube.transformer.network import MIN_SIGMA

WEIGHTS = "planner.safetensors"


@dataclass(frozen=True, kw_only=True)
class PlannerTrainConfig:
    """Everything that decides the numbers of a run."""

    model: TransformerConfig = field(default_factory=planner_config)
    """Sizes of the network."""
    run: RunConfig = field(default_factory=lambda: RunConfig(steps=6000, ema_steps=150))
    """Length and rate."""
    batch: int = 128
    """Captioned plans in a batch."""
    noises: int = 3
    """Noisy copies of each plan in a batch: a caption, which costs most, is read once for all of them."""
    level_mean: float = 0.3
    """Mean of the logit of the noise level."""
    level_spread: float = 1.3
    """Spread of the logit of the noise level."""
    dtype: str = "auto"
    """Compute dtype: auto, float32 or bfloat16; the weights that are trained are float32."""
    water: float = 0.2
    """Share of plans with water in a batch, where there are any."""
    drop_text: float = 0.1
    """Share of captions replaced by an empty one, for classifier-free guidance."""

    def __post_init__(self) -> None:
        for name in ("batch", "noises"):
            if getattr(self, name) < 1:
                raise RequestError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.drop_text < 1:
            raise RequestError(f"drop_text must be at least 0 and below 1, got {self.drop_text}")


def draw_items(plans: Plans, count: int, water: float, generator: torch.Generator) -> Tensor:
    """int64 (count,) random rows, a share `water` of them with water where there are such plans."""
    items = torch.randint(len(plans), (count,), generator=generator)
    wet = (plans.waters[:, 0] > 0).nonzero()[:, 0]
    if len(wet):
        chosen = torch.rand(count, generator=generator) < water
        items = torch.where(
            chosen, wet[torch.randint(len(wet), (count,), generator=generator)], items
        )
    return items


def plan_rows(plans: Plans, items: Tensor) -> Tensor:
    """Clean tokens (B * tokens of a plan, OBJECT_WIDTH) in the order of `plan_layout`."""
    scene = F.pad(plans.scenes[items], (0, OBJECT_WIDTH - SCENE_WIDTH))
    water = F.pad(plans.waters[items], (0, OBJECT_WIDTH - WATER_WIDTH))
    return torch.cat([plans.objects[items], scene[:, None], water[:, None]], dim=1).flatten(0, 1)


def train_planner(
    config: PlannerTrainConfig,
    plans: Plans,
    folder: Path,
    *,
    validation: Plans | None = None,
    start: Transformer | None = None,
    progress: Progress | None = None,
    until: Callable[[], bool] = lambda: False,
) -> Transformer:
    """Train in `folder`, going on where a run there stopped; leaves `planner.safetensors` and `run.jsonl`.

    Args:
        start: begin with these weights
    """
    torch.manual_seed(config.run.seed)  # the only use of the global generator: initial weights
    model = Transformer(config.model)
    if start is not None:
        model.load_state_dict(start.state_dict(), strict=False)  # tracks may have been added
    model.to(find_dtype(config.dtype)).train()
    encoder = TextEncoder()
    rows = config.batch * config.noises
    one = plan_layout(config.model)
    layout = pack([one] * rows)
    layout = replace(layout, spans=layout.spans[:: config.noises])  # copies share their words
    tokens = len(one.frames)
    real = torch.ones(tokens, OBJECT_WIDTH)
    real[SCENE, SCENE_WIDTH:] = 0  # scene and water tokens are narrower
    real[WATER, WATER_WIDTH:] = 0
    real = real.repeat(rows, 1)

    def loss(step: int, generator: torch.Generator) -> tuple[Tensor, Mapping[str, Tensor]]:
        items = draw_items(plans, config.batch, config.water, generator)
        rng = np.random.default_rng((config.run.seed, step))
        captions = [
            "" if rng.random() < config.drop_text else plans.caption(i, rng) for i in items.tolist()
        ]
        data = plan_rows(plans, items.repeat_interleave(config.noises))
        level = torch.randn(rows, generator=generator) * config.level_spread
        sigma = torch.sigmoid(level + config.level_mean).clamp(1e-3, 1)
        sigma = sigma.repeat_interleave(tokens)[:, None]
        noise = torch.randn(data.shape, generator=generator)
        noisy = (1 - sigma) * data + sigma * noise
        reading = model.read(Words.of(encoder.encode_packed(captions)))
        velocity, _ = model(noisy, sigma[:, 0], layout, reading)
        bounded = sigma.clamp(min=MIN_SIGMA)
        error = ((noisy - bounded * velocity - data) / bounded).square() * real
        value = error.sum() / real.sum()
        return value, {"data": (error * bounded.square()).sum() / real.sum()}

    def save(weights: Mapping[str, Tensor]) -> None:
        save_part("planner", config.model, weights, folder / WEIGHTS)

    fit(
        model,
        folder,
        config.run,
        loss,
        save=save,
        validate=lambda _: {} if validation is None else measure(model, validation),
        identity={
            "model": asdict(config.model),
            "batch": config.batch,
            "noises": config.noises,
            "plans": len(plans),
        },
        progress=progress,
        until=until,
    )
    return model.float().eval()


def measure(
    model: Transformer, plans: Plans, *, count: int = 100, seed: int = 0
) -> dict[str, float]:
    """Plans made from captions of unseen seeds, against the facts of those captions.

    Returns:
        Shares: `colour_shape` of told groups that are there, `count` with the right number, `size` right.
    """
    import json

    rng = np.random.default_rng(seed)
    items = np.linspace(0, len(plans) - 1, min(count, len(plans))).astype(int).tolist()
    captions = [plans.caption(i, rng) for i in items]
    tokens = sample_plans(model, TextEncoder(), captions, seeds=range(len(items)))
    hits: dict[str, list[bool]] = {"colour_shape": [], "count": [], "size": []}
    for index, token in zip(items, tokens, strict=True):
        state = decode_plan(token, num_frames=1)
        for group in json.loads(plans.facts[index])["groups"]:
            found = members(state, group)
            hits["colour_shape"].append(bool(found))
            hits["count"].append(len(found) == group["count"])
            hits["size"].append(bool(found) and all(size == group["size"] for size in found))
    return {name: float(np.mean(values)) for name, values in hits.items()}


def members(state: State, group: Mapping[str, Any]) -> list[str]:
    """Sizes of the bodies of a state that have a group's colour and shape."""
    return [
        body.size
        for body in state.bodies
        if (body.colour, body.shape) == (group["colour"], group["shape"])
    ]


def true_tokens(plans: Plans, index: int) -> PlanTokens:
    """The tokens of a plan as the codec takes them."""
    rows = (plans.objects[index], plans.scenes[index], plans.waters[index])
    objects, scene, water = (row.numpy() for row in rows)
    return PlanTokens(objects=objects, scene=scene, water=water)
