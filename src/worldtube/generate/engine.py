"""The engine: requests in, clips out, whatever the task.

Owns the order of the steps: lay out tokens, draw noise from each request's own seed, walk the levels
down hop by hop, decode what is done. Knows nothing of networks, of files or of which task made a request.
"""

import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import torch
from torch import Tensor

from worldtube import provenance
from worldtube.diffusion import schedule
from worldtube.diffusion.guidance import classifier_free
from worldtube.diffusion.noise import data_from_velocity
from worldtube.diffusion.samplers import EVALUATIONS, SAMPLERS
from worldtube.errors import RequestError
from worldtube.generate import budget, stages
from worldtube.generate.assemble import assemble
from worldtube.generate.layout import PIXELS_AT_ONCE, Hop, Outline, Plan, hops, plan, row
from worldtube.generate.memory import Memory, Read, recall
from worldtube.generate.request import Request
from worldtube.models.model import StateModel, VideoModel
from worldtube.state import State, resample
from worldtube.tokens import Layout, pack
from worldtube.video import Clip

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Called with (evaluations done, evaluations in all)."""

Look = Callable[[int, Plan, Tensor], None]
"""Called after every evaluation, for each clip in it, with (its number, its plan, (n, P) what its tokens will be as far
as the model can tell by now)."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Generated(Clip):
    """A clip with the request that made it; saving goes through the one door out."""

    request: Request
    tokens: Tensor | None = None
    """(n, P) of a clip in one piece: what goes on from it need not encode it again."""
    states: tuple[State, ...] = ()
    """The physical state of each shot, where the clip was made by way of it."""
    details: dict[str, Any] = field(default_factory=dict)
    """Model, seed, sizes and times."""
    warnings: tuple[str, ...] = ()
    """What the user should know about the prompt: that it was rewritten, is unfamiliar or too long."""
    sources: tuple[Path, ...] = ()
    """Files that it was made from, where a task was given their paths."""
    encoded: np.ndarray | None = None
    """The frames that `tokens` and `states` stand for; a copy with others (`dataclasses.replace`) loses both."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.encoded is None:
            object.__setattr__(self, "encoded", self.frames)
        elif self.encoded is not self.frames:
            object.__setattr__(self, "tokens", None)
            object.__setattr__(self, "states", ())

    @property
    def seed(self) -> int:
        """The seed that makes it again."""
        return self.request.seed

    @property
    def state(self) -> State | None:
        """The physical state of a clip of one shot, a row per frame; None where it was made without one."""
        return self.states[0] if len(self.states) == 1 else None

    def save(
        self,
        path: str | Path,
        *,
        parents: Sequence[str | Path] = (),
        sign_prompt: bool = False,
        watermark: bool = True,
    ) -> Path:
        """Write the clip in the format of the name's ending: watermarked and signed, whole or not at all.

        Args:
            path: file to write; mp4, mov, webm, gif, webp, png or jpg
            parents: files that it was made from, besides `sources`
            sign_prompt: whether the signed credentials hold the prompt too
            watermark: whether the invisible watermark is laid into the picture; without it the credentials say so
        """
        known = [source for source in self.sources if source.is_file()]
        every = dict.fromkeys(Path(parent) for parent in (*known, *parents))
        return provenance.write(
            self,
            path,
            details=self.details,
            parents=[*every],
            sign_prompt=sign_prompt,
            watermark=watermark,
        )

    def _select(self, numbers: range) -> Self:
        clip = super()._select(numbers)
        facts = {"num_frames": clip.num_frames, "fps": clip.fps, "seconds": round(clip.seconds, 3)}
        details = self.details | facts
        states = self._select_states(numbers)
        return replace(clip, details=details, states=states, encoded=clip.frames)

    def _select_states(self, numbers: range) -> tuple[State, ...]:
        """States of the frames of these numbers; none where they run backwards."""
        if numbers.step < 0:
            return ()
        index = slice(numbers.start, numbers.stop, numbers.step)
        states, first = [], 0
        for state in self.states:
            inside = range(state.num_frames)[
                slice(*(max(0, n - first) for n in (index.start, index.stop)), 1)
            ]
            first += state.num_frames
            if inside:
                states.append(state[inside.start : inside.stop])
        if numbers.step == 1:
            return tuple(states)
        fps = self.fps / numbers.step
        return tuple(resample(one, fps, -(-one.num_frames // numbers.step)) for one in states)

    def _facts(self) -> str:
        return f"{super()._facts()}, seed {self.seed}"

    def _encode(self, format: str) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            return self.save(Path(folder, f"clip.{format}")).read_bytes()


def _levels(request: Request, layout: Layout, start: Tensor, shift: float) -> Tensor:
    path = schedule.uniform(request.steps, shift=shift)
    if request.lag == 0:
        return schedule.from_start(path, start)
    frame = torch.unique(layout.frames, return_inverse=True)[1]
    return schedule.staircase(path, start, frame, request.lag)


_SHARED = (
    *("steps", "sampler", "lag", "shift"),
    *("guidance", "guidance_interval", "guidance_rescale"),
)


def walk(
    model: VideoModel,
    requests: Sequence[Request],
    *,
    progress: Progress | None = None,
    look: Look | None = None,
) -> Iterator[tuple[list[Plan], list[Tensor], list[Tensor]]]:
    """Make the tokens of requests that share steps, sampler and guidance, hop by hop.

    Each hop is one packed row. After each come the plans, the values (n, P) so far and which of them (n,)
    are done. Each request draws from its own seed. A causal one remembers what it has made: the row of
    a hop holds no frame that is before all of those being made.
    """
    first = requests[0]
    for other in requests:
        for shared in _SHARED:
            if getattr(other, shared) != getattr(first, shared):
                raise RequestError(
                    f"requests of one batch must share {shared}, "
                    f"got {getattr(first, shared)} and {getattr(other, shared)}"
                )
    plans = [plan(model, request) for request in requests]
    by_state = [i for i, one in enumerate(plans) if one.pieces[0].drafted]
    todo = [
        list(hops(one, model.window, stepwise=request.causal and request.lag == request.steps))
        if bool((one.start > 0).any())
        else []  # all is known, or follows from a state
        for one, request in zip(plans, requests, strict=True)
    ]
    generators = [torch.Generator().manual_seed(request.seed) for request in requests]
    done = [one.start == 0 for one in plans]
    memories = [[Memory(one) for one in plans]]
    if first.guidance != 1:
        pairs = zip(plans, requests, strict=True)
        memories.append([Memory(one, request.negative_prompt) for one, request in pairs])
    native = len(plan(model, Request(prompt="what a request gets that says no more")).start)
    read = cache(lambda prompts: model.read(model.embed(prompts)))
    rounds = []
    for k in range(max(map(len, todo), default=0)):
        active = [i for i in range(len(plans)) if k < len(todo[i])]
        rows = [
            _Row(plans[i], requests[i], todo[i][k], native, [m[i] for m in memories])
            for i in active
        ]
        rounds.append((active, rows))
    evaluations = sum(max(len(one.levels) for one in rows) - 1 for _, rows in rounds)
    units = sum(stages.count_units(plans[i]) for i in by_state)
    tell = _counter(EVALUATIONS[first.sampler] * evaluations + units, progress)
    if by_state:
        drafted = stages.draft(
            cast(StateModel, model),
            [requests[i] for i in by_state],
            [plans[i] for i in by_state],
            tell,
        )
        for i, one in zip(by_state, drafted, strict=True):
            plans[i] = one
    values = [_first_value(one, own) for one, own in zip(plans, generators, strict=True)]
    if not rounds:
        yield plans, values, done
    for active, rows in rounds:
        noise = _noise([generators[i] for i in active], [one.layout.bounds[-1] for one in rows])
        see = _onlooker(look, active, plans, values, rows)
        made = _hop(model, first, rows, [values[i] for i in active], read, noise, tell, see)
        for i, one, part in zip(active, rows, made, strict=True):
            values[i][one.part] = part
            done[i] |= one.hop.made
        yield plans, values, done


class _Row:
    """One request's part of a hop."""

    def __init__(
        self, one: Plan, request: Request, hop: Hop, native: int, memories: Sequence[Memory]
    ):
        self.hop, self.memories = hop, memories
        self.part = hop.seen & ~hop.past
        """(n,) bool: the tokens that are in the row."""
        self.layout, self.prompts = row(one, hop, self.part)
        start = torch.where(hop.made, one.start, 0.0)[self.part]
        shift = request.shift or schedule.shift_for(int(hop.seen.sum()), native)
        self.levels = _levels(request, self.layout, start, shift)


