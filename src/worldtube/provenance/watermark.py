"""The mark in the pixels: a keyed pattern of signs, and the test for it.

Owns how a mark is laid into frames and found again. Knows nothing of files, certificates or what was made.

The luma of RUN frames, averaged, is projected on two-dimensional cosines. They are counted in half-waves per
picture, so resizing does not move them; those with LOW to HIGH of them carry one sign each. Three bytes, the
payload, choose the signs: byte j has 256 keyed random words on every third coefficient. Laying it in is informed
by the frames: coefficients that have their sign already get nothing, those just short of a margin are pushed over
it, those far on the wrong side are given up (Cox, Miller, Bloom: Digital Watermarking, ch. 5, informed embedding).
The pattern is stronger where the picture has texture, and stays from run to run while it does its work.

Finding: for frames that do not depend on the secret each sign agrees with probability 1/2, independently, so the
number that agree is binomial *exactly*, whatever the frames show; times 2^24 for the choice of the payload, that
is a p-value that needs no calibration.
"""

import hashlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image

LOW, HIGH = 16, 40
SYMBOLS = 3
RUN = 24
"""Frames that are averaged and get one pattern (no more than 257, or sums would not fit their type)."""
CLAIM = 1e-6
"""A p-value up to this is called found."""
PASSES = 4
CALM = 8.5
"""Texture of an ordinary simulated or generated picture; busier ones get a stronger mark."""
AGAIN = 1.5
"""How much stronger a mark is laid over an earlier one of ours, so that it is the new payload that is read."""
LUMA = np.array([0.2126, 0.7152, 0.0722])

