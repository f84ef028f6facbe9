"""Readings of states: true motion reads as the engine tells it."""

import pytest

pytest.importorskip("mujoco", reason="the worlds extra is not installed")

from worldtube.evaluate.state import read_motion, reading_from_facts
from worldtube.worlds.tabletop.engine import facts_of, simulate
from worldtube.worlds.tabletop.plan import plan


def test_true_motion_is_read_as_the_engine_tells_it():
    motions = events = groups = total = 0
    for seed in range(8_000_000, 8_000_030):
        try:
            drawn = plan(seed)
        except AssertionError:
            continue
        state, witness = simulate(drawn)
        truth = reading_from_facts(facts_of(drawn, witness))
        found = read_motion(state)
        assert [g.count for g in found.groups] == [g.count for g in truth.groups]
        assert [g.colour for g in found.groups] == [g.colour for g in truth.groups]
        groups += len(truth.groups)
        motions += sum(
            a.motion == b.motion for a, b in zip(found.groups, truth.groups, strict=True)
        )
        events += found.event == truth.event
        total += 1
    assert motions >= 0.95 * groups
    assert events >= 0.8 * total
