"""How the reader learns: exact labels from the engines, and pictures made worse so that generated ones are read too.

Owns the training loops and the labels. Never sees a generated clip or a prompt.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from worldtube import video
from worldtube.data.catalog import Catalog, unpack_ids
from worldtube.device import autocast, check_dtype, find_device
from worldtube.errors import DataError, RequestError
from worldtube.evaluate.accuracy import accuracy, true_clips
from worldtube.reader import Reader, crops, resized, to_input, tracks
from worldtube.reader.network import EVENTS, KINDS, OFFSET, SIDE, Pixels, Shapes, Witness
from worldtube.reader.worse import degraded, degraded_clip
from worldtube.worlds.world import COLOURS, MOTIONS, SHAPES, SIZES, VALIDATION_SEEDS

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
WATER, STAIN = 200, 201
LEAST_STEPS = 20
"""The learning rate cannot rise and fall in fewer."""
TEST_SEEDS = VALIDATION_SEEDS[:200]


@dataclass(frozen=True, kw_only=True)
class Example:
    """A true clip."""

    frames: np.ndarray
    """uint8 (T, 64, 64, 3)."""
    ids: np.ndarray
    """uint8 (T, 64, 64)."""
    truth: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class ReaderConfig:
    """How long and how fast the reader learns."""

    pixel_steps: int = 4000
    """Steps of the pixel network."""
    pixel_batch: int = 16
    """Pictures in a step."""
    shape_steps: int = 2500
    """Steps of the network for shapes."""
    shape_batch: int = 48
    """Things in a step."""
    witness_clips: int = 1000
    """Clips whose tracks teach the witness."""
    witness_steps: int = 1500
    """Steps of the witness."""
    witness_batch: int = 16
    """Clips in a step."""
    learning_rate: float = 3e-3
    """The highest, after a rise; it falls to nothing."""
    seed: int = 0
    """Of the weights, the order and what makes pictures worse."""
    dtype: str = "auto"
    """What the networks of pixels and shapes compute in: float32 or bfloat16; auto is the fastest here."""
    device: str = "auto"
    """Where those compute: auto, cpu, cuda, mps, or such as cuda:1."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            least = LEAST_STEPS if name.endswith("_steps") else 1
            if isinstance(value, int) and name != "seed" and value < least:
                raise RequestError(f"{name} {value} is not accepted; {least} or more is")
        check_dtype(self.dtype)
        if self.learning_rate <= 0:
            raise RequestError(f"learning_rate {self.learning_rate} is not accepted; 0.003 is")


