"""The mark in the pixels: a keyed pattern of bits that texture hides, and the test for it.

Owns how a mark is laid into frames and found again. Knows nothing of files, certificates or what was made.

The luma of GROUP frames, averaged and reduced to 64 x 64, is cut into 8 x 8 blocks. The low frequencies of each
block carry one bit each, by quantisation index modulation (Chen and Wornell, 2001): a coefficient is moved to the
nearest point of one of two interleaved lattices, and the lattice says the bit. The picture itself then disturbs
nothing, and what remains to be survived is the error of an encoder. Three bytes, the payload, choose the bits:
byte j has 256 keyed random words on every third coefficient.

What is seen: each block bears as much as its texture hides. Smooth blocks (skies, plain grounds) get nothing at all,
unless the whole picture is smooth; then the lattice is finer and the change is at most about one level of 255. A group
of frames keeps the pattern of the one before wherever that still says the right bit, so it does not flicker.

Finding: each coefficient votes with a weight of 0 to 3, by how near it is to a lattice point and by the texture of its
block. Weights depend on the frames alone. For frames that do not depend on the secret each bit agrees with probability
1/2, independently, so the tail of the weighted sum is known *exactly*, whatever the frames show; times 2^24 for
the choice of the payload and times the number of readings that are tried, it is a p-value without calibration.
"""

import hashlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image

SYMBOLS = 3
RUN = 24
"""Frames that are marked or searched at a time, to bound memory; a multiple of GROUP."""
GROUP = 6
"""Frames that are averaged and get one pattern."""
CLAIM = 1e-6
"""A p-value up to this is called found."""
MIN_SIDE = 16
"""Smaller pictures get no mark."""
BLOCKS, PIXELS = 8, 8
SIDE = BLOCKS * PIXELS
STEPS = (14.0, 4.5)
"""Distance of the points for either bit, in grey levels of orthonormal cosines: in texture, in smooth pictures."""
MARGIN = 0.9
"""How far from the border between two bits a coefficient is moved, as a share of the whole way."""
TEXTURE, SMOOTH = 0, 1
MAX_RMS = 1.85
"""Root mean square of a pattern in grey levels, at most; with what `_draw` makes up for, pictures keep 42 dB."""
SMOOTH_RMS = 0.85
"""The same for each block of a smooth picture."""
ENOUGH = 14.0
"""Standard deviations from which the texture of a picture alone is enough for its mark."""
LUMA = np.array([0.2126, 0.7152, 0.0722])

