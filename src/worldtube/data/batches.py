"""Packed training batches from a counter.

Owns which clip comes when: row r of batch k is a pure function of (seed, k, r, the list of clips), so the
whole state of the order is one integer, and however many processes share a batch, it is the same one.
Knows nothing of noise, losses or optimizers.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from worldtube.data.catalog import Catalog, episode
from worldtube.data.latents import (
    CAPTIONS,
    TEXTS,
    TRUTH_CHANNELS,
    captioner_of,
    split_frame,
    unpack_latents,
    unpack_text,
    unpack_truth,
)
from worldtube.data.views import condition, views
from worldtube.errors import DataError, RequestError, unknown
from worldtube.tokens import CUT, Grid, Layout, Words, join, layout, pack, patchify, select

GOLDEN = 0.6180339887498949
KEPT = 1e9
"""Bytes of clips that are kept once read, so that a small dataset is read once and not in every pass."""
READY = "latents IS NOT NULL AND " + " AND ".join(f"{text} IS NOT NULL" for text in TEXTS)
"""Of the clips that can be learned from."""
STAGES = ("latents", "tail", "truth_map", *TEXTS)
"""What is read of them."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One packed row of clean tokens with their words."""

    tokens: Tensor
    """(N, P) clean."""
    layout: Layout
    words: Words
    ids: tuple[str, ...]
    """Catalog ids, for the guard that names a bad sample."""
    rows: tuple[int, ...] = ()
    """Which row of the whole batch each row is; what is random of a row is keyed by it."""
    truth: Tensor | None = None
    """(N, truth width) what each token shows, in [0, 1]; NaN where nobody knows."""


def draw(seed: int, *path: int) -> np.random.Generator:
    """A generator that depends on nothing but these integers."""
    return np.random.default_rng([seed, *path])


@dataclass(frozen=True, kw_only=True)
class Mix:
    """What is made of the clips: shares of the rows."""

    images: float = 0.1
    """One-frame clips."""
    splits: float = 0.0
    """Two pieces, of which the second is encoded from its own first frame: what precedes a known clip."""
    causal: float = 0.0
    """Rows whose tokens see no later frame."""
    drop_words: float = 0.1
    """Rows without words, for guidance."""
    window: int = 9
    """Latent frames of a longer clip that are shown at once."""
    captions: tuple[str, ...] = CAPTIONS
    """Lengths of captions, each as often as the others."""
    square: bool = False
    """Cut a square from clips that are wide or tall, anywhere along them, as most trainers do: for comparison."""

    def __post_init__(self) -> None:
        for name in ("images", "splits", "causal", "drop_words"):
            if not 0 <= (share := getattr(self, name)) <= 1:
                raise RequestError(f"{name} {share} is not accepted (accepted: 0 to 1)")
        if self.window < 2:
            raise RequestError(f"window {self.window} is not accepted (accepted: 2 or more)")
        if not self.captions:
            raise RequestError(
                f"captions of no length are not accepted (accepted: some of {', '.join(CAPTIONS)})"
            )
        for length in self.captions:
            if length not in CAPTIONS:
                raise unknown("length of captions", length, CAPTIONS)


