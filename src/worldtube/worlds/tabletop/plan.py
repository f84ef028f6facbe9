"""What a seed decides about a tabletop clip: which things, where, how they start, who looks from where.

Owns the draw (`plan`; the things' is in `templates`) and nothing that happens later: no engine is started here, a plan
costs well under a millisecond. Knows nothing of pictures beyond where the camera stands.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from worldtube.errors import RequestError
from worldtube.worlds.render import GROUNDS, SKIES
from worldtube.worlds.tabletop.templates import Draw
from worldtube.worlds.tabletop.things import Thing
from worldtube.worlds.world import HELD_OUT, VALIDATION_SEEDS, Camera

VERSION = 1
TEMPLATES = ("drop", "throw", "roll", "slide", "rest", "stack", "collide", "edge", "hit_drop")
NUM_STEPS = 24
"""Frames over which a camera makes its whole move."""
_WIDE = 3.0
"""Half the table where its sides are not to be seen."""
_TARGET_HEIGHT = {"drop": 0.52, "throw": 0.48, "stack": 0.50, "hit_drop": 0.52, "edge": 0.22}
"""Height in metres that the camera looks at, by template; 0.38 for the others."""


@dataclass(frozen=True, kw_only=True)
class View:
    """How the camera stands and moves; angles in radians."""

    kind: str
    direction: str | None
    distance: float
    pitch: float
    azimuth: float
    target: tuple[float, float, float]
    amount: float = 0.0
    """Radians for an orbit, metres for a dolly, over the whole clip."""

    def camera(self, frame: float) -> Camera:
        s = frame / NUM_STEPS
        azimuth, distance, shift = self.azimuth, self.distance, 0.0
        sign = 1.0 if self.direction in ("right", "out") else -1.0
        if self.kind == "orbit":
            azimuth += sign * self.amount * (s - 0.5)
        elif self.direction in ("in", "out"):
            distance += sign * self.amount * (s - 0.5)
        elif self.kind == "dolly":
            shift = sign * self.amount * (s - 0.5)
        across = (math.cos(azimuth), math.sin(azimuth))
        target = (
            self.target[0] + shift * across[0],
            self.target[1] + shift * across[1],
            self.target[2],
        )
        back = distance * math.cos(self.pitch)
        return Camera(
            position=(
                target[0] + back * math.sin(azimuth),
                target[1] - back * math.cos(azimuth),
                target[2] + distance * math.sin(self.pitch),
            ),
            target=target,
        )


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that a seed decides. Group 0 is the one that acts."""

    seed: int
    template: str
    things: tuple[Thing, ...]
    relation: str | None
    """Where group 0 is to stand with respect to group 1, if that is said at all."""
    aimed_past: bool
    """A `collide` that is meant to miss; whether it does is found in the state."""
    view: View
    table: tuple[float, float, float, float]
    ground: int
    ground_tint: tuple[float, float, float]
    ground_offset: tuple[float, float]
    sky: int
    sun: tuple[float, float, float]
    shot: int = 0
    """Which camera of the episode; the things and what they do are the same in all of them."""


def plan(seed: int, *, shot: int = 0) -> Plan:
    """Draw a clip; cheap, nothing is simulated. Shot 0 has the seed's own camera, later ones others."""
    if shot < 0:
        raise RequestError(f"shot is {shot} (accepted: 0 or more)")
    first = _plan(seed)
    return first if shot == 0 else replace(first, view=_other(first.view, seed, shot), shot=shot)


def _other(view: View, seed: int, shot: int) -> View:
    """Another camera on the same episode: from a side, nearer or farther, higher or lower."""
    rng = np.random.default_rng((0x73686F74, VERSION, seed, shot))
    side = 1 if (shot + seed) % 2 else -1
    kind = ("fixed", "orbit", "dolly")[int(rng.choice(3, p=(0.6, 0.2, 0.2)))]
    direction, amount = None, 0.0
    if kind == "orbit":
        direction = ("left", "right")[int(rng.integers(2))]
        amount = math.radians(float(rng.uniform(12.0, 25.0)))
    elif kind == "dolly":
        direction = ("in", "out", "left", "right")[int(rng.integers(4))]
        amount = float(rng.uniform(0.3, 0.6))
    return replace(
        view,
        kind=kind,
        direction=direction,
        amount=amount,
        azimuth=side * math.radians(float(rng.uniform(15.0, 40.0))),
        pitch=math.radians(float(rng.uniform(16.0, 34.0))),
        distance=float(rng.uniform(2.5, 3.7)),
    )


