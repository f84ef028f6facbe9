"""Files as cameras, editors and converters leave them: each is read as it was meant, or refused in a sentence."""

import contextlib
import io
import itertools
import struct
import zlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from worldtube import video
from worldtube.errors import DataError
from worldtube.video import Clip
from worldtube.video.film import look, nearest, pictures
from worldtube.video.reader import probe
from worldtube.video.structure import has_hole, is_complete

DATA = Path(__file__).parent / "data"
RAMP = [0, 64, 128, 193, 255]
COLUMNS = [0, 24, 48, 72, 95]


def greys(num_frames: int) -> np.ndarray:
    """Flat frames whose grey is 20 times their number: uint8 (T, 48, 64, 3)."""
    return np.broadcast_to(
        20 * np.arange(num_frames, dtype=np.uint8)[:, None, None, None], (num_frames, 48, 64, 3)
    )


def shown(clip: Clip) -> list[tuple[int, int]]:
    """(number of the picture, frames that show it), in order."""
    numbers = [round(float(frame.mean()) / 20) for frame in clip.frames]
    return [(number, len(list(group))) for number, group in itertools.groupby(numbers)]


def make(
    container: str,
    times: list[float],
    end: float,
    *,
    codec: str = "libx264",
    reorder: int = 0,
    options: dict[str, str] | None = None,
) -> bytes:
    """A file whose pictures, greys 0, 20, 40 ..., begin at these times; the last lasts until `end`."""
    lengths = np.diff([*times, end])
    file = io.BytesIO()
    with av.open(file, mode="w", format=container, options=options or {}) as output:
        codec_options = {"bf": str(reorder), "qp": "4"} if codec == "libx264" else {}
        stream = output.add_stream(codec, rate=25, options=codec_options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        clock = Fraction(1, 25 if codec.startswith("mpeg") else 1000)
        stream.codec_context.time_base = clock

        def write(frame: av.VideoFrame | None) -> None:
            for packet in stream.encode(frame):
                away = [abs(time - float(packet.pts * packet.time_base)) for time in times]
                packet.duration = round(lengths[int(np.argmin(away))] / packet.time_base)
                output.mux(packet)

        for array, time in zip(greys(len(times)), times, strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(array), format="rgb24")
            frame.pts, frame.time_base = round(time / clock), clock
            write(frame)
        write(None)
    return file.getvalue()


def saved(picture: Image.Image, format: str, **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, format=format, **options)
    return file.getvalue()


# The first picture does not come at 0.


@pytest.mark.parametrize(("name", "num_frames"), [("late.webm", 90), ("seg0.mkv", 30)])
def test_a_file_that_begins_late_is_whole(name, num_frames):
    clip = video.read(DATA / name)
    assert (clip.num_frames, clip.fps) == (num_frames, 30)
    assert not look(DATA / name).cut_off


@pytest.mark.parametrize("late", [0.06, 5.0, 3600.0])
@pytest.mark.parametrize("container", ["mp4", "mov", "matroska", "webm", "flv", "mpegts", "nut"])
def test_late_starts_in_every_container(container, late, tmp_path):
    times = [late + k / 25 for k in range(10)]
    codec = {"webm": "libvpx-vp9", "nut": "ffv1"}.get(container, "libx264")
    data = make(container, times, times[-1] + 0.04, codec=codec)
    clip = video.read(data)
    assert (clip.num_frames, clip.fps) == (10, 25)
    assert shown(clip) == [(k, 1) for k in range(10)]
    assert shown(video.read(data, fps=12.5)) == [(k, 1) for k in range(0, 10, 2)]
    (tmp_path / "film").write_bytes(data)
    film = look(tmp_path / "film")
    assert not film.cut_off and film.seconds == pytest.approx(0.4, abs=0.002)


@pytest.mark.parametrize("container", ["mp4", "mov", "matroska", "webm", "flv", "avi"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.99])
def test_late_or_not_a_file_that_is_cut_short_is_refused(container, share):
    codec = {"webm": "libvpx-vp9", "avi": "mpeg4"}.get(container, "libx264")
    late = 0.0 if container == "avi" else 5.0
    data = make(container, [late + k / 25 for k in range(12)], late + 0.48, codec=codec)
    assert is_complete(io.BytesIO(data))
    with pytest.raises(DataError):
        video.read(data[: int(share * len(data))])


# Bytes after the end.


def test_a_trailer_behind_a_video_is_no_damage():
    assert video.read(DATA / "trailer.mp4").num_frames == 90
    assert sum(map(len, video.read_blocks(DATA / "trailer.mp4", num_frames=16))) == 90
    assert not look(DATA / "trailer.mp4").cut_off


TRAILERS = {
    "newline": b"\n",
    "word": b"abcd",
    "zeros": bytes(5000),
    "html": b"<html><body>Not found</body></html>" * 20,
    "noise": np.random.default_rng(0).bytes(5000),
    "zip": b"PK\3\4" + bytes(range(256)) * 4,
    "camera": b"\0\0\0\x20SEFHabcd" + bytes(40) + b"SEFT",
    "picture": b"\xff\xd8\xff\xe0" + bytes(50),
}


PICTURES = ["GIF", "PNG", "WEBP", "AVIF", "JPEG", "TIFF", "BMP"]
VIDEOS = ["mp4", "faststart", "mov", "matroska", "webm", "flv", "avi", "mpegts"]


@pytest.mark.parametrize("trailer", TRAILERS)
@pytest.mark.parametrize("format", [*VIDEOS, *PICTURES])
def test_bytes_after_the_end(format, trailer):
    if format.isupper():
        first, *others = [Image.fromarray(frame) for frame in greys(4)]
        animated = format in ("GIF", "PNG", "WEBP", "AVIF")
        several = {"save_all": True, "append_images": others, "duration": 100} if animated else {}
        data, num_frames = saved(first, format, **several), 4 if animated else 1
    else:
        codec = {"webm": "libvpx-vp9", "avi": "mpeg4"}.get(format, "libx264")
        options = {"movflags": "+faststart"} if format == "faststart" else {}
        container = "mp4" if format == "faststart" else format
        if options:  # the index is put first in a real file only
            data, num_frames = video.encode(Clip(frames=greys(10).copy(), fps=25)), 10
        else:
            data = make(container, [k / 25 for k in range(10)], 0.4, codec=codec)
            num_frames = 10
    assert video.read(data).num_frames == num_frames
    assert video.read(data + TRAILERS[trailer]).num_frames == num_frames
    blocks = video.read_blocks(data + TRAILERS[trailer], num_frames=3)
    assert sum(map(len, blocks)) == num_frames


def test_much_padding_behind_a_transport_stream():
    data = make("mpegts", [k / 25 for k in range(10)], 0.4) + bytes(1 << 20)
    assert video.read(data).num_frames == 10


def test_two_videos_in_one_file_are_the_first():
    data = video.encode(Clip(frames=greys(5).copy(), fps=25))
    assert video.read(data + data[: len(data) // 2]).num_frames == 5


# Pictures that last differently long.


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a_firsthold.gif", [20, 1, 1, 1]), ("a_lasthold.gif", [1, 1, 1, 20])],
)
def test_a_picture_that_is_held(name, expected):
    clip = video.read(DATA / name)
    assert (clip.num_frames, clip.fps) == (23, 10) and clip.seconds == pytest.approx(2.3)
    same = [list(group) for _, group in itertools.groupby(clip.frames, key=lambda f: f.tobytes())]
    assert [len(group) for group in same] == expected
    assert video.read(DATA / name, fps=12).num_frames == 28


def test_an_animated_webp_is_a_film_too(tmp_path):
    clip = video.read(DATA / "anim.webp")
    assert (clip.num_frames, clip.fps) == (4, 10)
    film = look(DATA / "anim.webp")
    assert (film.width, film.height, film.num_frames) == (240, 160, 2)
    assert film.seconds == pytest.approx(0.4)
    assert [time for time, _ in pictures(film)] == [0, pytest.approx(0.1)]
    first, last = nearest(film, [0.0, 0.2])
    assert np.array_equal(first, clip.frames[0]) and np.array_equal(last, clip.frames[3])


def test_slides_are_shown_for_as_long_as_the_file_says():
    clip = video.read(DATA / "slides.mp4")
    assert clip.seconds == pytest.approx(5.56, abs=0.001)
    slides = [0]
    for index, (a, b) in enumerate(itertools.pairwise(clip.frames.astype(int))):
        if np.abs(a - b).max() > 8:
            slides.append(index + 1)
    assert [index / clip.fps for index in slides][:3] == pytest.approx([0, 0.52, 3.52])
    assert video.read(DATA / "slides.mp4", fps=12).seconds == pytest.approx(5.56, abs=0.05)


@pytest.mark.parametrize("reorder", [0, 2])
@pytest.mark.parametrize("container", ["mp4", "mov", "matroska", "webm", "flv"])
@pytest.mark.parametrize(
    ("times", "end", "fps", "frames"),
    [
        ([0, 0.1, 0.2, 0.3], 2.3, 10, [1, 1, 1, 20]),
        ([0, 2, 2.1, 2.2], 2.3, 10, [20, 1, 1, 1]),
        ([0, 0.1, 0.2, 1.5, 1.6], 1.7, 10, [1, 1, 13, 1, 1]),
        ([7, 7.5, 10.5], 12.5, 2, [1, 6, 4]),
    ],
)
def test_durations_in_every_container(container, times, end, fps, frames, reorder):
    if container == "webm" and reorder:
        pytest.skip("VP9 shows frames in the order in which they come")
    if container == "flv" and reorder and times[0]:
        pytest.skip("its duration counts from the first decoding time")
    codec = "libvpx-vp9" if container == "webm" else "libx264"
    clip = video.read(make(container, times, end, codec=codec, reorder=reorder))
    assert (clip.fps, [count for _, count in shown(clip)]) == (fps, frames)
    assert clip.seconds == pytest.approx(end - times[0], abs=0.01)


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "AVIF"])
def test_durations_of_animated_pictures(format):
    first, *others = [Image.fromarray(frame) for frame in greys(4)]
    for durations in ([100, 100, 100, 2000], [2000, 100, 100, 100], [500, 3000, 500, 1000]):
        data = saved(first, format, save_all=True, append_images=others, duration=durations)
        clip = video.read(data)
        assert clip.seconds == pytest.approx(sum(durations) / 1000)
        counts = [count / clip.fps for _, count in shown(clip)]
        assert counts == pytest.approx([duration / 1000 for duration in durations])


