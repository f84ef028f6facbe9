"""Sound of a clip: samples on the clip's clock, and what is done to them in plain numpy.

Owns cutting, resampling and joining. Knows nothing of files (`audio`) or of pictures.
"""

from dataclasses import dataclass

import numpy as np

from worldtube.errors import RequestError

MAX_RATE = 768_000
"""Samples a second that a file may hold."""
LOBES = 16
"""Zero crossings of the resampling filter on each side."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Sound:
    """Samples that begin with the first frame of a clip."""

    samples: np.ndarray
    """float32 (S, C), -1 to 1."""
    rate: int
    """Samples a second."""

    def __post_init__(self) -> None:
        samples = self.samples
        if not isinstance(samples, np.ndarray) or samples.dtype != np.float32:
            kind = getattr(samples, "dtype", type(samples).__name__)
            raise RequestError(f"sound samples must be a float32 numpy array, got {kind}")
        if samples.ndim != 2 or samples.shape[1] == 0:
            raise RequestError(
                f"sound samples must have shape (samples, channels), got {samples.shape}"
            )
        if not 1 <= self.rate <= MAX_RATE:
            raise RequestError(f"sound rate must be between 1 and {MAX_RATE} Hz, got {self.rate}")

    @property
    def channels(self) -> int:
        return self.samples.shape[1]

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate

    def cut(self, start: float, seconds: float) -> "Sound":
        """Return the stretch from `start` on; where it ends earlier, the result is shorter.

        Args:
            start: seconds from the beginning, at least 0
            seconds: duration of the stretch
        """
        first = round(start * self.rate)
        last = round((start + seconds) * self.rate)
        return Sound(samples=self.samples[first:last], rate=self.rate)

    def pad(self, seconds: float) -> "Sound":
        """Return exactly this duration: cut at the end, or followed by silence."""
        count = round(seconds * self.rate)
        samples = self.samples[:count]
        silence = np.zeros((count - len(samples), self.channels), np.float32)
        return Sound(samples=np.concatenate([samples, silence]), rate=self.rate)

    def resample(self, rate: int) -> "Sound":
        """Return the same sound at another rate (windowed sinc; what the lower rate cannot hold is filtered out)."""
        if rate == self.rate or not len(self.samples):
            return Sound(samples=self.samples, rate=rate)
        count = round(len(self.samples) * rate / self.rate)
        band = min(1.0, rate / self.rate)
        reach = int(np.ceil(LOBES / band))
        padded = np.pad(self.samples, ((reach, reach + 1), (0, 0)))
        result = np.empty((count, self.channels), np.float32)
        offsets = np.arange(-reach, reach + 1)
        for first in range(0, count, 1 << 14):  # in blocks: every sample takes many others
            times = np.arange(first, min(count, first + (1 << 14))) * (self.rate / rate)
            whole = np.floor(times).astype(int)
            distance = offsets - (times - whole)[:, None]  # (n, 2 * reach + 1)
            window = np.cos(np.pi / 2 * np.clip(distance / (reach + 1), -1, 1)) ** 2
            weights = (band * np.sinc(band * distance) * window).astype(np.float32)
            near = padded[whole[:, None] + offsets + reach]  # (n, 2 * reach + 1, C)
            result[first : first + len(times)] = np.einsum("nk,nkc->nc", weights, near)
        return Sound(samples=result, rate=rate)

    def mix(self, channels: int) -> "Sound":
        """Return the sound with another number of channels: their mean where there are fewer, copies where more."""
        if channels == self.channels:
            return self
        mean = self.samples.mean(1, keepdims=True, dtype=np.float32)
        if self.channels == 1 or channels == 1:
            return Sound(samples=mean.repeat(channels, axis=1), rate=self.rate)
        samples = np.zeros((len(self.samples), channels), np.float32)
        shared = min(channels, self.channels)
        samples[:, :shared] = self.samples[:, :shared] if channels > shared else mean
        return Sound(samples=samples, rate=self.rate)
