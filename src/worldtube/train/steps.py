"""What every loop does around its steps: keep its folder to itself, stop when asked, skip what is not finite, go on
with a record.

Knows nothing of what is trained.
"""

import logging
import signal
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, TypeVar

from worldtube.device import find_dtype
from worldtube.errors import DataError, WorldtubeError
from worldtube.files import remove_parts
from worldtube.records import Run, begun
from worldtube.train.parallel import ALONE, Ranks

logger = logging.getLogger(__name__)

Configured = TypeVar("Configured", bound=Any)
"""A configuration with a `dtype` and a `device`."""
Progress = Callable[[int, int, dict[str, float]], None]
"""Called with (step, steps, newest numbers)."""

MOST_BAD = 5
"""Steps in a row that may be skipped."""
LOCK = ".lock"
PATIENCE = 5.0
"""Seconds in which the processes of a run that was killed are gone."""


@contextmanager
def alone(folder: Path, ranks: Ranks = ALONE) -> Generator[None]:
    """The folder of a run, made where there is none, and kept from other runs as long as the context lasts.

    Of the processes of a run the first, which writes, keeps it for all. However that one ends, its lock goes with it.
    Raises DataError where another process has the folder.
    """
    with ExitStack() as stack:
        free = True
        if ranks.rank == 0:
            folder.mkdir(parents=True, exist_ok=True)
            free = _locked(stack.enter_context(open(folder / LOCK, "w")))
        if not ranks.first_says(free):
            raise DataError(
                f"another process trains in {folder} (accepted: when it has ended, or another folder)"
            )
        if ranks.rank == 0:
            remove_parts(folder)
        yield


def _locked(file: IO[str]) -> bool:
    """Whether the lock of this file was to be had. It is the kernel's, and goes when the file is closed."""
    import fcntl

    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
            continue
        except OSError as error:
            logger.warning("%s cannot be kept from other runs (%s)", file.name, error)
        return True


class Guard:
    """Counts steps in a row whose gradient was not finite, and names what they were to learn from."""

    def __init__(self, bad: int = 0):
        self.bad = bad

    def __call__(self, step: int, norm: float, samples: Callable[[], Sequence[str]]) -> bool:
        """Whether the step was skipped. Raises WorldtubeError when too many were."""
        if norm - norm == 0:
            self.bad = 0
            return False
        self.bad += 1
        names = ", ".join(samples())
        logger.warning("step %d: gradient norm %s, nothing learned from %s", step, norm, names)
        if self.bad >= MOST_BAD:
            raise WorldtubeError(
                f"{self.bad} steps in a row without a finite gradient, the last was step {step}, on {names}"
            )
        return True


@contextmanager
def stoppable() -> Generator[Callable[[], bool]]:
    """Ctrl-C and SIGTERM (of torchrun, Slurm, Kubernetes) no longer break a step in two: the context tells whether
    one came, and raises KeyboardInterrupt at its end. A second Ctrl-C does so at once."""
    if (
        threading.current_thread() is not threading.main_thread()
    ):  # signals go elsewhere, as under Ray
        yield lambda: False
        return
    came: list[int] = []

    def note(number: int, _: object) -> None:
        if number == signal.SIGINT and number in came:
            raise KeyboardInterrupt
        came.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        raise KeyboardInterrupt


def on_machine(config: Configured, device: str, ranks: Ranks = ALONE) -> Configured:
    """A configuration whose `dtype` and `device` are no longer `auto`: what this run computes in, and where.

    Processes of one run on different machines all compute in the dtype of the first.
    """
    model = getattr(config, "model", None)
    width = None if model is None else model.width
    dtype = str(find_dtype(config.dtype, device, trained_width=width)).removeprefix("torch.")
    return replace(config, dtype=ranks.first_says(dtype), device=device)


def warn_of_dtype(folder: Path, step: int, before: str | None, now: str) -> None:
    """Say in one line that a run goes on in another dtype than it had up to `step`."""
    if before is not None and before != now:
        logger.warning(
            "%s goes on in %s; up to step %d it computed in %s (--dtype %s keeps that)",
            *(folder, now, step, before, before),
        )


def record_from(path: Path, config: Any, step: int) -> Run:
    """The record of a run that goes on after `step`, without what came later; a new one where there is none.

    config: of the steps to come; the record tells with which others the run began.
    """
    return Run.resume(path, step, config) if begun(path) else Run(path, config)
