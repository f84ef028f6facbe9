"""What a seed of the pour world decides. Owns the draw; nothing is simulated and nothing is drawn on a screen."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from worldtube.errors import RequestError
from worldtube.worlds import fluid, render
from worldtube.worlds.world import COLOURS, HELD_OUT, VALIDATION_SEEDS, Camera

VERSION = 1
TEMPLATES = ("knock", "pour")
NUM_STEPS = 24
"""Frames over which a camera makes its whole move."""
ORBIT, ZOOM, SLIDE = 0.45, 0.28, 0.4
"""Radians of an orbit, share of the distance and metres to a side of a dolly, over the whole move."""

# Half of the sizes that the table top's other worlds use, times the scale of a `large` thing.
_SCALE = {"small": 1.0, "large": 0.54 / 0.32}
_CUP = {"top": 0.16, "bottom": 0.125, "height": 0.33, "wall": 0.018}
_BALL = 0.16
_MATERIALS = ("rubber", "plastic", "wood", "metal")
_REACH = 0.17
"""How far in front of the lip the poured water comes down, metres."""


@dataclass(frozen=True, kw_only=True)
class CupPlan:
    colour: str
    size: str
    material: str
    position: tuple[float, float, float]
    """Of the middle of its underside."""
    fill: float
    """Depth of its water as a share of the inner height; 0 is an empty cup."""

    @property
    def vessel(self) -> fluid.Vessel:
        scale = _SCALE[self.size]
        return fluid.Vessel(
            top_radius=_CUP["top"] * scale,
            bottom_radius=_CUP["bottom"] * scale,
            height=_CUP["height"] * scale,
            wall=_CUP["wall"] * scale,
        )

    @property
    def depth(self) -> float:
        return self.fill * (self.vessel.height - self.vessel.wall)


@dataclass(frozen=True, kw_only=True)
class BallPlan:
    colour: str
    size: str
    material: str
    position: tuple[float, float, float]
    velocity: tuple[float, float, float]

    @property
    def radius(self) -> float:
        return _BALL * _SCALE[self.size]

    @property
    def spin(self) -> tuple[float, float, float]:
        """Radians per second: it rolls unless it is thrown upwards."""
        x, y, z = self.velocity
        return (-y / self.radius, x / self.radius, 0.0) if z == 0.0 else (0.0, 0.0, 0.0)


@dataclass(frozen=True, kw_only=True)
class TiltPlan:
    """How the held cup turns: about its lip, which stays where it is."""

    heading: float
    """Direction that the water is poured in, radians from +x."""
    start: float
    duration: float
    angle: float


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that a seed decides. The first cup is the one with water in it."""

    seed: int
    template: str
    cups: tuple[CupPlan, ...]
    ball: BallPlan | None
    tilt: TiltPlan | None
    table: tuple[float, float, float, float]
    camera: str
    camera_direction: str | None
    azimuth: float
    ground: int
    ground_tint: tuple[float, float, float]
    ground_offset: tuple[float, float]
    sky: int
    sun: tuple[float, float, float]

    @property
    def objects(self) -> list[dict[str, Any]]:
        """As the truth lists them: the ball, if there is one, then the cups."""
        items: list[tuple[BallPlan | CupPlan, str]] = [(cup, "cup") for cup in self.cups]
        if self.ball is not None:
            items.insert(0, (self.ball, "ball"))
        return [
            {
                "colour": item.colour,
                "shape": shape,
                "size": item.size,
                "material": item.material,
                "group": i,
            }
            for i, (item, shape) in enumerate(items)
        ]

    def camera_at(self, frame: float) -> Camera:
        """Where the camera is at a frame."""
        s = frame / NUM_STEPS
        azimuth, distance, aside = self.azimuth, 3.0 if self.tilt is None else 3.3, 0.0
        sign = 1.0 if self.camera_direction in ("right", "out") else -1.0
        if self.camera == "orbit":
            azimuth += sign * ORBIT * (s - 0.5)
        elif self.camera_direction in ("in", "out"):
            distance *= 1 + sign * ZOOM * (s - 0.5)
        elif self.camera == "dolly":
            aside = sign * SLIDE * (s - 0.5)
        up = 0.56 if self.tilt is None else 0.52
        target = (aside, 0.08, 0.18 if self.tilt is None else 0.42)
        return Camera(
            position=(
                target[0] + distance * math.sin(azimuth) * math.cos(up),
                target[1] - distance * math.cos(azimuth) * math.cos(up),
                target[2] + distance * math.sin(up),
            ),
            target=target,
        )


