"""Every phrase that is known, in all its forms: tokens -> (kind, value).

Owns the forms of verbs and nouns. The words are those of `lexicon`.
"""

from collections.abc import Iterable

from worldtube.text.rewrite.lexicon import (
    CAMERA,
    COLOURS,
    DOUBLED,
    DOWN,
    EVENTS,
    FALLS,
    FILLERS,
    FLOORS,
    FLOWS,
    GOES,
    GROUNDS,
    IT,
    JOINS,
    LINKS,
    MANNERS,
    MATERIALS,
    NUMBERS,
    OFF,
    OPENINGS,
    PAST,
    PLACES,
    SHAPES,
    SIZES,
    SKIES,
    SPEEDS,
    STACK,
    STACK_STANDS,
    STACKED,
    STAYS,
    STILL,
    THEY,
    WAYS,
    WHICH,
)


def forms(stem: str) -> set[str]:
    """The forms of a regular verb, of "go past" those of "go"."""
    verb, _, rest = stem.partition(" ")
    out = {verb}
    if verb == "be":
        out |= {"is", "are", "being"}
    elif verb == "not":
        return {f"does not {rest}", f"do not {rest}", f"doesn't {rest}", f"don't {rest}", stem}
    else:
        ends = verb.endswith(("s", "sh", "ch", "x", "z", "o"))
        short = verb[:-1] if verb.endswith("e") else verb
        short += verb[-1] if verb in DOUBLED else ""
        third = (
            verb[:-1] + "ies"
            if verb.endswith("ly") and verb != "ly"
            else verb + "es" * ends + "s" * (not ends)
        )
        ing = {"lie": "lying"}.get(verb, short + "ing")
        out |= {third, ing, short + "ed", PAST.get(verb, short + "ed")}
    return {f"{one} {rest}".strip() for one in out}


def plural(noun: str) -> str:
    return noun + ("es" if noun.endswith(("x", "s", "sh")) else "s")


def _table() -> dict[tuple[str, ...], tuple[str, object]]:
    out: dict[tuple[str, ...], tuple[str, object]] = {}

    def put(kind: str, value: object, phrases: Iterable[str]) -> None:
        for phrase in phrases:
            out[tuple(phrase.split())] = (kind, value)

    put("fill", None, FILLERS)
    put("open", None, OPENINGS)
    put("join", None, JOINS)
    put("all", None, THEY)
    put("it", None, IT)
    put("a", None, ("a", "an"))
    put("which", None, WHICH)
    put("manner", None, MANNERS)
    put("place", None, PLACES)
    put("from", None, ("from",))
    put("the", None, ("the", "same", "the same"))
    for colour, shades in COLOURS.items():
        put("colour", colour, (colour, *shades))
    for shape, nouns in SHAPES.items():
        put("shape", (shape, False), (shape, *nouns))
        put("shape", (shape, True), map(plural, (shape, *nouns)))
    for size, words in SIZES.items():
        put("size", size, (size, *words))
    for number, words in NUMBERS.items():
        put("count", number, (*words, str(number)))
        put(
            "times",
            number,
            (f"x{number}", f"{number}x", f"x {number}", f"{number} x", f"quantity {number}"),
        )
        put(
            "times",
            number,
            (f"times {number}", f"count {number}", f"qty {number}"),
        )
        put(
            "times",
            number,
            (f"{number} pcs", f"{number} units", f"{words[0]} pieces", f"{number} in all"),
        )
        if number > 1:
            put("times", number, (f"{words[0]} of them", f"{number} of them", f"all {words[0]}"))
            put("times", number, (f"{words[0]} in total", f"{number} in total", f"number {number}"))
        put("times", number, (f"{number} pieces", f"{words[0]} in number", f"{number} in number"))
    for material, words in MATERIALS.items():
        put("material", material, (material, *words))
    put("shape", ("glass", True), ("glasses",))
    put(
        "water",
        None,
        ("of water", "with water in it", "full of water", "filled with water", "water in it"),
    )
    put(
        "liquid",
        None,
        (
            "water",
            "the water",
            "all the water",
            "most of the water",
            "a lot of water",
            "some water",
        ),
    )
    put(
        "liquid",
        None,
        ("much of the water", "about half of the water", "some of the water", "a little water"),
    )
    put("liquid", None, ("only a little water", "out water", "contents", "its contents"))
    for verb, stems in GOES.items():
        for stem in stems:
            put("go", verb, forms(stem))
    for stem in FALLS:
        put("motion", "fall", forms(stem))
    put("motion", "fall", DOWN)
    for stem in STAYS:
        put("motion", "rest", forms(stem))
    put("motion", "rest", STILL)
    for way, words in WAYS.items():
        put("way", way, words)
    for speed, words in SPEEDS.items():
        put("speed", speed, words)
    for kind, stems in EVENTS.items():
        for stem in stems:
            put("event", kind, forms(stem))
    for stem in OFF:
        put("event", "fell_off", forms(stem))
    put(
        "event",
        "fell_off",
        ("off the edge", "over the edge", "off the table", "over the edge of the table"),
    )
    for stem in FLOWS:
        put("flow", "into", (f"{form} into" for form in forms(stem)))
        put("flow", "from", (f"{form} from" for form in forms(stem)))
        put("flow", "out", (f"{form} out" for form in forms(stem)))
    put("flow", "", forms("flow"))
    put("tilt", None, (form for stem in ("tilt", "be tilted") for form in forms(stem)))
    put("tilt", None, ("tilted",))
    for link, words in LINKS.items():
        put("link", link, words)
    put("untouched", None, ("without touching it", "without touching them", "without touching"))
    put("stacked", None, STACKED)
    put("stack", None, STACK)
    put("stacked", None, STACK_STANDS)
    for ground, words in GROUNDS.items():
        put("ground", ground, words)
    for sky, words in SKIES.items():
        put("sky", sky, words)
    put("floor", None, FLOORS)
    put("camera", None, ("camera", "the camera", "viewpoint", "the viewpoint"))
    return out


TABLE = _table()
CAMERA_TABLE = {
    tuple(phrase.split()): move for move, phrases in CAMERA.items() for phrase in phrases
}
LONGEST = max(map(len, TABLE))