@pytest.mark.parametrize("reorder", [0, 2])
@pytest.mark.parametrize("container", ["frag_keyframe", "dash", "3gp", "matroska", "webm"])
def test_fragments_and_live_recordings(container, reorder):
    options = {"frag_keyframe": {"movflags": "frag_keyframe+empty_moov"}}
    options["dash"] = {"movflags": "dash+frag_keyframe"}
    options |= {"matroska": {"live": "1"}, "webm": {"live": "1"}}
    for times, end in (([5 + k / 25 for k in range(10)], 5.4), ([0, 0.1, 0.2, 0.3], 2.3)):
        data = make(
            {"frag_keyframe": "mp4", "dash": "mp4"}.get(container, container),
            times,
            end,
            codec="libvpx-vp9" if container == "webm" else "libx264",
            reorder=reorder,
            options=options.get(container),
        )
        assert [number for number, _ in shown(video.read(data))] == list(range(len(times)))
        if container == "dash":
            assert is_complete(io.BytesIO(data))
            assert is_complete(io.BytesIO(data[: data.rindex(b"mdat") + 20])) is False


def test_an_edit_list_shows_a_part():
    data = bytearray(make("mp4", [k / 25 for k in range(10)], 0.4))
    place = data.index(b"elst") + 12
    assert struct.unpack(">Ii", data[place : place + 8]) == (400, 0)
    data[place : place + 8] = struct.pack(">Ii", 200, 16000 * 3 // 25)
    clip = video.read(bytes(data))
    assert (clip.fps, shown(clip)) == (25, [(k, 1) for k in range(3, 8)])


def test_a_picture_of_a_millisecond_does_not_make_a_thousand_frames_a_second():
    clip = video.read(make("matroska", [0, 0.1, 0.2, 0.3, 0.301], 0.4))
    assert clip.fps <= 30 and clip.seconds == pytest.approx(0.4, abs=0.05)


def test_uneven_phone_video_keeps_its_rate():
    rng = np.random.default_rng(0)
    times = (np.arange(120) / 30 + rng.uniform(-0.006, 0.006, 120)).round(3)
    times = np.delete(times, [17, 60, 61])
    times -= times[0]
    clip = video.read(make("matroska", times.tolist(), float(times[-1]) + 0.033))
    assert clip.fps == 30
    assert clip.seconds == pytest.approx(4, abs=0.05)


def test_a_picture_that_is_held_for_hours_takes_bounded_memory():
    first, second = (Image.fromarray(frame.repeat(8, 0).repeat(8, 1)) for frame in greys(2))
    data = saved(first, "GIF", save_all=True, append_images=[second], duration=[20, 655_350])
    clip = video.read(data)
    assert clip.frames.nbytes <= 1 << 30 and clip.seconds == pytest.approx(655.37, abs=1)
    with pytest.raises(DataError, match=r"2 pictures for 655 s, which at 240 fps is"):
        video.read(data, fps=240)
    assert video.read(data, fps=240, max_frames=5).num_frames == 5


# Pages of picture files.


def test_a_camera_picture_of_several_pages_is_its_first():
    clip = video.read(DATA / "camera_mpo.jpg")
    assert (clip.num_frames, str(clip.size)) == (1, "240x160")
    assert [len(block) for block in video.read_blocks(DATA / "camera_mpo.jpg", num_frames=4)] == [1]


@pytest.mark.parametrize("format", ["MPO", "TIFF", "ICO"])
def test_still_formats_give_their_first_or_largest_page(format):
    left, right = (Image.fromarray(np.full((64, 64, 3), grey, np.uint8)) for grey in (40, 200))
    if format == "ICO":
        data = saved(left, format, sizes=[(16, 16), (64, 64)])
    else:
        data = saved(left, format, save_all=True, append_images=[right])
    clip = video.read(data)
    assert clip.frames.shape == (1, 64, 64, 3) and abs(int(clip.frames[0, 32, 32, 0]) - 40) <= 1


def test_a_motion_photo_is_its_photo():
    photo = saved(Image.fromarray(greys(3)[2]), "JPEG", quality=95)
    assert video.read(photo + video.encode(Clip(frames=greys(5).copy(), fps=25))).num_frames == 1


def test_an_animated_png_with_a_picture_for_others_shows_the_animation():
    first, *others = [Image.fromarray(frame) for frame in greys(4)]
    options = {"save_all": True, "append_images": others, "duration": 100, "default_image": True}
    assert shown(video.read(saved(first, "PNG", **options))) == [(1, 1), (2, 1), (3, 1)]


def test_heic_is_refused_by_name():
    head = struct.pack(">I", 24) + b"ftypheic" + bytes(4) + b"mif1heic"
    with pytest.raises(DataError, match="is a HEIC picture"):
        video.read(head + bytes(100))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("format", ["AVIF", "GIF", "PNG", "WEBP", "TIFF"])
def test_broken_pictures_are_refused_in_a_sentence(format, tmp_path):
    first, second = (Image.fromarray(frame) for frame in greys(2))
    several = {"save_all": True, "append_images": [second]} if format != "TIFF" else {}
    data, rng = saved(first, format, **several), np.random.default_rng(0)
    path = tmp_path / "broken"
    for _ in range(60):
        broken = bytearray(data)
        for place in rng.integers(len(data), size=4).tolist():
            broken[place : place + 4] = rng.bytes(4)
        path.write_bytes(broken)
        for use in (video.read, video.read_tags, look, lambda path: probe(path, max_frames=9)):
            # A film for which memory does not suffice is tried again by the next run.
            with contextlib.suppress(DataError, MemoryError):
                use(path)


def test_a_picture_beyond_all_measure_is_refused():
    data = bytearray(saved(GREY, "PNG"))
    data[16:24] = struct.pack(">II", 65535, 65535)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    for use in (video.read, video.read_tags):
        with pytest.raises(DataError, match="exceeds limit"):
            use(bytes(data))


# Modes of pictures.


def tiff(pixels: np.ndarray, *, photometric: int = 1, sign: int = 1) -> bytes:
    """An uncompressed TIFF of one plane, which Pillow does not write in every mode."""
    data = pixels.tobytes()
    height, width = pixels.shape
    entries = [
        *((256, width), (257, height), (258, 8 * pixels.itemsize), (259, 1), (262, photometric)),
        *((273, 8), (277, 1), (278, height), (279, len(data)), (339, sign)),
    ]
    table = struct.pack("<H", len(entries))
    table += b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries) + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + table


