"""A scaling ladder: `worldtube train ladder`, and its law as a record. A ladder that is there already is read.

CPU seconds are those of the runs, all together; recording clips comes before and is not among them. Minutes are
those of the whole, clips and pictures too, and are told where this call made all of it.
"""

import argparse
import shutil
import time
from pathlib import Path

import timing

from worldtube.records import read
from worldtube.train.ladder import LADDERS, climb


def main(arguments: list[str] | None = None) -> Path:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=list(LADDERS), default="ci")
    parser.add_argument("--runs", type=Path, required=True, help="folder of the ladder")
    parser.add_argument("--data", type=Path, nargs="+", help="catalogs; recorded when not said")
    parser.add_argument("--validation", type=Path)
    parser.add_argument("--processes", type=int)
    parser.add_argument("--pictures", type=Path, help="folder for the plot and the picture")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args(arguments)
    whole, began = not args.runs.exists(), time.monotonic()
    record = climb(
        LADDERS[args.size][1],
        out=args.runs,
        data=args.data,
        validation=args.validation,
        processes=args.processes,
    )
    minutes = round((time.monotonic() - began) / 60, 1)
    header, rows = read(record)
    *made, last = rows
    results = []
    for budget in header["config"]["budgets"]:
        own = [row for row in made if row["budget"] == budget]
        best = min(own, key=lambda row: row["loss"])
        shown = ("budget", "width", "N", "D", "rate", "steps", "epochs", "loss")
        results.append(
            {name: best[name] for name in shown}
            | {"runs": len(own), "sizes": len({row["width"] for row in own})}
            | {"optimum": last["optima"][f"{budget:.3g}"]["N"]}
        )
    if args.pictures is not None:
        for name in ("ladder", "compute"):
            shutil.copy(args.runs / f"{name}.png", args.pictures / f"{name}-{args.size}.png")
    told = header["config"] | {
        "ladder": args.size,
        "ran": {"commit": header["commit"], "started": header["started"]},
        "law": last["law"],
        "held_out": last["held_out"],
        "residual": last["residual"],
        "compute": [{n: row[n] for n in ("budget", "width", "loss")} for row in last["compute"]],
        "runs": len(made),
        "minutes": minutes if whole else None,
        "cpu_seconds": round(sum(row["cpu_seconds"] for row in made), 1),
    }
    return timing.write(f"ladder_{args.size}", told, results, args.out)


if __name__ == "__main__":
    main()
