"""The learned renderer: what it reads is exact, items do not see each other, sizes are free, training resumes."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from worldtube.errors import DataError
from worldtube.models.parts import load_part, save_part
from worldtube.renderer import Renderer, RendererConfig, Scenes
from worldtube.renderer.features import cell_width, compute_features, pair_width
from worldtube.renderer.ground import look_up

pytest.importorskip("mujoco", reason="the worlds extra is not installed")

from worldtube.worlds.tabletop.engine import simulate
from worldtube.worlds.tabletop.plan import plan


@pytest.fixture(scope="module")
def states():
    return [simulate(plan(seed), num_frames=5)[0] for seed in (1, 3, 8)]


@pytest.fixture(scope="module")
def items(states):
    return Scenes.concat([Scenes.from_state(state, stride=4) for state in states])


def small(seed: int = 0) -> Renderer:
    torch.manual_seed(seed)
    model = Renderer(RendererConfig(width=32, pair_hidden=32, depth=1))
    with torch.no_grad():
        for module in model.modules():
            if hasattr(module, "kernel"):
                module.kernel.weight.normal_(std=0.1)
        model.blocks["occlusion"].outer.weight.normal_(std=0.1)
    return model


def test_an_item_per_latent_frame(states, items):
    assert len(items) == 6
    assert items.first.tolist() == [True, False] * 3
    first = torch.from_numpy(states[0].poses.positions)
    k = first.shape[1]
    assert torch.equal(items.position[0, :k], first[0, :, None].expand(-1, 4, -1))
    assert torch.equal(items.position[1, :k], first[1:5].transpose(0, 1))
    assert items.exists.sum(1).tolist() == [len(s.bodies) for s in states for _ in range(2)]


def test_widths_are_those_of_the_features(items):
    features = compute_features(items, 8, 8)
    assert features.pair.shape[1] == pair_width(4)
    assert features.cell.shape == (6, 64, cell_width())
    assert bool(features.pair.isfinite().all())
    assert float(features.pair.abs().max()) < 20


@pytest.mark.parametrize("kind", range(5))
def test_ground_patterns_are_those_of_the_ray_caster(kind):
    from worldtube.worlds.render import shading

    rng = np.random.default_rng(kind)
    points = rng.uniform(-9, 9, (300, 2)).astype(np.float32)
    share, shade = look_up(
        torch.tensor([kind]),
        torch.from_numpy(points[None, :, 0]),
        torch.from_numpy(points[None, :, 1]),
    )
    expected = np.array([shading._ground(kind, float(x), float(y)) for x, y in points])
    # float32 rounds a point over the edge of a pattern now and then
    assert np.mean(np.abs(share[0].numpy() - expected[:, 0]) > 2e-3) < 0.02
    assert np.mean(np.abs(shade[0].numpy() - expected[:, 1]) > 2e-3) < 0.02


def test_covered_cells_are_those_of_the_masks(states, items):
    from worldtube.video import Size
    from worldtube.worlds.tabletop.drawing import draw

    for n, state in enumerate(states):
        ids = draw(state[:1], Size(128, 128), supersample=1).ids[0]
        shown = torch.from_numpy((ids > 0).reshape(16, 8, 16, 8).mean((1, 3)) > 0.1).flatten()
        covered = compute_features(items[slice(2 * n, 2 * n + 1)], 16, 16).covered[0]
        assert bool(covered[shown].all())
        assert covered.float().mean() < 0.8


def test_items_do_not_see_each_other(items):
    model = small()
    together = model.render(items, 8, 8)
    for n in range(len(items)):
        alone = model.render(items[slice(n, n + 1)], 8, 8)
        torch.testing.assert_close(together[n : n + 1], alone, atol=1e-5, rtol=1e-4)


def test_empty_slots_change_nothing(items):
    model = small()
    torch.testing.assert_close(
        model.render(items, 8, 8), model.render(items.pad(7), 8, 8), atol=1e-6, rtol=1e-6
    )


def test_rotations_that_look_the_same_read_the_same(states):
    balls = next(
        s
        for s in (simulate(plan(n), num_frames=1)[0] for n in range(40))
        if s.bodies[0].shape == "ball"
    )
    angle = 0.8
    turn = np.array(
        [[math.cos(angle), 0, math.sin(angle)], [0, 1, 0], [-math.sin(angle), 0, math.cos(angle)]],
        np.float32,
    )
    rotations = balls.poses.rotations.copy()
    rotations[:, 0] = turn @ rotations[:, 0]
    turned = replace(balls, poses=replace(balls.poses, rotations=rotations))
    one, other = (
        compute_features(Scenes.from_state(state, stride=4), 8, 8).pair for state in (balls, turned)
    )
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_any_size_and_any_length(states):
    model = small()
    scenes = Scenes.from_state(states[0], stride=4)
    assert model.render(scenes, 6, 10).shape == (2, 24, 6, 10)
    with pytest.raises(DataError, match=r"must have 1 \+ 4 n frames to be rendered, got 4"):
        Scenes.from_state(states[0][:4], stride=4)
    assert len(Scenes.from_state(states[0][:3], stride=2)) == 2


def test_unknown_names_are_refused(states):
    body = replace(states[0].bodies[0], colour="beige")
    state = replace(states[0], bodies=(body, *states[0].bodies[1:]))
    with pytest.raises(DataError, match=r"colour must be one of red, .*, got 'beige'"):
        Scenes.from_state(state, stride=4)


def test_weight_files(items, tmp_path):
    model = small()
    save_part("renderer", model.config, model.state_dict(), tmp_path / "r.safetensors")
    again = load_part("renderer", tmp_path / "r.safetensors")
    assert torch.equal(again.render(items, 8, 8), model.render(items, 8, 8))
    with pytest.raises(DataError, match="holds no dynamics"):
        load_part("dynamics", tmp_path / "r.safetensors")


def test_training_resumes_to_the_bit_and_learns(tmp_path):
    from worldtube.models.local import embedded_path, load_codec
    from worldtube.train import pictures
    from worldtube.train.renderer import RendererTrainConfig, measure, train_renderer
    from worldtube.train.run import RunConfig
    from worldtube.video import Size

    codec, _ = load_codec(embedded_path())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "CHUNK", 2)
        pictures.make_pictures(tmp_path / "pictures", codec, range(4), Size(32, 32))
    data = pictures.Pictures.read(tmp_path / "pictures")
    assert data.latents.shape == (4 * 4 * 2, 24, 4, 4)
    config = RendererTrainConfig(
        model=RendererConfig(width=32, pair_hidden=32, depth=1),
        run=RunConfig(steps=40, warmup=5, validate_every=40),
        batch=16,
    )
    whole = train_renderer(config, data, codec, tmp_path / "whole", validation=data)
    stops = iter([False] * 14 + [True])
    train_renderer(config, data, codec, tmp_path / "parts", until=lambda: next(stops))
    parts = train_renderer(config, data, codec, tmp_path / "parts")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, parts.state_dict()[name]), name
    torch.manual_seed(0)
    assert (
        measure(whole, data)["latent_mse"]
        < 0.8 * measure(Renderer(config.model), data)["latent_mse"]
    )
