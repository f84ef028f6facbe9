"""When a rewritten prompt may stand for the original: only if nothing was lost, added or guessed.

Owns the phrases whose plain wording says exactly the same, and the comparison of what two texts say. The grammar reads
more than that, because a measure of captions needs it; here a doubt leaves the prompt as it is.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import astuple

from worldtube.text.rewrite.items import Item, items
from worldtube.text.rewrite.lexicon import GROUNDS, SKIES, phrases
from worldtube.text.rewrite.scene import Scene
from worldtube.text.rewrite.table import forms

MAX_CHARACTERS = 300
"""A longer prompt holds more than a caption says."""
PLAIN = re.compile(r"[A-Za-z0-9\s.,;:'\u2019&+-]*")
"""Characters that the grammar reads; it would pass over any other."""


def _all_forms(stems: str) -> frozenset[str]:
    return frozenset(form for stem in phrases(stems) for form in forms(stem))


ATTRIBUTES = ("colour", "size", "material", "count")
INEXACT = frozenset(
    phrases("""
    snowy, snowy white, lemon, tangerine, ruby, ivory, navy, navy blue, sky blue, sapphire, cobalt, azure, violet,
    lilac, lavender, emerald, lime green, ebony, vermilion, globe, globes, tube, tubes, barrel, barrels, canister,
    canisters, carton, cartons, tumbler, tumblers, beaker, beakers, goblet, goblets, drinking glass, block, blocks,
    rubbery, metallic, wood, made of wood, of wood, compact, mini, miniature, petite, hefty, oversized, another,
    sole, lone, solitary, twin, duo of, trio, quartet, foursome, pair, couple of, exactly one, just one
    """)
)
"""Words for looks and numbers whose plain word says less, more or something else."""
EXACT: dict[str, frozenset[str]] = {
    "go": _all_forms("roll, slide, fly, move, travel, go"),
    "motion": _all_forms(
        "fall, drop, fall down, drop down, stay still, stand still, sit still, remain still"
    )
    | frozenset(
        phrases("""
        down, downwards, downward, still, at rest, motionless, stationary, not moving, does not move, do not move,
        no motion, no movement, unmoving, is not moving
    """)
    ),
    "speed": frozenset(
        phrases(
            "slowly, at a slow pace, at low speed, quickly, fast, rapidly, at high speed, swiftly"
        )
    ),
    "way": frozenset(
        phrase
        for side, other in (("right", "left"), ("left", "right"))
        for phrase in phrases(f"""
            {side}, to the {side}, {side}ward, {side}wards, towards the {side}, toward the {side},
            from {other} to {side}, {other} to {side}, from the {other} to the {side}
        """)
    ),
    "event": _all_forms("""
        hit, strike, bump into, crash into, collide with, knock over, knock down, miss, topple over, fall over, bounce,
        stay upright, remain upright, spill, pour, fall off the edge, fall off the table
    """),
    "link": frozenset(
        phrases("""
        left of, to the left of, on the left of, right of, to the right of, on the right of, on top of, in front of,
        behind, next to, beside, into, towards, toward, by, on
    """)
    ),
    "ground": frozenset(GROUNDS)
    | frozenset(phrase for words in GROUNDS.values() for phrase in words),
    "sky": frozenset(phrase for words in SKIES.values() for phrase in words),
    "floor": frozenset({"table", "surface"}),
    "place": frozenset({"under"}),
    "stacked": frozenset({"stacked", "stacked on top of each other"}),
    "tilt": frozenset({"tilted"}),
    "water": frozenset({"of water"}),
    "liquid": frozenset({"water", "the water"}),
    "from": frozenset({"from"}),
    "camera": frozenset({"camera", "the camera"}),
    "which": frozenset(),
    "it": frozenset(),
    "all": frozenset(),
    "stack": frozenset(),
    "flow": frozenset(),
    "manner": frozenset(),
    "times": frozenset(),
    "untouched": frozenset(),
    "unknown": frozenset(),
    "join": frozenset({"and", "&", "+", "as well as", "then", "and then"}),
    "open": frozenset(
        phrases("""
        a video of, a clip of, footage of, a video in which, in this clip, in this video, the clip shows,
        the video shows, we see, you can see, show me, there is, there are, there's, the scene is
    """)
    ),
    "fill": frozenset(phrases("is, are, coloured, colored, each")),
}
"""Kind of phrase -> those that may be put in other words or left out. Kinds that are not here: all may."""
SILENT = ("a", "the", "comma", "stop", "open", "fill", "floor", "place", "from")
"""Kinds that say nothing by themselves."""
DEEDS = ("go", "motion", "event", "tilt", "stacked")
VERBS = ("go", "motion", "speed", "way", "event", "tilt", "stacked", "link")


def certain(text: str) -> bool:
    """Whether a text holds only phrases that can be put in other words without a change of meaning."""
    if len(text) > MAX_CHARACTERS or not PLAIN.fullmatch(text):
        return False
    found = items(text)
    named = False  # whether a thing was named
    for index, item in enumerate(found):
        words = " ".join(item.words)
        following = found[index + 1].kind if index + 1 < len(found) else "stop"
        if words not in EXACT.get(item.kind, {words}) or words in INEXACT:
            return False
        if item.kind in ATTRIBUTES and not _leads_to_noun(found[index:]):
            return False
        if item.kind in VERBS and not named:
            return False  # "rolling right, a ball": of whom is it said?
        if words in ("right", "left") and following not in ("stop", "comma", "join"):
            return False  # "right behind a box", "left of it"
        if item.kind == "camera" and following not in ("stop", "comma"):
            return False
        named = named or item.kind == "shape" or item.words == ("glass",)
    return True


def _leads_to_noun(found: list[Item]) -> bool:
    """Whether attributes, of which the first item is one, lead to a noun."""
    for item in found:
        if item.kind in ("shape", "floor", "ground") or item.words == ("glass",):
            return True
        joins = item.kind == "comma" or item.words in (
            ("and",),
            ("a",),
            ("coloured",),
            ("colored",),
        )
        if item.kind not in ATTRIBUTES and not joins:
            return False
    return False


def same_facts(text: str, other: str) -> bool:
    """Whether two texts name the same looks, things, relations and places, and the same deeds in the same order."""
    found, others = items(text), items(other)
    return _facts(found) == _facts(others) and _deeds(found) == _deeds(others)


def _deeds(found: Iterable[Item]) -> list[tuple[str, object]]:
    """What is done, in order; two things in a row that do the same do it once."""
    deeds = [(item.kind, item.value) for item in found if item.kind in DEEDS]
    return [deed for index, deed in enumerate(deeds) if not index or deeds[index - 1] != deed]


def _facts(found: Iterable[Item]) -> set[tuple[str, object]]:
    facts: set[tuple[str, object]] = set()
    for item in found:
        if item.kind in SILENT or (item.kind == "count" and item.value == 1):
            continue
        if item.kind == "join":
            if "then" in item.words:
                facts.add(("order", None))
        elif item.kind == "shape":
            facts.add(("shape", item.value[0]))
        else:
            facts.add((item.kind, item.value))
    return facts


def same_scene(scene: Scene, other: Scene) -> bool:
    """Whether two readings are equal, in whatever order the things come."""
    return _sorted(scene) == _sorted(other)


def _sorted(scene: Scene) -> tuple[object, ...]:
    things = scene.things
    order = sorted(range(len(things)), key=lambda index: (repr(astuple(things[index])), index))
    place = {index: number for number, index in enumerate(order)}
    return (
        [astuple(things[index]) for index in order],
        Counter((place[a], link, place[b]) for a, link, b in scene.links),
        Counter(
            (
                one.kind,
                tuple(sorted(place[a] for a in one.a)),
                None if one.b is None else place[one.b],
            )
            for one in scene.happenings
        ),
        (scene.ground, scene.sky, scene.camera),
    )
