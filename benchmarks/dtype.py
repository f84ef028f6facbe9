"""float32 against bfloat16 on this CPU, as it is and as one without bfloat16 arithmetic, and what `auto` chooses.

Each machine is a process of its own: `here`, and `avx2`, whose libraries are kept from everything newer than AVX2 (MKL
and PyTorch's own kernels too, so that float32 is as slow as on such a CPU). In it both dtypes do the same work in turn,
on one thread, by the CPU time of the process: a clip of two seconds with the default options and with `--fast`, and one
training step of recipes' networks on packed clips of 64 to 448 tokens. `here` also tells how near the clips are to each
other: the velocity of the first evaluation, and the finished frames.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import packing
import timing
import torch
import training

from worldtube import device

MACHINES: dict[str, dict[str, str]] = {
    "here": {},
    "avx2": {
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "ATEN_CPU_CAPABILITY": "avx2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    },
}
"""Name -> environment variables of its process."""
DTYPES = ("float32", "bfloat16")
PROMPTS = (
    "a red ball rolls into a stack of blue boxes",
    "a small blue box falls onto the table",
    "two green cylinders stand side by side",
    "a large yellow cup stands still",
    "an orange ball hits a purple cylinder",
    "a white ball knocks over a cup of water",
)


def generation(
    fast: bool, steps: int | None, *, no_state: bool = True
) -> dict[str, Callable[[], Any]]:
    """Dtype -> making one clip with the embedded model, without writing it; from words alone, or by its state."""
    from worldtube.generate.session import load

    arms: dict[str, Callable[[], Any]] = {}
    options: dict[str, Any] = {} if steps is None or fast else {"steps": steps}
    options["no_state"] = no_state
    for dtype in DTYPES:
        session = load(device="cpu", dtype=dtype, fast=fast)
        request = session.request("generate", PROMPTS[0], seconds=2, seed=7, **options)
        arms[dtype] = lambda session=session, request=request: session.run(request)
    return arms


def training_step(name: str) -> dict[str, Callable[[], Any]]:
    """Dtype -> one step of a recipe's network: forward, loss, backward, optimizer."""
    config = training.NETWORKS[name]
    layouts = packing.clips(8, 64, 448)
    work = packing.packed(config, layouts, np.random.default_rng(0))
    short = {"float32": "f32", "bfloat16": "bf16"}
    steps = {
        dtype: training.stepped(*training.network(config, short[dtype], "cpu"), work)
        for dtype in DTYPES
    }
    count = (
        8 if config.width < device.MIN_TRAINED_WIDTH else 1
    )  # the first after the other dtype is slow
    return {
        dtype: (lambda step=step: [step() for _ in range(count)]) for dtype, step in steps.items()
    }


def distances(fast: bool, count: int) -> dict[str, Any]:
    """How far the clips of both dtypes are apart, over prompts and seeds: the worst and the middle one."""
    from worldtube.generate.session import load

    sessions = {dtype: load(device="cpu", dtype=dtype, fast=fast) for dtype in DTYPES}
    velocity, psnr = [], []
    for seed, prompt in enumerate(PROMPTS[:count]):
        first: dict[str, torch.Tensor] = {}
        frames: dict[str, np.ndarray] = {}
        for dtype, session in sessions.items():
            model, seen = session.model, []
            evaluate = model.velocity
            model.velocity = lambda *args, evaluate=evaluate, seen=seen: (
                seen.append(evaluate(*args)) or seen[-1]
            )
            request = session.request("generate", prompt, seconds=2, seed=seed, no_state=True)
            clip = session.run(request)
            del model.velocity
            first[dtype], frames[dtype] = seen[0], clip.frames.astype(np.float64)
        one, other = (first[dtype] for dtype in DTYPES)
        velocity.append(float((one - other).norm() / one.norm()))
        square = float(((frames["float32"] - frames["bfloat16"]) ** 2).mean())
        psnr.append(float(10 * np.log10(255**2 / max(square, 1e-9))))
    return {
        "clips": len(psnr),
        "velocity_median": round(statistics.median(velocity), 5),
        "velocity_most": round(max(velocity), 5),
        "psnr_median": round(statistics.median(psnr), 2),
        "psnr_least": round(min(psnr), 2),
    }


def inside(args: argparse.Namespace) -> list[dict[str, Any]]:
    """The results of one machine, in this process."""
    torch.set_num_threads(1)
    works: dict[str, tuple[Callable[[], dict[str, Callable[[], Any]]], int | None]] = {
        "generate --no-state": (lambda: generation(False, args.steps), None),
        "generate --no-state --fast": (lambda: generation(True, args.steps), None),
        "generate": (lambda: generation(False, args.steps, no_state=False), None),
    }
    for name in args.networks:
        width = training.NETWORKS[name].width
        works[f"training step, {name}"] = ((lambda n=name: training_step(n)), width)
    results = []
    for work, (arms_of, width) in works.items():
        chosen, reason = device.explain_dtype("cpu", width)
        seconds = timing.in_turn(arms_of(), args.repeats)
        medians = {dtype: statistics.median(each) for dtype, each in seconds.items()}
        results.append(
            {
                "machine": args.machine,
                "limits": {name: os.environ[name] for name in MACHINES[args.machine]},
                "work": work,
                "arms": {dtype: timing.summary(each) for dtype, each in seconds.items()},
                "ratios": {"bfloat16": timing.ratio(seconds, "float32", "bfloat16")},
                "auto": chosen,
                "reason": reason,
                "auto_is_faster": medians[chosen] == min(medians.values()),
            }
        )
        if args.machine == "here" and "--no-state" in work and args.clips:
            results[-1]["apart"] = distances(work.endswith("--fast"), args.clips)
    return results


def main(arguments: list[str] | None = None) -> Path:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--machines", nargs="+", default=list(MACHINES), choices=list(MACHINES))
    parser.add_argument("--networks", nargs="*", default=["tiny", "laptop"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, help="of `generate`; its own number when not said")
    parser.add_argument("--clips", type=int, default=6, help="compared between dtypes")
    parser.add_argument("--machine", choices=list(MACHINES), help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args(arguments)
    if args.machine:
        print(json.dumps(inside(args)))
        return Path()
    results = []
    for name in args.machines:
        command = [sys.executable, __file__, "--machine", name, "--repeats", str(args.repeats)]
        command += ["--clips", str(args.clips), "--networks", *args.networks]
        command += [] if args.steps is None else ["--steps", str(args.steps)]
        done = subprocess.run(
            command,
            env=os.environ | MACHINES[name] | {"OMP_NUM_THREADS": "1"},
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        results += json.loads(done.stdout.splitlines()[-1])
        for one in results[-len(args.networks) - 2 :]:
            print(name, one["work"], one["ratios"], one["auto"], one["auto_is_faster"], flush=True)
    told = {name: value for name, value in vars(args).items() if name != "machine"}
    return timing.write("dtype", told, results, args.out)


if __name__ == "__main__":
    main()
