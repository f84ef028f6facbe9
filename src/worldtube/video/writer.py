"""Media files out.

Owns encoders, containers and writing whole or not at all; does not know what a clip is for.

mp4 and mov are H.264 in yuv420p (plays everywhere; an odd width or height gains one pixel, a copy of the edge),
webm is VP9, gif has one palette made for the clip, png and jpg hold one frame, webp one or many. Colours are
converted and tagged as BT.709. Caption and comment go into the container's tags (a gif has room for one:
the comment, else the caption). Sound is written by `audio` into mp4, mov and webm; the others have no place for
it. Tracks other than frames and sound are not written.
"""

import io
import logging
import tempfile
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
from av.container import OutputContainer
from av.filter import Graph
from av.video.format import VideoFormat
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from PIL import Image, PngImagePlugin

from worldtube.errors import RequestError, unknown
from worldtube.files import atomic_write, publish
from worldtube.video.audio import SoundTrack
from worldtube.video.clip import Clip
from worldtube.video.images import EXIF_TAGS
from worldtube.video.reader import SMALL
from worldtube.video.sound import Sound

RGB = ("rgb24", "gbrp")
MAX_JPEG_EXIF = 65_000
"""Bytes of the texts in a JPEG, which has one segment for them."""

logger = logging.getLogger(__name__)


def write(
    clip: Clip,
    target: str | Path | BinaryIO,
    *,
    format: str | None = None,
    lossless: bool = False,
    crf: int = 16,
    comment: str = "",
) -> None:
    """Write a clip to a file (whole or not at all) or to an open binary file.

    format: a key of FORMATS; without it, the suffix of the file. crf: quality, 0 (best) to 51 (worst).
    lossless: every pixel comes back equal (mp4: H.264 in RGB, which browsers do not play).
    comment: text for the container's tag.
    """
    if format is None:
        if not isinstance(target, str | Path):
            raise RequestError(f"an open file needs a format (accepted: {', '.join(FORMATS)})")
        format = check_format(target, still=clip.num_frames == 1)
    elif format not in FORMATS:
        raise unknown("video format", format, FORMATS)
    if not 0 <= crf <= 51:
        raise RequestError(f"crf is {crf} (accepted: 0 to 51)")
    data = FORMATS[format](clip, lossless, crf, comment)
    if isinstance(target, str | Path):
        atomic_write(target, data)
    else:
        target.write(data)


def check_format(path: str | Path, *, still: bool = False) -> str:
    """Return the format that a path's ending asks for. still: whether one frame is to be written, as STILLS need.

    Raises:
        RequestError: a folder, no ending or an unknown one, or a still format for several frames
    """
    format = Path(path).suffix[1:].lower()
    if Path(path).is_dir():
        raise RequestError(
            f"{path} is a folder (accepted: a file in it, such as {Path(path, 'clip.mp4')})"
        )
    if not format:
        raise RequestError(
            f"the name {path} has no ending that says a format (accepted: .{', .'.join(FORMATS)})"
        )
    if format not in FORMATS:
        raise unknown("video format", format, FORMATS)
    if format in STILLS and not still:
        raise RequestError(f"{path} would hold one frame (accepted: {', '.join(MOVING)})")
    return format


def encode(clip: Clip, *, lossless: bool = False, crf: int = 16) -> bytes:
    """The clip as the bytes of an mp4 file."""
    return _mp4(clip, lossless, crf, "")


def _rate(clip: Clip) -> Fraction:
    return Fraction(clip.fps).limit_denominator(1001)


def write_blocks(
    path: str | Path,
    blocks: Iterable[np.ndarray],
    *,
    fps: float,
    caption: str = "",
    comment: str = "",
    crf: int = 16,
    sound: Sound | None = None,
) -> int:
    """Write an mp4, mov or webm while its frames, blocks uint8 (T, H, W, 3), are being made; returns how many came.

    sound: as long as the frames at most; what is longer is cut off.
    Whole or not at all, but for Ctrl-C: what came until then is written as a file that plays, and the
    interrupt goes on.
    """
    path = Path(path)
    format = check_format(path)
    if format not in STREAMED:
        raise RequestError(f"{path} cannot be written bit by bit (accepted: {', '.join(STREAMED)})")
    if not path.parent.is_dir():
        raise RequestError(f"no folder {path.parent} to write {path.name} in")
    count = 0
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        part = Path(folder, "clip")
        output = av.open(str(part), mode="w", format=format, options=_flags(format))
        stopped: KeyboardInterrupt | None = None
        try:
            stream = track = None
            try:
                for block in blocks:
                    if stream is None:
                        clip = Clip(frames=block, fps=fps, caption=caption)
                        stream = _stream(output, clip, *STREAMED[format](crf), comment)
                        if sound is not None:
                            track = SoundTrack(output, sound, format, lossless=False)
                    for array in block:
                        output.mux(stream.encode(_frame(stream, array, count)))
                        count += 1
                        if track is not None:
                            track.write(count / fps)
            except KeyboardInterrupt as interrupt:
                stopped = interrupt
            if stream is not None:
                output.mux(stream.encode())
            if track is not None:
                track.finish()
        finally:
            output.close()
        if count:
            publish(part, path)
    if stopped is not None:
        raise stopped
    return count


