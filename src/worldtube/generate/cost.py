"""What a request will cost, told before it is run: time by stage, and peak memory.

A request is rehearsed: the engine carries it out with a model that only notes what it would have to compute, so
hops, samplers, guidance and tasks are as the engine has them. Then one example of each kind of work is timed
on this machine, a part of it where it is large. Memory is `budget`'s.
"""

import io
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from worldtube import video
from worldtube.generate import budget, engine
from worldtube.generate.assemble import Kept, rehearse
from worldtube.generate.compose import result_shape
from worldtube.generate.layout import PIXELS_AT_ONCE
from worldtube.generate.request import Request
from worldtube.models.model import VideoModel
from worldtube.provenance.watermark import Mark
from worldtube.tokens import Grid, Layout, select
from worldtube.video import Clip, Size

MANY_TOKENS = 2048
"""A pass over more is timed on so many of its tokens and on half of them."""
REPEATS = 3
"""Runs that are timed after the first, where there are so many."""
PASSES = ("denoise", "remember")
"""Kinds of work that the network does."""

Seconds = np.ndarray
"""(2,) on the clock of the wall and on the processor's: all threads of this process, however busy the machine."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a request takes."""

    size: Size
    num_frames: int
    fps: float
    tokens: int
    """Of the whole clip."""
    passes: int
    """Of the network."""
    longest: int
    """Tokens of a pass at most; where guidance acts, those with the words and those without."""
    stages: dict[str, Seconds]
    """Where the time goes."""
    memory: dict[str, float]
    """Where the bytes beyond the loaded model go (`budget.need`)."""
    peak: float
    """Most bytes that the process holds at once, the model and all libraries included."""


def clocks() -> Seconds:
    """What the clocks show; differences count."""
    return np.array([time.perf_counter(), time.process_time()])


def timed(run: Callable[[], Any], times: float) -> Seconds:
    """What doing something so many times takes, from a few: the first is slower, kernels are chosen there."""
    taken = []
    for _ in range(min(math.ceil(times), 1 + REPEATS)):
        began = clocks()
        run()
        taken.append(clocks() - began)
    return taken[0] + (times - 1) * np.median(taken[1:] or taken, axis=0)


class Rehearsal:
    """A model that notes what it would have to compute; what it does not define, the true model does."""

    def __init__(self, model: VideoModel):
        self._model = model
        self.work: dict[tuple, list[Any]] = {}
        """(kind, sizes) -> how many times, and what times that many."""
        self._kept: Tensor | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def _note(self, key: tuple, example: Callable[[float], Seconds]) -> None:
        self.work.setdefault(key, [0, example])[0] += 1

    def decoder(self, grid: Grid) -> Callable[[Tensor], np.ndarray]:
        size, decoder = self._model.pixels(grid), self._model.decoder(grid)
        each = self._model.layout(replace(grid, frames=1)).bounds[-1]
        shown = 1 - grid.stride  # the first latent frame holds one

        def frames(tokens: Tensor) -> np.ndarray:
            nonlocal shown
            count = len(tokens) // each
            self._note(("decode", size, count), partial(timed, lambda: decoder(tokens)))
            before, shown = max(0, shown), shown + count * grid.stride
            return np.broadcast_to(np.uint8(0), (shown - before, size.height, size.width, 3))

        return frames

    def velocity(
        self, x: Tensor, sigma: Tensor, layout: Layout, reading: Any, past: Any = None
    ) -> Tensor:
        past, behind = past or (None, 0)

        def run(some: Tensor, where: Layout) -> None:
            self._model.velocity(x[some], sigma[some], where, reading, past)

        mixed = bool((sigma != sigma[0]).any())
        self._note(("denoise", *_sizes(layout), behind, mixed), partial(_passes, run, layout))
        return x

    def remember(self, x: Tensor, layout: Layout, reading: Any, past: Any = None) -> Tensor:
        past, behind = past or (None, 0)

        def run(some: Tensor, where: Layout) -> Tensor:
            return self._model.remember(x[some], where, reading, past)

        self._note(("remember", *_sizes(layout), behind), partial(_passes, run, layout))
        if self._kept is None:  # what it looks like is the model's own affair
            self._kept = run(torch.ones(len(x), dtype=torch.bool), layout)[:1]
        return self._kept.expand(len(x), *self._kept.shape[1:])

    def recall(self, kept: Tensor, layout: Layout) -> tuple[Any, int]:
        return self._model.recall(kept, layout), len(kept)

    def seconds(self) -> dict[str, Seconds]:
        """Of each kind of work; examples are carried out in truth."""
        total: dict[str, Seconds] = {}
        for (kind, *_), (times, example) in self.work.items():
            total[kind] = total.get(kind, np.zeros(2)) + example(times)
        return total


