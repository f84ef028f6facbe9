"""The re-captioner's network and file; how well the shipped one tells is measured, not tested."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from worldtube import reader
from worldtube.errors import DataError, NotFound
from worldtube.evaluate.captions import score, summary
from worldtube.reader import captioner
from worldtube.reader.captioner import Captioner, CaptionerConfig, Network, join, split
from worldtube.reader.evidence import WIDTHS, evidence, sight
from worldtube.train.captioner import mirrored, visible, words
from worldtube.video import Clip, Size
from worldtube.worlds.language import FIELDS, fields, invent
from worldtube.worlds.record import record

SIZES = CaptionerConfig(width=32, heads=2, hidden=32, seeing=1, writing=1)


@pytest.fixture(scope="module")
def eyes():
    return reader.load()


@pytest.fixture(scope="module")
def clips():
    return [
        record("tabletop", seed, Size(64, 64), num_frames=9)[0] for seed in (8_000_000, 8_000_002)
    ]


def own():
    torch.manual_seed(0)
    return Captioner(Network(SIZES, words()))


def test_every_caption_of_the_grammar_can_be_written_and_read_back():
    rng, network = np.random.default_rng(0), own().network
    for _ in range(150):
        for name, text in fields(visible(invent(rng)), rng).items():
            numbers = network.numbers(name, text)
            assert len(numbers) <= captioner.LONGEST
            assert join(split(text)).lower() == text.lower()
    with pytest.raises(DataError, match="giraffe"):
        network.numbers("short", "a giraffe")


def test_evidence_has_the_stated_widths_also_for_a_picture_and_for_nothing(eyes, clips):
    picture = Clip(frames=clips[0].frames[:1], fps=12)
    for clip in (*clips, picture):
        found = evidence(eyes, sight(eyes, clip))
        assert {kind: value.shape[1] for kind, value in found.items()} == WIDTHS
        assert all(bool(value.isfinite().all()) for value in found.values())
    seen = sight(eyes, clips[0])
    found = evidence(eyes, replace(seen, rows=seen.rows[:0], colours=seen.colours[:0]))
    assert {kind: value.shape[1] for kind, value in found.items()} == WIDTHS
    assert len(found["tracks"]) == 0 and own().tell([found], ("short",))[0].keys() == {"short"}


def test_a_mirrored_clip_gives_mirrored_evidence(eyes):
    """What is computed from the mirrored rows is near what the mirrored clip itself gives."""
    clip, _, truth = record("tabletop", 8_000_002, Size(64, 64), num_frames=25)
    flipped = Clip(frames=np.ascontiguousarray(clip.frames[:, :, ::-1]), fps=clip.fps)
    a = evidence(eyes, sight(eyes, clip).mirrored())
    b = evidence(eyes, sight(eyes, flipped))
    plain = evidence(eyes, sight(eyes, clip))
    assert a["tracks"].shape == b["tracks"].shape
    way = slice(207, 211)  # the witness's motion
    assert torch.equal(a["tracks"][:, way].argmax(1), b["tracks"][:, way].argmax(1))
    assert not torch.equal(a["tracks"][:, way].argmax(1), plain["tracks"][:, way].argmax(1))
    assert {g["motion"] for g in truth["groups"]} & {"left", "right"}
    back = mirrored(mirrored(truth))
    assert back["groups"] == truth["groups"] and back["camera"] == truth["camera"]


def test_a_clips_caption_does_not_depend_on_its_neighbours(eyes, clips):
    told = own()
    seen = [evidence(eyes, sight(eyes, clip)) for clip in clips]
    together = told.tell(seen, ("short", "camera"), temperature=1.0, seeds=[4, 9])
    alone = [
        told.tell([one], ("short", "camera"), temperature=1.0, seeds=[s])[0]
        for one, s in zip(seen, (4, 9), strict=True)
    ]
    assert together == alone
    assert together[0]["short"] != together[1]["short"]
    assert told.tell([]) == []


def test_the_file_keeps_weights_words_and_what_was_measured(tmp_path, eyes, clips):
    one = own()
    one.network.half().float()
    one.accuracy = {"clips": 3}
    one.save(tmp_path / "captioner.safetensors")
    two = captioner.load(tmp_path / "captioner.safetensors")
    assert two.accuracy == {"clips": 3} and two.network.words == one.network.words
    seen = [evidence(eyes, sight(eyes, clips[0]))]
    assert set(two.tell(seen)[0]) == set(FIELDS)
    assert two.tell(seen) == captioner.load(tmp_path / "captioner.safetensors").tell(seen)
    with pytest.raises(NotFound, match="nowhere"):
        captioner.load(tmp_path / "nowhere.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"12")
    with pytest.raises(DataError, match="bad"):
        captioner.load(tmp_path / "bad.safetensors")
    with pytest.raises(DataError, match="no captioner"):
        captioner.load(reader.embedded_path())


def test_the_one_that_ships_tells_what_clips_show():
    """Far above luck on eight held-out clips; how good it is stands in docs/benchmarks.md."""
    path = captioner.embedded_path()
    assert path.stat().st_size < 6_000_000
    shipped = captioner.load(path)
    clips = [
        record("tabletop", seed, Size(64, 64), num_frames=25)
        for seed in range(8_000_100, 8_000_108)
    ]
    told = shipped.tell([shipped.read(clip) for clip, _, _ in clips], ("subject",))
    scores = summary(
        [score(one["subject"], truth) for one, (_, _, truth) in zip(told, clips, strict=True)]
    )
    assert scores["colour"] >= 0.75 and scores["shape"] >= 0.6 and scores["read"] == 1
