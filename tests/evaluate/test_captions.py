"""Captions held against facts: true ones pass whole, and each kind of mistake shows under its name."""

import numpy as np
import pytest

from worldtube.evaluate.captions import KEYS, compare, score, summary
from worldtube.worlds.language import FIELDS, fields, invent

TRUTH = {
    "world": "tabletop",
    "template": "collide",
    "groups": [
        {
            "count": 1,
            "colour": "red",
            "shape": "ball",
            "size": "large",
            "motion": "right",
            "objects": [0],
        },
        {
            "count": 1,
            "colour": "blue",
            "shape": "box",
            "size": "small",
            "motion": "rest",
            "objects": [1],
        },
    ],
    "relations": [{"a": 0, "relation": "into", "b": 1}],
    "event": "toppled",
    "events": [
        {"kind": "hit", "seconds": 0.5, "a": 0, "b": 1},
        {"kind": "toppled", "seconds": 0.9, "a": 1, "b": None},
    ],
    "objects": [],
    "camera": {"kind": "orbit", "direction": "left"},
    "ground": "wood",
    "sky": "day",
}
RIGHT = (
    "A large red ball rolls to the right and hits a small blue box, then the box falls over. "
    "The scene is on a wooden table under a pale sky. The camera circles to the left."
)


def test_a_true_caption_is_right_in_all():
    scores = score(RIGHT, TRUTH)
    assert all(all(scores[key]) for key in scores)
    assert {key: len(scores[key]) for key in KEYS} == {
        "colour": 2,
        "shape": 2,
        "count": 2,
        "size": 2,
        "motion": 1,
        "order": 1,
        "background": 2,
        "camera": 1,
    }


@pytest.mark.parametrize(
    ("true", "told", "key"),
    [
        ("red ball", "green ball", "colour"),
        ("blue box", "blue cup", "shape"),
        ("a small blue box", "two small blue boxes", "count"),
        ("large", "small", "size"),
        ("rolls to the right", "rolls to the left", "motion"),
        (
            "hits a small blue box, then the box falls over",
            "falls over, then the ball hits a small blue box",
            "order",
        ),
        ("a wooden table", "a tiled table", "background"),
        ("circles to the left", "circles to the right", "camera"),
    ],
)
def test_a_mistake_shows_under_its_name(true, told, key):
    text = RIGHT.replace(true, told, 1)
    assert text != RIGHT
    scores = score(text, TRUTH)
    assert not all(scores[key]), text
    assert all(all(scores[other]) for other in KEYS if other not in (key, "order")), text


def test_a_thing_that_is_not_there_is_wrong_and_one_left_out_is_not_told():
    more = score("A red ball, a blue box and a green cup are still.", TRUTH)
    assert more["colour"] == [True, True, False]
    less = score("A red ball rolls to the right.", TRUTH)
    assert less["things"] == [True, False] and less["events"] == [False, False]
    assert score("Lorem ipsum.", TRUTH)["read"] == [False]


def test_the_grammars_own_captions_are_read_as_true():
    """The control: what is lost here is lost by the reading, not by a captioner."""
    rng = np.random.default_rng(3)
    truths = [invent(rng) for _ in range(120)]
    told = [fields(truth, rng) for truth in truths]
    result = compare(told, truths)
    assert set(result["fields"]) == set(FIELDS)
    for key in ("colour", "shape", "count", "size", "motion", "background", "camera", "read"):
        assert result[key] >= 0.99, (key, result[key])
    assert result["order"] >= 0.9
    assert result["no_text"]["colour"] < 0.4
    assert summary([])["colour"] is None
