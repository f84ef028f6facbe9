"""The catalog: a row per clip, a column per stage.

Owns what a dataset is; does not know how its tables are kept (`table`) nor how clips are made or used. A dataset is
a folder with the table `clips.lance` (facts, captions, the clip's file) and `stages/NAME@VERSION.lance` for what each
stage computed: an id and a value, so that a stage commits as it goes, and one of another version begins a table of its
own. A row or value that was written stays as it is. A clip's id, `world:version:seed:size` and, but for an episode's
first camera, `:shot`, or `film:2:HASH:START-STOP` for a piece of somebody's file, is the same in every dataset, so
several can be opened side by side. A clip that failed has a row with `problem` and no video, so that it is not tried
again.
"""

import hashlib
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from worldtube import video
from worldtube.data.table import Table, matching, schema
from worldtube.errors import DataError, NotFound, RequestError
from worldtube.video import Clip, Size

FORMAT = "2"
"""Of a dataset's tables and columns; 1 was a `catalog.sqlite`."""
FILE = "clips.lance"
REPLACED = "films/replaced.json"
"""Hashes of films in whose place, by their name, others are now."""
COLUMNS = {
    "id": "text",
    "world": "text",
    "version": "int",
    "seed": "int",
    "source": "text",
    "source_hash": "text",
    "start": "float",
    "stop": "float",
    "width": "int",
    "height": "int",
    "num_frames": "int",
    "fps": "float",
    "caption_short": "text",
    "caption_medium": "text",
    "caption_long": "text",
    "truth": "text",
    "problem": "text",
    "video": "blob",
    "ids": "blob",
}
"""Name -> kind. source: path of the file that a filmed clip is a piece of, from second `start` to `stop`; source_hash:
the sha256 of that file. Engine-made clips have a world, its version and a seed instead."""
LENGTHS = ("short", "medium", "long")
"""Of captions."""
TOLD = "captions_"
"""What the columns of captioners begin with, see `caption`."""
NEEDED = ("width", "height", "num_frames", "fps", "video")
"""Of a clip without a problem."""
ORDER = ("world", "version", "seed", "source_hash", "start", "width", "height", "id")
Value = bytes | float | str | np.ndarray | None


def clip_id(world: str, version: int, seed: int, size: Size, shot: int = 0) -> str:
    return f"{world}:{version}:{seed}:{size}" + (f":{shot}" if shot else "")


def episode(name: str) -> str:
    """The id without its shot: clips of one episode show the same things and events from several cameras."""
    return ":".join(name.split(":")[:4])


