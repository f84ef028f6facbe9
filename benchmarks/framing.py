"""The framing experiment: training on whole wide and tall clips against training on squares cut from them.

Two networks start from the same weights, learn for the same number of steps from the same clips, once whole and once
as a square cut from anywhere along them, and are then asked for wide and tall clips of held-out prompts. The reader
says how much of what was named is there. (Brooks et al. 2024, Sora: training on crops gives things half out of view.)
"""

import argparse
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import timing
import torch
from rich.progress import track

from worldtube import models, reader
from worldtube.evaluate.adherence import embedded_prompts, read_prompts, score, summary
from worldtube.evaluate.sizes import square
from worldtube.generate import engine
from worldtube.generate.request import Request
from worldtube.records import read
from worldtube.train.loop import train
from worldtube.train.recipes import RECIPES
from worldtube.video import Size, save_image, sheet

SIZES = (Size(96, 64), Size(64, 96), Size(64, 64))
ARMS = {"native": False, "square": True}


def main(arguments: list[str] | None = None) -> Path:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", type=Path, nargs="+", required=True, help="catalogs of wide and of tall clips"
    )
    parser.add_argument("--start", type=Path, required=True, help="a model that saw squares alone")
    parser.add_argument("--runs", type=Path, required=True, help="folder for the two runs")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--count", type=int, default=60, help="prompts at each size")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args(arguments)
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    base = RECIPES["laptop"][1]
    eyes, lines = reader.load(), read_prompts(embedded_prompts())[: args.count]
    results: list[dict[str, Any]] = []
    for arm, cut in ARMS.items():
        mix = replace(base.mix, splits=0.0, square=cut)
        config = replace(
            base, steps=args.steps, rows=args.rows, rate=1e-3, ema_steps=100, sample_every=0, mix=mix,
            patch=models.load(args.start).card.patch,
        )  # fmt: skip
        out = args.runs / arm
        train(config, data=args.data, codec=args.start, start=args.start, out=out)
        model = models.load(out / "model.safetensors")
        losses = [row["loss"] for row in read(out / "record.jsonl")[1]]
        for size in SIZES:
            clips = [
                engine.generate(
                    model, [Request(prompt=line.prompt, size=size, num_frames=25, seed=seed)]
                )[0]
                for seed, line in enumerate(track(lines, f"{arm} {size}"))
            ]
            scores = summary(
                [
                    score(line, eyes.read(square(clip)))
                    for line, clip in zip(lines, clips, strict=True)
                ]
            )
            save_image(sheet(clips[:16], scale=1), args.runs / f"{arm}-{size}.png")
            results.append({"arm": arm, "size": str(size), "loss": losses[-1], "scores": scores})
            print(arm, size, scores, flush=True)
    told = vars(args) | {
        "data": [one.name for one in args.data],
        "start": args.start.name,
        "runs": args.runs.name,
    }
    return timing.write("framing", told, results, args.out)


if __name__ == "__main__":
    main()
