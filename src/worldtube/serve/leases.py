"""The leases of the jobs in a worker's hands: kept while it works, and given back with what became of each job.

Owns how a job ends. Knows nothing of how clips are made.
"""

import logging
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from worldtube.errors import Refused, WorldtubeError
from worldtube.serve.jobs import Job, Lost

if TYPE_CHECKING:
    from worldtube.serve.worker import Worker

logger = logging.getLogger(__name__)


class Stopped(WorldtubeError):
    """The job is to be left: cancelled, or the worker is going home."""

    def __init__(self, *, cancelled: bool):
        super().__init__("cancelled" if cancelled else "the worker is stopping")
        self.cancelled = cancelled


class Leases:
    """The leases of jobs in hand: kept by a thread, looked at after every step."""

    def __init__(self, worker: "Worker", jobs: list[Job]):
        self.worker, self.queue = worker, worker.jobs
        self.held = {job.id: job for job in jobs}
        self.stop: dict[str, Exception] = {}
        """Why a job is to be left."""
        self.lock = threading.Lock()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._keep, daemon=True)

    def __enter__(self) -> "Leases":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()

    def _keep(self) -> None:
        """A step may last longer than a lease."""
        while not self.over.wait(self.queue.lease_seconds / 3):
            try:
                self._beat(None)
            except Exception:
                logger.exception("keeping the leases of %s", self.worker.name)

    def _beat(self, progress: int | None) -> None:
        with self.lock:
            for job in [job for job in self.held.values() if job.id not in self.stop]:
                try:
                    if self.queue.beat(job, progress):
                        self.stop[job.id] = Stopped(cancelled=True)
                except Lost as lost:
                    self.stop[job.id] = lost

    def tell(self, done: int, total: int) -> None:
        """Progress of all of them. Raises when none of them is wanted any more."""
        self._beat(99 * done // total)
        if self.worker.stopping.is_set():
            raise Stopped(cancelled=False)
        if self.held and all(id in self.stop for id in self.held):
            raise next(iter(self.stop.values()))

    def check(self, job: Job) -> None:
        """Raises what `stop` says of this job."""
        self._beat(None)
        if job.id in self.stop:
            raise self.stop[job.id]

    @contextmanager
    def one(self, job: Job) -> Generator[None]:
        """A block that, when it fails, ends this job alone."""
        try:
            yield
        except Exception as error:
            self.end(job, error)

    def done(self, job: Job) -> None:
        with self.lock:
            del self.held[job.id]

    def end(self, job: Job, error: Exception) -> None:
        """Hand a job in that was not made, or put it back."""
        if job.id not in self.held:
            return
        error = self.stop.get(job.id, error)
        self.done(job)
        retry = _out_of_memory(error) and job.attempt < 2
        try:
            if isinstance(error, Lost):
                raise error
            elif isinstance(error, Stopped) and not error.cancelled:
                self.queue.release(job, counts=False)
            elif isinstance(error, Stopped):
                self.queue.fail(job, "cancelled", "it was cancelled")
            elif retry:
                self.queue.release(job, counts=True)
            elif _out_of_memory(error):
                self.queue.fail(job, "out_of_memory", "making it takes more memory than there is")
            elif isinstance(error, Refused):
                self.queue.fail(job, "moderation_blocked", str(error))
            elif isinstance(error, WorldtubeError):
                self.queue.fail(job, "generation_failed", str(error))
            else:
                logger.error("%s failed", job.id, exc_info=error)
                self.queue.fail(
                    job, "generation_failed", f"an error of the server, tell it {job.id}"
                )
        except Lost as lost:
            logger.info("%s: %s", job.id, lost)
            if not self.queue.known([job.id]):  # deleted: what was stored since goes too
                self.worker.store.delete(f"videos/{job.id}")


def _out_of_memory(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and "not enough memory" in str(error)
    )
