"""From a prompt to what it says: things, what they do, how they stand to each other, in the captions' terms.

Owns grammar. Reads only what it is sure of: a word that it does not know, or words that contradict each other, and it
reads nothing (`Unread`). The one exception is an adjective of a thing, which is kept with it as it is.
"""

from collections.abc import Sequence

from worldtube.text.rewrite.items import Item, items
from worldtube.text.rewrite.nouns import ADJECTIVES, Nouns
from worldtube.text.rewrite.scene import Happening, Scene, Thing, Unread


def read(text: str) -> Scene:
    """What a text says. Raises Unread."""
    reading = _Reading(items(text))
    reading.all()
    return reading.scene


class _Reading(Nouns):
    """Reads what things do, what happens to them and how they stand to each other."""

    def __init__(self, found: list[Item]):
        super().__init__(found)
        self.subjects: list[int] = []
        self.before: list[Item] = []
        """What is done by things still to be named."""
        self.applied = False
        """Whether some were named since."""
        self.stack = False
        """"a stack of" was said."""
        self.act: str | None = None
        """An event that waits for its second thing."""
        self.passive = False
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
        scene = self.scene
        if not (scene.things or scene.ground or scene.sky or scene.camera):
            raise Unread("no thing")

    def other(self, item: Item) -> None:
        handler = getattr(self, f"_{item.kind}", None)
        if handler is None:
            raise Unread(" ".join(item.words))
        handler(item)

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
        if self.joins and index not in self.subjects:
            self.subjects.append(index)
        else:
            self.subjects = [index]
        self.joins = True
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
        self.joins = False

    def happen(self, kind: str, a: tuple[int, ...], b: int | None = None) -> None:
        if not a and kind != "spilled":
            raise Unread(kind)  # by whom?
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
        self.joins = False

    _motion = _go = _speed = _way = _tilt = verb

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
            self.subjects, self.joins = list(range(len(self.scene.things))), False

    def _event(self, item: Item) -> None:
        if self.act:
            self.settle()
        kind, self.joins = item.value, False
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
        self.joins = False

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
            self.subjects, self.joins = list(range(len(self.scene.things))), False

    def _it(self, item: Item) -> None:
        if self.act and self.last is not None:
            others = [i for i in range(len(self.scene.things)) if i not in self.subjects]
            if not others:
                raise Unread("it")
            return self.second(others[-1])
        if self.last is None or self.link:
            raise Unread("it")
        self.subjects, self.joins = [self.last], False
        return None

    def _which(self, item: Item) -> None:
        if self.last is not None:
            keep = self.subjects if self.joins and self.last in self.subjects else [self.last]
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
            self.joins = False

    def _comma(self, item: Item) -> None:
        if self.act and self.act != "poured":
            self.settle()

    def _stop(self, item: Item) -> None:
        if item.words in (("(",), (")",)):
            return
        self.settle()
        self.joins = False
