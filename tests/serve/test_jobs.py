"""The queue, on SQLite and on Postgres: leases, fencing, deadlines, quotas, pages, and the tables as migrated."""

import os
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from worldtube.errors import RequestError
from worldtube.serve.jobs import (
    Conflict,
    Database,
    Jobs,
    Lost,
    QueueFull,
    Workers,
    new_id,
    now,
    tables,
)
from worldtube.serve.jobs.registry import SILENT_SECONDS
from worldtube.serve.jobs.tables import METADATA, videos


def postgres_server(folder: Path):
    """A Postgres of our own without a password, on a socket in `folder`; yields its address, or skips."""
    found = shutil.which("initdb") or next(
        iter(sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))), None
    )
    if found is None:
        pytest.skip("needs Postgres: apt install postgresql")
    pytest.importorskip("psycopg", reason="needs the extra: pip install 'worldtube[postgres]'")
    bin, data = Path(found).resolve().parent, folder / "data"
    as_user = []
    if os.geteuid() == 0:  # Postgres does not run as root
        shutil.chown(folder, "nobody")
        as_user = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
        folder.parent.chmod(0o755)
    subprocess.run(
        [*as_user, bin / "initdb", "-D", data, "-U", "worldtube", "-A", "trust", "-E", "UTF8", "-N"],
        check=True, capture_output=True, cwd=folder,
    )  # fmt: skip
    process = subprocess.Popen(
        [*as_user, bin / "postgres", "-D", data, "-k", folder, "-c", "listen_addresses="],
        cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        url = f"postgresql+psycopg://worldtube@/postgres?host={folder}"
        engine = sa.create_engine(url)
        for _ in range(300):
            try:
                engine.connect().close()
                break
            except sa.exc.OperationalError:
                time.sleep(0.1)
        engine.dispose()
        yield url
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="session")
def postgres():
    with tempfile.TemporaryDirectory(dir="/tmp") as name:  # a socket's path is short
        folder = Path(name) / "p"
        folder.mkdir()
        yield from postgres_server(folder)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, tmp_path):
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'jobs.sqlite'}"
    else:
        url = request.getfixturevalue("postgres")
    database = Database(url)
    database.migrate()
    with database.writing() as connection:
        for table in METADATA.tables.values():
            connection.execute(table.delete())
    yield database
    database.close()


@pytest.fixture
def jobs(database):
    return Jobs(database, lease_seconds=60, attempts=3)


def row(**changes):
    values = {
        "id": new_id("video"), "owner": "me", "task": "generate", "model": "m", "prompt": "a ball",
        "size": "64x64", "rendered_size": "64x64", "seconds": "1", "fps": 12.0, "num_frames": 13,
        "seed": 2**62, "spec": {"options": {}}, "shape": "s", "warnings": [], "remixed_from": None,
        "idempotency_key": None, "body_hash": "h",
    }  # fmt: skip
    return values | changes


def add(jobs, quota=100, deadline=1000.0, repeated=False, **changes):
    return jobs.add(row(**changes), quota=quota, deadline_seconds=deadline, repeated=repeated)


