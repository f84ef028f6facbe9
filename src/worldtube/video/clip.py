"""Clip and Size, the two values every room shares. Owns their validity; does not know files or containers."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from worldtube.errors import RequestError
from worldtube.video.sound import Sound


@dataclass(frozen=True, order=True)
class Size:
    """Width and height in pixels, written `WIDTHxHEIGHT`."""

    width: int
    height: int

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise RequestError(f"size {self.width}x{self.height} is empty (accepted: at least 1x1)")

    @staticmethod
    def parse(text: str) -> "Size":
        """The size written as `128x96` (width first)."""
        match = re.fullmatch(r"(\d{1,6})[x×](\d{1,6})", text.strip().lower())  # noqa: RUF001
        if match is None:
            raise RequestError(f"size {text!r} is not WIDTHxHEIGHT (accepted: such as 128x128)")
        return Size(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


@dataclass(frozen=True, kw_only=True, eq=False)
class Clip:
    """Frames on a clock, with a caption and further tracks on the same clock."""

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

    def __repr__(self) -> str:
        return (
            f"Clip({self.num_frames} frames of {self.size} at {self.fps:g} fps, {self.caption!r})"
        )
