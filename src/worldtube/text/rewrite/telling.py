"""What a prompt says, in the words that recorders of clips use.

Owns plain wording: of the captions' many ways to say a thing, one. Adds nothing and leaves nothing out.
"""

from worldtube.text.rewrite.scene import Happening, Scene, Thing, Unread

NUMBERS = ("", "one", "two", "three", "four", "five", "six", "seven", "eight")
PLURALS = {
    "ball": "balls",
    "box": "boxes",
    "cylinder": "cylinders",
    "cup": "cups",
    "glass": "glasses",
}
GROUNDS = {
    "wood": "a wooden table",
    "tiles": "a tiled table",
    "cloth": "a table with a cloth",
    "stone": "a stone surface",
    "checker": "a checked surface",
}
SKIES = {
    "day": "a pale sky",
    "dusk": "a sky at dusk",
    "studio": "even studio light",
    "mint": "a mint sky",
}
CAMERA: dict[tuple[str, str | None], str] = {
    ("orbit", "left"): "circles to the left",
    ("orbit", "right"): "circles to the right",
    ("orbit", None): "circles around",
    ("dolly", "in"): "moves closer",
    ("dolly", "out"): "moves back",
    ("dolly", "left"): "slides to the left",
    ("dolly", "right"): "slides to the right",
    ("dolly", None): "moves along",
    ("fixed", None): "does not move",
}
VERBS = {
    "roll": ("rolls", "roll"),
    "slide": ("slides", "slide"),
    "fly": ("flies", "fly"),
    "move": ("moves", "move"),
    "tips": ("is tilted", "are tilted"),
}
ACTS = {
    "hit": ("hits", "hit"),
    "over": ("knocks", "knock"),
    "missed": ("misses", "miss"),
    "toppled": ("falls over", "fall over"),
    "bounced": ("bounces", "bounce"),
    "upright": ("stays upright", "stay upright"),
    "fell_off": ("falls off the edge", "fall off the edge"),
}


def tell(scene: Scene) -> str:
    """One to three plain sentences. Raises Unread where the wording has no place for what is said."""
    return _Telling(scene).tell()


