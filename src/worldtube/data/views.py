"""Views: named conditions on a catalog's columns. A clip that a view leaves out stays where it is.

Owns the files `views/NAME.json` of a dataset. A view that is saved again under its name gets the next version, and the
versions before stay, so that a run can say which clips it meant.
"""

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from worldtube.data.catalog import Catalog
from worldtube.errors import NotFound, RequestError, unknown
from worldtube.files import atomic_write

logger = logging.getLogger(__name__)

WHOLE = "problem IS NULL"
"""What every view asks for besides its own condition."""


@dataclass(frozen=True, kw_only=True)
class View:
    name: str
    version: int
    where: str
    """An SQL condition on columns."""
    columns: Mapping[str, str]
    """Version of each stage's column in it, when the view was saved."""


def save_view(catalog: Catalog, name: str, where: str) -> View:
    """Save a condition under a name; the same condition on the same columns again is no new version.

    Raises RequestError for a name or a condition that cannot be one.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_-]*", name):
        raise RequestError(
            f"view name {name!r} is not accepted; lower-case letters, digits and - are"
        )
    if not where.strip():
        raise RequestError(
            f'view {name} needs a condition, such as "motion > 0.01 AND static < 0.5"'
        )
    catalog.ids(condition(where))
    named = set(re.findall(r"\w+", where.lower()))
    columns = {
        key: version for key, version in catalog.columns().items() if version and key in named
    }
    before = _versions(catalog, name)
    view = View(name=name, version=len(before) + 1, where=where, columns=columns)
    if before and (before[-1].where, before[-1].columns) == (where, columns):
        return before[-1]
    folder = catalog.path / "views"
    folder.mkdir(exist_ok=True)
    told = [asdict(one) for one in [*before, view]]
    atomic_write(folder / f"{name}.json", json.dumps(told, indent=1))
    return view


def views(catalog: Catalog) -> dict[str, View]:
    """The newest version of every view, by name."""
    names = sorted(path.stem for path in (catalog.path / "views").glob("*.json"))
    return {name: _versions(catalog, name)[-1] for name in names}


def find_view(catalog: Catalog, name: str, version: int | None = None) -> View:
    """A saved view, the newest version when not said.

    Columns that were made anew since it was saved are told in the log. Raises RequestError for an unknown name,
    NotFound for an unknown version.
    """
    known = _versions(catalog, name)
    if not known:
        raise unknown("view", name, views(catalog))
    if version is None:
        version = len(known)
    if not 1 <= version <= len(known):
        raise NotFound(f"view {name} has no version {version} (accepted: 1 to {len(known)})")
    found, now = known[version - 1], catalog.columns()
    for column, then in found.columns.items():
        if now.get(column) != then:
            logger.warning(
                "view %s asks for %s, which was of version %s when it was saved and is now of %s",
                *(name, column, then, now.get(column, "none")),
            )
    return found


def view(catalog: Catalog, name: str, version: int | None = None) -> list[str]:
    """Ids of the clips that a saved view keeps, in the catalog's order. Errors are those of `find_view`."""
    return kept(catalog, find_view(catalog, name, version).where)


def kept(catalog: Catalog, where: str) -> list[str]:
    """Ids of the clips that a condition keeps."""
    return catalog.ids(condition(where))


def condition(where: str, *, of: str = WHOLE) -> str:
    """The SQL for those clips of a condition for which this one holds too."""
    return f"{of} AND ({where}\n)"  # the line ends a comment in it


def terms(where: str) -> list[str]:
    """The parts of a condition that are joined by AND at its top level, brackets, strings and BETWEEN respected."""
    parts, depth, begin, between, position = [], 0, 0, False, 0
    for found in re.finditer(
        r"'[^']*'|\"[^\"]*\"|\(|\)|\bBETWEEN\b|\bAND\b|\bOR\b|\bCASE\b", where, re.I
    ):
        word, position = found[0].upper(), found.start()
        if word in "()":
            depth += 1 if word == "(" else -1
        elif depth == 0 and word in ("OR", "CASE"):
            return [where.strip()]  # AND binds closer than OR: nothing here stands alone
        elif depth == 0 and word == "BETWEEN":
            between = True
        elif depth == 0 and word == "AND":
            if not between:
                parts.append(where[begin:position].strip())
                begin = found.end()
            between = False
    return [*parts, where[begin:].strip()]


def drops(catalog: Catalog, where: str) -> list[tuple[str, int, int]]:
    """For each term of a condition: (term, clips that it drops by itself, clips that are left after it in turn)."""
    whole = set(catalog.ids(WHOLE))
    left, told = whole, []
    for term in terms(where):
        passed = set(kept(catalog, term))
        left = left & passed
        told.append((term, len(whole - passed), len(left)))
    return told


def _versions(catalog: Catalog, name: str) -> list[View]:
    file = catalog.path / "views" / f"{name}.json"
    if not re.fullmatch(r"[a-z][a-z0-9_-]*", name) or not file.is_file():
        return []
    return [View(**one) for one in json.loads(file.read_text())]
