"""The renderer: features of rays to the latents of a picture, cell by cell, in one pass without attention."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worldtube.renderer.features import Features, cell_width, compute_features, pair_width
from worldtube.renderer.scenes import Scenes


@dataclass(frozen=True, kw_only=True)
class RendererConfig:
    """Sizes of the network, and of the codec whose latents it makes."""

    channels: int = 24
    """Channels of the latents."""
    stride: int = 4
    """Picture frames that each latent frame but the first covers."""
    width: int = 256
    """Of a cell's features."""
    pair_hidden: int = 512
    """Inside the network that reads a pair of a cell and a body."""
    depth: int = 3
    """Blocks that cells near bodies go through."""


class Renderer(nn.Module):
    """Latents float32 (I, channels, h, w) of I latent frames, computed in the dtype of the weights."""

    def __init__(self, config: RendererConfig | None = None):
        super().__init__()
        self.config = config or RendererConfig()
        width = self.config.width
        self.blocks = nn.ModuleDict(
            {
                "pair": SwiGLU(pair_width(self.config.stride), self.config.pair_hidden, width),
                "occlusion": SwiGLU(2 * width, 320, width, zero=True),
                "cell": SwiGLU(cell_width(), 320, width),
                "cell_residual": Residual(width, 256),
            }
        )
        for k in range(self.config.depth):
            self.blocks[f"trunk_{k}"] = Residual(width, 512)
        self.mixers = nn.ModuleList(Mixer(width) for _ in range(2))
        self.head = nn.Linear(width, self.config.channels)

    def forward(self, features: Features, height: int, width: int) -> Tensor:
        items, cells, _ = features.cell.shape
        at, dtype = features.cell_of_pair, self.head.weight.dtype
        cell = self.blocks["cell"](features.cell.to(dtype))
        cell = self.blocks["cell_residual"](cell).flatten(0, 1)  # (I N, D)
        pair = self.blocks["pair"](features.pair.to(dtype))  # (P, D)
        summed = torch.zeros_like(cell).index_add(0, at, pair)
        context = rms_norm(summed + cell)
        # A second look, which knows what else is in the cell: what hides what.
        pair = self.blocks["occlusion"](torch.cat([rms_norm(pair), context[at]], dim=-1))
        hidden = cell + summed.index_add(0, at, pair)
        hidden = self.mixers[0](hidden, height, width)
        near = torch.zeros(items * cells, dtype=torch.bool, device=cell.device)
        near[at] = True
        rows = near.nonzero()[:, 0]
        busy = hidden[rows]
        for k in range(self.config.depth):
            busy = self.blocks[f"trunk_{k}"](busy)
        hidden = self.mixers[1](hidden.index_copy(0, rows, busy), height, width)
        out = self.head(rms_norm(hidden)).float()  # (I N, C)
        return out.view(items, height, width, -1).permute(0, 3, 1, 2)

    def render(self, scenes: Scenes, height: int, width: int) -> Tensor:
        """Latents (I, channels, height, width) of a grid of that many cells."""
        return self(compute_features(scenes, height, width), height, width)


class SwiGLU(nn.Module):
    """A gated layer (Shazeer 2020). zero: it begins by adding nothing."""

    def __init__(self, inputs: int, hidden: int, outputs: int, *, zero: bool = False):
        super().__init__()
        self.inner = nn.Linear(inputs, 2 * hidden)
        self.outer = nn.Linear(hidden, outputs, bias=False)
        nn.init.xavier_uniform_(self.inner.weight)
        nn.init.zeros_(self.inner.bias)
        if zero:
            nn.init.zeros_(self.outer.weight)
        else:
            nn.init.xavier_uniform_(self.outer.weight)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.inner(x).chunk(2, dim=-1)
        return self.outer(F.silu(gate) * value)


class Residual(nn.Module):
    """x plus a gated layer of its norm."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.layer = SwiGLU(width, hidden, width, zero=True)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layer(rms_norm(x))


class Mixer(nn.Module):
    """x plus a depthwise 3 x 3 convolution over the grid of cells."""

    def __init__(self, width: int):
        super().__init__()
        self.kernel = nn.Conv2d(width, width, 3, padding=1, groups=width)
        nn.init.zeros_(self.kernel.weight)
        assert self.kernel.bias is not None
        nn.init.zeros_(self.kernel.bias)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        grid = rms_norm(x).view(-1, height, width, x.shape[-1]).permute(0, 3, 1, 2)
        return x + self.kernel(grid).permute(0, 2, 3, 1).flatten(0, 2)


def rms_norm(x: Tensor) -> Tensor:
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)
