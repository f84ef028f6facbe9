"""The re-captioner learns from engine-made clips."""

import json

import numpy as np
import pytest
import torch

from worldtube.cli import main
from worldtube.data import caption
from worldtube.data.catalog import Catalog
from worldtube.data.ingest import record_world
from worldtube.errors import DataError, RequestError
from worldtube.evaluate.captions import score
from worldtube.reader import captioner
from worldtube.reader.captioner import CaptionerConfig
from worldtube.reader.evidence import COLOURS_AT
from worldtube.train.captioner import CaptionerTraining, lessons, recoloured, train_captioner
from worldtube.video import Size
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


def test_it_learns_what_the_clips_show(data):
    """A few steps are enough to write grounds, and to tell those of four clips apart better than by luck."""
    known = lessons([data])
    assert len(known) == 8
    own = train_captioner(known, config=SMALL)
    told = own.tell([one.evidence for one in known], ("background",))
    right = [
        score(one["background"], lesson.truth)["background"]
        for one, lesson in zip(told, known, strict=True)
    ]
    assert sum(sum(one) for one in right) >= 0.6 * 2 * len(
        known
    )  # ground and sky, where luck gets a quarter


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
    with Catalog(data) as catalog:
        rows = catalog.take(catalog.ids(), ["captions_own"])
        assert all(
            json.loads(row["captions_own"])["model"].startswith("captioner-") for row in rows
        )
        assert len(caption.captions(catalog, "own", catalog.ids())) == 4


def test_bad_settings_are_refused(tmp_path):
    with pytest.raises(RequestError, match="steps 0"):
        CaptionerTraining(steps=0)
    Catalog(tmp_path / "empty", mode="a").close()
    with pytest.raises(DataError, match="no clips with facts"):
        lessons([tmp_path / "empty"])
