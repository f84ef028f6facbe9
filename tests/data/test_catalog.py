"""Laws of the catalog: rows come back, stages fill in once, transactions are whole, errors say what is known."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from worldtube.data.catalog import Catalog, problem_row, row
from worldtube.errors import DataError, NotFound, RequestError
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
    with Catalog(tmp_path / "set", mode="a") as made:
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
    with pytest.raises(Exception, match="NOT NULL"):
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
    with Catalog(catalog.path) as reader:
        catalog.append(rows([8]))
        assert len(reader) == 4
        with pytest.raises(Exception, match="readonly"):
            reader.append(rows([9]))


def test_committed_rows_survive_a_kill(tmp_path):
    code = """
import os, sys
sys.path.insert(0, os.getcwd())
from test_catalog import rows
from worldtube.data.catalog import Catalog
catalog = Catalog(sys.argv[1], mode="a")
catalog.append(rows(range(4)))
catalog._db.execute("BEGIN IMMEDIATE")
catalog._db.execute("UPDATE clips SET seed = seed + 100")
os.kill(os.getpid(), 9)
"""
    command = [sys.executable, "-c", code, str(tmp_path / "set")]
    assert subprocess.run(command, cwd=Path(__file__).parent).returncode == -9
    with Catalog(tmp_path / "set", mode="a") as catalog:
        assert catalog.ids("seed < 100") == [f"test:1:{seed}:16x16" for seed in range(4)]
        assert catalog.append(rows(range(6))) == 2


def test_errors(catalog, tmp_path):
    with pytest.raises(NotFound, match="no catalog"):
        Catalog(tmp_path / "none")
    with pytest.raises(RequestError, match="no folder"):
        Catalog(tmp_path / "none" / "deeper", mode="a")
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
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "catalog.sqlite").write_bytes(b"not a database at all" * 100)
    with pytest.raises(DataError, match="not a database"):
        Catalog(tmp_path / "bad")
