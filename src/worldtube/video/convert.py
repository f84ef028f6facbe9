"""Pictures and clips of other libraries as a `Clip`: NumPy, Pillow, PyTorch, files.

Owns which forms are accepted and what their numbers mean. Knows nothing of why a clip is needed. PyTorch is never
imported here: a tensor can only come from a program that has imported it.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from PIL import Image

from worldtube.errors import RequestError
from worldtube.video.clip import Clip
from worldtube.video.reader import read, read_picture

FORMS = "a path, a PIL image, a NumPy array, a torch tensor, a list of pictures or a Clip"
CHANNELS = (1, 3, 4)
"""Grey, RGB, RGB with opacity."""
ROUNDING = 1e-2
"""By how much floats may lie outside of 0 to 1, as the outputs of networks do; they are clipped."""


class SupportsArray(Protocol):
    """What `numpy.asarray` converts: arrays of NumPy and tensors of PyTorch among others."""

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray: ...


PictureLike: TypeAlias = str | os.PathLike[str] | bytes | Image.Image | SupportsArray | Clip
"""A path, the bytes of a media file, a PIL image, an array or tensor, a `Clip`."""
ClipLike: TypeAlias = PictureLike | Sequence[PictureLike]
"""One of those, or a list of pictures."""


def as_clip(value: ClipLike, *, fps: float | None = None) -> Clip:
    """Convert a picture or a clip of another library to a `Clip`.

    Args:
        value: one of

            - `Clip`: returned as it is
            - path (or bytes) of a media file: video, picture or animated picture
            - PIL image; an animated one becomes a clip of all its frames
            - NumPy array (H, W), (H, W, C) or (T, H, W, C), C being 1 (grey), 3 (RGB) or 4 (RGBA)
            - torch tensor, channels first as in torchvision: (H, W), (C, H, W) or (T, C, H, W)
            - list or tuple of pictures of one size: its frames

            Numbers are uint8, other integers from 0 to 255, booleans, or floats from 0 to 1. What is transparent
            is shown on white.
        fps: frames per second of arrays, tensors and lists, which do not say it; one picture needs none

    Raises:
        RequestError: another form, numbers out of range, or several frames without `fps`.
        NotFound, DataError: a file that is not there or holds no pictures.
    """
    if isinstance(value, Clip):
        return value
    if isinstance(value, str | os.PathLike):
        return read(Path(value))
    if isinstance(value, bytes):
        return read(value)
    if isinstance(value, Image.Image):
        return read_picture(value)
    if isinstance(value, list | tuple):
        frames = _stack(value)
    else:
        frames = _frames(value)
    if len(frames) > 1 and fps is None:
        raise RequestError(
            f"fps must be given with {len(frames)} frames of a {type(value).__name__}, which do not say it "
            "(Clip.from_frames(frames, fps=12))"
        )
    return Clip(frames=frames, fps=1.0 if fps is None else fps)


def as_mask(value: ClipLike) -> np.ndarray:
    """Convert a picture or a clip to a mask, bool (T, H, W): true where it is light or not zero.

    Args:
        value: whatever `as_clip` accepts, and arrays or tensors (T, H, W), a mask for each frame
    """
    if isinstance(value, Clip | str | os.PathLike | bytes | Image.Image | list | tuple):
        pixels = as_clip(value, fps=1.0).frames
    else:
        array = _array(value)
        if array.ndim == 3 and (_is_tensor(value) or array.shape[2] not in CHANNELS):
            return np.stack([_uint8(mask) > 127 for mask in array])
        pixels = _frames(value)
    return pixels.mean(-1) > 127


def _stack(pictures: Sequence[PictureLike]) -> np.ndarray:
    """uint8 (T, H, W, 3) of a list of pictures."""
    if not pictures:
        raise RequestError("a list of pictures must hold at least 1, got none")
    frames: list[np.ndarray] = []
    for number, picture in enumerate(pictures):
        # A copy of a PIL image holds the frame at which it stands alone.
        value = picture.copy() if isinstance(picture, Image.Image) else picture
        clip = as_clip(value, fps=1.0)
        if clip.num_frames != 1:
            raise RequestError(
                f"every entry of a list of pictures must be one picture, got {clip.num_frames} frames at {number}"
            )
        if frames and clip.frames.shape[1:] != frames[0].shape:
            height, width = frames[0].shape[:2]
            raise RequestError(
                f"pictures of a list must be of one size, got {width}x{height} at 0 and {clip.size} at {number}"
            )
        frames.append(clip.frames[0])
    return np.stack(frames)


def _is_tensor(value: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _array(value: Any) -> np.ndarray:
    """The numbers of an array or a tensor, in their own layout."""
    if _is_tensor(value):
        value = value.detach().cpu()
        return (value.float() if value.is_floating_point() else value).numpy()
    if not hasattr(value, "__array__"):
        raise RequestError(f"a picture or clip must be {FORMS}, got {type(value).__name__}")
    return np.asarray(value)


def _frames(value: Any) -> np.ndarray:
    """uint8 (T, H, W, 3) of an array or a tensor."""
    array, tensor = _array(value), _is_tensor(value)
    shape = array.shape
    if array.ndim == 2:
        array = array[None, :, :, None]
    elif array.ndim == 3:
        array = array[None]
    if tensor and len(shape) > 2 and array.ndim == 4:
        array = array.transpose(0, 2, 3, 1)
    if array.ndim != 4 or array.shape[3] not in CHANNELS:
        accepted = (
            "(H, W), (C, H, W) or (T, C, H, W) of a tensor"
            if tensor
            else "(H, W), (H, W, C) or (T, H, W, C) of an array"
        )
        place = "first" if tensor else "last"
        swapped = len(shape) in (3, 4) and shape[-1 if tensor else -3] in CHANNELS
        hint = f" (channels come {place})" if swapped else ""
        raise RequestError(
            f"frames must have shape {accepted}, with C in 1, 3, 4, got {shape}{hint}"
        )
    pixels = _uint8(array)
    if pixels.shape[3] == 1:
        return np.ascontiguousarray(pixels.repeat(3, axis=3))
    if pixels.shape[3] == 4:
        opacity = pixels[..., 3:].astype(np.float32) / 255
        white = pixels[..., :3] * opacity + 255 * (1 - opacity)
        return white.round().astype(np.uint8)
    return np.ascontiguousarray(pixels)


def _uint8(array: np.ndarray) -> np.ndarray:
    """Numbers of pixels as 0 to 255."""
    if array.dtype == np.uint8 or not array.size:
        return array.astype(np.uint8)
    if array.dtype == bool:
        return array * np.uint8(255)
    if array.dtype.kind not in "iuf":
        raise RequestError(f"numbers of frames must be integers or floats, got {array.dtype}")
    low, high = array.min(), array.max()
    if array.dtype.kind != "f":
        if low < 0 or high > 255:
            raise RequestError(
                f"integer frames must lie between 0 and 255, got {low} to {high} of {array.dtype}"
            )
        return array.astype(np.uint8)
    if not (low >= -ROUNDING and high <= 1 + ROUNDING):
        raise RequestError(f"float frames must lie between 0 and 1, got {low:g} to {high:g}")
    return (array.clip(0, 1) * 255).round().astype(np.uint8)
