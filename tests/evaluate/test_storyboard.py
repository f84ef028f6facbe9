"""The same things in all shots agree; colours that swap across a cut, and things that come and go, do not."""

import json

import numpy as np
import pytest
from replay import Replay

from worldtube.errors import DataError, NotFound, RequestError
from worldtube.evaluate import storyboard
from worldtube.evaluate.storyboard import Script, agree, cut, read_scripts, shares
from worldtube.generate.tasks import TASKS
from worldtube.reader import Reading, Thing
from worldtube.reader.tracks import Track
from worldtube.video import Size
from worldtube.worlds.world import HELD_OUT

RED_BALL = {"count": 1, "colour": "red", "shape": "ball"}
BLUE_BOX = {"count": 1, "colour": "blue", "shape": "box"}


def _reading(*things: tuple[str, str]) -> Reading:
    return Reading(
        things=tuple(
            Thing(colour=c, shape=s, size="small", motion="rest", track=Track()) for c, s in things
        ),
        event=None,
        tracks=(),
        num_frames=25,
        water=np.zeros(25),
        stain=np.zeros(25),
    )


BOTH = _reading(("red", "ball"), ("blue", "box"))
SCRIPT = Script(shots=("a", "b"), facts=(RED_BALL, BLUE_BOX))


def test_the_same_things_agree() -> None:
    told = agree(SCRIPT, [BOTH, BOTH, _reading(("blue", "box"), ("red", "ball"), ("white", "cup"))])
    assert all(value == [True] * 4 for value in told.values())


def test_swapped_colours_are_caught() -> None:
    told = agree(SCRIPT, [BOTH, _reading(("blue", "ball"), ("red", "box"))])
    assert told["colour"] == told["all"] == [False, False]
    assert told["shape"] == told["count"] == [True, True]


def test_a_changed_shape_or_number_is_caught() -> None:
    script = Script(shots=("a", "b"), facts=(RED_BALL,))
    told = agree(script, [_reading(("red", "ball")), _reading(("red", "cup"))])
    assert told == {"colour": [True], "shape": [False], "count": [True], "all": [False]}
    told = agree(script, [_reading(("red", "ball")), _reading(*[("red", "ball")] * 2)])
    assert told == {"colour": [True], "shape": [True], "count": [False], "all": [False]}


def test_what_is_wrong_in_all_shots_agrees_but_what_is_in_none_does_not() -> None:
    script = Script(shots=("a", "b"), facts=(RED_BALL,))
    orange, nothing = _reading(("orange", "ball")), _reading()
    assert all(value == [True] for value in agree(script, [orange, orange]).values())
    assert all(value == [False] for value in agree(script, [nothing, nothing]).values())
    assert all(value == [False] for value in agree(script, [orange, nothing]).values())


def test_shares_are_of_all_things_and_cuts() -> None:
    told = shares([agree(SCRIPT, [BOTH, BOTH]), agree(SCRIPT, [BOTH, _reading(("red", "ball"))])])
    assert told["all"]["agree"] == 0.75 and told["all"]["of"] == 4
    assert shares([])["all"]["agree"] is None


def test_embedded_scripts_name_the_same_things_in_every_shot() -> None:
    scripts = read_scripts(storyboard.embedded_scripts())
    assert len(scripts) == 50
    for script in scripts:
        assert len(script.shots) == 3
        for fact in script.facts:
            assert all(fact["colour"] in words and fact["shape"] in words for words in script.shots)
    named = [(fact["colour"], fact["shape"]) for one in scripts for fact in one.facts]
    assert sum(pair in HELD_OUT for pair in named) >= 20
    assert {pair for pair in named if pair in HELD_OUT} == HELD_OUT


@pytest.mark.parametrize(
    "text",
    [
        "not json",
        '{"shots": ["one"]}',
        '{"shots": ["one", " "]}',
        '{"shots": ["one", "two"], "facts": [{"colour": "pink"}]}',
        "",
    ],
)
def test_bad_scripts_are_refused_by_name(tmp_path, text: str) -> None:
    path = tmp_path / "scripts.jsonl"
    path.write_text(text)
    with pytest.raises((DataError, RequestError), match=r"scripts\.jsonl"):
        read_scripts(path)
    with pytest.raises(NotFound, match=r"none\.jsonl"):
        read_scripts(tmp_path / "none.jsonl")


def test_shots_are_cut_where_the_request_says() -> None:
    request = TASKS["storyboard"]("a", "b", seconds=(1.0, 2.0))
    shots = cut(Replay({}), request, np.zeros((36, 64, 64, 3), np.uint8), 12.0)
    assert [shot.num_frames for shot in shots] == [12, 24]


@pytest.fixture(scope="module")
def episode():
    """Three true shots of an episode with one kind of thing, and its facts."""
    record = pytest.importorskip("worldtube.worlds.record", reason="needs the extra worlds").record
    shots = [record("tabletop", 8_000_037, Size(64, 64), shot=shot) for shot in range(3)]
    facts = [
        {key: group[key] for key in ("count", "colour", "shape")} for group in shots[0][2]["groups"]
    ]
    return [clip.frames for clip, _, _ in shots], facts


def _measure(path, shots, facts) -> dict:
    path.write_text(json.dumps({"shots": ["one", "two", "three"], "facts": facts}))
    model = Replay(dict(zip(("one", "two", "three"), shots, strict=True)), shots=True)
    told = []
    result = storyboard.measure(
        model, prompts=path, progress=lambda done, total: told.append((done, total))
    )
    assert told[-1] == (2, 2)
    json.dumps(result)
    return result


def test_true_shots_agree_and_a_recoloured_one_does_not(tmp_path, episode) -> None:
    shots, facts = episode
    path = tmp_path / "scripts.jsonl"
    good = _measure(path, shots, facts)
    assert good["across_cuts"]["all"]["agree"] == 1
    assert good["words"]["colour_shape"]["score"] == 1
    bad = _measure(path, [shots[0], shots[1], np.roll(shots[2], 1, -1)], facts)
    assert bad["across_cuts"]["colour"]["agree"] == 0.5
    assert bad["words"]["colour_shape"]["score"] < 1
