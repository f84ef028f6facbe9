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


def retime(clip: Clip, fps: float) -> Clip:
    """The clip at another rate: at each tick the frame that was shown then."""
    if clip.fps == fps:
        return clip
    count = max(1, round(clip.num_frames * fps / clip.fps))
    index = np.minimum((np.arange(count) * clip.fps / fps + 1e-6).astype(int), clip.num_frames - 1)
    tracks = {name: track[index] for name, track in clip.tracks.items()}
    return Clip(
        frames=clip.frames[index],
        fps=fps,
        caption=clip.caption,
        tracks=tracks,
        sound=clip.sound,
    )


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


def _fit(frame: np.ndarray, size: Size, how: Image.Resampling) -> np.ndarray:
    height, width = frame.shape[:2]
    scale = max(size.width / width, size.height / height)
    # Rounding must not lead out of the picture.
    across, down = min(width, size.width / scale), min(height, size.height / scale)
    left, top = (width - across) / 2, (height - down) / 2
    box = (left, top, left + across, top + down)
    picture = Image.fromarray(frame).resize((size.width, size.height), how, box=box)
    return np.asarray(picture)
