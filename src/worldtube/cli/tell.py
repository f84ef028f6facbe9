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
        seeds: str | None = None,
        prompts: Path | None = None,
        count: int | None = None,
        json: bool = False,
    ) -> Any:
        """Measure a model on held-out seeds and prompts.

        Args:
            measure: one of the measures (`worldtube info` lists them)
            model: weight file or diffusers folder; the embedded model when not said
            seeds: A:B, seeds A to B - 1; our own scores use 8,000,000 and up
            prompts: JSON lines of {"prompt": ..., "facts": [...], "event": ...}
            count: clips at most
            json: one JSON object on stdout and nothing else
        """
        return measure, model, seeds, prompts, count, json

    measure, model, seeds, prompts, count, as_json = parse(
        positional(command, "measure"), "evaluate", rest
    )
    from worldtube.errors import unknown
    from worldtube.evaluate import MEASURES
    from worldtube.evaluate.report import table
    from worldtube.generate.session import load

    if measure not in MEASURES:
        raise unknown("measure", measure, MEASURES)
    chosen = None if seeds is None else seeds_of(seeds)
    with Bar(f"measuring {measure}") as bar:
        result = MEASURES[measure](
            load(model).model, seeds=chosen, prompts=prompts, count=count, progress=bar
        )
    print(json.dumps(result) if as_json else table(result))
    return 0


def info(rest: list[str]) -> int:
    def command(*, model: Path | None = None, json: bool = False) -> Any:
        """What is installed: the model, worlds, tasks, samplers, recipes, measures.

        Args:
            model: weight file or diffusers folder; the embedded model when not said
            json: print one JSON object
        """
        return model, json

    model, as_json = parse(command, "info", rest)
    from dataclasses import asdict

    from worldtube import __version__
    from worldtube.diffusion.samplers import SAMPLERS
    from worldtube.evaluate import MEASURES
    from worldtube.generate.tasks import possible
    from worldtube.models import load
    from worldtube.train.recipes import RECIPES

    loaded = load(model)
    told: dict[str, Any] = {
        "worldtube": __version__,
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
        for name, value in told.items():
            print(f"{name:<10} {', '.join(value) if isinstance(value, list) else value}")
    return 0
