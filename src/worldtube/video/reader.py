"""Media files in.

Owns decoding, rotation and the step from real timestamps to a constant rate; does not know how files are
written. Frame times in a file may be uneven; a `Clip` has one rate. Evenly spaced frames are kept as they
are. Uneven ones, and every file when `fps` is given, are resampled: the frame at time k / fps is the source
frame nearest to it. Pixels come as stored: the display rotation is applied, a pixel aspect ratio and high
dynamic range are not.
"""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from av.container import InputContainer
from av.video.reformatter import Interpolation
from PIL import Image, ImageOps, ImageSequence

from worldtube.errors import DataError, NotFound, RequestError
from worldtube.video.audio import read_sound
from worldtube.video.clip import Clip

Timed = tuple[float, np.ndarray]
PILLOW_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")
# Playlists and edit lists name further files or addresses: a media file may not make us open those.
EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
"""Without these FFmpeg's colour conversion darkens every pixel by about one."""
SMALL = 1 << 17
"""Pictures below so many pixels are decoded and encoded on one thread: it is faster and takes no turn from others."""
EXIF_TAGS = {
    "title": 0x9C9B,
    "comment": 0x9C9C,
}  # XPTitle and XPComment: the ones that hold any letter
NO_FURTHER_FILES = {"protocol_whitelist": "none"}


