"""One telling of the facts: which sentences, in which frames and in which order.

Owns sentences; their parts come from `Phrases`.
"""

from collections.abc import Callable
from itertools import zip_longest

from worldtube.worlds.language.facts import Happening
from worldtube.worlds.language.phrases import Phrases
from worldtube.worlds.language.words import (
    CAMERA_WORDS,
    EVENT_VERBS,
    GROUND_WORDS,
    KNOCK_OVER,
    MINOR,
    PLACED,
    RELATION_WORDS,
    SKY_WORDS,
    STILL,
)

FRAMED = ("a video", "a clip", "a shot", "a scene", "footage", "the clip", "the video", "in this")
"""Openings that no "on a wooden table, ..." may come before."""

Scene = tuple[str, list[Happening]]
"""A first sentence without its full stop, and the events that are still to be told."""


class Teller(Phrases):
    """One draft of a caption."""

    def tell(self) -> str:
        """The scene, what happens, where, how it is filmed."""
        told = self.happenings({"short": 1, "medium": 2, "long": 4}[self.length])
        if self.length == "short" and not self.chance(0.6):
            told = []
        scene, told = self.scene(told)
        place, others = self.place(), []
        single = len(self.facts.groups) == 1
        if place.startswith("below") or place.startswith("the ground"):
            others.append(place)
        elif place and single and "table" not in scene and self.chance(0.8):
            after = scene.startswith(FRAMED) or self.chance(0.6)
            scene = f"{scene} {place}" if after else f"{place}, {scene}"
        elif place:
            all_is = self.pick(("all of this is", "the scene is", "everything is"))
            others.append(place if self.terse else f"{all_is} {place}")
        sentences = self.with_events(scene, self.clauses(told))
        if self.length != "short":
            sentences += [
                f"there {self.be(i)} also {self.a(i)}" for i in range(2, len(self.facts.groups))
            ]
        others += self.camera()
        if self.length == "long" and len(" ".join([*sentences, *others]).split()) < 32:
            sentences += self.details()
        sentences += others
        if self.terse:
            return ", ".join(sentences)
        return " ".join(f"{one[:1].upper()}{one[1:]}." for one in sentences)

    # what happens

    def happenings(self, most: int) -> list[Happening]:
        """The events worth telling, the headline always among them, in order."""
        facts = self.facts
        told = list(facts.happenings)
        if facts.event != "stacked" or self.is_stack(0) or self.odds(0.7, 0.5, 0.2):
            # A stack that falls did stand, but that is not the story; and one that stands is told
            # by what is on top of what.
            told = [one for one in told if one.kind != "stacked"]
        if facts.event not in (None, "stacked") and all(one.kind != facts.event for one in told):
            told.append(self.headline(facts.event))
        must = [one for one in told if one.kind == facts.event][:1]
        rest = sorted((one for one in told if one not in must), key=lambda one: one.kind in MINOR)
        kept = must + rest[: max(0, most - len(must))]
        return [one for one in told if one in kept]

    def headline(self, kind: str) -> Happening:
        """A headline without an entry in the list: who it was must follow from the groups."""
        groups = self.facts.groups
        cups = [i for i, group in enumerate(groups) if group.shape == "cup"]
        moving = [i for i, group in enumerate(groups) if group.motion != "rest"]
        if kind in ("hit", "missed"):
            if len(groups) == 2 and len(moving) == 1:
                a, b = moving[0], 1 - moving[0]
                return Happening(kind=kind, a=a, num_a=groups[a].count, b=b, num_b=groups[b].count)
        elif kind in ("tipped", "upright", "poured", "spilled") and len(cups) == 1:
            return Happening(kind=kind, a=cups[0], num_a=groups[cups[0]].count)
        elif len(groups) == 1:
            return Happening(kind=kind, a=0, num_a=groups[0].count)
        return Happening(kind=kind, a=None)

    def clauses(self, told: list[Happening]) -> list[str]:
        """The events as clauses, with "hits" and "tips" sometimes told as one "knocks over"."""
        out: list[str | None] = []
        skip = False
        for one, after in zip_longest(told, told[1:]):
            if skip:
                skip = False
                continue
            skip = (
                after is not None
                and one.kind == "hit"
                and after.kind in ("tipped", "toppled")
                and one.a not in (None, one.b)
                and after.a == one.b is not None
                and after.num_a == one.num_b
                and self.chance(0.5)
            )
            if skip:
                name, many = self.the(one.a, one.num_a)
                out.append(f"{name} {self.what(one, KNOCK_OVER, 'plural' if many else 'third')}")
            else:
                out.append(self.clause(one))
        return [clause for clause in out if clause]

    def with_events(self, scene: str, events: list[str]) -> list[str]:
        """The scene and its events as sentences."""
        if not events:
            return [scene]
        if self.terse or self.length == "short":
            return [f"{scene}{self.pick((', ', ' and ', ', then '))}{', then '.join(events)}"]
        style = int(self.rng.integers(4))
        if style == 0:
            return [f"{', '.join([scene, *events[:-1]])}, and then {events[-1]}"]
        if style == 1:
            later = [f"{self.pick(('after that', 'next', 'then'))} {one}" for one in events[1:]]
            return [scene, f"then {events[0]}", *later]
        if style == 2 and len(events) > 1:
            return [scene, f"first {events[0]}, then {' and then '.join(events[1:])}"]
        return [scene, " and ".join([", ".join(events[:-1]), events[-1]] if events[1:] else events)]

    # the first sentence

    def main(self, index: int, *, tail: str = "") -> str:
        """One group and its motion as a clause that can be carried on."""
        return f"{self.a(index)} {self.action(index, self.form(index), tail=tail)}"

    def link(self, a: int, b: int) -> str | None:
        """How group a is related to group b, if the facts say so."""
        found = (relation for i, relation, j in self.facts.relations if (i, j) == (a, b))
        return next(found, None)

    def scene(self, told: list[Happening]) -> Scene:
        groups = self.facts.groups
        if len(groups) == 1:
            poured = any(one.kind == "poured" for one in told)
            return self.pouring(told) if self.tilts(0) and poured else (self.opening(), told)
        if self.tilts(0) and any(one.kind == "poured" and one.b == 1 for one in told):
            return self.pouring(told, f"into {self.a(1)}")
        forth, back = self.link(0, 1), self.link(1, 0)
        if forth in ("into", "towards"):
            return self.going(forth, told)
        if forth:
            return self.standing(forth), told
        if back:
            return self.other_way(back), told
        if self.length == "short" and self.chance(0.15):
            return self.opening(), told
        return self.side_by_side(told)

    def other_way(self, relation: str) -> str:
        """The second group is related to the first."""
        first, word = self.main(0), self.pick(RELATION_WORDS[relation])
        if relation in ("into", "towards"):
            goal = f"{word} {self.the(0)[0]}"
            return f"{first}{self.pick((', and ', '; ', ' and '))}{self.main(1, tail=goal)}"
        if self.length == "short":
            return f"{first}, {self.a(1)} {word} {'it' if self.form(0) == 'third' else 'them'}"
        if self.facts.groups[1].motion == "rest":
            second = f"{self.a(1)} {getattr(self.pick(PLACED), self.form(1))}"
        else:
            second = self.main(1)
        link = self.pick((" and ", ", and ", "; ", ", while "))
        return f"{first}{link}{second} {word} {self.the(0)[0]}"

    def going(self, relation: str, told: list[Happening]) -> Scene:
        """The first group goes towards or into the second."""
        second = self.facts.groups[1]
        if self.tilts(0):
            return self.pouring(told, f"{self.pick(RELATION_WORDS[relation])} {self.a(1)}")
        if self.facts.groups[0].motion == "rest":
            return self.side_by_side(told)
        if self.chance(0.5) and (met := self.meeting(told)):
            return met
        hit = [one for one in told if one.kind == "hit" and (one.a, one.b) == (0, 1)]
        if relation == "into" and hit:
            told = [one for one in told if one is not hit[0]]
        goal = f"{self.pick(RELATION_WORDS[relation])} {self.a(1)}"
        if second.motion == "rest" and not self.terse and self.chance(0.2):
            goal += f" that {self.be(1)} {self.pick(('still', 'at rest'))}"
        return self.main(0, tail=goal), told

    def meeting(self, told: list[Happening]) -> Scene | None:
        """ "A red ball rolls to the right and hits a blue box", if all of them meet."""
        first, second = self.facts.groups[:2]
        whole = (0, first.count, 1, second.count)
        met = tipped = None
        for one in self.facts.happenings:
            if one.kind in ("hit", "missed") and (one.a, one.num_a, one.b, one.num_b) == whole:
                met = one
            elif met and one.kind in ("tipped", "toppled") and (one.a, one.num_a) == whole[2:]:
                tipped = one
        if met is None:
            return None
        over = met.kind == "hit" and tipped is not None and self.chance(0.6)
        verb, goal = self.pick(KNOCK_OVER if over else EVENT_VERBS[met.kind])
        thing, it = self.a(1, plain=True), "it" if second.count == 1 else "them"
        goal = goal.replace("{b}", thing).replace("{it}", it)
        told = [one for one in told if one is not met and not (over and one is tipped)]
        return f"{self.main(0)} and {getattr(verb, self.form(0))} {goal}", told

    def standing(self, relation: str) -> str:
        """The first group is at a place that the second one gives."""
        first, second = self.facts.groups[:2]
        place = f"{self.pick(RELATION_WORDS[relation])} {self.a(1)}"
        if first.motion == "rest" and self.chance(0.7):
            sentence = self.main(0, tail=place)
        else:
            long = self.length != "short" and not self.terse
            which = self.pick(("", f"that {self.be(0)} ")) if long else ""
            sentence = f"{self.a(0)} {which}{place} {self.action(0, self.form(0))}"
        if second.motion == "rest" and (first.motion == "rest" or not self.odds(0.0, 0.4, 0.4)):
            return sentence
        name, many = self.the(1)
        also = self.action(1, "plural" if many else "third")
        return f"{sentence}{self.pick((', and ', '; ', ' while '))}{name} {also}"

    def pouring(self, told: list[Happening], goal: str = "") -> Scene:
        """A held cup that is poured from: what flows is the water, not the cup."""
        cup, third = self.a(0, wet=False), self.form(0) == "third"
        tilt = self.pick((f"{self.be(0)} tilted", "tilts" if third else "tilt"))
        sentence = self.pick(
            (
                f"{cup} {'pours' if third else 'pour'} water {goal}",
                f"water {self.pick(('is poured', 'pours', 'runs'))} from {cup} {goal}",
                f"{cup} {tilt} and water {self.pick(('pours', 'runs', 'flows'))} {goal or 'out'}",
            )
        )
        return sentence.strip(), [one for one in told if one.kind != "poured"]

    def opening(self) -> str:
        """The first group alone: the frames with the most freedom."""
        special = self.tilts(0) or self.is_stack(0)
        still = self.facts.groups[0].motion == "rest" and not special
        one = self.facts.groups[0].count == 1
        be, it, form = self.be(0), "it" if one else "they", self.form(0)
        frames: list[Callable[[], str]] = [lambda: self.main(0)] * 4
        if still:
            lie = self.pick(("rests", "sits") if one else ("rest", "sit"))
            frames.append(lambda: f"{self.a(0)}, {self.pick(STILL)}")
            if not self.terse:
                frames.append(lambda: f"{self.a(0)} {lie} on {self.floor()}")
                frames.append(lambda: f"there {be} {self.a(0)}, {self.pick(STILL)}")
        elif not self.terse:
            frames.append(lambda: f"{self.a(0)} {self.action(0, 'ing')}")
            frames.append(lambda: f"{self.a(0)} {be} {self.action(0, 'ing')}")
        if not self.terse and self.length != "short":
            see = self.pick(("we see", "you can see", "the clip shows", "the video shows"))
            film = self.pick(("a video of", "a clip of", "footage of", "a shot of", "a scene with"))
            inside = self.pick(("a video in which", "a clip where", "in this clip"))
            link = self.pick((", and", ";"))
            frames += [
                lambda: f"there {be} {self.a(0)}{link} {it} {self.action(0, form)}",
                lambda: f"there {be} {self.a(0)} that {self.action(0, form)}",
                lambda: f"{see} {self.a(0)} {self.action(0, 'ing')}",
                lambda: f"{film} {self.a(0)} {self.action(0, 'ing')}",
                lambda: f"{inside} {self.main(0)}",
                lambda: f"{self.a(0)} can be seen {self.action(0, 'ing')}",
            ]
        return self.pick(frames)()

    def side_by_side(self, told: list[Happening]) -> Scene:
        """Two groups without a relation."""
        first, second = self.facts.groups[:2]
        like = first.motion == second.motion and first.speed == second.speed
        if like and not self.tilts(0) and self.chance(0.6):
            return self.together(), told
        swap = self.chance(0.15)
        if not swap and second.motion == "rest" and first.motion != "rest":
            if self.chance(0.55) and (met := self.meeting(told)):
                return met
            if self.chance(0.25):
                if self.terse:
                    return f"{self.main(0)}, {self.a(1)}, still", told
                return f"{self.main(0)}, and there {self.be(1)} also {self.a(1)}", told
        one, two = (self.main(1), self.main(0)) if swap else (self.main(0), self.main(1))
        if not self.terse and self.length != "short" and self.chance(0.2):
            return f"while {one}, {two}", told
        links = (" and ", ", ", ", and ")
        link = self.pick(links if self.length == "short" else (" while ", *links[::2], "; "))
        return f"{one}{link}{two}", told

    def together(self) -> str:
        """Two groups that share one verb."""
        first, second = self.facts.groups[:2]
        alone = first.shape == second.shape
        pair = f"{self.a(0)} and {self.a(1)}"
        if self.chance(0.15):
            pair = f"{self.a(1)} and {self.a(0)}"
        if self.length != "short" and not self.terse and self.chance(0.25):
            lead = self.pick(("a video of", "a clip of", "we see", "the clip shows", "footage of"))
            return f"{lead} {pair} {self.action(0, 'ing', alone=alone)}"
        if first.count == second.count == 1 and not self.terse and self.chance(0.3):
            if first.motion == "rest":  # "both are still" reads badly
                return f"{pair} are both still"
            pair += " both"
        return f"{pair} {self.action(0, 'plural', alone=alone)}"

    # around it

    def floor(self) -> str:
        if self.facts.ground and self.length != "short":
            return self.pick(GROUND_WORDS[self.facts.ground])
        return self.pick(("the table", "a table"))

    def place(self) -> str:
        """Ground and sky, as a tail ("on ..., under ...") or as a sentence."""
        ground, sky = GROUND_WORDS.get(self.facts.ground), SKY_WORDS.get(self.facts.sky)
        ground = self.pick(ground) if ground and self.odds(0.0, 0.15, 0.9) else ""
        sky = self.pick(sky) if sky and self.odds(0.0, 0.04, 0.85) else ""
        if ground and sky:
            return self.pick(
                (
                    f"on {ground} under {sky}",
                    f"below, {ground}; above, {sky}",
                    f"the ground is {ground} and above it is {sky}",
                )
            )
        if ground:
            return f"on {ground}"
        return f"under {sky}" if sky else ""

    def camera(self) -> list[str]:
        if not self.facts.camera:
            return []
        fixed = self.facts.camera[0] == "fixed"
        if not (self.odds(0.0, 0.02, 0.3) if fixed else self.odds(0.05, 0.6, 1.0)):
            return []
        moves = self.pick(CAMERA_WORDS[self.facts.camera])
        if self.terse:
            return [f"camera {moves}"]
        if not fixed and self.chance(0.5):
            return [f"seen by a camera that {moves}"]
        return [f"the camera {moves}"]

    def details(self) -> list[str]:
        """What the long form adds: what things look like, and that there is nothing else."""
        out = []
        for index, group in enumerate(self.facts.groups[:2]):
            if not (group.size or group.material) or not self.chance(0.35):
                continue
            like = sum(other.shape == group.shape for other in self.facts.groups) > 1
            name = self.the(index)[0] if like else f"the {self.noun(index)}"
            looks = [word for word in (group.size, group.colour) if word]
            if group.material:
                said = f"{', '.join(looks)} and made of {group.material}"
            else:
                said = " and ".join(looks)
            out.append(f"{name} {self.be(index)} {said}")
        if len(self.facts.groups) == 1 and self.chance(0.5):
            out.append(
                self.pick(
                    (
                        "nothing else is in view",
                        "there is nothing else in the scene",
                        "no other object is in view",
                    )
                )
            )
        return out
