"""How a result is put together from given frames as they are and new ones that a model makes smaller or slower.

Owns the arithmetic: at which size and rate the model works, which of the given frames it sees, and which of its frames
go where in the result. Knows nothing of pixels (`assemble`) and nothing of networks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from math import ceil, floor
from typing import TYPE_CHECKING

import numpy as np

from worldtube.errors import RequestError
from worldtube.generate.assemble import Composition, Gap, Kept, Overlay, join_sounds
from worldtube.generate.layout import outline, working_size
from worldtube.generate.request import MAX_FPS, Given, Request
from worldtube.video import (
    Clip,
    Size,
    fit,
    fit_mask,
    nearest_num_frames,
    resize,
    resize_mask,
    retime,
    tick_frames,
)

if TYPE_CHECKING:
    from worldtube.models.model import VideoModel

LONG_SECONDS, LONG_BYTES = 10.0, 2**28
"""A result beyond either is not kept in memory where it can be written bit by bit."""
MAX_PICTURE = 1920 * 1080
"""Pixels to which a given picture is scaled down where a clip is made of it."""


@dataclass(frozen=True, kw_only=True)
class ResultShape:
    """Size, frame rate and number of frames of a request's result."""

    size: Size
    fps: float
    num_frames: int

    @property
    def long(self) -> bool:
        """Whether frames should go to their file while they are made: after some seconds, or many pixels."""
        num_bytes = 3 * self.size.width * self.size.height * self.num_frames
        return self.num_frames > LONG_SECONDS * self.fps or num_bytes > LONG_BYTES


def result_shape(model: "VideoModel", request: Request) -> ResultShape:
    """Return what a request makes, at no cost. Raises RequestError for what does not fit."""
    shapes = outline(model, request)
    made = request.composition
    if made is None:
        return ResultShape(size=shapes.size, fps=shapes.fps, num_frames=shapes.num_frames)
    return ResultShape(size=made.size, fps=made.fps, num_frames=made.num_frames)


def natural_fps(model: "VideoModel", clips: Sequence[Clip]) -> float:
    """Return the frame rate of a result that is not asked for one: the first moving clip's, within what a request may
    have, else the model's."""
    fps = next((clip.fps for clip in clips if clip.num_frames > 1), model.fps)
    return min(fps, MAX_FPS) if fps >= 1 else model.fps


def adapt(model: "VideoModel", request: Request, *, work_size: Size | None = None) -> Request:
    """Return the request that the model carries out, with the composition of its result.

    Given clips keep their size and frame rate in the result. The model works on copies of what is near to new frames,
    at a size and a rate that it can; where it can do so at the clip's own, it works on the clip itself. A request
    with a composition, or without given clips, comes back as it is.

    Args:
        model: what will carry it out
        request: sizes, rates and frame numbers are those of the result
        work_size: the size that the model works at; by `layout.working_size` when None

    Raises:
        RequestError: given clips that do not fit
    """
    if request.composition is not None or not request.given or request.shots:
        return request
    clips = [given.clip for given in request.given]
    moving = next((clip for clip in clips if clip.num_frames > 1), None)
    remade = len(clips) == 1 and request.given[0].strength > 0 and request.given[0].mask is None
    fps = request.fps or (model.fps if remade else natural_fps(model, clips))
    work_fps = model.fps if moving is not None else fps
    source_frames = request.num_frames
    givens = [_retime(given, fps) for given in request.given]
    if remade and request.num_frames == clips[0].num_frames:
        source_frames = givens[0].clip.num_frames
    total = source_frames or (
        1 if request.seconds is None else nearest_num_frames(request.seconds, fps, model.stride[0])
    )
    size = request.size or clips[0].size
    warnings: list[str] = []
    if request.size is None and clips[0].num_frames == 1 < total:
        size = _scaled_down(size)
        if size != clips[0].size:
            warnings.append(
                f"the picture of {clips[0].size} is scaled down to {size} (size sets another)"
            )
    work_size = work_size or working_size(model, size)
    if remade and request.size is None:
        size = work_size
    if remade:
        warnings += _losses(model, clips[0], size, fps, request)
    request = replace(request, fps=fps, num_frames=total, given=tuple(givens))
    placed = _placed(givens, total)
    pieces = [(at / fps, given.clip) for at, given in placed]
    composition = Composition(
        size=size,
        fps=fps,
        num_frames=total,
        sound=join_sounds(pieces, total / fps),
        warnings=tuple(warnings),
    )
    if size == work_size and abs(fps - work_fps) < 1e-3:
        return replace(request, size=size, num_frames=source_frames, composition=composition)
    rate = Fraction(work_fps).limit_denominator(1001) / Fraction(fps).limit_denominator(1001)
    if len(givens) == 1 and (remade or givens[0].mask is not None):
        if givens[0].clip.num_frames == total and (remade or givens[0].strength == 0):
            return _overlaid(request, composition, work_size, work_fps, rate)
        return replace(request, size=work_size)
    if any(given.mask is not None or given.strength > 0 for given in givens):
        return replace(request, size=work_size)
    return _joined(model, request, composition, placed, work_size, work_fps, rate)


