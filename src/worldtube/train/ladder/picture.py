"""A ladder to look at: its plot, and the same prompts and seeds at three amounts of compute."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from worldtube import models
from worldtube.errors import MissingExtra
from worldtube.files import atomic_path
from worldtube.generate import engine
from worldtube.generate.tasks import TASKS
from worldtube.records import read
from worldtube.train.ladder.law import Law
from worldtube.train.ladder.trial import Scene, Trial
from worldtube.video import Size, save_image, sheet

PROMPTS = (
    "a large red ball rolls to the right",
    "a small blue box falls onto the table",
    "two green cylinders stand side by side",
)
"""With seeds 0, 1, 2."""


def require() -> None:
    """Raises MissingExtra before hours are spent."""
    try:
        import matplotlib  # noqa: F401
        import scipy  # noqa: F401
    except ImportError as error:
        raise MissingExtra("a ladder", "eval") from error


def plot(record: Path, path: Path) -> Path:
    """Loss over size for each budget with the fitted law, and loss over compute with what was foretold."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    header, rows = read(record)
    last = rows[-1]
    runs = [row for row in rows if "loss" in row]
    budgets = header["config"]["budgets"]
    logs = [last["law"][name]["value"] for name in ("E", "A", "B")]
    law = Law(
        values=(*np.log(logs).tolist(), last["law"]["a"]["value"], last["law"]["b"]["value"]),
        draws=(),
    )
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    colours = pyplot.get_cmap("viridis")(np.linspace(0, 0.85, len(budgets)))
    bests, foretold = [], []
    for budget, colour in zip(budgets, colours, strict=True):
        own = [row for row in runs if row["budget"] == budget]
        best = [
            min((row for row in own if row["width"] == width), key=lambda row: row["loss"])
            for width in sorted({row["width"] for row in own})
        ]
        held = budget == budgets[-1]
        name = f"{budget:.2g} FLOPs" + (", held out" if held else "")
        left.scatter(
            [row["N"] for row in own], [row["loss"] for row in own], color=colour, s=8, alpha=0.35
        )
        left.plot(
            [row["N"] for row in best],
            [row["loss"] for row in best],
            "s" if held else "o",
            color=colour,
            label=name,
        )
        told = [law(row["N"], row["D"]) for row in best]
        left.plot([row["N"] for row in best], told, "--" if held else "-", color=colour)
        bests.append(min(row["loss"] for row in best))
        foretold.append(min(told))
    left.set(xscale="log", xlabel="N, weights that each token passes", ylabel="validation loss")
    left.legend(fontsize=8)
    left.set_title("marks: runs (pale: other learning rates); lines: the law", fontsize=9)
    right.plot(budgets[:-1], bests[:-1], "o", color="black", label="best run")
    right.plot(budgets[-1:], bests[-1:], "s", color="black", label="best run, held out")
    right.plot(budgets, foretold, "--", color="tab:red", label="the law")
    low, high = last["held_out"]["interval"]
    right.vlines(budgets[-1], low, high, color="tab:red", lw=4, alpha=0.4, label="90 % of refits")
    error = last["held_out"]["error"]
    right.set_title(f"foretold for the largest budget: {error:+.1%} off", fontsize=9)
    right.set(xscale="log", xlabel="compute, FLOPs", ylabel="validation loss")
    right.legend(fontsize=8)
    with atomic_path(path) as part:
        figure.savefig(part, dpi=110, format="png")
    pyplot.close(figure)
    return path


def compute(
    scene: Scene, multiples: Sequence[int], rows: Sequence[dict[str, Any]], path: Path
) -> Path:
    """Sheets of the models of multiples of one budget, one above the other."""
    size = Size(scene.config.size, scene.config.size)
    clips = []
    for times, row in zip(multiples, rows, strict=True):
        trial = Trial(flops=row["budget"], width=row["width"], rate=row["rate"])
        model = models.load(scene.out / "runs" / trial.name / "model.safetensors")
        for seed, prompt in enumerate(PROMPTS):
            request = replace(
                TASKS["generate"](prompt, size=size, seed=seed),
                num_frames=scene.config.num_frames,
            )
            clip = engine.generate(model, [request])[0]
            what = "base compute" if times == 1 else f"{times}x compute"
            clips.append(replace(clip, caption=f"{what}: {prompt}"))
    scale = max(1, 64 // scene.config.size)
    picture = sheet(clips, frames=5, columns=len(PROMPTS), scale=scale)
    return save_image(picture, path)