_U, _V = (axis.ravel() for axis in np.mgrid[: HIGH + 1, : HIGH + 1])
_RING = np.flatnonzero((np.hypot(_U, _V) >= LOW) & (np.hypot(_U, _V) <= HIGH))
_SYMBOL = np.arange(len(_RING)) % SYMBOLS


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a search for the mark came to."""

    p_value: float
    """Chance that so many signs agree in frames without the mark."""
    agree: int
    """Signs that agree with the nearest payload."""
    of: int
    """Signs that frames of this size can hold."""
    payload: str
    """Six hexadecimal digits that name the generation, should the mark be there."""

    @property
    def found(self) -> bool:
        return self.p_value <= CLAIM


class Mark:
    """Lays one clip's mark into its frames, run by run; memory does not grow with the clip."""

    def __init__(self, secret: bytes, name: bytes):
        """name: whatever tells this generation from others; the payload is its keyed hash."""
        digest = hashlib.blake2b(name, digest_size=SYMBOLS, key=secret).digest()
        self.payload = digest.hex()
        """Six hexadecimal digits."""
        self._secret = secret
        self._code = _words(secret)[np.frombuffer(digest, np.uint8)[_SYMBOL], np.arange(len(_RING))]
        self._pattern: np.ndarray | None = None
        self._force = 1.0

    def __call__(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Blocks uint8 (T, H, W, 3) of any lengths in, marked runs out. Same frames, same pixels, however cut.

        When the source is interrupted, what came before goes out first.
        """
        waiting: list[np.ndarray] = []
        stopped: KeyboardInterrupt | None = None
        source = iter(blocks)
        while stopped is None:
            try:
                block = next(source, None)
            except KeyboardInterrupt as interrupt:
                stopped = interrupt
                break
            if block is None:
                break
            waiting += list(block)
            while len(waiting) >= RUN:
                yield self._run(np.stack(waiting[:RUN]))
                del waiting[:RUN]
        if waiting:
            yield self._run(np.stack(waiting))
        if stopped is not None:
            raise stopped

    def _run(self, frames: np.ndarray) -> np.ndarray:
        mean = _luma(frames)
        if self._pattern is None:
            before = Search()
            before.add(frames)
            self._force = AGAIN if before.result(self._secret).found else 1.0
            self._pattern, _ = _pattern(mean, self._code, self._force)
        elif len(frames) >= RUN // 2:
            fresh, margin = _pattern(mean, self._code, self._force)
            old, new = (_firm(mean + one, self._code, margin) for one in (self._pattern, fresh))
            if old < new - 0.02 * len(_RING):  # else it stays: a pattern that changes can be seen
                self._pattern = fresh
        return _added(frames, np.rint(self._pattern))


class Search:
    """Looks for the mark in frames that come block by block."""

    def __init__(self) -> None:
        self._votes = np.zeros(len(_RING))
        self._fits = np.ones(len(_RING), bool)

    def add(self, frames: np.ndarray) -> None:
        """uint8 (T, H, W, 3), best RUN at a time. Each run has one bounded vote on every sign."""
        x = _project(_luma(frames))
        self._votes += len(frames) * x / (np.abs(x) + np.median(np.abs(x)) + 1e-9)
        self._fits &= _fitting(*frames.shape[1:3])

    def result(self, secret: bytes) -> Found:
        """What there is of the mark that was laid with a secret."""
        words = _words(secret)
        signs = np.where(self._votes < 0, -1, 1).astype(np.float32) * self._fits
        payload, agree = bytearray(), 0
        for symbol in range(SYMBOLS):
            own = symbol == _SYMBOL
            score = words[:, own] @ signs[own]
            payload.append(int(score.argmax()))
            agree += (int(score.max()) + int(self._fits[own].sum())) // 2
        of = int(self._fits.sum())
        return Found(p_value=_p_value(agree, of), agree=agree, of=of, payload=payload.hex())


def _added(frames: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Frames with whole grey levels (H, W) added to each colour, kept within 0 to 255 without leaving bytes."""
    every = np.repeat(levels[..., None], 3, axis=2)
    up, down = (np.clip(one, 0, 255).astype(np.uint8) for one in (every, -every))
    top, out = 255 - up, np.empty_like(frames)
    for frame, made in zip(frames, out, strict=True):
        np.minimum(frame, top, out=made)
        made += up
        np.maximum(made, down, out=made)
        made -= down
    return out


def _p_value(agree: int, of: int) -> float:
    """P(binomial(of, 1/2) >= agree), times the number of payloads, at most 1; in exact integers."""
    term = tail = math.comb(of, agree)
    for k in range(agree, of):
        term = term * (of - k) // (k + 1)
        tail += term
    return min(1.0, (tail << 8 * SYMBOLS) / (1 << of))


@lru_cache(maxsize=4)
def _words(secret: bytes) -> np.ndarray:
    """float32 (256, N): row b holds the signs that a byte b asks for, on the coefficients of each of the bytes."""
    count = 256 * len(_RING)
    stream = hashlib.shake_256(b"worldtube watermark 1\0" + secret).digest((count + 7) // 8)
    bits = np.unpackbits(np.frombuffer(stream, np.uint8))[:count].reshape(256, -1)
    return bits.astype(np.float32) * 2 - 1


def _luma(frames: np.ndarray) -> np.ndarray:
    """(H, W): the mean frame's."""
    return frames.sum(0, dtype=np.uint32 if len(frames) > 257 else np.uint16) @ LUMA / len(frames)


@lru_cache(maxsize=16)
def _cosines(side: int) -> np.ndarray:
    """(HIGH + 1, side): cosines of 0 to HIGH half-waves, mean square 1."""
    place = (np.arange(side) + 0.5) / side
    return math.sqrt(2) * np.cos(math.pi * np.outer(np.arange(HIGH + 1), place))


def _fitting(height: int, width: int) -> np.ndarray:
    """bool (N,): which coefficients so few pixels can hold."""
    return np.logical_and(_U[_RING] < height, _V[_RING] < width)


def _project(luma: np.ndarray) -> np.ndarray:
    """(N,): how much of each cosine is in a picture, in grey levels (root mean square)."""
    height, width = luma.shape
    return (_cosines(height) @ luma @ _cosines(width).T).ravel()[_RING] / luma.size


def _draw(coefficients: np.ndarray, height: int, width: int) -> np.ndarray:
    """(H, W): the picture that they add up to."""
    plane = np.zeros((HIGH + 1) ** 2)
    plane[_RING] = coefficients
    return _cosines(height).T @ plane.reshape(HIGH + 1, HIGH + 1) @ _cosines(width)


def _pattern(luma: np.ndarray, code: np.ndarray, force: float) -> tuple[np.ndarray, float]:
    """(H, W) to add to a picture, in grey levels, and the margin that it was made for."""
    height, width = luma.shape
    fits = _fitting(height, width)
    # Root mean square: 2.5 levels at 64x64 (40 dB), 2 at 256x256 (42 dB); busy pictures bear more, and need it.
    power = _texture(luma)
    budget = 2 * (256 / math.sqrt(height * width)) ** (1 / 6)
    budget *= force * math.sqrt(max(1.0, float(power.mean()) / CALM))
    has = code * _project(luma)

    def missing(margin: float) -> np.ndarray:
        short = margin - has
        return np.where(fits & (short > 0) & (short <= 2 * margin), short, 0.0)

    low, high = 0.0, 16.0
    for _ in range(24):
        margin = (low + high) / 2
        low, high = (low, margin) if np.linalg.norm(missing(margin)) > budget else (margin, high)
    margin = low
    worth = missing(margin) > 0
    power /= power.mean()
    pattern = np.zeros_like(luma)
    for _ in range(PASSES):
        short = np.maximum(margin - code * _project(luma + pattern), 0)
        pattern += power * _draw(code * np.where(worth, short, 0.0), height, width)
    return pattern, margin


def _texture(luma: np.ndarray) -> np.ndarray:
    """(H, W): how much a mark may do, more where the picture is busy, by its spread in a 16 x 16 grid."""
    height, width = luma.shape
    size = (min(16, width), min(16, height))
    around = Image.fromarray(luma.astype(np.float32) - 128)
    squared = Image.fromarray(np.square(luma - 128).astype(np.float32))
    mean, square = (np.asarray(one.resize(size, Image.Resampling.BOX)) for one in (around, squared))
    spread = Image.fromarray(np.sqrt(np.maximum(square - mean**2, 0)))
    smooth = np.asarray(spread.resize((width, height), Image.Resampling.BILINEAR), float)
    return np.minimum(smooth, 12) + 3


def _firm(luma: np.ndarray, code: np.ndarray, margin: float) -> int:
    """How many signs a picture has with half of the margin."""
    return int((code * _project(luma) >= margin / 2).sum())
