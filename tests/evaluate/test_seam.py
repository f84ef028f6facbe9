"""Seams lie where the request says; a true clip has none, and a jump, a black frame or a kink is caught."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from replay import Replay

from worldtube import reader
from worldtube.errors import RequestError
from worldtube.evaluate import seam
from worldtube.evaluate.seam import Crossing, crossing, follow, loop_point, requests, seams
from worldtube.generate import engine
from worldtube.generate.tasks import TASKS
from worldtube.models.gaussian import GaussianModel
from worldtube.video import Clip, Size

SEED = 8_000_000


def _ball(places: list[tuple[float, float]]) -> np.ndarray:
    """A red ball at these places on a grey table."""
    y, x = np.mgrid[:64, :64]
    frames = np.full((len(places), 64, 64, 3), (170, 160, 150), np.uint8)
    frames[:, :20] = (200, 210, 225)
    for frame, (left, top) in zip(frames, places, strict=True):
        far = ((x - left) ** 2 + (y - top) ** 2) / 49
        light = np.clip(1.1 - 0.5 * far, 0, 1)[..., None]
        frame[far < 1] = (light * (215, 35, 35))[far < 1].astype(np.uint8)
    return frames


STEADY = [(14.0 + 1.2 * t, 40.0) for t in range(25)]


@pytest.fixture(scope="module")
def eyes():
    return reader.load()


def test_seams_are_those_of_the_given_lengths() -> None:
    clip = Clip(frames=np.zeros((13, 64, 64, 3), np.uint8), fps=12.0)
    longer = Clip(frames=np.zeros((21, 64, 64, 3), np.uint8), fps=12.0)
    assert seams(TASKS["extend"](clip)) == [13]
    assert seams(TASKS["extend"](clip, backward=True)) == [24]
    assert seams(TASKS["loop"](clip)) == [13, 0]
    assert seams(TASKS["connect"](clip, longer)) == [13, 25]
    assert seams(TASKS["generate"]("a ball")) == []


def test_the_requests_of_the_measure_lie_on_the_true_clip() -> None:
    clip = Clip(frames=np.arange(37, dtype=np.uint8)[:, None, None, None].repeat(3, 3), fps=12.0)
    for name, request in requests(clip, "a ball", 1).items():
        known = seam.given_frames(request)
        for given in request.given:
            if given.at != "end":
                at = given.at % len(known)
                assert given.clip.frames[0, 0, 0, 0] == at, name
    assert list(requests(clip, "a ball", 1)) == ["extend", "extend backward", "loop", "connect"]


def test_a_steady_motion_has_no_seam(eyes) -> None:
    frames = _ball(STEADY)
    told = crossing(frames, follow(eyes, frames), 12)
    assert told.followed == (True,)
    assert told.velocity[0] < 0.3 and told.jump[0] < 0.5
    assert told.velocity_moving == told.velocity


@pytest.mark.parametrize(
    ("places", "what", "least"),
    [
        ([*STEADY[:12], *[(x + 5, y) for x, y in STEADY[12:]]], "jump", 4),
        ([*STEADY[:12], *[STEADY[12]] * 13], "velocity", 1),
        ([*STEADY[:12], *STEADY[12:0:-1], STEADY[0]], "velocity", 2),
    ],
    ids=["jump", "stop", "turn"],
)
def test_a_broken_motion_is_caught(eyes, places, what: str, least: float) -> None:
    frames = _ball(places)
    assert getattr(crossing(frames, follow(eyes, frames), 12), what)[0] >= least


def test_a_thing_that_is_gone_after_a_seam_is_caught(eyes) -> None:
    frames = _ball(STEADY)
    frames[12:] = _ball([(-20.0, -20.0)])[0]
    assert crossing(frames, follow(eyes, frames), 12).followed == (False,)


def test_a_loop_point_is_looked_at_in_a_circle(eyes) -> None:
    there = [(20.0 + t, 40.0) for t in range(12)]
    assert loop_point(eyes, _ball(there + there[::-1])).difference[0] == 0
    broken = loop_point(eyes, _ball(there))
    assert broken.difference[0] > 0.01
    assert not broken.followed[0] or broken.jump[0] > 4


@pytest.fixture(scope="module")
def true():
    record = pytest.importorskip("worldtube.worlds.record", reason="needs the extra worlds").record
    clip, captions, _ = record("tabletop", SEED, Size(64, 64), num_frames=seam.NUM_FRAMES)
    return captions["medium"], clip.frames


def test_a_model_that_knows_the_truth_passes(true) -> None:
    words, frames = true
    told = []
    result = seam.measure(
        Replay({words: frames}), count=1, progress=lambda done, total: told.append((done, total))
    )
    assert told == [(1, 1)]
    for name in ("extend", "extend backward", "connect"):
        for what in ("difference", "velocity", "jump"):
            assert result[what][name]["ratio"] == pytest.approx(1, abs=0.02), (what, name)
    assert result["followed"]["extend"]["made"] == result["followed"]["extend"]["true"]
    json.dumps(result)


def test_black_frames_after_a_seam_fail(true) -> None:
    words, frames = true
    result = seam.measure(Replay({words: np.zeros_like(frames)}), count=1)
    assert not result["passes"] and result["largest_ratio"] > 2 * seam.BAR
    for name in ("extend", "extend backward", "loop", "loop point", "connect"):
        assert result["difference"][name]["ratio"] > seam.BAR, name
    assert result["followed"]["extend"]["made"] == 0


def test_things_that_are_lost_fail_whatever_the_others_do() -> None:
    whole = Crossing(
        difference=(0.01,), velocity=(0.2,), velocity_moving=(), jump=(0.2,), followed=(True,) * 4
    )
    kinds = {"made": [whole], "true": [whole], "coded": [whole], "inside": []}
    assert seam.summary({"extend": kinds})["passes"]
    lossy = replace(whole, followed=(True, True, True, False))
    result = seam.summary({"extend": kinds | {"made": [lossy]}})
    assert result["largest_ratio"] == 1 and not result["passes"]


def test_it_refuses_what_it_cannot_use(tmp_path) -> None:
    with pytest.raises(RequestError, match="no prompts"):
        seam.measure(Replay({"x": np.zeros((1, 64, 64, 3), np.uint8)}), prompts=tmp_path)
    with pytest.raises(RequestError, match="count 0"):
        seam.measure(Replay({"x": np.zeros((1, 64, 64, 3), np.uint8)}), count=0)


@pytest.mark.parametrize("name", ["extend", "extend backward", "loop", "connect"])
def test_the_engine_itself_leaves_no_seam(name) -> None:
    """On the model whose answers are exact, parts of its own true clips: what is at a seam is what is everywhere."""
    model, count = GaussianModel(), 300
    place = model.layout(model.grid(Size(1, 1), seam.NUM_FRAMES, model.fps)).positions
    root = torch.linalg.cholesky(model.covariance(place)).float()
    generator = torch.Generator().manual_seed(0)
    drawn = [root @ torch.randn(seam.NUM_FRAMES, 3, generator=generator) for _ in range(count)]
    show = model.decoder(model.grid(Size(1, 1), seam.NUM_FRAMES, model.fps))
    clips = [Clip(frames=show(values), fps=model.fps) for values in drawn]
    asked = [replace(requests(c, "", i)[name], guidance=1.0) for i, c in enumerate(clips)]
    total = asked[0].num_frames
    made = torch.stack(engine.sample(model, asked)[1])  # (count, n, 3)
    if name == "loop":  # round and round: what was made, and then the first frames again
        made = torch.cat([made[:, :total], made[:, :2]], dim=1)
    speed, true = made.diff(dim=1), torch.stack(drawn).diff(dim=1)  # (count, n - 1, 3)
    places = seams(asked[0])
    assert len(places) == {"extend": 1, "extend backward": 1}.get(name, 2)
    for at in (one or total for one in places):
        assert 0.85 < speed[:, at - 1].abs().mean() / true.abs().mean() < 1.15
        turn = speed[:, at] - speed[:, at - 1]
        assert 0.85 < turn.abs().mean() / true.diff(dim=1).abs().mean() < 1.15
