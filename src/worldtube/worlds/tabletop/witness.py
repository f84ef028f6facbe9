"""What happened on the table, found in the state: events, motions, relations.

Owns the definitions of the words. Sees poses and contacts as they pass; knows nothing of the engine or of
what was planned beyond how things started.
"""

import math
from collections import Counter

import numpy as np

from worldtube.worlds.tabletop.plan import Plan
from worldtube.worlds.world import Event

HIT_SPEED = 0.15
"""Metres per second: slower first touches are no hits."""
STILL = 0.04
"""Metres that a thing may move and still be said to rest."""
SLOW, FAST = 0.62, 0.78
"""Metres per second: below is slow, above is fast, between is neither."""
_ORDER = ("fell_off", "toppled", "stacked", "hit", "missed", "bounced")
"""Which event is the headline, if several happened."""


class Witness:
    """Watches one clip. `look` is called every few milliseconds, `frame` once a frame."""

    def __init__(self, plan: Plan, positions: np.ndarray):
        self.plan = plan
        self.start = positions.copy()
        count = len(plan.things)
        self._seen: dict[tuple[str, int, int | None], Event] = {}
        self._first_touch = np.full(count, np.inf)
        self._pile = {
            frozenset((i, j)) for i in range(count) for j in range(i) if self._same_pile(i, j)
        }
        self._velocities = np.array([thing.velocity for thing in plan.things])
        self._landed = np.full(count, np.inf)
        self._low = np.full(count, np.inf)
        self.path = [positions.copy()]
        self._now = 0.0
        self._latest: tuple[np.ndarray, np.ndarray, set[tuple[int, int]], np.ndarray] | None = None

    def _same_pile(self, i: int, j: int) -> bool:
        def root(k: int) -> int:
            on = self.plan.things[k].on
            return k if on is None else root(on)

        return root(i) == root(j)

    def _happened(self, kind: str, a: int, b: int | None = None) -> None:
        self._seen.setdefault((kind, a, b), Event(kind=kind, seconds=self._now, a=a, b=b))

    def look(
        self,
        now: float,
        positions: np.ndarray,
        ups: np.ndarray,
        velocities: np.ndarray,
        touching: set[tuple[int, int]],
        grounded: np.ndarray,
    ) -> None:
        """One instant: centres (K, 3), own z axes (K, 3), velocities (K, 3), pairs in touch, who touches a table."""
        self._now = now
        for i, j in touching:
            if frozenset((i, j)) in self._pile:
                continue
            self._first_touch[[i, j]] = np.minimum(self._first_touch[[i, j]], now)
            speed = np.linalg.norm(self._velocities[[i, j]], axis=1)
            gap = np.linalg.norm(self._velocities[i] - self._velocities[j])
            if (
                gap > HIT_SPEED
                and ("hit", i, j) not in self._seen
                and ("hit", j, i) not in self._seen
            ):
                a, b = (i, j) if speed[0] >= speed[1] else (j, i)
                self._happened("hit", a, b)
        for k, thing in enumerate(self.plan.things):
            z = positions[k, 2]
            if z < -0.02:
                self._happened("fell_off", k)
            elif thing.standing:
                tilted = ups[k, 2] < math.cos(math.radians(50))
                sunk = thing.on is not None and z < 0.6 * self.start[k, 2]
                if tilted or sunk:
                    self._happened("toppled", k)
            if thing.airborne:
                if grounded[k]:
                    self._landed[k] = min(self._landed[k], now)
                    self._low[k] = min(self._low[k], z)
                elif self._landed[k] < now and z > self._low[k] + 0.05:
                    self._happened("bounced", k)
        if self.plan.template == "collide" and not any(kind == "hit" for kind, _, _ in self._seen):
            mover, target = self.plan.things[:2]
            way = math.copysign(1.0, mover.velocity[0])
            aside = math.hypot(*(positions[0] - positions[1])[:2])
            if way * (positions[0, 0] - positions[1, 0]) > 0.05 and aside < (
                mover.radius + target.radius + 0.6
            ):
                self._happened("missed", 0, 1)
        self._velocities = velocities
        self._latest = positions, velocities, touching, grounded

    def frame(self, positions: np.ndarray) -> None:
        self.path.append(positions.copy())

    # what can be told

    @property
    def events(self) -> tuple[Event, ...]:
        found = list(self._seen.values())
        if any(event.kind == "hit" for event in found):
            found = [event for event in found if event.kind != "missed"]
        found += self._stacked()
        return tuple(sorted(found, key=lambda event: event.seconds))

    def _stacked(self) -> list[Event]:
        """Things that are at rest on top of another now: a pile that stands, or what was dropped and stayed."""
        if self._latest is None:
            return []
        positions, velocities, touching, grounded = self._latest
        still = np.linalg.norm(velocities, axis=1) < 0.1
        if self.plan.template == "stack":
            stands = still.all() and np.abs(positions - self.start).max() < STILL
            # Of two groups the upper one is what stays stacked.
            members = [k for k, thing in enumerate(self.plan.things) if thing.group == 0]
            return [Event(kind="stacked", seconds=self._now, a=k) for k in members if stands]
        if self.plan.template != "hit_drop":
            return []
        on_top = positions[0, 2] > positions[1, 2] + 0.5 * self.plan.things[1].half_height
        if still.all() and on_top and not grounded[0] and (0, 1) in touching:
            return [Event(kind="stacked", seconds=self._now, a=0, b=1)]
        return []

    @property
    def event(self) -> str | None:
        kinds = {event.kind for event in self.events}
        return next((kind for kind in _ORDER if kind in kinds), None)

    def _window(self, k: int, fps: float) -> int:
        """The last frame of the first second, or the one before the thing is touched or lands."""
        last = min(len(self.path) - 1, round(fps))
        until = min(self._first_touch[k], self._landed[k])
        if math.isfinite(until):
            last = min(last, int(until * fps))
        return last

    def motion(self, k: int, fps: float) -> tuple[str, str | None]:
        """right, left, fall or rest as the first camera sees it, and slow, fast or None."""
        path = np.array(self.path)[:, k]
        last = self._window(k, fps)
        seconds = last / fps
        shift = path[last] - path[0]
        if last == 0:
            # Touched within the first frame: its speed at the start tells.
            shift, seconds = np.array(self.plan.things[k].velocity) / fps, 1 / fps
        if np.linalg.norm(shift) < STILL:
            return "rest", None
        azimuth = self.plan.view.camera(0)
        view = np.subtract(azimuth.target, azimuth.position)[:2]
        across = float(np.dot(shift[:2], (view[1], -view[0])) / np.linalg.norm(view))
        down = path[0, 2] - path[: last + 1, 2].min()
        if self.plan.things[k].airborne and abs(across) < 0.5 * down:
            return "fall", None
        # A slide that ends before the second is over is as fast as it was while it lasted.
        moved = np.abs(path[1 : last + 1, 0] - path[:last, 0]) > 0.008
        speed = abs(across) / max(1, int(moved.sum())) * fps if seconds else 0.0
        return (
            "right" if across > 0 else "left",
            "slow" if speed < SLOW else "fast" if speed > FAST else None,
        )

    def groups(self, fps: float) -> list[dict]:
        out = []
        for number in sorted({thing.group for thing in self.plan.things}):
            members = [k for k, thing in enumerate(self.plan.things) if thing.group == number]
            thing = self.plan.things[members[0]]
            told = [self.motion(k, fps) for k in members]
            word = Counter(motion for motion, _ in told).most_common(1)[0][0]
            out.append(
                {
                    "count": len(members),
                    "colour": thing.colour,
                    "size": thing.size,
                    "shape": thing.shape,
                    "material": thing.material,
                    "motion": word,
                    "speed": next((speed for motion, speed in told if motion == word), None),
                    "objects": members,
                }
            )
        return out

    def relations(self) -> list[dict]:
        """The one planned relation, as it is in the state at the start (or, for a collision, at the end)."""
        relation = self.plan.relation
        if relation is None:
            return []
        first = self.start[[k for k, thing in enumerate(self.plan.things) if thing.group == 0]]
        second = self.start[[k for k, thing in enumerate(self.plan.things) if thing.group == 1]]
        if relation == "into":
            met = any(event.kind == "hit" and event.a == 0 for event in self.events)
            relation = "into" if met else "towards"
        true = {
            "left of": first[:, 0].max() < second[:, 0].min(),
            "right of": first[:, 0].min() > second[:, 0].max(),
            "in front of": first[:, 1].max() < second[:, 1].min(),
            "behind": first[:, 1].min() > second[:, 1].max(),
            "on top of": first[:, 2].min() > second[:, 2].max(),
            "into": True,
            "towards": True,
        }[relation]
        return [{"a": 0, "relation": relation, "b": 1}] if true else []
