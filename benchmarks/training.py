"""Whole training steps: tokens a second, and what share of the machine's matrix products they reach; one core.

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

GEMM = (2048, 1024, 1024)
"""Rows, inner, columns of the product that is the ceiling."""


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


def ceiling(dtype: torch.dtype) -> Callable[[], Any]:
    rows, inner, columns = GEMM
    a, b = torch.randn(rows, inner).to(dtype), torch.randn(inner, columns).to(dtype)
    return lambda: a @ b


def stepped(net: Transformer, optimizer: Optimizer, work: packing.Work) -> Callable[[], float]:
    """One step as the loop makes it; the rate is small enough that the weights stay what they are."""

    def step() -> float:
        noise = torch.randn_like(work.x)
        sigma = work.sigma[:, None]
        one = replace(work, x=(1 - sigma) * work.x + sigma * noise, target=noise - work.x)
        packing.step(net, one)
        return optimizer.step(1e-6)

    return step


def main(arguments: list[str] | None = None) -> Path:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="laptop", choices=list(RECIPES))
    parser.add_argument("--count", type=int, default=16, help="clips in a batch")
    parser.add_argument("--low", type=int, default=64, help="tokens of the shortest")
    parser.add_argument("--high", type=int, default=512, help="tokens of the longest")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    config = replace(RECIPES[args.recipe][1].model, truth_width=0)
    layouts = packing.clips(args.count, args.low, args.high)
    work = packing.packed(config, layouts, np.random.default_rng(0))
    wide = packing.padded(work)
    results: list[dict[str, Any]] = []
    for name, dtype in (("f32", torch.float32), ("bf16", torch.bfloat16)):
        arms: dict[str, Callable[[], Any]] = {"gemm": ceiling(dtype)}
        for arm, batch in (("packed", work), ("padded", wide), ("compiled", work)):
            if arm == "compiled" and not args.compile:
                continue
            torch.manual_seed(0)
            net = Transformer(config).to(dtype).train()
            optimizer = Optimizer(net)
            arms[arm] = stepped(net.compiled() if arm == "compiled" else net, optimizer, batch)
        seconds = timing.in_turn(arms, args.repeats)
        gemm = 2 * np.prod(GEMM) / statistics.median(seconds["gemm"])
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
        results.append(
            {
                "dtype": name,
                "real_tokens": tokens,
                "padding": round(len(wide.x) / tokens, 3),
                "gflop_a_step": round(flops / 1e9, 3),
                "gemm_gflops": round(gemm / 1e9, 1),
                "ratios": ratios,
                "arms": {arm: told[arm] for arm in ("packed", "padded", "compiled") if arm in told},
            }
        )
        print(name, f"GEMM {gemm / 1e9:.0f} GFLOP/s", ratios, told, flush=True)
    network_told = {"network": vars(config), "tokens": list(work.layout.lengths)}
    return timing.write("training", vars(args) | network_told, results, args.out)


if __name__ == "__main__":
    main()
