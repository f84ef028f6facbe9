"""Whole training steps: tokens a second, and what share of the machine's matrix products they reach.

CPU time of one core, or wall time of one GPU (`--device cuda`), there with networks of 0.3 and 1 billion weights.

A step is what the loop does: noise, forward, loss, backward, optimizer, averages. Packed: clips of several
sizes in one row. Padded: the same clips, each as long as the longest. Compiled: packed, with `torch.compile`, on
batches of one shape. Utilization is the step's floating-point operations, by formula and of real tokens alone,
to those of the best large matrix product that was measured in turn with the steps.
"""

import argparse
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import packing
import timing
import torch

from worldtube.tokens import Layout, Words
from worldtube.train.optimizer import Optimizer
from worldtube.train.recipes import RECIPES
from worldtube.transformer import Transformer, TransformerConfig

GEMM = {"cpu": (2048, 1024, 1024), "cuda": (8192, 8192, 8192)}
"""Device -> rows, inner, columns of the product that is the ceiling."""
NETWORKS = {name: recipe.model for name, (_, recipe) in RECIPES.items()} | {
    "0.3b": TransformerConfig(width=1024, depth=18, hidden=2752),
    "1b": TransformerConfig(width=1536, depth=28, hidden=4096),
}
"""Name -> sizes: of the recipes, and those by which video models are compared."""
USUAL = {"cpu": (["laptop"], 512, ["f32", "bf16"]), "cuda": (["0.3b", "1b"], 2048, ["bf16"])}
"""Device -> networks, tokens of the longest clip and number formats when not said."""
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}


def operations(config: TransformerConfig, layout: Layout, words: Words) -> float:
    """Of forward and backward, multiplications and additions, without the optimizer: three times the forward."""
    d, hidden, depth = config.width, config.hidden, config.depth
    tokens, states = layout.bounds[-1], words.bounds[-1]
    lengths = np.array(layout.lengths, float)
    read = np.diff(words.bounds).astype(float)
    of_tokens = tokens * (depth * (6 * d * d + 3 * d * hidden) + 2 * d * config.token_width)
    of_words = states * (
        config.text_width * d + config.text_depth * (4 * d * d + 3 * d * hidden) + depth * 2 * d * d
    )
    pairs = depth * ((lengths**2).sum() + (lengths * read).sum())
    pairs += config.text_depth * (read**2).sum()
    return float(3 * 2 * (of_tokens + of_words + 2 * d * pairs))


def ceiling(dtype: torch.dtype, device: str) -> Callable[[], Any]:
    rows, inner, columns = GEMM[device]
    a = torch.randn(rows, inner, device=device).to(dtype)
    b = torch.randn(inner, columns, device=device).to(dtype)
    return lambda: a @ b


def on(device: str, work: packing.Work) -> packing.Work:
    """The same batch on a device; the compared padding keeps its plan, whose masks move too."""
    moved = {
        name: getattr(work, name).to(device) for name in ("x", "target", "sigma", "layout", "words")
    }
    runs = work.runs and tuple(
        replace(run, seen=None if run.seen is None else run.seen.to(device)) for run in work.runs
    )
    return replace(
        work, **moved, real=None if work.real is None else work.real.to(device), runs=runs
    )


def stepped(net: Transformer, optimizer: Optimizer, work: packing.Work) -> Callable[[], float]:
    """One step as the loop makes it; the rate is small enough that the weights stay what they are."""

    def step() -> float:
        noise = torch.randn_like(work.x)
        sigma = work.sigma[:, None]
        one = replace(work, x=(1 - sigma) * work.x + sigma * noise, target=noise - work.x)
        packing.step(net, one)
        return optimizer.step(1e-6)

    return step


def network(config: TransformerConfig, dtype: str, device: str) -> tuple[Transformer, Optimizer]:
    torch.manual_seed(0)
    with torch.device(device):
        net = Transformer(config).to(DTYPES[dtype]).train()
    return net, Optimizer(net)


def measured(name: str, dtype: str, work: packing.Work, args: argparse.Namespace) -> dict[str, Any]:
    """One network in one number format: its arms and the ceiling, in turn."""
    device, config = args.device, replace(NETWORKS[name], truth_width=0)
    wide = packing.padded(work)
    eager = network(config, dtype, device)
    arms: dict[str, Callable[[], Any]] = {
        "gemm": ceiling(DTYPES[dtype], device),
        "packed": stepped(*eager, on(device, work)),
        "padded": stepped(*eager, on(device, wide)),
    }
    if args.compile:
        net, optimizer = network(config, dtype, device)
        arms["compiled"] = stepped(net.compiled(), optimizer, on(device, work))
    seconds = timing.in_turn(arms, args.repeats, device)
    gemm = 2 * np.prod(GEMM[device]) / statistics.median(seconds["gemm"])
    flops, tokens = operations(config, work.layout, work.words), len(work.x)
    told = {}
    for arm in arms.keys() - {"gemm"}:
        median = statistics.median(seconds[arm])
        told[arm] = timing.summary(seconds[arm]) | {
            "real_tokens_a_second": round(tokens / median),
            "utilization": round(flops / median / gemm, 4),
        }
    ratios = {"packed": timing.ratio(seconds, "padded", "packed")}
    if args.compile:
        ratios["compiled"] = timing.ratio(seconds, "packed", "compiled")
    with torch.device("meta"):
        weights = sum(p.numel() for p in Transformer(config).parameters())
    return {
        "network": name,
        "weights": weights,
        "dtype": dtype,
        "real_tokens": tokens,
        "padding": round(len(wide.x) / tokens, 3),
        "gflop_a_step": round(flops / 1e9, 3),
        "gemm_gflops": round(gemm / 1e9, 1),
        "ratios": ratios,
        "arms": {arm: told[arm] for arm in arms if arm in told},
    }


def main(arguments: list[str] | None = None) -> Path:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", choices=list(GEMM))
    parser.add_argument(
        "--networks", nargs="+", choices=list(NETWORKS), help="laptop, or 0.3b and 1b"
    )
    parser.add_argument("--dtypes", nargs="+", choices=list(DTYPES), help="f32 and bf16, or bf16")
    parser.add_argument("--count", type=int, default=16, help="clips in a batch")
    parser.add_argument("--low", type=int, default=64, help="tokens of the shortest")
    parser.add_argument("--high", type=int, help="tokens of the longest: 512, or 2,048 on a GPU")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args(arguments)
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda is not accepted: torch finds no GPU; cpu is accepted")
    networks, high, dtypes = USUAL[args.device]
    args.networks, args.dtypes = args.networks or networks, args.dtypes or dtypes
    args.high = args.high or high
    torch.set_num_threads(1)
    layouts = packing.clips(args.count, args.low, args.high)
    results = []
    for name in args.networks:
        config = replace(NETWORKS[name], truth_width=0)
        work = packing.packed(config, layouts, np.random.default_rng(0))
        for dtype in args.dtypes:
            results.append(measured(name, dtype, work, args))
            told = {arm: one["utilization"] for arm, one in results[-1]["arms"].items()}
            print(name, dtype, results[-1]["gemm_gflops"], "GFLOP/s", told, flush=True)
    tokens = {"tokens": [one.bounds[-1] for one in layouts]}
    return timing.write("training", vars(args) | tokens, results, args.out)


if __name__ == "__main__":
    main()
