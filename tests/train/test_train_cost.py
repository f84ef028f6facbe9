"""What is foretold of a training run: a batch's tokens and memory from a few rows."""

import shutil
from dataclasses import replace

import pytest
import torch
from test_loop import CONFIG, prepared  # noqa: F401 - a fixture

from worldtube.data.catalog import Catalog
from worldtube.data.views import save_view
from worldtube.errors import RequestError
from worldtube.train import cost
from worldtube.train.loop import setup


def predict(prepared, config=CONFIG, **more):  # noqa: F811
    return cost.predict(config, codec=prepared / "codec.safetensors", **more)


@pytest.mark.parametrize("named", [True, False])
def test_a_few_rows_tell_of_many(prepared, named, monkeypatch):  # noqa: F811
    config = replace(CONFIG, rows=32, size=32)
    data = {"data": [prepared / "data"]} if named else {}
    few = predict(prepared, config, **data)
    monkeypatch.setattr(cost, "ROWS", 32)
    many = predict(prepared, config, **data)
    assert few.tokens == pytest.approx(many.tokens, rel=0.1)
    assert few.memory["gradients"] == pytest.approx(many.memory["gradients"], rel=0.15)
    assert few.weights == many.weights and few.step.keys() == many.step.keys()
    assert all((part > 0).all() for part in few.step.values())
    assert (few.memory["clips"] > 0) == named
    if named:
        made = setup(config, codec=prepared / "codec.safetensors", start=None)
        batches = made.batches(config, **data)
        tokens = [batches.batch(step).layout.bounds[-1] for step in range(8)]
        assert few.tokens == pytest.approx(sum(tokens) / 8, rel=0.1)


def test_clips_that_will_be_read_are_counted(prepared, tmp_path, monkeypatch):  # noqa: F811
    """After three rows of one clip each three of the twelve are in memory, and all will be."""
    config = replace(CONFIG, rows=1, steps=1000, mix=replace(CONFIG.mix, images=0.0))
    monkeypatch.setattr(cost, "STEPS", 2)
    told = predict(prepared, config, data=[prepared / "data"])
    made = setup(config, codec=prepared / "codec.safetensors", start=None)
    batches = made.batches(config, [prepared / "data"])
    for step in range(3):
        batches.batch(step)
    assert told.memory["clips"] == pytest.approx(batches.held / 3 * 12)
    few = predict(prepared, replace(config, steps=4), data=[prepared / "data"])
    assert few.memory["clips"] == pytest.approx(batches.held / 3 * 4)
    shutil.copytree(prepared / "data", tmp_path / "data")
    catalog = Catalog(tmp_path / "data", mode="a")
    save_view(catalog, "few", "seed < 2")
    few = predict(prepared, replace(config, view="few"), data=[tmp_path / "data"])
    assert few.memory["clips"] == pytest.approx(batches.held / 3 * 2)


def test_what_is_kept_is_counted_once():
    layer, x = torch.nn.Linear(8, 8), torch.ones(4, 8)
    kept = cost._Kept(layer)
    with torch.autograd.graph.saved_tensors_hooks(kept, lambda tensor: tensor):
        y = layer(x).square()  # keeps x and what the layer made of it
        y = y * y.exp()  # and y, and its exponential
    assert sum(kept.bytes.values()) == 4 * 4 * 8 * 4
    assert y.requires_grad


def test_devices_that_are_not_told_of(prepared):  # noqa: F811
    with pytest.raises(RequestError, match="device must be one of auto, cpu, got 'cuda'"):
        predict(prepared, replace(CONFIG, device="cuda"))


def test_a_finer_patch_has_narrower_tokens(prepared):  # noqa: F811
    """The widths of a stand-in batch are the network's own, not those of the recipe."""
    model = replace(CONFIG.model, truth_width=56)
    told = [predict(prepared, replace(CONFIG, model=model, patch=patch)).tokens for patch in (1, 2)]
    assert told[0] == pytest.approx(4 * told[1], rel=0.01)
