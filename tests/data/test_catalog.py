"""Laws of the catalog: rows come back, stages fill in once, transactions are whole, errors say what is known."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from worldtube.data.catalog import Catalog, episode, problem_row, row
from worldtube.data.table import Table
from worldtube.errors import DataError, MissingExtra, NotFound, RequestError
from worldtube.video import Clip, Size

CAPTIONS = {"short": "a", "medium": "a ball", "long": "a ball on a table"}


def clip(seed: int = 0, side: int = 16) -> Clip:
    rng = np.random.default_rng(seed)
    return Clip(
        frames=rng.integers(0, 256, (5, side, side, 3), dtype=np.uint8),
        fps=12,
        tracks={"ids": rng.integers(0, 3, (5, side, side), dtype=np.uint8)},
    )


def rows(seeds) -> list[dict]:
    return [row("test", 1, seed, clip(seed), CAPTIONS, {"seed": seed}) for seed in seeds]


@pytest.fixture
def catalog(tmp_path):
    made = Catalog(tmp_path / "set", mode="a")
    made.append(rows([3, 1, 2]))
    yield made


def test_a_clip_comes_back_to_the_bit(catalog):
    found = catalog.clip("test:1:3:16x16")
    assert np.array_equal(found.frames, clip(3).frames)
    assert np.array_equal(found.tracks["ids"], clip(3).tracks["ids"])
    assert (found.fps, found.caption) == (12, "a ball")
    found.frames[0] = 0  # both are ours to change
    found.tracks["ids"][0] = 0


def test_order_does_not_depend_on_when_rows_came(catalog):
    assert list(catalog) == catalog.ids() == [f"test:1:{seed}:16x16" for seed in (1, 2, 3)]
    assert catalog.ids("seed > ? AND world = ?", (1, "test")) == catalog.ids()[1:]
    taken = catalog.take(["test:1:3:16x16", "test:1:1:16x16"], ["truth", "seed"])
    assert taken == [{"truth": {"seed": 3}, "seed": 3}, {"truth": {"seed": 1}, "seed": 1}]


def test_a_row_that_is_there_stays(catalog):
    assert catalog.append(rows([3, 4])) == 1
    assert len(catalog) == 4 and "test:1:4:16x16" in catalog and "test:1:5:16x16" not in catalog


def test_a_batch_is_whole_or_absent(catalog):
    with pytest.raises(Exception, match=r"half a row.*width"):
        catalog.append([*rows([5]), {"id": "half a row"}])
    assert len(catalog) == 3


def test_stages(catalog):
    catalog.append([problem_row("test", 1, 9, Size(16, 16), "the ball fell asleep")])
    catalog.add_column("latents", "codec-1")
    todo = catalog.missing("latents")
    assert len(todo) == 3  # the clip with a problem has nothing to encode
    catalog.set("latents", {todo[0]: b"xyz"})
    assert catalog.missing("latents") == todo[1:]
    assert catalog.take(todo[:1], ["latents"]) == [{"latents": b"xyz"}]
    assert catalog.columns()["latents"] == "codec-1" and catalog.columns()["video"] is None
    catalog.add_column("latents", "codec-1")
    assert catalog.missing("latents") == todo[1:]
    catalog.add_column("latents", "codec-2")
    assert catalog.missing("latents") == todo


def test_a_reader_beside_a_writer(catalog):
    reader = Catalog(catalog.path)
    catalog.append(rows([8]))
    assert len(reader) == 4
    with pytest.raises(Exception, match="for reading only"):
        reader.append(rows([9]))


def fact(seed: int) -> dict:
    """A row that costs nothing to make; its clip would not play."""
    place = {"world": "test", "version": 1, "seed": seed, "width": 16, "height": 16}
    video = np.random.default_rng(seed).bytes(20_000)
    return {"id": f"test:1:{seed}:16x16", "num_frames": 5, "fps": 12, "video": video, **place}


def fill(folder: str, count: int = 60, group: int = 8) -> None:
    """What a stage does: batches of clips that are not there yet, and a value for each that lacks one."""
    catalog = Catalog(folder, mode="a")
    catalog.add_column("latents", "one: of two")
    for start in range(0, count * group, group):
        catalog.append(map(fact, range(start, start + group)))
        lacking = catalog.missing("latents")
        catalog.set("latents", {name: value(name) for name in lacking})


def value(name: str) -> np.ndarray:
    return np.full((2, 3), int(name.split(":")[2]), np.float16)


def run(code: str, *arguments: object) -> subprocess.Popen:
    code = f"import os, sys\nsys.path.insert(0, os.getcwd())\nfrom test_catalog import *\n{code}"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, cwd=Path(__file__).parent, stderr=subprocess.PIPE, text=True)


FILLING = """
import worldtube.data.table
worldtube.data.table.PIECES = 4  # so that it merges while it writes
fill(sys.argv[1])
"""


def test_a_kill_at_any_moment_leaves_whole_batches(tmp_path):
    seen = []
    for wait in (0.02, 0.1, 0.3):
        before = seen[-1] if seen else 0
        filling = run(FILLING, tmp_path / "set")
        while filling.poll() is None:
            try:
                if len(Catalog(tmp_path / "set")) > before:
                    break
            except NotFound:
                time.sleep(0.05)
        time.sleep(wait)
        filling.kill()
        filling.communicate()
        catalog = Catalog(tmp_path / "set")
        there = [row["seed"] for row in catalog.take(catalog.ids(), ["seed"])]
        assert there == list(range(len(there))) and len(there) % 8 == 0
        known = catalog.ids("latents IS NOT NULL")
        assert len(known) in (len(there), len(there) - 8)
        assert all(
            np.array_equal(row["latents"], value(row["id"]))
            for row in catalog.take(known, ["id", "latents"])
        )
        seen.append(len(there))
    assert seen[0] > 0 and seen[-1] < 60 * 8, "it was killed at work"
    fill(tmp_path / "set")
    fill(tmp_path / "straight")
    one = Catalog(tmp_path / "set")
    other = Catalog(tmp_path / "straight")
    assert one.ids() == other.ids() and len(one) == 480 and not one.missing("latents")
    assert one.take(one.ids(), ["video"]) == other.take(other.ids(), ["video"])


def test_two_writers_at_once(tmp_path):
    code = """
