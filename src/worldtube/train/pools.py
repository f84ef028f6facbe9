"""Clips in memory and the pieces of them that the codec learns from.

Owns the draw of a batch: a pure function of the clips, the configuration and the step. Knows nothing of networks.
"""

import hashlib
import json
import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from worldtube.codec.autoencoder import FRAMES, PATCH, PATCH_NUMBERS, fold, group_frames, patchify
from worldtube.codec.losses import change_weights, object_weights
from worldtube.errors import DataError

if TYPE_CHECKING:
    from worldtube.data.catalog import Catalog
    from worldtube.train.codec import CodecTrainConfig

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Clips of one shape, in memory."""

    frames: np.ndarray
    """uint8 (N, T, H, W, 3)."""
    ids: np.ndarray | None = None
    """uint8 (N, T, H, W): 0 on the ground, other numbers on things. None where they are not known.
    """
    names: tuple[str, ...] = ()
    """Of the clips, as their catalogs have them; numbers where there are none."""

    def name(self, clip: int) -> str:
        """Of a clip, for people."""
        return self.names[clip] if self.names else str(clip)

    def __len__(self) -> int:
        return len(self.frames)


def read_pools(catalogs: "Iterable[Catalog]", *, megabytes: int, skip: int = 0) -> list[Pool]:
    """The clips of some catalogs in memory, by shape, up to a bound on their size.

    The catalogs share the bound; what a small one does not need, the others have. skip: leave out the last
    clips of each catalog, which were held out. Clips with a known problem are left out. Raises DataError when
    there is none.
    """
    catalogs = list(catalogs)
    left = [_places(catalog, skip)[::-1] for catalog in catalogs]
    chosen: list[list[_Place]] = [[] for _ in catalogs]
    used = [0] * len(catalogs)
    while any(left):
        at = min((k for k, each in enumerate(left) if each), key=lambda k: used[k])
        used[at] += left[at][-1].bytes
        if sum(used) > megabytes * 1_000_000:
            out = sum(map(len, left))
            logger.warning("memory bound of %d MB reached: %d clips are left out", megabytes, out)
            break
        chosen[at].append(left[at].pop())
    found: dict[tuple[int, ...], list[tuple[Catalog, _Place]]] = {}
    for catalog, places in zip(catalogs, chosen, strict=True):
        for place in places:
            found.setdefault(place.shape, []).append((catalog, place))
    if not found:
        raise DataError("the catalogs hold no clips to train on")
    return [_read(places) for places in found.values()]


@dataclass(frozen=True)
class _Place:
    """What a catalog tells of a clip before it is read."""

    name: str
    shape: tuple[int, ...]
    """(T, H, W, 3)"""
    masks: bool

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) // 3 * (3 + self.masks)


def _places(catalog: "Catalog", skip: int) -> list[_Place]:
    names, masked = catalog.ids("problem IS NULL"), set(catalog.ids("ids IS NOT NULL"))
    rows = catalog.take(names[: len(names) - skip], ["id", "num_frames", "height", "width"])
    return [
        _Place(row["id"], (row["num_frames"], row["height"], row["width"], 3), row["id"] in masked)
        for row in rows
    ]


def _read(places: "Sequence[tuple[Catalog, _Place]]") -> Pool:
    """Clips of one shape, each read into its place, so that none is in memory twice."""
    frames = np.empty((len(places), *places[0][1].shape), np.uint8)
    ids = np.empty(frames.shape[:-1], np.uint8) if all(p.masks for _, p in places) else None
    for i, (catalog, place) in enumerate(places):
        clip = catalog.clip(place.name)
        frames[i] = clip.frames
        if ids is not None:
            ids[i] = clip.tracks["ids"]
    return Pool(frames=frames, ids=ids, names=tuple(place.name for _, place in places))


def identity(pools: Sequence[Pool]) -> str:
    """How many clips and a hash of which, for a run that goes on to know them by."""
    told = json.dumps([[pool.frames.shape, pool.names] for pool in pools])
    digest = hashlib.sha256(told.encode()).hexdigest()[:12]
    return f"{sum(map(len, pools))} ({digest})"


def to_pixels(frames: np.ndarray) -> Tensor:
    """uint8 (B, T, H, W, 3) -> (B, 3, T, H, W) in [-1, 1]."""
    return torch.from_numpy(frames).permute(0, 4, 1, 2, 3).float() / 127.5 - 1


def draw_batch(
    pools: Sequence[Pool], config: "CodecTrainConfig", step: int
) -> tuple[Tensor, Tensor, list[str]]:
    """Pixels (B, 3, T, H, W), loss weights (B, 1, T, H, W) and which clips they are of: a pure function of (pools,
    config, step)."""
    rng = np.random.default_rng([config.seed, 1, step])
    sizes = np.array([len(pool) for pool in pools], dtype=float)
    pool = pools[rng.choice(len(pools), p=sizes / sizes.sum())]
    whole, height, width = pool.frames.shape[1:4]
    length = min(int(rng.choice(config.frames)), 1 + (whole - 1) // FRAMES * FRAMES)
    side = int(rng.choice(config.sides))
    high, wide = (min(n // PATCH * PATCH, side) for n in (height, width))
    native = (config.frames[0] + FRAMES - 1) * config.sides[0] ** 2
    cost = (length + FRAMES - 1) * high * wide / native
    frames, ids, names = [], [], []
    for _ in range(max(1, round(config.batch / cost))):
        clip = int(rng.integers(len(pool)))
        names.append(pool.name(clip))
        t, y, x = (int(rng.integers(n + 1)) for n in (whole - length, height - high, width - wide))
        if pool.ids is not None and rng.random() < config.focus:
            y, x = over_motion(pool.ids[clip, t : t + length], (high, wide), (y, x), rng)
        window = (clip, slice(t, t + length), slice(y, y + high), slice(x, x + wide))
        mirror = int(rng.choice((-1, 1)))
        frames.append(pool.frames[window][:, :, ::mirror])
        if pool.ids is not None:
            ids.append(pool.ids[window][:, :, ::mirror])
    pixels = to_pixels(np.stack(frames))
    if ids:
        return pixels, object_weights(torch.from_numpy(np.stack(ids)), config.objects), names
    return pixels, change_weights(pixels, config.objects), names


def over_motion(
    ids: np.ndarray, crop: tuple[int, int], otherwise: tuple[int, int], rng: np.random.Generator
) -> tuple[int, int]:
    """Top left corner of a crop around a random place where the masks (T, H, W) change over time."""
    moving = np.flatnonzero((ids[1:] != ids[:-1]).any(0))
    if not len(moving):
        return otherwise
    place = divmod(int(moving[rng.integers(len(moving))]), ids.shape[2])
    limits = (ids.shape[1] - crop[0], ids.shape[2] - crop[1])
    y, x = (
        min(max(at - int(rng.integers(side)), 0), limit)
        for at, side, limit in zip(place, crop, limits, strict=True)
    )
    return y, x


def draw_patches(
    pools: Sequence[Pool], seed: int, *, clips: int = 200, per_clip: int = 200
) -> Tensor:
    """Patches (N, 768) of whole groups of random clips, for the linear start."""
    rng = np.random.default_rng([seed, 2])
    patches = []
    for _ in range(clips):
        pool = pools[int(rng.integers(len(pools)))]
        frames = pool.frames[rng.integers(len(pool), size=1)]
        _, whole, height, width, _ = frames.shape
        frames = frames[:, : 1 + (whole - 1) // FRAMES * FRAMES]
        frames = frames[:, :, : height // PATCH * PATCH, : width // PATCH * PATCH]
        found = fold(patchify(group_frames(to_pixels(frames)))).reshape(-1, PATCH_NUMBERS)
        patches.append(found[torch.from_numpy(rng.permutation(len(found))[:per_clip])])
    return torch.cat(patches)
