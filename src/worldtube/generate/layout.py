"""A request laid out for a model: the pieces of its clip, what is known of each, in which hops it is made.

Owns how `given`, shots and durations become tokens with a first noise level, and which tokens are seen
together when a clip is longer than a model's window. Knows nothing of networks, samplers or tasks.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import cast

import numpy as np
import torch
from torch import Tensor

from worldtube import worlds
from worldtube.errors import RequestError
from worldtube.generate.request import Given, Request
from worldtube.generate.tasks import possible
from worldtube.models.model import ABILITIES, StateModel, VideoModel
from worldtube.state import State
from worldtube.tokens import CUT, Grid, Layout, join, select
from worldtube.video import Size, fit, fit_mask, nearest_num_frames

SINK_SECONDS = 2.0
"""How long before a window its anchor, the clip's first frame, is said to have been at most: farther back than
training ever saw would be out of the network's ken."""

PIXELS_AT_ONCE = 2**20
"""Pixels that are decoded together, unless one latent frame has more: memory does not grow with a clip."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A stretch of the clip that is coded from its own first frame."""

    grid: Grid
    layout: Layout
    known: Tensor
    """(n, P) clean values; zeros where nothing is known."""
    start: Tensor
    """(n,) first noise level: 1 to be made, 0 known, between for an edit."""
    prompt: str
    num_frames: int
    """Frames that are shown: up to a stride less than the grid has, none of what lies after the end."""
    cut: bool
    """Whether it is a new shot."""
    drafted: bool = False
    """Whether its tokens follow from the clip's physical state."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A request, laid out; its tokens are those of its pieces, one after the other."""

    pieces: tuple[Piece, ...]
    fps: float
    states: tuple[State, ...] = ()
    """The physical state of each shot, where the clip is made by way of it (`stages.draft`)."""

    @cached_property
    def layout(self) -> Layout:
        return join([piece.layout for piece in self.pieces])

    @cached_property
    def known(self) -> Tensor:
        return torch.cat([piece.known for piece in self.pieces])

    @cached_property
    def start(self) -> Tensor:
        return torch.cat([piece.start for piece in self.pieces])

    @property
    def num_frames(self) -> int:
        """Frames that are shown."""
        return sum(piece.num_frames for piece in self.pieces)

    @property
    def cuts(self) -> int:
        return sum(piece.cut for piece in self.pieces)


@dataclass(frozen=True, kw_only=True)
class Hop:
    """Tokens that are seen together, and which of them are made."""

    seen: Tensor
    """(N,) bool over all tokens of the plan."""
    made: Tensor
    """(N,) bool; all of them are seen."""
    past: Tensor
    """(N,) bool; seen too, but done, and of a causal clip's frames before all the others: remembered, not computed
    again. None of a clip that is not causal."""


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """A piece before anything of it is encoded or drawn."""

    grid: Grid
    prompt: str
    num_frames: int
    """Frames that are shown."""
    cut: bool
    given: Given | None


@dataclass(frozen=True, kw_only=True)
class Outline:
    """A request's shapes alone."""

    pieces: tuple[Stretch, ...]
    size: Size
    fps: float

    @property
    def num_frames(self) -> int:
        """Frames that are shown."""
        return sum(piece.num_frames for piece in self.pieces)

    @property
    def cuts(self) -> int:
        return sum(piece.cut for piece in self.pieces)


def outline(model: VideoModel, request: Request) -> Outline:
    """The shapes of a request, at no cost whatever its size. Raises RequestError for what does not fit."""
    fps = request.fps or _own_fps(request) or model.fps
    size = request.size or _own_size(model, request)
    begins, total = _begins(model, request, fps)
    placed = _placed(model, request.given, set(begins), total, fps)
    for at in placed:
        if at not in begins:
            begins[at] = replace(begins[max(b for b in begins if b < at)], cut=False)
    order = sorted(begins)
    shown = [max(0, end - begin) for begin, end in zip(order, [*order[1:], total], strict=True)]
    # What lies after the end is given.
    held = [many or placed[begin].clip.num_frames for begin, many in zip(order, shown, strict=True)]
    coded = [_coded(model, many) for many in held]
    _check(model, request, coded, [placed.get(begin) for begin in order])
    pieces, time = [], 0.0
    for begin, many, frames in zip(order, shown, coded, strict=True):
        here = begins[begin]
        time += CUT * here.cut
        pieces.append(
            Stretch(
                grid=model.grid(size, frames, fps, start=begin / fps + time),
                prompt=here.prompt,
                num_frames=many,
                cut=here.cut,
                given=placed.get(begin),
            )
        )
    return Outline(pieces=tuple(pieces), size=size, fps=fps)


