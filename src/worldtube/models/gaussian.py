"""A video model without weights: clips are draws from a Gaussian process.

Its best denoiser has a closed form, per-token levels included, so whatever the engine makes with it
can be compared with the exact conditional mean and covariance. It is the engine's test double and a
bench for new samplers. One token per latent frame and picture cell; frames are uint8 around mid grey.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from worldtube.errors import RequestError
from worldtube.models.model import ABILITIES, Footprint
from worldtube.tokens import Grid, Layout, Words, behind
from worldtube.tokens import layout as layout_of
from worldtube.video import Clip, Size

_GREY, _CONTRAST = 128.0, 25.0


@dataclass(frozen=True)
class Prompted:
    """The mean that a prompt asks for, per piece."""

    mean: Tensor  # (pieces, P)


@dataclass(frozen=True)
class Recalled:
    """Earlier tokens, less their means (M, P), and where they are."""

    kept: Tensor
    layout: Layout


class GaussianModel:
    """Tokens x ~ N(mean(prompt), K), K(a, b) = exp(-|dt| / tau - |dy, dx|^2 / 2 r^2), the same for each of P numbers.

    A prompt of n letters has the mean n / 10 (none: 0), so that guidance can be checked as well.
    """

    name = "gaussian"
    fps = 4.0
    size = Size(1, 1)
    stride = (1, 1)
    abilities = frozenset(ABILITIES) - {"state"}
    defaults: Mapping[str, Any] = MappingProxyType({})

    def __init__(
        self, *, token_width: int = 3, tau: float = 1.0, radius: float = 0.5, window: int = 1000
    ):
        if token_width % 3:
            raise RequestError(
                f"token_width {token_width} is not a multiple of 3 (one for each colour)"
            )
        self.token_width = token_width
        self.tau, self.radius, self.window = tau, radius, window

    def grid(self, size: Size, num_frames: int, fps: float, *, start: float = 0.0) -> Grid:
        return Grid(
            frames=num_frames,
            height=size.height,
            width=size.width,
            seconds_per_frame=1 / fps,
            stride=1,
            start=start,
        )

    def layout(self, grid: Grid, *, causal: bool = False) -> Layout:
        return layout_of(grid, 1, causal=causal)

    def encode(self, clip: Clip) -> Tensor:
        values = (torch.from_numpy(clip.frames.astype(np.float32)) - _GREY) / _CONTRAST
        return values.reshape(-1, 3).repeat(1, self.token_width // 3)

    def decoder(self, grid: Grid) -> Callable[[Tensor], np.ndarray]:
        def frames(tokens: Tensor) -> np.ndarray:
            values = (tokens[:, :3] * _CONTRAST + _GREY).round().clamp(0, 255).to(torch.uint8)
            return values.numpy().reshape(-1, grid.height, grid.width, 3)

        return frames

    def pixels(self, grid: Grid) -> Size:
        return Size(grid.width, grid.height)

    def footprint(self, *, causal: bool = False) -> Footprint:
        """Some ten matrices of a row's tokens in float64, with the past among them."""
        return Footprint(
            token=64 * self.token_width, pair=80, remembered=64 * causal, decoded=32, encoded=32
        )

    def doubts(self, prompt: str) -> list[str]:
        return []

    def unread(self, prompt: str) -> str:
        return ""

    def embed(self, prompts: Sequence[str]) -> Words:
        return Words.of([torch.full((1, 1), len(prompt) / 10) for prompt in prompts])

    def read(self, words: Words) -> Prompted:
        return Prompted(words.states.expand(-1, self.token_width))

    def covariance(self, positions: Tensor) -> Tensor:
        """(n, 3) -> (n, n) prior covariance, float64."""
        positions = positions.double()
        time = (positions[:, None, 0] - positions[None, :, 0]).abs()
        space = ((positions[:, None, 1:] - positions[None, :, 1:]) ** 2).sum(-1)
        # The nugget keeps two tokens at one place (a given one beside the clip's own) from being singular.
        nugget = 1e-6 * torch.eye(len(positions), dtype=torch.float64)
        return torch.exp(-time / self.tau - space / (2 * self.radius**2)) + nugget

    def remember(
        self, x: Tensor, layout: Layout, reading: Prompted, past: Recalled | None = None
    ) -> Tensor:
        """(N, P) how far each token is from its mean: later ones need to know no more."""
        return x - self._mean(layout, reading).to(x.dtype)

    def recall(self, kept: Tensor, layout: Layout) -> Recalled:
        return Recalled(kept, layout)

    def _mean(self, layout: Layout, reading: Prompted) -> Tensor:
        """(N, P)"""
        each = torch.tensor(layout.spans).diff()
        return reading.mean.double().repeat_interleave(each, dim=0)

    def velocity(
        self,
        x: Tensor,
        sigma: Tensor,
        layout: Layout,
        reading: Prompted,
        past: Recalled | None = None,
    ) -> Tensor:
        """E[noise - data | x]: with A = diag(1 - sigma), B = diag(sigma) and C = A K A + B^2,
        the posterior means are data = m + K A C^-1 (x - A m) and noise = B C^-1 (x - A m).

        The tokens of x see each other even in a causal row, and their past as tokens at level 0.
        """
        mean, places = self._mean(layout, reading), layout.positions
        if past is None:
            return self._rows(x, sigma, places, mean, layout.lengths)
        split = (past.layout.lengths, layout.lengths)
        own = behind(
            torch.zeros(len(past.kept), dtype=torch.bool), torch.ones(len(x)).bool(), split
        )
        x = behind(past.kept, x, split)
        sigma = behind(sigma.new_zeros(len(past.kept)), sigma, split)
        mean = behind(mean.new_zeros(past.kept.shape), mean, split)
        places = behind(past.layout.positions, places, split)
        return self._rows(x, sigma, places, mean, [m + n for m, n in zip(*split, strict=True)])[own]

    def _rows(
        self, x: Tensor, sigma: Tensor, places: Tensor, mean: Tensor, lengths: Sequence[int]
    ) -> Tensor:
        """As `_row` for rows of any lengths, all at once where they share levels and places."""
        if len(set(lengths)) > 1:
            each = list(lengths)
            rows = zip(*(z.split(each) for z in (x, sigma, places, mean)), strict=True)
            return torch.cat([self._row(*row) for row in rows])
        n = lengths[0]
        levels, places = sigma.view(-1, n), places.view(-1, n, 3)
        if bool((levels == levels[0]).all()) and bool((places == places[0]).all()):
            return self._row(x, levels[0], places[0], mean)
        rows = zip(x.split(n), levels, places, mean.split(n), strict=True)
        return torch.cat([self._row(*row) for row in rows])

    def _row(self, x: Tensor, sigma: Tensor, positions: Tensor, mean: Tensor) -> Tensor:
        """Rows that share levels (n,) and places (n, 3): x and mean (rows * n, P)."""
        prior, level = self.covariance(positions), sigma.double()
        keep = 1 - level
        marginal = keep[:, None] * prior * keep[None, :] + torch.diag(level**2)
        gain = torch.diag(level) - prior * keep[None, :]  # noise minus data
        matrix = torch.linalg.solve(marginal, gain, left=False)
        mean = mean.view(-1, len(level), mean.shape[-1])
        shifted = x.double().view(mean.shape) - keep[:, None] * mean
        return (matrix @ shifted - mean).reshape(x.shape).to(x.dtype)
