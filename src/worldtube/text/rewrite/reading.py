"""From a prompt to what it says: things, what they do, how they stand to each other, in the captions' terms.

Owns grammar. Reads only what it is sure of: a word that it does not know, or words that contradict each other, and it
reads nothing (`Unread`). The one exception is an adjective of a thing, which is kept with it as it is.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from worldtube.text.rewrite.lexicon import CAMERA_TABLE, LONGEST, NEGATIONS, TABLE


class Unread(Exception):
    """The prompt says something that is not understood; the words at fault are the message."""


@dataclass(kw_only=True)
class Thing:
    """Things of one look. What was not said is None."""

    shape: str = ""
    count: int | None = None
    """None: several."""
    colour: str | None = None
    size: str | None = None
    material: str | None = None
    others: tuple[str, ...] = ()
    """Adjectives that are kept as they are."""
    water: bool = False
    motion: str | None = None
    """right, left, fall or rest."""
    verb: str | None = None
    """roll, slide, fly or move."""
    speed: str | None = None
    """slowly or quickly."""
    tilted: bool = False


@dataclass(frozen=True, kw_only=True)
class Happening:
    kind: str
    a: tuple[int, ...]
    """Numbers of the things."""
    b: int | None = None


@dataclass(kw_only=True)
class Scene:
    things: list[Thing] = field(default_factory=list)
    links: list[tuple[int, str, int]] = field(default_factory=list)
    happenings: list[Happening] = field(default_factory=list)
    ground: str | None = None
    sky: str | None = None
    camera: tuple[str, str | None] | None = None


@dataclass(frozen=True)
class Item:
    kind: str
    value: Any
    words: tuple[str, ...]


def items(text: str) -> list[Item]:
    """The words of a text as phrases that are known, the longest first; others have the kind "unknown"."""
    text = re.sub(r"[\u2018\u2019]", "'", text.lower()).replace("\u00d7", "x").replace("-", " ")
    tokens = re.findall(r"[a-z0-9']+|[.,;:!?&+/()]", text)
    out, at = [], 0
    while at < len(tokens):
        for length in range(min(LONGEST, len(tokens) - at), 0, -1):
            words = tuple(tokens[at : at + length])
            if words in TABLE:
                out.append(Item(*TABLE[words], words))
                break
        else:
            length = 1
            words = (tokens[at],)
            kind = {"&": "join", "+": "join", ",": "comma"}.get(words[0])
            out.append(Item(kind or ("unknown" if words[0][0].isalnum() else "stop"), None, words))
        at += length
        if out[-1].kind == "camera":
            at += _camera(tokens[at:], out)
    return out


def _camera(tokens: Sequence[str], out: list[Item]) -> int:
    """Read what the camera does, as the value of the last item; returns how many tokens that took."""
    start = (
        1 if tokens and tokens[0] in ("that", "is") and tuple(tokens[:2]) not in CAMERA_TABLE else 0
    )
    for length in range(len(tokens), start, -1):
        move = CAMERA_TABLE.get(tuple(tokens[start:length]))
        if move:
            out[-1] = replace(out[-1], value=move)
            return length
    raise Unread("camera")


def read(text: str, *, whole: bool = True) -> Scene:
    """What a text says. Raises Unread.

    whole: every word must be understood; otherwise words that are not known are passed over, but never those that
    turn round what others say ("no", "not", "or").
    """
    reading = _Reading(items(text), whole)
    reading.all()
    return reading.scene


ADJECTIVES = ("colour", "size", "material", "count", "unknown", "speed")


class _Reading:
    def __init__(self, found: list[Item], whole: bool):
        self.items, self.at, self.whole = found, 0, whole
        self.scene = Scene()
        self.noun = Thing()
        """Adjectives whose noun is still to come."""
        self.article: str | None = None
        self.halves: list[Thing] = []
        """"a red" of "a red and a blue ball"."""
        self.subjects: list[int] = []
        self.open = False
        """Whether the next thing joins the subjects."""
        self.last: int | None = None
        """The thing named last."""
        self.applied = False
        self.before: list[Item] = []
        """What is done by things still to be named."""
        self.bare: set[int] = set()
        """Things named without article or number, as in a list of keywords."""
        self.stack = False
        """"a stack of" was said."""
        self.link: str | None = None
        self.act: str | None = None
        """An event that waits for its second thing."""
        self.passive = False
        self.place = False
        self.source = False
        """"from" was said: what follows is poured from."""

    def all(self) -> None:
        while self.at < len(self.items):
            item = self.items[self.at]
            self.at += 1
            self.one(item)
        self.predicate()
        self.settle()
        if self.link or self.place or self.source or (self.before and not self.applied):
            raise Unread("the end")
        if not self.scene.things and not (self.scene.ground or self.scene.sky or self.scene.camera):
            raise Unread("no thing")

    def next(self) -> str:
        return self.items[self.at].kind if self.at < len(self.items) else "end"

    # adjectives and nouns

    def empty(self) -> bool:
        return self.article is None and self.noun == Thing() and not self.halves

    def one(self, item: Item) -> None:
        kind = item.kind
        if kind in ("colour", "size", "material", "count", "unknown", "a", "the"):
            return self.adjective(item)
        if kind == "speed" and not self.empty() and self.next() in (*ADJECTIVES, "shape"):
            self.noun.speed = item.value
            return None
        if kind in ("shape", "floor", "ground", "sky"):
            return self.named(item)
        if kind == "comma" or (kind == "join" and item.words in (("and",), ("&",), ("+",))):
            following = self.next()
            if not self.empty() and following in (*ADJECTIVES, "shape", "a", "ground"):
                both = following in ("colour", "size", "material") and getattr(self.noun, following)
                if not both and not self.loose():
                    if following == "a":
                        self.halves.append(self.noun)
                        self.noun, self.article = Thing(), None
                    return None
        if (
            kind in ("fill", "water", "open")
            and not self.empty()
            and self.next() in (*ADJECTIVES, "shape")
        ):
            return None  # "a blue coloured box"
        if kind == "stack" and self.noun in (Thing(), Thing(count=1)):
            self.noun, self.article = Thing(), None
        if kind == "times" and self.empty() and self.next() in (*ADJECTIVES, "shape"):
            self.noun.count = item.value
            return None
        self.predicate()
        handler = getattr(self, "_" + kind, None)
        if handler is None:
            raise Unread(" ".join(item.words))
        handler(item)
        return None

    def loose(self) -> bool:
        """Whether the adjectives so far say more of a thing that was named."""
        return (
            self.article is None
            and not self.halves
            and self.last is not None
            and self.noun.count is None
        )

    def adjective(self, item: Item) -> None:
        noun, word = self.noun, " ".join(item.words)
        if item.kind in ("a", "the"):
            if self.noun != Thing() or self.article:
                self.predicate()
            self.article = item.kind
        elif item.kind == "count" and self.partial():
            self.at += 1  # "one of the balls"
        elif item.words == ("one",) and noun.colour and self.next() not in (*ADJECTIVES, "shape"):
            if self.last is None:
                raise Unread(word)  # "a blue one"
            self.named(Item("shape", (self.scene.things[self.last].shape, False), item.words))
        elif item.kind == "unknown":
            if self.whole or word in NEGATIONS:
                if word in NEGATIONS or not self.leads_to_noun():
                    raise Unread(word)
                noun.others += (word,)
        elif (
            item.kind == "material"
            and item.value == "glass"
            and self.next() not in ("shape", "colour")
        ):
            if word == "glass":
                self.named(Item("shape", ("cup", False), item.words))
                self.scene.things[self.last or 0].material = "glass"
            elif self.last is not None:
                self.scene.things[self.last].material = "glass"
        elif getattr(noun, item.kind) not in (None, item.value):
            raise Unread(word)
        else:
            setattr(noun, item.kind, item.value)

    def leads_to_noun(self) -> bool:
        """Whether adjectives and a noun follow, of which the word just read is one."""
        for one in self.items[self.at :]:
            if one.kind not in (*ADJECTIVES, "comma"):
                return one.kind == "shape"
        return False

    def partial(self) -> bool:
        after = self.items[self.at : self.at + 2]
        return [one.words for one in after] in ([("of",), ("the",)], [("of",), ("these",)])

    def predicate(self) -> None:
        """Adjectives without a noun are of the thing before: "a ball that is large and red", "boxes, four"."""
        said, self.noun = self.noun, Thing()
        article, self.article = self.article, None
        if self.halves:
            raise Unread("and")
        if said == Thing():
            if article == "a":
                raise Unread("a")
            return
        if self.last is None or article is not None or said.others or said.speed:
            raise Unread("adjectives without a thing")
        thing = self.scene.things[self.last]
        for name in ("colour", "size", "material"):
            value = getattr(said, name)
            if value is not None and getattr(thing, name) not in (None, value):
                raise Unread(value)
            setattr(thing, name, value or getattr(thing, name))
        if said.count is not None:
            if thing.count not in (None, said.count) and self.last not in self.bare:
                raise Unread(str(said.count))
            thing.count = said.count

    def named(self, item: Item) -> None:
        noun, article, halves = self.noun, self.article, self.halves
        self.noun, self.article, self.halves = Thing(), None, []
        if item.kind != "shape":
            return self.surroundings(item, noun)
        shape, many = item.value
        if shape == "glass":
            shape, noun.material = "cup", "glass"
        for half in halves:
            self.thing(replace(half, shape=shape, count=half.count or 1), new=True)
            self.open = True
        noun.shape = shape
        if article == "a" and noun.count is None:
            noun.count = 1
        old = None if article == "a" or noun.count else self.earlier(noun, many, article)
        if old is not None:
            return self.thing(old)
        if not many and noun.count is None:
            noun.count = 1
            if article is None:
                self.bare.add(len(self.scene.things))
        if noun.count == 1 and many and "one" not in self.words_before(3):
            raise Unread(" ".join(item.words))
        return self.thing(noun, new=True)

    def words_before(self, number: int) -> list[str]:
        return [
            word for one in self.items[max(0, self.at - number - 1) : self.at] for word in one.words
        ]

    def earlier(self, noun: Thing, many: bool, article: str | None) -> int | None:
        """The thing that "the ball" means, or "ball" without any article where one was named."""
        for index, thing in enumerate(self.scene.things):
            same = all(
                getattr(noun, name) in (None, getattr(thing, name))
                for name in ("shape", "colour", "size", "material")
            )
            if same and many == (thing.count != 1) and not noun.others:
                return index
        if article == "the" and any("one" in one.words for one in self.items[: self.at]):
            return None
        return None

    def surroundings(self, item: Item, noun: Thing) -> None:
        if item.kind == "ground" and self.next() == "floor":
            self.at += 1
        if item.kind == "floor":
            if noun.material not in (None, "wooden"):
                raise Unread(noun.material or "")
            if noun.material:
                self.scene.ground = "wood"
            noun.material = None
        if replace(noun, count=None) != Thing() or noun.count not in (None, 1):
            raise Unread(" ".join(item.words))
        if item.kind in ("ground", "sky"):
            setattr(self.scene, item.kind, item.value)
        if self.link not in (None, "on top of"):
            raise Unread(self.link or "")
        self.link, self.place = None, False

    # who does what

    def thing(self, which: Thing | int, *, new: bool = False) -> None:
        if isinstance(which, Thing):
            self.scene.things.append(which)
            index = len(self.scene.things) - 1
        else:
            index = which
        if self.place:
            raise Unread("place")
        if self.stack:
            self.stack = False
            self.do(Item("stacked", None, ("stack",)), [index])
        self.last = index
        if self.act or self.link or self.source:
            return self.second(index)
        if self.open and index not in self.subjects:
            self.subjects.append(index)
        else:
            self.subjects = [index]
        self.open = True
        if new:
            self.applied = True
            for item in self.before:
                self.do(item, [index])
        return None

    def second(self, index: int) -> None:
        """A thing that an event or a relation was waiting for."""
        first = tuple(one for one in self.subjects if one != index)
        if self.source:
            self.happen("poured", (index,))
            self.source, self.subjects = False, [index]
        elif self.act == "poured" and self.link == "into":
            self.happen("poured", first[-1:], index)
            self.act = self.link = None
        elif self.act and self.act != "poured":
            if not first:
                raise Unread(self.act)
            if self.passive:
                self.happen(self.act, (index,), first[-1])
            else:
                self.happen(self.act, first, index)
            self.act = self.link = None
            self.passive = False
        elif self.link and first:
            self.scene.links += [(one, self.link, index) for one in first]
            self.link = None
        else:
            raise Unread(self.link or "")
        self.open = False

    def happen(self, kind: str, a: tuple[int, ...], b: int | None = None) -> None:
        one = Happening(kind=kind, a=a, b=b)
        old = [x for x in self.scene.happenings if x.kind == kind and x.a == a]
        if kind == "poured" and old:
            self.scene.happenings.remove(old[0])
        if one not in self.scene.happenings:
            self.scene.happenings.append(one)

    def settle(self) -> None:
        """An event that got no second thing: "the box tips", "they collide"."""
        act, self.act = self.act, None
        if act == "over":
            self.happen("toppled", tuple(self.subjects))
        elif act == "hit" and len(self.subjects) == 2:
            self.happen("hit", tuple(self.subjects[:1]), self.subjects[1])
        elif act == "hit" and self.subjects and self.scene.things[self.subjects[0]].count != 1:
            self.happen("hit", tuple(self.subjects), self.subjects[0])
        elif act == "poured":
            if not any(
                one.kind == "poured" and one.a == tuple(self.subjects)
                for one in self.scene.happenings
            ):
                self.happen("poured", tuple(self.subjects))
        elif act == "missed":  # "passes to the right"
            self.do(Item("go", "move", ("passes",)), self.subjects)
        elif act:
            raise Unread(act)

    def do(self, item: Item, who: Sequence[int]) -> None:
        for index in who:
            thing = self.scene.things[index]
            if item.kind == "stacked":
                self.still(thing)
                self.happen("stacked", (index,))
            elif item.kind == "tilt":
                thing.tilted = True
            elif item.kind == "go":
                if thing.motion == "rest" or thing.motion == "fall":
                    raise Unread(" ".join(item.words))
                if thing.verb in (None, "move"):
                    thing.verb = item.value
            elif item.kind == "speed":
                thing.speed = item.value
            elif item.kind == "motion" and item.value == "rest":
                self.still(thing)
            elif thing.motion not in (None, item.value) or (item.kind == "motion" and thing.verb):
                raise Unread(" ".join(item.words))
            elif item.kind == "way" and self.could_be_place(item) and not thing.verb:
                raise Unread(" ".join(item.words))  # where it is, or where it goes to?
            else:
                thing.motion = item.value

    def could_be_place(self, item: Item) -> bool:
        """Whether "right" may say where it is and not where it goes to."""
        if (
            item.words[-1].endswith(("ward", "wards", "bound", "motion", "direction"))
            or item.words[0] == "from"
        ):
            return False
        return not any(one.kind in ("go", "event", "manner") for one in self.items[: self.at])

    def still(self, thing: Thing) -> None:
        if thing.motion not in (None, "rest") or thing.verb:
            raise Unread("still")
        thing.motion = "rest"

    def verb(self, item: Item) -> None:
        if self.act not in (None, "poured"):
            self.settle()
        if not self.subjects:
            self.before.append(item)
            return
        self.do(item, self.subjects)
        self.open = False

    _motion = _go = _speed = verb

    def _way(self, item: Item) -> None:
        self.verb(item)

    def _tilt(self, item: Item) -> None:
        self.verb(item)

    def _stacked(self, item: Item) -> None:
        if not self.subjects and self.scene.things:
            self.subjects = [0]
        self.verb(item)

    def _stack(self, item: Item) -> None:
        if "of" in item.words or self.next() == "fill":
            self.stack = True
        else:  # "the stack falls over"
            if not self.scene.things:
                raise Unread("stack")
            self.subjects, self.open = list(range(len(self.scene.things))), False

    def _event(self, item: Item) -> None:
        if self.act:
            self.settle()
        kind, self.open = item.value, False
        if kind == "spilled":
            return self.happen(kind, ())
        if kind == "poured":
            if self.next() == "liquid":
                self.at += 1
            self.act = kind
            return None
        if not self.subjects:
            raise Unread(" ".join(item.words))
        if kind in ("hit", "over", "missed") and item.words[-2:] != ("each", "other"):
            self.act = kind
            self.passive = self.next() == "link" and self.items[self.at].words == ("by",)
            if self.passive:
                self.at += 1
            return None
        if kind == "hit":
            self.act = kind
            return self.settle()
        if (
            kind == "toppled"
            and self.last is not None
            and self.link is None
            and len(self.subjects) > 1
        ):
            kind = "toppled"
        return self.happen(kind, tuple(self.subjects))

    def _liquid(self, item: Item) -> None:
        if self.act != "poured" and self.next() not in ("event", "flow", "fill"):
            raise Unread(" ".join(item.words))

    def _flow(self, item: Item) -> None:
        """What water does; a ball that "runs into" a box hits it."""
        if not any(one.kind == "liquid" for one in self.items[max(0, self.at - 2) : self.at]):
            if item.value == "into":
                return self._event(Item("event", "hit", item.words))
            raise Unread(" ".join(item.words))
        kinds = [one.kind for one in self.scene.happenings]
        if item.value == "out" and (
            "poured" in kinds or not any(t.tilted for t in self.scene.things)
        ):
            return self._event(Item("event", "spilled", item.words))
        self._event(Item("event", "poured", item.words))
        self.link = "into" if item.value == "into" else None
        self.source = item.value == "from"
        return None

    def _from(self, item: Item) -> None:
        if self.act != "poured":
            raise Unread("from")
        self.source = True

    def _water(self, item: Item) -> None:
        if self.last is None or self.scene.things[self.last].shape != "cup":
            raise Unread(" ".join(item.words))
        self.scene.things[self.last].water = True

    def _times(self, item: Item) -> None:
        thing = self.scene.things[self.last] if self.last is not None else None
        if thing is None or thing.count not in (None, 1, item.value):
            raise Unread(" ".join(item.words))
        thing.count = item.value

    # how they stand

    def _link(self, item: Item) -> None:
        if self.link:
            raise Unread(" ".join(item.words))
        falls = self.subjects and self.scene.things[self.subjects[0]].motion == "fall"
        if item.value == "on top of" and falls:
            if self.goes_to_floor():
                self.link = item.value
            else:
                self.act = "hit"
            return
        if self.act == "over" and item.words == ("on",):
            raise Unread("on")
        self.link = item.value
        self.open = False

    def goes_to_floor(self) -> bool:
        """Whether the next noun is the ground's."""
        for one in self.items[self.at :]:
            if one.kind in ("floor", "ground"):
                return True
            if one.kind not in ("a", "the", *ADJECTIVES):
                return False
        return False

    def _place(self, item: Item) -> None:
        if item.words == ("over",) and self.scene.happenings and not self.goes_to_floor():
            last = self.scene.happenings[-1]
            if last.kind == "over":
                return
            raise Unread("over")
        if self.next() not in ("comma", "stop", "fill"):
            self.place = True

    def _untouched(self, item: Item) -> None:
        if not (self.scene.happenings and self.scene.happenings[-1].kind == "missed"):
            raise Unread(" ".join(item.words))

    def _all(self, item: Item) -> None:
        if self.scene.things:
            if self.act or self.link:
                raise Unread(" ".join(item.words))
            self.subjects, self.open = list(range(len(self.scene.things))), False

    def _it(self, item: Item) -> None:
        if self.act and self.last is not None:
            others = [i for i in range(len(self.scene.things)) if i not in self.subjects]
            if not others:
                raise Unread("it")
            return self.second(others[-1])
        if self.last is None or self.link:
            raise Unread("it")
        self.subjects, self.open = [self.last], False
        return None

    def _which(self, item: Item) -> None:
        if self.last is not None:
            keep = self.subjects if self.open and self.last in self.subjects else [self.last]
            self.subjects = keep

    def _camera(self, item: Item) -> None:
        self.scene.camera = item.value

    def _fill(self, item: Item) -> None:
        pass

    _open = _manner = _fill

    def _join(self, item: Item) -> None:
        if self.act:
            self.settle()
        if item.words not in (("and",), ("&",), ("+",), ("plus",), ("as", "well", "as")):
            self.open = False

    def _comma(self, item: Item) -> None:
        if self.act and self.act != "poured":
            self.settle()

    def _stop(self, item: Item) -> None:
        if item.words in (("(",), (")",)):
            return
        self.settle()
        self.open = False
