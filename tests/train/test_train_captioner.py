"""The re-captioner learns from engine-made clips."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from worldtube.cli import main
from worldtube.data import caption
from worldtube.data.catalog import Catalog
from worldtube.data.ingest import record_world
from worldtube.errors import DataError, RequestError
from worldtube.reader import captioner
from worldtube.reader.captioner import CaptionerConfig
from worldtube.reader.evidence import COLOURS_AT
from worldtube.train.captioner import CaptionerTraining, lessons, recoloured, train_captioner
from worldtube.video import Size
from worldtube.worlds.language import fields
from worldtube.worlds.world import COLOURS

SMALL = CaptionerTraining(
    network=CaptionerConfig(width=48, heads=2, hidden=64, seeing=1, writing=1),
    steps=60,
    batch=8,
    rate=4e-3,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("captions") / "data"
    record_world(
        "tabletop", seeds=range(4), size=Size(64, 64), out=folder, num_frames=9, processes=1
    )
    return folder


def surprise(own, known):
    """Mean cross-entropy of the words of fixed texts of these clips, nats a word."""
    rng, total, count = np.random.default_rng(1), 0.0, 0
    with torch.inference_mode():
        for lesson in known:
            for name, text in fields(lesson.truth, rng).items():
                tokens = torch.tensor([own.network.numbers(name, text)])
                logits = own.network(own.network.look([lesson.evidence]), tokens[:, :-1])
                total += float(cross_entropy(logits[0], tokens[0, 1:], reduction="sum"))
                count += tokens.shape[1] - 1
    return total / count


def test_it_learns_the_words_and_goes_on_from_a_file(data, tmp_path):
    known = lessons([data])
    assert len(known) == 8
    none = train_captioner(known, config=replace(SMALL, steps=1, rate=1e-9))
    some = train_captioner(known, config=SMALL)
    assert surprise(some, known) < 0.6 * surprise(none, known)
    some.save(tmp_path / "some.safetensors")
    start = captioner.load(tmp_path / "some.safetensors")
    more = train_captioner(known, config=replace(SMALL, seed=1), start=start)
    assert surprise(more, known) < surprise(some, known)


def test_exchanged_colours_are_exchanged_in_facts_and_evidence(data):
    lesson = lessons([data])[0]
    order = np.roll(np.arange(len(COLOURS)), 1)
    other = recoloured(lesson, order)
    for mine, theirs in zip(lesson.truth["groups"], other.truth["groups"], strict=True):
        assert theirs["colour"] == COLOURS[order[COLOURS.index(mine["colour"])]]
        assert {**theirs, "colour": mine["colour"]} == mine
    where = slice(COLOURS_AT, COLOURS_AT + len(COLOURS))
    before, after = lesson.evidence["tracks"][:, where], other.evidence["tracks"][:, where]
    assert before.shape == after.shape and torch.equal(before, after[:, torch.from_numpy(order)])
    named = {COLOURS[i] for i in after.argmax(1).tolist()}
    assert {
        group["colour"] for group in other.truth["groups"]
    } <= named  # the reader is right about these clips
    back = recoloured(other, np.argsort(order))
    assert back.truth == {**lesson.truth, "objects": back.truth["objects"]}


def test_the_same_seed_learns_the_same(data):
    known = lessons([data])
    few = CaptionerTraining(network=SMALL.network, steps=3, batch=2)
    a, b = (train_captioner(known, config=few).network.state_dict() for _ in range(2))
    assert all(bool((a[name] == b[name]).all()) for name in a)


def test_from_the_command_line_to_a_column(data, tmp_path, capsys):
    out = tmp_path / "own.safetensors"
    sizes = {"width": 32, "heads": 2, "hidden": 32, "seeing": 1, "writing": 1}
    small = [word for name, size in sizes.items() for word in (f"--network.{name}", str(size))]
    few = ["--steps", "2", "--batch", "2", "--seeds", "8000000:8000002"]
    assert main(["train", "captioner", "--data", str(data), "--out", str(out), *few, *small]) == 0
    assert captioner.load(out).accuracy["clips"] == 2
    assert main(["caption", str(data), "--by", "own", "--model", str(out)]) == 0
    assert main(["caption", str(data), "--by", "own", "--model", str(out)]) == 0
    assert "0 clips captioned by own" in capsys.readouterr().out
    catalog = Catalog(data)
    rows = catalog.take(catalog.ids(), ["captions_own"])
    assert all(json.loads(row["captions_own"])["model"].startswith("captioner-") for row in rows)
    assert len(caption.captions(catalog, "own", catalog.ids())) == 4


def test_bad_settings_are_refused(tmp_path):
    with pytest.raises(RequestError, match="steps 0"):
        CaptionerTraining(steps=0)
    Catalog(tmp_path / "empty", mode="a")
    with pytest.raises(DataError, match="no clips with facts"):
        lessons([tmp_path / "empty"])