X = np.broadcast_to(np.linspace(0, 1, 96), (64, 96))
GREY = Image.fromarray((255 * X).astype(np.uint8))
OPAQUE = Image.new("L", GREY.size, 255)


def grey_files() -> dict[str, bytes]:
    wide = (65535 * X).astype(np.uint16)
    colour = Image.merge("RGB", [GREY] * 3)
    return {
        "I;16 png": saved(Image.fromarray(wide), "PNG"),
        "I;16 tiff": saved(Image.fromarray(wide), "TIFF"),
        "I;16B tiff": saved(Image.fromarray(wide.astype(">u2")), "TIFF"),
        "I tiff of 16 bits": saved(Image.fromarray(wide.astype(np.int32)), "TIFF"),
        "I tiff of 31 bits": saved(Image.fromarray(((2**31 - 1) * X).astype(np.int32)), "TIFF"),
        "I tiff of 8 bits": saved(Image.fromarray((255 * X).astype(np.int32)), "TIFF"),
        "uint32 tiff": tiff(((2**32 - 1) * X).astype("<u4")),
        "int16 tiff": tiff((32767 * X).astype("<i2"), sign=2),
        "F tiff to 1": saved(Image.fromarray(X.astype(np.float32)), "TIFF"),
        "F tiff to 255": saved(Image.fromarray((255 * X).astype(np.float32)), "TIFF"),
        "F tiff to 65535": saved(Image.fromarray((65535 * X).astype(np.float32)), "TIFF"),
        "16 bits, white is 0": tiff((65535 * (1 - X)).round().astype("<u2"), photometric=0),
        "8 bits, white is 0": tiff((255 - (255 * X).astype("u1")), photometric=0),
        "L png": saved(GREY, "PNG"),
        "LA png": saved(Image.merge("LA", [GREY, OPAQUE]), "PNG"),
        "LA tiff": saved(Image.merge("LA", [GREY, OPAQUE]), "TIFF"),
        "P png": saved(GREY.convert("P"), "PNG"),
        "CMYK tiff": saved(colour.convert("CMYK"), "TIFF"),
        "CMYK jpeg": saved(colour.convert("CMYK"), "JPEG", quality=100),
        "YCbCr tiff": saved(colour.convert("YCbCr"), "TIFF"),
    }


