"""What every loop does around its steps: stop when asked, skip what is not finite, go on with a record.

Knows nothing of what is trained.
"""

import logging
import signal
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from worldtube.errors import WorldtubeError
from worldtube.records import Run, begun

logger = logging.getLogger(__name__)

Progress = Callable[[int, int, dict[str, float]], None]
"""Called with (step, steps, newest numbers)."""

MOST_BAD = 5
"""Steps in a row that may be skipped."""


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


def record_from(path: Path, config: Any, step: int) -> Run:
    """The record of a run that goes on after `step`, without what came later; a new one where there is none.

    config: of the steps to come; the record tells with which others the run began.
    """
    return Run.resume(path, step, config) if begun(path) else Run(path, config)
