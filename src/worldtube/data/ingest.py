"""Filling a catalog with recorded clips.

Owns batches, resuming and what happens to a clip that fails; knows no world by name.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worldtube import workers
from worldtube.data.catalog import Catalog, clip_id, problem_row, row
from worldtube.errors import DataError, MissingExtra, NotFound, RequestError, unknown
from worldtube.video import Size

BATCH = 32
"""Clips in one commit: what a kill can cost at most, together with what is being recorded."""
SECONDS = 20.0
"""A smaller batch is written when this much time has passed."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Recorder:
    """Makes the row of a (seed, shot); picklable, so that it can work in another process."""

    world: str
    version: int
    size: Size
    num_frames: int
    fps: float

    def __call__(self, which: tuple[int, int]) -> dict[str, Any]:
        from worldtube.worlds.record import record

        seed, shot = which
        try:
            clip, captions, truth = record(
                self.world, seed, self.size, num_frames=self.num_frames, fps=self.fps, shot=shot
            )
            return row(self.world, self.version, seed, clip, captions, truth, shot)
        except (RequestError, NotFound, MissingExtra, ImportError, MemoryError):
            raise  # not this seed's fault: the next would fail too
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
            return problem_row(self.world, self.version, seed, self.size, problem, shot)


def record_world(
    world: str,
    *,
    seeds: range,
    size: Size,
    out: str | Path,
    num_frames: int = 25,
    fps: float = 12,
    shots: int = 1,
    processes: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Record the clips of these seeds into the catalog `out`, leaving out those already there.

    Returns how many were new. shots: cameras on each seed's episode, a clip each. processes: None takes all
    cores. progress: called with (clips there, clips wanted). A seed that fails gets a row with its problem.
    Killed at any moment, it keeps what was written, and a second call completes it. Raises DataError when clips of
    these seeds are there with another number of frames.
    """
    from worldtube.worlds import WORLDS

    if world not in WORLDS:
        raise unknown("world", world, WORLDS)
    if not seeds or min(seeds) < 0:
        raise RequestError(f"seeds {seeds} are not accepted; a range from 0 or more is")
    if shots < 1:
        raise RequestError(f"shots {shots} is not accepted; 1 or more is")
    version: int = WORLDS[world].version
    catalog = Catalog(out, mode="a")
    asked = "world = ? AND version = ? AND seed BETWEEN ? AND ?"
    values = (world, version, min(seeds), max(seeds))
    there = set(catalog.ids(asked, values))
    other = catalog.ids(
        f"{asked} AND width = ? AND height = ? AND (num_frames <> ? OR fps <> ?)",
        (*values, size.width, size.height, num_frames, fps),
    )
    if other:
        (own,) = catalog.take(other[:1], ["num_frames", "fps"])
        raise DataError(
            f"{out} has {other[0]} with {own['num_frames']} frames at {own['fps']:g} fps, not {num_frames} at "
            f"{fps:g}: name another folder or other seeds"
        )
    wanted = [(seed, shot) for seed in seeds for shot in range(shots)]
    todo = [
        (seed, shot)
        for seed, shot in wanted
        if clip_id(world, version, seed, size, shot) not in there
    ]
    done = len(wanted) - len(todo)
    recorder = Recorder(world=world, version=version, size=size, num_frames=num_frames, fps=fps)
    waiting: list[dict[str, Any]] = []
    written = time.monotonic()
    if progress is not None:
        progress(done, len(wanted))
    try:
        for _, made in workers.map(recorder, todo, processes=processes):
            if "problem" in made:
                logger.warning("%s: %s", made["id"], made["problem"])
            waiting.append(made)
            done += 1
            if len(waiting) >= BATCH or time.monotonic() - written > SECONDS:
                catalog.append(waiting)
                waiting, written = [], time.monotonic()
            if progress is not None:
                progress(done, len(wanted))
    finally:
        catalog.append(waiting)  # also after Ctrl-C
    catalog.compact()
    return len(todo)
