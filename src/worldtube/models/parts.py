"""Weight files of the parts around the transformer: one network each, with its configuration and vocabulary."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from worldtube.codec import plan
from worldtube.dynamics import SHAPES, Dynamics, DynamicsConfig
from worldtube.errors import DataError, NotFound
from worldtube.models.weights import Uninitialized, match_track_rows, save_weights
from worldtube.renderer import Renderer, RendererConfig, scenes
from worldtube.text.topics import TOPICS, Topics, TopicsConfig
from worldtube.tokens import TRACKS
from worldtube.transformer import Transformer, TransformerConfig

FORMAT = 1
FIRST_TRACKS = (
    *("rgb", "sound", "depth", "motion", "temperature", "action"),
    *("objects", "scene"),
)
"""Tracks of weight files that do not name theirs."""

PLAN_NAMES = {
    "shapes": plan.SHAPES,
    "colours": plan.COLOURS,
    "materials": plan.MATERIALS,
    "grounds": plan.GROUNDS,
    "skies": plan.SKIES,
}

PARTS: dict[str, tuple[type[Any], type[nn.Module], dict[str, tuple[str, ...]]]] = {
    "planner": (TransformerConfig, Transformer, PLAN_NAMES),
    "dynamics": (DynamicsConfig, Dynamics, {"shapes": SHAPES}),
    "renderer": (
        RendererConfig,
        Renderer,
        {
            "shapes": scenes.SHAPES,
            "colours": scenes.COLOURS,
            "materials": scenes.MATERIALS,
            "grounds": scenes.GROUNDS,
            "skies": scenes.SKIES,
        },
    ),
    "topics": (TopicsConfig, Topics, {"topics": TOPICS}),
}
"""name -> class of its configuration, class of the network, the names that it knows, in the order of its inputs."""


@dataclass(frozen=True, kw_only=True)
class StateParts:
    """What makes a clip by way of its physical state, stage by stage."""

    planner: Transformer
    """Text to plan tokens."""
    dynamics: Dynamics
    """A state to the next one."""
    renderer: Renderer
    """States to latents of the codec."""
    topics: Topics
    """Which world a prompt speaks of."""


def load_state_parts(folder: Path | None = None, *, dtype: torch.dtype | None = None) -> StateParts:
    """Read all stages: those that ship inside the package, or the files of a folder.

    Args:
        dtype: what the renderer computes in; the other stages compute in float32
    """
    found = {
        part: load_part(part, None if folder is None else folder / f"{part}.safetensors")
        for part in PARTS
    }
    if dtype is not None:
        found["renderer"].to(dtype)
    return StateParts(**found)


def has_state_parts() -> bool:
    """Whether all stages ship inside the package."""
    return all(_shipped_path(part).is_file() for part in PARTS)


def _shipped_path(part: str) -> Path:
    return Path(str(resources.files("worldtube") / "weights" / f"{part}.safetensors"))


def save_part(part: str, config: Any, weights: Mapping[str, Tensor], path: Path) -> None:
    """Write an entry of PARTS: its configuration and its weights by name, whole or not at all."""
    facts = {"format": FORMAT, "model": part, "config": asdict(config), "names": PARTS[part][2]}
    facts["tracks"] = list(TRACKS)
    tensors = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    save_weights(tensors, path, config=facts)


def load_part(part: str, path: Path | str | None = None) -> Any:
    """Read an entry of PARTS from a file that `save_part` wrote; its weights are frozen.

    Args:
        path: weight file; the one that ships inside the package by default

    Raises:
        NotFound: where there is no such file
        DataError: where it is not whole, or holds something else
    """
    path = _shipped_path(part) if path is None else Path(path)
    if not path.is_file():
        raise NotFound(
            f"no weights at {path} (a file that `worldtube train {part}` wrote is expected)"
        )
    try:
        with safe_open(str(path), framework="pt") as file:
            facts = json.loads((file.metadata() or {}).get("worldtube", "{}"))
            weights = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        raise DataError(f"{path} is not a whole safetensors file ({error})") from error
    if facts.get("model") != part or facts.get("format") != FORMAT:
        raise DataError(f"{path} holds no {part} of format {FORMAT}")
    config, network, names = PARTS[part]
    for kind, known in names.items():
        if tuple(facts["names"][kind]) != known:
            found = ", ".join(facts["names"][kind])
            raise DataError(f"{path} knows the {kind} {found}; {', '.join(known)} are expected")
    if "kind.weight" in weights:
        names = facts.get("tracks", FIRST_TRACKS)
        weights["kind.weight"] = match_track_rows(weights["kind.weight"], names)
    with Uninitialized():
        module = network(config(**facts["config"]))
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise DataError(f"{path}: the weights do not fit the configuration ({reason})") from error
    return module.eval().requires_grad_(False)
