"""Clips as a sequence of frames, and pictures and clips of other libraries as clips."""

import base64
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from worldtube.errors import NotFound, RequestError
from worldtube.video import Clip, Size, Sound, as_clip, as_mask, read, write


@pytest.fixture
def clip() -> Clip:
    """24 frames of 8x6 at 12 fps; frame k has the grey value 10 k, a track that counts, and sound that does."""
    frames = (
        np.full((24, 6, 8, 3), 10, np.uint8) * np.arange(24, dtype=np.uint8)[:, None, None, None]
    )
    sound = Sound(samples=np.arange(2400, dtype=np.float32)[:, None] / 2400, rate=1200)
    tracks = {"action": np.arange(24)}
    return Clip(frames=frames, fps=12, caption="grey", tracks=tracks, sound=sound)


def test_a_clip_is_a_sequence_of_frames(clip):
    assert len(clip) == 24 and clip
    assert clip[5].shape == (6, 8, 3) and clip[5].max() == 50 and clip[-1].max() == 230
    assert [int(frame.max()) for frame in clip][:3] == [0, 10, 20]
    with pytest.raises(IndexError):
        clip[24]


def test_a_slice_counts_frames_and_takes_what_goes_with_them(clip):
    part = clip[3:10]
    assert part.num_frames == 7 and part.fps == 12 and part.caption == "grey"
    assert part.frames[:, 0, 0, 0].tolist() == [30, 40, 50, 60, 70, 80, 90]
    assert part.tracks["action"].tolist() == [3, 4, 5, 6, 7, 8, 9]
    assert clip[-2:].tracks["action"].tolist() == [22, 23]


def test_a_step_keeps_the_speed(clip):
    assert clip[::2].fps == 6 and clip[::2].seconds == clip.seconds
    backwards = clip[::-1]
    assert backwards.fps == 12 and backwards.tracks["action"].tolist() == [*range(23, -1, -1)]
    assert clip[10:2:-3].tracks["action"].tolist() == [10, 7, 4]


def test_a_subclip_lies_between_two_times(clip):
    assert clip.subclip(0.5, 1.5).tracks["action"].tolist() == [*range(6, 18)]
    assert clip.subclip(1.5).num_frames == 6
    assert clip.subclip(-0.5).tracks["action"].tolist() == [*range(18, 24)]
    assert clip.subclip(0, 99).num_frames == 24
    with pytest.raises(RequestError, match=r"at least 1 frame of the 2 seconds, got 1.5 to 0.5"):
        clip.subclip(1.5, 0.5)


def samples(clip: Clip) -> list[int]:
    """First and last sample of the sound, and how many there are."""
    values = (clip.sound.samples[:, 0] * 2400).round().astype(int)
    return [int(values[0]), int(values[-1]), len(values)]


def test_sound_is_cut_with_the_frames(clip):
    assert samples(clip[3:10]) == [300, 999, 700]
    assert samples(clip.subclip(0.5, 1.5)) == [600, 1799, 1200]
    assert samples(clip[2:8:2]) == [200, 799, 600]
    assert samples(clip[9:3:-1]) == [999, 400, 600]
    assert samples(clip[10:2:-3]) == [1099, 200, 900]
    short = replace(clip, sound=clip.sound.cut(0, 1))
    assert samples(short[6:]) == [600, 1199, 600] and short[12:].sound is None


def test_slices_without_frames_and_in_seconds_say_what_to_do(clip):
    with pytest.raises(RequestError, match="at least 1 of the 24 frames"):
        clip[5:5]
    with pytest.raises(TypeError, match="subclip"):
        clip[0.5:1.5]


def test_a_clip_is_an_array(clip):
    assert np.asarray(clip) is clip.frames
    assert np.array(clip) is not clip.frames and np.array_equal(np.array(clip), clip.frames)
    assert np.asarray(clip, dtype=np.float32).dtype == np.float32
    assert np.array(clip, copy=False) is clip.frames
    with pytest.raises(ValueError):
        np.array(clip, dtype=np.float32, copy=False)


