"""Writes the help blocks of docs/cli.md anew; `make docs` runs it, a test checks that it would change nothing."""

import contextlib
import io
import os
import re
from pathlib import Path

PAGE = Path(__file__).with_name("cli.md")
BLOCK = re.compile(r"```console\n\$ worldtube (.*?)\n.*?```", re.DOTALL)


def help_of(arguments: str) -> str:
    """What `worldtube ARGUMENTS` prints, at 100 columns and without colours."""
    from worldtube.cli import main

    os.environ |= {"COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        main(arguments.split())
    return "\n".join(line.rstrip() for line in out.getvalue().rstrip().splitlines())


def regenerated(page: str) -> str:
    """The page with every help block made anew."""
    return BLOCK.sub(lambda m: f"```console\n$ worldtube {m[1]}\n{help_of(m[1])}\n```", page)


if __name__ == "__main__":
    PAGE.write_text(regenerated(PAGE.read_text()))
