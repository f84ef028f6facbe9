"""`run`: one stage over many items, here, in processes or on Ray. Owns order and ends; not what the stage does.

Every executor calls the same object and yields the same results; they differ in where, and in which come first.
Results are for the caller to keep: it commits them in batches and, next time, leaves out the items that it has.
"""

import itertools
import queue
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from worldtube.errors import RequestError, unknown
from worldtube.workers.guard import UNLIMITED, Guard, Limits, Lost, Stage
from worldtube.workers.pool import failure, num_cores

Answers = Iterator[tuple[int, Any]]


def run(
    stage: Stage[Any, Any],
    items: Iterable[Any],
    *,
    on: str = "here",
    processes: int | None = None,
    limits: Limits | None = None,
) -> Answers:
    """Yield (index of the item, result) in order of completion.

    on: an entry of EXECUTORS. processes: how many work at a time; None means one for each core (on Ray: of the
    cluster). limits: with them the stage works in child processes, and an item that breaks one gives `Lost`; without
    them `here` is this very process. What the stage raises ends the loop, with the item named. Leaving the loop ends
    all that was started.
    """
    if on not in EXECUTORS:
        raise unknown("executor", on, EXECUTORS)
    if processes is not None and processes < 1:
        raise RequestError(f"processes is {processes} (accepted: from 1)")
    return EXECUTORS[on](stage, items, processes, limits)


def _here(
    stage: Stage[Any, Any], items: Iterable[Any], processes: int | None, limits: Limits | None
) -> Answers:
    guard = Guard(stage, limits) if limits else None
    work = guard or stage
    try:
        work.setup()
        for index, item in enumerate(items):
            try:
                result = work(item)
            except Exception as error:
                raise failure(stage, item, error)  # noqa: B904 - it has its cause
            yield index, result
    finally:
        if guard:
            guard.close()


def _in_processes(
    stage: Stage[Any, Any], items: Iterable[Any], processes: int | None, limits: Limits | None
) -> Answers:
    """A thread for each child: it does nothing but wait for it."""
    count = processes or num_cores()
    guards = [Guard(stage, limits or UNLIMITED) for _ in range(count)]
    idle: queue.SimpleQueue[Guard] = queue.SimpleQueue()
    for guard in guards:
        idle.put(guard)

    def work(item: Any) -> Any:
        guard = idle.get()
        try:
            return guard(item)
        finally:
            idle.put(guard)

    coming = enumerate(items)
    pending: dict[Future[Any], tuple[int, Any]] = {}
    pool = ThreadPoolExecutor(count)
    try:
        for index, item in itertools.islice(coming, 2 * count):
            pending[pool.submit(work, item)] = (index, item)
        while pending:
            done, _ = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                index, item = pending.pop(future)
                for following in itertools.islice(coming, 1):
                    pending[pool.submit(work, following[1])] = following
                try:
                    result = future.result()
                except Exception as error:
                    raise failure(stage, item, error)  # noqa: B904 - it has its cause
                if isinstance(result, Lost) and not limits:
                    raise failure(stage, item, RuntimeError(result.reason))
                yield index, result
    finally:
        for future in pending:
            future.cancel()
        for guard in guards:
            guard.close()  # also makes its thread return
        pool.shutdown(wait=True)


def _on_ray(
    stage: Stage[Any, Any], items: Iterable[Any], processes: int | None, limits: Limits | None
) -> Answers:
    from worldtube.workers.on_ray import run_on_ray

    return run_on_ray(stage, items, processes, limits)


EXECUTORS: dict[str, Callable[..., Answers]] = {
    "here": _here,
    "processes": _in_processes,
    "ray": _on_ray,
}