_COSINES = np.array(
    [
        [
            math.sqrt((2 if k else 1) / PIXELS) * math.cos(math.pi * (i + 0.5) * k / PIXELS)
            for i in range(PIXELS)
        ]
        for k in range(PIXELS)
    ]
)
_FREQUENCIES = [(u, v) for u in range(PIXELS) for v in range(PIXELS) if 1 <= u + v <= 4]
_BASIS = np.array([np.outer(_COSINES[u], _COSINES[v]).ravel() for u, v in _FREQUENCIES])
"""(K, 64): the cosines that carry bits, orthonormal."""
_MEAN = sum(np.eye(SIDE)[np.clip(np.arange(SIDE) + k, 0, SIDE - 1)] for k in (-1, 0, 1)) / 3
"""(64, 64): the mean of a pixel and its two neighbours."""
_SHAPE = (BLOCKS**2, len(_BASIS))
_COUNT = BLOCKS**2 * len(_BASIS)
_SQUARES = np.array([u * u + v * v for u, v in _FREQUENCIES], float)
_GAINS = np.array(
    [
        gain * np.exp(-blur * _SQUARES)
        for gain, blur in (
            *((1.0, 0.0), (1.0, 0.01), (1.0, 0.025), (1.1, 0.01)),
            *((0.9, 0.0), (0.95, 0.0), (1.05, 0.0), (1.1, 0.0)),
        )
    ],
    np.float32,
)
"""(R, K): what contrast and scaling may have done to the frequencies; each is tried, the first is nothing."""
_FINE = GROUP // 2
"""Frames that are averaged in a further reading, for clips from which frames were dropped."""
_READINGS = 2 * len(STEPS) * (len(_GAINS) + 1)


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a search for the mark came to."""

    p_value: float
    """Chance that so many votes agree in frames without the mark."""
    agree: int
    """Votes that agree with the nearest payload."""
    of: int
    """Votes in all."""
    payload: str
    """Six hexadecimal digits that name the generation, should the mark be there."""

    @property
    def found(self) -> bool:
        return self.p_value <= CLAIM


class Mark:
    """Lays one clip's mark into its frames, group by group; memory does not grow with the clip."""

    def __init__(self, secret: bytes, name: bytes):
        """Args:
        secret: key of the installation.
        name: whatever tells this generation from others; the payload is its keyed hash.
        """
        digest = hashlib.blake2b(name, digest_size=SYMBOLS, key=secret).digest()
        self.payload = digest.hex()
        """Six hexadecimal digits."""
        bits = np.zeros(_COUNT)
        for symbol, words in enumerate(_words(secret)):
            bits[symbol::SYMBOLS] = words[digest[symbol]]
        self._bits = bits.reshape(_SHAPE)
        self._secret = secret
        self._lattice: int | None = None
        self._shift: np.ndarray | None = None
        self._kind = TEXTURE
        self._size = (0, 0)
        self._levels: tuple[np.ndarray, ...] = ()

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
                yield self._mark_run(np.stack(waiting[:RUN]))
                del waiting[:RUN]
        if waiting:
            yield self._mark_run(np.stack(waiting))
        if stopped is not None:
            raise stopped

    def _mark_run(self, frames: np.ndarray) -> np.ndarray:
        if min(frames.shape[1:3]) < MIN_SIDE:
            return frames
        groups = [frames[first : first + GROUP] for first in range(0, len(frames), GROUP)]
        smalls = [_reduce(group) for group in groups]
        if self._lattice is None:
            before = Search(plain=True)
            for group, small in zip(groups, smalls, strict=True):
                before.add_reduced(small, len(group))
            self._lattice = 1 if before.lattice(self._secret) == 0 else 0
        marked = np.empty_like(frames)
        for index, (group, small) in enumerate(zip(groups, smalls, strict=True)):
            self._set_levels(small, *frames.shape[1:3])
            _add_levels(group, *self._levels, marked[index * GROUP : index * GROUP + len(group)])
        return marked

    def _set_levels(self, small: np.ndarray, height: int, width: int) -> None:
        """Choose the whole grey levels that a group gets from its reduced mean frame."""
        coefficients, texture, detail = _analyse(small)
        lattice = self._lattice or 0
        shift, score = _shift(coefficients, texture, self._bits, self._kind, lattice, self._shift)
        if score < ENOUGH:
            other = SMOOTH if self._kind == TEXTURE else TEXTURE
            other_shift, other_score = _shift(
                coefficients, texture, self._bits, other, lattice, None
            )
            if other_score > 1.2 * score:
                shift, self._kind = other_shift, other
        size = (height, width)
        if self._shift is not None and size == self._size and (shift == self._shift).all():
            return
        self._shift, self._size = shift, size
        if self._kind == SMOOTH:
            pattern = np.clip(_join_blocks(_draw(shift, 1.0)), -1, 1)
        else:
            pattern = _join_blocks(_draw(shift, _cover(detail)))
        levels = np.rint(_resize(pattern, width, height, Image.Resampling.BICUBIC))
        up, down = (np.clip(part, 0, 255).astype(np.uint8) for part in (levels, -levels))
        self._levels = tuple(np.repeat(part[..., None], 3, axis=2) for part in (up, down))


