"""worldtube: an open Sora in Python. One transformer over spacetime patches turns words into video.

    import worldtube as wt
    wt.load().generate("a red ball rolls into a stack of blue boxes").save("clip.mp4")

This is the whole public face; every name is loaded when it is first used.
"""

import importlib

_HOME = {
    "load": "worldtube.generate.session",
    "generate": "worldtube.generate",
    "Request": "worldtube.generate.request",
    "Given": "worldtube.generate.request",
    "Clip": "worldtube.video",
    "PromptWarning": "worldtube.errors",
    "Size": "worldtube.video",
    "World": "worldtube.worlds.world",
}
__all__ = ["Clip", "Given", "PromptWarning", "Request", "Size", "World", "generate", "load"]
__version__ = "0.1.0"


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(
            f"module 'worldtube' has no attribute {name!r} (it has {', '.join(__all__)})"
        )
    if name == "generate":  # a callable room, see its __init__
        return importlib.import_module("worldtube.generate")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
