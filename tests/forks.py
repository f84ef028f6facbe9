"""Programs in processes of their own that need not import torch again: each is a fork of a server that did so once.

`Forks.run` is `subprocess.run` for Python programs, `Forks.start` is `subprocess.Popen`. A test that is about the
start of a process, or about what it imports, uses those.
"""

import contextlib
import importlib
import json
import os
import runpy
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

IMPORTED = (
    "worldtube.cli.make",
    "worldtube.generate.session",
    "worldtube.models.local",
    "worldtube.provenance",
    "worldtube.train.loop",
    "worldtube.video",
)
"""What the server imports, and torch with it. None of it starts a thread, which a fork would lose."""


class Child:
    """A program that was started; what it writes is kept."""

    def __init__(self, forks: "Forks", words: list[str], **more) -> None:
        self.forks, self.words = forks, words
        made = [tempfile.mkstemp() for _ in range(2)]  # removed by `wait`
        for number, _ in made:
            os.close(number)
        self.files = [Path(name) for _, name in made]
        task = {"words": words, "files": [str(file) for file in self.files], **more}
        self.pid = forks.ask(task)

    def poll(self) -> int | None:
        """The exit code, as `Popen` has it; None while it runs."""
        self.forks.listen(0)
        return self.forks.codes.get(self.pid)

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def stdout(self) -> str:
        """What it has printed so far."""
        return self.files[0].read_text()

    def wait(self, timeout: float) -> subprocess.CompletedProcess:
        end = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > end:
                self.send_signal(signal.SIGKILL)
                raise TimeoutError(f"{self.words} took longer than {timeout} s")
            self.forks.listen(1)
        texts = [file.read_text() for file in self.files]
        for file in self.files:
            file.unlink()
        return subprocess.CompletedProcess(self.words, self.forks.codes[self.pid], *texts)


class Forks:
    """A server that forks. It ends with the process that started it."""

    def __init__(self) -> None:
        self.server = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        self.begun: list[int] = []
        self.codes: dict[int, int] = {}
        self.unread = b""

    def start(self, *words: str | Path, cwd: str | Path = ".", env: dict | None = None) -> Child:
        """Start `python WORDS`: a script, `-m` and a module or `-c` and code, in the environment of now or in `env`."""
        env = dict(os.environ if env is None else env)
        return Child(self, [os.fspath(word) for word in words], cwd=os.path.abspath(cwd), env=env)

    def run(self, *words: str | Path, timeout: float, **more) -> subprocess.CompletedProcess:
        return self.start(*words, **more).wait(timeout)

    def imports(self, *names: str) -> None:
        """Have the programs from now on find these imported."""
        self.ask({"imports": names})

    def ask(self, task: dict) -> int:
        """The first answer to a task: a process id, or 0."""
        self.begun.clear()
        self.server.stdin.write(json.dumps(task).encode() + b"\n")
        while not self.begun:
            assert self.server.poll() is None, "the server of forks has ended"
            self.listen(1)
        return self.begun[0]

    def listen(self, seconds: float) -> None:
        """Take the answers that come within a time."""
        while select.select([self.server.stdout], [], [], seconds)[0]:
            part = os.read(self.server.stdout.fileno(), 1 << 16)
            if not part:
                return
            *lines, self.unread = (self.unread + part).split(b"\n")
            for line in lines:
                match line.split():
                    case [b"begun", pid]:
                        self.codes.pop(int(pid), None)  # ids come again
                        self.begun.append(int(pid))
                    case [b"ended", pid, code]:
                        self.codes[int(pid)] = int(code)
            seconds = 0

    def close(self) -> None:
        self.server.stdin.close()
        self.server.wait(60)
        self.server.stdout.close()


def serve() -> dict:
    """Do what each line of stdin asks, and tell of each child when it begins and ends; returns its task in a child."""
    for name in IMPORTED:
        importlib.import_module(name)
    tasks, answers = os.dup(0), os.fdopen(os.dup(1), "w")
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    unread = b""
    while True:
        ready, _, _ = select.select([tasks, woken], [], [])
        if woken in ready:
            os.read(woken, 1 << 10)
            with contextlib.suppress(ChildProcessError):
                while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                    code = os.waitstatus_to_exitcode(ended[1])
                    print("ended", ended[0], code, file=answers, flush=True)
        if tasks in ready:
            part = os.read(tasks, 1 << 16)
            if not part:
                os._exit(0)
            *lines, unread = (unread + part).split(b"\n")
            for line in lines:
                task = json.loads(line)
                for name in task.get("imports", ()):
                    importlib.import_module(name)
                child = os.fork() if "words" in task else None
                if child == 0:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    for number in (tasks, answers.fileno(), woken, wake):
                        os.close(number)
                    return task
                print("begun", child or 0, file=answers, flush=True)


def become(task: dict) -> None:
    """Run a program as `python` would."""
    os.environ.clear()
    os.environ.update(task["env"])
    os.chdir(task["cwd"])
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    for number, name in enumerate(task["files"], 1):
        with open(name, "ab") as file:
            os.dup2(file.fileno(), number)
    kind, *rest = task["words"]
    sys.path.remove(str(Path(__file__).parent))
    folders = [folder for folder in task["env"].get("PYTHONPATH", "").split(os.pathsep) if folder]
    sys.path[:0] = [folder for folder in folders if folder not in sys.path]
    if kind == "-m":
        sys.argv = rest
        sys.path.insert(0, os.getcwd())
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        sys.argv = ["-c", *rest[1:]]
        sys.path.insert(0, "")
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = task["words"]
        sys.path.insert(0, str(Path(kind).resolve().parent))
        runpy.run_path(kind, run_name="__main__")


if __name__ == "__main__":
    become(serve())
