"""Results of measures as a table for people. Knows no measure by name, only the shapes of their results."""

from collections.abc import Mapping
from typing import Any

_CONTROLS = ("reader", "no_text", "true_clips")


def table(result: Mapping[str, Any]) -> str:
    """A line per score: the score, its interval, how many it is of, and the controls beside it."""
    controls = [name for name in _CONTROLS if isinstance(result.get(name), Mapping)]
    number, interval = result.get("n") or {}, result.get("interval") or {}
    head = [
        f"{key} {result[key]}" for key in ("measure", "model", "prompts", "clips") if key in result
    ]
    rows = [["", "score", "95 %" if interval else "", "of" if number else "", *controls]]
    for key, value in result.items():
        if key in ("measure", "model", "prompts", "clips", "n", "interval", *_CONTROLS):
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
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([", ".join(head), *lines])


def _word(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, (list, tuple)):
        return " to ".join(_word(one) for one in value)
    return str(value)
