"""Engine-made worlds by name. A new world is a class that fulfils `World` and one line here."""

from typing import Any

from worldtube.errors import unknown
from worldtube.worlds.pour import Pour
from worldtube.worlds.tabletop import Tabletop
from worldtube.worlds.world import World

WORLDS: dict[str, type] = {"tabletop": Tabletop, "pour": Pour}


def make(name: str, **arguments: Any) -> World:
    """The world of that name; arguments go to its class (`size`, `supersample`)."""
    if name not in WORLDS:
        raise unknown("world", name, WORLDS)
    return WORLDS[name](**arguments)
