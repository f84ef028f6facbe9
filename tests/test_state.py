"""The readable form of a state: what goes out comes in again, and what is wrong with it is named."""

import copy
import json

import numpy as np
import pytest

from worldtube.errors import DataError
from worldtube.state import (
    State,
    quaternions_from_rotations,
    read_state,
    rotations_from_quaternions,
)

engine = pytest.importorskip(
    "worldtube.worlds.tabletop.engine", reason="the worlds extra is not installed"
)


@pytest.fixture(scope="module")
def state():
    from worldtube.worlds.tabletop.plan import plan

    return engine.simulate(plan(5), num_frames=4)[0]


def test_json_round_trip(state, tmp_path):
    path = tmp_path / "state.json"
    path.write_text(json.dumps(state.to_json()))
    again = read_state(path)
    assert again.bodies == state.bodies
    assert again.surroundings == state.surroundings
    assert again.fps == state.fps
    np.testing.assert_allclose(again.poses.positions, state.poses.positions, atol=1e-5)
    np.testing.assert_allclose(again.poses.rotations, state.poses.rotations, atol=5e-5)
    np.testing.assert_allclose(again.camera.positions, state.camera.positions, atol=1e-5)


def test_slices_keep_everything_in_step(state):
    part = state[1:3]
    assert part.num_frames == 2 == len(part.camera)
    np.testing.assert_array_equal(part.poses.spins, state.poses.spins[1:3])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(weather="rain"), "unknown field 'weather'"),
        (lambda d: d.pop("camera"), "no field 'camera'"),
        (lambda d: d.update(format=9), "format must be 1, got 9"),
        (lambda d: d.update(fps=0), "fps must be above 0, got 0"),
        (
            lambda d: d["bodies"][0].update(flavour="sweet"),
            r"bodies\[0\] has an unknown field 'flavour'",
        ),
        (
            lambda d: d["bodies"][0]["positions"].pop(),
            r"bodies\[0\].positions must be 4 x 3 finite numbers",
        ),
        (
            lambda d: d["bodies"][0].update(velocities="fast"),
            r"bodies\[0\].velocities must be numbers",
        ),
        (lambda d: d["camera"].update(targets=[[0, 0]]), "camera.targets must be 4 x 3"),
    ],
)
def test_mistakes_are_named(state, change, message):
    data = copy.deepcopy(state.to_json())
    change(data)
    with pytest.raises(DataError, match=message):
        State.from_json(data)


def test_quaternions_of_any_rotation():
    rng = np.random.default_rng(0)
    quaternions = rng.normal(size=(500, 4))
    quaternions /= np.linalg.norm(quaternions, axis=-1, keepdims=True)
    rotations = rotations_from_quaternions(quaternions)
    np.testing.assert_allclose(
        rotations @ rotations.swapaxes(1, 2), np.eye(3)[None].repeat(500, 0), atol=1e-5
    )
    again = quaternions_from_rotations(rotations)
    np.testing.assert_allclose(np.abs((again * quaternions).sum(-1)), 1, atol=1e-6)
