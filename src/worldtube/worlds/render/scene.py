"""What a picture shows: the `Scene` that worlds fill in, its solids, water, stain, materials and colours.

Knows nothing of rays.
"""

from dataclasses import dataclass, field

import numpy as np

SPHERE, BOX, CYLINDER, CUP = 0, 1, 2, 3
"""Kinds of solids. `Scene.sizes` rows: sphere (radius, -, -, -); box (half x, half y, half z, -);
cylinder along its own z (radius, half height, -, -); cup, open at +z (top outer radius, bottom outer radius,
half height, wall thickness; the base is as thick as the wall)."""

MATERIALS = ("rubber", "plastic", "metal", "wood", "glass")
"""A material's index is what `Scene.materials` holds. Glass lets most of what is behind it through."""

GROUNDS = ("wood", "tiles", "cloth", "stone", "checker")
SKIES = ("day", "dusk", "studio", "mint")

PALETTE = {
    "red": (0.86, 0.07, 0.08),
    "orange": (1.0, 0.47, 0.02),
    "yellow": (0.99, 0.88, 0.10),
    "green": (0.08, 0.60, 0.18),
    "blue": (0.08, 0.27, 0.88),
    "purple": (0.52, 0.13, 0.70),
    "white": (0.97, 0.97, 0.97),
    "black": (0.11, 0.11, 0.12),
}
"""sRGB in [0, 1]; `linear` turns it into what `Scene.colours` wants."""


@dataclass(frozen=True, kw_only=True)
class Water:
    """Water as a density on a regular grid of nodes; its surface is where the density crosses `level`.

    The density is a depth under the surface, or at least no steeper than one: it rises by at most 1 a metre.
    """

    density: np.ndarray
    """float32 (X, Y, Z), or (1 + cups, X, Y, Z): first the water that is in none of `cups`, then theirs in turn."""
    origin: tuple[float, float, float]
    """World position of node (0, 0, 0)."""
    spacing: float
    level: float = 0.5
    absorption: tuple[float, float, float] = (3.2, 1.2, 0.7)
    """Per metre, for red, green and blue light."""
    cups: tuple[int, ...] = ()
    """Rows of the solids that hold a layer of their own, so that no water is seen through a thin wall."""


@dataclass(frozen=True, kw_only=True)
class Stain:
    """How wet the table top is: 0 dry to 1 wet, on a regular grid of nodes."""

    wetness: np.ndarray
    """float32 (X, Y)."""
    origin: tuple[float, float]
    spacing: float


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Everything that a picture shows. K solids, world axes x right, y away, z up; the table top is z = 0."""

    kinds: np.ndarray
    """int64 (K,): SPHERE, BOX, CYLINDER or CUP."""
    positions: np.ndarray
    """float64 (K, 3): centres."""
    rotations: np.ndarray
    """float64 (K, 3, 3): own axes to world axes (MuJoCo's xmat)."""
    sizes: np.ndarray
    """float64 (K, 4), see the kinds."""
    colours: np.ndarray
    """float64 (K, 3): linear RGB."""
    materials: np.ndarray
    """int64 (K,): indices into MATERIALS."""
    object_ids: np.ndarray
    """int64 (K,): what the masks show, 1 + object index."""
    ground: int = 0
    """Index into GROUNDS."""
    ground_tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Multiplies the ground's colours; keep it close to grey."""
    ground_offset: tuple[float, float] = (0.0, 0.0)
    """Where the pattern starts, so that two wooden tables are not the same table."""
    sky: int = 0
    """Index into SKIES."""
    sun: tuple[float, float, float] = (-0.4, -0.5, 0.77)
    """Towards the sun, any length."""
    table: tuple[float, float, float, float] = (-1.7, 1.7, -0.75, 0.95)
    """x0, x1, y0, y1 of the table top."""
    table_thickness: float = 0.10
    floor: float = -0.9
    """Height of the floor that the table stands on."""
    water: Water | None = field(default=None)
    stain: Stain | None = field(default=None)


def linear(srgb: tuple[float, float, float]) -> tuple[float, float, float]:
    """A colour as a screen shows it, as the linear light that `Scene.colours` wants."""
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in srgb)
    return red, green, blue
