"""State first, random networks after the plan, through the engine: sizes, seeds, batches, shots, engines as halves."""

import json
from dataclasses import replace

import numpy as np
import pytest
from random_model import random_model

from worldtube import models
from worldtube.errors import DataError, RequestError
from worldtube.generate import TASKS, Request, engine
from worldtube.generate.compose import result_shape
from worldtube.generate.prompts import prepare_prompts
from worldtube.generate.session import Session
from worldtube.models.local import embedded_path
from worldtube.state import read_state
from worldtube.video import Size

SIZE = Size(48, 32)


@pytest.fixture(scope="module")
def model():
    return random_model()


@pytest.fixture(scope="module")
def session(model):
    return Session(model)


def look(state):
    """What lasts of a state: its bodies' looks and the surroundings."""
    bodies = sorted((b.shape, b.colour, b.material, b.size) for b in state.bodies)
    return bodies, state.surroundings.ground, state.surroundings.sky


def test_frames_and_states_have_the_length_that_was_asked_for(model):
    for frames in (1, 7, 30):
        request = Request(prompt="a red ball", num_frames=frames, size=SIZE)
        clip = engine.generate(model, [request])[0]
        assert clip.frames.shape == (frames, 32, 48, 3)
        assert clip.state.num_frames == frames == len(clip.state.camera)
        assert all(np.isfinite(values).all() for values in vars(clip.state.poses).values())


def test_the_native_size_is_that_of_states_and_without_them_that_of_the_network(model):
    request = Request(prompt="a red ball")
    assert result_shape(model, request).size == model.state_size == Size(128, 128)
    old = Request(prompt="a red ball", no_state=True)
    assert result_shape(model, old).size == model.size == Size(64, 64)


def test_without_engines_prompts_about_water_are_made_from_words_alone(model, monkeypatch):
    monkeypatch.setattr("worldtube.worlds.have_engines", lambda: False)
    for prompt in ("pour water into a glass", "a ball knocks over a cup and the water spills"):
        assert not model.covers(prompt)
        assert result_shape(model, Request(prompt=prompt)).size == model.size
        _, warnings = prepare_prompts(model, Request(prompt=prompt))
        assert any("pip install 'worldtube[worlds]'" in warning for warning in warnings)
    assert model.covers("a red ball rolls to the right") and model.covers("two cups on a table")


def test_a_clip_depends_on_its_own_seed_alone(model):
    prompts = ["a red ball", "a blue box falls", "a cup"]
    requests = [
        Request(prompt=prompt, seed=seed, num_frames=5, size=SIZE)
        for seed, prompt in enumerate(prompts)
    ]
    together = engine.generate(model, requests, batch=3)[1]
    alone = engine.generate(model, requests[1:2])[0]
    assert look(together.state) == look(alone.state)
    np.testing.assert_allclose(
        together.state.poses.positions, alone.state.poses.positions, atol=1e-3
    )
    assert np.abs(together.frames.astype(int) - alone.frames).max() <= 2


def test_other_frame_rates_show_the_same_motion(model):
    slow, fast = (
        engine.generate(model, [Request(prompt="a ball", num_frames=n, fps=fps, size=SIZE)])[0]
        for n, fps in ((9, 12), (17, 24))
    )
    np.testing.assert_allclose(
        fast.state.poses.positions[::2], slow.state.poses.positions, atol=1e-5
    )


def test_streamed_equals_whole_and_tells_of_all_its_work(model):
    told = []
    request = Request(prompt="a red ball", num_frames=21, size=SIZE)
    whole = engine.generate(model, [request], progress=lambda *at: told.append(at))[0]
    assert told == [(k, 1 + 6) for k in range(1, 8)]  # a plan and six latent frames
    blocks = list(engine.stream(model, request))
    np.testing.assert_array_equal(np.concatenate(blocks), whole.frames)


def test_a_clip_goes_on_from_its_state(session):
    clip = session.generate("a red ball", num_frames=9, size=SIZE)
    for frames in (15, 21):  # 15 frames hold no whole number of latent frames
        longer = session.extend(clip, seconds=0.5)
        assert longer.num_frames == frames == longer.state.num_frames
        assert longer.size == SIZE
        before = clip.num_frames
        assert np.abs(longer.frames[:before].astype(int) - clip.frames).max() <= 1
        np.testing.assert_allclose(
            longer.state.poses.positions[:before], clip.state.poses.positions, atol=1e-6
        )
        clip = longer


def test_other_frames_have_no_state(session):
    clip = session.generate("a red ball", num_frames=5, size=SIZE)
    other = replace(clip, frames=255 - clip.frames)
    assert clip.state is not None and other.state is None and other.tokens is None


def test_shots_keep_what_there_is(model):
    request = TASKS["storyboard"]("a red ball", "the ball again", seconds=0.5, size=SIZE, seed=3)
    clip = engine.generate(model, [request])[0]
    assert len(clip.states) == 2 and clip.state is None
    first, second = clip.states
    there = look(first)[0]
    assert all(body in look(second)[0] for body in there)
    assert look(first)[1:] == look(second)[1:]
    assert not np.allclose(first.poses.positions[0], second.poses.positions[0][: len(there)])


