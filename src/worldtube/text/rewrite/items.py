"""A text as phrases that are known. Owns how it is cut; knows nothing of grammar."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from worldtube.text.rewrite.scene import Unread
from worldtube.text.rewrite.table import CAMERA_TABLE, LONGEST, TABLE


@dataclass(frozen=True)
class Item:
    kind: str
    value: Any
    words: tuple[str, ...]


def items(text: str) -> list[Item]:
    """The words of a text as phrases that are known, the longest first; others have the kind "unknown"."""
    text = re.sub(r"[\u2018\u2019]", "'", text.lower()).replace("\u00d7", "x").replace("-", " ")
    tokens = re.findall(r"[a-z0-9']+|[.,;:!?&+/()]", text)
    out, at = [], 0
    while at < len(tokens):
        for length in range(min(LONGEST, len(tokens) - at), 0, -1):
            words = tuple(tokens[at : at + length])
            if words in TABLE:
                out.append(Item(*TABLE[words], words))
                break
        else:
            length = 1
            words = (tokens[at],)
            kind = {"&": "join", "+": "join", ",": "comma"}.get(words[0])
            out.append(Item(kind or ("unknown" if words[0][0].isalnum() else "stop"), None, words))
        at += length
        if out[-1].kind == "camera":
            at += _camera(tokens[at:], out)
    return out


def _camera(tokens: Sequence[str], out: list[Item]) -> int:
    """Read what the camera does, as the value of the last item; returns how many tokens that took."""
    start = (
        1 if tokens and tokens[0] in ("that", "is") and tuple(tokens[:2]) not in CAMERA_TABLE else 0
    )
    for length in range(len(tokens), start, -1):
        move = CAMERA_TABLE.get(tuple(tokens[start:length]))
        if move:
            out[-1] = replace(out[-1], value=move)
            return length
    raise Unread("camera")
