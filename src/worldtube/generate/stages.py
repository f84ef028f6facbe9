"""State first: text to a plan, the plan to states by dynamics, the states to latents by a renderer.

Owns the order of the stages and how their results become known tokens of a clip. Either half may be an engine.
Knows nothing of files or of which task asked.
"""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from worldtube import worlds
from worldtube.codec.plan import PlanTokens, decode_plan
from worldtube.codec.water import decode_water_plan
from worldtube.dynamics import continue_states
from worldtube.errors import RequestError
from worldtube.generate.layout import Piece, Plan
from worldtube.generate.plan import sample_plans
from worldtube.generate.request import Request
from worldtube.models.model import StateModel
from worldtube.renderer import Renderer, Scenes
from worldtube.state import CameraPath, State, resample
from worldtube.video import Size

logger = logging.getLogger(__name__)

SWEEP = 25
"""Frames, at the rate of the dynamics, over which a planned camera makes its whole move; it then stays."""
LATENTS_AT_ONCE = 8
"""Latent frames that are rendered together: memory does not grow with a clip."""
PLAN_STEPS, PLAN_GUIDANCE = 12, 2.0
"""Of a plan's diffusion: 12 steps score as 24 do, guidance of 3 as of 2, none loses 3 points of each fact. What a
request says of steps and guidance is of pictures that are made from words alone."""

Advance = Callable[[], None]
"""Called once for each unit of work that is done."""


def count_units(plan: Plan) -> int:
    """Units of work that `draft` counts: one for each shot, and one for each latent frame."""
    return len(split_shots(plan)) + sum(piece.grid.frames for piece in plan.pieces)


def draft(
    model: StateModel, requests: Sequence[Request], plans: Sequence[Plan], advance: Advance
) -> list[Plan]:
    """Fill in the tokens of clips that are made by way of their state.

    Args:
        plans: of each request, laid out
        advance: called as often as `count_units` says of them in all
    """
    drafted = []
    for request, plan, states in zip(
        requests, plans, make_states(model, requests, plans, advance), strict=True
    ):
        pieces, shown = [], []
        for shot, state in zip(split_shots(plan), states, strict=True):
            first = 0
            for piece in shot:
                part = state[first : first + _coded_frames(piece)]
                if not drawn_by_engine(request, states):
                    piece = _fill(model, piece, part, advance)
                else:  # an engine draws pixels, not tokens
                    _advance_by(piece.grid.frames, advance)
                pieces.append(piece)
                first += piece.num_frames
            shown.append(state[:first])
        drafted.append(replace(plan, pieces=tuple(pieces), states=tuple(shown)))
    return drafted


def drawn_by_engine(request: Request, states: Sequence[State]) -> bool:
    """Whether the ray caster draws a clip: where it is asked to, and where there is water, which no network draws."""
    return request.renderer == "engine" or any(state.water is not None for state in states)


def split_shots(plan: Plan) -> list[list[Piece]]:
    """The pieces of each shot."""
    shots: list[list[Piece]] = []
    for piece in plan.pieces:
        if piece.cut or not shots:
            shots.append([])
        shots[-1].append(piece)
    return shots


def _fill(model: StateModel, piece: Piece, state: State, advance: Advance) -> Piece:
    """The piece with the tokens of its state."""
    grid, parts = piece.grid, []
    for latents in render(model.parts.renderer, state, grid.stride, grid.height, grid.width):
        parts.append(latents)
        _advance_by(latents.shape[1], advance)
    return replace(piece, known=model.tokens(torch.cat(parts, dim=1)))


def _advance_by(count: int, advance: Advance) -> None:
    for _ in range(count):
        advance()


def make_states(
    model: StateModel, requests: Sequence[Request], plans: Sequence[Plan], advance: Advance
) -> list[list[State]]:
    """The state of each shot of each request, over all frames that its latent grids hold.

    Shots with the same number are planned and stepped together. What there is stays the same in all shots of a clip.

    Raises:
        RequestError: where the plan of a prompt has no objects
    """
    rate = model.parts.dynamics.config.steps_per_second
    shots = [split_shots(plan) for plan in plans]
    states_of: list[list[State]] = [[] for _ in requests]
    cast: list[PlanTokens | None] = [None] * len(requests)
    for number in range(max(map(len, shots), default=0)):
        starts: dict[int, State] = {}
        unplanned = []
        for i, request in enumerate(requests):
            if number == 0 and request.state is not None:
                starts[i] = request.state
                advance()
            elif number < len(shots[i]):
                unplanned.append(i)
        prompts = [shots[i][number][0].prompt for i in unplanned]
        tokens = sample_plans(
            model.parts.planner,
            model.text,
            prompts,
            seeds=[requests[i].seed + number for i in unplanned],
            negative_prompts=[requests[i].negative_prompt for i in unplanned],
            steps=PLAN_STEPS,
            guidance=PLAN_GUIDANCE,
            casts=[cast[i] for i in unplanned],
        )
        for i, prompt, token in zip(unplanned, prompts, tokens, strict=True):
            advance()
            cast[i] = cast[i] or token
            frames = _count_frames(shots[i][number])
            starts[i] = _begin(token, prompt, rate, math.ceil((frames - 1) / plans[i].fps * rate))
        frames = {i: _count_frames(shots[i][number]) for i in starts}
        states = _continue(model, requests, starts, {i: plans[i].fps for i in starts}, frames)
        for i, state in states.items():
            states_of[i].append(state)
    return states_of


