"""Text beside films: which files hold it, and what they say.

Knows nothing of catalogs or clips. Text is UTF-8; what is not is read as Windows-1252, or as UTF-16 where it begins
like that, and told.
"""

import codecs
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

from worldtube.data.catalog import LENGTHS

SIDECARS = (".txt", ".json")

logger = logging.getLogger(__name__)
Tell = Callable[..., None]
"""Is told of files that cannot be used as they are, in the words of `logging`."""


def sidecar(path: Path, tell: Tell = logger.warning) -> dict[str, str]:
    """Captions by length, from FILE.txt or FILE.json beside a film (FILE with or without its ending).

    JSON holds `short`, `medium` and `long`, or `caption`. Words for one length serve for those that are not told. A
    file that holds something else is told.
    """
    said = fields(path, tell)
    return {length: said[length] for length in LENGTHS if said}


def fields(path: Path, tell: Tell = logger.warning) -> dict[str, str]:
    """`sidecar`, and what else a JSON beside the film holds in words."""
    texts, objects = (
        [one for one in (path.with_suffix(ending), Path(f"{path}{ending}")) if one != path]
        for ending in SIDECARS
    )
    for beside in texts:
        if words := " ".join(read(beside, tell).split()):
            return dict.fromkeys(LENGTHS, words)
    for beside in objects:
        if not (text := read(beside, tell)):
            continue
        try:
            told = json.loads(text)
            told = {"caption": told} if isinstance(told, str) else dict(told)
        except (ValueError, TypeError, RecursionError) as error:
            tell("%s is no caption: %s", beside, str(error))
            continue
        said = {
            key: one.encode("utf-8", "replace").decode()
            for key, one in told.items()
            if isinstance(one, str) and one.strip()
        }
        words = [said.get(key) or said.get(f"caption_{key}") for key in LENGTHS]
        first = said.get("caption") or words[1] or words[0] or words[2]
        if first:
            return said | {key: one or first for key, one in zip(LENGTHS, words, strict=True)}
        tell("%s holds no caption (accepted: %s, caption)", beside, ", ".join(LENGTHS))
    return {}


def read(path: Path, tell: Tell = logger.warning) -> str:
    """The text of a file, "" where there is none."""
    try:
        raw = path.read_bytes() if os.path.isfile(path) else b""
    except OSError as error:
        tell("%s cannot be read: %s", path, error.strerror)
        return ""
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return raw.decode("utf-16", "replace")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("cp1252", "replace")
        tell("%s is no UTF-8 and is read as Windows-1252: %r", path, text[:60])
        return text
