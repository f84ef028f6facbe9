"""Does a clip stay itself when it is extended again and again: colours, contrast, sharpness and the named things.

Owns the hops, what is measured on each and the bounds. Knows nothing of how a clip is made or read.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from worldtube import reader
from worldtube.errors import RequestError
from worldtube.evaluate.adherence import Line, embedded_prompts, read_prompts, score
from worldtube.generate import engine
from worldtube.generate.tasks import TASKS
from worldtube.models.model import VideoModel
from worldtube.video import Clip

Progress = Callable[[int, int], None]
HOPS = 10
SECONDS = 2.0
"""Of the first clip, and what every hop adds."""
USUAL = 16
"""Clips, when it is not said how many."""
CHANNELS = ("red", "green", "blue")
BOUNDS = {
    "mean_off": 0.05,
    "contrast_off": 0.2,
    "saturation_off": 0.05,
    "sharpness_off": 0.25,
    "lost": 0.1,
}
"""How far the mean over clips may go from the first two seconds: the mean of the farthest channel, 0 to 1; its
contrast, as a part of the first one; saturation, 0 to 1; the energy of gradients, as a part of the first one; the share
of named things seen at first that are seen no more."""


def looks(frames: np.ndarray) -> dict[str, float]:
    """Statistics of frames uint8 (T, H, W, 3), all in units of the full range: mean and standard deviation (over
    each picture) of every channel, saturation, energy of gradients."""
    pixels = frames.astype(np.float32) / 255
    out = {name: float(pixels[..., i].mean()) for i, name in enumerate(CHANNELS)}
    spread = pixels.std((1, 2)).mean(0)
    out |= {f"{name}_contrast": float(spread[i]) for i, name in enumerate(CHANNELS)}
    high, low = pixels.max(-1), pixels.min(-1)
    out["saturation"] = float(((high - low) / high.clip(1 / 255)).mean())
    grey = pixels.mean(-1)
    out["sharpness"] = float(
        np.square(np.diff(grey, axis=1)).mean() + np.square(np.diff(grey, axis=2)).mean()
    )
    return out


def gone(first: Mapping[str, float], now: Mapping[str, float]) -> dict[str, float]:
    """How far a hop's looks are from the first ones, in the terms of `BOUNDS`."""

    def part(key: str) -> float:
        return abs(now[key] - first[key]) / max(first[key], 1e-6)

    return {
        "mean_off": max(abs(now[name] - first[name]) for name in CHANNELS),
        "contrast_off": max(part(f"{name}_contrast") for name in CHANNELS),
        "saturation_off": abs(now["saturation"] - first["saturation"]),
        "sharpness_off": part("sharpness"),
    }


def lines_at_rest() -> list[Line]:
    """Held-out prompts of things that all stand still: they should be there for ever."""
    return [
        line
        for line in read_prompts(embedded_prompts())
        if line.event is None and {fact.get("motion") for fact in line.facts} == {"rest"}
    ]


def hops(
    model: VideoModel, line: Line, seed: int, told: Callable[[], None]
) -> dict[str, list[np.ndarray]]:
    """The frames that the words make and those that every hop adds: with the latents continued, and decoded and
    encoded again between hops."""
    words: dict[str, Any] = {"prompt": line.prompt, "seconds": SECONDS, "seed": seed}
    first = engine.generate(model, [TASKS["generate"](**words)])[0]
    told()
    out = {}
    for way in ("latents", "encoded_again"):
        clip, parts = first, [first.frames]
        for _ in range(HOPS):
            if way == "latents" and clip.tokens is None:
                raise RequestError(
                    f"the model {model.name} keeps no latents of a clip to go on from"
                )
            known = clip if way == "latents" else Clip(frames=clip.frames, fps=clip.fps)
            upto = clip.num_frames
            clip = engine.generate(model, [TASKS["extend"](known, **words)])[0]
            parts.append(clip.frames[upto:])
            told()
        out[way] = parts
    return out


def measure(
    model: VideoModel,
    *,
    seeds: range | None = None,
    prompts: Path | None = None,
    count: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Ten extensions of two seconds of a clip for each prompt; without `prompts`, held-out ones of things at rest.

    A row a hop, 0 being the first two seconds, means over clips; the same when what is there is decoded and encoded
    again between hops; the largest deviation of each statistic beside its bound.
    """
    if count is not None and count < 1:
        raise RequestError(f"count {count} is not accepted; 1 or more is")
    lines = (lines_at_rest()[:USUAL] if prompts is None else read_prompts(prompts))[:count]
    if seeds is not None and len(seeds) < len(lines):
        raise RequestError(
            f"{len(seeds)} seeds are not enough for {len(lines)} prompts; a seed for each is accepted"
        )
    eyes = reader.load()
    done, total = 0, len(lines) * (1 + 2 * HOPS)

    def told() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    found: dict[str, list[list[dict[str, float]]]] = {}
    for line, seed in zip(lines, range(len(lines)) if seeds is None else seeds, strict=False):
        for way, parts in hops(model, line, seed, told).items():
            found.setdefault(way, []).append(rows(eyes, line, parts, model.fps))
    return {"measure": "drift", "model": model.name, "clips": len(lines)} | summary(found)


def rows(
    eyes: reader.Reader, line: Line, parts: Sequence[np.ndarray], fps: float
) -> list[dict[str, float]]:
    """Of one clip, hop by hop: its looks, how far they have gone, the share of named things that are there and of
    those seen at first that are lost (absent where none was seen at first)."""
    out: list[dict[str, float]] = []
    before: list[bool] = []
    for frames in parts:
        told = score(line, eyes.read(Clip(frames=frames, fps=fps)))
        there = told["colour_shape"]
        row = looks(frames)
        row |= gone(out[0] if out else row, row)
        before = before or there
        if there:
            row["named"] = float(np.mean(there))
        if any(before):
            lost = [not now for was, now in zip(before, there, strict=True) if was]
            row["lost"] = float(np.mean(lost))
        if told["count"]:
            row["count"] = float(np.mean(told["count"]))
        out.append(row)
    return out


def summary(found: Mapping[str, Sequence[Sequence[Mapping[str, float]]]]) -> dict[str, Any]:
    """Means over clips by hop, and the largest of them beside the bounds; `passes` says of the latents."""
    out: dict[str, Any] = {}
    for way, clips in found.items():
        out[way] = {
            str(hop): {
                key: float(np.mean(values))
                for key in dict.fromkeys(key for row in at for key in row)
                if (values := [row[key] for row in at if key in row])
            }
            for hop, at in enumerate(zip(*clips, strict=True))
        }
    largest: dict[str, dict[str, Any]] = {}
    for what, bound in BOUNDS.items():
        most = {
            way: max((row[what] for row in out[way].values() if what in row), default=None)
            for way in found
        }
        largest[what] = {**most, "bound": bound}
    passes = all(
        row["latents"] is None or row["latents"] <= row["bound"] for row in largest.values()
    )
    return {"passes": passes, "largest": largest} | out
