"""The learned dynamics: packing, geometry, contacts, rest, pushes, training that resumes to the bit."""

import math

import numpy as np
import pytest
import torch

from worldtube.dynamics import Bodies, Dynamics, DynamicsConfig, Motion, continue_states, rollout
from worldtube.dynamics.rollout import overlaps, push, separate, settle
from worldtube.errors import DataError, RequestError
from worldtube.models.parts import load_part, save_part
from worldtube.state import Body

TABLE = (-3.0, 3.0, -0.75, 0.95)


def body(shape: str, *dimensions: float, mass: float = 1.0) -> Body:
    padded = (*dimensions, 0.0, 0.0, 0.0)[:4]
    return Body(
        shape=shape, colour="red", material="wood", size="small", dimensions=padded, mass=mass
    )


BALL = body("ball", 0.1)
BOX = body("box", 0.1, 0.1, 0.12)
CYLINDER = body("cylinder", 0.1, 0.15, mass=2.0)
CUP = body("cup", 0.1, 0.08, 0.11, 0.01)


def at(*positions: tuple[float, float, float]) -> Motion:
    n = len(positions)
    return Motion(
        torch.tensor(positions), torch.eye(3).repeat(n, 1, 1), torch.zeros(n, 3), torch.zeros(n, 3)
    )


def randomised(seed: int = 0) -> Dynamics:
    torch.manual_seed(seed)
    model = Dynamics(DynamicsConfig(width=32, point_width=16))
    with torch.no_grad():
        model.out.weight.normal_(std=0.2)
    return model


def test_scenes_in_one_pack_do_not_see_each_other():
    model = randomised()
    scenes = [(BALL, BOX), (CUP,), (CYLINDER, BALL, BOX)]
    places = [
        at((0.0, 0.0, 0.1), (0.15, 0.02, 0.12)),
        at((0.01, 0.0, 0.11)),
        at((0.0, 0.0, 0.15), (0.0, 0.0, 0.41), (0.2, 0.0, 0.12)),
    ]
    packed = model(
        Bodies.from_scenes(scenes, [TABLE] * 3),
        Motion(*(torch.cat(parts) for parts in zip(*places, strict=True))),
    )
    separate_steps = [
        model(Bodies.from_scenes([scene], [TABLE]), motion)
        for scene, motion in zip(scenes, places, strict=True)
    ]
    for got, want in zip(packed, zip(*separate_steps, strict=True), strict=True):
        torch.testing.assert_close(got, torch.cat(want), atol=1e-5, rtol=1e-5)


def test_nothing_depends_on_where_the_scene_is():
    model = randomised()
    bodies = Bodies.from_scenes([(BALL, BOX)], [(-9.0, 9.0, -9.0, 9.0)])
    here, there = at((0.0, 0.0, 0.1), (0.15, 0.0, 0.12)), at((2.0, 1.0, 0.1), (2.15, 1.0, 0.12))
    first, second = model(bodies, here), model(bodies, there)
    torch.testing.assert_close(
        first.position - here.position, second.position - there.position, atol=1e-5, rtol=0
    )


@pytest.mark.parametrize(
    ("first", "second", "distance", "gap"),
    [
        (BALL, BALL, 0.25, 0.05),
        (BALL, BOX, 0.25, 0.05),
        (BOX, BOX, 0.18, -0.02),
        (CYLINDER, BALL, 0.3, 0.1),
        (CUP, CYLINDER, 0.25, 0.05),
    ],
)
def test_gaps_between_bodies_side_by_side(first, second, distance, gap):
    bodies = Bodies.from_scenes([(first, second)], [TABLE])
    motion = at((0.0, 0.0, 0.2), (distance, 0.0, 0.2))
    i, j = bodies.pairs
    on_i, on_j, normal, found = bodies.closest_points(motion.position, motion.rotation, i, j)
    torch.testing.assert_close(found, torch.full((2,), gap), atol=2e-3, rtol=0)
    torch.testing.assert_close(normal[0].abs(), torch.tensor([1.0, 0.0, 0.0]), atol=1e-3, rtol=0)
    reached = motion.position[i] + on_i - motion.position[j] - on_j
    torch.testing.assert_close(reached, normal * found[:, None], atol=2e-3, rtol=0)


