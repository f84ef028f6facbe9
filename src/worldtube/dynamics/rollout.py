"""From a first state to a clip of states by the learned step.

Owns what is done around the network at each step. Knows nothing of training.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from worldtube.dynamics.bodies import Bodies, Motion
from worldtube.dynamics.network import Dynamics
from worldtube.errors import RequestError
from worldtube.state import CameraPath, Poses, State

SLACK = 0.002
"""Metres that bodies may overlap, as they do in an engine with soft contacts."""
_ASLEEP = (0.002, 0.03, 0.2)
"""Metres moved, metres per second and radians per second below which a body stays where it is."""


def separate(bodies: Bodies, motion: Motion, *, iterations: int = 2) -> Motion:
    """Lift bodies out of the table and push overlapping pairs apart, heavier ones less. Cups may hold others."""
    position, rotation = motion.position, motion.rotation
    i, j = bodies.pairs
    if len(i):
        solid = ~(bodies.is_cup[i] | bodies.is_cup[j])
        near = (position[i] - position[j]).norm(dim=-1) < bodies.reach[i] + bodies.reach[j]
        i, j = i[solid & near], j[solid & near]
        share = (bodies.mass[j] / (bodies.mass[i] + bodies.mass[j]))[:, None]
    for _ in range(iterations):
        points = bodies.support_points(rotation) + position[:, None]
        inside, _ = bodies.edge_distances(points)
        on_table = (inside > 0.01) & (position[:, None, 2] > -0.02)
        sunk = torch.where(on_table, -points[..., 2] - SLACK, torch.zeros(()))
        lift = sunk.amax(1).clamp(0, 0.1)
        position = position + torch.stack(
            [torch.zeros_like(lift), torch.zeros_like(lift), lift], -1
        )
        if len(i):
            _, _, normal, gap = bodies.closest_points(position, rotation, i, j)
            overlap = (-gap - SLACK).clamp(0, 0.05)[:, None]
            position = position.index_add(0, i, normal * overlap * share)
    return motion._replace(position=position)


def settle(before: Motion, after: Motion) -> Motion:
    """Keep a body exactly where it was when it hardly moved: rest does not creep."""
    moved, speed, turning = _ASLEEP
    asleep = (
        ((after.position - before.position).norm(dim=-1) < moved)
        & (after.velocity.norm(dim=-1) < speed)
        & (after.spin.norm(dim=-1) < turning)
    )[:, None]
    zero = torch.zeros(())
    return Motion(
        torch.where(asleep, before.position, after.position),
        torch.where(asleep[..., None], before.rotation, after.rotation),
        torch.where(asleep, zero, after.velocity),
        torch.where(asleep, zero, after.spin),
    )


@torch.inference_mode()
def step(model: Callable[[Bodies, Motion], Motion], bodies: Bodies, motion: Motion) -> Motion:
    """One step of the network with contacts cleared and rest kept."""
    return settle(motion, separate(bodies, model(bodies, motion)))


def push(bodies: Bodies, motion: Motion, action: Any, *, scene: int = 0) -> Motion:
    """Apply an impulse (index in the scene, (x, y, z) newton seconds) to a body of a scene.

    Raises:
        RequestError: for an action of another form or a body that is not there.
    """
    rows = (bodies.scene == scene).nonzero()[:, 0]
    try:
        index, impulse = (
            int(action[0]),
            torch.as_tensor(np.asarray(action[1], np.float32).reshape(3)),
        )
    except (TypeError, ValueError, IndexError, KeyError) as error:
        raise RequestError(f"an action must be (object, (x, y, z)), got {action!r}") from error
    if not 0 <= index < len(rows):
        raise RequestError(f"object must be between 0 and {len(rows) - 1}, got {index}")
    velocity = motion.velocity.clone()
    velocity[rows[index]] += impulse / bodies.mass[rows[index]]
    return motion._replace(velocity=velocity)


def rollout(
    model: Callable[[Bodies, Motion], Motion],
    bodies: Bodies,
    motion: Motion,
    num_steps: int,
    *,
    pushes: Mapping[int, Sequence[tuple[int, Any]]] | None = None,
) -> Motion:
    """Step several scenes together.

    Args:
        num_steps: steps to take
        pushes: step -> (scene, action) pairs applied before it

    Returns:
        Motion over time: tensors (1 + num_steps, N, ...), the first instant included.
    """
    instants = [motion]
    for k in range(num_steps):
        for scene, action in (pushes or {}).get(k, ()):
            motion = push(bodies, motion, action, scene=scene)
            instants[-1] = motion
        motion = step(model, bodies, motion)
        instants.append(motion)
    return Motion(*(torch.stack(values) for values in zip(*instants, strict=True)))


def continue_states(
    model: Dynamics,
    states: Sequence[State],
    num_frames: int,
    *,
    pushes: Sequence[Mapping[int, Any]] | None = None,
) -> list[State]:
    """Continue each state from its last frame.

    Args:
        states: what is known; their frame rate must be that of the model's steps
        num_frames: frames added to each; cameras stay where they were last
        pushes: per state, frame of the added ones -> action

    Returns:
        The states with the added frames. A state's result does not depend on the others beyond float32 rounding.
    """
    for state in states:
        if abs(state.fps - model.config.steps_per_second) > 1e-3:
            raise RequestError(
                f"the state's fps must be {model.config.steps_per_second:g}, got {state.fps:g}"
            )
    if num_frames < 1:
        raise RequestError(f"num_frames must be at least 1, got {num_frames}")
    bodies = Bodies.from_scenes(
        [state.bodies for state in states], [state.surroundings.table for state in states]
    )
    by_step: dict[int, list[tuple[int, Any]]] = {}
    for scene, actions in enumerate(pushes or ()):
        for frame, action in actions.items():
            by_step.setdefault(frame, []).append((scene, action))
    start = Motion.from_poses([state.poses for state in states], frame=-1)
    motion = rollout(model, bodies, start, num_frames, pushes=by_step)
    results = []
    for scene, state in enumerate(states):
        rows = bodies.scene == scene
        added = poses_from_motion(Motion(*(values[1:, rows] for values in motion)))
        results.append(
            replace(
                state,
                poses=Poses.concat([state.poses, added]),
                camera=_hold(state.camera, num_frames),
            )
        )
    return results


def poses_from_motion(motion: Motion) -> Poses:
    """(T, K, ...) tensors -> poses."""
    arrays = [value.detach().to("cpu", torch.float32).numpy() for value in motion]
    return Poses(positions=arrays[0], rotations=arrays[1], velocities=arrays[2], spins=arrays[3])


def _hold(camera: CameraPath, count: int) -> CameraPath:
    def held(values: np.ndarray) -> np.ndarray:
        return np.concatenate([values, values[-1:].repeat(count, 0)])

    return replace(camera, positions=held(camera.positions), targets=held(camera.targets))


def overlaps(bodies: Bodies, motion: Motion) -> tuple[Tensor, Tensor]:
    """Metres by which each pair (E,) and each body and the table (N,) overlap at an instant, 0 where apart."""
    i, j = bodies.pairs
    pair = -bodies.closest_points(motion.position, motion.rotation, i, j)[3]
    points = bodies.support_points(motion.rotation) + motion.position[:, None]
    inside, _ = bodies.edge_distances(points)
    on_table = (inside > 0.02) & (motion.position[:, None, 2] > -0.02)
    sunk = torch.where(on_table, -points[..., 2], torch.zeros(()))
    return pair.clamp(min=0), sunk.amax(1).clamp(min=0)