class Search:
    """Looks for the mark in frames that come block by block."""

    def __init__(self, *, plain: bool = False) -> None:
        """Args:
        plain: look only for marks to which nothing has happened.
        """
        self._gains = _GAINS[: 1 if plain else None]
        readings = len(self._gains) + (0 if plain else 1)
        self._votes = np.zeros((readings, len(STEPS), 2, *_SHAPE), np.float32)
        self._num_frames = 0
        self._waiting: np.ndarray | None = None

    def add(self, frames: np.ndarray) -> None:
        """Add frames uint8 (T, H, W, 3); they are averaged by GROUP, however they are cut into blocks."""
        if min(frames.shape[1:3]) < MIN_SIDE:
            return
        if self._waiting is not None:
            frames = np.concatenate([self._waiting, frames])
        whole = len(frames) - len(frames) % GROUP
        for first in range(0, whole, GROUP):
            self._vote(frames[first : first + GROUP])
        self._waiting = frames[whole:] if whole < len(frames) else None

    def add_reduced(self, small: np.ndarray, num_frames: int) -> list[np.ndarray]:
        """Add a group of frames by the luma (64, 64) of their mean. Returns how far blocks are trusted, per kind."""
        coefficients, texture, _ = _analyse(small)
        trusts = [_trust(texture, kind).astype(np.float32) for kind in range(len(STEPS))]
        self._num_frames += num_frames
        scaled = coefficients.astype(np.float32) / self._gains[:, None]
        self._add_votes(self._votes[: len(self._gains)], scaled, trusts, num_frames)
        return trusts

    def result(self, secret: bytes) -> Found:
        """Return what there is of the mark that was laid with a secret."""
        return self._best(secret)[0]

    def lattice(self, secret: bytes) -> int | None:
        """Return the lattice, 0 or 1, of the mark that was laid with a secret; None where there is none."""
        found, reading = self._best(secret)
        return reading % 2 if found.found else None

    def _best(self, secret: bytes) -> tuple[Found, int]:
        if self._waiting is not None:
            self._vote(self._waiting)
            self._waiting = None
        votes = self._votes.reshape(-1, _COUNT) / max(1, self._num_frames)  # (readings, N)
        weights = _weights(np.abs(votes))
        signs = np.copysign(weights, votes)
        words = _words(secret)
        sums, payloads = np.zeros(len(votes)), []
        for symbol in range(SYMBOLS):
            scores = words[symbol] @ signs[:, symbol::SYMBOLS].T  # (256, readings)
            sums += scores.max(0)
            payloads.append(scores.argmax(0))
        best = int((sums / np.sqrt(np.maximum(1, (weights**2).sum(1)))).argmax())
        of = int(weights[best].sum())
        agree = (of + int(sums[best])) // 2
        found = Found(
            p_value=_p_value(agree, weights[best].astype(int), _READINGS),
            agree=agree,
            of=of,
            payload=bytes(int(payload[best]) for payload in payloads).hex(),
        )
        return found, best

    def _vote(self, frames: np.ndarray) -> None:
        parts = [frames[first : first + _FINE] for first in range(0, len(frames), _FINE)]
        smalls = [_reduce(part) for part in parts]
        mean = np.average(smalls, axis=0, weights=[len(part) for part in parts])
        trusts = self.add_reduced(mean, len(frames))
        for part, small in zip(parts, smalls, strict=True):
            coefficients = (_cut_blocks(small) @ _BASIS.T).astype(np.float32)
            self._add_votes(self._votes[len(self._gains) :], coefficients, trusts, len(part))

    @staticmethod
    def _add_votes(
        votes: np.ndarray, coefficients: np.ndarray, trusts: list[np.ndarray], num_frames: int
    ) -> None:
        for kind, step in enumerate(STEPS):
            phase = coefficients * np.float32(math.pi / step)
            trust = num_frames * trusts[kind]
            votes[:, kind, 0] += trust * np.sin(phase)
            votes[:, kind, 1] += trust * np.cos(phase)


def _add_levels(frames: np.ndarray, up: np.ndarray, down: np.ndarray, out: np.ndarray) -> None:
    """Add and take whole grey levels (H, W, 3), kept within 0 to 255 without leaving bytes."""
    top = 255 - up
    for frame, marked in zip(frames, out, strict=True):
        np.minimum(frame, top, out=marked)
        marked += up
        np.maximum(marked, down, out=marked)
        marked -= down


def _p_value(agree: int, weights: np.ndarray, readings: int) -> float:
    """P(weighted sum of fair bits >= agree), times the number of payloads and readings, at most 1.

    Every term is positive, so rounding changes about the twelfth digit.
    """
    tail = np.ones(1)
    for weight in range(1, int(weights.max(initial=0)) + 1):
        count = int((weights == weight).sum())
        term = np.zeros(count * weight + 1)
        k = np.arange(1, count + 1)
        term[::weight] = np.cumprod(np.append(0.5**count, (count + 1 - k) / k))
        tail = np.convolve(tail, term)
    return min(1.0, float(tail[agree:].sum()) * readings * 2.0 ** (8 * SYMBOLS))


