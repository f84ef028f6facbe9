"""Laws of views and of the page: a view is a condition with versions, nothing is deleted, the page needs nobody."""

import json
import re

import numpy as np
import pytest

pytest.importorskip("lance")

from worldtube import video
from worldtube.data import views
from worldtube.data.catalog import Catalog
from worldtube.data.page import write_page
from worldtube.errors import DataError, NotFound, RequestError
from worldtube.video import Clip


@pytest.fixture
def catalog(tmp_path):
    """Ten clips with motion 0, 0.1 ... and light 1, 0, 1, 0 ...; and a problem."""
    frames = np.random.default_rng(0).integers(0, 255, (3, 16, 16, 3), dtype=np.uint8)
    data = video.encode(Clip(frames=frames, fps=12), lossless=True)
    shape = {"width": 16, "height": 16, "num_frames": 3, "fps": 12.0, "video": data}
    names = [f"film:1:{i:016x}:0-250" for i in range(10)]
    made = Catalog(tmp_path / "set", mode="a")
    made.append(
        {
            "id": name,
            "source": f"{i}<b>.mp4",
            "source_hash": f"{i:x}",
            "start": 0.0,
            "stop": 0.25,
        }
        | shape
        | {"caption_medium": "a <script>clip</script>"}
        for i, name in enumerate(names)
    )
    made.append([{"id": "film:1:ff:0-0", "source": "bad.mp4", "problem": "the file is <empty>"}])
    made.add_column("motion", "1")
    made.set("motion", {name: i / 10 for i, name in enumerate(names)})
    made.add_column("light", "1")
    made.set("light", {name: float(i % 2 == 0) for i, name in enumerate(names)})
    yield made


def test_a_view_keeps_what_its_condition_says(catalog):
    one = views.save_view(catalog, "lively", "motion > 0.35 AND light = 1")
    assert (one.version, one.columns) == (1, {"motion": "1", "light": "1"})
    kept = views.view(catalog, "lively")
    assert [row["motion"] for row in catalog.take(kept, ["motion"])] == [0.4, 0.6, 0.8]
    assert len(catalog) == 11
    again = Catalog(catalog.path)
    assert views.view(again, "lively") == kept and list(views.views(again)) == ["lively"]


def test_a_condition_that_is_true_of_a_problem_does_not_keep_it(catalog):
    views.save_view(catalog, "all", "motion IS NULL OR motion >= 0")
    assert len(views.view(catalog, "all")) == 10


def test_a_condition_may_end_in_a_comment(catalog):
    assert views.save_view(catalog, "all", "motion >= 0 -- all of them").version == 1
    assert len(views.view(catalog, "all")) == 10
    catalog.add_column("latents", "1")
    catalog.set("latents", {name: b"z" for name in catalog.ids("motion > 0.45")})
    found = catalog.ids(views.condition("motion < 0.8 -- few", of="latents IS NOT NULL"))
    assert len(found) == 3


def test_columns_that_were_made_anew_are_told(catalog, caplog):
    one = views.save_view(catalog, "v", "MOTION > 0.5 AND Light = 1")
    assert one.columns == {"motion": "1", "light": "1"}
    views.view(catalog, "v")
    assert not caplog.records
    catalog.add_column("motion", "2")
    views.view(catalog, "v")
    (told,) = caplog.messages
    assert (
        told == "view v asks for motion, which was of version 1 when it was saved and is now of 2"
    )


def test_versions(catalog):
    views.save_view(catalog, "v", "motion > 0.5")
    assert views.save_view(catalog, "v", "motion > 0.5").version == 1
    assert views.save_view(catalog, "v", "motion > 0.75").version == 2
    assert len(views.view(catalog, "v")) == 2 and len(views.view(catalog, "v", 1)) == 4
    with pytest.raises(NotFound, match=r"no version 3 \(accepted: 1 to 2\)"):
        views.view(catalog, "v", 3)


def test_what_a_view_cannot_be(catalog):
    with pytest.raises(RequestError, match="unknown view 'livly'"):
        views.view(catalog, "livly")
    with pytest.raises(RequestError, match="view name"):
        views.save_view(catalog, "../x", "motion > 1")
    with pytest.raises(RequestError, match="needs a condition"):
        views.save_view(catalog, "x", " ")
    with pytest.raises(RequestError, match="moton"):
        views.save_view(catalog, "x", "moton > 1")
    with pytest.raises(RequestError):
        views.save_view(catalog, "x", "motion > 1); DROP TABLE clips; --")
    assert views.views(catalog) == {}


@pytest.mark.parametrize(
    ("where", "terms"),
    [
        ("a > 1", ["a > 1"]),
        ("a > 1 and b = 2", ["a > 1", "b = 2"]),
        ("a BETWEEN 1 AND 2 AND b = 2", ["a BETWEEN 1 AND 2", "b = 2"]),
        ("(a = 1 OR b = 2) AND c = 3", ["(a = 1 OR b = 2)", "c = 3"]),
        ("(a = 1 AND b = 2)", ["(a = 1 AND b = 2)"]),
        ("a = 1 OR b = 2 AND c = 3", ["a = 1 OR b = 2 AND c = 3"]),
        ("a = ' AND ' AND b = ''", ["a = ' AND '", "b = ''"]),
    ],
)
def test_terms(where, terms):
    assert views.terms(where) == terms


def test_drops_say_what_each_term_costs(catalog):
    told = views.drops(catalog, "motion > 0.35 AND light = 1 AND motion < 0.65")
    assert told == [("motion > 0.35", 4, 6), ("light = 1", 5, 3), ("motion < 0.65", 3, 2)]


def test_the_page(catalog, tmp_path):
    views.save_view(catalog, "lively", "motion > 0.35 AND light = 1")
    page = write_page(catalog, tmp_path / "page.html", clips=5).read_text()
    assert page.count("<video") == 5 and "5 of 10 clips" in page
    assert page.count("<figure>") == 2 and "keeps 3 of 10" in page
    assert "the file is &lt;empty&gt;" in page and "a &lt;script&gt;clip" in page
    assert (
        not re.search(r"(src|href)=\"(?!data:)", page)
        and "http://" not in page
        and "https://" not in page
    )
    assert "$" not in re.sub(r"<script>.*</script>", "", page, flags=re.DOTALL)


def test_the_page_shows_what_captioners_told(catalog, tmp_path):
    catalog.add_column("captions_own", "1")
    fields = {"short": "balls", "medium": "a <b>ball</b> rolls", "long": "a ball rolls"}
    told = json.dumps({"by": "own", "fields": fields})
    catalog.set("captions_own", dict.fromkeys(catalog.ids("motion > 0.45"), told))
    page = write_page(catalog, tmp_path / "page.html").read_text()
    assert page.count("<p>own: a &lt;b&gt;ball&lt;/b&gt; rolls</p>") == 5
    assert page.count("<p>own: balls</p>") == 5


def test_a_column_may_be_called_like_a_word_of_sql(catalog, tmp_path):
    catalog.add_column("group", "1")
    assert len(catalog.missing("group")) == 10
    catalog.set("group", {name: 2.0 for name in catalog.missing("group")[:4]})
    assert len(catalog.missing("group")) == 6
    assert "<figcaption>group" in write_page(catalog, tmp_path / "page.html").read_text()


def test_the_page_of_nothing(tmp_path):
    catalog = Catalog(tmp_path / "set", mode="a")
    with pytest.raises(DataError, match="no clips yet"):
        write_page(catalog, tmp_path / "page.html")
