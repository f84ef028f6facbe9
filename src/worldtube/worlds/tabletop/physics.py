"""The engine in place of learned dynamics: any state goes on exactly, and what happens in it is named.

Owns the way from a state back to a plan that the engine runs. Knows nothing of how the state came about.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from worldtube.errors import RequestError
from worldtube.state import CameraPath, Poses, State, find_supports, quaternions_from_rotations
from worldtube.worlds.render import GROUNDS, SKIES
from worldtube.worlds.tabletop.engine import DENSITY, FPS, Engine, facts_of
from worldtube.worlds.tabletop.plan import Plan, View
from worldtube.worlds.tabletop.things import Thing


def plan_from_state(state: State, frame: int = 0) -> Plan:
    """The plan whose first instant is a frame of the state.

    Masses are met by the things' heaviness. Raises RequestError for a state at another rate than the engine's.
    """
    if abs(state.fps - FPS) > 1e-3:
        raise RequestError(f"the state's fps must be {FPS:g}, got {state.fps:g}")
    for k, body in enumerate(state.bodies):
        if body.material not in DENSITY:
            raise RequestError(
                f"bodies[{k}].material must be one of {', '.join(DENSITY)} for the engine, got {body.material!r}"
            )
    poses, around = state.poses, state.surroundings
    supports, airborne = find_supports(state, frame)
    quaternions = quaternions_from_rotations(poses.rotations[frame])

    def vector(values: np.ndarray) -> Any:
        return tuple(float(value) for value in values)

    things = tuple(
        Thing(
            group=body.group,
            colour=body.colour,
            shape=body.shape,
            size=body.size,
            material=body.material,
            dimensions=body.dimensions,
            position=vector(poses.positions[frame, k]),
            rotation=vector(quaternions[k]),
            velocity=vector(poses.velocities[frame, k]),
            spin=vector(poses.spins[frame, k]),
            friction=body.friction,
            on=supports[k],
            airborne=bool(airborne[k]),
        )
        for k, body in enumerate(state.bodies)
    )
    plan = Plan(
        seed=0,
        template=_template(things),
        things=things,
        relation=None,
        aimed_past=False,
        view=_fit_view(state.camera),
        table=around.table,
        ground=GROUNDS.index(around.ground),
        ground_tint=around.ground_tint,
        ground_offset=around.ground_offset,
        sky=SKIES.index(around.sky),
        sun=around.sun,
    )
    unit = Engine(plan).bodies()  # masses at heaviness 1
    things = tuple(
        replace(thing, heaviness=body.mass / light.mass)
        for thing, body, light in zip(things, state.bodies, unit, strict=True)
    )
    return replace(plan, things=things)


def continue_state(
    state: State, num_frames: int, *, pushes: Mapping[int, Any] | None = None
) -> tuple[State, dict[str, Any]]:
    """Continue a state from its last frame with the engine.

    Args:
        num_frames: frames added; the camera stays where it was last
        pushes: frame of the added ones -> action as for `Engine.push`

    Returns:
        The state with the added frames, and the facts of what happens in them, as captions tell them.
    """
    if num_frames < 1:
        raise RequestError(f"num_frames must be at least 1, got {num_frames}")
    if state.water is not None:
        raise RequestError("the state must have no water to go on by the engine of rigid bodies")
    plan = plan_from_state(state, frame=state.num_frames - 1)
    engine = Engine(plan)
    parts = [state.poses]
    for frame in range(num_frames):
        if pushes and frame in pushes:
            engine.push(pushes[frame])
        parts.append(engine.step())
    camera = state.camera

    def held(values: np.ndarray) -> np.ndarray:
        return np.concatenate([values, values[-1:].repeat(num_frames, 0)])

    longer = replace(
        state,
        poses=Poses.concat(parts),
        camera=replace(camera, positions=held(camera.positions), targets=held(camera.targets)),
    )
    return longer, facts_of(plan, engine.witness)


def _template(things: tuple[Thing, ...]) -> str:
    """The template of plans that are like this one; the witness reads some events by it."""
    airborne = any(thing.airborne for thing in things)
    moving = any(any(thing.velocity) and not thing.airborne for thing in things)
    several = len({thing.group for thing in things}) > 1
    if any(thing.on is not None for thing in things) and not moving and not airborne:
        return "stack"
    if airborne:
        return "hit_drop" if several else "drop"
    if moving and several:
        return "collide"
    return "roll" if moving else "rest"


def _fit_view(path: CameraPath) -> View:
    """The view nearest to a camera path: still, around the target, or along one of its axes."""
    offset = (path.positions - path.targets).astype(float)
    distance = np.linalg.norm(offset, axis=-1)
    azimuth = np.unwrap(np.arctan2(offset[:, 0], -offset[:, 1]))
    middle = len(path) // 2
    swing, dolly = azimuth[-1] - azimuth[0], distance[-1] - distance[0]
    slide = float(path.targets[-1, 0] - path.targets[0, 0])
    kind, direction, amount = "fixed", None, 0.0
    if abs(swing) > 0.1:
        kind, direction, amount = "orbit", "right" if swing > 0 else "left", abs(swing)
    elif abs(dolly) > 0.25:
        kind, direction, amount = "dolly", "out" if dolly > 0 else "in", abs(dolly)
    elif abs(slide) > 0.12:
        kind, direction, amount = "dolly", "right" if slide > 0 else "left", abs(slide)
    target = path.targets[middle]
    return View(
        kind=kind,
        direction=direction,
        distance=float(distance[middle]),
        pitch=math.asin(float(offset[middle, 2] / distance[middle])),
        azimuth=float(azimuth[middle]),
        target=(float(target[0]), float(target[1]), float(target[2])),
        amount=float(amount),
    )
