"""A run goes on with the clips it began with, or says what differs."""

import json
import re

import pytest

from worldtube.data.catalog import Catalog
from worldtube.data.manifest import FILE, Manifest, check, freeze, of_run
from worldtube.errors import DataError

WHERE = "latents IS NOT NULL"
READS = ("latents", "text_short")


def fact(seed: int) -> dict:
    place = {"world": "test", "version": 1, "seed": seed, "width": 16, "height": 16}
    return {"id": f"test:1:{seed}:16x16", "num_frames": 5, "fps": 12, "video": b"mp4", **place}


def fill(catalog: Catalog, seeds, version: str = "one") -> None:
    catalog.append([fact(seed) for seed in seeds])
    catalog.add_column("latents", version)
    catalog.set("latents", {f"test:1:{seed}:16x16": b"z" for seed in seeds})


@pytest.fixture
def catalog(tmp_path):
    made = Catalog(tmp_path / "set", mode="a")
    fill(made, range(12))
    yield made


@pytest.fixture
def run(tmp_path):
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def test_a_run_goes_on_with_what_it_began_with(catalog, run):
    first = of_run(run, [catalog], [WHERE], READS)
    assert first.ids == (tuple(sorted(catalog.ids())),) and first.versions == ({"latents": "one"},)
    assert first.commits[0].keys() == {"clips", "latents"}
    fill(catalog, range(12, 20))
    catalog.compact()
    again = of_run(run, [catalog], [WHERE], READS)
    assert again == first and again.hash == first.hash
    written = json.loads((run / FILE).read_text())
    assert written["hash"] == first.hash and len(written["ids"][0]) == 12
    assert len(freeze([catalog], [WHERE], READS).ids[0]) == 20


def test_a_clip_that_became_a_repeat_stays_in_its_run(catalog, run):
    """What is first among those that look alike may be a clip that came later."""
    catalog.add_column("repeats", "of 12")
    catalog.set("repeats", dict.fromkeys(catalog.ids(), ""))
    where = f"{WHERE} AND (repeats = '')"
    first = of_run(run, [catalog], [where], READS)
    fill(catalog, [12])
    catalog.add_column("repeats", "of 13")
    catalog.set("repeats", dict.fromkeys(catalog.ids(), "") | {"test:1:3:16x16": "test:1:12:16x16"})
    assert len(catalog.ids(where)) == 12
    assert of_run(run, [catalog], [where], READS).ids == first.ids
    assert of_run(run, [catalog], [f"{WHERE} AND (repeats = ''\n)"], READS).ids == first.ids
    with pytest.raises(DataError, match="clips were chosen by"):
        of_run(run, [catalog], [f"{WHERE} AND (repeats = '' AND seed > 1)"], READS)


def test_clips_without_what_is_read_are_missing(catalog, run, tmp_path):
    of_run(run, [catalog], [WHERE], READS)
    other = Catalog(tmp_path / "other", mode="a")
    other.append([fact(seed) for seed in range(12)])
    fill(other, range(10))
    with pytest.raises(DataError, match="2 of 12 clips are missing, test:1:10"):
        of_run(run, [other], [WHERE], READS)


def test_the_hash_depends_on_clips_and_versions_alone(catalog, tmp_path):
    other = Catalog(tmp_path / "other", mode="a")
    for seed in reversed(range(12)):
        fill(other, [seed])
    one, two = (freeze([each], [WHERE], READS) for each in (catalog, other))
    assert one.hash == two.hash and one.commits != two.commits
    fill(other, [12])
    assert freeze([other], [WHERE], READS).hash != one.hash
    fill(catalog, range(12), version="two")
    assert freeze([catalog], [WHERE], READS).hash != one.hash


def test_what_differs_is_said(catalog, run, tmp_path):
    begun = of_run(run, [catalog], [WHERE], READS)
    fewer = Catalog(tmp_path / "fewer", mode="a")
    fill(fewer, range(3, 14))
    with pytest.raises(
        DataError, match=r"3 of 12 clips are missing, test:1:0:16x16 first \(accepted"
    ):
        of_run(run, [fewer], [WHERE], READS)
    with pytest.raises(DataError, match=r"3 of 12 clips are missing.*2 clips are new, test:1:12"):
        check(begun, freeze([fewer], [WHERE], READS))
    with pytest.raises(DataError, match=r"there were 1 datasets and are 2; 3 of .* in dataset 1"):
        of_run(run, [fewer, catalog], [WHERE] * 2, READS)
    with pytest.raises(DataError, match=re.escape("chosen by 'latents IS NOT NULL' and")):
        of_run(run, [catalog], ["seed >= 0"], READS)
    fill(catalog, range(12), version="two")
    with pytest.raises(DataError, match="latents was made by one and is now by two"):
        of_run(run, [catalog], [WHERE], READS)


def test_other_files_are_refused(catalog, run):
    of_run(run, [catalog], [WHERE], READS)
    path = run / FILE
    whole = path.read_text()
    for old, new, told in (
        ('"format": 1', '"format": 7', "format 7 .* reads format 1"),
        ("test:1:0:", "test:1:99:", "was changed"),
        ('"ids"', '"names"', "cannot be read"),
        ("{", "[", "cannot be read"),
    ):
        path.write_text(whole.replace(old, new))
        with pytest.raises(DataError, match=told):
            Manifest.load(run)
    path.write_text(whole)
    assert Manifest.load(run).ids[0][0] == "test:1:0:16x16"
