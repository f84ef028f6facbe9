"""Text beside films: which files hold it, and what they say.

Knows nothing of catalogs or clips. Text is UTF-8, or UTF-16 where it begins like that. What is neither is read as
GB18030 where that gives everyday Chinese, else as Windows-1252, with a warning.
"""

import codecs
import csv
import functools
import io
import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from worldtube.data.catalog import LENGTHS

SIDECARS = (".txt", ".json")
TABLES = ("metadata.jsonl", "metadata.csv")
"""Files that hold the texts of a whole folder, a row for each film, as Hugging Face's `videofolder` has them."""
TABLE_PARENTS = 4
"""Folders, from a film's own upwards, in which a table is looked for."""
TABLE_NAMES = ("file_name", "video_file_name", "filename", "file", "video", "video_path", "path")
TABLE_TEXTS = ("caption", "text", "prompt", "description")

logger = logging.getLogger(__name__)
Tell = Callable[..., None]
"""Is told of files that cannot be used as they are, in the words of `logging`."""


def sidecar(path: Path, tell: Tell = logger.warning) -> dict[str, str]:
    """Captions by length, from FILE.txt or FILE.json beside a film (FILE with or without its ending), or from its row
    in a table (TABLES) of its folder or one above.

    JSON holds `short`, `medium` and `long`, or `caption`. Words for one length serve for those that are not told. A
    file that holds something else is told.
    """
    said = fields(path, tell)
    return {length: said[length] for length in LENGTHS if said}


def fields(path: Path, tell: Tell = logger.warning) -> dict[str, str]:
    """`sidecar`, and what else a JSON beside the film, or its row, holds in words."""
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
        if said := _by_length(told):
            return said
        tell("%s holds no caption (accepted: %s, caption)", beside, ", ".join(LENGTHS))
    return _in_tables(path, tell)


def _by_length(values: Mapping[str, Any]) -> dict[str, str]:
    """The texts among these values, with one for each length; nothing where no caption is among them."""
    said = {
        key: text.encode("utf-8", "replace").decode()
        for key, text in values.items()
        if isinstance(key, str) and isinstance(text, str) and text.strip()
    }
    words = [said.get(key) or said.get(f"caption_{key}") for key in LENGTHS]
    first = said.get("caption") or words[1] or words[0] or words[2]
    if not first:
        return {}
    return said | {key: text or first for key, text in zip(LENGTHS, words, strict=True)}


def _in_tables(path: Path, tell: Tell) -> dict[str, str]:
    """What the row of a film says in the nearest table that has one."""
    for folder in list(path.parents)[:TABLE_PARENTS]:
        for name in TABLES:
            table = folder / name
            try:
                about = table.stat()
            except OSError:
                continue
            rows, problem = _table(table, about.st_size, about.st_mtime_ns)
            if problem:
                tell("%s", problem)
            if said := rows.get(path.relative_to(folder).as_posix()):
                return said
    return {}


@functools.lru_cache(maxsize=8)
def _table(path: Path, size: int, changed: int) -> tuple[dict[str, dict[str, str]], str]:
    """The texts of a table by the name of the film in it, and what is wrong with it. size, changed: of the file."""
    problems: list[str] = []
    text = read(path, lambda form, *values: problems.append(form % values))
    rows: dict[str, dict[str, str]] = {}
    unused, count = 0, 0
    try:
        for row in _rows(text, path.suffix):
            count += 1
            name = next((row[key] for key in TABLE_NAMES if isinstance(row.get(key), str)), "")
            caption = next((row[key] for key in TABLE_TEXTS if row.get(key)), None)
            said = _by_length(row if row.get("caption") else {**row, "caption": caption})
            if name and said:
                rows[name.strip().removeprefix("./")] = said
            else:
                unused += 1
    except (ValueError, csv.Error, RecursionError) as error:
        problems.append(f"{path} cannot be read after {count} rows: {error}")
    if unused:
        problems.append(
            f"{unused} of {count} rows of {path} hold no caption of a file "
            f"(accepted: columns {TABLE_NAMES[0]} and {' or '.join(TABLE_TEXTS)})"
        )
    return rows, "; ".join(problems)


def _rows(text: str, suffix: str) -> Iterable[Mapping[str, Any]]:
    if suffix == ".jsonl":
        for line in text.splitlines():
            if line.strip():
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise ValueError(f"a row must be an object, got {line[:60]!r}")
                yield row
        return
    head = text.partition("\n")[0]
    delimiter = max(",;\t", key=head.count)
    reader = csv.DictReader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True)
    for row in reader:
        yield {str(key).strip(): value for key, value in row.items()}


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
        name, encoding = ("GB18030", "gb18030") if _is_chinese(raw) else ("Windows-1252", "cp1252")
        text = raw.decode(encoding, "replace")
        tell("%s is no UTF-8 and is read as %s: %r", path, name, text[:60])
        return text


def _is_chinese(raw: bytes) -> bool:
    """Say whether bytes are everyday Chinese in GB18030: four fifths of what is no ASCII are common characters.

    In Western text a letter with an accent stands beside plain ones, which together would be a rare character.
    """
    try:
        letters = [letter for letter in raw.decode("gb18030") if ord(letter) > 127]
    except UnicodeDecodeError:
        return False
    codes = [letter.encode("gb2312", "ignore")[:1] for letter in letters]
    common = sum(b"\xb0" <= code <= b"\xd7" for code in codes)
    marks = sum(code in (b"\xa1", b"\xa3") for code in codes)
    return common >= 2 and common + marks >= 0.8 * len(letters)
