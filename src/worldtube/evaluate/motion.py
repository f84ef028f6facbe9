"""Do things move as they should: fall with g, stay when at rest, neither vanish nor appear.

Owns the prompts for it and the three measures on a reading, with the same on true clips beside them. Knows nothing of
how a clip is read.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from worldtube import reader
from worldtube.errors import RequestError
from worldtube.evaluate.adherence import make, read_prompts, wilson
from worldtube.models.model import VideoModel
from worldtube.reader import FPS, Reading
from worldtube.reader.network import SIDE
from worldtube.reader.tracks import Track
from worldtube.video import Size
from worldtube.worlds.world import VALIDATION_SEEDS

G = 9.81
TEMPLATES = {"drop": "fall", "throw": "fall", "rest": "rest"}
"""Template of the table top -> what is measured on it."""

_CAMERA: dict[str, Any] = {
    "distance": 3.2,
    "up": 0.393,
    "target": (0.0, 0.05, 0.5),
    "field_of_view": 35.0,
}
"""The middle of where the table top's camera stands for falls; its draw moves scales by about 5 %."""
_DEPTH = 0.0
"""Where a falling thing is taken to be, metres behind the table's middle; another 5 %."""

_DROPPED = (
    "a small red ball falls onto the table",
    "a large blue box drops onto the table",
    "a small yellow ball is dropped and lands on the table",
    "a large green cylinder falls onto the table",
    "two small blue balls fall onto the table",
    "a large white ball drops and bounces",
    "a small orange box falls down",
    "a large purple ball falls onto the wooden table",
)
_THROWN = (
    "a small red ball is thrown to the right",
    "a large blue ball is thrown to the left",
    "a small yellow ball is thrown to the left",
    "a small black box is thrown to the right",
    "a large orange ball flies through the air to the right",
    "a small white ball is thrown to the right",
    "a small purple ball is thrown to the left",
    "a large green box is thrown to the left",
)
_RESTING = (
    "a large red ball stands still on the table",
    "two small blue boxes stand still on the table",
    "a small green cup and a large yellow ball rest on the table",
    "three small purple balls lie still on the table",
    "a large white box rests on the table, nothing moves",
    "a small black cylinder stands next to a small red box, nothing moves",
    "a large blue cylinder stands still",
    "four small orange balls lie still on the table",
)
PROMPTS = tuple(
    (prompt + ", the camera does not move", kind)
    for trio in zip(_DROPPED, _THROWN, _RESTING, strict=True)
    for prompt, kind in zip(trio, ("fall", "fall", "rest"), strict=True)
)


def heights(rows: np.ndarray) -> np.ndarray:
    """Rows of a 64-pixel picture -> metres over the table, at the middle of its depth, for the fixed camera."""
    up = _CAMERA["up"]
    y = _CAMERA["target"][1] - _CAMERA["distance"] * math.cos(up)
    z = _CAMERA["target"][2] + _CAMERA["distance"] * math.sin(up)
    v = (1 - 2 * (rows + 0.5) / SIDE) * math.tan(math.radians(_CAMERA["field_of_view"] / 2))
    dy, dz = math.cos(up) + v * math.sin(up), -math.sin(up) + v * math.cos(up)
    return z + (_DEPTH - y) / dy * dz


def acceleration(track: Track, num_frames: int) -> float | None:
    """Downward acceleration in metres per second squared of a thing in flight from its first frame; None when it
    is not seen to fall for at least four frames.
    """
    places = track.where(num_frames)
    whole = [t for t, one in sorted(track.seen.items()) if not any(one.edges)]
    if len(whole) < 4:
        return None
    run = [whole[0]]
    for t in whole[1:]:
        if t != run[-1] + 1:
            break
        run.append(t)
    z = heights(places[run, 1])
    step = np.diff(z)
    fast = np.nonzero(step < -0.03)[0]
    if not len(fast):
        return None
    # It flies until it sinks more slowly than before; that frame already knows of the table.
    end = next(
        (i for i in range(fast[0] + 1, len(step)) if step[i] > step[i - 1] + 0.01), len(step)
    )
    # What stood still before it was let go is no flight.
    start = next((i for i in range(len(step)) if abs(step[i]) > 0.015), 0)
    if end - start + 1 < 4:
        return None
    t = np.arange(start, end + 1) / FPS
    return float(-2 * np.polyfit(t - t[0], z[start : end + 1], 2)[0])


def drift(track: Track, num_frames: int) -> float:
    """How far a thing goes from its middle place, pixels of a 64-pixel picture (95th percentile of frames)."""
    places = track.where(num_frames)
    places = places[~np.isnan(places[:, 0])]
    return float(np.percentile(np.linalg.norm(places - np.median(places, 0), axis=1), 95))


def permanent(reading: Reading) -> bool:
    """Whether nothing vanished or appeared inside the picture, out of the reach of edges and other things."""
    return not any(
        _vanishes(track, reading, end) for track in reading.tracks for end in ("first", "last")
    )