def _losses(model: "VideoModel", clip: Clip, size: Size, fps: float, request: Request) -> list[str]:
    """Say what of a clip that is made anew is lost without being asked for."""
    moving = clip.num_frames > 1
    smaller = request.size is None and size != clip.size
    slower = request.fps is None and moving and abs(fps - clip.fps) > 1e-3
    if not smaller and not slower:
        return []
    result = f"{size} at {fps:g} fps" if moving else f"{size}"
    given = f"{clip.size} at {clip.fps:g} fps" if moving else f"{clip.size}"
    enlarge = "size and fps enlarge it" if moving else "size enlarges it"
    return [f"the result is {result}: {model.name} makes no more of the given {given} ({enlarge})"]


def _scaled_down(size: Size) -> Size:
    """The shape of a picture, with even sides and at most MAX_PICTURE pixels."""
    area = size.width * size.height
    if area <= MAX_PICTURE:
        return size
    scale = (MAX_PICTURE / area) ** 0.5
    return Size(*(max(2, 2 * int(scale * side / 2)) for side in (size.width, size.height)))


def _retime(given: Given, fps: float) -> Given:
    """A given clip at the result's rate; a picture has none of its own."""
    clip, mask = given.clip, given.mask
    if clip.num_frames == 1 or abs(clip.fps - fps) < 1e-6:
        return given
    if mask is not None and mask.ndim == 3:
        mask = mask[tick_frames(clip.num_frames, clip.fps, fps)]
    return replace(given, clip=retime(clip, fps), mask=mask, tokens=None)


def _placed(givens: Sequence[Given], total: int) -> list[tuple[int, Given]]:
    """First frames of the given clips in the result, in order. Raises RequestError for what does not fit."""
    placed = []
    for given in givens:
        count = given.clip.num_frames
        at = total if given.at == "end" else given.at + total if given.at < 0 else given.at
        if given.at != "end" and not 0 <= at <= total - count:
            raise RequestError(
                f"a given clip of {count} frames at {given.at} does not fit into {total} frames"
            )
        placed.append((at, given))
    placed.sort(key=lambda pair: pair[0])
    for (at, given), (following, _) in pairwise(placed):
        count = given.clip.num_frames
        if at + count > following:
            raise RequestError(
                f"a given clip of {count} frames at {at} does not fit: the next begins at {following}"
            )
    return placed


def _overlaid(
    request: Request, composition: Composition, size: Size, fps: float, rate: Fraction
) -> Request:
    """The whole clip is made small; what a mask keeps is laid over it."""
    given = request.given[0]
    count, kept, kept_small = given.clip.num_frames, given.mask, None
    working = 1 + ceil((count - 1) * rate)
    index = [min(count - 1, round(k / rate)) for k in range(working)]
    original = fit(Clip(frames=given.clip.frames, fps=1.0), composition.size).frames
    small = resize(original[index], size)
    if kept is not None:
        kept = np.broadcast_to(kept if kept.ndim == 3 else kept[None], given.clip.frames.shape[:3])
        kept = fit_mask(kept, composition.size)
        kept_small = resize_mask(kept[index], size)
    overlay = Overlay(
        num_frames=count,
        num_working=working,
        step=rate,
        original=None if kept is None else original,
        kept=kept,
        small=small,
        kept_small=kept_small,
    )
    clip = Clip(frames=small, fps=fps, caption=given.clip.caption)
    return replace(
        request,
        size=size,
        fps=fps,
        num_frames=working,
        given=(replace(given, clip=clip, mask=kept_small, tokens=None),),
        composition=replace(composition, parts=(overlay,)),
    )


