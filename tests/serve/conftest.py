"""A server with the embedded model and the Gaussian one, whose clips cost nothing, for tests that do not hurt it."""

import contextlib
import socket
import threading

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs the extra: pip install 'worldtube[serve]'")
pytest.importorskip("openai", reason="needs OpenAI's client: pip install 'openai<4'")

from random_model import random_model
from running import FAST, Running

from worldtube import video
from worldtube.errors import RequestError
from worldtube.generate.session import Session
from worldtube.serve.api.app import application
from worldtube.serve.config import ServeConfig
from worldtube.serve.jobs import Database
from worldtube.serve.keys import Keys
from worldtube.serve.worker import Worker
from worldtube.state import check_state
from worldtube.video import Clip


def pytest_collection_modifyitems(items):
    for item in items:
        if "/serve/" in str(
            item.fspath
        ):  # the client says of every call that OpenAI's own API is gone
            item.add_marker(pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning"))


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """One for all tests that do not hurt it."""
    folder = tmp_path_factory.mktemp("server") / "data"
    running = Running(folder, *FAST, "--model", "embedded", "gaussian")
    yield running
    running.stop()


@pytest.fixture(scope="session")
def client(server):
    with server.client() as client:
        yield client


@pytest.fixture(scope="session")
def picture(tmp_path_factory):
    path = tmp_path_factory.mktemp("uploads") / "picture.png"
    rng = np.random.default_rng(0)
    video.write(Clip(frames=rng.integers(0, 255, (1, 16, 32, 3), np.uint8), fps=1.0), path)
    return path


@pytest.fixture(scope="session")
def footage(tmp_path_factory):
    """A clip of 9 frames at 12 a second with a thing that moves."""
    path = tmp_path_factory.mktemp("uploads") / "footage.mp4"
    frames = np.full((9, 32, 48, 3), 90, np.uint8)
    for index in range(9):
        frames[index, 10:20, 4 * index : 4 * index + 10] = (200, 30, 30)
    video.write(Clip(frames=frames, fps=12.0), path)
    return path


@pytest.fixture(scope="session")
def keyed(tmp_path_factory):
    """One with keys and two workers, for tests of limits and of what it survives. Its keys by name."""
    folder = tmp_path_factory.mktemp("keyed") / "data"
    database = Database(ServeConfig(folder=folder).database)
    database.migrate()
    door = Keys(database)
    keys = {
        "ann": door.create("ann")[1],
        "bob": door.create("bob", queue_quota=2)[1],
        "eve": door.create("eve", rate_per_minute=2)[1],
    }
    database.close()
    running = Running(
        folder, *FAST, "--model", "gaussian", "--devices", "cpu", "cpu", "--moderation", "off"
    )
    running.keys = keys
    yield running
    running.stop()


def first_seed(session):
    """The first seed whose state can be drawn: bodies of random plans lie inside one another."""
    for seed in range(200):
        clip = session.generate("a red ball", seed=seed, num_frames=1, size="16x16")
        with contextlib.suppress(RequestError):
            check_state(clip.state)
            return seed
    raise AssertionError("no seed of 200")


class Inside:
    """A server in this process, whose model `random` makes clips by way of their state, and `gaussian` does not.

    With `seed` the state of `a red ball` is one that can be drawn.
    """

    def __init__(self, folder):
        import uvicorn

        config = ServeConfig(folder=folder, model=("gaussian",), moderation="off", poll_ms=50)
        Database(config.database).migrate()
        self.worker = Worker(config)
        session = Session(random_model())
        self.worker.sessions = {"random": session, **self.worker.sessions}
        self.seed = first_seed(session)
        self.worker.announce()
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.api = uvicorn.Server(uvicorn.Config(application(config), log_level="warning"))
        runs = (self.worker.run, lambda: self.api.run(sockets=[self.socket]))
        self.threads = [threading.Thread(target=run, daemon=True) for run in runs]
        for thread in self.threads:
            thread.start()

    def client(self):
        import openai

        return openai.OpenAI(base_url=f"{self.url}/v1", api_key="none")

    def stop(self):
        self.worker.stopping.set()
        self.api.should_exit = True
        for thread in self.threads:
            thread.join()
        self.worker.jobs.database.close()


@pytest.fixture(scope="session")
def inside(tmp_path_factory):
    inside = Inside(tmp_path_factory.mktemp("inside") / "data")
    yield inside
    inside.stop()
