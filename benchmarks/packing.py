"""Training on clips of many sizes: our packed step against the same network on padded rows; one core.

Twelve clips of 64 to 1,024 tokens, at equal steps of the logarithm. Packed: all tokens in one row, each clip attends to
itself. Padded: every clip as long as the longest, with a mask over the keys, on our own attention kernels, which take
such a batch too. Usual: the same padded batch on PyTorch's attention, as common trainers have it. All make the same
loss and the same gradients; the record says how nearly.
"""

import argparse
import itertools
import statistics
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import timing
import torch
from torch import Tensor

from worldtube.tokens import Grid, Layout, Words, layout, pack
from worldtube.train.recipes import RECIPES
from worldtube.transformer import Transformer, TransformerConfig, attention, network
from worldtube.transformer.attention import Run

PATCH = 2


@dataclass(frozen=True, kw_only=True)
class Work:
    """One batch, in one of the two forms."""

    x: Tensor
    target: Tensor
    sigma: Tensor
    layout: Layout
    words: Words
    real: Tensor | None = None
    """Which tokens are no padding."""
    runs: tuple[Run, ...] | None = None
    kernel: str | None = None
    """Attention kernel; the fastest when not said."""


def clips(count: int, low: int, high: int) -> list[Layout]:
    """Layouts whose numbers of tokens stand at equal steps of the logarithm, as near as their shapes allow."""
    shapes = sorted(itertools.product(range(1, 14), range(4, 11), range(4, 11)), key=np.prod)
    sizes = np.array([np.prod(shape) for shape in shapes])
    layouts = []
    for tokens in np.geomspace(low, high, count):
        t, h, w = shapes[int(np.abs(sizes - tokens).argmin())]
        grid = Grid(frames=t, height=PATCH * h, width=PATCH * w, seconds_per_frame=1 / 12, stride=4)
        layouts.append(layout(grid, PATCH))
    return layouts


def packed(config: TransformerConfig, layouts: list[Layout], rng: np.random.Generator) -> Work:
    """Random values, a noise level per frame, 8 to 40 words a clip."""
    together = pack(layouts)
    tokens = together.bounds[-1]
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    draw = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    sigma = torch.cat([draw(int(one.frames.max()) + 1).sigmoid()[one.frames] for one in layouts])
    words = Words.of([draw(int(rng.integers(8, 41)), config.text_width) for _ in layouts])
    width = config.token_width
    return Work(
        x=draw(tokens, width), target=draw(tokens, width), sigma=sigma, layout=together, words=words
    )


def padded(work: Work) -> Work:
    """The same batch with every row as long as the longest; what fills up repeats a row's last token."""
    lengths = torch.tensor(work.layout.lengths)[:, None]
    longest, rows = int(lengths.max()), len(lengths)
    slot = torch.arange(longest)[None]
    index = (torch.tensor(work.layout.bounds[:-1])[:, None] + slot.minimum(lengths - 1)).flatten()
    real = slot < lengths
    whole = slice(0, rows * longest)
    return Work(
        x=work.x[index],
        target=work.target[index],
        sigma=work.sigma[index],
        words=work.words,
        layout=replace(
            work.layout,
            positions=work.layout.positions[index],
            frames=work.layout.frames[index],
            kinds=work.layout.kinds[index],
            bounds=tuple(range(0, rows * longest + 1, longest)),
            spans=(),
        ),
        real=real.flatten(),
        runs=(Run(rows=rows, q=whole, k=whole, seen=real[:, None, None, :]),),
    )


def step(net: Transformer, work: Work) -> float:
    """Forward and backward; the gradients stay in the network."""
    net.zero_grad()
    plan = network.plan_self if work.runs is None else lambda *_: work.runs
    with ExitStack() as stack:
        stack.enter_context(patch.object(network, "plan_self", plan))
        if work.kernel is not None:
            stack.enter_context(patch.object(attention, "_own", lambda _: False))
            stack.enter_context(patch.object(attention, "_choose", lambda *_: work.kernel))
        velocity, _ = net(work.x, work.sigma, work.layout, net.read(work.words))
    each = (velocity - work.target).square().mean(-1)
    loss = (each if work.real is None else each[work.real]).mean()
    loss.backward()
    return float(loss.detach())


def difference(net: Transformer, arms: dict[str, Callable[[], float]]) -> dict[str, float]:
    """Of any arm from the first: of the loss, and of any parameter's gradient relative to its largest number."""
    losses, gradients = [], []
    for run in arms.values():
        losses.append(run())
        gradients.append([w.grad.float().clone() for w in net.parameters() if w.grad is not None])
    worst = max(
        float((a - b).abs().max() / a.abs().max())
        for other in gradients[1:]
        for a, b in zip(gradients[0], other, strict=True)
        if float(a.abs().max()) > 0
    )
    apart = max(abs(losses[0] - loss) / losses[0] for loss in losses[1:])
    return {"loss": float(f"{apart:.2e}"), "gradient": float(f"{worst:.2e}")}


def main(arguments: list[str] | None = None) -> Path:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--low", type=int, default=64)
    parser.add_argument("--high", type=int, default=1024)
    parser.add_argument("--recipe", default="laptop", choices=list(RECIPES))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    config = replace(RECIPES[args.recipe][1].model, truth_width=0)
    layouts = clips(args.count, args.low, args.high)
    work = packed(config, layouts, rng)
    wide = padded(work)
    usual = replace(wide, kernel="fused")
    torch.manual_seed(0)
    net = Transformer(config)
    with torch.no_grad():  # open what starts closed
        for weight in net.parameters():
            weight.add_(0.02 * torch.randn_like(weight))
    tokens = len(work.x)
    results: list[dict[str, Any]] = []
    for name, dtype in (("f32", torch.float32), ("bf16", torch.bfloat16)):
        net.to(dtype)
        arms = {
            "usual": lambda: step(net, usual),
            "padded": lambda: step(net, wide),
            "packed": lambda: step(net, work),
        }
        apart = difference(net, arms)
        seconds = timing.in_turn(arms, args.repeats)
        results.append(
            {
                "dtype": name,
                "real_tokens": tokens,
                "padding": round(len(wide.x) / tokens, 3),
                "ratios": {
                    "packed": timing.ratio(seconds, "padded", "packed"),
                    "packed_to_usual": timing.ratio(seconds, "usual", "packed"),
                },
                "apart": apart,
                "arms": {
                    arm: timing.summary(seconds[arm])
                    | {"real_tokens_a_second": round(tokens / statistics.median(seconds[arm]))}
                    for arm in arms
                },
            }
        )
        print(name, results[-1]["ratios"], apart, flush=True)
    told: dict[str, Any] = vars(args) | {
        "network": vars(config),
        "tokens": list(work.layout.lengths),
    }
    return timing.write("packing", told, results, args.out)


if __name__ == "__main__":
    main()