@pytest.mark.parametrize("name", grey_files())
def test_grey_of_every_mode_is_scaled_to_8_bits(name):
    clip = video.read(grey_files()[name])
    assert clip.frames[0, 32, COLUMNS].tolist() == [[value] * 3 for value in RAMP]


def test_a_16_bit_ramp_reads_as_8_bits():
    assert video.read(DATA / "grey16.png").frames[0, 32, COLUMNS, 0].tolist() == RAMP


def test_lab_pictures():
    from PIL import ImageCms

    spaces = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    colour = Image.new("RGB", (96, 64), (200, 60, 30))
    lab = ImageCms.profileToProfile(colour, *spaces, outputMode="LAB")
    found = video.read(saved(lab, "TIFF")).frames[0, 32, 48].astype(int)
    assert np.abs(found - (200, 60, 30)).max() <= 3


def test_colours_of_16_bits():
    """An uncompressed TIFF of three colours, 16 bits each."""
    pixels = np.stack([65535 * X, 65535 * (1 - X), 0 * X], -1).round().astype("<u2")
    data = tiff(pixels.reshape(64, -1)).replace(
        struct.pack("<HHII", 256, 4, 1, 288), struct.pack("<HHII", 256, 4, 1, 96)
    )
    for tag, old, new in ((262, 1, 2), (277, 1, 3)):
        entry = struct.pack("<HHII", tag, 4, 1, old)
        data = data.replace(entry, struct.pack("<HHII", tag, 4, 1, new))
    found = video.read(data).frames[0, 32, COLUMNS].astype(int)
    assert np.abs(found[:, 0] - RAMP).max() <= 1 and (found[:, 2] == 0).all()


