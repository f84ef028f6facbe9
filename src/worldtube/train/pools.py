"""Clips in memory and the pieces of them that the codec learns from.

Owns the draw of a batch: a pure function of the clips, the configuration and the step. Knows nothing of networks.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from worldtube.codec.autoencoder import FRAMES, PATCH, PATCH_NUMBERS, fold, group_frames, patchify
from worldtube.codec.losses import change_weights, object_weights
from worldtube.errors import DataError
from worldtube.video import Clip

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

    def __len__(self) -> int:
        return len(self.frames)


def read_pools(catalogs: "Iterable[Catalog]", *, megabytes: int, skip: int = 0) -> list[Pool]:
    """The clips of some catalogs in memory, by shape, up to a bound on their size.

    skip: leave out the last clips of each catalog, which were held out. Clips with a known problem
    are left out. Raises DataError when there is none.
    """
    found: dict[tuple[int, ...], list[Clip]] = {}
    left = megabytes * 1_000_000
    for catalog in catalogs:
        names = catalog.ids("problem IS NULL")
        for name in names[: len(names) - skip]:
            clip = catalog.clip(name)
            left -= clip.frames.nbytes + sum(track.nbytes for track in clip.tracks.values())
            if left < 0:
                logger.warning(
                    "memory bound of %d MB reached: the other clips are left out", megabytes
                )
                break
            found.setdefault(clip.frames.shape, []).append(clip)
    if not found:
        raise DataError("the catalogs hold no clips to train on")
    return [
        Pool(
            frames=np.stack([clip.frames for clip in clips]),
            ids=np.stack([clip.tracks["ids"] for clip in clips])
            if all("ids" in clip.tracks for clip in clips)
            else None,
        )
        for clips in found.values()
    ]


def to_pixels(frames: np.ndarray) -> Tensor:
    """uint8 (B, T, H, W, 3) -> (B, 3, T, H, W) in [-1, 1]."""
    return torch.from_numpy(frames).permute(0, 4, 1, 2, 3).float() / 127.5 - 1


def draw_batch(
    pools: Sequence[Pool], config: "CodecTrainConfig", step: int
) -> tuple[Tensor, Tensor]:
    """Pixels (B, 3, T, H, W) and loss weights (B, 1, T, H, W): a pure function of (pools, config,
    step)."""
    rng = np.random.default_rng([config.seed, 1, step])
    sizes = np.array([len(pool) for pool in pools], dtype=float)
    pool = pools[rng.choice(len(pools), p=sizes / sizes.sum())]
    whole, height, width = pool.frames.shape[1:4]
    length = min(int(rng.choice(config.frames)), 1 + (whole - 1) // FRAMES * FRAMES)
    side = int(rng.choice(config.sides))
    high, wide = (min(n // PATCH * PATCH, side) for n in (height, width))
    native = (config.frames[0] + FRAMES - 1) * config.sides[0] ** 2
    cost = (length + FRAMES - 1) * high * wide / native
    frames, ids = [], []
    for _ in range(max(1, round(config.batch / cost))):
        clip = rng.integers(len(pool))
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
        return pixels, object_weights(torch.from_numpy(np.stack(ids)), config.objects)
    return pixels, change_weights(pixels, config.objects)


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
