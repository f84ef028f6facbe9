"""Who may ask, how much, what is forgotten, and what is told to others."""

import http.server
import json
import re
import sqlite3
import threading
import time
from typing import ClassVar

import openai
import pytest
from running import QUICK, finished
from test_jobs import row

from worldtube.cli import main
from worldtube.errors import RequestError
from worldtube.serve.api.app import clear_orphans, expire
from worldtube.serve.api.server import Server
from worldtube.serve.config import ServeConfig
from worldtube.serve.hooks import Hooks, check_url
from worldtube.serve.jobs import Database, Jobs, tables
from worldtube.serve.keys import Rate
from worldtube.serve.supervisor import check_door

LONG = {"num_inference_steps": 1000}


@pytest.fixture(scope="module")
def ann(keyed):
    with keyed.client(keyed.keys["ann"]) as client:
        yield client


def database(keyed):
    return sqlite3.connect(keyed.folder / "jobs.sqlite", timeout=30, isolation_level=None)


def test_a_key_is_needed_and_sees_its_own_alone(keyed, ann):  # 9, 13
    for key in ("wrong", "wt-" + "x" * 43):
        with keyed.client(key) as nobody, pytest.raises(openai.AuthenticationError) as error:
            nobody.videos.list()
        assert error.value.code == "invalid_api_key" and error.value.request_id
    mine = ann.videos.create(prompt="a", **QUICK)
    with keyed.client(keyed.keys["bob"]) as bob:
        assert mine.id not in [one.id for one in bob.videos.list()]
        for call in (bob.videos.retrieve, bob.videos.delete, bob.videos.download_content):
            with pytest.raises(openai.NotFoundError):
                call(mine.id)
        with pytest.raises(openai.NotFoundError):
            bob.videos.remix(mine.id, prompt="b")
    assert finished(ann, mine.id).status == "completed"


def test_keys_are_kept_as_hashes_and_can_be_revoked(keyed, capsys):
    assert main(["keys", "create", "--name", "tmp", "--folder", str(keyed.folder)]) == 0
    secret = capsys.readouterr().out.strip()
    client = keyed.client(secret)
    assert client.videos.list().data == []
    main(["keys", "list", "--folder", str(keyed.folder)])
    line = next(one for one in capsys.readouterr().out.splitlines() if one.endswith("tmp"))
    assert secret not in line and "valid" in line
    assert secret.encode() not in (keyed.folder / "jobs.sqlite").read_bytes()
    assert main(["keys", "revoke", line.split()[0], "--folder", str(keyed.folder)]) == 0
    with pytest.raises(openai.AuthenticationError):
        client.videos.list()
    client.close()
    assert main(["keys", "revoke", "key_none", "--folder", str(keyed.folder)]) == 2
    assert main(["keys", "creat"]) == 2


def test_whose_work_it_is_can_be_seen_and_moved(tmp_path, capsys):
    """The first key hides nothing without a word, and all of it can be moved to a key."""
    config = ServeConfig(folder=tmp_path)
    check_door(config)
    folder = ["--folder", str(tmp_path)]
    assert main(["keys", "list", *folder]) == 0 and capsys.readouterr().out == ""
    database = Database(config.database)
    jobs, hooks = Jobs(database), Hooks(database)
    made = [jobs.add(row(owner="local", idempotency_key=key), quota=9, deadline_seconds=60)["id"]
            for key in ("once", None)]  # fmt: skip
    endpoint = hooks.create("local", "a", "https://example.org/", ("video.completed",))
    values = {"id": "char_1", "owner": "local", "name": "Mossy", "created_at": 1.0}
    with database.writing() as connection:
        connection.execute(tables.characters.insert().values(values))

    main(["keys", "create", "--name", "laptop", *folder])
    told = capsys.readouterr()
    laptop = re.search(r"key_\w+", told.err)[0]
    lines = told.err.splitlines()
    assert lines[-3].startswith("worldtube: no key sees the 2 videos, 1 character and 1 webhook")
    assert lines[-1] == f"    worldtube keys move local {laptop}"
    assert max(map(len, [*lines, *told.out.splitlines()])) <= 80
    assert jobs.page(laptop) == ([], False)
    main(["keys", "list", *folder])
    assert capsys.readouterr().out.splitlines()[1:] == [
        "local  made without a key", "    2 videos, 1 character and 1 webhook endpoint"
    ]  # fmt: skip

    # The target has used the same idempotency key: its own video keeps it.
    own = jobs.add(row(owner=laptop, idempotency_key="once"), quota=9, deadline_seconds=60)["id"]
    for wrong in (["local"], ["local", "key_none"], ["key_none", laptop], [laptop, laptop],
                  [laptop, "local"]):  # fmt: skip
        assert main(["keys", "move", *wrong, *folder]) == 2
    capsys.readouterr()
    assert main(["keys", "move", "local", laptop, *folder]) == 0
    assert capsys.readouterr().out == "moved 2 videos, 1 character and 1 webhook endpoint\n"
    assert {one["id"] for one in jobs.page(laptop)[0]} == {*made, own}
    assert jobs.get(laptop, own)["idempotency_key"] == "once"
    assert hooks.get(laptop, endpoint["id"]) is not None and jobs.characters(laptop) == ["Mossy"]
    main(["keys", "create", "--name", "other", *folder])
    told = capsys.readouterr()
    assert "made without" not in told.err
    other = re.search(r"key_\w+", told.err)[0]
    main(["keys", "revoke", laptop, *folder])
    main(["keys", "move", laptop, other, *folder])
    assert "moved 3 videos" in capsys.readouterr().out
    assert main(["keys", "move", other, laptop, *folder]) == 2, "it is revoked"
    main(["keys", "move", laptop, other, *folder])
    assert capsys.readouterr().out == "moved nothing\n"
    database.close()


