"""Files of what is made from many seeds, a range of seeds in each. Knows nothing of what they hold."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from worldtube.files import atomic_path


def write_chunks(
    folder: Path,
    seeds: range,
    size: int,
    make: Callable[[int], Mapping[str, np.ndarray]],
    *,
    progress: Callable[[int, int], None] | None = None,
    until: Callable[[], bool] = lambda: False,
) -> None:
    """Write `FIRST.npz` for every `size` seeds; files appear whole, and those that are there are left alone.

    Args:
        make: first seed -> arrays of `size` seeds from there on
        progress: called with (files done, files in all)
        until: asked before each file whether to stop
    """
    folder.mkdir(parents=True, exist_ok=True)
    starts = range(seeds.start, seeds.stop, size)
    for done, first in enumerate(starts, start=1):
        path = folder / f"{first:08d}.npz"
        if not path.exists():
            if until():
                return
            with atomic_path(path) as partial, open(partial, "wb") as file:
                np.savez(file, allow_pickle=False, **make(first))
        if progress is not None:
            progress(done, len(starts))
