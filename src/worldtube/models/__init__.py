"""Models: what knows weights. One protocol, the networks of our own behind it and those of others, load and save.

Every name but `load` is imported when it is first used, so that our own model does without the others' code.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worldtube.errors import RequestError

if TYPE_CHECKING:
    import torch

    from worldtube.models.diffusers import DiffusersModel
    from worldtube.models.gaussian import GaussianModel
    from worldtube.models.local import LocalModel, load_codec, save, save_codec
    from worldtube.models.model import ABILITIES, VideoModel

MODELS = {
    "local": "worldtube.models.local:LocalModel",
    "gaussian": "worldtube.models.gaussian:GaussianModel",
    "diffusers": "worldtube.models.diffusers:DiffusersModel",
}
"""Kinds of model: name -> "module:class"."""
_HOME = {
    "ABILITIES": "worldtube.models.model",
    "DiffusersModel": "worldtube.models.diffusers",
    "GaussianModel": "worldtube.models.gaussian",
    "LocalModel": "worldtube.models.local",
    "VideoModel": "worldtube.models.model",
    "load_codec": "worldtube.models.local",
    "save": "worldtube.models.local",
    "save_codec": "worldtube.models.local",
}
__all__ = [
    "ABILITIES",
    "MODELS",
    "DiffusersModel",
    "GaussianModel",
    "LocalModel",
    "VideoModel",
    "load",
    "load_codec",
    "save",
    "save_codec",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(
            f"module {__name__!r} has no attribute {name!r} (it has {', '.join(__all__)})"
        )
    return getattr(importlib.import_module(_HOME[name]), name)


def load(
    path: Path | str | None = None,
    *,
    device: torch.device | str = "auto",
    dtype: torch.dtype | str = "auto",
    fast: bool = False,
    adapters: Path | str | None = None,
) -> LocalModel | DiffusersModel:
    """The model in a safetensors file of ours or in a folder of a diffusers pipeline; without a path, the one that
    ships inside the package. Arguments as for `local.load`.
    """
    if path is not None and Path(path).is_dir():
        if adapters is not None:
            raise RequestError(f"adapters for {path} are not accepted; those for a weight file are")
        from worldtube.models import diffusers

        return diffusers.load(path, device=device, dtype=dtype, fast=fast)
    from worldtube.models import local

    return local.load(path, device=device, dtype=dtype, fast=fast, adapters=adapters)