def test_there_and_back_through_other_libraries(clip):
    tensor = clip.to_torch()
    assert tensor.shape == (24, 3, 6, 8) and tensor.dtype == torch.uint8
    tensor[:] = 0
    assert clip.frames.max() == 230, "the tensor owns its memory"
    for form in (
        clip.to_torch(),
        clip.to_torch().float() / 255,
        (clip.to_torch().float() / 255).to(torch.float64),
        clip.to_pil(),
        tuple(clip.to_pil()),
        list(clip),
        clip.frames,
        clip.frames.astype(np.int64),
        clip.frames / 255,
        [clip[k : k + 1] for k in range(24)],
    ):
        other = Clip.from_frames(form, fps=12, caption="other")
        assert np.array_equal(other.frames, clip.frames) and other.fps == 12
        assert other.caption == "other"


def test_bfloat16_is_a_float(clip):
    half = (clip.to_torch()[:2] / 255).to(torch.bfloat16)
    assert np.abs(as_clip(half, fps=1).frames.astype(int) - clip.frames[:2]).max() <= 1


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((6, 8), (1, 6, 8, 3)), ((6, 8, 1), (1, 6, 8, 3)), ((6, 8, 3), (1, 6, 8, 3)),
     ((6, 8, 4), (1, 6, 8, 3)), ((5, 6, 8, 3), (5, 6, 8, 3)), ((5, 6, 8, 4), (5, 6, 8, 3))],
)  # fmt: skip
def test_shapes_of_arrays(shape, expected):
    assert as_clip(np.zeros(shape, np.uint8), fps=12).frames.shape == expected


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((6, 8), (1, 6, 8, 3)), ((1, 6, 8), (1, 6, 8, 3)), ((3, 6, 8), (1, 6, 8, 3)),
     ((4, 6, 8), (1, 6, 8, 3)), ((5, 3, 6, 8), (5, 6, 8, 3)), ((5, 1, 6, 8), (5, 6, 8, 3))],
)  # fmt: skip
def test_shapes_of_tensors(shape, expected):
    assert as_clip(torch.zeros(shape), fps=12).frames.shape == expected


def test_what_is_transparent_is_shown_on_white():
    clear = np.zeros((2, 2, 4))
    clear[0, :, 3] = 1
    for picture in (clear, Image.fromarray((clear * 255).astype(np.uint8))):
        assert as_clip(picture).frames[0, :, 0, 0].tolist() == [0, 255]


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "F", "I"]
)
def test_modes_of_pil_images(mode):
    picture = Image.new("RGB", (8, 6), "white").convert(mode)
    assert as_clip(picture).frames.shape == (1, 6, 8, 3)


def test_an_animated_image_is_a_clip_and_one_of_its_frames_a_picture(clip, tmp_path):
    write(clip, tmp_path / "clip.gif")
    with Image.open(tmp_path / "clip.gif") as picture:
        assert as_clip([picture]).num_frames == 1
        assert as_clip(picture).num_frames == 24


def test_paths_and_bytes_are_read(clip, tmp_path):
    path = clip.save(tmp_path / "clip.mp4")
    assert as_clip(path).num_frames == as_clip(str(path)).num_frames == 24
    assert as_clip(path.read_bytes()).fps == 12
    paths = [clip[k : k + 1].save(tmp_path / f"{k}.png") for k in range(3)]
    assert np.array_equal(as_clip(paths, fps=12).frames, clip.frames[:3])
    with pytest.raises(NotFound):
        as_clip(tmp_path / "nothing.mp4")


