"""Put results together: given frames as they are, and a model's smaller frames brought to their size and rate.

Owns what is done at the seams. New frames are interpolated along their motion, matched to the given ones beside them in
colour and brightness, enlarged, and get the fine detail of a given frame where they show the same. Knows nothing of
models or of how the parts were chosen (`compose`).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import floor

import numpy as np
from PIL import Image, ImageFilter

from worldtube.video import Clip, Size, Sound, interpolate, resize

PIXELS_PER_BLOCK = 2**22
"""Of the frames that are handed on together."""
CHUNK = 24
"""New frames that are brought to the result's rate together."""
SAME, OTHER = 6.0, 18.0
"""Difference, of 255, below which two frames show the same at a place, and above which they show something else."""
SETTLE_SECONDS = 1.0
"""How long a step in brightness at a seam takes to fade."""
TAIL_SECONDS = 0.25
"""How long the sound of a given clip rings on into new frames."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Kept:
    """A given clip as it is."""

    frames: np.ndarray
    """uint8 (T, H, W, 3) at the result's size."""
    num_working: int
    """Frames of the model's clip that stand for it."""
    shown: bool
    """False where it lies after the end: new frames lead to it."""


@dataclass(frozen=True, kw_only=True)
class Gap:
    """New frames beside given ones."""

    num_frames: int
    """Frames of the result."""
    num_working: int
    """Frames of the model's clip."""
    first: Fraction
    """Position of the first frame of the result, counted in the model's frames from the given one before them, or from
    the first new one where none is."""
    step: Fraction
    """From one frame of the result to the next."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Overlay:
    """A clip that is made anew, with what is kept laid over it."""

    num_frames: int
    num_working: int
    step: Fraction
    original: np.ndarray | None
    """uint8 (T, H, W, 3) at the result's size, where something is kept."""
    kept: np.ndarray | None
    """bool (T, H, W): which of it is kept."""
    small: np.ndarray
    """uint8 (t, h, w, 3): the model's copy of it."""
    kept_small: np.ndarray | None
    """bool (t, h, w): which of that is kept."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Composition:
    """What a result is put together from, in order."""

    size: Size
    fps: float
    num_frames: int
    parts: tuple[Kept | Gap | Overlay, ...] = ()
    """None where the model makes the result's own frames."""
    sound: Sound | None = None
    warnings: tuple[str, ...] = ()
    """What is lost of given clips without being asked for."""


def rehearse(composition: Composition, size: Size) -> tuple[Callable[[], None], float]:
    """Return an example of the work, and how many times as much a result takes.

    Args:
        size: that of the model's frames
    """
    new = [part for part in composition.parts if not isinstance(part, Kept)]
    count = sum(part.num_frames for part in new)
    frames = np.zeros((4, size.height, size.width, 3), np.uint8)
    full = np.zeros((composition.size.height, composition.size.width, 3), np.uint8)

    def example() -> None:
        seam = _Seam(full, frames[0])
        for frame in interpolate(frames, new[0].step, new[0].step, few):
            _enlarged(frame, [(seam, 1.0)], composition.size)

    few = max(1, min(count, int(3 / new[0].step))) if new else 1
    return example, count / few


class _Frames:
    """A model's frames, a few at a time."""

    def __init__(self, blocks: Iterator[np.ndarray]):
        self.blocks, self.buffer = blocks, np.empty((0, 0, 0, 3), np.uint8)

    def peek(self, count: int) -> np.ndarray:
        """Return the next frames and leave them there."""
        held = [self.buffer] if len(self.buffer) else []
        while sum(map(len, held)) < count:
            held.append(next(self.blocks))
        self.buffer = np.concatenate(held) if len(held) > 1 else held[0]
        return self.buffer[:count]

    def take(self, count: int) -> np.ndarray:
        """Return the next frames."""
        frames = self.peek(count)
        self.buffer = self.buffer[count:]
        return frames


