"""Results of measures as a table for people. Knows no measure by name, only the shapes of their results."""

from collections.abc import Mapping
from typing import Any

_CONTROLS = ("reader", "no_text", "true_clips")
_HEAD = ("measure", "model", "prompts", "scripts", "clips")


def table(result: Mapping[str, Any]) -> str:
    """A line per score: the score, its interval, how many it is of, and the controls beside it; then a table for
    each result that has rows of its own."""
    controls = [name for name in _CONTROLS if isinstance(result.get(name), Mapping)]
    number, interval = result.get("n") or {}, result.get("interval") or {}
    head = [f"{key} {result[key]}" for key in _HEAD if key in result]
    rows = [["", "score", "95 %" if interval else "", "of" if number else "", *controls]]
    for key, value in result.items():
        if key in (*_HEAD, "n", "interval", *_CONTROLS):
            continue
        if isinstance(value, Mapping) or (isinstance(value, list) and len(value) > 4):
            continue
        rows.append(
            [
                key.replace("_", " "),
                _word(value),
                _word(interval.get(key)) if interval else "",
                _word(number.get(key)) if number else "",
                *(_word(result[name].get(key)) for name in controls),
            ]
        )
    tables = [
        ["", *_aligned(_rows(key, value))]
        for key, value in result.items()
        if key not in _CONTROLS
        and isinstance(value, Mapping)
        and value
        and all(isinstance(row, Mapping) for row in value.values())
    ]
    scores = _aligned(rows) if len(rows) > 1 else []
    return "\n".join([", ".join(head), *scores, *(line for lines in tables for line in lines)])


def _rows(name: str, rows: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """A table's own head and lines; what a row holds beside single values is left out."""
    columns = [
        key
        for key in dict.fromkeys(key for row in rows.values() for key in row)
        if not any(isinstance(row.get(key), Mapping) for row in rows.values())
    ]
    head = [name.replace("_", " "), *(key.replace("_", " ") for key in columns)]
    return [head, *([key, *(_word(row.get(c)) for c in columns)] for key, row in rows.items())]


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _word(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}" if value == 0 or abs(value) >= 0.1 else f"{value:.3g}"
    if isinstance(value, (list, tuple)):
        return " to ".join(_word(one) for one in value)
    return str(value)
