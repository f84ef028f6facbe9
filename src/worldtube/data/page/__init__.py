"""A dataset as one HTML page to look at: clips that play, what is told of them, what views drop, what went wrong.

Owns the page (`page.html` is its frame); everything is inside of it, so that it opens anywhere and asks nobody. Knows
nothing of how clips came to be.
"""

from collections import Counter
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from worldtube import video
from worldtube.data.catalog import TOLD, Catalog
from worldtube.data.views import WHOLE, drops, view, views
from worldtube.errors import DataError
from worldtube.files import atomic_write, data_url

SHOWN = 96
"""Clips on a page when not said otherwise."""
LISTED = 200
"""Problems that are listed one by one."""
BINS = 32
SAID = ("medium", "short", "long")
"""The captions that are shown, the first where there is room for one."""
SIDE = 192
"""Pixels of a shown clip on its long side, at most."""


def write_page(catalog: Catalog, path: str | Path, *, clips: int = SHOWN) -> Path:
    """Write the page, whole or not at all. clips: so many of the dataset, evenly spread over it.

    Raises DataError for a dataset without a row.
    """
    names = catalog.ids(WHOLE)
    problems = catalog.problems()
    if not names and not problems:
        raise DataError(f"{catalog.path} holds no clips yet")
    places = np.linspace(0, len(names) - 1, min(clips, len(names))).round().astype(int)
    chosen = [names[place] for place in places]
    numbers = _numbers(catalog, names)
    frame = Template(Path(__file__).with_name("page.html").read_text("utf-8"))
    page = frame.substitute(
        title=escape(catalog.path.absolute().name),
        facts=_facts(catalog, names, problems),
        views=_views(catalog, len(names)),
        choices="".join(f"<option>{escape(name)}</option>" for name in views(catalog)),
        histograms="".join(_histogram(name, told) for name, told in numbers.items()),
        shown=f"{len(chosen)} of {len(names)} clips" if len(chosen) < len(names) else "all clips",
        clips="".join(_cards(catalog, chosen, list(numbers))),
        problems=_problems(catalog, problems),
    )
    return atomic_write(path, page)


def _facts(catalog: Catalog, names: Sequence[str], problems: Sequence[str]) -> str:
    rows = catalog.take(names, ["world", "source", "width", "height", "num_frames", "fps"])
    seconds = sum(row["num_frames"] / row["fps"] for row in rows)
    worlds = Counter(row["world"] for row in rows if row["world"])
    films = {row["source"] for row in rows if row["source"]}
    kinds = Counter(f"{row['width']}x{row['height']} at {row['fps']:g} fps" for row in rows)
    told = {
        "clips": f"{len(names):,}",
        "together": f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.1f} s",
        "films": f"{len(films):,}" if films else "",
        "worlds": ", ".join(f"{name} {count:,}" for name, count in worlds.most_common()),
        "sizes": ", ".join(kind for kind, _ in kinds.most_common(4)),
        "problems": f"{len(problems):,}",
    }
    return "".join(
        f"<div><dt>{name}</dt><dd>{escape(value)}</dd></div>"
        for name, value in told.items()
        if value
    )


def _numbers(catalog: Catalog, names: Sequence[str]) -> dict[str, list[float]]:
    """The stages' columns that hold numbers, with their values."""
    found = {}
    for column, version in catalog.columns().items():
        first = catalog.ids(f'{WHOLE} AND "{column}" IS NOT NULL')[:1] if version else []
        if first and isinstance(catalog.take(first, [column])[0][column], float):
            rows = catalog.take(names, [column])
            found[column] = [row[column] for row in rows if row[column] is not None]
    return found


def _histogram(name: str, values: Sequence[float]) -> str:
    """Bars of a column from its least value to where 99 in 100 lie; the last bar holds the rest."""
    low, high = min(values), float(np.percentile(values, 99))
    if high <= low:
        high = low + (abs(low) or 1.0)
    counts, _ = np.histogram(np.minimum(values, high), bins=BINS, range=(low, high))
    most = max(int(counts.max()), 1)
    bars = "".join(
        f'<rect x="{i * 8}" y="{60 - 60 * count / most:.1f}" width="7" height="{60 * count / most:.1f}">'
        f"<title>{low + (high - low) * i / BINS:.4g}: {count}</title></rect>"
        for i, count in enumerate(counts.tolist())
        if count
    )
    over = "+" if max(values) > high else ""
    return (
        f"<figure><figcaption>{escape(name)} <small>median {np.median(values):.4g}</small></figcaption>"
        f'<svg viewBox="0 0 {BINS * 8} 62" role="img" aria-label="histogram of {escape(name)}">{bars}</svg>'
        f"<p><span>{low:.4g}</span><span>{high:.4g}{over}</span></p></figure>"
    )


