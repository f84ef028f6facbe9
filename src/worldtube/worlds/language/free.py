"""Captions as people type them: many word orders, synonyms, fragments, lists, commands, questions, slips of the finger.

Owns the free style and its words. Like the plain writer it never says what the facts do not contain; it says less,
now and then: a thing may go without its size or, where that is clear, without its colour.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from worldtube.worlds.language.facts import Facts, Group, Happening, read

COLOURS: dict[str, tuple[str, ...]] = {
    "red": (
        "red",
        "red",
        "red",
        "bright red",
        "crimson",
        "scarlet",
        "ruby",
        "cherry red",
        "red-coloured",
    ),
    "orange": ("orange", "orange", "orange", "bright orange", "tangerine", "orange-coloured"),
    "yellow": (
        "yellow",
        "yellow",
        "yellow",
        "bright yellow",
        "lemon yellow",
        "golden yellow",
        "canary yellow",
    ),
    "green": ("green", "green", "green", "bright green", "emerald", "grass green", "leaf green"),
    "blue": (
        "blue",
        "blue",
        "blue",
        "bright blue",
        "royal blue",
        "cobalt",
        "azure",
        "sapphire blue",
    ),
    "purple": ("purple", "purple", "purple", "violet", "deep purple", "plum-coloured", "lilac"),
    "white": ("white", "white", "white", "snow white", "ivory", "plain white", "chalk white"),
    "black": ("black", "black", "black", "jet black", "pitch black", "coal black", "ebony"),
}
SHAPES: dict[str, tuple[tuple[str, str], ...]] = {
    "ball": (
        *(("ball", "balls"),) * 5,
        *(
            ("sphere", "spheres"),
            ("orb", "orbs"),
            ("round ball", "round balls"),
            ("marble", "marbles"),
        ),
    ),
    "box": (
        *(("box", "boxes"),) * 3,
        *(("cube", "cubes"),) * 2,
        *(
            ("block", "blocks"),
            ("crate", "crates"),
            ("square block", "square blocks"),
            ("brick", "bricks"),
        ),
    ),
    "cylinder": (
        *(("cylinder", "cylinders"),) * 4,
        *(
            ("drum", "drums"),
            ("can", "cans"),
            ("barrel", "barrels"),
            ("tin", "tins"),
            ("roller", "rollers"),
        ),
    ),
    "cup": (
        *(("cup", "cups"),) * 4,
        *(
            ("mug", "mugs"),
            ("tumbler", "tumblers"),
            ("beaker", "beakers"),
            ("drinking cup", "drinking cups"),
        ),
    ),
}
SIZES = {
    "small": ("small", "small", "little", "tiny", "mini", "small-sized", "wee", "compact"),
    "large": ("large", "big", "big", "huge", "giant", "oversized", "bulky", "large-sized"),
}
COUNTS: dict[int, tuple[str, ...]] = {
    2: ("two", "two", "2", "a pair of", "a couple of"),
    3: ("three", "three", "3", "a trio of", "exactly three"),
    4: ("four", "four", "4", "a group of four", "exactly four"),
}
MATERIALS = {
    "rubber": ("rubber", "rubbery", "made of rubber"),
    "plastic": ("plastic", "made of plastic"),
    "metal": ("metal", "shiny metal", "steel", "made of metal"),
    "wood": ("wooden", "wood", "made of wood"),
    "glass": ("glass", "made of glass"),
}
GROUNDS = {
    "wood": ("a wooden table", "wooden planks", "a desk of wood", "a wood surface"),
    "tiles": ("tiles", "a tiled surface", "a tile table", "square tiles"),
    "cloth": ("a cloth", "a tablecloth", "fabric"),
    "stone": ("stone", "a stone slab", "a stone table", "rock"),
    "checker": (
        "a checkerboard",
        "a chessboard pattern",
        "a checkered table",
        "a chequered surface",
    ),
}
SKIES = {
    "day": ("daylight", "a pale sky", "a bright day"),
    "dusk": ("dusk", "an evening sky", "twilight"),
    "studio": ("studio light", "a grey studio", "a studio backdrop"),
    "mint": ("a mint green sky", "a minty sky", "a mint backdrop"),
}
WAYS = {
    "right": (
        *(
            "to the right",
            "to the right",
            "right",
            "rightward",
            "rightwards",
            "toward the right side",
        ),
        *(
            "from the left to the right",
            "left to right",
            "off to the right",
            "over to the right",
            "in the right direction",
        ),
    ),
    "left": (
        *("to the left", "to the left", "left", "leftward", "leftwards", "toward the left side"),
        *("from the right to the left", "right to left", "off to the left", "over to the left"),
    ),
}
SPEEDS = {
    "slow": ("slowly", "gently", "at a low speed", "lazily", "unhurriedly", "at a crawl"),
    "fast": ("fast", "quickly", "at speed", "swiftly", "speedily", "at a high speed"),
}
VERBS: dict[str, tuple[tuple[str, str, str], ...]] = {
    # (third person, plural, -ing)
    "roll": (
        ("rolls", "roll", "rolling"),
        ("rolls along", "roll along", "rolling along"),
        ("goes rolling", "go rolling", "rolling"),
    ),
    "slide": (
        ("slides", "slide", "sliding"),
        ("glides", "glide", "gliding"),
        ("slips", "slip", "slipping"),
        ("skids", "skid", "skidding"),
    ),
    "move": (
        ("moves", "move", "moving"),
        ("travels", "travel", "travelling"),
        ("heads", "head", "heading"),
        ("goes", "go", "going"),
        ("makes its way", "make their way", "making its way"),
    ),
    "throw": (
        ("flies", "fly", "flying"),
        ("is thrown", "are thrown", "being thrown"),
        ("gets tossed", "get tossed", "being tossed"),
        ("sails through the air", "sail through the air", "sailing through the air"),
    ),
    "fall": (
        ("falls", "fall", "falling"),
        ("drops", "drop", "dropping"),
        ("falls down", "fall down", "falling down"),
        ("is dropped", "are dropped", "being dropped"),
        ("plummets", "plummet", "plummeting"),
        ("drops from above", "drop from above", "dropping from above"),
        ("comes down from above", "come down from above", "coming down from above"),
        ("falls onto the table", "fall onto the table", "falling onto the table"),
    ),
    "rest": (
        ("rests", "rest", "resting"),
        ("stands still", "stand still", "standing still"),
        ("sits there", "sit there", "sitting there"),
        ("does not move", "do not move", "not moving"),
        ("stays put", "stay put", "staying put"),
        ("is motionless", "are motionless", "motionless"),
        ("remains still", "remain still", "remaining still"),
        ("just sits still", "just sit still", "just sitting still"),
        ("is not moving at all", "are not moving at all", "not moving at all"),
        ("stands on the table", "stand on the table", "standing on the table"),
    ),
}
RELATIONS = {
    "left of": ("to the left of", "left of", "on the left side of", "at the left of"),
    "right of": ("to the right of", "right of", "on the right side of", "at the right of"),
    "in front of": ("in front of", "at the front of"),
    "behind": ("behind", "at the back of"),
    "on top of": ("on top of", "on", "atop", "stacked on"),
    "into": ("into", "right into", "straight into"),
    "towards": ("towards", "toward", "in the direction of", "at"),
}
HAPPENINGS: dict[str, tuple[str, ...]] = {
    "hit": (
        *(
            "hits {b}",
            "crashes into {b}",
            "smashes into {b}",
            "bumps into {b}",
            "collides with {b}",
        ),
        *(
            "slams into {b}",
            "strikes {b}",
            "runs into {b}",
            "knocks against {b}",
            "rams {b}",
            "touches {b}",
        ),
    ),
    "missed": (
        *(
            "misses {b}",
            "narrowly misses {b}",
            "goes past {b}",
            "passes {b} by",
            "does not hit {b}",
        ),
        *("rolls past {b} without touching it", "just misses {b}"),
    ),
    "fell_off": (
        *(
            "falls off the table",
            "drops off the edge",
            "goes over the edge",
            "tumbles off the table",
        ),
        *("falls over the edge", "falls down from the table", "disappears over the edge"),
    ),
    "bounced": ("bounces", "bounces up again", "bounces back up", "rebounds", "hops up again"),
    "toppled": ("topples over", "falls over", "tips over", "gets knocked over", "tumbles over"),
    "stacked": (
        "stays stacked",
        "stays on top",
        "remains in a stack",
        "keeps its balance",
        "does not fall",
    ),
    "tipped": ("tips over", "falls over", "topples over", "gets knocked over", "is knocked over"),
    "upright": ("stays upright", "does not tip over", "remains standing", "keeps standing"),
    "poured": ("pours out its water", "pours water", "is emptied", "lets its water run out"),
    "spilled": ("spills its water", "spills water", "loses its water", "leaks water"),
}
OF_WATER = ("of water", "of water", "full of water", "with water in it", "with some water")
POURS = (
    # (third person, plural, -ing)
    ("pours water", "pour water", "pouring water"),
    ("pours out its water", "pour out their water", "pouring out its water"),
    ("is emptied", "are emptied", "being emptied"),
    ("tilts and pours", "tilt and pour", "tilting and pouring"),
)
CAMERAS: dict[tuple[str, str | None], tuple[str, ...]] = {
    ("orbit", "left"): (
        "camera orbits left",
        "the camera circles to the left",
        "orbiting shot to the left",
    ),
    ("orbit", "right"): (
        "camera orbits right",
        "the camera circles to the right",
        "orbiting shot to the right",
    ),
    ("dolly", "in"): ("camera moves in", "the camera gets closer", "dolly in", "push in"),
    ("dolly", "out"): ("camera pulls back", "the camera moves away", "dolly out", "pull out"),
    ("dolly", "left"): (
        "camera slides left",
        "the camera tracks to the left",
        "tracking shot to the left",
    ),
    ("dolly", "right"): (
        "camera slides right",
        "the camera tracks to the right",
        "tracking shot to the right",
    ),
    ("fixed", None): ("static camera", "the camera is fixed", "locked-off shot", "still camera"),
}
OPENINGS = (
    *(
        "a video of",
        "a clip of",
        "a short video of",
        "footage of",
        "a scene with",
        "an animation of",
        "video:",
    ),
    *(
        "show me",
        "please show",
        "make a video of",
        "create a clip of",
        "generate a video of",
        "i want to see",
    ),
    *(
        "render",
        "give me a clip of",
        "let me see",
        "we see",
        "picture",
        "imagine",
        "simulate",
        "can you show",
    ),
)
CLAUSE_OPENINGS = (
    *(
        "a video where",
        "a clip in which",
        "show how",
        "watch how",
        "watch as",
        "a scene where",
        "see how",
    ),
    *(
        "make a video in which",
        "i want a clip where",
        "in this video",
        "here",
        "suddenly",
        "at first",
    ),
)
FLAVOURS = (
    *(
        "photorealistic",
        "realistic",
        "cinematic",
        "4k",
        "high quality",
        "highly detailed",
        "soft light",
        "sharp",
    ),
    *(
        "3d render",
        "simple scene",
        "physics simulation",
        "close view",
        "clean look",
        "realistic physics",
        "hd",
    ),
)
THENS = ("then", "and then", "after that", "next", "afterwards", "and")


def write_freely(truth: Mapping[str, Any], rng: np.random.Generator) -> str:
    """Tell the facts of a clip as somebody might type them. Same arguments, same words."""
    return _FreeWriter(read(truth), rng).write()


class _FreeWriter:
    def __init__(self, facts: Facts, rng: np.random.Generator):
        self.facts, self.rng = facts, rng
        self.with_articles = self.chance(0.75)
        self.nouns = [self.pick(SHAPES[group.shape]) for group in facts.groups]
        self.colours = [self.pick(COLOURS[group.colour]) for group in facts.groups]
        self.named: set[int] = set()

    def pick(self, options: Sequence[Any]) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def write(self) -> str:
        styles: list[tuple[float, Callable[[], str]]] = [
            (3.0, self.sentence),
            (2.0, self.fragment),
            (1.5, self.opened),
            (1.0, self.listing),
            (0.8, self.inverted),
            (0.8, self.several_sentences),
            (0.4, self.question),
            (0.3, self.tagged),
        ]
        weights = np.array([weight for weight, _ in styles])
        text = styles[int(self.rng.choice(len(styles), p=weights / weights.sum()))][1]()
        text = self.surrounded(text)
        return self.typed(" ".join(text.split()))

    # names

    def name(self, index: int) -> str:
        """The group for the first time, with as many of its looks as somebody would say."""
        group, (singular, plural) = self.facts.groups[index], self.nouns[index]
        self.named.add(index)
        looks = []
        if group.size and self.chance(0.6):
            looks.append(self.pick(SIZES[group.size]))
        alone = sum(other.shape == group.shape for other in self.facts.groups) == 1
        colour = self.colours[index] if not (alone and self.chance(0.06)) else ""
        if colour:
            looks.append(colour)
        if len(looks) == 2 and self.chance(0.12):
            looks.reverse()
        material = ""
        if group.material and self.chance(0.12):
            material = self.pick(MATERIALS[group.material])
        behind = material if material.startswith("made") else ""
        if material and not behind:
            looks.append(material)
        noun = singular if group.count == 1 else plural
        if looks and not behind and self.chance(0.05):
            be = "is" if group.count == 1 else "are"
            link = "which" if self.chance(0.5) else "that"
            phrase = f"{noun} {link} {be} {' and '.join(looks)}"
        else:
            water = self.pick(OF_WATER) if self.holds_water(index) and self.chance(0.5) else ""
            words = [*looks, noun, "" if behind else water, behind]
            phrase = " ".join(word for word in words if word)
        if group.count > 1:
            return f"{self.pick(COUNTS.get(group.count, (str(group.count),)))} {phrase}"
        if not self.with_articles:
            return f"1 {phrase}" if self.chance(0.1) else phrase
        if self.chance(0.08):
            return f"{self.pick(('one', 'a single', 'just one'))} {phrase}"
        return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"

    def again(self, index: int) -> str:
        """The group once it was named."""
        if index not in self.named:
            return self.name(index)
        group = self.facts.groups[index]
        noun = self.nouns[index][0 if group.count == 1 else 1]
        same = [g for i, g in enumerate(self.facts.groups) if i != index and g.shape == group.shape]
        if same or self.chance(0.3):
            noun = f"{self.colours[index]} {noun}"
        return f"the {noun}" if self.with_articles or self.chance(0.5) else noun

    def holds_water(self, index: int) -> bool:
        """Whether this group is the cup that the pour world fills: its first cup."""
        cups = [i for i, group in enumerate(self.facts.groups) if group.shape == "cup"]
        return self.facts.world == "pour" and cups[:1] == [index]

    def pours(self, index: int) -> bool:
        """Whether this group is a cup that is held and tilted; it neither stands nor rests."""
        return self.facts.template == "pour" and self.holds_water(index)

    # verbs

    def verb(self, index: int, form: int) -> str:
        """What a group does; form 0 third person, 1 plural, 2 -ing."""
        group, template = self.facts.groups[index], self.facts.template
        if self.pours(index):
            return self.pick(POURS)[form]
        kind = {"fall": "fall", "rest": "rest"}.get(group.motion)
        if kind is None:
            kind = {"ball": "roll", "cylinder": "roll", "box": "slide", "cup": "slide"}[group.shape]
            if template == "throw" and index == 0:
                kind = "throw"
            elif self.chance(0.3) or (group.shape == "cylinder" and template not in ("roll",)):
                kind = "move"
        verb = self.pick(VERBS[kind])[form]
        if group.motion not in WAYS:
            return verb
        way = self.pick(WAYS[group.motion])
        speed = self.pick(SPEEDS[group.speed]) if group.speed and self.chance(0.5) else ""
        parts = [verb, way, speed] if self.chance(0.6) else [verb, speed, way]
        return " ".join(part for part in parts if part)

    def form(self, index: int) -> int:
        return 0 if self.facts.groups[index].count == 1 else 1

    def relation(self) -> tuple[int, str, int] | None:
        known = [r for r in self.facts.relations if r[0] == 0 and r[1] in RELATIONS]
        return known[0] if known and self.chance(0.75) else None

    def happening(self) -> str:
        """The headline as a clause without its subject's name, or nothing."""
        wanted = [one for one in self.facts.happenings if one.kind == self.facts.event]
        if not wanted:
            return ""
        return self.clause(wanted[0])

    def clause(self, happening: Happening) -> str:
        kind, a, b = happening.kind, happening.a, happening.b
        if a is None or (kind in ("hit", "missed") and (b is None or a == b)):
            return ""
        if kind == "stacked" and self.facts.template == "stack":
            return self.pick(
                (
                    "the stack stands",
                    "the tower holds",
                    "the pile does not fall",
                    "nothing falls over",
                )
            )
        if kind == "toppled" and self.facts.template == "stack":
            return self.pick(("the stack falls over", "the tower collapses", "the pile topples"))
        if kind == "poured" and self.pours(a):  # which was told as what the cup does
            flows = self.pick(("goes", "runs", "flows", "all goes"))
            return f"the water {flows} into {self.again(b)}" if b not in (None, a) else ""
        text = self.pick(HAPPENINGS[kind])
        if "{b}" in text:
            text = text.replace("{b}", self.again(b if b is not None else a))
        many = happening.num_a > 1
        subject = self.again(a)
        if many:
            text = _plural(text)
        return f"{subject} {text}"

    # styles

    def main(self, index: int = 0) -> str:
        """One group and what it does."""
        relation = self.relation() if index == 0 else None
        if relation is None or relation[2] >= len(self.facts.groups):
            return f"{self.name(index)} {self.verb(index, self.form(index))}"
        _, kind, other = relation
        place = f"{self.pick(RELATIONS[kind])} {self.name(other)}"
        group = self.facts.groups[index]
        if kind in ("into", "towards") and group.motion in WAYS:
            verb = self.verb(index, self.form(index))
            return f"{self.name(index)} {verb} {place}"
        if group.motion == "rest" and not self.pours(index) and self.chance(0.5):
            be = "is" if group.count == 1 else "are"
            return f"{self.name(index)} {be} {place}"
        return f"{self.name(index)} {place} {self.verb(index, self.form(index))}"

    def others(self) -> list[str]:
        """The groups that were not named yet, each with what it does."""
        rest = [i for i in range(len(self.facts.groups)) if i not in self.named]
        out = []
        for i in rest:
            if self.facts.groups[i].motion == "rest" and self.chance(0.35):
                be = "is" if self.facts.groups[i].count == 1 else "are"
                out.append(f"there {be} also {self.name(i)}")
            else:
                out.append(f"{self.name(i)} {self.verb(i, self.form(i))}")
        return out

    def sentence(self) -> str:
        parts = [self.main()]
        event = self.happening() if self.chance(0.7) else ""
        if event and len(self.named) == len(self.facts.groups) and self.chance(0.6):
            parts.append(f"{self.pick(THENS)} {event}")
        others = self.others()
        parts += [
            f"{self.pick(('and', 'while', 'with', ';', ', and'))} {other}".replace(
                "with there", "and there"
            )
            for other in others
        ]
        parts = [
            part.replace("with ", "while ", 1) if part.startswith("with ") else part
            for part in parts
        ]
        if event and not any(event in part for part in parts):
            parts.append(f"{self.pick(THENS)} {event}")
        return _join(parts, self.rng)

    def fragment(self) -> str:
        """Noun phrases with -ing forms: "red ball rolling to the right"."""
        pieces = [f"{self.name(i)} {self.verb(i, 2)}" for i in range(len(self.facts.groups))]
        if self.chance(0.2):
            pieces.reverse()
        event = self.happening() if self.chance(0.6) else ""
        text = self.pick(
            (", ", " and ", " with ", " plus ") if not self.facts.relations else (", ", " and ")
        ).join(pieces)
        return f"{text}, {event}" if event else text

    def opened(self) -> str:
        if self.chance(0.5):
            return f"{self.pick(OPENINGS)} {self.fragment()}"
        return f"{self.pick(CLAUSE_OPENINGS)} {self.sentence()}"

    def listing(self) -> str:
        """What there is, then what happens."""
        names = [self.name(i) for i in range(len(self.facts.groups))]
        link = self.pick((": ", " - ", "; ", ". "))
        does = [
            f"{self.again(i)} {self.verb(i, self.form(i))}" for i in range(len(self.facts.groups))
        ]
        event = self.happening() if self.chance(0.6) else ""
        return (
            self.pick((", ", " + ", " and ")).join(names)
            + link
            + ", ".join([*does, event] if event else does)
        )

    def inverted(self) -> str:
        """What happens first, what there is after it."""
        group: Group = self.facts.groups[0]
        if self.pours(0):
            text = f"water {self.pick(('pours', 'runs', 'flows', 'comes'))} out of {self.name(0)}"
        elif group.motion == "rest":
            verb = self.pick(
                ("stands", "sits", "rests", "is")
                if group.count == 1
                else ("stand", "sit", "rest", "are")
            )
            text = f"{self.pick(('on the table', 'here', 'there', 'on the tabletop'))} {verb} {self.name(0)}"
        elif group.motion in WAYS:
            side = {"right": "left", "left": "right"}[group.motion]
            come = "comes" if group.count == 1 else "come"
            text = f"from the {side} {come} {self.name(0)}, {self.verb(0, 2)}"
        else:
            come = "comes" if group.count == 1 else "come"
            text = f"{self.pick(('from above', 'out of the air', 'down'))} {come} {self.name(0)}"
        parts = [text, *self.others()]
        event = self.happening() if self.chance(0.6) else ""
        return _join([*parts, event] if event else parts, self.rng)

    def several_sentences(self) -> str:
        first = self.main()
        rest = [*self.others()]
        if event := self.happening():
            rest.append(event)
        return ". ".join(part[:1].upper() + part[1:] for part in [first, *rest]) + "."

    def question(self) -> str:
        start = self.pick(
            ("what happens when", "can you show how", "what if", "what does it look like when")
        )
        return f"{start} {self.sentence()}?"

    def tagged(self) -> str:
        """Key words."""
        tags = []
        for i, group in enumerate(self.facts.groups):
            tags += [
                self.name(i),
                self.verb(i, 2) if group.motion != "rest" or self.pours(i) else "still",
            ]
        if event := self.happening():
            tags.append(event)
        return ", ".join(tags)

    # around it

    def surrounded(self, text: str) -> str:
        facts = self.facts
        tail = []
        if facts.ground and self.chance(0.18):
            tail.append(f"on {self.pick(GROUNDS[facts.ground])}")
        if facts.sky and self.chance(0.07):
            tail.append(f"{self.pick(('under', 'in', 'with'))} {self.pick(SKIES[facts.sky])}")
        if facts.camera in CAMERAS and self.chance(0.08 if facts.camera[0] == "fixed" else 0.4):
            tail.append(self.pick(CAMERAS[facts.camera]))
        if self.chance(0.12):
            tail += [self.pick(FLAVOURS) for _ in range(int(self.rng.integers(1, 3)))]
        text = text.rstrip(".") if tail and not text.endswith("?") else text
        if tail and self.chance(0.1):
            return f"{', '.join(tail)}: {text}"
        return ", ".join([text, *tail]) if tail else text

    def typed(self, text: str) -> str:
        """Capitals, full stops and slips as they come."""
        kind = self.rng.random()
        if kind < 0.4:
            text = text[:1].upper() + text[1:]
            text = text if text[-1] in ".?" else f"{text}."
        elif kind < 0.85:
            text = text.lower()
        elif kind < 0.87:
            text = text.upper()
        if self.chance(0.06):
            text = _slip(text, self.rng)
        return text


