"""Laws of workers.run: the same results wherever it runs; what breaks a limit is lost alone; nothing stays behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from worldtube import workers
from worldtube.errors import MissingExtra, RequestError
from worldtube.workers import EXECUTORS, Guard, Limits, Lost

LIMITS = Limits(seconds=2, memory_mb=2048)
HERE = [name for name in EXECUTORS if name != "ray"]


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """Children import this module by its name."""
    monkeypatch.syspath_prepend(Path(__file__).parent)


class Square:
    """A stage that is set up once in each process."""

    def __init__(self) -> None:
        self.ready = 0

    def setup(self) -> None:
        self.ready += 1

    def __call__(self, number: int) -> int:
        assert self.ready == 1
        return number * number


class Trouble:
    def setup(self) -> None:
        pass

    def __call__(self, what: str) -> str:
        if what == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if what == "exit":
            os._exit(3)
        if what == "sleep":
            time.sleep(1e4)
        if what == "spin":
            while True:
                pass
        if what == "memory":
            return str(len(bytes(4 << 30)))
        if what == "ours":
            raise RequestError("that is too much")
        if what == "theirs":
            raise ValueError("that is bad")
        if what == "extra":
            raise MissingExtra("this", "that")
        return f"{what} {os.getpid()}"


@pytest.mark.parametrize("limits", [None, LIMITS])
@pytest.mark.parametrize("on", HERE)
def test_every_item_once(on, limits):
    found = list(workers.run(Square(), range(9), on=on, processes=2, limits=limits))
    assert sorted(found) == [(n, n * n) for n in range(9)]


@pytest.mark.parametrize("on", HERE)
def test_what_breaks_a_limit_is_lost_alone(on):
    items = ["a", "crash", "b", "sleep", "c", "memory", "exit", "d", "spin"]
    found = dict(workers.run(Trouble(), items, on=on, processes=2, limits=LIMITS))
    for index, word in ((1, "SIGSEGV"), (3, "longer than 6 s"), (5, "2048 MB"), (6, "exit code 3")):
        assert isinstance(found[index], Lost) and word in found[index].reason
    assert (
        "took longer than" in found[8].reason
    )  # 2 s of a core or 6 s of the clock, what comes first
    for index in (0, 2, 4, 7):
        assert found[index].split()[0] == items[index]


@pytest.mark.parametrize("on", HERE)
def test_errors_of_a_stage_name_the_item(on):
    with pytest.raises(RequestError, match="too much") as caught:
        list(workers.run(Trouble(), ["ours"], on=on, limits=LIMITS))
    assert "at item 'ours'" in caught.value.__notes__
    with pytest.raises(workers.WorkerError, match="item 'theirs': ValueError: that is bad"):
        list(workers.run(Trouble(), ["theirs"], on=on, limits=LIMITS))
    with pytest.raises(MissingExtra, match="optional part"):
        list(workers.run(Trouble(), ["extra"], on=on, limits=LIMITS))


def test_without_limits_a_crash_is_an_error():
    with pytest.raises(workers.WorkerError, match="SIGSEGV"):
        list(workers.run(Trouble(), ["a", "crash"], on="processes", processes=1))


def test_time_may_depend_on_the_item():
    limits = Limits(seconds=lambda item: 1.0 if item == "sleep" else 60.0, memory_mb=0)
    assert Guard(Trouble(), limits)("sleep") == Lost("took longer than 3 s")


def test_leaving_early_ends_the_children():
    running = workers.run(Trouble(), ["a", "sleep", "sleep"], on="processes", processes=2)
    began = time.monotonic()
    _, told = next(running)
    running.close()
    assert time.monotonic() - began < 60
    with pytest.raises(ProcessLookupError):
        os.kill(int(told.split()[1]), 0)


def test_children_do_not_outlive_their_parent():
    code = """
import sys
import test_workers_run
from worldtube import workers

guard = workers.Guard(test_workers_run.Trouble(), workers.Limits(seconds=1000))
print(guard("a").split()[1], flush=True)
guard("sleep")
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent
    )
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    for _ in range(200):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            break
        time.sleep(0.05)
    else:
        pytest.fail("the child is still there")
    parent.stdout.close()


def test_what_is_asked_wrongly():
    with pytest.raises(RequestError, match="unknown executor 'rai'; did you mean 'ray'"):
        workers.run(Square(), [1], on="rai")
    with pytest.raises(RequestError, match="processes is 0"):
        workers.run(Square(), [1], processes=0)


def test_ray_is_not_imported_unless_asked():
    code = """
import sys
import test_workers_run
from worldtube import workers
from worldtube.data import films

assert list(workers.run(test_workers_run.Square(), [3])) == [(0, 9)]
sys.exit("ray" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent)
    assert done.returncode == 0


RAY = """
import json, sys
import test_workers_run
from worldtube import workers

items = ["a", "crash", "b", "sleep", "c"]
limits = workers.Limits(seconds=2, memory_mb=2048)
for index, result in workers.run(test_workers_run.Trouble(), items, on="ray", processes=2, limits=limits):
    print(json.dumps([index, str(result)]), flush=True)
"""


@pytest.mark.slow
def test_on_ray(tmp_path):
    """In a process of its own, so that Ray's helpers end with it."""
    pytest.importorskip("ray")
    import json

    done = subprocess.run(
        [sys.executable, "-c", RAY],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])},
    )
    assert done.returncode == 0, done.stderr
    found = dict(json.loads(line) for line in done.stdout.splitlines() if line.startswith("["))
    assert found.keys() == set(range(5))
    assert "SIGSEGV" in found[1] and "longer than 6 s" in found[3]
    assert [found[index].split()[0] for index in (0, 2, 4)] == ["a", "b", "c"]
