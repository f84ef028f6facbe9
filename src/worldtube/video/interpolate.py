"""Frames between frames, by FFmpeg's motion-compensated interpolation (`minterpolate`). Knows nothing of why."""

from fractions import Fraction
from math import ceil, lcm

import av
import numpy as np
from av.filter import Graph, filters_available
from av.video.format import VideoFormat
from av.video.reformatter import ColorRange, Colorspace

SMALLEST = 32
"""Pixels on the short side below which frames are blended: motion search needs some blocks."""
SEARCH = {
    "mi_mode": "mci",
    "mc_mode": "aobmc",
    "me_mode": "bidir",
    "me": "epzs",
    "mb_size": "8",
    "search_param": "16",
    "vsbmc": "1",
    "scd": "none",
}
"""Overlapped blocks of 8 pixels, searched in both directions; a change of scene is no reason to stop."""
FORMAT = "yuvj444p"


def interpolate(frames: np.ndarray, first: Fraction, step: Fraction, count: int) -> np.ndarray:
    """Return frames at the positions first, first + step, ... on the clock of the given ones.

    A position that is a whole number is that frame itself, bit for bit; between two frames things are moved along
    their motion. Frames below SMALLEST pixels are blended, all frames where FFmpeg lacks the filter. Behind the last
    frame it stays.

    Args:
        frames: uint8 (T, H, W, 3)
        first: position of the first result, at least 0, in frames
        step: from one result to the next, above 0, in frames
        count: number of results

    Returns:
        uint8 (count, H, W, 3)
    """
    positions = [min(first + k * step, Fraction(len(frames) - 1)) for k in range(count)]
    between = [k for k, position in enumerate(positions) if position.denominator != 1]
    result = np.empty((count, *frames.shape[1:]), np.uint8)
    for k, position in enumerate(positions):
        before = int(position)
        if position.denominator == 1:
            result[k] = frames[before]
        else:
            share = float(position - before)
            blend = (1 - share) * frames[before] + share * frames[before + 1].astype(np.float32)
            result[k] = np.round(blend)
    possible = "minterpolate" in filters_available  # an FFmpeg may be built without
    if between and possible and min(frames.shape[1:3]) >= SMALLEST:
        moved = _compensated(frames, first, step, count)
        for k in between:
            if k in moved:
                result[k] = moved[k]
    return result


def _compensated(
    frames: np.ndarray, first: Fraction, step: Fraction, count: int
) -> dict[int, np.ndarray]:
    """Results by number, of those that the filter makes."""
    # The filter's results lie at whole multiples of `step`: the frames are moved so that `first` is one of them.
    skipped = ceil(first / step)
    start = skipped * step - first
    ticks = lcm(start.denominator, step.denominator)
    clock = Fraction(1, ticks)
    graph = Graph()
    height, width = frames.shape[1:3]
    source = graph.add_buffer(
        width=width, height=height, format=VideoFormat(FORMAT), time_base=clock
    )
    rate = f"{step.denominator}/{step.numerator}"
    options = ":".join(f"{name}={value}" for name, value in {"fps": rate, **SEARCH}.items())
    filter, sink = graph.add("minterpolate", options), graph.add("buffersink")
    source.link_to(filter)
    filter.link_to(sink)
    graph.configure()
    results: dict[int, np.ndarray] = {}

    def drain() -> None:
        while True:
            try:
                frame = sink.pull()
            except (av.BlockingIOError, av.EOFError):
                return
            assert isinstance(frame, av.VideoFrame) and frame.time_base and frame.pts is not None
            k = round(frame.pts * frame.time_base / step) - skipped
            if 0 <= k < count:
                rgb = frame.reformat(
                    format="rgb24",
                    src_colorspace=Colorspace.ITU709,
                    src_color_range=ColorRange.JPEG,
                )
                results[k] = rgb.to_ndarray()

    # The filter holds the last frames back until others follow.
    following = [frames[-1]] * 3
    for number, array in enumerate([*frames, *following]):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(array), format="rgb24").reformat(
            format=FORMAT, dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.JPEG
        )
        frame.pts, frame.time_base = int((number + start) * ticks), clock
        source.push(frame)
        drain()
    source.push(None)
    drain()
    return results
