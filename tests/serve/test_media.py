"""Uploads as cameras and converters make them: what is taken as a picture, and what as a clip."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from worldtube import video
from worldtube.errors import RequestError
from worldtube.serve import media

DATA = Path(__file__).parents[1] / "video" / "data"
LIMITS = media.Limits(
    pixels=1920 * 1088,
    picture_pixels=64_000_000,
    frames=200,
    seconds=6.5,
    cpu_seconds=30,
    memory_mb=2048,
)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("still.avif", "240x160"),
        ("still.gif", "240x160"),
        ("camera_mpo.jpg", "240x160"),
        ("grey16.png", "96x64"),
    ],
)
def test_still_pictures_of_every_format_are_references(tmp_path, name, size):
    seen = media.examine(DATA / name, tmp_path / "out", "picture", fps=12, limits=LIMITS)
    assert (f"{seen.width}x{seen.height}", seen.num_frames) == (size, 1)
    written = video.read(tmp_path / "out.png")
    assert np.array_equal(written.frames, video.read(DATA / name).frames)
    with pytest.raises(RequestError, match=r"the file is a picture \(accepted: a video\)"):
        media.examine(DATA / name, tmp_path / "out", "clip", fps=12, limits=LIMITS)


@pytest.mark.parametrize(
    ("name", "num_frames", "fps", "size"),
    [
        ("slides.mp4", 139, 25, "128x96"),  # 5.56 s
        ("a_lasthold.gif", 23, 10, "64x48"),  # 2.3 s
        ("anim.webp", 4, 10, "240x160"),
        ("late.webm", 90, 30, "128x96"),
        ("trailer.mp4", 90, 30, "128x96"),
        ("sar2.mp4", 90, 30, "256x96"),
    ],
)
def test_clips_of_every_kind_are_footage(tmp_path, name, num_frames, fps, size):
    seen = media.examine(DATA / name, tmp_path / "out", "clip", fps=12, limits=LIMITS)
    found = (f"{seen.width}x{seen.height}", seen.num_frames, seen.fps)
    assert found == (size, num_frames, fps)
    with pytest.raises(RequestError, match="the file is a video"):
        media.examine(DATA / name, tmp_path / "out", "picture", fps=12, limits=LIMITS)


def test_a_video_of_one_frame_is_a_picture_too(tmp_path):
    frames = np.full((1, 32, 48, 3), 90, np.uint8)
    video.write(video.Clip(frames=frames, fps=12), tmp_path / "one.mp4")
    for kind in ("picture", "clip"):
        seen = media.examine(tmp_path / "one.mp4", tmp_path / "out", kind, fps=12, limits=LIMITS)
        assert seen.num_frames == 1


def test_limits_are_told_before_anything_is_decoded(tmp_path):
    few = media.Limits(
        pixels=64 * 64,
        picture_pixels=64 * 64,
        frames=20,
        seconds=2,
        cpu_seconds=30,
        memory_mb=2048,
    )
    for name, words in {
        "sar2.mp4": "a clip must have at most 0.0041 megapixels in a frame, got 256x96",
        "grey16.png": "a picture must have at most 0.0041 megapixels, got 96x64",
        "still.avif": "a picture must have at most 0.0041 megapixels, got 240x160",
        "a_lasthold.gif": "the file lasts 2.3 s",
    }.items():
        with pytest.raises(RequestError, match=words):
            media.examine(DATA / name, tmp_path / "out", "clip", fps=12, limits=few)
    with pytest.raises(RequestError, match=r"the file holds no video \(only sound\)"):
        media.examine(DATA / "sound.m4a", tmp_path / "out", "clip", fps=12, limits=LIMITS)


@pytest.mark.parametrize("mode", ["RGBA", "I;16"])
def test_a_large_photo_stays_within_memory(tmp_path, mode):
    picture = Image.new(mode, (4000, 3000), 1)
    picture.save(tmp_path / "large.png", compress_level=1)
    seen = media.examine(tmp_path / "large.png", tmp_path / "out", "picture", fps=12, limits=LIMITS)
    assert seen.width * seen.height <= LIMITS.pixels and seen.width / seen.height > 1.33
