"""The caption experiment, at toy size: arms differ in their words alone, and are not trained twice."""

import json
from dataclasses import replace

import pytest
import torch

from worldtube import models
from worldtube.data import caption
from worldtube.data.catalog import Catalog
from worldtube.data.ingest import record_world
from worldtube.data.latents import cache_latents, cache_text, cache_truth
from worldtube.errors import DataError, NotFound, RequestError
from worldtube.evaluate.adherence import KEYS
from worldtube.evaluate.report import table
from worldtube.models.local import embedded_path, load_codec
from worldtube.text.encoder import TextEncoder
from worldtube.train.start import WORDS
from worldtube.train.wording import Wording, WordingConfig, means, rows
from worldtube.video import Size

TOY = WordingConfig(arms=("short", "dense"), steps=2, rows=2, prompts=1)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wording") / "data"
    record_world(
        "tabletop", seeds=range(3), size=Size(64, 64), out=folder, num_frames=9, processes=1
    )
    codec, version = load_codec(embedded_path())
    catalog = Catalog(folder, mode="a")
    cache_latents(catalog, codec, version=version)
    cache_truth(catalog, codec.stride)
    cache_text(catalog, TextEncoder())
    return folder


def test_the_beginning_keeps_pictures_and_forgets_words(data, tmp_path):
    work = Wording(data=data, start=embedded_path(), out=tmp_path, config=TOY)
    old, new = models.load(embedded_path()).transformer, models.load(work.beginning(0)).transformer
    states = old.state_dict(), new.state_dict()
    words = [name for name in states[0] if any(part in name for part in WORDS)]
    assert words and len(words) < len(states[0])
    for name in states[0]:
        same = torch.equal(states[0][name], states[1][name])
        assert same == (name not in words) or "norm" in name, name
    prompt = new.read(models.load(work.beginning(0)).embed(["a red ball", "two blue boxes"]))
    assert all(bool((k.isfinite() & v.isfinite()).all()) for k, v in prompt.kv)
    assert all(float(block.words.out.weight.abs().max()) == 0 for block in new.blocks)


@pytest.mark.slow
def test_arms_are_trained_and_scored_once(data, tmp_path):
    out = tmp_path / "out"
    work = Wording(data=data, start=embedded_path(), out=out, config=replace(TOY, trainings=2))
    seen = []
    result = work.run(lambda what, done, every: seen.append((what, done, every)))
    told = result["told"]
    kinds = ("free", "short captions", "dense captions")
    assert [(one["seed"], one["arm"], one["prompts"]) for one in told] == [
        (seed, arm, kind) for seed in (0, 1) for arm in TOY.arms for kind in kinds
    ]
    assert told[0]["n"]["colour"] > 0
    assert ("short", 2, 2) in seen and ("short, free", 1, 1) in seen
    assert json.loads((out / "result.json").read_text()) == json.loads(json.dumps(result))
    files = [
        out / f"seed-{seed}" / arm / "model.safetensors" for seed in (0, 1) for arm in TOY.arms
    ]
    assert len({path.read_bytes() for path in files}) == 4
    weights = files[0].read_bytes()
    assert work.trained("short", 0).read_bytes() == weights
    before = [path.stat().st_mtime_ns for path in files]
    seen.clear()
    assert json.loads(json.dumps(work.run(lambda *one: seen.append(one)))) == json.loads(
        json.dumps(result)
    )
    assert not seen and [path.stat().st_mtime_ns for path in files] == before
    other = replace(work, config=replace(work.config, prompts=2, arms=("short",), trainings=1))
    assert other.run()["told"][0]["n"]["colour"] > told[0]["n"]["colour"]
    with pytest.raises(DataError, match=r"rate is 0\.002 there and 0.1 here"):
        replace(work, config=replace(work.config, rate=0.1)).run()
    with pytest.raises(DataError, match="start is"):
        replace(work, start=out / "seed-0" / "start.safetensors").run()


def _row(seed, arm, prompts, right, number):
    return {
        "seed": seed,
        "arm": arm,
        "prompts": prompts,
        **dict.fromkeys(KEYS, right),
        "n": dict.fromkeys(KEYS, number),
    }


def test_means_are_of_pairs_from_the_same_seed():
    told = [
        *(_row(seed, "mixed", "free", share, 30) for seed, share in enumerate((0.5, 0.7, 0.9))),
        *(_row(seed, "mixed", "dense", share, 10) for seed, share in enumerate((0.1, 0.3, 0.5))),
        *(_row(seed, "own", "free", share, 30) for seed, share in enumerate((0.5, 0.6, 0.7))),
        *(_row(seed, "own", "dense", share, 10) for seed, share in enumerate((0.1, 0.2, 0.3))),
        _row(0, "short", "free", 0.4, 30)
        | {"shape": None, "n": dict.fromkeys(KEYS, 30) | {"shape": 0}},
    ]
    mixed, own, short = means(told)
    assert mixed["colour"] == pytest.approx(0.6) and not mixed["points"]
    assert own["colour"] == pytest.approx(0.5) and own["trainings"] == 3
    # Differences of the three seeds: 0, -10 and -20 points.
    assert own["points"]["colour"] == pytest.approx(-10)
    assert own["error"]["colour"] == pytest.approx(10 / 3**0.5)
    assert short["points"]["colour"] == pytest.approx(0) and short["error"]["colour"] is None
    assert short["shape"] is None and "shape" not in short["points"]
    text = table(rows({"clips": 4, "prompts": 1, "told": told}))
    assert "-10" in text and "own, seed 2" in text


def test_own_captions_are_needed_for_the_arm_that_learns_from_them(data, tmp_path):
    work = Wording(data=data, start=embedded_path(), out=tmp_path, config=TOY)
    with pytest.raises(NotFound, match="worldtube caption"):
        work.trained("own", 0)
    catalog = Catalog(data, mode="a")
    column = caption.column("own")
    catalog.add_column(column, "1")
    catalog.set(
        column,
        {n: json.dumps({"fields": caption.whole({"long": "a red ball"})}) for n in catalog.ids()},
    )
    other = Wording(data=data, start=embedded_path(), out=tmp_path / "other", config=TOY)
    assert other.trained("own", 0).is_file()


def test_bad_arms_are_refused():
    with pytest.raises(RequestError, match="dence"):
        WordingConfig(arms=("dence",))
    with pytest.raises(RequestError, match="steps 0"):
        WordingConfig(steps=0)
    with pytest.raises(RequestError, match="trainings 0"):
        WordingConfig(trainings=0)