def read(
    source: str | Path | bytes, *, fps: float | None = None, max_frames: int | None = None
) -> Clip:
    """The clip in a media file or in the bytes of one: any container, pictures and animated pictures too.

    fps: resample to this rate; without it evenly timed files keep their own rate and uneven ones get their average.
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
            picture = _picture(file)
            timed, rate, even, caption = (
                _from_pillow(picture)
                if picture is not None
                else _from_container(file, name, max_frames if fps is None else None)
            )
            if fps is not None or not even:
                rate = fps or rate
                timed = _resample(timed, rate)
            frames = []
            for _, frame in timed:
                if frames and frame.shape != frames[0].shape:
                    raise DataError(f"{name} changes its frame size within the video")
                frames.append(frame)
                if len(frames) == max_frames:
                    break
            sound = None
            if frames and picture is None:
                with open_container(file) as container:
                    sound = read_sound(container, seconds=len(frames) / float(rate))
        except (av.FFmpegError, OSError, SyntaxError, ValueError, EOFError) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise DataError(f"{name} cannot be read as video: {reason}") from error
    if not frames:
        raise DataError(f"{name} holds no video frames")
    return Clip(frames=np.stack(frames), fps=float(rate), caption=caption, sound=sound)


def read_blocks(source: str | Path | bytes, *, num_frames: int) -> Iterator[np.ndarray]:
    """The frames of a media file as stored, uint8 (T, H, W, 3) with T = num_frames but for the last.

    Of a video, memory holds one block. Errors are those of `read`.
    """
    name = "the given bytes" if isinstance(source, bytes) else str(source)
    with _open(source, name) as file:
        try:
            picture = _picture(file)
            if picture is None and not is_whole(file):
                raise DataError(f"{name} is cut off")
            timed = _decoded(file, 1.0) if picture is None else _from_pillow(picture)[0]
            block: list[np.ndarray] = []
            for _, frame in timed:
                if block and frame.shape != block[0].shape:
                    raise DataError(f"{name} changes its frame size within the video")
                block.append(frame)
                if len(block) == num_frames:
                    yield np.stack(block)
                    block = []
            if block:
                yield np.stack(block)
        except (av.FFmpegError, OSError, SyntaxError, ValueError, EOFError, IndexError) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise DataError(f"{name} cannot be read as video: {reason}") from error


def decode(data: bytes) -> Clip:
    """The clip that `encode` made bytes of."""
    return read(data)


def read_tags(source: str | Path | bytes) -> dict[str, str]:
    """The text tags of a media file (`title`, `comment`, ...), keys in lower case."""
    name = "the given bytes" if isinstance(source, bytes) else str(source)
    with _open(source, name) as file:
        try:
            picture = _picture(file)
            if picture is not None:
                return _picture_tags(picture)
            with open_container(file) as container:
                tags = {key.lower(): value for key, value in container.metadata.items()}
            if _head(file, 4) == b"GIF8":
                tags |= _gif_tags(file)
            return tags
        except (av.FFmpegError, OSError, SyntaxError, ValueError) as error:
            raise DataError(f"{name} cannot be read as media: {error}") from error


def _open(source: str | Path | bytes, name: str) -> BinaryIO:
    if isinstance(source, bytes):
        return io.BytesIO(source)
    try:
        return open(source, "rb")
    except FileNotFoundError as error:
        raise NotFound(f"no file {name}") from error
    except OSError as error:
        raise DataError(f"{name} cannot be opened: {error.strerror}") from error


def _head(file: BinaryIO, length: int) -> bytes:
    file.seek(0)
    head = file.read(length)
    file.seek(0)
    return head


def _picture(file: BinaryIO) -> Image.Image | None:
    """The file as a picture, or None when it is none of the picture formats."""
    try:
        return Image.open(file, formats=PILLOW_FORMATS)
    except Image.UnidentifiedImageError:
        return None
    finally:
        file.seek(0)


def _from_pillow(picture: Image.Image) -> tuple[Iterator[Timed], float, bool, str]:
    durations = []  # of each frame, in seconds
    frames = []
    for page in ImageSequence.Iterator(picture):
        upright = ImageOps.exif_transpose(page)
        if upright.has_transparency_data:
            white = Image.new("RGBA", upright.size, "white")
            upright = Image.alpha_composite(white, upright.convert("RGBA"))
        frames.append(np.array(upright.convert("RGB")))
        durations.append((page.info.get("duration") or 0) / 1000 or 1.0)
    starts = np.concatenate([[0.0], np.cumsum(durations)])
    rate = len(frames) / float(starts[-1])
    even = max(durations) - min(durations) <= 0.002 + 0.05 * max(durations)
    if len(frames) > 1 and abs(rate - round(rate)) < 0.02 * rate:
        rate = float(round(rate))  # times are whole milliseconds, so 12 fps reads as 12.05
    caption = _picture_tags(picture).get("title", "")
    return iter(zip(starts.tolist(), frames, strict=False)), rate, even, caption


def _picture_tags(picture: Image.Image) -> dict[str, str]:
    picture.load()  # PNG text may follow the pixels
    texts = getattr(picture, "text", {})
    tags = {key.lower(): str(value) for key, value in texts.items()}
    for key, tag in EXIF_TAGS.items():
        value = picture.getexif().get(tag)
        if isinstance(value, bytes) and key not in tags:
            tags[key] = value.decode("utf-16-le", "replace").rstrip("\0")
    return tags


def open_container(file: BinaryIO) -> InputContainer:
    """An open container that cannot make us open a further file or address."""
    file.seek(0)
    return av.open(file, mode="r", options=dict(NO_FURTHER_FILES), metadata_errors="replace")


def _from_container(
    file: BinaryIO, name: str, max_frames: int | None
) -> tuple[Iterator[Timed], float, bool, str]:
    """Frames with their times in seconds (decoded as they are asked for), average rate, even or not, caption."""
    with open_container(file) as container:
        if not container.streams.video:
            what = "only sound" if container.streams.audio else "no streams"
            raise DataError(f"{name} holds no video ({what})")
        stream = container.streams.video[0]
        caption = {k.lower(): v for k, v in container.metadata.items()}.get("title", "")
        stated = stream.average_rate or stream.guessed_rate
        # One look at the packets, without decoding, gives the true times.
        times: list[float] = []
        last = 0.0
        for packet in container.demux(stream):
            if packet.is_corrupt:
                raise DataError(f"{name} is cut off or damaged after {len(times)} frames")
            if packet.pts is None or packet.is_discard:
                continue
            times.append(float(packet.pts * packet.time_base))
            last = float((packet.duration or 0) * packet.time_base)
            if max_frames is not None and len(times) >= max_frames + 64:
                break  # enough to know the rate, with room for reordered frames
        length = container.duration if len(container.streams.get()) == 1 else None
        tick = float(stream.time_base or 0)
    times.sort()
    if max_frames is None or len(times) < max_frames:
        end = times[-1] + 2.5 * last if times else 0.0
        short = length is not None and last > 0 and times and end < length / av.time_base + times[0]
        if short or not is_whole(file):
            raise DataError(f"{name} is cut off after {len(times)} frames")
    steps = np.diff(times)
    if len(steps) and times[-1] > times[0]:
        rate = len(steps) / (times[-1] - times[0])
        even = bool(np.abs(steps - steps.mean()).max() <= 1.01 * tick + 0.05 * steps.mean())
        whole = round(rate)
        if even and tick >= 0.01 and abs(whole - rate) * times[-1] <= tick * rate:
            rate = float(whole)  # a gif counts in hundredths, so 12 fps would read as 12.02
        elif even and stated and abs(float(stated) - rate) < 0.01 * rate:
            rate = float(stated)
    else:
        rate, even = float(stated or 0) or (1 / last if last else 1.0), True
    return _decoded(file, rate), rate, even, caption


def _decoded(file: BinaryIO, rate: float) -> Iterator[Timed]:
    with open_container(file) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE" if stream.width * stream.height < SMALL else "AUTO"
        first: float | None = None
        for index, frame in enumerate(container.decode(stream)):
            time = frame.time if frame.time is not None else index / rate
            first = time if first is None else first
            pixels = frame.reformat(format="rgb24", interpolation=EXACT, threads=1).to_ndarray()
            turns = round(frame.rotation / 90) % 4
            yield time - first, np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels


def _resample(timed: Iterator[Timed], rate: float) -> Iterator[Timed]:
    """Frames at 0, 1 / rate, 2 / rate ...: each the nearest in time, the last held for one average source step."""
    previous: Timed | None = None
    num_source = num_out = 0
    for time, frame in timed:
        if previous is not None:
            middle = (previous[0] + time) / 2
            while num_out / rate < middle - 1e-6:
                yield num_out / rate, previous[1]
                num_out += 1
        previous = (time, frame)
        num_source += 1
    if previous is None:
        return
    step = previous[0] / (num_source - 1) if num_source > 1 else 0.0
    while num_out == 0 or num_out / rate < previous[0] + step - 0.5 / rate + 1e-6:
        yield num_out / rate, previous[1]
        num_out += 1


def is_whole(file: BinaryIO) -> bool:
    """False for an mp4, mov or gif that ends before its own structure does, which FFmpeg does not report."""
    head = _head(file, 12)
    end = file.seek(0, io.SEEK_END)
    if head.startswith(b"GIF8"):
        file.seek(max(0, end - 64))
        return file.read().rstrip(b"\0").endswith(b";")
    if head[4:8] != b"ftyp":
        return True
    start = 0  # mp4 and mov: parts, each led by its length
    while start + 8 <= end:
        file.seek(start)
        part = file.read(16)
        length = int.from_bytes(part[:4], "big")
        if length == 1:
            length = int.from_bytes(part[8:16], "big")
        if length == 0:  # to the end of the file
            return True
        start += max(length, 8)
    return start <= end


def _gif_tags(file: BinaryIO) -> dict[str, str]:
    with Image.open(file, formats=["GIF"]) as picture:
        comment = b""
        for page in ImageSequence.Iterator(picture):
            comment = page.info.get("comment") or comment
    return {"comment": comment.decode("utf-8", "replace")} if comment else {}
