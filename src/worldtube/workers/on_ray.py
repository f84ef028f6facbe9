"""`run` on Ray Data. Owns what Ray is told; the only file that imports it.

Four things that Ray does by itself are ruled out here. Actors that reserve every CPU leave none for Ray's own tasks,
and a cluster that loses a node then waits for ever: an actor reserves a quarter of one, its work is in a child
process anyway. All actors land on one node: they are spread. Nothing comes any more: after a time that no item may
take, that is an error. An item that kills its actor is tried again without end: it runs under a Guard.
"""

import os
import pickle
import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Any

from worldtube.errors import MissingExtra
from worldtube.workers.guard import UNLIMITED, WAITING, Guard, Limits, Lost, Stage
from worldtube.workers.pool import WorkerError, failure, num_cores

CPUS = 0.25
"""Of each actor."""
PATIENCE = 600.0
"""Seconds without any result, beyond what one item may take."""
AT_A_TIME = 2048
"""Items that Ray is given at a time."""
STORE_MB = 512
"""Shared memory for what is under way, when we start Ray ourselves."""


class Actor:
    """The stage in a Ray worker: a batch of pickled items in, a batch of pickled results out."""

    def __init__(self, stage: Stage[Any, Any], limits: Limits):
        self.guard = Guard(stage, limits)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        made = []
        for packed in batch["packed"]:
            try:
                result: Any = ("done", self.guard(pickle.loads(packed)))
            except Exception as error:  # raised again where the work was asked for
                result = ("failed", error)
            made.append(pickle.dumps(result))
        return {"index": batch["index"], "packed": made}


def run_on_ray(
    stage: Stage[Any, Any], items: Iterable[Any], processes: int | None, limits: Limits | None
) -> Iterator[tuple[int, Any]]:
    """See `run`. Joins the Ray session of this process or of RAY_ADDRESS, else starts one on this machine."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtra("running on Ray", "ray") from error
    items = list(items)
    if not items:
        return
    own = not ray.is_initialized()
    if own:
        here: dict[str, Any] = {}
        if "RAY_ADDRESS" not in os.environ:
            here = {"num_cpus": max(2, num_cores()), "object_store_memory": STORE_MB << 20}
        ray.init(include_dashboard=False if here else None, logging_level="ERROR", **here)
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        count = processes or max(1, int(ray.cluster_resources().get("CPU", 1)))
        asked = limits or UNLIMITED
        longest = max(asked.clock(item) for item in items)
        for begin in range(0, len(items), AT_A_TIME):
            part = range(begin, min(begin + AT_A_TIME, len(items)))
            rows = [{"index": i, "packed": pickle.dumps(items[i])} for i in part]
            # A block for each item, or results would wait for those that share their block.
            data = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
                Actor,
                fn_constructor_args=(stage, asked),
                compute=ray.data.ActorPoolStrategy(min_size=1, max_size=count),
                num_cpus=CPUS,
                batch_size=1,
                scheduling_strategy="SPREAD",
                max_restarts=-1,
            )
            for row in _patiently(data.iter_rows(), PATIENCE + WAITING * longest):
                index, (kind, value) = row["index"], pickle.loads(row["packed"])
                if kind == "failed":
                    raise failure(stage, items[index], value)
                if isinstance(value, Lost) and not limits:
                    raise failure(stage, items[index], RuntimeError(value.reason))
                yield index, value
    finally:
        if own:
            ray.shutdown()


def _patiently(rows: Iterable[Any], seconds: float) -> Iterator[Any]:
    """The rows, read by a thread, so that waiting for the next one has an end."""
    read: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()

    def work() -> None:
        try:
            for row in rows:
                read.put(("row", row))
            read.put(("end", None))
        except BaseException as error:
            read.put(("error", error))

    threading.Thread(target=work, daemon=True).start()
    while True:
        try:
            kind, value = read.get(timeout=seconds)
        except queue.Empty as error:
            raise WorkerError(
                f"Ray gave no result for {seconds:.0f} s; what was committed is kept, run it again"
            ) from error
        if kind == "end":
            return
        if kind == "error":
            raise WorkerError(f"Ray failed: {value}") from value
        yield value
