import numpy as np
import pytest

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
