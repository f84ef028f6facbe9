"""Models: what knows weights. One protocol, the networks of our own behind it, load and save."""

from worldtube.models.gaussian import GaussianModel
from worldtube.models.local import LocalModel, load, load_codec, save, save_codec
from worldtube.models.model import VideoModel

MODELS = {"local": LocalModel, "gaussian": GaussianModel}
"""Kinds of model by the name that their saved configuration carries."""

__all__ = [
    "MODELS",
    "GaussianModel",
    "LocalModel",
    "VideoModel",
    "load",
    "load_codec",
    "save",
    "save_codec",
]
