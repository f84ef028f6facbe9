"""Long media files, a part at a time.

Owns what a film is (its times, its shape as it is meant to be seen), and reading a stretch of it without the rest. A
film is read strictly: it begins with the first whole picture, and the first damaged one after that ends it. Knows
nothing of shots or datasets.
"""

import hashlib
import itertools
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.codec.context import Flags2
from av.video.reformatter import VideoReformatter

from worldtube.errors import DataError
from worldtube.video import images
from worldtube.video.clip import Size
from worldtube.video.color import EXACT, SMALLER, to_rgb
from worldtube.video.container import (
    READ_ERRORS,
    demux,
    open_container,
    orientation,
    picture_stream,
    pixel_aspect,
    scan_packets,
    set_upright,
)
from worldtube.video.structure import has_hole, is_complete, track_ends

LOOKED_AT = 32
"""Pictures that are decoded to see how a film is to be read."""
MOST_PIXELS = 4096 * 2304
"""Of a picture of a film. Decoding 8K takes a gigabyte and more for the pictures that others refer to."""
LETTERS = ("ansi", "bintext", "idf", "xbin")
"""What FFmpeg takes any text file for, going by its name, to draw it as a terminal did."""
PICTURES = "pillow-"
"""How the codec of a film begins that Pillow reads, an animated picture."""
HELD = 1.0
"""Seconds that the last picture of a film may stay, when its packet says so."""
ROUNDED = 1.5e-3
"""Seconds by which the end of a film may be off: containers count in thousandths."""


@dataclass(frozen=True, kw_only=True)
class Film:
    """What the packets of a file tell, without decoding a picture."""

    path: str
    sha256: str
    codec: str
    width: int
    """As shown: turned upright, and with square pixels."""
    height: int
    turns: int
    """Quarter turns to the left that bring it upright."""
    num_frames: int
    begin: float
    """The time of the first frame on the file's own clock, in seconds."""
    seconds: float
    """From the first frame to the end of the last."""
    fps: float
    """Frames a second, on average."""
    even: bool
    """Whether frames come at even times."""
    seekable: bool
    """Whether every frame tells its time and they come in that order, so that reading may begin in the middle."""
    sound: bool
    cut_off: bool
    """Whether the file ends before it says that it would."""
    mirrored: bool = False
    """Whether it is to be mirrored, top to bottom, before it is turned."""

    @property
    def size(self) -> Size:
        return Size(self.width, self.height)


