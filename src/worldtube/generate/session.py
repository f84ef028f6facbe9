"""A loaded model with the tasks as methods: what `worldtube.load()` returns.

Knows nothing of its own; it joins `models` and the engine for people who type Python.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch

from worldtube import models, provenance
from worldtube.errors import PromptWarning
from worldtube.generate import engine
from worldtube.generate.engine import Generated
from worldtube.generate.layout import outline
from worldtube.generate.prompts import prepare_prompts
from worldtube.generate.request import Request
from worldtube.generate.tasks import TASKS
from worldtube.models.model import VideoModel
from worldtube.video import Clip, retime


class Session:
    """`session.generate("a red ball rolls right", seconds=2)`: every entry of TASKS is a method."""

    def __init__(self, model: VideoModel, defaults: Mapping[str, Any] | None = None):
        self.model = model
        self.defaults = dict(model.defaults if defaults is None else defaults)

    def run(self, request: Request, *, progress: engine.Progress | None = None) -> Generated:
        """Carry out one request."""
        return engine.generate(self.model, [request], progress=progress)[0]

    def write(
        self,
        request: Request,
        path: str | Path,
        *,
        parents: Sequence[str | Path] = (),
        sign_prompt: bool = False,
        progress: engine.Progress | None = None,
    ) -> dict[str, Any]:
        """Carry out one request into an mp4 or webm file as its frames are made; returns the details.

        However long the clip, memory stays that of a few seconds. Ctrl-C leaves a file of what is done.
        parents, sign_prompt: as for `Generated.save`.
        """
        one = outline(self.model, request)
        details = engine.describe(self.model, request, one, one.num_frames)
        frames = engine.stream(self.model, request, progress=progress)
        provenance.write_blocks(
            frames,
            path,
            fps=one.fps,
            caption=request.prompt,
            details=details,
            parents=parents,
            sign_prompt=sign_prompt,
        )
        return details

    def request(self, task: str, *args: Any, **kwargs: Any) -> Request:
        """The request of an entry of TASKS; clips at other frame rates are brought to the model's (or `fps`)."""
        fps = kwargs.get("fps") or self.model.fps

        def timed(value: Any) -> Any:
            return retime(value, fps) if isinstance(value, Clip) and value.num_frames > 1 else value

        request = TASKS[task](
            *(timed(value) for value in args),
            **self.defaults | {name: timed(value) for name, value in kwargs.items()},
        )
        return replace(request, task=task)

    def prepare(
        self, request: Request, rewriter: str | None = "grammar"
    ) -> tuple[Request, tuple[str, ...]]:
        """Rewrite the prompts and collect warnings about them, as every task does (`prepare_prompts`)."""
        return prepare_prompts(self.model, request, rewriter)

    def _task(
        self,
        name: str,
        *args: Any,
        progress: engine.Progress | None = None,
        rewrite: bool = True,
        rewriter: str = "grammar",
        **kwargs: Any,
    ) -> Generated:
        request, messages = self.prepare(
            self.request(name, *args, **kwargs), rewriter if rewrite else None
        )
        for message in messages:
            warnings.warn(message, PromptWarning, stacklevel=2)
        return replace(self.run(request, progress=progress), warnings=messages)

    def __getattr__(self, name: str) -> Callable[..., Generated]:
        if name not in TASKS:
            raise AttributeError(f"a session has no task {name!r} (accepted: {', '.join(TASKS)})")
        return partial(self._task, name)


def load(
    path: str | Path | None = None,
    *,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    fast: bool = False,
    adapters: str | Path | None = None,
) -> Session:
    """The model in a weight file or a diffusers folder; without a path, the one that ships inside the package.

    device: auto, cpu, cuda, mps or such as cuda:1. dtype: auto, float32 or bfloat16, what the network computes in;
    `auto` is the fastest that is right on this machine (`worldtube info` tells which and why).

    fast: its student, which needs a few steps where the model itself needs 24 with guidance. adapters: file of a
    fine-tuning of this model.
    """
    return Session(models.load(path, device=device, dtype=dtype, fast=fast, adapters=adapters))


@lru_cache(maxsize=1)
def _default() -> Session:
    return load()


def generate(prompt: str, **options: Any) -> Generated:
    """Words to a clip with the embedded model; options as in `worldtube generate --help`."""
    return _default().generate(prompt, **options)
