"""Media files out.

Owns encoders, containers and writing whole or not at all; does not know what a clip is for.

mp4 is H.264 in yuv420p (plays everywhere; an odd width or height gains one pixel, a copy of the edge),
webm is VP9, gif has one palette made for the clip, png holds one frame, webp one or many. Colours are
converted and tagged as BT.709. Caption and comment go into the container's tags (a gif has room for one:
the comment, else the caption). Tracks other than the frames are not written.
"""

import io
import os
import tempfile
from collections.abc import Callable
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
from worldtube.video.clip import Clip
from worldtube.video.reader import EXIF_TAGS

SMALL = 1 << 17
"""Frames below so many pixels are encoded on one thread: it is faster and takes no turn from others."""


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
        write_whole(target, data)
    else:
        target.write(data)


def check_format(path: str | Path, *, still: bool = False) -> str:
    """The format that a path's ending asks for. still: whether one frame is to be written, which png needs."""
    format = Path(path).suffix[1:].lower()
    if format not in FORMATS:
        raise unknown("video format", format or f"of {path}", FORMATS)
    if format == "png" and not still:
        raise RequestError(f"{path} would hold one frame (accepted: mp4, webm, gif, webp)")
    return format


def encode(clip: Clip, *, lossless: bool = False, crf: int = 16) -> bytes:
    """The clip as the bytes of an mp4 file."""
    return _mp4(clip, lossless, crf, "")


def write_whole(path: str | Path, data: bytes) -> Path:
    """Write a file so that it appears whole or not at all (temporary file beside it, fsync, rename)."""
    path = Path(path)
    if not path.parent.is_dir():
        raise RequestError(f"no folder {path.parent} to write {path.name} in")
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise RequestError(f"{path} cannot be written: {error.strerror}") from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException as error:
        os.unlink(temporary)
        if isinstance(error, OSError):
            raise RequestError(f"{path} cannot be written: {error.strerror}") from error
        raise
    return path


def _umask() -> int:
    # Read once at import would be wrong for a later os.umask; there is no call that only reads it.
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _rate(clip: Clip) -> Fraction:
    return Fraction(clip.fps).limit_denominator(1001)


def _coded(
    clip: Clip, container: str, codec: str, pixels: str, options: dict[str, str], comment: str
) -> bytes:
    frames = clip.frames
    if codec == "libx264":
        _, height, width, _ = frames.shape
        frames = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    flags = {"fflags": "+bitexact"}
    # Putting the index first (faststart) reads the file back, which FFmpeg does by name only: hence a real file.
    if container == "mp4":
        flags["movflags"] = "+faststart"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "clip")
        with av.open(str(path), mode="w", format=container, options=flags) as output:
            _encode_frames(output, clip, frames, codec, pixels, options, comment)
        return path.read_bytes()


def _encode_frames(
    output: OutputContainer,
    clip: Clip,
    frames: np.ndarray,
    codec: str,
    pixels: str,
    options: dict[str, str],
    comment: str,
) -> None:
    tags = {"title": clip.caption, "comment": comment}
    output.metadata.update({key: value for key, value in tags.items() if value})
    stream = output.add_stream(codec, rate=_rate(clip), options=options)
    assert isinstance(stream, av.VideoStream)
    stream.height, stream.width = frames.shape[1:3]
    stream.pix_fmt = pixels
    rgb = pixels in ("rgb24", "gbrp")
    if not rgb:
        stream.codec_context.color_primaries = ColorPrimaries.BT709
        stream.codec_context.color_trc = ColorTrc.BT709
        stream.codec_context.colorspace = Colorspace.ITU709
        stream.codec_context.color_range = ColorRange.MPEG
    if frames.shape[1] * frames.shape[2] < SMALL:
        stream.codec_context.thread_count = 1
    for index, array in enumerate(frames):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(array), format="rgb24")
        if not rgb:
            frame = frame.reformat(
                format=pixels,
                dst_colorspace=Colorspace.ITU709,
                dst_color_range=ColorRange.MPEG,
                dst_color_trc=ColorTrc.BT709,
                dst_color_primaries=ColorPrimaries.BT709,
            )
        frame.pts, frame.time_base = index, 1 / _rate(clip)
        output.mux(stream.encode(frame))
    output.mux(stream.encode())


def _mp4(clip: Clip, lossless: bool, crf: int, comment: str) -> bytes:
    if lossless:
        options = {"qp": "0", "preset": "veryfast"}
        return _coded(clip, "mp4", "libx264rgb", "rgb24", options, comment)
    # x264's macroblock tree reads stray memory at small sizes: the same frames would not always give the same bytes.
    options = {"crf": str(crf), "x264-params": "mbtree=0"}
    return _coded(clip, "mp4", "libx264", "yuv420p", options, comment)


def _webm(clip: Clip, lossless: bool, crf: int, comment: str) -> bytes:
    if lossless:
        return _coded(clip, "webm", "libvpx-vp9", "gbrp", {"lossless": "1"}, comment)
    # VP9 counts 0 to 63 where H.264 counts 0 to 51.
    options = {"crf": str(round(crf * 63 / 51)), "b": "0", "deadline": "good", "cpu-used": "3"}
    return _coded(clip, "webm", "libvpx-vp9", "yuv420p", options, comment)


def _gif(clip: Clip, lossless: bool, crf: int, comment: str) -> bytes:
    if lossless:
        raise RequestError("a gif cannot be lossless (accepted: mp4, webm, png, webp)")
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
    if clip.num_frames != 1:
        raise RequestError(
            f"a png holds 1 frame, not {clip.num_frames} (accepted: mp4, webm, gif, webp)"
        )
    tags = PngImagePlugin.PngInfo()
    for key, value in (("Title", clip.caption), ("Comment", comment)):
        if value:
            tags.add_itxt(key, value)
    buffer = io.BytesIO()
    Image.fromarray(clip.frames[0]).save(buffer, format="png", pnginfo=tags)
    return buffer.getvalue()


def _webp(clip: Clip, lossless: bool, crf: int, comment: str) -> bytes:
    exif = Image.Exif()
    for key, value in (("title", clip.caption), ("comment", comment)):
        if value:
            exif[EXIF_TAGS[key]] = f"{value}\0".encode("utf-16-le")
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
    "webm": _webm,
    "gif": _gif,
    "png": _png,
    "webp": _webp,
}