def examples(data: Sequence[Path], *, limit: int | None = None) -> list[Example]:
    """Clips of catalogs, with masks and truth."""
    out = []
    for path in data:
        catalog = Catalog(path)
        ids = catalog.ids("problem IS NULL AND ids IS NOT NULL")[:limit]
        for name in ids:
            (row,) = catalog.take([name], ["video", "ids", "truth"])
            frames, masks = video.decode(row["video"]).frames, unpack_ids(row["ids"])
            if frames.shape[1:3] != (SIDE, SIDE):
                picks = [np.arange(SIDE) * n // SIDE + n // SIDE // 2 for n in frames.shape[1:3]]
                frames, masks = resized(frames), masks[:, picks[0]][:, :, picks[1]]
            out.append(Example(frames=frames, ids=masks, truth=row["truth"]))
    if not out:
        raise DataError(f"no clips with masks in {', '.join(map(str, data))}")
    return out


def train_file(
    data: Sequence[Path],
    out: Path,
    *,
    config: ReaderConfig | None = None,
    seeds: range = TEST_SEEDS,
    progress: Progress | None = None,
) -> Reader:
    """Train on the clips of catalogs, measure on true clips of `seeds`, write the weight file with what was measured.

    `data` should hold clips of training seeds and some of 8,500,000 and up, which show all colours on all shapes.
    """
    reader = train_reader(examples(data), config=config, progress=progress)
    measured = accuracy(reader, true_clips(seeds))
    reader.accuracy = measured | {"clips": len(seeds), "seeds": [seeds.start, seeds.stop]}
    reader.save(out)
    return reader


def train_reader(
    clips: Sequence[Example],
    *,
    config: ReaderConfig | None = None,
    progress: Progress | None = None,
) -> Reader:
    """Train the three networks on true clips. The reader's `accuracy` is left empty. Raises DataError."""
    config = config or ReaderConfig()
    shown = {item["shape"] for clip in clips for item in clip.truth["objects"]}
    if missing := [shape for shape in SHAPES if shape not in shown]:
        raise DataError(
            f"no {', no '.join(missing)} in {len(clips)} clips; add clips of the world tabletop"
        )
    total = config.pixel_steps + config.shape_steps + config.witness_clips + config.witness_steps
    told = progress or (lambda done, total: None)
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    pixels, shapes, witness = Pixels(), Shapes(), Witness(tracks.NUM_FEATURES)
    train_pixels(pixels, clips, config, rng, lambda n: told(n, total))
    train_shapes(shapes, clips, config, rng, lambda n: told(config.pixel_steps + n, total))
    reader = Reader(pixels, shapes, witness)
    done = config.pixel_steps + config.shape_steps
    chosen = rng.permutation(len(clips))[: config.witness_clips]
    lessons = []
    for i, index in enumerate(chosen):
        worse = i % 2 == 1
        lessons.append(lesson(reader, clips[index], rng if worse else None))
        told(done + i, total)
    if not any(lessons):
        raise DataError(
            f"after {config.pixel_steps} steps nothing is found in {len(lessons)} clips;"
            f" pixel_steps {ReaderConfig.pixel_steps} is enough"
        )
    train_witness(
        witness, lessons, config, rng, lambda n: told(done + config.witness_clips + n, total)
    )
    return reader


# --- pixels ----------------------------------------------------------------------------------------------


def labels(ids: np.ndarray, truth: dict[str, Any]) -> dict[str, np.ndarray]:
    """Masks (64, 64) of one frame -> what each pixel should say."""
    objects = truth["objects"]
    kind, colour, size = np.zeros(256, np.int64), np.full(256, len(COLOURS)), np.full(256, -100)
    kind[WATER], kind[STAIN] = KINDS.index("water"), KINDS.index("stain")
    for i, item in enumerate(objects):
        kind[1 + i] = 1 + SHAPES.index(item["shape"])
        colour[1 + i] = COLOURS.index(item["colour"])
        size[1 + i] = SIZES.index(item["size"])
    centre = np.zeros((SIDE, SIDE), np.float32)
    offset = np.zeros((2, SIDE, SIDE), np.float32)
    rows, columns = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    for i in range(len(objects)):
        on = ids == 1 + i
        area = on.sum()
        if area < 4:
            continue
        y, x = rows[on].mean(), columns[on].mean()
        sigma = max(1.0, 0.1 * float(np.sqrt(area)))
        bump = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * sigma**2))
        # The pixel nearest to the middle is 1, wherever in that pixel the middle lies.
        centre = np.maximum(centre, bump / bump.max())
        offset[0][on], offset[1][on] = (x - columns[on]) / OFFSET, (y - rows[on]) / OFFSET
    return {
        "kind": kind[ids],
        "colour": colour[ids],
        "size": size[ids],
        "centre": centre,
        "offset": offset,
    }


def train_pixels(
    network: Pixels,
    clips: Sequence[Example],
    config: ReaderConfig,
    rng: np.random.Generator,
    told: Callable[[int], None],
) -> None:
    device = find_device(config.device)
    network.to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.learning_rate, total_steps=config.pixel_steps, pct_start=0.08
    )
    network.train()
    for step in range(config.pixel_steps):
        pictures, marks = _pictures(clips, config.pixel_batch, rng)
        marks = {name: mark.to(device) for name, mark in marks.items()}
        with autocast(device, config.dtype):
            maps = network(degraded(pictures, rng).to(device))
        loss = _pixel_loss(maps, marks)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            logger.info("pixels %d loss %.4f", step, float(loss.detach()))
        told(step)
    network.to("cpu").eval()


def _pictures(
    clips: Sequence[Example], count: int, rng: np.random.Generator
) -> tuple[Tensor, dict[str, Tensor]]:
    frames, marks = [], []
    for index in rng.integers(len(clips), size=count):
        clip = clips[index]
        t = int(rng.integers(len(clip.frames)))
        frame, ids = clip.frames[t], clip.ids[t]
        if rng.random() < 0.5:
            frame, ids = frame[:, ::-1], ids[:, ::-1]
        frames.append(frame)
        marks.append(labels(ids, clip.truth))
    stacked = {name: torch.from_numpy(np.stack([m[name] for m in marks])) for name in marks[0]}
    return to_input(np.stack(frames)), stacked


