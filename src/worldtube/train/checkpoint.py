"""Checkpoints: one file with everything a run needs to go on to the bit; whole or not at all.

Weights (float32 masters), optimizer, EMA and the step; data order and noise follow from the step.
Knows nothing of what is in the state.
"""

import os
from pathlib import Path
from typing import Any

import torch

from worldtube.errors import DataError

NAME = "checkpoint.pt"


def save(state: dict[str, Any], folder: Path) -> Path:
    """Write `folder/checkpoint.pt` over the one before."""
    path = folder / NAME
    partial = path.with_suffix(".partial")
    with open(partial, "wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
    return path


def load(folder: Path) -> dict[str, Any] | None:
    """The state in a run's folder, or None when it has none yet."""
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError) as error:
        raise DataError(
            f"{path} is not a whole checkpoint ({error}); delete it to begin anew"
        ) from error
