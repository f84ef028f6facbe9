"""Water falls as stones do, stays in a cup that stands still, and never crosses a wall."""

import numpy as np
import pytest

from worldtube.worlds import fluid

CELL, SUBSTEPS, FPS = 0.05, 50, 12
DOMAIN = fluid.Domain(
    low=(-1.0, -1.0, -0.4), cells=(48, 40, 48), cell=CELL, table=(-0.8, 0.8, -0.8, 0.8)
)
CUP = fluid.Vessel(top_radius=0.16, bottom_radius=0.125, height=0.33, wall=0.018)
NO_BALL = (np.zeros((SUBSTEPS, 0, 3)), np.zeros((SUBSTEPS, 0, 3)), np.zeros(0))
NO_CUP = (
    np.zeros((SUBSTEPS, 0, 3)),
    np.zeros((SUBSTEPS, 0, 3, 3)),
    np.zeros((SUBSTEPS, 0, 3)),
    np.zeros((SUBSTEPS, 0, 3)),
)


def cup_at(x: np.ndarray, velocity: np.ndarray) -> tuple[np.ndarray, ...]:
    """An upright cup that slides along x."""
    position, speed = np.zeros((SUBSTEPS, 1, 3)), np.zeros((SUBSTEPS, 1, 3))
    position[:, 0, 0], speed[:, 0, 0] = x, velocity
    return (
        position,
        np.tile(np.eye(3), (SUBSTEPS, 1, 1, 1)),
        speed,
        np.zeros((SUBSTEPS, 1, 3)),
    )


def filled(share: float = 0.6) -> fluid.Water:
    depth = share * (CUP.height - CUP.wall)
    points = fluid.lattice(CUP, depth, CELL / 2, np.random.default_rng(0))
    water = fluid.Water(DOMAIN, (CUP,), points, spacing=CELL / 2)
    water.side[:] = fluid.INSIDE
    water.settle(CUP.wall + depth)
    return water


def run(water: fluid.Water, cups: tuple[np.ndarray, ...], frames: int) -> None:
    for _ in range(frames):
        water.advance(1 / FPS / SUBSTEPS, cups, NO_BALL)


def test_a_falling_blob_accelerates_at_g():
    rng = np.random.default_rng(1)
    points = rng.uniform(-0.1, 0.1, (300, 3)) + np.array((0.0, 0.0, 1.2))
    water = fluid.Water(DOMAIN, (), points, spacing=CELL / 2)
    run(water, NO_CUP, 4)
    seconds = 4 / FPS
    assert -water.v[:, 2].mean() / seconds == pytest.approx(fluid.GRAVITY, rel=0.05)
    fallen = points[:, 2].mean() - water.x[:, 2].mean()
    assert fallen == pytest.approx(0.5 * fluid.GRAVITY * seconds**2, rel=0.05)


def test_water_at_rest_stays_at_rest():
    water = filled()
    before = water.x[:, 2].mean() - CUP.wall
    run(water, cup_at(np.zeros(SUBSTEPS), np.zeros(SUBSTEPS)), 20)
    assert (water.side == fluid.INSIDE).all()
    assert np.hypot(water.x[:, 0], water.x[:, 1]).max() < CUP.top_radius - CUP.wall
    assert water.x[:, 2].min() > CUP.wall
    assert abs(water.v).max() < 0.2
    assert water.x[:, 2].mean() - CUP.wall == pytest.approx(before, rel=0.2)
    assert abs(water.volume_drift()) < 0.05


def test_shaken_water_splashes_but_never_crosses_the_wall():
    water = filled(0.45)
    depth = np.percentile(water.x[:, 2], 90)
    for frame in range(24):
        t = (frame + (np.arange(SUBSTEPS) + 1) / SUBSTEPS) / FPS
        shake = np.where(t < 1.0, 0.03, 0.0)
        omega = 4 * np.pi
        water.advance(
            1 / FPS / SUBSTEPS,
            cup_at(shake * np.sin(omega * t), shake * omega * np.cos(omega * t)),
            NO_BALL,
        )
        inside = water.side[:, 0] == fluid.INSIDE
        assert inside.mean() > 0.98
        assert np.isfinite(water.x).all()
        outer = (
            CUP.bottom_radius
            + (CUP.top_radius - CUP.bottom_radius) * water.x[inside, 2] / CUP.height
        )
        reach = np.hypot(water.x[inside, 0] - (shake * np.sin(omega * t))[-1], water.x[inside, 1])
        assert (reach < outer).all()
    # It comes to rest about as deep as it was: splashing does not make more water.
    assert np.percentile(water.x[:, 2], 90) == pytest.approx(depth, rel=0.2)


def test_energy_never_grows_by_itself():
    rng = np.random.default_rng(2)
    points = rng.uniform(-0.12, 0.12, (400, 3)) + np.array((0.0, 0.0, 0.5))
    water = fluid.Water(DOMAIN, (), points, spacing=CELL / 2)
    before = water.energy()
    for _ in range(10):
        run(water, NO_CUP, 1)
        now = water.energy()
        assert now < before * 1.02
        before = now


def test_water_runs_off_the_edge_of_the_table():
    rng = np.random.default_rng(3)
    points = rng.uniform(-0.1, 0.1, (400, 3)) + np.array((0.75, 0.0, 0.15))
    water = fluid.Water(DOMAIN, (), points, spacing=CELL / 2)
    run(water, NO_CUP, 6)
    on_table = (water.x[:, 0] < 0.8) & water.alive
    assert water.x[on_table, 2].min() > -CELL
    assert water.x[:, 2].min() < -0.1


def test_the_surface_has_a_layer_for_each_side():
    water = filled()
    field = fluid.surface(
        water.x,
        water.alive,
        0.0,
        water.side,
        np.array((-0.3, -0.3, -0.1)),
        0.03,
        0.05,
        0.016,
        (20, 20, 20),
    )
    assert field.shape == (2, 20, 20, 20)
    assert (field[0] < 0).all()
    assert field[1].max() > 0
