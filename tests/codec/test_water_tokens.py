"""The water of a plan as a token: the engine makes the same clip of what comes back."""

import math
from dataclasses import replace

import numpy as np
import pytest

from worldtube.codec.plan import OBJECT_WIDTH, SCENE_WIDTH, PlanTokens, encode_plan
from worldtube.codec.water import (
    WATER_WIDTH,
    decode_water_plan,
    encode_water_plan,
    find_water_plan,
)
from worldtube.errors import DataError, RequestError

pytest.importorskip("mujoco", reason="the worlds extra is not installed")

from worldtube.worlds.pour import TEMPLATES, plan
from worldtube.worlds.pour.engine import facts_of, simulate
from worldtube.worlds.pour.physics import plan_from_state
from worldtube.worlds.tabletop.engine import simulate as simulate_tabletop
from worldtube.worlds.tabletop.plan import plan as plan_tabletop

SLOTS = 4


@pytest.fixture(scope="module")
def starts():
    """(plan, state) of 40 seeds; the first frames alone, with the camera's whole path."""
    found = []
    for seed in range(8_000_200, 8_000_240):
        drawn = plan(seed)
        state, _ = simulate(drawn, num_frames=1)
        cameras = [drawn.camera_at(frame) for frame in range(25)]
        camera = replace(
            state.camera,
            positions=np.array([c.position for c in cameras], np.float32),
            targets=np.array([c.target for c in cameras], np.float32),
        )
        poses = type(state.poses)(**{k: v.repeat(25, 0) for k, v in vars(state.poses).items()})
        names = ("positions", "velocities", "sides", "present", "wetness")
        water = replace(
            state.water, **{name: getattr(state.water, name).repeat(25, 0) for name in names}
        )
        found.append((drawn, replace(state, poses=poses, camera=camera, water=water)))
    assert {drawn.template for drawn, _ in found} == set(TEMPLATES)
    assert {drawn.camera_direction for drawn, _ in found} >= {None, "left", "right"}
    return found


def assert_same(again, drawn, *, atol):
    """The plans agree in every field but the seed."""
    one, other = vars(again), vars(drawn)
    for name in ("template", "camera", "camera_direction", "ground", "sky"):
        assert one[name] == other[name], (drawn.seed, name)
    for name in ("table", "azimuth", "ground_tint", "ground_offset", "sun"):
        np.testing.assert_allclose(one[name], other[name], atol=atol, err_msg=name)
    things = [
        *zip(again.cups, drawn.cups, strict=True),
        (again.ball, drawn.ball),
        (again.tilt, drawn.tilt),
    ]
    for thing, true in things:
        assert (thing is None) == (true is None)
        for name, value in vars(true).items() if true is not None else ():
            if isinstance(value, str):
                assert getattr(thing, name) == value, (drawn.seed, name)
            elif name == "heading":
                assert abs(math.remainder(thing.heading - value, 2 * math.pi)) < atol
            else:
                np.testing.assert_allclose(getattr(thing, name), value, atol=atol, err_msg=name)


def test_a_state_tells_its_plan(starts):
    for drawn, state in starts:
        assert_same(plan_from_state(state), drawn, atol=1e-5)


def test_tokens_tell_the_plan(starts):
    for drawn, state in starts:
        tokens, water = encode_water_plan(state, SLOTS)
        assert tokens.objects.shape == (SLOTS, OBJECT_WIDTH) and tokens.scene.shape == (
            SCENE_WIDTH,
        )
        assert water.shape == (WATER_WIDTH,) and np.abs(water).max() < 6
        again = plan_from_state(*decode_water_plan(tokens, water, num_frames=25))
        assert_same(again, drawn, atol=1e-5)


@pytest.mark.parametrize("seed", [8_000_001, 8_000_002, 8_000_005, 8_000_008, 8_000_011])
def test_the_engine_makes_the_same_clip_of_the_tokens(seed):
    """The same events at the same frames, and volumes within 2 % of the water: the jitter of particles is not told."""
    drawn = plan(seed)
    state, witness = simulate(drawn)
    tokens, water = encode_water_plan(state, SLOTS)
    other = plan_from_state(*decode_water_plan(tokens, water, num_frames=25))
    again, other_witness = simulate(other)
    facts, other_facts = facts_of(drawn, witness), facts_of(other, other_witness)
    for name in ("event", "groups", "relations", "camera", "ground", "sky", "objects"):
        assert facts[name] == other_facts[name]
    assert [e["kind"] for e in facts["events"]] == [e["kind"] for e in other_facts["events"]]
    for event, true in zip(other_facts["events"], facts["events"], strict=True):
        assert event["seconds"] == pytest.approx(true["seconds"], abs=0.09)
    all_of_it = state.water.volumes[0]
    assert again.water.volumes[0] == pytest.approx(all_of_it, rel=1e-5)
    difference = np.abs(again.water.held_volumes - state.water.held_volumes)
    assert difference.max() < 0.05 * all_of_it and difference[-1].max() < 0.02 * all_of_it
    distance = np.abs(again.poses.positions - state.poses.positions).max((1, 2))
    assert (
        distance[:10].max() < 2e-3 and distance.max() < 0.2
    )  # a cup that tumbles parts from itself slowly


def test_a_plan_without_water_says_so():
    state, _ = simulate_tabletop(plan_tabletop(3), num_frames=1)
    tokens, water = encode_water_plan(state, SLOTS)
    plain = encode_plan(state, SLOTS)
    np.testing.assert_array_equal(tokens.objects, plain.objects)
    np.testing.assert_array_equal(tokens.scene, plain.scene)
    assert water[0] == -1 and not water[1:].any()
    again, nothing = decode_water_plan(tokens, water, num_frames=2)
    assert nothing is None and len(again.bodies) == len(state.bodies)
    with pytest.raises(RequestError, match="the state must have water"):
        plan_from_state(again)


def test_any_numbers_decode_to_what_runs_or_is_refused():
    rng = np.random.default_rng(0)
    run = 0
    for _ in range(300):
        tokens = PlanTokens(
            objects=rng.normal(size=(2, OBJECT_WIDTH)).astype(np.float32),
            scene=rng.normal(size=SCENE_WIDTH).astype(np.float32),
        )
        state, water = decode_water_plan(tokens, rng.normal(size=WATER_WIDTH), num_frames=5)
        try:
            drawn = plan_from_state(state, water)
        except RequestError:
            continue
        run += 1
        assert 0 < drawn.cups[0].fill < 1
        if run == 1:
            assert np.isfinite(simulate(drawn, num_frames=3)[0].water.positions).all()
    assert run > 5


def test_limits_are_told(starts):
    state = next(state for drawn, state in starts if drawn.template == "knock")
    water = find_water_plan(state)
    box = replace(state.bodies[0], shape="box")
    with pytest.raises(RequestError, match="at most one ball, got box, cup"):
        plan_from_state(replace(state, bodies=(box, *state.bodies[1:])), water)
    with pytest.raises(RequestError, match="fps must be 12, got 24"):
        plan_from_state(replace(state, fps=24.0), water)
    empty = replace(state.water, sides=np.full_like(state.water.sides, 2))
    with pytest.raises(DataError, match="a plan has its water in the first cup"):
        encode_water_plan(replace(state, water=empty), SLOTS)
    with pytest.raises(DataError, match="a plan has at most 0 objects, got 2"):
        encode_water_plan(state, 0)
