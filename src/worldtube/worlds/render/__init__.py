"""Draws a scene of analytic solids with a small ray caster (numba, one core, no GL).

`scene` is what worlds fill in, `picture` what they call, `camera` where things are seen; `rays`, `solids`,
`shading` and `water` are compiled. Knows nothing of physics, seeds, captions or time: the same scene always gives
the same pixels.
"""

from worldtube.worlds.render.camera import camera_axes, project
from worldtube.worlds.render.picture import render
from worldtube.worlds.render.scene import (
    BOX,
    CUP,
    CYLINDER,
    GROUNDS,
    MATERIALS,
    PALETTE,
    SKIES,
    SPHERE,
    Scene,
    Stain,
    Water,
    linear,
)

__all__ = [
    "BOX",
    "CUP",
    "CYLINDER",
    "GROUNDS",
    "MATERIALS",
    "PALETTE",
    "SKIES",
    "SPHERE",
    "Scene",
    "Stain",
    "Water",
    "camera_axes",
    "linear",
    "project",
    "render",
]
