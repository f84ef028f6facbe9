"""The catalog: a row per clip, a column per stage.

Owns the SQLite file of a dataset; does not know how clips are made or used. A dataset is a folder with
`catalog.sqlite`. A clip's id, `world:version:seed:size` and, but for an episode's first camera, `:shot`, is
the same in every dataset, so several can be opened side by side. A clip that failed has a row with `problem`
and no video, so that it is not tried again.
"""

import json
import re
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from worldtube import video
from worldtube.errors import DataError, NotFound, RequestError
from worldtube.video import Clip, Size

FILE = "catalog.sqlite"
COLUMNS = {
    "id": "TEXT PRIMARY KEY",
    "world": "TEXT NOT NULL",
    "version": "INTEGER NOT NULL",
    "seed": "INTEGER NOT NULL",
    "width": "INTEGER NOT NULL",
    "height": "INTEGER NOT NULL",
    "num_frames": "INTEGER",
    "fps": "REAL",
    "caption_short": "TEXT",
    "caption_medium": "TEXT",
    "caption_long": "TEXT",
    "truth": "TEXT",
    "problem": "TEXT",
    "video": "BLOB",
    "ids": "BLOB",
}
ORDER = "world, version, seed, width, height"
AT_A_TIME = 500  # ids in one question


def clip_id(world: str, version: int, seed: int, size: Size, shot: int = 0) -> str:
    return f"{world}:{version}:{seed}:{size}" + (f":{shot}" if shot else "")


def episode(name: str) -> str:
    """The id without its shot: clips of one episode show the same things and events from several cameras."""
    return ":".join(name.split(":")[:4])


class Catalog:
    """An open dataset; a context. mode "r" reads an existing one, "a" makes it when it is not there."""

    def __init__(self, path: str | Path, mode: Literal["r", "a"] = "r"):
        self.path = Path(path)
        file = self.path / FILE
        if mode == "a":
            if not self.path.absolute().parent.is_dir():
                raise RequestError(f"no folder {self.path.parent} to make {self.path.name} in")
            self.path.mkdir(exist_ok=True)
        elif mode != "r":
            raise RequestError(f"catalog mode {mode!r} is unknown (accepted: r, a)")
        elif not file.is_file():
            raise NotFound(f"no catalog in {self.path} (it would hold {FILE})")
        try:
            self._db = sqlite3.connect(
                f"{file.absolute().as_uri()}?mode={'rwc' if mode == 'a' else 'ro'}",
                uri=True,
                timeout=60,
                isolation_level=None,
                check_same_thread=False,
            )
            if mode == "a":
                self._create()
            self._stages()
        except sqlite3.DatabaseError as error:
            raise DataError(f"{file} cannot be used as a catalog: {error}") from error

    def _create(self) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        columns = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
        with self._transaction():
            self._db.execute(f"CREATE TABLE IF NOT EXISTS clips ({columns})")
            self._db.execute(f"CREATE INDEX IF NOT EXISTS in_order ON clips ({ORDER}, id)")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS stages (name TEXT PRIMARY KEY, version TEXT NOT NULL)"
            )

    def append(self, rows: Iterable[Mapping[str, Any]]) -> int:
        """Add rows (see `row`) in one transaction: all or, after a kill, none. Returns how many were new."""
        rows = list(rows)
        before = self._db.total_changes
        names = list(COLUMNS)
        question = (
            f"INSERT INTO clips ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
            " ON CONFLICT (id) DO NOTHING"
        )
        with self._transaction():
            self._db.executemany(question, [[row.get(name) for name in names] for row in rows])
        return self._db.total_changes - before

    def add_column(self, name: str, version: str) -> None:
        """Add the column of a stage. A column made by another version of the stage is emptied, to be made again."""
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name in COLUMNS:
            raise RequestError(
                f"column name {name!r} cannot be added (accepted: a new lower_case name)"
            )
        known = self._stages()
        if known.get(name) == version:
            return
        with self._transaction():
            if name in known:
                self._db.execute(f"UPDATE clips SET {name} = NULL")
            else:
                self._db.execute(f"ALTER TABLE clips ADD COLUMN {name}")
            self._db.execute("INSERT OR REPLACE INTO stages VALUES (?, ?)", (name, version))

    def columns(self) -> dict[str, str | None]:
        """The columns by name: a stage's column with its version, the others with None."""
        return dict.fromkeys(COLUMNS) | self._stages()

    def set(self, name: str, values: Mapping[str, bytes | float | str]) -> None:
        """Fill a stage's column for some ids, in one transaction."""
        if name not in self._stages():
            raise RequestError(f"column {name!r} is not a stage's (call add_column first)")
        with self._transaction():
            self._db.executemany(
                f"UPDATE clips SET {name} = ? WHERE id = ?",
                [(value, clip) for clip, value in values.items()],
            )

    def missing(self, name: str) -> list[str]:
        """Ids of whole clips without a value in this column."""
        return self.ids(f"problem IS NULL AND {self._known(name)} IS NULL")

    def ids(self, where: str = "1", values: Sequence[Any] = ()) -> list[str]:
        """Ids in the order of world, version, seed and size. where: an SQL condition on the columns, `?` for values."""
        try:
            found = self._db.execute(f"SELECT id FROM clips WHERE {where} ORDER BY {ORDER}", values)
        except sqlite3.OperationalError as error:
            raise RequestError(
                f"condition {where!r}: {error} (columns: {', '.join(self.columns())})"
            ) from error
        return [row[0] for row in found]

    def take(self, ids: Sequence[str], columns: Sequence[str]) -> list[dict[str, Any]]:
        """Rows of these ids, in their order, with these columns; `truth` comes as a dictionary."""
        names = [self._known(name) for name in columns]
        found: dict[str, dict[str, Any]] = {}
        for start in range(0, len(ids), AT_A_TIME):
            part = ids[start : start + AT_A_TIME]
            question = f"SELECT id, {', '.join(names)} FROM clips WHERE id IN ({', '.join('?' * len(part))})"
            for first, *values in self._db.execute(question, part):
                row = dict(zip(names, values, strict=True))
                if row.get("truth") is not None:
                    row["truth"] = json.loads(row["truth"])
                found[first] = row
        for name in ids:
            if name not in found:
                raise NotFound(f"no clip {name} in {self.path}")
        return [found[name] for name in ids]

    def clip(self, id: str) -> Clip:
        """The clip of an id, with its medium caption and its `ids` track."""
        (row,) = self.take([id], ["video", "caption_medium", "ids", "problem"])
        if row["video"] is None:
            raise DataError(f"clip {id} has no video: {row['problem']}")
        clip = video.decode(row["video"])
        tracks = {} if row["ids"] is None else {"ids": unpack_ids(row["ids"])}
        return Clip(
            frames=clip.frames, fps=clip.fps, caption=row["caption_medium"] or "", tracks=tracks
        )

    def __len__(self) -> int:
        return self._db.execute("SELECT count(*) FROM clips").fetchone()[0]

    def __contains__(self, id: str) -> bool:
        return self._db.execute("SELECT 1 FROM clips WHERE id = ?", (id,)).fetchone() is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids())

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _stages(self) -> dict[str, str]:
        return dict(self._db.execute("SELECT name, version FROM stages"))

    def _known(self, name: str) -> str:
        if name not in self.columns():
            raise RequestError(f"no column {name!r} (columns: {', '.join(self.columns())})")
        return name

    def _transaction(self) -> "_Transaction":
        return _Transaction(self._db)


