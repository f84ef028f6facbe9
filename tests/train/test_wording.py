"""The caption experiment, at toy size: arms differ in their words alone, and are not trained twice."""

import json

import pytest
import torch

from worldtube import models
from worldtube.data import caption
from worldtube.data.catalog import Catalog
from worldtube.data.ingest import record_world
from worldtube.data.latents import cache_latents, cache_text, cache_truth
from worldtube.errors import NotFound, RequestError
from worldtube.models.local import embedded_path, load_codec
from worldtube.text.encoder import TextEncoder
from worldtube.train.start import WORDS
from worldtube.train.wording import Wording, WordingConfig
from worldtube.video import Size

TOY = WordingConfig(arms=("short", "dense"), steps=2, rows=2, prompts=1)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wording") / "data"
    record_world(
        "tabletop", seeds=range(3), size=Size(64, 64), out=folder, num_frames=9, processes=1
    )
    codec, version = load_codec(embedded_path())
    with Catalog(folder, mode="a") as catalog:
        cache_latents(catalog, codec, version=version)
        cache_truth(catalog, codec.stride)
        cache_text(catalog, TextEncoder())
    return folder


def test_the_beginning_keeps_pictures_and_forgets_words(data, tmp_path):
    work = Wording(data=data, start=embedded_path(), out=tmp_path, config=TOY)
    old, new = models.load(embedded_path()).transformer, models.load(work.beginning()).transformer
    states = old.state_dict(), new.state_dict()
    words = [name for name in states[0] if any(part in name for part in WORDS)]
    assert words and len(words) < len(states[0])
    for name in states[0]:
        same = torch.equal(states[0][name], states[1][name])
        assert same == (name not in words) or "norm" in name, name
    prompt = new.read(models.load(work.beginning()).embed(["a red ball", "two blue boxes"]))
    assert all(bool((k.isfinite() & v.isfinite()).all()) for k, v in prompt.kv)
    assert all(float(block.words.out.weight.abs().max()) == 0 for block in new.blocks)


def test_arms_are_trained_once_and_scored(data, tmp_path):
    work = Wording(data=data, start=embedded_path(), out=tmp_path / "out", config=TOY)
    result = work.run()
    assert set(result["arms"]) == {"short", "dense"}
    assert set(result["arms"]["short"]) == {"free", "short captions", "dense captions"}
    assert result["arms"]["short"]["free"]["n"]["colour"] > 0
    assert json.loads((tmp_path / "out" / "result.json").read_text()) == json.loads(
        json.dumps(result)
    )
    weights = {
        name: (tmp_path / "out" / name / "model.safetensors").read_bytes() for name in TOY.arms
    }
    assert weights["short"] != weights["dense"]
    assert work.trained("short").read_bytes() == weights["short"]


def test_own_captions_are_needed_for_the_arm_that_learns_from_them(data, tmp_path):
    work = Wording(data=data, start=embedded_path(), out=tmp_path, config=TOY)
    with pytest.raises(NotFound, match="worldtube caption"):
        work.trained("own")
    with Catalog(data, mode="a") as catalog:
        column = caption.column("own")
        catalog.add_column(column, "1")
        catalog.set(
            column,
            {
                n: json.dumps({"fields": caption.whole({"long": "a red ball"})})
                for n in catalog.ids()
            },
        )
    other = Wording(data=data, start=embedded_path(), out=tmp_path / "other", config=TOY)
    (tmp_path / "other").mkdir()
    assert other.trained("own").is_file()


def test_bad_arms_are_refused():
    with pytest.raises(RequestError, match="dence"):
        WordingConfig(arms=("dence",))
    with pytest.raises(RequestError, match="steps 0"):
        WordingConfig(steps=0)
