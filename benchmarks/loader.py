"""How fast a dataset gives clips: random batches out of it, and packed rows against what training eats; one core.

The dataset is made of random numbers in the shapes that clips of two seconds at 64x64 have: latents, words at three
lengths, truth maps, a file of 32 kB. Reading 32 random clips is measured against the same values as blobs of an SQLite
table, a row per clip, which is how datasets were kept before; cold after the system was told to forget the files. Then
the rows that `Batches` packs, per second, against whole training steps of a recipe on such rows, in turn. Times are
wall times on one core; beside those of reading, which a busy machine stretches, stands the CPU time of all threads.
"""

import argparse
import os
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import timing
import torch

from worldtube.data.catalog import Catalog
from worldtube.data.latents import CAPTIONS, TRUTH_CHANNELS
from worldtube.models.local import embedded_path, load_codec
from worldtube.train.loop import setup
from worldtube.train.recipes import RECIPES

FRAMES, SIDE, FPS = 25, 64, 12.0
WORDS = {"short": 12, "medium": 21, "long": 43}
FILE = 32_000
COLUMNS = ("latents", *(f"text_{caption}" for caption in CAPTIONS), "truth_map")


def values(rng: np.random.Generator, channels: int, stride: tuple[int, int, int], width: int):
    """What a clip has in the columns of stages."""
    grid = (1 + (FRAMES - 1) // stride[0], SIDE // stride[1], SIDE // stride[2])
    shapes = {"latents": (channels, *grid), "truth_map": (TRUTH_CHANNELS, *grid)}
    shapes |= {f"text_{caption}": (count, width) for caption, count in WORDS.items()}
    return {
        name: rng.standard_normal(shape, np.float32).astype(np.float16)
        for name, shape in shapes.items()
    }


def make(folder: Path, count: int, width: int = 1280, group: int = 16) -> dict[str, float]:
    """Both stores of the same clips; seconds that each took."""
    codec, version = load_codec(embedded_path())
    rng = np.random.default_rng(0)
    database = sqlite3.connect(folder / "clips.sqlite")
    database.execute(f"CREATE TABLE clips (id TEXT PRIMARY KEY, video, {', '.join(COLUMNS)})")
    seconds = dict.fromkeys(("lance", "sqlite"), 0.0)
    catalog = Catalog(folder / "set", mode="a")
    for name in COLUMNS:
        catalog.add_column(name, version)
    for start in range(0, count, group):
        rows, found = [], {}
        for seed in range(start, min(start + group, count)):
            name = f"noise:1:{seed}:{SIDE}x{SIDE}"
            found[name] = values(rng, codec.channels, codec.stride, width)
            place = {"world": "noise", "version": 1, "seed": seed}
            size = {"width": SIDE, "height": SIDE, "num_frames": FRAMES, "fps": FPS}
            rows.append({"id": name, "video": rng.bytes(FILE), **place, **size})
        began = time.perf_counter()
        catalog.append(rows)
        for column in COLUMNS:
            catalog.set(column, {name: each[column] for name, each in found.items()})
        seconds["lance"] += time.perf_counter() - began
        began = time.perf_counter()
        marks = ", ".join("?" * (2 + len(COLUMNS)))
        database.executemany(
            f"INSERT INTO clips VALUES ({marks})",
            [
                (row["id"], row["video"], *(found[row["id"]][c].tobytes() for c in COLUMNS))
                for row in rows
            ],
        )
        database.commit()
        seconds["sqlite"] += time.perf_counter() - began
    began = time.perf_counter()
    catalog.compact()
    seconds["lance"] += time.perf_counter() - began
    database.close()
    return seconds


def forget(folder: Path) -> None:
    """Tell the system to drop these files from its memory."""
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def reading(folder: Path, count: int, batch: int, repeats: int) -> list[dict[str, Any]]:
    """Times of reading random batches from both stores, in turn."""
    catalog, names = Catalog(folder / "set"), Catalog(folder / "set").ids()
    database = sqlite3.connect(f"file:{folder / 'clips.sqlite'}?mode=ro", uri=True)
    question = f"SELECT id, {', '.join(COLUMNS)} FROM clips WHERE id IN ({', '.join('?' * batch)})"

    def lance(ids: list[str]) -> list[Any]:
        return [row["latents"] for row in catalog.take(ids, ["id", *COLUMNS])]

    def sqlite(ids: list[str]) -> list[Any]:
        found = {row[0]: row[1:] for row in database.execute(question, ids)}
        read = {name: [np.frombuffer(blob, np.float16) for blob in found[name]] for name in ids}
        return [read[name][0] for name in ids]

    arms: dict[str, Callable[[list[str]], list[Any]]] = {"lance": lance, "sqlite": sqlite}
    told = []
    rng = np.random.default_rng(1)
    for state in ("cold", "warm"):
        seconds: dict[str, list[float]] = {name: [] for name in arms}
        cpu: dict[str, list[float]] = {name: [] for name in arms}
        for _ in range(repeats):
            ids = [names[i] for i in rng.choice(count, batch, replace=False)]
            read = {}
            for name, take in arms.items():
                if state == "cold":
                    forget(folder)
                began, worked = time.perf_counter(), time.process_time()
                read[name] = take(ids)
                seconds[name].append(time.perf_counter() - began)
                cpu[name].append(time.process_time() - worked)
            assert all(np.array_equal(a.ravel(), b) for a, b in zip(*read.values(), strict=True)), (
                "both give the same numbers"
            )
        for name, each in seconds.items():
            low, high = np.percentile(each, (50, 95)).tolist()
            told.append(
                {
                    "what": "take",
                    "store": name,
                    "state": state,
                    "clips": batch,
                    "p50_ms": round(1000 * low, 2),
                    "p95_ms": round(1000 * high, 2),
                    "cpu_ms": round(1000 * statistics.median(cpu[name]), 2),
                }
            )
    return told


def feeding(folder: Path, recipe: str, repeats: int) -> dict[str, Any]:
    """Clips per second that packed rows come with, and that training takes, in turn."""
    config = RECIPES[recipe][1]
    config = replace(
        config, weights=(), mix=replace(config.mix, splits=0.0)
    )  # no second pieces here
    made = setup(config, codec=embedded_path(), start=None)
    batches = made.batches(config, [folder / "set"])
    seconds: dict[str, list[float]] = {"load": [], "train": []}
    for step in range(1 + repeats):
        began = time.perf_counter()
        batch = batches.batch(step)
        loaded = time.perf_counter()
        loss, _ = made.objective(made.model.transformer, batch, step=step)
        loss.backward()
        made.optimizer.step(1e-4)
        if step > 0:  # kernels are chosen in the first
            seconds["load"].append(loaded - began)
            seconds["train"].append(time.perf_counter() - loaded)
    speed = {what: config.rows / statistics.median(each) for what, each in seconds.items()}
    return {
        "what": "feed",
        "recipe": recipe,
        "rows": config.rows,
        "loaded_clips_per_second": round(speed["load"], 1),
        "trained_clips_per_second": round(speed["train"], 2),
        "times": round(speed["load"] / speed["train"], 1),
    }


def main(arguments: list[str] | None = None) -> Path:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=60, help="batches that are read")
    parser.add_argument("--steps", type=int, default=5, help="of training, for each recipe")
    parser.add_argument("--recipes", nargs="+", default=["laptop", "fine"])
    parser.add_argument("--out", type=Path)
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = make(folder, args.clips)
        results = reading(folder, args.clips, args.batch, args.repeats)
        results += [feeding(folder, recipe, args.steps) for recipe in args.recipes]
    for one in results:
        print(one, flush=True)
    written = {name: round(args.clips / seconds, 1) for name, seconds in made.items()}
    told = {"pylance": metadata.version("pylance"), "written_clips_per_second": written}
    return timing.write("loader", vars(args) | told, results, args.out)


if __name__ == "__main__":
    main()
