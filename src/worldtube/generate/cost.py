"""What a request will cost, told before it is run: passes of the network, time and peak memory.

A request is rehearsed: the engine itself carries it out, with a model that only notes what it would have to
compute. Then one example of each kind of work is timed on this machine, a part of it where it is large.
So nothing is said twice: hops, samplers, guidance and tasks are as the engine has them, and what a
rehearsal does not skip (words, layouts, noise) it measures by doing it. Memory is `budget`'s.
"""

import io
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any, cast
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from worldtube import video
from worldtube.generate import budget, engine
from worldtube.generate.layout import outline
from worldtube.generate.request import Request
from worldtube.models.model import VideoModel
from worldtube.tokens import Grid, Layout, select
from worldtube.video import Clip, Size

MANY_TOKENS = 2048
"""A row of more is timed on that many of its tokens and on half of them."""
MANY_PIXELS = 2**20
"""More pixels are timed in part."""
REPEATS = 3
PASSES = ("denoise", "remember")
"""Kinds of work that the network does."""


@dataclass(frozen=True)
class Seconds:
    """On the clock of the wall and on the processor's: all threads of this process, however busy the machine."""

    wall: float = 0.0
    cpu: float = 0.0

    def __add__(self, other: "Seconds") -> "Seconds":
        return Seconds(self.wall + other.wall, self.cpu + other.cpu)

    def __sub__(self, other: "Seconds") -> "Seconds":
        return Seconds(self.wall - other.wall, self.cpu - other.cpu)

    def __mul__(self, times: float) -> "Seconds":
        return Seconds(self.wall * times, self.cpu * times)


def clocks() -> Seconds:
    """What the clocks show; differences count."""
    return Seconds(time.perf_counter(), time.process_time())