_KIND_WEIGHTS = torch.tensor([0.4, 1.0, 1.0, 1.0, 1.0, 0.7, 0.5])
_COLOUR_WEIGHTS = torch.tensor([1.0] * len(COLOURS) + [0.3])


def _pixel_loss(maps: dict[str, Tensor], marks: dict[str, Tensor]) -> Tensor:
    on = (marks["colour"] < len(COLOURS)).float()
    kind = F.cross_entropy(maps["kind"], marks["kind"], _KIND_WEIGHTS.to(on.device))
    colour = F.cross_entropy(maps["colour"], marks["colour"], _COLOUR_WEIGHTS.to(on.device))
    size = F.cross_entropy(maps["size"], marks["size"]) if bool(on.any()) else 0.0
    # Focal loss on bumps (Law and Deng 2018, eq. 1).
    want, p = marks["centre"], maps["centre"][:, 0].sigmoid().clamp(1e-4, 1 - 1e-4)
    peak = want > 0.999
    hit = ((1 - p) ** 2 * p.log())[peak].sum()
    miss = ((1 - want) ** 4 * p**2 * (1 - p).log())[~peak].sum()
    centre = -(hit + miss) / peak.sum().clamp_min(1)
    gap = (maps["offset"] - marks["offset"]).abs().sum(1)
    offset = (gap * on).sum() / on.sum().clamp_min(1)
    return kind + colour + 0.3 * size + 0.3 * centre + offset


# --- shapes ------------------------------------------------------------------------------------------------


