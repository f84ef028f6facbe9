"""Plan tokens: exact to the engine's first state after encoding and decoding, consistent whatever the numbers."""

import json

import numpy as np
import pytest

from worldtube.codec.plan import (
    OBJECT_WIDTH,
    SCENE_WIDTH,
    PlanTokens,
    decode_plan,
    encode_plan,
)
from worldtube.errors import DataError
from worldtube.state import find_supports, vertical_reach

pytest.importorskip("mujoco", reason="the worlds extra is not installed")

from worldtube.worlds.language import caption
from worldtube.worlds.tabletop.engine import describe, facts_of, simulate
from worldtube.worlds.tabletop.looks import facts_of_look, mirror, mirror_poses, recolour, restage
from worldtube.worlds.tabletop.plan import TEMPLATES, plan


@pytest.fixture(scope="module")
def plans():
    """Some of each template."""
    found = {}
    for seed in range(8_000_000, 8_000_200):
        try:
            drawn = plan(seed)
        except AssertionError:
            continue
        found.setdefault(drawn.template, []).append(drawn)
    assert set(found) == set(TEMPLATES)
    return [drawn for drawn in found.values() for drawn in drawn[:6]]


def test_round_trip_is_exact_to_a_centimetre(plans):
    for drawn in plans:
        state, _ = simulate(drawn, num_frames=3)
        again = decode_plan(encode_plan(state, 4), num_frames=3)
        left = list(range(len(state.bodies)))
        for k, body in enumerate(again.bodies):
            distances = [
                np.linalg.norm(again.poses.positions[0, k] - state.poses.positions[0, j])
                for j in left
            ]
            j = left.pop(int(np.argmin(distances)))
            assert min(distances) < 0.015, (drawn.seed, drawn.template)
            true = state.bodies[j]
            assert (body.shape, body.colour, body.material, body.size) == (
                true.shape,
                true.colour,
                true.material,
                true.size,
            )
            np.testing.assert_allclose(body.dimensions, true.dimensions, atol=2e-3)
            np.testing.assert_allclose(
                again.poses.velocities[0, k], state.poses.velocities[0, j], atol=1e-3
            )
        assert again.surroundings.ground == state.surroundings.ground
        np.testing.assert_allclose(again.surroundings.table, state.surroundings.table, atol=1e-5)
        np.testing.assert_allclose(again.camera.positions, state.camera.positions, atol=0.08)


def test_supports_are_those_of_the_plan(plans):
    for drawn in plans:
        state, _ = simulate(drawn, num_frames=1)
        supports, airborne = find_supports(state)
        assert supports == [thing.on for thing in drawn.things], drawn.seed
        assert airborne.tolist() == [thing.airborne for thing in drawn.things], drawn.seed


def test_any_numbers_decode_to_a_state_that_could_be():
    rng = np.random.default_rng(0)
    for _ in range(100):
        tokens = PlanTokens(
            objects=rng.normal(size=(4, OBJECT_WIDTH)).astype(np.float32),
            scene=rng.normal(size=SCENE_WIDTH).astype(np.float32),
        )
        state = decode_plan(tokens, num_frames=5)
        assert all(np.isfinite(v).all() for v in vars(state.poses).values())
        for k, body in enumerate(state.bodies):
            rotation = state.poses.rotations[0, k]
            np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-5)
            bottom = state.poses.positions[0, k, 2] - vertical_reach(body, rotation)
            assert bottom > -1e-4  # nothing is inside the table
            assert body.mass > 0


def test_limits_are_told():
    state, _ = simulate(plan(3), num_frames=1)
    with pytest.raises(DataError, match="a plan has at most 0 objects, got"):
        encode_plan(state, 0)


@pytest.mark.parametrize("seed", [3, 8, 21, 30])
def test_captions_of_other_looks_are_true_of_them(seed):
    """A mirrored, recoloured plan simulated by itself has the facts that were told of it."""
    rng = np.random.default_rng(seed)
    drawn = plan(seed)
    state, witness = simulate(drawn)
    other = mirror(restage(recolour(drawn, rng), rng))
    told = facts_of_look(facts_of(drawn, witness), other, mirrored=True)
    _, again = simulate(other)
    true = facts_of(other, again)
    assert [g["colour"] for g in told["groups"]] == [g["colour"] for g in true["groups"]]
    assert [g["motion"] for g in told["groups"]] == [g["motion"] for g in true["groups"]]
    assert told["event"] == true["event"]
    assert told["relations"] == true["relations"]
    assert caption(told, "medium", np.random.default_rng(0))
    assert json.dumps(told)
    poses = mirror_poses(state.poses)
    assert describe(other, state.bodies, poses).num_frames == 25
