"""The tabletop world and the recorder: same seed same clip, and the facts are what the pictures and poses say."""

import functools
import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from worldtube.errors import RequestError
from worldtube.video import Size
from worldtube.worlds import WORLDS, tabletop
from worldtube.worlds.record import record
from worldtube.worlds.tabletop import plan
from worldtube.worlds.world import HELD_OUT, MOTIONS, World

SIZE = Size(48, 48)


@functools.cache
def played(seed: int) -> tuple[tabletop.Tabletop, np.ndarray, np.ndarray]:
    world = tabletop.Tabletop(size=SIZE, supersample=1)
    frames, ids = [world.reset(seed=seed)[0]], [world.masks()]
    for _ in range(24):
        frames.append(world.step()[0])
        ids.append(world.masks())
    return world, np.array(frames), np.array(ids)


@functools.cache
def seeds(template: str, count: int = 3) -> tuple[int, ...]:
    return tuple(s for s in range(400) if plan(s).template == template)[:count]


@pytest.mark.parametrize("name", WORLDS)
def test_every_world_keeps_the_protocol(name):
    world = WORLDS[name](size=Size(32, 32))
    frame, info = world.reset(seed=5)
    assert isinstance(world, World) and world.name == name
    frames = [frame]
    for _ in range(3):
        frame, reward, terminated, truncated, info = world.step()
        assert (reward, terminated, truncated) == (0.0, False, False)
        frames.append(frame)
    assert all(f.shape == (32, 32, 3) and f.dtype == np.uint8 for f in frames)
    count = len(world.truth["objects"])
    for state in (info["state"], world.state):
        assert state["positions"].shape == state["velocities"].shape == (count, 3)
        assert state["rotations"].shape == (count, 4)
    assert world.masks().shape == (32, 32) and world.masks().max() >= 1
    assert world.render(Size(20, 10)).shape == (10, 20, 3)
    json.dumps(world.truth)
    assert world.caption("short") == world.caption("short") != ""
    again = WORLDS[name](size=Size(32, 32))
    others = [again.reset(seed=5)[0]] + [again.step()[0] for _ in range(3)]
    assert (np.array(frames) == np.array(others)).all()
    world.close()


def test_recording_gives_clip_captions_and_truth():
    clip, captions, truth = record("tabletop", 3, SIZE)
    again, _, truth_again = record("tabletop", 3, SIZE)
    assert clip.frames.shape == (25, 48, 48, 3) and clip.fps == 12
    assert clip.tracks["ids"].shape == (25, 48, 48)
    assert (clip.frames == again.frames).all() and truth == truth_again
    assert set(captions) == {"short", "medium", "long"} and clip.caption == captions["medium"]
    assert len(truth["camera_path"]) == 25
    assert all(len(row) == 25 for key in ("trajectories", "screen") for row in truth[key])
    with pytest.raises(RequestError, match="did you mean 'tabletop'"):
        record("tabeltop", 3, SIZE)
    with pytest.raises(RequestError, match="fps is 24"):
        record("tabletop", 3, SIZE, fps=24)


def test_training_seeds_never_show_held_out_pairs():
    def shown(seed):
        return {(thing.colour, thing.shape) for thing in plan(seed).things}

    training = set().union(*map(shown, range(2000)))
    validation = set().union(*map(shown, range(8_000_000, 8_000_500)))
    assert not training & HELD_OUT
    assert len(training) == 32 - len(HELD_OUT)
    assert validation >= HELD_OUT


def test_plans_are_varied_and_within_bounds():
    counts, kinds = Counter(), Counter()
    for seed in range(1500):
        p = plan(seed)
        counts[p.template] += 1
        kinds[p.view.kind] += 1
        assert 1 <= len(p.things) <= 4
        groups = {}
        for thing in p.things:
            alike = (thing.colour, thing.shape, thing.size, thing.material)
            assert groups.setdefault(thing.group, alike) == alike
            width = (
                2
                * thing.dimensions[0]
                / {"ball": 1, "box": 0.9, "cylinder": 0.86, "cup": 1}[thing.shape]
            )
            assert width == pytest.approx({"small": 0.32, "large": 0.54}[thing.size], rel=0.051)
        assert sorted(groups) == list(range(len(groups))) and len(groups) <= 2
        assert len({one[:2] for one in groups.values()}) == len(groups)
    assert set(counts) == set(tabletop.TEMPLATES) and min(counts.values()) > 110
    assert kinds["fixed"] / 1500 == pytest.approx(0.7, abs=0.05)


@pytest.mark.parametrize("template", ["rest", "stack"])
def test_what_rests_stays(template):
    for seed in seeds(template):
        world, _, _ = played(seed)
        path = np.array(world.truth["trajectories"])
        assert np.abs(path - path[:, :1]).max() < 0.01
        assert {event.kind for event in world.events} <= {"stacked"}
        assert all(group["motion"] == "rest" for group in world.truth["groups"])
        assert (world.truth["event"] == "stacked") == (template == "stack")


def test_free_fall_is_at_g():
    for seed in seeds("drop", 4):
        world, _, _ = played(seed)
        path = np.array(world.truth["trajectories"])
        for k, thing in enumerate(world.plan.things):
            if not thing.airborne:
                continue
            z, t = path[k, :4, 2], np.arange(4) / 12
            expected = thing.position[2] + thing.velocity[2] * t - 0.5 * 9.81 * t**2
            # A semi-implicit step of 2 ms falls short of the parabola by g t dt / 2.
            assert np.abs(z - expected).max() < 0.006


