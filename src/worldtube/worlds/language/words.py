"""The words of captions: one table per kind of fact, keyed by the value that the facts hold.

Owns the vocabulary. Knows nothing of sentences.
"""

import re
from typing import Literal, NamedTuple

Length = Literal["short", "medium", "long"]

LENGTHS: dict[str, tuple[int, int]] = {"short": (3, 12), "medium": (9, 26), "long": (24, 42)}
"""Words a caption of each length aims at (least, most)."""


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
"""(singular, plural) nouns of a shape; what is listed more than once comes up more often."""
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


def regular(stem: str, third: str = "", ing: str = "") -> Verb:
    return Verb(third or f"{stem}s", stem, ing or f"{stem}ing")


def being(rest: str, ing: str | None = None) -> Verb:
    return Verb(f"is {rest}", f"are {rest}", ing if ing is not None else f"being {rest}")


ROLL, MOVE, TRAVEL, GO = (
    regular("roll"),
    regular("move", ing="moving"),
    regular("travel", ing="travelling"),
    regular("go", "goes"),
)
SLIDE, GLIDE = regular("slide", ing="sliding"), regular("glide", ing="gliding")
FLY, THROWN, TOSSED = regular("fly", "flies"), being("thrown"), being("tossed")
FALL, DROP, DROPPED = regular("fall"), regular("drop", ing="dropping"), being("dropped")
FALL_DOWN = Verb("falls down", "fall down", "falling down")
FALL_FROM = Verb("falls from above", "fall from above", "falling from above")
COME_DOWN = Verb("comes down", "come down", "coming down")
REST = regular("rest")
RESTS = (
    being("still", "still"),
    being("at rest", "at rest"),
    being("motionless", "motionless"),
    Verb("stays still", "stay still", "staying still"),
    Verb("does not move", "do not move", "not moving"),
    Verb("stays in place", "stay in place", "staying in place"),
    Verb("sits still", "sit still", "sitting still"),
)
TILT, TIP, TILTED = regular("tilt"), regular("tip", ing="tipping"), being("tilted")
STAND = Verb("stands still", "stand still", "standing still")
LIE = Verb("lies still", "lie still", "lying still")
STILL = ("still", "at rest", "motionless")
ROLLS = (ROLL, ROLL, ROLL, MOVE, TRAVEL, GO)
SLIDES = (SLIDE, SLIDE, SLIDE, MOVE, GLIDE, TRAVEL)
THROWS = (FLY, THROWN, THROWN, TOSSED, MOVE)
MOVES = (MOVE, MOVE, TRAVEL, GO)
FALLS = (FALL, FALL, DROP, DROPPED, FALL_DOWN, FALL_FROM, COME_DOWN)
TILTS = (TILTED, TILT, TIP)
STACKS = (
    being("stacked", "stacked"),
    being("stacked on top of each other", "stacked on top of each other"),
    Verb("stands in a stack", "stand in a stack", "standing in a stack"),
)
IS = Verb("is", "are", "being")
PLACED = (IS, IS, REST, regular("sit", ing="sitting"))
EVENT_VERBS: dict[str, tuple[tuple[Verb, str], ...]] = {
    # kind: (verb, what follows it); {b} is the other thing, {it} its pronoun
    "hit": (
        (regular("hit", ing="hitting"), "{b}"),
        (regular("hit", ing="hitting"), "{b}"),
        (regular("bump", ing="bumping"), "into {b}"),
        (regular("strike", ing="striking"), "{b}"),
        (regular("crash", "crashes"), "into {b}"),
        (regular("collide", ing="colliding"), "with {b}"),
        (regular("run", ing="running"), "into {b}"),
    ),
    "missed": (
        (regular("miss", "misses"), "{b}"),
        (regular("miss", "misses"), "{b}"),
        (regular("pass", "passes"), "{b} without touching {it}"),
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
        (regular("bounce", ing="bouncing"), ""),
        (regular("bounce", ing="bouncing"), "up again"),
    ),
    "toppled": (
        (regular("topple", ing="toppling"), "over"),
        (FALL, "over"),
        (regular("tip", ing="tipping"), "over"),
    ),
    "tipped": (
        (regular("tip", ing="tipping"), "over"),
        (FALL, "over"),
        (regular("topple", ing="toppling"), "over"),
    ),
    "upright": (
        (Verb("stays", "stay", "staying"), "upright"),
        (Verb("does not tip", "do not tip", "not tipping"), "over"),
        (Verb("remains", "remain", "remaining"), "standing"),
        (Verb("keeps", "keep", "keeping"), "upright"),
    ),
    "poured": (
        (regular("pour"), "water"),
        (regular("pour"), "out water"),
    ),
    "stacked": (
        (Verb("stays", "stay", "staying"), "stacked"),
        (being("stacked", "stacked"), "up"),
        (Verb("stands", "stand", "standing"), "in a stack"),
    ),
}
KNOCK_OVER = (
    (regular("knock"), "{b} over"),
    (regular("knock"), "over {b}"),
    (regular("tip", ing="tipping"), "{b} over"),
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
STOP = frozenset(
    re.findall(
        r"[a-z]+",
        """a an the is are be being it its they them that which who this there here and or but of in on
        at to from with by as while then first after also no not so we you i can out off over up down
        into onto than both same does do""",
    )
)
"""Words that say nothing about what a clip shows."""
AMOUNTS = (
    (0.9, ("all the water", "the water")),
    (0.55, ("most of the water", "a lot of water")),
    (0.35, ("about half of the water", "much of the water")),
    (0.1, ("some of the water", "some water")),
    (0.0, ("a little water", "only a little water")),
)
"""(least share that is spilled, how it is said)."""
