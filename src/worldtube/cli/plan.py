"""`plan`: what a command would cost, in time and memory, before it is run."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from worldtube.cli.arguments import parse
from worldtube.cli.make import MAKE, prepared, read_task

HELP = """usage: worldtube plan TASK ARGUMENTS ...
       worldtube plan train RECIPE [--data CATALOG ...] [--steps N ...]

What a command would cost before it is run: passes of the network, seconds and peak memory.

Take any command that makes a clip and put `plan` before it; the same arguments are accepted, and nothing
is written. The engine goes through the request without computing it, and one example of each kind of work
is timed on this machine as it is now, which takes a second or two beyond the loading of the model.

  seconds      of this process on the processor, all threads together; on an idle machine with one thread
               the clock on the wall shows the same, on a busy one more
  peak memory  the most that the process holds at once, Python and all libraries included

What would not fit into memory is refused, by `plan` and by the command itself, in one sentence that says
what would. --json prints one JSON object. Try:
  worldtube plan generate "a red ball rolls to the right" --seconds 20 --size 128x128
  worldtube plan extend clip.mp4 --seconds 4
  worldtube plan train laptop --rows 16"""


def plan(rest: list[str]) -> int:
    from worldtube.errors import unknown

    if not rest or rest[0].startswith("-"):
        print(HELP)
        return 0
    if rest[0] == "train":
        return _train(rest[1:])
    if rest[0] not in MAKE:
        raise unknown("command to plan", rest[0], [*MAKE, "train"])
    return _request(rest[0], rest[1:])


def _request(task: str, rest: list[str]) -> int:
    args, values, where = read_task(task, rest, before="plan ")
    session, request, streamed = prepared(task, args, values, **where)
    from worldtube.generate import cost

    told = cost.predict(
        session.model,
        request,
        streamed=streamed,
        format=where["out"].suffix[1:].lower(),
        before=_start(),
    )
    if where["json"]:
        stages = {name: round(taken.cpu, 4) for name, taken in told.stages.items()}
        numbers = asdict(told) | {"size": str(told.size), "stages_cpu_seconds": stages}
        del numbers["stages"]
        print(json.dumps(numbers | _totals(told.seconds, told.peak_bytes)))
        return 0
    rows = {
        "clip": f"{told.size}, {told.num_frames} frames at {told.fps:g} fps",
        "tokens": f"{told.tokens}",
        "passes": f"{told.passes} of the network in {told.hops} hops, at most {told.longest_pack} tokens each",
        "seconds": f"{told.seconds.cpu:.1f} ({_stages(told.stages)})",
        "peak memory": f"{told.peak_bytes / 1e6:.0f} MB",
    }
    print(_table(rows))
    return 0


def _train(rest: list[str]) -> int:
    from worldtube.errors import unknown
    from worldtube.train.recipes import RECIPES

    if not rest or rest[0] not in RECIPES:
        if not rest or rest[0].startswith("-"):
            print(HELP)
            return 0
        raise unknown("recipe", rest[0], RECIPES)
    import tyro

    from worldtube.train.loop import TrainConfig

    def command(
        *,
        data: list[Path] | None = None,
        codec: Path | None = None,
        start: Path | None = None,
        threads: int | None = None,
        json: bool = False,
        config: Annotated[TrainConfig, tyro.conf.arg(name="")] = RECIPES[rest[0]][1],
    ) -> Any:
        """What a training run would cost: seconds per step and in all, peak memory; from a few small steps.

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

    from worldtube.models.local import embedded_path
    from worldtube.train import cost

    if threads:
        torch.set_num_threads(threads)
    told = cost.predict(config, codec=codec or embedded_path(), data=data, start=start)
    if as_json:
        sizes = {"weights": told.weights, "steps": told.steps, "tokens": round(told.tokens)}
        step = {"step_cpu_seconds": round(told.step.cpu, 4)}
        print(json.dumps(sizes | step | _totals(told.seconds, told.peak_bytes)))
        return 0
    rows = {
        "network": f"{told.weights / 1e6:.3g} million weights",
        "batch": f"{config.rows} rows, {told.tokens:.0f} tokens",
        "step": f"{told.step.cpu:.2f} s",
        "run": f"{_long(told.seconds.cpu)} for {told.steps} steps, sheets of samples {_long(told.sheets.cpu)} of it",
        "peak memory": f"{told.peak_bytes / 1e6:.0f} MB",
    }
    print(_table(rows))
    return 0


LEAVING = 1.06
"""Start and end of a process, in units of its start."""


def _start() -> Any:
    """What this process took until now, and what it will take to end: so will the run's."""
    import time

    from worldtube.generate.cost import Seconds

    return Seconds(time.process_time(), time.process_time()) * LEAVING


def _totals(seconds: Any, peak_bytes: float) -> dict[str, float]:
    return {
        "cpu_seconds": round(seconds.cpu, 3),
        "wall_seconds": round(seconds.wall, 3),
        "peak_mb": round(peak_bytes / 1e6, 1),
    }


def _stages(stages: dict[str, Any]) -> str:
    return ", ".join(
        f"{name} {taken.cpu:.1f}" for name, taken in stages.items() if taken.cpu >= 0.05
    )


def _long(seconds: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def _table(rows: dict[str, str]) -> str:
    width = max(map(len, rows))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows.items())