def test_a_clip_is_returned_as_it_is(clip):
    assert as_clip(clip, fps=30) is clip


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({}, "must be a path, a PIL image, a NumPy array, .* got dict"),
        (None, "got NoneType"),
        ([], "at least 1, got none"),
        (np.zeros((3, 6, 8), np.uint8), r"C in 1, 3, 4, got \(3, 6, 8\) \(channels come last\)"),
        (torch.zeros(6, 8, 3), r"\(C, H, W\) .* got \(6, 8, 3\) \(channels come first\)"),
        (np.zeros((2, 6, 8, 3)), r"fps must be given with 2 frames of a ndarray"),
        (np.full((6, 8), 255.0), "between 0 and 1, got 255 to 255"),
        (np.full((6, 8), -1.0), "between 0 and 1, got -1"),
        (np.full((6, 8), np.nan), "between 0 and 1, got nan"),
        (np.full((6, 8), 256), "between 0 and 255, got 256"),
        (np.array([["a"]]), "integers or floats"),
        (np.zeros((6, 8), complex), "integers or floats"),
        ([np.zeros((6, 8)), np.zeros((8, 6))], "one size, got 8x6 at 0 and 6x8 at 1"),
        ([np.zeros((2, 6, 8, 3))], "one picture, got 2 frames at 0"),
    ],
)
def test_what_is_no_picture_is_refused_in_a_sentence(value, message):
    with pytest.raises(RequestError, match=message):
        as_clip(value)


def test_masks_are_true_where_it_is_light(tmp_path):
    mask = np.zeros((6, 8), bool)
    mask[2:4, 3:5] = True
    grey = Image.fromarray(mask * np.uint8(255))
    grey.save(tmp_path / "mask.png")
    for form in (
        mask, mask * 1.0, mask * np.uint8(255), grey, grey.convert("1"), tmp_path / "mask.png",
        torch.from_numpy(mask), torch.from_numpy(mask)[None], [grey], as_clip(grey),
    ):  # fmt: skip
        assert np.array_equal(as_mask(form), mask[None])
    for form in (
        np.stack([mask] * 5),
        np.stack([mask * 1.0] * 5),
        torch.from_numpy(np.stack([mask] * 5)),
    ):
        assert as_mask(form).shape == (5, 6, 8)


@pytest.mark.parametrize(
    "value", ["128x96", (128, 96), [128, 96], Size(128, 96), np.array([128, 96])]
)
def test_sizes(value):
    assert Size.of(value) == Size(128, 96)


@pytest.mark.parametrize("value", [128, (128,), (128, 96.5), None, ("a", "b")])
def test_what_is_no_size_is_refused(value):
    with pytest.raises(RequestError, match="size must be 'WIDTHxHEIGHT'"):
        Size.of(value)


def test_a_short_repr(clip):
    assert repr(clip) == "Clip(24 frames of 8x6 at 12 fps, 'grey')"
    assert repr(clip[:1]) == "Clip(1 frame of 8x6, 'grey')"
    assert len(repr(Clip.from_frames(clip, caption="a " * 500))) < 120


def test_a_notebook_plays_a_clip_and_shows_a_picture(clip):
    page = clip._repr_html_()
    kind, data = re.search(
        r'<video [^>]*controls autoplay loop muted[^>]*src="data:([^;]*);base64,([^"]*)"', page
    ).groups()
    assert kind == "video/mp4" and read(base64.b64decode(data)).num_frames == 24
    page = clip[3:4]._repr_html_()
    data = re.fullmatch(r'<img width="\d+" src="data:image/png;base64,([^"]*)">', page)[1]
    assert np.array_equal(read(base64.b64decode(data)).frames, clip.frames[3:4])


def test_a_notebook_shows_large_clips_smaller():
    large = Clip(frames=np.zeros((2, 1080, 1920, 3), np.uint8), fps=24)
    data = re.search(r"base64,([^\"]*)", large._repr_html_())[1]
    assert read(base64.b64decode(data)).size == Size(512, 288)


def test_clips_need_no_torch(tmp_path):
    code = (
        "import sys, numpy as np; from worldtube.video import Clip\n"
        "clip = Clip.from_frames(np.zeros((3, 8, 8, 3)), fps=12); clip[1:].save(sys.argv[1]); clip._repr_html_()\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, tmp_path / "a.mp4"]).returncode == 0
