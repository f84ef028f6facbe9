"""Text to plan tokens: the first stage of a model that knows a world's state, by the samplers of every other stage."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from worldtube.codec.plan import OBJECT_WIDTH, SCENE_WIDTH, PlanTokens, mark_lasting
from worldtube.codec.water import WATER_WIDTH
from worldtube.diffusion import schedule
from worldtube.diffusion.guidance import classifier_free
from worldtube.diffusion.samplers import SAMPLERS
from worldtube.errors import RequestError
from worldtube.text.encoder import TextEncoder
from worldtube.tokens import Layout, Words, overlay, pack, set_layout
from worldtube.transformer import TrackConfig, Transformer, TransformerConfig

SLOTS = 4
"""Objects of a plan."""
SCENE, WATER = SLOTS, SLOTS + 1
"""Places of the single tokens after the objects."""


def planner_config(
    *,
    width: int = 192,
    depth: int = 6,
    head_width: int = 32,
    hidden: int = 512,
    text_depth: int = 2,
) -> TransformerConfig:
    """Sizes of a transformer over plan tokens."""
    return TransformerConfig(
        token_width=0,
        tracks=(
            TrackConfig(name="objects", width=OBJECT_WIDTH, slots=SLOTS, prediction="data"),
            TrackConfig(name="scene", width=SCENE_WIDTH, prediction="data"),
            TrackConfig(name="water", width=WATER_WIDTH, prediction="data"),
        ),
        width=width,
        depth=depth,
        head_width=head_width,
        hidden=hidden,
        text_depth=text_depth,
    )


def plan_layout(config: TransformerConfig) -> Layout:
    """Tokens of one plan: its objects, then its scene, then its water where the network knows of any."""
    return overlay([set_layout(track.name, track.slots or 1) for track in config.tracks])


@torch.inference_mode()
def sample_plans(
    model: Transformer,
    encoder: TextEncoder,
    prompts: Sequence[str],
    *,
    seeds: Iterable[int],
    steps: int = 24,
    sampler: str = "adams",
    guidance: float = 2.0,
    guidance_interval: tuple[float, float] = (0.5, 1.0),
    shift: float = 2.0,
    negative_prompts: Sequence[str] | None = None,
    casts: Sequence[PlanTokens | None] | None = None,
) -> list[PlanTokens]:
    """Make a plan for each prompt, all in one packed batch.

    Args:
        seeds: one per prompt; a plan depends on its own, not on its neighbours
        guidance: classifier-free guidance scale; 1 disables guidance
        guidance_interval: lowest and highest noise level at which guidance acts; at low noise it harms motion
        shift: above 1 spends more steps at high noise, where it is decided what there is
        negative_prompts: what guidance pushes away from, one per prompt; nothing in particular by default
        casts: per prompt, the plan of an earlier shot with the same objects and surroundings, or None
    """
    seeds = list(seeds)
    if len(seeds) != len(prompts):
        raise RequestError(f"seeds must be {len(prompts)}, one per prompt, got {len(seeds)}")
    if not prompts:
        return []
    if sampler not in SAMPLERS:
        raise RequestError(f"sampler must be one of {', '.join(SAMPLERS)}, got {sampler!r}")
    single = plan_layout(model.config)
    layout = pack([single] * len(prompts))
    count, width = len(single.frames), model.config.widest
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def draw(like: Tensor) -> Tensor:
        return torch.cat([torch.randn(count, width, generator=g) for g in generators]).to(like)

    states = encoder.encode(prompts)
    negative_states = encoder.encode(negative_prompts or [""] * len(prompts))
    reading = model.read(Words.of(states))
    both_readings = model.read(Words.of([*states, *negative_states]))
    doubled = pack([layout] * 2)
    noise = draw(torch.empty(0))
    kept, fixed = _cast_rows(casts or [None] * len(prompts), noise)

    def conditional(x: Tensor, sigma: Tensor) -> Tensor:
        return model(x, sigma, layout, reading)[0]

    def with_and_without(x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        first, second = model(x.repeat(2, 1), sigma.repeat(2), doubled, both_readings)[0].chunk(2)
        return first, second

    velocity = classifier_free(
        conditional,
        with_and_without,
        guidance,
        interval=guidance_interval,
        rescale=0.0,
        bounds=layout.bounds,
    )

    def kept_velocity(x: Tensor, sigma: Tensor) -> Tensor:
        """Numbers of the cast go straight from their noise to what they were."""
        return torch.where(fixed, noise - kept, velocity(x, sigma))

    levels = schedule.uniform(steps, shift=shift)[:, None].expand(-1, len(noise))
    tokens = SAMPLERS[sampler](kept_velocity, noise, levels, draw).view(len(prompts), count, width)
    return [
        PlanTokens(
            objects=clip[:SLOTS].numpy(),
            scene=clip[SCENE, :SCENE_WIDTH].numpy(),
            water=clip[WATER, :WATER_WIDTH].numpy() if count > WATER else None,
        )
        for clip in tokens.cpu().float()
    ]


def _cast_rows(casts: Sequence[PlanTokens | None], noise: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers (N, P) that plans must keep, and bool (N, P) which they are."""
    kept = torch.zeros_like(noise).view(len(casts), -1, noise.shape[1])
    fixed = torch.zeros_like(kept, dtype=torch.bool)
    for row, which, cast in zip(kept, fixed, casts, strict=True):
        if cast is not None:
            lasting = mark_lasting(cast)
            for place, values, marks in (
                (slice(0, SLOTS), cast.objects, lasting.objects),
                (slice(SCENE, SCENE + 1), cast.scene[None], lasting.scene[None]),
            ):
                row[place, : values.shape[1]] = torch.from_numpy(values)
                which[place, : values.shape[1]] = torch.from_numpy(marks) > 0
    return kept.flatten(0, 1), fixed.flatten(0, 1)