def _plan(seed: int) -> Plan:
    if seed < 0:
        raise RequestError(f"seed is {seed} (accepted: 0 or more)")
    rng = np.random.default_rng((0x7461626C, VERSION, seed))
    held_out = HELD_OUT if seed < VALIDATION_SEEDS.start else frozenset()
    template = TEMPLATES[int(rng.integers(len(TEMPLATES)))]
    while True:
        draw = Draw(rng, held_out)
        table = [-_WIDE, _WIDE, -0.75, 0.95]
        things = getattr(draw, template)(table)
        if _apart(things):
            break
    if template in ("rest", "stack", "drop") and rng.random() < 0.4:
        table[int(rng.integers(2))] *= float(rng.uniform(0.95, 1.25)) / _WIDE
    view, surroundings = draw_surroundings(rng, template)
    return Plan(
        seed=seed,
        template=template,
        things=tuple(things),
        relation=draw.relation,
        aimed_past=draw.aimed_past,
        view=view,
        table=(table[0], table[1], table[2], table[3]),
        **surroundings,
    )


def draw_surroundings(rng: np.random.Generator, template: str) -> tuple[View, dict[str, Any]]:
    """Draw a camera, and the fields of a plan that say what ground, sky and light are."""
    pitch = math.radians(float(rng.uniform(20.0, 25.0)))
    azimuth = math.radians(float(rng.uniform(-6.0, 6.0)))
    kind = ("fixed", "orbit", "dolly")[int(rng.choice(3, p=(0.70, 0.15, 0.15)))]
    direction, amount = None, 0.0
    if kind == "orbit":
        direction = ("left", "right")[int(rng.integers(2))]
        amount, azimuth = math.radians(float(rng.uniform(12.0, 25.0))), 0.5 * azimuth
    elif kind == "dolly":
        direction = ("in", "out", "left", "right")[int(rng.integers(4))]
        amount = float(
            rng.uniform(0.6, 0.9) if direction in ("in", "out") else rng.uniform(0.28, 0.42)
        )
    brightness = float(rng.uniform(0.86, 1.1))
    red, green, blue = (float(v) for v in brightness * rng.uniform(0.96, 1.04, 3))
    side, lift = math.radians(float(rng.uniform(-80, 80))), math.radians(float(rng.uniform(38, 62)))
    view = View(
        kind=kind,
        direction=direction,
        distance=float(rng.uniform(3.05, 3.35)),
        pitch=pitch,
        azimuth=azimuth,
        target=(
            float(rng.uniform(-0.04, 0.04)),
            float(rng.uniform(0.0, 0.1)),
            _TARGET_HEIGHT.get(template, 0.38) + float(rng.uniform(-0.04, 0.04)),
        ),
        amount=amount,
    )
    return view, {
        "ground": int(rng.integers(len(GROUNDS))),
        "ground_tint": (red, green, blue),
        "ground_offset": (float(rng.uniform(-9, 9)), float(rng.uniform(-9, 9))),
        "sky": int(rng.integers(len(SKIES))),
        "sun": (
            math.sin(side) * math.cos(lift),
            -math.cos(side) * math.cos(lift),
            math.sin(lift),
        ),
    }


def _apart(things: list[Thing]) -> bool:
    """Whether no two things start inside one another."""
    for i, a in enumerate(things):
        for b in things[:i]:
            across = math.dist(a.position[:2], b.position[:2])
            up = abs(a.position[2] - b.position[2])
            tall = a.half_height + b.half_height
            if across < 1.04 * (a.radius + b.radius) and up < 0.99 * tall:
                return False
    return True
