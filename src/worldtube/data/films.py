"""Filling a catalog with clips cut from films: any files, the good and the bad.

Owns the order of work and what is kept of a file; how one is read is in `cutting`.

A dataset's folder `films` holds what was found out about each file (its hash, times and shots), so that a second run,
or one after a kill, decodes only what it lacks, and a set can be made again from the same files. Every file leaves a
trace: clips, or a row that says why it has none. Files are read in child processes with limits; what breaks one is
told, and tried again by the next run.
"""

import functools
import hashlib
import itertools
import json
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from worldtube import workers
from worldtube.data import shots
from worldtube.data.catalog import REPLACED, TOLD, Catalog
from worldtube.data.cutting import Cut, Cutting, Found, Part, Watch, problem_row
from worldtube.data.repeats import mark_repeats
from worldtube.data.shots import Shots
from worldtube.data.sidecar import SIDECARS, TABLES, Tell, sidecar
from worldtube.data.stages import DEFAULT, STAGES, Scores
from worldtube.errors import DataError, NotFound, unknown
from worldtube.files import atomic_write
from worldtube.video.film import Film

TOGETHER = 8
"""Clips that are read in one go."""
BATCH = 32
"""Clips in one commit: what a kill can cost at most, together with what is being made."""
SECONDS = 20.0
"""A smaller batch is written when this much time has passed."""
SHOWN = 4
"""Files that are named where there are many: one more than the commands print, which so know of others."""
PATIENCE = 300.0
"""Seconds that any file may take, however small."""

logger = logging.getLogger(__name__)
Progress = Callable[[str, int, int], None]
Problem = tuple[str, str]
"""What it is, and of which file."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    files: int
    copies: int
    """Files that hold, byte for byte, what another one holds; what is said beside one of them is said of all."""
    copied: Mapping[str, str]
    """Up to SHOWN of them, and of which file each is one."""
    clips: int
    """Of these files in the catalog, without problems."""
    new: int
    """Of those, made now."""
    seconds: float
    """Length of the clips."""
    unused_seconds: float
    """Length of the pieces at the ends of shots that are shorter than a clip, in films that gave clips."""
    unused_films: int
    """Films that have such pieces."""
    repeats: int
    """Clips of the whole catalog that look like an earlier one."""
    problems: Mapping[str, int]
    """Why files, or pieces of them, gave no clip, and how many; also what this run lost and the next tries again."""
    named: Mapping[str, Sequence[str]]
    """Up to SHOWN files of each."""
    late: Mapping[str, Sequence[str]]
    """Films whose text came, or was changed, after their clips, which keep what they have, by the folder that they
    were found in: `caption` with a sidecar reads it."""


def ingest(
    sources: Sequence[str | Path],
    *,
    out: str | Path,
    cutting: Cutting | None = None,
    stages: Sequence[str] | Mapping[str, Scores] = DEFAULT,
    on: str = "processes",
    processes: int | None = None,
    memory_mb: int = 4096,
    progress: Progress | None = None,
) -> Summary:
    """Cut the films in these folders and files into clips of the catalog `out`, leaving out those already there.

    stages: names of STAGES, or stages by name. on, processes: where the work runs, see `workers.run`. memory_mb: of
    each process that reads files. progress: called with (what, done, wanted). Killed at any moment, it keeps what was
    committed, and a second call completes it to the same table. Raises NotFound for a source that is not there,
    DataError when the catalog was cut in another way.
    """
    cutting = cutting or Cutting()
    loaded = _stages(stages)
    tell = progress or (lambda what, done, wanted: None)
    files = listed(sources)
    catalog = Catalog(out, mode="a")
    folder = Path(out, "films")
    _agree(folder, cutting)
    limits = workers.Limits(seconds=_patience, memory_mb=memory_mb)
    found, lost = _watched(files, folder, cutting, on, processes, limits, tell)
    ours = _once(found)
    for name, stage in loaded.items():
        for column in stage.columns:
            catalog.add_column(column, f"{name}-{stage.version}")
    wanted, whole = _wanted(ours, cutting)
    there = set(catalog.ids())
    catalog.append([row for row in whole if row["id"] not in there])
    lacking = {
        clip
        for stage in loaded.values()
        for column in stage.columns
        for clip in catalog.missing(column)
    }
    todo = [
        (one, span)
        for one, span in wanted
        if (name := one.id(*span)) not in there or name in lacking
    ]
    cut = Cut(cutting, loaded)
    lost += _cut_all(catalog, todo, len(wanted), cut, on, processes, limits, tell)
    repeats = mark_repeats(catalog) if "phash" in catalog.columns() else 0
    catalog.compact()
    return _summary(catalog, len(files), found, ours, wanted, there, repeats, cutting, lost)


def listed(sources: Sequence[str | Path]) -> list[tuple[str, Path]]:
    """(name, path) of every file: those named, and in folders all but hidden ones and captions of others, in order."""
    files: dict[Path, str] = {}
    for source in map(Path, sources):
        if source.is_dir():
            inside = sorted(
                path
                for path in source.rglob("*")
                if not os.path.isdir(path) and path.name not in TABLES
            )
            films = {path for path in inside if path.suffix.lower() not in SIDECARS}
            told_of = films | {path.with_suffix("") for path in films}
            for path in inside:
                name = path.relative_to(source)
                hidden = any(part.startswith(".") for part in name.parts)
                if not hidden and (path in films or path.with_suffix("") not in told_of):
                    files.setdefault(path.absolute(), _text(name.as_posix()))
        elif source.exists():
            files.setdefault(source.absolute(), _text(source.name))
        else:
            raise NotFound(f"no file or folder {source}")
    if not files:
        raise NotFound(f"no files in {', '.join(map(str, sources))}")
    return [(name, path) for path, name in files.items()]


def _text(name: str) -> str:
    """A name as text: one that is no UTF-8 cannot be kept as it is."""
    return os.fsencode(name).decode("utf-8", "replace")


def _once(found: Sequence[Found]) -> list[Found]:
    """Of copies the first, with the text of the first that has one."""
    films: dict[str, Found] = {}
    for one in found:
        first = films.setdefault(one.sha256, one)
        if one.captions and not first.captions:
            films[one.sha256] = replace(first, captions=one.captions)
    return list(films.values())


def _stages(stages: Sequence[str] | Mapping[str, Scores]) -> dict[str, Scores]:
    if isinstance(stages, Mapping):
        return dict(stages)
    for name in stages:
        if name not in STAGES:
            raise unknown("stage", name, STAGES)
    return {name: STAGES[name]() for name in STAGES if name in stages}


def _agree(folder: Path, cutting: Cutting) -> None:
    """The dataset's own way of cutting is this one, or becomes it."""
    folder.mkdir(exist_ok=True)
    file = folder / "cutting.json"
    if file.is_file():
        asked = cutting.told()
        # Early datasets do not say the detector's version.
        own = {"detector": asked["detector"]} | json.loads(file.read_text())
        other = [
            f"{key} {own.get(key)}, not {asked[key]}" for key in asked if own.get(key) != asked[key]
        ]
        if other:
            raise DataError(
                f"{folder.parent} holds clips of {'; '.join(other)}: name another folder"
            )
    else:
        atomic_write(file, json.dumps(cutting.told()))


