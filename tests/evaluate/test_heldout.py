"""Held-out prompts in other languages: every fourth English one with its facts, and words that say these facts."""

import re
from collections import Counter

import pytest

from worldtube.errors import RequestError
from worldtube.evaluate.adherence import PROMPTS, Line, embedded_prompts, read_prompts
from worldtube.worlds.world import COLOURS, MOTIONS, SHAPES, SIZES

LANGUAGES = ("de", "es", "fr", "zh")
WATER = ("poured", "spilled", "tipped", "missed", "upright")
"""Events that only glasses of water have."""
ENGLISH = frozenset(
    {"the", "of", "and", "is", "are", "to", "by", "i", "left", "right", "two", "three", "four"}
    | {"green", "blue", "yellow", "white", "black", "purple"}
    | {"cup", "cups", "balls", "bricks", "cylinder", "cylinders"}
)
"""English words that no other language here has; "ball" is German too, "a" and "cube" French, "red" Spanish."""
WORDS = {
    "de": {
        "colour": {
            "red": r"\b(scharlach)?rote?[rsnm]?\b",
            "orange": r"\borange",
            "yellow": r"\bgelb",
            "green": r"\bgrün",
            "blue": r"\bblau",
            "purple": r"\b(lila|violett)",
            "white": r"weiß",
            "black": r"schwarz",
        },
        "shape": {
            "ball": r"\b(ball\b|bälle|kugel)",
            "box": r"(kiste|box|\bwürfel|\bklötze|ziegel)",
            "cylinder": r"(zylinder|\btonne|\bfass|\bdose)",
            "cup": r"(\bbecher|tasse)",
        },
        "size": {"small": r"\b(klein|winzig|mini)", "large": r"\b(groß|übergroß|riesig|riesen)"},
        "motion": {"left": r"\blinks\b", "right": r"\brechts\b"},
        "number": {2: r"\b(zwei|2x?|paar)\b|x2\b", 3: r"\b(drei|3x?)\b", 4: r"\b(vier|4)\b"},
    },
    "es": {
        "colour": {
            "red": r"\broj[oa]",
            "orange": r"\bnaranja",
            "yellow": r"\bamarill",
            "green": r"\bverde",
            "blue": r"\bazul(es)?\b",
            "purple": r"\b(morad|violeta)",
            "white": r"\bblanc",
            "black": r"\bnegr",
        },
        "shape": {
            "ball": r"\b(bolas?|pelot|esfera)",
            "box": r"\b(caj|cubo|bloque|ladrillo)",
            "cylinder": r"\b(cilindro|barril|bidón|lata)",
            "cup": r"\b(taz|tacita|vaso)",
        },
        "size": {
            "small": r"\b(pequeñ|diminut|miniatura|chiquit|cajita|tacita|pelotita)",
            "large": r"\b(grande|grandot|enorme|gigante)",
        },
        "motion": {"left": r"\bizquierda\b", "right": r"\bderecha\b"},
        "number": {2: r"\b(dos|2|par)\b|x2\b", 3: r"\b(tres|3)\b|x3\b", 4: r"\b(cuatro|4)\b"},
    },
    "fr": {
        "colour": {
            "red": r"\brouge",
            "orange": r"\borange",
            "yellow": r"\bjaune",
            "green": r"\bverte?s?\b",
            "blue": r"\bbleu",
            "purple": r"\bviolet",
            "white": r"\bblanc",
            "black": r"\bnoir",
        },
        "shape": {
            "ball": r"\b(balle|boule|sphère)",
            "box": r"\b(boîte|cube|bloc|brique)",
            "cylinder": r"\b(cylindre|baril|fût|tonneau|canette)",
            "cup": r"\b(tasse|gobelet)",
        },
        "size": {"small": r"\b(petit|mini)", "large": r"\b(gros|grand|énorme|géant)"},
        "motion": {"left": r"\bgauche\b", "right": r"\bdroite\b"},
        "number": {2: r"\b(deux|2|paire)\b|x2\b", 3: r"\b(trois|3)\b|x3\b", 4: r"\b(quatre|4)\b"},
    },
    "zh": {
        "colour": {
            "red": "红",
            "orange": "橙",
            "yellow": "黄",
            "green": "绿",
            "blue": "蓝",
            "purple": "紫",
            "white": "白",
            "black": "黑",
        },
        "shape": {
            "ball": "球",
            "box": "方块|箱|盒|砖|立方体|积木",
            "cylinder": "圆柱|桶|罐",
            "cup": "杯",
        },
        "size": {"small": "小|迷你", "large": "大|巨"},
        "motion": {"left": "左", "right": "右"},
        "number": {2: "[二两2]|一对", 3: "[三3]", 4: "[四4]"},
    },
}
"""What the prompts of a language call each value, as regular expressions on the prompt in lower case."""


