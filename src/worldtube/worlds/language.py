"""What a witness would say about a clip: facts in, varied plain English out.

Owns the wording of captions and its vocabulary. Knows nothing of engines, pictures or tensors: a caption is a
pure function of the facts (`World.truth`), the length and a random generator, and it never says what the facts
do not contain. Every caption names count, colour, shape and motion of the first group.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import numpy as np

from worldtube.errors import DataError

Length = Literal["short", "medium", "long"]

LENGTHS: dict[str, tuple[int, int]] = {"short": (3, 12), "medium": (9, 26), "long": (24, 48)}
"""Words a caption of each length aims at (least, most)."""

# --- the words; each table is keyed by the value that the facts hold -----------------------------------------

COLOUR_WORDS = {
    colour: (colour,)
    for colour in ("red", "orange", "yellow", "green", "blue", "purple", "white", "black")
}
SHAPE_WORDS: dict[str, tuple[tuple[str, str], ...]] = {
    "ball": (("ball", "balls"), ("ball", "balls"), ("sphere", "spheres")),
    "box": (("box", "boxes"), ("box", "boxes"), ("cube", "cubes"), ("block", "blocks")),
    "cylinder": (("cylinder", "cylinders"), ("cylinder", "cylinders"), ("drum", "drums")),
    "cup": (("cup", "cups"), ("cup", "cups"), ("cup", "cups"), ("mug", "mugs")),
}
"""(singular, plural) nouns of a shape, listed more than once where they should come up more often."""
GLASS_WORDS = (("cup", "cups"), ("cup", "cups"), ("glass", "glasses"))
"""Nouns of a cup that is made of glass."""
SIZE_WORDS = {"small": ("small", "small", "little", "tiny"), "large": ("large", "large", "big")}
COUNT_WORDS = {1: ("a", "one", "single"), 2: ("two", "2"), 3: ("three", "3"), 4: ("four", "4")}
COUNT_WORDS |= {
    n: (word, str(n)) for n, word in ((5, "five"), (6, "six"), (7, "seven"), (8, "eight"))
}
MATERIAL_WORDS = {
    "rubber": "rubber",
    "plastic": "plastic",
    "metal": "metal",
    "wood": "wooden",
    "glass": "glass",
}
GROUND_WORDS: dict[str, tuple[str, ...]] = {
    "wood": ("a wooden table", "a table of wood", "wooden boards"),
    "tiles": ("a tiled table", "tiles", "a surface of square tiles"),
    "cloth": ("a cloth", "a table with a cloth"),
    "stone": ("a stone surface", "a table of stone", "stone"),
    "checker": ("a checked surface", "a chequered table", "a checkerboard"),
}
SKY_WORDS: dict[str, tuple[str, ...]] = {
    "day": ("a pale sky", "a pale daytime sky", "daylight"),
    "dusk": ("a sky at dusk", "a dim evening sky", "a dusky sky"),
    "studio": ("grey studio light", "even studio light"),
    "mint": ("a mint sky", "a mint-coloured sky"),
}
RELATION_WORDS: dict[str, tuple[str, ...]] = {
    "left of": ("left of", "to the left of", "on the left of"),
    "right of": ("right of", "to the right of", "on the right of"),
    "on top of": ("on top of", "on"),
    "in front of": ("in front of",),
    "behind": ("behind",),
    "into": ("into",),
    "towards": ("towards", "toward", "in the direction of"),
}
PLACES = ("left of", "right of", "on top of", "in front of", "behind")
"""Relations that say where a thing is; the other two say where it goes."""
SPEED_WORDS: dict[str, tuple[str, ...]] = {
    "slow": ("slowly", "slowly", "gently", "at a slow pace"),
    "fast": ("quickly", "fast", "rapidly", "at high speed"),
}
DIRECTION_WORDS: dict[str, tuple[str, ...]] = {
    "right": (
        "to the right",
        "to the right",
        "right",
        "rightwards",
        "towards the right",
        "from left to right",
    ),
    "left": (
        "to the left",
        "to the left",
        "left",
        "leftwards",
        "towards the left",
        "from right to left",
    ),
}
TEMPLATES = (
    "drop",
    "throw",
    "roll",
    "slide",
    "rest",
    "stack",
    "collide",
    "edge",
    "hit_drop",
    "knock",
    "pour",
)
EVENTS = (
    "hit",
    "tipped",
    "missed",
    "upright",
    "spilled",
    "fell_off",
    "stacked",
    "toppled",
    "bounced",
    "poured",
)
MINOR = ("hit", "bounced")
"""Events that are left out first when there is no room for all."""
MOTIONS = ("right", "left", "fall", "rest")


class Verb(NamedTuple):
    """One verb in the forms that the frames need; `ing` may be a bare adjective ("still")."""

    third: str
    plural: str
    ing: str


def _regular(stem: str, third: str = "", ing: str = "") -> Verb:
    return Verb(third or f"{stem}s", stem, ing or f"{stem}ing")


def _be(rest: str, ing: str | None = None) -> Verb:
    return Verb(f"is {rest}", f"are {rest}", ing if ing is not None else f"being {rest}")


ROLL, MOVE, TRAVEL, GO = (
    _regular("roll"),
    _regular("move", ing="moving"),
    _regular("travel", ing="travelling"),
    _regular("go", "goes"),
)
SLIDE, GLIDE = _regular("slide", ing="sliding"), _regular("glide", ing="gliding")
FLY, THROWN, TOSSED = _regular("fly", "flies"), _be("thrown"), _be("tossed")
FALL, DROP, DROPPED = _regular("fall"), _regular("drop", ing="dropping"), _be("dropped")
FALL_DOWN = Verb("falls down", "fall down", "falling down")
FALL_FROM = Verb("falls from above", "fall from above", "falling from above")
COME_DOWN = Verb("comes down", "come down", "coming down")
REST = _regular("rest")
RESTS = (
    _be("still", "still"),
    _be("at rest", "at rest"),
    _be("motionless", "motionless"),
    Verb("stays still", "stay still", "staying still"),
    Verb("does not move", "do not move", "not moving"),
    Verb("stays in place", "stay in place", "staying in place"),
    Verb("sits still", "sit still", "sitting still"),
)
TILT, TIP, TILTED = _regular("tilt"), _regular("tip", ing="tipping"), _be("tilted")
STAND = Verb("stands still", "stand still", "standing still")
LIE = Verb("lies still", "lie still", "lying still")
EVENT_VERBS: dict[str, tuple[tuple[Verb, str], ...]] = {
    # kind: (verb, words before the other thing); "" as the other thing's lead-in means that it is not named
    "hit": (
        (_regular("hit", ing="hitting"), "{b}"),
        (_regular("hit", ing="hitting"), "{b}"),
        (_regular("bump", ing="bumping"), "into {b}"),
        (_regular("strike", ing="striking"), "{b}"),
        (_regular("crash", "crashes"), "into {b}"),
        (_regular("collide", ing="colliding"), "with {b}"),
        (_regular("run", ing="running"), "into {b}"),
    ),
    "missed": (
        (_regular("miss", "misses"), "{b}"),
        (_regular("miss", "misses"), "{b}"),
        (_regular("pass", "passes"), "{b} without touching {it}"),
        (Verb("goes past", "go past", "going past"), "{b}"),
    ),
    "fell_off": (
        (FALL, "off the edge"),
        (FALL, "off the table"),
        (DROP, "off the edge"),
        (GO, "over the edge"),
        (FALL, "over the edge of the table"),
    ),
    "bounced": (
        (_regular("bounce", ing="bouncing"), ""),
        (_regular("bounce", ing="bouncing"), "up again"),
    ),
    "toppled": (
        (_regular("topple", ing="toppling"), "over"),
        (FALL, "over"),
        (_regular("tip", ing="tipping"), "over"),
    ),
    "tipped": (
        (_regular("tip", ing="tipping"), "over"),
        (FALL, "over"),
        (_regular("topple", ing="toppling"), "over"),
    ),
    "upright": (
        (Verb("stays", "stay", "staying"), "upright"),
        (Verb("does not tip", "do not tip", "not tipping"), "over"),
        (Verb("remains", "remain", "remaining"), "standing"),
        (Verb("keeps", "keep", "keeping"), "upright"),
    ),
    "poured": (
        (_regular("pour"), "water"),
        (_regular("pour"), "out water"),
    ),
    "stacked": (
        (Verb("stays", "stay", "staying"), "stacked"),
        (_be("stacked", "stacked"), "up"),
        (Verb("stands", "stand", "standing"), "in a stack"),
    ),
}
KNOCK_OVER = (
    (_regular("knock"), "{b} over"),
    (_regular("knock"), "over {b}"),
    (_regular("tip", ing="tipping"), "{b} over"),
)
CAMERA_WORDS: dict[tuple[str, str | None], tuple[str, ...]] = {
    ("orbit", "left"): ("circles to the left", "orbits left", "moves around to the left"),
    ("orbit", "right"): ("circles to the right", "orbits right", "moves around to the right"),
    ("orbit", None): ("circles around", "moves around the scene"),
    ("dolly", "in"): ("moves in", "moves closer", "comes nearer"),
    ("dolly", "out"): ("moves back", "moves away", "pulls back"),
    ("dolly", "left"): ("slides to the left", "moves sideways to the left"),
    ("dolly", "right"): ("slides to the right", "moves sideways to the right"),
    ("dolly", None): ("moves along", "travels along"),
    ("fixed", None): ("does not move", "stays fixed", "stands still"),
}
_STOP = frozenset(
    """a an the is are be being it its they them that which who this there here and or but of in on at to from with
    by as while then first after also no not so we you i can out off over up down into onto than both same one's
    does do""".split()
)


# --- the facts, checked once ----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Group:
    count: int
    colour: str
    shape: str
    motion: str
    size: str | None
    material: str | None
    speed: str | None


@dataclass(frozen=True, kw_only=True)
class _Happening:
    """One kind of event between two groups, with how many objects took part."""

    kind: str
    a: int | None
    num_a: int = 1
    b: int | None = None
    num_b: int = 1


@dataclass(frozen=True, kw_only=True)
class _Facts:
    world: str | None
    template: str | None
    groups: tuple[_Group, ...]
    relations: tuple[tuple[int, str, int], ...]
    event: str | None
    happenings: tuple[_Happening, ...]
    camera: tuple[str, str | None] | None
    ground: str | None
    sky: str | None
    spilled: float | None


_TRUTH_KEYS = frozenset(
    """world version seed template groups relations event events objects camera ground sky spilled_fraction""".split()
)
_GROUP_KEYS = frozenset("count colour size shape material motion speed objects".split())


def _known(what: str, value: Any, accepted: Any, *, optional: bool = False) -> Any:
    if value is None and optional:
        return None
    try:
        if value in accepted:
            return value
    except TypeError:  # an unhashable value is not an accepted one
        pass
    names = ", ".join(str(name) for name in accepted)
    raise DataError(f"the facts hold {what} {value!r}, accepted: {names}")


def _keys(what: str, given: Any, accepted: frozenset[str]) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise DataError(f"{what} must be a mapping, not {type(given).__name__}")
    for key in given:
        _known(f"in {what} the key", key, sorted(accepted))
    return given


def _read_group(raw: Any) -> _Group:
    raw = _keys("a group", raw, _GROUP_KEYS)
    for key in ("count", "colour", "shape", "motion"):
        if key not in raw:
            raise DataError(
                f"a group of the facts lacks {key!r}; it needs count, colour, shape and motion"
            )
    return _Group(
        count=_known("count", raw["count"], COUNT_WORDS),
        colour=_known("colour", raw["colour"], COLOUR_WORDS),
        shape=_known("shape", raw["shape"], SHAPE_WORDS),
        motion=_known("motion", raw["motion"], MOTIONS),
        size=_known("size", raw.get("size"), SIZE_WORDS, optional=True),
        material=_known("material", raw.get("material"), MATERIAL_WORDS, optional=True),
        speed=_known("speed", raw.get("speed"), SPEED_WORDS, optional=True),
    )


def _read_events(truth: Mapping[str, Any], group_of: dict[int, int]) -> tuple[_Happening, ...]:
    """All events in order, one entry per kind and pair of groups."""
    order: list[tuple[str, int | None, int | None]] = []
    who: dict[tuple[str, int | None, int | None], tuple[set[int], set[int]]] = {}
    for raw in sorted(truth.get("events") or (), key=lambda event: event.get("seconds", 0.0)):
        _keys("an event", raw, frozenset({"kind", "seconds", "a", "b"}))
        kind = _known("event", raw.get("kind"), EVENTS)
        a, b = raw.get("a"), raw.get("b")
        for index in (a, b):
            if index is not None and group_of and index not in group_of:
                raise DataError(
                    f"event {kind!r} names object {index!r}, accepted: {sorted(group_of)}"
                )
        key = (kind, group_of.get(a), group_of.get(b))
        if key not in who:
            order.append(key)
            who[key] = (set(), set())
        who[key][0].add(a)
        who[key][1].add(b)
    found = [
        _Happening(
            kind=kind, a=a, num_a=len(who[kind, a, b][0]), b=b, num_b=len(who[kind, a, b][1])
        )
        for kind, a, b in order
    ]
    # of "a hits b" and "b hits a" the first one tells it all
    return tuple(
        one
        for i, one in enumerate(found)
        if one.kind != "hit"
        or not any(e.kind == "hit" and {e.a, e.b} == {one.a, one.b} for e in found[:i])
    )


def _read(truth: Mapping[str, Any]) -> _Facts:
    _keys("the facts", truth, _TRUTH_KEYS)
    if not truth.get("groups"):
        raise DataError("the facts hold no groups; a caption needs at least one")
    groups = tuple(_read_group(raw) for raw in truth["groups"])
    relations = []
    for raw in truth.get("relations") or ():
        _keys("a relation", raw, frozenset({"a", "relation", "b"}))
        a, b = (_known("in a relation the group", raw.get(end), range(len(groups))) for end in "ab")
        relations.append((a, _known("relation", raw.get("relation"), RELATION_WORDS), b))
    group_of: dict[int, int] = {}
    for index, raw in enumerate(truth["groups"]):
        group_of |= dict.fromkeys(raw.get("objects") or (), index)
    for index, raw in enumerate(truth.get("objects") or ()):
        if "group" in raw:
            group_of.setdefault(index, raw["group"])
    camera = truth.get("camera")
    if camera is not None:
        _keys("the camera", camera, frozenset({"kind", "direction"}))
        camera = (camera.get("kind"), camera.get("direction"))
        _known("camera", camera, CAMERA_WORDS)
    spilled = truth.get("spilled_fraction")
    if spilled is not None and not 0 <= spilled <= 1.001:
        raise DataError(f"the facts hold spilled_fraction {spilled!r}, accepted: 0 to 1")
    return _Facts(
        world=truth.get("world"),
        template=_known("template", truth.get("template"), TEMPLATES, optional=True),
        groups=groups,
        relations=tuple(relations),
        event=_known("event", truth.get("event"), EVENTS, optional=True),
        happenings=_read_events(truth, group_of),
        camera=camera,
        ground=_known("ground", truth.get("ground"), GROUND_WORDS, optional=True),
        sky=_known("sky", truth.get("sky"), SKY_WORDS, optional=True),
        spilled=spilled,
    )


# --- one telling --------------------------------------------------------------------------------------------------


def _article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


@dataclass
class _Teller:
    """One draft of a caption: the choices of words that must stay the same through it."""

    facts: _Facts
    length: str
    rng: np.random.Generator
    terse: bool = False
    """Without articles: "red ball rolls right"."""
    digits: bool = False
    nouns: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for group in self.facts.groups:
            glassy = group.shape == "cup" and group.material == "glass"
            self.nouns.append(self.pick(GLASS_WORDS if glassy else SHAPE_WORDS[group.shape]))

    # choices

    def pick(self, options: Any) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    # nouns

    def _holds_water(self, index: int) -> bool:
        """Whether this group is the cup that the pour world fills: its first cup."""
        cups = [i for i, group in enumerate(self.facts.groups) if group.shape == "cup"]
        return self.facts.world == "pour" and bool(cups) and index == cups[0]

    def noun(self, index: int, count: int | None = None) -> str:
        singular, plural = self.nouns[index]
        return singular if (count or self.facts.groups[index].count) == 1 else plural

    def a(self, index: int, *, article: bool = True) -> str:
        """The group, named for the first time: "two small blue boxes", "a red ball"."""
        group = self.facts.groups[index]
        said_size = group.size and self.chance(
            {"short": 0.5, "medium": 0.75, "long": 0.95}[self.length]
        )
        material = group.material
        if material == "glass" and self.nouns[index][0] == "glass":
            material = None
        said_material = material and self.chance(
            {"short": 0.03, "medium": 0.15, "long": 0.5}[self.length]
        )
        size = self.pick(SIZE_WORDS[group.size]) if said_size else ""
        colour = self.pick(COLOUR_WORDS[group.colour])
        tail = ""
        if self._holds_water(index) and self.nouns[index][0] != "mug":
            of = self.chance({"short": 0.6, "medium": 0.75, "long": 0.85}[self.length])
            tail = (
                self.pick(("of water", "of water", "with water in it"))
                if of and group.count == 1
                else ""
            )
        after = not self.terse and self.length != "short" and not tail and self.chance(0.07)
        if after:  # "a ball that is large and red"
            looks = [size, colour] if size else [colour]
            be = "is" if group.count == 1 else "are"
            words = [self.noun(index), "that", be, " and ".join(looks)]
        else:
            words = [
                size,
                colour,
                MATERIAL_WORDS[material] if said_material else "",
                self.noun(index),
                tail,
            ]
        phrase = " ".join(word for word in words if word)
        if group.count > 1:
            return f"{COUNT_WORDS[group.count][int(self.digits)]} {phrase}"
        if self.terse or not article:
            return phrase
        twins = {(one.colour, one.shape, one.count) for one in self.facts.groups[:index]}
        if (group.colour, group.shape, 1) in twins:
            return f"another {phrase}"
        if self.chance(0.1):
            return f"one {phrase}"
        if self.length != "short" and self.chance(0.05):
            return f"a single {phrase}"
        return _article(phrase)

    def the(
        self, index: int, count: int | None = None, *, pronoun: bool = False
    ) -> tuple[str, bool]:
        """The group, or `count` objects of it, named again; and whether the verb is plural."""
        group = self.facts.groups[index]
        others = [other for i, other in enumerate(self.facts.groups) if i != index]
        count = min(count or group.count, group.count)
        if pronoun and count == group.count and self.chance(0.5):
            return ("it", False) if count == 1 else ("they", True)
        like = [other for other in others if other.shape == group.shape]
        words = [self.noun(index, group.count)]
        if any(other.colour == group.colour for other in like) and group.size:
            words.insert(0, group.size)
        if like or self.chance(0.35):
            words.insert(len(words) - 1, group.colour)
        name = " ".join(words)
        if count == group.count:
            return (name if self.terse else f"the {name}"), count > 1
        number = "one" if count == 1 else COUNT_WORDS[count][0]
        return f"{number} of the {name}", count > 1

    # verbs

    def tilts(self, index: int) -> bool:
        """Whether this is the cup that is held and tilted: it stays in place, but it is not still."""
        return (
            self.facts.template == "pour" and index == 0 and self.facts.groups[0].motion == "rest"
        )

    def verb(self, index: int, *, alone: bool = True, goal: bool = False) -> tuple[Verb, str]:
        """(verb, direction) for the motion of a group; `alone` is false where other shapes share the verb."""
        group, template = self.facts.groups[index], self.facts.template
        if self.tilts(index):
            return self.pick((TILTED, TILT, TIP)), ""
        if group.motion == "rest":
            options = list(RESTS)
            options.append(LIE if group.shape == "ball" else STAND)
            return self.pick(options), ""
        if group.motion == "fall":
            return self.pick((FALL, FALL, DROP, DROPPED, FALL_DOWN, FALL_FROM, COME_DOWN)), ""
        ways = DIRECTION_WORDS[group.motion]
        if goal:  # not "towards the right towards the box"
            ways = tuple(way for way in ways if not way.startswith(("towards", "from")))
        way = self.pick(ways)
        if template == "throw" and index == 0:
            return self.pick((FLY, THROWN, THROWN, TOSSED, MOVE)), way
        if template == "roll" and index == 0:
            return self.pick((ROLL, ROLL, ROLL, MOVE, TRAVEL, GO)), way
        if (template == "slide" and index == 0) or group.shape in ("box", "cup"):
            return self.pick((SLIDE, SLIDE, SLIDE, MOVE, GLIDE, TRAVEL)), way
        if group.shape == "ball" and alone and template in ("collide", "edge"):
            return self.pick((ROLL, ROLL, MOVE, TRAVEL, GO)), way
        return self.pick((MOVE, MOVE, TRAVEL, GO)), way

    def action(self, index: int, form: str, *, tail: str = "", alone: bool = True) -> str:
        """A verb phrase: "slowly rolls to the right". `form` is third, plural or ing."""
        group = self.facts.groups[index]
        verb, way = self.verb(index, alone=alone, goal=bool(tail))
        word = getattr(verb, form)
        moving = group.motion in ("right", "left")
        said = (
            group.speed
            and moving
            and self.chance({"short": 0.3, "medium": 0.7, "long": 0.9}[self.length])
        )
        how = self.pick(SPEED_WORDS[group.speed]) if said else ""
        if how and how.endswith("ly") and not verb.third.startswith("is ") and self.chance(0.35):
            words = [how, word, way]
        elif how and self.chance(0.5):
            words = [word, how, way]
        else:
            words = [word, way, how]
        return " ".join(part for part in (*words, tail) if part)

    def form(self, index: int) -> str:
        return "third" if self.facts.groups[index].count == 1 else "plural"

    # events

    def _what(self, verbs: Any, happening: _Happening, form: str) -> str:
        verb, rest = self.pick(verbs)
        if "{b}" in rest:
            if happening.b is None:
                verb, rest = EVENT_VERBS["hit"][0][0], "something"
                name, many = "", False
            else:
                name, many = self.the(happening.b, happening.num_b)
            rest = rest.replace("{b}", name).replace("{it}", "them" if many else "it")
        return f"{getattr(verb, form)} {rest}".strip()

    def _amount(self) -> str:
        """How much water went out, as an English subject of a singular verb."""
        spilled = self.facts.spilled
        if spilled is None:
            return "water"
        for least, words in (
            (0.9, ("all the water", "the water")),
            (0.55, ("most of the water", "a lot of water")),
            (0.35, ("about half of the water", "much of the water")),
            (0.1, ("some of the water", "some water")),
        ):
            if spilled >= least:
                return self.pick(words)
        return self.pick(("a little water", "only a little water"))

    def _by_name(self, happening: _Happening) -> str | None:
        """A whole clause about one event, or None where it cannot be told without guessing."""
        kind, facts = happening.kind, self.facts
        if kind == "spilled":
            return f"{self._amount()} {self.pick(('spills', 'spills out', 'runs out', 'spills on the table'))}"
        if kind in ("stacked", "toppled") and facts.template == "stack" and self.chance(0.6):
            stack = "stack" if self.terse else "the stack"
            told = (
                ("stands", "holds", "stays up")
                if kind == "stacked"
                else ("falls over", "topples", "tips over")
            )
            return f"{stack} {self.pick(told)}"
        if happening.a is None or (kind in ("hit", "missed") and happening.b is None):
            return None
        if kind == "hit" and happening.a == happening.b:
            name, many = self.the(happening.a)
            return f"{name} bump into each other" if many else None
        if kind == "poured" and self.chance(0.4):
            name, _ = self.the(happening.a)
            goal = (
                f" into {self.the(happening.b)[0]}"
                if happening.b not in (None, happening.a)
                else ""
            )
            return f"water {self.pick(('is poured', 'pours', 'runs'))} from {name}{goal}"
        name, many = self.the(happening.a, happening.num_a)
        clause = f"{name} {self._what(EVENT_VERBS[kind], happening, 'plural' if many else 'third')}"
        if kind == "poured" and happening.b not in (None, happening.a) and clause.endswith("water"):
            clause += f" into {self.the(happening.b)[0]}"
        return clause

    def happenings(self, most: int) -> list[_Happening]:
        """The events worth telling, the headline always among them, in order."""
        facts = self.facts
        told = list(facts.happenings)
        if facts.event and all(one.kind != facts.event for one in told):
            told.append(self._headline(facts.event))
        told = [one for one in told if one.kind != "stacked" or facts.event == "stacked"]
        must = [one for one in told if one.kind == facts.event][:1]
        rest = sorted((one for one in told if one not in must), key=lambda one: one.kind in MINOR)
        kept = must + rest[: max(0, most - len(must))]
        return [one for one in told if one in kept]

    def _headline(self, kind: str) -> _Happening:
        """A headline without an entry in the list: who took part is clear only from shapes and counts."""
        groups = self.facts.groups
        cups = [i for i, group in enumerate(groups) if group.shape == "cup"]
        if kind in ("tipped", "upright", "poured", "spilled") and len(cups) == 1:
            return _Happening(kind=kind, a=cups[0], num_a=groups[cups[0]].count)
        if kind in ("hit", "missed") and len(groups) == 2:
            moving = [i for i, group in enumerate(groups) if group.motion != "rest"]
            if len(moving) == 1:
                a, b = moving[0], 1 - moving[0]
                return _Happening(kind=kind, a=a, num_a=groups[a].count, b=b, num_b=groups[b].count)
        if len(groups) == 1 and kind not in ("hit", "missed"):
            return _Happening(kind=kind, a=0, num_a=groups[0].count)
        return _Happening(kind=kind, a=None)

    def clauses(self, told: list[_Happening]) -> list[str]:
        """The events as clauses, with "hits" and "tips" sometimes told as one "knocks over"."""
        out: list[str] = []
        skip = False
        for one, after in pairwise([*told, None]):
            if skip:
                skip = False
                continue
            if (
                after is not None
                and one.kind == "hit"
                and after.kind in ("tipped", "toppled")
                and after.a == one.b is not None
                and one.a not in (None, one.b)
                and after.num_a == one.num_b
                and self.chance(0.5)
            ):
                name, many = self.the(one.a, one.num_a)
                out.append(f"{name} {self._what(KNOCK_OVER, one, 'plural' if many else 'third')}")
                skip = True
                continue
            clause = self._by_name(one)
            if clause:
                out.append(clause)
        return out

    # sentences

    def link(self, a: int, b: int) -> str | None:
        for first, relation, second in self.facts.relations:
            if (first, second) == (a, b):
                return relation
        return None

    def scene(self, told: list[_Happening]) -> tuple[str, list[_Happening]]:
        """The first sentence (no full stop), and the events that it leaves to tell."""
        facts, groups = self.facts, self.facts.groups
        if len(groups) == 1 and self.tilts(0) and any(one.kind == "poured" for one in told):
            return self.pouring(told)
        if len(groups) == 1 or (
            self.length == "short" and self.chance(0.15) and not facts.relations
        ):
            return self.opening(0, told)
        forth, back = self.link(0, 1), self.link(1, 0)
        if forth is None and back is None:
            return self.side_by_side(told)
        told_left = told
        if forth in ("into", "towards"):
            if groups[0].motion == "rest":
                return self.pouring(told, f"{self.pick(RELATION_WORDS[forth])} {self.a(1)}")
            hit = [one for one in told if one.kind == "hit" and (one.a, one.b) == (0, 1)]
            if forth == "into" and hit:
                told_left = [one for one in told if one is not hit[0]]
            tail = f"{self.pick(RELATION_WORDS[forth])} {self.a(1)}"
            if groups[1].motion == "rest" and not self.terse and self.chance(0.2):
                be = "is" if groups[1].count == 1 else "are"
                tail += f" that {be} {self.pick(('still', 'at rest'))}"
            return self.main(0, tail=tail), told_left
        if back in ("into", "towards"):
            name = self.the(0)[0]
            verb = self.action(1, self.form(1), tail=f"{self.pick(RELATION_WORDS[back])} {name}")
            return f"{self.main(0)}{self.pick((', and ', '; ', ' and '))}{self.a(1)} {verb}", told
        if forth is None:
            first, place = self.main(0), self.pick(RELATION_WORDS[back])
            if self.length == "short":
                return (
                    f"{first}, {self.a(1)} {place} {'it' if groups[0].count == 1 else 'them'}",
                    told,
                )
            second = f"{self.a(1)} {self._be_somewhere(1)} {place} {self.the(0)[0]}"
            return f"{first}{self.pick((' and ', ', and ', '; ', ', while '))}{second}", told
        # a place of group 0 with respect to group 1
        place = f"{self.pick(RELATION_WORDS[forth])} {self.a(1)}"
        if groups[0].motion == "rest" and self.chance(0.7):
            sentence = f"{self.a(0)} {self.action(0, self.form(0), tail=place)}"
        else:
            be = "is" if groups[0].count == 1 else "are"
            which = "" if self.length == "short" or self.terse else self.pick(("", f"that {be} "))
            sentence = f"{self.a(0)} {which}{place} {self.action(0, self.form(0))}"
        still = groups[0].motion == groups[1].motion == "rest"
        if groups[1].motion != "rest" or (
            self.length != "short" and self.chance(0 if still else 0.4)
        ):
            name, many = self.the(1)
            also = self.action(1, "plural" if many else "third")
            sentence += f"{self.pick((', and ', '; ', ' while '))}{name} {also}"
        return sentence, told

    def pouring(self, told: list[_Happening], goal: str = "") -> tuple[str, list[_Happening]]:
        """A held cup that is poured from: what flows is the water, not the cup."""
        many = self.facts.groups[0].count > 1
        first, be = self.a(0), "are" if many else "is"
        tilt = self.pick((f"{be} tilted", "tilt" if many else "tilts"))
        options = [
            f"{first} {'pour' if many else 'pours'} water {goal}",
            f"water {self.pick(('is poured', 'pours', 'runs'))} from {first} {goal}",
            f"{first} {tilt} and water {self.pick(('pours', 'runs', 'flows'))} {goal or 'out'}",
        ]
        sentence = self.pick(options).strip()
        return sentence, [one for one in told if one.kind != "poured"]

    def _be_somewhere(self, index: int) -> str:
        if self.facts.groups[index].motion != "rest":
            return self.action(index, self.form(index))
        verb = self.pick((_be(""), _be(""), REST, _regular("sit", ing="sitting")))
        return getattr(verb, self.form(index)).strip()

    def main(self, index: int, *, tail: str = "") -> str:
        """One group and its motion as a clause that can be carried on."""
        return f"{self.a(index)} {self.action(index, self.form(index), tail=tail)}"

    def opening(self, index: int, told: list[_Happening]) -> tuple[str, list[_Happening]]:
        """A single group: the frames with the most freedom."""
        group = self.facts.groups[index]
        be = "is" if group.count == 1 else "are"
        plain = self.main
        frames: list[Callable[[], str]] = [lambda: plain(index)] * 4
        if group.motion == "rest" and not self.tilts(index):
            frames.append(
                lambda: (
                    f"{self.a(index)}, {self.pick(('still', 'at rest', 'motionless', 'not moving'))}"
                )
            )
            if not self.terse:
                frames.append(
                    lambda: (
                        f"{self.a(index)} {self.pick(('rests', 'sits')) if group.count == 1 else self.pick(('rest', 'sit'))} on {self.floor()}"
                    )
                )
        if not self.terse:
            if group.motion != "rest" or self.tilts(index):
                frames.append(lambda: f"{self.a(index)} {self.action(index, 'ing')}")
                frames.append(lambda: f"{self.a(index)} {be} {self._progressive(index)}")
            else:
                frames.append(
                    lambda: (
                        f"there {be} {self.a(index)}, {self.pick(('still', 'at rest', 'motionless'))}"
                    )
                )
            if self.length != "short":
                it, form = ("it", "third") if group.count == 1 else ("they", "plural")
                frames += [
                    lambda: (
                        f"there {be} {self.a(index)}{self.pick((', and ', '; '))}{it} {self.action(index, form)}"
                    ),
                    lambda: f"there {be} {self.a(index)} that {self.action(index, form)}",
                    lambda: (
                        f"{self.pick(('we see', 'you can see', 'the clip shows', 'the video shows'))} {self.a(index)} {self.action(index, 'ing')}"
                    ),
                    lambda: (
                        f"{self.pick(('a video of', 'a clip of', 'footage of', 'a shot of', 'a scene with'))} {self.a(index)} {self.action(index, 'ing')}"
                    ),
                    lambda: (
                        f"{self.pick(('a video in which', 'a clip where', 'in this clip', 'in this video'))} {plain(index)}"
                    ),
                    lambda: f"{self.a(index)} can be seen {self.action(index, 'ing')}",
                ]
        return self.pick(frames)(), told

    def _progressive(self, index: int) -> str:
        return self.action(index, "ing")

    def floor(self) -> str:
        if self.facts.ground and self.length != "short":
            return self.pick(GROUND_WORDS[self.facts.ground])
        return self.pick(("the table", "a table"))

    def side_by_side(self, told: list[_Happening]) -> tuple[str, list[_Happening]]:
        """Two groups without a relation."""
        first, second = self.facts.groups[:2]
        swap = self.chance(0.15)
        i, j = (1, 0) if swap else (0, 1)
        same = first.motion == second.motion and first.speed == second.speed
        if same and not self.tilts(0) and self.chance(0.6):
            pair = f"{self.a(i)} and {self.a(j)}"
            both = (
                "both "
                if first.count == second.count == 1 and not self.terse and self.chance(0.3)
                else ""
            )
            if self.length != "short" and not self.terse and self.chance(0.25):
                lead = self.pick(
                    ("a video of", "a clip of", "we see", "the clip shows", "footage of")
                )
                return f"{lead} {pair} {both}{self.action(0, 'ing', alone=False)}", told
            if (
                both and first.motion == "rest"
            ):  # "are both still" reads better than "both are still"
                return f"{pair} are {both}still", told
            return f"{pair} {both}{self._joint()}", told
        if not swap and second.motion == "rest" and first.motion != "rest":
            hit = [
                one for one in told if one.kind in ("hit", "missed") and (one.a, one.b) == (0, 1)
            ]
            if (
                hit
                and hit[0].num_a == first.count
                and hit[0].num_b == second.count
                and self.chance(0.55)
            ):
                # "a red ball rolls to the right and hits a blue box"
                form = self.form(0)
                verb, rest = self.pick(EVENT_VERBS[hit[0].kind])
                goal = rest.replace("{b}", self.a(1)).replace(
                    "{it}", "it" if second.count == 1 else "them"
                )
                joined = f"{self.main(0)} and {getattr(verb, form)} {goal}"
                return joined, [one for one in told if one is not hit[0]]
            if self.chance(0.25):
                be = "is" if second.count == 1 else "are"
                extra = f"there {be} also {self.a(1)}" if not self.terse else f"{self.a(1)}, still"
                return f"{self.main(0)}{', and ' if not self.terse else ', '}{extra}", told
        one, two = self.main(i), self.main(j)
        if not self.terse and self.length != "short" and self.chance(0.2):
            return f"while {one}, {two}", told
        join = self.pick(
            (" and ", ", ", ", and ")
            if self.length == "short"
            else (" while ", " and ", ", and ", "; ")
        )
        return f"{one}{join}{two}", told

    def _joint(self) -> str:
        """A verb phrase that both groups share, so a verb that suits any shape."""
        first, second = self.facts.groups[:2]
        if first.shape == second.shape:
            return self.action(0, "plural")
        motion = first.motion
        if motion in ("right", "left") and self.facts.template not in ("throw",):
            way = self.pick(DIRECTION_WORDS[motion])
            how = self.pick(SPEED_WORDS[first.speed]) if first.speed and self.chance(0.6) else ""
            return " ".join(
                word for word in (self.pick(("move", "travel", "go")), way, how) if word
            )
        return self.action(0, "plural", alone=False)

    def surroundings(self) -> list[str]:
        """Whole sentences or tails on ground, sky and camera, by length."""
        facts, out = self.facts, []
        say = {"short": (0.0, 0.0, 0.05), "medium": (0.15, 0.04, 0.6), "long": (0.9, 0.85, 1.0)}[
            self.length
        ]
        ground = (
            self.pick(GROUND_WORDS[facts.ground]) if facts.ground and self.chance(say[0]) else ""
        )
        sky = self.pick(SKY_WORDS[facts.sky]) if facts.sky and self.chance(say[1]) else ""
        if ground and sky:
            out.append(
                self.pick(
                    (
                        f"on {ground} under {sky}",
                        f"below, {ground}; above, {sky}",
                        f"the ground is {ground} and above it is {sky}",
                    )
                )
            )
        elif ground:
            out.append(f"on {ground}")
        elif sky:
            out.append(f"under {sky}")
        if facts.camera:
            kind, _ = facts.camera
            odds = (
                say[2]
                if kind != "fixed"
                else {"short": 0.0, "medium": 0.02, "long": 0.3}[self.length]
            )
            if self.chance(odds):
                moves = self.pick(CAMERA_WORDS[facts.camera])
                camera = "camera" if self.terse else "the camera"
                choices = [f"{camera} {moves}"]
                if not self.terse and kind != "fixed":
                    choices.append(f"seen by a camera that {moves}")
                out.append(self.pick(choices))
        return out

    def looks(self, index: int) -> str:
        """A sentence on what a group looks like, for the long form."""
        group = self.facts.groups[index]
        like = any(
            one.shape == group.shape for i, one in enumerate(self.facts.groups) if i != index
        )
        name, many = self.the(index) if like else (f"the {self.noun(index)}", group.count > 1)
        be = "are" if many else "is"
        said = [group.size, group.colour] if group.size else [group.colour]
        of = f" and made of {group.material}" if group.material else ""
        return f"{name} {be} {' and '.join(said) if not of else ', '.join(said)}{of}"

    def tell(self) -> str:
        """One draft: the scene, what happens, where, how it is filmed."""
        facts = self.facts
        most = {"short": 1, "medium": 2, "long": 4}[self.length]
        told = self.happenings(most)
        if self.length == "short" and not self.chance(0.6):
            told = []
        scene, told = self.scene(told)
        events = self.clauses(told)
        around = self.surroundings()
        places = [part for part in around if part.startswith(("on ", "under "))]
        others = [part for part in around if part not in places]
        sentences = [scene]
        if (
            places
            and "{" not in scene
            and len(facts.groups) == 1
            and "table" not in scene
            and self.chance(0.8)
        ):
            framed = scene.startswith(
                ("a video", "a clip", "a shot", "a scene", "footage", "the ", "in this")
            )
            after = framed or self.chance(0.6)
            sentences[0] = f"{scene} {places[0]}" if after else f"{places[0]}, {scene}"
        elif places:
            others.insert(
                0,
                f"{self.pick(('all of this is', 'the scene is', 'everything is'))} {places[0]}"
                if not self.terse
                else places[0],
            )
        self._add_events(sentences, events)
        if self.length == "long":
            extra: list[str] = []
            for index, group in enumerate(facts.groups[:2]):
                if self.chance(0.35) and (group.size or group.material):
                    extra.append(self.looks(index))
            if len(facts.groups) == 1 and self.chance(0.5):
                extra.append(
                    self.pick(
                        (
                            "nothing else is in view",
                            "there is nothing else in the scene",
                            "no other object is in view",
                        )
                    )
                )
            sentences += extra
        sentences += others
        return self._join(sentences)

    def _add_events(self, sentences: list[str], events: list[str]) -> None:
        if not events:
            return
        first = sentences[0]
        if self.terse or self.length == "short":
            sentences[0] = f"{first}{self.pick((', ', ' and ', ', then '))}{', then '.join(events)}"
            return
        style = int(self.rng.integers(4))
        if style == 0:
            chain = [first, *events]
            sentences[0] = (
                f"{', '.join(chain[:-1])}, and then {chain[-1]}"
                if len(chain) > 2
                else f"{first}, and then {events[0]}"
            )
        elif style == 1:
            sentences.append(f"then {events[0]}")
            sentences += [
                f"{self.pick(('after that', 'next', 'then'))} {event}" for event in events[1:]
            ]
        elif style == 2 and len(events) > 1:
            sentences.append(f"first {events[0]}, then {' and then '.join(events[1:])}")
        else:
            sentences.append(
                " and ".join(events)
                if len(events) < 3
                else f"{', '.join(events[:-1])} and {events[-1]}"
            )

    def _join(self, sentences: list[str]) -> str:
        if self.terse:
            return ", ".join(sentences)
        return " ".join(f"{_capital(sentence)}." for sentence in sentences)


def caption(truth: Mapping[str, Any], length: Length, rng: np.random.Generator) -> str:
    """Tell the facts of a clip in English.

    `short` is about 4-10 words, `medium` 10-25, `long` 25-60 (facts that hold little may stay below). Same
    arguments, same words. Raises `DataError` where the facts hold a key or a value that no word is known for.
    """
    if length not in LENGTHS:
        raise DataError(f"no captions of length {length!r}, accepted: {', '.join(LENGTHS)}")
    facts = _read(truth)
    least, most = LENGTHS[length]
    best, miss = "", float("inf")
    for _ in range(40):
        terse = bool(rng.random() < {"short": 0.35, "medium": 0.12, "long": 0.0}[length])
        teller = _Teller(
            facts, length, rng, terse=terse, digits=bool(rng.random() < (0.25 if terse else 0.04))
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


def invent(rng: np.random.Generator, template: str | None = None) -> dict[str, Any]:
    """Facts that no engine made, well formed and plausible: for banks of example captions and tests of wording."""
    template = template or TEMPLATES[int(rng.integers(len(TEMPLATES)))]
    world = "pour" if template in ("knock", "pour") else "tabletop"

    def pick(options: Any) -> Any:
        return list(options)[int(rng.integers(len(options)))]

    def group(shape: str, motion: str, most: int = 4) -> dict[str, Any]:
        return {
            "count": int(rng.integers(1, most + 1)),
            "colour": pick(COLOUR_WORDS),
            "size": pick(SIZE_WORDS),
            "shape": shape,
            "material": "glass"
            if world == "pour" and shape == "cup"
            else pick(("rubber", "plastic", "metal", "wood")),
            "motion": motion,
            "speed": pick(("slow", "fast", None)) if motion in ("right", "left") else None,
        }

    way, any_shape = pick(("right", "left")), pick(SHAPE_WORDS)
    relations: list[dict[str, Any]] = []
    kinds: list[tuple[str, int, int | None]] = []
    if template == "drop":
        groups = [group(any_shape, "fall")]
        kinds = [("bounced", 0, None)] if any_shape == "ball" else []
    elif template == "throw":
        groups = [group(any_shape, way, 2)]
    elif template == "roll":
        groups = [group(pick(("ball", "cylinder")), way)]
    elif template == "slide":
        groups = [group(pick(("box", "cup", "cylinder")), way)]
    elif template == "rest":
        groups = [group(any_shape, "rest")]
    elif template == "stack":
        groups = [group("box", "rest", 1), group(pick(("box", "cylinder")), "rest", 1)]
        relations = [{"a": 0, "relation": "on top of", "b": 1}]
        kinds = [pick((("stacked", 0, None), ("toppled", 0, None)))]
    elif template in ("collide", "hit_drop"):
        falls = template == "hit_drop"
        groups = [
            group("ball", "fall" if falls else way, 1),
            group(pick(("box", "cylinder")), "rest", 1),
        ]
        kinds = [("hit", 0, 1)]
        relations = [] if falls else [{"a": 0, "relation": pick(("into", "towards")), "b": 1}]
        if rng.random() < 0.4:
            kinds.append(("toppled", 1, None))
    elif template == "edge":
        groups = [group(any_shape, way, 2)]
        kinds = [("fell_off", 0, None)]
    elif template == "knock":
        groups = [group("ball", way, 1), group("cup", "rest", 1)]
        relations = [{"a": 0, "relation": "towards", "b": 1}]
        kinds = pick(
            ([("missed", 0, 1)], [("hit", 0, 1), ("tipped", 1, None), ("spilled", 1, None)])
        )
    elif rng.random() < 0.65:
        groups = [group("cup", "rest", 1), group("cup", "rest", 1)]
        if rng.random() < 0.8:
            relations = [{"a": 0, "relation": "into", "b": 1}]
            kinds = [("poured", 0, 1)]
        else:
            kinds = [("poured", 0, None), ("spilled", 0, None)]
    else:
        groups = [group("cup", "rest", 1)]
        kinds = [("poured", 0, None)]
    if (
        len(groups) == 1
        and groups[0]["count"] < 3
        and rng.random() < 0.5
        and template not in ("edge", "pour")
    ):
        groups.append(group(pick(SHAPE_WORDS), pick(("rest", groups[0]["motion"])), 2))
        if groups[1]["motion"] == "rest" and rng.random() < 0.5:
            relations = [
                {"a": 0, "relation": pick(("left of", "right of", "behind", "in front of")), "b": 1}
            ]
    objects: list[dict[str, Any]] = []
    for index, one in enumerate(groups):
        one["objects"] = list(range(len(objects), len(objects) + one["count"]))
        looks = {key: one[key] for key in ("colour", "shape", "size", "material")}
        objects += [{**looks, "group": index} for _ in one["objects"]]
    events = [
        {
            "kind": kind,
            "seconds": 0.5 + 0.25 * i,
            "a": groups[a]["objects"][0],
            "b": None if b is None else groups[b]["objects"][0],
        }
        for i, (kind, a, b) in enumerate(kinds)
    ]
    truth: dict[str, Any] = {
        "world": world,
        "version": 1,
        "seed": 0,
        "template": template,
        "groups": groups,
        "relations": relations,
        "event": kinds[-1][0] if kinds else None,
        "events": events,
        "objects": objects,
        "camera": dict(
            zip(("kind", "direction"), pick((("fixed", None), *CAMERA_WORDS)), strict=True)
        ),
        "ground": pick(GROUND_WORDS),
        "sky": pick(SKY_WORDS),
    }
    if any(kind == "spilled" for kind, _, _ in kinds):
        truth["spilled_fraction"] = float(rng.random())
    return truth


@lru_cache(maxsize=1)
def vocabulary() -> frozenset[str]:
    """The content words that captions use (lower case, without digits and function words)."""
    rng = np.random.default_rng(0)
    words: set[str] = set()
    for template in TEMPLATES * 40:
        truth = invent(rng, template)
        for length in ("short", "medium", "long"):
            words |= set(
                caption(truth, length, rng)
                .lower()
                .replace(".", " ")
                .replace(",", " ")
                .replace(";", " ")
                .split()
            )
    return frozenset(word for word in words if word.isalpha() and word not in _STOP)