def test_without_a_key_only_this_machine_is_answered(tmp_path):
    closed = ServeConfig(folder=tmp_path, host="0.0.0.0")
    with pytest.raises(RequestError, match="without a key"):
        check_door(closed)
    assert check_door(ServeConfig(folder=tmp_path)) is False
    assert main(["keys", "create", "--name", "a", "--folder", str(tmp_path)]) == 0
    assert check_door(closed) is True


def test_a_full_queue_says_when_to_come_again(keyed):  # 16
    with keyed.client(keyed.keys["bob"], max_retries=0) as bob:
        slow = [bob.videos.create(prompt=f"{i}", **QUICK, extra_body=LONG).id for i in range(2)]
        with pytest.raises(openai.RateLimitError) as error:
            bob.videos.create(prompt="one too many", **QUICK)
        assert (
            error.value.code == "queue_full" and error.value.response.headers["retry-after"] == "2"
        )
        threading.Timer(0.5, lambda: [bob.videos.delete(id) for id in slow]).start()
        patient = bob.with_options(max_retries=3)
        assert patient.videos.create(prompt="one too many", **QUICK).status == "queued"


def test_a_rate(keyed):
    rate = Rate()
    waits = [rate.wait("a", 6) for _ in range(5)]
    assert waits[:3] == [0, 0, 0] and 9 < waits[3] <= 10 and rate.wait("b", 6) == 0
    with keyed.client(keyed.keys["eve"], max_retries=0) as eve:
        eve.videos.create(prompt="a", **QUICK)
        with pytest.raises(openai.RateLimitError) as error:
            eve.videos.create(prompt="a", **QUICK)
        assert error.value.code == "rate_limit_exceeded"
        assert 1 <= int(error.value.response.headers["retry-after"]) <= 31


def test_every_job_ends(keyed, ann):  # 16
    slow = ann.videos.create(prompt="slow", **QUICK, extra_body=LONG)
    with database(keyed) as connection:
        connection.execute("UPDATE videos SET deadline = 1 WHERE id = ?", [slow.id])
    told = ann.videos.poll(slow.id)
    assert told.status == "failed" and told.error.code == "deadline_exceeded"


def test_rows_and_files_expire_together(keyed, ann):  # 20
    told = ann.videos.create_and_poll(prompt="a", **QUICK)
    files = keyed.folder / "files" / "videos"
    assert sorted(p.name for p in (files / told.id).rglob("*.*")) == [
        *("spritesheet.webp", "thumbnail.webp", "tokens.npy", "video.mp4")
    ]
    with database(keyed) as connection:
        connection.execute("UPDATE videos SET expires_at = 1 WHERE id = ?", [told.id])
    for call in (ann.videos.retrieve, ann.videos.download_content):
        with pytest.raises(openai.NotFoundError) as error:
            call(told.id)
        assert error.value.code == "video_expired"
    assert told.id not in [one.id for one in ann.videos.list()]
    server = Server(ServeConfig(folder=keyed.folder))
    expire(server)
    assert not (files / told.id).exists()
    with pytest.raises(openai.NotFoundError) as error:
        ann.videos.retrieve(told.id)
    assert error.value.code == "video_not_found"
    old = f"video_{int((time.time() - 7200) * 1000):012x}" + "0" * 24
    (files / old / "in").mkdir(parents=True)
    clear_orphans(server)
    assert not (files / old).exists()
    server.database.close()


