"""Adherence at many picture sizes and durations, those of the training and others, the reader's accuracy beside each.

Owns the settings, and how pictures of other shapes are shown to the reader. Knows nothing of how a clip is made or
read.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from worldtube import reader
from worldtube.errors import RequestError
from worldtube.evaluate.accuracy import accuracy, true_clips
from worldtube.evaluate.adherence import Line, embedded_prompts, read_prompts, score, summary
from worldtube.generate import engine
from worldtube.generate.request import Request
from worldtube.models.model import VideoModel
from worldtube.video import Clip, Size
from worldtube.worlds.world import VALIDATION_SEEDS

Progress = Callable[[int, int], None]
USUAL = 40
"""Clips of every setting, when it is not said how many."""
SHOWN = ("colour_shape", "count", "motion")
"""Scores that get a column of their own."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A size and a duration, and whether the model that ships was trained on clips of them."""

    size: Size
    num_frames: int
    trained: bool

    @property
    def name(self) -> str:
        return f"{self.size} {self.num_frames} frames"


def _size(width: int, height: int, trained: bool) -> Setting:
    return Setting(size=Size(width, height), num_frames=25, trained=trained)


def _duration(num_frames: int, trained: bool) -> Setting:
    return Setting(size=Size(64, 64), num_frames=num_frames, trained=trained)


SIZES = (
    _size(64, 64, True),
    _size(96, 64, True),
    _size(64, 96, True),
    _size(128, 128, True),
    _size(80, 64, False),
    _size(64, 80, False),
    _size(112, 112, False),
)
DURATIONS = (
    _duration(17, True),
    _duration(25, True),
    _duration(49, True),
    _duration(13, False),
    _duration(33, False),
    _duration(41, False),
)


def square(clip: Clip) -> Clip:
    """A clip of any shape as the square that the reader learned to see: as high as it is, its sides cut off or its
    outermost columns repeated.

    A camera's field of view is fixed from top to bottom, so that things have their usual size and keep their shape.
    Squeezed into a square, balls would be eggs: of true clips of 96x64 the reader then names 62 % right, not 100 %.
    """
    frames, high, wide = clip.frames, clip.size.height, clip.size.width
    left = abs(high - wide) // 2
    if wide > high:
        frames = frames[:, :, left : left + high]
    elif wide < high:
        sides = ((0, 0), (0, 0), (left, high - wide - left), (0, 0))
        frames = np.pad(frames, sides, mode="edge")
    return replace(clip, frames=frames, tracks={})


def measure(
    model: VideoModel,
    *,
    seeds: range | None = None,
    prompts: Path | None = None,
    count: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """One clip of every prompt at every setting, read and scored, and as many true clips of that setting.

    `count` is the number of clips of a setting. `trained_sizes` and so on are means over settings of the share of
    named things found, as a part of that found in true clips.
    """
    lines = read_prompts(prompts or embedded_prompts())
    if count is not None and count < 1:
        raise RequestError(f"count {count} is not accepted; 1 or more is")
    lines = lines[: count or (USUAL if prompts is None else None)]
    if seeds is not None and len(seeds) < len(lines):
        raise RequestError(
            f"{len(seeds)} seeds are not enough for {len(lines)} prompts; a seed for each is accepted"
        )
    seeds = range(len(lines)) if seeds is None else seeds
    settings = tuple(dict.fromkeys(SIZES + DURATIONS))
    eyes = reader.load()
    done, total = 0, 2 * len(settings) * len(lines)

    def told(_: Any = None) -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    rows = {one: _row(model, eyes, lines, seeds, one, told) for one in settings}
    out: dict[str, Any] = {}
    for what, some in (("sizes", SIZES), ("durations", DURATIONS)):
        for name, trained in ((f"trained_{what}", True), (f"other_{what}", False)):
            values = [rows[one]["relative"] for one in some if one.trained is trained]
            known = [value for value in values if value is not None]
            out[name] = float(np.mean(known)) if known else None
        out[what] = {one.name: rows[one] for one in some}
    return {"measure": "sizes", "model": model.name, "prompts": len(lines)} | out


def _row(
    model: VideoModel,
    eyes: reader.Reader,
    lines: Sequence[Line],
    seeds: Sequence[int],
    setting: Setting,
    told: Callable[..., None],
) -> dict[str, Any]:
    scores = []
    for line, seed in zip(lines, seeds, strict=False):
        request = Request(
            prompt=line.prompt, size=setting.size, num_frames=setting.num_frames, seed=seed
        )
        clip = engine.generate(model, [request])[0]
        scores.append(score(line, eyes.read(square(clip))))
        told()
    made, true = summary(scores), true_accuracy(eyes, setting, VALIDATION_SEEDS[: len(lines)], told)
    row: dict[str, Any] = {"trained": setting.trained}
    for key in SHOWN:
        row |= {key: made[key], f"{key}_reader": true[key]}
    known = made["colour_shape"] is not None and true["colour_shape"]
    row["relative"] = made["colour_shape"] / true["colour_shape"] if known else None
    return row | {"scores": made, "reader": true}


def true_accuracy(
    eyes: reader.Reader,
    setting: Setting,
    seeds: Sequence[int],
    told: Callable[..., None] = lambda _: None,
) -> dict[str, Any]:
    """How often the reader is right on true clips of a setting, shown to it as made ones are."""
    clips = true_clips(seeds, size=setting.size, num_frames=setting.num_frames)
    return accuracy(eyes, ((square(clip), truth) for clip, truth in clips), told)