catalog = Catalog(sys.argv[1], mode="a")
first = int(sys.argv[2])
for start in range(first, first + 150, 5):
    catalog.append(map(fact, range(start, start + 5)))
    catalog.add_column("score", "1")
    catalog.set("score", {f"test:1:{i}:16x16": i for i in range(start, start + 5)})
    catalog.compact()
    seeds = [row["seed"] for row in catalog.take(catalog.ids("score >= 0"), ["seed", "video"])]
    assert set(seeds) >= set(range(first, start + 5))
"""
    writers = [run(code, tmp_path / "set", first) for first in (0, 100)]
    assert [(writer.communicate()[1], writer.returncode) for writer in writers] == [("", 0)] * 2
    catalog = Catalog(tmp_path / "set")
    found = catalog.take(catalog.ids(), ["seed", "score", "video"])
    assert [row["seed"] for row in found] == [row["score"] for row in found] == list(range(250))
    assert all(row["video"] == fact(row["seed"])["video"] for row in found)


def test_a_full_disk_leaves_what_was_there(tmp_path):
    code = """
import resource
catalog = Catalog(sys.argv[1], mode="a")
catalog.append(map(fact, range(4)))
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))  # what a full disk does, to this process alone
for rows in ([{**fact(4), "video": bytes(200_000)}], map(fact, range(4, 12))):  # Lance tells them in two ways
    try:
        catalog.append(rows)
    except DataError as error:
        print(error, file=sys.stderr)
