from fractions import Fraction

import av
import numpy as np
import pytest

from worldtube import video
from worldtube.errors import RequestError
from worldtube.video import Clip, Sound, retime


def tone(rate: int, seconds: float = 1.0, channels: int = 1, pitch: float = 440.0) -> Sound:
    wave = np.sin(2 * np.pi * pitch * np.arange(round(rate * seconds)) / rate)
    return Sound(samples=np.tile(wave[:, None], channels).astype(np.float32), rate=rate)


@pytest.mark.parametrize("rate", [8000, 22050, 48000])
def test_resampling_keeps_a_tone(rate):
    result = tone(44100).resample(rate)
    assert result.rate == rate and len(result.samples) == rate
    inside = slice(200, -200)
    assert np.abs(result.samples[inside] - tone(rate).samples[inside]).max() < 1e-3


def test_resampling_down_removes_what_the_lower_rate_cannot_hold():
    high = tone(48000, pitch=15000).resample(16000)
    assert np.abs(high.samples[200:-200]).max() < 0.01


def test_cut_and_pad_are_exact():
    sound = tone(1000)
    part = sound.cut(0.25, 0.5)
    assert np.array_equal(part.samples, sound.samples[250:750])
    longer = part.pad(0.75)
    assert len(longer.samples) == 750 and not longer.samples[500:].any()
    assert np.array_equal(longer.samples[:500], part.samples)


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1), (6, 2), (2, 6), (2, 2)])
def test_mixing_gives_the_number_of_channels(before, after):
    sound = tone(1000, channels=before).mix(after)
    assert sound.samples.shape == (1000, after) and sound.samples.dtype == np.float32
    assert np.abs(sound.samples[:, 0] - tone(1000).samples[:, 0]).max() < 1e-6


def test_a_clip_at_another_rate_keeps_its_sound():
    clip = Clip(frames=np.zeros((12, 4, 4, 3), np.uint8), fps=12, sound=tone(8000))
    assert retime(clip, 30).sound is clip.sound


@pytest.mark.parametrize(
    ("samples", "rate", "message"),
    [
        (np.zeros((5, 1)), 8000, "float32 numpy array, got float64"),
        (np.zeros(5, np.float32), 8000, r"got \(5,\)"),
        (np.zeros((5, 1), np.float32), 0, "between 1 and 768000 Hz, got 0"),
    ],
)
def test_wrong_samples_are_refused(samples, rate, message):
    with pytest.raises(RequestError, match=message):
        Sound(samples=samples, rate=rate)


def clicks(rate: int, times: tuple[float, ...], channels: int = 2, seconds: float = 2.0) -> Sound:
    clock = np.arange(round(rate * seconds)) / rate
    wave = sum(
        0.5 * np.exp(-(((clock - at) / 0.003) ** 2)) * np.cos(6000 * (clock - at)) for at in times
    )
    return Sound(samples=np.tile(wave[:, None], channels).astype(np.float32), rate=rate)


def moving(num_frames: int = 24, fps: float = 12.0, sound: Sound | None = None) -> Clip:
    frames = np.zeros((num_frames, 32, 48, 3), np.uint8)
    for k in range(num_frames):
        frames[k, :, k % 48 : k % 48 + 8] = 200
    return Clip(frames=frames, fps=fps, sound=sound)


@pytest.mark.parametrize("format", ["mp4", "mov", "webm"])
@pytest.mark.parametrize("rate", [22050, 44100, 48000])
def test_sound_comes_back_at_its_place(tmp_path, format, rate):
    sound = clicks(rate, (0.2, 0.9, 1.5))
    path = tmp_path / f"clip.{format}"
    video.write(moving(sound=sound), path)
    found = video.read(path).sound
    assert found is not None and found.seconds == pytest.approx(2.0, abs=1e-3)
    found = found.resample(rate).pad(2.0)
    assert np.abs(found.samples - sound.samples).max() < 0.02


def test_lossless_sound_is_equal_to_the_sixteenth_bit(tmp_path):
    sound = clicks(44100, (0.2, 0.9))
    rounded = Sound(samples=np.round(sound.samples * 2**15).astype(np.float32) / 2**15, rate=44100)
    video.write(moving(sound=rounded), tmp_path / "clip.mp4", lossless=True)
    found = video.read(tmp_path / "clip.mp4")
    assert np.array_equal(found.sound.samples, rounded.samples)
    assert np.array_equal(found.frames, moving().frames)


def test_blocks_are_written_with_their_sound_and_not_beyond_the_last_frame(tmp_path):
    clip, sound = moving(), clicks(48000, (0.5, 1.5), seconds=3.0)
    blocks = (clip.frames[k : k + 5] for k in range(0, 24, 5))
    count = video.write_blocks(tmp_path / "clip.mp4", blocks, fps=12.0, sound=sound)
    found = video.read(tmp_path / "clip.mp4")
    assert count == found.num_frames == 24
    assert np.abs(found.sound.samples - sound.samples[: 2 * 48000]).max() < 0.02


def test_sound_that_begins_late_keeps_its_place(tmp_path):
    path = tmp_path / "late.mkv"
    with av.open(str(path), "w") as output:
        pictures = output.add_stream("libx264", rate=12)
        pictures.width, pictures.height, pictures.pix_fmt = 48, 32, "yuv420p"
        audio = output.add_stream("flac", rate=8000, layout="mono")
        for frame in moving().frames:
            output.mux(pictures.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        output.mux(pictures.encode(None))
        wave = np.full((1, 4000), 8192, np.int16)
        frame = av.AudioFrame.from_ndarray(wave, format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 8000, 8000, Fraction(1, 8000)
        output.mux(audio.encode(frame))
        output.mux(audio.encode(None))
    sound = video.read(path).sound
    loud = np.flatnonzero(np.abs(sound.samples[:, 0]) > 0.1)
    assert (
        abs(loud[0] - 8000) <= 8 and abs(loud[-1] - 11999) <= 8
    )  # a Matroska clock counts milliseconds
    assert len(sound.samples) == 16000


def test_a_file_without_sound_gives_none(tmp_path):
    video.write(moving(), tmp_path / "clip.mp4")
    assert video.read(tmp_path / "clip.mp4").sound is None
