"""Files of videos. Owns where they lie and that they appear whole; keys are made by us, never by a client.

A folder, or whatever fsspec opens (`s3://...`). Everything of one video lies under `videos/ID/`.
"""

import os
import re
import secrets
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from worldtube.errors import MissingExtra, NotFound
from worldtube.files import PART, publish


class Store(Protocol):
    def put(self, path: Path, key: str) -> None:
        """Take a file in; it is there whole or not at all, and stays after a power cut."""
        ...

    def path(self, key: str) -> Path:
        """The file, on this host. Raises NotFound."""
        ...

    def link(self, key: str, seconds: int) -> str | None:
        """An address where anyone may fetch the file for so long; None where the store has none."""
        ...

    def copy(self, key: str, new: str) -> None:
        """Raises NotFound."""
        ...

    def delete(self, prefix: str) -> None:
        """Everything under a prefix; nothing there is well too."""
        ...

    def names(self, folder: str) -> list[str]:
        """What lies directly in a folder."""
        ...


class Folder:
    """A store in a folder of this host."""

    def __init__(self, root: Path):
        self.root = root
        root.mkdir(parents=True, exist_ok=True)

    def put(self, path: Path, key: str) -> None:
        with _temporary(self.root / key) as part:
            shutil.copyfile(path, part)

    def path(self, key: str) -> Path:
        path = self.root / key
        if not path.is_file():
            raise NotFound(f"no file {key}")
        return path

    def link(self, key: str, seconds: int) -> str | None:
        return None

    def copy(self, key: str, new: str) -> None:
        # Files are replaced, never changed: two names of one file are two files.
        (self.root / new).parent.mkdir(parents=True, exist_ok=True)
        os.link(self.path(key), self.root / new)

    def delete(self, prefix: str) -> None:
        shutil.rmtree(self.root / prefix, ignore_errors=True)

    def names(self, folder: str) -> list[str]:
        path = self.root / folder
        return sorted(os.listdir(path)) if path.is_dir() else []


@contextmanager
def _temporary(path: Path) -> Generator[Path]:
    """Yield a temporary file, readable by its owner alone, that takes the place of `path` when the block ends well.

    Errors stay OSErrors: a client must not read paths of this host.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PART}")
    part.touch(mode=0o600)
    try:
        yield part
        publish(part, path)
    finally:
        part.unlink(missing_ok=True)


class Bucket:
    """A store behind fsspec; files that are read come into a folder of this host first."""

    def __init__(self, url: str, cache: Path):
        try:
            import fsspec
        except ImportError as error:
            raise MissingExtra("a store behind an address", "serve") from error
        self.fs, self.root = fsspec.url_to_fs(url)
        self.cache = cache

    def _at(self, key: str) -> str:
        return f"{self.root.rstrip('/')}/{key}"

    def put(self, path: Path, key: str) -> None:
        # Object stores show an object only when it is whole.
        self.fs.makedirs(self._at(key).rpartition("/")[0], exist_ok=True)
        self.fs.put_file(str(path), self._at(key))

    def path(self, key: str) -> Path:
        folder, _, name = key.rpartition("/")
        try:
            version = self.fs.ukey(
                self._at(key)
            )  # of the content: a preview is put again and again
        except FileNotFoundError as error:
            shutil.rmtree(self.cache / folder, ignore_errors=True)
            raise NotFound(f"no file {key}") from error
        path = self.cache / folder / re.sub(r"\W", "", version) / name
        if not path.is_file():
            with _temporary(path) as part:
                self.fs.get_file(self._at(key), str(part))
        return path

    def link(self, key: str, seconds: int) -> str | None:
        try:
            return self.fs.sign(self._at(key), expiration=seconds)
        except (NotImplementedError, AttributeError):
            return None

    def copy(self, key: str, new: str) -> None:
        if not self.fs.exists(self._at(key)):
            raise NotFound(f"no file {key}")
        self.fs.makedirs(self._at(new).rpartition("/")[0], exist_ok=True)
        self.fs.copy(self._at(key), self._at(new))

    def delete(self, prefix: str) -> None:
        shutil.rmtree(self.cache / prefix, ignore_errors=True)
        if self.fs.exists(self._at(prefix)):
            self.fs.rm(self._at(prefix), recursive=True)

    def names(self, folder: str) -> list[str]:
        if not self.fs.exists(self._at(folder)):
            return []
        found = self.fs.ls(self._at(folder), detail=False)
        return sorted(name.rstrip("/").rpartition("/")[2] for name in found)


def open_store(url: str | None, folder: Path) -> Store:
    """The store at an fsspec address, or in a folder."""
    return Folder(folder / "files") if url is None else Bucket(url, folder / "cache")
