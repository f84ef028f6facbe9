"""Other looks of one simulated plan: colours, ground, sky, light, camera, mirrored. What happens stays the same, so a
caption of the new plan is as true as that of the old one.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from worldtube.state import Poses
from worldtube.worlds.render import GROUNDS, SKIES
from worldtube.worlds.tabletop.plan import Plan, draw_surroundings
from worldtube.worlds.world import COLOURS, HELD_OUT, VALIDATION_SEEDS

_FLIP = np.array([-1.0, 1.0, 1.0], np.float32)
_OPPOSITE = {"left": "right", "right": "left"}
_OPPOSITE_RELATION = {"left of": "right of", "right of": "left of"}


def recolour(plan: Plan, rng: np.random.Generator) -> Plan:
    """Other colours of the groups, drawn as the plan's own were: pairs that are held out stay so."""
    held_out = HELD_OUT if plan.seed < VALIDATION_SEEDS.start else frozenset()
    first = {thing.group: thing for thing in reversed(plan.things)}
    chosen: dict[int, str] = {}
    for group in sorted(first):
        shape = first[group].shape
        taken = {(chosen[other], first[other].shape) for other in chosen}
        free = [c for c in COLOURS if (c, shape) not in held_out and (c, shape) not in taken]
        if chosen and rng.random() >= 0.12:
            free = [c for c in free if c != chosen[min(chosen)]]
        if any(thing.material == "metal" for thing in plan.things if thing.group == group):
            free = [c for c in free if c != "white"]
        chosen[group] = free[int(rng.integers(len(free)))]
    return replace(
        plan, things=tuple(replace(thing, colour=chosen[thing.group]) for thing in plan.things)
    )


def restage(plan: Plan, rng: np.random.Generator) -> Plan:
    """Another camera, ground, sky and light; the camera looks at the same height."""
    view, surroundings = draw_surroundings(rng, plan.template)
    return replace(plan, view=view, **surroundings)


def mirror(plan: Plan) -> Plan:
    """The plan as seen in a mirror whose plane is x = 0."""
    view, (left, right, front, back) = plan.view, plan.table

    def flip(v: tuple[float, float, float]) -> tuple[float, float, float]:
        return (-v[0], v[1], v[2])

    def flip_axial(v: tuple[float, float, float]) -> tuple[float, float, float]:
        return (v[0], -v[1], -v[2])

    things = tuple(
        replace(
            thing,
            position=flip(thing.position),
            velocity=flip(thing.velocity),
            spin=flip_axial(thing.spin),
            rotation=(thing.rotation[0], thing.rotation[1], -thing.rotation[2], -thing.rotation[3]),
        )
        for thing in plan.things
    )
    return replace(
        plan,
        things=things,
        relation=_OPPOSITE_RELATION.get(plan.relation or "", plan.relation),
        table=(-right, -left, front, back),
        sun=flip(plan.sun),
        view=replace(
            view,
            azimuth=-view.azimuth,
            direction=_OPPOSITE.get(view.direction or "", view.direction),
            target=flip(view.target),
        ),
    )


def mirror_poses(poses: Poses) -> Poses:
    """Poses as seen in a mirror whose plane is x = 0; every shape is its own mirror image."""
    flip = np.diag(_FLIP)
    return Poses(
        positions=poses.positions * _FLIP,
        rotations=flip @ poses.rotations @ flip,
        velocities=poses.velocities * _FLIP,
        spins=poses.spins * -_FLIP,
    )


def facts_of_look(facts: Mapping[str, Any], plan: Plan, *, mirrored: bool) -> dict[str, Any]:
    """The facts of a simulated plan, told of another look of it.

    Args:
        facts: what `engine.facts_of` said of the plan that was simulated
        plan: the other look; the same things in the same order
        mirrored: whether it is the mirror image
    """
    groups = []
    for group in facts["groups"]:
        thing = plan.things[group["objects"][0]]
        motion = group["motion"]
        motion = _OPPOSITE.get(motion, motion) if mirrored else motion
        groups.append({**group, "colour": thing.colour, "motion": motion})
    relations = [
        {**r, "relation": _OPPOSITE_RELATION.get(r["relation"], r["relation"])} if mirrored else r
        for r in facts["relations"]
    ]
    objects = [
        {**told, "colour": thing.colour}
        for told, thing in zip(facts["objects"], plan.things, strict=True)
    ]
    return {
        **facts,
        "groups": groups,
        "relations": relations,
        "objects": objects,
        "camera": {"kind": plan.view.kind, "direction": plan.view.direction},
        "ground": GROUNDS[plan.ground],
        "sky": SKIES[plan.sky],
    }
