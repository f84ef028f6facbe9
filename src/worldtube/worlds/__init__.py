"""Engine-made worlds: seeded simulators that know the truth. No torch here.

A new world is one class in one file and one line in `WORLDS`; the tests and the recorder take it from there.
"""

from worldtube.errors import MissingExtra

try:
    from worldtube.worlds.pour import Pour
    from worldtube.worlds.tabletop import Tabletop
except ModuleNotFoundError as error:
    if error.name not in ("mujoco", "numba", "llvmlite"):
        raise
    raise MissingExtra("simulating worlds", "worlds") from error

WORLDS = {"tabletop": Tabletop, "pour": Pour}

__all__ = ["WORLDS"]
