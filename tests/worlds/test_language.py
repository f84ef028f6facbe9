"""The captions: true to the facts, grammatical, varied, the same for the same generator."""

import re

import numpy as np
import pytest

from worldtube.errors import DataError
from worldtube.worlds.language import LENGTHS, caption, invent, vocabulary
from worldtube.worlds.language import words as tables
from worldtube.worlds.language.words import SHAPE_WORDS, TEMPLATES

NOUNS = {shape: {word for pair in pairs for word in pair} for shape, pairs in SHAPE_WORDS.items()}
NOUNS["cup"] |= {"glass", "glasses"}
PLURALS = {plural for pairs in SHAPE_WORDS.values() for _, plural in pairs} | {"glasses"}
MOTION_WORDS = {
    "right": ("right",),
    "left": ("left",),
    "fall": ("fall", "drop", "come down", "comes down", "coming down"),
    "rest": (
        "still",
        "rest",
        "motionless",
        "not mov",
        "in place",
        "sit",
        "does not",
        "do not",
        "stack",
    ),
}


def words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


def check_form(text: str) -> None:
    assert "None" not in text and "  " not in text and "{" not in text and text == text.strip(), (
        text
    )
    assert ",," not in text and " ," not in text and ".." not in text and " ." not in text, text
    for article, following in re.findall(r"\b(an?) (\w+)", text.lower()):
        assert (article == "an") == (following[0] in "aeiou"), text
    assert not re.search(r"\b(\w+) \1\b", text.lower()), text
    assert not re.search(r"\b(it|a \w+) are\b|\bthey is\b", text.lower()), text


def check_first_group(text: str, truth: dict) -> None:
    group, said = truth["groups"][0], set(words(text))
    assert group["colour"] in said, text
    nouns = NOUNS[group["shape"]] & said
    assert nouns, text
    if group["count"] > 1:
        number = {tables.COUNT_WORDS[group["count"]][0], str(group["count"])}
        assert number & said, text
        assert nouns & PLURALS, text
    elif all(one["count"] == 1 for one in truth["groups"]):
        assert not said & PLURALS, text
    poured = truth["template"] == "pour"  # the motion is the water's
    assert poured or any(part in text.lower() for part in MOTION_WORDS[group["motion"]]), text


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("template", TEMPLATES)
def test_every_template_is_told_well(template, length):
    rng = np.random.default_rng(5)
    counts = []
    for _ in range(60):
        truth = invent(rng, template)
        text = caption(truth, length, rng)
        check_form(text)
        check_first_group(text, truth)
        counts.append(len(text.split()))
    least, most = LENGTHS[length]
    assert least - 2 <= min(counts) and max(counts) <= most + 2
    assert np.mean([least <= count <= most for count in counts]) > 0.95


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("motion", tables.MOTIONS)
@pytest.mark.parametrize("count", [1, 2])
def test_verbs_agree_with_the_count(count, motion, length):
    """No "two balls rolls", no "a ball roll"; "one of the balls falls" is right."""
    verbs = [verb for verb in vars(tables).values() if isinstance(verb, tables.Verb)]
    verbs += [
        *tables.RESTS,
        *(verb for pairs in tables.EVENT_VERBS.values() for verb, _ in pairs),
    ]
    wrong = {(verb.plural if count == 1 else verb.third).split()[0] for verb in verbs}
    right = {(verb.third if count == 1 else verb.plural).split()[0] for verb in verbs}
    nouns = {pair[count > 1] for pairs in SHAPE_WORDS.values() for pair in pairs}
    bad = re.compile(rf"(?<!one of the )\b({'|'.join(nouns)}) ({'|'.join(wrong - right)})\b")
    rng = np.random.default_rng(11)
    for shape in SHAPE_WORDS:
        for template in (None, "throw", "roll", "slide"):
            group = {"count": count, "colour": "orange", "shape": shape, "motion": motion}
            truth = {"world": "tabletop", "template": template, "groups": [group]}
            for _ in range(12):
                text = caption(truth, length, rng)
                assert not bad.search(text), text
                check_form(text)


def test_facts_that_are_absent_are_not_said():
    rng = np.random.default_rng(3)
    group = {"count": 1, "colour": "red", "shape": "ball", "motion": "right"}
    unsaid = {
        "slowly",
        "quickly",
        "small",
        "large",
        "rubber",
        "sky",
        "water",
        "camera",
        "left-hand",
    }
    for _ in range(100):
        assert not unsaid & set(words(caption({"groups": [group]}, "long", rng)))