def uses_state(model: VideoModel, request: Request) -> bool:
    """Whether a request is made by way of the physical state.

    It is where a state is given; else where the model knows states of what the prompts speak of, nothing is given,
    and the request does not say otherwise.
    """
    if "state" not in model.abilities:
        return False
    if request.state is not None:
        return True
    if request.no_state or request.given:
        return False
    if worlds.have_engines():  # which move and draw what the networks do not know: water
        return True
    prompts = [
        " ".join(text for text in (request.prompt, shot.prompt) if text.strip())
        for shot in request.shots
    ] or [request.prompt]
    return all(cast(StateModel, model).covers(prompt) for prompt in prompts)


def needs(
    model: VideoModel, request: Request, coded: Sequence[int], given: Sequence[Given | None]
) -> set[str]:
    """Those of ABILITIES that a request takes. Of each of its pieces: coded frames, and what it begins with."""
    found = set()
    if request.state is not None or "engine" in (request.physics, request.renderer):
        found.add("state")
    for frames, known in zip(coded, given, strict=True):
        if known is not None and known.mask is not None:
            found.add("known parts")
        elif known is not None and _coded(model, known.clip.num_frames) < frames:
            found.add("known frames")
    count = sum(1 + (frames - 1) // model.stride[0] for frames in coded)
    if len(coded) > 1:
        found.add("pieces")
    if request.lag and count > 1:
        found.add("staircase")
    if request.causal:
        found.add("causal")
    if reach(count, model.window, max(0, len(request.shots) - 1)) < count:
        found.add("long")
    return found


def _check(
    model: VideoModel, request: Request, coded: Sequence[int], given: Sequence[Given | None]
) -> None:
    """Raises RequestError for what the model's weights cannot do."""
    lacking = needs(model, request, coded, given) - model.abilities
    if not lacking:
        return
    cannot = "; nor can they ".join(text for name, text in ABILITIES.items() if name in lacking)
    raise RequestError(
        f"{request.task or 'this request'} is not possible with {model.name} as asked: its weights cannot {cannot} "
        f"(accepted: {', '.join(possible(model.abilities))}, of at most {1 + (model.window - 1) * model.stride[0]} "
        f"frames; known ones 1 + a multiple of {model.stride[0]})"
    )


def plan(model: VideoModel, request: Request) -> Plan:
    """Lay a request out, with what is given encoded, and zeros where tokens follow from a state (`stages.draft`).
    Raises RequestError for what does not fit."""
    shapes = outline(model, request)
    by_state = uses_state(model, request)
    pieces = []
    for here in shapes.pieces:
        layout = model.layout(here.grid, causal=request.causal)
        known = torch.zeros(layout.bounds[-1], model.token_width)
        start = torch.ones(layout.bounds[-1])
        if here.given is not None:
            _put(model, here.given, shapes.size, known, start)
        if by_state:
            start.zero_()
        pieces.append(
            Piece(
                grid=here.grid,
                layout=layout,
                known=known,
                start=start,
                prompt=here.prompt,
                num_frames=here.num_frames,
                cut=here.cut,
                drafted=by_state,
            )
        )
    return Plan(pieces=tuple(pieces), fps=shapes.fps)


@dataclass(frozen=True, kw_only=True)
class _Begin:
    prompt: str
    cut: bool = False


def _begins(model: VideoModel, request: Request, fps: float) -> tuple[dict[int, _Begin], int]:
    """First frame of every shot, and the number of frames in all."""
    if request.shots:
        begins, total = {}, 0
        for shot in request.shots:
            words = " ".join(text.strip() for text in (request.prompt, shot.prompt) if text.strip())
            begins[total] = _Begin(prompt=words, cut=total > 0)
            total += nearest_num_frames(shot.seconds, fps, model.stride[0])
        return begins, total
    total = request.num_frames
    if total is None:
        total = (
            1
            if request.seconds is None
            else nearest_num_frames(request.seconds, fps, model.stride[0])
        )
    return {0: _Begin(prompt=request.prompt)}, total


def _coded(model: VideoModel, num_frames: int) -> int:
    """The fewest frames that can be coded and hold so many."""
    stride = model.stride[0]
    return 1 + stride * -(-(num_frames - 1) // stride)


def working_size(model: VideoModel, size: Size) -> Size:
    """Return the size at which a model makes pictures of a size: that one where it can, else its shape at the model's
    own area."""
    side = model.stride[1]
    area, own = size.width * size.height, model.size.width * model.size.height
    if size.width % side == size.height % side == 0 and area <= 4 * own:
        return size
    scale = (own / area) ** 0.5 / side
    return Size(*(side * max(1, round(scale * v)) for v in (size.width, size.height)))


def _own_size(model: VideoModel, request: Request) -> Size:
    if request.given:
        return working_size(model, request.given[0].clip.size)
    return cast(StateModel, model).state_size if uses_state(model, request) else model.size


def _own_fps(request: Request) -> float | None:
    if request.state is not None:
        return request.state.fps
    return next((one.clip.fps for one in request.given if one.clip.num_frames > 1), None)


def _placed(
    model: VideoModel, given: tuple[Given, ...], begins: set[int], total: int, fps: float
) -> dict[int, Given]:
    """Where each known clip begins. Raises RequestError for what does not fit.

    What is known and goes on into frames that are made must end with a whole latent frame: it is cut in two,
    and the second part, coded from its own first frame, does.
    """
    placed: dict[int, Given] = {}
    for one in given:
        count = one.clip.num_frames
        at = total if one.at == "end" else one.at + total if one.at < 0 else one.at
        if not (0 <= at <= total - count or one.at == "end"):
            raise RequestError(
                f"a given clip of {count} frames at {one.at} does not fit into {total} frames"
            )
        if count > 1 and abs(one.clip.fps - fps) > 1e-3:
            raise RequestError(
                f"a given clip of {one.clip.fps:g} frames a second does not fit a clip of {fps:g} "
                "(read it at that rate: video.read(path, fps=...))"
            )
        if at in placed:
            raise RequestError(f"two given clips begin at frame {at} (accepted: one at each)")
        placed[at] = one
    for at, one in sorted(placed.items()):
        count = one.clip.num_frames
        following = min((b for b in (*begins, *placed, total) if b > at), default=total)
        if at < total and at + count > following:
            raise RequestError(
                f"a given clip of {count} frames at {at} does not fit: the next begins at {following}"
            )
        odd = (count - 1) % model.stride[0]
        if odd and at + count < following:
            placed[at], placed[at + odd] = _part(one, 0, odd), _part(one, odd, count)
    return placed


def _part(one: Given, first: int, last: int) -> Given:
    clip = replace(one.clip, frames=one.clip.frames[first:last], tracks={})
    mask = one.mask[first:last] if one.mask is not None and one.mask.ndim == 3 else one.mask
    return replace(one, clip=clip, mask=mask, tokens=None)


def _put(model: VideoModel, given: Given, size: Size, known: Tensor, start: Tensor) -> None:
    """Fill in a known clip at the beginning of a piece; its last frame is repeated up to a whole latent frame."""
    clip, tokens = given.clip, given.tokens
    count = _coded(model, clip.num_frames)
    if tokens is None or clip.size != size:  # tokens are those of the clip's own size
        frames = fit(clip, size).frames
        frames = np.concatenate([frames, frames[-1:].repeat(count - len(frames), 0)])
        tokens = model.encode(replace(clip, frames=frames, tracks={}))
    known[: len(tokens)] = tokens
    start[: len(tokens)] = given.strength
    if given.mask is not None:
        start[: len(tokens)][~_kept(given.mask, clip.num_frames, count, size, model.stride)] = 1.0


def _kept(
    mask: np.ndarray, num_frames: int, coded: int, size: Size, stride: tuple[int, int]
) -> Tensor:
    """(n,) which tokens hold nothing but kept pixels."""
    mask = np.asarray(mask, bool)
    mask = np.broadcast_to(mask if mask.ndim == 3 else mask[None], (num_frames, *mask.shape[-2:]))
    mask = fit_mask(mask, size)
    frames, side = stride
    # The first latent frame holds one frame; what is coded but not shown is as the last one.
    mask = np.concatenate(
        [mask[:1].repeat(frames - 1, 0), mask, mask[-1:].repeat(coded - num_frames, 0)]
    )
    blocks = mask.reshape(-1, frames, size.height // side, side, size.width // side, side)
    return torch.from_numpy(blocks.all(axis=(1, 3, 5)).reshape(-1))


def reach(count: int, window: int, cuts: int) -> int:
    """How many of a clip's latent frames are seen at once: all of them, or a window."""
    return count if count <= window * min(3, 1 + cuts) else window


def hops(one: Plan, window: int, *, stepwise: bool = False) -> Iterator[Hop]:
    """In which order a plan is made when at most `window` latent frames are seen at once (a shot, up to three).

    Each hop makes up to half a window, forward in time (backward where only what follows is known),
    and sees the nearest frames that are done and the clip's first one as an anchor (Xiao et al. 2023, attention sinks).
    Of a causal clip each hop sees nothing that comes later; `stepwise` makes it frame after frame.
    """
    frames, causal = one.layout.frames, one.layout.causal[0]
    count = int(frames.max()) + 1
    free = one.start > 0
    todo = frames[free].unique().tolist()
    whole = reach(count, window, one.cuts) == count or len(todo) == 0
    if whole and not (stepwise and todo):
        past = (frames < todo[0]) & causal if todo else torch.zeros_like(free)
        yield Hop(seen=torch.ones_like(free), made=free, past=past)
        return
    window = max(window, count) if whole else window
    done = sorted(set(range(count)) - set(todo))
    if done and min(done) > max(todo) and not causal:
        todo.reverse()
    while todo:
        most = 1 if stepwise else max(1, window // 2) if done else window
        new = [todo[0]]
        while len(new) < most and len(new) < len(todo) and abs(todo[len(new)] - new[-1]) == 1:
            new.append(todo[len(new)])
        todo = todo[len(new) :]
        near = list(range(new[0])) if causal else done
        anchor = [0] if 0 in near else []
        around = sorted(near, key=lambda f: min(abs(f - n) for n in (new[0], new[-1])))
        around = around[: window - len(new) - len(anchor)]
        seen = torch.isin(frames, torch.tensor(sorted({*new, *around, *anchor})))
        made = free & torch.isin(frames, torch.tensor(new))
        yield Hop(seen=seen, made=made, past=seen & (frames < new[0]) & causal)
        done = sorted({*done, *new})


def row(one: Plan, hop: Hop, part: Tensor) -> tuple[Layout, list[str]]:
    """The layout of some of a hop's tokens, part (N,) bool over all of the plan, and the words of each piece
    among them."""
    layout, bounds = one.layout, one.layout.spans
    prompts = [
        piece.prompt
        for piece, a, b in zip(one.pieces, bounds[:-1], bounds[1:], strict=True)
        if bool(part[a:b].any())
    ]
    seconds, frames = layout.positions[hop.seen, 0], layout.frames[hop.seen]
    first = frames == frames.min()
    if not one.cuts and bool((~first).any()):
        nearest = seconds[~first].min() - SINK_SECONDS
        if bool((seconds[first] < nearest).any()):
            positions = layout.positions.clone()
            positions[hop.seen & (layout.frames == frames.min()), 0] = nearest
            layout = replace(layout, positions=positions)
    return select(layout, part), prompts
