"""The commands, one small function each; everything is imported where it is used, so help comes at once.

Owns what is printed and the exit codes: 0 done, 1 failed, 2 the caller's fault, 130 interrupted, 141 nobody reads what
is printed. Knows nothing of how anything is done.
"""

import atexit
import errno
import gc
import importlib
import logging
import os
import select
import sys
from collections.abc import Callable, Sequence

from worldtube.cli.make import MAKE


def _command(module: str, name: str) -> Callable[[list[str]], int]:
    """A command of another module of this room, which is imported when it runs."""

    def run(rest: list[str]) -> int:
        return getattr(importlib.import_module(f"worldtube.cli.{module}"), name)(rest)

    return run


COMMANDS: dict[str, tuple[str, Callable[[list[str]], int]]] = {
    **MAKE,
    "plan": (
        "what a command would cost, in time and memory, before it is run",
        _command("plan", "plan"),
    ),
    "serve": ("the Videos API of OpenAI's clients, on this machine", _command("serve", "serve")),
    "worker": ("make the videos of a server that runs elsewhere", _command("serve", "worker")),
    "keys": ("make, list and revoke a server's keys", _command("serve", "keys")),
    "verify": (
        "where a file comes from: its credentials and watermark",
        _command("verify", "verify"),
    ),
    "record": ("simulate a world and record clips", _command("data", "record")),
    "ingest": ("cut films of your own into clips, with scores", _command("data", "ingest")),
    "data": ("what a dataset holds: a page, views, columns", _command("data", "data")),
    "caption": (
        "words for a catalog's clips: from facts, files, a vision model or our own",
        _command("data", "caption"),
    ),
    "cache": ("latents and words of recorded clips, once", _command("data", "cache")),
    "train": (
        "train the transformer, fine-tune it on your clips, train the codec or the reader",
        _command("train", "train"),
    ),
    "report": ("a training run as one page: losses, samples, speed", _command("train", "report")),
    "evaluate": ("measure a model on held-out seeds and prompts", _command("tell", "evaluate")),
    "info": ("the model, worlds, tasks, samplers, recipes, measures", _command("tell", "info")),
}
"""name -> (line of help, function of the remaining arguments)."""


DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""What a disk that takes no more says."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; errors become one sentence on stderr."""
    atexit.register(gc.freeze)  # or the interpreter walks through all of torch once more, in 0.4 s
    try:
        try:
            return _main(list(sys.argv[1:] if arguments is None else arguments))
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        if not hasattr(select, "poll") or not _unread():
            raise
        return 141


def _unread() -> bool:
    """Whether stdout's reader has gone, as in `worldtube --help | head -1`; Python is kept from complaining at exit."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), select.POLLOUT)
    gone = any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    if gone:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return gone


def _main(arguments: list[str]) -> int:
    logging.basicConfig(level=logging.WARNING, format="worldtube: %(message)s")
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_help())
        return 0
    if arguments[0] in ("--version", "-V"):
        from worldtube import __version__

        print(f"worldtube {__version__}")
        return 0
    from worldtube.errors import RequestError, WorldtubeError, unknown

    try:
        name, rest = arguments[0], arguments[1:]
        if name not in COMMANDS:
            raise unknown("command", name, COMMANDS)
        return COMMANDS[name][1](rest)
    except RequestError as error:
        print(f"worldtube: {error}", file=sys.stderr)
        return 2
    except WorldtubeError as error:
        print(f"worldtube: {error}", file=sys.stderr)
        return 2 if type(error).__name__ in ("DataError", "NotFound", "MissingExtra") else 1
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        where = f"{error.filename} cannot be written: " if error.filename else ""
        print(f"worldtube: {where}{error.strerror}; what was finished is kept", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("worldtube: interrupted; what was finished is kept", file=sys.stderr)
        return 130


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {line}" for name, (line, _) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: worldtube COMMAND ...",
            "",
            "An open Sora in Python: words to video on a laptop, and everything to train it.",
            "",
            *lines,
            "",
            "worldtube COMMAND --help tells about one. Try:",
            '  worldtube generate "a large red ball rolls into a small blue box" --seed 7 --out clip.mp4',
        ]
    )
