"""Nouns and their adjectives: which things a text names, and which of them again.

Owns that part of the grammar, and the place in the text. What things do is read by `reading`.
"""

from dataclasses import replace

from worldtube.text.rewrite.items import Item
from worldtube.text.rewrite.lexicon import REFUSED
from worldtube.text.rewrite.scene import Scene, Thing, Unread

ADJECTIVES = ("colour", "size", "material", "count", "unknown", "speed")


class Nouns:
    """Reads adjectives and nouns; what else comes goes to `other`, and a thing that was named to `thing`."""

    def __init__(self, found: list[Item]):
        self.items, self.at = found, 0
        self.scene = Scene()
        self.noun = Thing()
        """Adjectives whose noun is still to come."""
        self.article: str | None = None
        self.halves: list[Thing] = []
        """"a red" of "a red and a blue ball"."""
        self.last: int | None = None
        """The thing named last."""
        self.bare: set[int] = set()
        """Things named without article or number, as in a list of keywords."""
        self.link: str | None = None
        """How the things so far stand to what comes."""
        self.place = False
        """Whether only the ground or the sky may come."""
        self.joins = False
        """Whether the next thing joins those before in what they do."""

    def other(self, item: Item) -> None:
        raise NotImplementedError

    def thing(self, which: Thing | int, *, new: bool = False) -> None:
        raise NotImplementedError

    def next(self) -> str:
        """The kind of the next phrase."""
        return self.items[self.at].kind if self.at < len(self.items) else "end"

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
        if kind == "times" and self.empty() and self.next() in (*ADJECTIVES, "shape"):
            self.noun.count = item.value
            return None
        if kind == "stack" and self.noun in (Thing(), Thing(count=1)):
            self.noun, self.article = Thing(), None
        self.predicate()
        self.other(item)
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
            if word in REFUSED or not self.leads_to_noun():
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
            self.joins = True
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
