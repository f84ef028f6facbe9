"""A run as one page: its record drawn, its sample sheets, what it ran on. No script, nothing from elsewhere.

Owns the page; the record beside it is the truth. Knows nothing of how runs go.
"""

import html
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from worldtube.errors import NotFound
from worldtube.files import atomic_write, data_url
from worldtube.records import read

RECORDS = ("record.jsonl", "run.jsonl")
CHARTS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (
        "Loss by noise level",
        "loss",
        ("loss", "loss_low_noise", "loss_middle_noise", "loss_high_noise"),
    ),
    ("Validation loss", "validation_loss", ("validation_loss",)),
    ("Parts of the loss", "", ("loss_truth", "absolute", "square", "edge", "temporal", "variance")),
    ("Quality of reconstruction", "psnr", ("psnr",)),
    ("Gradient norm", "gradient", ("gradient", "norm")),
    ("Learning rate", "rate", ("rate",)),
    ("Tokens a second", "tokens_per_second", ("tokens_per_second",)),
    ("Clips a second", "clips_per_second", ("clips_per_second",)),
    ("Most memory, MB", "memory_mb", ("memory_mb",)),
)
"""Title, what it needs to be drawn (anything when empty), and its lines."""
COLOURS = ("#2b6cb0", "#c05621", "#2f855a", "#805ad5", "#b83280", "#718096")
POINTS = 240
WIDTH, HEIGHT, LEFT, BOTTOM = 560, 240, 64, 26
MOST_SHEETS = 24

STYLE = """
:root { color-scheme: light dark; --line: #8884; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1200px; margin: 2rem auto; padding: 0 1rem; }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 520px), 1fr)); gap: 1.5rem; }
main > figure { margin: 0; min-width: 0; } figcaption { font-weight: 600; } svg { width: 100%; height: auto; }
svg text { font-size: 11px; fill: currentColor; } .grid { stroke: var(--line); }
.key { font-size: 13px; margin-right: 1em; display: inline-block; }
img { max-width: 100%; image-rendering: pixelated; } pre { overflow: auto; font-size: 12px; }
table { border-collapse: collapse; } td { padding: 0 1em 0 0; vertical-align: top; }
"""


def write(run: Path, out: Path | None = None) -> Path:
    """Write the page of the run in this folder, `report.html` there when not said; whole or not at all.

    Raises NotFound where there is no record.
    """
    return atomic_write(out or run / "report.html", page(run))


def page(run: Path) -> str:
    """The page as text."""
    found = [run / name for name in RECORDS if (run / name).is_file()]
    if not found:
        raise NotFound(
            f"no record of a run in {run} (accepted: the --out folder of `worldtube train`)"
        )
    head, rows = read(found[0])
    charts = [
        chart(title, rows, lines)
        for title, needed, lines in CHARTS
        if any(name in row for row in rows for name in ([needed] if needed else lines))
    ]
    name = html.escape(run.resolve().name)
    return "\n".join(
        [
            "<!doctype html>",
            f'<html lang="en"><meta charset="utf-8"><title>{name}</title>',
            '<meta name="viewport" content="width=device-width">',
            f"<style>{STYLE}</style><h1>{name}</h1>",
            facts(head, rows),
            f"<main>{''.join(charts)}</main>",
            sheets(run),
            f"<h2>Configuration</h2><pre>{html.escape(json.dumps(head['config'], indent=1))}</pre>",
            "</html>",
        ]
    )


def facts(head: dict[str, Any], rows: Sequence[dict[str, Any]]) -> str:
    """What a reader asks first."""
    told = {"begun": head.get("started"), "commit": head.get("commit")}
    told["machine"] = ", ".join(str(value) for value in head.get("machine", {}).values())
    told["versions"] = ", ".join(f"{k} {v}" for k, v in head.get("versions", {}).items())
    if rows:
        last = rows[-1]
        told |= {"step": f"{last['step']} of {head['config'].get('steps', '?')}"}
        told |= {"hours": f"{last['seconds'] / 3600:.2f}"}
        told |= {k: f"{v:.4g}" for k, v in last.items() if k in ("loss", "validation_loss", "psnr")}
    if head.get("before"):
        told["other settings until step"] = ", ".join(str(one["until"]) for one in head["before"])
    skipped = sum("skipped" in row for row in rows)
    if skipped:
        told["steps that were not finite"] = skipped
    cells = (f"<tr><td>{k}<td>{html.escape(str(v))}" for k, v in told.items() if v is not None)
    return f"<table>{''.join(cells)}</table>"