def _count_frames(shot: Sequence[Piece]) -> int:
    """Frames that the latent grids of a shot's pieces hold."""
    return sum(piece.num_frames for piece in shot[:-1]) + _coded_frames(shot[-1])


def _begin(tokens: PlanTokens, prompt: str, rate: float, more: int) -> State:
    """What a plan begins: one frame of bodies, and the whole sweep of the camera. Where there is water, its engine runs
    for `more` frames: it goes on from no other frame.

    Raises:
        RequestError: where there are no bodies
    """
    state, water = decode_water_plan(tokens, num_frames=SWEEP, fps=rate)
    if not state.bodies:
        raise RequestError(
            f"the plan of the prompt {prompt!r:.80} has no objects; try another seed"
        )
    if water is not None and worlds.have_engines():
        try:
            return replace(worlds.run_water(state, water, 1 + more), camera=state.camera)
        except RequestError as error:
            logger.info("%s; the plan goes on without water", error)
    return replace(decode_plan(tokens, num_frames=SWEEP, fps=rate), poses=state.poses[:1])


def _continue(
    model: StateModel,
    requests: Sequence[Request],
    starts: dict[int, State],
    fps: dict[int, float],
    frames: dict[int, int],
) -> dict[int, State]:
    """States over so many frames at their clips' rates; those that the learned dynamics continue step together.

    Args:
        starts: by number of the request, with cameras that may go on longer than the poses
    """
    rate = model.parts.dynamics.config.steps_per_second
    missing = {
        i: math.ceil(((frames[i] - 1) / fps[i] - (len(state.poses) - 1) / state.fps) * rate - 1e-6)
        for i, state in starts.items()
    }
    for i, count in missing.items():
        if count > 0 and starts[i].water is not None:
            raise RequestError(
                f"a state with water must hold all frames of its clip, {frames[i]}, got {starts[i].num_frames}"
            )
    longer = {i: _at_rate(starts[i], rate) for i, count in missing.items() if count > 0}
    learned = [i for i in longer if requests[i].physics == "model"]
    if learned:
        most = max(missing[i] for i in learned)
        with torch.inference_mode():
            stepped = continue_states(model.parts.dynamics, [longer[i] for i in learned], most)
        for i, state in zip(learned, stepped, strict=True):
            longer[i] = state[: len(longer[i].poses) + missing[i]]
    for i in longer:
        if requests[i].physics == "engine":
            longer[i] = worlds.continue_state(longer[i], missing[i])
    result = {}
    for i, first in starts.items():
        state = longer.get(i, first)
        state = replace(state, camera=_camera_at(first, state.fps, len(state.poses)))
        result[i] = resample(state, fps[i], frames[i])
    return result


def _at_rate(state: State, rate: float) -> State:
    """The state at the rate of the dynamics, its last frame kept."""
    state = replace(state, camera=_extend(state.camera, len(state.poses)))
    if abs(state.fps - rate) < 1e-6:
        return state
    seconds = (state.num_frames - 1) / state.fps
    frames = 1 + math.ceil(seconds * rate - 1e-6)
    return resample(state, rate, frames)


def _camera_at(state: State, fps: float, num_frames: int) -> CameraPath:
    """The camera of a state at another rate, held after its end."""
    at = np.arange(num_frames) * (state.fps / fps)
    known = np.arange(len(state.camera))

    def mixed(values: np.ndarray) -> np.ndarray:
        return np.stack([np.interp(at, known, axis) for axis in values.T], -1).astype(np.float32)

    camera = state.camera
    return replace(camera, positions=mixed(camera.positions), targets=mixed(camera.targets))


def _coded_frames(piece: Piece) -> int:
    return 1 + (piece.grid.frames - 1) * piece.grid.stride


@torch.inference_mode()
def render(
    renderer: Renderer, state: State, stride: int, height: int, width: int
) -> Iterator[Tensor]:
    """Latents float32 (C, t, h, w) of a state's frames, some latent frames at a time.

    Args:
        state: 1 + stride * n frames
        stride: picture frames that each latent frame but the first covers
        height, width: cells of the latent grid
    """
    scenes = Scenes.from_state(state, stride=stride)
    for first in range(0, len(scenes), LATENTS_AT_ONCE):
        part = scenes[slice(first, first + LATENTS_AT_ONCE)]
        yield renderer.render(part, height, width).transpose(0, 1)


def draw_by_engine(plan: Plan, size: Size) -> Iterator[np.ndarray]:
    """Frames uint8 (T, H, W, 3) of a drafted plan by the ray caster, block by block."""
    for state in plan.states:
        for first in range(0, state.num_frames, LATENTS_AT_ONCE):
            yield worlds.draw_state(state[first : first + LATENTS_AT_ONCE], size)


def _extend(camera: CameraPath, num_frames: int) -> CameraPath:
    """The first frames of a path, or the whole and its last frame held."""

    def extended(values: np.ndarray) -> np.ndarray:
        more = max(0, num_frames - len(values))
        return np.concatenate([values[:num_frames], values[-1:].repeat(more, 0)])

    return replace(camera, positions=extended(camera.positions), targets=extended(camera.targets))