@pytest.mark.parametrize("shape", [BALL, BOX, CYLINDER, CUP])
def test_support_points_of_a_standing_body_touch_the_table(shape):
    bodies = Bodies.from_scenes([(shape,)], [TABLE])
    points = bodies.support_points(torch.eye(3)[None])
    assert points[..., 2].min() == pytest.approx(-shape.half_height, abs=1e-6)


def test_contacts_are_cleared_and_rest_is_kept():
    bodies = Bodies.from_scenes([(BALL, CYLINDER)], [TABLE])
    sunk = at((0.0, 0.0, 0.06), (0.18, 0.0, 0.15))
    cleared = separate(bodies, sunk, iterations=4)
    pairs, table = overlaps(bodies, cleared)
    assert float(pairs.max()) < 0.004
    assert float(table.max()) < 0.004
    crept = cleared._replace(position=cleared.position + 0.0005)
    kept = settle(cleared, crept)
    assert torch.equal(kept.position, cleared.position)
    moving = crept._replace(velocity=torch.full((2, 3), 0.5))
    assert torch.equal(settle(cleared, moving).position, crept.position)


def test_a_push_is_impulse_over_mass():
    bodies = Bodies.from_scenes([(BALL,), (BALL, CYLINDER)], [TABLE, TABLE])
    motion = at((0.0, 0.0, 0.1), (0.0, 0.0, 0.1), (0.5, 0.0, 0.15))
    pushed = push(bodies, motion, (1, (0.0, 4.0, 0.0)), scene=1)
    assert pushed.velocity.tolist() == [[0, 0, 0], [0, 0, 0], [0, 2.0, 0]]
    with pytest.raises(RequestError, match="object must be between 0 and 1, got 2"):
        push(bodies, motion, (2, (0.0, 1.0, 0.0)), scene=1)
    with pytest.raises(RequestError, match="an action must be"):
        push(bodies, motion, "left", scene=1)


def test_a_long_rollout_is_finite_and_rigid():
    model = randomised()
    bodies = Bodies.from_scenes([(BALL, BOX, CUP)], [TABLE])
    motion = rollout(model, bodies, at((0.0, 0.0, 0.3), (0.15, 0.0, 0.12), (0.5, 0.2, 0.5)), 100)
    assert motion.position.shape == (101, 3, 3)
    assert all(bool(value.isfinite().all()) for value in motion)
    identity = motion.rotation @ motion.rotation.transpose(-1, -2)
    torch.testing.assert_close(identity, torch.eye(3).expand_as(identity), atol=1e-4, rtol=0)


def test_weight_files(tmp_path):
    model, path = randomised(), tmp_path / "dynamics.safetensors"
    save_part("dynamics", model.config, model.state_dict(), path)
    again = load_part("dynamics", path)
    bodies, motion = (
        Bodies.from_scenes([(BALL, BOX)], [TABLE]),
        at((0.0, 0.0, 0.1), (0.15, 0.0, 0.12)),
    )
    for got, want in zip(again(bodies, motion), model(bodies, motion), strict=True):
        assert torch.equal(got, want)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DataError, match="is not a whole safetensors file"):
        load_part("dynamics", path)


@pytest.fixture(scope="module")
def simulations(tmp_path_factory):
    pytest.importorskip("mujoco", reason="the worlds extra is not installed")
    from worldtube.train import simulations

    folder = tmp_path_factory.mktemp("simulations")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulations, "CHUNK", 6)
        simulations.make_simulations(folder, range(0, 12))
    return simulations.Simulations(folder)


def test_windows_turned_and_mirrored_are_rigid_motions(simulations):
    generator = torch.Generator().manual_seed(0)
    scenes, starts = torch.arange(6), torch.full((6,), 20)
    plain = simulations.window(scenes, starts, stride=7, steps=3, generator=None)
    turned = simulations.window(scenes, starts, stride=7, steps=3, generator=generator)

    def heights(window):
        points = window.bodies.support_points(window.motion.rotation[:, 1])
        return (points[..., 2] + window.motion.position[:, 1, None, 2]).sort(-1).values

    torch.testing.assert_close(
        turned.motion.position[..., 2], plain.motion.position[..., 2], atol=1e-5, rtol=0
    )
    box = plain.bodies.is_box
    torch.testing.assert_close(heights(turned)[box], heights(plain)[box], atol=1e-4, rtol=0)
    # Spins turn the rotation onward, in a mirror too.
    spin, rotation = turned.motion.spin[:, 0], turned.motion.rotation
    still = (plain.motion.spin[:, 0] - plain.motion.spin[:, 1]).norm(dim=-1) < 0.05
    from worldtube.dynamics.bodies import rotation_from_vector

    ahead = rotation_from_vector(spin / 12) @ rotation[:, 0]
    torch.testing.assert_close(ahead[still], rotation[still, 1], atol=0.05, rtol=0)
    assert int(still.sum()) > 2
    inside, _ = plain.bodies.edge_distances(plain.motion.position[:, :1])
    inside_turned, _ = turned.bodies.edge_distances(turned.motion.position[:, :1])
    torch.testing.assert_close(inside, inside_turned, atol=1e-4, rtol=0)


