"""Run records: what is written comes back, and a resumed record continues where it is told."""

import json
from dataclasses import dataclass

import numpy as np
import pytest

from worldtube import records
from worldtube.errors import DataError, NotFound, RequestError


@dataclass(frozen=True, kw_only=True)
class Config:
    depth: int = 4


def test_header_and_rows_come_back(tmp_path):
    with records.Run(tmp_path / "run.jsonl", Config()) as run:
        run.log(step=1, loss=np.float32(0.5))
        run.log(step=2, loss=0.25, note="ä")
        # Another process can read it while the run goes on.
        header, rows = records.read(tmp_path / "run.jsonl")
    assert header["config"] == {"depth": 4}
    assert {"commit", "versions", "machine", "started"} <= set(header)
    assert header["machine"]["cores"] >= 1 and "numpy" in header["versions"]
    assert [(row["step"], row["loss"]) for row in rows] == [(1, 0.5), (2, 0.25)]
    assert rows[1]["note"] == "ä" and rows[1]["seconds"] >= rows[0]["seconds"] >= 0


def test_resume_cuts_later_lines_and_goes_on(tmp_path):
    path = tmp_path / "run.jsonl"
    with records.Run(path, {"a": 1}) as run:
        for step in range(1, 6):
            run.log(step=step)
    with open(path, "a", encoding="utf-8") as file:
        file.write('{"step": 6, "lo')  # a kill in the middle of a line
    with records.Run.resume(path, 3) as run:
        run.log(step=4, again=True)
    header, rows = records.read(path)
    assert header["config"] == {"a": 1}
    assert [row["step"] for row in rows] == [1, 2, 3, 4] and rows[3]["again"]
    assert [p.name for p in tmp_path.iterdir()] == ["run.jsonl"]


def test_errors(tmp_path):
    with pytest.raises(NotFound):
        records.read(tmp_path / "none.jsonl")
    with pytest.raises(RequestError, match="no folder"):
        records.Run(tmp_path / "none" / "run.jsonl", {})
    path = tmp_path / "run.jsonl"
    records.Run(path, {}).close()
    with pytest.raises(RequestError, match="holds a run already"):
        records.Run(path, {})
    path.write_text(json.dumps({"config": {}}) + "\nnot json\n{}\n", encoding="utf-8")
    with pytest.raises(DataError, match="line 2"):
        records.read(path)
    path.write_text("[]\n", encoding="utf-8")
    with pytest.raises(DataError, match="no config"):
        records.read(path)


def test_a_run_that_goes_on_with_other_settings_tells_both(tmp_path):
    path = tmp_path / "run.jsonl"
    with records.Run(path, Config()) as run:
        for step in range(1, 6):
            run.log(step=step)
    records.Run.resume(path, 4, Config()).close()
    assert "before" not in records.read(path)[0]
    records.Run.resume(path, 3, Config(depth=5)).close()
    records.Run.resume(path, 2, Config(depth=6)).close()
    first, rows = records.read(path)
    assert first["config"] == {"depth": 6} and len(rows) == 2
    told = [(one["until"], one["config"]["depth"]) for one in first["before"]]
    assert told == [(3, 4), (2, 5)]


def test_a_kill_while_a_run_starts_leaves_no_record(tmp_path, monkeypatch):
    path = tmp_path / "run.jsonl"

    def killed(config):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(records, "header", killed)
        records.Run(path, {})
    assert not records.begun(path) and not path.exists()
    path.touch()
    assert not records.begun(path)
    records.Run(path, {}).close()
    assert records.begun(path)
