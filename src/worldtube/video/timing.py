"""Clocks of pictures: from the times that a file gives to a constant rate. Plain arithmetic; knows no files."""

from collections.abc import Iterator, Sequence

import numpy as np

Timed = tuple[float, np.ndarray]
"""When a picture is first shown, in seconds, and the picture (H, W, 3)."""
USUAL_RATES = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 16, 20, 24, 25, 30, 48, 50, 60, 100, 120)
LATE = 0.0199
"""Seconds that a picture may come early or late when a rate is chosen for it; up to 1 / 25 s looks the same."""
LOST = 0.02
"""Share of a film's pictures that may be left out where that saves many repeated ones."""


def constant_rate(times: Sequence[float], end: float, *, max_frames: int) -> float:
    """Choose frames per second for unevenly timed pictures so that each is there, for as long as it was shown.

    Args:
        times: when each picture is first shown, in seconds, ascending
        end: when the last one ends
        max_frames: of the result; with more, a lower rate is chosen and short pictures are lost
    """
    starts = np.asarray(times, float) - times[0]
    length = max(end - times[0], 1e-6)
    edges = np.append(starts[1:], length)
    lengths = np.diff(np.append(starts, length))
    shown = lengths[lengths > 0.9 / USUAL_RATES[-1]]
    if not len(shown):
        return 1 / length
    own = [len(starts) / length, 1 / float(np.median(shown)), 1 / float(shown.min())]
    rates = sorted({float(_nearly_whole(rate)) for rate in (*USUAL_RATES, *own)})
    rates = [rate for rate in rates if rate * length <= max_frames and rate <= USUAL_RATES[-1]]
    if not rates:
        return max_frames / length
    few: float | None = None
    for rate in rates:
        if np.abs(edges - np.round(edges * rate) / rate).max() > LATE:
            continue
        lost = 1 - len(np.unique(shown_at(starts, length, rate))) / len(shown)
        if lost <= 0:
            return rate if few is None or few > 0.75 * rate else few
        if lost <= LOST and few is None:
            few = rate
    return few or rates[-1]


def shown_at(starts: np.ndarray, length: float, rate: float) -> np.ndarray:
    """Return which picture each frame of the result is, int (num_frames,).

    Frame k is what was shown at (k + 1/4) / rate: a quarter of a frame in, times may be a little off.
    """
    ticks = (np.arange(max(1, round(length * rate))) + 0.25) / rate
    return np.maximum(np.searchsorted(starts, ticks, side="right") - 1, 0)


def _nearly_whole(rate: float) -> float:
    return round(rate) if abs(rate - round(rate)) < 0.002 * rate else rate


def resample(timed: Iterator[Timed], rate: float, end: float) -> Iterator[np.ndarray]:
    """Yield at each tick of a constant rate the picture that is shown then.

    Args:
        timed: pictures with their times, ascending
        rate: frames per second of the result
        end: when the last picture ends, on the clock of `timed`; it is shown for a moment at least
    """
    first: float | None = None
    previous: Timed | None = None
    count = 0
    for time, picture in timed:
        if first is None:
            first = time
        if previous is not None:
            while (count + 0.25) / rate < time - first:
                yield previous[1]
                count += 1
        previous = (time, picture)
    if previous is None or first is None:
        return
    last = round((max(end, previous[0]) - first) * rate)
    while count < last or count == 0:
        yield previous[1]
        count += 1
