"""Falls are measured in metres, rests in pixels, and vanishing is told from leaving."""

import math

import numpy as np
import pytest

from worldtube.evaluate import motion, report
from worldtube.evaluate.motion import acceleration, drift, heights, permanent
from worldtube.reader import Reading
from worldtube.reader.tracks import Instance, Track


def _instance(x: float, y: float, side: int = 8) -> Instance:
    half = side // 2
    box = (round(x) - half, round(y) - half, round(x) + half, round(y) + half)
    box = tuple(int(np.clip(v, 0, 63)) for v in box)
    return Instance(
        x=x,
        y=y,
        area=side * side,
        box=box,
        spread=(1.0, 1.0, 0.0),
        colour=np.eye(8)[0],
        shape=np.eye(4)[0],
        size=0.0,
        pixels=np.zeros((64, 64), bool),
    )


def _track(places: dict[int, tuple[float, float]]) -> Track:
    return Track(seen={t: _instance(*place) for t, place in places.items()})


def _reading(*tracks: Track) -> Reading:
    return Reading(
        things=(), event=None, tracks=tracks, num_frames=25, water=np.zeros(25), stain=np.zeros(25)
    )


def _rows(z: np.ndarray) -> np.ndarray:
    """The inverse of `heights`, by search."""
    rows = np.linspace(0, 63, 20001)
    return np.array([rows[np.abs(heights(rows) - one).argmin()] for one in z])


def test_heights_agree_with_the_renderer() -> None:
    render = pytest.importorskip("worldtube.worlds.render", reason="needs the extra worlds")
    from worldtube.worlds.world import Camera

    camera = motion._CAMERA
    target, up, distance = camera["target"], camera["up"], camera["distance"]
    seen = Camera(
        position=(
            0.0,
            target[1] - distance * math.cos(up),
            target[2] + distance * math.sin(up),
        ),
        target=target,
        field_of_view=camera["field_of_view"],
    )
    points = np.array([(0.0, motion._DEPTH, z) for z in (0.0, 0.2, 0.5, 0.9)])
    rows = render.project(seen, points, 1.0)[:, 1] * 64 - 0.5
    np.testing.assert_allclose(heights(rows), points[:, 2], atol=2e-3)


@pytest.mark.parametrize(("z", "speed"), [(0.9, 0.0), (0.5, 2.0)])
def test_a_parabola_has_its_acceleration(z: float, speed: float) -> None:
    seconds = np.arange(25) / 12
    height = np.maximum(z + speed * seconds - 9.81 / 2 * seconds**2, 0.16)
    rows = _rows(height)
    track = _track({t: (30.0, rows[t]) for t in range(25)})
    assert acceleration(track, 25) == pytest.approx(9.81, rel=0.03)


def test_what_does_not_fall_has_none() -> None:
    assert acceleration(_track({t: (20.0 + t, 40.0) for t in range(25)}), 25) is None


def test_drift_is_in_pixels() -> None:
    assert drift(_track({t: (30.0, 40.0) for t in range(25)}), 25) == 0
    assert drift(_track({t: (30.0 + t, 40.0) for t in range(25)}), 25) > 10


def test_a_thing_that_stays_or_leaves_is_permanent() -> None:
    assert permanent(_reading(_track({t: (30.0, 40.0) for t in range(25)})))
    assert permanent(_reading(_track({t: (30.0 + 3 * t, 40.0) for t in range(10)})))
    assert permanent(_reading(_track({t: (57.0 - 3 * (t - 8), 40.0) for t in range(8, 25)})))


def test_a_thing_that_vanishes_or_appears_is_not() -> None:
    assert not permanent(_reading(_track({t: (30.0, 40.0) for t in range(12)})))
    assert not permanent(_reading(_track({t: (30.0, 40.0) for t in range(12, 25)})))


def test_a_thing_behind_another_is_hidden() -> None:
    near = _track({t: (36.0, 40.0) for t in range(25)})
    hidden = _track({t: (18.0 + t, 38.0) for t in range(12)})
    hidden.seen[11] = _instance(29.0, 38.0, side=4)  # less and less of it is seen
    assert permanent(_reading(near, hidden))


def test_a_thing_that_vanishes_beside_another_is_not_hidden_by_it() -> None:
    near = _track({t: (39.0, 40.0) for t in range(25)})
    assert not permanent(_reading(near, _track({t: (30.0, 40.0) for t in range(12)})))


def test_flicker_is_no_thing() -> None:
    assert permanent(_reading(_track({11: (30.0, 40.0), 12: (30.0, 40.0)})))


def test_the_prompts_are_of_three_kinds() -> None:
    kinds = [kind for _, kind in motion.PROMPTS]
    assert kinds.count("rest") == 8 and kinds.count("fall") == 16
    assert len({prompt for prompt, _ in motion.PROMPTS}) == 24


def test_table_puts_controls_beside_scores() -> None:
    result = {
        "measure": "adherence",
        "model": "m",
        "count": 0.5,
        "event": None,
        "n": {"count": 4, "event": 0},
        "interval": {"count": [0.15, 0.85], "event": None},
        "reader": {"count": 0.97, "event": 0.9},
        "no_text": {"count": 0.1, "event": None},
    }
    lines = report.table(result).splitlines()
    assert lines[0] == "measure adherence, model m"
    assert lines[1].split() == ["score", "95", "%", "of", "reader", "no_text"]
    assert lines[2].split() == ["count", "0.500", "0.150", "to", "0.850", "4", "0.970", "0.100"]
    assert lines[3].split() == ["event", "-", "-", "0", "0.900", "-"]


def test_rows_of_a_result_are_tables_of_their_own() -> None:
    result = {
        "measure": "seam",
        "clips": 2,
        "passes": True,
        "jump": {"loop": {"made": 0.5, "scores": {}}, "loop point": {"made": None, "scores": {}}},
    }
    assert report.table(result).splitlines() == [
        "measure seam, clips 2",
        "        score",
        "passes  yes",
        "",
        "jump        made",
        "loop        0.500",
        "loop point  -",
    ]
