"""A causal clip made frame after frame: remembered frames against computing them again; one core, the model that ships.

Cached: the engine as it is, keys and values of what is done are kept. So far: every step computes the
row up to the frame that is being made. Whole: every step computes the row of all frames, as a causal
staircase is defined. All three make the same clip; the record says how nearly.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timing
import torch
from torch import Tensor

from worldtube import models
from worldtube.diffusion import schedule
from worldtube.diffusion.guidance import classifier_free
from worldtube.diffusion.samplers import SAMPLERS
from worldtube.generate import engine
from worldtube.generate.layout import Plan, plan
from worldtube.generate.request import Request
from worldtube.models.local import LocalModel
from worldtube.tokens import Layout, pack, select
from worldtube.video import Size

SHIFT = 3.0
"""Of the noise levels, the same in all arms."""


def guided(model: LocalModel, request: Request) -> Callable[[Layout], Callable[..., Tensor]]:
    """Velocity of a row in which every token is computed; as the engine does, with and without words in one pass."""
    texts = [request.prompt, request.negative_prompt]
    told, both = (model.read(model.embed(texts[:count])) for count in (1, 2))

    def of(layout: Layout) -> Callable[..., Tensor]:
        twice = pack([layout, layout])
        return classifier_free(
            lambda x, sigma: model.velocity(x, sigma, layout, told),
            lambda x, sigma: model.velocity(x.repeat(2, 1), sigma.repeat(2), twice, both).chunk(2),
            request.guidance,
        )

    return of


def whole(model: LocalModel, request: Request, one: Plan, x: Tensor) -> Tensor:
    """All frames in one row at every step."""
    path = schedule.uniform(request.steps, shift=SHIFT)
    levels = schedule.staircase(path, one.start, one.layout.frames, request.steps)
    velocity = guided(model, request)(one.layout)
    return SAMPLERS[request.sampler](velocity, x, levels, torch.randn_like)


def so_far(model: LocalModel, request: Request, one: Plan, x: Tensor) -> Tensor:
    """All frames up to the one that is being made."""
    path, frames = schedule.uniform(request.steps, shift=SHIFT), one.layout.frames
    velocity, x = guided(model, request), x.clone()
    for frame in range(int(frames.max()) + 1):
        keep = frames <= frame
        levels = schedule.from_start(path, (frames == frame)[keep].float())
        row = velocity(select(one.layout, keep))
        x[keep] = SAMPLERS[request.sampler](row, x[keep], levels, torch.randn_like)
    return x


def main(arguments: list[str] | None = None) -> Path:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="weight file; the model that ships if not said")
    parser.add_argument("--frames", type=int, default=16, help="latent frames")
    parser.add_argument("--sides", type=int, nargs="+", default=[64])
    parser.add_argument("--guidance", type=float, nargs="+", default=[Request.guidance, 1.0])
    parser.add_argument("--dtypes", nargs="+", default=["bf16", "f32"])
    parser.add_argument("--steps", type=int, default=Request.steps)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    results: list[dict[str, Any]] = []
    for name in args.dtypes:
        model = models.load(args.model, dtype={"bf16": torch.bfloat16, "f32": torch.float32}[name])
        model.window = args.frames  # all see all that came before, or the arms would differ
        for side in args.sides:
            for guidance in args.guidance:
                request = Request(
                    prompt="a red ball rolls to the right and hits a blue box",
                    size=Size(side, side),
                    num_frames=1 + (args.frames - 1) * model.stride[0],
                    steps=args.steps,
                    lag=args.steps,
                    causal=True,
                    guidance=guidance,
                    shift=SHIFT,
                    no_state=True,
                )
                results.append({"dtype": name, "side": side} | measured(model, request, args))
                print(results[-1], flush=True)
    told = vars(args) | {"model": model.name}
    return timing.write("cached_rollout", told, results, args.out)


def measured(model: LocalModel, request: Request, args: argparse.Namespace) -> dict[str, Any]:
    one, made = plan(model, request), {}
    generator = torch.Generator().manual_seed(request.seed)
    noise = torch.randn(one.known.shape, generator=generator)

    def arm(name: str, run: Callable[[], Tensor]) -> Callable[[], None]:
        return lambda: made.update({name: run()})

    arms = {
        "whole": arm("whole", lambda: whole(model, request, one, noise)),
        "so_far": arm("so_far", lambda: so_far(model, request, one, noise)),
        "cached": arm("cached", lambda: engine.sample(model, [request])[1][0]),
    }
    seconds = timing.in_turn(arms, args.repeats)
    apart = {
        name: float(f"{(made['cached'] - made[name]).abs().max():.2e}")
        for name in ("whole", "so_far")
    }
    return {
        "guidance": request.guidance,
        "tokens": len(noise),
        "ratios": {name: timing.ratio(seconds, name, "cached") for name in ("whole", "so_far")},
        "apart": apart,
        "spread": round(float(made["cached"].std()), 3),
        "arms": {name: timing.summary(seconds[name]) for name in arms},
    }


if __name__ == "__main__":
    main()
