"""One append-only table of rows by id, in Lance.

The only file that knows Lance: its majors break keywords, and what a table must keep is decided here. Does not know
what a clip is. The rules:

- A row is written once: an id that is there stays as it is, and when two writers wrote the same id at once the row
  that came first is the one that is seen. So what has been read by id never changes.
- Every write is one commit: it is seen whole, or after a kill or on a full disk not at all.
- The place of a row is no identity (merging small pieces moves it): places are looked up by id, per version.
- Readers see the newest commit at every call (looking for one takes 0.1 ms), also from another process.
"""

import os
import re
import shutil
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from worldtube.errors import DataError, MissingExtra, NotFound, RequestError

if TYPE_CHECKING:
    import pyarrow as pa

STORAGE = "2.2"
"""Lance's file format, said so that a newer Lance goes on writing what an older one reads; blobs need it."""
PIECES = 128
"""With this many small pieces a write merges them."""
ROWS = 4096
"""Rows of a piece that is merged no further, so that a growing table is not written again and again."""
TRIES = 20
"""Of what another process can come before: a commit, or the merging of what is being read."""
Result = TypeVar("Result")


def lance() -> ModuleType:
    """The library, imported when a table is first opened. Raises MissingExtra."""
    # Its warnings tell of conflicts that are dealt with here.
    os.environ.setdefault("LANCE_LOG", "error")
    try:
        import lance
    except ImportError as error:
        raise MissingExtra("a dataset", "data") from error
    return lance


def schema(columns: Mapping[str, str], notes: Mapping[str, str]) -> "pa.Schema":
    """Columns by name and kind (text, int, float, blob, or `arrays` of a numpy type), with notes that stay with the
    table. A blob lies beside the rows: reading other columns does not pass over it."""
    library = lance()
    import pyarrow as pa

    plain = {"text": pa.string(), "int": pa.int64(), "float": pa.float64()}
    fields = []
    for name, kind in columns.items():
        if kind == "blob":
            fields.append(library.blob_field(name))
        elif kind in plain:
            fields.append(pa.field(name, plain[kind]))
        else:
            # Numbers of a network do not compress; trying costs a third of the time of writing.
            item = pa.field(
                "item",
                pa.from_numpy_dtype(np.dtype(kind.removeprefix("arrays "))),
                metadata={"lance-encoding:compression": "none"},
            )
            shape = pa.field("shape", pa.list_(pa.int32()))
            fields.append(
                pa.field(name, pa.struct([pa.field("numbers", pa.large_list(item)), shape]))
            )
    return pa.schema(fields, metadata=dict(notes))


def column(values: Sequence[Any], field: "pa.Field") -> "pa.Array":
    """Python values as a column. Raises RequestError for a value of another kind."""
    import pyarrow as pa

    try:
        if is_blob(field):
            return lance().blob_array(list(values))
        if pa.types.is_struct(field.type):
            return _arrays(values, field.type)
        return pa.array(values, field.type)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise RequestError(f"column {field.name!r} holds {field.type}: {error}") from error


def is_blob(field: "pa.Field") -> bool:
    return str(getattr(field.type, "extension_name", "")).startswith("lance.blob")


def _arrays(values: Sequence[np.ndarray], kind: "pa.StructType") -> "pa.Array":
    import pyarrow as pa

    numbers = kind.field("numbers").type
    wanted = numbers.value_type.to_pandas_dtype()
    for value in values:
        if not isinstance(value, np.ndarray) or value.dtype != wanted:
            told = getattr(value, "dtype", type(value).__name__)
            raise TypeError(f"{told} given (accepted: arrays of {np.dtype(wanted)})")
    ends = np.cumsum([0, *(value.size for value in values)], dtype=np.int64)
    flat = np.concatenate([np.ascontiguousarray(value).ravel() for value in values])
    lists = pa.LargeListArray.from_arrays(pa.array(ends), pa.array(flat), type=numbers)
    shapes = pa.array([list(value.shape) for value in values], kind.field("shape").type)
    return pa.StructArray.from_arrays([lists, shapes], fields=list(kind))


def _values(found: "pa.Array") -> list[Any]:
    """A column as Python values, arrays as numpy's with their shapes."""
    import pyarrow as pa

    if not pa.types.is_struct(found.type):
        return found.to_pylist()
    lists, shapes = found.field("numbers"), found.field("shape").to_pylist()
    flat, ends = lists.values.to_numpy(), lists.offsets.to_numpy()
    parts = zip(ends[:-1], ends[1:], shapes, strict=True)
    return [flat[a:b].reshape(shape).copy() for a, b, shape in parts]


