"""Thousands of prompts of every kind: the rewriter never fails and never changes what is known of them."""

import contextlib
import json
import random
import re
from collections import Counter

import numpy as np

from worldtube.text.rewrite import Grammar, Unread, read, rewrite, tell
from worldtube.text.rewrite.lexicon import COLOURS, MATERIALS, NUMBERS, SHAPES, SIZES, SPEEDS
from worldtube.text.rewrite.table import CAMERA_TABLE, TABLE, plural
from worldtube.worlds.language import caption, invent
from worldtube.worlds.language.words import DIRECTION_WORDS

PHRASES = [" ".join(words) for words in [*TABLE, *CAMERA_TABLE]]
OTHERS = [
    *(
        "dog",
        "lazily",
        "shiny",
        "not",
        "without",
        "never",
        "or",
        "maybe",
        "twice",
        "between",
        "slow motion",
        "zoom",
    ),
    *(
        "sunset",
        "person",
        "throws",
        "quickly?",
        "7",
        "12",
        "half",
        "of",
        "second",
        "third",
        "slower",
        "left-handed",
    ),
    *("rightful", "red-hot", "glassy", "boxing"),
]
LANGUAGES = [
    "ein roter Ball rollt nach rechts", "une balle rouge roule vers la droite", "una pelota roja cae",
    "красный мяч катится вправо", "红球向右滚动", "赤いボールが右へ転がる", "빨간 공이 오른쪽으로 굴러간다",
    "كرة حمراء تتدحرج إلى اليمين", "כדור אדום מתגלגל ימינה", "लाल गेंद दाईं ओर लुढ़कती है",
    "mavi top yuvarlan\u0131r", "czerwona piłka toczy się w prawo", "een rode bal rolt",
]  # fmt: skip
SYMBOLS = [
    *"🔴🟦⚽🥛👩‍🚀🏳️‍🌈ﬁ",
    *(
        "\u202e",
        "\u200d",
        "\ufeff",
        "\x00",
        "\x07",
        "\x1b[31m",
        "\n",
        "\t",
        "\r\n",
        "e\u0301",
        "\ud7ff",
    ),
]
SNIPPETS = [
    "$(rm -rf /)", "; ls | cat > x", "`id`", "../../etc/passwd", "' OR 1=1 --", "<script>alert(1)</script>", "{{7*7}}",
    "%s%n%d", "\\x00\\n", "--no-rewrite --steps 5", "**bold** _it_ # head", "a=b&c=d", "http://example.com/a?b=c#d",
]  # fmt: skip


def _noun_phrase(rng):
    """A prompt's words for some things, and what is known of them."""
    shape = rng.choice(list(SHAPES))
    size, colour = rng.choice([None, *SIZES]), rng.choice(list(COLOURS))
    count = rng.choice([1, 1, 1, 2, 3, 4, 5])
    noun = rng.choice([shape, *SHAPES[shape]])
    words = [
        rng.choice(("a", "one", "")) if count == 1 else rng.choice([NUMBERS[count][0], str(count)]),
        "" if size is None else rng.choice([size, *SIZES[size]]),
        rng.choice([colour, *COLOURS[colour]]),
        noun if count == 1 else plural(noun),
    ]
    return " ".join(word for word in words if word), (count, size, colour, shape)


def _sentence(rng):
    """A prompt from facts, in many wordings: (text, facts of its things)."""
    verbs = [
        "rolls right",
        "slides to the left",
        "falls",
        "is still",
        "moves left slowly",
        "bounces",
        "waits",
    ]
    parts, facts = [], []
    for _ in range(rng.choice([1, 1, 2, 2, 3])):
        text, fact = _noun_phrase(rng)
        facts.append(fact)
        parts.append(
            f"{text} {rng.choice([*verbs, '', 'is next to', 'hits', 'knocks over', 'that falls'])}"
        )
    text = rng.choice([", ", " and ", " while ", " then ", ". ", "; "]).join(parts)
    ends = [
        "",
        "",
        ".",
        " in slow motion",
        " on a wooden table",
        " twice",
        ", the camera orbits left",
        " under dusk",
    ]
    return rng.choice(["", "", "a video of ", "show me ", "no "]) + text + rng.choice(ends), facts


def _mutated(rng, text):
    words = text.split()
    for _ in range(rng.choice([1, 1, 2, 4])):
        at = rng.randrange(len(words) + 1)
        change = rng.randrange(4)
        if change == 0:
            words.insert(at, rng.choice(OTHERS))
        elif change == 1:
            words.insert(at, rng.choice(PHRASES))
        elif change == 2 and len(words) > 1:
            words.pop(at % len(words))
        else:
            words[at % len(words)], words[0] = words[0], words[at % len(words)]
    return " ".join(words)


