"""A prompt with its words for colours, shapes, sizes and numbers put in the captions' words, all else as it is.

Owns that replacing. Knows nothing of grammar.
"""

import re

from worldtube.text.rewrite.lexicon import COLOURS, SHAPES, SIZES
from worldtube.text.rewrite.table import plural


def _words() -> dict[str, str]:
    out: dict[str, str] = {}
    for table in (COLOURS, SIZES):
        for word, others in table.items():
            out |= dict.fromkeys(others, word)
    for shape, others in SHAPES.items():
        out |= dict.fromkeys(others, shape)
        out |= {plural(other): plural(shape) for other in others}
    return out


WORDS = _words()
_PATTERN = re.compile(
    r"\b("
    + "|".join(sorted((re.escape(w).replace(r"\ ", "[ -]") for w in WORDS), key=len, reverse=True))
    + r")\b",
    re.IGNORECASE,
)


def substituted(text: str) -> str:
    """The same sentence with plain words: "a crimson orb" -> "a red ball"."""
    return _PATTERN.sub(lambda found: WORDS[found[0].lower().replace("-", " ")], text)
