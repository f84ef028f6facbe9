"""Linear layers whose weights are prepacked for oneDNN, for inference in float32 on a CPU.

PyTorch hands a float32 product to MKL, which is slow on some CPUs, and where it goes to oneDNN the weight is brought
into that library's layout at every call. Owns the packing and its upkeep; whether it pays, `device` measures.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worldtube.device import pack_weight, packed_linear


def pack_linears(module: nn.Module) -> None:
    """Make the linear layers of a module compute with packed weights where no gradient is asked for.

    Parameters, their names and the state dict stay as they are. A layer is packed at its first call and again after
    its weight has changed.
    """
    for layer in module.modules():
        if type(layer) is nn.Linear:
            layer.forward = _PackedForward(layer)


class _PackedForward:
    """The forward of one layer; equals the layer's own up to float32 rounding."""

    def __init__(self, layer: nn.Linear):
        self.layer = layer
        self.packed: Tensor | None = None
        self.state: tuple[int, int] | None = None
        """Of the weight that was packed: where it is and how often it was changed."""

    def __call__(self, input: Tensor) -> Tensor:
        weight, bias = self.layer.weight, self.layer.bias
        plain = input.device.type != "cpu" or {input.dtype, weight.dtype} != {torch.float32}
        if plain or torch.is_grad_enabled() or torch.compiler.is_compiling():
            return F.linear(input, weight, bias)
        state = (weight.data_ptr(), weight._version)
        if self.packed is None or self.state != state:
            self.packed, self.state = pack_weight(weight), state
        return packed_linear(input, self.packed, bias)