def _hop(
    model: VideoModel,
    first: Request,
    rows: list[_Row],
    values: list[Tensor],
    read: Read,
    noise: Callable[[Tensor], Tensor],
    tell: Callable[[], None],
    see: Callable[[Tensor], None] | None,
) -> tuple[Tensor, ...]:
    """The values of each row's tokens after a hop; `first` says what all requests share."""
    layout = pack([one.layout for one in rows])
    last = max(len(one.levels) for one in rows)
    matrices = [torch.cat([m, m[-1:].expand(last - len(m), -1)]) for m in (r.levels for r in rows)]

    @cache
    def told(sides: int) -> Callable[[Tensor, Tensor], Tensor]:
        """Velocities with the words and, of two sides, behind them those without; for small clips one pass is
        little more than half of two."""
        memories = [one.memories[side] for side in range(sides) for one in rows]
        words = [
            memory.words(one.prompts) for memory, one in zip(memories, rows * sides, strict=True)
        ]
        reading = read(tuple(text for own in words for text in own))
        past = recall(model, memories, [one.hop for one in rows] * sides, [*values] * sides, read)
        places = pack([layout] * sides)
        return lambda x, sigma: model.velocity(
            x.repeat(sides, 1), sigma.repeat(sides), places, reading, past
        )

    def both(x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        with_words, without = told(2)(x, sigma).chunk(2)
        return with_words, without

    guided = classifier_free(
        lambda x, sigma: told(1)(x, sigma),
        both,
        first.guidance,
        interval=first.guidance_interval,
        rescale=first.guidance_rescale,
        bounds=layout.bounds,
    )

    def velocity(x: Tensor, sigma: Tensor) -> Tensor:
        out = guided(x, sigma)
        tell()
        if see is not None:
            see(data_from_velocity(x, out, sigma).cpu())
        return out

    device = getattr(model, "device", "cpu")  # the values stay there until the chunk is done
    x = torch.cat([value[one.part] for value, one in zip(values, rows, strict=True)]).to(device)
    levels = torch.cat(matrices, dim=1).to(device)
    with torch.inference_mode():
        x = SAMPLERS[first.sampler](velocity, x, levels, noise)
    return x.cpu().split(layout.lengths)


def sample(
    model: VideoModel,
    requests: Sequence[Request],
    *,
    progress: Progress | None = None,
    look: Look | None = None,
) -> tuple[list[Plan], list[Tensor]]:
    """As `walk`, all hops: plans and tokens (n, P) of each request."""
    plans, values = [], []
    *_, (plans, values, _) = walk(model, requests, progress=progress, look=look)
    return plans, values


def _first_value(one: Plan, generator: torch.Generator) -> Tensor:
    noise = torch.randn(one.known.shape, generator=generator)
    return (1 - one.start)[:, None] * one.known + one.start[:, None] * noise


def _noise(
    generators: Sequence[torch.Generator], lengths: Sequence[int]
) -> Callable[[Tensor], Tensor]:
    """What a sampler draws in a hop: each row from its own seed, whatever lies beside it.

    A row takes one number from its request's generator to begin another with, so that the next hop does not
    depend on how many steps its neighbours took in this one.
    """
    seeds = [int(torch.randint(2**62, (), generator=one)) for one in generators]
    own = [torch.Generator().manual_seed(seed) for seed in seeds]

    def draw(like: Tensor) -> Tensor:
        rows = zip(lengths, own, strict=True)
        return torch.cat([torch.randn(n, like.shape[1], generator=one) for n, one in rows]).to(like)

    return draw


def _counter(total: int, progress: Progress | None) -> Callable[[], None]:
    """Called after every evaluation, it tells how far the sampler has come."""
    done = 0

    def tell() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    return tell


def _onlooker(
    look: Look | None,
    active: Sequence[int],
    plans: Sequence[Plan],
    values: Sequence[Tensor],
    rows: Sequence[_Row],
) -> Callable[[Tensor], None] | None:
    """Called with what a hop's tokens will be (N, P), it tells of each clip: what was done before, and that.

    None where nobody looks.
    """
    if look is None:
        return None

    def see(estimate: Tensor) -> None:
        parts = estimate.split([one.layout.bounds[-1] for one in rows])
        for i, one, part in zip(active, rows, parts, strict=True):
            guess = values[i].clone()
            guess[one.part] = part
            look(i, plans[i], guess)

    return see


def _show(
    model: VideoModel, request: Request, one: Plan
) -> Callable[[Tensor, Tensor], Iterator[np.ndarray]]:
    """What turns a plan's tokens into frames; where an engine draws its states, they take no tokens."""
    if one.states and stages.drawn_by_engine(request, one.states):
        size = model.pixels(one.pieces[0].grid)
        return lambda values, done: stages.draw_by_engine(one, size)
    return Show(model, one)


class Show:
    """Turns a plan's tokens into frames, in order, as soon as they are done."""

    def __init__(self, model: VideoModel, one: Plan):
        self.model, self.plan = model, one
        self.together = model.footprint().together
        self.piece, self.frame, self.shown, self.first = 0, 0, 0, 0
        self.decoder: Any = None

    def __call__(self, values: Tensor, done: Tensor) -> Iterator[np.ndarray]:
        """uint8 (T, H, W, 3) blocks of what can be shown now and was not before."""
        while self.piece < len(self.plan.pieces):
            piece = self.plan.pieces[self.piece]
            grid, each = piece.grid, len(piece.start) // piece.grid.frames
            ready = done[self.first : self.first + len(piece.start)].view(grid.frames, each).all(1)
            stop = grid.frames if bool(ready.all()) else int((~ready).float().argmax())
            if self.decoder is None:
                self.decoder = self.model.decoder(grid)
            size = self.model.pixels(grid)
            few = max(self.together, PIXELS_AT_ONCE // (grid.stride * size.width * size.height))
            while piece.num_frames and self.frame < stop:
                last = min(stop, self.frame + few)
                a, b = self.first + self.frame * each, self.first + last * each
                frames = self.decoder(values[a:b])[: piece.num_frames - self.shown]
                self.shown, self.frame = self.shown + len(frames), last
                if len(frames):
                    yield frames
            self.frame = stop
            if stop < grid.frames:
                return
            self.first += len(piece.start)
            self.piece, self.frame, self.shown, self.decoder = self.piece + 1, 0, 0, None


def stream(
    model: VideoModel,
    request: Request,
    *,
    progress: Progress | None = None,
    look: Look | None = None,
    on_states: Callable[[Sequence[State]], None] | None = None,
) -> Iterator[np.ndarray]:
    """The clip's frames as they are done, in blocks uint8 (T, H, W, 3): a minute needs no more memory than a hop.

    Args:
        on_states: called once, before the first block, with the physical state of each shot
    """
    budget.check(model, [request], streamed=True)

    def blocks() -> Iterator[np.ndarray]:
        show: Callable[[Tensor, Tensor], Iterator[np.ndarray]] | None = None
        for plans, values, done in walk(model, [request], progress=progress, look=look):
            if show is None:
                show = _show(model, request, plans[0])
                if on_states is not None:
                    on_states(plans[0].states)
            yield from show(values[0], done[0])

    yield from assemble(request.composition, blocks())


def generate(
    model: VideoModel,
    requests: Sequence[Request],
    *,
    batch: int = 1,
    progress: Progress | None = None,
    look: Look | None = None,
) -> list[Generated]:
    """Make every request's clip.

    One after the other, a request's bytes depend on nothing but itself. `batch` > 1 packs that many into
    one row, which a GPU needs to be busy; matrix products then round differently, so a clip is the same
    up to that.
    """
    clips = []
    for first in range(0, len(requests), batch):
        group = requests[first : first + batch]
        began = time.perf_counter()
        share = _share(progress, first, len(requests), len(group))
        budget.check(model, group)
        watch = look and _numbered(look, first)
        plans, tokens = sample(model, group, progress=share, look=watch)
        for request, one, values in zip(group, plans, tokens, strict=True):
            everything = torch.ones(len(values), dtype=torch.bool)
            blocks, made = _show(model, request, one)(values, everything), request.composition
            frames = np.concatenate(list(assemble(made, blocks)))
            seconds = round(time.perf_counter() - began, 3)
            # Tokens go on with the clip only where they stand for its own frames.
            drawn = bool(one.states) and stages.drawn_by_engine(request, one.states)
            composed = drawn or (made is not None and made.parts)
            whole = len(one.pieces) == 1 and len(frames) == one.pieces[0].grid.num_frames
            clips.append(
                Generated(
                    frames=frames,
                    fps=one.fps if made is None else made.fps,
                    caption=request.prompt,
                    sound=None if made is None else made.sound,
                    request=request,
                    tokens=values if whole and not composed else None,
                    states=one.states,
                    details=describe(model, request, one, len(frames))
                    | {"made_in_seconds": seconds},
                )
            )
    return clips


def describe(
    model: VideoModel, request: Request, one: Plan | Outline, num_frames: int
) -> dict[str, Any]:
    """What is said of a clip's making: the model and the request, without what was given."""
    left_out = ("given", "composition", "state")
    told = {f.name: getattr(request, f.name) for f in fields(request) if f.name not in left_out}
    told["shots"] = [asdict(shot) for shot in request.shots]
    size = model.pixels(one.pieces[0].grid)
    told |= {"size": str(size), "fps": float(one.fps), "num_frames": num_frames}
    told["guidance"] = float(
        request.guidance
    )  # 4 and 4.0 ask for the same clip and get the same watermark
    made = request.composition
    if made is not None and made.parts:
        told |= {"size": str(made.size), "fps": float(made.fps), "num_frames": made.num_frames}
        told |= {"working_size": str(size), "working_fps": float(one.fps)}
    if request.num_frames is not None or request.shots:  # `seconds` was not what was asked for
        told["seconds"] = round(told["num_frames"] / told["fps"], 3)
    return {"generator": "worldtube", "model": model.name, "num_given": len(request.given)} | told


def _numbered(look: Look, first: int) -> Look:
    """A group's clips, told with their numbers among all of them."""
    return lambda index, one, guess: look(first + index, one, guess)


def _share(progress: Progress | None, first: int, total: int, size: int) -> Progress | None:
    """Progress of one group of requests, told as part of all of them."""
    if progress is None:
        return None
    return lambda done, steps: progress(first * steps + done * size, total * steps)