def _patience(item: Any) -> float:
    """Seconds that a file may take: even a slow core reads more than 100 kB of film a second."""
    path = item.found.film.path if isinstance(item, Part) else item
    try:
        return PATIENCE + Path(path).stat().st_size / 1e5
    except OSError:
        return PATIENCE


def _watched(
    files: Sequence[tuple[str, Path]],
    folder: Path,
    cutting: Cutting,
    on: str,
    processes: int | None,
    limits: workers.Limits,
    tell: Progress,
) -> tuple[list[Found], list[Problem]]:
    """What is in each file, from the notes of a run before where the file is as it was then; and of the files that
    broke a limit, why."""
    known: dict[Path, dict[str, Any]] = {}
    before: dict[Path, str] = {}
    lost: list[Problem] = []
    names = {path: name for name, path in files}
    for _, path in files:
        note = _note(folder, path)
        if note.is_file():
            told = json.loads(note.read_text())
            if told["stamp"] == _stamp(path):
                known[path] = told
            elif digest := told.get("sha256") or (told["film"] or {}).get("sha256"):
                before[path] = digest
    todo = [path for _, path in files if path not in known]
    # A file that changes while it is read is not what was read.
    stamps = {path: _stamp(path) for path in todo}
    done = len(known)
    tell("films", done, len(files))
    stage = Watch(cutting.shots)
    for index, answer in workers.run(
        stage, [str(path) for path in todo], on=on, processes=processes, limits=limits
    ):
        path = todo[index]
        if isinstance(answer, workers.Lost):
            lost.append((_lost(answer, _text(str(path))), names[path]))
        else:
            # Through JSON, so that a run that finds the note computes with the very same numbers.
            digest = answer["film"]["sha256"] if answer["film"] else _hash(path)
            text = json.dumps(answer | {"stamp": stamps[path], "sha256": digest})
            if before.get(path, digest) != digest:
                _replaced(folder, add={before[path]})
            atomic_write(_note(folder, path), text)
            known[path] = json.loads(text)
        done += 1
        tell("films", done, len(files))
    warn = functools.cache(logger.warning)  # two films may share a text
    found = [_found(name, path, known[path], warn) for name, path in files if path in known]
    _replaced(folder, drop={one.sha256 for one in found})
    return found, lost