def _vanishes(track: Track, reading: Reading, end: str) -> bool:
    """Whether a track begins (`first`) or ends (`last`) for no reason."""
    t = getattr(track, end)
    if t == (0 if end == "first" else reading.num_frames - 1):
        return False
    area = float(np.median([one.area for one in track.seen.values()]))
    if len(track.seen) < 3 or area < 12:
        return False  # too little to be sure that it was a thing
    one = track.seen[t]
    times = sorted(track.seen, reverse=end == "last")
    other = track.seen[times[1]]
    speed = max(abs(one.x - other.x), abs(one.y - other.y)) / abs(times[1] - t)
    reach = 1.5 * speed + 1.5
    left, top, right, bottom = one.box
    if min(left, top, SIDE - 1 - right, SIDE - 1 - bottom) < reach:
        return False
    if speed < 1.5 and one.area > 0.6 * area:
        return True  # what goes behind another thing moves, or is mostly hidden already
    covers = (
        near.seen.get(when)
        for near in reading.tracks
        if near is not track
        for when in (t - 1, t, t + 1)
    )
    return all(cover is None or _apart(one.box, cover.box) > reach for cover in covers)


def _apart(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> int:
    """Pixels between two boxes."""
    return max(b[0] - a[2], a[0] - b[2], b[1] - a[3], a[1] - b[3], 0)


def measure(
    model: VideoModel,
    *,
    seeds: range | None = None,
    prompts: Path | None = None,
    count: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Falls, rests and permanence of made clips, and of as many true ones.

    Without `prompts`, ours are used in turn; `count` clips in all (48 when not said). With a prompts file, a line
    whose first fact's motion is `fall` is measured as a fall, one of `rest` alone as a rest, and all for permanence.
    `options` are those of every request, such as `physics`, `renderer` and `no_state`.
    """
    if count is not None and count < 1:
        raise RequestError(f"count {count} is not accepted; 1 or more is")
    if prompts is None:
        asked = [PROMPTS[i % len(PROMPTS)] for i in range(count or 2 * len(PROMPTS))]
    else:
        asked = [(line.prompt, _kind(line.facts)) for line in read_prompts(prompts)[:count]]
    if seeds is not None and len(seeds) < len(asked):
        raise RequestError(
            f"{len(seeds)} seeds are not enough for {len(asked)} clips; a seed for each is accepted"
        )
    eyes = reader.load()
    total = 2 * len(asked)
    told = progress or (lambda done, total: None)
    clips = make(
        model,
        [prompt for prompt, _ in asked],
        seeds=range(len(asked)) if seeds is None else seeds,
        progress=lambda done, _: told(done, total),
        **options,
    )
    made = [eyes.read(clip) for clip in clips]
    true, kinds = true_readings(eyes, len(asked), lambda done: told(len(asked) + done, total))
    return {
        "measure": "motion",
        "model": model.name,
        "clips": len(asked),
        **summary(made, [kind for _, kind in asked]),
        "true_clips": summary(true, kinds),
    }


def _kind(facts: Sequence[Any]) -> str | None:
    motions = {fact.get("motion") for fact in facts}
    if motions and motions <= {"rest"}:
        return "rest"
    return "fall" if facts and facts[0].get("motion") == "fall" else None


def true_readings(
    eyes: reader.Reader, count: int, told: Callable[[int], None]
) -> tuple[list[Reading], list[str]]:
    """Readings of true clips of held-out seeds, under the fixed camera, with what to measure on each."""
    from worldtube.worlds.record import record
    from worldtube.worlds.tabletop import plan

    readings, kinds = [], []
    wanted = {name: math.ceil(count / len(TEMPLATES)) for name in TEMPLATES}
    for seed in VALIDATION_SEEDS[:1000]:
        draw = plan(seed)
        if draw.view.kind != "fixed" or not wanted.get(draw.template):
            continue
        wanted[draw.template] -= 1
        clip, _, _ = record("tabletop", seed, Size(SIDE, SIDE))
        readings.append(eyes.read(clip))
        kinds.append(TEMPLATES[draw.template])
        told(len(readings))
        if len(readings) == count:
            break
    return readings, kinds


def summary(readings: Sequence[Reading], kinds: Sequence[str | None]) -> dict[str, Any]:
    falls, drifts = [], []
    for reading, kind in zip(readings, kinds, strict=True):
        for thing in reading.things:
            if kind == "fall" and thing.motion != "rest":
                found = acceleration(thing.track, reading.num_frames)
                if found is not None:
                    falls.append(found)
            if kind == "rest":
                drifts.append(drift(thing.track, reading.num_frames))
    broken = sum(not permanent(reading) for reading in readings)
    return {
        "acceleration": float(np.median(falls)) if falls else None,
        "acceleration_over_g": float(np.median(falls)) / G if falls else None,
        "acceleration_quartiles": [float(q) for q in np.percentile(falls, (25, 75))]
        if falls
        else None,
        "falls": len(falls),
        "drift_pixels": float(np.median(drifts)) if drifts else None,
        "stays": float(np.mean(np.array(drifts) < 1.5)) if drifts else None,
        "resting_things": len(drifts),
        "vanish_or_appear": broken / len(readings) if readings else None,
        "vanish_or_appear_interval": wilson(broken, len(readings)),
    }