def test_an_edited_state_is_drawn_again(session, tmp_path):
    clip = session.generate("a red ball", num_frames=5, size=SIZE)
    clip.state.save(tmp_path / "state.json")
    data = json.loads((tmp_path / "state.json").read_text())
    data["bodies"] = data["bodies"][:1]
    data["bodies"][0]["colour"] = "green"
    (tmp_path / "edited.json").write_text(json.dumps(data))
    again = session.reproduce(tmp_path / "edited.json", size=SIZE)
    assert again.num_frames == 5
    assert [body.colour for body in again.state.bodies] == ["green"]
    longer = session.reproduce(data, seconds=1, size=SIZE)
    assert longer.num_frames == 13 == longer.state.num_frames
    same = session.reproduce(clip.state, size=SIZE)
    assert np.abs(same.frames.astype(int) - clip.frames).max() <= 1
    assert read_state(tmp_path / "state.json").num_frames == 5


@pytest.mark.parametrize("fps", [12, 24])
def test_what_only_begins_goes_on_for_as_long_as_its_camera(session, fps):
    state = session.generate("a red ball", num_frames=9, fps=fps, size=SIZE).state
    turned = state.camera.positions + np.arange(9, dtype=np.float32)[:, None] / 10
    camera = replace(state.camera, positions=turned)
    again = session.reproduce(replace(state, poses=state.poses[:1], camera=camera), size=SIZE)
    assert again.state.num_frames == 9
    np.testing.assert_allclose(again.state.camera.positions, turned, atol=1e-5)
    np.testing.assert_allclose(again.state.poses.positions, state.poses.positions, atol=1e-5)


def test_slices_keep_their_states(model):
    clip = engine.generate(model, [Request(prompt="a red ball", num_frames=9, size=SIZE)])[0]
    part = clip[2:7]
    np.testing.assert_array_equal(part.state.poses.positions, clip.state.poses.positions[2:7])
    half = clip[::2]
    assert half.state.num_frames == 5 and half.state.fps == clip.fps / 2
    np.testing.assert_allclose(
        half.state.poses.positions, clip.state.poses.positions[::2], atol=1e-6
    )
    assert clip[::-1].state is None


def test_either_half_may_be_an_engine(session):
    pytest.importorskip("mujoco", reason="the worlds extra is not installed")
    options = {"num_frames": 6, "size": SIZE, "seed": 1}
    clip = session.generate("a red ball", **options)
    moved = session.generate("a red ball", physics="engine", **options)
    assert look(moved.state) == look(clip.state)
    drawn = session.generate("a red ball", renderer="engine", **options)
    np.testing.assert_allclose(drawn.state.poses.positions, clip.state.poses.positions, atol=1e-6)
    assert drawn.frames.shape == clip.frames.shape and drawn.tokens is None
    from worldtube.worlds.tabletop.drawing import draw

    np.testing.assert_array_equal(drawn.frames, draw(drawn.state, SIZE).rgb)


def test_water_is_moved_and_drawn_by_its_engine(session, monkeypatch):
    pytest.importorskip("mujoco", reason="the worlds extra is not installed")
    from worldtube.codec.water import encode_water_plan
    from worldtube.generate import stages
    from worldtube.worlds.pour.engine import simulate
    from worldtube.worlds.pour.plan import plan

    truth, _ = simulate(plan(8_000_003), num_frames=5)
    tokens, water = encode_water_plan(truth, 4)
    told = replace(tokens, water=water)
    monkeypatch.setattr(
        stages, "sample_plans", lambda _, __, prompts, **options: [told] * len(prompts)
    )
    clip = session.generate("a cup is knocked over", num_frames=5, size=SIZE)
    assert clip.frames.shape == (5, 32, 48, 3) and clip.tokens is None
    held = clip.state.water.held_volumes[:, 0]
    np.testing.assert_allclose(held, truth.water.held_volumes[:, 0], rtol=0.03)
    fast = session.generate("a cup is knocked over", num_frames=9, fps=24, size=SIZE)
    assert fast.state.fps == 24 and fast.state.num_frames == 9
    assert TASKS["extend"](clip, seconds=0.5).state is None  # words and pictures go on with it
    with pytest.raises(
        RequestError, match="a state with water must hold all frames of its clip, 13"
    ):
        session.reproduce(clip.state, seconds=1, size=SIZE)
    monkeypatch.setattr(stages.worlds, "have_engines", lambda: False)
    dry = session.generate("a red ball", num_frames=5, size=SIZE)
    assert dry.state.water is None


def test_wrong_requests_end_in_a_sentence(session, model):
    with pytest.raises(RequestError, match="physics 'magic'"):
        session.generate("a ball", physics="magic")
    with pytest.raises(DataError, match="is not a state file"):
        session.reproduce("nowhere.json")
    without = models.load(embedded_path(), dtype="float32")
    without.abilities = without.abilities - {"state"}
    with pytest.raises(RequestError, match="its weights cannot know the physical state"):
        Session(without).generate("a ball", renderer="engine")
    state = session.generate("a ball", num_frames=1, size=SIZE).state
    with pytest.raises(RequestError, match="its weights cannot know the physical state"):
        Session(without).reproduce(state)
    with pytest.raises(RequestError, match="state and no_state exclude each other"):
        session.reproduce(state, no_state=True)
