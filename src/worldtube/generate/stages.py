"""State first: text to a plan, the plan to states by dynamics, the states to pictures by a renderer.

Owns the order of the stages. Either half may be something else: `physics` and `renderer` are functions, of the learned
parts by default. Knows nothing of engines, files or of which task asked.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from worldtube.codec import VideoCodec
from worldtube.codec.plan import decode_plan
from worldtube.dynamics import Dynamics, continue_states
from worldtube.errors import RequestError
from worldtube.generate.plan import sample_plans
from worldtube.renderer import Renderer, Scenes
from worldtube.state import CameraPath, State
from worldtube.text.encoder import TextEncoder
from worldtube.transformer import Transformer
from worldtube.video import Size

Physics = Callable[[State, int], State]
"""(state, number of frames to add) -> the state with them."""
Drawer = Callable[[State, Size], Iterator[np.ndarray]]
"""(state, size) -> blocks uint8 (T, H, W, 3) of its frames, in order."""

SWEEP = 25
"""Frames over which a planned camera makes its whole move; it stays where it is after them."""
LATENTS_AT_ONCE = 8
"""Latent frames that are rendered and decoded together: memory does not grow with a clip."""


@dataclass(frozen=True, kw_only=True)
class StateModel:
    """The parts that make a clip by way of its physical state."""

    name: str
    planner: Transformer
    dynamics: Dynamics
    renderer: Renderer
    codec: VideoCodec
    text: TextEncoder


def make_states(
    model: StateModel,
    prompts: Sequence[str],
    *,
    seeds: Sequence[int],
    num_frames: int,
    steps: int = 24,
    guidance: float = 2.0,
    physics: Physics | None = None,
) -> list[State]:
    """Make a state of each prompt, all planned and stepped together.

    Args:
        num_frames: picture frames, at the rate of the dynamics
        steps, guidance: of the plan's diffusion
        physics: goes on from the first frame in place of the learned dynamics

    Raises:
        RequestError: where a prompt's plan has no object at all
    """
    if num_frames < 1:
        raise RequestError(f"num_frames must be at least 1, got {num_frames}")
    fps = model.dynamics.config.steps_per_second
    tokens = sample_plans(
        model.planner, model.text, prompts, seeds=seeds, steps=steps, guidance=guidance
    )
    plans = [decode_plan(token, num_frames=SWEEP, fps=fps) for token in tokens]
    for prompt, plan in zip(prompts, plans, strict=True):
        if not plan.bodies:
            raise RequestError(
                f"the plan of the prompt {prompt!r:.80} has no objects; try another seed"
            )
    starts = [plan[:1] for plan in plans]
    if num_frames == 1:
        return starts
    if physics is not None:
        states = [physics(start, num_frames - 1) for start in starts]
    else:
        states = continue_states(model.dynamics, starts, num_frames - 1)
    return [
        replace(state, camera=_extend(plan.camera, num_frames))
        for state, plan in zip(states, plans, strict=True)
    ]


@torch.inference_mode()
def draw_state(model: StateModel, state: State, size: Size) -> Iterator[np.ndarray]:
    """Draw a state by the learned renderer and the codec.

    Args:
        state: any number of frames
        size: multiples of the codec's stride

    Yields:
        uint8 (T, H, W, 3) blocks of frames, in order. Blocks do not depend on how many there are: the codec decodes
        causally.
    """
    stride, rows, columns = model.codec.stride
    if size.height % rows or size.width % columns:
        raise RequestError(f"size must be a multiple of {columns}x{rows}, got {size}")
    missing = -(state.num_frames - 1) % stride
    scenes = Scenes.from_state(_pad(state, missing), stride=stride)
    stream, shown = model.codec.decoder_stream(), 0
    for first in range(0, len(scenes), LATENTS_AT_ONCE):
        part = scenes[slice(first, first + LATENTS_AT_ONCE)]
        latents = model.renderer.render(part, size.height // rows, size.width // columns)
        pixels = stream(latents.transpose(0, 1)[None])[0]  # (3, T, H, W)
        frames = _to_frames(pixels)[: state.num_frames - shown]
        shown += len(frames)
        if len(frames):
            yield frames


def _to_frames(pixels: Tensor) -> np.ndarray:
    values = ((pixels.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return values.permute(1, 2, 3, 0).cpu().numpy()


def _pad(state: State, count: int) -> State:
    """Repeat the last frame."""
    if not count:
        return state
    poses = state.poses
    held = {
        name: np.concatenate([values, values[-1:].repeat(count, 0)])
        for name, values in vars(poses).items()
    }
    return replace(
        state, poses=replace(poses, **held), camera=_extend(state.camera, state.num_frames + count)
    )


def _extend(camera: CameraPath, num_frames: int) -> CameraPath:
    """The first frames of a path, or the whole and its last frame held."""

    def extended(values: np.ndarray) -> np.ndarray:
        more = max(0, num_frames - len(values))
        return np.concatenate([values[:num_frames], values[-1:].repeat(more, 0)])

    return replace(camera, positions=extended(camera.positions), targets=extended(camera.targets))
