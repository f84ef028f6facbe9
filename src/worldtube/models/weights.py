"""Weight files: one safetensors file with a configuration as JSON in its metadata, written atomically.

Knows nothing of which networks the tensors belong to.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor
from torch.overrides import TorchFunctionMode

from worldtube.files import atomic_path
from worldtube.tokens import TRACKS


def match_track_rows(weight: Tensor, names: Sequence[str]) -> Tensor:
    """Put the rows of track embeddings, two of each name, into the order of TRACKS; missing tracks get zeros."""
    by_track = weight.unflatten(0, (len(names), 2))  # (tracks, 2, D)
    rows = by_track.new_zeros(len(TRACKS), *by_track.shape[1:])
    for row, name in zip(by_track, names, strict=True):
        rows[TRACKS.index(name)] = row
    return rows.flatten(0, 1)


class Uninitialized(TorchFunctionMode):
    """Make modules without drawing their first weights, which those of a file replace."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.randn:
            return torch.empty(*args, **kwargs)
        if (
            func in (Tensor.normal_, Tensor.uniform_)
            or getattr(func, "__module__", "") == "torch.nn.init"
        ):
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


def save_weights(
    tensors: Mapping[str, Tensor], path: Path | str, *, config: Mapping[str, Any]
) -> None:
    """Write tensors and their configuration to a safetensors file.

    Args:
        tensors: contiguous tensors by name.
        config: what JSON can hold; readers find it under the metadata key `worldtube`.

    Raises:
        RequestError: the file cannot be written. An older file at this path stays.
    """
    with atomic_path(path) as part:
        try:
            save_file(dict(tensors), part, metadata={"worldtube": json.dumps(config)})
        except SafetensorError as error:
            code = re.search(r"os error (\d+)", str(error))
            if code is None:
                raise
            raise OSError(int(code[1]), os.strerror(int(code[1]))) from error
