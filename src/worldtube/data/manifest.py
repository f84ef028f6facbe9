"""What a run was trained on, nailed down: the manifest in its folder.

Owns the file and what differs between two. Does not know how runs are made: whoever trains calls `of_run` before the
first step, also after a resume, and trains on the ids of what it returns; it raises where the data are others.

Rows and values of a dataset never change once they are written (see `table`), so ids and the versions of the stages
say all of what is read; the numbers of the commits are noted for people. A dataset that grew is no other one as long
as the ids are given: a run goes on with those that it began with.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from worldtube.data.catalog import Catalog
from worldtube.errors import DataError
from worldtube.files import atomic_write

FILE, MEASURED = "manifest.json", "validation.json"
"""Names in a run's folder: of the clips that it learns from, and of those that it is measured on."""
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The clips of a run, by dataset in the order in which they were named."""

    ids: tuple[tuple[str, ...], ...]
    """Sorted ids of each dataset."""
    versions: tuple[Mapping[str, str], ...]
    """Of each dataset's stages that the run reads: what made the latents, the states of words, ..."""
    where: tuple[str, ...]
    """The condition by which clips of each dataset were chosen."""
    commits: tuple[Mapping[str, int], ...] = field(default=(), compare=False)
    """Number of the newest commit of each dataset's tables when this was made; for people."""

    @property
    def hash(self) -> str:
        """Hexadecimal sha256 of the ids and versions."""
        told = json.dumps([self.ids, [dict(sorted(v.items())) for v in self.versions]])
        return hashlib.sha256(told.encode()).hexdigest()

    def save(self, folder: Path, file: str = FILE) -> Path:
        """Write `folder/manifest.json`, whole or not at all."""
        path = folder / file
        told: dict[str, Any] = {"format": FORMAT, "hash": self.hash} | asdict(self)
        atomic_write(path, json.dumps(told, ensure_ascii=False, indent=1))
        return path

    @classmethod
    def load(cls, folder: Path, file: str = FILE) -> Self:
        """Read what `save` wrote. Raises DataError for another file, also for one that was edited."""
        path = folder / file
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            if told["format"] != FORMAT:
                raise DataError(
                    f"{path} is of format {told['format']} and this version reads format {FORMAT}: "
                    "go on with the worldtube that began the run, or begin it in another folder"
                )
            made = cls(
                ids=tuple(tuple(each) for each in told["ids"]),
                versions=tuple(told["versions"]),
                where=tuple(told["where"]),
                commits=tuple(told["commits"]),
            )
            if made.hash != told["hash"]:
                raise DataError(f"{path} was changed: its hash is not that of its ids and versions")
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path} cannot be read as a manifest: {error!r}") from error
        return made


def freeze(catalogs: Sequence[Catalog], where: Sequence[str], columns: Sequence[str]) -> Manifest:
    """The manifest of the clips for which `where`, a condition for each dataset, holds. columns: the stages that are
    read, where a dataset has them."""
    return Manifest(
        ids=tuple(
            tuple(sorted(catalog.ids(one))) for catalog, one in zip(catalogs, where, strict=True)
        ),
        versions=tuple(
            {name: v for name, v in catalog.columns().items() if name in columns and v is not None}
            for catalog in catalogs
        ),
        where=tuple(where),
        commits=tuple(catalog.tables() for catalog in catalogs),
    )


def of_run(
    folder: Path,
    catalogs: Sequence[Catalog],
    where: Sequence[str],
    columns: Sequence[str],
    *,
    file: str = FILE,
) -> Manifest:
    """The manifest of the run in `folder`: made by the first call, checked by each further one.

    file: its name there; a run has one of what it learns from, and one of what it is measured on.

    A run takes its clips from `ids` and reads the stages of `versions`, so what was added to the datasets since does
    not change it, nor does a clip that
    the condition leaves out since then (a repeat of one that came later). Raises DataError, with what differs, when
    clips of it, or what is read of them, are gone, or when a stage that it reads is now of another version.
    """
    if not (folder / file).exists():
        now = freeze(catalogs, where, columns)
        now.save(folder, file)
        return now
    begun = Manifest.load(folder, file)
    now = freeze(catalogs, ["0"] * len(catalogs), columns)  # its ids are asked for by name
    ids = (*begun.ids, *[()] * len(catalogs))
    there = tuple(
        _there(catalog, names, one, columns)
        for catalog, names, one in zip(catalogs, ids, where, strict=False)
    )
    check(begun, replace(now, ids=there, where=tuple(where)), grown=True)
    return begun


def _there(
    catalog: Catalog, ids: Sequence[str], where: str, columns: Sequence[str]
) -> tuple[str, ...]:
    """Those of these ids that the dataset still has, with every stage that is read and that `where` names."""
    read = catalog.columns().keys() & set(columns) & set(re.findall(r"\w+", where))
    asked = " AND ".join(["1", *(f'"{name}" IS NOT NULL' for name in sorted(read))])
    whole = set(catalog.ids(asked))
    return tuple(name for name in ids if name in whole)


def check(begun: Manifest, now: Manifest, *, grown: bool = False) -> None:
    """Raise DataError with one sentence on what differs. grown: clips and stages that came since are accepted."""
    said: list[str] = []
    for old, new in zip(begun.where, now.where, strict=False):
        if "".join(old.split()) != "".join(new.split()):  # a line more is no other condition
            said.append(f"clips were chosen by {old!r} and are now by {new!r}")
    if len(begun.ids) != len(now.ids):
        said.append(f"there were {len(begun.ids)} datasets and are {len(now.ids)}")
    for number, (old, new) in enumerate(zip(begun.ids, now.ids, strict=False), 1):
        missing, fresh = set(old) - set(new), set(new) - set(old)
        of = f" in dataset {number}" if len(now.ids) > 1 else ""
        if missing:
            said.append(f"{len(missing)} of {len(old)} clips are missing{of}, {min(missing)} first")
        if fresh and not grown:
            said.append(f"{len(fresh)} clips are new{of}, {min(fresh)} first")
    for number, (old, new) in enumerate(zip(begun.versions, now.versions, strict=False), 1):
        of = f" of dataset {number}" if len(now.ids) > 1 else ""
        for name in sorted(old.keys() if grown else old.keys() | new.keys()):
            if old.get(name) != new.get(name):
                said.append(
                    f"{name}{of} was made by {old.get(name, 'nothing')} and is now by {new.get(name, 'nothing')}"
                )
    if said:
        raise DataError(
            f"the run began with other data: {'; '.join(said)} "
            "(accepted: the data it began with, or another folder for a new run)"
        )