class _Transaction:
    """All or nothing; takes the write lock at once, so that two writers wait for each other instead of failing."""

    def __init__(self, db: sqlite3.Connection):
        self.db = db

    def __enter__(self) -> None:
        self.db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, *_: object) -> None:
        self.db.execute("COMMIT" if kind is None else "ROLLBACK")


def row(
    world: str,
    version: int,
    seed: int,
    clip: Clip,
    captions: Mapping[str, str],
    truth: Mapping[str, Any],
    shot: int = 0,
) -> dict[str, Any]:
    """The row of a clip, for `Catalog.append`. captions: by length, short, medium and long."""
    return {
        **_place(world, version, seed, clip.size, shot),
        "num_frames": clip.num_frames,
        "fps": clip.fps,
        **{f"caption_{length}": captions[length] for length in ("short", "medium", "long")},
        "truth": json.dumps(truth, ensure_ascii=False),
        # The caption has columns of its own.
        "video": video.encode(Clip(frames=clip.frames, fps=clip.fps), lossless=True),
        "ids": pack_ids(clip.tracks["ids"]) if "ids" in clip.tracks else None,
    }


def problem_row(
    world: str, version: int, seed: int, size: Size, problem: str, shot: int = 0
) -> dict[str, Any]:
    """The row of a clip that could not be made."""
    return {**_place(world, version, seed, size, shot), "problem": problem}


def _place(world: str, version: int, seed: int, size: Size, shot: int) -> dict[str, Any]:
    return {
        "id": clip_id(world, version, seed, size, shot),
        "world": world,
        "version": version,
        "seed": seed,
        "width": size.width,
        "height": size.height,
    }


def pack_ids(ids: np.ndarray) -> bytes:
    """Compressed bytes of uint8 (T, H, W) masks behind their three lengths, little-endian int32."""
    if ids.dtype != np.uint8 or ids.ndim != 3:
        raise DataError(f"id masks are {ids.dtype} {ids.shape} (accepted: uint8 (T, H, W))")
    return np.array(ids.shape, "<i4").tobytes() + zlib.compress(ids.tobytes())


def unpack_ids(data: bytes) -> np.ndarray:
    shape = np.frombuffer(data, "<i4", 3)
    return np.frombuffer(bytearray(zlib.decompress(data[12:])), np.uint8).reshape(shape)
