"""Pictures of every shape are shown to the reader as it learned to see them, and scores fall where clips are wrong."""

import json

import numpy as np
import pytest
from replay import Replay

from worldtube import reader
from worldtube.errors import RequestError
from worldtube.evaluate import sizes
from worldtube.evaluate.adherence import of_truth, score, summary
from worldtube.evaluate.sizes import DURATIONS, SIZES, square
from worldtube.video import Clip, Size


def test_settings_are_those_of_the_training_and_three_others() -> None:
    assert len({str(one.size) for one in SIZES}) == 7
    assert sum(not one.trained for one in SIZES) == sum(not one.trained for one in DURATIONS) == 3
    assert len(DURATIONS) >= 5
    assert set(SIZES) & set(DURATIONS) == {SIZES[0]}


def test_a_square_is_as_high_as_the_picture() -> None:
    frames = np.arange(8, dtype=np.uint8)[None, None, :, None].repeat(4, 1).repeat(3, 3)
    wide, high = (Clip(frames=f, fps=12.0) for f in (frames, frames.transpose(0, 2, 1, 3)))
    assert square(wide).frames[0, 0, :, 0].tolist() == [2, 3, 4, 5]
    told = square(Clip(frames=frames[:, :, :2], fps=12.0))
    assert told.frames[0, 0, :, 0].tolist() == [0, 0, 1, 1]
    assert square(high).size == Size(8, 8)


@pytest.fixture(scope="module")
def record():
    return pytest.importorskip("worldtube.worlds.record", reason="needs the extra worlds").record


@pytest.mark.parametrize("size", [Size(96, 64), Size(64, 80)], ids=str)
def test_the_reader_is_right_on_true_clips_of_other_shapes(record, size: Size) -> None:
    eyes, whole, squeezed = reader.load(), [], []
    for seed in range(8_000_500, 8_000_504):
        clip, _, truth = record("tabletop", seed, size, num_frames=13)
        whole.append(score(of_truth(truth), eyes.read(square(clip))))
        squeezed.append(score(of_truth(truth), eyes.read(clip)))
    assert summary(whole)["colour_shape"] >= 0.85
    assert summary(whole)["colour_shape"] >= summary(squeezed)["colour_shape"]


@pytest.mark.parametrize("right", [True, False])
def test_scores_follow_the_clips(tmp_path, record, monkeypatch, right: bool) -> None:
    monkeypatch.setattr(sizes, "SIZES", SIZES[:1])
    monkeypatch.setattr(
        sizes, "DURATIONS", (sizes.Setting(size=Size(64, 64), num_frames=13, trained=False),)
    )
    clip, _, truth = record("tabletop", 8_000_037, Size(64, 64))
    path = tmp_path / "prompts.jsonl"
    path.write_text(json.dumps({"prompt": "scene", "facts": list(of_truth(truth).facts)}))
    frames = clip.frames if right else np.roll(clip.frames, 1, -1)
    told = []
    result = sizes.measure(
        Replay({"scene": frames}),
        prompts=path,
        progress=lambda done, total: told.append((done, total)),
    )
    assert told[-1] == (4, 4)
    assert list(result["sizes"]) == ["64x64 25 frames"]
    assert list(result["durations"]) == ["64x64 13 frames"]
    for row in (*result["sizes"].values(), *result["durations"].values()):
        assert row["colour_shape"] == right and row["colour_shape_reader"] == 1
    assert result["trained_sizes"] == result["other_durations"] == right
    assert result["other_sizes"] is None
    json.dumps(result)


def test_it_refuses_what_it_cannot_use() -> None:
    model = Replay({"x": np.zeros((1, 64, 64, 3), np.uint8)})
    with pytest.raises(RequestError, match="count 0"):
        sizes.measure(model, count=0)
    with pytest.raises(RequestError, match="2 seeds"):
        sizes.measure(model, count=3, seeds=range(2))