def _replaced(folder: Path, *, add: Set[str] = frozenset(), drop: Set[str] = frozenset()) -> None:
    """Note the hashes of files in whose place others are now, see `Catalog.problems`."""
    file = folder / Path(REPLACED).name
    old = set(json.loads(file.read_text())) if file.is_file() else set()
    if (new := (old | add) - drop) != old:
        atomic_write(file, json.dumps(sorted(new)))


def _lost(answer: workers.Lost, what: str) -> str:
    """The problem; nothing else is kept, for the file may not be at fault."""
    problem = f"reading it {answer.reason}"
    logger.warning("%s: %s; the next run tries again", what, problem)
    return problem


def _note(folder: Path, path: Path) -> Path:
    return folder / f"{hashlib.sha256(os.fsencode(path)).hexdigest()[:16]}.json"


def _stamp(path: Path) -> list[int] | None:
    """By which a changed file is known; None where none is there (a link that leads nowhere, a file just removed)."""
    try:
        about = path.stat()
    except OSError:
        return None
    return [about.st_size, about.st_mtime_ns]


def _found(name: str, path: Path, told: Mapping[str, Any], tell: Tell) -> Found:
    film = Film(**told["film"]) if told["film"] else None
    return Found(
        source=name,
        sha256=film.sha256 if film else told.get("sha256") or _hash(path),
        film=film,
        shots=Shots(spans=tuple((a, b) for a, b in told["spans"]), problem=told["problem"]),
        captions=sidecar(path, tell) if film else {},
    )


def _hash(path: Path) -> str:
    """Of the file, or of its name where there is nothing to read."""
    if os.path.isfile(path):
        try:
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            pass
    return hashlib.sha256(os.fsencode(path)).hexdigest()


def _wanted(
    films: Sequence[Found], cutting: Cutting
) -> tuple[list[tuple[Found, tuple[float, float]]], list[dict[str, Any]]]:
    """The stretches of these films that become clips, and rows of the films that have a problem."""
    wanted, whole = [], []
    for one in films:
        spans = (
            [] if one.film is None else list(shots.stretches(one.shots, cutting.seconds, one.film))
        )
        problem = one.problem
        if not spans and not problem and one.film and one.film.num_frames == 1:
            problem = "one picture is no film"
        elif not spans and not problem:
            longest = max((b - a for a, b in one.shots.spans), default=0.0)
            problem = (
                f"no shot lasts the {cutting.seconds:.2f} s of a clip (the longest {longest:.2f} s)"
            )
        if problem:
            whole.append(problem_row(one, (0, 0), problem))
        wanted += [(one, span) for span in spans]
    return wanted, whole


def _parts(todo: Sequence[tuple[Found, tuple[float, float]]]) -> list[Part]:
    parts: list[Part] = []
    for one, span in todo:
        if parts and parts[-1].found is one and len(parts[-1].spans) < TOGETHER:
            parts[-1] = Part(found=one, spans=(*parts[-1].spans, span))
        else:
            parts.append(Part(found=one, spans=(span,)))
    return parts