def plan(seed: int) -> Plan:
    """Draw a scene; cheap, nothing is simulated."""
    if seed < 0:
        raise RequestError(f"seed is {seed} (accepted: 0 or more)")
    rng = np.random.default_rng((0x706F7572, VERSION, seed))
    held_out = HELD_OUT if seed < VALIDATION_SEEDS.start else frozenset()
    template = "knock" if rng.random() < 0.72 else "pour"
    taken: list[str] = []

    def colour(shape: str) -> str:
        free = [c for c in COLOURS if (c, shape) not in held_out and c not in taken]
        taken.append(free[int(rng.integers(len(free)))])
        return taken[-1]

    def cup(size: str, position: tuple[float, float, float], *, full: bool) -> CupPlan:
        glass = rng.random() < 0.4
        # Through an opaque wall water is only seen where it stands high.
        fill = rng.uniform(0.55, 0.82) if glass else rng.uniform(0.70, 0.88)
        return CupPlan(
            colour=colour("cup"),
            size=size,
            material="glass" if glass else "plastic",
            position=position,
            fill=fill if full else 0.0,
        )

    table = list(render.Scene.table)
    ball = tilt = None
    if template == "knock":
        size = "small" if rng.random() < 0.55 else "large"
        to_right = rng.random() < 0.5
        way = 1.0 if to_right else -1.0
        x, y = (
            way * rng.uniform(*((-0.15, 0.15) if size == "small" else (0.0, 0.2))),
            rng.uniform(-0.25, 0.3),
        )
        first = cup(size, (x, y, 0.0), full=True)
        ball = _aim(rng, first, way, colour("ball"))
        if rng.random() < 0.4:
            # The table ends not far behind the cup, so that water (or the cup) goes over the edge.
            edge = way * (abs(first.vessel.top_radius) + rng.uniform(0.06, 0.30)) + x
            table[1 if to_right else 0] = edge
        cups = (first,)
    else:
        size = "small" if rng.random() < 0.75 else "large"
        way = 1.0 if rng.random() < 0.5 else -1.0
        heading = (0.0 if way > 0 else math.pi) + rng.uniform(-0.45, 0.45)
        target = (
            "none"
            if size == "large" or rng.random() < 0.3
            else ("small" if rng.random() < 0.4 else "large")
        )
        x, y = -way * rng.uniform(0.0, 0.2), rng.uniform(-0.15, 0.15)
        under = 0.0 if target == "none" else _CUP["height"] * _SCALE[target]
        radius, height = _CUP["top"] * _SCALE[size], _CUP["height"] * _SCALE[size]
        # The held cup hangs clear of the table or of the other cup's rim.
        lip = np.array((x, y, under + height + rng.uniform(0.03, 0.12)))
        toward = np.array((math.cos(heading), math.sin(heading), 0.0))
        base = lip - radius * toward - np.array((0.0, 0.0, height))
        first = cup(size, (float(base[0]), float(base[1]), float(base[2])), full=True)
        cups = (first,)
        if target != "none":
            reach = _REACH + (0.3 if rng.random() < 0.15 else 0.0)
            place = lip[:2] + toward[:2] * reach + rng.normal(0.0, 0.02, 2)
            cups += (cup(target, (float(place[0]), float(place[1]), 0.0), full=False),)
        tilt = TiltPlan(
            heading=heading,
            start=float(rng.uniform(0.05, 0.3)),
            duration=float(rng.uniform(0.7, 1.2)),
            angle=float(rng.uniform(1.75, 2.2)),
        )
    x0, x1, y0, y1 = (float(v) for v in table)
    return Plan(
        seed=seed,
        template=template,
        cups=cups,
        ball=ball,
        tilt=tilt,
        table=(x0, x1, y0, y1),
        **draw_surroundings(rng),
    )


