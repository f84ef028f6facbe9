"""Plans by diffusion: their own seed decides, whatever the batch; training resumes to the bit and learns."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from worldtube.errors import RequestError
from worldtube.generate.plan import plan_layout, planner_config, sample_plans
from worldtube.models.parts import load_part, save_part
from worldtube.text.encoder import TextEncoder
from worldtube.transformer import Transformer

SMALL = planner_config(width=32, depth=1, head_width=16, hidden=32, text_depth=1)


@pytest.fixture(scope="module")
def planner():
    torch.manual_seed(0)
    model = Transformer(SMALL)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.05 * torch.randn_like(p))
    return model.eval()


def test_a_plan_is_one_row_of_objects_a_scene_and_water():
    layout = plan_layout(SMALL)
    assert layout.lengths == (6,)
    assert len(layout.spans) == 2
    older = replace(SMALL, tracks=SMALL.tracks[:2])  # a network that knows of no water
    torch.manual_seed(0)
    plan = sample_plans(Transformer(older).eval(), TextEncoder(), ["a cup"], seeds=(1,), steps=2)[0]
    assert plan.water is None and plan.objects.shape[0] == 4


def test_a_plan_depends_on_its_own_seed_alone(planner):
    encoder, prompts = TextEncoder(), ["a red ball rolls", "two blue boxes", "a cup"]
    together = sample_plans(planner, encoder, prompts, seeds=(3, 4, 5), steps=4)
    alone = sample_plans(planner, encoder, prompts[1:2], seeds=(4,), steps=4)[0]
    np.testing.assert_allclose(together[1].objects, alone.objects, atol=1e-4)
    np.testing.assert_allclose(together[1].scene, alone.scene, atol=1e-4)
    other = sample_plans(planner, encoder, prompts[1:2], seeds=(5,), steps=4)[0]
    assert np.abs(other.objects - alone.objects).max() > 0.1


def test_guidance_of_one_is_the_conditional_plan(planner):
    encoder = TextEncoder()
    one, none = (
        sample_plans(
            planner, encoder, ["a cup"], seeds=(1,), steps=3, guidance=g, guidance_interval=i
        )[0]
        for g, i in ((1.0, (0.0, 1.0)), (5.0, (2.0, 3.0)))
    )
    np.testing.assert_allclose(one.objects, none.objects, atol=1e-5)


def test_wrong_values_are_named(planner):
    with pytest.raises(RequestError, match="seeds must be 1, one per prompt, got 2"):
        sample_plans(planner, TextEncoder(), ["a"], seeds=(1, 2))
    with pytest.raises(RequestError, match=r"sampler must be one of .*, got 'magic'"):
        sample_plans(planner, TextEncoder(), ["a"], seeds=(1,), sampler="magic")


def test_training_resumes_to_the_bit_and_learns(tmp_path):
    pytest.importorskip("mujoco", reason="the worlds extra is not installed")
    from worldtube.train import plans
    from worldtube.train.planner import PlannerTrainConfig, measure, train_planner
    from worldtube.train.run import RunConfig

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plans, "CHUNK", 4)
        plans.make_plans(tmp_path / "plans", range(8))
    data = plans.Plans.read(tmp_path / "plans")
    assert len(data) == 8 * plans.LOOKS
    config = PlannerTrainConfig(
        model=SMALL,
        run=RunConfig(steps=24, warmup=4, validate_every=24, log_every=1),
        batch=4,
        noises=2,
        level_spread=0.0,  # losses of one level can be compared
    )
    losses = []
    whole = train_planner(
        config, data, tmp_path / "whole", progress=lambda s, n, x: losses.append(x["loss"])
    )
    stops = iter([False] * 9 + [True])
    train_planner(config, data, tmp_path / "parts", until=lambda: next(stops))
    parts = train_planner(config, data, tmp_path / "parts")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, parts.state_dict()[name]), name
    assert np.mean(losses[-6:]) < np.mean(losses[:6])
    assert set(measure(whole, data, count=4)) == {"colour_shape", "count", "size"}
    save_part("planner", whole.config, whole.state_dict(), tmp_path / "p.safetensors")
    assert load_part("planner", tmp_path / "p.safetensors").config == SMALL


def test_the_measure_is_full_on_true_plans(tmp_path, monkeypatch):
    pytest.importorskip("mujoco", reason="the worlds extra is not installed")
    from worldtube.train import planner, plans

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plans, "CHUNK", 6)
        plans.make_plans(tmp_path / "plans", range(8_000_000, 8_000_006))
    data = plans.Plans.read(tmp_path / "plans")
    items = np.linspace(0, len(data) - 1, 20).astype(int)

    def answer(model, encoder, captions, *, seeds):
        return [planner.true_tokens(data, i) for i in items]

    monkeypatch.setattr(planner, "sample_plans", answer)
    assert planner.measure(Transformer(SMALL), data, count=20) == {
        "colour_shape": 1.0,
        "count": 1.0,
        "size": 1.0,
    }

    def shuffled(model, encoder, captions, *, seeds):
        return [planner.true_tokens(data, i) for i in np.roll(items, 7)]

    monkeypatch.setattr(planner, "sample_plans", shuffled)
    assert planner.measure(Transformer(SMALL), data, count=20)["colour_shape"] < 0.5