def assemble(composition: Composition | None, blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Put a result together.

    Args:
        composition: None or without parts where the model's frames are the result's
        blocks: the model's frames, uint8 (t, h, w, 3), as they are made

    Returns:
        Blocks uint8 (T, H, W, 3) of the result.
    """
    if composition is None or not composition.parts:
        yield from blocks
        return
    source, size = _Frames(blocks), composition.size
    most = max(1, PIXELS_PER_BLOCK // (size.width * size.height))
    before: _Seam | None = None
    parts = composition.parts
    for number, part in enumerate(parts):
        if isinstance(part, Kept):
            if part.shown:
                for k in range(0, len(part.frames), most):
                    yield part.frames[k : k + most]
            if number + 1 < len(parts):
                working = source.take(part.num_working)
                before = _Seam(part.frames[-1], working[-1])
        elif isinstance(part, Gap):
            following = parts[number + 1] if number + 1 < len(parts) else None
            for frames in _new_frames(part, source, before, following, composition):
                for k in range(0, len(frames), most):
                    yield frames[k : k + most]
        else:
            yield from _overlaid(part, source, size, most)
    for _ in source.blocks:  # a model's clip may end later
        pass


class _Seam:
    """A given frame beside new ones: what the model's copy of it lacks."""

    def __init__(self, full: np.ndarray, working: np.ndarray):
        """Args:
        full: uint8 (H, W, 3), the given frame
        working: uint8 (h, w, 3), the same frame as the model's codec shows it
        """
        self.size = Size(full.shape[1], full.shape[0])
        small = resize(full[None], Size(working.shape[1], working.shape[0]))[0]
        self.working = working.astype(np.float32)
        away = small - self.working
        self.mean = away.mean((0, 1))
        self.local = _blur(away, max(1, min(away.shape[:2]) // 8)) - self.mean
        self.matched = _rounded(self.working + self.mean + self.local)
        """The model's copy in the given frame's colours."""
        self.detail = full.astype(np.int16) - resize(self.matched[None], self.size)[0]

    def step(self, frame: np.ndarray) -> np.ndarray:
        """(3,) how much brighter a neighbouring frame is, whatever moves in it."""
        return np.median((frame - self.working).reshape(-1, 3), axis=0)

    def colours(self, frame: np.ndarray) -> np.ndarray:
        """float (h, w, 3) to add to a new frame, so that it has the given one's colours."""
        return self.mean + _same(frame, self.working)[..., None] * self.local

    def details(self, frame: np.ndarray, weight: float) -> np.ndarray:
        """int16 (H, W, 3) to add to an enlarged new frame, from how it was before: uint8 (h, w, 3)."""
        same = _same(frame.astype(np.float32), self.matched.astype(np.float32))
        share = Image.fromarray(_rounded(128 * weight * same))  # 128 times 255 is an int16
        share = share.resize((self.size.width, self.size.height), Image.Resampling.BILINEAR)
        return self.detail * np.asarray(share, np.int16)[..., None] >> 7


def _new_frames(
    gap: Gap,
    source: _Frames,
    before: _Seam | None,
    following: Kept | Gap | Overlay | None,
    composition: Composition,
) -> Iterator[np.ndarray]:
    """A gap's frames in blocks: read, matched, interpolated, enlarged."""
    after: _Seam | None = None
    if isinstance(following, Kept):
        ahead = source.peek(gap.num_working + 1)
        after = _Seam(following.frames[0], ahead[-1])
        last = ahead[-2].astype(np.float32)
    lead = int(before is not None)
    span = lead + gap.num_working
    held = [before.matched] if before is not None else []
    base, steps = 0, {}  # position of the first frame that is held
    if after is not None:
        steps[1] = (after.step(last), gap.num_working)
    position, made = 0, 0
    # Frames a second of the model's clip on the result's clock.
    settle = SETTLE_SECONDS * composition.fps * float(gap.step)
    while made < gap.num_frames:
        for frame in source.take(min(CHUNK, gap.num_working - position)).astype(np.float32):
            if before is not None and not position:
                steps[0] = (before.step(frame), 1)
            place = position + lead
            matched = frame.copy()
            for brighter, at in steps.values():
                matched -= brighter * max(0.0, 1 - abs(position + 1 - at) / settle)
            for seam, weight in _weights(before, after, place / (span - lead + 1)):
                matched += weight * seam.colours(matched)
            held.append(_rounded(matched))
            position += 1
        if position == gap.num_working and after is not None:
            held.append(after.matched)
        whole = position == gap.num_working
        reached = Fraction(base + len(held) - 1)
        count = gap.num_frames - made
        if not whole:  # a later chunk has the neighbour of what lies beyond
            count = min(count, floor((reached - gap.first) / gap.step) + 1 - made)
        if count > 0:
            start = gap.first + made * gap.step
            between = interpolate(np.stack(held), start - base, gap.step, count)
            for k, frame in enumerate(between):
                share = float(start + k * gap.step) / (span - lead + 1)
                yield _enlarged(frame, _weights(before, after, share), composition.size)[None]
            made += count
        kept = max(0, min(len(held) - 2, int(gap.first + made * gap.step) - base))
        held, base = held[kept:], base + kept


def _weights(before: _Seam | None, after: _Seam | None, share: float) -> list[tuple[_Seam, float]]:
    """The seams beside a new frame, and how much each counts. share: 0 at the one before, 1 at the one after."""
    share = min(1.0, max(0.0, share))
    ease = share * share * (3 - 2 * share)
    if before is None or after is None:
        return [(seam, 1.0) for seam in (before, after) if seam is not None]
    return [(before, 1 - ease), (after, ease)]


def _enlarged(frame: np.ndarray, seams: Sequence[tuple[_Seam, float]], size: Size) -> np.ndarray:
    full = resize(frame[None], size)[0].astype(np.int16)
    for seam, weight in seams:
        if weight > 0:
            full += seam.details(frame, weight)
    return np.clip(full, 0, 255, out=full).astype(np.uint8)


def _overlaid(part: Overlay, source: _Frames, size: Size, most: int) -> Iterator[np.ndarray]:
    working = source.take(part.num_working)
    if part.kept_small is not None:
        working = _matched_where(part.kept_small, working, part.small)
    feathered: tuple[np.ndarray, np.ndarray] | None = None
    for first in range(0, part.num_frames, most):
        count = min(most, part.num_frames - first)
        frames = resize(interpolate(working, first * part.step, part.step, count), size)
        if part.kept is not None and part.original is not None:
            for k, original in enumerate(part.original[first : first + count]):
                kept = part.kept[first + k]
                if feathered is None or not np.array_equal(kept, feathered[0]):
                    feathered = kept, _feather(kept)
                share = feathered[1]
                frames[k] = _rounded(share * frames[k] + (1 - share) * original)
        yield frames


def _matched_where(kept: np.ndarray, working: np.ndarray, small: np.ndarray) -> np.ndarray:
    """The model's frames (t, h, w, 3) in the colours that the given ones have where they are kept (t, h, w)."""
    matched = working.astype(np.float32)
    for frame, mask, given in zip(matched, kept, small, strict=True):
        if mask.any():
            frame += (given[mask] - frame[mask]).mean(0)
    return _rounded(matched)


def _feather(kept: np.ndarray) -> np.ndarray:
    """float (H, W, 1): how much of a new frame is seen; none where a pixel is kept, all some pixels away from it."""
    made = Image.fromarray(np.where(kept, 0, 255).astype(np.uint8))
    steps = max(1, min(kept.shape) // 120)
    share = np.zeros(kept.shape, np.float32)
    for _ in range(steps):
        share += np.asarray(made) / np.float32(255 * steps)
        made = made.filter(ImageFilter.MinFilter(3))
    return share[..., None]


def join_sounds(pieces: Sequence[tuple[float, Clip]], seconds: float) -> Sound | None:
    """Lay the sounds of given clips in their places; None where none has any.

    The samples of a clip are those of the result at its place. Into a gap beside it the sound rings on for
    TAIL_SECONDS, mirrored and faded, so that nothing clicks; the rest of the gap is silent.

    Args:
        pieces: where each clip begins, in seconds, in order; one that begins at the end is not heard, but led to
        seconds: duration of the result
    """
    first = next((clip.sound for _, clip in pieces if clip.sound is not None), None)
    if first is None:
        return None
    rate, channels = first.rate, max(c.sound.channels for _, c in pieces if c.sound is not None)
    total = round(seconds * rate)
    samples = np.zeros((total, channels), np.float32)
    spans = [(round(at * rate), round((at + clip.seconds) * rate)) for at, clip in pieces]
    for number, ((begin, end), (_, clip)) in enumerate(zip(spans, pieces, strict=True)):
        if clip.sound is None:
            continue
        heard = clip.sound.resample(rate).mix(channels).pad((end - begin) / rate).samples
        end = begin + len(heard)
        if begin < total:
            samples[begin:end] = heard[: total - begin]
        next_begin = min(total, spans[number + 1][0] if number + 1 < len(spans) else total)
        last_end = spans[number - 1][1] if number else 0
        reach = round(TAIL_SECONDS * rate)
        after = min(reach, (next_begin - end) // 2, len(heard))
        if after > 0:
            samples[end : end + after] += heard[::-1][:after] * _fade(after)
        ahead = min(reach, (begin - last_end) // 2, len(heard))
        if ahead > 0:
            samples[begin - ahead : begin] += heard[:ahead][::-1] * _fade(ahead)[::-1]
    return Sound(samples=samples, rate=rate)


def _fade(count: int) -> np.ndarray:
    """(count, 1) from 1 to 0."""
    return (np.cos(np.pi / 2 * np.arange(1, count + 1) / count) ** 2)[:, None].astype(np.float32)


def _rounded(frame: np.ndarray) -> np.ndarray:
    return frame.round().clip(0, 255).astype(np.uint8)


def _same(frame: np.ndarray, other: np.ndarray) -> np.ndarray:
    """float (h, w): 1 where two frames (h, w, 3) show the same, 0 where something else."""
    away = _blur(np.abs(frame - other).max(-1, keepdims=True), 1)[..., 0]
    # Beside something else the fine detail is that of its edge.
    widest = Image.fromarray(_rounded(8 * away)).filter(ImageFilter.MaxFilter(5))
    away = np.asarray(widest) / np.float32(8)
    return ((OTHER - away) / (OTHER - SAME)).clip(0, 1)


def _blur(array: np.ndarray, radius: int) -> np.ndarray:
    """Mean over squares around each place of an array (h, w, C)."""
    for axis in (0, 1):
        width = [(radius + 1, radius) if k == axis else (0, 0) for k in range(3)]
        sums = np.pad(array, width, mode="edge").cumsum(axis, dtype=np.float64)
        length, side = array.shape[axis], 2 * radius + 1
        later = sums.take(range(side, side + length), axis)
        array = ((later - sums.take(range(length), axis)) / side).astype(np.float32)
    return array
