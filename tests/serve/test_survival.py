"""kill -9 of workers and of the API: every job ends once, no file is lost or doubled, the database is whole."""

import os
import random
import signal
import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from running import FAST, QUICK, Running
from test_jobs import postgres  # noqa: F401 - a fixture

from worldtube import video
from worldtube.serve.jobs.tables import videos


def survive(running, client, *, jobs: int, workers: int, apis: int, steps: int, seconds: float):
    """Queue jobs, kill at random moments, wait for all of them."""
    rng = random.Random(0)
    made = [
        client.videos.create(prompt=f"job {i}", **QUICK, extra_body={"num_inference_steps": steps})
        for i in range(jobs)
    ]
    ids = {one.id for one in made}
    assert len(ids) == jobs
    engine = sa.create_engine(running.database)
    kills = ["worker"] * workers + ["api"] * apis
    rng.shuffle(kills)
    end = time.monotonic() + seconds

    def done() -> int:
        with engine.connect() as connection:
            query = sa.select(sa.func.count()).where(videos.c.id.in_(ids))
            return connection.execute(query.where(videos.c.status == "completed")).scalar()

    started = done()
    for index, role in enumerate(kills):
        # The next kill comes when so much more is done, and hits one that is at work.
        while done() - started < index * (jobs - 4) // len(kills):
            assert time.monotonic() < end, running.log.read_text()
            time.sleep(0.05)
        while not (alive := [pid for pid, name in running.children().items() if name == role]):
            time.sleep(0.05)
        if role == "worker":
            alive = busy(engine, alive) or alive
        os.kill(rng.choice(alive), signal.SIGKILL)
    while done() < jobs:
        assert time.monotonic() < end, running.log.read_text()
        time.sleep(0.1)
    running.await_ready()
    listed = [one for one in client.videos.list(limit=100) if one.id in ids]
    assert len(listed) == jobs and {one.status for one in listed} == {"completed"}
    files = running.folder / "files" / "videos"
    with engine.connect() as connection:
        rows = connection.execute(sa.select(videos).where(videos.c.id.in_(ids))).mappings().all()
        if engine.dialect.name == "sqlite":
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
    for row in rows:
        found = [path.relative_to(files) for path in (files / row["id"]).rglob("video.mp4")]
        assert found == [Path(row["id"]) / str(row["epoch"]) / "video.mp4"], (
            "one file, of who ended it"
        )
    again = [row for row in rows if row["attempt"] > 1]
    assert len(again) >= 1 and max(row["attempt"] for row in rows) <= 5
    for one in (again[0], rows[0]):
        clip = video.read(client.videos.download_content(one["id"]).read())
        assert clip.num_frames == one["num_frames"]
    engine.dispose()


def busy(engine, pids):
    """Those of the workers that have a job in hand."""
    with engine.connect() as connection:
        owners = connection.execute(
            sa.select(videos.c.lease_owner).where(videos.c.status == "in_progress")
        ).scalars()
        held = {int(owner.rpartition(":")[2]) for owner in owners if owner}
    return [pid for pid in pids if pid in held]


def test_kills(keyed):  # 15
    keyed.database = f"sqlite:///{keyed.folder / 'jobs.sqlite'}"
    with keyed.client(keyed.keys["ann"], max_retries=10) as client:
        survive(keyed, client, jobs=20, workers=3, apis=1, steps=60, seconds=300)


def test_the_children_go_with_the_supervisor(keyed):
    """The last that happens to this server."""
    end = time.monotonic() + 60
    while len(children := list(keyed.children())) < 3:  # one that was killed comes back in a while
        assert time.monotonic() < end, keyed.log.read_text()
        time.sleep(0.1)
    assert len(children) == 3
    keyed.process.kill()
    keyed.process.wait()
    while any(Path(f"/proc/{pid}").exists() for pid in children):
        assert time.monotonic() < end, "a child outlived its supervisor"
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_many_kills(tmp_path, kind, request):
    folder = tmp_path / "data"
    url = (
        f"sqlite:///{folder / 'jobs.sqlite'}"
        if kind == "sqlite"
        else request.getfixturevalue("postgres")
    )
    options = ["--model", "gaussian", "--devices", "cpu", "cpu", "--moderation", "off"]
    extra = [] if kind == "sqlite" else ["--database-url", url]
    running = Running(folder, *FAST, *options, *extra, "--queue-quota", "1000")
    running.database = url
    try:
        with running.client(max_retries=10) as client:
            survive(running, client, jobs=200, workers=20, apis=3, steps=100, seconds=1500)
    finally:
        running.stop()