def median(some: Sequence[Seconds]) -> Seconds:
    """Of each clock."""
    return Seconds(*(statistics.median(values) for values in zip(*map(astuple, some), strict=True)))


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What carrying out a request takes."""

    size: Size
    num_frames: int
    fps: float
    tokens: int
    """Of the whole clip."""
    hops: int
    """Rows that are made one after the other."""
    passes: int
    """Of the network."""
    longest_pack: int
    """Tokens of a pass at most; where guidance acts, those with the words and those without."""
    stages: dict[str, Seconds]
    """Where the time goes."""
    peak_bytes: float
    """Most memory that the process holds at once, the model and all libraries included."""

    @property
    def seconds(self) -> Seconds:
        return sum(self.stages.values(), Seconds())


@dataclass(frozen=True)
class Timing:
    """What some work takes."""

    first: Seconds
    again: Seconds

    def of(self, times: float) -> Seconds:
        """The first time is slower: kernels are chosen, memory is asked for."""
        return self.again * times if times < 1 else self.first + self.again * (times - 1)


def timed(run: Callable[[], Any], repeats: int = REPEATS) -> Timing:
    """The first run, and the median of some more."""
    taken = []
    for _ in range(1 + repeats):
        began = clocks()
        run()
        taken.append(clocks() - began)
    return Timing(taken[0], median(taken[1:]))


@dataclass
class _Work:
    """Calls of one kind and size, as many as `times` the example."""

    example: Callable[[], Timing]
    times: float = 0.0


_TIMED: WeakKeyDictionary[Any, dict[tuple, Timing]] = WeakKeyDictionary()
"""What each model of this process needed for its examples."""


class Rehearsal:
    """A model that notes what it would have to compute; what it does not define, the true model does."""

    def __init__(self, model: VideoModel):
        self._model = model
        self.work: dict[tuple, _Work] = {}
        self._pasts: dict[int, tuple[Any, int]] = {}
        self._remembered: Tensor | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def _note(self, key: tuple, times: float, example: Callable[[], Timing]) -> None:
        self.work.setdefault(key, _Work(example)).times += times

    def encode(self, clip: Clip) -> Tensor:
        grid = self._model.grid(clip.size, clip.num_frames, clip.fps)
        part, share = self._part(grid.frames, clip.size)
        some = replace(clip, frames=clip.frames[: 1 + (part - 1) * grid.stride], tracks={})
        key = ("encode", str(clip.size), part)
        self._note(key, share, lambda: timed(lambda: self._model.encode(some)))
        return torch.zeros(self._model.layout(grid).bounds[-1], self._model.token_width)

    def decoder(self, grid: Grid) -> Callable[[Tensor], np.ndarray]:
        size = self._model.pixels(grid)
        each = self._model.layout(grid).bounds[-1] // grid.frames
        shown = 1 - grid.stride  # the first latent frame holds one

        def frames(tokens: Tensor) -> np.ndarray:
            nonlocal shown
            count = len(tokens) // each
            part, share = self._part(count, size)
            some = tokens[: part * each].clone()
            key = ("decode", str(size), part)
            self._note(key, share, lambda: timed(lambda: self._model.decoder(grid)(some)))
            before, shown = max(0, shown), shown + count * grid.stride
            return np.broadcast_to(np.uint8(0), (shown - before, size.height, size.width, 3))

        return frames

    def _part(self, frames: int, size: Size) -> tuple[int, float]:
        """How many latent frames of some are enough to be timed, and how many times as many there are."""
        area = size.width * size.height * self._model.stride[0]
        part = min(frames, max(2, MANY_PIXELS // area))
        return part, frames / part

    def velocity(
        self, x: Tensor, sigma: Tensor, layout: Layout, reading: Any, past: Any = None
    ) -> Tensor:
        def run(some: Tensor, where: Layout) -> Any:
            return self._model.velocity(x[some], sigma[some], where, reading, past)

        mixed = bool((sigma != sigma[0]).any())
        self._note(("denoise", *self._shape(layout, past), mixed), 1, lambda: _pass(run, layout))
        return x

    def remember(self, x: Tensor, layout: Layout, reading: Any, past: Any = None) -> Tensor:
        def run(some: Tensor, where: Layout) -> Tensor:
            return self._model.remember(x[some], where, reading, past)

        if self._remembered is None:  # what it looks like is the model's own affair
            self._remembered = run(torch.ones(len(x), dtype=torch.bool), layout)
        self._note(("remember", *self._shape(layout, past)), 1, lambda: _pass(run, layout))
        return self._remembered.new_zeros(len(x), *self._remembered.shape[1:])

    def recall(self, kept: Tensor, layout: Layout) -> Any:
        past = self._model.recall(kept, layout)
        self._pasts[id(past)] = past, len(kept)
        return past

    def _shape(self, layout: Layout, past: Any) -> tuple[int, ...]:
        """What a pass takes long for: tokens, rows and pieces, and how many are remembered."""
        behind = 0 if past is None else self._pasts[id(past)][1]
        return layout.bounds[-1], len(layout.bounds) - 1, len(layout.spans) - 1, behind

    def seconds(self) -> dict[str, Seconds]:
        """Of each kind of work, with one example of each size carried out in truth."""
        known = _TIMED.setdefault(self._model, {})
        total: dict[str, Seconds] = {}
        for key, work in self.work.items():
            if key not in known:
                known[key] = work.example()
            total[key[0]] = total.get(key[0], Seconds()) + known[key].of(work.times)
        return total


def _pass(run: Callable[[Tensor, Layout], Any], layout: Layout) -> Timing:
    """What a pass of the network takes, from every so many-th token where there are many."""
    count = layout.bounds[-1]

    def some(step: int) -> Timing:
        keep = torch.zeros(count, dtype=torch.bool)
        keep[::step] = True
        where = select(layout, keep) if step > 1 else layout
        with torch.inference_mode():
            return timed(lambda: run(keep, where))

    step = -(-count // MANY_TOKENS)
    if step == 1:
        return some(1)
    few, many = -(-count // (2 * step)), -(-count // step)
    return _stretched(few, some(2 * step), many, some(step), count)


def _stretched(few: int, short: Timing, many: int, long: Timing, count: int) -> Timing:
    """From two numbers of tokens to a third: seconds = a * tokens + b * tokens ** 2."""
    totals = []
    for a, b in zip(astuple(short.again), astuple(long.again), strict=True):
        slope = max(0.0, (b / many - a / few) / (many - few))
        totals.append(count * (b / many + slope * (count - many)))
    return Timing(Seconds(*totals), Seconds(*totals))


def _written(size: Size, num_frames: int, fps: float, format: str) -> Timing:
    """Writing a clip of that size in which something moves."""
    y, x = np.mgrid[: size.height, : size.width]
    middle = np.linspace(0, size.width, num_frames)[:, None, None]
    disc = (x - middle) ** 2 + (y - size.height / 2) ** 2 < (size.height / 5) ** 2
    ground = 160 + 60 * y / size.height
    frames = np.where(disc, 90, ground).astype(np.uint8)[..., None].repeat(3, axis=-1)
    clip = Clip(frames=frames, fps=fps)
    return timed(lambda: video.write(clip, io.BytesIO(), format=format), repeats=1)


def predict(
    model: VideoModel,
    request: Request,
    *,
    streamed: bool = False,
    format: str | None = None,
    before: Seconds | None = None,
) -> Cost:
    """What a request will take on this machine as it is now; itself it takes a few passes of the network.

    streamed: the clip goes to its file as it is made. format: of that file, when it is written. before: what
    this process has taken already, where the run would take it too. Raises RequestError as the run would.
    """
    budget.check(model, [request], streamed=streamed)
    began = clocks()
    model.embed([""])  # loads the text encoder
    now, most = budget.resident()
    rehearsal = Rehearsal(model)
    shadow = cast(VideoModel, rehearsal)
    hops, show = 0, None
    for (one,), (values,), (done,) in engine.walk(shadow, [request]):
        hops += 1
        show = show or engine.Show(shadow, one)
        if streamed:
            list(show(values, done))
    if show is not None and not streamed:
        list(show(values, done))
    stages = {"start": before or Seconds(), "prepare": clocks() - began} | rehearsal.seconds()
    shapes = outline(model, request)
    if format is not None:
        area = shapes.size.width * shapes.size.height
        some = min(shapes.num_frames, max(2, MANY_PIXELS // area))
        times = shapes.num_frames / some
        stages["write"] = _written(shapes.size, some, shapes.fps, format).of(times)
    passes = {key: work.times for key, work in rehearsal.work.items() if key[0] in PASSES}
    needed = budget.need(model, [request], streamed=streamed).peak
    return Cost(
        size=shapes.size,
        num_frames=shapes.num_frames,
        fps=shapes.fps,
        tokens=len(values),
        hops=hops,
        longest_pack=max((tokens for _, tokens, *_ in passes), default=0),
        passes=round(sum(passes.values())),
        stages=stages,
        peak_bytes=max(most, now + budget.HEAP + needed),
    )
