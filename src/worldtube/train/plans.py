"""Captioned plans to learn planning from: simulated seeds in many looks, each with captions that are true of it.

Owns the files; they appear whole or not at all, and a call that was killed goes on with what lacks.
"""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from worldtube.codec.plan import OBJECT_WIDTH, SCENE_WIDTH, encode_plan
from worldtube.codec.water import NO_WATER
from worldtube.errors import DataError
from worldtube.generate.plan import SLOTS
from worldtube.train.chunks import write_chunks

logger = logging.getLogger(__name__)

CHUNK = 200
"""Simulations in a file."""
LOOKS = 6
"""Looks of each simulation."""
LENGTHS = ("short", "medium", "long")
FREE = 0.75
"""Share of captions in the free style."""


def make_chunk(first: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Tokens (R, SLOTS, OBJECT_WIDTH) and (R, SCENE_WIDTH) of the looks of seeds `first` to `first + CHUNK`, and their
    facts as JSON."""
    from worldtube.worlds.tabletop.engine import describe, facts_of, simulate
    from worldtube.worlds.tabletop.looks import (
        facts_of_look,
        mirror,
        mirror_poses,
        recolour,
        restage,
    )
    from worldtube.worlds.tabletop.plan import plan

    objects, scenes, facts = [], [], []
    for seed in range(first, first + CHUNK):
        try:
            drawn = plan(seed)
        except AssertionError as error:  # no room for so many things
            logger.debug("seed %d: %s", seed, error)
            continue
        if len(drawn.things) > SLOTS:
            continue
        state, witness = simulate(drawn)
        true_facts = facts_of(drawn, witness)
        rng = np.random.default_rng((0x706C616E, seed))
        for look in range(LOOKS):
            other = restage(recolour(drawn, rng), rng) if look else drawn
            mirrored = bool(rng.random() < 0.5)
            poses = state.poses
            if mirrored:
                other, poses = mirror(other), mirror_poses(poses)
            bodies = tuple(
                replace(body, colour=thing.colour)
                for body, thing in zip(state.bodies, other.things, strict=True)
            )
            tokens = encode_plan(describe(other, bodies, poses), SLOTS)
            objects.append(tokens.objects)
            scenes.append(tokens.scene)
            facts.append(json.dumps(facts_of_look(true_facts, other, mirrored=mirrored)))
    return (
        np.stack(objects) if objects else np.zeros((0, SLOTS, OBJECT_WIDTH), np.float32),
        np.stack(scenes) if scenes else np.zeros((0, SCENE_WIDTH), np.float32),
        facts,
    )


def make_plans(
    folder: Path,
    seeds: range,
    *,
    progress: Callable[[int, int], None] | None = None,
    until: Callable[[], bool] = lambda: False,
) -> None:
    """Make the plans of the seeds, in files of CHUNK simulations; those that are there are left alone."""

    def make(first: int) -> dict[str, np.ndarray]:
        objects, scenes, facts = make_chunk(first)
        return {"objects": objects, "scenes": scenes, "facts": np.array(facts)}

    write_chunks(folder, seeds, CHUNK, make, progress=progress, until=until)


@dataclass(frozen=True, kw_only=True)
class Plans:
    """All plans of a folder, in memory; captions are written anew each time one is asked for."""

    objects: Tensor
    """(R, SLOTS, OBJECT_WIDTH)."""
    scenes: Tensor
    """(R, SCENE_WIDTH)."""
    waters: Tensor
    """(R, WATER_WIDTH); plans without water say so."""
    facts: list[str]
    """JSON of each."""

    @classmethod
    def read(cls, *folders: Path) -> "Plans":
        """Raises DataError where there are none."""
        objects, scenes, waters, facts = [], [], [], []
        for path in sorted(path for folder in folders for path in folder.glob("*.npz")):
            with np.load(path) as file:
                objects.append(torch.from_numpy(file["objects"]))
                scenes.append(torch.from_numpy(file["scenes"]))
                facts += file["facts"].tolist()
                if "waters" in file:
                    waters.append(torch.from_numpy(file["waters"]))
                else:
                    waters.append(torch.from_numpy(NO_WATER).expand(len(scenes[-1]), -1))
        if not facts:
            names = " or ".join(map(str, folders))
            raise DataError(f"{names} holds no plans (make_plans writes them)")
        return cls(
            objects=torch.cat(objects),
            scenes=torch.cat(scenes),
            waters=torch.cat(waters),
            facts=facts,
        )

    def __len__(self) -> int:
        return len(self.facts)

    def caption(self, index: int, rng: np.random.Generator) -> str:
        """A caption of random length and wording: most as people type, the others as datasets are captioned."""
        from worldtube.worlds.language import caption, write_freely

        facts = json.loads(self.facts[index])
        if rng.random() < FREE:
            return write_freely(facts, rng)
        return caption(facts, LENGTHS[int(rng.choice(3, p=(0.45, 0.4, 0.15)))], rng)
