"""Prompts put in the captions' words: what is said stays what is said."""

import numpy as np
import pytest

from worldtube.errors import RequestError
from worldtube.text.rewrite import REWRITERS, Grammar, Unread, read, rewrite, tell
from worldtube.text.rewrite.endpoint import changed
from worldtube.text.rewrite.lexicon import COLOURS, GROUNDS, SHAPES, SIZES, SKIES
from worldtube.worlds.language import caption, invent, vocabulary
from worldtube.worlds.language.words import (
    CAMERA_WORDS,
    COLOUR_WORDS,
    GROUND_WORDS,
    SHAPE_WORDS,
    SIZE_WORDS,
    SKY_WORDS,
)

SAID = {
    "two tiny crimson spheres roll leftwards, fast": "Two small red balls roll quickly to the left.",
    "3 black balls, no motion": "Three black balls are still.",
    "four huge black orbs drop down": "Four large black balls fall.",
    "a white orb bumps into a yellow drum": "A white ball hits a yellow cylinder.",
    "little green cup moves to the right": "A small green cup moves to the right.",
    "a red and a blue ball roll to the right": "A red ball and a blue ball roll to the right.",
    "an orange cup falls off the table": "An orange cup falls off the edge.",
    "small white mug pours water into blue glass": "A small white cup pours water into a blue glass.",
    "a red sphere rolls rightwards on a wooden table": "A red ball rolls to the right. "
    "The scene is on a wooden table.",
    "three small boxes stacked, the camera orbits to the left": "Three small boxes are stacked "
    "on top of each other. The camera circles to the left.",
    "a red ball does not move, a blue ball rolls right": "A red ball is still and a blue ball rolls to the right.",
    "a crimson orb that is huge, it rolls leftwards": "A large red ball rolls to the left.",
    "Object: ball. Colour: red. Count: 2. Motion: right.": "Two red balls move to the right.",
    "falling: three cubes, small and red": "Three small red boxes fall.",
    "a tiny red cube is motionless on one yellow drum": "A small red box is still on top of a yellow cylinder.",
}


@pytest.mark.parametrize("prompt", SAID)
def test_a_prompt_is_told_in_plain_words(prompt):
    assert rewrite(prompt) == SAID[prompt]
    assert rewrite(SAID[prompt]) == SAID[prompt]  # and then stays


@pytest.mark.parametrize(
    "prompt",
    [
        "a dog runs in the park",
        "a red ball on the left",  # where it is, or where it goes to?
        "a ball rolls right then stops",
        "either a red ball or a blue ball falls",
        "a red ball falls and rolls to the right",  # no caption tells both
        "no red ball falls",
        "a red ball",
        "a red ball rolls to the right",  # a caption already
        "ein roter Ball rollt nach rechts",
        "",
        "pouring water into a glass",  # by whom?
        "stacking three boxes",
        "a red ball rolls to the right in slow motion",
        "slow motion of a red ball falling",
        "a crimson orb lazily rolls to the right",
        "will a crimson orb ever stop?",
        "a shiny red sphere rolls to the right",
        "a crimson orb rolls right behind a blue box",
        "a tiny red ball hits a blue box and falls",  # in that order
        "a tiny red ball falls, seen from above",
        "a tiny red ball and a blue box that falls",
        "a white orb bumps into a yellow drum and knocks it over",
        "a tiny red ball rolls to the right on the floor",
        "a row of three tiny red balls",
        "a tiny lemon falls",
        "most of the water spills out of a tiny cup",
        "rolling to the right, a tiny red ball and a huge box",
        "a tiny red ball 🔴 rolls to the right",
        "a tiny red ball rolls to the right (fast!)",
        "a tiny red ball rolls to the right. " * 20,
    ],
)
def test_what_is_not_understood_stays_as_it_is(prompt):
    assert rewrite(prompt) == prompt


