"""States with water: the world's own motion without pictures, drawn alike, written and read again."""

import json

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="the worlds extra is not installed")

from worldtube.errors import DataError, RequestError
from worldtube.state import INSIDE, State, resample
from worldtube.video import Size
from worldtube.worlds.pour import Pour, plan
from worldtube.worlds.pour.engine import facts_of, simulate
from worldtube.worlds.tabletop.drawing import draw
from worldtube.worlds.tabletop.engine import simulate as simulate_tabletop
from worldtube.worlds.tabletop.physics import continue_state
from worldtube.worlds.tabletop.plan import plan as plan_tabletop

SIZE = Size(48, 48)
SEEDS = (3, 8_000_001, 8_000_005)
"""A miss, a pour, a cup that is knocked over."""


@pytest.fixture(scope="module")
def clips():
    """(plan, state, witness, world, its frames) by seed."""
    found = {}
    for seed in SEEDS:
        world = Pour(size=SIZE)
        frames = [world.reset(seed=seed)[0], *(world.step()[0] for _ in range(24))]
        drawn = plan(seed)
        found[seed] = (drawn, *simulate(drawn), world, np.stack(frames))
    return found


@pytest.mark.parametrize("seed", SEEDS)
def test_a_simulation_is_the_world_without_pictures(clips, seed):
    drawn, state, witness, world, _ = clips[seed]
    last = world.state
    np.testing.assert_array_equal(state.poses.positions[-1], last["positions"].astype(np.float32))
    np.testing.assert_array_equal(
        state.water.positions[-1], last["water_positions"].astype(np.float32)
    )
    np.testing.assert_array_equal(state.water.sides[-1] == INSIDE, last["water_in_cup"])
    assert facts_of(drawn, witness) == world.truth


@pytest.mark.parametrize("seed", SEEDS)
def test_a_drawn_state_is_the_world_s_picture(clips, seed):
    """To 0.02 levels of 255: positions and the camera are float32 in a state."""
    _, state, _, world, frames = clips[seed]
    drawing = draw(state, SIZE)
    difference = np.abs(drawing.rgb.astype(int) - frames)
    assert difference.mean() < 0.02
    assert (difference.max(-1) > 8).mean() < 1e-3
    assert (drawing.ids[-1] != world.masks()).mean() < 1e-3


def test_the_volume_of_a_frame_is_that_of_its_parts(clips):
    for drawn, state, witness, _, _ in clips.values():
        water, cup = state.water, drawn.cups[0]
        assert water.volumes[0] == pytest.approx(cup.vessel.volume(cup.depth))
        assert (np.diff(water.volumes) <= 1e-12).all()  # it only ever leaves
        heights = water.ground_heights(state.surroundings.table, below=10.0)
        free = water.present & ~(water.sides == INSIDE).any(-1)
        left, right, front, back = state.surroundings.table
        x, y, z = np.moveaxis(water.positions, -1, 0)
        over = free & (x >= left) & (x < right) & (y >= front) & (y < back) & (z > -0.02)
        np.testing.assert_allclose(
            heights.sum((1, 2)) * 0.06**2, over.sum(1) * water.particle_volume, rtol=1e-5
        )
        share = 1 - water.held_volumes[-1].sum() / water.volumes[0]
        assert share == pytest.approx(witness.spilled_fraction)


def test_only_what_is_knocked_over_wets_the_table(clips):
    assert clips[8_000_005][1].water.wetness[-1].max() > 0.9
    assert clips[8_000_005][1].water.wetness[0].max() == 0
    assert clips[3][1].water.wetness.max() == 0


def test_velocities_are_the_slopes_of_positions(clips):
    for seed, (_, state, *_) in clips.items():
        poses = state.poses
        middle = 0.5 * (poses.velocities[1:] + poses.velocities[:-1]) / state.fps
        step = np.diff(poses.positions, axis=0)
        assert np.median(np.abs(middle - step)) < 2e-3
        if seed == 8_000_001:  # no bounce bends a path inside a frame
            np.testing.assert_allclose(middle, step, atol=5e-3)
            assert np.linalg.norm(step[:, 0], axis=-1).max() > 0.02


def test_json_round_trip(clips):
    for _, state, _, _, _ in clips.values():
        again = State.from_json(json.loads(json.dumps(state.to_json())))
        assert again.bodies == state.bodies
        water, true = again.water, state.water
        for name in ("cups", "spacing", "particle_volume", "pouring", "wetness_spacing"):
            assert getattr(water, name) == getattr(true, name)
        np.testing.assert_allclose(water.positions, true.positions, atol=1e-5)
        np.testing.assert_allclose(water.wetness, true.wetness, atol=1e-5)
        np.testing.assert_array_equal(water.sides, true.sides)
        np.testing.assert_array_equal(water.present, true.present)


def test_a_state_without_water_has_the_same_form_as_ever():
    state, _ = simulate_tabletop(plan_tabletop(3), num_frames=2)
    assert list(state.to_json()) == ["format", "fps", "bodies", "surroundings", "camera"]
    assert State.from_json(state.to_json()).water is None


def test_the_engine_of_rigid_bodies_refuses_water(clips):
    with pytest.raises(RequestError, match="the state must have no water"):
        continue_state(clips[3][1], 3)


def test_slices_count_the_pouring_from_their_first_frame(clips):
    state = clips[8_000_001][1]
    part = state[6:12]
    assert len(part.water) == 6
    np.testing.assert_array_equal(part.water.wetness, state.water.wetness[6:12])
    assert part.water.pouring.start == pytest.approx(state.water.pouring.start - 0.5)
    assert repr(part).endswith("litres of water)")


def test_water_at_another_frame_rate(clips):
    state = clips[8_000_005][1]
    slow = resample(state, 24.0, 49)
    np.testing.assert_array_equal(slow.water.positions[::2], state.water.positions)
    np.testing.assert_array_equal(slow.water.sides[::2], state.water.sides)
    between = 0.5 * (state.water.wetness[10] + state.water.wetness[11])
    np.testing.assert_allclose(slow.water.wetness[21], between, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("sides"), "water has no field 'sides'"),
        (lambda w: w.update(salt=1), "water has an unknown field 'salt'"),
        (lambda w: w["positions"].pop(), r"water.positions must be 2 x any x 3 finite numbers"),
        (lambda w: w.update(cups=[7]), r"water.cups must be bodies, 0 to 1, got \[7\]"),
        (lambda w: w["sides"][0][0].__setitem__(0, 5), "water.sides must be 0"),
        (lambda w: w["wetness"].update(changes=[[9, 0, 0, 1]]), "with frame, i, j below 2, "),
        (
            lambda w: w.update(
                pouring={"body": 0, "heading": 0, "start": 0, "duration": 1, "angle": 2}
            ),
            "water.pouring.body must be one of water.cups, got 0",
        ),
    ],
)
def test_mistakes_in_water_are_named(clips, change, message):
    data = json.loads(json.dumps(clips[3][1][:2].to_json()))
    change(data["water"])
    with pytest.raises(DataError, match=message):
        State.from_json(data)
