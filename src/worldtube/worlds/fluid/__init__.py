"""Water as particles: an MLS-MPM solver in three dimensions, in numba, for one core.

`solver` moves the particles, `walls` are the moving cups that hold them, `surface` is what a picture
draws of them. Nothing here knows of seeds or of what a scene is for.
"""

from worldtube.worlds.fluid.solver import GRAVITY, Domain, Water
from worldtube.worlds.fluid.surface import soak, surface
from worldtube.worlds.fluid.walls import INSIDE, OUTSIDE, Vessel, lattice

__all__ = [
    "GRAVITY",
    "INSIDE",
    "OUTSIDE",
    "Domain",
    "Vessel",
    "Water",
    "lattice",
    "soak",
    "surface",
]
