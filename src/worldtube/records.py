"""Run records. Owns the JSON-lines file of a run (a header, then numbers); not what is measured or drawn.

The first line is `{"config", "commit", "versions", "machine", "started"}`, and `before`, a list of
`{"until": step, "config"}`, where a run went on with other settings; each further line is
`{"step", "seconds", name: number}`.
"""

import json
import platform
import subprocess
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import IO, Any, Self

from worldtube import device
from worldtube.errors import DataError, NotFound, RequestError
from worldtube.files import atomic_write

PACKAGES = ("worldtube", "torch", "numpy", "av", "numba", "mujoco-core")


class Run:
    """The open record of a run: a context that appends a line per `log`.

    with Run(folder / "run.jsonl", config) as run:
        run.log(step=1, loss=0.5)
    """

    def __init__(self, path: str | Path, config: Any):
        """Start a new record. config: a dataclass, or a dictionary that JSON can hold."""
        self.path = Path(path)
        if not self.path.parent.is_dir():
            raise RequestError(f"no folder {self.path.parent} to write {self.path.name} in")
        if begun(self.path):
            raise RequestError(f"{self.path} holds a run already (accepted: a new path, or resume)")
        first = header(config)  # takes a while, in which a kill must leave no empty record
        self._file: IO[str] = open(self.path, "a", encoding="utf-8")  # noqa: SIM115 - closed by close
        self._begun = time.monotonic()
        self._write(first)

    @classmethod
    def resume(cls, path: str | Path, step: int, config: Any = None) -> Self:
        """Go on with a record after `step`: later lines, which will be made again, are cut away.

        config: of the steps to come; where it is another, the header tells both. As before when None.
        """
        path = Path(path)
        first, rows = read(path)
        if config is not None:
            wanted = json.loads(_line(_dictionary(config)))
            if wanted != first["config"]:
                before = [*first.get("before", []), {"until": step, "config": first["config"]}]
                first |= {"config": wanted, "before": before}
        kept = [row for row in rows if row["step"] <= step]
        atomic_write(path, "".join(_line(row) for row in (first, *kept)))
        run = cls.__new__(cls)
        run.path = path
        run._file = open(path, "a", encoding="utf-8")  # noqa: SIM115 - closed by close
        run._begun = time.monotonic() - (kept[-1].get("seconds", 0.0) if kept else 0.0)
        return run

    def log(self, *, step: int, **numbers: Any) -> None:
        """Append one line; it is on its way to the disk when this returns."""
        seconds = round(time.monotonic() - self._begun, 3)
        self._write({"step": step, "seconds": seconds, **numbers})

    def close(self) -> None:
        with self._explained():  # a line that did not fit is tried once more
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, row: Mapping[str, Any]) -> None:
        with self._explained():
            self._file.write(_line(row))
            self._file.flush()

    @contextmanager
    def _explained(self) -> Generator[None]:
        """Turn what the operating system says into a RequestError that names the file."""
        try:
            yield
        except OSError as error:
            raise RequestError(f"{self.path} cannot be written: {error.strerror}") from error


def begun(path: str | Path) -> bool:
    """Whether there is a record, and not only the empty file that a kill left."""
    path = Path(path)
    return path.exists() and path.stat().st_size > 0


def read(path: str | Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The header and the rows of a record. A last line that a kill cut short is left out."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise NotFound(f"no run record {path}") from error
    lines = text.splitlines(keepends=True)
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            if number == len(lines) and not line.endswith("\n"):
                break
            raise DataError(f"{path} line {number} is not JSON: {error}") from error
    if not rows or "config" not in rows[0]:
        raise DataError(f"{path} is not a run record: its first line has no config")
    return rows[0], rows[1:]


def header(config: Any) -> dict[str, Any]:
    """What made the numbers: configuration, commit, versions, machine and time."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "config": _dictionary(config),
        "commit": _commit(),
        "versions": versions,
        "machine": device.machine(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _dictionary(config: Any) -> Any:
    known = is_dataclass(config) and not isinstance(config, type)
    return asdict(config) if known else config


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, default=_plain, ensure_ascii=False) + "\n"


def _plain(value: Any) -> Any:
    """Numbers of numpy and torch, paths and small values that JSON does not know."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return str(value)


def _commit() -> str | None:
    """The commit this code was run from, `+` when files were changed; None outside a checkout."""
    folder = Path(__file__).parent
    try:
        name, changed = (
            subprocess.run(
                ["git", "-C", str(folder), *words], capture_output=True, text=True, check=True
            ).stdout.strip()
            for words in (["rev-parse", "--short=12", "HEAD"], ["status", "--porcelain", "-uno"])
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return name + ("+" if changed else "")
