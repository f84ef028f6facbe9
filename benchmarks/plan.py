"""What `worldtube plan` foretells against what the command then takes, each in a process of its own.

The plan comes first and knows nothing of the run. Time is CPU time of the whole process with one thread; memory
is the most that the process ever held.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import timing

from worldtube import video
from worldtube.video import Clip

PROMPT = "a red ball rolls to the right"
SHOTS = (PROMPT, "a blue box falls", "a green cup stands still")
REQUESTS: tuple[tuple[str, ...], ...] = (
    ("image", PROMPT, "--size", "32x32"),
    ("image", PROMPT, "--size", "128x128", "--sampler", "heun", "--steps", "12"),
    ("image", PROMPT, "--size", "256x256", "--guidance", "1"),
    ("image", PROMPT, "--size", "768x768", "--fast"),
    ("generate", PROMPT, "--seconds", "1", "--size", "32x32", "--sampler", "euler", "--steps", "8"),
    ("generate", PROMPT),
    ("generate", PROMPT, "--seconds", "4", "--sampler", "heun", "--steps", "16"),
    ("generate", PROMPT, "--causal", "--lag", "8", "--steps", "8"),
    ("generate", PROMPT, "--size", "96x96", "--guidance", "1", "--sampler", "dpm"),
    ("generate", PROMPT, "--size", "128x128", "--sampler", "euler", "--steps", "24"),
    ("generate", PROMPT, "--size", "256x256", "--steps", "8"),
    ("generate", PROMPT, "--seconds", "12", "--sampler", "euler", "--steps", "12"),
    ("generate", PROMPT, "--seconds", "20", "--size", "128x128", "--fast"),
    ("generate", PROMPT, "--seconds", "20", "--size", "96x64", "--guidance", "1", "--steps", "8"),
    ("animate", "{picture}", PROMPT, "--seconds", "3", "--size", "128x128", "--steps", "10"),
    ("extend", "{clip}", "--seconds", "2", "--steps", "12"),
    ("connect", "{clip}", "{clip}", "--seconds", "1", "--size", "128x128", "--fast"),
    ("edit", "{clip}", PROMPT, "--size", "192x128", "--steps", "8"),
    ("paint", "{clip}", PROMPT, "--rectangle", "0", "0", "32", "32"),
    ("storyboard", *SHOTS, "--seconds", "2", "--sampler", "euler", "--steps", "12"),
)
TRAINING = ("train", "laptop", "--data", "{data}", "--steps", "6", "--sample-every", "0")


def known(folder: Path) -> dict[str, str]:
    """A clip of two seconds and a picture, in which a disc moves."""
    t, y, x = np.ogrid[:24, :64, :64]
    disc = (x - 8 - 2 * t) ** 2 + (y - 40) ** 2 < 60
    frames = np.where(disc[..., None], (200, 40, 40), 200).astype(np.uint8)
    paths = {"clip": folder / "known.mp4", "picture": folder / "known.png"}
    video.write(Clip(frames=frames, fps=12.0), paths["clip"])
    video.write(Clip(frames=frames[:1], fps=12.0), paths["picture"])
    return {name: str(path) for name, path in paths.items()}


def compare(request: tuple[str, ...], options: list[str]) -> dict[str, Any]:
    """One command, planned and then run."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = known(folder) | {"data": f"{folder}/data"}
        if request[0] == "train":
            timing.process(["record", "tabletop", "--out", paths["data"], "--count", "24"])
            timing.process(["cache", paths["data"]])
        command = [word.format(**paths) for word in request] + options
        planning = timing.process(["plan", *command, "--json"])
        suffix = {"image": ".png", "train": ""}.get(request[0], ".mp4")
        run = timing.process([*command, "--out", f"{folder}/made{suffix}"])
    told = json.loads(planning.printed)
    start = told["stages_cpu_seconds"]["start"]
    return {
        "request": " ".join(word for word in request if word not in SHOTS and word[0] != "{"),
        "tokens": told["tokens"],
        "planned_start": round(start, 2),
        "planned_cpu_seconds": round(told["cpu_seconds"], 2),
        "cpu_seconds": round(run.cpu_seconds, 2),
        "planned_peak_mb": round(told["peak_mb"], 1),
        "peak_mb": round(run.peak_mb, 1),
        "plan_took_cpu_seconds": round(planning.cpu_seconds - start, 2),
        "time_off": round(told["cpu_seconds"] / run.cpu_seconds - 1, 3),
        "memory_off": round(told["peak_mb"] / run.peak_mb - 1, 3),
    }


def errors(results: list[dict[str, Any]]) -> dict[str, float]:
    """Of time and memory: the median error, and the most that was told too little and too much."""
    told = {}
    for what in ("time", "memory"):
        off = [one[f"{what}_off"] for one in results]
        told[f"{what}_median"] = round(statistics.median(map(abs, off)), 3)
        told |= {f"{what}_least": min(off), f"{what}_most": max(off)}
    return told


def main(arguments: list[str] | None = None) -> Path:
    parser = argparse.ArgumentParser(description=__doc__)
    every = (*REQUESTS, TRAINING)
    parser.add_argument(
        "--only",
        type=int,
        nargs="+",
        default=range(len(every)),
        help=f"numbers of commands, 0 to {len(every) - 1}; the last one trains",
    )
    parser.add_argument("--model", type=Path, help="weight file; the embedded model when not said")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args(arguments)
    results = []
    for number in args.only:
        weights = "--codec" if every[number][0] == "train" else "--model"
        options = [] if args.model is None else [weights, str(args.model)]
        results.append(compare(every[number], options))
        print(results[-1], flush=True)
    told = {"model": "embedded" if args.model is None else args.model.name, "out": None}
    return timing.write("plan", told | {"errors": errors(results)}, results, args.out)


if __name__ == "__main__":
    main()
