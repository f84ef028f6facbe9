"""The fields of a caption: the whole at three lengths, and its parts one by one.

Owns what each field tells. Wording comes from `Teller`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from worldtube.worlds.language.facts import read
from worldtube.worlds.language.telling import Teller
from worldtube.worlds.language.words import CAMERA_WORDS, GROUND_WORDS, SKY_WORDS

FIELDS = ("short", "medium", "long", "subject", "background", "camera", "chronology")
"""What engine-made clips have; `long` is the dense caption. Captions of real clips may have `style` besides."""


def part(truth: Mapping[str, Any], field: str, rng: np.random.Generator) -> str:
    """One of the parts, a phrase without a full stop; empty where the facts say nothing of it.

    subject: what is there. background: on and under what. camera: how it is filmed. chronology: what each
    thing does, and then the events in order.
    """
    facts = read(truth)
    teller = Teller(facts, "long", rng)
    every = range(len(facts.groups))
    if field == "subject":
        return " and ".join(teller.a(index, plain=True) for index in every)
    if field == "background":
        ground = teller.pick(GROUND_WORDS[facts.ground]) if facts.ground else ""
        sky = f"under {teller.pick(SKY_WORDS[facts.sky])}" if facts.sky else ""
        return f"{ground} {sky}".strip()
    if field == "camera":
        return f"the camera {teller.pick(CAMERA_WORDS[facts.camera])}" if facts.camera else ""
    if field == "chronology":
        scene = " and ".join(teller.main(index) for index in every)
        return ", then ".join([scene, *teller.clauses(list(facts.happenings))])
    raise KeyError(field)
