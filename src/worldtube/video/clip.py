"""Clip and Size, the two values every room shares. Owns their validity; does not know files or containers."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, overload

import numpy as np

from worldtube.errors import RequestError
from worldtube.video.sound import Sound

if TYPE_CHECKING:
    from typing import Self

    from PIL.Image import Image
    from torch import Tensor

    from worldtube.video.convert import ClipLike

PREVIEW_SIDE = 512
"""Pixels of the longer side, at most, of what a notebook shows."""
REPR_CAPTION = 60
"""Characters of a caption in a `repr`."""


@dataclass(frozen=True, order=True)
class Size:
    """Width and height in pixels, written `WIDTHxHEIGHT`."""

    width: int
    height: int

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise RequestError(f"size {self.width}x{self.height} is empty (accepted: at least 1x1)")

    @staticmethod
    def of(value: SizeLike) -> Size:
        """Convert `"128x96"` or `(128, 96)`, width first, to a Size.

        Raises:
            RequestError: anything else.
        """
        if isinstance(value, Size):
            return value
        if isinstance(value, str):
            return Size.parse(value)
        try:
            width, height = value
            if all(int(side) == side < 1_000_000 for side in (width, height)):
                return Size(int(width), int(height))
        except (TypeError, ValueError, OverflowError, RuntimeError):
            pass
        raise RequestError(
            f"size must be 'WIDTHxHEIGHT' or (width, height) in whole pixels, got {value!r}"
        )

    @staticmethod
    def parse(text: str) -> Size:
        """The size written as `128x96` (width first)."""
        match = re.fullmatch(r"(\d{1,6})[x×](\d{1,6})", text.strip().lower())  # noqa: RUF001
        if match is None:
            raise RequestError(f"size {text!r} is not WIDTHxHEIGHT (accepted: such as 128x128)")
        return Size(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


SizeLike: TypeAlias = Size | str | tuple[int, int]
"""A `Size`, `"WIDTHxHEIGHT"`, or `(width, height)`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Clip:
    """Frames on a clock, with a caption and further tracks on the same clock.

    `len(clip)` is the number of frames, `clip[5]` a frame (uint8 (H, W, 3)), `clip[3:10]` a clip of seven frames,
    `clip.subclip(0.5, 1.5)` what lies between two times in seconds. `numpy.asarray(clip)` gives the frames.
    """

    frames: np.ndarray
    """uint8 (T, H, W, 3), RGB."""
    fps: float
    """Frames a second."""
    caption: str = ""
    """What is seen, in words."""
    tracks: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Other tracks by name, such as `ids` (T, H, W) or `action` (T, A). Media files do not hold them."""
    sound: Sound | None = None
    """What is heard, from the first frame on; None where nothing is."""

    def __post_init__(self) -> None:
        frames = self.frames
        if not isinstance(frames, np.ndarray) or frames.dtype != np.uint8:
            kind = getattr(frames, "dtype", type(frames).__name__)
            raise RequestError(f"clip frames are {kind} (accepted: a uint8 numpy array)")
        if frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape:
            raise RequestError(
                f"clip frames have shape {frames.shape} (accepted: (T, H, W, 3), none of them 0)"
            )
        if not (math.isfinite(self.fps) and self.fps > 0):
            raise RequestError(f"clip fps is {self.fps} (accepted: a number above 0)")

    @property
    def num_frames(self) -> int:
        return self.frames.shape[0]

    @property
    def seconds(self) -> float:
        return self.num_frames / self.fps

    @property
    def size(self) -> Size:
        return Size(self.frames.shape[2], self.frames.shape[1])

    @classmethod
    def from_frames(cls, frames: ClipLike, fps: float | None = None, *, caption: str = "") -> Clip:
        """Convert pictures, arrays or tensors to a clip.

        Args:
            frames: whatever `as_clip` accepts: a list of PIL images, a NumPy array (T, H, W, 3), a torch tensor
                (T, C, H, W), a path
            fps: frames per second of arrays, tensors and lists, which do not say it; one picture needs none
            caption: what the clip shows, in words

        Raises:
            RequestError: frames of another form, or several frames without `fps`.
        """
        from worldtube.video.convert import as_clip

        clip = as_clip(frames, fps=fps)
        return replace(clip, caption=caption) if caption else clip

    def save(self, path: str | Path) -> Path:
        """Write the clip to a file in the format that the name's ending says (`video.FORMATS`), whole or not at all.

        The file is neither watermarked nor signed: only what worldtube generates is (`Generated.save`).
        """
        from worldtube.video.writer import write

        write(self, path)
        return Path(path)

    def to_pil(self) -> list[Image]:
        """Return the frames as PIL images."""
        from PIL import Image

        return [Image.fromarray(frame) for frame in self.frames]

    def to_torch(self) -> Tensor:
        """Return the frames as a uint8 tensor (T, C, H, W), the layout of torchvision; it owns its memory."""
        import torch

        return torch.from_numpy(self.frames.transpose(0, 3, 1, 2).copy())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.frames, dtype=dtype, copy=copy)

    def __len__(self) -> int:
        return self.num_frames

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(self.frames)

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> np.ndarray | Self:
        """Return a frame, uint8 (H, W, 3), or a clip of the frames of a slice.

        A step keeps the speed of what is seen: `clip[::2]` has half the frame rate. A negative one plays backwards.
        """
        if not isinstance(index, slice):
            return self.frames[index]
        if any(isinstance(bound, float) for bound in (index.start, index.stop)):
            raise TypeError("a slice counts frames; use clip.subclip(start, end) for seconds")
        numbers = range(*index.indices(self.num_frames))
        if not numbers:
            raise RequestError(
                f"a slice must hold at least 1 of the {self.num_frames} frames, got {index}"
            )
        return self._select(numbers)

    def subclip(self, start: float = 0.0, end: float | None = None) -> Self:
        """Return the frames that are shown from `start` until `end`, in seconds; negative ones count from the end."""
        first, last = (
            round((time + self.seconds if time < 0 else time) * self.fps)
            for time in (start, self.seconds if end is None else end)
        )
        numbers = range(max(0, first), min(last, self.num_frames))
        if not numbers:
            raise RequestError(
                f"a subclip must hold at least 1 frame of the {self.seconds:g} seconds, got {start:g} to "
                f"{'the end' if end is None else f'{end:g}'}"
            )
        return self._select(numbers)

    def _select(self, numbers: range) -> Self:
        """The frames of these numbers, with what goes with them; time passes at the same speed."""
        index = slice(numbers.start, None if numbers.stop < 0 else numbers.stop, numbers.step)
        tracks = {name: track[index] for name, track in self.tracks.items()}
        sound = self.sound
        if sound is not None:
            seconds = len(numbers) * abs(numbers.step) / self.fps
            start = numbers[0] if numbers.step > 0 else max(0, numbers[0] + 1 - seconds * self.fps)
            sound = sound.cut(start / self.fps, seconds)
            if numbers.step < 0:
                sound = replace(sound, samples=np.ascontiguousarray(sound.samples[::-1]))
            sound = sound if len(sound.samples) else None
        fps = self.fps / abs(numbers.step)
        return replace(self, frames=self.frames[index], fps=fps, tracks=tracks, sound=sound)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._facts()})"

    def _facts(self) -> str:
        """What a `repr` says of a clip."""
        caption = self.caption
        if len(caption) > REPR_CAPTION:
            caption = caption[: REPR_CAPTION - 3] + "..."
        count = "1 frame" if self.num_frames == 1 else f"{self.num_frames} frames"
        rate = "" if self.num_frames == 1 else f" at {self.fps:g} fps"
        return f"{count} of {self.size}{rate}" + (f", {caption!r}" if caption else "")

    def _repr_html_(self) -> str:
        """The clip as a notebook shows it: a video that plays, or a picture, inside the page."""
        from worldtube.video.fit import fit

        longest = max(self.size.width, self.size.height)
        clip, shown = self, max(1.0, 256 / longest)
        if longest > PREVIEW_SIDE:
            sides = (self.size.width, self.size.height)
            clip = fit(
                self, Size(*(max(1, round(side * PREVIEW_SIDE / longest)) for side in sides))
            )
        kind = "png" if self.num_frames == 1 else "mp4"
        data = base64.b64encode(clip._encode(kind)).decode()
        width = round(clip.size.width * shown)
        if kind == "png":
            return f'<img width="{width}" src="data:image/png;base64,{data}">'
        return (
            f'<video width="{width}" controls autoplay loop muted playsinline '
            f'src="data:video/mp4;base64,{data}"></video>'
        )

    def _encode(self, format: str) -> bytes:
        """The bytes of a file, to be shown."""
        import io

        from worldtube.video.writer import write

        buffer = io.BytesIO()
        write(self, buffer, format=format)
        return buffer.getvalue()
