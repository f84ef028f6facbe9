"""Uploads, looked at in a process of their own, with little time, little memory and no way to other files.

Owns what is accepted of a media file: its kind, pixels, frames and seconds are read from its headers before a frame is
decoded. What comes out is a file that we wrote ourselves, which workers may trust. Knows nothing of requests.
"""

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from worldtube.errors import DataError, RequestError, WorldtubeError

if TYPE_CHECKING:
    from worldtube.video.reader import MediaFacts

Kind = Literal["picture", "clip", "character"]
MAX_FPS = 60.0
"""Frames a second of a clip that keeps its rate."""
DECODED_BYTES = 768 << 20
"""Frames of a clip together, as pixels in memory."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    pixels: int
    """Of a frame of a clip; a picture with more is scaled down."""
    picture_pixels: int
    """Of a picture."""
    frames: int
    seconds: float
    cpu_seconds: float
    memory_mb: int


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What an upload holds, as it was written anew."""

    width: int
    height: int
    fps: float
    num_frames: int
    warning: str = ""
    """What of it is not kept."""


def examine(source: Path, out: Path, kind: Kind, *, fps: float, limits: Limits) -> Seen:
    """Check an upload and write it anew. Raises RequestError.

    A picture becomes a PNG of at most `limits.pixels`. A clip becomes a lossless MP4 with its sound, at its own frame
    rate, or at `fps` where that is beyond MAX_FPS or makes too many frames.
    For a character what moves in it is cut out beside it.
    """
    return Seen(**_apart(source, limits, {"out": str(out), "kind": kind, "fps": fps}))


def signals(source: Path, *, limits: Limits) -> dict[str, Any]:
    """What `provenance.verify` finds in an upload, as JSON holds it. Raises RequestError."""
    return _apart(source, limits, {"out": "", "kind": "signals", "fps": 0.0})


def _apart(source: Path, limits: Limits, asked: dict[str, Any]) -> dict[str, Any]:
    """The answer of a process of its own."""
    told = {"source": str(source), **asked, **asdict(limits)}
    command = [sys.executable, "-m", "worldtube.serve.media", json.dumps(told)]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=2 * limits.cpu_seconds + 10,
        )
    except subprocess.TimeoutExpired as error:
        raise RequestError("the file took too long to decode") from error
    try:
        answer = json.loads(done.stdout)
    except ValueError as error:
        raise RequestError(
            "the file cannot be decoded within the server's limits of time and memory"
        ) from error
    if "error" in answer:
        raise RequestError(answer["error"])
    return answer


def _limit(cpu_seconds: float, memory_mb: int) -> None:
    import resource

    cpu, memory = int(cpu_seconds) + 1, memory_mb << 20
    for what, most in (
        (resource.RLIMIT_CPU, cpu),
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, memory),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))


def _look(source: Path, limits: Limits) -> "MediaFacts":
    """What an upload holds; raises RequestError for what is too large, before a frame is decoded."""
    from PIL import Image

    from worldtube.video.reader import probe

    Image.MAX_IMAGE_PIXELS = None  # our own limit is checked first
    facts = probe(source, max_frames=limits.frames)
    still = facts.is_image
    most = max(limits.picture_pixels, limits.pixels) if still else limits.pixels
    if facts.width * facts.height > most:
        kind, number = ("picture", "") if still else ("clip", " in a frame")
        raise RequestError(
            f"a {kind} must have at most {most / 1e6:.3g} megapixels{number}, got "
            f"{facts.width}x{facts.height} ({facts.width * facts.height / 1e6:.3g} megapixels)"
        )
    if facts.num_frames > limits.frames:
        raise RequestError(f"the file has {facts.num_frames} frames (accepted: {limits.frames})")
    if facts.seconds > limits.seconds:
        raise RequestError(f"the file lasts {facts.seconds:.1f} s (accepted: {limits.seconds:g} s)")
    return facts


def _scaled_down(clip: Any, pixels: int) -> Any:
    """The clip in its shape, with at most so many pixels in a frame."""
    from worldtube.video import Size, fit

    width, height = clip.size.width, clip.size.height
    scale = (pixels / (width * height)) ** 0.5
    if scale >= 1:
        return clip
    return fit(clip, Size(max(1, int(width * scale)), max(1, int(height * scale))))


def _subject(frames: Any) -> Any:
    """What moves, cut out of the frame where it is farthest from the clip's median: uint8 (1, h, w, 3)."""
    import numpy as np

    away = np.abs(frames.astype(np.int16) - np.median(frames, axis=0).astype(np.int16)).sum(-1)
    best = int(away.reshape(len(away), -1).mean(1).argmax())
    mask = away[best] > max(24, int(away[best].max()) // 3)
    if mask.sum() < 16:
        return frames[:1]
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return frames[best : best + 1, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _run(told: dict[str, Any]) -> dict[str, Any]:
    source, out, kind, fps = (
        Path(told.pop("source")),
        Path(told.pop("out")),
        told.pop("kind"),
        told.pop("fps"),
    )
    limits = Limits(**told)
    _limit(limits.cpu_seconds, limits.memory_mb)
    from worldtube import provenance, video

    facts, warning = _look(source, limits), ""
    if kind == "signals":
        return provenance.verify(source).told
    if kind == "picture":
        if facts.num_frames != 1:
            raise RequestError("the file is a video (accepted: a picture; a video can be extended)")
        clip = _scaled_down(video.read(source, max_frames=1), limits.pixels)
        video.write(clip, out.with_suffix(".png"))
    else:
        if facts.is_image:
            raise RequestError("the file is a picture (accepted: a video)")
        size = video.read(source, max_frames=1).size
        width, height = size.width, size.height
        most = DECODED_BYTES // (3 * width * height)
        clip = video.read(source, max_frames=most + 1)
        if kind == "character" or not 1 <= clip.fps <= MAX_FPS or clip.num_frames > most:
            warning = f"the given clip is taken at {fps:g} of its {clip.fps:g} frames a second"
            clip = video.read(source, fps=fps, max_frames=most + 1)
        if clip.num_frames > most:
            raise RequestError(
                f"the file has more than {most} frames of {width}x{height} at {fps:g} a second"
            )
        even = clip.frames[:, : height - height % 2, : width - width % 2]
        if 0 in even.shape:
            raise RequestError(f"the file has {width}x{height} pixels (accepted: 2x2 and more)")
        clip = video.Clip(frames=even, fps=clip.fps, sound=clip.sound)
        video.write(clip, out.with_suffix(".mp4"), lossless=True)
        if kind == "character":
            subject = video.Clip(frames=_subject(clip.frames), fps=1.0)
            video.write(subject, out.with_suffix(".png"))
    size = clip.size
    told = {"width": size.width, "height": size.height, "fps": clip.fps, "warning": warning}
    return told | {"num_frames": clip.num_frames}


if __name__ == "__main__":
    try:
        answer = _run(json.loads(sys.argv[1]))
    except (DataError, WorldtubeError) as error:
        # The upload's name on this host is nobody's business.
        text = str(error).replace(json.loads(sys.argv[1])["source"], "the file")
        answer = {"error": text}
    except MemoryError:
        answer = {"error": "the file needs more memory than the server gives it"}
    sys.stdout.write(json.dumps(answer))