class Catalog:
    """An open dataset, which need not be closed.

    mode "r" reads an existing one, "r+" also writes to it, "a" makes it when it is not there.

    Several processes may write at once. What another one wrote is seen at the next call. Places of all ids
    are held in memory, about 150 bytes each.
    """

    def __init__(self, path: str | Path, mode: Literal["r", "r+", "a"] = "r"):
        self.path = Path(path)
        if mode not in ("r", "r+", "a"):
            raise RequestError(f"catalog mode {mode!r} is unknown (accepted: r, r+, a)")
        self._writable = mode != "r"
        file = self.path / FILE
        if not file.exists() and (self.path / "catalog.sqlite").exists():
            raise DataError(
                f"{self.path} is a dataset of format 1 (catalog.sqlite) and this version reads format {FORMAT}: "
                "record or ingest its clips into a new folder"
            )
        if mode == "a":
            try:
                self.path.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise RequestError(
                    f"{self.path} cannot be made a dataset: {error.strerror} (accepted: a folder, or a path to make "
                    "one at)"
                ) from error
            self._clips = Table.create(file, schema(COLUMNS, {"worldtube.format": FORMAT}))
        else:
            try:
                self._clips = Table(file)
            except NotFound as error:
                raise NotFound(f"no catalog in {self.path} (it would hold {FILE})") from error
        found = self._clips.notes.get("worldtube.format")
        if found != FORMAT:
            raise DataError(
                f"{self.path} is a dataset of format {found} and this version reads format {FORMAT}: "
                "open it with the worldtube that wrote it, or make it again in a new folder"
            )
        self._open: dict[Path, Table] = {}

    def append(self, rows: Iterable[Mapping[str, Any]]) -> int:
        """Add rows (see `row`) in one commit: all or, after a kill, none; a row whose id is there stays as it was.

        Returns how many were new. Raises RequestError for a row that lacks what a clip must have, and DataError
        when it cannot be written.
        """
        self._check_writable()
        rows = list(rows)
        for row in rows:
            lacking = [
                name for name in NEEDED if row.get("problem") is None and row.get(name) is None
            ]
            if not isinstance(row.get("id"), str) or lacking or row.keys() - COLUMNS.keys():
                raise RequestError(
                    f"row {row.get('id')!r} lacks {', '.join(lacking) or 'nothing'} and has "
                    f"{', '.join(sorted(row.keys() - COLUMNS.keys())) or 'nothing'} unknown (accepted: an id with "
                    f"a problem, or with {', '.join(NEEDED)}; columns: {', '.join(COLUMNS)})"
                )
        return self._clips.append({name: [row.get(name) for row in rows] for name in COLUMNS})

    def add_column(self, name: str, version: str) -> None:
        """Add the column of a stage, or go over to another version of it, whose values are to be made; those of the
        version before are kept, and seen again when it is asked for."""
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name in COLUMNS:
            raise RequestError(
                f"column name {name!r} cannot be added (accepted: a new lower_case name)"
            )
        self._check_writable()
        if self._stages().get(name) != version:
            self._clips.set({f"worldtube.stage.{name}": version})

    def columns(self) -> dict[str, str | None]:
        """The columns by name: a stage's column with its version, the others with None."""
        return dict.fromkeys(COLUMNS) | self._stages()

    def kinds(self) -> dict[str, str]:
        """What is in the columns: text, int, float, blob or arrays; a stage's is known from its first value on."""
        found = dict(COLUMNS)
        for name in self._stages():
            table = self._stage(name)
            if table is not None:
                found[name] = table.kinds()[name]
        return found

    def set(self, name: str, values: Mapping[str, Value], version: str | None = None) -> None:
        """Fill a stage's column for some ids, in one commit: text, bytes, numbers (kept as float) or numpy arrays,
        one kind in a column. A value that is there stays as it is; None is left out. version: another one than is
        seen, to go over to (`add_column`) when it is filled."""
        version = version or self._stages().get(name)
        if version is None:
            raise RequestError(f"column {name!r} is not a stage's (call add_column first)")
        self._check_writable()
        places = self._clips.places()
        for clip in values:
            if clip not in places:
                raise NotFound(f"no clip {clip} in {self.path} to set {name} of")
        given = {clip: value for clip, value in values.items() if value is not None}
        if not given:
            return
        table = self._stage(name, version)
        if table is None:
            file = self._file(name, version)
            file.parent.mkdir(exist_ok=True)
            notes = {"worldtube.stage": name, "worldtube.version": version}
            columns = {"id": "text", name: _kind(name, next(iter(given.values())))}
            table = self._open[file] = Table.create(file, schema(columns, notes))
        table.append({"id": list(given), name: list(given.values())})

    def missing(self, name: str, version: str | None = None) -> list[str]:
        """Ids of whole clips without a value in this column; version: of a stage, also one that is not seen now."""
        if version is None:
            return self.ids(f'problem IS NULL AND "{self._known(name)}" IS NULL')
        table = self._stage(name, version)
        there = {} if table is None else table.places()
        return [clip for clip in self.ids("problem IS NULL") if clip not in there]

    def problems(self) -> list[str]:
        """Ids of what could not be made, but for files in whose place others are now."""
        file = self.path / REPLACED
        gone = set(json.loads(file.read_text())) if file.is_file() else set()
        bad = self.ids("problem IS NOT NULL")
        if not gone:
            return bad
        return [
            row["id"]
            for row in self.take(bad, ["id", "source_hash"])
            if row["source_hash"] not in gone
        ]

    def ids(self, where: str = "1", values: Sequence[Any] = ()) -> list[str]:
        """Ids in the order of world, version, seed and size, filmed clips after them by file and time.

        where: an SQL condition on the columns, `?` for values. Of clips, masks and other bytes and arrays it
        can ask only whether they are NULL. Raises RequestError for a condition that cannot be understood.
        """
        named = set(re.findall(r"\w+", where.lower()))
        columns = self._clips.columns([n for n in COLUMNS if n in named or n in ORDER])
        clips = columns["id"]
        for name in self._stages().keys() & named:
            table = self._stage(name)
            columns[name] = (
                [None] * len(clips) if table is None else table.columns([name], clips)[name]
            )
        try:
            return matching(columns, where, values, ORDER)
        except RequestError as error:
            raise RequestError(f"{error} (columns: {', '.join(self.columns())})") from error

    def take(self, ids: Sequence[str], columns: Sequence[str]) -> list[dict[str, Any]]:
        """Rows of these ids, in their order, with these columns; `truth` comes as a dictionary."""
        places = self._clips.places()
        for name in ids:
            if name not in places:
                raise NotFound(f"no clip {name} in {self.path}")
        stages = self._stages()
        facts = [self._known(name) for name in columns if name not in stages]
        found = self._clips.take(ids, facts)
        for name in columns:
            if name in stages:
                table = self._stage(name)
                found[name] = [None] * len(ids) if table is None else table.take(ids, [name])[name]
        if "truth" in found:
            found["truth"] = [None if text is None else json.loads(text) for text in found["truth"]]
        return [
            dict(zip(columns, row, strict=True))
            for row in zip(*(found[name] for name in columns), strict=True)
        ]

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

    def tables(self) -> dict[str, int]:
        """The number of the newest commit of the clips and of each stage's column."""
        found = {"clips": self._clips.version()}
        for name in self._stages():
            table = self._stage(name)
            found[name] = 0 if table is None else table.version()
        return found

    def compact(self) -> None:
        """Merge the small pieces that many writes leave, so that reading is fast: call it after a long write."""
        self._check_writable()
        for table in (self._clips, *map(self._stage, self._stages())):
            if table is not None:
                table.compact()

    def __len__(self) -> int:
        return len(self._clips.places())

    def __contains__(self, id: str) -> bool:
        return id in self._clips.places()

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids())

    def _check_writable(self) -> None:
        if not self._writable:
            raise RequestError(f"{self.path} is open for reading only (accepted: mode 'a')")

    def _stages(self) -> dict[str, str]:
        prefix = "worldtube.stage."
        settings = sorted(self._clips.settings().items())
        return {key.removeprefix(prefix): v for key, v in settings if key.startswith(prefix)}

    def _known(self, name: str) -> str:
        if name not in self.columns():
            raise RequestError(f"no column {name!r} (columns: {', '.join(self.columns())})")
        return name

    def _file(self, name: str, version: str) -> Path:
        """Where a stage's values lie: its version in letters that every file system takes."""
        plain = re.sub(r"[^A-Za-z0-9.-]", "-", version)[:60]
        if plain != version:
            plain += "-" + hashlib.sha256(version.encode()).hexdigest()[:8]
        return self.path / "stages" / f"{name}@{plain}.lance"

    def _stage(self, name: str, version: str | None = None) -> Table | None:
        """The table of a stage's values, of the version that is seen when not said; None before the first."""
        file = self._file(name, version or self._stages()[name])
        if file not in self._open and file.is_dir():
            try:
                self._open[file] = Table(file)
            except NotFound:
                return None  # another writer is just making it, or was killed there
        return self._open.get(file)


def _kind(name: str, value: Value) -> str:
    if isinstance(value, np.ndarray):
        return f"arrays {value.dtype}"
    for types, kind in ((str, "text"), (bytes, "blob"), ((int, float, np.number), "float")):
        if isinstance(value, types):
            return kind
    raise RequestError(
        f"column {name!r} cannot hold a {type(value).__name__} (accepted: text, bytes, numbers, numpy arrays)"
    )


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
        **{f"caption_{length}": captions[length] for length in LENGTHS},
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
