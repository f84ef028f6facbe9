"""`plan`: what a command would cost, in time and memory, before it is run."""

import json
from pathlib import Path
from typing import Annotated, Any

from worldtube.cli.arguments import parse
from worldtube.cli.make import MAKE, prepared, read_task
from worldtube.cli.startup import collection_paused

HELP = """usage: worldtube plan TASK ARGUMENTS ...
       worldtube plan train RECIPE [--data CATALOG ...] [--rows N ...]

What a command would cost before it is run: passes of the network, seconds, peak memory, and what they go to.

Put `plan` before any command that makes a clip; it takes the same arguments and writes nothing. The engine
goes through the request without computing it, and one example of each kind of work is timed on this
machine as it is now, mostly in a second or two. Of a training run on a CPU some steps of eight rows are
timed; rows are clips of two seconds where no data are named.

  seconds      on the processor, all threads together, from the start of the process to its end; the clock
               on the wall shows the same with one thread on an idle machine
  peak memory  the most that the process holds at once, Python and all libraries included

What does not fit into memory is refused, by `plan` and by the command, in a sentence that says what would.
--json prints one JSON object. Try:
  worldtube plan generate "a red ball rolls to the right" --seconds 20 --size 128x128
  worldtube plan train laptop --rows 16"""

LEAVING = 1.05
"""Start and end of a process, in units of its start."""


def plan(rest: list[str]) -> int:
    from worldtube.errors import unknown

    if not rest or rest[0].startswith("-"):
        print(HELP)
        return 0
    if rest[0] == "train":
        return _train(rest[1:])
    if rest[0] not in MAKE:
        raise unknown("command to plan", rest[0], [*MAKE, "train"])
    with collection_paused():  # as the command itself does, whose start is to be measured
        args, values, where = read_task(rest[0], rest[1:], before="plan ")
        session, request, _, streamed = prepared(rest[0], args, values, **where)
    from worldtube.generate import cost

    start = LEAVING * cost.clocks()[[1, 1]]  # the run takes as long to get here
    told = cost.predict(
        session.model, request, streamed=streamed, format=where["out"].suffix[1:].lower()
    )
    _tell(
        {
            "clip": f"{told.size}, {told.num_frames} frames at {told.fps:g} fps, {told.tokens} tokens",
            "network": f"{told.passes} passes, at most {told.longest} tokens each",
        },
        {"size": str(told.size), "num_frames": told.num_frames, "fps": told.fps}
        | {"tokens": told.tokens, "passes": told.passes, "longest": told.longest},
        {"start": start} | told.stages,
        told.peak,
        told.memory,
        as_json=where["json"],
    )
    return 0


def _train(rest: list[str]) -> int:
    from worldtube.errors import unknown
    from worldtube.train.recipes import RECIPES

    if not rest or rest[0].startswith("-"):
        print(HELP)
        return 0
    if rest[0] not in RECIPES:
        raise unknown("recipe to plan", rest[0], RECIPES)
    import tyro

    from worldtube.train.config import TrainConfig

    def command(
        *,
        data: list[Path] | None = None,
        codec: Path | None = None,
        start: Path | None = None,
        threads: int | None = None,
        json: bool = False,
        config: Annotated[TrainConfig, tyro.conf.arg(name="")] = RECIPES[rest[0]][1],
    ) -> Any:
        """What a training run would cost in time and memory, from a few steps of eight rows.

        Args:
            data: folders of catalogs with latents and words; clips of two seconds when not said
            codec: model file whose codec made the latents; the embedded model when not said
            start: begin from the weights in this model file
            threads: torch threads; torch's own choice when not said
            json: print one JSON object
        """
        return data, codec, start, threads, json, config

    data, codec, start, threads, as_json, config = parse(command, f"plan train {rest[0]}", rest[1:])
    import torch

    from worldtube.generate.cost import clocks
    from worldtube.models.local import embedded_path
    from worldtube.train import cost

    if threads:
        torch.set_num_threads(threads)
    started = LEAVING * clocks()[[1, 1]]
    told = cost.predict(config, data=data, codec=codec or embedded_path(), start=start)
    step = sum(each[1] for each in told.step.values())
    _tell(
        {
            "network": f"{told.weights / 1e6:.3g} million weights",
            "batch": f"{config.rows} rows, about {told.tokens:.0f} tokens",
            "step": f"{step:.2f} s, of which {config.steps}",
        },
        {"weights": told.weights, "tokens": round(told.tokens), "step_cpu_seconds": round(step, 4)},
        {"start": started, "prepare": told.prepare}
        | {part: each * config.steps for part, each in told.step.items()},
        told.peak,
        told.memory,
        as_json=as_json,
    )
    return 0


def _tell(
    rows: dict[str, str],
    numbers: dict[str, Any],
    stages: dict[str, Any],
    peak: float,
    memory: dict[str, float],
    *,
    as_json: bool,
) -> None:
    """Print a prediction: what is asked for, and where time (wall, processor) and bytes go."""
    wall, cpu = sum(stages.values())
    if as_json:
        numbers |= {"cpu_seconds": round(cpu, 3), "wall_seconds": round(wall, 3)}
        numbers["stages_cpu_seconds"] = {name: round(each[1], 3) for name, each in stages.items()}
        numbers["peak_mb"] = round(peak / 1e6, 1)
        numbers["memory_mb"] = {name: round(each / 1e6, 3) for name, each in memory.items()}
        print(json.dumps(numbers))
        return
    parts = sorted(((each[1], name) for name, each in stages.items()), reverse=True)
    shares = ", ".join(f"{name} {part / cpu:.0%}" for part, name in parts if part > 0.01 * cpu)
    bytes_of = sorted(((each, name) for name, each in memory.items()), reverse=True)
    most = ", ".join(f"{name} {each / 1e6:.0f}" for each, name in bytes_of if each > 1e6)
    rows |= {"seconds": f"{_long(cpu)} ({shares})", "peak memory": f"{peak / 1e6:.0f} MB"}
    rows["peak memory"] += f" (beyond the loaded model: {most})" if most else ""
    width = max(map(len, rows))
    print("\n".join(f"{name:<{width}}  {value}" for name, value in rows.items()))


def _long(seconds: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 3 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"
