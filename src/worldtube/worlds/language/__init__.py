"""What a witness would say about a clip: facts in, varied plain English out.

Owns the wording of captions and its vocabulary. Knows nothing of engines, pictures or tensors: a
caption is a pure function of the facts (`World.truth`), the length and a random generator, and it
never says what the facts do not contain. Every caption names count, colour, shape and motion of the
first group.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, cast

import numpy as np

from worldtube.errors import DataError
from worldtube.worlds.language.facts import read
from worldtube.worlds.language.free import write_freely
from worldtube.worlds.language.inventing import invent
from worldtube.worlds.language.schema import FIELDS, part
from worldtube.worlds.language.telling import Teller
from worldtube.worlds.language.words import LENGTHS, STOP, TEMPLATES, Length

__all__ = [
    "FIELDS",
    "LENGTHS",
    "Length",
    "caption",
    "fields",
    "invent",
    "vocabulary",
    "write_freely",
]


def caption(truth: Mapping[str, Any], length: str, rng: np.random.Generator) -> str:
    """Tell the facts of a clip in English.

    `short` is about 4-10 words, `medium` 10-25, `long` 25-42; facts that hold little may stay
    below. Same arguments, same words. Raises `DataError` where the facts hold what has no words.
    """
    if length not in LENGTHS:
        raise DataError(f"no captions of length {length!r}, accepted: {', '.join(LENGTHS)}")
    facts = read(truth)
    least, most = LENGTHS[length]
    best, miss = "", float("inf")
    for _ in range(40):
        terse = bool(rng.random() < {"short": 0.35, "medium": 0.12, "long": 0.0}[length])
        teller = Teller(
            facts,
            cast(Length, length),
            rng,
            terse=terse,
            digits=bool(rng.random() < (0.25 if terse else 0.04)),
        )
        draft = teller.tell()
        words = len(draft.split())
        off = max(least - words, words - most, 0)
        if off < miss:
            best, miss = draft, off
        if not off:
            break
    if length != "long" and rng.random() < (0.45 if length == "short" else 0.15):
        best = best.lower().rstrip(".")  # as many people type
    return best


def fields(truth: Mapping[str, Any], rng: np.random.Generator) -> dict[str, str]:
    """All of `FIELDS`; raises as `caption` does."""
    return {
        name: caption(truth, name, rng) if name in LENGTHS else part(truth, name, rng)
        for name in FIELDS
    }


@lru_cache(maxsize=1)
def vocabulary() -> frozenset[str]:
    """The content words that captions use (lower case, without digits and function words)."""
    rng = np.random.default_rng(0)
    words: set[str] = set()
    for template in TEMPLATES * 40:
        truth = invent(rng, template)
        for length in ("short", "medium", "long"):
            words |= set(re.findall(r"[a-z]+", caption(truth, length, rng).lower()))
    return frozenset(words - STOP)
