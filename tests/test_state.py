"""The readable form of a state: what goes out comes in again, and what is wrong with it is named."""

import copy
import json
import random
from dataclasses import replace

import numpy as np
import pytest

from worldtube.codec import plan as plan_tokens
from worldtube.errors import DataError, RequestError
from worldtube.generate import TASKS
from worldtube.generate.plan import SLOTS
from worldtube.generate.request import MAX_FPS as REQUEST_FPS
from worldtube.renderer import scenes
from worldtube.state import (
    MAX_BODIES,
    MAX_FPS,
    NAMES,
    State,
    check_state,
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
        (lambda d: d.update(bodies={"a": 1}), "bodies must be a list, got dict"),
        (lambda d: d["bodies"][0].update(colour=5), r"bodies\[0\].colour must be a name, got 5"),
        (lambda d: d["bodies"][0].update(mass="heavy"), r"bodies\[0\].mass must be numbers"),
        (
            lambda d: d["bodies"][0].update(mass=1e39),
            "mass must be finite numbers of at most 1e.12, got 1e.39",
        ),
        (lambda d: d.update(fps=10**400), "fps must be numbers"),
    ],
)
def test_mistakes_are_named(state, change, message):
    data = copy.deepcopy(state.to_json())
    change(data)
    with pytest.raises(DataError, match=message):
        State.from_json(data)


def crowd(data):
    """Five bodies where four are accepted."""
    data["bodies"] = [copy.deepcopy(data["bodies"][0]) for _ in range(5)]


def beside(data, *, metres, shape="ball", lengths=(0.2, 0, 0, 0)):
    """Two bodies of one shape, so many metres from centre to centre."""
    first = data["bodies"][0] | {"shape": shape, "dimensions": list(lengths)}
    second = copy.deepcopy(first)
    for row in second["positions"]:
        row[0] += metres
    data["bodies"] = [first, second]


OUTSIDE = [
    (lambda d: d.update(fps=0.5), "fps must be between 1 and 120, got 0.5"),
    (lambda d: d.update(fps=240), "fps must be between 1 and 120, got 240"),
    (crowd, "bodies must be 1 to 4, got 5"),
    (lambda d: d["bodies"].clear(), "bodies must be 1 to 4, got 0"),
    (
        lambda d: d["bodies"][0].update(colour="pink"),
        "bodies[0].colour must be one of red, orange, yellow, green, blue, purple, white, black, got 'pink'",
    ),
    (
        lambda d: d["bodies"][0].update(shape="cone"),
        "bodies[0].shape must be one of ball, box, cylinder, cup, got 'cone'",
    ),
    (
        lambda d: d["bodies"][0].update(material="paper"),
        "bodies[0].material must be one of rubber, plastic, metal, wood, glass, got 'paper'",
    ),
    (
        lambda d: d["bodies"][0].update(size="huge"),
        "bodies[0].size must be one of small, large, got 'huge'",
    ),
    (
        lambda d: d["surroundings"].update(ground="mud"),
        "surroundings.ground must be one of wood, tiles, cloth, stone, checker, got 'mud'",
    ),
    (
        lambda d: d["surroundings"].update(sky="night"),
        "surroundings.sky must be one of day, dusk, studio, mint, got 'night'",
    ),
    (
        lambda d: d["surroundings"].update(table=[1, -1, -1, 1]),
        "surroundings.table must be left, right, front and back edge in order, got [1.0, -1.0, -1.0, 1.0]",
    ),
    (lambda d: d["surroundings"].update(sun=[0, 0, 0]), "surroundings.sun must point somewhere"),
    (
        lambda d: d["camera"].update(field_of_view=179),
        "camera.field_of_view must be between 5 and 120 degrees, got 179",
    ),
    (
        lambda d: d["camera"].update(targets=d["camera"]["positions"]),
        "camera.positions and camera.targets must be 0.01 m apart in x and y, got 0 m",
    ),
    (
        lambda d: d["bodies"][0].update(shape="ball", dimensions=[0, 0, 0, 0]),
        "bodies[0].dimensions[0] must be between 0.01 and 2 m, got 0",
    ),
    (
        lambda d: d["bodies"][0].update(mass=-1),
        "bodies[0].mass must be between 0.001 and 1000 kilograms, got -1",
    ),
    (
        lambda d: d["bodies"][0].update(restitution=2),
        "bodies[0].restitution must be between 0 and 1, got 2",
    ),
    (
        lambda d: d["bodies"][0]["positions"].__setitem__(0, [320, 0, 1]),
        "bodies[0] must begin between -20 and 20 m in x, got 320 m",
    ),
    (
        lambda d: d["bodies"][0]["positions"].__setitem__(0, [0, 0, -5]),
        "bodies[0] must begin between -1 and 20 m in z, got -5 m",
    ),
    (
        lambda d: d["bodies"][0]["positions"].__setitem__(3, [0, 2e6, 0]),
        "bodies[0].positions must be within 1000 m of the origin, got 2e+06 m",
    ),
    (
        lambda d: d["camera"]["positions"].__setitem__(1, [0, 0, 2e6]),
        "camera.positions must be within 1000 m of the origin, got 2e+06 m",
    ),
    (
        lambda d: d["bodies"][0]["velocities"].__setitem__(0, [300, 0, 0]),
        "bodies[0].velocities must be at most 100 m/s, got 300",
    ),
    (
        lambda d: beside(d, metres=0.1),
        "bodies[1] must begin outside of bodies[0], got centres 0.1 m apart",
    ),
    (
        lambda d: beside(d, metres=0.05, shape="box", lengths=(0.1, 0.1, 0.1, 0)),
        "bodies[1] must begin outside of bodies[0], got centres 0.05 m apart",
    ),
    (
        lambda d: beside(d, metres=0.05, shape="cylinder", lengths=(0.1, 0.2, 0, 0)),
        "bodies[1] must begin outside of bodies[0], got centres 0.05 m apart",
    ),
]


