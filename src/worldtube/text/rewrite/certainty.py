"""When a rewritten prompt may stand for the original: only if nothing was lost, added or guessed.

Owns the phrases whose plain wording says exactly the same, and the comparison of what two texts say. The grammar reads
more than that, because a measure of captions needs it; here a doubt leaves the prompt as it is.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import astuple, replace

from worldtube.text.rewrite.items import Item, items
from worldtube.text.rewrite.lexicon import GROUNDS, NUMBERS, OPENINGS, SKIES, phrases
from worldtube.text.rewrite.scene import Scene
from worldtube.text.rewrite.table import forms

MAX_CHARACTERS = 300
"""A longer prompt holds more than a caption says."""
PLAIN = re.compile(r"[A-Za-z0-9\s.,;:'\u2019&+-]*")
"""Characters that the grammar reads; it would pass over any other."""


def _all_forms(stems: str) -> frozenset[str]:
    return frozenset(form for stem in phrases(stems) for form in forms(stem))


COLON = Item("stop", None, (":",))
ATTRIBUTES = ("colour", "size", "material", "count")
LABELS = frozenset(
    phrases("""
    colour, color, count, size, type, number, quantity, action, shape, subject, subjects, object, objects, motion,
    movement, direction
    """)
)
"""Words that say nothing before a colon: "Colour: red"."""
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
    "go": _all_forms(
        "roll, slide, fly, be thrown, be tossed, move, travel, go, glide, head, proceed"
    ),
    "motion": _all_forms("""
        fall, drop, fall down, drop down, fall from above, come down, rest, sit, stand, stay still, stand still,
        sit still, lie still, remain still, stay in place, remain in place, be still, be at rest, remain at rest,
        stay at rest
    """)
    | frozenset(
        phrases("""
        down, downwards, downward, still, at rest, motionless, stationary, static, not moving, does not move,
        do not move, no motion, no movement, unmoving, immobile, is not moving, without moving, without motion
    """)
    ),
    "speed": frozenset(
        phrases("""
        slowly, slow, at a slow pace, at low speed, quickly, quick, fast, rapidly, at high speed, swiftly
    """)
    ),
    "way": frozenset(
        phrase
        for side, other in (("right", "left"), ("left", "right"))
        for phrase in phrases(f"""
            {side}, to the {side}, {side}ward, {side}wards, towards the {side}, toward the {side}, off to the {side},
            from {other} to {side}, {other} to {side}, from the {other} to the {side}, in a {side}ward direction,
            towards {side}, toward {side}, to {side}
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
    "ground": frozenset(phrase for words in GROUNDS.values() for phrase in words)
    | frozenset(GROUNDS),
    "sky": frozenset(phrase for words in SKIES.values() for phrase in words),
    "floor": frozenset({"table", "surface"}),
    "place": frozenset({"under"}),
    "stacked": frozenset({"stacked", "stacked on top of each other"}),
    "tilt": frozenset({"tilted"}),
    "water": frozenset({"of water"}),
    "liquid": frozenset({"water", "the water"}),
    "camera": frozenset({"camera", "the camera"}),
    "times": frozenset(f"{number} in total" for words in NUMBERS.values() for number in words),
    "join": frozenset({"and", "&", "+", "as well as", "then", "and then"}),
    "open": frozenset(OPENINGS)
    - frozenset(
        phrases("""
        let, imagine, picture, film, a group of, a set of, a row of, a total of, group of, set of, row of, a number of,
        total of, a short film of, have, watch as, watch, see, in this, with, on display, can i see, could you, can you,
        how about, try, render, draw, animate, simulate, produce, a view of, view of, contains, containing, behold,
        a simple scene, seen by a, in view, animation, an animation of, a picture of, nothing else, nothing more,
        nothing else is in view, and nothing else, no other objects, no other object is in view,
        there is nothing else in the scene
    """)
    ),
    "fill": frozenset(
        phrases("""
        is, are, be, being, has, coloured, colored, there, here, which is, also, just, simply, object, objects, thing,
        things, item, items, piece, pieces, seen, visible, present, appears, appear, on screen, in frame, in shot,
        in the frame, in the picture, it's, they're
    """)
    ),
}
EXACT |= dict.fromkeys(("stack", "flow", "manner", "untouched", "unknown"), frozenset())
"""Kind of phrase -> those that may be put in other words or left out. Kinds that are not here: all may."""
SILENT = (
    "a",
    "the",
    "comma",
    "stop",
    "open",
    "fill",
    "floor",
    "place",
    "from",
    "which",
    "it",
    "all",
)
"""Kinds that say nothing by themselves."""
MOVES = ("go", "move")
"""What a direction says already."""
DEEDS = ("go", "motion", "event", "tilt", "stacked")
PRONOUNS = ("which", "it", "all")
VERBS = ("go", "motion", "speed", "way", "event", "tilt", "stacked", "link")


def certain(text: str) -> bool:
    """Whether a text holds only phrases that can be put in other words without a change of meaning."""
    if len(text) > MAX_CHARACTERS or not PLAIN.fullmatch(text):
        return False
    found = items(text)
    names = [index for index, item in enumerate(found) if _is_noun(item)]
    alone = len(names) == 1  # then all is said of it, wherever it is said
    for index, item in enumerate(found):
        words = " ".join(item.words)
        following = found[index + 1].kind if index + 1 < len(found) else "stop"
        if words in LABELS and found[index + 1 : index + 2] == [COLON]:
            continue
        if words not in EXACT.get(item.kind, {words}) or words in INEXACT:
            return False
        follows = alone and index > names[0]
        if item.kind in PRONOUNS and not follows:
            return False  # "a ball and a box that falls": which of them?
        if item.kind in ATTRIBUTES and not (follows or _leads_to_noun(found[index:])):
            return False  # "a ball and a box, both red"
        fronted = item.kind in VERBS and (not names or index < names[0])
        if fronted and (item.kind in ("event", "link") or not alone):
            return False  # "rolling right, a ball and a box"
        if words in ("right", "left") and following not in ("stop", "comma", "join"):
            return False  # "right behind a box", "left of it"
        if item.kind == "camera" and following not in ("stop", "comma"):
            return False
    return True


def _is_noun(item: Item) -> bool:
    return item.kind == "shape" or item.words == ("glass",)


def _leads_to_noun(found: list[Item]) -> bool:
    """Whether attributes, of which the first item is one, lead to a noun."""
    for item in found:
        if _is_noun(item) or item.kind in ("floor", "ground"):
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
    deeds = [(i.kind, i.value) for i in found if i.kind in DEEDS and (i.kind, i.value) != MOVES]
    return [deed for index, deed in enumerate(deeds) if not index or deeds[index - 1] != deed]


def _facts(found: Iterable[Item]) -> set[tuple[str, object]]:
    facts: set[tuple[str, object]] = set()
    for item in found:
        silent = item.kind in SILENT or (item.kind, item.value) in (MOVES, ("count", 1))
        if silent or " ".join(item.words) in LABELS:
            continue
        if item.kind == "join":
            if "then" in item.words:
                facts.add(("order", None))
        elif item.kind == "shape":
            facts.add(("shape", item.value[0]))
        elif item.kind == "times":
            facts.add(("count", item.value))
        else:
            facts.add((item.kind, item.value))
    return facts


def same_scene(scene: Scene, other: Scene) -> bool:
    """Whether two readings are equal, in whatever order the things come."""
    return _sorted(scene) == _sorted(other)


def _sorted(scene: Scene) -> tuple[object, ...]:
    things = [
        replace(thing, verb=None if thing.verb == MOVES[1] else thing.verb)
        for thing in scene.things
    ]
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
