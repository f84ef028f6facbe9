"""The cache of what is dear to compute: codec latents, text states and truth maps, as columns of a catalog.

Owns what is computed and in which shapes. Knows nothing of batches or training.
"""

import logging
import zlib
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from worldtube.codec import Codec
from worldtube.data import caption
from worldtube.data.catalog import LENGTHS, Catalog, unpack_ids
from worldtube.errors import DataError
from worldtube.text.encoder import TextEncoder
from worldtube.worlds.world import COLOURS, SHAPES, STAIN_ID, WATER_ID

logger = logging.getLogger(__name__)

CAPTIONS = LENGTHS
"""Of the columns `text_LENGTH`."""
TEXTS = tuple(f"text_{length}" for length in CAPTIONS)
"""Those columns."""
TRUTH_CHANNELS = len(COLOURS) + len(SHAPES) + 2
"""What a truth map tells of each latent cell: the share of each colour and shape, of water and of stain."""
Progress = Callable[[int, int], None]


def _pack(values: Tensor) -> np.ndarray:
    """A tensor as the catalog keeps it, in float16."""
    return values.to(torch.float16).numpy()


def _unpack(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))


pack_latents = pack_text = _pack
unpack_latents = unpack_text = unpack_truth = _unpack


def cache_latents(
    catalog: Catalog,
    codec: Codec,
    *,
    version: str,
    group: int = 16,
    progress: Progress | None = None,
) -> int:
    """Fill the `latents` column, (C, t, h, w), of the clips that lack it; returns how many were made.

    A warning says how many are cut to what the codec takes (see `coded`), and by how much. Raises DataError for
    clips of which it takes nothing, before the first is coded.
    """
    catalog.add_column("latents", version)
    todo = catalog.missing("latents")
    _tell_cuts(catalog, todo, codec)
    for start in range(0, len(todo), group):
        made = {}
        for name in todo[start : start + group]:
            made[name] = pack_latents(_encoded(codec, _frames(catalog, name, codec)))
        catalog.set("latents", made)
        if progress is not None:
            progress(min(start + group, len(todo)), len(todo))
    return len(todo)


def coded(shape: tuple[int, int, int], codec: Codec) -> tuple[int, int, int]:
    """How many frames, rows and columns of a clip (T, H, W) a codec takes: whole groups from the first frame on, and
    whole patches from the top left corner."""
    (frames, height, width), (stride, *sides) = shape, codec.stride
    first = 1 + (frames - 1) // stride * stride
    return first, height // sides[0] * sides[0], width // sides[1] * sides[1]


def _tell_cuts(catalog: Catalog, ids: Sequence[str], codec: Codec) -> None:
    rows = catalog.take(ids, ["num_frames", "height", "width"])
    shapes = Counter((row["num_frames"], row["height"], row["width"]) for row in rows)
    frames, *sides = codec.stride
    for shape, count in shapes.items():
        cut = coded(shape, codec)
        if not cut[1] * cut[2]:
            raise DataError(
                f"{catalog.path} has clips of {shape[2]}x{shape[1]}, of which the codec can take nothing "
                f"(accepted: sides of {max(sides)} or more)"
            )
        if cut != shape:
            logger.warning(
                "%d clips of %d frames of %dx%d are cut to %d frames of %dx%d: the codec takes 1 + a multiple of %d "
                "frames, and sides that are multiples of %d",
                *(count, shape[0], shape[2], shape[1], cut[0], cut[2], cut[1], frames, max(sides)),
            )


def _frames(catalog: Catalog, name: str, codec: Codec) -> np.ndarray:
    """Of a clip, what the codec takes."""
    frames = catalog.clip(name).frames
    count, height, width = coded(frames.shape[:3], codec)
    return frames[:count, :height, :width]


def split_frame(name: str, num_frames: int) -> int:
    """Where a clip is split in two for training: at its last frame, or with at least five after; decided by its id.

    num_frames: those that the codec took.
    """
    pick = zlib.crc32(name.encode())
    if num_frames < 7 or pick % 4 == 0:
        return num_frames - 1
    return 1 + (pick >> 2) % (num_frames - 5)


def cache_tails(
    catalog: Catalog,
    codec: Codec,
    *,
    version: str,
    group: int = 16,
    progress: Progress | None = None,
) -> int:
    """Fill the `tail` column: latents of each clip from `split_frame` on, encoded from their own first frame."""
    catalog.add_column("tail", version)
    todo = catalog.missing("tail")
    stride = codec.stride[0]
    for start in range(0, len(todo), group):
        made = {}
        for name in todo[start : start + group]:
            frames = _frames(catalog, name, codec)
            at = split_frame(name, len(frames))
            count = 1 + (len(frames) - at - 1) // stride * stride
            made[name] = pack_latents(_encoded(codec, frames[at : at + count]))
        catalog.set("tail", made)
        if progress is not None:
            progress(min(start + group, len(todo)), len(todo))
    return len(todo)


def _encoded(codec: Codec, frames: np.ndarray) -> Tensor:
    """uint8 (T, H, W, 3) -> (C, t, h, w)."""
    pixels = torch.from_numpy(np.ascontiguousarray(frames)).to(codec.device)
    pixels = pixels.permute(3, 0, 1, 2)[None].float() / 127.5 - 1  # (1, 3, T, H, W)
    with torch.inference_mode():
        return codec.encode(pixels)[0].float().cpu()


