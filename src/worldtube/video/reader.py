"""Media files in.

Owns decoding and the step from real timestamps to a constant rate; does not know how files are written. Frame times in
a file may be uneven; a `Clip` has one rate. Evenly spaced frames are kept as they are. Uneven ones, and every file
when `fps` is given, are resampled: every picture is shown for as long as the file says, the last one too. Pictures are
turned upright and have square pixels; high dynamic range is tone-mapped (`color`). Cover art is no picture of a video.
"""

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from av.container import InputContainer
from av.video.reformatter import VideoReformatter
from PIL import Image, ImageSequence

from worldtube.errors import DataError, NotFound, RequestError
from worldtube.video import images
from worldtube.video.audio import read_sound
from worldtube.video.clip import Clip
from worldtube.video.color import EXACT, SMALLER, to_rgb
from worldtube.video.container import (
    READ_ERRORS,
    REORDER,
    demux,
    open_container,
    orientation,
    picture_stream,
    pixel_aspect,
    scan_packets,
    set_upright,
)
from worldtube.video.structure import is_complete, track_ends
from worldtube.video.timing import Timed, constant_rate, resample

SMALL = 1 << 17
"""Pictures below so many pixels are decoded and encoded on one thread: it is faster and takes no turn from others."""
REPEATED_BYTES = 1 << 30
"""Of frames that repeat pictures which are shown for long, where the rate is chosen here."""
MOST_BYTES = 1 << 33
"""Of frames of a file whose pictures are repeated, where the caller names the rate."""
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"mif1")


@dataclass(frozen=True, kw_only=True)
class _Source:
    """The frames of a file and their clock."""

    timed: Iterator[Timed]
    """In order, decoded as they are asked for."""
    times: list[float]
    """When each is first shown, in seconds, as far as the file was looked at."""
    end: float
    """When the last one ends, on the same clock."""
    fps: float
    """Frames per second where they are even, else on average."""
    even: bool
    frame_bytes: int
    caption: str
    has_sound: bool = False


def read(
    source: str | Path | bytes, *, fps: float | None = None, max_frames: int | None = None
) -> Clip:
    """The clip in a media file or in the bytes of one: any container, pictures and animated pictures too.

    fps: resample to this rate. Without it evenly timed files keep their own rate; for uneven ones the lowest rate is
    chosen at which every picture is there for as long as it was shown.
    max_frames: stop after so many frames (of the result).
    Of several audio streams the first is the clip's sound.
    Raises NotFound for a missing file, DataError (with the path and the reason) for one that holds no whole video.
    """
    if fps is not None and not 0 < fps < 1e6:
        raise RequestError(f"fps is {fps} (accepted: a number above 0)")
    if max_frames is not None and max_frames < 1:
        raise RequestError(f"max_frames is {max_frames} (accepted: at least 1)")
    name = "the given bytes" if isinstance(source, bytes) else str(source)
    with _open(source, name) as file:
        try:
            picture = images.open_picture(file)
            limit = max_frames if fps is None else None
            media = (
                _from_pages(picture, limit)
                if picture is not None
                else _from_container(file, name, limit)
            )
            rate, pictures = _on_clock(media, fps, max_frames, name)
            frames = []
            for frame in pictures:
                if frames and frame.shape != frames[0].shape:
                    raise DataError(f"{name} changes its frame size within the video")
                frames.append(frame)
                if len(frames) == max_frames:
                    break
            sound = None
            if frames and media.has_sound:  # opening a file anew takes time
                with open_container(file) as container:
                    sound = read_sound(container, seconds=len(frames) / float(rate))
        except READ_ERRORS as error:
            raise DataError(f"{name} cannot be read as video: {_reason(error)}") from error
    if not frames:
        raise DataError(f"{name} holds no video frames")
    return Clip(frames=np.stack(frames), fps=float(rate), caption=media.caption, sound=sound)


