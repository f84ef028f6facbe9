"""Containers through FFmpeg: opening one safely, which stream is the picture, when frames are shown, which way is up.

Knows nothing of pixels' values or of clips.
"""

import struct
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from PIL import Image

from worldtube.errors import DataError

# Playlists and edit lists name further files or addresses: a media file may not make us open those.
NO_FURTHER_FILES = {"protocol_whitelist": "none"}
READ_ERRORS = (
    *(av.FFmpegError, OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error),
    *(RuntimeError, Image.DecompressionBombError),
)
"""What FFmpeg and Pillow raise for files that they cannot read."""
WITH_DURATION = ("matroska", "flv")
"""Demuxers whose files tell how long they are, from which the end of the last picture follows."""
RETRIES = 1 << 14
"""Each goes over 64 kB that are no packets."""
REORDER = 64
"""Packets that are read beyond a limit, with room for reordered frames."""


def open_container(file: BinaryIO) -> InputContainer:
    """Open a container that cannot make us open a further file or address."""
    file.seek(0)
    return av.open(file, mode="r", options=dict(NO_FURTHER_FILES), metadata_errors="replace")


def picture_stream(container: InputContainer, name: str = "") -> Any:
    """Return the video stream that is meant to be seen: cover art and thumbnails are none.

    Raises:
        DataError: the file (`name`, where that is known) has none
    """
    for stream in container.streams.video:
        # FFmpeg may know that a stream is video, and nothing else of it.
        if stream.codec_context is not None and not stream.disposition & Disposition.attached_pic:
            return stream
    what = "only sound" if container.streams.audio else "no streams"
    raise DataError(f"{name} holds no video ({what})".strip())


def demux(container: InputContainer, *streams: Any) -> Iterator[av.Packet]:
    """Yield the packets of these streams, of all when there is none; the last ones flush the decoders.

    In a transport stream FFmpeg gives up when much that is no packet follows; it is asked again, up to the end.
    """
    for _ in range(RETRIES):
        try:
            yield from container.demux(*streams)
            return
        except av.BlockingIOError:
            continue


@dataclass(frozen=True, kw_only=True)
class Packets:
    """What the packets of a file tell without decoding a picture; times are in seconds on the file's clock."""

    times: Sequence[float]
    """When each frame is shown, ascending."""
    untimed: int
    """Frames that do not tell."""
    last: float
    """How long the last frame is shown, 0 where the file does not tell."""
    corrupt: bool
    """Whether the demuxer found a packet that is not whole; nothing after it was read."""
    short: bool
    """Whether the streams end so long before the file says that they were cut off."""

    @property
    def count(self) -> int:
        return len(self.times) + self.untimed


def scan_packets(
    container: InputContainer,
    stream: Any,
    *,
    ends: Mapping[int, float] | None = None,
    max_frames: int | None = None,
    strict: bool = False,
) -> Packets:
    """Read the packets of a file.

    Args:
        container: just opened
        stream: the one whose frames are wanted
        ends: when each track ends, where `structure.track_ends` told
        max_frames: stop when so many (and REORDER more) were found
        strict: whether a single stream that ends two frames early is short; else a second may be missing
    """
    times: list[float] = []
    durations: dict[float, float] = {}
    untimed, corrupt, reordered, latest = 0, False, False, 0.0
    begin, tick = 0.0, float(stream.time_base or 0)
    found = defaultdict[int, float](float)  # the end of each stream
    for packet in demux(container, *([] if max_frames is None else [stream])):
        duration = float((packet.duration or 0) * (packet.time_base or 0))
        time = float(packet.pts * packet.time_base) if packet.pts is not None else None
        if time is not None:
            begin = min(begin, time)
            found[packet.stream_index] = max(found[packet.stream_index], time + duration)
        if packet.stream_index != stream.index:
            continue
        if packet.is_corrupt:
            corrupt = True
            break
        if packet.is_discard or packet.size == 0:
            continue
        latest = duration or latest
        if time is None:
            untimed += 1
            continue
        reordered |= bool(times) and time < times[-1]
        times.append(time)
        durations[time] = duration
        if max_frames is not None and len(times) >= max_frames + REORDER:
            break
    times.sort()
    if not times:
        return Packets(times=times, untimed=untimed, last=latest, corrupt=corrupt, short=False)
    # Where frames are reordered, a packet's duration is that of its place in the file, not of its picture.
    last = latest if reordered else durations[times[-1]] or latest
    stated = (ends or {}).get(stream.id) or _stated_end(container, stream, times[0])
    if stated > times[-1] + 1e-3:
        last = stated - times[-1]
    if last <= 1.5 * tick < 0.01:  # one tick of a fine clock is a number for want of another
        last = 0.0
    short = False
    if not untimed and max_frames is None:
        length = (container.duration or 0) / av.time_base
        short = _is_short(
            found[stream.index] - begin, float((stream.duration or 0) * stream.time_base)
        )
        short |= _is_short(max(found.values()) - begin, length)
        if strict and len(container.streams.get()) == 1 and latest > 0:
            end = max(found[stream.index], times[-1] + latest)
            short |= end - begin + 1.5 * latest < length
    return Packets(times=times, untimed=untimed, last=last, corrupt=corrupt, short=short)


def _stated_end(container: InputContainer, stream: Any, begin: float) -> float:
    """When the picture ends, in seconds on the file's clock, as the container says; 0 where it does not."""
    if not container.format.name.startswith(WITH_DURATION):
        return 0.0
    length = (container.duration or 0) / av.time_base
    text = {key.lower(): value for key, value in stream.metadata.items()}.get("duration", "")
    try:
        hours, minutes, seconds = (float(part) for part in text.split(":"))
        length = 3600 * hours + 60 * minutes + seconds
    except ValueError:
        if len(container.streams.get()) > 1:
            return 0.0
    # Some programs count from the first picture, others from 0.
    return length if length > begin else length + begin


def _is_short(seconds: float, stated: float) -> bool:
    """Whether so much less is there than the file says: its own numbers may be a little off."""
    return seconds < stated - max(1.0, 0.02 * stated)


def orientation(frame: av.VideoFrame) -> tuple[int, bool]:
    """Return how a decoded frame is to be shown: (quarter turns to the left, mirrored top to bottom before that)."""
    turns = round(frame.rotation / 90) % 4
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return turns, False
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    return turns, a * d - b * c < 0


def set_upright(pixels: np.ndarray, turns: int, mirrored: bool) -> np.ndarray:
    """Turn a picture (H, W, C) as `orientation` says."""
    if not turns and not mirrored:
        return pixels
    return np.ascontiguousarray(np.rot90(pixels[::-1] if mirrored else pixels, turns))


def pixel_aspect(stream: Any) -> float:
    """Return the width of a pixel by its height; of odd values 1. A first frame should have been decoded."""
    aspect = float(stream.sample_aspect_ratio or 1)
    return aspect if 0.2 < aspect < 5 else 1.0
