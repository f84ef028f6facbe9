"""Laws of media: what is written is read, whole or not at all, whatever the container, clock or rotation."""

import io
import threading

import av
import numpy as np
import pytest

from worldtube import video
from worldtube.errors import DataError, NotFound, RequestError
from worldtube.video import FORMATS, STILLS, Clip, Size, fit

LOSSLESS = [name for name in FORMATS if name not in ("gif", "jpg", "jpeg")]


def clip(num_frames: int = 9, width: int = 48, height: int = 32, fps: float = 12) -> Clip:
    """A red square on a smooth ground; its place tells the frame."""
    y, x = np.mgrid[:height, :width]
    ground = np.stack([60 + x, 80 + 2 * y, np.full_like(x, 120)], axis=-1).astype(np.uint8)
    frames = ground[None].repeat(num_frames, axis=0)
    for t in range(num_frames):
        frames[t, 8:24, 2 * t + 2 : 2 * t + 18] = (210, 40, 30)
    return Clip(frames=frames, fps=fps, caption="a red square slides right, très vite \U0001f7e5")


def stamped(num_frames: int, fps: float = 12) -> Clip:
    """Flat frames whose grey is 20 times their number."""
    grey = (20 * np.arange(num_frames)).astype(np.uint8)
    return Clip(frames=grey[:, None, None, None].repeat(32, 1).repeat(32, 2).repeat(3, 3), fps=fps)


def stamps(clip: Clip) -> list[int]:
    return [round(float(frame.mean()) / 20) for frame in clip.frames]


def written(clip: Clip, format: str, **options) -> bytes:
    file = io.BytesIO()
    video.write(clip, file, format=format, **options)
    return file.getvalue()


def uneven(times: list[float], *, sound: bool = False) -> bytes:
    """An mkv whose frames, stamped 0, 1, 2 ..., are shown at these times."""
    file = io.BytesIO()
    with av.open(file, mode="w", format="matroska") as output:
        stream = output.add_stream("libx264", rate=1000, options={"qp": "10", "bf": "0"})
        stream.width = stream.height = 32
        if sound:
            noise = output.add_stream("pcm_s16le", rate=8000, layout="mono")
        for array, time in zip(stamped(len(times)).frames, times, strict=True):
            frame = av.VideoFrame.from_ndarray(array, format="rgb24")
            frame.pts = round(time * 1000)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
        if sound:
            samples = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
            samples.sample_rate = 8000
            output.mux(noise.encode(samples))
    return file.getvalue()


@pytest.mark.parametrize("format", FORMATS)
def test_what_is_written_is_read(tmp_path, format):
    first = clip(1 if format in STILLS else 9)
    path = tmp_path / f"clip.{format}"
    video.write(first, path)
    found = video.read(path)
    assert found.frames.shape == first.frames.shape
    assert found.fps == (first.fps if format not in STILLS else 1)
    error = np.abs(found.frames.astype(float) - first.frames)
    assert error.mean() < 4
    # The colours come back, not only nearly the picture: inside of the square, away from its edges.
    inside = found.frames[0, 12:20, 6:14].reshape(-1, 3).mean(axis=0)
    assert np.abs(inside - (210, 40, 30)).max() < 2
    if format != "gif":
        assert found.caption == first.caption
    # The same clip gives the same bytes, always.
    assert {written(first, format) for _ in range(20)} == {path.read_bytes()}


@pytest.mark.parametrize("format", LOSSLESS)
def test_lossless_is_to_the_bit(format):
    rng = np.random.default_rng(0)
    num_frames = 1 if format in STILLS else 5
    noise = Clip(frames=rng.integers(0, 256, (num_frames, 18, 26, 3), dtype=np.uint8), fps=12)
    assert np.array_equal(video.read(written(noise, format, lossless=True)).frames, noise.frames)


def test_encode_and_decode():
    first = clip()
    assert np.array_equal(video.decode(video.encode(first, lossless=True)).frames, first.frames)
    assert len(video.encode(first, crf=40)) < len(video.encode(first, crf=5))


@pytest.mark.parametrize("format", FORMATS)
def test_odd_sizes(format):
    first = clip(1 if format in STILLS else 3, width=33, height=27)
    found = video.read(written(first, format))
    # H.264 in yuv420p has even sizes alone: one more column and row, copies of the edge.
    assert found.size == (Size(34, 28) if format in ("mp4", "mov") else Size(33, 27))
    assert np.abs(found.frames[:, :27, :33].astype(float) - first.frames).mean() < 8


@pytest.mark.parametrize("format", ["mp4", "mov", "webm", "gif", "webp"])
@pytest.mark.parametrize("fps", [8, 12, 24, 30, 30000 / 1001])
def test_rates_come_back(format, fps):
    found = video.read(written(clip(13, fps=fps), format))
    assert found.num_frames == 13
    assert found.fps == pytest.approx(fps, rel=0.003 if format in ("gif", "webp") else 1e-4)


