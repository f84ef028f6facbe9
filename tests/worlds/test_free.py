"""The free writer says nothing that the facts do not hold, and says it in many ways."""

import re

import numpy as np
import pytest

from worldtube.worlds.language import invent, write_freely
from worldtube.worlds.language.free import COLOURS, SHAPES
from worldtube.worlds.language.words import TEMPLATES


def captions(count: int = 600):
    rng = np.random.default_rng(0)
    for n in range(count):
        truth = invent(rng, TEMPLATES[n % len(TEMPLATES)])
        yield truth, write_freely(truth, np.random.default_rng((1, n)))


def says(text: str, phrase: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(phrase)}(?![\w-])", text.lower()) is not None


def test_no_thing_is_invented():
    for truth, text in captions():
        colours = {group["colour"] for group in truth["groups"]}
        shapes = {group["shape"] for group in truth["groups"]}
        allowed = {word for colour in colours for word in COLOURS[colour]}
        for colour, words in COLOURS.items():
            for word in set(words) - allowed if colour not in colours else ():
                inside = any(word in other for other in allowed)
                backdrop = "green" in word and "mint" in text.lower()
                assert inside or backdrop or not says(text, word), (word, text)
        for shape in set(SHAPES) - shapes:
            for singular, plural in SHAPES[shape]:
                plain = re.sub(r"(?i)can you", "", text)
                assert not (says(plain, singular) or says(plain, plural)), (shape, text)


def test_directions_are_true():
    """Rightwards is said of things, relations or a camera that have to do with it."""
    for truth, text in captions():
        told = {group["motion"] for group in truth["groups"]}
        relations = " ".join(r["relation"] for r in truth.get("relations") or ())
        camera = truth.get("camera") or {}
        for word in ("rightward", "rightwards", "leftward", "leftwards"):
            if says(text, word):
                assert word.removesuffix("s").removesuffix("ward") in told, text
        for side, other in (("right", "left"), ("left", "right")):
            known = side in told or other in told or side in relations
            if not known and camera.get("direction") != side:
                assert not says(text, f"to the {side}"), text


def test_numbers_are_true():
    words = {2: ("two", "pair", "couple"), 3: ("three", "trio"), 4: ("four",)}
    for truth, text in captions():
        counts = {group["count"] for group in truth["groups"]}
        for number, names in words.items():
            if number not in counts:
                assert not any(says(text, name) for name in names), text


def test_same_arguments_same_words_and_others_differ():
    truth = invent(np.random.default_rng(5), "collide")
    assert write_freely(truth, np.random.default_rng(1)) == write_freely(
        truth, np.random.default_rng(1)
    )
    assert len({write_freely(truth, np.random.default_rng(n)) for n in range(300)}) > 280


@pytest.mark.parametrize("template", TEMPLATES)
def test_no_template_is_without_words(template):
    for n in range(40):
        text = write_freely(invent(np.random.default_rng(n), template), np.random.default_rng(n))
        assert 2 <= len(text.split()) <= 70
        assert "{" not in text
        assert "  " not in text


def test_a_cup_that_is_poured_from_neither_stands_nor_rests():
    rests = ("stands", "standing", "still", "motionless", "not moving", "on the table", "sits")
    told = 0
    for n in range(300):
        truth = invent(np.random.default_rng(n), "pour")
        if len(truth["groups"]) > 1:
            continue
        text = write_freely(truth, np.random.default_rng(n)).lower()
        told += "water" in text
        assert not any(word in text for word in rests), text
    assert told > 50
