"""The loss that runs are compared by: fixed clips, fixed levels evenly spread, fixed noise, every level alike.

Redrawing levels and noise moves the loss of some hundred clips by about as much as neighbouring sizes
differ, so nothing here is drawn anew. Knows nothing of training.
"""

from pathlib import Path

import torch

from worldtube.data.catalog import Catalog
from worldtube.data.latents import unpack_latents, unpack_text
from worldtube.diffusion import noise as noising
from worldtube.errors import DataError
from worldtube.models.local import LocalModel
from worldtube.tokens import Grid, Words, pack
from worldtube.train.ladder.config import LadderConfig

AT_ONCE = 24
"""Clips in a row."""
COLUMNS = ("latents", "text_medium")
"""What is read of a clip."""


def held_out(catalog: Catalog, folder: Path, most: int) -> list[str]:
    """Ids of the clips to validate on. Raises DataError where there are none."""
    whole = catalog.columns().keys() >= set(COLUMNS)
    ids = catalog.ids(" AND ".join(f"{c} IS NOT NULL" for c in COLUMNS))[:most] if whole else []
    if not ids:
        raise DataError(f"{folder} has no clips with latents and text (run `worldtube cache`)")
    return ids


class Validation:
    """Some clips as tokens, with their words."""

    def __init__(self, folder: Path, config: LadderConfig, model: LocalModel):
        catalog = Catalog(folder)
        ids = held_out(catalog, folder, config.held_out_clips)
        rows = catalog.take(ids, [*COLUMNS, "fps"])
        self.levels = [(k + 0.5) / config.levels for k in range(config.levels)]
        self.clips = []
        for number, row in enumerate(rows):
            latents = unpack_latents(row["latents"])
            _, t, h, w = latents.shape
            grid = Grid(
                frames=t,
                height=h,
                width=w,
                seconds_per_frame=1 / row["fps"],
                stride=model.stride[0],
            )
            tokens = model.tokens(latents)
            generator = torch.Generator().manual_seed(number)
            noises = torch.randn(len(self.levels), *tokens.shape, generator=generator)
            self.clips.append((tokens, model.layout(grid), unpack_text(row["text_medium"]), noises))

    @torch.inference_mode()
    def __call__(self, model: LocalModel) -> list[float]:
        """The mean squared error of the velocity at each level."""
        sums, counts = [0.0] * len(self.levels), 0
        for first in range(0, len(self.clips), AT_ONCE):
            some = self.clips[first : first + AT_ONCE]
            data = torch.cat([tokens for tokens, *_ in some])
            layout = pack([layout for _, layout, *_ in some])
            reading = model.read(Words.of([words for *_, words, _ in some]))
            counts += data.numel()
            for k, level in enumerate(self.levels):
                noise = torch.cat([noises[k] for *_, noises in some])
                sigma = torch.full((len(data),), level)
                made = model.velocity(noising.corrupt(data, noise, sigma), sigma, layout, reading)
                error = made - noising.velocity_target(data, noise)
                sums[k] += float(error.double().square().sum())
        return [one / counts for one in sums]
