"""Clips that look like an earlier one. Owns the comparison of perceptual hashes; knows nothing of how they are made."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence

from worldtube.data.catalog import Catalog

BITS = 23
"""Of a clip's 192, that may differ: eight of each picture's 64. Below 2 * BANDS, so that two such clips have a band in
which at most one bit differs."""
BANDS = 12


def mark_repeats(catalog: Catalog) -> int:
    """Fill `repeats`: the id of the first clip that this one looks like, or "". Returns how many repeat another.

    Which is first depends on all clips, so the column's version names them: with other clips it is made again.
    """
    names = catalog.ids("phash IS NOT NULL")
    rows = catalog.take(names, ["phash", "exact", "source_hash"])
    about = hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]
    catalog.add_column("repeats", f"{BITS}-{about}")
    if lacking := catalog.missing("repeats"):
        found = repeats(
            names, *([row[key] for row in rows] for key in ("phash", "exact", "source_hash"))
        )
        catalog.set("repeats", {name: found.get(name, "") for name in lacking if name in found})
    return len(catalog.ids("repeats <> ''"))


def repeats(
    names: Sequence[str], prints: Sequence[str], exact: Sequence[str], films: Sequence[str | None]
) -> dict[str, str]:
    """Clip -> the first before it with the same pixels or, of another film, at most BITS other bits in its print.

    "" where there is none. Pieces of one film look alike when the camera rests, however much goes on before it: those
    must be equal. A print is hexadecimal, all of one length. Compared are only clips that share one of BANDS pieces
    of it but for a bit, which two prints that near always do.
    """
    numbers = [int(text, 16) for text in prints]
    length = max((len(text) for text in prints), default=0) * 4
    width = -(-length // BANDS)
    originals: dict[tuple[int, int], list[int]] = defaultdict(list)
    same: dict[str, int] = {}
    found = {}
    for place, (name, number) in enumerate(zip(names, numbers, strict=True)):
        keys = [(band, number >> band * width & (1 << width) - 1) for band in range(BANDS)]
        near = {
            other
            for band, piece in keys
            for changed in (0, *(1 << bit for bit in range(width)))
            for other in originals.get((band, piece ^ changed), ())
        }
        first = min(
            (
                other
                for other in near
                if films[other] != films[place] and (numbers[other] ^ number).bit_count() <= BITS
            ),
            default=None,
        )
        first = same.get(exact[place], first)
        if (
            first is None
        ):  # only originals are looked among: a chain of small changes ends with the first
            for key in keys:
                originals[key].append(place)
            same[exact[place]] = place
        found[name] = "" if first is None else names[first]
    return found
