"""The cache of what is dear to compute: codec latents and text states, as columns of a catalog.

Owns their byte format. Knows nothing of batches or training.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from worldtube.codec import Codec
from worldtube.data.catalog import Catalog
from worldtube.text.encoder import TextEncoder

CAPTIONS = ("short", "medium", "long")
Progress = Callable[[int, int], None]


def _pack(values: Tensor) -> bytes:
    """Float16 bytes behind the number of axes and their lengths, little-endian."""
    shape = np.array([values.ndim, *values.shape], "<i4").tobytes()
    return shape + values.to(torch.float16).contiguous().numpy().tobytes()


def _unpack(blob: bytes) -> Tensor:
    axes = int(np.frombuffer(blob, "<i4", 1)[0])
    shape = tuple(np.frombuffer(blob, "<i4", axes, offset=4))
    values = np.frombuffer(blob, "<f2", offset=4 + 4 * axes)
    return torch.from_numpy(values.astype(np.float32).reshape(shape))


pack_latents = pack_text = _pack
unpack_latents = unpack_text = _unpack


def cache_latents(
    catalog: Catalog, codec: Codec, *, version: str, group: int = 16, progress: Progress | None = None
) -> int:
    """Fill the `latents` column, (C, t, h, w), of the clips that lack it; returns how many were made."""
    catalog.add_column("latents", version)
    todo = catalog.missing("latents")
    for start in range(0, len(todo), group):
        made = {}
        for name in todo[start : start + group]:
            frames = torch.from_numpy(np.ascontiguousarray(catalog.clip(name).frames))
            pixels = frames.permute(3, 0, 1, 2)[None].float() / 127.5 - 1  # (1, 3, T, H, W)
            with torch.inference_mode():
                made[name] = pack_latents(codec.encode(pixels)[0].float().cpu())
        catalog.set("latents", made)
        if progress is not None:
            progress(min(start + group, len(todo)), len(todo))
    return len(todo)


def cache_text(
    catalog: Catalog, encoder: TextEncoder, *, group: int = 64, progress: Progress | None = None
) -> int:
    """Fill the text columns, (S, E) each, one for each caption length; returns how many clips were made."""
    most = 0
    for length in CAPTIONS:
        column = f"text_{length}"
        catalog.add_column(column, f"{encoder.name}:{encoder.version}")
        todo = catalog.missing(column)
        for start in range(0, len(todo), group):
            rows = catalog.take(todo[start : start + group], ["id", f"caption_{length}"])
            states = encoder.encode([row[f"caption_{length}"] for row in rows])
            catalog.set(column, {row["id"]: pack_text(s) for row, s in zip(rows, states, strict=True)})
            if progress is not None:
                progress(min(start + group, len(todo)), len(todo))
        most = max(most, len(todo))
    return most