def draw_surroundings(rng: np.random.Generator) -> dict[str, Any]:
    """Draw the fields of a plan that say how the camera moves, and what ground, sky and light are."""
    kind = ("fixed", "orbit", "dolly")[int(rng.choice(3, p=(0.7, 0.16, 0.14)))]
    direction = None
    if kind != "fixed":
        ways = ("left", "right") if kind == "orbit" else ("in", "out", "left", "right")
        direction = ways[int(rng.integers(len(ways)))]
    azimuth = float(rng.uniform(-0.12, 0.12))
    around, up = rng.uniform(0, 2 * math.pi), rng.uniform(0.75, 1.15)
    ground = int(rng.integers(len(render.GROUNDS)))
    red, green, blue = (float(v) for v in rng.uniform(0.93, 1.07, 3))
    across, away = (float(v) for v in rng.uniform(-3, 3, 2))
    return {
        "camera": kind,
        "camera_direction": direction,
        "azimuth": azimuth,
        "ground": ground,
        "ground_tint": (red, green, blue),
        "ground_offset": (across, away),
        "sky": int(rng.integers(len(render.SKIES))),
        "sun": (
            math.cos(around) * math.cos(up),
            math.sin(around) * math.cos(up),
            math.sin(up),
        ),
    }


def _aim(rng: np.random.Generator, cup: CupPlan, way: float, colour: str) -> BallPlan:
    """A ball that comes along the screen, rolled or thrown, at the cup or past it."""
    size = "large" if cup.size == "large" or rng.random() < 0.3 else "small"
    material = _MATERIALS[int(rng.integers(4))]
    radius = _BALL * _SCALE[size]
    vessel = cup.vessel
    heading = rng.uniform(-0.5, 0.5)
    toward = np.array((way * math.cos(heading), math.sin(heading)))
    across = np.array((-toward[1], toward[0]))
    reach = radius + vessel.top_radius
    miss = rng.random() < 0.17
    if miss:
        aside = reach * rng.uniform(1.12, 1.5) * rng.choice((-1.0, 1.0))
        # Past it where there is table to roll on.
        if not -0.6 < cup.position[1] + aside * across[1] < 0.75:
            aside = -aside
    else:
        aside = reach * rng.uniform(-0.4, 0.4)
    away = reach + rng.uniform(0.30, 0.55)
    start = np.array(cup.position[:2]) - toward * away + across * aside
    # In the first picture the ball is to be seen.
    start[0] = np.clip(start[0], 0.5 * radius - 0.86, 0.86 - 0.5 * radius)
    thrown = not miss and rng.random() < 0.6
    speed = rng.uniform(1.7, 4.4)
    if thrown:
        speed = rng.uniform(2.2, 3.6) * (1.15 if cup.size == "large" else 1.0)
        height = max(radius, rng.uniform(0.6, 1.0) * vessel.height)
        low = max(radius + 0.02, rng.uniform(0.2, 0.7))
        gap = max(0.15, float(np.dot(np.array(cup.position[:2]) - start, toward)) - reach)
        time = gap / speed
        rise = (height - low) / time + 0.5 * fluid.GRAVITY * time
        z, vz = low, min(rise, 3.0)
    else:
        z, vz = radius + 0.001, 0.0
    return BallPlan(
        colour=colour,
        size=size,
        material=material,
        position=(float(start[0]), float(start[1]), float(z)),
        velocity=(float(speed * toward[0]), float(speed * toward[1]), float(vz)),
    )
