"""Files: whole or not there, in a folder and behind fsspec alike."""

import pytest

from worldtube.errors import NotFound
from worldtube.serve.store import Folder, open_store


@pytest.fixture(params=["folder", "bucket"])
def store(request, tmp_path):
    url = None if request.param == "folder" else f"file://{tmp_path / 'bucket'}"
    return open_store(url, tmp_path)


def test_in_and_out(store, tmp_path):
    source = tmp_path / "source"
    source.write_bytes(b"one")
    store.put(source, "videos/v/1/video.mp4")
    assert store.path("videos/v/1/video.mp4").read_bytes() == b"one"
    store.copy("videos/v/1/video.mp4", "videos/w/in/clip.mp4")
    source.write_bytes(b"two")
    store.put(source, "videos/v/2/video.mp4")
    store.put(source, "videos/v/1/video.mp4")
    assert store.path("videos/v/1/video.mp4").read_bytes() == b"two", "as it is now, not as it was"
    assert store.names("videos") == ["v", "w"] and store.names("videos/v") == ["1", "2"]
    store.delete("videos/v")
    store.delete("videos/v")
    assert store.names("videos/v") == [] and store.names("nothing") == []
    assert store.path("videos/w/in/clip.mp4").read_bytes() == b"one", "a copy of its own"
    for lost in (lambda: store.path("videos/v/1/video.mp4"), lambda: store.copy("a/b", "c/d")):
        with pytest.raises(NotFound):
            lost()
    assert store.link("videos/w/in/clip.mp4", 60) is None


def test_half_a_file_is_none(tmp_path):
    store = Folder(tmp_path / "files")
    with pytest.raises(FileNotFoundError):
        store.put(tmp_path / "missing", "videos/v/1/video.mp4")
    assert store.names("videos/v/1") == []


def test_a_signed_address_where_the_store_has_them(tmp_path, monkeypatch):
    store = open_store(f"file://{tmp_path / 'bucket'}", tmp_path)
    monkeypatch.setattr(
        type(store.fs), "sign", lambda fs, path, expiration: f"https://{path}?{expiration}"
    )
    assert store.link("videos/v/1/video.mp4", 60).endswith("videos/v/1/video.mp4?60")