def _plural(text: str) -> str:
    """A clause's verb for several: "hits the box" -> "hit the box"."""
    first, _, rest = text.partition(" ")
    irregular = {
        "goes": "go",
        "does": "do",
        "is": "are",
        "passes": "pass",
        "misses": "miss",
        "crashes": "crash",
    }
    irregular |= {
        "smashes": "smash",
        "touches": "touch",
        "loses": "lose",
        "just": "just",
        "narrowly": "narrowly",
    }
    if first in ("just", "narrowly"):
        return f"{first} {_plural(rest)}"
    verb = irregular.get(first, first.removesuffix("s"))
    rest = rest.replace("its ", "their ").replace("touching it", "touching it")
    return f"{verb} {rest}".strip()


def _join(parts: Sequence[str], rng: np.random.Generator) -> str:
    """Clauses in a row, with commas where there is no other link."""
    text = parts[0]
    for part in parts[1:]:
        linked = part.startswith((";", ",", "and ", "while ", "then ", "after", "next ", "before"))
        gap = (
            "" if part.startswith((";", ",")) else (" " if linked and rng.random() < 0.6 else ", ")
        )
        text = f"{text}{gap}{part}"
    return text


def _slip(text: str, rng: np.random.Generator) -> str:
    """One or two typing errors inside longer words: two letters swapped, one doubled or left out."""
    for _ in range(int(rng.integers(1, 3))):
        words = text.split(" ")
        long = [i for i, word in enumerate(words) if len(word) > 4 and word.isalpha()]
        if not long:
            return text
        i = long[int(rng.integers(len(long)))]
        word, at = words[i], int(rng.integers(1, len(words[i]) - 1))
        kind = int(rng.integers(3))
        if kind == 0:
            word = word[:at] + word[at + 1 : at + 2] + word[at] + word[at + 2 :]
        elif kind == 1:
            word = word[:at] + word[at] + word[at:]
        else:
            word = word[:at] + word[at + 1 :]
        words[i] = word
        text = " ".join(words)
    return text
