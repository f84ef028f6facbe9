"""A server as a person runs it: the installed command, its own processes, on loopback."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

FAST = ["--lease-seconds", "2", "--poll-ms", "100", "--private-webhooks"]


QUICK = {"model": "gaussian", "size": "32x16", "seconds": "1"}
"""A job that takes no time: 32x16 is made at 2x1 and enlarged."""


class Running:
    """A server's processes, and how to hurt them."""

    def __init__(self, folder: Path, *options: str, command: str = "serve", wait: bool = True):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.folder, self.log = folder, folder.with_suffix(".log")
        self.url = f"http://127.0.0.1:{self.port}"
        words = [sys.executable, "-m", "worldtube", command, "--folder", str(folder)]
        words += ["--port", str(self.port)]
        self.out = self.log.open("ab")
        env = os.environ | {"OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [*words, *options], stdout=subprocess.PIPE, stderr=self.out, env=env
        )
        if wait:
            line = self.process.stdout.readline().decode()
            assert line.startswith("worldtube serves at"), self.log.read_text()

    def children(self) -> dict[int, str]:
        """pid -> api or worker, of those that live."""
        found = {}
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        for pid in map(int, path.read_text().split()):
            # The API alone listens.
            name = "api" if pid in _listeners(self.port) else "worker"
            found[pid] = name
        return found

    def await_ready(self, seconds: float = 60) -> None:
        """Wait until jobs are taken."""
        self.await_answer("healthz", seconds)

    def await_answer(self, path: str = "livez", seconds: float = 60) -> None:
        """Wait until the API answers with a success."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                urllib.request.urlopen(f"{self.url}/{path}", timeout=5).close()
                return
            except OSError:
                time.sleep(0.1)
        raise AssertionError(self.log.read_text())

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(30)
        self.process.stdout.close()
        self.out.close()

    def client(self, key: str = "none", **options):
        import openai

        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, **options)


def _listeners(port: int) -> set[int]:
    """Processes that listen at a port, as Linux tells."""
    inodes = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        cells = line.split()
        if cells[1].endswith(f":{port:04X}") and cells[3] == "0A":
            inodes.add(f"socket:[{cells[9]}]")
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(os.readlink(fd) in inodes for fd in (process / "fd").iterdir()):
                found.add(int(process.name))
        except OSError:
            continue
    return found


def finished(client, id: str, seconds: float = 90):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        told = client.videos.retrieve(id)
        if told.status in ("completed", "failed"):
            return told
        time.sleep(0.05)
    raise AssertionError(f"{id} has not ended")
