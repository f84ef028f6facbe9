"""The pour world: the same seed is the same clip, and what it says happened did happen."""

import functools
import json

import numpy as np
import pytest

from worldtube.errors import RequestError
from worldtube.video import Size
from worldtube.worlds import pour
from worldtube.worlds.pour.solids import lump
from worldtube.worlds.world import HELD_OUT, World

SIZE = Size(32, 32)


@functools.cache
def played(seed: int, frames: int = 24) -> tuple[pour.Pour, np.ndarray]:
    world = pour.Pour(size=SIZE, supersample=1)
    pictures = [world.reset(seed=seed)[0]]
    pictures += [world.step()[0] for _ in range(frames)]
    return world, np.array(pictures)


@functools.cache
def outcomes() -> dict[str, list[pour.Pour]]:
    found: dict[str, list[pour.Pour]] = {}
    for seed in range(14):
        world, _ = played(seed)
        found.setdefault(world.event or "none", []).append(world)
    return found


def test_it_is_a_world():
    assert isinstance(played(3)[0], World)


def test_same_seed_same_pixels():
    _, first = played(3)
    world = pour.Pour(size=SIZE, supersample=1)
    again = [world.reset(seed=3)[0]] + [world.step()[0] for _ in range(24)]
    assert (first == np.array(again)).all()
    assert first.dtype == np.uint8 and first.shape == (25, 32, 32, 3)


def test_seeds_have_different_outcomes():
    assert {"tipped", "missed", "poured"} <= set(outcomes())


def test_tipped_cups_spill_and_missed_ones_do_not():
    for world in outcomes()["tipped"]:
        assert [event.kind for event in world.events][:1] == ["hit"]
        assert world.spilled_fraction > 0.3
    for world in outcomes()["missed"]:
        assert world.spilled_fraction < 0.02
    for world in outcomes().get("upright", []):
        assert world.spilled_fraction < 0.1


def test_poured_cups_are_empty_at_the_end():
    for world in outcomes()["poured"]:
        left = world.state["water_in_cup"][:, 0].mean()
        assert left < 0.5


def test_particles_stay_finite_and_slow():
    for worlds in outcomes().values():
        for world in worlds:
            state = world.state
            assert np.isfinite(state["water_positions"]).all()
            assert np.linalg.norm(state["water_velocities"], axis=1).max() < 20
            assert np.allclose(np.linalg.norm(state["rotations"], axis=1), 1)


def test_truth_is_plain_and_names_what_is_there():
    for worlds in outcomes().values():
        for world in worlds:
            truth = json.loads(json.dumps(world.truth))
            assert truth["world"] == "pour" and truth["template"] in pour.TEMPLATES
            assert 0 <= truth["spilled_fraction"] <= 1
            assert all(group["objects"] == [i] for i, group in enumerate(truth["groups"]))
            seconds = [event["seconds"] for event in truth["events"]]
            assert seconds == sorted(seconds)
            if truth["event"] is not None:
                assert truth["event"] in {event["kind"] for event in truth["events"]}
            if world.plan.ball is not None:
                way = "right" if world.plan.ball.velocity[0] > 0 else "left"
                assert truth["groups"][0]["motion"] in (way, "fall")


def test_masks_show_objects_water_and_stain():
    world = outcomes()["tipped"][0]
    ids = world.masks(Size(64, 64))
    assert set(np.unique(ids)) <= {0, 1, 2, 200, 201}
    first = pour.Pour(size=Size(64, 64))
    first.reset(seed=world.plan.seed)
    assert {0, 2, 200} <= set(np.unique(first.masks()))


def test_held_out_pairs_are_never_drawn_for_training():
    cups, balls = set(), set()
    for seed in range(3000):
        plan = pour.plan(seed)
        cups |= {(cup.colour, "cup") for cup in plan.cups}
        balls |= {(plan.ball.colour, "ball")} if plan.ball else set()
    assert not (cups | balls) & HELD_OUT
    assert len(cups) == len(balls) == 6
    drawn = {(pour.plan(seed).cups[0].colour, "cup") for seed in range(8_000_000, 8_000_400)}
    assert {("orange", "cup"), ("blue", "cup")} <= drawn


def test_a_push_changes_the_clip():
    world = pour.Pour(size=SIZE, supersample=1)
    seed = outcomes()["missed"][0].plan.seed
    world.reset(seed=seed)
    for frame in range(12):
        world.step({"object": 1, "velocity": (0.0, 0.0, 3.0)} if frame == 0 else None)
    assert world.state["positions"][1] != pytest.approx(
        played(seed)[0].state["positions"][1], abs=0.01
    )
    with pytest.raises(RequestError, match="cannot be pushed"):
        world.step({"object": 7, "velocity": (0, 0, 0)})
    with pytest.raises(RequestError, match="not a push"):
        world.step("jump")


def test_the_cup_weighs_less_once_its_water_is_gone():
    cup = pour.plan(outcomes()["tipped"][0].plan.seed).cups[0]
    full, empty = (lump(cup, cup.vessel, share)[0] for share in (1.0, 0.0))
    assert full - empty == pytest.approx(1000 * cup.vessel.volume(cup.depth))
