"""Generation: what knows requests. A task makes a `Request`; one engine carries out all of them."""

import sys
from types import ModuleType
from typing import Any

from worldtube.generate.engine import Generated, generate
from worldtube.generate.request import Given, Request
from worldtube.generate.tasks import TASKS

__all__ = ["TASKS", "Generated", "Given", "Request", "generate"]


class _Callable(ModuleType):
    """Python binds a package's name in its parent, so `worldtube.generate` is this room; calling it must
    still make a clip, since `worldtube.generate("...")` is part of the public face.
    """

    def __call__(self, prompt: str, **options: Any) -> Generated:
        from worldtube.generate.session import generate

        return generate(prompt, **options)


sys.modules[__name__].__class__ = _Callable