def test_no_window_spans_a_push(simulations):
    weights = simulations.weights(7, 2)
    for scene in (simulations.push >= 0).nonzero()[:, 0].tolist():
        at_push = int(simulations.push[scene])
        assert weights[scene, max(0, at_push - 14) : at_push].sum() == 0


def test_training_resumes_to_the_bit_and_learns(simulations, tmp_path):
    from worldtube.train.dynamics import (
        WEIGHTS,
        DynamicsTrainConfig,
        measure,
        motion_loss,
        train_dynamics,
    )
    from worldtube.train.run import RunConfig

    config = DynamicsTrainConfig(
        model=DynamicsConfig(width=32, point_width=16),
        run=RunConfig(steps=60, warmup=5, validate_every=60, log_every=5),
        batch=24,
    )
    whole = train_dynamics(config, simulations, tmp_path / "whole")
    steps = iter([False] * 9 + [True])
    train_dynamics(config, simulations, tmp_path / "parts", until=lambda: next(steps))
    parts = train_dynamics(config, simulations, tmp_path / "parts")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, parts.state_dict()[name]), name
    window = simulations.window(
        torch.arange(12), torch.full((12,), 30), stride=7, steps=1, generator=None
    )

    def error(model):
        first, second = (Motion(*(value[:, k] for value in window.motion)) for k in (0, 1))
        return sum(motion_loss(window.bodies, model(window.bodies, first), second).values())

    torch.manual_seed(0)
    assert error(whole) < 0.8 * error(Dynamics(config.model))
    loaded = load_part("dynamics", tmp_path / "whole" / WEIGHTS)
    assert torch.equal(loaded.out.weight, whole.out.weight)
    numbers = measure(whole, simulations, num_frames=8)
    assert math.isfinite(numbers["position_0.5s"])
    assert 0 <= numbers["rest_kept"] <= 1


def test_the_engine_measured_against_itself_is_exact(simulations):
    from worldtube.train.dynamics import measure

    numbers = measure(_replay(simulations), simulations, num_frames=13)
    assert numbers["position_0.5s_mean"] < 0.02  # contacts are cleared of a few millimetres
    assert numbers["overlapping_pairs"] <= numbers["true_overlapping_pairs"]


def _replay(simulations):
    """A `model` that answers with the engine's own next frame."""
    chosen = (simulations.push < 0).nonzero()[:, 0]
    window = simulations.window(
        chosen, torch.zeros(len(chosen), dtype=torch.long), stride=7, steps=12, generator=None
    )
    frames = iter(range(1, 13))

    def model(bodies, motion):
        k = next(frames)
        return Motion(*(value[:, k] for value in window.motion))

    return model


def test_states_go_on_from_their_last_frame():
    pytest.importorskip("mujoco", reason="the worlds extra is not installed")
    from worldtube.worlds.tabletop.engine import simulate
    from worldtube.worlds.tabletop.plan import plan

    states = [simulate(plan(seed), num_frames=3)[0] for seed in (1, 3)]
    longer = continue_states(randomised(), states, 5, pushes=[{}, {2: (0, (1.0, 0.0, 0.0))}])
    for before, after in zip(states, longer, strict=True):
        assert after.num_frames == 8 == len(after.camera)
        np.testing.assert_array_equal(after.poses.positions[:3], before.poses.positions)
    alone = continue_states(randomised(), states[:1], 5)[0]
    np.testing.assert_allclose(alone.poses.positions, longer[0].poses.positions, atol=1e-4)
    with pytest.raises(RequestError, match="num_frames must be at least 1, got 0"):
        continue_states(randomised(), states, 0)