class Table:
    """An open table; the first column is `id`. Several threads may use one, several processes the same path."""

    def __init__(self, path: Path):
        """Open the table at `path`. Raises NotFound when there is none, DataError for what cannot be read."""
        self.path = path
        self._lock = threading.RLock()
        self._set = self._open()
        self._version = -1
        self._pieces: list[int] = []
        self._rows = 0
        self._places: dict[str, int] = {}

    @classmethod
    def create(cls, path: Path, schema: "pa.Schema") -> "Table":
        """Make an empty table, or open the one that is there."""
        try:
            return cls(path)
        except NotFound:
            pass
        try:
            lance().write_dataset(
                schema.empty_table(), path, mode="create", data_storage_version=STORAGE
            )
        except OSError as error:
            if "already exists" not in str(error):  # another writer came first
                raise _unwritten(path, error) from error
        return cls(path)

    def _open(self) -> Any:
        library = lance()
        try:
            return library.dataset(self.path)
        except ValueError as error:
            if "not found" in str(error):
                raise NotFound(f"no table {self.path}") from error
            raise DataError(f"{self.path} cannot be read as a table: {_plain(error)}") from error
        except OSError as error:
            raise DataError(f"{self.path} cannot be read as a table: {_plain(error)}") from error

    @property
    def schema(self) -> "pa.Schema":
        return self._set.schema

    @property
    def notes(self) -> dict[str, str]:
        """What was noted with the schema when the table was made."""
        return {k.decode(): v.decode() for k, v in (self.schema.metadata or {}).items()}

    def kinds(self) -> dict[str, str]:
        """text, int, float, blob or arrays, by column."""
        import pyarrow as pa

        plain = {pa.string(): "text", pa.int64(): "int", pa.float64(): "float"}
        return {
            field.name: "blob" if is_blob(field) else plain.get(field.type, "arrays")
            for field in self.schema
        }

    def settings(self) -> dict[str, str]:
        """Named texts that may change, unlike rows."""
        with self._lock:
            self._refresh()
            return dict(self._set.config())

    def set(self, values: Mapping[str, str]) -> None:
        """Change settings."""
        self._commit(lambda: self._open().update_config(dict(values)))

    def version(self) -> int:
        """Number of the newest commit."""
        with self._lock:
            self._refresh()
            return self._set.version

    def places(self) -> dict[str, int]:
        """id -> place in the newest version; not to be changed."""
        with self._lock:
            self._refresh()
            return self._places

    def append(self, values: Mapping[str, Sequence[Any]]) -> int:
        """Add the rows whose id is not there yet, in one commit; values by column. Returns how many.

        Raises RequestError for a value of another kind than its column, DataError when the disk is full.
        """
        import pyarrow as pa

        there, fresh = self.places(), {}
        for index, name in enumerate(values["id"]):
            if name not in there:
                fresh.setdefault(name, index)
        if not fresh:
            return 0
        columns = [
            column([values[field.name][index] for index in fresh.values()], field)
            for field in self.schema
        ]
        rows = pa.Table.from_arrays(columns, schema=self.schema)
        self._commit(
            lambda: lance().write_dataset(
                rows, self.path, mode="append", data_storage_version=STORAGE
            )
        )
        with self._lock:
            self._refresh()
            crowded = len(self._pieces) - self._rows // ROWS > PIECES
        if crowded:
            self.compact()
        return len(fresh)

    def take(self, ids: Sequence[str], columns: Sequence[str]) -> dict[str, list[Any]]:
        """The columns' values for these ids, in their order; None for an id that is not there."""

        def read(found: Any, places: dict[str, int]) -> dict[str, list[Any]]:
            at = [place for name in ids if (place := places.get(name)) is not None]
            blobs = [name for name in columns if is_blob(self.schema.field(name))]
            plain = [name for name in columns if name not in blobs]
            out: dict[str, list[Any]] = {name: [] for name in columns}
            if at and plain:
                rows = found.take(at, columns=plain)
                out |= {name: _values(rows[name].combine_chunks()) for name in plain}
            if at:
                for name in blobs:
                    read = found.read_blobs(name, indices=at, preserve_order=True)
                    out[name] = [data for _, data in read]
            if len(at) < len(ids):
                for name, values in out.items():
                    each = iter(values)
                    out[name] = [next(each) if i in places else None for i in ids]
            return out

        return self._read(read)

    def columns(
        self, names: Sequence[str], ids: Sequence[str] | None = None
    ) -> dict[str, list[Any]]:
        """Whole columns in the order of `ids` (of the rows when None), None where there is nothing; of blobs and
        arrays only True where there is something."""
        import pyarrow as pa

        def read(found: Any, places: dict[str, int]) -> dict[str, list[Any]]:
            at = list(places.values()) if ids is None else [places.get(name) for name in ids]
            fields = [self.schema.field(name) for name in names]
            arrays = [field.name for field in fields if pa.types.is_struct(field.type)]
            rows = found.to_table(columns=[name for name in names if name not in arrays])
            out = {}
            for field in fields:
                if field.name in arrays:
                    out[field.name] = [None if place is None else True for place in at]
                    continue
                if is_blob(field):
                    values = [there or None for there in rows[field.name].is_valid().to_pylist()]
                else:
                    values = rows[field.name].to_pylist()
                out[field.name] = [None if place is None else values[place] for place in at]
            return out

        return self._read(read)

    def compact(self) -> None:
        """Merge small pieces, which makes reading faster, and remove the files that they were. Rows, ids and what is
        read stay the same. Who reads or writes meanwhile tries again; a second merger leaves the work to the first."""
        blobs = any(is_blob(field) for field in self.schema)
        rows = 16 if blobs else 64  # in memory at a time
        try:
            self._open().optimize.compact_files(target_rows_per_fragment=ROWS, batch_size=rows)
            self._open().cleanup_old_versions(older_than=timedelta(0))
        except OSError as error:
            if not _overtaken(error):
                raise _unwritten(self.path, error) from error

    def _read(self, read: Callable[[Any, dict[str, int]], Result]) -> Result:
        """Read from the newest version; again when its files were merged away meanwhile."""
        for left in reversed(range(TRIES)):
            with self._lock:
                self._refresh()
                found, places = self._set, self._places
            try:
                return read(found, places)
            except (OSError, ValueError) as error:
                if not left or found.latest_version == found.version:
                    raise DataError(f"{self.path} cannot be read: {_plain(error)}") from error
        raise AssertionError("a loop over no tries")

    def _refresh(self) -> None:
        """Look up the places of rows that came since the last look; again when they were merged away meanwhile."""
        for left in reversed(range(TRIES)):
            try:
                if self._version != self._set.latest_version:
                    self._look()
                return
            except (OSError, ValueError, DataError, NotFound) as error:
                if not (_overtaken(error) and left):
                    raise DataError(f"{self.path} cannot be read: {_plain(error)}") from error

    def _look(self) -> None:
        found = self._open()
        pieces = {piece.fragment_id: piece for piece in found.get_fragments()}
        known = len(self._pieces)
        if list(pieces)[:known] != self._pieces:
            known, self._rows, self._places = 0, 0, {}
        fresh = list(pieces.values())[known:]
        if fresh:
            places = dict(self._places)  # those who hold the old one go on with the old version
            ids = found.scanner(columns=["id"], fragments=fresh, scan_in_order=True).to_table()[
                "id"
            ]
            for place, name in enumerate(ids.to_pylist(), self._rows):
                places.setdefault(name, place)
            self._places = places
            self._rows += len(ids)
        self._set, self._version, self._pieces = found, found.version, list(pieces)

    def _commit(self, write: Callable[[], Any]) -> None:
        """Write; again when another writer came first. Raises DataError when it cannot be written."""
        for left in reversed(range(TRIES)):
            try:
                write()
                return
            except (OSError, ValueError, DataError, NotFound) as error:
                if not (_overtaken(error) and left):
                    raise _unwritten(self.path, error) from error


