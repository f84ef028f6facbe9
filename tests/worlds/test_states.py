"""States without pictures: the same motion as the world's, drawn from the state alike, with other looks."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="the worlds extra is not installed")

from worldtube.errors import RequestError
from worldtube.video import Size
from worldtube.worlds.tabletop import Tabletop
from worldtube.worlds.tabletop.drawing import draw
from worldtube.worlds.tabletop.engine import Engine, simulate
from worldtube.worlds.tabletop.looks import mirror, mirror_poses, recolour, restage
from worldtube.worlds.tabletop.physics import continue_state, plan_from_state
from worldtube.worlds.tabletop.plan import plan

SEEDS = (1, 3, 8)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_simulation_is_the_world_without_pictures(seed):
    world = Tabletop(size=Size(16, 16), supersample=1)
    world.reset(seed=seed)
    states = [world.state]
    for _ in range(5):
        world.step()
        states.append(world.state)
    state, witness = simulate(plan(seed), num_frames=6)
    np.testing.assert_array_equal(
        state.poses.positions, np.stack([s["positions"] for s in states]).astype(np.float32)
    )
    assert witness.events == world.events


def test_a_drawn_state_is_the_world_s_picture():
    world = Tabletop(size=Size(48, 32))
    frames = [world.reset(seed=3)[0], *(world.step()[0] for _ in range(3))]
    drawing = draw(simulate(plan(3), num_frames=4)[0], Size(48, 32))
    difference = np.abs(np.stack(frames).astype(int) - drawing.rgb)
    assert difference.mean() < 0.02  # positions are float32 in a state
    assert drawing.depth.shape == (4, 32, 48)
    np.testing.assert_array_equal(drawing.ids[-1] > 0, world.masks() > 0)


def test_instants_of_a_frame_end_at_the_frame():
    every, _ = simulate(plan(3), num_frames=4, instants=7)
    frames, _ = simulate(plan(3), num_frames=4)
    np.testing.assert_array_equal(every.poses.positions[::7], frames.poses.positions)
    np.testing.assert_allclose(every.camera.positions[::7], frames.camera.positions, atol=1e-6)


def test_a_push_changes_the_velocity_by_impulse_over_mass():
    still, _ = simulate(plan(8), num_frames=3)
    pushed, _ = simulate(plan(8), num_frames=3, pushes={1: (0, (0.3, 0.0, 0.0))})
    np.testing.assert_array_equal(still.poses.positions[:2], pushed.poses.positions[:2])
    change = pushed.poses.velocities[1, 0] - still.poses.velocities[1, 0]
    np.testing.assert_allclose(change, [0.3 / still.bodies[0].mass, 0, 0], atol=1e-4)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_mirrored_plan_moves_as_in_a_mirror(seed):
    state, _ = simulate(plan(seed), num_frames=5)
    reflected, _ = simulate(mirror(plan(seed)), num_frames=5)
    np.testing.assert_allclose(
        mirror_poses(state.poses).positions, reflected.poses.positions, atol=2e-3
    )
    assert mirror(mirror(plan(seed))) == plan(seed)


def test_other_looks_keep_what_happens():
    first = plan(3)
    rng = np.random.default_rng(0)
    other = restage(recolour(first, rng), rng)
    assert [t.position for t in other.things] == [t.position for t in first.things]
    assert [t.shape for t in other.things] == [t.shape for t in first.things]
    assert (other.ground_tint, other.sun) != (first.ground_tint, first.sun)


@pytest.mark.parametrize("seed", [*SEEDS, 21])
def test_a_state_goes_on_as_its_plan_does(seed):
    """From the first frame alone the engine makes the same clip and names the same events."""
    state, witness = simulate(plan(seed), num_frames=25)
    again, facts = continue_state(state[:1], 24)
    assert again.num_frames == 25
    np.testing.assert_allclose(again.poses.positions[:7], state.poses.positions[:7], atol=5e-3)
    assert again.bodies == state.bodies
    assert [g["motion"] for g in facts["groups"]] == [g["motion"] for g in witness.groups(12)]
    assert facts["event"] == witness.event


def test_masses_come_back_whatever_they_are():
    state, _ = simulate(plan(3), num_frames=1)
    heavy = replace(state, bodies=tuple(replace(body, mass=3 * body.mass) for body in state.bodies))
    masses = [body.mass for body in Engine(plan_from_state(heavy)).bodies()]
    np.testing.assert_allclose(masses, [body.mass for body in heavy.bodies], rtol=1e-6)


def test_another_rate_is_refused():
    state, _ = simulate(plan(3), num_frames=1, instants=7)
    with pytest.raises(RequestError, match="the state's fps must be 12, got 84"):
        continue_state(state, 3)