@pytest.mark.parametrize("template", tabletop.TEMPLATES)
def test_motion_words_agree_with_the_masks(template):
    """right and left go that way on the screen, fall goes down, rest stays where it is."""
    for seed in seeds(template):
        world, _, _ = played(seed)
        if world.plan.view.kind != "fixed":
            continue
        truth = world.truth
        for group in truth["groups"]:
            assert group["motion"] in MOTIONS
            k = group["objects"][0]
            seen = [row for row in truth["screen"][k][:6] if row]
            if len(seen) < 4:
                continue
            across, down = seen[-1][0] - seen[0][0], seen[-1][1] - seen[0][1]
            hit = any(k in (e["a"], e["b"]) for e in truth["events"] if e["seconds"] < 0.5)
            if group["motion"] == "right":
                assert across > 0.01
            elif group["motion"] == "left":
                assert across < -0.01
            elif group["motion"] == "fall" and not hit:
                assert down > 0.05
            elif group["motion"] == "rest" and not hit and min(row[2] for row in seen) > 20:
                assert abs(across) < 0.06 and abs(down) < 0.06


def test_masks_and_screen_facts_agree():
    for template in tabletop.TEMPLATES:
        world, _, ids = played(seeds(template)[0])
        for k, row in enumerate(world.truth["screen"]):
            for frame, seen in enumerate(row):
                assert (ids[frame] == k + 1).sum() == (seen[2] if seen else 0)
        assert ids.max() <= len(world.plan.things)
        # The subject is in the picture for most of the clip.
        assert np.mean([(ids[t] > 0).any() for t in range(25)]) > 0.5


def test_pictures_show_the_colours_that_the_facts_name():
    """Where the mask shows a red thing the picture is red: strongest channel, or brightness for white and black."""
    checked = set()
    for template in tabletop.TEMPLATES:
        for seed in seeds(template):
            world, frames, ids = played(seed)
            for k, thing in enumerate(world.plan.things):
                mask = ids == k + 1
                if mask.sum() < 200:
                    continue
                r, g, b = np.median(frames[mask].astype(float), axis=0)
                checked.add(thing.colour)
                assert {
                    "red": r > 2 * max(g, b),
                    "orange": r > g > b and 0.3 < g / r < 0.7,
                    "yellow": r > 2 * b and g > 0.72 * r,
                    "green": g > 1.4 * max(r, b),
                    "blue": b > 1.5 * max(r, g),
                    "purple": b > r > 1.5 * g,
                    "white": min(r, g, b) > 110 and max(r, g, b) - min(r, g, b) < 45,
                    "black": max(r, g, b) < 80,
                }[thing.colour], (seed, thing.colour, r, g, b)
    assert len(checked) >= 6


def test_events_follow_from_the_poses():
    kinds = Counter()
    chosen = [s for template in ("collide", "edge", "drop", "hit_drop") for s in seeds(template)]
    chosen += [s for s in range(400) if plan(s).aimed_past][:2]
    for seed in chosen:
        world, _, _ = played(seed)
        path = np.array(world.truth["trajectories"])
        for event in world.events:
            kinds[event.kind] += 1
            assert 0 < event.seconds <= 2.001
            frame = min(24, round(event.seconds * 12))
            if event.kind == "fell_off":
                assert path[event.a, frame:, 2].min() < 0
            elif event.kind == "hit":
                assert np.linalg.norm(path[event.a, frame] - path[event.b, frame]) < 1.0
            elif event.kind == "missed":
                assert not any(other.kind == "hit" for other in world.events)
            elif event.kind == "bounced":
                low = path[event.a, : frame + 1, 2].min()
                assert path[event.a, frame : frame + 3, 2].max() > low + 0.02
    assert {"hit", "fell_off", "bounced", "missed"} <= set(kinds)


def test_a_push_moves_one_thing_and_changes_the_future():
    still = played(seeds("rest")[0])[0].state["positions"]
    world = tabletop.Tabletop(size=SIZE, supersample=1)
    world.reset(seed=seeds("rest")[0])
    world.step((0, (30.0, 0.0, 0.0)))
    for _ in range(23):
        world.step()
    assert world.state["positions"][0, 0] > still[0, 0] + 0.1
    for bad in ((9, (1, 0, 0)), "left", (0, (1, 2))):
        with pytest.raises(RequestError):
            world.step(bad)


def test_a_whole_plan_can_be_given():
    p = plan(seeds("roll")[0])
    faster = replace(
        p, things=(replace(p.things[0], velocity=(0.0, 0.0, 0.0), spin=(0.0, 0.0, 0.0)),)
    )
    world = tabletop.Tabletop(size=SIZE, supersample=1)
    world.reset(options={"plan": faster})
    for _ in range(12):
        world.step()
    assert world.truth["groups"][0]["motion"] == "rest"
    with pytest.raises(RequestError, match="unknown option 'plans'"):
        world.reset(options={"plans": p})


def test_a_world_that_was_not_reset_says_so():
    with pytest.raises(RequestError, match="before reset"):
        tabletop.Tabletop().step()
    with pytest.raises(RequestError, match="before reset"):
        tabletop.Tabletop().render()
    with pytest.raises(RequestError, match="seed is -1"):
        plan(-1)