def test_what_is_transparent_is_white():
    half = np.broadcast_to(np.where(np.arange(96) < 48, 255, 0).astype(np.uint8), (64, 96))
    files = [
        saved(Image.merge("LA", [GREY, Image.fromarray(half)]), "PNG"),
        saved(Image.merge("RGBA", [GREY] * 3 + [Image.fromarray(half)]), "PNG"),
        saved(Image.merge("RGBA", [GREY] * 3 + [Image.fromarray(half)]), "WEBP", lossless=True),
        saved(GREY.convert("P"), "PNG", transparency=bytes([255] * 128 + [0] * 128)),
        saved(Image.merge("RGBA", [GREY] * 3 + [Image.fromarray(half)]), "GIF"),
    ]
    for data in files:
        row = video.read(data).frames[0, 32].astype(int)
        assert abs(row[24, 0] - 64) <= 8 and (row[49:] == 255).all()  # a gif has few greys
    wide = np.where(X < 0.5, 0, 65535 * X).astype(np.uint16)
    row = video.read(saved(Image.fromarray(wide), "PNG", transparency=0)).frames[0, 32, :, 0]
    assert (row[:48] == 255).all() and row[72] == 193


def test_a_16_bit_mask_marks_where_it_is_light():
    mask = video.read(DATA / "grey16.png").frames.mean(-1) > 127
    assert not mask[0, :, :47].any() and mask[0, :, 49:].all()


