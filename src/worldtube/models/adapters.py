"""Low-rank adapters (Hu et al. 2022, LoRA) in a file of their own: how they are read and merged into a network.

Knows nothing of how they are trained.
"""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from worldtube.errors import DataError, NotFound

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


def put(path: Path | str, network: nn.Module) -> None:
    """Merge adapters into a float32 network's weights. Raises NotFound, DataError for those of other sizes."""
    found = read(path)
    try:
        network.load_state_dict(merged(network.state_dict() | found))
    except (KeyError, RuntimeError) as error:
        raise DataError(
            f"{path} does not fit this model ({str(error).splitlines()[-1].strip()}); "
            "adapters.safetensors of a fine-tuning of this model is accepted"
        ) from error