class Listener(http.server.BaseHTTPRequestHandler):
    """Refuses the first delivery, takes the others."""

    seen: ClassVar[list] = []

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        self.seen.append((body, dict(self.headers)))
        self.send_response(503 if len(self.seen) == 1 else 204)
        self.end_headers()

    def log_message(self, *args):
        pass


def test_webhooks(keyed, ann):  # 17
    listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Listener)
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{listener.server_port}/hook?a=1"
    made = ann.webhooks.create(name="mine", url=url, event_types=["video.completed"])
    assert made.signing_secret.startswith("whsec_") and made.object == "webhook_endpoint"
    told = ann.webhooks.retrieve(made.id)
    assert not hasattr(told, "signing_secret") and made.signing_secret not in told.to_json()
    assert ann.webhooks.event_types.list().data == ["video.completed", "video.failed"]
    assert [one.id for one in ann.webhooks.list(limit=1)] == [made.id]

    job = ann.videos.create_and_poll(prompt="tell me", **QUICK)
    with database(keyed) as connection:  # the second try would come after some seconds
        for _ in range(300):
            if len(Listener.seen) >= 2:
                break
            connection.execute("UPDATE webhook_deliveries SET next_at = 1 WHERE attempt > 0")
            time.sleep(0.1)
    (first, _), (body, headers) = Listener.seen[:2]
    assert first == body, "the same event with the same id"
    event = ann.webhooks.unwrap(body, headers, secret=made.signing_secret)
    assert event.type == "video.completed" and event.data.id == job.id
    assert event.id == {k.lower(): v for k, v in headers.items()}["webhook-id"]
    wrong = openai.InvalidWebhookSignatureError
    with pytest.raises(wrong):
        ann.webhooks.unwrap(body + " ", headers, secret=made.signing_secret)
    rotated = ann.webhooks.rotate_secret(made.id, keep_old_secret_active_for_24_hours=True)
    with pytest.raises(wrong):
        ann.webhooks.unwrap(body, headers, secret=rotated.signing_secret)

    tried = ann.webhooks.test(made.id, event_type="video.failed")
    assert tried.status_code == 204 and tried.success is True
    body, headers = Listener.seen[-1]
    for secret in (made.signing_secret, rotated.signing_secret):
        assert ann.webhooks.unwrap(body, headers, secret=secret).type == "video.failed"
    changed = ann.webhooks.update(made.id, name="yours", event_types=["video.failed"])
    assert changed.name == "yours" and changed.event_types == ["video.failed"]
    with keyed.client(keyed.keys["bob"]) as bob, pytest.raises(openai.NotFoundError):
        bob.webhooks.retrieve(made.id)
    for bad in ({"url": "ftp://a"}, {"event_types": ["batch.failed"]}, {"event_types": []}):
        with pytest.raises(openai.BadRequestError):
            ann.webhooks.update(made.id, **bad)
    others = {
        ann.webhooks.create(name=f"{i}", url=url, event_types=["video.failed"]).id for i in range(4)
    }
    deleted = [one.id for one in ann.webhooks.list(limit=2) if ann.webhooks.delete(one.id).deleted]
    assert set(deleted) == others | {made.id} and ann.webhooks.list().data == []
    with pytest.raises(openai.NotFoundError):
        ann.webhooks.list(after="we_none")
    with pytest.raises(openai.NotFoundError):
        ann.webhooks.retrieve(made.id)
    listener.shutdown()
    listener.server_close()


@pytest.mark.parametrize(
    "url",
    [
        *("http://example.com", "https://127.0.0.1/", "https://10.0.0.1/", "https://[::1]/", "https://localhost/"),
        *("https://169.254.169.254/latest", "https://[::ffff:127.0.0.1]/", "https://u:p@example.com/", "https:///x"),
        *("https://a.internal/", "javascript:alert(1)", "https://exa mple.com", "https://[1", "https://a:99999/"),
    ],
)  # fmt: skip
def test_webhooks_go_to_public_addresses_alone(url):
    with pytest.raises(RequestError):
        check_url(url, private=False)


def test_a_public_webhook_is_taken():
    check_url("https://example.com/hook", private=False)
    check_url("http://127.0.0.1:1/", private=True)


def test_a_name_that_means_a_private_address_is_not_called(monkeypatch):
    from worldtube.serve import hooks

    place = (2, 1, 6, "", ("127.0.0.1", 443))
    monkeypatch.setattr(hooks.socket, "getaddrinfo", lambda *_, **__: [place])
    with pytest.raises(OSError, match="no public address"):
        hooks.post("https://rebound.example/", json.dumps({}), {}, private=False)