sys.exit(len(catalog))
"""
    full = run(code, tmp_path / "set")
    said = (full.communicate()[1] or "").splitlines()
    assert full.returncode == 4 and len(said) == 2, said
    assert all("is as it was before (" in line for line in said), said
    assert not any("Packed" in line or ".rs:" in line for line in said), said
    catalog = Catalog(tmp_path / "set", mode="a")
    assert len(catalog) == 4
    assert catalog.append(map(fact, range(12))) == 8


def test_what_was_written_stays(catalog):
    first, second, third = catalog.ids()
    catalog.append([fact(1)])
    assert catalog.clip(first).num_frames == 5, "it is not the bytes of `fact`"
    catalog.add_column("score", "1")
    catalog.set("score", {first: 1, second: None})
    catalog.set("score", {first: 2.5, third: 3})
    found = [row["score"] for row in catalog.take([first, second, third], ["score"])]
    assert found == [1, None, 3]
    assert catalog.missing("score") == [second]


def test_values_come_back(catalog):
    first, second, _ = catalog.ids()
    rng = np.random.default_rng(0)
    arrays = {
        first: rng.standard_normal((4, 2, 3)).astype(np.float16),
        second: rng.standard_normal((4, 3, 5))[:, ::2].astype(np.float16),
    }
    given = {
        "latents": arrays,
        "note": {first: "a note", second: ""},
        "hash": {first: b"\0\1", second: b""},
        "score": {first: 0.1, second: -3},
        "counts": {first: np.arange(3), second: np.zeros(0, int)},
    }
    for name, values in given.items():
        catalog.add_column(name, "1")
        catalog.set(name, values)
        found = catalog.take([second, first], ["id", name])
        assert [each["id"] for each in found] == [second, first]
        for each in found:
            assert np.array_equal(each[name], values[each["id"]])
            assert getattr(each[name], "dtype", None) == getattr(values[first], "dtype", None)
        assert catalog.ids(f"{name} IS NOT NULL") == [first, second]
    assert catalog.ids("score > 0 AND note LIKE '%note' OR seed = ?", (3,)) == catalog.ids(
        "Seed <> 2"
    )
    assert catalog.ids("video IS NULL OR ids IS NULL") == []
    assert catalog.ids("seed = 1 -- or 2") == [first]
    with pytest.raises(RequestError, match="float16"):
        catalog.set("latents", {catalog.ids()[2]: np.zeros(3)})
    with pytest.raises(RequestError, match=r"'score'.*double"):
        catalog.set("score", {catalog.ids()[2]: "high"})
    with pytest.raises(RequestError, match="dict"):
        catalog.add_column("odd", "1")
        catalog.set("odd", {first: {}})


def test_merging_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("worldtube.data.table.PIECES", 10)
    catalog = Catalog(tmp_path / "set", mode="a")
    reader = Catalog(tmp_path / "set")
    catalog.add_column("score", "1")
    for seed in range(40):
        catalog.append([fact(39 - seed)])
        catalog.set("score", {f"test:1:{39 - seed}:16x16": seed})
        assert len(reader) == seed + 1
        assert reader.take([f"test:1:{39 - seed // 2}:16x16"], ["score"]) == [{"score": seed // 2}]
    before = catalog.take(catalog.ids(), ["id", "video", "score"])
    pieces = tmp_path / "set" / "clips.lance" / "data"
    assert 1 < len(list(pieces.glob("*.lance"))) <= 11, "merged on the way"
    catalog.compact()
    assert len(list(pieces.glob("*.lance"))) == 1
    assert catalog.take(catalog.ids(), ["id", "video", "score"]) == before
    assert reader.take(reader.ids(), ["id", "video", "score"]) == before


def test_filmed_clips(catalog):
    place = {"source": "beach.mov", "source_hash": "ab" * 32, "width": 8, "height": 6, "fps": 30.0}
    names = [f"film:1:{'ab' * 8}:{1000 * i}-{1000 * i + 500}" for i in (0, 2, 10)]
    for i in (10, 0, 2):
        name = f"film:1:{'ab' * 8}:{1000 * i}-{1000 * i + 500}"
        times = {"start": i, "stop": i + 0.5, "num_frames": 15, "video": b"mp4"}
        catalog.append([{"id": name, **place, **times}])
    assert catalog.ids()[3:] == catalog.ids("world IS NULL") == names
    assert [episode(name) for name in names] == names
    catalog.append([{"id": "film:1:00:0-0", "source": "broken.mp4", "problem": "it has no video"}])
    assert catalog.missing("video") == []


def test_without_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lance", None)
    with pytest.raises(MissingExtra, match=r"worldtube\[data\]"):
        Catalog(tmp_path / "set", mode="a")


def test_datasets_of_other_versions(tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr("worldtube.data.catalog.FORMAT", "99")
        Catalog(tmp_path / "newer", mode="a")
    (tmp_path / "older").mkdir()
    (tmp_path / "older" / "catalog.sqlite").touch()
    for mode in ("r", "r+", "a"):
        with pytest.raises(
            DataError, match=r"newer is a dataset of format 99 .* format 2: open it"
        ):
            Catalog(tmp_path / "newer", mode=mode)
        with pytest.raises(DataError, match=r"older is a dataset of format 1 .* format 2: record"):
            Catalog(tmp_path / "older", mode=mode)


def test_errors(catalog, tmp_path):
    for mode in ("r", "r+"):
        with pytest.raises(NotFound, match="no catalog"):
            Catalog(tmp_path / "none", mode=mode)
    assert not (tmp_path / "none").exists()
    (tmp_path / "file").touch()
    with pytest.raises(RequestError, match="cannot be made a dataset: Not a directory"):
        Catalog(tmp_path / "file" / "deeper", mode="a")
    assert len(Catalog(tmp_path / "several" / "folders" / "deep", mode="a")) == 0
    with pytest.raises(NotFound, match="test:1:7:16x16"):
        catalog.clip("test:1:7:16x16")
    catalog.append([problem_row("test", 1, 9, Size(16, 16), "the ball fell asleep")])
    with pytest.raises(DataError, match="fell asleep"):
        catalog.clip("test:1:9:16x16")
    with pytest.raises(RequestError, match="columns: id, world"):
        catalog.ids("colour = 'red'")
    with pytest.raises(RequestError, match="columns: id, world"):
        catalog.missing("latents")
    with pytest.raises(RequestError, match="add_column"):
        catalog.set("video", {})
    with pytest.raises(RequestError, match="cannot be added"):
        catalog.add_column("video", "1")
    with pytest.raises(NotFound, match="test:1:7:16x16"):
        catalog.add_column("score", "1")
        catalog.set("score", {"test:1:7:16x16": 1})
    with pytest.raises(RequestError, match="colour unknown"):
        catalog.append([{**fact(7), "colour": "red"}])
    with pytest.raises(RequestError, match="'seed' holds int64"):
        catalog.append([{**fact(7), "seed": "seven"}])
    with pytest.raises(RequestError, match="condition 'seed >'"):
        catalog.ids("seed >")
    with pytest.raises(RequestError, match="one statement"):
        catalog.ids("1) ; ATTACH 'catalog.py' AS other; --")
    for manifest in (catalog.path / "clips.lance" / "_versions").iterdir():
        manifest.write_bytes(b"not a table at all" * 100)
    with pytest.raises(DataError, match="cannot be read"):
        Catalog(catalog.path)


def test_a_look_that_another_writer_overtook_is_tried_again(tmp_path, monkeypatch):
    catalog = Catalog(tmp_path / "set", mode="a")
    catalog.append([fact(1)])
    looked, told = Table._look, []

    def overtaken(self):
        told.append(self.path)
        if len(told) == 1:
            raise OSError("Not found: data/piece.lance")
        looked(self)

    monkeypatch.setattr(Table, "_look", overtaken)
    other = Catalog(tmp_path / "set")
    assert len(other) == 1 and len(told) > 1
    monkeypatch.setattr(Table, "_look", lambda self: (tmp_path / "nothing").read_text())
    with pytest.raises(DataError, match="cannot be read"):
        len(Catalog(tmp_path / "set"))
