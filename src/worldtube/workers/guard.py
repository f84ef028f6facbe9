"""A stage in a child process of its own, with limits. Owns the child, its pipe and its end; not what the stage does.

The child is a plain `python -c`, so that it is the same under a script, a notebook, a thread or a Ray actor. It goes
when its parent goes, however that went: it reads the end of the pipe when it waits, watches its parent when it works.
"""

import contextlib
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, NoReturn, Protocol, TypeVar

from worldtube.workers.pool import THREADS, WorkerError

Item = TypeVar("Item", contravariant=True)
Result = TypeVar("Result", covariant=True)


WAITING = 3
"""Seconds of the clock for each second of a core."""
SETUP = 300.0
"""Seconds that starting a child and setting its stage up may take."""


class Stage(Protocol[Item, Result]):
    """A step of a pipeline, picklable and of a module: the same result for the same item, wherever it is computed."""

    def setup(self) -> None:
        """Load what is dear, once for each process that works."""
        ...

    def __call__(self, item: Item, /) -> Result: ...


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What an item may cost."""

    seconds: float | Callable[[Any], float] = 600.0
    """Of one core, and WAITING times as many of the clock, for it may be a busy machine; or a function of the item."""
    memory_mb: int = 4096
    """Address space of the child. 0 means no limit (what holds a GPU needs that)."""

    def clock(self, item: Any) -> float:
        """Seconds for this item."""
        return float(self.seconds if isinstance(self.seconds, int | float) else self.seconds(item))


UNLIMITED = Limits(seconds=5e5, memory_mb=0)


@dataclass(frozen=True)
class Lost:
    """The result of an item that ended its process, or was ended with it."""

    reason: str


class Guard:
    """The stage, called in a child process; itself a stage. An item that breaks a limit gives Lost.

    What the stage raises is raised here, as it is when it is one of our own errors.
    """

    def __init__(self, stage: Stage[Any, Any], limits: Limits):
        self.stage, self.limits = stage, limits
        self.child: subprocess.Popen[bytes] | None = None
        self.pipe: Connection | None = None

    def setup(self) -> None:
        """Start the child, which sets the stage up before its first item."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self.child = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    f"from worldtube.workers.guard import _serve; _serve({theirs.fileno()})",
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=os.environ
                | dict.fromkeys(THREADS, "1")
                | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            )
            self.pipe = Connection(ours.detach())
        self.pipe.send((os.getpid(), self.limits.memory_mb, pickle.dumps(self.stage)))

    def __call__(self, item: Any) -> Any:
        if self.child is None:
            self.setup()
        assert self.child is not None and self.pipe is not None
        seconds = self.limits.clock(item)
        try:
            self.pipe.send((seconds, item))
            if not self.pipe.poll(
                WAITING * seconds + SETUP
            ):  # once it is set up, its own clock rings first
                return self._lost(f"took longer than {WAITING * seconds:.0f} s")
            kind, value = self.pipe.recv()
        except (EOFError, OSError):
            return self._lost(self._end(seconds))
        if kind == "failed":
            raise value
        if kind == "lost":
            return self._lost(value)
        return value

    def close(self) -> None:
        """End the child."""
        child, pipe, self.child, self.pipe = self.child, self.pipe, None, None
        if child is not None:
            child.kill()
            child.wait()
        if pipe is not None:
            pipe.close()

    def __getstate__(self) -> dict[str, Any]:
        return {"stage": self.stage, "limits": self.limits, "child": None, "pipe": None}

    def __del__(self) -> None:
        with contextlib.suppress(Exception):  # at the interpreter's end, parts of it are gone
            self.close()

    def _lost(self, reason: str) -> Lost:
        self.close()
        return Lost(reason)

    def _end(self, seconds: float) -> str:
        child = self.child
        if child is None:
            return "was stopped"
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout=10)
        code = child.returncode
        if code == -signal.SIGXCPU:
            return f"took longer than {seconds:.0f} s"
        if code == -signal.SIGALRM:
            return f"took longer than {WAITING * seconds:.0f} s"
        if code is not None and code < 0:
            return f"ended the process that read it ({signal.Signals(-code).name})"
        return f"ended the process that read it (exit code {code})"


def _serve(handle: int) -> None:
    """The child's life."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent alone decides what Ctrl-C means
    with Connection(handle) as pipe, contextlib.suppress(EOFError, OSError):
        parent, memory_mb, packed = pipe.recv()
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
        _limit(memory_mb)
        stage = None
        while True:
            seconds, item = pipe.recv()
            try:
                if stage is None:
                    loaded = pickle.loads(packed)
                    loaded.setup()
                    stage = loaded
                _clock(seconds)
                answer = ("done", stage(item))
            except MemoryError:
                answer = ("lost", f"needs more memory than {memory_mb} MB")
            except Exception as error:  # raised again where the work was asked for
                answer = ("failed", _sent(error))
            signal.alarm(0)
            pipe.send(answer)


def _watch(parent: int) -> NoReturn:
    """End this process when its parent is no more, also in the middle of an item that would never end."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _limit(memory_mb: int) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory_mb:
        resource.setrlimit(resource.RLIMIT_AS, (memory_mb << 20, memory_mb << 20))


def _clock(seconds: float) -> None:
    """No more than so many seconds of a core from now on, see Limits; what breaks that is ended by the kernel."""
    import resource

    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(int(WAITING * seconds) + 1)
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = int(used.ru_utime + used.ru_stime + seconds) + 2
    resource.setrlimit(resource.RLIMIT_CPU, (most, resource.RLIM_INFINITY))


def _sent(error: Exception) -> Exception:
    """The error as one that goes through a pipe: not every exception can be made again from its parts."""
    with contextlib.suppress(Exception):
        again = pickle.loads(pickle.dumps(error))
        if type(again) is type(error) and str(again) == str(error):
            return error
    return WorkerError(f"{type(error).__name__}: {error}")