def test_the_migrations_make_the_tables(database):
    """What alembic would still change is nothing; asked again, it changes nothing."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    database.migrate()
    with database.writing() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []


def test_a_job_from_beginning_to_end(jobs):
    told = add(jobs)
    assert told["status"] == "queued" and abs(told["created_at"] - time.time()) < 5
    (job,) = jobs.claim("w", ["m"])
    assert job.id == told["id"] and job.epoch == job.attempt == 1
    assert jobs.claim("v", ["m"]) == []
    assert jobs.beat(job, 40) is False and jobs.get("me", job.id)["progress"] == 40
    jobs.beat(job, 20)
    assert jobs.get("me", job.id)["progress"] == 40, "it never falls"
    jobs.complete(job, sha256="x")
    done = jobs.get("me", job.id)
    assert (done["status"], done["progress"], done["seed"]) == ("completed", 100, 2**62)
    assert done["expires_at"] > done["completed_at"] >= done["created_at"]
    for late in (
        lambda: jobs.beat(job),
        lambda: jobs.complete(job),
        lambda: jobs.fail(job, "a", "b"),
    ):
        with pytest.raises(Lost):
            late()
    assert jobs.get("someone else", job.id) is None
    assert jobs.counts()[0] == {"completed": 1}


def test_only_what_it_serves_and_the_oldest_first(jobs):
    first, second, other = (add(jobs, model=m)["id"] for m in ("m", "m", "other"))
    assert [jobs.claim("w", ["m"])[0].id for _ in range(2)] == [first, second]
    assert jobs.claim("w", ["m"]) == [] and jobs.claim("w", ["other", "m"])[0].id == other


def test_a_lost_worker_is_fenced_and_the_third_loss_is_the_last(jobs):
    add(jobs)
    jobs.lease_seconds = 0.01
    taken = []
    for _ in range(3):
        taken += jobs.claim("w", ["m"])
        time.sleep(0.05)
    assert [job.epoch for job in taken] == [1, 2, 3] and jobs.claim("w", ["m"]) == []
    with pytest.raises(Lost):
        jobs.beat(taken[0])
    with pytest.raises(Lost):
        jobs.complete(taken[1])
    assert jobs.sweep() == 1 and jobs.sweep() == 0
    told = jobs.get("me", taken[0].id)
    assert told["status"] == "failed" and told["error"]["code"] == "worker_lost"
    with pytest.raises(Lost):
        jobs.complete(taken[2])


def test_a_worker_known_to_be_dead_frees_its_jobs(jobs):
    add(jobs)
    (job,) = jobs.claim("host:1", ["m"])
    assert jobs.abandon("host:2") == 0 and jobs.claim("host:3", ["m"]) == []
    assert jobs.abandon("host:1") == 1
    (again,) = jobs.claim("host:3", ["m"])
    assert again.id == job.id and again.attempt == 2
    jobs.release(again, counts=False)
    assert jobs.claim("host:3", ["m"])[0].attempt == 2


def test_deadlines_cancelling_deleting(jobs):
    late, waiting, running, gone = (add(jobs, deadline=d)["id"] for d in (0.0, 9.0, 9.0, 9.0))
    assert jobs.cancel("me", waiting)["error"]["code"] == "cancelled"
    (job,) = jobs.claim("w", ["m"])
    assert job.id == running, "nobody begins what is late"
    assert jobs.cancel("me", running)["status"] == "in_progress" and jobs.beat(job) is True
    jobs.fail(job, "cancelled", "it was cancelled")
    assert jobs.sweep() == 1 and jobs.get("me", late)["error"]["code"] == "deadline_exceeded"
    (job,) = jobs.claim("w", ["m"])
    assert job.id == gone and not jobs.delete("you", gone) and jobs.delete("me", gone)
    with pytest.raises(Lost):
        jobs.beat(job)
    assert jobs.cancel("me", gone) is None


def test_quota_and_idempotency(jobs):
    first = add(jobs, idempotency_key="k", body_hash="one")
    assert add(jobs, idempotency_key="k", body_hash="one")["id"] == first["id"]
    assert add(jobs, idempotency_key="k", body_hash="one", owner="you")["id"] != first["id"]
    with pytest.raises(Conflict):
        add(jobs, idempotency_key="k", body_hash="two")
    assert add(jobs, body_hash="one", repeated=True)["id"] == first["id"]
    assert add(jobs, body_hash="one")["id"] != first["id"]
    with pytest.raises(QueueFull):
        add(jobs, quota=2)


def test_a_quota_holds_against_many_at_once(jobs):
    refused, stored = [], []

    def one():
        try:
            stored.append(add(jobs, quota=5))
        except QueueFull as error:
            refused.append(error)

    threads = [threading.Thread(target=one) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(stored) == 5 and len(refused) == 7


def test_many_workers_take_each_job_once(jobs):
    ids = {add(jobs)["id"] for _ in range(30)}
    taken = []

    def work(name):
        while claimed := jobs.claim(name, ["m"]):
            taken.extend(claimed)
            jobs.complete(claimed[0])

    threads = [threading.Thread(target=work, args=(f"w{i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 30 and {job.id for job in taken} == ids


def test_alike_jobs_are_taken_together(jobs):
    ids = [add(jobs, shape=shape)["id"] for shape in ("a", "b", "a", "a")]
    together = jobs.claim("w", ["m"], limit=2)
    assert [job.id for job in together] == [ids[0], ids[2]]
    jobs.release(together[0], counts=True)
    assert [job.id for job in jobs.claim("w", ["m"], limit=4)] == [ids[0]], "begun before: alone"


def test_pages_and_expiry(jobs):
    ids = [add(jobs)["id"] for _ in range(5)]
    down, more = jobs.page("me", limit=3)
    assert [r["id"] for r in down] == sorted(ids, reverse=True)[:3] and more
    rest, more = jobs.page("me", limit=3, after=down[-1]["id"])
    assert [r["id"] for r in rest] == sorted(ids, reverse=True)[3:] and not more
    assert [r["id"] for r in jobs.page("me", newest_first=False)[0]] == sorted(ids)
    assert jobs.page("you", after=ids[0]) == ([], False)
    with jobs.database.writing() as connection:
        connection.execute(videos.update().where(videos.c.id == ids[0]).values(expires_at=1.0))
    assert jobs.expired() == [ids[0]] and len(jobs.page("me")[0]) == 4
    jobs.forget(ids)
    assert jobs.known(ids) == set(ids[1:])


@pytest.mark.parametrize("newest_first", [True, False])
def test_a_cursor_that_is_gone_still_marks_its_place(jobs, newest_first):
    ids = sorted((add(jobs)["id"] for _ in range(7)), reverse=newest_first)
    after, seen = None, []
    while True:
        rows, more = jobs.page("me", after=after, limit=2, newest_first=newest_first)
        for row in rows:
            seen.append(row["id"])
            assert jobs.delete("me", row["id"])
        after = rows[-1]["id"]
        if not more:
            break
    assert seen == ids and jobs.page("me") == ([], False)


def test_only_live_workers_count_and_the_last_to_start_names_the_default(jobs):
    workers = Workers(jobs.database)
    assert workers.models() == {}
    workers.announce("host:1", {"old": {"fps": 4.0}, "both": {"fps": 4.0}})
    time.sleep(0.01)
    workers.announce("host:2", {"new": {"fps": 5.0}, "both": {"fps": 5.0}})
    models = workers.models()
    assert list(models) == ["new", "both", "old"]
    assert [facts["default"] for facts in models.values()] == [True, False, False]
    assert models["both"]["fps"] == 5.0 and abs(models["new"]["created_at"] - time.time()) < 5
    assert list(workers.models(worker="host:1")) == ["old", "both"]
    # What an earlier start of the server left behind is not counted until it is heard from again.
    since = workers.clock()
    assert workers.models(since=since) == {}
    time.sleep(0.01)
    assert workers.keep_alive("host:1") and list(workers.models(since=since)) == ["old", "both"]
    # A worker that is dead, ended or silent serves nothing.
    jobs.abandon("host:2")
    assert list(workers.models()) == ["old", "both"] and not workers.keep_alive("host:2")
    with jobs.database.writing() as connection:
        connection.execute(tables.workers.update().values(seen_at=now() - SILENT_SECONDS))
    assert workers.models() == {}
    assert workers.keep_alive("host:1") and len(workers.models()) == 2
    workers.withdraw("host:1")
    assert workers.models() == {}


def test_jobs_of_a_model_that_is_gone_fail_after_a_while(jobs):
    workers = Workers(jobs.database)
    workers.announce("host:1", {"served": {}, "gone": {}})
    waiting, gone, unknown = (add(jobs, model=name)["id"] for name in ("served", "gone", "never"))
    (lost,) = jobs.claim("host:2", ["gone"])
    assert lost.id == gone and jobs.sweep() == 0
    jobs.abandon("host:2")
    started = workers.clock()
    with jobs.database.writing() as connection:
        connection.execute(videos.update().values(created_at=now() - 3600))
        query = tables.models.update().where(tables.models.c.name == "gone")
        connection.execute(query.values(seen_at=now() - 3600))
    assert jobs.sweep(since=started) == 0, "the server has only just started"
    assert jobs.sweep(since=started - 3600) == 2
    for id in (gone, unknown):
        error = jobs.get("me", id)["error"]
        assert error["code"] == "model_not_served" and "for 10 minutes" in error["message"]
    assert jobs.get("me", waiting)["status"] == "queued"


def test_strange_databases(tmp_path):
    for url in ("mysql://a/b", "nothing at all"):
        with pytest.raises(RequestError):
            Database(url)
