"""`worldtube train reader`: from a catalog to a weight file that `evaluate` reads with."""

import numpy as np
import pytest

from worldtube import reader
from worldtube.cli import main
from worldtube.data.catalog import Catalog
from worldtube.data.ingest import row
from worldtube.errors import DataError, RequestError
from worldtube.train import reader as training
from worldtube.video import Clip
from worldtube.worlds.world import COLOURS, MOTIONS, SHAPES, SIZES

STEPS = "--pixel-steps 60 --pixel-batch 4 --shape-steps 20 --shape-batch 4 --witness-clips 4 --witness-steps 20"


def toy(seed, shape):
    """A red square, called what you like, moving over grey: frames, masks, truth."""
    rng = np.random.default_rng(seed)
    y, x = rng.integers(8, 32, size=2)
    ids = np.zeros((5, 64, 64), np.uint8)
    for t in range(5):
        ids[t, y : y + 20, x + t : x + t + 20] = 1
    frames = np.where(ids[..., None] == 1, np.uint8([220, 30, 30]), np.uint8(127))
    group = {
        "colour": COLOURS[0],
        "shape": shape,
        "size": SIZES[0],
        "count": 1,
        "motion": MOTIONS[0],
    }
    truth = {"world": "toy", "event": None, "groups": [group], "objects": [group | {"group": 0}]}
    return Clip(frames=frames, fps=12, caption="a toy", tracks={"ids": ids}), truth


@pytest.fixture
def catalog(tmp_path, monkeypatch):
    """One clip of each shape; what the reader is measured on is no other."""
    captions = dict.fromkeys(("short", "medium", "long"), "a toy")
    opened = Catalog(tmp_path / "clips", mode="a")
    for seed, shape in enumerate(SHAPES):
        clip, truth = toy(seed, shape)
        opened.append([row("toy", 1, seed, clip, captions, truth)])
    monkeypatch.setattr(training, "true_clips", lambda seeds: (toy(s, SHAPES[0]) for s in seeds))
    return tmp_path / "clips"


def test_the_command_trains_a_reader(catalog, tmp_path, capsys):
    out = tmp_path / "reader.safetensors"
    command = f"train reader --data {catalog} --out {out} --seeds 7:9 {STEPS} --threads 1"
    assert main(command.split()) == 0
    assert capsys.readouterr().out == f"{out}\n"
    eyes = reader.load(out)
    assert eyes.accuracy["seeds"] == [7, 9] and eyes.accuracy["clips"] == 2
    assert eyes.read(toy(0, SHAPES[0])[0]).num_frames == 5


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--data {clips} --out {out} --seeds 9:7", "'9:7'"),
        ("--data {clips} --out {folder}/no/where", "no does not exist"),
        ("--data {folder}/none --out {out}", "none"),
        ("--data {clips} --out {out} --pixel-steps 3", "pixel_steps 3"),
    ],
)
def test_what_it_cannot_do_is_said(catalog, tmp_path, capsys, words, told):
    words = words.format(clips=catalog, folder=tmp_path, out=tmp_path / "reader.safetensors")
    assert main(["train", "reader", *words.split()]) == 2
    assert told in capsys.readouterr().err


def test_clips_must_show_every_shape_and_something_must_be_found(monkeypatch):
    def clips(shapes):
        made = [toy(seed, shape) for seed, shape in enumerate(shapes)]
        return [
            training.Example(frames=clip.frames, ids=clip.tracks["ids"], truth=truth)
            for clip, truth in made
        ]

    with pytest.raises(DataError, match=f"no {SHAPES[1]}"):
        training.train_reader(clips(SHAPES[:1]))
    monkeypatch.setattr(training, "lesson", lambda *_: None)
    few = training.ReaderConfig(pixel_steps=20, pixel_batch=1, shape_steps=20, shape_batch=4)
    with pytest.raises(DataError, match="after 20 steps"):
        training.train_reader(clips(SHAPES), config=few)
    with pytest.raises(RequestError, match="learning_rate 0"):
        training.ReaderConfig(learning_rate=0)
