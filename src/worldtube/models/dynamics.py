"""Weight files of the learned dynamics."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from worldtube.dynamics import SHAPES, Dynamics, DynamicsConfig
from worldtube.errors import DataError, NotFound

FORMAT = 1


def save_dynamics(config: DynamicsConfig, weights: Mapping[str, Tensor], path: Path) -> None:
    """Write weights by name, float32, whole or not at all."""
    facts = {"format": FORMAT, "model": "dynamics", "config": asdict(config), "shapes": SHAPES}
    partial = path.with_name(path.name + ".partial")
    tensors = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    save_file(tensors, partial, metadata={"worldtube": json.dumps(facts)})
    partial.chmod(0o644)  # safetensors makes it readable by its owner alone
    partial.replace(path)


def load_dynamics(path: Path | str) -> Dynamics:
    """Read the learned dynamics from a file that `save_dynamics` wrote.

    Raises:
        NotFound: where there is no such file
        DataError: where it is not whole, or holds something else
    """
    path = Path(path)
    if not path.is_file():
        raise NotFound(
            f"no weights at {path} (a file that `worldtube train dynamics` wrote is expected)"
        )
    try:
        with safe_open(str(path), framework="pt") as file:
            facts = json.loads((file.metadata() or {}).get("worldtube", "{}"))
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        raise DataError(f"{path} is not a whole safetensors file ({error})") from error
    if facts.get("model") != "dynamics" or facts.get("format") != FORMAT:
        raise DataError(f"{path} holds no learned dynamics of format {FORMAT}")
    if tuple(facts["shapes"]) != SHAPES:
        raise DataError(
            f"{path} knows the shapes {', '.join(facts['shapes'])}; {', '.join(SHAPES)} are expected"
        )
    model = Dynamics(DynamicsConfig(**facts["config"]))
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise DataError(
            f"{path}: the weights do not fit the configuration ({str(error).splitlines()[-1].strip()})"
        ) from error
    return model.eval().requires_grad_(False)