# Pixels that are not square, orientation, cover art.


def squares(num_frames: int = 9) -> np.ndarray:
    """A red corner at the top left of a grey frame: uint8 (T, 32, 48, 3)."""
    frames = np.full((num_frames, 32, 48, 3), 120, np.uint8)
    frames[:, :8, :12] = (210, 40, 30)
    return frames


def anamorphic(container: str, aspect: Fraction, degrees: int = 0, codec: str = "libx264") -> bytes:
    file = io.BytesIO()
    with av.open(file, mode="w", format=container) as output:
        stream = output.add_stream(codec, rate=12)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        stream.sample_aspect_ratio = aspect
        if degrees:
            stream.set_display_rotation(degrees)
        for array in squares():
            output.mux(stream.encode(av.VideoFrame.from_ndarray(array, format="rgb24")))
        output.mux(stream.encode())
    return file.getvalue()


def test_an_anamorphic_clip_has_square_pixels():
    assert str(video.read(DATA / "sar2.mp4").size) == "256x96"
    film = look(DATA / "sar2.mp4")
    assert str(film.size) == "256x96"
    error = video.read(DATA / "sar2.mp4").frames[0].astype(int) - next(pictures(film))[1]
    assert np.abs(error).max() <= 1
    facts = probe(DATA / "sar2.mp4", max_frames=1000)
    assert (facts.width, facts.height, facts.num_frames) == (256, 96, 90)


@pytest.mark.parametrize("aspect", [Fraction(2), Fraction(1, 2), Fraction(16, 15)])
@pytest.mark.parametrize("container", ["mp4", "mov", "matroska", "mpegts", "avi"])
def test_pixel_aspect_in_every_container(container, aspect, tmp_path):
    codec = "mpeg4" if container == "avi" else "libx264"
    data = anamorphic(container, aspect, codec=codec)
    clip = video.read(data)
    assert (clip.size.width, clip.size.height) == (round(48 * aspect), 32)
    (tmp_path / "film").write_bytes(data)
    assert look(tmp_path / "film").size == clip.size
    blocks = list(video.read_blocks(data, num_frames=4))
    assert blocks[0].shape == (4, 32, 48, 3)  # as stored, for those who look for a watermark


@pytest.mark.parametrize("degrees", [90, 180, -90])
def test_pixel_aspect_of_a_turned_phone(degrees):
    clip = video.read(anamorphic("mov", Fraction(2), degrees))
    upright = (96, 32) if degrees == 180 else (32, 96)
    assert (clip.size.width, clip.size.height) == upright
    red = clip.frames[0, :, :, 0].astype(int) - clip.frames[0, :, :, 1] > 80
    rows, columns = np.nonzero(red)
    place = (columns.mean() > clip.size.width / 2, rows.mean() > clip.size.height / 2)
    # FFmpeg's angle is counterclockwise: the corner goes left and down, right and down, right and up.
    assert place == {90: (False, True), 180: (True, True), -90: (True, False)}[degrees]


def with_matrix(values: list[int]) -> bytes:
    """A mov of squares whose display matrix is these nine numbers (16.16 and 2.30)."""
    data = bytearray(anamorphic("mov", Fraction(1)))
    place = data.index(b"tkhd") + 4 + 40
    data[place : place + 36] = struct.pack(">9i", *values)
    return bytes(data)


