"""`map`: a function over many items, here or in processes. Owns the pool; does not know what the work is.

The function and its items must be picklable: a function of a module, not a lambda. Each process computes on
one thread, so that as many processes as cores do not fight over them. Results come in the order of
completion, with the place of their item. A process goes when the one that asked goes, however that went.
"""

import itertools
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, NoReturn, TypeVar

from worldtube.errors import RequestError, WorldtubeError

Item = TypeVar("Item")
Result = TypeVar("Result")

THREADS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


class WorkerError(WorldtubeError):
    """The function failed for an item that the message names; `__cause__` is the first error.

    Errors of our own family pass as they are, with a note of the item: they say whose fault it is.
    """


def map(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    processes: int | None = None,
    chunk: int = 1,
) -> Iterator[tuple[int, Result]]:
    """Yield (index of the item, result) in order of completion.

    processes: how many; None means one for each core this process may use, 0 or 1 means here, without processes.
    chunk: items handed to a process at a time; more than 1 pays for items of a few milliseconds.
    Items are taken from the iterable as they are needed. Leaving the loop, or Ctrl-C, stops the processes.
    """
    if processes is None:
        processes = num_cores()
    if processes < 0 or chunk < 1:
        raise RequestError(
            f"processes is {processes} and chunk {chunk} (accepted: from 0, and from 1)"
        )
    if processes <= 1:
        return _here(function, items)
    return _in_processes(function, items, processes, chunk)


def num_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _here(
    function: Callable[[Item], Result], items: Iterable[Item]
) -> Iterator[tuple[int, Result]]:
    for index, item in enumerate(items):
        try:
            result = function(item)
        except Exception as error:
            raise failure(function, item, error)  # noqa: B904 - it has its cause
        yield index, result


def _in_processes(
    function: Callable[[Item], Result], items: Iterable[Item], processes: int, chunk: int
) -> Iterator[tuple[int, Result]]:
    # Not fork: a forked child of a process with threads (torch, numba) can hang. forkserver starts faster than spawn.
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    parts = _parts(enumerate(items), chunk)
    pending: dict[Future[list[tuple[int, Any]]], list[tuple[int, Item]]] = {}
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_prepare)
    try:
        for part in itertools.islice(parts, 2 * processes):
            pending[pool.submit(_work, function, part)] = part
        while pending:
            done, _ = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                part = pending.pop(future)
                try:
                    for following in itertools.islice(parts, 1):
                        pending[pool.submit(_work, function, following)] = following
                    results = future.result()
                except BrokenProcessPool as error:
                    raise WorkerError(
                        f"a process ended without a word at or near item {part[0][1]!r}; "
                        "it may have been killed for want of memory"
                    ) from error
                for index, result in results:
                    if isinstance(result, _Failed):
                        raise failure(function, dict(part)[index], result.error)
                    yield index, result
    finally:
        _stop(pool)


class _Failed:
    def __init__(self, error: Exception):
        self.error = error


def _work(function: Callable[[Item], Any], part: list[tuple[int, Item]]) -> list[tuple[int, Any]]:
    results: list[tuple[int, Any]] = []
    for index, item in part:
        try:
            results.append((index, function(item)))
        except Exception as error:  # raised again where the work was asked for
            results.append((index, _Failed(error)))
            break
    return results


def _prepare() -> None:
    # Ctrl-C goes to the whole group; the asking process alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_watch, daemon=True).start()
    # Numerical libraries read these as they load, which is when the first item arrives,
    # or earlier when the asking script imports them: those two can still be told.
    os.environ.update(dict.fromkeys(THREADS, "1"))
    for name in ("torch", "numba"):
        if name in sys.modules:
            sys.modules[name].set_num_threads(1)


def _watch() -> NoReturn:
    """End this process when the one that asked is no more, also in the middle of an item."""
    asking = multiprocessing.parent_process()  # os.getppid may be that of the forkserver
    assert asking is not None, "this is a process of the pool"
    asking.join()
    os._exit(1)


def _stop(pool: ProcessPoolExecutor) -> None:
    """Leave nothing running: what waits is dropped, what runs is ended."""
    children = list((pool._processes or {}).values())
    manager: Any = pool._executor_manager_thread  # typeshed has it as something else
    pool.shutdown(wait=False, cancel_futures=True)
    for child in children:
        if child.is_alive():
            child.terminate()
    for child in children:
        child.join(timeout=5)
    # It closes the pool's pipes. An interpreter that ends meanwhile writes to a closed one and complains.
    if manager is not None:
        manager.join(timeout=5)


def _parts(items: Iterable[Any], length: int) -> Iterator[list[Any]]:
    items = iter(items)
    while part := list(itertools.islice(items, length)):
        yield part


def failure(function: Callable[..., Any], item: object, error: Exception) -> Exception:
    text = repr(item)
    text = text if len(text) <= 200 else text[:200] + "..."
    if isinstance(error, WorldtubeError):
        error.add_note(f"at item {text}")
        return error
    name = getattr(function, "__name__", type(function).__name__)
    told = WorkerError(f"{name} failed for item {text}: {type(error).__name__}: {error}")
    told.__cause__ = error
    return told
