"""Can one see where a given clip ends and a made one begins: difference and motion across seams.

Owns where the seams of a request lie, what is measured across them, and the same in true clips beside it. Knows nothing
of how a clip is made or read.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from worldtube import reader
from worldtube.errors import RequestError
from worldtube.generate import engine, layout
from worldtube.generate.request import Request
from worldtube.generate.tasks import TASKS
from worldtube.models.model import VideoModel
from worldtube.reader import resized
from worldtube.reader.tracks import Track
from worldtube.video import Clip
from worldtube.worlds.world import VALIDATION_SEEDS

Progress = Callable[[int, int], None]
BAR = 1.5
"""A seam passes when its median is at most this many times that of true clips."""
LOST = 0.1
"""How much less than in true clips the share of things may be that are there on both sides of a seam."""
WORLD = "tabletop"
NUM_FRAMES = 37
"""Of a true clip: three seconds; a task gets a part of them, and the rest is what might have been made."""
GIVEN = 13
"""Frames before the seam: after a second most things are still on their way."""
GAP = 12
"""Frames that are made between two given clips, or on the way back to the first frame."""
UPTO = 34
"""Where a given clip after a seam ends."""
REACH = 8
"""Frames before and after a loop point in which things are followed."""
FIT = 3
"""Frames before and after a seam to which a straight motion is fitted."""
MOVES = 0.3
"""Pixels a frame above which a thing moves."""
FLOORS = {"difference": 0.001, "velocity": 0.05, "velocity_moving": 0.05, "jump": 0.05}
"""What is measured -> the least that counts, because less cannot be seen: `difference`, the mean between the two
frames' pixels, 0 to 1; `velocity`, by how much a thing's velocity changes, pixels of a 64-pixel picture a frame, and
the same of things that move before or after; `jump`, how far its place before and that after are apart, pixels."""


def given_frames(request: Request) -> np.ndarray:
    """(T,) which frames of its clip a request gives."""
    total = request.num_frames or 0
    known = np.zeros(total, bool)
    for given in request.given:
        if given.at != "end":
            at = given.at % total
            known[at : at + given.clip.num_frames] = True
    return known


def seams(request: Request) -> list[int]:
    """The first frame after each change between given and made frames; 0 is the loop point, where a clip that is to
    be played round and round goes from its last frame, a made one, to its first one."""
    known = given_frames(request)
    round_and_round = any(given.at == "end" for given in request.given)
    found = (np.flatnonzero(known[1:] != known[:-1]) + 1).tolist()
    return found + [0] * (round_and_round and not known[-1])


@dataclass(frozen=True, kw_only=True)
class Crossing:
    """What was measured across one seam, for the clip or for each thing."""

    difference: tuple[float, ...]
    velocity: tuple[float, ...]
    velocity_moving: tuple[float, ...]
    jump: tuple[float, ...]
    followed: tuple[bool, ...]
    """Whether what is there before or after the seam is there in both frames at it."""


def crossing(frames: np.ndarray, tracks: Sequence[Track], at: int) -> Crossing:
    """Across the seam before frame `at` of frames uint8 (T, H, W, 3), whose things were tracked."""
    a, b = frames[at - 1].astype(np.float32), frames[at].astype(np.float32)
    velocity, moving, jump, followed = [], [], [], []
    for track in tracks:
        before, after = (_line(track, range(t, t + FIT), at - 0.5) for t in (at - FIT, at))
        if before is not None or after is not None:
            followed.append(at - 1 in track.seen and at in track.seen)
        if before is not None and after is not None:
            velocity.append(float(np.linalg.norm(after[0] - before[0])))
            if max(np.linalg.norm(before[0]), np.linalg.norm(after[0])) > MOVES:
                moving.append(velocity[-1])
            jump.append(float(np.linalg.norm(after[1] - before[1])))
    return Crossing(
        difference=(float(np.abs(a - b).mean()) / 255,),
        velocity=tuple(velocity),
        velocity_moving=tuple(moving),
        jump=tuple(jump),
        followed=tuple(followed),
    )


def _line(track: Track, times: range, at: float) -> tuple[np.ndarray, np.ndarray] | None:
    """Velocity of a thing, and its place at a time if it goes straight on; None where it is not seen whole."""
    seen = [t for t in times if t in track.seen and not any(track.seen[t].edges)]
    if len(seen) < 2:
        return None
    places = np.array([(track.seen[t].x, track.seen[t].y) for t in seen])
    slope, middle = np.polyfit(np.array(seen) - at, places, 1)
    return slope, middle


def loop_point(eyes: reader.Reader, frames: np.ndarray) -> Crossing:
    """Where the first frame follows the last one."""
    both = np.concatenate([frames[-REACH:], frames[:REACH]])
    return crossing(both, follow(eyes, both), min(REACH, len(frames)))


def follow(eyes: reader.Reader, frames: np.ndarray) -> list[Track]:
    """The things in frames of any size."""
    return eyes.look(resized(frames))[0]


def requests(clip: Clip, caption: str, seed: int) -> dict[str, Request]:
    """What is asked of the model, from parts of a true clip of `NUM_FRAMES` frames."""

    def part(first: int, last: int) -> Clip:
        return Clip(frames=clip.frames[first:last], fps=clip.fps)

    told: dict[str, Any] = {"prompt": caption, "seed": seed}
    first, rest, gap = part(0, GIVEN), (NUM_FRAMES - GIVEN) / clip.fps, GAP / clip.fps
    after, back = part(GIVEN, UPTO), GIVEN / clip.fps
    end = part(GIVEN + GAP, UPTO)
    return {
        "extend": TASKS["extend"](first, seconds=rest, **told),
        "extend backward": TASKS["extend"](after, seconds=back, backward=True, **told),
        "loop": TASKS["loop"](first, seconds=gap, **told),
        "connect": TASKS["connect"](first, end, seconds=gap, **told),
    }


def coded(model: VideoModel, clip: Clip, request: Request) -> np.ndarray:
    """The true frames, in the same pieces as the request's clip, as the model's codec shows them: what a model that
    knew the truth would make."""
    out, first = [], 0
    for piece in layout.plan(model, request).pieces:
        frames = clip.frames[first : first + piece.num_frames]
        first += piece.num_frames
        if len(frames):
            missing = piece.grid.num_frames - len(frames)
            whole = np.concatenate([frames, frames[-1:].repeat(missing, 0)])
            tokens = model.encode(Clip(frames=whole, fps=clip.fps))
            out.append(model.decoder(piece.grid)(tokens)[: len(frames)])
    return np.concatenate(out)


def measure(
    model: VideoModel,
    *,
    seeds: range | None = None,
    prompts: Path | None = None,
    count: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """What extending either way, looping and connecting do at the seams of true clips of these seeds.

    Beside each median over the seams (`made`) stand those at the same frames of the `true` clips and of the `coded`
    ones, as the model's codec shows them; for the loop point, which no true clip has, those of all frames of the given
    part. `inside` is where made frames follow made ones. `ratio` is made over coded.
    """
    from worldtube.worlds.record import record

    if prompts is not None:
        raise RequestError(f"the measure seam takes no prompts, got {prompts}; seeds are accepted")
    if count is not None and count < 1:
        raise RequestError(f"count {count} is not accepted; 1 or more is")
    seeds = (VALIDATION_SEEDS[: count or 64] if seeds is None else seeds)[:count]
    eyes = reader.load()
    told = progress or (lambda done, total: None)
    found: dict[str, dict[str, list[Crossing]]] = {}
    for i, seed in enumerate(seeds):
        clip, captions, _ = record(WORLD, seed, model.size, num_frames=NUM_FRAMES)
        for name, one in _clip(model, eyes, clip, captions["medium"], seed):
            for kind, crossings in one.items():
                found.setdefault(name, {}).setdefault(kind, []).extend(crossings)
        told(i + 1, len(seeds))
    return {"measure": "seam", "model": model.name, "clips": len(seeds)} | summary(found)


def _clip(
    model: VideoModel, eyes: reader.Reader, clip: Clip, caption: str, seed: int
) -> list[tuple[str, dict[str, list[Crossing]]]]:
    """Crossings by kind (made, true, coded, inside) of every seam of one clip, with its name."""
    tracks = follow(eyes, clip.frames)
    out = []
    for name, request in requests(clip, caption, seed).items():
        made = engine.generate(model, [request])[0].frames
        part = replace(clip, frames=clip.frames[: len(made)], tracks={})
        shown, known = coded(model, part, request), given_frames(request)
        things, same = follow(eyes, made), follow(eyes, shown)
        inside = [at for at in range(1, len(made)) if not (known[at] or known[at - 1])]
        for at in seams(request):
            places = (at,) if at else range(FIT, GIVEN - FIT + 1)
            kinds = {
                "made": [crossing(made, things, at) if at else loop_point(eyes, made)],
                "true": [crossing(clip.frames, tracks, t) for t in places],
                "coded": [crossing(shown, same, t) for t in places],
                "inside": [crossing(made, things, t) for t in inside],
            }
            out.append((name if at else f"{name} point", kinds))
    return out


def summary(found: Mapping[str, Mapping[str, Sequence[Crossing]]]) -> dict[str, Any]:
    """Medians by statistic, name of the seam and kind of clip; `passes` where no ratio of difference or velocity is
    above the bar and things are not lost."""
    out: dict[str, Any] = {}
    for what, least in FLOORS.items():
        out[what] = {}
        for name, kinds in found.items():
            row: dict[str, Any] = {}
            for kind, crossings in kinds.items():
                values = [value for one in crossings for value in getattr(one, what)]
                row[kind] = float(np.median(values)) if values else None
                if kind == "made":
                    row["of"] = len(values)
            row["ratio"] = _ratio(row["made"], row["coded"], least)
            row["ratio_true"] = _ratio(row["made"], row["true"], least)
            out[what][name] = row
    out["followed"] = {
        name: {
            kind: float(np.mean(kept))
            if (kept := [value for one in crossings for value in one.followed])
            else None
            for kind, crossings in kinds.items()
        }
        for name, kinds in found.items()
    }
    ratios = [row["ratio"] for what in ("difference", "velocity") for row in out[what].values()]
    largest = max((ratio for ratio in ratios if ratio is not None), default=None)
    lost = [
        row["coded"] - row["made"]
        for row in out["followed"].values()
        if row["coded"] is not None and row["made"] is not None
    ]
    passes = largest is not None and largest <= BAR and max(lost, default=0) <= LOST
    return {"largest_ratio": largest, "bar": BAR, "passes": passes} | out


def _ratio(made: float | None, true: float | None, least: float) -> float | None:
    return None if made is None or true is None else max(made, least) / max(true, least)
