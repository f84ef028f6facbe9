"""What captions are worth: `worldtube train wording`, recorded."""

import argparse
from pathlib import Path

import timing
import torch

from worldtube.evaluate import adherence
from worldtube.models.local import embedded_path
from worldtube.train.wording import Wording, WordingConfig

SCORES = ("seed", "arm", "prompts", *adherence.KEYS, "n", "interval")


def main(arguments: list[str] | None = None) -> Path:
    usual = WordingConfig()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--start", type=Path, default=embedded_path())
    parser.add_argument("--arms", nargs="+", default=list(usual.arms))
    for name in ("steps", "rows", "prompts", "trainings"):
        parser.add_argument(f"--{name}", type=int, default=getattr(usual, name))
    parser.add_argument("--out", type=Path)
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    config = WordingConfig(
        arms=tuple(args.arms),
        steps=args.steps,
        rows=args.rows,
        prompts=args.prompts,
        trainings=args.trainings,
    )
    told = Wording(data=args.data, start=args.start, out=args.runs, config=config).run()["told"]
    results = [{key: one[key] for key in SCORES} for one in told]
    named = {name: getattr(args, name).name for name in ("data", "runs", "start")}
    return timing.write("wording", vars(args) | named, results, args.out)


if __name__ == "__main__":
    print(main())