def _cut_all(
    catalog: Catalog,
    todo: Sequence[tuple[Found, tuple[float, float]]],
    total: int,
    stage: Cut,
    on: str,
    processes: int | None,
    limits: workers.Limits,
    tell: Progress,
) -> list[Problem]:
    """Commit the clips; returns why some are not there: those that broke a limit, alone too, and stages that failed
    for a clip of a run before."""
    parts, lost = _parts(todo), list[Problem]()
    waiting: list[tuple[dict[str, Any], dict[str, Any]]] = []
    written = time.monotonic()
    done = total - len(todo)
    tell("clips", done, total)
    try:
        while parts:
            again: list[Part] = []
            for index, made in workers.run(stage, parts, on=on, processes=processes, limits=limits):
                part = parts[index]
                if not isinstance(made, workers.Lost):
                    waiting += made
                    lost += [
                        (row["problem"], row["source"])
                        for row, _ in made
                        if "problem" in row and row["id"] in catalog
                    ]
                    done += len(made)
                elif len(part.spans) > 1:  # one of them may be at fault
                    again += [Part(found=part.found, spans=(span,)) for span in part.spans]
                else:
                    lost.append((_lost(made, part.found.id(*part.spans[0])), part.found.source))
                    done += 1
                if len(waiting) >= BATCH or time.monotonic() - written > SECONDS:
                    batch, waiting = waiting, []
                    _commit(catalog, batch)
                    written = time.monotonic()
                tell("clips", done, total)
            parts = again
    finally:
        _commit(catalog, waiting)  # also after Ctrl-C
    return lost


def _commit(catalog: Catalog, made: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> None:
    """Rows first: a kill between them and their scores leaves rows that lack some, which the next run sees."""
    catalog.append([row for row, _ in made])
    columns = dict.fromkeys(column for _, scores in made for column in scores)
    for column in columns:
        catalog.set(column, {row["id"]: scores[column] for row, scores in made if column in scores})


def _summary(
    catalog: Catalog,
    files: int,
    found: Sequence[Found],
    films: Sequence[Found],
    wanted: Sequence[tuple[Found, tuple[float, float]]],
    there: set[str],
    repeats: int,
    cutting: Cutting,
    lost: Sequence[Problem],
) -> Summary:
    names = [one.id(*span) for one, span in wanted]
    whole = [one.id(0, 0) for one in films]
    bad = set(catalog.ids("problem IS NOT NULL"))
    told = [name for name in (*whole, *names) if name in bad]
    good = [name for name in names if name not in bad and name in catalog]
    rows = catalog.take(told, ["problem", "source"])
    problems = [*((row["problem"], row["source"]) for row in rows), *lost]
    named: dict[str, list[str]] = {}
    for problem, file in problems:
        some = named.setdefault(problem, [])
        if file not in some and len(some) < SHOWN:
            some.append(file)
    unused = [rest for film in films if (rest := _unused(film, cutting)) > 0]
    first = {one.sha256: one.source for one in films}
    copies = {one.source: first[one.sha256] for one in found if one.source != first[one.sha256]}
    spoken = {one.sha256: one for one in found if one.captions and one.source == first[one.sha256]}
    return Summary(
        files=files,
        copies=len(found) - len(films),
        copied=dict(itertools.islice(copies.items(), SHOWN)),
        clips=len(good),
        new=sum(name not in there for name in good),
        seconds=len(good) * cutting.seconds,
        unused_seconds=round(sum(unused), 3),
        unused_films=len(unused),
        repeats=repeats,
        problems=dict(Counter(problem for problem, _ in problems)),
        named=named,
        late=_late(catalog, spoken, [name for name in good if name in there]),
    )


def _unused(found: Found, cutting: Cutting) -> float:
    """Return the seconds of a film's shots that are in none of its clips; 0 where it gives no clip at all."""
    if found.film is None:
        return 0.0
    clips = list(shots.stretches(found.shots, cutting.seconds, found.film))
    if not clips:
        return 0.0
    in_shots = sum(end - begin for begin, end in found.shots.spans)
    rest = in_shots - sum(end - begin for begin, end in clips)
    return rest if rest >= 1 / found.film.fps else 0.0


def _late(
    catalog: Catalog, spoken: Mapping[str, Found], names: Sequence[str]
) -> dict[str, list[str]]:
    """Of these clips the films that have another text beside them than their clips; films with text by their hash."""
    own, late = f"{TOLD}sidecar", dict[str, dict[str, None]]()
    columns = ["source_hash", "caption_medium"]
    columns += [own] if own in catalog.columns() else []
    for row in catalog.take(names, columns):
        film = spoken.get(row["source_hash"])
        if film is None or film.film is None:
            continue
        words = [row["caption_medium"] or ""]
        words += [json.loads(row[own])["fields"]["medium"]] if row.get(own) else []
        if film.captions["medium"].split() not in [each.split() for each in words]:
            depth = len(Path(film.source).parts)
            late.setdefault(str(Path(film.film.path).parents[depth - 1]), {})[film.source] = None
    return {folder: list(sources) for folder, sources in late.items()}
