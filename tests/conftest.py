"""What all tests share: an installation of their own, so that none signs in the name of who runs them."""

import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from forks import Forks

LONGEST_FIRST = (
    "train/test_parallel.py",
    "test_docs.py",
    "train/test_ladder.py",
    "serve/test_studio.py",
    "train/test_loop.py",
    "data/test_films.py",
    "train/test_codec.py",
    "train/test_finetune.py",
    "evaluate/test_adherence.py",
    "serve/test_client.py",
)
"""Files that take longest, though their tests may be few: begun late, they would leave the other processes idle."""


def pytest_collection_modifyitems(items):
    """Longest files first; `--no-loadscope-reorder` keeps that order with several processes."""
    places = {str(Path(__file__).parent / name): i for i, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: places.get(str(item.path), len(places)))


@pytest.fixture(scope="session", autouse=True)
def own_home(tmp_path_factory):
    """Subprocesses get it too."""
    before = os.environ.get("WORLDTUBE_HOME")
    os.environ["WORLDTUBE_HOME"] = str(tmp_path_factory.mktemp("home"))
    yield
    os.environ.pop("WORLDTUBE_HOME")
    if before is not None:
        os.environ["WORLDTUBE_HOME"] = before


@pytest.fixture(scope="session")
def forks():
    """Runs Python programs in processes of their own; the first that asks waits for the server that forks them."""
    forks = Forks()
    yield forks
    forks.close()


@pytest.fixture
def chat_server():
    """A local OpenAI-compatible endpoint: `chat_server(answers)`, texts or HTTP codes in order; it notes what came."""
    servers = []

    def start(answers):
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self.server.asked.append(json.loads(body))
                self.server.headers.append(dict(self.headers))
                answer = self.server.answers.pop(0)
                code, text = (answer, "") if isinstance(answer, int) else (200, answer)
                message = {"choices": [{"message": {"role": "assistant", "content": text}}]}
                self.send_response(code)
                self.end_headers()
                self.wfile.write(json.dumps(message).encode())

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.answers, server.asked, server.headers = list(answers), [], []
        server.url = f"http://127.0.0.1:{server.server_port}/v1"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
