"""The options of a session's tasks as Python callers write them, and what they mean as options of a `Request`.

Owns the names of diffusers, the forms of sizes and seeds, and the signatures and docstrings that people see. Knows
nothing of models or of how a task is carried out.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypedDict, TypeVar, get_type_hints

import numpy as np
import torch

from worldtube.errors import RequestError, unknown
from worldtube.generate.engine import Progress
from worldtube.generate.request import check_fps
from worldtube.generate.tasks import OPTIONS, TASKS
from worldtube.generate.values import as_integer
from worldtube.video import ClipLike, Size, SizeLike

SEEDS = 2**63
"""Seeds are below this."""
SEVERAL = (list, tuple, range, np.ndarray)
"""Types of a sequence of seeds or generators."""


class SharedOptions(TypedDict, total=False):
    """Options of every task of a `Session`, besides its own; meanings are those of `tasks.OPTIONS`."""

    size: SizeLike | None
    fps: float | None
    steps: int | None
    sampler: str | None
    guidance: float | None
    guidance_interval: tuple[float, float] | None
    guidance_rescale: float | None
    negative_prompt: str | None
    shift: float | None
    lag: int | None
    causal: bool | None
    no_state: bool | None
    physics: Literal["model", "engine"] | None
    renderer: Literal["model", "engine"] | None
    num_inference_steps: int | None
    guidance_scale: float | None
    height: int | None
    width: int | None
    progress: bool | Progress | None
    rewrite: bool | None
    rewriter: str | None


class OneSeed(SharedOptions, total=False):
    """Options of a call that makes one clip."""

    seed: int | None
    generator: torch.Generator | None


class ManySeeds(SharedOptions, total=False):
    """Options of a call that makes several clips."""

    seed: int | Sequence[int] | None
    generator: torch.Generator | Sequence[torch.Generator] | None


ALIASES: dict[str, str] = {"num_inference_steps": "steps", "guidance_scale": "guidance"}
"""Name in diffusers -> name here, where both mean the same number."""

PYTHON_OPTIONS: dict[str, str] = {
    "num_inference_steps": "the name of `steps` in diffusers",
    "guidance_scale": "the name of `guidance` in diffusers",
    "height": "height in pixels, in place of `size`; the model's own when only the width is given",
    "width": "width in pixels, in place of `size`; the model's own when only the height is given",
    "generator": "torch.Generator whose initial seed is taken as `seed`; drawing from it changes nothing",
}
"""Options of a request that only Python has, with their meaning."""

CALL_OPTIONS: dict[str, tuple[Any, str]] = {
    "progress": (
        None,
        "True for a progress bar on stderr, or a function of (evaluations done, evaluations in all)",
    ),
    "rewrite": (True, "put the prompt in the wording that the model learned"),
    "rewriter": (
        "grammar",
        "grammar, or endpoint:MODEL@URL for a language model behind an OpenAI-compatible address",
    ),
}
"""Options of a method's call, which its request does not hold: name -> (default, meaning)."""

SHORT_NAMES: dict[Any, str] = {
    ClipLike: "ClipLike",
    ClipLike | None: "ClipLike | None",
    SizeLike | None: "SizeLike | None",
}
"""Annotations that signatures show by their names."""


def resolve_options(task: str, options: Mapping[str, Any], native: Size) -> dict[str, Any]:
    """Return the options of a task under their own names, without those that are None.

    Args:
        task: key of TASKS
        options: as a caller wrote them, with names of diffusers
        native: size of the model, for a height without a width

    Raises:
        RequestError: an unknown name, or one option under two names with different values.
    """
    known = {name for name in inspect.signature(TASKS[task]).parameters if name != "options"}
    shared = {*OPTIONS, *PYTHON_OPTIONS}
    for name in options:
        if name not in known | shared:
            raise unknown(f"option of {task}", name, known | shared | {*CALL_OPTIONS})
    given = {
        name: value
        for name, value in options.items()
        if value is not None or name == "seed" or name not in shared
    }
    for alias, name in ALIASES.items():
        if alias in given:
            _merge(given, name, alias, given.pop(alias))
    if "fps" in given:
        given["fps"] = check_fps(given["fps"])
    height, width = (
        as_integer(name, given.pop(name)) if name in given else None for name in ("height", "width")
    )
    if "size" in given:
        given["size"] = Size.of(given["size"])
    if height is not None or width is not None:
        sides = (
            native.width if width is None else width,
            native.height if height is None else height,
        )
        size = Size.of(sides)
        _merge(given, "size", "height and width", size)
    if (generator := given.pop("generator", None)) is not None:
        _merge(given, "seed", "generator", seed_of(generator))
    return given


