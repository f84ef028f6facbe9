"""What stands in a run's newest checkpoint, read by torch's own converter."""

import tempfile
from pathlib import Path

import torch
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

from worldtube.train.checkpoint import Checkpoints


def state_of(out):
    """The facts and the tensors, in one dictionary."""
    checkpoints = Checkpoints(out)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "state.pt"
        dcp_to_torch_save(checkpoints.latest, file)
        return checkpoints.facts() | torch.load(file, weights_only=True)


def same(a, b):
    """Two nested states, equal to the bit."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b
