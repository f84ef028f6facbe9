"""The re-captioner against the engines' facts on held-out clips, field by field (`worldtube evaluate captions`)."""

import argparse
from pathlib import Path

import timing
import torch

from worldtube.evaluate import captions


def main(arguments: list[str] | None = None) -> Path:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--first-seed", type=int, default=8_000_000)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    told = captions.measure(None, seeds=range(args.first_seed, args.first_seed + args.count))
    results = [
        {"field": name, "captions": told["fields"][name], "grammar": told["true_captions"][name]}
        for name in told["fields"]
    ]
    every = {key: told[key] for key in (*captions.KEYS, *captions.RECALL, "n", "interval")}
    results.append({"field": "all", "captions": every, "others": told["no_text"]})
    return timing.write("captions", vars(args), results, args.out)


if __name__ == "__main__":
    print(main())
