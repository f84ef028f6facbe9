"""Our codec beside the architectures of other open video models, on the same filmed clips, from a random start.

Same latent (24 numbers for 4 frames x 8 x 8 pixels), about the same number of weights, same batches, loss, noise on
the latents and steps; each at the better of two learning rates, tried for a few steps and judged on training clips.
Scores are on held-out clips. The other architectures are those of the `diffusers` package, made smaller. Needs
`pip install diffusers`.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import timing
import torch
from torch import Tensor, nn

from worldtube.codec import CodecConfig, VideoCodec
from worldtube.codec.autoencoder import FRAMES
from worldtube.data.catalog import Catalog
from worldtube.evaluate import reconstruction
from worldtube.train.codec import CodecTrainConfig, loss_of
from worldtube.train.optimizer import Optimizer, learning_rate
from worldtube.train.pools import Pool, draw_batch, draw_patches, read_pools
from worldtube.video import Clip

CHANNELS = 24
OURS = CodecConfig(
    channels=CHANNELS,
    encoder_widths=(64, 128),
    encoder_blocks=(2, 3),
    decoder_widths=(96, 192),
    decoder_blocks=(2, 4),
)
SMALL: dict[str, tuple[str, dict[str, Any]]] = {
    "LTX": (
        "AutoencoderKLLTXVideo",
        {
            "latent_channels": CHANNELS,
            "patch_size": 2,
            "down_block_types": ("LTXVideoDownBlock3D",) * 3,
            "block_out_channels": (32, 64, 64),
            "decoder_block_out_channels": (32, 64, 64),
            "spatio_temporal_scaling": (True, True, False),
            "decoder_spatio_temporal_scaling": (True, True, False),
            "layers_per_block": (1, 1, 1, 1),
            "decoder_layers_per_block": (1, 1, 1, 1),
            "decoder_inject_noise": (False,) * 4,
            "upsample_residual": (False,) * 3,
            "upsample_factor": (1, 1, 1),
        },
    ),
    "Wan": (
        "AutoencoderKLWan",
        {
            "base_dim": 16,
            "z_dim": CHANNELS,
            "dim_mult": [1, 2, 4, 4],
            "num_res_blocks": 1,
            "temperal_downsample": [False, True, True],
        },
    ),
    "CogVideoX": (
        "AutoencoderKLCogVideoX",
        {
            "block_out_channels": (16, 32, 64, 64),
            "latent_channels": CHANNELS,
            "layers_per_block": 1,
            "norm_num_groups": 8,
            "temporal_compression_ratio": 4,
        },
    ),
}
"""name -> (class in diffusers, sizes); each has our strides, and 1 + 8 k frames, which CogVideoX wants, suit all."""


class Peer(nn.Module):
    """A codec of diffusers as our loop and our scores take one."""

    def __init__(self, name: str):
        import diffusers

        super().__init__()
        kind, sizes = SMALL[name]
        self.net = getattr(diffusers, kind)(**sizes)

    def compress(self, grouped: Tensor) -> Tensor:
        return self.encode(grouped[:, :, FRAMES - 1 :])

    def expand(self, latents: Tensor) -> Tensor:
        made = self.net.decode(latents).sample
        return torch.cat([made[:, :, :1].expand(-1, -1, FRAMES - 1, -1, -1), made], dim=2)

    def encode(self, pixels: Tensor) -> Tensor:
        return self.net.encode(pixels).latent_dist.mode()

    def decode(self, latents: Tensor) -> Tensor:
        return self.net.decode(latents).sample.clamp(-1, 1)


def ours(pools: list[Pool], *, linear: bool) -> VideoCodec:
    codec = VideoCodec(OURS)
    if linear:
        codec.fit_linear(draw_patches(pools, 0))
    return codec


def trained(
    make: Callable[[], nn.Module], pools: list[Pool], config: CodecTrainConfig, name: str
) -> tuple[nn.Module, float]:
    """The averaged weights after the steps of `config`, and the CPU seconds they took."""
    torch.manual_seed(config.seed)
    codec = make().train()
    optimizer = Optimizer(codec, weight_decay=config.weight_decay, ema_steps=config.ema_steps)
    began = time.process_time()
    for step in range(config.steps):
        pixels, weights, _ = draw_batch(pools, config, step)
        loss, _ = loss_of(codec, pixels, weights, config=config, step=step)
        loss.backward()
        optimizer.step(
            learning_rate(
                step,
                peak=config.rate,
                warmup=config.warmup,
                steps=config.steps,
                decay=config.decay,
            )
        )
        if (step + 1) % 20 == 0:
            print(f"{name}: step {step + 1} of {config.steps}, {float(loss):.4f}", flush=True)
    seconds = time.process_time() - began
    codec.load_state_dict(codec.state_dict() | optimizer.averaged())
    return codec.eval().requires_grad_(False), seconds


def scores(codec: nn.Module, clips: list[Clip]) -> dict[str, float]:
    found = reconstruction.measure(codec, clips)
    return {
        key: round(found[key], 4) for key in ("psnr", "psnr_worst", "psnr_first", "ssim", "gmsd")
    }


def spread(folder: Path, count: int) -> list[Clip]:
    """So many clips, from all over a catalog."""
    catalog = Catalog(folder)
    names = catalog.ids("problem IS NULL")
    return [catalog.clip(name) for name in names[:: max(1, len(names) // count)][:count]]


def main(arguments: list[str] | None = None) -> Path:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="catalogs to train on")
    parser.add_argument("--held", type=Path, required=True, help="catalog of held-out clips")
    parser.add_argument("--count", type=int, default=32, help="held-out clips")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--search", type=int, default=40, help="steps for each learning rate")
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-3, 4e-3])
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--sides", type=int, nargs="+", default=[64, 48, 48])
    parser.add_argument("--peers", nargs="*", default=list(SMALL), choices=list(SMALL))
    parser.add_argument("--most", type=int, default=4000, help="steps of the last arm")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args(arguments)
    pools = read_pools([Catalog(folder) for folder in args.data], megabytes=4000)
    clips = spread(args.held, args.count)
    seen = spread(args.data[0], args.count)  # which learning rate is better is asked of these
    arms: dict[str, Callable[[], nn.Module]] = {
        "worldtube": lambda: ours(pools, linear=True),
        "worldtube, random start": lambda: ours(pools, linear=False),
        **{name: lambda name=name: Peer(name) for name in args.peers},
    }
    told = vars(args) | {"data": [path.name for path in args.data], "held": args.held.name}
    results = []

    def add(name: str, make: Callable[[], nn.Module], config: CodecTrainConfig) -> None:
        codec, seconds = trained(make, pools, config, name)
        results.append(
            {
                "codec": name,
                "weights": sum(p.numel() for p in codec.parameters()),
                "steps": config.steps,
                "rate": config.rate,
                "cpu_seconds": round(seconds, 1),
                **scores(codec, clips),
            }
        )
        print(results[-1], flush=True)
        timing.write("codec_peers", told, results, args.out)  # each arm is dear

    usual = CodecTrainConfig(
        batch=args.batch, frames=(9,), sides=tuple(args.sides), dtype="float32", ema_steps=50
    )

    def config(steps: int, rate: float) -> CodecTrainConfig:
        return replace(usual, steps=steps, rate=rate)

    start = ours(pools, linear=True)
    results.append({"codec": "worldtube, step 0", "steps": 0, **scores(start, clips)})
    for name, make in arms.items():
        tried = {
            rate: scores(trained(make, pools, config(args.search, rate), name)[0], seen)["psnr"]
            for rate in args.rates
        }
        print(name, tried, flush=True)
        add(name, make, config(args.steps, max(tried, key=lambda rate: tried[rate])))
    if args.peers:
        first, dearest = results[1], max(one["cpu_seconds"] for one in results[1:])
        steps = min(args.most, round(args.steps * dearest / first["cpu_seconds"]))
        add("worldtube, more steps", arms["worldtube"], config(steps, first["rate"]))
    return timing.write("codec_peers", told, results, args.out)


if __name__ == "__main__":
    main()
