"""The templates of tabletop clips: which things, where, how they start. Knows nothing of cameras or seeds."""

import math
from dataclasses import replace

import numpy as np

from worldtube.worlds.tabletop.things import METRES, Thing, turned
from worldtube.worlds.world import COLOURS

GRAVITY = 9.81
_MATERIALS = {
    "ball": ("rubber", "plastic", "metal", "wood"),
    "box": ("rubber", "plastic", "metal", "wood"),
    "cylinder": ("rubber", "plastic", "metal", "wood"),
    "cup": ("plastic", "metal", "wood"),
}


class Draw:
    """The templates, one method each: things of group 0 first."""

    def __init__(self, rng: np.random.Generator, held_out: frozenset[tuple[str, str]]):
        self.rng, self.held_out = rng, held_out
        self.relation: str | None = None
        self.aimed_past = False
        self.groups: list[Thing] = []

    # choices

    def uniform(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def pick(self, options, weights=None):
        return options[int(self.rng.choice(len(options), p=weights))]

    def group(self, shapes, weights=None, size: str | None = None) -> Thing:
        """The model for the things of a new group."""
        shape = self.pick(shapes, weights)
        free = [
            colour
            for colour in COLOURS
            if (colour, shape) not in self.held_out
            and all((colour, shape) != (other.colour, other.shape) for other in self.groups)
        ]
        if self.groups and not self.chance(0.12):
            free = [colour for colour in free if colour != self.groups[0].colour]
        colour = self.pick(free)
        materials = [m for m in _MATERIALS[shape] if (colour, m) != ("white", "metal")]
        size = size or self.pick(("small", "large"))
        width = METRES[size] * self.uniform(0.95, 1.05)
        d = {
            "ball": (0.5 * width, 0.0, 0.0, 0.0),
            "box": (0.45 * width, 0.45 * width, 0.45 * width * self.uniform(0.9, 1.1), 0.0),
            "cylinder": (0.43 * width, 0.43 * 1.1 * width, 0.0, 0.0),
            "cup": (0.5 * width, 0.39 * width, 0.515 * width, 0.056 * width),
        }[shape]
        thing = Thing(
            group=len(self.groups),
            colour=colour,
            shape=shape,
            size=size,
            material=self.pick(materials),
            dimensions=d,
            friction=self.uniform(0.45, 0.6),
        )
        self.groups.append(thing)
        return thing

    def stand(self, thing: Thing, x: float, y: float, z: float = 0.0, **changes) -> Thing:
        """A thing on its base, at a random yaw (a box shows two of its faces)."""
        yaw = self.uniform(-math.pi, math.pi)
        if thing.shape == "box":
            yaw = self.uniform(0.12, 1.45)
        return replace(
            thing, position=(x, y, z + thing.half_height), rotation=turned(yaw), **changes
        )

    def spread(
        self, things: list[Thing], low_y: float = -0.25, high_y: float = 0.4
    ) -> list[tuple[float, float]]:
        """Places from left to right, apart on the table and none hidden behind another."""
        count = len(things)
        radii = np.array([thing.radius for thing in things])
        if count == 1:
            return [(self.uniform(-0.5, 0.5), self.uniform(low_y, high_y))]
        gaps = radii[1:] + radii[:-1]
        room = 2 * 0.92 - radii[0] - radii[-1]
        for attempt in range(400):
            wide = room / gaps.sum()
            wide *= self.uniform(0.72, 1.0) if wide > 1.3 else 1.0
            steps = gaps * wide * self.rng.uniform(0.85, 1.15, count - 1)
            steps *= min(1.0, room / steps.sum())
            xs = np.concatenate(((0.0,), np.cumsum(steps)))
            xs += radii[0] - 0.92 + self.uniform(0.0, 1.0) * (room - xs[-1])
            ys = self.rng.uniform(low_y, high_y, count)
            if attempt % 2:  # two rows
                rows = np.where((np.arange(count) + attempt // 2) % 2, high_y, low_y)
                ys = rows + self.rng.uniform(-0.06, 0.06, count)
            good = all(
                math.hypot(xs[i] - xs[j], ys[i] - ys[j]) > 1.12 * (radii[i] + radii[j])
                and abs(xs[i] - xs[j]) > 0.66 * (radii[i] + radii[j])
                for i in range(count)
                for j in range(i)
            )
            if good:
                return [(float(x), float(y)) for x, y in zip(xs, ys, strict=True)]
        raise AssertionError(f"no room for {count} things of {[t.size for t in things]}")

    def bystander(self, y: float, radius: float) -> list[Thing]:
        """Now and then a second group: one thing that stands behind the path of the first."""
        if not self.chance(0.3):
            return []
        thing = self.group(("ball", "box", "cylinder", "cup"))
        behind = max(y + 1.1 * (radius + thing.radius) + 0.02, self.uniform(0.3, 0.6))
        if behind > 0.92 - thing.radius:  # no room
            self.groups.pop()
            return []
        return [self.stand(thing, self.uniform(-0.6, 0.6), behind)]

    def heading(self, thing: Thing) -> float:
        """Of what rolls: a cylinder goes aslant, so that its round end and its side are both seen."""
        if thing.shape == "ball":
            return self.uniform(-0.05, 0.05)
        return self.pick((-1, 1)) * self.uniform(0.24, 0.4)

    def roller(self, thing: Thing, x: float, y: float, velocity: float, heading: float) -> Thing:
        """A ball or a lying cylinder that rolls past (0, y)."""
        radius = thing.dimensions[0]
        y += x * math.tan(heading)
        if thing.shape == "ball":
            rotation = turned(self.uniform(-3, 3), self.uniform(-3, 3), self.uniform(-3, 3))
        else:
            rotation = turned(heading, 0.5 * math.pi, heading)
        along = (velocity * math.cos(heading), velocity * math.sin(heading), 0.0)
        return replace(
            thing,
            position=(x, y, radius),
            rotation=rotation,
            velocity=along,
            spin=(-along[1] / radius, along[0] / radius, 0.0),
        )

    def slider(self, thing: Thing, x: float, y: float, velocity: float, friction: float) -> Thing:
        return self.stand(
            thing,
            x,
            y,
            velocity=(velocity, velocity * self.uniform(-0.04, 0.04), 0.0),
            friction=friction,
        )

    def falling(self, thing: Thing, x: float, y: float, z: float, speed: float = 0.0) -> Thing:
        """A thing in the air, a little tilted; z is that of its centre."""
        most = {"ball": 3.0, "box": 0.3, "cylinder": 0.2, "cup": 0.25}[thing.shape]
        return replace(
            thing,
            position=(x, y, z),
            rotation=turned(
                self.uniform(-math.pi, math.pi), self.uniform(0, most), self.uniform(-3, 3)
            ),
            velocity=(self.uniform(-0.08, 0.08), self.uniform(-0.05, 0.05), -speed),
            airborne=True,
        )

    # templates

    def drop(self, table: list[float]) -> list[Thing]:
        count = self.pick((1, 2, 3), (0.55, 0.27, 0.18))
        model = self.group(("ball", "box", "cylinder", "cup"), (0.4, 0.25, 0.18, 0.17))
        things = [model] * count
        if count < 3 and self.chance(0.25):
            things.append(self.group(("ball", "box", "cylinder", "cup")))
        if self.chance(0.5):
            things.reverse()
        places = self.spread(things)
        late = self.chance(0.25)
        out = []
        for thing, (x, y) in zip(things, places, strict=True):
            if thing.group == 1:
                out.append(self.stand(thing, x, y))
            elif late:  # enters from the top
                out.append(
                    self.falling(thing, x, y, self.uniform(1.45, 1.65), self.uniform(0.3, 1.5))
                )
            else:
                top = 1.42 - 0.5 * METRES[thing.size]
                out.append(self.falling(thing, x, y, self.uniform(top - 0.3, top + 0.05)))
        return sorted(out, key=lambda thing: thing.group)

    def throw(self, table: list[float]) -> list[Thing]:
        way = self.pick((-1, 1))
        model = self.group(("ball", "box"), (0.65, 0.35))
        count = 2 if self.chance(0.2) else 1
        y, speed = self.uniform(-0.3, 0.05), self.uniform(1.1, 1.7)
        up = self.uniform(1.7, 2.7)
        out = []
        for k in range(count):
            spin = (self.uniform(-1, 1), way * self.uniform(0.5, 3), self.uniform(-1, 1))
            thing = self.falling(
                model,
                -way * self.uniform(0.68, 0.82),
                y + 2.4 * k * model.radius,
                self.uniform(0.35, 0.75),
            )
            velocity = (way * speed * self.uniform(0.95, 1.05), self.uniform(-0.1, 0.1), up)
            out.append(replace(thing, velocity=velocity, spin=spin))
        return out + self.bystander(out[-1].position[1], model.radius)

    def roll(self, table: list[float]) -> list[Thing]:
        way = self.pick((-1, 1))
        model = self.group(("ball", "cylinder"), (0.65, 0.35))
        speed = self.uniform(0.35, 0.58) if self.chance(0.45) else self.uniform(0.82, 1.05)
        count = 2 if self.chance(0.25) else 1
        lying = model.shape == "cylinder"
        low = 0.0 if lying else -0.35
        y = self.uniform(low, 0.1 if count == 1 else low + 0.15)
        heading = self.heading(model)
        start = self.uniform(0.68, 0.82) if speed > 0.8 else self.uniform(0.35, 0.75)
        out = []
        for k in range(count):
            reach = 1.5 * model.radius if lying else model.radius
            x = -way * (start - (0.28 * k * self.uniform(0.8, 1.2)))
            out.append(self.roller(model, x, y + 2.3 * k * reach, way * speed, heading))
        if lying:
            return out
        return out + self.bystander(out[-1].position[1] + 0.05, model.radius)

    def slide(self, table: list[float]) -> list[Thing]:
        way = self.pick((-1, 1))
        model = self.group(("box", "cup", "cylinder"))
        friction, distance = self.uniform(0.06, 0.25), self.uniform(0.7, 1.3)
        if self.chance(0.4):  # slowly
            friction, distance = self.uniform(0.015, 0.035), self.uniform(0.5, 0.8)
        speed = math.sqrt(2 * friction * GRAVITY * distance)
        count = 2 if self.chance(0.2) else 1
        y = self.uniform(-0.35, 0.1 if count == 1 else -0.2)
        start = min(0.78, self.uniform(0.45, 0.6) + 0.5 * max(0.0, distance - 0.7))
        out = []
        for k in range(count):
            x = -way * (start - 0.28 * k)
            out.append(self.slider(model, x, y + 2.3 * k * model.radius, way * speed, friction))
        return out + self.bystander(out[-1].position[1] + 0.03, model.radius)

    def rest(self, table: list[float]) -> list[Thing]:
        shapes = ("ball", "box", "cylinder", "cup")
        count = self.pick((1, 2, 3, 4), (0.2, 0.35, 0.25, 0.2))
        first = self.group(shapes, size="small" if count == 4 else None)
        if count == 1 or (count < 4 and self.chance(0.35)) or (count == 4 and self.chance(0.5)):
            things = [first] * count
            return [
                self.stand(thing, *at)
                for thing, at in zip(things, self.spread(things), strict=True)
            ]
        second = self.group(shapes)
        if count == 2 and self.chance(0.3):
            # One behind the other: to the side by enough that both are seen.
            front, back = (first, second) if self.chance(0.5) else (second, first)
            aside = self.pick((-1, 1)) * self.uniform(0.65, 0.85) * (front.radius + back.radius)
            x = self.uniform(-0.3, 0.3)
            y = -0.28 + self.uniform(-0.06, 0.06)
            apart = max(0.62, 0.9 * (front.radius + back.radius)) + self.uniform(0.0, 0.12)
            placed = {
                front.group: self.stand(front, x - 0.5 * aside, y),
                back.group: self.stand(back, x + 0.5 * aside, min(y + apart, 0.92 - back.radius)),
            }
            self.relation = "in front of" if front.group == 0 else "behind"
            return [placed[0], placed[1]]
        left = int(self.rng.integers(1, count)) if second.size == "small" or count < 4 else 3
        things = [first] * left + [second] * (count - left)
        self.relation = "left of"
        if self.chance(0.5):
            things.reverse()
            self.relation = "right of"
        out = [
            self.stand(thing, *at)
            for thing, at in zip(things, self.spread(things, -0.25, 0.45), strict=True)
        ]
        return sorted(out, key=lambda thing: thing.group)

    def pile(self, things: list[Thing], x: float, y: float, start: int) -> list[Thing]:
        """Things on top of each other, bottom first; `start` is the index that the first one will have."""
        out, z = [], 0.0
        for k, thing in enumerate(things):
            loose = 0.08 * thing.radius
            out.append(
                self.stand(
                    thing,
                    x + self.uniform(-loose, loose),
                    y + self.uniform(-loose, loose),
                    z,
                    on=start + k - 1 if k else None,
                )
            )
            z += 2 * thing.half_height
        return out

    def stack(self, table: list[float]) -> list[Thing]:
        x, y = self.uniform(-0.5, 0.5), self.uniform(-0.2, 0.3)
        if self.chance(0.45):
            count = self.pick((2, 3, 4), (0.4, 0.35, 0.25))
            size = "small" if count == 4 else self.pick(("small", "large")) if count == 2 else None
            model = self.group(("box", "cylinder"), size=size or "small")
            return self.pile([model] * count, x, y, 0)
        # Two groups: the upper one is group 0, "a red cup on top of two blue boxes".
        upper = self.group(("box", "cylinder", "cup"), (0.4, 0.35, 0.25))
        lower = self.group(("box", "cylinder"), size="large" if upper.size == "large" else None)
        low = 2 if lower.size == "small" and self.chance(0.4) else 1
        high = 2 if upper.size == "small" and upper.shape != "cup" and self.chance(0.35) else 1
        self.relation = "on top of"
        placed = self.pile([lower] * low + [upper] * high, x, y, 0)
        # Group 0 first: indices shift, so does what each stands on.
        order = list(range(low, low + high)) + list(range(low))
        index: dict[int | None, int | None] = {old: new for new, old in enumerate(order)}
        index[None] = None
        return [replace(placed[old], on=index[placed[old].on]) for old in order]

    def mover(self, way: int, speed: float, y: float) -> Thing:
        """What is sent against a target or over an edge."""
        size = "large" if self.chance(0.6) else "small"
        model = self.group(("ball", "cylinder", "box", "cup"), (0.6, 0.12, 0.16, 0.12), size)
        x = -way * self.uniform(0.68, 0.82)
        if model.shape in ("ball", "cylinder"):
            return self.roller(model, x, y, way * speed, self.heading(model))
        return self.slider(model, x, y, way * speed, self.uniform(0.05, 0.10))

    def collide(self, table: list[float]) -> list[Thing]:
        way = self.pick((-1, 1))
        y = self.uniform(-0.15, 0.2)
        mover = self.mover(way, self.uniform(1.3, 2.3), y)
        mover = replace(mover, heaviness=self.uniform(1.0, 2.2))
        if self.chance(0.4):
            model = self.group(("box", "cylinder"), size="small")
            pile = [model] * self.pick((2, 3))
        else:
            pile = [self.group(("ball", "box", "cylinder", "cup"), (0.15, 0.2, 0.35, 0.3))]
        pile = [replace(thing, friction=self.uniform(0.3, 0.5)) for thing in pile]
        x = way * self.uniform(-0.05, 0.4)
        reach = mover.radius + pile[0].radius
        aside = self.uniform(-0.3, 0.3) * reach
        self.aimed_past = self.chance(0.25)
        if self.aimed_past:
            # The mover goes by in front more often than behind, where it would be hidden for a while.
            gap = 1.12 * reach + self.uniform(0.04, 0.14)
            aside = gap if self.chance(0.65) else -gap
            slower = tuple(0.75 * v for v in mover.velocity), tuple(0.75 * v for v in mover.spin)
            mover = replace(mover, velocity=slower[0], spin=slower[1])
            from_x, from_y, z = mover.position
            mover = replace(mover, position=(from_x, from_y - 0.5 * aside, z))
            y -= 0.5 * aside
        if mover.shape == "cylinder":
            # It rolls along its heading, not along x.
            aside += x * mover.velocity[1] / mover.velocity[0]
        targets = self.pile(pile, x, min(0.9 - pile[0].radius, y + aside), 1)
        self.relation = "into"
        return [mover, *targets]

    def edge(self, table: list[float]) -> list[Thing]:
        way = self.pick((-1, 1))
        table[1 if way > 0 else 0] = way * self.uniform(0.25, 0.5)
        return [self.mover(way, self.uniform(1.05, 1.5), self.uniform(-0.2, 0.3))]

    def hit_drop(self, table: list[float]) -> list[Thing]:
        upper = self.group(("ball", "box", "cylinder"), (0.5, 0.3, 0.2))
        lower = self.group(("ball", "box", "cylinder", "cup"), (0.15, 0.35, 0.25, 0.25))
        x, y = self.uniform(-0.4, 0.4), self.uniform(-0.2, 0.3)
        off = 0.45 * lower.radius if lower.shape != "ball" else 0.8 * lower.radius
        target = self.stand(lower, x, y)
        # Low enough to be seen at first, high enough to have a way to fall.
        z = max(1.42 - 0.5 * METRES[upper.size], 2 * lower.half_height + upper.half_height + 0.35)
        dropped = self.falling(
            upper,
            x + self.uniform(-off, off),
            y + self.uniform(-0.4, 0.4) * off,
            z - self.uniform(0.0, 0.1),
        )
        return [dropped, target]
