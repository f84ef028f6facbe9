"""Parts of sentences: a group as a noun phrase, its motion as a verb phrase, an event as a clause.

Owns agreement and reference ("a red ball", then "the ball"). Knows nothing of whole sentences.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from worldtube.worlds.language.facts import Facts, Happening
from worldtube.worlds.language.words import (
    AMOUNTS,
    COLOUR_WORDS,
    COUNT_WORDS,
    DIRECTION_WORDS,
    EVENT_VERBS,
    FALLS,
    GLASS_WORDS,
    LIE,
    MATERIAL_WORDS,
    MOVES,
    RESTS,
    ROLLS,
    SHAPE_WORDS,
    SIZE_WORDS,
    SLIDES,
    SPEED_WORDS,
    STACKS,
    STAND,
    THROWS,
    TILTS,
    Verb,
)


def article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


@dataclass
class Phrases:
    """One draft of a caption: the choices of words that must stay the same through it."""

    facts: Facts
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

    def pick(self, options: Sequence[Any]) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def odds(self, short: float, medium: float, long: float) -> bool:
        return self.chance({"short": short, "medium": medium, "long": long}[self.length])

    # nouns

    def holds_water(self, index: int) -> bool:
        """Whether this group is the cup that the pour world fills: its first cup."""
        cups = [i for i, group in enumerate(self.facts.groups) if group.shape == "cup"]
        return self.facts.world == "pour" and bool(cups) and index == cups[0]

    def noun(self, index: int) -> str:
        singular, plural = self.nouns[index]
        return singular if self.facts.groups[index].count == 1 else plural

    def be(self, index: int) -> str:
        return "is" if self.facts.groups[index].count == 1 else "are"

    def form(self, index: int) -> str:
        return "third" if self.facts.groups[index].count == 1 else "plural"

    def a(self, index: int, *, wet: bool = True, plain: bool = False) -> str:
        """The group, named for the first time: "two small blue boxes", "a red ball"."""
        group, noun = self.facts.groups[index], self.noun(index)
        said = group.size and self.odds(0.5, 0.75, 0.95)
        size = self.pick(SIZE_WORDS[group.size]) if said else ""
        colour = self.pick(COLOUR_WORDS[group.colour])
        material, water = "", ""
        if group.material and noun not in ("glass", "glasses") and self.odds(0.03, 0.15, 0.5):
            material = MATERIAL_WORDS[group.material]
        if wet and self.holds_water(index) and group.count == 1 and noun != "mug":
            water = self.pick(("of water", "of water", "with water in it"))
            water = water if self.odds(0.6, 0.75, 0.85) else ""
        words = [size, colour, material, noun, water]
        after = not (plain or self.terse or water or self.length == "short")
        if after and self.chance(0.07):
            looks = f"{size} and {colour}" if size else colour
            words = [noun, "that", self.be(index), looks]  # "a ball that is large and red"
        phrase = " ".join(word for word in words if word)
        if group.count > 1:
            return f"{COUNT_WORDS[group.count][int(self.digits)]} {phrase}"
        if self.terse:
            return phrase
        earlier = {(one.colour, one.shape, one.count) for one in self.facts.groups[:index]}
        if (group.colour, group.shape, 1) in earlier:
            return f"another {phrase}"
        if self.chance(0.1):
            return f"one {phrase}"
        if self.length != "short" and self.chance(0.05):
            return f"a single {phrase}"
        return article(phrase)

    def the(self, index: int, count: int | None = None) -> tuple[str, bool]:
        """The group, or `count` objects of it, named again; and whether the verb is plural."""
        group = self.facts.groups[index]
        like = [
            other
            for i, other in enumerate(self.facts.groups)
            if i != index and other.shape == group.shape
        ]
        count = min(count or group.count, group.count)
        words = [self.noun(index)]
        if like or self.chance(0.35):
            words.insert(0, group.colour)
        if group.size and any(other.colour == group.colour for other in like):
            words.insert(0, group.size)
        name = " ".join(words)
        if count == group.count:
            return (name if self.terse else f"the {name}"), count > 1
        number = "one" if count == 1 else COUNT_WORDS[count][0]
        return f"{number} of the {name}", count > 1

    # verbs

    def tilts(self, index: int) -> bool:
        """Whether this is the held cup that is tilted: it stays in place, but it is not still."""
        group, template = self.facts.groups[index], self.facts.template
        return template == "pour" and index == 0 and group.motion == "rest"

    def is_stack(self, index: int) -> bool:
        """Whether this group alone makes a stack that stands."""
        group, alone = self.facts.groups[index], len(self.facts.groups) == 1
        stands = any(one.kind == "stacked" for one in self.facts.happenings)
        return stands and alone and group.count > 1 and group.motion == "rest"

    def verbs(self, index: int, *, alone: bool = True) -> Sequence[Verb]:
        """Verbs that suit a group; `alone` is false where another shape shares the verb."""
        group, template = self.facts.groups[index], self.facts.template
        if self.tilts(index):
            return TILTS
        if self.is_stack(index):
            return STACKS
        if group.motion == "rest":
            return (*RESTS, LIE if group.shape == "ball" else STAND)
        if group.motion == "fall":
            return FALLS
        if template == "throw" and index == 0:
            return THROWS
        if not alone:
            return MOVES
        if template == "roll" and index == 0:
            return ROLLS
        if (template == "slide" and index == 0) or group.shape in ("box", "cup"):
            return SLIDES
        if group.shape == "ball" and template in ("collide", "edge"):
            return ROLLS
        return MOVES

    def action(self, index: int, form: str, *, tail: str = "", alone: bool = True) -> str:
        """A verb phrase: "slowly rolls to the right". `form` is third, plural or ing."""
        group = self.facts.groups[index]
        verbs = self.verbs(index, alone=alone)
        if tail:  # not "does not move left of the box"
            verbs = [verb for verb in verbs if not verb.third.startswith("does not")]
        verb, way, how = self.pick(verbs), "", ""
        if group.motion in DIRECTION_WORDS:
            ways = DIRECTION_WORDS[group.motion]
            if tail:  # not "towards the right towards the box"
                ways = tuple(way for way in ways if not way.startswith(("towards", "from")))
            way = self.pick(ways)
            if group.speed and self.odds(0.3, 0.7, 0.9):
                how = self.pick(SPEED_WORDS[group.speed])
        words = [getattr(verb, form), way, how]
        if how.endswith("ly") and not verb.third.startswith("is ") and self.chance(0.35):
            words = [how, words[0], way]
        elif self.chance(0.5):
            words = [words[0], how, way]
        return " ".join(word for word in (*words, tail) if word)

    # events

    def what(self, happening: Happening, verbs: Sequence[tuple[Verb, str]], form: str) -> str:
        """The verb phrase of an event: "bumps into the box"."""
        if happening.a is not None and self.facts.groups[happening.a].motion == "fall":
            verbs = [(verb, rest) for verb, rest in verbs if verb.third != "runs"]
        verb, rest = self.pick(verbs)
        if happening.b is not None:
            name, many = self.the(happening.b, happening.num_b)
            rest = rest.replace("{b}", name).replace("{it}", "them" if many else "it")
        return f"{getattr(verb, form)} {rest}".strip()

    def amount(self) -> str:
        """How much water went out, as the subject of a singular verb."""
        share = self.facts.spilled
        if share is None:
            return "water"
        return self.pick(next(words for least, words in AMOUNTS if share >= least))

    def clause(self, happening: Happening) -> str | None:
        """A whole clause about one event, or None where it could only be told by guessing."""
        kind, a, b = happening.kind, happening.a, happening.b
        if kind == "spilled":
            return f"{self.amount()} {self.pick(('spills', 'spills out', 'runs out'))}"
        of_stack = kind == "stacked" or (kind == "toppled" and self.chance(0.6))
        if of_stack and self.facts.template == "stack":
            stands, falls = ("stands", "holds", "stays up"), ("falls over", "topples", "tips over")
            stack = "stack" if self.terse else "the stack"
            return f"{stack} {self.pick(stands if kind == 'stacked' else falls)}"
        if a is None or (kind in ("hit", "missed") and b is None):
            return None
        name, many = self.the(a, happening.num_a)
        if a == b and kind == "hit":
            return f"{name} bump into each other" if many else None
        into = f" into {self.the(b)[0]}" if kind == "poured" and b not in (None, a) else ""
        if kind == "poured" and self.chance(0.4):
            return f"water {self.pick(('is poured', 'pours', 'runs'))} from {name}{into}"
        form = "plural" if many else "third"
        return f"{name} {self.what(happening, EVENT_VERBS[kind], form)}{into}"
