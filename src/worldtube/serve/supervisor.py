"""The processes of `worldtube serve`: an API and a worker for each device, each spawned, each begun again when it dies.

Owns their lives. A child is told what to do in one line on its standard input, which stays open: where that ends,
the supervisor is gone and the child goes too. What a dead worker had in hand is free again at once.
"""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from worldtube.errors import RequestError
from worldtube.serve.config import ServeConfig
from worldtube.serve.jobs import Database, Jobs

logger = logging.getLogger(__name__)
PATIENCE_SECONDS = 20.0
"""From asking a child to stop to stopping it."""


@dataclass
class Child:
    role: str
    device: str
    process: subprocess.Popen[bytes] | None = None
    began: float = field(default=0.0)
    pause: float = 0.0

    def start(self, config: ServeConfig) -> None:
        told = {"role": self.role, "device": self.device, "config": config.to_json()}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "worldtube.serve.supervisor"], stdin=subprocess.PIPE
        )
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(told).encode() + b"\n")
        self.process.stdin.flush()
        self.began = time.monotonic()


def check_door(config: ServeConfig) -> bool:
    """Bring the database up to date; whether keys are asked for. Raises RequestError for an open door."""
    from worldtube.serve.api.server import is_loopback
    from worldtube.serve.keys import Keys

    database = Database(config.database)
    database.migrate()
    keyed = Keys(database).exist()
    database.close()
    if not keyed and not is_loopback(config.host):
        raise RequestError(
            f"host {config.host} is not accepted without a key: make one with `worldtube keys create`, "
            "or listen at 127.0.0.1"
        )
    return keyed


def supervise(
    config: ServeConfig,
    *,
    api: bool = True,
    workers: bool = True,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Run until SIGINT or SIGTERM. `ready` is called once, when jobs can be taken."""
    children = [Child("api", "")] if api else []
    children += [Child("worker", device) for device in config.devices] if workers else []
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    for child in children:
        child.start(config)
    jobs = Jobs(Database(config.database))
    told = not api
    while not stopping.wait(0.1):
        if not told and jobs.models() and _listens(config):
            ready()
            told = True
        for child in children:
            if child.process is not None and child.process.poll() is not None:
                _bury(child, jobs)
            if child.process is None and time.monotonic() >= child.began + child.pause:
                child.start(config)
    _end(children)
    for child in children:
        _bury(child, jobs)


def _listens(config: ServeConfig) -> bool:
    try:
        socket.create_connection((config.host, config.port), timeout=0.5).close()
    except OSError:
        return False
    return True


def _bury(child: Child, jobs: Jobs) -> None:
    """Free what a dead worker held, and say when it may begin again: at once, unless it dies again and again."""
    assert child.process is not None
    code, pid = child.process.returncode, child.process.pid
    logger.warning("the %s %d ended with %s", child.role, pid, code)
    if child.role == "worker":
        try:
            jobs.abandon(f"{socket.gethostname()}:{pid}")
        except Exception:  # its leases end by themselves too
            logger.exception("freeing the jobs of worker %d", pid)
    lasted = time.monotonic() - child.began
    child.pause = 0.0 if lasted > 10 else min(30.0, max(1.0, 2 * child.pause)) + lasted
    child.process = None


def _end(children: list[Child]) -> None:
    for child in children:
        if child.process is not None:
            child.process.send_signal(signal.SIGTERM)
    for child in children:
        if child.process is not None:
            try:
                child.process.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()


def serve_api(config: ServeConfig) -> None:
    """The API in this process, until SIGTERM."""
    import uvicorn

    from worldtube.serve.api.app import application

    uvicorn.run(
        application(config),
        host=config.host,
        port=config.port,
        log_level="warning",
        timeout_graceful_shutdown=5,
        server_header=False,
    )


def serve_worker(config: ServeConfig, device: str) -> None:
    """A worker in this process, until SIGTERM; what it has in hand is then put back."""
    from worldtube.serve.worker import Worker

    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    worker = Worker(config, device)
    worker.stopping = stopping
    worker.run()


def _child() -> None:
    logging.basicConfig(level=logging.WARNING, format="worldtube: %(message)s")
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # callers' faults are their own
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal's Ctrl-C the supervisor tells
    told = json.loads(sys.stdin.buffer.readline())
    config = ServeConfig.from_json(told["config"])

    def wait() -> None:
        while os.read(0, 1024):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()
    if told["role"] == "api":
        serve_api(config)
    else:
        serve_worker(config, told["device"])


if __name__ == "__main__":
    _child()