def look(path: str | Path) -> Film:
    """The facts of a film. Raises DataError, naming the reason but not the file, for what holds no film."""
    try:
        with open(path, "rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
            if not size:
                raise DataError("the file is empty")
            picture = images.open_picture(file)
            if picture is not None and images.count_pages(picture) > 1:
                return _animation_facts(str(path), sha256, picture)
            complete, ends = is_complete(file), track_ends(file)
            with open_container(file) as container:
                return _facts(str(path), sha256, container, complete, ends)
    except MemoryError:
        raise  # FFmpeg's too: not the file's fault
    except READ_ERRORS as error:
        raise DataError(f"not readable as a film: {_reason(error)}") from error


def _check_size(width: int, height: int) -> None:
    if width < 2 or height < 2:
        raise DataError(f"pictures of {width}x{height} (accepted: 2x2 and more)")
    if width * height > MOST_PIXELS:
        raise DataError(f"pictures of {width}x{height} (accepted: {MOST_PIXELS:,} pixels)")


def _facts(
    path: str, sha256: str, container: Any, complete: bool | None, ends: dict[int, float]
) -> Film:
    stream = picture_stream(container)
    width, height = stream.codec_context.width, stream.codec_context.height
    if stream.codec_context.name in LETTERS:
        raise DataError("not readable as a film: it is text")
    _check_size(width, height)
    packets = scan_packets(container, stream, ends=ends)
    times, count, last = packets.times, packets.count, packets.last
    if not count:
        raise DataError("the file holds no frames")
    stated = float(stream.average_rate or stream.guessed_rate or 0)
    steps = np.diff(times)
    span = times[-1] - times[0] if times else 0.0
    fps = (len(times) - 1) / span if span > 0 and not packets.untimed else stated or 25.0
    even = bool(not len(steps) or np.abs(steps - steps.mean()).max() <= 0.002 + 0.05 * steps.mean())
    if even and stated and abs(stated - fps) < 0.01 * fps:
        fps = stated
    if not 0 < last < HELD or (even and abs(last - 1 / fps) < ROUNDED):
        last = 1 / fps
    turns, mirrored, aspect, ordered = _shape(path)
    shown = (max(2, round(width * aspect)), height)
    across, down = shown if turns % 2 == 0 else shown[::-1]
    return Film(
        path=path,
        sha256=sha256,
        codec=stream.codec_context.name,
        width=across,
        height=down,
        turns=turns,
        mirrored=mirrored,
        num_frames=count,
        begin=times[0] if times else 0.0,
        seconds=count / fps if packets.untimed else span + last,
        fps=fps,
        even=even,
        seekable=ordered and not packets.untimed and len(set(times)) == count,
        sound=bool(container.streams.audio),
        cut_off=complete is False or packets.corrupt or (complete is None and packets.short),
    )


def _animation_facts(path: str, sha256: str, picture: Any) -> Film:
    """The facts of an animated picture, which Pillow reads."""
    _check_size(*picture.size)
    durations = [duration for duration, _ in images.pages(picture)]
    seconds = sum(durations)
    return Film(
        path=path,
        sha256=sha256,
        codec=f"{PICTURES}{(picture.format or '').lower()}",
        width=picture.width,
        height=picture.height,
        turns=0,
        num_frames=len(durations),
        begin=0.0,
        seconds=seconds,
        fps=len(durations) / seconds,
        even=max(durations) - min(durations) <= 0.002 + 0.05 * max(durations),
        seekable=False,
        sound=False,
        cut_off=False,
    )


def _shape(path: str) -> tuple[int, bool, float, bool]:
    """Quarter turns and whether mirrored, the width of a pixel by its height, and whether frames come out in the order
    of their times: of the first pictures, which say more than the header."""
    # Opened anew: a bare stream of pictures cannot go back to its beginning.
    with open(path, "rb") as file, open_container(file) as container:
        stream = picture_stream(container)
        stream.thread_type = "NONE"
        first = list(itertools.islice(container.decode(stream), LOOKED_AT))
        times = [frame.pts for frame in first if frame.pts is not None]
        turns, mirrored = orientation(first[0]) if first else (0, False)
        aspect = pixel_aspect(stream)
    ordered = all(a < b for a, b in itertools.pairwise(times))
    return turns, mirrored, aspect, ordered


def pictures(film: Film, *, within: int | None = None) -> Iterator[tuple[float, np.ndarray]]:
    """All frames: (seconds since the first, RGB (H, W, 3) as shown). Raises DataError where the film is damaged.

    within: scale down to so many pixels on the long side.
    """
    reformatter = VideoReformatter()
    for time, frame in _frames(film, 0):
        yield time, _upright(film, frame, within, reformatter)


def nearest(
    film: Film, times: Sequence[float], *, within: int | None = None
) -> Iterator[np.ndarray]:
    """The frame nearest to each of these times (seconds since the first frame, ascending): RGB (H, W, 3) as shown.

    within: scale down to so many pixels on the long side. Reads from the key frame before the first to the last.
    The last one stays to the end of the film. Raises DataError where the film is damaged.
    """
    wanted = list(times)
    place = 0
    previous: tuple[float, av.VideoFrame] | None = None
    reformatter = VideoReformatter()
    for time, frame in _frames(film, wanted[0]):
        if previous is not None:
            middle = (previous[0] + time) / 2
            picture = None
            while place < len(wanted) and wanted[place] <= middle:
                picture = (
                    _upright(film, previous[1], within, reformatter) if picture is None else picture
                )
                yield picture
                place += 1
        if place == len(wanted):
            return
        previous = (time, frame)
    if previous is None:
        raise DataError(f"the film ends before {wanted[-1]:.2f} s")
    held = min(HELD, film.seconds - previous[0])
    if wanted[-1] > previous[0] + max(1.5 / film.fps, held):
        raise DataError(f"the film ends before {wanted[-1]:.2f} s")
    picture = _upright(film, previous[1], within, reformatter)
    for _ in wanted[place:]:
        yield picture


def _frames(film: Film, start: float) -> Generator[tuple[float, av.VideoFrame]]:
    """Frames with their times, in order, from the key frame before `start` on."""
    if start > 0 and film.seekable:
        found = _decoded(film, start)
        first = next(found, None)
        if first is not None and first[0] <= start + 1e-6:
            yield first
            yield from found
            return
        found.close()  # some containers land behind the place asked for: those are read from their beginning
    yield from _decoded(film, 0)


def _decoded(film: Film, start: float) -> Generator[tuple[float, av.VideoFrame]]:
    try:
        if film.codec.startswith(PICTURES):
            yield from _decoded_pages(film)
            return
        with open(film.path, "rb") as file, open_container(file) as container:
            stream = picture_stream(container)
            # One thread: the same memory and the same pictures everywhere. Damage is an error, not a guess; but
            # "explode" would refuse files that players and phones make every day.
            stream.thread_type = "NONE"
            stream.codec_context.options = {"err_detect": "crccheck+bitstream+buffer"}
            if start > 0:
                place = int((film.begin + start) / stream.time_base)
                container.seek(place, stream=stream, backward=True)
            previous = -1.0
            for index, frame in enumerate(_checked(container, stream)):
                if frame.is_corrupt:
                    if (
                        previous < 0
                    ):  # it refers to pictures before the beginning, or before the place asked for
                        continue
                    raise DataError("damaged: a picture is not whole")
                if film.seekable and frame.time is not None:
                    time = frame.time - film.begin
                else:
                    time = index / film.fps
                if time > previous:
                    previous = time
                    yield time, frame
    except MemoryError:
        raise  # FFmpeg's too: not the file's fault
    except READ_ERRORS as error:
        raise DataError(f"damaged: {_reason(error)}") from error


def _checked(container: Any, stream: Any) -> Iterator[av.VideoFrame]:
    """Decoded frames; zeros within a compressed picture, which decoders may not notice, are damage."""
    codec = stream.codec_context.name
    for packet in demux(container, stream):
        if packet.size and has_hole(bytes(packet), codec):
            raise DataError("damaged: a picture is not whole")
        yield from packet.decode()


def _decoded_pages(film: Film) -> Iterator[tuple[float, av.VideoFrame]]:
    with open(film.path, "rb") as file:
        picture = images.open_picture(file)
        if picture is None:
            raise DataError("no picture any more")
        time = 0.0
        for duration, pixels in images.pages(picture):
            yield time, av.VideoFrame.from_ndarray(pixels, format="rgb24")
            time += duration


def _upright(
    film: Film, frame: av.VideoFrame, within: int | None, reformatter: VideoReformatter
) -> np.ndarray:
    width, height = film.width, film.height
    if film.turns % 2:
        width, height = height, width
    if within is not None and max(width, height) > within:
        scale = within / max(width, height)
        width, height = max(2, round(width * scale)), max(2, round(height * scale))
    how = SMALLER if width < frame.width else EXACT
    pixels = to_rgb(frame, width, height, interpolation=how, reformatter=reformatter)
    return set_upright(pixels, film.turns, film.mirrored)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def motion_vectors(frames: np.ndarray) -> list[np.ndarray]:
    """For each frame of uint8 (T, H, W, 3) but the first: (area in pixels, right, down) of its blocks, in pixels.

    They are what x264 finds when it compresses the frames, so they do not depend on what these came from. A block
    that it would rather draw anew has none.
    """
    height, width = (side - side % 2 for side in frames.shape[1:3])
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25)
    encoder.thread_count = 1
    encoder.options = {
        "preset": "veryfast",
        "qp": "23",
        "x264-params": "bframes=0:ref=1:keyint=infinite:scenecut=0:mbtree=0:weightp=0",
    }
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_type = "NONE"
    decoder.flags2 |= Flags2.export_mvs
    found = []
    for index in range(len(frames) + 1):
        picture = None
        if index < len(frames):
            picture = av.VideoFrame.from_ndarray(
                np.ascontiguousarray(frames[index, :height, :width]), format="rgb24"
            )
            picture.pts = index
        for packet in encoder.encode(picture):
            for frame in decoder.decode(packet):
                found.append(_vectors(frame))
    found += [_vectors(frame) for frame in decoder.decode(None)]
    return found[1:]


def _vectors(frame: av.VideoFrame) -> np.ndarray:
    data = frame.side_data.get("MOTION_VECTORS")
    if data is None:
        return np.zeros((0, 3), np.float32)
    table = data.to_ndarray()
    area = table["w"].astype(np.float32) * table["h"]
    scale = np.maximum(table["motion_scale"], 1).astype(np.float32)
    return np.stack([area, table["motion_x"] / scale, table["motion_y"] / scale], axis=1)
