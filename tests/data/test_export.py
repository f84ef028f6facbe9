"""Exports are there whole or not at all, the same every time, and read back as what the catalog holds."""

import hashlib
import json
import re
import shlex
import tarfile
from pathlib import Path

import numpy as np
import pytest

from worldtube import video
from worldtube.data.catalog import Catalog, problem_row, row
from worldtube.data.export import LAYOUTS, export
from worldtube.data.sidecar import sidecar
from worldtube.errors import DataError, RequestError
from worldtube.video import Clip, Size

CAPTIONS = {"short": "a ball", "medium": "a ball, née «Kugel»", "long": "a ball on a table"}


def clip(seed: int) -> Clip:
    frames = np.random.default_rng(seed).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    return Clip(frames=frames, fps=12)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    made = Catalog(tmp_path_factory.mktemp("data") / "set", mode="a")
    made.append(row("test", 1, i, clip(i), CAPTIONS, {"seed": i, str(i): []}) for i in range(40))
    made.append([problem_row("test", 1, 99, Size(16, 16), "the ball fell asleep")])
    film = {
        "source": "é.mov",
        "source_hash": "ab" * 32,
        "start": 1.5,
        "stop": 1.75,
        "fps": 12.0,
    }
    size = {"width": 16, "height": 16, "num_frames": 3}
    mp4 = video.encode(clip(50), lossless=True)
    made.append([{"id": "film:1:abcd:1500-1750", "video": mp4, **film, **size}])
    made.add_column("motion", "1")
    made.set("motion", {name: i / 10 for i, name in enumerate(made.ids("seed < 50"))})
    made.add_column("latents", "codec")
    made.set("latents", {name: np.zeros(3, np.float16) for name in made.ids("seed < 50")})
    made.add_column("captions_own", "1")
    told = json.dumps({"by": "own", "fields": {"medium": "a toy", "subject": "one toy"}})
    made.set("captions_own", dict.fromkeys(made.ids("seed < 2"), told))
    yield made


def digest(folder) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def test_webdataset(catalog, tmp_path):
    told = []
    options = {"to": "webdataset", "progress": lambda *numbers: told.append(numbers)}
    assert export(catalog, catalog.ids(), out=tmp_path / "out", shard_mb=1, **options) == 41
    assert told[-1] == (42, 42)
    samples: dict[str, dict[str, bytes]] = {}
    for shard in sorted((tmp_path / "out").glob("*.tar")):
        with tarfile.open(shard) as tar:
            for entry in tar:
                name, _, ending = entry.name.partition(".")
                samples.setdefault(name, {})[ending] = tar.extractfile(entry).read()
    assert len(samples) == 41 and all(
        each.keys() == {"mp4", "json", "txt"} for each in samples.values()
    )
    one, film = samples["test_1_7_16x16"], samples["film_1_abcd_1500-1750"]
    assert np.array_equal(video.decode(one["mp4"]).frames, clip(7).frames)
    facts = json.loads(one["json"])
    assert facts["id"] == "test:1:7:16x16" and facts["truth"] == {"seed": 7, "7": []}
    assert facts["motion"] == 0.7 and "latents" not in facts
    assert one["txt"].decode() == CAPTIONS["medium"]
    facts = json.loads(film["json"])
    assert (facts["source"], facts["source_hash"], facts["stop"]) == ("é.mov", "ab" * 32, 1.75)
    assert film["txt"] == b""


def test_shards_are_closed_in_time(catalog, tmp_path, monkeypatch):
    big = catalog.take(catalog.ids("seed = 0"), ["video"])[0]["video"] * 200
    rows = Catalog(tmp_path / "big", mode="a")
    place = {"width": 16, "height": 16, "num_frames": 3, "fps": 12.0, "video": big}
    rows.append({"id": f"test:1:{i}:16x16", **place} for i in range(9))
    export(rows, rows.ids(), to="webdataset", out=tmp_path / "out", shard_mb=1)
    shards = sorted((tmp_path / "out").iterdir())
    assert [path.name for path in shards] == [f"{i:06d}.tar" for i in range(len(shards))]
    assert len(shards) > 1 and all(1e6 < path.stat().st_size < 2e6 for path in shards[:-1])