def prompts(count):
    """`count` prompts, the same every time: (text, facts of its things where they are known)."""
    rng, numbers = random.Random(7), np.random.default_rng(7)
    for index in range(count):
        kind = index % 10
        if kind < 3:
            yield _sentence(rng)
        elif kind < 5:
            text = caption(invent(numbers), ("short", "medium", "long")[index % 3], numbers)
            yield (text if rng.random() < 0.5 else _mutated(rng, text)), None
        elif kind < 7:
            yield (
                " ".join(rng.choices([*PHRASES, *OTHERS, ",", ".", "and"], k=rng.randint(1, 25))),
                None,
            )
        elif kind == 7:
            text = rng.choice(LANGUAGES)
            yield rng.choice([text, f"{text}, {_sentence(rng)[0]}", text[::-1], text.upper()]), None
        elif kind == 8:
            words = _sentence(rng)[0].split()
            for _ in range(rng.randint(1, 4)):
                words.insert(rng.randrange(len(words) + 1), rng.choice([*SYMBOLS, *SNIPPETS]))
            yield rng.choice([" ", ""]).join(words), None
        else:
            text = _sentence(rng)[0]
            yield rng.choice([
                "", " ", "\n\t ", ".", "?!", "a", "the", json.dumps({"prompt": text, "n": 3}), json.dumps([text]),
                f"prompt: {text}", (text + " ") * rng.choice([3, 50]), text.replace(" ", "-"), text.title(),
                text.upper(), "".join(chr(rng.randrange(32, 0xD7FF)) for _ in range(40)), text * (30_000 // len(text)),
            ]), None  # fmt: skip


def _plain(table, number=False):
    """word or phrase -> the value that it stands for."""
    return {
        phrase: value
        for value, words in table.items()
        for phrase in {str(value), *words}
        | ({plural(w) for w in {value, *words}} if number else set())
    }


CLASSES = {
    "colour": _plain(COLOURS),
    "size": _plain(SIZES),
    "number": {word: n for n, words in NUMBERS.items() if n > 1 for word in (words[0], str(n))},
    "shape": _plain(SHAPES, number=True),
    "material": _plain(MATERIALS) | {"wood": "wooden"},
    "speed": _plain(SPEEDS),
    "way": {word: way for way, words in DIRECTION_WORDS.items() for word in [*words, f"{way}ward"]},
}  # fmt: skip


def facts_of(text):
    """Values that a text names, class by class, found word by word without any grammar."""
    text = " ".join(re.findall(r"[a-z0-9']+", text.lower().replace("-", " ")))
    found = {}
    for name, words in CLASSES.items():
        pattern = "|".join(sorted(map(re.escape, words), key=len, reverse=True))
        found[name] = {words[m[0]] for m in re.finditer(rf"\b(?:{pattern})\b", text)}
    return found


def things_in(text):
    """(count, size, colour, shape) of the things that a rewritten text names in full."""
    counts = {"a": 1, "an": 1} | {words[0]: n for n, words in NUMBERS.items()}
    pattern = (
        rf"\b(?:({'|'.join(counts)}) )?(?:(small|large) )?({'|'.join(COLOURS)}) "
        rf"(?:rubber |plastic |metal |wooden )?({'|'.join(SHAPES)}|glass)(e?s)?\b"
    )
    return Counter(
        (counts.get(m[1]), m[2], m[3], "cup" if m[4] == "glass" else m[4])
        for m in re.finditer(pattern, text.lower())
        if m[1]
    )


def check(text, facts):
    changed = Grammar()(text)
    assert isinstance(changed, str)
    if changed == text:
        return False
    assert facts_of(changed) == facts_of(text), (text, changed)
    assert len(changed) < 3 * len(text) + 100
    assert rewrite(changed) == changed, (text, changed)
    rest = re.sub(
        "no (motion|movement)|(does|do|is) not mov|not moving", "", text
    )  # which say: still
    assert not re.search(r"\b(not|no|never|without|or|twice|between|lazily|slow motion)\b", rest), (
        text
    )
    if facts is not None:
        assert things_in(changed) == Counter(facts), (text, changed)
    return True


def run(count, caplog):
    rewritten = 0
    for text, facts in prompts(count):
        rewritten += check(text, facts)
        if len(text) < 2000:
            with contextlib.suppress(
                Unread
            ):  # the grammar by itself, without the guards of the rewriter
                tell(read(text))
    assert not caplog.records, "a fault was caught by the outermost guard"
    assert rewritten > count / 50  # or nothing was tested


def test_five_thousand_prompts(caplog):
    run(5000, caplog)


def test_prompts_are_the_same_every_time():
    assert list(prompts(60)) == list(prompts(60))


def test_a_fault_of_the_grammar_leaves_the_prompt_alone(monkeypatch, caplog):
    import worldtube.text.rewrite as module

    monkeypatch.setattr(module, "read", lambda text: [][0])
    assert Grammar()("a tiny red ball falls") == "a tiny red ball falls"
    assert "the grammar failed" in caplog.text
