import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest

from worldtube.cli import bar as bars
from worldtube.cli.bar import Bar, duration, fit_line


def in_terminal(code, columns, encoding="utf-8"):
    """What a program writes to a terminal of so many columns, and its lines as they were drawn."""
    main, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    env = {k: v for k, v in os.environ.items() if k != "COLUMNS"} | {"PYTHONIOENCODING": encoding}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=side, stdout=side, stderr=side, env=env
    ) as child:
        os.close(side)
        written = b""
        with contextlib.suppress(OSError):  # how the end of a terminal reads
            while part := os.read(main, 1 << 16):
                written += part
    os.close(main)
    assert child.returncode == 0, written.decode()
    text = written.decode(encoding)
    return text, [line for line in re.split(r"\r\x1b\[K|\r?\n|\r", text) if line]


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
@pytest.mark.parametrize(
    "what", ["denoising", "latents of second pieces of a-long-name", "资料的潜变量" * 3]
)
def test_a_line_never_exceeds_the_terminal(what, columns):
    for left in (None, 5.0, 40_000.0):
        for metric in ("", "loss 0.5342"):
            for done, total in ((0, 0), (1, 20), (123_456, 1_000_000)):
                line = fit_line(
                    what, columns, done=done, total=total, metric=metric, seconds_left=left
                )
                assert bars._width(line) <= columns
                assert not total or f"{done}/{total}" in line or columns == 20


def test_what_a_line_says():
    full = {"done": 12, "total": 48, "metric": "loss 0.534", "seconds_left": 62.0}
    bar = "━" * 7 + "╌" * 23
    assert fit_line("training tiny", 79, **full) == (
        f"training tiny  {bar}  12/48  loss 0.534  1:02 left"
    )
    assert fit_line("training tiny", 39, **full) == "training tiny  12/48  1:02 left"
    assert fit_line("training tiny", 24, **full) == "training tiny  12/48"
    assert fit_line("x", 60, **full, ascii_only=True).startswith("x  ######-----")
    seconds = {0: "0:00", 59.6: "1:00", 61: "1:01", 3599: "59:59", 3600: "1:00:00"}
    assert {value: duration(value) for value in seconds} == seconds


PROGRAM = """
import logging, sys, time
from worldtube.cli import bar as bars
logging.basicConfig(level=logging.WARNING, format="worldtube: %(message)s")
bars.DRAW_INTERVAL = 0.0
with bars.Bar("fine-tuning") as bar:
    for step in range(1, 6):
        numbers = {"loss": 0.123456789, "loss_low_noise": 1.0, "gradient": 2.0, "rate": 3.0, "tokens_per_second": 4.0}
        bar(step, 5, numbers)
        if step == 3:
            logging.warning("a warning")
            print("another", file=sys.stderr)
with bars.Bar("never called"):
    pass
with bars.Bar("films") as films, bars.Bar("clips") as clips:
    films(1, 2); films(2, 2); clips(1, 2)
print("done")
"""


@pytest.mark.parametrize("columns", [80, 40])
def test_in_a_terminal(columns):
    text, lines = in_terminal(PROGRAM, columns)
    assert all(bars._width(line) < columns for line in lines)
    assert lines[0] == "fine-tuning ..."
    assert any(line.startswith("fine-tuning") and "3/5" in line for line in lines)
    assert "loss 0.1235" in text if columns == 80 else "5/5" in text
    assert "gradient" not in text and "rate" not in text
    # Other lines stand alone, and the bar of a finished piece of work stays.
    assert "\r\x1b[Kworldtube: a warning\r\n" in text and "\r\x1b[Kanother\r\n" in text
    assert "never called ...\r\x1b[K" in text
    assert re.search(r"films [^\r\n]*2/2[^\r\n]*\r\nclips [^\r\n]*1/2\r\ndone\r\n$", text)


def test_a_terminal_without_unicode():
    text, _ = in_terminal(PROGRAM, 80, encoding="ascii")
    assert "#####" in text


def test_plain_lines_elsewhere(capsys, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(bars.time, "monotonic", lambda: now[0])
    with Bar("training tiny") as bar:
        for step in range(11, 21):
            now[0] += 4.0
            bar(step, 20, {"loss": 0.5, "rate": 1.0})
    assert capsys.readouterr().err.splitlines() == [
        "training tiny ...",
        "training tiny 11/20 loss 0.5",
        "training tiny 14/20 loss 0.5, 0:24 left",
        "training tiny 17/20 loss 0.5, 0:12 left",
        "training tiny 20/20 loss 0.5",
    ]
