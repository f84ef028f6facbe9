"""Packed weights: the same numbers up to rounding, and never those of a weight that was."""

import pytest
import torch
from torch import nn

from worldtube import models
from worldtube.device import pack_weight
from worldtube.transformer.packed import pack_linears

try:
    pack_weight(torch.zeros(8, 8))
except (AttributeError, RuntimeError, NotImplementedError):
    pytest.skip("this torch has no oneDNN", allow_module_level=True)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [1, 7, 512, 900])
def test_the_same_up_to_rounding(bias, rows):
    layer = nn.Linear(96, 200, bias=bias)
    x = torch.randn(rows, 96)
    with torch.inference_mode():
        plain = layer(x)
        pack_linears(layer)
        packed = layer(x)
    assert layer.forward.packed is not None
    assert (packed - plain).norm() < 1e-6 * plain.norm()


def test_a_weight_that_changes_is_packed_again():
    layer, x = nn.Linear(32, 32), torch.randn(5, 32)
    pack_linears(layer)
    names = set(layer.state_dict())
    with torch.no_grad():
        layer(x)
        layer.weight.mul_(2)
        again = layer(x)
    assert torch.allclose(again, nn.functional.linear(x, layer.weight, layer.bias), atol=1e-5)
    assert names == {"weight", "bias"}


def test_gradients_and_other_dtypes_take_the_plain_way():
    layer, x = nn.Linear(32, 32), torch.randn(5, 32)
    pack_linears(layer)
    layer(x).sum().backward()
    assert layer.weight.grad is not None and layer.forward.packed is None
    with torch.inference_mode():
        layer.bfloat16()
        assert layer(x.bfloat16()).dtype == torch.bfloat16


def test_a_loaded_model_is_packed_where_that_is_faster(monkeypatch):
    monkeypatch.setattr("worldtube.models.local.uses_packed_weights", lambda *_: False)
    plain = models.load(dtype="float32", device="cpu")
    monkeypatch.setattr("worldtube.models.local.uses_packed_weights", lambda *_: True)
    packed = models.load(dtype="float32", device="cpu")
    layout = plain.layout(plain.grid(plain.size, 5, plain.fps))
    x = torch.randn(layout.bounds[-1], plain.token_width)
    sigma = torch.full((len(x),), 0.8)
    out = [
        model.velocity(x, sigma, layout, model.read(model.embed(["a red ball"])))
        for model in (plain, packed)
    ]
    assert packed.transformer.blocks[0].attention.qkv.forward.packed is not None
    assert (out[0] - out[1]).norm() < 1e-4 * out[0].norm()
    assert plain.transformer.state_dict().keys() == packed.transformer.state_dict().keys()
