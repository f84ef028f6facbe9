"""Facts are scored as stated, controls are near chance, and a model that shows the truth scores high."""

import json

import numpy as np
import pytest
from replay import Replay

from worldtube import reader
from worldtube.errors import DataError, NotFound, RequestError
from worldtube.evaluate import adherence
from worldtube.evaluate.adherence import Line, of_truth, read_prompts, score, summary, wilson
from worldtube.reader import Reading, Thing
from worldtube.reader.tracks import Track
from worldtube.video import Clip, Size


def _reading(*things: tuple[str, str, str, str], event: str | None = None) -> Reading:
    return Reading(
        things=tuple(
            Thing(colour=c, shape=s, size=z, motion=m, track=Track()) for c, s, z, m in things
        ),
        event=event,
        tracks=(),
        num_frames=25,
        water=np.zeros(25),
        stain=np.zeros(25),
    )


RED_BALL = {"count": 1, "colour": "red", "shape": "ball", "size": "small", "motion": "left"}


def test_everything_right() -> None:
    line = Line(prompt="x", facts=(RED_BALL,), event="hit")
    told = score(line, _reading(("red", "ball", "small", "left"), event="hit"))
    assert all(value == [True] for value in told.values())


def test_a_thing_that_is_absent_makes_all_its_facts_wrong() -> None:
    told = score(Line(prompt="x", facts=(RED_BALL,)), _reading(("red", "box", "small", "left")))
    assert told["colour"] == [True]
    assert told["shape"] == told["colour_shape"] == told["count"] == [False]
    assert told["motion"] == told["size"] == [False]
    assert told["event"] == []  # not stated


def test_colours_and_shapes_are_bound() -> None:
    """A blue ball and a red box are no red ball, although red and ball are both there."""
    reading = _reading(("blue", "ball", "small", "left"), ("red", "box", "small", "left"))
    told = score(Line(prompt="x", facts=(RED_BALL,)), reading)
    assert told["colour"] == told["shape"] == [True]
    assert told["colour_shape"] == [False]


def test_count_is_of_the_group() -> None:
    pair = _reading(*[("red", "ball", "small", "left")] * 2, ("blue", "ball", "small", "left"))
    assert score(Line(prompt="x", facts=(RED_BALL,)), pair)["count"] == [False]
    assert score(Line(prompt="x", facts=(RED_BALL | {"count": 2},)), pair)["count"] == [True]


def test_size_and_motion_are_those_of_most_of_the_group() -> None:
    reading = _reading(
        ("red", "ball", "small", "left"),
        ("red", "ball", "small", "left"),
        ("red", "ball", "large", "rest"),
    )
    told = score(Line(prompt="x", facts=(RED_BALL,)), reading)
    assert told["motion"] == told["size"] == [True]


def test_absent_fields_are_not_scored() -> None:
    told = score(
        Line(prompt="x", facts=({"colour": "red"},)), _reading(("red", "cup", "small", "rest"))
    )
    assert {key: len(value) for key, value in told.items() if value} == {
        "colour": 1,
        "colour_shape": 1,
    }


def test_wilson_knows_its_textbook_value() -> None:
    assert wilson(8, 10) == [0.4902, 0.9433]
    assert wilson(0, 0) is None
    low, high = wilson(10, 10)
    assert low == pytest.approx(0.7225, abs=1e-3) and high == 1.0


def test_embedded_prompts_are_readable_and_many() -> None:
    lines = read_prompts(adherence.embedded_prompts())
    assert len(lines) == 200
    assert all(line.facts for line in lines)


@pytest.mark.parametrize(
    "text",
    [
        "not json",
        '{"facts": []}',
        '{"prompt": " "}',
        '{"prompt": "a", "facts": [{"colour": "pink"}]}',
        '{"prompt": "a", "facts": [{"hue": "red"}]}',
        '{"prompt": "a", "facts": [{"count": 0}]}',
        '{"prompt": "a", "event": "explodes"}',
        '{"prompt": "a", "facts": "red"}',
        "",
    ],
)
def test_bad_prompts_are_refused_by_name(tmp_path, text: str) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text(text)
    with pytest.raises((DataError, RequestError), match=r"prompts\.jsonl"):
        read_prompts(path)


def test_a_missing_file_is_told(tmp_path) -> None:
    with pytest.raises(NotFound, match=r"none\.jsonl"):
        read_prompts(tmp_path / "none.jsonl")


