"""Low-rank adapters (Hu et al. 2022, LoRA) in a file of their own: how they are read and merged into a network.

Knows nothing of how they are trained.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from worldtube.errors import DataError, NotFound

logger = logging.getLogger(__name__)
KEYS = (".down", ".up")


def merged(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a network without adapters that does the same."""
    made = {name: value for name, value in state.items() if not name.endswith(KEYS)}
    for name, up in state.items():
        if name.endswith(".up"):
            layer = name.removesuffix(".up")
            made[f"{layer}.weight"] = made[f"{layer}.weight"] + up @ state[f"{layer}.down"]
    return made


def read(path: Path | str) -> dict[str, Tensor]:
    """Adapters that `train finetune` wrote; `merged(weights | read(path))` has them in the weights.

    Raises NotFound, DataError.
    """
    if not Path(path).is_file():
        raise NotFound(f"no adapters at {path} (accepted: adapters.safetensors of a fine-tuning)")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise DataError(f"{path} is not a whole file of adapters ({error})") from error


def fingerprint(path: Path | None) -> str:
    """Of the transformer's weights in a model file, short enough to be told."""
    if path is None:
        return ""
    digest = hashlib.sha256()
    with safe_open(path, framework="pt") as file:
        for name in sorted(name for name in file.keys() if name.startswith("transformer.")):  # noqa: SIM118
            digest.update(name.encode())
            digest.update(file.get_tensor(name).reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:12]


def put(path: Path | str, network: nn.Module, base: Path) -> None:
    """Merge adapters into a float32 network's weights, which are those of the file `base`.

    Warns where they were trained beside the weights of another file: those of their own fine-tuning have them already.
    Raises NotFound, DataError for adapters of other sizes.
    """
    found = read(path)
    with safe_open(path, framework="pt") as file:
        told = json.loads((file.metadata() or {}).get("worldtube", "{}"))
    if told.get("weights", here := fingerprint(base)) != here:
        logger.warning(
            "%s were trained beside the weights of another model (%s, %s) than %s, %s",
            *(path, told["base"], told["weights"], base, here),
        )
    try:
        network.load_state_dict(merged(network.state_dict() | found))
    except (KeyError, RuntimeError) as error:
        raise DataError(
            f"{path} does not fit this model ({str(error).splitlines()[-1].strip()}); "
            "adapters.safetensors of a fine-tuning of this model is accepted"
        ) from error