@pytest.mark.parametrize(
    ("matrix", "corner"),
    [
        ((-1, 0, 0, 1), (True, False)),  # mirrored left to right, as selfies are
        ((1, 0, 0, -1), (False, True)),  # mirrored top to bottom
        ((0, 1, 1, 0), (False, False)),  # over one diagonal
        ((0, -1, -1, 0), (True, True)),  # over the other
    ],
)
def test_mirrored_videos(matrix, corner, tmp_path):
    one = 1 << 16
    a, b, c, d = (one * value for value in matrix)
    data = with_matrix([a, b, 0, c, d, 0, 0, 0, 1 << 30])
    (tmp_path / "film.mov").write_bytes(data)
    film = look(tmp_path / "film.mov")
    for picture in (video.read(data).frames[0], next(pictures(film))[1]):
        rows, columns = np.nonzero(picture[:, :, 0].astype(int) - picture[:, :, 1] > 80)
        height, width = picture.shape[:2]
        assert (width, height) == ((48, 32) if matrix[0] else (32, 48))
        assert (columns.mean() > width / 2, rows.mean() > height / 2) == corner


def with_cover(container: str, *, moving: bool) -> bytes:
    """A file with a cover picture first, then sound, loud from 1 s on, then (moving) a video from there."""
    from av.stream import Disposition

    file = io.BytesIO()
    with av.open(file, mode="w", format=container) as output:
        cover = output.add_stream("png" if container == "matroska" else "mjpeg", rate=1)
        cover.width = cover.height = 16
        cover.pix_fmt = "rgb24" if container == "matroska" else "yuvj420p"
        cover.disposition = Disposition.attached_pic
        sound = output.add_stream("aac", rate=48000, layout="mono")
        stream = output.add_stream("libx264", rate=12) if moving else None
        if stream is not None:
            stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        picture = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
        packets = cover.encode(picture) + cover.encode()
        output.mux(packets)
        loud = np.zeros((1, 2 * 48000), np.int16)
        loud[:, 48000:] = 8000 * np.sign(np.sin(np.arange(48000) / 20))
        samples = av.AudioFrame.from_ndarray(loud, layout="mono")
        samples.sample_rate = 48000
        output.mux(sound.encode(samples) + sound.encode())
        if stream is not None:
            for index, array in enumerate(squares(3)):
                frame = av.VideoFrame.from_ndarray(array, format="rgb24")
                frame.pts, frame.time_base = 12 + index, Fraction(1, 12)
                output.mux(stream.encode(frame))
            output.mux(stream.encode())
    return file.getvalue()


def test_cover_art_is_no_video():
    clip = video.read(with_cover("mp4", moving=True))
    assert clip.frames.shape == (3, 32, 48, 3)
    # What is heard begins with the video, not with its cover.
    assert clip.sound is not None and np.abs(clip.sound.samples[4800:9600]).mean() > 0.1
    for use in (video.read, lambda data: list(video.read_blocks(data, num_frames=4))):
        with pytest.raises(DataError, match=r"holds no video \(only sound\)"):
            use(with_cover("mp4", moving=False))


def test_sound_is_no_video():
    for use in (video.read, lambda path: list(video.read_blocks(path, num_frames=4))):
        with pytest.raises(DataError, match=r"sound\.m4a holds no video \(only sound\)"):
            use(DATA / "sound.m4a")


# Colours.


def coded(
    rgb: np.ndarray, pixels: str, *, matrix: int, transfer: int, primaries: int, tagged: bool = True
) -> bytes:
    """A lossless mkv of one picture, uint8 or uint16 (H, W, 3), in a YUV format with these colours."""
    file = io.BytesIO()
    with av.open(file, mode="w", format="matroska") as output:
        stream = output.add_stream("ffv1", rate=12)
        stream.height, stream.width = rgb.shape[:2]
        stream.pix_fmt = pixels
        if tagged:
            stream.codec_context.colorspace = matrix
            stream.codec_context.color_trc = transfer
            stream.codec_context.color_primaries = primaries
            stream.codec_context.color_range = 1
        name = "rgb48le" if rgb.dtype == np.uint16 else "rgb24"
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format=name)
        frame = frame.reformat(format=pixels, dst_colorspace=matrix, dst_color_range=1)
        if tagged:
            frame.color_trc, frame.color_primaries = transfer, primaries
        output.mux(stream.encode(frame) + stream.encode())
    return file.getvalue()