def test_captions_are_read_as_the_facts_say():
    """What the reading takes from a recorder's caption is true, and it reads nearly all of them."""
    rng = np.random.default_rng(5)
    unread = wrong = total = 0
    for _ in range(150):
        truth = invent(rng)
        for length in ("short", "medium", "long"):
            total += 1
            text = caption(truth, length, rng)
            try:
                scene = read(text)
            except Unread:
                unread += 1
                continue
            for thing in scene.things:
                if thing.colour is None:  # "hits the box", of which no more was said
                    continue
                wrong += not any(
                    (thing.colour, thing.shape, thing.count)
                    == (g["colour"], g["shape"], g["count"])
                    and thing.size in (None, g["size"])
                    and thing.motion in (None, g["motion"])
                    for g in truth["groups"]
                )
            assert scene.ground in (None, truth["ground"]), text
            assert scene.sky in (None, truth["sky"]), text
            camera = truth["camera"]
            assert scene.camera in (None, (camera["kind"], camera["direction"])), text
    assert wrong == 0
    assert unread <= 0.02 * total


def test_rewriting_changes_no_fact():
    rng = np.random.default_rng(6)
    seen = 0
    for _ in range(150):
        text = caption(invent(rng), "medium", rng)
        try:
            before = read(text)
            after = read(tell(before))
        except Unread:
            continue
        seen += 1
        for thing in before.things:
            same = [
                t
                for t in after.things
                if (t.colour, t.shape, t.count, t.size)
                == (thing.colour, thing.shape, thing.count, thing.size)
            ]
            # "still left of a box": that the box is still too is plain
            motions = (thing.motion, None) if thing.motion == "rest" else (thing.motion,)
            assert any(t.motion in motions for t in same), (text, tell(before))
        assert (before.ground, before.sky, before.camera) == (after.ground, after.sky, after.camera)
    assert seen > 130


def test_what_is_told_are_the_captions_own_words():
    """The rewriter's values are the grammar's, though this room may not ask it."""
    assert set(COLOURS) == set(COLOUR_WORDS)
    assert set(SHAPES) == set(SHAPE_WORDS) and set(SIZES) == set(SIZE_WORDS)
    assert set(GROUNDS) == set(GROUND_WORDS) and set(SKIES) == set(SKY_WORDS)
    from worldtube.text.rewrite import telling

    assert set(telling.CAMERA) == set(CAMERA_WORDS)
    for what, told in CAMERA_WORDS.items():
        assert telling.CAMERA[what] in told
    words = {word.lower().strip(".,") for text in SAID.values() for word in text.split()}
    names = {"shiny", "plastic"}
    stop = {
        "a",
        "an",
        "the",
        "is",
        "are",
        "and",
        "then",
        "on",
        "of",
        "to",
        "two",
        "each",
        "other",
        "off",
        "over",
    }
    assert words - stop - names - {"into"} <= vocabulary() | {"scene", "edge", "top"}


@pytest.mark.parametrize(
    "prompt",
    [
        "a red ball bounces 3 times",
        "red ball bounces 3 times",
        "a red ball rolls to the right and bounces 4 times",
        "a red ball hits a blue box 2 times",
        "a red ball hits a blue box twice",
        "a small red ball rolls to the right between two blue boxes",
        "three red balls roll around a green box",
    ],
)
def test_how_often_and_between_what_is_not_how_many(prompt):
    assert rewrite(prompt) == prompt


def test_the_rewriters_are_listed():
    assert set(REWRITERS) == {"grammar", "endpoint"}
    assert isinstance(REWRITERS["grammar"](""), Grammar)
    with pytest.raises(RequestError, match="grammer"):
        rewrite("a red ball", "grammer")
    with pytest.raises(RequestError, match="MODEL@URL"):
        rewrite("a red ball", "endpoint:http://localhost")


def test_a_rewriters_slip_is_seen():
    assert changed("two red balls roll right", "Two red balls roll to the right.") == ""
    assert changed("two red balls roll right", "Two blue balls roll to the right.") == "blue, red"
    assert changed("two red balls roll right", "Two red balls roll to the left.") == "left, right"
    assert changed("two red balls roll right", "Three red balls roll to the right.") == "2, 3"


def test_an_endpoint_is_asked_and_held_to_the_prompt(chat_server):
    server = chat_server(
        ["A red ball rolls to the right.", "A red ball rolls to the left.", "A red ball rolls."]
    )
    by = f"endpoint:tiny@{server.url}"
    assert rewrite("red ball, going right", by) == "A red ball rolls to the right."
    assert rewrite("red ball, going right", by) == "red ball, going right"
    unread = "a red ball rolls, the camera pans slowly"
    assert rewrite(unread, by) == unread, "what cannot be compared stays as it is"
    asked = server.asked[0]
    assert asked["model"] == "tiny" and asked["messages"][-1]["content"] == "red ball, going right"
