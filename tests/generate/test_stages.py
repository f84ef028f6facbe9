"""State first, with parts of random weights: shapes, seeds, batches, chunks, and either half replaced."""

import numpy as np
import pytest
import torch

from worldtube.dynamics import Dynamics, DynamicsConfig
from worldtube.errors import RequestError
from worldtube.generate import stages
from worldtube.generate.plan import planner_config
from worldtube.models.local import embedded_path, load_codec
from worldtube.renderer import Renderer, RendererConfig
from worldtube.state import State
from worldtube.text.encoder import TextEncoder
from worldtube.transformer import Transformer
from worldtube.video import Size


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    planner = Transformer(planner_config(width=32, depth=1, head_width=16, hidden=32, text_depth=1))
    with torch.no_grad():
        for p in planner.parameters():
            p.add_(0.05 * torch.randn_like(p))
        planner.track_out["objects"].bias[0] = 3.0  # objects exist
    codec, _ = load_codec(embedded_path())
    return stages.StateModel(
        name="random",
        planner=planner.eval(),
        dynamics=Dynamics(DynamicsConfig(width=32, point_width=16)).eval(),
        renderer=Renderer(RendererConfig(width=32, pair_hidden=32, depth=1)).eval(),
        codec=codec,
        text=TextEncoder(),
    )


def test_states_have_the_length_that_was_asked_for(model):
    for num_frames in (1, 7, 30):
        state = stages.make_states(
            model, ["a red ball"], seeds=[1], num_frames=num_frames, steps=3
        )[0]
        assert state.num_frames == num_frames == len(state.camera)
        assert all(np.isfinite(values).all() for values in vars(state.poses).values())


def test_a_state_depends_on_its_own_seed_alone(model):
    prompts = ["a red ball", "a blue box falls", "a cup"]
    together = stages.make_states(model, prompts, seeds=[1, 2, 3], num_frames=5, steps=3)
    alone = stages.make_states(model, prompts[1:2], seeds=[2], num_frames=5, steps=3)[0]
    names = [
        [(b.shape, b.colour, b.material) for b in state.bodies] for state in (alone, together[1])
    ]
    assert names[0] == names[1]
    np.testing.assert_allclose(together[1].poses.positions, alone.poses.positions, atol=1e-3)


def test_pictures_of_a_state_whatever_the_chunks(model, monkeypatch):
    state = stages.make_states(model, ["a red ball"], seeds=[1], num_frames=11, steps=3)[0]
    whole = np.concatenate(list(stages.draw_state(model, state, Size(48, 32))))
    assert whole.shape == (11, 32, 48, 3)
    assert whole.dtype == np.uint8
    monkeypatch.setattr(stages, "LATENTS_AT_ONCE", 1)
    parts = list(stages.draw_state(model, state, Size(48, 32)))
    assert len(parts) > 2
    assert np.abs(np.concatenate(parts).astype(int) - whole).max() <= 1


def test_an_edited_state_is_drawn_from_its_json(model):
    state = stages.make_states(model, ["a red ball"], seeds=[1], num_frames=5, steps=3)[0]
    data = state.to_json()
    data["bodies"] = data["bodies"][:1]
    data["bodies"][0]["colour"] = "green"
    frames = np.concatenate(list(stages.draw_state(model, State.from_json(data), Size(32, 32))))
    assert frames.shape == (5, 32, 32, 3)


def test_physics_may_be_an_engine(model):
    pytest.importorskip("mujoco", reason="the worlds extra is not installed")
    from worldtube.worlds.tabletop.physics import continue_state

    state = stages.make_states(
        model,
        ["a red ball"],
        seeds=[1],
        num_frames=6,
        steps=3,
        physics=lambda start, count: continue_state(start, count)[0],
    )[0]
    assert state.num_frames == 6


def test_wrong_values_are_named(model):
    with pytest.raises(RequestError, match="num_frames must be at least 1, got 0"):
        stages.make_states(model, ["a"], seeds=[1], num_frames=0)
    state = stages.make_states(model, ["a red ball"], seeds=[1], num_frames=1, steps=3)[0]
    with pytest.raises(RequestError, match="size must be a multiple of 8x8, got 33x32"):
        list(stages.draw_state(model, state, Size(33, 32)))