def train_shapes(
    network: Shapes,
    clips: Sequence[Example],
    config: ReaderConfig,
    rng: np.random.Generator,
    told: Callable[[int], None],
) -> None:
    device = find_device(config.device)
    network.to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=2e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.learning_rate, total_steps=config.shape_steps, pct_start=0.08
    )
    network.train()
    for step in range(config.shape_steps):
        pictures, names = _things(clips, config.shape_batch, rng)
        with autocast(device, config.dtype):
            logits = network(pictures.to(device))
            loss = F.cross_entropy(logits, names.to(device), label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            logger.info("shapes %d loss %.4f", step, float(loss.detach()))
        told(step)
    network.to("cpu").eval()


def _things(
    clips: Sequence[Example], count: int, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Pictures of things, every shape as often, in any colours: a shape must not be known by its colour."""
    frames, masks, places, names = [], [], [], []
    while len(names) < count:
        clip = clips[int(rng.integers(len(clips)))]
        wanted = SHAPES[len(names) % len(SHAPES)]
        t = int(rng.integers(len(clip.frames)))
        members = [i for i, item in enumerate(clip.truth["objects"]) if item["shape"] == wanted]
        if not members:
            continue
        on = clip.ids[t] == 1 + int(rng.choice(members))
        if on.sum() < 12:
            continue
        rows, columns = np.nonzero(on)
        x, y, half = tracks.crop_place((columns.min(), rows.min(), columns.max(), rows.max()))
        frames.append(clip.frames[t])
        masks.append(_ragged(on, rng))
        places.append(
            (x + rng.uniform(-1, 1), y + rng.uniform(-1, 1), half * float(rng.uniform(0.88, 1.15)))
        )
        names.append(SHAPES.index(wanted))
    pixels = degraded(to_input(np.stack(frames)), rng)
    turned = torch.stack([one[torch.from_numpy(rng.permutation(3))] for one in pixels])
    bright = torch.from_numpy(np.exp(rng.uniform(-1.2, 1.2, (count, 1, 1, 1))).astype(np.float32))
    gain = torch.from_numpy(rng.uniform(0.15, 1.0, (count, 1, 1, 1)).astype(np.float32))
    turned = 2 * gain * (turned / 2 + 0.5).clamp_min(0) ** bright - 1
    recoloured = torch.from_numpy(rng.random(count) < 0.7)[:, None, None, None]
    pictures = crops(
        torch.where(recoloured, turned, pixels), torch.from_numpy(np.stack(masks)), places
    )
    mirror = torch.from_numpy(rng.random(count) < 0.5)[:, None, None, None]
    return torch.where(mirror, pictures.flip(3), pictures), torch.tensor(names)


def _ragged(on: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A mask with the faults of one that was read: a pixel more or less at its rim, holes."""
    draw = rng.random()
    if draw < 0.5:
        padded = np.pad(on, 1)
        around = np.stack([padded[i : i + SIDE, j : j + SIDE] for i in range(3) for j in range(3)])
        rim = around.any(0) != around.all(0)
        return np.where(rim & (rng.random(on.shape) < 0.35), ~on, on)
    return on


# --- the witness -------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """The tracks that the reader found in a true clip, and what the truth says of them."""

    rows: np.ndarray
    """float32 (K, T, F)."""
    real: np.ndarray
    motion: np.ndarray
    size: np.ndarray
    """int64 (K,); -100 where nothing is to be learned."""
    event: int


def lesson(reader: Reader, clip: Example, rng: np.random.Generator | None = None) -> Lesson | None:
    """None when no thing was found. With a generator the clip is made worse first."""
    frames = clip.frames if rng is None else degraded_clip(clip.frames, rng)
    found, water, stain, camera = reader.look(frames)
    if not found:
        return None
    rows = tracks.features(found, len(frames), camera, water, stain)
    owners = [_owner(track, clip.ids, len(clip.truth["objects"])) for track in found]
    real, motion, size = (np.full(len(found), -100) for _ in range(3))
    for k, owner in enumerate(owners):
        longest = max(
            (j for j, other in enumerate(owners) if other == owner),
            key=lambda j: len(found[j].seen),
        )
        real[k] = int(owner is not None and longest == k)
        if real[k]:
            group = clip.truth["groups"][clip.truth["objects"][owner]["group"]]
            motion[k] = MOTIONS.index(group["motion"])
            size[k] = SIZES.index(group["size"])
    event = EVENTS.index(clip.truth["event"] or "none")
    return Lesson(rows=rows, real=real, motion=motion, size=size, event=event)


def _owner(track: tracks.Track, ids: np.ndarray, num_objects: int) -> int | None:
    """The object that most of a track's pixels belong to."""
    counts = np.zeros(256, np.int64)
    for t, one in track.seen.items():
        counts += np.bincount(ids[t][one.pixels], minlength=256)
    best = int(counts.argmax())
    return best - 1 if 1 <= best <= num_objects else None


def train_witness(
    network: Witness,
    lessons: Sequence[Lesson | None],
    config: ReaderConfig,
    rng: np.random.Generator,
    told: Callable[[int], None],
) -> None:
    known = [one for one in lessons if one is not None]
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=2e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.learning_rate, total_steps=config.witness_steps, pct_start=0.08
    )
    network.train()
    for step in range(config.witness_steps):
        batch = [known[i] for i in rng.integers(len(known), size=config.witness_batch)]
        loss = _witness_loss(network, batch, rng)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 200 == 0:
            logger.info("witness %d loss %.4f", step, float(loss.detach()))
        told(step)
    network.eval()


def _witness_loss(network: Witness, batch: Sequence[Lesson], rng: np.random.Generator) -> Tensor:
    most, frames = max(len(one.rows) for one in batch), max(one.rows.shape[1] for one in batch)
    rows = torch.zeros(len(batch), most, frames, tracks.NUM_FEATURES)
    there = torch.zeros(len(batch), most)
    marks = {name: torch.full((len(batch), most), -100) for name in ("real", "motion", "size")}
    swap = {
        MOTIONS.index("right"): MOTIONS.index("left"),
        MOTIONS.index("left"): MOTIONS.index("right"),
    }
    for b, one in enumerate(batch):
        value = torch.from_numpy(one.rows)
        motion = one.motion
        if rng.random() < 0.5:
            value = tracks.mirrored(value)
            motion = np.array([swap.get(int(m), int(m)) for m in motion])
        count = len(value)
        noise = torch.from_numpy(rng.normal(0, 0.02, value.shape).astype(np.float32))
        rows[b, :count, : value.shape[1]] = value + noise
        there[b, :count] = 1
        for name, mark in (("real", one.real), ("motion", motion), ("size", one.size)):
            marks[name][b, :count] = torch.from_numpy(np.asarray(mark))
    told = network(rows, there)
    real = marks["real"]
    loss = F.binary_cross_entropy_with_logits(
        told["real"][..., 0][real >= 0], real[real >= 0].float()
    )
    for name in ("motion", "size"):
        loss = loss + F.cross_entropy(told[name].flatten(0, 1), marks[name].flatten())
    return loss + F.cross_entropy(told["event"], torch.tensor([one.event for one in batch]))
