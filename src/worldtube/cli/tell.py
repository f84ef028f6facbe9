"""`evaluate` and `info`: numbers of a model, and what is installed."""

import json
from pathlib import Path
from typing import Any

from worldtube.cli.arguments import parse, positional, seeds_of
from worldtube.cli.bar import Bar


def evaluate(rest: list[str]) -> int:
    def command(
        measure: str,
        *,
        model: Path | None = None,
        device: str = "auto",
        dtype: str = "auto",
        seeds: str | None = None,
        prompts: Path | None = None,
        count: int | None = None,
        no_state: bool = False,
        physics: str = "model",
        renderer: str = "model",
        json: bool = False,
    ) -> Any:
        """Measure a model on held-out seeds and prompts.

        Args:
            measure: one of the measures (`worldtube info` lists them)
            model: weight file or diffusers folder; the embedded model when not said
            device: where it computes: auto, cpu, cuda, mps, or such as cuda:1
            dtype: what the network computes in: float32 or bfloat16; auto is the fastest here
            seeds: A:B, seeds A to B - 1; our own scores use 8,000,000 and up
            prompts: JSON lines of {"prompt": ..., "facts": [...], "event": ...}, or heldout, heldout_de (_es, _fr, _zh)
            count: clips at most
            no_state: adherence and motion of clips that are made from words alone
            physics: adherence and motion with what moves a state: model or engine
            renderer: adherence and motion with what draws a state: model or engine
            json: one JSON object on stdout and nothing else
        """
        options = {"no_state": no_state, "physics": physics, "renderer": renderer}
        return measure, model, device, dtype, seeds, prompts, count, options, json

    measure, model, device, dtype, seeds, prompts, count, options, as_json = parse(
        positional(command, "measure"), "evaluate", rest
    )
    options = {name: value for name, value in options.items() if value not in (False, "model")}
    from worldtube.errors import RequestError, unknown
    from worldtube.evaluate import MEASURES, WITH_OPTIONS
    from worldtube.evaluate.report import table
    from worldtube.generate.session import load

    if measure not in MEASURES:
        raise unknown("measure", measure, MEASURES)
    if options and measure not in WITH_OPTIONS:
        raise RequestError(
            f"the measure {measure} takes no {next(iter(options))}; {' and '.join(WITH_OPTIONS)} do"
        )
    chosen = None if seeds is None else seeds_of(seeds)
    with Bar(f"measuring {measure}") as bar:
        result = MEASURES[measure](
            load(model, device=device, dtype=dtype).model,
            seeds=chosen,
            prompts=prompts,
            count=count,
            progress=bar,
            **options,
        )
    print(json.dumps(result) if as_json else table(result))
    return 0


def info(rest: list[str]) -> int:
    def command(
        *,
        model: Path | None = None,
        device: str = "auto",
        dtype: str = "auto",
        json: bool = False,
    ) -> Any:
        """What is installed and what is chosen for this machine: model, device, dtype, worlds, tasks, samplers.

        Args:
            model: weight file or diffusers folder; the embedded model when not said
            device: what would be chosen for it: auto, cpu, cuda, mps, or such as cuda:1
            dtype: what would be chosen for it: auto, float32 or bfloat16
            json: print one JSON object
        """
        return model, device, dtype, json

    model, device, dtype, as_json = parse(command, "info", rest)
    from dataclasses import asdict

    from worldtube import __version__
    from worldtube.device import describe
    from worldtube.diffusion.samplers import SAMPLERS
    from worldtube.evaluate import MEASURES
    from worldtube.generate.tasks import possible
    from worldtube.models import load
    from worldtube.train.recipes import RECIPES

    machine = describe(device, dtype)
    loaded = load(model, device=device, dtype=dtype)
    told: dict[str, Any] = {
        "worldtube": __version__,
        "machine": machine,
        "model": asdict(loaded.card),
        "weights": {
            part: sum(p.numel() for p in module.parameters())
            for part, module in (("codec", loaded.codec), ("transformer", loaded.transformer))
        },
        "tasks": possible(loaded.abilities),
        "samplers": list(SAMPLERS),
        "recipes": list(RECIPES),
        "measures": list(MEASURES),
    }
    try:
        from worldtube.worlds import WORLDS

        told["worlds"] = list(WORLDS)
    except ImportError:
        told["worlds"] = "not installed: pip install 'worldtube[worlds]'"
    if as_json:
        print(json.dumps(told))
    else:
        told = {"worldtube": __version__} | _machine_lines(machine) | told
        del told["machine"]
        for name, value in told.items():
            print(f"{name:<10} {', '.join(value) if isinstance(value, list) else value}")
    return 0


def _machine_lines(machine: dict[str, Any]) -> dict[str, str]:
    """What `device.describe` found and chose, as lines of a name and a sentence."""
    from worldtube.device import LIMITS

    limiting = [name.lower() for name in LIMITS]
    limits = [f"{name.upper()}={machine[name]}" for name in limiting if name in machine]
    packed = "packed for oneDNN" if machine["packed_weights"] else "plain"
    return {
        "cpu": f"{machine['processor']}, {machine['cores']} cores ({machine['instruction_sets']})"
        + (f", limited by {' '.join(limits)}" if limits else ""),
        "device": machine["device"],
        "dtype": f"{machine['dtype']} ({machine['dtype_reason']})",
        "threads": str(machine["threads"]),
        "attention": f"{machine['attention']} kernel",
        "linear": f"{packed} weights",
        "compile": "usable" if machine["compile"] else "not usable: no C++ compiler or Triton",
    }
