"""Our codec's decoder against diffusers' AutoencoderKLWan at equal FLOPs: 17 frames of 128x128; one core.

Both take 4 frames x 8 x 8 pixels to a latent. Wan's decoder has its own shape at a smaller base width;
ours has the blocks of its default, and its two widths are set so that the products of one
decode count the same. Needs the extra `bench`.
"""

import argparse
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import timing
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from worldtube.codec import CodecConfig, VideoCodec

DTYPES = {"bf16": torch.bfloat16, "f32": torch.float32}


def flops(decode: Any, latents: torch.Tensor) -> int:
    """Of the matrix products and convolutions of one decode."""
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        decode(latents)
    return counter.get_total_flops()


def our_flops(config: CodecConfig, shape: tuple[int, int, int]) -> int:
    """Counted without computing anything."""
    with torch.device("meta"):
        return flops(VideoCodec(config).decode, torch.empty(1, config.channels, *shape))


def equal_widths(target: int, config: CodecConfig, shape: tuple[int, int, int]) -> CodecConfig:
    """Widths about one to two, as in the codec that ships, that come nearest to `target`."""
    middle = config.decoder_widths[0] * (target / our_flops(config, shape)) ** 0.5
    step = 16 if middle > 100 else 2
    fines = range(int(0.9 * middle / step) * step, int(1.1 * middle) + step, step)
    choices = [
        replace(config, decoder_widths=(fine, coarse))
        for fine in fines
        for coarse in range(int(1.8 * fine / step) * step, int(2.2 * fine) + 1, step)
    ]
    return min(choices, key=lambda one: abs(our_flops(one, shape) / target - 1))


def main(arguments: list[str] | None = None) -> Path:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=int, default=16, help="base width of Wan's decoder")
    parser.add_argument("--frames", type=int, default=17)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args(arguments)
    from diffusers import AutoencoderKLWan

    torch.set_num_threads(1)
    torch.manual_seed(0)
    shape = (1 + (args.frames - 1) // 4, args.side // 8, args.side // 8)
    wan = AutoencoderKLWan(base_dim=args.base).eval().requires_grad_(False)
    wan_latents = torch.randn(1, 16, *shape)
    wan_flops = flops(lambda z: wan.to(torch.bfloat16).decode(z.bfloat16()), wan_latents)
    config = equal_widths(wan_flops, CodecConfig(), shape)
    ours = VideoCodec(config).eval().requires_grad_(False)
    with torch.no_grad():  # open what starts closed
        for weight in ours.parameters():
            weight.add_(0.02 * torch.randn_like(weight))
    latents = torch.randn(1, config.channels, *shape)
    gflops = {"wan": wan_flops / 1e9, "ours": our_flops(config, shape) / 1e9}
    results = []
    for name, dtype in DTYPES.items():
        wan.to(dtype)
        ours.to(dtype)
        cast = wan_latents.to(dtype)
        arms = {
            "wan": lambda z=cast: wan.decode(z, return_dict=False)[0],
            "ours": lambda: ours.decode(latents),
        }
        with torch.no_grad():
            made = {arm: tuple(run().shape) for arm, run in arms.items()}
            seconds = timing.in_turn(arms, args.repeats)
        results.append(
            {
                "dtype": name,
                "gflops": {arm: round(value, 2) for arm, value in gflops.items()},
                "pixels": {arm: list(one) for arm, one in made.items()},
                "ratios": {"eager": timing.ratio(seconds, "wan", "ours")},
                "arms": {
                    arm: timing.summary(seconds[arm])
                    | {"gflops_a_second": round(gflops[arm] / statistics.median(seconds[arm]), 1)}
                    for arm in arms
                },
            }
        )
        print(name, results[-1]["ratios"], flush=True)
    return timing.write("codec_decode", vars(args) | {"codec": config.to_dict()}, results, args.out)


if __name__ == "__main__":
    main()
