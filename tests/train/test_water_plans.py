"""Captioned plans with water: tokens that run, facts and captions that are true of every look."""

import json

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="the worlds extra is not installed")

from worldtube.codec.plan import PlanTokens
from worldtube.codec.water import WATER_WIDTH, decode_water_plan
from worldtube.generate.plan import SLOTS
from worldtube.train import water_plans
from worldtube.train.plans import LOOKS, Plans
from worldtube.train.water_plans import make_water_plans
from worldtube.worlds.pour.engine import facts_of, simulate
from worldtube.worlds.pour.physics import plan_from_state
from worldtube.worlds.world import HELD_OUT

SEEDS = range(40, 46)
"""Pours into a cup and beside it, and cups that are hit and missed."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plans")
    chunk = water_plans.make_chunk(SEEDS.start, len(SEEDS))
    np.savez(folder / "00000000.npz", **chunk)
    return folder


def test_the_tokens_of_a_look_are_a_clip_with_its_facts(folder):
    """A mirrored, recoloured plan that comes back from its tokens does what was told of it."""
    plans = Plans.read(folder)
    assert len(plans) == LOOKS * len(SEEDS) and plans.waters.shape[1] == WATER_WIDTH
    looks = [LOOKS * seed + 1 + seed % (LOOKS - 1) for seed in range(len(SEEDS))]
    for i in looks:
        tokens = PlanTokens(objects=plans.objects[i].numpy(), scene=plans.scenes[i].numpy())
        state, water = decode_water_plan(tokens, plans.waters[i].numpy(), num_frames=25)
        drawn = plan_from_state(state, water)
        told, true = json.loads(plans.facts[i]), facts_of(drawn, simulate(drawn)[1])
        for name in ("template", "groups", "relations", "camera", "ground", "sky", "objects"):
            assert told[name] == true[name], (i, name)
        assert told["event"] == true["event"]
        assert {(e["kind"], e["a"], e["b"]) for e in told["events"]} == {
            (e["kind"], e["a"], e["b"]) for e in true["events"]
        }
        assert told["spilled_fraction"] == pytest.approx(true["spilled_fraction"], abs=0.02)
        assert not {(o["colour"], o["shape"]) for o in told["objects"]} & HELD_OUT


def test_looks_differ_and_are_mirrored_half_of_the_time(folder):
    facts = [json.loads(text) for text in Plans.read(folder).facts]
    first = facts[:LOOKS]
    assert len({json.dumps(one["objects"]) for one in first}) > LOOKS // 2
    assert {one["groups"][0]["motion"] for one in facts} >= {"left", "right"}


def test_captions_name_the_water(folder):
    plans = Plans.read(folder)
    rng = np.random.default_rng(0)
    captions = [plans.caption(i % len(plans), rng).lower() for i in range(400)]
    told = [json.loads(plans.facts[i % len(plans)]) for i in range(400)]
    spilled = [c for c, t in zip(captions, told, strict=True) if t["event"] == "tipped"]
    assert sum("water" in caption for caption in spilled) > 0.4 * len(spilled)
    poured = [c for c, t in zip(captions, told, strict=True) if t["event"] == "poured"]
    assert sum("water" in c or "pour" in c or "empt" in c for c in poured) > 0.8 * len(poured)


def test_files_are_made_once_and_read_beside_dry_ones(tmp_path, monkeypatch):
    calls = []

    def make_small(first):
        calls.append(first)
        return water_plans_of(first, 1)

    water_plans_of = water_plans.make_chunk
    monkeypatch.setattr(water_plans, "make_chunk", make_small)
    make_water_plans(tmp_path, range(0, 400))
    make_water_plans(tmp_path, range(0, 400))
    assert calls == [0, 200]
    dry = Plans.read(tmp_path)
    np.savez(
        tmp_path / "dry.npz",
        objects=dry.objects[:3].numpy(),
        scenes=dry.scenes[:3].numpy(),
        facts=np.array(dry.facts[:3]),
    )
    plans = Plans.read(tmp_path)
    assert plans.objects.shape[:2] == (2 * LOOKS + 3, SLOTS) and len(plans.facts) == len(plans)
    assert (plans.waters[:, 0] > 0).tolist() == [True] * 2 * LOOKS + [False] * 3
