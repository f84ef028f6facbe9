"""What the ray caster wants of water: its surface and the wet table top. Knows nothing of how water moves."""

import numpy as np

from worldtube.state import State
from worldtube.worlds import render
from worldtube.worlds.fluid.surface import surface

WET_CELL = 0.03
"""Metres between the nodes of a table top's wetness."""
_SIDEWAYS, _DEEP = 1.8, -0.8
"""Metres from the middle, and height, beyond which water is not drawn."""


def make_surface(
    positions: np.ndarray,
    present: np.ndarray,
    sides: np.ndarray,
    spacing: float,
    cups: tuple[int, ...],
) -> render.Water | None:
    """The surface of particles: depth under it, a layer for each side. None where there are none to see.

    Args:
        positions: float64 (N, 3), metres
        present: bool (N,)
        sides: int8 (N, C) of each cup, as in `state.Water`
        spacing: metres between particles at rest
        cups: rows of the scene's solids that the sides are of
    """
    cell = 1.15 * spacing  # as fine as the particles
    near = present & (np.abs(positions[:, 0]) < _SIDEWAYS) & (positions[:, 2] > _DEEP)
    if not near.any():
        return None
    low = np.floor(positions[near].min(0) / cell - 4) * cell
    wide, deep, tall = (int(v) + 5 for v in np.ceil((positions[near].max(0) - low) / cell))
    density = surface(
        positions,
        near,
        1.3 * spacing,
        sides,
        low,
        cell,
        2.1 * spacing,
        0.62 * spacing,
        (wide, deep, tall),
    )
    return render.Water(
        density=density,
        origin=(float(low[0]), float(low[1]), float(low[2])),
        spacing=cell,
        level=0.0,
        cups=cups,
    )


def water_of(state: State, frame: int) -> tuple[render.Water | None, render.Stain | None]:
    """The water and the wet table top of one frame of a state; None for a state without water."""
    water = state.water
    if water is None:
        return None, None
    surface_of_frame = make_surface(
        water.positions[frame].astype(np.float64),
        water.present[frame],
        water.sides[frame],
        water.spacing,
        water.cups,
    )
    stain = render.Stain(
        wetness=water.wetness[frame],
        origin=water.wetness_origin,
        spacing=water.wetness_spacing,
    )
    return surface_of_frame, stain
