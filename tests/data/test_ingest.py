"""Laws of recording: a killed recording is completed, the rows do not depend on how, a bad seed is told."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("numba")
pytest.importorskip("mujoco")

from worldtube.data import ingest
from worldtube.data.catalog import Catalog
from worldtube.errors import DataError, RequestError
from worldtube.video import Size
from worldtube.worlds.record import record

SIZE = Size(32, 32)
COMMAND = """
import sys
from worldtube.data import ingest
from worldtube.video import Size

ingest.BATCH = 2
if __name__ == "__main__":
    ingest.record_world(
        "tabletop", seeds=range(12), size=Size(32, 32), out=sys.argv[1], num_frames=2, processes=2
    )
"""


def test_a_killed_recording_is_completed(tmp_path: Path):
    out = tmp_path / "set"
    recording = subprocess.Popen([sys.executable, "-c", COMMAND, str(out)], start_new_session=True)
    try:
        for _ in range(6000):
            time.sleep(0.05)
            if (out / "clips.lance" / "_versions").exists():
                catalog = Catalog(out, mode="a")
                if len(catalog) >= 2:
                    break
            assert recording.poll() is None, "it ended before it could be killed"
        os.killpg(recording.pid, signal.SIGKILL)
    finally:
        recording.kill()
        recording.wait()
    catalog = Catalog(out)
    kept = catalog.ids()
    before = catalog.take(kept, ["video", "truth", "caption_long"])
    assert 2 <= len(kept) < 12
    told = []
    new = ingest.record_world(
        "tabletop",
        seeds=range(12),
        size=SIZE,
        out=out,
        num_frames=2,
        processes=0,
        progress=lambda *numbers: told.append(numbers),
    )
    assert new == 12 - len(kept)
    assert told[0] == (len(kept), 12) and told[-1] == (12, 12)
    catalog = Catalog(out)
    assert [row["seed"] for row in catalog.take(catalog.ids(), ["seed"])] == list(range(12))
    assert catalog.ids("problem IS NOT NULL") == []
    assert catalog.take(kept, ["video", "truth", "caption_long"]) == before
    # Recorded in another process or here: the same clip.
    for name, seed in ((kept[0], int(kept[0].split(":")[2])), (catalog.ids()[-1], 11)):
        clip, captions, truth = record("tabletop", seed, SIZE, num_frames=2)
        found = catalog.clip(name)
        assert np.array_equal(found.frames, clip.frames) and found.fps == clip.fps
        assert np.array_equal(found.tracks["ids"], clip.tracks["ids"])
        assert found.caption == captions["medium"]
        assert catalog.take([name], ["truth"])[0]["truth"] == truth


def test_a_seed_that_fails_is_told_and_not_tried_again(tmp_path, monkeypatch, caplog):
    tried = []

    def sometimes(world, seed, size, **options):
        tried.append(seed)
        if seed == 1:
            raise ArithmeticError("the ball left the universe")
        return record(world, seed, size, **options)

    monkeypatch.setattr("worldtube.worlds.record.record", sometimes)
    for _ in range(2):
        ingest.record_world(
            "tabletop", seeds=range(3), size=SIZE, out=tmp_path / "set", num_frames=1, processes=0
        )
    assert tried == [0, 1, 2]
    assert "the ball left the universe" in caplog.text
    catalog = Catalog(tmp_path / "set")
    (bad,) = catalog.ids("problem IS NOT NULL")
    assert catalog.take([bad], ["problem", "video"]) == [
        {"problem": "ArithmeticError: the ball left the universe", "video": None}
    ]


def test_clips_of_another_length_are_not_those_asked_for(tmp_path):
    given = {"size": SIZE, "out": tmp_path / "set", "processes": 0}
    ingest.record_world("tabletop", seeds=range(2), num_frames=1, **given)
    with pytest.raises(DataError, match=r"with 1 frames at 12 fps, not 2 at 12: name another"):
        ingest.record_world("tabletop", seeds=range(1, 3), num_frames=2, **given)
    assert ingest.record_world("tabletop", seeds=range(2, 3), num_frames=2, **given) == 1


def test_what_cannot_be_recorded(tmp_path):
    with pytest.raises(RequestError, match="did you mean 'tabletop'"):
        ingest.record_world("tabeltop", seeds=range(1), size=SIZE, out=tmp_path / "set")
    with pytest.raises(RequestError, match="seeds"):
        ingest.record_world("tabletop", seeds=range(0), size=SIZE, out=tmp_path / "set")
    with pytest.raises(RequestError, match="fps"):
        ingest.record_world(
            "tabletop", seeds=range(1), size=SIZE, out=tmp_path / "set", fps=13, processes=0
        )
