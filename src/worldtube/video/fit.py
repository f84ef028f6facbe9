"""Clips made to fit another picture size or another clock. Knows nothing of why."""

from dataclasses import replace

import numpy as np
from PIL import Image

from worldtube.video.clip import Clip, Size


def fit(clip: Clip, size: Size) -> Clip:
    """The clip at another size: scaled until it covers the new picture, what hangs over cut off evenly."""
    if clip.size == size:
        return clip
    frames = [_fit(frame, size, Image.Resampling.LANCZOS) for frame in clip.frames]
    return replace(clip, frames=np.stack(frames), tracks={})


def resize(frames: np.ndarray, size: Size) -> np.ndarray:
    """The whole picture at another size, whatever its shape: uint8 (T, H, W, 3) to (T, height, width, 3) (Lanczos)."""
    if frames.shape[1:3] == (size.height, size.width):
        return frames
    result = np.empty((len(frames), size.height, size.width, 3), np.uint8)
    for k, frame in enumerate(frames):
        picture = Image.fromarray(np.ascontiguousarray(frame))
        result[k] = picture.resize((size.width, size.height), Image.Resampling.LANCZOS)
    return result


def retime(clip: Clip, fps: float) -> Clip:
    """The clip at another rate: at each tick the frame that was shown then."""
    if clip.fps == fps:
        return clip
    index = tick_frames(clip.num_frames, clip.fps, fps)
    tracks = {name: track[index] for name, track in clip.tracks.items()}
    return Clip(
        frames=clip.frames[index],
        fps=fps,
        caption=clip.caption,
        tracks=tracks,
        sound=clip.sound,
    )


def tick_frames(num_frames: int, fps: float, ticks: float) -> np.ndarray:
    """(n,) which of the frames at a rate `fps` is shown at each tick of a clock of `ticks` a second."""
    count = max(1, round(num_frames * ticks / fps))
    return np.minimum((np.arange(count) * fps / ticks + 1e-6).astype(int), num_frames - 1)


def nearest_num_frames(seconds: float, fps: float, stride: int) -> int:
    """Return how many frames, 1 + k * stride with k >= 1, come nearest to a duration.

    Args:
        stride: pixel frames in each latent frame of the codec but the first, which holds one.
    """
    return 1 + stride * max(1, round((seconds * fps - 1) / stride))


def fit_mask(mask: np.ndarray, size: Size) -> np.ndarray:
    """A bool (T, H, W) mask likewise; kept is only what was kept all around."""
    if mask.shape[1:] == (size.height, size.width):
        return mask
    grey = (mask * np.uint8(255)).astype(np.uint8)
    return np.stack([_fit(frame, size, Image.Resampling.BOX) for frame in grey]) == 255


def resize_mask(mask: np.ndarray, size: Size) -> np.ndarray:
    """The whole of a bool (T, H, W) mask at another size; kept is only what was kept all around."""
    if mask.shape[1:] == (size.height, size.width):
        return mask
    result = np.empty((len(mask), size.height, size.width), bool)
    for k, frame in enumerate(mask):
        grey = Image.fromarray((frame * np.uint8(255)).astype(np.uint8))
        grey = grey.resize((size.width, size.height), Image.Resampling.BOX)
        result[k] = np.asarray(grey) == 255
    return result


def _fit(frame: np.ndarray, size: Size, how: Image.Resampling) -> np.ndarray:
    height, width = frame.shape[:2]
    scale = max(size.width / width, size.height / height)
    # Rounding must not lead out of the picture.
    across, down = min(width, size.width / scale), min(height, size.height / scale)
    left, top = (width - across) / 2, (height - down) / 2
    box = (left, top, left + across, top + down)
    picture = Image.fromarray(frame).resize((size.width, size.height), how, box=box)
    return np.asarray(picture)