def test_one_of_several_falls_off():
    group = {"count": 3, "colour": "blue", "shape": "box", "motion": "right", "objects": [0, 1, 2]}
    truth = {
        "template": "edge",
        "groups": [group],
        "event": "fell_off",
        "events": [{"kind": "fell_off", "seconds": 1.0, "a": 2, "b": None}],
    }
    texts = [caption(truth, "medium", np.random.default_rng(i)) for i in range(20)]
    assert all("one of the" in text.lower() for text in texts)
    truth["events"] += [{"kind": "fell_off", "seconds": 1.2, "a": i, "b": None} for i in (0, 1)]
    texts = [caption(truth, "medium", np.random.default_rng(i)) for i in range(20)]
    assert not any("one of the" in text.lower() for text in texts)


def test_water_is_told_by_its_share():
    truth = {
        "world": "pour",
        "template": "knock",
        "groups": [
            {"count": 1, "colour": "red", "shape": "ball", "motion": "right", "objects": [0]},
            {
                "count": 1,
                "colour": "blue",
                "shape": "cup",
                "material": "glass",
                "motion": "rest",
                "objects": [1],
            },
        ],
        "relations": [{"a": 0, "relation": "towards", "b": 1}],
        "event": "spilled",
        "events": [
            {"kind": "hit", "seconds": 0.5, "a": 0, "b": 1},
            {"kind": "tipped", "seconds": 0.8, "a": 1, "b": None},
            {"kind": "spilled", "seconds": 1.0, "a": 1, "b": None},
        ],
    }
    for share, accepted in (
        (0.97, ("all the water", "the water")),
        (0.7, ("most of", "a lot")),
        (0.05, ("little",)),
    ):
        for i in range(20):
            text = caption(
                {**truth, "spilled_fraction": share}, "long", np.random.default_rng(i)
            ).lower()
            assert any(word in text for word in accepted), text
    # what happens is told in the order in which it happens
    for i in range(20):
        text = caption(truth, "long", np.random.default_rng(i)).lower()
        assert text.rindex("spill" if "spill" in text else "runs out") > text.index("blue"), text


def test_medium_captions_vary():
    truth = invent(np.random.default_rng(1), "slide")
    assert len({caption(truth, "medium", np.random.default_rng(i)) for i in range(60)}) >= 30


def test_same_generator_same_words():
    for template in TEMPLATES:
        truth = invent(np.random.default_rng(2), template)
        for length in LENGTHS:
            one, two = (caption(truth, length, np.random.default_rng(9)) for _ in range(2))
            assert one == two


def test_facts_are_not_changed():
    truth = invent(np.random.default_rng(2), "knock")
    before = repr(truth)
    caption(truth, "long", np.random.default_rng(0))
    assert repr(truth) == before


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"camera": {"kind": "fixed", "lens": 35}}, "lens"),
        ({"template": "explode"}, "explode"),
        ({"event": "vanished"}, "vanished"),
        ({"ground": "lava"}, "lava"),
        ({"camera": {"kind": "drone", "direction": None}}, "drone"),
        ({"relations": [{"a": 0, "relation": "inside", "b": 0}]}, "inside"),
        ({"relations": [{"a": 0, "relation": "behind", "b": 7}]}, "7"),
        ({"groups": []}, "groups"),
        ({"groups": [{"count": 1, "colour": "red", "shape": "ball"}]}, "motion"),
        ({"groups": [{"count": 1, "colour": "mauve", "shape": "ball", "motion": "rest"}]}, "mauve"),
        ({"groups": [{"count": 99, "colour": "red", "shape": "ball", "motion": "rest"}]}, "99"),
        ({"events": [{"kind": "hit", "seconds": 0.0, "a": 50, "b": 0}]}, "50"),
        ({"spilled_fraction": 3.0}, "3.0"),
    ],
)
def test_unknown_facts_are_refused_by_name(change, named):
    truth = {**invent(np.random.default_rng(4), "roll"), **change}
    with pytest.raises(DataError, match=re.escape(named)):
        caption(truth, "medium", np.random.default_rng(0))


def test_unknown_length_is_refused():
    with pytest.raises(DataError, match="short, medium, long"):
        caption(invent(np.random.default_rng(4), "roll"), "epic", np.random.default_rng(0))


def test_words_agree_with_the_worlds():
    world = pytest.importorskip("worldtube.worlds.world")
    assert tuple(tables.COLOUR_WORDS) == world.COLOURS
    assert tuple(SHAPE_WORDS) == world.SHAPES
    assert tuple(tables.SIZE_WORDS) == world.SIZES
    assert world.MOTIONS == tables.MOTIONS


def test_vocabulary_holds_content_words():
    known = vocabulary()
    assert {"red", "ball", "rolls", "slowly", "table", "cup", "spills", "camera"} <= known
    assert not {"the", "a", "is", "horse", "astronaut"} & known