@pytest.mark.parametrize("format", ["mp4", "mov"])
def test_index_comes_first(format):
    data = written(clip(), format)
    assert data[4:12] == (b"ftypisom" if format == "mp4" else b"ftypqt  ")
    assert 0 < data.index(b"moov") < data.index(b"mdat")


def test_texts_that_a_jpg_cannot_hold_are_left_out(caplog):
    data = written(clip(1), "jpg", comment="x" * 40_000)
    assert video.read_tags(data) == {} and "are left out" in caplog.text
    assert video.read_tags(written(clip(1), "jpg", comment="short"))["comment"] == "short"


@pytest.mark.parametrize(
    ("fps", "expected"),
    [
        (12, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (6, [0, 2, 4, 6, 8]),
        (24, [n // 2 for n in range(20)]),
        (4, [0, 3, 6]),
    ],
)
def test_resampling_takes_the_frame_shown_then(fps, expected):
    found = video.read(video.encode(stamped(10)), fps=fps)
    assert found.fps == fps
    assert stamps(found) == expected


def test_uneven_times_become_a_constant_rate():
    data = uneven([0.0, 0.1, 0.2, 0.6, 0.7, 1.2])
    assert stamps(video.read(data, fps=10)) == [0, 1, 2, 2, 2, 2, 3, 4, 4, 4, 4, 4, 5]
    own = video.read(data)
    assert (
        own.fps == 10
    )  # the lowest rate at which every picture is there for as long as it was shown
    assert stamps(own) == stamps(video.read(data, fps=10))


def test_max_frames_and_sound():
    times = [k / 20 for k in range(10)]
    assert stamps(video.read(uneven(times, sound=True), max_frames=4)) == [0, 1, 2, 3]
    assert stamps(video.read(uneven(times), fps=10, max_frames=3)) == [0, 2, 4]


@pytest.mark.parametrize("degrees", [90, 180, -90])
def test_display_rotation_is_applied(degrees):
    file = io.BytesIO()
    first = clip(2)
    with av.open(file, mode="w", format="mov") as output:
        stream = output.add_stream("libx264rgb", rate=12, options={"qp": "0"})
        stream.height, stream.width = first.frames.shape[1:3]
        stream.pix_fmt = "rgb24"
        stream.set_display_rotation(degrees)
        for array in first.frames:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(array, format="rgb24")))
        output.mux(stream.encode())
    found = video.read(file.getvalue())
    # FFmpeg's angle is counterclockwise, and so is numpy's turn from the row axis to the column axis.
    assert np.array_equal(found.frames, np.rot90(first.frames, degrees // 90, axes=(1, 2)))


def test_pictures_of_other_programs():
    from PIL import Image

    file = io.BytesIO()
    picture = Image.new("RGBA", (8, 6), (0, 0, 0, 0))
    picture.paste((255, 0, 0, 255), (0, 0, 4, 6))
    picture.save(file, format="png")
    found = video.read(file.getvalue())
    assert found.num_frames == 1
    assert found.frames[0, 0, 0].tolist() == [255, 0, 0]
    assert found.frames[0, 0, 7].tolist() == [255, 255, 255]  # what is transparent is white


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5])
def test_files_cut_short_are_refused(tmp_path, format, share):
    path = tmp_path / "cut.bin"
    data = written(clip(1 if format in STILLS else 25), format)
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(DataError, match=r"cut\.bin"):
        video.read(path)


def test_what_is_no_video_is_refused(tmp_path):
    path = tmp_path / "thing.mp4"
    path.write_text("this is no video " * 99)
    with pytest.raises(DataError, match=r"thing\.mp4"):
        video.read(path)
    with av.open(str(tmp_path / "sound.wav"), mode="w") as output:
        stream = output.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        frame.sample_rate = 8000
        output.mux(stream.encode(frame))
    with pytest.raises(DataError, match=r"sound.wav holds no video \(only sound\)"):
        video.read(tmp_path / "sound.wav")
    with pytest.raises(NotFound, match=r"none\.mp4"):
        video.read(tmp_path / "none.mp4")
    with pytest.raises(DataError):
        video.read(tmp_path)


def test_a_playlist_cannot_name_other_files(tmp_path):
    video.write(clip(), tmp_path / "secret.mp4")
    for name, text in {
        "list.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{tmp_path}/secret.mp4\n#EXT-X-ENDLIST\n",
        "list.ffconcat": f"ffconcat version 1.0\nfile '{tmp_path}/secret.mp4'\n",
    }.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(DataError):
            video.read(tmp_path / name)


def test_nothing_is_left_behind_by_a_failure(tmp_path, monkeypatch):
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"the old one")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RequestError, match="No space left"):
        video.write(clip(), path)
    assert path.read_bytes() == b"the old one" and len(list(tmp_path.iterdir())) == 1