def cache_text(
    catalog: Catalog,
    encoder: TextEncoder,
    *,
    captions: str | None = None,
    group: int = 64,
    progress: Progress | None = None,
) -> int:
    """Fill the text columns, (S, E) each, one for each caption length; returns how many clips were made.

    captions: whose captions (`caption.CAPTIONERS`); those that the clips were recorded with when None. A clip without
    any stays without text, so that no training sees it. Raises NotFound where this captioner told nothing.
    """
    most = 0
    version = f"{encoder.name}:{encoder.version}"
    if captions is not None:
        caption.need(catalog, captions)  # or the words that are cached would go for nothing
        version += f":{catalog.columns()[caption.column(captions)]}"
    for column in TEXTS:  # all first, or a kill would leave other captions' words in the later ones
        catalog.add_column(column, version)
    for length, column in zip(CAPTIONS, TEXTS, strict=True):
        todo, made, cut = catalog.missing(column), 0, 0
        for start in range(0, len(todo), group):
            ids = todo[start : start + group]
            if captions is None:
                rows = catalog.take(ids, [f"caption_{length}"])
                texts = [row[f"caption_{length}"] for row in rows]
            else:
                told = caption.captions(catalog, captions, ids)
                texts = [fields.get(length) for fields in told]
            known = [(name, text) for name, text in zip(ids, texts, strict=True) if text]
            states = encoder.encode([text for _, text in known])
            cut += sum(bool(encoder.beyond(text)) for _, text in known)
            packed = {name: pack_text(s) for (name, _), s in zip(known, states, strict=True)}
            catalog.set(column, packed)
            made += len(known)
            if progress is not None:
                progress(min(start + group, len(todo)), len(todo))
        if cut:
            logger.warning(
                "%d %s captions are longer than the %d tokens that the text encoder reads; their ends are cut off",
                cut,
                length,
                encoder.max_tokens,
            )
        most = max(most, made)
    return most


def words(catalog: Catalog, ids: Sequence[str]) -> list[dict[str, str | None]]:
    """The captions by length that the text states of these clips were made of (see `cache_text`); None for one that
    there is not."""
    by = captioner_of(catalog)
    if by is not None:
        fields = caption.captions(catalog, by, ids)
        return [{length: each.get(length) for length in CAPTIONS} for each in fields]
    rows = catalog.take(ids, [f"caption_{length}" for length in CAPTIONS])
    return [{length: row[f"caption_{length}"] for length in CAPTIONS} for row in rows]


def captioner_of(catalog: Catalog) -> str | None:
    """Whose captions the text states are of, by their version; None for those that the clips were recorded with.

    Raises DataError where the lengths are of different ones, as a kill could leave them in an earlier version.
    """
    columns = catalog.columns()
    versions = {column: columns[column] for column in TEXTS if columns.get(column)}
    if len(set(versions.values())) > 1:
        told = ", ".join(f"{column} of {version}" for column, version in versions.items())
        raise DataError(
            f"{catalog.path} has words of different captions: {told} (accepted: the dataset after "
            f"`worldtube cache {catalog.path}`, with --captions NAME where they are a captioner's)"
        )
    for by in caption.CAPTIONERS:
        told = columns.get(caption.column(by))
        if told is not None and any(text.endswith(f":{told}") for text in versions.values()):
            return by
    return None


def truth_map(
    ids: np.ndarray, objects: list[dict[str, str]], stride: tuple[int, int, int]
) -> Tensor:
    """Masks (T, H, W) -> (TRUTH_CHANNELS, t, h, w): what covers each latent cell, as shares of its pixels."""
    frames, rows, columns = stride
    table = np.zeros((256, TRUTH_CHANNELS), np.float32)
    for i, item in enumerate(objects):
        table[1 + i, COLOURS.index(item["colour"])] = 1
        table[1 + i, len(COLOURS) + SHAPES.index(item["shape"])] = 1
    table[WATER_ID, -2] = table[STAIN_ID, -1] = 1
    ids = np.concatenate([ids[:1].repeat(frames - 1, 0), ids])  # the first latent holds one frame
    t, h, w = ids.shape[0] // frames, ids.shape[1] // rows, ids.shape[2] // columns
    cells = ids[: t * frames, : h * rows, : w * columns].reshape(t, frames, h, rows, w, columns)
    shares = table[cells].mean(axis=(1, 3, 5))  # (t, h, w, channels)
    return torch.from_numpy(shares).permute(3, 0, 1, 2)


def cache_truth(
    catalog: Catalog,
    stride: tuple[int, int, int],
    *,
    group: int = 64,
    progress: Progress | None = None,
) -> int:
    """Fill the `truth_map` column of clips whose world told which pixel is what; returns how many were made."""
    catalog.add_column("truth_map", "1")
    todo = catalog.missing("truth_map")
    for start in range(0, len(todo), group):
        rows = catalog.take(todo[start : start + group], ["id", "ids", "truth"])
        made = {
            row["id"]: _pack(truth_map(unpack_ids(row["ids"]), row["truth"]["objects"], stride))
            for row in rows
            if row["ids"] is not None
        }
        catalog.set("truth_map", made)
        if progress is not None:
            progress(min(start + group, len(todo)), len(todo))
    return len(todo)