def _overtaken(error: Exception) -> bool:
    """Whether another process committed, or merged what this one began from, meanwhile: then nothing was committed
    here. Lance has a class for it, and for some writes says it only in words."""
    words = ("commit conflict", "ncompatible transaction", "ot found")
    return hasattr(error, "retryable") or any(word in str(error) for word in words)


def _unwritten(path: Path, error: Exception) -> DataError:
    left = shutil.disk_usage(path if path.exists() else path.parent).free
    cause = _plain(error)
    return DataError(
        f"{path} cannot be written, and is as it was before ({left / 1e6:.0f} MB are free on its disk)"
        + (f": {cause}" if cause else "")
    )


def _plain(error: Exception) -> str:
    """What Lance complains of, without its own source files; nothing where a full disk looks so from inside."""
    if found := re.search(r"[A-Z][\w ]+ \(os error \d+\)", str(error)):
        return found[0]
    if "Packed blob range" in str(error):
        return ""
    return re.sub(r",? /\S+\.rs:\d+(:\d+)?", "", str(error))


def matching(
    columns: Mapping[str, list[Any]], where: str, values: Sequence[Any], order: Sequence[str]
) -> list[str]:
    """The `id` of the rows for which an SQL condition holds, in an order of columns.

    Raises RequestError for a condition that cannot be understood. The question is put to a table in memory,
    so that a condition sees these columns and nothing else of the machine.
    """
    names = ", ".join(f'"{name}"' for name in columns)
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute(f"CREATE TABLE clips ({names})")
        marks = ", ".join("?" * len(columns))
        rows = zip(*columns.values(), strict=True)
        database.executemany(f"INSERT INTO clips VALUES ({marks})", rows)
        by = ", ".join(f'"{name}" NULLS LAST' for name in order)
        try:
            # A new line, lest a comment in the condition takes the bracket with it.
            question = f"SELECT id FROM clips WHERE ({where}\n) ORDER BY {by}"
            return [row[0] for row in database.execute(question, list(values))]
        except sqlite3.Error as error:
            raise RequestError(f"condition {where!r}: {error}") from error
