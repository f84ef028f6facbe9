"""Captioned plans with water to learn planning from: simulated seeds of the pour world in many looks; none is drawn.

Owns the files; they appear whole or not at all, and a call that was killed goes on with what lacks. They hold what
those of `plans` do, and the water's tokens besides, so that `Plans.read` reads them too.
"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from worldtube.codec.plan import OBJECT_WIDTH, SCENE_WIDTH
from worldtube.codec.water import WATER_WIDTH, encode_water_plan
from worldtube.generate.plan import SLOTS
from worldtube.train.chunks import write_chunks
from worldtube.train.plans import CHUNK, LOOKS


def make_chunk(first: int, count: int = CHUNK) -> dict[str, np.ndarray]:
    """The looks of seeds `first` to `first + count`.

    Returns:
        objects float32 (R, SLOTS, OBJECT_WIDTH), scenes (R, SCENE_WIDTH), waters (R, WATER_WIDTH), facts as JSON (R,).
    """
    from worldtube.worlds.pour.engine import describe, facts_of, simulate
    from worldtube.worlds.pour.looks import (
        facts_of_look,
        mirror,
        mirror_water,
        recolour,
        restage,
    )
    from worldtube.worlds.pour.plan import plan
    from worldtube.worlds.tabletop.looks import mirror_poses

    objects, scenes, waters, facts = [], [], [], []
    for seed in range(first, first + count):
        drawn = plan(seed)
        state, witness = simulate(drawn)
        true_facts = facts_of(drawn, witness)
        rng = np.random.default_rng((0x77706C61, seed))
        for look in range(LOOKS):
            other = restage(recolour(drawn, rng), rng) if look else drawn
            mirrored = bool(rng.random() < 0.5)
            poses, water = state.poses, state.water
            if mirrored:
                other, poses = mirror(other), mirror_poses(poses)
                water = None if water is None else mirror_water(water)
            tokens, token = encode_water_plan(describe(other, poses, water), SLOTS)
            objects.append(tokens.objects)
            scenes.append(tokens.scene)
            waters.append(token)
            facts.append(json.dumps(facts_of_look(true_facts, other, poses, mirrored=mirrored)))
    return {
        "objects": np.array(objects, np.float32).reshape(-1, SLOTS, OBJECT_WIDTH),
        "scenes": np.array(scenes, np.float32).reshape(-1, SCENE_WIDTH),
        "waters": np.array(waters, np.float32).reshape(-1, WATER_WIDTH),
        "facts": np.array(facts),
    }


def make_water_plans(
    folder: Path,
    seeds: range,
    *,
    progress: Callable[[int, int], None] | None = None,
    until: Callable[[], bool] = lambda: False,
) -> None:
    """Make the plans of the seeds, in files of CHUNK simulations; those that are there are left alone."""
    write_chunks(folder, seeds, CHUNK, make_chunk, progress=progress, until=until)