class _Telling:
    def __init__(self, scene: Scene):
        self.scene, self.things = scene, scene.things
        over = {(one.a, one.b) for one in scene.happenings if one.kind == "over"}
        self.told = {
            one for one in scene.happenings if one.kind == "hit" and (one.a, one.b) in over
        }
        self._named: set[int] = set()

    def tell(self) -> str:
        sentences = []
        if self.things:
            clauses = self.clauses()
            after = [
                text
                for one in self.scene.happenings
                if one not in self.told
                for text in [self.event(one)]
            ]
            sentences.append(", then ".join([clauses, *after]))
        place = []
        if self.scene.ground:
            place.append(f"on {GROUNDS[self.scene.ground]}")
        if self.scene.sky:
            place.append(f"under {SKIES[self.scene.sky]}")
        if place and sentences:
            sentences.append(f"the scene is {' '.join(place)}")
        elif place:
            sentences.append(" ".join(place))
        if self.scene.camera:
            sentences.append(f"the camera {CAMERA[self.scene.camera]}")
        return " ".join(f"{one[0].upper()}{one[1:]}." for one in sentences)

    def clauses(self) -> str:
        """Every thing with what it does; those that do the same share a verb."""
        out, done = [], set()
        passive = {
            one.b
            for one in self.scene.happenings
            if one.kind != "poured" and one.b not in (None, *one.a)
        }
        order = sorted(range(len(self.things)), key=lambda i: i in passive and not self.says(i))
        for index in order:
            if index in done:
                continue
            objects = self.objects(index)
            alike = [
                other
                for other in range(len(self.things))
                if other not in done | objects
                and (other == index or other > index)
                and self.alike(index, other)
            ]
            done |= {*alike, *objects}
            out.append(self.clause(alike))
        return " and ".join(out)

    def objects(self, index: int) -> set[int]:
        """Things of which nothing is said but what this one does to them, or that it is beside them."""
        found = {b for a, _, b in self.scene.links if a == index and b > index}
        for one in self.scene.happenings:
            if index in one.a and one.b is not None and one.b not in one.a:
                found.add(one.b)
        return {b for b in found if not self.says(b)}

    def says(self, index: int) -> bool:
        thing = self.things[index]
        return bool((thing.motion and thing.motion != "rest") or thing.verb or thing.tilted)

    def alike(self, a: int, b: int) -> bool:
        if a == b:
            return True
        busy = {i for x, _, y in self.scene.links for i in (x, y)}
        busy |= {i for one in self.scene.happenings for i in (*one.a, one.b) if i is not None}
        one, two = self.things[a], self.things[b]
        same = (one.motion, one.verb, one.speed, one.tilted) == (
            two.motion,
            two.verb,
            two.speed,
            two.tilted,
        )
        return same and not {a, b} & busy

    def clause(self, who: list[int]) -> str:
        first = self.things[who[0]]
        names = " and ".join(self.name(index) for index in who)
        many = len(who) > 1 or first.count != 1
        poured = [one for one in self.scene.happenings if one.kind == "poured" and who[0] in one.a]
        if poured:
            self.told.add(poured[0])
            goal = poured[0].b
            beside = [
                f"{'next to' if link == 'beside' else link} {self.mention(b)}"
                for link, b in self.links_of(who[0])
            ]
            into = [] if goal is None else [f"into {self.mention(goal)}"]
            return " ".join([names, *beside, f"{'pour' if many else 'pours'} water", *into])
        action = self.action(first, many, who)
        if not action and not self.links_of(who[0]):
            alone = [one for one in self.scene.happenings if one.a == tuple(who) and one.b is None]
            if alone and alone[0] == next(
                one for one in self.scene.happenings if set(one.a) & set(who)
            ):
                self.told.add(alone[0])
                action = ACTS[alone[0].kind][many] if alone[0].kind in ACTS else ""
        words = [names, action]
        links = self.links_of(who[0])
        for link, b in links:
            words.append(f"{'next to' if link == 'beside' else link} {self.other(first, b)}")
        for one in self.scene.happenings:
            if (
                one.kind in ("hit", "over", "missed")
                and one.a == tuple(who)
                and one not in self.told
                and not links
            ):
                if one.b is None or one.b in one.a:
                    continue
                self.told.add(one)
                verb = ACTS[one.kind][many]
                over = "over " * (one.kind == "over")
                says = bool(words[-1])
                words.append(f"{'and ' * says}{verb} {over}{self.other(first, one.b)}")
                break
        return " ".join(word for word in words if word)

    def other(self, first: Thing, index: int) -> str:
        """The thing that another comes to, and that it is still if that was said and is not plain."""
        thing = self.things[index]
        still = thing.motion == "rest" and first.motion != "rest" and index not in self._named
        which = f" that {'is' if thing.count == 1 else 'are'} still" * still
        return self.mention(index) + which

    def links_of(self, index: int) -> list[tuple[str, int]]:
        return [(link, b) for a, link, b in self.scene.links if a == index]

    def action(self, thing: Thing, many: bool, who: list[int]) -> str:
        be = "are" if many else "is"
        if thing.tilted:
            return f"{be} tilted"
        if thing.motion == "rest":
            stacked = [
                one
                for one in self.scene.happenings
                if one.kind == "stacked" and one.a == tuple(who)
            ]
            self.told |= set(stacked)
            if stacked and thing.count != 1:
                return f"{be} stacked on top of each other"
            return f"{be} still"
        if thing.motion == "fall":
            return f"{'fall' if many else 'falls'}{' ' + thing.speed if thing.speed else ''}"
        if thing.motion is None and thing.verb is None:
            return ""
        verb = thing.verb or "move"
        way = f"to the {thing.motion}" if thing.motion else ""
        return " ".join(word for word in (VERBS[verb][many], thing.speed, way) if word)

    def event(self, one: Happening) -> str:
        self.told.add(one)
        if one.kind == "spilled":
            return "water spills"
        if one.kind == "stacked":
            if any(other.b in one.a for other in self.scene.happenings):
                raise Unread("stack")  # it stood before something met it; afterwards is not said
            return "the stack stands"
        names = " and ".join(self.the(index) for index in one.a)
        many = len(one.a) > 1 or self.things[one.a[0]].count != 1
        if one.kind == "poured":
            into = "" if one.b is None else f" into {self.the(one.b)}"
            return f"{names} {'pour' if many else 'pours'} water{into}"
        if one.kind == "hit" and one.b in one.a:
            return f"{names} bump into each other"
        other = "" if one.b is None else f" {self.mention(one.b)}"
        return f"{names} {ACTS[one.kind][many]}{' over' * (one.kind == 'over')}{other}"

    def mention(self, index: int) -> str:
        """Named in full the first time, "the blue box" after that."""
        return self.the(index) if index in self._named else self.name(index)

    def name(self, index: int) -> str:
        thing = self.things[index]
        self._named.add(index)
        noun = "glass" if thing.material == "glass" and thing.shape == "cup" else thing.shape
        material = "" if noun == "glass" else thing.material
        water = "of water" if thing.water else ""
        said = [*thing.others, thing.size, thing.colour, material]
        if thing.count == 1:
            words = [*said, noun, water]
            phrase = " ".join(word for word in words if word)
            return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"
        if thing.count is None:
            number = ""
        elif thing.count < len(NUMBERS):
            number = NUMBERS[thing.count]
        else:
            raise Unread(str(thing.count))
        return " ".join(word for word in (number, *said, PLURALS[noun], water) if word)

    def the(self, index: int) -> str:
        thing = self.things[index]
        noun = thing.shape if thing.count == 1 else PLURALS[thing.shape]
        like = [one for one in self.things if one is not thing and one.shape == thing.shape]
        words = [noun]
        if like and thing.colour:
            words.insert(0, thing.colour)
        if thing.size and any(one.colour == thing.colour for one in like):
            words.insert(0, thing.size)
        return f"the {' '.join(words)}"
