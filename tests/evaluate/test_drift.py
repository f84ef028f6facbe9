"""A clip that stays as it was passes; one that fades, blurs or loses its thing is caught."""

import json

import numpy as np
import pytest
from replay import Replay

from worldtube import reader
from worldtube.errors import RequestError
from worldtube.evaluate import drift
from worldtube.evaluate.adherence import of_truth
from worldtube.evaluate.drift import gone, lines_at_rest, looks, rows, summary
from worldtube.video import Size


@pytest.fixture(scope="module")
def resting():
    """A true picture of things at rest, and its facts."""
    worlds = pytest.importorskip("worldtube.worlds.tabletop", reason="needs the extra worlds")
    from worldtube.worlds.record import record

    seed = next(s for s in range(8_000_000, 8_001_000) if worlds.plan(s).template == "rest")
    clip, _, truth = record("tabletop", seed, Size(64, 64), num_frames=2)
    return clip.frames[:1].repeat(6, 0), of_truth(truth)


def test_looks_of_known_pictures() -> None:
    red = np.zeros((2, 8, 8, 3), np.uint8)
    red[..., 0] = 255
    told = looks(red)
    assert (told["red"], told["green"], told["saturation"]) == (1, 0, 1)
    assert told["red_contrast"] == told["sharpness"] == 0
    stripes = np.zeros((1, 8, 8, 3), np.uint8)
    stripes[:, :, ::2] = 255
    told = looks(stripes)
    assert told["blue_contrast"] == pytest.approx(0.5) and told["saturation"] == 0
    assert told["sharpness"] == pytest.approx(1)


def _fade(frames: np.ndarray) -> np.ndarray:
    return (frames * 0.8).astype(np.uint8)


def _flat(frames: np.ndarray) -> np.ndarray:
    middle = frames.mean((1, 2), keepdims=True)
    return (middle + 0.7 * (frames - middle)).astype(np.uint8)


def _grey(frames: np.ndarray) -> np.ndarray:
    return frames.mean(-1, keepdims=True).repeat(3, -1).astype(np.uint8)


def _blur(frames: np.ndarray) -> np.ndarray:
    wide = np.pad(frames.astype(float), ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    side = frames.shape[1]
    around = [wide[:, i : i + side, j : j + side] for i in range(3) for j in range(3)]
    return np.mean(around, 0).astype(np.uint8)


def _empty(frames: np.ndarray) -> np.ndarray:
    return frames[:, :4].mean((1, 2), keepdims=True).repeat(64, 1).repeat(64, 2).astype(np.uint8)


@pytest.mark.parametrize(
    ("fault", "what"),
    [
        (_fade, "mean_off"),
        (_flat, "contrast_off"),
        (_grey, "saturation_off"),
        (_blur, "sharpness_off"),
        (_empty, "lost"),
    ],
)
def test_every_statistic_catches_its_fault(resting, fault, what: str) -> None:
    frames, line = resting
    told = rows(reader.load(), line, [frames, frames, fault(frames)], 12.0)
    assert told[1][what] == 0
    assert told[2][what] > drift.BOUNDS[what]
    result = summary({"latents": [told], "encoded_again": [told]})
    assert not result["passes"] and result["largest"][what]["latents"] == told[2][what]


def test_gone_is_a_distance_from_the_first() -> None:
    dark, light = (looks(np.full((1, 8, 8, 3), grey, np.uint8)) for grey in (51, 102))
    assert gone(dark, dark) == dict.fromkeys(list(drift.BOUNDS)[:4], 0)
    assert gone(dark, light)["mean_off"] == pytest.approx(0.2)


def _prompts(path, line):
    path.write_text(json.dumps({"prompt": "scene", "facts": list(line.facts)}))
    return path


def test_a_clip_that_stays_passes(tmp_path, resting, monkeypatch) -> None:
    monkeypatch.setattr(drift, "HOPS", 2)
    frames, line = resting
    told = []
    model = Replay({"scene": frames})
    result = drift.measure(
        model,
        prompts=_prompts(tmp_path / "p.jsonl", line),
        progress=lambda done, total: told.append((done, total)),
    )
    assert result["passes"] and told[-1] == (5, 5)
    assert list(result["latents"]) == list(result["encoded_again"]) == ["0", "1", "2"]
    assert result["latents"]["2"]["named"] == 1
    # Only what is encoded again between hops goes through the codec: 24 frames, then 48.
    assert model.encoded == 24 + 48
    json.dumps(result)


def test_a_clip_that_fades_fails(tmp_path, resting, monkeypatch) -> None:
    monkeypatch.setattr(drift, "HOPS", 2)
    frames, line = resting
    fading = np.concatenate([frames[:1].repeat(24, 0), _fade(frames)[:1].repeat(60, 0)])
    result = drift.measure(
        Replay({"scene": fading}), prompts=_prompts(tmp_path / "p.jsonl", line), count=1
    )
    assert not result["passes"]
    assert result["largest"]["mean_off"]["latents"] > drift.BOUNDS["mean_off"]


def test_the_usual_prompts_are_of_things_at_rest() -> None:
    lines = lines_at_rest()
    assert len(lines) >= drift.USUAL
    assert all(fact["motion"] == "rest" for line in lines for fact in line.facts)
    with pytest.raises(RequestError, match="count 0"):
        drift.measure(Replay({"x": np.zeros((1, 64, 64, 3), np.uint8)}), count=0)