def _merge(options: dict[str, Any], name: str, alias: str, value: Any) -> None:
    own = options.get(name)
    if own is not None and own != value:
        raise RequestError(
            f"{name} and {alias} must agree where both are given, got {own} and {value}"
        )
    options[name] = value


def seed_of(generator: torch.Generator) -> int:
    """Return the seed that a generator began with; how much has been drawn from it does not matter."""
    if not isinstance(generator, torch.Generator):
        raise RequestError(f"generator must be a torch.Generator, got {type(generator).__name__}")
    return generator.initial_seed() % SEEDS


def expand_seeds(options: Mapping[str, Any], count: int) -> list[int | None]:
    """Return a seed for each of `count` clips: those of a list, or one after the other from a single one.

    Args:
        options: of a call; `seed` or `generator` may be a list of as many
        count: number of clips

    Raises:
        RequestError: lists of another length, or both with different values.
    """
    generator, seed = options.get("generator"), options.get("seed", 0)
    if isinstance(seed, np.ndarray) and seed.ndim == 1:
        seed = seed.tolist()
    if generator is not None:
        several = isinstance(generator, SEVERAL)
        seeds = [seed_of(one) for one in generator] if several else seed_of(generator)
        if "seed" in options and seed is not None and seed != seeds:
            raise RequestError(
                f"seed and generator must agree where both are given, got {seed} and {seeds}"
            )
        seed = seeds
    if seed is None:
        return [None] * count
    if isinstance(seed, list | tuple | range):
        if len(seed) != count:
            raise RequestError(f"seed must hold one for each of {count} clips, got {len(seed)}")
        return list(seed)
    if not isinstance(seed, int) or not 0 <= seed < SEEDS:
        return [seed] * count  # refused, or converted, with the request
    return [(seed + number) % SEEDS for number in range(count)]


Method = TypeVar("Method", bound=Callable[..., Any])


def describe_options(method: Method) -> Method:
    """Show all options of a task's method to `help`, `inspect.signature` and tab completion.

    In the signature, parameters take the place of `**options`; in the docstring, their meanings that of the line
    `{options}`.
    """
    signature = inspect.signature(method)
    parameters = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    there = {parameter.name for parameter in parameters}
    several = "num_videos_per_prompt" in there or "num_images_per_prompt" in there
    hints = get_type_hints(ManySeeds if several else OneSeed)
    lines = []
    every = {name: (default, meaning) for name, (_, default, meaning) in OPTIONS.items()}
    every |= {name: (None, meaning) for name, meaning in PYTHON_OPTIONS.items()}
    for name, (default, meaning) in (every | CALL_OPTIONS).items():
        lines.append(f"    {name}: {meaning}")
        kind = inspect.Parameter.KEYWORD_ONLY
        parameters.append(inspect.Parameter(name, kind, default=default, annotation=hints[name]))
    parameters = [
        parameter.replace(annotation=SHORT_NAMES.get(parameter.annotation, parameter.annotation))
        for parameter in parameters
    ]
    changed: Any = method
    changed.__signature__ = signature.replace(parameters=parameters)
    doc = inspect.cleandoc(method.__doc__ or "")
    changed.__doc__ = doc.replace("    {options}", "\n".join(lines))
    return method
