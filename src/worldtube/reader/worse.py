"""Pictures made worse, so that the reader also reads what codecs and generators make. Knows nothing of labels."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from worldtube.reader import to_input
from worldtube.reader.network import SIDE


def degraded(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """(B, 3, 64, 64) with what codecs and generators do to pictures, each by its own draw; a third stay clean."""
    out = [_worse(one[None], rng) if rng.random() < 0.67 else one[None] for one in pixels]
    return torch.cat(out)


def degraded_clip(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """uint8 (T, 64, 64, 3), all frames by one draw."""
    pixels = _worse(to_input(frames), rng)
    return ((pixels + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()


def _worse(x: Tensor, rng: np.random.Generator) -> Tensor:
    kind = rng.integers(4)
    if kind == 0:
        x = _blur(x, float(rng.uniform(0.4, 1.2)))
    elif kind == 1:
        side = int(rng.integers(28, 56))
        small = F.interpolate(x, (side, side), mode="area")
        x = F.interpolate(small, (SIDE, SIDE), mode="bilinear", align_corners=False)
    elif kind == 2:
        x = _blocks(x, float(rng.uniform(0.05, 0.25)))
    else:
        x = _blocks(_blur(x, float(rng.uniform(0.3, 0.8))), float(rng.uniform(0.03, 0.15)))
    if rng.random() < 0.5:
        shape = (len(x), 3, SIDE, SIDE)
        noise = torch.from_numpy(rng.normal(0, rng.uniform(0.01, 0.05), shape).astype(np.float32))
        x = x + (noise if rng.random() < 0.5 else _blur(noise, 1.0) * 2)
    if rng.random() < 0.5:
        gain = torch.from_numpy(rng.uniform(0.92, 1.08, (1, 3, 1, 1)).astype(np.float32))
        x = x * gain * float(rng.uniform(0.9, 1.1)) + float(rng.uniform(-0.06, 0.06))
    return x.clamp(-1, 1)


def _blur(x: Tensor, sigma: float) -> Tensor:
    line = torch.exp(-(torch.arange(-3.0, 4.0) ** 2) / (2 * sigma**2))
    line = line / line.sum()
    x = F.pad(x, (3, 3, 3, 3), mode="replicate")
    x = F.conv2d(x, line.view(1, 1, 1, 7).expand(3, 1, 1, 7), groups=3)
    return F.conv2d(x, line.view(1, 1, 7, 1).expand(3, 1, 7, 1), groups=3)


_DCT = torch.tensor(
    [
        [np.sqrt((1 if i == 0 else 2) / 8) * np.cos(np.pi * (2 * j + 1) * i / 16) for j in range(8)]
        for i in range(8)
    ],
    dtype=torch.float32,
)
_STEPS = 1 + torch.arange(8.0)[:, None] + torch.arange(8.0)[None]


def _blocks(x: Tensor, step: float) -> Tensor:
    """Quantise 8 x 8 blocks as JPEG does, coarser for finer detail."""
    blocks = x.unfold(2, 8, 8).unfold(3, 8, 8)  # (B, 3, 8, 8, 8, 8)
    values = _DCT @ blocks @ _DCT.T
    coarse = step * _STEPS
    blocks = _DCT.T @ ((values / coarse).round() * coarse) @ _DCT
    return blocks.permute(0, 1, 2, 4, 3, 5).reshape(x.shape)
