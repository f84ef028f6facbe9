"""Engine-made worlds: seeded simulators that know the truth. No torch here.

A new world is one class in one file and one line in `_HOME`; the tests and the recorder take it from there.
`WORLDS`, name -> class, is made when it is first asked for: the protocol and the vocabulary (`world`) are
there without the engines, which are an extra.
"""

import importlib
import importlib.util
from typing import Any

import numpy as np

from worldtube.codec.water import WaterPlan
from worldtube.errors import MissingExtra, unknown
from worldtube.state import State
from worldtube.video import Size
from worldtube.worlds.world import World

ENGINES = ("mujoco", "numba")
"""Packages of the extra `worlds`."""
_HOME = {"tabletop": "worldtube.worlds.tabletop:Tabletop", "pour": "worldtube.worlds.pour:Pour"}


def __getattr__(name: str) -> Any:
    if name != "WORLDS":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = {}
    for world, home in _HOME.items():
        module, _, kind = home.partition(":")
        found[world] = getattr(_import_engine(module), kind)
    globals()["WORLDS"] = found
    return found


def _import_engine(module: str) -> Any:
    """A module that needs an engine. Raises MissingExtra where it is not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name not in (*ENGINES, "llvmlite"):
            raise
        raise MissingExtra("simulating worlds", "worlds") from error


def make(name: str, **arguments: Any) -> World:
    """The world of that name; arguments go to its class (`size`, `supersample`)."""
    worlds = __getattr__("WORLDS")
    if name not in worlds:
        raise unknown("world", name, worlds)
    return worlds[name](**arguments)


def continue_state(state: State, num_frames: int) -> State:
    """Let the engine go on from the last frame of a state, for `num_frames` more."""
    physics = _import_engine("worldtube.worlds.tabletop.physics")
    return physics.continue_state(state, num_frames)[0]


def run_water(state: State, water: WaterPlan, num_frames: int) -> State:
    """Let the engine of water run what a state's first frame and a plan of its water begin: `num_frames` in all.

    Raises:
        RequestError: for bodies that the engine does not know beside water
    """
    physics = _import_engine("worldtube.worlds.pour.physics")
    engine = _import_engine("worldtube.worlds.pour.engine")
    return engine.simulate(physics.plan_from_state(state, water), num_frames=num_frames)[0]


def have_engines() -> bool:
    """Whether the packages of the engines are installed."""
    return all(importlib.util.find_spec(name) for name in ENGINES)


def draw_state(state: State, size: Size) -> np.ndarray:
    """Draw a state by the ray caster: uint8 (T, H, W, 3)."""
    drawing = _import_engine("worldtube.worlds.tabletop.drawing")
    return drawing.draw(state, size).rgb
