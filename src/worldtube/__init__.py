"""worldtube: an open Sora in Python. One transformer over spacetime patches turns words into video.

    import worldtube as wt
    wt.load().generate("a large red ball rolls into a small blue box").save("clip.mp4")

Every public name is in `__all__` and is loaded when it is first used (docs/python.md).
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from worldtube.errors import (
        DataError,
        MissingExtra,
        NotFound,
        PromptWarning,
        Refused,
        RequestError,
        WorldtubeError,
    )
    from worldtube.generate.engine import Generated
    from worldtube.generate.request import Given, Request, Shot
    from worldtube.generate.session import Session, generate, load
    from worldtube.provenance import verify
    from worldtube.video import Clip, ClipLike, Size, Sound, as_clip, read
    from worldtube.worlds.world import World

_HOME = {
    "Clip": "worldtube.video",
    "ClipLike": "worldtube.video",
    "DataError": "worldtube.errors",
    "Generated": "worldtube.generate.engine",
    "Given": "worldtube.generate.request",
    "MissingExtra": "worldtube.errors",
    "NotFound": "worldtube.errors",
    "PromptWarning": "worldtube.errors",
    "Refused": "worldtube.errors",
    "Request": "worldtube.generate.request",
    "RequestError": "worldtube.errors",
    "Session": "worldtube.generate.session",
    "Shot": "worldtube.generate.request",
    "Size": "worldtube.video",
    "Sound": "worldtube.video",
    "World": "worldtube.worlds.world",
    "WorldtubeError": "worldtube.errors",
    "as_clip": "worldtube.video",
    "generate": "worldtube.generate",
    "load": "worldtube.generate.session",
    "read": "worldtube.video",
    "verify": "worldtube.provenance",
}
__all__ = [
    "Clip",
    "ClipLike",
    "DataError",
    "Generated",
    "Given",
    "MissingExtra",
    "NotFound",
    "PromptWarning",
    "Refused",
    "Request",
    "RequestError",
    "Session",
    "Shot",
    "Size",
    "Sound",
    "World",
    "WorldtubeError",
    "as_clip",
    "generate",
    "load",
    "read",
    "verify",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(
            f"module 'worldtube' has no attribute {name!r} (it has {', '.join(__all__)})"
        )
    if name == "generate":  # a callable room, see its __init__
        return importlib.import_module("worldtube.generate")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