def _views(catalog: Catalog, total: int) -> str:
    told = []
    for name, one in views(catalog).items():
        kept = len(view(catalog, name))
        rows = "".join(
            f"<tr><td><code>{escape(term)}</code></td><td>{alone:,}</td>"
            f'<td>{left:,} <meter max="{max(total, 1)}" value="{left}"></meter></td></tr>'
            for term, alone, left in drops(catalog, one.where)
        )
        told.append(
            f"<h3>{escape(name)} <small>version {one.version} keeps {kept:,} of {total:,}</small></h3>"
            "<table><thead><tr><th>condition</th><th>drops alone</th><th>left after it</th></tr></thead>"
            f"<tbody>{rows}</tbody></table>"
        )
    return "".join(told) or (
        "<p>None yet. <code>worldtube data view DATASET NAME --where CONDITION</code> saves one.</p>"
    )


def _cards(catalog: Catalog, names: Sequence[str], columns: Sequence[str]) -> list[str]:
    kept = {name: set(view(catalog, name)) for name in views(catalog)}
    recorded = [f"caption_{length}" for length in SAID]
    facts = ["source", "start", "world", "seed", *recorded]
    captioners = [name for name in catalog.columns() if name.startswith(TOLD)]
    more = [name for name in ("repeats", "words") if name in catalog.columns()]
    made, asked = [], [*facts, *columns, *more, *captioners]
    for name, row in zip(names, catalog.take(names, asked), strict=True):
        clip = catalog.clip(name)
        address = data_url(_playable(clip), "video/mp4")
        within = " ".join(one for one in kept if name in kept[one])
        place = (
            f"{row['source']} at {row['start']:.2f} s"
            if row["source"]
            else f"{row['world']} {row['seed']}"
        )
        words = [("", row[key]) for key in recorded]
        for key in captioners:
            from worldtube.data.caption import fields_in  # it brings torch

            told = fields_in(row[key])
            words += [(f"{key.removeprefix(TOLD)}: ", told.get(length)) for length in SAID]
        caption = next((text for _, text in words if text), "")
        others = "".join(
            f"<p>{escape(by + text)}</p>"
            for by, text in dict.fromkeys(words)
            if text and text != caption
        )
        lines = [f"{column} {row[column]:.4g}" for column in columns if row[column] is not None]
        lines += [
            f"repeats {row[key]}" if key == "repeats" else row[key] for key in more if row[key]
        ]
        made.append(
            f'<article data-views="{escape(within)}"><video src="{address}" muted loop'
            f' playsinline preload="metadata" tabindex="0" aria-label="{escape(caption or place)}"></video>'
            f"<p>{escape(caption)}</p><details><summary>{escape(place)}</summary>{others}"
            f"<code>{escape(name)}</code><p>{escape(' · '.join(lines))}</p></details></article>"
        )
    return made


def _playable(clip: video.Clip) -> bytes:
    """The clip as every browser plays it, no larger than it is shown."""
    side = max(clip.size.width, clip.size.height)
    if side > SIDE:
        scale = SIDE / side
        size = video.Size(
            max(2, round(clip.size.width * scale)), max(2, round(clip.size.height * scale))
        )
        clip = video.fit(clip, size)
    return video.encode(video.Clip(frames=clip.frames, fps=clip.fps), crf=20)


def _problems(catalog: Catalog, names: Sequence[str]) -> str:
    if not names:
        return "<p>None.</p>"
    columns: list[str] = ["id", "source", "start", "stop", "problem"]
    rows = catalog.take(names[:LISTED], columns)
    told = "".join(_problem(row) for row in rows)
    rest = f"<p>and {len(names) - LISTED:,} more</p>" if len(names) > LISTED else ""
    return f"<table><thead><tr><th>file or clip</th><th>reason</th></tr></thead><tbody>{told}</tbody></table>{rest}"


def _problem(row: dict[str, Any]) -> str:
    place = row["source"] or row["id"]
    if row["source"] and row["stop"]:
        place += f" from {row['start']:.2f} s"
    return f"<tr><td>{escape(place)}</td><td>{escape(row['problem'])}</td></tr>"
