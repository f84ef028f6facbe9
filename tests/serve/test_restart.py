"""What is said and served while a server starts, restarts with another model, loses its worker, and stops."""

import os
import signal
import socket
import subprocess
import sys
import time

import httpx2
import openai
import pytest
from running import FAST, QUICK, Running, finished
from test_jobs import row

from worldtube import video
from worldtube.serve.api.errors import ApiError
from worldtube.serve.api.server import Server
from worldtube.serve.config import ServeConfig
from worldtube.serve.jobs import Database, Jobs, Workers

MODEL = {"fps": 4.0, "size": "1x1", "seconds": 2.0, "stride": [1, 1], "render_pixels": 4}


def models(running):
    return [one["id"] for one in httpx2.get(f"{running.url}/v1/models", timeout=30).json()["data"]]


def test_a_restart_with_another_model_forgets_the_old_one(tmp_path):
    """kill -9 of all, so that nothing could say goodbye."""
    folder = tmp_path / "data"
    first = Running(folder, *FAST, "--model", "old=gaussian")
    assert models(first) == ["old", "sora-2", "sora-2-pro"]
    children = list(first.children())
    for pid in [first.process.pid, *children]:
        os.kill(pid, signal.SIGKILL)
    first.stop()
    # A job that waits for the old model, as the first server left it.
    jobs = Jobs(Database(ServeConfig(folder=folder).database))
    waiting = jobs.add(row(owner="local", model="old"), quota=9, deadline_seconds=600)["id"]
    assert list(Workers(jobs.database).models()) == ["old"], "its row is there still"

    second = Running(
        folder, *FAST, "--model", "new=gaussian", "next=gaussian", "--unserved-minutes", "0.1"
    )
    try:
        assert models(second) == ["new", "next", "sora-2", "sora-2-pro"]
        health = httpx2.get(f"{second.url}/healthz").json()
        assert health == {"status": "ok", "models": ["new", "next"], "keys": False}
        with second.client(max_retries=0) as client:
            with pytest.raises(openai.BadRequestError) as error:
                client.videos.create(prompt="a", model="old", size="32x16", seconds="1")
            assert error.value.code == "model_not_found" and "new, next" in str(error.value)
            for name in ("sora-2", "sora-2-pro-2025-10-06"):
                told = client.videos.create_and_poll(
                    prompt="a", model=name, size="32x16", seconds="1"
                )
                assert (told.status, told.model) == ("completed", "new")
            told = finished(client, waiting)
            assert told.error.code == "model_not_served" and "0.1 minutes" in told.error.message
    finally:
        second.stop()
    jobs.database.close()


def test_a_job_that_nobody_can_make_says_so_while_it_waits(tmp_path):
    config = ServeConfig(folder=tmp_path)
    Database(config.database).migrate()
    server = Server(config)
    told = server.jobs.add(row(model="m", warnings=["w"]), quota=9, deadline_seconds=600)
    expected = "no worker serves 'm' now; after 10 minutes without one the job fails"
    assert server.tell(told).warnings == ["w", expected]
    server.workers.announce("host:1", {"m": MODEL})
    assert server.tell(told).warnings == ["w"] and list(server.models()) == ["m"]
    server.jobs.abandon("host:1")
    time.sleep(1.1)  # what workers announced may be a second old
    assert server.tell(told).warnings == ["w", expected]
    assert server.tell({**told, "status": "completed"}).warnings == ["w"]
    with pytest.raises(ApiError, match="no worker is ready") as error:
        server.models()
    assert error.value.status == 503
    server.database.close()


def test_ready_means_that_a_worker_is_ready(tmp_path):
    folder = tmp_path / "data"
    running = Running(folder, *FAST, "--model", "gaussian", "--api-only", wait=False)
    worker = None
    try:
        running.await_answer()
        health = httpx2.get(f"{running.url}/healthz")
        assert health.status_code == 503
        assert health.json() == {"status": "starting", "models": [], "keys": False}
        assert models(running) == []
        with running.client(max_retries=0) as client, pytest.raises(openai.APIStatusError) as error:
            client.videos.create(prompt="a", model="sora-2")
        assert error.value.status_code == 503 and error.value.code == "no_model"
        assert error.value.response.headers["retry-after"] == "4"
        os.set_blocking(running.process.stdout.fileno(), False)
        assert not running.process.stdout.read(), "it said that it serves, and does not"

        words = [sys.executable, "-m", "worldtube", "worker", "--folder", str(folder)]
        worker = subprocess.Popen(
            [*words, "--model", "gaussian"], stdout=subprocess.PIPE, stderr=running.out, text=True
        )
        assert worker.stdout.readline() == "worldtube worker serves gaussian\n"
        running.await_ready()
        os.set_blocking(running.process.stdout.fileno(), True)
        line = running.process.stdout.readline().decode()
        assert line == f"worldtube serves at {running.url}/v1 (no key: this machine only)\n"
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0
        assert httpx2.get(f"{running.url}/healthz").status_code == 503
    finally:
        if worker is not None:
            worker.kill()
            worker.stdout.close()
            worker.wait()
        running.stop()


def test_a_worker_that_dies_makes_it_not_ready(tmp_path):
    running = Running(tmp_path / "data", *FAST, "--model", "gaussian")
    try:
        worker = next(pid for pid, role in running.children().items() if role == "worker")
        os.kill(worker, signal.SIGKILL)
        end, codes = time.monotonic() + 60, []
        while codes[-2:] != [503, 200] and time.monotonic() < end:
            code = httpx2.get(f"{running.url}/healthz").status_code
            codes += [code] if codes[-1:] != [code] else []
            time.sleep(0.02)
        assert codes[-2:] == [503, 200], codes
        with running.client() as client:
            told = client.videos.create_and_poll(prompt="a", **QUICK)
            assert video.read(client.videos.download_content(told.id).read()).num_frames == 4
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(30) == 0
    finally:
        running.stop()
    lines = running.log.read_text().splitlines()
    assert lines[0] == "worldtube: starting worker with gaussian ..."
    died = f"worldtube: worker (process {worker}) ended with SIGKILL; starting another"
    assert died in lines
    after = lines[lines.index(died) + 1 :]
    assert after == ["worldtube: stopping; jobs in hand go back to the queue"]
    assert max(map(len, [lines[0], died, *after])) <= 80


def serve(*options, folder):
    words = [sys.executable, "-m", "worldtube", "serve", "--folder", str(folder), *options]
    return subprocess.run(words, capture_output=True, text=True, timeout=120)


def test_what_cannot_start_says_why_and_ends(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = serve("--port", str(port), folder=tmp_path)
        assert done.returncode == 2 and "serves at" not in done.stdout
        assert f"port must be free at 127.0.0.1, got {port}" in done.stderr
    done = serve(
        "--port", str(port), "--model", str(tmp_path / "none.safetensors"), folder=tmp_path
    )
    assert done.returncode == 2 and "serves at" not in done.stdout
    assert done.stderr.splitlines()[-1].startswith("worldtube: no weights at")
    assert "Traceback" not in done.stderr
    done = serve("--port", str(port), "--devices", "cuda:99", folder=tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("worldtube: device must be one of")
