"""Progress of long work on stderr: one line that fits a terminal, plain lines elsewhere. Knows nothing of the work."""

import contextlib
import logging
import os
import sys
import time
import unicodedata
from collections.abc import Generator, Mapping
from typing import IO, Any, ClassVar, Self

PLAIN_INTERVAL = 10.0
"""Seconds between lines where there is no terminal."""
DRAW_INTERVAL = 0.1
"""Seconds between two drawings of the same bar."""
MIN_CELLS, MAX_CELLS = 8, 30
"""Columns of the bar itself."""
METRIC = "loss"
"""The one number that is shown; a run's record has the others."""
CLEAR_LINE = "\r\x1b[K"


class Bar:
    """The progress of one piece of work, as a context: what is done, a bar, steps, the loss, the remaining time.

    Call it with (done, total) or (done, total, numbers by name). The line never exceeds the width of the terminal;
    what other code writes to stderr meanwhile goes above it. Bars inside each other share the line.
    """

    on_line: ClassVar["Bar | None"] = None
    """The bar that the terminal's line shows."""

    def __init__(self, what: str):
        self.what = what
        self.terminal = sys.stderr.isatty()
        self.drawn_at = self.printed_at = -PLAIN_INTERVAL
        self.first: tuple[float, int] | None = None
        """Time and count of the first call, from which the speed is computed: a run may go on from step 1,000."""
        self.done = self.total = 0
        self.stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self.stream: IO[str] = sys.stderr
        if isinstance(self.stream, _Above):
            self.stream = self.stream.stream  # inside another bar
        elif self.terminal:
            self.stack.enter_context(_lines_above(self.stream))
        if self.terminal:
            self._draw(fit_line(self.what, self._columns()))
        else:
            self._print(f"{self.what} ...")
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()
        if Bar.on_line is self:
            # A bar that was never called says nothing that should stay.
            self.stream.write("\n" if self.first is not None else CLEAR_LINE)
            self.stream.flush()
            Bar.on_line = None

    def __call__(self, done: int, total: int, numbers: Mapping[str, float] | None = None) -> None:
        now = time.monotonic()
        if self.first is None or done < self.done:  # a bar may be used for several stages in turn
            self.first = (now, done)
        self.done, self.total = done, total
        last = done >= total
        if self.terminal and (last or now - self.drawn_at >= DRAW_INTERVAL):
            self.drawn_at = now
            line = fit_line(
                self.what,
                self._columns(),
                done=done,
                total=total,
                metric=metric_of(numbers),
                seconds_left=self._seconds_left(now),
                ascii_only=not _encodes(self.stream, "━╸"),
            )
            self._draw(line)
        elif not self.terminal and (last or now - self.printed_at >= PLAIN_INTERVAL):
            self.printed_at = now
            left = self._seconds_left(now)
            tail = "" if left is None else f", {duration(left)} left"
            self._print(f"{self.what} {done}/{total} {metric_of(numbers)}".rstrip() + tail)

    def _seconds_left(self, now: float) -> float | None:
        """None until a second step shows how long one takes, and when all is done."""
        if self.first is None or not self.first[1] < self.done < self.total:
            return None
        began, count = self.first
        return (now - began) / (self.done - count) * (self.total - self.done)

    def _columns(self) -> int:
        try:
            columns = os.get_terminal_size(self.stream.fileno()).columns
        except (OSError, ValueError):
            columns = 0
        # The last column stays free: some terminals wrap when it is written.
        return max(10, (columns or 80) - 1)

    def _draw(self, line: str) -> None:
        other = Bar.on_line
        keep = other is not None and other is not self and 0 < other.total <= other.done
        self.stream.write(("\n" if keep else CLEAR_LINE) + line)
        self.stream.flush()
        Bar.on_line = self

    def _print(self, line: str) -> None:
        print(line, file=self.stream, flush=True)


def fit_line(
    what: str,
    columns: int,
    *,
    done: int = 0,
    total: int = 0,
    metric: str = "",
    seconds_left: float | None = None,
    ascii_only: bool = False,
) -> str:
    """Return the line of a bar in at most so many columns.

    Where they do not suffice, first the bar is left out, then the metric, then the time; last the name is cut.
    """
    if not total:
        return _cut(f"{what} ...", columns)
    count = f"{done}/{total}"
    left = "" if seconds_left is None else f"{duration(seconds_left)} left"
    for parts in ([count, metric, left], [count, left], [count]):
        tail = "  ".join(part for part in parts if part)
        room = columns - _width(what) - len(tail) - 4
        if room >= MIN_CELLS:
            cells = min(room, MAX_CELLS)
            full = cells * min(done, total) // total
            marks = ("#", "-") if ascii_only else ("━", "╌")
            return f"{what}  {marks[0] * full}{marks[1] * (cells - full)}  {tail}"
        if room >= -2:
            return f"{what}  {tail}"
    return _cut(f"{_cut(what, max(0, columns - len(count) - 2))}  {count}", columns)


def _width(text: str) -> int:
    """Columns of a text in a terminal: letters of East Asian scripts take two."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def _cut(text: str, columns: int) -> str:
    while _width(text) > columns:
        text = text[:-1]
    return text


def metric_of(numbers: Mapping[str, float] | None) -> str:
    """Return `loss 0.5342`, or nothing where there is no loss."""
    value = (numbers or {}).get(METRIC)
    return "" if value is None else f"{METRIC} {value:.4g}"


def duration(seconds: float) -> str:
    """Return seconds as M:SS, or H:MM:SS from an hour on."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


@contextlib.contextmanager
def _lines_above(stream: IO[str]) -> Generator[None]:
    """Let what is written to stderr, by logging too, clear the bar's line first; the bar is drawn below it again."""
    above = _Above(stream)
    handlers = [
        handler
        for handler in logging.getLogger().handlers
        if isinstance(handler, logging.StreamHandler) and handler.stream is stream
    ]
    for handler in handlers:
        handler.setStream(above)
    try:
        with contextlib.redirect_stderr(above):
            yield
    finally:
        for handler in handlers:
            handler.setStream(stream)


class _Above:
    """A stream that writes to another one, and clears the line before a text begins."""

    def __init__(self, stream: IO[str]):
        self.stream, self.fresh = stream, True

    def write(self, text: str) -> int:
        if text and self.fresh:
            self.stream.write(CLEAR_LINE)
        if text:
            self.fresh = text.endswith("\n")
        return self.stream.write(text)

    def flush(self) -> None:
        self.stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def _encodes(stream: IO[str], text: str) -> bool:
    try:
        text.encode(getattr(stream, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