@pytest.mark.parametrize(("height", "matrix"), [(480, 5), (576, 5), (720, 1), (1080, 1)])
def test_untagged_colours_are_those_of_their_size(height, matrix, tmp_path):
    rgb = np.zeros((height, 64, 3), np.uint8)
    rgb[:] = (210, 40, 30)
    data = coded(rgb, "yuv444p", matrix=matrix, transfer=2, primaries=2, tagged=False)
    assert np.abs(video.read(data).frames[0, 5, 5].astype(int) - (210, 40, 30)).max() <= 3
    (tmp_path / "film.mkv").write_bytes(data)
    _, picture = next(pictures(look(tmp_path / "film.mkv"), within=64))
    assert np.abs(picture[5, 1].astype(int) - (210, 40, 30)).max() <= 3


def pq(nits: np.ndarray) -> np.ndarray:
    """SMPTE ST 2084."""
    power = (np.asarray(nits, float) / 10000) ** (2610 / 16384)
    return ((3424 / 4096 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32)


def hlg(nits: np.ndarray) -> np.ndarray:
    """ITU-R BT.2100 on a display of 1000 cd/m²."""
    scene = (np.asarray(nits, float) / 1000) ** (1 / 1.2)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(
        scene <= 1 / 12, np.sqrt(3 * scene), a * np.log(12 * np.maximum(scene, 0.1) - b) + c
    )


@pytest.mark.parametrize(("transfer", "curve"), [(16, pq), (18, hlg)])
def test_high_dynamic_range_is_tone_mapped(transfer, curve, tmp_path):
    codes = np.array([0, 40, 90, 140, 190])
    nits = [*(203 * (codes / 255) ** 2.4), 203, 400, 1000]
    code = (65535 * curve(np.array(nits))).round().astype(np.uint16)
    rgb = np.broadcast_to(code.repeat(8)[None, :, None], (32, 64, 3))
    data = coded(rgb, "yuv420p10le", matrix=9, transfer=transfer, primaries=9)
    (tmp_path / "film.mkv").write_bytes(data)
    for picture in (video.read(data).frames[0], next(pictures(look(tmp_path / "film.mkv")))[1]):
        row = picture[16, 4::8, 1].astype(int)
        # Up to the shadows and middle tones as in standard range; white bright; highlights apart from each other.
        assert np.abs(row[:5] - codes).max() <= 3
        assert 220 < row[5] < row[6] < row[7] <= 255
        assert np.abs(picture[16, 4::8].astype(int) - row[:, None]).max() <= 3  # grey stays grey


# Zeros where data was.


def test_zeros_in_the_middle_end_a_film():
    assert len(list(pictures(look(DATA / "clean.mp4")))) == 144
    film, found = look(DATA / "zeros.mp4"), []
    with pytest.raises(DataError, match="damaged: a picture is not whole"):
        for _, picture in pictures(film):
            found.append(picture)
    clean = [picture for _, picture in pictures(look(DATA / "clean.mp4"))]
    assert 60 < len(found) < 76
    assert all(np.array_equal(a, b) for a, b in zip(found, clean, strict=False))


@pytest.mark.parametrize(
    ("container", "codec"),
    [
        ("mp4", "libx264"),
        ("matroska", "libx265"),
        ("mpegts", "libx264"),
        ("avi", "mpeg4"),
        ("webm", "libvpx-vp9"),
        ("webm", "libvpx"),
    ],
)
def test_zeros_are_found_in_every_codec(container, codec):
    rng = np.random.default_rng(0)
    file = io.BytesIO()
    with av.open(file, mode="w", format=container) as output:
        stream = output.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for _ in range(5):
            noise = rng.integers(0, 256, (96, 128, 3), dtype=np.uint8)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(noise, format="rgb24")))
        output.mux(stream.encode())
    with av.open(io.BytesIO(file.getvalue())) as source:
        name = source.streams.video[0].codec_context.name
        packets = [bytes(packet) for packet in source.demux(video=0) if packet.size]
    assert not any(has_hole(packet, name) for packet in packets)
    largest = bytearray(max(packets, key=len))
    middle = len(largest) // 2
    largest[middle : middle + 256] = bytes(256)
    assert has_hole(bytes(largest), name)
