"""How the benchmarks time and write down: CPU time of one thread, arms in turn, medians.

Owns the method. Wall time on a shared machine says little: two threads that wait for each other spin,
so a busy neighbour makes the same forward six times slower. CPU time of one thread repeats within a
few per cent, and a ratio of arms that ran in turn in one process repeats best.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from worldtube import records

RESULTS = Path(__file__).with_name("results")


def in_turn(
    arms: Mapping[str, Callable[[], Any]], repeats: int = 5, device: str = "cpu"
) -> dict[str, list[float]]:
    """CPU seconds of every repeat of every arm, one arm after the other, after one run that is not counted.

    On a GPU, which works while the processor goes on: seconds by the clock until it has ended.
    """
    clock = time.process_time if device == "cpu" else _ended
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for repeat in range(repeats + 1):
        for name, run in arms.items():
            began = clock()
            run()
            ended = clock()
            if repeat > 0:
                seconds[name].append(ended - began)
    return seconds


def _ended() -> float:
    """The time when the GPU has done what it was told."""
    torch.cuda.synchronize()
    return time.perf_counter()


@dataclass(frozen=True, kw_only=True)
class Process:
    """What a whole command took."""

    printed: str
    cpu_seconds: float
    wall_seconds: float
    peak_mb: float
    """Resident at most."""


def process(command: list[str]) -> Process:
    """Run `worldtube COMMAND` in a process of its own, with one thread."""
    began = time.perf_counter()
    running = subprocess.Popen(
        [sys.executable, "-m", "worldtube", *command],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert running.stdout is not None
    with running.stdout as out:
        printed = out.read()
    _, status, usage = os.wait4(running.pid, 0)
    running.returncode = os.waitstatus_to_exitcode(status)
    if running.returncode:
        raise SystemExit(f"worldtube {' '.join(command)} failed with {running.returncode}")
    unit = 1e-6 if sys.platform == "darwin" else 1024e-6
    return Process(
        printed=printed,
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        wall_seconds=time.perf_counter() - began,
        peak_mb=usage.ru_maxrss * unit,
    )


def summary(seconds: list[float]) -> dict[str, float]:
    """Median, least and most, in milliseconds."""
    told = {"median": statistics.median(seconds), "least": min(seconds), "most": max(seconds)}
    return {f"{name}_ms": round(1000 * value, 3) for name, value in told.items()}


def ratio(seconds: Mapping[str, list[float]], slow: str, fast: str) -> float:
    """How many times faster `fast` is, by medians."""
    return round(statistics.median(seconds[slow]) / statistics.median(seconds[fast]), 3)


def write(
    what: str, config: Mapping[str, Any], results: list[dict[str, Any]], out: Path | None = None
) -> Path:
    """One JSON file: what made the numbers, and a line per result."""
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    path = out or RESULTS / f"{what}_{config.get('device', 'cpu')}_{day}.json"
    told = {name: value for name, value in config.items() if name != "out"}
    header = records.header(told) | {"what": what}
    head = json.dumps(header, ensure_ascii=False, indent=1)[:-2]
    lines = ",\n".join("  " + json.dumps(one, ensure_ascii=False) for one in results)
    path.write_text(f'{head},\n "results": [\n{lines}\n ]\n}}\n', encoding="utf-8")
    return path
