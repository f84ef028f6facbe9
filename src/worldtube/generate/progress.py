"""A progress bar for Python programs and notebooks: one line of stderr that is written over."""

import sys
import time

WIDTH = 30
"""Characters of the bar itself; the whole line fits 80 columns."""
INTERVAL = 0.1
"""Seconds between two changes of the line, at least."""


class ProgressBar:
    """Called with (evaluations done, evaluations in all); the line ends with the last one."""

    def __init__(self, label: str = "denoising") -> None:
        self.label, self.start, self.written = label, time.monotonic(), 0.0

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if done < total and now - self.written < INTERVAL:
            return
        self.written = now
        filled = WIDTH * done // max(total, 1)
        elapsed = now - self.start
        left = elapsed / max(done, 1) * (total - done)
        line = f"{self.label} {'█' * filled}{'░' * (WIDTH - filled)} {done}/{total} {elapsed:.0f} s"
        line += f", {left:.0f} s left" if done < total else ""
        sys.stderr.write(f"\r{line:<79}" + ("\n" if done >= total else ""))
        sys.stderr.flush()
