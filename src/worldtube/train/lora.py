"""Low-rank adapters (Hu et al. 2022, LoRA): few weights that change what a large network does.

Owns the adapted layer, and how adapters are saved alone; `models.adapters` reads and merges them. Knows nothing of
training.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from worldtube.errors import RequestError
from worldtube.models.adapters import KEYS, fingerprint
from worldtube.models.weights import save_weights
from worldtube.transformer import Transformer


class Adapted(nn.Linear):
    """W x + up down x, where W stays; the two are added first, as they will be when merged."""

    def __init__(self, linear: nn.Linear, rank: int, generator: torch.Generator):
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        down = torch.randn(rank, linear.in_features, generator=generator)
        self.down = nn.Parameter(down / math.sqrt(linear.in_features))
        self.up = nn.Parameter(torch.zeros(linear.out_features, rank))

    def forward(self, input: Tensor) -> Tensor:
        weight = torch.addmm(self.weight, self.up, self.down)
        return nn.functional.linear(input, weight, self.bias)


def adapt(transformer: Transformer, rank: int, *, seed: int) -> None:
    """Give every matrix of the blocks an adapter that does nothing yet; all else stays as it is.

    Raises RequestError for a rank that is not smaller than the network's width.
    """
    width = transformer.config.width
    if not 0 < rank < width:
        raise RequestError(f"lora {rank} is not accepted (accepted: a rank of 1 to {width - 1})")
    transformer.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for stack in (transformer.text_blocks, transformer.blocks):
        for parent in list(stack.modules()):
            for name, child in list(parent.named_children()):
                if type(child) is nn.Linear:
                    setattr(parent, name, Adapted(child, rank, generator))


def save(state: Mapping[str, Tensor], path: Path, *, base: Path | None) -> None:
    """The adapters among the weights alone, float32; base: the model's file that they were trained beside."""
    adapters = {k: v.detach().cpu().contiguous() for k, v in state.items() if k.endswith(KEYS)}
    save_weights(adapters, path, config={"base": str(base or ""), "weights": fingerprint(base)})
