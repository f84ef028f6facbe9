"""The solids of the pour world for MuJoCo: masses, the model, and how a held cup turns.

Knows nothing of water but its weight.
"""

import math

import numpy as np

from worldtube.worlds import fluid
from worldtube.worlds.pour.plan import BallPlan, CupPlan, Plan

_WALLS = 14
_BALL_DENSITY = {"rubber": 1000.0, "plastic": 700.0, "wood": 900.0, "metal": 1700.0}
_CUP_DENSITY = {"plastic": 800.0, "glass": 1000.0}
BALL_FRICTION, FRICTION = 0.5, 1.6
_DAMPING = 0.6
"""Share of critical damping of contacts."""
RESTITUTION = math.exp(-math.pi * _DAMPING / math.sqrt(1 - _DAMPING**2))
"""Height of speed after a bounce over that before."""


def ball_mass(ball: BallPlan) -> float:
    """Kilograms."""
    return _BALL_DENSITY[ball.material] * 4 / 3 * math.pi * ball.radius**3


def lump(
    cup: CupPlan, vessel: fluid.Vessel, share: float
) -> tuple[float, float, tuple[float, float, float]]:
    """Mass, height of the centre of mass and inertia of a cup with a share of its water."""
    r, h = 0.5 * (vessel.top_radius + vessel.bottom_radius), vessel.height
    shell = (
        _CUP_DENSITY[cup.material]
        * vessel.wall
        * (2 * math.pi * r * h + math.pi * vessel.bottom_radius**2)
    )
    depth = max(cup.depth, 1e-3) * max(share, 0.05)
    water = 1000.0 * vessel.volume(max(cup.depth, 1e-3)) * share
    mass = shell + water
    middle, water_middle = 0.45 * h, vessel.wall + 0.5 * depth
    centre = (shell * middle + water * water_middle) / mass
    upright = shell * r * r + 0.5 * water * r * r
    across = shell * (r * r / 2 + h * h / 12 + (middle - centre) ** 2) + water * (
        r * r / 4 + depth**2 / 12 + (water_middle - centre) ** 2
    )
    return mass, centre, (across, across, upright)


def model(p: Plan, dt: float) -> str:
    """The MuJoCo model: table, floor, ball and cups of flat staves."""
    x0, x1, y0, y1 = p.table
    bodies = []
    if p.ball is not None:
        x, y, z = p.ball.position
        bodies.append(
            f'<body name="ball" pos="{x} {y} {z}"><freejoint name="ball"/>'
            f'<geom type="sphere" size="{p.ball.radius}" density="{_BALL_DENSITY[p.ball.material]}"'
            f' friction="{BALL_FRICTION} 0.005 0.002"/></body>'
        )
    for k, cup in enumerate(p.cups):
        vessel = cup.vessel
        held = p.tilt is not None and k == 0
        mass, centre, inertia = lump(cup, vessel, 1.0 if cup.fill else 0.0)
        slope = math.atan2(vessel.top_radius - vessel.bottom_radius, vessel.height)
        radius = 0.5 * (vessel.top_radius + vessel.bottom_radius) - 0.5 * vessel.wall
        contact = ' contype="0" conaffinity="0"' if held else ""
        staves = "".join(
            f'<geom type="box" size="{vessel.wall / 2} {1.02 * radius * math.tan(math.pi / _WALLS)}'
            f' {vessel.height / 2}" pos="{radius * math.cos(a)} {radius * math.sin(a)} {vessel.height / 2}"'
            f' xyaxes="{math.cos(a) * math.cos(slope)} {math.sin(a) * math.cos(slope)} {-math.sin(slope)}'
            f' {-math.sin(a)} {math.cos(a)} 0" mass="0"{contact}/>'
            for a in (2 * math.pi * i / _WALLS for i in range(_WALLS))
        )
        joint = "" if held else f'<freejoint name="cup{k}"/>'
        x, y, z = cup.position
        bodies.append(
            f'<body name="cup{k}" pos="{x} {y} {z}"{" mocap=" + chr(34) + "true" + chr(34) if held else ""}>{joint}'
            f'<inertial pos="0 0 {centre}" mass="{mass}" diaginertia="{inertia[0]} {inertia[1]} {inertia[2]}"/>'
            f'<geom type="cylinder" size="{vessel.bottom_radius} {vessel.wall / 2}" pos="0 0 {vessel.wall / 2}"'
            f' mass="0"{contact}/>{staves}</body>'
        )
    return f"""<mujoco><option timestep="{dt}" gravity="0 0 -{fluid.GRAVITY}"/>
<default><geom friction="{FRICTION} 0.005 0.001" solref="0.008 {_DAMPING}"/></default>
<worldbody>
<geom type="box" pos="{(x0 + x1) / 2} {(y0 + y1) / 2} -0.05" size="{(x1 - x0) / 2} {(y1 - y0) / 2} 0.05"/>
<geom type="plane" pos="0 0 -0.9" size="20 20 0.1"/>
{"".join(bodies)}
</worldbody></mujoco>"""


def held_pose(p: Plan, seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """Pose of the held cup: it turns about its lip."""
    tilt, cup = p.tilt, p.cups[0]
    share = min(1.0, max(0.0, (seconds - tilt.start) / tilt.duration))
    angle = tilt.angle * share * share * (3 - 2 * share)
    toward = np.array((math.cos(tilt.heading), math.sin(tilt.heading), 0.0))
    lip = cup.vessel.top_radius * toward + np.array((0.0, 0.0, cup.vessel.height))
    ax, ay = -toward[1], toward[0]  # z turns towards `toward` about this axis
    c, s = math.cos(angle), math.sin(angle)
    rot = np.array(
        (
            (c + ax * ax * (1 - c), ax * ay * (1 - c), ay * s),
            (ax * ay * (1 - c), c + ay * ay * (1 - c), -ax * s),
            (-ay * s, ax * s, c),
        )
    )
    return np.array(cup.position) + lip - rot @ lip, rot