@pytest.mark.parametrize(("change", "message"), OUTSIDE)
def test_what_cannot_be_drawn_is_named(state, change, message):
    data = copy.deepcopy(state.to_json())
    change(data)
    with pytest.raises(RequestError) as error:
        TASKS["reproduce"](State.from_json(data))
    assert message in str(error.value)


ODD = (
    None,
    True,
    -1,
    0,
    1e308,
    10**400,
    "",
    "x",
    [],
    {},
    [[]],
    [{"a": 1}],
    float("inf"),
    [1, 2],
    [[1, 2, 3]],
    1e39,
)


def places(value, path=()):
    """Paths of the values of a readable form, of long lists the first three."""
    items = value.items() if isinstance(value, dict) else enumerate(value[:3])
    for key, inner in items:
        yield (*path, key)
        if isinstance(inner, dict | list):
            yield from places(inner, (*path, key))


def test_whatever_stands_in_it_ends_in_a_sentence(state):
    data = state.to_json()
    rng, accepted = random.Random(0), 0
    for path in [*places(data)] * 3:
        changed = copy.deepcopy(data)
        inner = changed
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = rng.choice(ODD)
        try:
            check_state(State.from_json(changed))
            accepted += 1
        except (DataError, RequestError) as error:
            assert len(str(error)) < 400
    assert accepted > 10, "-1 and 0 are fine in many places"


def test_what_a_cup_holds_and_what_touches_is_accepted(state):
    data = copy.deepcopy(state.to_json())
    beside(data, metres=0.39)
    check_state(State.from_json(data))
    data["bodies"][0].update(shape="cup", dimensions=[0.27, 0.2, 0.28, 0.03])
    data["bodies"][1]["positions"] = data["bodies"][0]["positions"]
    check_state(State.from_json(data))


def test_water_and_glass_are_for_the_engines_that_know_them(state):
    from worldtube.worlds import pour
    from worldtube.worlds.pour.engine import simulate
    from worldtube.worlds.tabletop.physics import continue_state

    poured = simulate(pour.plan(1), num_frames=2)[0]
    assert TASKS["reproduce"](poured, renderer="engine").num_frames == 2
    glass = replace(state, bodies=(replace(state.bodies[0], material="glass"), *state.bodies[1:]))
    check_state(glass)
    with pytest.raises(RequestError, match=r"bodies\[0\].material must be one of rubber, plastic"):
        continue_state(glass, 1)


def test_what_worlds_make_is_accepted():
    from worldtube.worlds.tabletop.plan import plan

    for seed in range(40):
        check_state(engine.simulate(plan(seed), num_frames=2)[0])


def test_names_are_those_of_all_that_reads_states():
    for module in (plan_tokens, scenes):
        for field, names in NAMES.items():
            known = getattr(module, "SKIES" if field == "sky" else f"{field.upper()}S", names)
            more = {"glass"} if module is plan_tokens else set()  # no plan has any
            assert set(names) - more <= set(known), (module, field)
    assert (MAX_BODIES, MAX_FPS) == (SLOTS, REQUEST_FPS)


def test_bodies_may_only_begin(state):
    data = copy.deepcopy(state.to_json())
    for body in data["bodies"]:
        for name in ("positions", "rotations", "velocities", "spins"):
            body[name] = body[name][:1]
    begun = State.from_json(data)
    assert (begun.num_frames, len(begun.camera), begun.seconds) == (1, 4, 4 / 12)
    assert State.from_json(begun.to_json()).num_frames == 1
    assert TASKS["reproduce"](begun).num_frames == 4
    data["bodies"][0]["positions"] *= 2
    with pytest.raises(DataError, match=r"bodies\[0\].positions must be 4 x 3 finite numbers"):
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