def _flags(container: str) -> dict[str, str]:
    # Putting the index first (faststart) reads the file back, which FFmpeg does by name only: hence a real file.
    return {"fflags": "+bitexact"} | (
        {"movflags": "+faststart"} if container in ("mp4", "mov") else {}
    )


def _coded(
    clip: Clip, container: str, codec: str, pixels: str, options: dict[str, str], comment: str
) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "clip")
        with av.open(str(path), mode="w", format=container, options=_flags(container)) as output:
            stream, track = _stream(output, clip, codec, pixels, options, comment), None
            if clip.sound is not None:
                track = SoundTrack(output, clip.sound, container, lossless=pixels in RGB)
            for index, array in enumerate(clip.frames):
                output.mux(stream.encode(_frame(stream, array, index)))
                if track is not None:
                    track.write((index + 1) / clip.fps)
            output.mux(stream.encode())
            if track is not None:
                track.finish()
        return path.read_bytes()


def _stream(
    output: OutputContainer,
    clip: Clip,
    codec: str,
    pixels: str,
    options: dict[str, str],
    comment: str,
) -> av.VideoStream:
    """A stream for frames like the clip's; H.264 needs even sides."""
    tags = {"title": clip.caption, "comment": comment}
    output.metadata.update({key: value for key, value in tags.items() if value})
    stream = output.add_stream(codec, rate=_rate(clip), options=options)
    assert isinstance(stream, av.VideoStream)
    even = 1 if codec == "libx264" else 0
    stream.height, stream.width = (side + (side & even) for side in clip.frames.shape[1:3])
    stream.pix_fmt = pixels
    if pixels not in RGB:
        stream.codec_context.color_primaries = ColorPrimaries.BT709
        stream.codec_context.color_trc = ColorTrc.BT709
        stream.codec_context.colorspace = Colorspace.ITU709
        stream.codec_context.color_range = ColorRange.MPEG
    if stream.height * stream.width < SMALL:
        stream.codec_context.thread_count = 1
    return stream


def _frame(stream: av.VideoStream, array: np.ndarray, index: int) -> av.VideoFrame:
    height, width = array.shape[:2]
    if (height, width) != (stream.height, stream.width):
        array = np.pad(
            array, ((0, stream.height - height), (0, stream.width - width), (0, 0)), mode="edge"
        )
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(array), format="rgb24")
    if stream.pix_fmt not in RGB:
        frame = frame.reformat(
            format=stream.pix_fmt,
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            dst_color_trc=ColorTrc.BT709,
            dst_color_primaries=ColorPrimaries.BT709,
            threads=1,
        )
    rate = stream.average_rate
    assert rate is not None
    frame.pts, frame.time_base = index, 1 / rate
    return frame


def _mp4(clip: Clip, lossless: bool, crf: int, comment: str, container: str = "mp4") -> bytes:
    if lossless:
        options = {"qp": "0", "preset": "veryfast"}
        return _coded(clip, container, "libx264rgb", "rgb24", options, comment)
    return _coded(clip, container, *_h264(crf), comment)


def _mov(clip: Clip, lossless: bool, crf: int, comment: str) -> bytes:
    return _mp4(clip, lossless, crf, comment, "mov")


def _h264(crf: int) -> tuple[str, str, dict[str, str]]:
    # x264's macroblock tree reads stray memory at small sizes: the same frames would not always give the same bytes.
    return "libx264", "yuv420p", {"crf": str(crf), "x264-params": "mbtree=0"}


def _webm(clip: Clip, lossless: bool, crf: int, comment: str) -> bytes:
    if lossless:
        return _coded(clip, "webm", "libvpx-vp9", "gbrp", {"lossless": "1"}, comment)
    return _coded(clip, "webm", *_vp9(crf), comment)


def _vp9(crf: int) -> tuple[str, str, dict[str, str]]:
    # VP9 counts 0 to 63 where H.264 counts 0 to 51.
    options = {"crf": str(round(crf * 63 / 51)), "b": "0", "deadline": "good", "cpu-used": "3"}
    return "libvpx-vp9", "yuv420p", options