def test_requests_that_cannot_be_done(tmp_path):
    with pytest.raises(RequestError, match=r"no folder .*none"):
        video.write(clip(), tmp_path / "none" / "clip.mp4")
    with pytest.raises(RequestError, match="'mpe4'; did you mean 'mp4'"):
        video.write(clip(), tmp_path / "clip.mpe4")
    for name in ("clip.png", "clip.jpg", "clip.JPEG"):
        with pytest.raises(RequestError, match=r"would hold one frame \(accepted: mp4, mov, webm"):
            video.write(clip(), tmp_path / name)
    with pytest.raises(
        RequestError, match=r"is a folder \(accepted: a file in it, such as .*clip.mp4\)"
    ):
        video.write(clip(), tmp_path)
    with pytest.raises(
        RequestError, match=r"clip has no ending that says a format \(accepted: .mp4"
    ):
        video.write(clip(), tmp_path / "clip")
    with pytest.raises(RequestError, match="crf is 60"):
        video.write(clip(), tmp_path / "clip.mp4", crf=60)
    for name, num_frames in (("clip.gif", 9), ("clip.jpg", 1)):
        with pytest.raises(RequestError, match="lossless"):
            video.write(clip(num_frames), tmp_path / name, lossless=True)
    with pytest.raises(RequestError, match="needs a format"):
        video.write(clip(), io.BytesIO())
    for options in ({"fps": 0}, {"fps": -1.0}, {"max_frames": 0}):
        with pytest.raises(RequestError):
            video.read(video.encode(clip()), **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((2, 4, 4, 3)),
        np.zeros((2, 4, 4), np.uint8),
        np.zeros((0, 4, 4, 3), np.uint8),
        np.zeros((2, 4, 4, 4), np.uint8),
        [[1]],
    ],
)
def test_clips_that_are_none(frames):
    with pytest.raises(RequestError, match="clip frames"):
        Clip(frames=frames, fps=12)


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf")])
def test_rates_that_are_none(fps):
    with pytest.raises(RequestError, match="fps"):
        Clip(frames=np.zeros((1, 2, 2, 3), np.uint8), fps=fps)


def test_sizes():
    assert Size.parse("128x96") == Size(128, 96)
    assert str(Size.parse(" 128X96 ")) == "128x96"
    for text in ("", "128", "128x", "x96", "12.5x3", "0x4", "-1x4", "128x96x3"):
        with pytest.raises(RequestError):
            Size.parse(text)
    assert clip().size == Size(48, 32) and clip().seconds == 0.75


def test_many_threads_at_once():
    data, found = video.encode(clip(), lossless=True), []
    threads = [threading.Thread(target=lambda: found.append(video.decode(data))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(one.frames, clip().frames) for one in found) and len(found) == 8


def test_strip_and_sheet(tmp_path):
    first = clip(9)
    strip = video.strip(first, frames=3, scale=2)
    assert strip.shape == (64, 3 * 96 + 2 * 2, 3)
    assert np.array_equal(strip[::2, :96:2], first.frames[0])
    assert np.array_equal(strip[::2, -96::2], first.frames[8])
    assert np.array_equal(video.strip(clip(2), frames=8)[:, -48:], clip(2).frames[1])
    sheet = video.sheet([first, clip(4, 20, 20), first], frames=4, columns=2)
    bare = video.sheet([first, clip(4, 20, 20), first], frames=4, columns=2, captions=False)
    assert sheet.shape[1] == bare.shape[1] and sheet.shape[0] > bare.shape[0]
    assert (bare[:, :, 0] == 210).any()
    video.save_image(sheet, tmp_path / "sheet.png")
    assert np.array_equal(video.read(tmp_path / "sheet.png").frames[0], sheet)
    with pytest.raises(RequestError, match="at least 1"):
        video.sheet([])


@pytest.mark.parametrize(
    ("seconds", "fps", "stride", "expected"),
    [(2.0, 12.0, 4, 25), (0.01, 12.0, 4, 5), (2.0, 10.0, 2, 21), (1.0, 8.0, 1, 8)],
)
def test_the_nearest_number_of_frames(seconds, fps, stride, expected):
    assert video.nearest_num_frames(seconds, fps, stride) == expected


def test_every_size_can_be_fitted_to_every_other():
    """Rounding once led a hair's breadth out of the picture, such as 4032x3024 to 1669x1251."""
    picture = Clip(frames=np.zeros((1, 3024, 4032, 3), np.uint8), fps=1.0)
    assert fit(picture, Size(1669, 1251)).size == Size(1669, 1251)
    rng = np.random.default_rng(0)
    for width, height, across, down in rng.integers(1, 90, (300, 4)):
        clip = Clip(frames=np.zeros((1, height, width, 3), np.uint8), fps=1.0)
        assert fit(clip, Size(int(across), int(down))).size == Size(int(across), int(down))
