"""Other looks of one simulated plan: colours, ground, sky, light, camera, mirrored. What happens stays the same, so a
caption of the new plan is as true as that of the old one.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from worldtube.state import Poses, Water
from worldtube.worlds.pour.engine import FPS, tell_events
from worldtube.worlds.pour.plan import BallPlan, CupPlan, Plan, draw_surroundings
from worldtube.worlds.pour.sight import find_visible
from worldtube.worlds.pour.witness import FALLEN, find_headline
from worldtube.worlds.render import GROUNDS, SKIES
from worldtube.worlds.world import COLOURS, HELD_OUT, VALIDATION_SEEDS, Event

_FLIP = np.array([-1.0, 1.0, 1.0], np.float32)
_OPPOSITE = {"left": "right", "right": "left"}
_OPPOSITE_RELATION = {"left of": "right of", "right of": "left of"}


def recolour(plan: Plan, rng: np.random.Generator) -> Plan:
    """Other colours, all different, drawn as the plan's own were: pairs that are held out stay so."""
    held_out = HELD_OUT if plan.seed < VALIDATION_SEEDS.start else frozenset()
    taken: list[str] = []

    def colour(shape: str) -> str:
        free = [c for c in COLOURS if (c, shape) not in held_out and c not in taken]
        taken.append(free[int(rng.integers(len(free)))])
        return taken[-1]

    cups = tuple(replace(cup, colour=colour("cup")) for cup in plan.cups)
    ball = None if plan.ball is None else replace(plan.ball, colour=colour("ball"))
    return replace(plan, cups=cups, ball=ball)


def restage(plan: Plan, rng: np.random.Generator) -> Plan:
    """Another camera, ground, sky and light."""
    return replace(plan, **draw_surroundings(rng))


def mirror(plan: Plan) -> Plan:
    """The plan as seen in a mirror whose plane is x = 0."""
    left, right, front, back = plan.table

    def flip(v: tuple[float, float, float]) -> tuple[float, float, float]:
        return (-v[0], v[1], v[2])

    def flip_cup(cup: CupPlan) -> CupPlan:
        return replace(cup, position=flip(cup.position))

    def flip_ball(ball: BallPlan) -> BallPlan:
        return replace(ball, position=flip(ball.position), velocity=flip(ball.velocity))

    tilt = plan.tilt
    return replace(
        plan,
        cups=tuple(flip_cup(cup) for cup in plan.cups),
        ball=None if plan.ball is None else flip_ball(plan.ball),
        tilt=None if tilt is None else replace(tilt, heading=math.pi - tilt.heading),
        table=(-right, -left, front, back),
        sun=flip(plan.sun),
        azimuth=-plan.azimuth,
        camera_direction=_OPPOSITE.get(plan.camera_direction or "", plan.camera_direction),
    )


def mirror_water(water: Water) -> Water:
    """Water as seen in a mirror whose plane is x = 0; what is poured is left to `engine.describe`."""
    nodes = water.wetness.shape[1]
    left, front = water.wetness_origin
    return replace(
        water,
        positions=water.positions * _FLIP,
        velocities=water.velocities * _FLIP,
        wetness=water.wetness[:, ::-1],
        wetness_origin=(-left - (nodes - 1) * water.wetness_spacing, front),
    )


def facts_of_look(
    facts: Mapping[str, Any], plan: Plan, poses: Poses, *, mirrored: bool
) -> dict[str, Any]:
    """The facts of a simulated plan, told of another look of it. What falls off the table is said to where the look's
    own camera can see it.

    Args:
        facts: what `engine.facts_of` said of the plan that was simulated
        plan: the other look; the same things in the same order
        poses: how its bodies move
        mirrored: whether it is the mirror image
    """
    groups = []
    for group, told in zip(facts["groups"], plan.objects, strict=True):
        motion = group["motion"]
        motion = _OPPOSITE.get(motion, motion) if mirrored else motion
        groups.append({**group, "colour": told["colour"], "motion": motion})
    relations = [
        {**r, "relation": _OPPOSITE_RELATION.get(r["relation"], r["relation"])} if mirrored else r
        for r in facts["relations"]
    ]
    events = [Event(**event) for event in facts["events"] if event["kind"] != "fell_off"]
    events = sorted([*events, *_find_falls(plan, poses)], key=lambda event: event.seconds)
    return {
        **facts,
        "groups": groups,
        "relations": relations,
        "event": find_headline(events, 1 if plan.ball is not None else 0),
        "events": tell_events(tuple(events)),
        "objects": plan.objects,
        "camera": {"kind": plan.camera, "direction": plan.camera_direction},
        "ground": GROUNDS[plan.ground],
        "sky": SKIES[plan.sky],
    }


def _find_falls(plan: Plan, poses: Poses) -> list[Event]:
    """When each thing is first seen below the table top."""
    falls: dict[int, Event] = {}
    for frame in np.nonzero((poses.positions[..., 2] < FALLEN).any(1))[0].tolist():
        positions = poses.positions[frame].astype(float)
        visible = find_visible(
            plan.camera_at(frame), positions, poses.rotations[frame].astype(float), plan
        )
        for k in np.nonzero(visible & (positions[:, 2] < FALLEN))[0].tolist():
            falls.setdefault(k, Event(kind="fell_off", seconds=frame / FPS, a=k))
    return list(falls.values())