@pytest.fixture(scope="module")
def true_clips():
    """Twelve true clips of held-out seeds with their facts."""
    record = pytest.importorskip("worldtube.worlds.record", reason="needs the extra worlds").record
    out = []
    for i in range(12):
        clip, _, truth = record(
            ("tabletop", "tabletop", "pour")[i % 3], 8_000_400 + i, Size(64, 64)
        )
        out.append((clip, of_truth(truth)))
    return out


def _prompts(path, true_clips):
    with path.open("w") as file:
        for i, (_, line) in enumerate(true_clips):
            told = {"prompt": f"scene {i}", "facts": list(line.facts), "event": line.event}
            file.write(json.dumps(told) + "\n")
    return path


def test_true_clips_score_high_and_other_clips_near_chance(tmp_path, true_clips) -> None:
    path = _prompts(tmp_path / "true.jsonl", true_clips)
    names = [f"scene {i}" for i in range(len(true_clips))]
    clips = [clip.frames for clip, _ in true_clips]
    told = []
    result = adherence.measure(
        Replay(dict(zip(names, clips, strict=True))),
        prompts=path,
        progress=lambda done, total: told.append((done, total)),
    )
    assert told[-1] == (12, 12)
    assert min(result["colour_shape"], result["count"], result["motion"]) >= 0.85
    assert result["no_text"]["colour_shape"] < 0.35
    shifted = adherence.measure(
        Replay(dict(zip(names, clips[5:] + clips[:5], strict=True))), prompts=path
    )
    assert shifted["colour_shape"] < 0.35 < result["colour_shape"]
    json.dumps(result)


def test_count_is_honoured(tmp_path, true_clips) -> None:
    path = _prompts(tmp_path / "true.jsonl", true_clips)
    model = Replay({f"scene {i}": clip.frames for i, (clip, _) in enumerate(true_clips)})
    assert adherence.measure(model, prompts=path, count=3)["prompts"] == 3
    with pytest.raises(RequestError, match="count 0"):
        adherence.measure(model, prompts=path, count=0)
    with pytest.raises(RequestError, match="2 seeds"):
        adherence.measure(model, prompts=path, count=3, seeds=range(2))


def test_reader_is_mostly_right_on_true_clips(true_clips) -> None:
    eyes = reader.load()
    scores = summary([score(line, eyes.read(clip)) for clip, line in true_clips])
    for key in ("colour", "shape", "colour_shape", "count", "motion"):
        assert scores[key] >= 0.85, (key, scores)
    assert eyes.accuracy["colour"] >= 0.97


def test_reader_takes_any_size_and_rate(true_clips) -> None:
    clip, _ = true_clips[0]
    twice = Clip(frames=clip.frames.repeat(2, 0).repeat(2, 1).repeat(2, 2), fps=24.0)
    eyes = reader.load()
    a, b = eyes.read(clip), eyes.read(twice)
    assert b.num_frames in (25, 26)
    assert [(g.colour, g.shape, g.count) for g in a.groups] == [
        (g.colour, g.shape, g.count) for g in b.groups
    ]
    still = eyes.read(Clip(frames=clip.frames[:1], fps=12.0))
    assert {g.colour for g in still.groups} == {g.colour for g in a.groups}


def test_nothing_is_read_where_nothing_is() -> None:
    reading = reader.load().read(Clip(frames=np.full((25, 64, 64, 3), 127, np.uint8), fps=12.0))
    assert reading.things == () and reading.event is None


def test_halves_of_a_clip_made_by_way_of_its_state_are_measured(tmp_path):
    """The same states drawn by the engine and by the network, and what the states say."""
    pytest.importorskip("mujoco", reason="the worlds extra is not installed")
    from worldtube.generate.session import load

    path = tmp_path / "prompts.jsonl"
    fact = {"count": 1, "colour": "red", "shape": "ball", "motion": "rest"}
    path.write_text(json.dumps({"prompt": "a red ball lies still", "facts": [fact]}) + "\n")
    model = load().model
    learned = adherence.measure(model, prompts=path)
    drawn = adherence.measure(model, prompts=path, renderer="engine")
    assert learned["clips_with_state"] == drawn["clips_with_state"] == 1
    assert learned["state"] == drawn["state"] and drawn["renderer"] == "engine"
    assert learned["state"]["colour_shape"] == 1.0
    assert "state" not in adherence.measure(model, prompts=path, no_state=True)