def _originals() -> list[Line]:
    """Every fourth of the English prompts; where that is one of water, the next that is not."""
    lines = read_prompts("heldout")
    picked = []
    for index in range(0, len(lines), 4):
        while lines[index].event in WATER or "water" in lines[index].prompt:
            index += 1
        picked.append(lines[index])
    return picked


def _words(prompt: str) -> set[str]:
    return set(re.findall(r"[^\W\d_]+", prompt.lower()))


def _named(prompt: str, words: dict) -> set:
    return {value for value, word in words.items() if re.search(word, prompt.lower())}


def _stated(line: Line, key: str) -> set:
    return {fact[key] for fact in line.facts if key in fact}


def test_names_of_prompts_are_read(tmp_path, monkeypatch) -> None:
    assert sorted(PROMPTS) == ["heldout", *(f"heldout_{language}" for language in LANGUAGES)]
    for name in PROMPTS:
        assert read_prompts(name) == read_prompts(embedded_prompts(name))
    with pytest.raises(RequestError, match="did you mean 'heldout_de'"):
        embedded_prompts("heldout_dee")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "heldout").write_text('{"prompt": "a file of this name comes first"}')
    assert [line.prompt for line in read_prompts("heldout")] == ["a file of this name comes first"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_facts_are_those_of_the_english_prompts(language: str) -> None:
    lines, originals = read_prompts(f"heldout_{language}"), _originals()
    assert len(lines) == len({line.prompt for line in lines}) == 50
    assert [(line.facts, line.event) for line in lines] == [
        (line.facts, line.event) for line in originals
    ]
    known = {"colour": COLOURS, "shape": SHAPES, "size": SIZES, "motion": MOTIONS}
    for key, values in known.items():
        assert set().union(*(_stated(line, key) for line in lines)) <= set(values)


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_prompt_is_in_english(language: str) -> None:
    for line in read_prompts("heldout"):
        assert _words(line.prompt) & ENGLISH, line.prompt  # so these words do find English
    for line in read_prompts(f"heldout_{language}"):
        assert not _words(line.prompt) & ENGLISH, line.prompt


@pytest.mark.parametrize("language", LANGUAGES)
def test_prompts_say_their_facts_and_no_others(language: str) -> None:
    words = WORDS[language]
    for line in read_prompts(f"heldout_{language}"):
        for key in ("colour", "shape", "size"):
            assert _named(line.prompt, words[key]) == _stated(line, key), (key, line)
        # "from the right to the left" names a side that nothing moves to.
        sides = _named(line.prompt, words["motion"])
        assert _stated(line, "motion") & {"left", "right"} <= sides, line
        assert bool(sides) == bool(_stated(line, "motion") & {"left", "right"}), line
        # "two kinds of things" is a number that no fact has.
        said = Counter(
            {n: len(re.findall(word, line.prompt.lower())) for n, word in words["number"].items()}
        )
        assert Counter(fact["count"] for fact in line.facts if fact["count"] > 1) <= said, line
