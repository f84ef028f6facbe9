"""Progress of long work on stderr; knows nothing of what is done."""

import sys
import time
from typing import Any


class Bar:
    """A progress bar with the remaining time on a terminal; plain lines, at most one in ten seconds, elsewhere."""

    def __init__(self, what: str):
        self.what, self.began, self.told = what, time.monotonic(), 0.0
        self.terminal = sys.stderr.isatty()
        self.bar: Any = None

    def __enter__(self) -> "Bar":
        if self.terminal:
            from rich import progress
            from rich.console import Console

            self.bar = progress.Progress(
                progress.TextColumn("{task.description}"),
                progress.BarColumn(),
                progress.MofNCompleteColumn(),
                progress.TimeRemainingColumn(),
                progress.TextColumn("{task.fields[note]}"),
                console=Console(stderr=True),
            )
            self.task = self.bar.add_task(self.what, total=None, note="")
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    def __call__(self, done: int, total: int, numbers: dict[str, float] | None = None) -> None:
        note = " ".join(f"{k} {v:.4g}" for k, v in (numbers or {}).items())
        now = time.monotonic()
        if self.bar is not None:
            self.bar.update(self.task, completed=done, total=total, note=note)
        elif now - self.told > 10:
            self.told = now
            left = (now - self.began) / max(done, 1) * (total - done)
            print(
                f"{self.what} {done}/{total} {left:.0f} s left {note}".rstrip(),
                file=sys.stderr,
                flush=True,
            )
