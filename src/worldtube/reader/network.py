"""The three small networks of the reader: for pixels, for the shape of one thing, for what things did.

Owns their shapes and weights. Knows nothing of clips, of files or of how tracks are found.
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worldtube.worlds.world import COLOURS, MOTIONS, SHAPES, SIZES

SIDE = 64
"""Pictures are read at this width and height."""

KINDS = ("none", *SHAPES, "water", "stain")
EVENTS = (
    "none",
    "tipped",
    "missed",
    "upright",
    "spilled",
    "hit",
    "fell_off",
    "stacked",
    "toppled",
    "bounced",
    "poured",
)
MAPS = {
    "kind": len(KINDS),
    "colour": len(COLOURS) + 1,
    "size": len(SIZES),
    "centre": 1,
    "offset": 2,
}
"""Name -> channels of what is told of every pixel; colour's last one is 'no thing'."""

OFFSET = 16.0
"""Pixels that an offset of 1 stands for."""


class _Block(nn.Module):
    """Two 3x3 convolutions around a shortcut."""

    def __init__(self, width: int):
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.norm = nn.GroupNorm(8, width)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(F.relu(self.norm(self.first(x)))))


class Pixels(nn.Module):
    """A picture (B, 3, 64, 64) in [-1, 1] -> the maps of `MAPS`, each (B, channels, 64, 64)."""

    def __init__(self, widths: tuple[int, int, int] = (24, 56, 96)):
        super().__init__()
        a, b, c = widths
        self.inward = nn.Conv2d(12, a, 3, padding=1)
        self.fine = _Block(a)
        self.down = nn.Conv2d(a, b, 2, stride=2)
        self.middle = _Block(b)
        self.deeper = nn.Conv2d(b, c, 2, stride=2)
        self.bottom = nn.Sequential(_Block(c), _Block(c))
        self.up_middle = nn.Conv2d(c, b, 1)
        self.out_middle = _Block(b)
        self.up_fine = nn.Conv2d(b, a, 1)
        self.out_fine = _Block(a)
        self.head = nn.Conv2d(a, 4 * sum(MAPS.values()), 1)
        before = sum(list(MAPS.values())[: list(MAPS).index("centre")])
        bias = cast(Tensor, self.head.bias)
        with torch.no_grad():  # centres are rare
            bias[4 * before : 4 * before + 4] = -4.0

    def trunk(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features at a half, a quarter and an eighth of the picture's side."""
        x = self.fine(F.relu(self.inward(F.pixel_unshuffle(pixels, 2))))  # (B, a, 32, 32)
        y = self.middle(self.down(x))  # (B, b, 16, 16)
        return x, y, self.bottom(self.deeper(y))  # (B, c, 8, 8)

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        x, y, z = self.trunk(pixels)
        y = self.out_middle(y + self.up_middle(F.interpolate(z, scale_factor=2.0)))
        x = self.out_fine(x + self.up_fine(F.interpolate(y, scale_factor=2.0)))
        maps = F.pixel_shuffle(self.head(x), 2).float()  # (B, sum, 64, 64)
        return dict(zip(MAPS, maps.split(list(MAPS.values()), 1), strict=True))


CROP = 24
"""Width and height of the picture of one thing."""


class Shapes(nn.Module):
    """Pictures of one thing each (B, 4, 24, 24), rgb in [-1, 1] and its own pixels 0 or 1 -> (B, 4) logits.

    Small things are shown as large as large ones, which the pixel network cannot do.
    """

    def __init__(self, widths: tuple[int, int, int] = (24, 40, 64)):
        super().__init__()
        a, b, c = widths
        self.layers = nn.Sequential(
            nn.Conv2d(4, a, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(a, b, 3, padding=1, stride=2),
            nn.GroupNorm(8, b),
            nn.ReLU(),
            _Block(b),
            nn.Conv2d(b, c, 3, padding=1, stride=2),
            nn.ReLU(),
            _Block(c),
            nn.Flatten(),
            nn.Dropout(0.1),
            nn.Linear(c * 36, len(SHAPES)),
        )

    def forward(self, crops: Tensor) -> Tensor:
        return self.layers(crops).float()


class Witness(nn.Module):
    """Tracks over time -> what each thing is and did, and what happened.

    `tracks` (K, T, features) of one clip; batches are padded in K and T with `seen` (B, K, T) telling what is real.
    """

    def __init__(self, num_features: int, width: int = 64):
        super().__init__()
        self.inward = nn.Linear(num_features, width)
        self.time = nn.ModuleList(
            nn.Conv1d(width, width, 3, padding=step, dilation=step) for step in (1, 2, 4)
        )
        self.mix = nn.ModuleList(nn.Linear(3 * width, width) for _ in range(3))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        heads = {"real": 1, "motion": len(MOTIONS), "size": len(SIZES)}
        self.things = nn.ModuleDict(
            {
                name: nn.Sequential(nn.Linear(3 * width, width), nn.ReLU(), nn.Linear(width, n))
                for name, n in heads.items()
            }
        )
        self.event = nn.Sequential(
            nn.Linear(2 * width, width), nn.ReLU(), nn.Linear(width, len(EVENTS))
        )

    def forward(self, tracks: Tensor, there: Tensor) -> dict[str, Tensor]:
        """tracks (B, K, T, features), there (B, K) 1 for a track that exists -> logits by name."""
        return self.judge(self.states(tracks, there), there)

    def states(self, tracks: Tensor, there: Tensor) -> Tensor:
        """What each track is doing at each moment, (B, K, T, D); arguments as for `forward`."""
        mask = there[:, :, None, None]
        x = self.inward(tracks) * mask  # (B, K, T, D)
        for time, mix, norm in zip(self.time, self.mix, self.norms, strict=True):
            flat = x.flatten(0, 1).transpose(1, 2)  # (B K, D, T)
            moved = time(flat).transpose(1, 2).view_as(x)
            others = (x.sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp_min(1)).expand_as(x)
            most = x.masked_fill(mask == 0, -1e4).amax(1, keepdim=True).clamp_min(-10).expand_as(x)
            x = norm(x + mix(F.relu(torch.cat([moved, others, most], -1)))) * mask
        return x

    @staticmethod
    def pool(x: Tensor) -> Tensor:
        """States over time to one vector a track, (B, K, 3 D)."""
        return torch.cat([x.mean(2), x.amax(2), x[:, :, :13].mean(2)], -1)

    def judge(self, x: Tensor, there: Tensor) -> dict[str, Tensor]:
        """States -> logits by name."""
        pooled = self.pool(x)
        told = {name: head(pooled) for name, head in self.things.items()}
        whole = x.amax(2)
        scene = torch.cat(
            [
                whole.masked_fill(there[:, :, None] == 0, -1e4).amax(1).clamp_min(-10),
                whole.sum(1) / there.sum(1, keepdim=True).clamp_min(1),
            ],
            -1,
        )
        return told | {"event": self.event(scene)}
