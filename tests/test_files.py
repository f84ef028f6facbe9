import errno
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from worldtube.errors import RequestError
from worldtube.files import atomic_path, atomic_write, data_url, home, publish, remove_parts


def test_new_content_takes_the_place_of_the_old(tmp_path):
    path = tmp_path / "a.json"
    assert atomic_write(path, "größer") == path and path.read_text(encoding="utf-8") == "größer"
    atomic_write(path, b"\x00\x01")
    assert path.read_bytes() == b"\x00\x01" and list(tmp_path.iterdir()) == [path]


def test_the_umask_decides_who_may_read(tmp_path):
    before = os.umask(0o027)
    try:
        with atomic_path(tmp_path / "a") as part:
            part.chmod(0o600)  # as safetensors does
        publish(atomic_write(tmp_path / "b", ""), tmp_path / "c")
    finally:
        os.umask(before)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in "ac"] == [0o640, 0o640]


def test_what_cannot_be_written(tmp_path):
    with pytest.raises(RequestError, match=r"no folder .*missing to write a in"):
        atomic_write(tmp_path / "missing" / "a", "")
    (tmp_path / "folder").mkdir()
    with pytest.raises(RequestError, match="folder cannot be written: "):
        atomic_write(tmp_path / "folder", "")
    with pytest.raises(FileNotFoundError, match="other"), atomic_path(tmp_path / "a"):
        (tmp_path / "other").read_bytes()  # the fault of another file keeps its name
    with pytest.raises(ZeroDivisionError), atomic_path(tmp_path / "a"):
        raise ZeroDivisionError
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch, call):
    path = atomic_write(tmp_path / "a", "old")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    where = "pathlib.Path.write_bytes" if call == "write" else f"os.{call}"
    monkeypatch.setattr(where, full)
    with pytest.raises(RequestError, match="a cannot be written: No space left on device"):
        atomic_write(path, "new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_file_that_grows_too_large_leaves_the_old_one(tmp_path):
    """The kernel refuses the write half-way, as on a full disk."""
    path = atomic_write(tmp_path / "a", "old")
    code = (
        "import resource, sys; from worldtube.files import atomic_write\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))\n"
        "atomic_write(sys.argv[1], b'x' * 1_000_000)"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert "RequestError" in done.stderr and "File too large" in done.stderr
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 100_000


def test_a_kill_leaves_the_old_file_or_the_new_one(tmp_path):
    """Killed at moments spread over many writes, the file is never a part of either."""
    path = atomic_write(tmp_path / "a", "0" * 300_000)
    code = (
        "import sys; from worldtube.files import atomic_write\n"
        "print('ready', flush=True)\n"
        "for n in range(10**6): atomic_write(sys.argv[1], str(n % 10) * 300_000)"
    )
    for delay in (0.0, 0.003, 0.011, 0.02, 0.05):
        with subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE) as child:
            child.stdout.readline()
            time.sleep(delay)
            child.send_signal(signal.SIGKILL)
        text = path.read_text()
        assert len(text) == 300_000 and len(set(text)) == 1
    remove_parts(tmp_path)
    assert list(tmp_path.iterdir()) == [path]


def test_writers_at_once_do_not_mix(tmp_path):
    path = tmp_path / "a"
    threads = [
        threading.Thread(target=lambda digit=digit: atomic_write(path, digit * 200_000))
        for digit in "123456"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(path.read_text()) == 200_000 and len(set(path.read_text())) == 1
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_published_whole(tmp_path):
    part = tmp_path / ".out.part"
    (part / "in").mkdir(parents=True)
    (part / "in" / "a").write_text("1")
    publish(part, tmp_path / "out")
    assert (tmp_path / "out" / "in" / "a").read_text() == "1" and not part.exists()


def test_small_things(tmp_path, monkeypatch):
    assert data_url(b"ab", "image/png") == "data:image/png;base64,YWI="
    monkeypatch.setenv("WORLDTUBE_HOME", str(tmp_path))
    assert home() == tmp_path
    monkeypatch.delenv("WORLDTUBE_HOME")
    assert home() == Path.home() / ".worldtube"


@pytest.mark.parametrize(
    ("call", "module"),
    [
        ("os.replace(", "files.py"),
        ("os.fsync(", "files.py"),
        ('environ.get("WORLDTUBE_HOME")', "files.py"),
        (" save_file(", "models/weights.py"),
    ],
)
def test_one_module_owns_atomic_writes_and_the_home(call, module):
    source = Path(__file__).parents[1] / "src" / "worldtube"
    users = [p.relative_to(source) for p in source.rglob("*.py") if call in p.read_text("utf-8")]
    assert users == [Path(module)]
