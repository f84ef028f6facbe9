"""Generation: what knows requests. A task makes a `Request`; one engine carries out all of them.

The room is lazy, so that a request can be read and checked (`--help`, a server's front door) without
the seconds that loading torch takes. It is also callable: Python binds a package's name in its parent,
so `worldtube.generate` is this room, and `worldtube.generate("a red ball")` must still make a clip.
"""

import importlib
import inspect
import sys
from types import ModuleType
from typing import Any

_HOME = {
    "TASKS": "worldtube.generate.tasks",
    "Generated": "worldtube.generate.engine",
    "Given": "worldtube.generate.request",
    "Request": "worldtube.generate.request",
    "Session": "worldtube.generate.session",
}
__all__ = ["TASKS", "Generated", "Given", "Request", "Session"]


def __getattr__(name: str) -> Any:
    if (
        name == "__signature__"
    ):  # what `inspect.signature(worldtube.generate)` and tab completion ask for
        session = importlib.import_module("worldtube.generate.session")
        return inspect.signature(session.generate)
    if name not in _HOME:
        raise AttributeError(
            f"module {__name__!r} has no attribute {name!r} (it has {', '.join(_HOME)})"
        )
    return getattr(importlib.import_module(_HOME[name]), name)


class _Callable(ModuleType):
    def __call__(self, prompt: str, **options: Any) -> Any:
        """Text to video with the embedded model; options as those of `Session.generate`."""
        from worldtube.generate.session import generate

        return generate(prompt, **options)


sys.modules[__name__].__class__ = _Callable
