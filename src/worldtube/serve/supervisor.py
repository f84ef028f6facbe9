"""The processes of `worldtube serve`: an API and a worker for each device, each spawned, each begun again when it dies.

Owns their lives. A child is told what to do in one line on its standard input, which stays open: where that ends,
the supervisor is gone and the child goes too. What a dead worker had in hand is free again at once.
"""

import contextlib
import http.client
import json
import logging
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from worldtube.errors import RequestError, WorldtubeError
from worldtube.serve.config import ServeConfig
from worldtube.serve.jobs import Database, Jobs, Workers

logger = logging.getLogger(__name__)
PATIENCE_SECONDS = 20.0
"""From asking a child to stop to stopping it."""
READY_SECONDS = 0.2
"""How often it is looked whether jobs are taken, until they are."""
WRONG_SETTINGS = 2
"""Exit code of a child that cannot start as it is configured, and has said why."""


@dataclass
class Child:
    role: str
    device: str
    process: subprocess.Popen[bytes] | None = None
    began: float = field(default=0.0)
    pause: float = 0.0
    """Seconds from `began` to the earliest next start."""

    @property
    def title(self) -> str:
        return self.role if self.device in ("", "auto") else f"{self.role} {self.device}"

    def start(self, config: ServeConfig) -> None:
        told = {"role": self.role, "device": self.device, "config": config.to_json()}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "worldtube.serve.supervisor"],
            stdin=subprocess.PIPE,
            process_group=0,  # a terminal's Ctrl-C is for the supervisor alone
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


def check_port(config: ServeConfig) -> None:
    """Raises RequestError where the API could not listen."""
    try:
        kind, *_, address = socket.getaddrinfo(
            config.host, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(kind, socket.SOCK_STREAM) as probe:
            if os.name == "posix":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise RequestError(
            f"port must be free at {config.host}, got {config.port}: {reason.lower()}"
        ) from error


def supervise(
    config: ServeConfig,
    *,
    api: bool = True,
    workers: bool = True,
    ready: Callable[[list[str]], None] = lambda _: None,
) -> int:
    """Run until SIGINT or SIGTERM.

    Args:
        ready: called once with the names of the models that are served, when jobs are taken

    Returns:
        The exit code: 0, or WRONG_SETTINGS where a child cannot start as it is configured.

    Raises:
        RequestError: the port is not free.
    """
    if api:
        check_port(config)
    children = [Child("api", "")] if api else []
    children += [Child("worker", device) for device in config.devices] if workers else []
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    database = Database(config.database)
    jobs, announced = Jobs(database), Workers(database)
    for child in children:
        child.start(config)
    waiting, next_look, code = True, 0.0, 0
    while not stopping.wait(0.1):
        if waiting and time.monotonic() >= next_look:
            served = _served_by_api(config) if api else _served_by(announced, children)
            if served:
                ready(served)
                waiting = False
            next_look = time.monotonic() + READY_SECONDS
        for child in children:
            if child.process is not None and child.process.poll() is not None:
                wrong = child.process.returncode == WRONG_SETTINGS
                if wrong and waiting:
                    code = WRONG_SETTINGS
                    stopping.set()
                else:
                    after = "left out" if wrong else "starting another"
                    logger.warning("%s; %s", _end_of(child), after)
                _bury(child, jobs)
                if wrong:
                    child.pause = math.inf
            if child.process is None and time.monotonic() >= child.began + child.pause:
                child.start(config)
    if code == 0:
        logger.warning("stopping; jobs in hand go back to the queue")
    _end(children)
    for child in children:
        if child.process is not None:
            _bury(child, jobs)
    database.close()
    return code


def _served_by_api(config: ServeConfig) -> list[str]:
    """The models that the API says are served; none while it is not there or no worker is ready."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(config.host, config.host)
    connection = http.client.HTTPConnection(host, config.port, timeout=2)
    try:
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        return json.load(answer)["models"] if answer.status == 200 else []
    except (OSError, http.client.HTTPException, ValueError):
        return []
    finally:
        connection.close()


def _served_by(announced: Workers, children: list[Child]) -> list[str]:
    """The models that workers of ours have announced."""
    names = (_worker_name(c.process.pid) for c in children if c.process is not None)
    return list({model: None for name in names for model in announced.models(worker=name)})


def _worker_name(pid: int) -> str:
    return f"{socket.gethostname()}:{pid}"


def _end_of(child: Child) -> str:
    """How a child ended, in words."""
    assert child.process is not None
    code = child.process.returncode
    how = f"exit code {code}"
    if code < 0:
        with contextlib.suppress(ValueError):  # a signal without a name
            how = signal.Signals(-code).name
    return f"{child.title} (process {child.process.pid}) ended with {how}"


def _bury(child: Child, jobs: Jobs) -> None:
    """Free what a dead worker held, and say when it may begin again: at once, unless it dies again and again."""
    assert child.process is not None
    if child.role == "worker":
        try:
            jobs.abandon(_worker_name(child.process.pid))
        except Exception:  # its leases end by themselves too
            logger.exception("freeing the jobs of %s", child.title)
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


def _child() -> int:
    logging.basicConfig(level=logging.WARNING, format="worldtube: %(message)s")
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # callers' faults are their own
    # Every preview and thumbnail that is too small for a watermark would be a line.
    logging.getLogger("worldtube.provenance").setLevel(logging.ERROR)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal's Ctrl-C the supervisor tells
    told = json.loads(sys.stdin.buffer.readline())
    config = ServeConfig.from_json(told["config"])

    def wait() -> None:
        while os.read(0, 1024):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()
    try:
        if told["role"] == "api":
            serve_api(config)
        else:
            serve_worker(config, told["device"])
    except WorldtubeError as error:
        logger.error("%s", error)
        return WRONG_SETTINGS
    return 0


if __name__ == "__main__":
    sys.exit(_child())