def _gif(clip: Clip, lossless: bool, crf: int, comment: str) -> bytes:
    if lossless:
        raise RequestError("a gif cannot be lossless (accepted: mp4, mov, webm, png, webp)")
    if clip.fps > 50:
        raise RequestError(f"a gif cannot show {clip.fps:g} frames a second (accepted: up to 50)")
    graph = Graph()
    height, width = clip.frames.shape[1:3]
    source = graph.add_buffer(
        width=width, height=height, format=VideoFormat("rgb24"), time_base=1 / _rate(clip)
    )
    split, make, use = graph.add("split"), graph.add("palettegen"), graph.add("paletteuse")
    sink = graph.add("buffersink")
    source.link_to(split)
    split.link_to(make, 0, 0)
    split.link_to(use, 1, 0)
    make.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()
    for index, array in enumerate(clip.frames):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(array), format="rgb24")
        frame.pts, frame.time_base = index, 1 / _rate(clip)
        source.push(frame)
    source.push(None)
    buffer = io.BytesIO()
    with av.open(buffer, mode="w", format="gif", options={"loop": "0"}) as output:
        stream = output.add_stream("gif", rate=_rate(clip))
        stream.width, stream.height, stream.pix_fmt = width, height, "pal8"
        for _ in clip.frames:
            frame = sink.pull()
            assert isinstance(frame, av.VideoFrame)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    data = buffer.getvalue()
    if text := (comment or clip.caption).encode():
        # FFmpeg writes no comments into gifs: a comment block before the trailer.
        parts = [text[i : i + 255] for i in range(0, len(text), 255)]
        block = b"".join(bytes([len(part)]) + part for part in parts)
        data = data[:-1] + b"\x21\xfe" + block + b"\x00" + data[-1:]
    return data


def _png(clip: Clip, lossless: bool, crf: int, comment: str) -> bytes:
    _check_still(clip, "png")
    tags = PngImagePlugin.PngInfo()
    for key, value in (("Title", clip.caption), ("Comment", comment)):
        if value:
            tags.add_itxt(key, value)
    buffer = io.BytesIO()
    Image.fromarray(clip.frames[0]).save(buffer, format="png", pnginfo=tags)
    return buffer.getvalue()


def _jpg(clip: Clip, lossless: bool, crf: int, comment: str) -> bytes:
    if lossless:
        raise RequestError("a jpg cannot be lossless (accepted: mp4, mov, webm, png, webp)")
    _check_still(clip, "jpg")
    exif = _exif(clip, comment)
    if len(exif.tobytes()) > MAX_JPEG_EXIF:
        logger.warning("the texts of a jpg hold %d bytes at most: they are left out", MAX_JPEG_EXIF)
        exif = Image.Exif()
    buffer = io.BytesIO()
    picture = Image.fromarray(clip.frames[0])
    picture.save(buffer, format="jpeg", quality=100 - crf, subsampling=0, exif=exif)
    return buffer.getvalue()


def _check_still(clip: Clip, format: str) -> None:
    if clip.num_frames != 1:
        raise RequestError(
            f"a {format} holds 1 frame, not {clip.num_frames} (accepted: {', '.join(MOVING)})"
        )


def _exif(clip: Clip, comment: str) -> Image.Exif:
    exif = Image.Exif()
    for key, value in (("title", clip.caption), ("comment", comment)):
        if value:
            exif[EXIF_TAGS[key]] = f"{value}\0".encode("utf-16-le")
    return exif


def _webp(clip: Clip, lossless: bool, crf: int, comment: str) -> bytes:
    exif = _exif(clip, comment)
    pictures = [Image.fromarray(frame) for frame in clip.frames]
    ends = [round(1000 * (k + 1) / clip.fps) for k in range(len(pictures))]
    durations = np.diff([0, *ends]).tolist()  # whole milliseconds that do not drift
    options: dict[str, Any] = {
        "lossless": lossless,
        "quality": 100 - crf,
        "exif": exif,
        "method": 4,
    }
    if len(pictures) > 1:
        # minimize_size and allow_mixed stay off, or equal frames would be merged.
        options |= {"save_all": True, "append_images": pictures[1:], "duration": durations}
        options |= {"loop": 0}
    buffer = io.BytesIO()
    pictures[0].save(buffer, format="webp", **options)
    return buffer.getvalue()


FORMATS: dict[str, Callable[[Clip, bool, int, str], bytes]] = {
    "mp4": _mp4,
    "mov": _mov,
    "webm": _webm,
    "gif": _gif,
    "png": _png,
    "jpg": _jpg,
    "jpeg": _jpg,
    "webp": _webp,
}

STILLS = ("png", "jpg", "jpeg")
"""Formats that hold one frame."""
MOVING = tuple(name for name in FORMATS if name not in STILLS)

STREAMED: dict[str, Callable[[int], tuple[str, str, dict[str, str]]]] = {
    "mp4": _h264,
    "mov": _h264,
    "webm": _vp9,
}
"""Formats that can be written while frames are being made: crf -> codec, pixels, options."""

WITH_SOUND = tuple(STREAMED)
"""Formats that hold sound."""