def _joined(
    model: "VideoModel",
    request: Request,
    composition: Composition,
    placed: list[tuple[int, Given]],
    size: Size,
    fps: float,
    rate: Fraction,
) -> Request:
    """Given clips stay; what is between, before and after them is made small from copies of what is near to it."""
    total = composition.num_frames
    ends = [0, *(at + given.clip.num_frames for at, given in placed)]
    starts = [*(at for at, _ in placed), total]
    longest = ceil(max(start - end for start, end in zip(starts, ends, strict=True)) * rate)
    most = _most_context(model, max(1, longest), sides=min(2, len(placed)))
    parts: list[Kept | Gap] = []
    givens: list[Given] = []
    position = work = 0  # how far the result and the model's clip have come
    for (at, given), following in zip(placed, starts[1:], strict=True):
        before, after = at > position, at + given.clip.num_frames < following
        if before:
            gap = _gap(at - position, rate, bool(parts), True)
            parts.append(gap)
            work += gap.num_working
        frames = fit(Clip(frames=given.clip.frames, fps=1.0), composition.size).frames
        index = _sampled(given.clip.num_frames, rate, before, after, most, model)
        copy = Clip(
            frames=resize(given.clip.frames[index], size), fps=fps, caption=given.clip.caption
        )
        givens.append(Given(clip=copy, at=work))
        work += len(index)
        parts.append(Kept(frames=frames, num_working=len(index), shown=at < total))
        position = at + given.clip.num_frames
    if position < total:
        gap = _gap(total - position, rate, True, False)
        parts.append(gap)
        work += gap.num_working
    return replace(
        request,
        size=size,
        fps=fps,
        num_frames=work,
        given=tuple(givens),
        composition=replace(composition, parts=tuple(parts)),
    )


def _gap(count: int, rate: Fraction, left: bool, right: bool) -> Gap:
    """New frames between given ones, or on one side of them."""
    if left and right:
        spans = max(2, round((count + 1) * rate))
        step = Fraction(spans, count + 1)
        return Gap(num_frames=count, num_working=spans - 1, first=step, step=step)
    working = max(1, ceil(count * rate))
    if left:
        return Gap(num_frames=count, num_working=working, first=rate, step=rate)
    return Gap(num_frames=count, num_working=working, first=working - count * rate, step=rate)


def _most_context(model: "VideoModel", new: int, sides: int) -> int:
    """Frames of a given clip that are of use: what is seen beside new ones, at least half of a window in all."""
    stride, window = model.stride[0], model.window
    room = window - ceil(new / stride)
    least = 1 if "long" not in model.abilities else max(1, window // 2)
    return 1 + stride * (max(1, max(least, room) // sides) - 1)


def _sampled(
    count: int, rate: Fraction, before: bool, after: bool, most: int, model: "VideoModel"
) -> list[int]:
    """Which frames of a given clip the model sees: those next to what is new, at its own rate.

    before, after: whether new frames come before and after it.
    """
    spans = floor((count - 1) * rate)
    if before and after:
        spans = max(round((count - 1) * rate), min(1, count - 1))
        return [round(k * Fraction(count - 1, max(1, spans))) for k in range(spans + 1)]
    stride = model.stride[0]
    frames = min(spans + 1, most)
    if frames > stride or "pieces" not in model.abilities:  # whole latent frames
        frames = 1 + (frames - 1) // stride * stride
    offsets = [round(k / rate) for k in range(frames)]
    return [count - 1 - offset for offset in reversed(offsets)] if not before else offsets