def _on_clock(
    media: _Source, fps: float | None, max_frames: int | None, name: str
) -> tuple[float, Iterator[np.ndarray]]:
    """The rate of the clip, and its frames."""
    if fps is None and media.even:
        return media.fps, (frame for _, frame in media.timed)
    if fps is None:
        most = max(4 * len(media.times), REPEATED_BYTES // media.frame_bytes)
        rate = constant_rate(media.times, media.end, max_frames=most)
    else:
        rate = fps
        seconds = media.end - media.times[0] if media.times else 0.0
        count = int(seconds * rate)
        most = max(16 * len(media.times), MOST_BYTES // media.frame_bytes)
        if max_frames is None and count > most:
            raise DataError(
                f"{name} shows {len(media.times)} pictures for {seconds:.0f} s, which at {rate:g} fps is "
                f"{count:,} frames (accepted: up to {most:,} of this size)"
            )
    return rate, resample(media.timed, rate, media.end)


def read_picture(picture: Image.Image) -> Clip:
    """Convert an opened picture to a clip; an animated one to all its frames, each for as long as it is shown."""
    media = _from_pages(picture, None)
    rate, frames = _on_clock(media, None, None, "the picture")
    return Clip(frames=np.stack(list(frames)), fps=rate, caption=media.caption)


def read_blocks(source: str | Path | bytes, *, num_frames: int) -> Iterator[np.ndarray]:
    """The frames of a media file as stored, uint8 (T, H, W, 3) with T = num_frames but for the last.

    Pictures are upright; pixels that are not square stay so. Of a video, memory holds one block. Errors are those of
    `read`.
    """
    name = "the given bytes" if isinstance(source, bytes) else str(source)
    with _open(source, name) as file:
        try:
            picture = images.open_picture(file)
            if picture is None and is_complete(file) is False:
                raise DataError(f"{name} is cut off")
            frames = (
                (frame for _, frame in _decoded(file, name, 1.0, square=False))
                if picture is None
                else (frame for _, frame in images.pages(picture))
            )
            block: list[np.ndarray] = []
            for frame in frames:
                if block and frame.shape != block[0].shape:
                    raise DataError(f"{name} changes its frame size within the video")
                block.append(frame)
                if len(block) == num_frames:
                    yield np.stack(block)
                    block = []
            if block:
                yield np.stack(block)
        except READ_ERRORS as error:
            raise DataError(f"{name} cannot be read as video: {_reason(error)}") from error


def decode(data: bytes) -> Clip:
    """The clip that `encode` made bytes of."""
    return read(data)


def read_tags(source: str | Path | bytes) -> dict[str, str]:
    """The text tags of a media file (`title`, `comment`, ...), keys in lower case."""
    name = "the given bytes" if isinstance(source, bytes) else str(source)
    with _open(source, name) as file:
        try:
            picture = images.open_picture(file)
            if picture is not None:
                return images.read_picture_tags(picture)
            with open_container(file) as container:
                tags = {key.lower(): value for key, value in container.metadata.items()}
            if _head(file, 4) == b"GIF8":
                tags |= _gif_tags(file)
            return tags
        except READ_ERRORS as error:
            raise DataError(f"{name} cannot be read as media: {error}") from error


@dataclass(frozen=True, kw_only=True)
class MediaFacts:
    """What a file holds, without decoding more than must be."""

    width: int
    """As shown, before it is turned upright: with square pixels."""
    height: int
    num_frames: int
    seconds: float
    """From the first frame to the end of the last; 0 for picture files."""
    is_image: bool
    """Whether it is one picture, in a format for pictures."""


def probe(source: str | Path, *, max_frames: int) -> MediaFacts:
    """Look at a media file without decoding its frames; counting stops beyond `max_frames`.

    Raises:
        NotFound, DataError: as `read`
    """
    name = str(source)
    with _open(source, name) as file:
        try:
            picture = images.open_picture(file)
            if picture is not None:
                count = images.count_pages(picture)
                return MediaFacts(
                    width=picture.width,
                    height=picture.height,
                    num_frames=count,
                    seconds=0.0,
                    is_image=count == 1,
                )
            _refuse_heic(file, name)
            ends = track_ends(file)
            with open_container(file) as container:
                return _probe_container(container, name, max_frames, ends)
        except READ_ERRORS as error:
            raise DataError(f"{name} is neither a picture nor a video: {_reason(error)}") from error


def _probe_container(
    container: InputContainer, name: str, max_frames: int, ends: Mapping[int, float]
) -> MediaFacts:
    stream = picture_stream(container, name)
    width = max(1, round(stream.width * pixel_aspect(stream)))
    packets = scan_packets(container, stream, ends=ends, max_frames=max_frames)
    times = packets.times
    still = container.format.name == "gif" or container.format.name.endswith(("_pipe", "image2"))
    return MediaFacts(
        width=width,
        height=stream.height,
        num_frames=packets.count,
        seconds=times[-1] - times[0] + packets.last if times else 0.0,
        is_image=still and packets.count == 1,
    )


def _open(source: str | Path | bytes, name: str) -> BinaryIO:
    if isinstance(source, bytes):
        return io.BytesIO(source)
    try:
        return open(source, "rb")
    except FileNotFoundError as error:
        raise NotFound(f"no file {name}") from error
    except OSError as error:
        raise DataError(f"{name} cannot be opened: {error.strerror}") from error


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _head(file: BinaryIO, length: int) -> bytes:
    file.seek(0)
    head = file.read(length)
    file.seek(0)
    return head


def _refuse_heic(file: BinaryIO, name: str) -> None:
    head = _head(file, 12)
    if head[4:8] == b"ftyp" and head[8:12] in HEIC_BRANDS:
        # FFmpeg would give one of the tiles that such a picture is made of.
        raise DataError(f"{name} is a HEIC picture (accepted: JPEG, PNG, WebP, AVIF, TIFF, BMP)")


def _from_pages(picture: Image.Image, limit: int | None) -> _Source:
    frames: list[np.ndarray] = []
    durations: list[float] = []
    for duration, frame in images.pages(picture):
        durations.append(duration)
        frames.append(frame)
        if limit is not None and len(frames) >= limit + REORDER:
            break  # enough to know the rate
    starts = np.concatenate([[0.0], np.cumsum(durations)]).tolist()
    rate = len(frames) / starts[-1] if len(frames) > 1 else 1.0
    even = max(durations) - min(durations) <= 0.002 + 0.05 * max(durations)
    if len(frames) > 1 and abs(rate - round(rate)) < 0.02 * rate:
        rate = float(round(rate))  # times are whole milliseconds, so 12 fps reads as 12.05
    return _Source(
        timed=iter(zip(starts, frames, strict=False)),
        times=starts[:-1],
        end=starts[-1] if len(frames) > 1 else 1.0,
        fps=rate,
        even=even,
        frame_bytes=frames[0].nbytes,
        caption=images.read_picture_tags(picture).get("title", ""),
    )


def _from_container(file: BinaryIO, name: str, limit: int | None) -> _Source:
    """The frames of a file and their clock, which one look at the packets tells without decoding."""
    _refuse_heic(file, name)
    complete, ends = is_complete(file), track_ends(file)
    with open_container(file) as container:
        stream = picture_stream(container, name)
        caption = {k.lower(): v for k, v in container.metadata.items()}.get("title", "")
        stated = float(stream.average_rate or stream.guessed_rate or 0)
        frame_bytes = max(1, 3 * stream.width * stream.height)
        tick = float(stream.time_base or 0)
        has_sound = bool(container.streams.audio)
        packets = scan_packets(container, stream, ends=ends, max_frames=limit, strict=True)
    if packets.corrupt:
        raise DataError(f"{name} is cut off or damaged after {len(packets.times)} frames")
    # Where the container itself tells that it is whole, its times need not add up.
    cut_off = complete is False or (complete is None and packets.short)
    if cut_off and (limit is None or len(packets.times) < limit):
        raise DataError(f"{name} is cut off after {len(packets.times)} frames")
    times = list(packets.times)
    steps = np.diff(times)
    if len(steps) and times[-1] > times[0]:
        step = float(steps.mean())
        rate = 1 / step
        even = bool(np.abs(steps - step).max() <= 1.01 * tick + 0.05 * step)
        even &= packets.last <= 1.5 * step
        whole = round(rate)
        if even and tick >= 0.01 and abs(whole - rate) * times[-1] <= tick * rate:
            rate = float(whole)  # a gif counts in hundredths, so 12 fps would read as 12.02
        elif even and stated and abs(stated - rate) < 0.01 * rate:
            rate = stated
        end = times[-1] + (packets.last or float(np.median(steps)))
    else:
        known = 1 / packets.last if packets.last else 0.0
        rate, even = (known or stated or 1.0) if len(times) == 1 else (stated or known or 1.0), True
        end = (times[-1] if times else 0.0) + 1 / rate
    return _Source(
        timed=_decoded(file, name, rate, square=True),
        times=times,
        end=end,
        fps=rate,
        even=even,
        frame_bytes=frame_bytes,
        caption=caption,
        has_sound=has_sound,
    )


def _decoded(file: BinaryIO, name: str, rate: float, *, square: bool) -> Iterator[Timed]:
    """Frames with their times on the file's clock. square: whether pixels are made square."""
    with open_container(file) as container:
        stream = picture_stream(container, name)
        stream.thread_type = "NONE" if stream.width * stream.height < SMALL else "AUTO"
        reformatter, aspect = VideoReformatter(), 1.0
        frames = (frame for packet in demux(container, stream) for frame in packet.decode())
        for index, frame in enumerate(frames):
            time = frame.time if frame.time is not None else index / rate
            if index == 0 and square:
                aspect = pixel_aspect(stream)
            width, how = None, EXACT
            if aspect != 1:
                width = max(1, round(frame.width * aspect))
                how = EXACT if aspect > 1 else SMALLER
            pixels = to_rgb(frame, width, frame.height, interpolation=how, reformatter=reformatter)
            yield time, set_upright(pixels, *orientation(frame))


def _gif_tags(file: BinaryIO) -> dict[str, str]:
    with Image.open(file, formats=["GIF"]) as picture:
        comment = b""
        for page in ImageSequence.Iterator(picture):
            comment = page.info.get("comment") or comment
    return {"comment": comment.decode("utf-8", "replace")} if comment else {}