@lru_cache(maxsize=4)
def _words(secret: bytes) -> list[np.ndarray]:
    """For each byte of the payload float32 (256, n): row b holds the signs that a byte b asks for."""
    count = 256 * _COUNT
    stream = hashlib.shake_256(b"worldtube watermark 2\0" + secret).digest((count + 7) // 8)
    bits = np.unpackbits(np.frombuffer(stream, np.uint8))[:count].reshape(256, -1)
    words = bits.astype(np.float32) * 2 - 1
    return [np.ascontiguousarray(words[:, symbol::SYMBOLS]) for symbol in range(SYMBOLS)]


def _reduce(frames: np.ndarray) -> np.ndarray:
    """(64, 64): luma of the mean frame."""
    total = frames.sum(0, dtype=np.uint16).astype(np.float32)
    return _resize(
        total @ (LUMA / len(frames)).astype(np.float32), SIDE, SIDE, Image.Resampling.BOX
    )


def _resize(picture: np.ndarray, width: int, height: int, how: Image.Resampling) -> np.ndarray:
    if picture.shape == (height, width):
        return picture
    return np.asarray(
        Image.fromarray(picture.astype(np.float32)).resize((width, height), how), float
    )


def _cut_blocks(picture: np.ndarray) -> np.ndarray:
    """(64, 64) -> (blocks, pixels)."""
    return picture.reshape(BLOCKS, PIXELS, BLOCKS, PIXELS).swapaxes(1, 2).reshape(BLOCKS**2, -1)


def _join_blocks(blocks: np.ndarray) -> np.ndarray:
    return blocks.reshape(BLOCKS, BLOCKS, PIXELS, PIXELS).swapaxes(1, 2).reshape(SIDE, SIDE)


def _analyse(small: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (blocks, K) coefficients and (blocks,) texture in grey levels, and (64, 64) roots of the detail.

    Detail is the difference from a 3 x 3 mean, texture the square of the mean root of it in a block: an edge alone
    does not make a block busy.
    """
    detail = np.sqrt(np.abs(small - _MEAN @ small @ _MEAN.T))
    texture = detail.reshape(BLOCKS, PIXELS, BLOCKS, PIXELS).mean((1, 3)).ravel() ** 2
    return _cut_blocks(small) @ _BASIS.T, texture, detail


def _cover(detail: np.ndarray) -> np.ndarray:
    """(blocks, pixels), 0 to 1: where within a block a change is hidden."""
    return _cut_blocks(np.clip(((_MEAN @ detail @ _MEAN.T) ** 2 - 0.3) / 0.7, 0, 1))


def _draw(shift: np.ndarray, cover: np.ndarray | float) -> np.ndarray:
    """(blocks, pixels): a pattern that moves the coefficients by `shift`, where it is covered.

    What the cover takes away is made up for by more where there is cover, in a few steps.
    """
    pattern = np.zeros((BLOCKS**2, PIXELS**2))
    for _ in range(5):
        missing = np.where(shift != 0, shift - pattern @ _BASIS.T, 0.0)
        pattern += cover * (missing @ _BASIS)
    return pattern


def _trust(texture: np.ndarray, kind: int) -> np.ndarray:
    """(blocks, 1), 0 to 1: how likely blocks of such texture are to hold a mark of this kind."""
    trust = 1.5 - texture if kind == SMOOTH else texture - 1.0
    return np.clip(trust, 0, 1)[:, None]


def _weights(strengths: np.ndarray) -> np.ndarray:
    """Whole weights, 0 to 3, of votes of strengths 0 to 1."""
    weights = (strengths > 0.1).astype(np.float32)
    weights += strengths > 0.36
    weights += strengths > 0.69
    return weights


def _shift(
    coefficients: np.ndarray,
    texture: np.ndarray,
    bits: np.ndarray,
    kind: int,
    lattice: int,
    before: np.ndarray | None,
) -> tuple[np.ndarray, float]:
    """(blocks, K) to add to the coefficients, and how well a search will find it, in standard deviations.

    Of what says the right bit the cheapest is taken first, within what each block hides and the whole may hold.
    """
    step = STEPS[kind]
    turn = lattice * math.pi / 2
    offset = bits * step / 2 - lattice * step / 2
    way = offset + 2 * step * np.rint((coefficients - offset) / (2 * step)) - coefficients
    shift = np.sign(way) * np.maximum(np.abs(way) - (1 - MARGIN) * step / 2, 0)
    cost = shift**2
    trust = np.broadcast_to(_trust(texture, kind), _SHAPE)
    order = cost / np.maximum(trust, 1e-3)
    if before is not None:
        stays = (before != 0) & (bits * np.sin(np.pi / step * (coefficients + before) + turn) > 0.5)
        shift = np.where(stays, before, shift)
        cost = shift**2
        order = np.where(stays, cost / np.maximum(trust, 1e-3) / 4, order)
    wanted = trust > 0.05
    order = np.where(wanted, order, np.inf)
    if kind == SMOOTH:
        room = np.full(len(texture), SMOOTH_RMS)
    else:
        room = np.clip(4 * (texture - 0.8), 0, 10)
    wanted &= _affordable(order, cost, PIXELS**2 * room[:, None] ** 2)
    order = np.where(wanted, order, np.inf)
    whole = _affordable(order.reshape(1, -1), cost.reshape(1, -1), (SIDE * MAX_RMS) ** 2)
    shift = np.where(wanted & whole.reshape(_SHAPE), shift, 0.0)
    near = np.sin(np.pi / step * (coefficients + shift) + turn)
    weights = _weights(np.abs(near) * trust)
    score = (weights * bits * np.sign(near)).sum() / math.sqrt(max(1.0, (weights**2).sum()))
    return shift, float(score)


def _affordable(order: np.ndarray, cost: np.ndarray, budget: np.ndarray | float) -> np.ndarray:
    """Choose in each row those first in order whose cost stays within the row's budget, as bool (rows, N).

    None of infinite order is chosen.
    """
    ranks = np.argsort(order, axis=1, kind="stable")
    limited = np.where(np.isfinite(order), cost, np.inf)
    spent: np.ndarray = np.cumsum(np.take_along_axis(limited, ranks, 1), 1)
    taken = np.zeros(order.shape, bool)
    np.put_along_axis(taken, ranks, spent <= budget, 1)
    return taken
