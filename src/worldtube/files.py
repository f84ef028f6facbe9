"""Files on disk: atomic writes, the folder of worldtube's own state, data URLs. Knows nothing of what the files hold.

A file that is replaced through this module is either the old one or the whole new one, also after a kill, a full
disk or a power cut: the new content goes to a temporary file in the same folder, is flushed to the disk (fsync) and
takes the old one's place by a rename, which is flushed too.
"""

import base64
import os
import secrets
import shutil
import stat
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from worldtube.errors import RequestError

PART = ".part"
"""Suffix of temporary files."""


def home() -> Path:
    """Return the folder of worldtube's own state: WORLDTUBE_HOME, or `.worldtube` in the user's home."""
    return Path(os.environ.get("WORLDTUBE_HOME") or Path.home() / ".worldtube")


def data_url(data: bytes, media_type: str) -> str:
    """Return `data:MEDIA_TYPE;base64,...` for the bytes of a small file."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def atomic_write(path: str | Path, data: bytes | str) -> Path:
    """Write a file atomically; text is encoded as UTF-8. Returns its path.

    Raises:
        RequestError: the folder is missing, or the file cannot be written. What was there before stays.
    """
    with atomic_path(path) as part:
        part.write_bytes(data.encode() if isinstance(data, str) else data)
    return Path(path)


@contextmanager
def atomic_path(path: str | Path) -> Generator[Path]:
    """Yield the path of an empty temporary file, which replaces `path` when the block ends without an exception.

    Raises:
        RequestError: the folder is missing, or the file cannot be written. What was there before stays.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise RequestError(f"no folder {path.parent} to write {path.name} in")
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PART}")
    try:
        part.touch(exist_ok=False)
        mode = stat.S_IMODE(part.stat().st_mode)  # as the umask wants it; some libraries write 0600
        yield part
        part.chmod(mode)
        publish(part, path)
    except OSError as error:
        if error.filename not in (None, str(part), str(path)):  # of a file that the block reads
            raise
        raise RequestError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


def publish(part: Path, path: Path) -> None:
    """Flush a complete file, or a folder with all its files, to the disk and rename it to `path`.

    A file replaces an older one; a folder replaces at most an empty one. Both must be on the same file system.

    Raises:
        OSError: from the flush or the rename.
    """
    if part.is_dir():
        for folder, _, names in os.walk(part):
            for name in names:
                _sync(Path(folder, name))
            _sync(Path(folder))
    else:
        _sync(part)
    os.replace(part, path)
    _sync(path.parent)  # the name too must be on the disk


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_parts(folder: Path) -> None:
    """Delete the temporary files and folders that a killed process left in a folder that nobody else writes to."""
    for part in folder.glob(f".*{PART}"):
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)