class Batches:
    """Batches over the clips of some catalogs that have latents and text.

    A catalog with several shots of an episode gives rows of one to three shots, with a cut between them.
    `weights`: how often each catalog is drawn, relative to the others (None: by size); its clips come
    in a fresh permutation each pass. `stride`: of the codec in time, pixel frames. `version`: of the latents; a
    catalog with others is refused, as is one with clips that are no whole number of patches high and wide. `ids`: the
    clips of each catalog (None: all that are ready); the order depends on these alone. `stages`: of STAGES, what is
    read of each catalog (None: all there is), so that what was added to it since does not change a run.
    """

    def __init__(
        self,
        folders: Sequence[Path | str],
        *,
        weights: Sequence[float] | None,
        rows: int,
        patch: int,
        stride: int,
        seed: int,
        no_words: Tensor,
        tokens_of: Callable[[Tensor], Tensor],
        version: str | None = None,
        mix: Mix | None = None,
        truth: bool = False,
        ids: Sequence[Sequence[str]] | None = None,
        stages: Sequence[Collection[str]] | None = None,
    ):
        self.catalogs = [Catalog(folder) for folder in folders]
        self.mix = mix or Mix()
        self.stages = [STAGES] * len(self.catalogs) if stages is None else stages
        for folder, catalog in zip(folders, self.catalogs, strict=True):
            if version is not None:
                of_codec(catalog, folder, version, tails=self.mix.splits > 0)
        if ids is None:
            ids = ready(self.catalogs)
        self.groups = [_episodes(each) for each in ids]
        for catalog, each in zip(self.catalogs, ids, strict=True):
            if not each:
                raise DataError(
                    f"{catalog.path} has no clips with latents and text (run `worldtube cache`)"
                )
            _check_patch(catalog, each, patch)
        if weights is not None and (
            len(weights) != len(folders) or min(weights) < 0 or not 0 < sum(weights) < np.inf
        ):
            raise RequestError(
                f"weights {', '.join(map(str, weights))} are not accepted for {len(folders)} datasets "
                "(accepted: a number for each, from 0 on and not all 0)"
            )
        share = np.array(weights if weights is not None else [len(g) for g in self.groups], float)
        self.share = share / share.sum()
        self.rows, self.patch, self.stride, self.seed = rows, patch, stride, seed
        self.no_words, self.tokens_of, self.truth = no_words, tokens_of, truth
        self._orders: dict[tuple[int, int], np.ndarray] = {}
        self._kept: dict[tuple[int, str], dict] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return sum(len(groups) for groups in self.groups)

    @property
    def held(self) -> float:
        """Bytes of the clips that were read so far and are kept."""
        return self._bytes

    def held_at_last(self, draws: int) -> float:
        """About how many there will be after so many rows, from the mean of those so far."""
        clips = sum(len(names) for groups in self.groups for names in groups)
        each = self._bytes / max(1, len(self._kept))
        return max(self._bytes, min(KEPT, each * min(clips, draws * clips / len(self))))

    def _order(self, which: int, epoch: int) -> np.ndarray:
        """The permutation of catalog `which` in pass `epoch`; only the newest few are kept."""
        key = (which, epoch)
        if key not in self._orders:
            if len(self._orders) > 4 * len(self.groups):
                self._orders.clear()
            count = len(self.groups[which])
            self._orders[key] = draw(self.seed, 1, which, epoch).permutation(count)
        return self._orders[key]

    def picks(self, step: int) -> list[tuple[int, tuple[str, ...]]]:
        """(catalog, ids of one episode) of each row of batch `step`."""
        out, upto = [], np.cumsum(self.share)
        for count in range(step * self.rows, (step + 1) * self.rows):
            # The golden-ratio sequence spreads the choice evenly, so a catalog's share holds on every stretch.
            which = min(
                int(np.searchsorted(upto, count * GOLDEN % 1.0, side="right")), len(upto) - 1
            )
            epoch, index = divmod(int(count * self.share[which]), len(self.groups[which]))
            out.append((which, self.groups[which][self._order(which, epoch)[index]]))
        return out

    def batch(self, step: int, share: tuple[int, int] = (0, 1)) -> Batch:
        """Batch number `step`; rows of one length and kind of attention are neighbours.

        share: (k, n) for the k-th of the n parts that n processes work on, rows k, k + n, ...
        """
        part, parts = share
        picks, rngs = [], []
        for index, (which, group) in list(enumerate(self.picks(step)))[part::parts]:
            rng = draw(self.seed, 2, step, index)
            shots = min(len(group), 1 + int(rng.choice(3, p=(0.2, 0.3, 0.5))))
            picks.append((which, [group[i] for i in rng.permutation(len(group))[:shots]]))
            rngs.append((index, rng))
        clips = self._clips(picks)
        made = []
        for (which, names), (index, rng) in zip(picks, rngs, strict=True):
            causal = bool(rng.random() < self.mix.causal)
            pieces = self._pieces([clips[which, name] for name in names], rng, causal)
            row = join([piece.layout for piece in pieces]) if len(pieces) > 1 else pieces[0].layout
            made.append((row, pieces, names, index))
        made.sort(key=lambda row: (-row[0].bounds[-1], row[0].causal))
        pieces = [piece for _, parts, *_ in made for piece in parts]
        return Batch(
            tokens=torch.cat([piece.tokens for piece in pieces]),
            layout=pack([row for row, *_ in made]),
            words=Words.of([piece.words for piece in pieces]),
            ids=tuple("+".join(names) for *_, names, _ in made),
            rows=tuple(index for *_, index in made),
            truth=torch.cat([piece.truth for piece in pieces]) if self.truth else None,
        )

    def _clips(self, picks: list[tuple[int, list[str]]]) -> dict[tuple[int, str], dict]:
        """The rows of the catalogs that are needed, by (catalog, id)."""
        columns = ["id", "latents", "fps", *TEXTS]
        further = ["truth_map"] * self.truth + ["tail"] * (self.mix.splits > 0)
        keys = [(which, name) for which, names in picks for name in names]
        found = {key: self._kept[key] for key in keys if key in self._kept}
        for which, catalog in enumerate(self.catalogs):
            wanted = sorted({name for w, name in keys if w == which and (w, name) not in found})
            if not wanted:
                continue
            there = [
                name for name in further if name in catalog.columns() and name in self.stages[which]
            ]
            for row in catalog.take(wanted, columns + there):
                found[which, row["id"]] = row
                # Which come again last is no secret: those just read. So the first ones stay, and none makes way.
                if self._bytes < KEPT:
                    self._kept[which, row["id"]] = row
                    self._bytes += sum(getattr(value, "nbytes", 0) for value in row.values())
        return found

    def _pieces(self, shots: list[dict], rng: np.random.Generator, causal: bool) -> list["_Piece"]:
        """One row: an image, a clip, a window of a long one, a clip in two pieces, or shots."""
        kind, split = rng.random(2)
        dropped = rng.random() < self.mix.drop_words
        pieces, start = [], 0.0
        for clip in shots:
            caption = self.mix.captions[rng.integers(len(self.mix.captions))]
            words = self.no_words if dropped else unpack_text(clip[f"text_{caption}"])
            latents = unpack_latents(clip["latents"])  # (C, t, h, w)
            known = self._truth(clip, latents)
            if self.mix.square:
                latents, known = _square(rng, latents, known)
            if len(shots) > 1:
                pieces.append(self._piece(latents, known, words, clip["fps"], start, causal))
                start += self._num_frames(latents) / clip["fps"] + CUT
                continue
            if kind < self.mix.images:
                return [self._piece(latents[:, :1], known, words, clip["fps"], 0.0, False)]
            splits = split < self.mix.splits and latents.shape[1] > 1
            if splits and clip.get("tail") is not None:
                return self._split(clip, latents, known, words, rng, causal)
            pieces.append(self._piece(latents, known, words, clip["fps"], 0.0, causal))
        longest = self.mix.window
        if len(pieces) == 1 and latents.shape[1] > longest:
            first = int(rng.integers(latents.shape[1] - longest + 1))
            wanted = torch.arange(first, first + int(rng.integers(longest // 2, longest + 1)))
            if first and rng.random() < 0.5:  # with the first frame as an anchor
                wanted = torch.cat([torch.zeros(1, dtype=torch.long), wanted])
            return [pieces[0].frames(wanted)]
        return pieces

    def _split(
        self,
        clip: dict,
        latents: Tensor,
        known: Tensor,
        words: Tensor,
        rng: np.random.Generator,
        causal: bool,
    ) -> list["_Piece"]:
        """What comes before `split_frame`, and what follows, encoded from its own first frame."""
        at = split_frame(clip["id"], self._num_frames(latents))
        count = 1 + -(-(at - 1) // self.stride)
        after = unpack_latents(clip["tail"])
        unknown = torch.full((TRUTH_CHANNELS, *after.shape[1:]), torch.nan)
        head = self._piece(latents[:, :count], known, words, clip["fps"], 0.0, causal)
        tail = self._piece(after, unknown, words, clip["fps"], at / clip["fps"], causal)
        longest = self.mix.window
        if count + after.shape[1] > longest:
            seen = min(after.shape[1], int(rng.integers(1, longest // 2 + 1)))
            tail = tail.frames(torch.arange(seen))
            head = head.frames(torch.arange(max(0, count - (longest - seen)), count))
        return [head, tail]

    def _num_frames(self, latents: Tensor) -> int:
        """How many pixel frames (C, t, h, w) are of: fewer than the clip's, where the codec did not take all."""
        return 1 + (latents.shape[1] - 1) * self.stride

    def _truth(self, clip: dict, latents: Tensor) -> Tensor:
        """(TRUTH_CHANNELS, t, h, w), NaN where nobody knows."""
        known = clip.get("truth_map")
        return (
            unpack_truth(known)
            if known is not None
            else torch.full((TRUTH_CHANNELS, *latents.shape[1:]), torch.nan)
        )

    def _piece(
        self,
        latents: Tensor,
        truth: Tensor,
        words: Tensor,
        fps: float,
        start: float,
        causal: bool,
    ) -> "_Piece":
        _, frames, height, width = latents.shape
        grid = Grid(
            frames=frames,
            height=height,
            width=width,
            seconds_per_frame=1 / fps,
            stride=self.stride,
            start=start,
        )
        return _Piece(
            tokens=self.tokens_of(latents),
            layout=layout(grid, self.patch, causal=causal),
            words=words,
            truth=patchify(truth[:, :frames], self.patch),
        )


@dataclass(frozen=True, kw_only=True)
class _Piece:
    tokens: Tensor
    layout: Layout
    words: Tensor
    truth: Tensor

    def frames(self, wanted: Tensor) -> "_Piece":
        keep = torch.isin(self.layout.frames, wanted)
        return _Piece(
            tokens=self.tokens[keep],
            layout=select(self.layout, keep),
            words=self.words,
            truth=self.truth[keep],
        )


def of_codec(catalog: Catalog, folder: Path | str, version: str, *, tails: bool = False) -> None:
    """Raises DataError where the latents in `folder` are not those of the codec of this version. tails: look at those
    too."""
    columns = catalog.columns()
    for column in ("latents", *["tail"] * tails):
        if columns.get(column) not in (version, None):
            raise DataError(
                f"{folder} has {column} of codec {columns[column]}, this one makes {version} "
                "(run `worldtube cache`)"
            )


def conditions(catalogs: Sequence[Catalog], view: str = "") -> list[str]:
    """Of each catalog, what its clips must be to be learned from: ready, and in the saved view of this name, where it
    has one. Raises RequestError when none has."""
    saved = [views(catalog) if view else {} for catalog in catalogs]
    if view and not any(view in each for each in saved):
        raise unknown("view", view, sorted({name for each in saved for name in each}))
    return [condition(each[view].where, of=READY) if view in each else READY for each in saved]


def ready(catalogs: Sequence[Catalog], view: str = "") -> list[list[str]]:
    """Sorted ids of each catalog's clips that can be learned from; none where a stage was never run.

    Raises DataError where the words are of different captions.
    """
    for catalog in catalogs:
        captioner_of(catalog)
    able = [set(STAGES) - {"tail", "truth_map"} <= catalog.columns().keys() for catalog in catalogs]
    return [
        sorted(catalog.ids(where)) if yes else []
        for catalog, where, yes in zip(catalogs, conditions(catalogs, view), able, strict=True)
    ]


def _check_patch(catalog: Catalog, ids: Sequence[str], patch: int) -> None:
    """Raises RequestError for clips whose latents cannot be cut into patches."""
    rows = catalog.take(ids, ["id", "width", "height"])
    for (width, height), name in {(row["width"], row["height"]): row["id"] for row in rows}.items():
        (row,) = catalog.take([name], ["latents"])
        h, w = row["latents"].shape[-2:]
        if h % patch or w % patch:
            whole = [str(n) for n in range(1, min(h, w) + 1) if h % n == w % n == 0]
            raise RequestError(
                f"patch {patch} is not accepted for {catalog.path}, whose clips of {width}x{height} have {w}x{h} "
                f"latents (accepted: {' or '.join(whole)})"
            )


def _square(rng: np.random.Generator, *maps: Tensor) -> list[Tensor]:
    """The same square of every map (C, t, h, w)."""
    height, width = maps[0].shape[-2:]
    side = min(height, width)
    y, x = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
    return [z[..., y : y + side, x : x + side] for z in maps]


def _episodes(ids: Sequence[str]) -> list[tuple[str, ...]]:
    """Clips of the same episode together."""
    groups: dict[str, list[str]] = {}
    for name in ids:
        groups.setdefault(episode(name), []).append(name)
    return [tuple(names) for names in groups.values()]
