"""Engine-made worlds: seeded simulators that know the truth. No torch here.

A new world is one class in one file and one line in `_HOME`; the tests and the recorder take it from there.
`WORLDS`, name -> class, is made when it is first asked for: the protocol and the vocabulary (`world`) are
there without the engines, which are an extra.
"""

import importlib
from typing import Any

from worldtube.errors import MissingExtra, unknown
from worldtube.worlds.world import World

_HOME = {"tabletop": "worldtube.worlds.tabletop:Tabletop", "pour": "worldtube.worlds.pour:Pour"}


def __getattr__(name: str) -> Any:
    if name != "WORLDS":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        found = {}
        for world, home in _HOME.items():
            module, _, kind = home.partition(":")
            found[world] = getattr(importlib.import_module(module), kind)
    except ModuleNotFoundError as error:
        if error.name not in ("mujoco", "numba", "llvmlite"):
            raise
        raise MissingExtra("simulating worlds", "worlds") from error
    globals()["WORLDS"] = found
    return found


def make(name: str, **arguments: Any) -> World:
    """The world of that name; arguments go to its class (`size`, `supersample`)."""
    worlds = __getattr__("WORLDS")
    if name not in worlds:
        raise unknown("world", name, worlds)
    return worlds[name](**arguments)
