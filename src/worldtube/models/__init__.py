"""Models: what knows weights. One protocol, the networks of our own behind it and those of others, load and save."""

from pathlib import Path

import torch

from worldtube.errors import RequestError
from worldtube.models import diffusers, local
from worldtube.models.diffusers import DiffusersModel
from worldtube.models.gaussian import GaussianModel
from worldtube.models.local import LocalModel, load_codec, save, save_codec
from worldtube.models.model import ABILITIES, VideoModel

MODELS = {"local": LocalModel, "gaussian": GaussianModel, "diffusers": DiffusersModel}
"""Kinds of model by name."""

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
        return diffusers.load(path, device=device, dtype=dtype, fast=fast)
    return local.load(path, device=device, dtype=dtype, fast=fast, adapters=adapters)
