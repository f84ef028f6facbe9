"""What `worldtube plan` foretells against what the command then takes, each in a process of its own.

Time is CPU time of the whole process with one thread, which an idle machine's clock on the wall shows too; memory is
the most that the process ever held. The plan comes first and knows nothing of the run.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import timing

from worldtube import video
from worldtube.video import Clip

PROMPT = "a red ball rolls to the right"
SHOTS = ("a red ball rolls to the right", "a blue box falls", "a green cup stands still")
REQUESTS: tuple[tuple[str, ...], ...] = (
    ("image", PROMPT),
    ("image", PROMPT, "--size", "128x128", "--sampler", "heun", "--steps", "12"),
    ("image", PROMPT, "--size", "192x128", "--guidance", "1"),
    ("generate", PROMPT, "--seconds", "1", "--sampler", "euler", "--steps", "8"),
    ("generate", PROMPT),
    ("generate", PROMPT, "--seconds", "4", "--sampler", "heun", "--steps", "8"),
    ("generate", PROMPT, "--seconds", "8", "--sampler", "euler", "--steps", "24"),
    ("generate", PROMPT, "--seconds", "12", "--sampler", "euler", "--steps", "8"),
    ("generate", PROMPT, "--size", "96x96", "--guidance", "1", "--sampler", "dpm"),
    ("generate", PROMPT, "--seconds", "3", "--size", "128x96"),
    ("generate", PROMPT, "--size", "128x128", "--sampler", "euler", "--steps", "24"),
    ("generate", PROMPT, "--seconds", "6", "--size", "128x128", "--steps", "8"),
    ("generate", PROMPT, "--seconds", "12", "--size", "128x128", "--guidance", "1"),
    ("generate", PROMPT, "--size", "192x128", "--sampler", "heun", "--steps", "8"),
    ("generate", PROMPT, "--seconds", "4", "--size", "192x128", "--steps", "10"),
    ("generate", PROMPT, "--seconds", "10", "--size", "192x128", "--guidance", "1", "--steps", "8"),
    ("animate", "{picture}", PROMPT, "--seconds", "3", "--size", "128x128", "--steps", "12"),
    ("extend", "{clip}", "--seconds", "2", "--steps", "12"),
    ("edit", "{clip}", PROMPT, "--size", "192x128", "--steps", "8"),
    ("storyboard", *SHOTS, "--seconds", "2", "--sampler", "euler", "--steps", "12"),
)


def known(folder: Path) -> dict[str, str]:
    """A clip of two seconds and a picture, in which a disc moves."""
    y, x = np.mgrid[:64, :64]
    where = np.linspace(8, 56, 24)[:, None, None]
    disc = (x - where) ** 2 + (y - 40) ** 2 < 60
    frames = np.where(disc[..., None], (200, 40, 40), 200).astype(np.uint8)
    paths = {"clip": folder / "known.mp4", "picture": folder / "known.png"}
    video.write(Clip(frames=frames, fps=12.0), paths["clip"])
    video.write(Clip(frames=frames[:1], fps=12.0), paths["picture"])
    return {name: str(path) for name, path in paths.items()}


def process(command: list[str]) -> tuple[str, float, float]:
    """What one process printed, its CPU seconds, its peak resident memory in MB."""
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
    return printed, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit


def compare(request: tuple[str, ...], model: Path | None) -> dict[str, Any]:
    """One request, planned and then made."""
    with tempfile.TemporaryDirectory() as folder:
        paths = known(Path(folder))
        command = [word.format(**paths) for word in request]
        command += [] if model is None else ["--model", str(model)]
        printed, planning, _ = process(["plan", *command, "--json"])
        told = json.loads(printed)
        suffix = "png" if request[0] == "image" else "mp4"
        _, cpu, peak = process([*command, "--out", f"{folder}/made.{suffix}"])
    started = told["stages_cpu_seconds"]["start"]
    return {
        "request": " ".join(word for word in request if word not in SHOTS),
        "tokens": told["tokens"],
        "passes": told["passes"],
        "planned_cpu_seconds": round(told["cpu_seconds"], 2),
        "cpu_seconds": round(cpu, 2),
        "planned_peak_mb": round(told["peak_mb"], 1),
        "peak_mb": round(peak, 1),
        "plan_took_cpu_seconds": round(planning - started, 2),
        "seconds_off": round(told["cpu_seconds"] / cpu - 1, 3),
        "memory_off": round(told["peak_mb"] / peak - 1, 3),
    }


def summary(results: list[dict[str, Any]]) -> dict[str, float]:
    """Median of the errors, and the worst under- and over-prediction, of time and memory."""
    told = {}
    for what in ("seconds", "memory"):
        off = [one[f"{what}_off"] for one in results]
        told[f"{what}_median_error"] = round(statistics.median(map(abs, off)), 3)
        told |= {f"{what}_most_under": min(off), f"{what}_most_over": max(off)}
    return told


def main(arguments: list[str] | None = None) -> Path:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--only", type=int, nargs="+", help="numbers of REQUESTS; all when not said"
    )
    parser.add_argument("--model", type=Path, help="weight file; the embedded model when not said")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args(arguments)
    results = []
    for number in args.only if args.only is not None else range(len(REQUESTS)):
        results.append(compare(REQUESTS[number], args.model))
        print(results[-1], flush=True)
    told = vars(args) | {"model": "embedded" if args.model is None else args.model.name}
    print(summary(results))
    return timing.write("plan", told | {"errors": summary(results)}, results, args.out)


if __name__ == "__main__":
    main()
