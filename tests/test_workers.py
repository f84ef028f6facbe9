"""Laws of workers.map: every item once with its place, errors name the item, nothing is left running."""

import os
import subprocess
import sys
import threading
import time
from concurrent.futures.process import _ExecutorManagerThread

import pytest

from worldtube import workers
from worldtube.errors import RequestError


def square(number: int) -> int:
    return number * number


def fail_at_three(number: int) -> int:
    if number == 3:
        raise ValueError("three is bad")
    return number


def die(number: int) -> int:
    os._exit(9)


def sleep(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def threads(_: int) -> str | None:
    return os.environ.get("OMP_NUM_THREADS")


def gone(pid: int) -> bool:
    """Whether there is no such process within a while."""
    for _ in range(1000):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize(("processes", "chunk"), [(0, 1), (1, 1), (2, 1), (2, 3)])
def test_every_item_once(processes: int, chunk: int):
    results = dict(workers.map(square, range(10), processes=processes, chunk=chunk))
    assert results == {n: n * n for n in range(10)}


def refuse(number: int) -> int:
    raise RequestError(f"{number} is too much")


@pytest.mark.parametrize("processes", [1, 2])
def test_our_own_errors_pass_with_a_note(processes: int):
    with pytest.raises(RequestError, match="7 is too much") as caught:
        list(workers.map(refuse, [7], processes=processes))
    assert "at item 7" in caught.value.__notes__


@pytest.mark.parametrize("processes", [1, 2])
def test_an_error_names_the_item(processes: int):
    with pytest.raises(workers.WorkerError, match="item 3: ValueError: three is bad") as caught:
        list(workers.map(fail_at_three, range(10), processes=processes))
    assert isinstance(caught.value.__cause__, ValueError)


@pytest.mark.parametrize("items", [3, 40])
def test_a_killed_process_is_an_error(items):
    with pytest.raises(workers.WorkerError, match="a process ended"):
        list(workers.map(die, range(items), processes=2))


def test_leaving_early_stops_the_processes():
    began = time.monotonic()
    running = workers.map(sleep, [0.0, 600.0, 600.0], processes=2)
    _, pid = next(running)
    running.close()
    assert time.monotonic() - began < 300
    # Nor a thread: it would close pipes that an interpreter about to end still writes to.
    assert not [t.name for t in threading.enumerate() if isinstance(t, _ExecutorManagerThread)]
    assert gone(pid)


def test_processes_do_not_outlive_the_one_that_asked():
    code = """
import test_workers
from worldtube import workers

if __name__ == "__main__":
    for _, pid in workers.map(test_workers.sleep, [0.0, 0.0, 600.0, 600.0], processes=2):
        print(pid, flush=True)
"""
    asking = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        text=True,
        cwd=os.path.dirname(__file__),
    )
    with asking:
        pids = {int(asking.stdout.readline()) for _ in range(2)}
        asking.kill()
    assert all(gone(pid) for pid in pids)


def test_each_process_computes_on_one_thread():
    assert dict(workers.map(threads, [0], processes=2)) == {0: "1"}


def test_items_are_taken_as_they_are_needed():
    taken = []

    def items():
        for number in range(1000):
            taken.append(number)
            yield number

    running = workers.map(square, items(), processes=2)
    next(running)
    running.close()
    assert len(taken) < 20


def test_wrong_numbers_are_refused():
    with pytest.raises(RequestError, match="processes is -1"):
        workers.map(square, [1], processes=-1)


def test_an_interrupt_ends_it_quickly():
    code = """
import contextlib, os, signal, sys, threading
import test_workers
from worldtube import workers

if __name__ == "__main__":
    # A shell that starts something in the background has it ignore interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    running = workers.map(test_workers.sleep, [0.0, 600.0, 600.0], processes=2)
    try:
        # The interrupt may come inside `next` or just before it: leaving the loop must end it either way.
        with contextlib.closing(running):
            next(running)
            threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
            next(running)
    except KeyboardInterrupt:
        sys.exit(130)
"""
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=os.path.dirname(__file__),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (run.returncode, run.stderr) == (130, "")
