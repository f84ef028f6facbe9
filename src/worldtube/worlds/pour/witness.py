"""What happened to the water, the cups and the ball, found in the state: events, motions, relations.

Owns the definitions of the words. Sees poses, contacts and the water as they are; knows nothing of the engines.
"""

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from worldtube.worlds import fluid
from worldtube.worlds.pour.plan import Plan
from worldtube.worlds.world import Event

FAST = 1.8
"""Metres per second above which a ball is said to be fast; other worlds call slow what none of these is."""
FALLEN = -0.15
"""Height below which the middle of a thing that fell off the table is, metres."""
_ORDER = ("poured", "tipped", "spilled", "fell_off", "upright", "missed", "hit")
"""Which event is the headline, if several happened."""


class Witness:
    """Watches one clip. `ball` is called at every step until the ball hits the cup, `frame` once a frame."""

    def __init__(self, plan: Plan, water: fluid.Water):
        self.plan, self.water = plan, water
        self.cup = 1 if plan.ball is not None else 0
        """Index of the first cup among the objects."""
        self.path: list[np.ndarray] = []
        """(K, 3) a frame: middles of the objects."""
        self.hit: float | None = None
        self._passed: float | None = None
        self._found: list[Event] = []

    def ball(self, now: float, touches: bool, offset: np.ndarray) -> None:
        """Whether the ball touches the cup, and (2,) how far along the table it is from the cup's middle."""
        if touches:
            self.hit = now
            self._found.append(Event(kind="hit", seconds=now, a=0, b=1))
        elif self._passed is None:
            velocity = np.array(self.plan.ball.velocity[:2])
            if offset @ velocity / np.linalg.norm(velocity) > 0:
                self._passed = now

    def frame(
        self, seconds: float, positions: np.ndarray, rotations: np.ndarray, visible: np.ndarray
    ) -> None:
        """Find this frame's events in the objects' poses, the water, and which objects can be seen, bool (K,)."""
        p, self._seconds, self._rotations = self.plan, seconds, rotations
        self.path.append(positions)
        for i, item in enumerate(p.objects):
            # Only what a witness can see: a ball that drops behind the table is just gone.
            if positions[i, 2] < FALLEN and visible[i]:
                self._once("fell_off", i)
            if p.tilt is None and item["shape"] == "cup" and rotations[i, 2, 2] < 0.5:
                self._once("tipped", i)
        if p.tilt is not None and self._held_share(0) <= 0.5:
            self._once("poured", self.cup)
        if (p.tilt is None or len(p.cups) > 1) and self._landed() >= 0.5:
            self._once("spilled", self.cup)

    def _once(self, kind: str, a: int) -> None:
        if not any(event.kind == kind and event.a == a for event in self._found):
            self._found.append(Event(kind=kind, seconds=self._seconds, a=a))

    def _held_share(self, cup: int) -> float:
        return float((self.water.side[:, cup] == fluid.INSIDE).mean())

    def _landed(self) -> float:
        """Share of the water that is in no cup and no longer in the air."""
        water = self.water
        down = ~water.alive | (water.x[:, 2] < 2 * water.spacing)
        return float((down & ~(water.side == fluid.INSIDE).any(1)).mean())

    @property
    def spilled_fraction(self) -> float:
        """Share of the water that is in no cup."""
        return float(1.0 - (self.water.side == fluid.INSIDE).any(1).mean())

    @property
    def events(self) -> tuple[Event, ...]:
        """All of them, in order."""
        p, found = self.plan, list(self._found)
        kinds = {event.kind for event in found}
        if p.tilt is None:
            if "hit" not in kinds and self._passed is not None:
                found.append(Event(kind="missed", seconds=self._passed, a=0, b=1))
            up = float(self._rotations[1, 2, 2])
            if (
                "hit" in kinds
                and not kinds & {"tipped", "spilled"}
                and up > 0.95
                and self.spilled_fraction < 0.1
            ):
                found.append(Event(kind="upright", seconds=self._seconds, a=1))
        elif len(p.cups) > 1:
            # What was poured went into the other cup if most of it is there now.
            into = 1 if self._held_share(1) >= 0.5 * (1.0 - self._held_share(0)) else None
            found = [replace(event, b=into) if event.kind == "poured" else event for event in found]
        return tuple(sorted(found, key=lambda event: event.seconds))

    @property
    def event(self) -> str | None:
        """The headline."""
        return find_headline(self.events, self.cup)

    def groups(self, fps: float) -> list[dict[str, Any]]:
        """A group for each object. A motion is what a thing does by itself: until the hit."""
        path = np.array(self.path)
        until = None if self.hit is None else max(2, math.ceil(self.hit * fps))
        return [
            {
                "count": 1,
                **{key: item[key] for key in ("colour", "size", "shape", "material")},
                "motion": "rest" if item["shape"] == "cup" else _motion(path[:until, i]),
                "speed": self._speed(i),
                "objects": [i],
            }
            for i, item in enumerate(self.plan.objects)
        ]

    def _speed(self, index: int) -> str | None:
        """As fast as other worlds call fast; nothing in between."""
        if self.plan.ball is None or index != 0:
            return None
        return "fast" if abs(self.plan.ball.velocity[0]) > FAST else None

    def relations(self, across: np.ndarray) -> list[dict[str, Any]]:
        """Of the first object to the second; `across` (K,) is where they were in the first picture, left to right."""
        if self.plan.ball is not None:
            relation = "into" if self.hit is not None else "towards"
        elif len(self.plan.cups) > 1:
            relation = "left of" if across[0] < across[1] else "right of"
        else:
            return []
        return [{"a": 0, "relation": relation, "b": 1}]


def find_headline(events: Iterable[Event], cup: int) -> str | None:
    """The most telling of the events; that anything but the first cup falls off the table is none."""
    kinds = {event.kind for event in events if event.kind != "fell_off" or event.a == cup}
    return next((kind for kind in _ORDER if kind in kinds), None)


def _motion(path: np.ndarray) -> str:
    """The word for how a ball's middle moved along path (T, 3)."""
    shift = path[-1] - path[0]
    if np.abs(shift).max() < 0.04:
        return "rest"
    if shift[2] < -0.15 and -shift[2] > abs(shift[0]):
        return "fall"
    return "right" if shift[0] > 0 else "left"
