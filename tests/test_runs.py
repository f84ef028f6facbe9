"""Laws of runs/: films come out of their packages as they are, pinned; the shell scripts can be read by bash."""

import gzip
import importlib.util
import io
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from worldtube import video
from worldtube.data.catalog import Catalog
from worldtube.data.views import view

RUNS = Path(__file__).parent.parent / "runs"


@pytest.fixture(scope="module")
def films():
    spec = importlib.util.spec_from_file_location("fetch_films", RUNS / "films.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_films_out_of_archives(films, tmp_path):
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as file:
        file.writestr("b/film.mp4", b"inside")
    with tarfile.open(tmp_path / "p-1.tar.gz", "w:gz") as file:
        for name, data in (
            ("p-1/a.zip", inner.getvalue()),
            ("p-1/c.mp4.gz", gzip.compress(b"packed")),
        ):
            told = tarfile.TarInfo(name)
            told.size = len(data)
            file.addfile(told, io.BytesIO(data))
    with zipfile.ZipFile(tmp_path / "p-1.whl", "w") as file:
        file.writestr("p/film.avi", b"plain")
    assert films.taken(tmp_path / "p-1.tar.gz", "p-1/a.zip!b/film.mp4") == b"inside"
    assert films.taken(tmp_path / "p-1.tar.gz", "p-1/c.mp4.gz") == b"packed"
    assert films.taken(tmp_path / "p-1.whl", "p/film.avi") == b"plain"


def test_films_are_pinned_and_have_a_licence(films):
    assert len({film.name for film in films.FILMS}) == len(films.FILMS)
    for film in films.FILMS:
        assert re.fullmatch(r"[0-9a-f]{64}", film.sha256) and film.licence
        assert film.package.startswith("deb:") or "==" in film.package
        assert not film.caption or film.licence.startswith(("CC BY", "CC0"))


@pytest.mark.parametrize("script", sorted(RUNS.glob("*.sh")), ids=lambda path: path.name)
def test_scripts_parse(script):
    assert subprocess.run(["bash", "-n", script]).returncode == 0


@pytest.mark.slow
def test_from_films_to_clips_in_their_look(tmp_path):
    """Downloads 60 MB of films; takes about ten minutes on two cores."""
    told = {"FOLDER": str(tmp_path), "CLIPS": "40", "STEPS": "10", "PYTHON": sys.executable}
    done = subprocess.run(
        [RUNS / "films.sh"], env=os.environ | told, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    catalog = Catalog(tmp_path / "set")
    made, filmed = (
        catalog.ids(f"problem IS NULL AND source {no} LIKE '%tabletop_%'") for no in ("", "NOT")
    )
    assert len(made) == 40 and len(filmed) > 200
    assert 150 < len(view(catalog, "filmed")) < len(filmed)
    assert catalog.take(made[:1], ["caption_short"])[0]["caption_short"]
    assert (tmp_path / "page.html").stat().st_size > 100_000
    assert (tmp_path / "tuned" / "after.png").is_file()
    clip = video.read(tmp_path / "rabbit-1.mp4")
    assert clip.num_frames == 25 and clip.frames.std() > 10