def thinned(points: Sequence[tuple[float, float]], most: int = POINTS) -> list[tuple[float, float]]:
    """At most so many: the means of neighbours."""
    each = -(-len(points) // most)
    groups = [points[i : i + each] for i in range(0, len(points), each)]
    return [(group[-1][0], sum(y for _, y in group) / len(group)) for group in groups]


def number(value: float) -> str:
    """As a person writes it."""
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.3g}"


def chart(title: str, rows: Sequence[dict[str, Any]], names: Sequence[str]) -> str:
    """Lines over steps, as a figure; the latest values stand in the key."""
    lines = {}
    for name in names:
        there = [(r["step"], r[name]) for r in rows if isinstance(r.get(name), int | float)]
        finite = [(x, y) for x, y in there if math.isfinite(y)]
        if finite:
            lines[name] = thinned(finite)
    if not lines:
        return ""
    xs, ys = zip(*(point for line in lines.values() for point in line), strict=True)
    first, last, low, high = min(xs), max(xs), min(ys), max(ys)
    if high == low:
        low, high = low - abs(low) * 0.1 - 1e-9, high + abs(high) * 0.1 + 1e-9
    across = (WIDTH - LEFT - 8) / max(last - first, 1)
    up = (HEIGHT - BOTTOM - 8) / (high - low)
    drawn, keys = [], []
    for k in range(5):
        y = low + (high - low) * k / 4
        at = HEIGHT - BOTTOM - (y - low) * up
        drawn.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - 8}" y1="{at:.1f}" y2="{at:.1f}"/>'
        )
        drawn.append(f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{number(y)}</text>')
    for x, anchor in ((first, "start"), (last, "end")):
        at = LEFT + (x - first) * across
        drawn.append(f'<text x="{at:.1f}" y="{HEIGHT - 6}" text-anchor="{anchor}">step {x}</text>')
    for colour, (name, line) in zip(COLOURS, lines.items(), strict=False):
        points = " ".join(
            f"{LEFT + (x - first) * across:.1f},{HEIGHT - BOTTOM - (y - low) * up:.1f}"
            for x, y in line
        )
        drawn.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5">'
            f"<title>{name}</title></polyline>"
        )
        if len(line) == 1:
            x, y = points.split(",")
            drawn.append(f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>')
        keys.append(
            f'<span class="key"><span style="color:{colour}">&#9644;</span> {name} {number(line[-1][1])}</span> '
        )
    said = f"{title}: {', '.join(lines)} over {len(rows)} lines of the record"
    return (
        f"<figure><figcaption>{title}</figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{said}">{"".join(drawn)}</svg>'
        f"<div>{''.join(keys)}</div></figure>"
    )


def sheets(run: Path) -> str:
    """The sheets of samples in the order of steps; of many, some that are evenly spread and the last."""
    paths = sorted(run.glob("samples-*.png")) + sorted((run / "samples").glob("*.png"))
    each = -(-len(paths) // MOST_SHEETS) if paths else 1
    paths = paths[::-1][::each][::-1]
    figures = "".join(
        f"<figure><figcaption>{html.escape(path.stem)}</figcaption>"
        f'<img alt="sheet of samples {html.escape(path.stem)}" src="{picture(path)}"></figure>'
        for path in paths
    )
    return f"<h2>Samples</h2><main>{figures}</main>" if figures else ""


def picture(path: Path) -> str:
    """A picture as a data: address."""
    with Image.open(path) as image:
        image.thumbnail((1000, 1000))
        file = io.BytesIO()
        image.convert("RGB").save(file, "WEBP", quality=80)
    return data_url(file.getvalue(), "image/webp")