def _sizes(layout: Layout) -> tuple[int, ...]:
    """What a pass takes long for: tokens, rows and pieces."""
    return layout.bounds[-1], len(layout.bounds), len(layout.spans)


def _passes(run: Callable[[Tensor, Layout], Any], layout: Layout, times: float) -> Seconds:
    """So many passes of the network, from every so many-th token where there are many."""
    count = layout.bounds[-1]

    def some(step: int) -> tuple[int, Seconds]:
        keep = torch.arange(count) % step == 0
        where = select(layout, keep) if step > 1 else layout
        with torch.inference_mode():
            return int(keep.sum()), timed(lambda: run(keep, where), times)

    step = -(-count // MANY_TOKENS)
    many, long = some(step)
    if step == 1:
        return long
    few, short = some(2 * step)  # seconds = a * tokens + b * tokens ** 2
    slope = np.maximum(0, (long / many - short / few) / (many - few))
    return count * (long / many + slope * (count - many))


def _writing(
    size: Size, num_frames: int, fps: float, format: str, given: np.ndarray | None
) -> Seconds:
    """Marking, writing and reading back a clip of given frames (T, H, W, 3); without, one in which a disc moves."""
    some = min(num_frames, max(2, PIXELS_AT_ONCE // (size.width * size.height)))
    if given is not None:
        frames = given[np.arange(some) % len(given)]
    else:
        t, y, x = np.ogrid[:some, : size.height, : size.width]
        away = (x - t * size.width / some) ** 2 + (y - size.height / 2) ** 2
        grey = np.where(away < (size.height / 5) ** 2, 90, 160 + 60 * y / size.height)
        frames = grey.astype(np.uint8)[..., None].repeat(3, axis=-1)

    def write() -> None:
        marked = np.concatenate(list(Mark(bytes(32), b"")([frames])))
        buffer = io.BytesIO()
        video.write(Clip(frames=marked, fps=fps), buffer, format=format)
        for _ in video.read_blocks(buffer.getvalue(), num_frames=some):
            pass

    return timed(write, num_frames / some)


def resident() -> tuple[float, float]:
    """Bytes that this process holds now and the most that it ever held; the latter twice where no more is told."""
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    peak = float(unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return peak, peak
    return float(pages * resource.getpagesize()), peak


def predict(
    model: VideoModel, request: Request, *, streamed: bool = False, format: str | None = None
) -> Cost:
    """What a request will take on this machine as it is now, itself at the price of a few passes of the network.

    streamed: the clip goes to its file as it is made. format: of that file, where it is written. Raises RequestError
    as the run would, for what does not fit into memory too.
    """
    budget.check(model, [request], streamed=streamed)
    began = clocks()
    model.embed([""])  # loads the text encoder
    now, before = resident()
    rehearsal, show = Rehearsal(model), None
    shadow = cast(VideoModel, rehearsal)
    for (one,), (values,), (done,) in engine.walk(shadow, [request]):
        show = show or engine.Show(shadow, one)
        if streamed:
            list(show(values, done))
    if show is not None and not streamed:
        list(show(values, torch.ones_like(done)))
    stages = {"prepare": clocks() - began} | rehearsal.seconds()
    shapes, memory = result_shape(model, request), budget.need(model, [request], streamed=streamed)
    if request.composition is not None and request.composition.parts:
        example, times = rehearse(request.composition, model.pixels(one.pieces[0].grid))
        stages["assemble"] = timed(example, max(1.0, times))
    if format is not None:
        made = request.composition
        given = next((p.frames for p in made.parts if isinstance(p, Kept)), None) if made else None
        stages["write"] = _writing(shapes.size, shapes.num_frames, shapes.fps, format, given)
    passes = [(key[1], times) for key, (times, _) in rehearsal.work.items() if key[0] in PASSES]
    return Cost(
        size=shapes.size,
        num_frames=shapes.num_frames,
        fps=shapes.fps,
        tokens=len(values),
        passes=sum(times for _, times in passes),
        longest=max((tokens for tokens, _ in passes), default=0),
        stages=stages,
        memory=memory,
        peak=max(before, now + budget.HEAP + budget.most(memory)),
    )
