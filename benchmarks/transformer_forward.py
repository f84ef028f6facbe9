"""Our transformer's forward against diffusers' WanTransformer3DModel at equal FLOPs; one core.

Same width, heads and depth; the inner width of our SwiGLU is set, for each number of tokens, so that
the products of the timed forward count the same (Wan makes keys and values of its words in every
forward, ours once per prompt: what that saves is spent on the inner width, not counted as speed).
Needs the extra `bench`.
"""

import argparse
import copy
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timing
import torch
from torch import Tensor

from worldtube.tokens import Grid, Words, layout
from worldtube.transformer import Transformer, TransformerConfig

CHANNELS, PATCH, TEXT_WIDTH, LEVEL_WIDTH = 16, 2, 512, 256
LATENTS = {16: (1, 8, 8), 64: (1, 16, 16), 256: (4, 16, 16), 1024: (4, 32, 32), 2048: (8, 32, 32)}
"""tokens -> latent frames, height, width."""
DTYPES = {"bf16": torch.bfloat16, "f32": torch.float32}


def wan_flops(tokens: int, words: int, *, width: int, depth: int, inner: int) -> int:
    """Of a forward's matrix products: two per multiply and add."""
    ends = tokens * CHANNELS * PATCH**2 * width * 2
    level = LEVEL_WIDTH * width + width**2 + 6 * width**2
    text = words * (TEXT_WIDTH * width + width**2)
    block = 6 * tokens * width**2 + 2 * words * width**2 + 2 * tokens * width * inner
    attention = 2 * tokens * (tokens + words) * width
    return 2 * (ends + level + text + depth * (block + attention))


def our_flops(tokens: int, words: int, *, width: int, depth: int, inner: int) -> int:
    """The same for ours, without `Transformer.read`."""
    ends = tokens * CHANNELS * PATCH**2 * width * 2
    level = LEVEL_WIDTH * width + width**2 + 8 * width**2
    block = 6 * tokens * width**2 + 3 * tokens * width * inner
    attention = 2 * tokens * (tokens + words) * width
    return 2 * (ends + level + depth * (block + attention))


def equal_inner(tokens: int, words: int, *, width: int, depth: int, inner: int) -> int:
    """The inner width, in steps of 16, with which ours has the products of Wan."""
    missing = wan_flops(tokens, words, width=width, depth=depth, inner=inner)
    missing -= our_flops(tokens, words, width=width, depth=depth, inner=0)
    return max(16, round(missing / (6 * depth * tokens * width) / 16) * 16)


def build(tokens: int, args: argparse.Namespace) -> dict[str, Any]:
    """Both networks and what goes in, in float32."""
    from diffusers import WanTransformer3DModel

    torch.manual_seed(0)
    sizes = {"width": args.width, "depth": args.depth}
    inner = equal_inner(tokens, args.words, inner=4 * args.width, **sizes)
    wan = WanTransformer3DModel(
        patch_size=(1, PATCH, PATCH),
        num_attention_heads=args.width // 64,
        attention_head_dim=64,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        text_dim=TEXT_WIDTH,
        freq_dim=LEVEL_WIDTH,
        ffn_dim=4 * args.width,
        num_layers=args.depth,
    )
    ours = Transformer(
        TransformerConfig(
            token_width=CHANNELS * PATCH**2,
            text_width=TEXT_WIDTH,
            hidden=inner,
            text_depth=0,
            **sizes,
        )
    )
    with torch.no_grad():  # open what starts closed
        for weight in ours.parameters():
            weight.add_(0.02 * torch.randn_like(weight))
    t, h, w = LATENTS[tokens]
    return {
        "wan": wan.eval().requires_grad_(False),
        "ours": ours.eval().requires_grad_(False),
        "latents": torch.randn(1, CHANNELS, t, h, w),
        "text": torch.randn(1, args.words, TEXT_WIDTH),
        "x": torch.randn(tokens, CHANNELS * PATCH**2),
        "layout": layout(
            Grid(frames=t, height=h, width=w, seconds_per_frame=1 / 12, stride=4), PATCH
        ),
        "flops": {
            "wan": wan_flops(tokens, args.words, inner=4 * args.width, **sizes),
            "ours": our_flops(tokens, args.words, inner=inner, **sizes),
        },
        "inner": inner,
    }


def forwards(
    made: dict[str, Any], dtype: torch.dtype, mode: str
) -> dict[str, Callable[[], Tensor]]:
    """The forward of each network, in one mode, on copies of their own."""
    wan, ours = (copy.deepcopy(made[name]).to(dtype) for name in ("wan", "ours"))
    if mode != "eager":
        wan.compile_repeated_blocks(dynamic=False)
        ours.compiled()
    latents, text = made["latents"].to(dtype), made["text"].to(dtype)
    step, sigma = torch.tensor([500]), torch.full(made["x"].shape[:1], 0.5)
    reading = ours.read(Words.of([made["text"][0]]))
    return {
        "wan": lambda: wan(latents, step, text, return_dict=False)[0],
        "ours": lambda: ours(made["x"], sigma, made["layout"], reading)[0],
    }


def error(made: Tensor, exact: Tensor) -> float:
    """Relative, against float32."""
    return float(f"{(made.float() - exact).norm() / exact.norm():.2e}")


@torch.no_grad()
def measure(tokens: int, dtype: str, args: argparse.Namespace) -> dict[str, Any]:
    """All arms for one number of tokens and one dtype, in turn."""
    torch.compiler.reset()
    made = build(tokens, args)
    exact = {name: run() for name, run in forwards(made, torch.float32, "eager").items()}
    arms = {}
    for mode in args.modes:
        for name, run in forwards(made, DTYPES[dtype], mode).items():
            arms[f"{name}_{mode}"] = run
    errors = {arm: error(run(), exact[arm.split("_")[0]]) for arm, run in arms.items()}
    seconds = timing.in_turn(arms, args.repeats)
    gflops = {name: round(made["flops"][name] / 1e9, 3) for name in exact}
    told = {
        arm: timing.summary(seconds[arm])
        | {
            "gflops_a_second": round(
                gflops[arm.split("_")[0]] / statistics.median(seconds[arm]), 1
            ),
            "relative_error": errors[arm],
        }
        for arm in arms
    }
    pairs = {"eager": ("wan_eager", "ours_eager"), "compiled": ("wan_compiled", "ours_compiled")}
    pairs |= {"compiled_to_their_eager": ("wan_eager", "ours_compiled")}
    return {
        "tokens": tokens,
        "dtype": dtype,
        "inner": made["inner"],
        "gflops": gflops,
        "ratios": {
            name: timing.ratio(seconds, *pair)
            for name, pair in pairs.items()
            if pair[0] in seconds and pair[1] in seconds
        },
        "arms": told,
    }


def main(arguments: list[str] | None = None) -> Path:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--tokens", type=int, nargs="+", default=[64, 1024, 2048], choices=list(LATENTS)
    )
    parser.add_argument("--dtypes", nargs="+", default=["bf16", "f32"], choices=list(DTYPES))
    parser.add_argument(
        "--modes", nargs="+", default=["eager", "compiled"], choices=["eager", "compiled"]
    )
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--depth", type=int, default=12)
    parser.add_argument("--words", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    results = []
    for tokens in args.tokens:
        for dtype in args.dtypes:
            results.append(measure(tokens, dtype, args))
            print(tokens, dtype, results[-1]["ratios"], flush=True)
    return timing.write("transformer_forward", vars(args), results, args.out)


if __name__ == "__main__":
    main()
