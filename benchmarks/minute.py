"""What a minute costs: peak memory and time of `worldtube generate --seconds N`, each in a process of its own.

Memory must not grow with duration and time must grow in a straight line. Draws a plot of both.
"""

import argparse
import tempfile
from pathlib import Path

import timing

PROMPT = "a red ball rolls to the right"


def process(seconds: float, args: argparse.Namespace) -> dict[str, float]:
    """Peak resident memory (MB), CPU and wall seconds of one whole command."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["generate", PROMPT, "--seconds", str(seconds)]
        command += ["--steps", str(args.steps), "--out", f"{folder}/clip.mp4"]
        command += [] if args.size is None else ["--size", args.size]
        command += [] if args.model is None else ["--model", str(args.model)]
        run = timing.process(command)
    return {
        "seconds": seconds,
        "peak_mb": round(run.peak_mb, 1),
        "cpu_seconds": round(run.cpu_seconds, 2),
        "wall_seconds": round(run.wall_seconds, 2),
    }


def plot(results: list[dict[str, float]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, left = pyplot.subplots(figsize=(6, 3), dpi=100, layout="constrained")
    x = [row["seconds"] for row in results]
    left.plot(x, [row["cpu_seconds"] for row in results], "o-", color="tab:blue")
    left.set(xlabel="seconds of video", ylim=(0, None), xlim=(0, None))
    left.set_ylabel("CPU seconds", color="tab:blue")
    right = left.twinx()
    right.plot(x, [row["peak_mb"] for row in results], "s--", color="tab:red")
    right.set_ylabel("peak memory, MB", color="tab:red")
    right.set_ylim(0, 1.2 * max(row["peak_mb"] for row in results))
    figure.savefig(path)


def main(arguments: list[str] | None = None) -> Path:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, nargs="+", default=[4, 15, 30, 60])
    parser.add_argument("--size", help="the model's own when not said")
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--model", type=Path, help="weight file; the embedded model when not said")
    parser.add_argument("--plot", type=Path, help="PNG to draw")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args(arguments)
    results = []
    for seconds in args.seconds:
        results.append(process(seconds, args))
        print(results[-1], flush=True)
    if args.plot is not None:
        plot(results, args.plot)
    told = {name: value for name, value in vars(args).items() if name != "plot"}
    told["model"] = "embedded" if args.model is None else args.model.name
    return timing.write("minute", told, results, args.out)


if __name__ == "__main__":
    main()
