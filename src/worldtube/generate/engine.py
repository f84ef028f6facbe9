"""The engine: requests in, clips out, whatever the task.

Owns the order of the steps: lay out tokens, put in what is given, draw noise from each request's own
seed, walk the levels down, decode. Knows nothing of networks, of files or of which task made a request.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from worldtube import provenance
from worldtube.diffusion import schedule
from worldtube.diffusion.guidance import classifier_free
from worldtube.diffusion.samplers import EVALUATIONS, SAMPLERS
from worldtube.errors import RequestError
from worldtube.generate.request import Given, Request
from worldtube.models.model import VideoModel
from worldtube.tokens import Grid, Layout, join, pack
from worldtube.video import Clip

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Called with (evaluations done, evaluations in all)."""


@dataclass(frozen=True, kw_only=True)
class Generated(Clip):
    """A clip with the request that made it; saving goes through the one door out."""

    request: Request
    details: dict[str, Any] = field(default_factory=dict)
    """Model, seed, sizes and times."""

    def save(self, path: str | Path) -> Path:
        """Write MP4, WebM, GIF, WebP or PNG, by the name's ending; whole or not at all."""
        return provenance.write(self, path, details=self.details)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One request, laid out: where its tokens are, what they hold at first, at which level they start."""

    grid: Grid
    layout: Layout
    known: Tensor
    """(n, P) clean values; zeros where nothing is known."""
    start: Tensor
    """(n,) first noise level: 1 to be made, 0 known, between for an edit."""
    num_made: int
    """Tokens of the clip itself; given pieces that lie between its frames come after them."""
    fps: float


def plan(model: VideoModel, request: Request) -> Plan:
    """Lay a request out for a model. Raises RequestError for what does not fit."""
    fps = request.fps or model.fps
    stride = model.stride[0]
    num_frames = (
        1
        if request.seconds is None
        else 1 + stride * max(1, round((request.seconds * fps - 1) / stride))
    )
    size = request.size or model.size
    grid = model.grid(size, num_frames, fps)
    layout = model.layout(grid, causal=request.causal)
    num_made = layout.bounds[-1]
    known = torch.zeros(num_made, model.token_width)
    start = torch.ones(num_made)
    pieces = [(layout, known, start)]
    for given in request.given:
        pieces += _placed(model, given, grid, fps, known, start, request.causal)
    return Plan(
        grid=grid,
        layout=join([piece[0] for piece in pieces]),
        known=torch.cat([piece[1] for piece in pieces]),
        start=torch.cat([piece[2] for piece in pieces]),
        num_made=num_made,
        fps=fps,
    )


def _placed(
    model: VideoModel,
    given: Given,
    grid: Grid,
    fps: float,
    known: Tensor,
    start: Tensor,
    causal: bool,
) -> list[tuple[Layout, Tensor, Tensor]]:
    """Put a known clip in. At the first frame its latents are those of the whole clip, so they take the
    clip's own tokens; anywhere else they are further tokens of the row, placed in seconds (DESIGN, trap 1).
    """
    at = given.at + grid.num_frames if given.at < 0 else given.at
    if not 0 <= at <= grid.num_frames - given.clip.num_frames:
        raise RequestError(
            f"a given clip of {given.clip.num_frames} frames at {given.at} does not fit into {grid.num_frames} frames"
        )
    tokens = model.encode(given.clip)
    if at == 0:
        known[: len(tokens)] = tokens
        start[: len(tokens)] = given.strength
        return []
    piece = model.grid(given.clip.size, given.clip.num_frames, fps, start=at / fps)
    return [
        (model.layout(piece, causal=causal), tokens, torch.full((len(tokens),), given.strength))
    ]


def _levels(one: Plan, request: Request) -> Tensor:
    path = schedule.uniform(request.steps, shift=request.shift)
    if request.lag == 0:
        return schedule.from_start(path, one.start)
    return schedule.staircase(path, one.start, one.layout.frames, request.lag)


def sample(
    model: VideoModel, requests: Sequence[Request], *, progress: Progress | None = None
) -> tuple[list[Plan], list[Tensor]]:
    """Tokens for requests that share steps, sampler and guidance; packed in one row, each by its own seed."""
    first = requests[0]
    for other in requests:
        for shared in ("steps", "sampler", "guidance", "lag", "shift"):
            if getattr(other, shared) != getattr(first, shared):
                raise RequestError(
                    f"requests of one batch must share {shared}, "
                    f"got {getattr(first, shared)} and {getattr(other, shared)}"
                )
    plans = [plan(model, request) for request in requests]
    layout = pack([one.layout for one in plans])
    matrices = [_levels(one, request) for one, request in zip(plans, requests, strict=True)]
    rows = max(len(one) for one in matrices)
    levels = torch.cat([torch.cat([m, m[-1:].expand(rows - len(m), -1)]) for m in matrices], dim=1)
    x = torch.cat(
        [_first_value(one, request) for one, request in zip(plans, requests, strict=True)]
    )

    told = model.read(model.embed([request.prompt for request in requests]))
    untold = (
        None
        if first.guidance == 1
        else model.read(model.embed([request.negative_prompt for request in requests]))
    )
    velocity = _counted(
        classifier_free(
            lambda x, sigma: model.velocity(x, sigma, layout, told),
            lambda x, sigma: model.velocity(x, sigma, layout, untold),
            first.guidance,
        ),
        EVALUATIONS[first.sampler] * (rows - 1),
        progress,
    )
    with torch.inference_mode():
        x = SAMPLERS[first.sampler](velocity, x, levels, None)
    split = list(x.split([one.layout.bounds[-1] for one in plans]))
    return plans, [tokens[: one.num_made] for one, tokens in zip(plans, split, strict=True)]


def _first_value(one: Plan, request: Request) -> Tensor:
    generator = torch.Generator().manual_seed(request.seed)
    noise = torch.randn(one.known.shape, generator=generator)
    return (1 - one.start)[:, None] * one.known + one.start[:, None] * noise


def _counted(velocity, total: int, progress: Progress | None):
    """Tell how far the sampler has come."""
    done = 0

    def counted(x: Tensor, sigma: Tensor) -> Tensor:
        nonlocal done
        out = velocity(x, sigma)
        done += 1
        if progress is not None:
            progress(done, total)
        return out

    return counted


def generate(
    model: VideoModel,
    requests: Sequence[Request],
    *,
    batch: int = 1,
    progress: Progress | None = None,
) -> list[Generated]:
    """Make every request's clip.

    One after the other, a request's bytes depend on nothing but itself. `batch` > 1 packs that many into
    one row, which a GPU needs to be busy; matrix products then round differently, so a clip is the same
    up to that.
    """
    clips = []
    for first in range(0, len(requests), batch):
        group = requests[first : first + batch]
        began = time.perf_counter()
        plans, tokens = sample(
            model, group, progress=_share(progress, first, len(requests), len(group))
        )
        for request, one, values in zip(group, plans, tokens, strict=True):
            clip = model.decode(values, one.grid, one.fps)
            told = asdict(replace(request, given=()))
            told |= {"size": str(clip.size), "fps": clip.fps, "num_frames": clip.num_frames}
            seconds = round(time.perf_counter() - began, 3)
            details = {
                "generator": "worldtube",
                "model": model.name,
                "made_in_seconds": seconds,
            } | told
            clips.append(
                Generated(
                    frames=clip.frames,
                    fps=clip.fps,
                    caption=request.prompt,
                    request=request,
                    details=details,
                )
            )
    return clips


def _share(progress: Progress | None, first: int, total: int, size: int) -> Progress | None:
    """Progress of one group of requests, told as part of all of them."""
    if progress is None:
        return None
    return lambda done, steps: progress(first * steps + done * size, total * steps)
