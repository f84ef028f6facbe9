"""Packed training batches from a counter.

Owns which clip comes when: batch k is a pure function of (seed, k, the list of clips), so the whole
state of the order is one integer. Knows nothing of noise, losses or optimizers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from worldtube.data.catalog import Catalog
from worldtube.data.latents import (
    CAPTIONS,
    TRUTH_CHANNELS,
    unpack_latents,
    unpack_text,
    unpack_truth,
)
from worldtube.errors import DataError
from worldtube.tokens import Grid, Layout, Words, layout, pack, patchify

GOLDEN = 0.6180339887498949


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One packed row of clean tokens with their words."""

    tokens: Tensor
    """(N, P) clean."""
    layout: Layout
    words: Words
    ids: tuple[str, ...]
    """Catalog ids, for the guard that names a bad sample."""
    truth: Tensor | None = None
    """(N, truth width) what each token shows, in [0, 1]; NaN where nobody knows."""


def draw(seed: int, *path: int) -> np.random.Generator:
    """A generator that depends on nothing but these integers."""
    return np.random.default_rng([seed, *path])


class Batches:
    """Batches over the clips of some catalogs that have latents and text.

    `weights`: how often each catalog is drawn, relative to the others (None: by size); its clips come
    in a fresh permutation each pass. `version`: of the latents; a catalog with others is refused.
    """

    def __init__(
        self,
        folders: Sequence[Path | str],
        *,
        weights: Sequence[float] | None,
        rows: int,
        patch: int,
        seed: int,
        no_words: Tensor,
        tokens_of: Callable[[Tensor], Tensor],
        version: str | None = None,
        drop_words: float = 0.1,
        image_fraction: float = 0.1,
        truth: bool = False,
    ):
        self.catalogs = [Catalog(folder) for folder in folders]
        ready = "latents IS NOT NULL AND " + " AND ".join(f"text_{c} IS NOT NULL" for c in CAPTIONS)
        for folder, catalog in zip(folders, self.catalogs, strict=True):
            found = catalog.columns().get("latents")
            if version is not None and found not in (version, None):
                raise DataError(
                    f"{folder} has latents of codec {found}, this one makes {version} (run `worldtube cache`)"
                )
        self.ids = [catalog.ids(ready) for catalog in self.catalogs]
        for folder, ids in zip(folders, self.ids, strict=True):
            if not ids:
                raise DataError(
                    f"{folder} has no clips with latents and text (run `worldtube cache`)"
                )
        share = np.array(weights if weights is not None else [len(ids) for ids in self.ids], float)
        self.share = share / share.sum()
        self.rows, self.patch, self.seed = rows, patch, seed
        self.no_words, self.drop_words, self.image_fraction = no_words, drop_words, image_fraction
        self.tokens_of, self.truth = tokens_of, truth
        self._orders: dict[tuple[int, int], np.ndarray] = {}

    def __len__(self) -> int:
        return sum(len(ids) for ids in self.ids)

    def _order(self, which: int, epoch: int) -> np.ndarray:
        """The permutation of catalog `which` in pass `epoch`; only the newest few are kept."""
        key = (which, epoch)
        if key not in self._orders:
            if len(self._orders) > 8:
                self._orders.clear()
            self._orders[key] = draw(self.seed, 1, which, epoch).permutation(len(self.ids[which]))
        return self._orders[key]

    def picks(self, step: int) -> list[tuple[int, str]]:
        """(catalog, id) of each row of batch `step`."""
        out, upto = [], np.cumsum(self.share)
        for count in range(step * self.rows, (step + 1) * self.rows):
            # The golden-ratio sequence spreads the choice evenly, so a catalog's share holds on every stretch.
            which = min(
                int(np.searchsorted(upto, count * GOLDEN % 1.0, side="right")), len(upto) - 1
            )
            epoch, index = divmod(int(count * self.share[which]), len(self.ids[which]))
            out.append((which, self.ids[which][self._order(which, epoch)[index]]))
        return out

    def batch(self, step: int) -> Batch:
        """Batch number `step`; images (one-frame clips) come last, so that rows of one length are neighbours."""
        rng = draw(self.seed, 2, step)
        columns = ["id", "latents", "fps", *(f"text_{c}" for c in CAPTIONS)] + [
            "truth_map"
        ] * self.truth
        picks = self.picks(step)
        rows = {}
        for which, catalog in enumerate(self.catalogs):
            wanted = sorted({name for w, name in picks if w == which})
            rows |= {(which, row["id"]): row for row in catalog.take(wanted, columns)}
        tokens, layouts, words, truths = [], [], [], []
        images = rng.random(len(picks)) < self.image_fraction
        order = np.argsort(images, kind="stable")
        for i in order:
            row = rows[picks[i]]
            latents = unpack_latents(row["latents"])  # (C, t, h, w)
            if images[i]:
                latents = latents[:, :1]
            _, frames, height, width = latents.shape
            grid = Grid(frames=frames, height=height, width=width, seconds_per_frame=1 / row["fps"])
            tokens.append(self.tokens_of(latents))
            layouts.append(layout(grid, self.patch))
            if self.truth:
                known = row["truth_map"]
                map_ = (
                    unpack_truth(known)[:, :frames]
                    if known
                    else torch.full((TRUTH_CHANNELS, frames, height, width), torch.nan)
                )
                truths.append(patchify(map_, self.patch))
            caption = CAPTIONS[rng.integers(len(CAPTIONS))]
            dropped = rng.random() < self.drop_words
            words.append(self.no_words if dropped else unpack_text(row[f"text_{caption}"]))
        return Batch(
            tokens=torch.cat(tokens),
            layout=pack(layouts),
            words=Words.of(words),
            ids=tuple(picks[i][1] for i in order),
            truth=torch.cat(truths) if self.truth else None,
        )