def test_huggingface(catalog, tmp_path):
    ids = catalog.ids("seed < 5 OR source IS NOT NULL")
    assert export(catalog, ids, to="huggingface", out=tmp_path / "out", caption="caption_long") == 6
    lines = (tmp_path / "out" / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    found = [json.loads(line) for line in lines]
    assert all(each.keys() == found[0].keys() for each in found), "one table"
    assert [each["id"] for each in found] == ids
    assert found[2]["text"] == CAPTIONS["long"] and json.loads(found[2]["truth"])["seed"] == 2
    for each in found:
        mp4 = (tmp_path / "out" / each["file_name"]).read_bytes()
        assert mp4 == catalog.take([each["id"]], ["video"])[0]["video"]


def test_what_a_captioner_told(catalog, tmp_path):
    ids = catalog.ids("seed < 3")
    for number, (caption, told) in enumerate(
        {"captions_own": "a toy", "captions_own:subject": "one toy"}.items()
    ):
        out = tmp_path / str(number)
        export(catalog, ids, to="huggingface", out=out, caption=caption)
        lines = (out / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
        assert [json.loads(line)["text"] for line in lines] == [told, told, ""]


@pytest.mark.parametrize("to", LAYOUTS)
def test_clips_without_a_text_are_told(catalog, tmp_path, caplog, to):
    ids = catalog.ids("seed < 2 OR source IS NOT NULL")
    export(catalog, ids, to=to, out=tmp_path / "out")
    said = "1 of 3 clips have no text in caption_medium and got an empty one (--where \"caption_medium <> ''\""
    assert (said in caplog.text) == (to != "files"), "files have all captions in their JSON"
    assert ("such as captions_own)" in caplog.text) == (to != "files")
    caplog.clear()
    kept = catalog.ids("caption_medium <> '' AND seed < 2")
    export(catalog, kept, to=to, out=tmp_path / "kept")
    assert caplog.text == ""
    if to != "files":
        export(catalog, ids, to=to, out=tmp_path / "own", caption="captions_own:subject")
        assert (
            "no text in captions_own:subject and got an empty one (--where \"captions_own <> ''\" leaves them out)"
            in (caplog.text)
        )


def test_files_are_films_with_their_captions(catalog, tmp_path):
    (name,) = catalog.ids("seed = 3")
    assert export(catalog, [name], to="files", out=tmp_path / "out") == 1
    (path,) = (tmp_path / "out").glob("*.mp4")
    assert path.read_bytes() == catalog.take([name], ["video"])[0]["video"]
    assert sidecar(path) == CAPTIONS


@pytest.mark.parametrize("to", LAYOUTS)
def test_the_same_clips_make_the_same_bytes(catalog, tmp_path, to):
    ids = catalog.ids("seed < 5")
    for name in ("a", "b"):
        export(catalog, ids, to=to, out=tmp_path / name)
    assert digest(tmp_path / "a") == digest(tmp_path / "b") != {}


@pytest.mark.parametrize("to", LAYOUTS)
def test_whole_or_not_at_all(catalog, tmp_path, monkeypatch, to):
    done = []

    def full(fd):
        if len(done) == 1:
            raise OSError(28, "No space left on device")
        done.append(fd)

    ids = catalog.ids("seed < 30")
    (tmp_path / ".out.part").mkdir()  # of one that was killed
    (tmp_path / ".out.part" / "left.tar").touch()
    monkeypatch.setattr("os.fsync", full)
    done += [0] * (to == "webdataset")
    with pytest.raises(DataError, match=r"nothing of it is there: .*No space left"):
        export(catalog, ids, to=to, out=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    assert export(catalog, ids, to=to, out=tmp_path / "out") == 30
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_cannot_be_exported(catalog, tmp_path):
    ids = catalog.ids("seed < 2")
    for options, told in (
        ({"to": "webdatset"}, "did you mean 'webdataset'"),
        ({"caption": "caption_dense"}, "no column 'caption_dense'.*caption_long"),
        ({"caption": "motion"}, "no column 'motion' with text"),
        ({"shard_mb": 0}, "shard_mb 0"),
        ({"shard_mb": 9, "to": "files"}, r"files does not use shard_mb 9 \(accepted: webdataset\)"),
        ({"shard_mb": 9, "to": "huggingface"}, "huggingface does not use shard_mb"),
        ({"caption": "caption_long", "to": "files"}, "files does not use caption 'caption_long'"),
        ({"caption": "caption_long:short"}, "column 'caption_long' has no fields"),
        ({"caption": "captions_own:dense"}, "unknown caption field 'dense'"),
        ({"caption": "captions_me"}, "no column 'captions_me'.*captions_own"),
        ({"out": tmp_path}, "is there already"),
        ({"out": tmp_path / "none" / "out"}, "no folder"),
    ):
        given = {"to": "webdataset", "out": tmp_path / "out"} | options
        with pytest.raises(RequestError, match=told):
            export(catalog, ids, **given)
    assert list(tmp_path.iterdir()) == []


def test_the_command(catalog, tmp_path, capsys):
    from worldtube.cli.export import export as command

    words = [str(catalog.path), "--to", "huggingface", "--out", str(tmp_path / "out")]
    assert command([*words, "--where", "seed < 3 -- of them"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'out'}: 3 clips\n"
    with pytest.raises(RequestError, match="both given"):
        command([*words, "--where", "1", "--view", "good"])
    with pytest.raises(RequestError, match="no clips to export"):
        command([*words, "--where", "seed > 1000"])


def test_the_guide(tmp_path, monkeypatch, capsys):
    """Its Python runs on a dataset like the one it names, and so do its exports."""
    from worldtube.cli.export import export as command

    page = (Path(__file__).parents[2] / "docs" / "guides" / "datasets.md").read_text(
        encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    bright = Clip(frames=np.full((25, 16, 16, 3), 200, np.uint8), fps=12)
    made = Catalog("data/tabletop", mode="a")
    for seed, each in enumerate((clip(0), bright)):
        made.append([row("tabletop", 1, seed, each, CAPTIONS, {})])
    made.add_column("latents", "codec")
    made.set("latents", {made.ids()[1]: np.ones((2, 3), np.float16)})
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(compile(block, "datasets.md", "exec"), found := {})
    (only,) = found["rows"]
    assert only["id"] == "tabletop:1:1:16x16" and only["latents"].sum() == 6
    exports = re.findall(r"^\$ worldtube data export (.*)$", page, re.MULTILINE)
    assert len(exports) == len(LAYOUTS)
    for line in exports:
        assert command(shlex.split(line)) == 0
    assert capsys.readouterr().out == "shards: 2 clips\nfolder: 2 clips\nfilms: 2 clips\n"
    assert (tmp_path / "shards" / "000000.tar").is_file()
