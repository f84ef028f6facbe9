"""How long `worldtube generate "..."` takes as a whole process, and what takes it.

Every repeat is a fresh process that runs the command itself, with clocks around its stages: CPU time
(what an idle core would take) and wall time (what this machine took, however busy it was; the record
carries its load).
"""

import argparse
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timing

PROMPT = "a red ball rolls into a stack of blue boxes"


def inside(arguments: list[str]) -> None:
    """Run one command with clocks around its stages, and print them as the last line."""
    spent: dict[str, float] = {}
    running: list[str] = []

    def clocked(stage: str, run: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **options: Any) -> Any:
            if running:  # the outermost stage pays
                return run(*args, **options)
            running.append(stage)
            began = time.process_time()
            try:
                return run(*args, **options)
            finally:
                spent[stage] = spent.get(stage, 0.0) + time.process_time() - began
                running.pop()

        return timed

    from worldtube import cli, models, provenance
    from worldtube.generate import session
    from worldtube.models.local import LocalModel

    spent["import"] = time.process_time()  # of this process so far
    session.load = clocked("load", session.load)
    provenance.write = clocked("write", provenance.write)
    stages = {
        "doubts": "text",
        "embed": "text",
        "read": "text",
        "velocity": "denoise",
    }
    for name, stage in stages.items():
        setattr(LocalModel, name, clocked(stage, getattr(LocalModel, name)))
    decoder = LocalModel.decoder
    LocalModel.decoder = lambda self, grid: clocked("decode", decoder(self, grid))
    assert models.LocalModel is LocalModel
    code = cli.main(arguments)
    if code:
        sys.exit(code)
    spent["rest"] = time.process_time() - sum(spent.values())
    print(json.dumps(spent))


def process(size: str | None, fast: bool, args: argparse.Namespace) -> dict[str, float]:
    """Times of one whole process: stages, all of them in CPU seconds, and wall seconds."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--inside", "generate", args.prompt]
        command += ["--seconds", "2", "--seed", "7", "--out", f"{folder}/clip.mp4"]
        command += [] if size is None else ["--size", size]
        command += ["--fast"] * fast
        command += [] if args.model is None else ["--model", str(args.model)]
        threads = {} if args.threads is None else {"OMP_NUM_THREADS": str(args.threads)}
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        done = subprocess.run(
            command, env=os.environ | threads, check=True, capture_output=True, text=True
        )
        wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return json.loads(done.stdout.splitlines()[-1]) | {"cpu": cpu, "wall": wall}


def warm(size: str | None, fast: bool, args: argparse.Namespace) -> float:
    """Wall seconds of the same clip, unwritten, in a session that has made one."""
    from worldtube.generate.session import load
    from worldtube.video import Size

    session, seconds = load(args.model, fast=fast), []
    for _ in range(args.repeats + 1):
        began = time.perf_counter()
        session.generate(args.prompt, seconds=2, seed=7, size=size and Size.parse(size))
        seconds.append(time.perf_counter() - began)
    return round(statistics.median(seconds[1:]), 3)


def main(arguments: list[str] | None = None) -> Path:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompt", default=PROMPT)
    parser.add_argument("--sizes", nargs="+", default=["own", "128x128"], help="own: the model's")
    parser.add_argument("--model", type=Path, help="weight file; the embedded model when not said")
    parser.add_argument("--threads", type=int, help="OMP_NUM_THREADS of the process")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args(arguments)
    results = []
    from worldtube import models

    ways = (False, True) if models.load(args.model).card.student_steps else (False,)
    for size, fast in itertools.product(args.sizes, ways):
        asked = None if size == "own" else size
        runs = [process(asked, fast, args) for _ in range(args.repeats)]
        names = list(dict.fromkeys(name for run in runs for name in run))
        middle = {n: round(statistics.median([run.get(n, 0.0) for run in runs]), 3) for n in names}
        results.append(
            {
                "size": size,
                "fast": fast,
                "warm_seconds": warm(asked, fast, args),
                "cpu_seconds": middle.pop("cpu"),
                "wall_seconds": middle.pop("wall"),
                "stages_cpu_seconds": middle,
                "load": round(os.getloadavg()[0], 1),
            }
        )
        print(size, results[-1], flush=True)
    told = vars(args) | {"model": "embedded" if args.model is None else args.model.name}
    return timing.write("generate_time", told, results, args.out)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        inside(sys.argv[2:])
    else:
        main()
