"""What a state says, read as a clip is read: groups, motions and the event; so that a miss is told to be of the plan,
of the dynamics or of the picture.

Owns the way from poses to a reading. The words' definitions are the tabletop's own (`Witness`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from worldtube.codec.plan import decode_plan
from worldtube.dynamics import Bodies, Dynamics, Motion, continue_states
from worldtube.evaluate.adherence import Line, score, summary
from worldtube.generate.plan import sample_plans
from worldtube.reader import Group
from worldtube.state import State
from worldtube.text.encoder import TextEncoder
from worldtube.transformer import Transformer


@dataclass(frozen=True, kw_only=True)
class StateReading:
    """What a state shows, as `reader.Reading` says it of a clip."""

    groups: tuple[Group, ...]
    event: str | None


TOUCHING = 0.008
"""Metres between bodies, or a body and the table, that count as touching."""


def reading_from_facts(facts: Mapping[str, Any]) -> StateReading:
    """The groups and the event of a world's facts."""
    groups = tuple(
        Group(**{key: group[key] for key in ("colour", "shape", "count", "size", "motion")})
        for group in facts["groups"]
    )
    return StateReading(groups=groups, event=facts["event"])


def read_motion(state: State) -> StateReading:
    """Read a whole state, frame by frame, contacts by the gaps between bodies."""
    from worldtube.worlds.tabletop.engine import FPS, facts_of
    from worldtube.worlds.tabletop.physics import plan_from_state
    from worldtube.worlds.tabletop.witness import Witness

    if not state.bodies:
        return StateReading(groups=(), event=None)
    poses = state.poses
    witness = Witness(plan_from_state(state), poses.positions[0].astype(float))
    bodies = Bodies.from_scenes([state.bodies], [state.surroundings.table])
    i, j = bodies.pairs
    for frame in range(1, state.num_frames):
        motion = Motion.from_poses([poses], frame)
        gap = bodies.closest_points(motion.position, motion.rotation, i, j)[3]
        touching = {
            (min(a, b), max(a, b))
            for a, b in zip(i[gap < TOUCHING].tolist(), j[gap < TOUCHING].tolist(), strict=True)
        }
        bottom = (
            bodies.support_points(motion.rotation)[..., 2] + motion.position[:, None, 2]
        ).amin(1)
        witness.look(
            frame / FPS,
            poses.positions[frame].astype(float),
            poses.rotations[frame, :, :, 2].astype(float),
            poses.velocities[frame].astype(float),
            touching,
            (bottom < TOUCHING).numpy(),
        )
        witness.frame(poses.positions[frame].astype(float))
    return reading_from_facts(facts_of(plan_from_state(state), witness))


def measure(
    planner: Transformer,
    lines: Sequence[Line],
    *,
    dynamics: Dynamics | None = None,
    num_frames: int = 25,
    seeds: Sequence[int] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Plan every line's prompt, let the states go on, score what they say.

    Returns:
        `engine`: scores (`adherence.summary`) with the engine's physics; `model`: with the learned dynamics.
    """
    from worldtube.worlds.tabletop.physics import continue_state

    encoder, made = TextEncoder(), []
    seeds = list(range(len(lines))) if seeds is None else list(seeds)
    for first in range(0, len(lines), 50):
        part = slice(first, first + 50)
        tokens = sample_plans(
            planner, encoder, [line.prompt for line in lines[part]], seeds=seeds[part]
        )
        made += [decode_plan(token, num_frames=1) for token in tokens]
        if progress is not None:
            progress(len(made), len(lines))
    engine = []
    for state in made:
        if not state.bodies:
            engine.append(StateReading(groups=(), event=None))
            continue
        engine.append(reading_from_facts(continue_state(state, num_frames - 1)[1]))
    results = {"engine": _score(lines, engine)}
    if dynamics is not None:
        with torch.inference_mode():
            there = [state for state in made if state.bodies]
            longer = iter(continue_states(dynamics, there, num_frames - 1))
        learned = [read_motion(next(longer) if state.bodies else state) for state in made]
        results["model"] = _score(lines, learned)
    return results


def _score(lines: Sequence[Line], readings: Sequence[StateReading]) -> dict[str, Any]:
    return summary([score(line, reading) for line, reading in zip(lines, readings, strict=True)])
