"""What the API itself costs: creating a job, asking after one, and paging through many, over HTTP on loopback.

One server process with SQLite as `worldtube serve --api-only` runs it, no workers; one client that keeps its
connection, one request after the other. Wall time of each request as the client sees it, which on a busy machine is
more than the server took: the record carries the load, and the CPU time of the server for each request.
"""

import argparse
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import timing
from sqlalchemy import insert

from worldtube.serve.config import ServeConfig
from worldtube.serve.jobs import Database, new_id
from worldtube.serve.jobs.registry import HEARTBEAT_SECONDS, Workers
from worldtube.serve.jobs.tables import videos
from worldtube.serve.worker import facts, open_models

BODY = (
    b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\na red ball\r\n'
    b'--x\r\nContent-Disposition: form-data; name="size"\r\n\r\n64x64\r\n'
    b'--x\r\nContent-Disposition: form-data; name="seconds"\r\n\r\n4\r\n--x--\r\n'
)
"""As OpenAI's clients send it."""


def fill(database: Database, count: int) -> None:
    """Finished videos of the caller on this machine."""
    row = {
        "owner": "local", "task": "generate", "model": "gaussian", "prompt": "a red ball " * 5,
        "size": "64x64", "rendered_size": "64x64", "seconds": "4", "fps": 12.0, "num_frames": 49,
        "seed": 1, "spec": {"options": {}}, "shape": "", "warnings": [], "body_hash": "",
        "status": "completed", "progress": 100, "attempt": 1, "epoch": 1, "cancel_requested": False,
        "completed_at": time.time(), "expires_at": time.time() + 86400, "deadline": time.time(),
    }  # fmt: skip
    rows = [
        row | {"id": new_id("video"), "created_at": time.time() + i / 1000} for i in range(count)
    ]
    with database.writing() as connection:
        connection.execute(insert(videos), rows)


def announce(workers: Workers, served: dict[str, dict[str, Any]]) -> None:
    """Say that a worker is ready, and go on saying so: without one the API accepts no jobs."""
    workers.announce("benchmark:1", served)

    def renew() -> None:
        while True:
            time.sleep(HEARTBEAT_SECONDS)
            try:
                workers.keep_alive("benchmark:1")
            except Exception:  # the database was closed: the measurement is over
                return

    threading.Thread(target=renew, daemon=True).start()


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    cells = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(cells[11]) + int(cells[12])) / os.sysconf("SC_CLK_TCK")


def measure(
    name: str, requests: list[tuple[str, str, bytes]], port: int, pid: int
) -> dict[str, Any]:
    """Milliseconds of each request after ten that are not counted."""
    connection, seconds = HTTPConnection("127.0.0.1", port, timeout=60), []
    kind = {"content-type": "multipart/form-data; boundary=x"}
    for index, (method, path, body) in enumerate(requests):
        if index == 10:
            used = cpu(pid)
        began = time.perf_counter()
        connection.request(method, path, body, kind if body else {})
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{method} {path}: {answer.status}")
        seconds.append(time.perf_counter() - began)
    connection.close()
    counted = seconds[10:]
    used = 1000 * (cpu(pid) - used) / len(counted)
    return {
        "request": name,
        "count": len(counted),
        **timing.summary(counted),
        "server_cpu_ms": round(used, 2),
    }


def main(arguments: list[str] | None = None) -> Path:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        config = ServeConfig(
            folder=Path(name),
            port=port,
            queue_quota=10**6,
            rate_per_minute=1e6,
            model=("gaussian",),
        )
        database = Database(config.database)
        database.migrate()
        session = open_models(config.model, "cpu")["gaussian"]
        served = {"gaussian": facts(session, render_pixels=None)}
        fill(database, args.videos)
        with database.reading() as connection:
            ids = [
                row[0] for row in connection.execute(videos.select().with_only_columns(videos.c.id))
            ]
        free.close()
        code = (
            "import sys; from worldtube.serve.config import ServeConfig; "
            "from worldtube.serve.supervisor import serve_api; "
            "serve_api(ServeConfig.from_json(sys.argv[1]))"
        )
        server = subprocess.Popen([sys.executable, "-c", code, config.to_json()])
        try:
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except OSError:
                    time.sleep(0.1)
            announce(Workers(database), served)
            time.sleep(1.1)  # the API asks who is there once a second
            ordered, rng = sorted(ids), random.Random(0)
            after = [rng.choice(ordered) for _ in range(args.repeats + 10)]
            every = {
                "create": [("POST", "/v1/videos", BODY)] * (args.repeats + 10),
                "retrieve": [("GET", f"/v1/videos/{id}", b"") for id in after],
                "list, 20 a page": [("GET", f"/v1/videos?after={id}", b"") for id in after],
                "list, 100 a page": [
                    ("GET", f"/v1/videos?limit=100&after={id}", b"") for id in after
                ],
            }
            results = [measure(name, some, port, server.pid) for name, some in every.items()]
        finally:
            server.terminate()
            server.wait(30)
            database.close()
    for one in results:
        print(one, flush=True)
    told = vars(args) | {"load": round(os.getloadavg()[0], 1), "nice": os.nice(0)}
    return timing.write("serve", told, results, args.out)


if __name__ == "__main__":
    main()
