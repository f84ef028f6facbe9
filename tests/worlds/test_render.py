"""The ray caster against geometry: sizes, depths and shadows that can be worked out by hand."""

import math

import numpy as np
import pytest

from worldtube.errors import RequestError
from worldtube.video import Size
from worldtube.worlds import render
from worldtube.worlds.world import COLOURS, Camera

CAMERA = Camera(position=(0.0, -3.0, 1.6), target=(0.0, 0.0, 0.4))
SIZE = Size(96, 96)


def scene(*solids, colours=("red",), materials=("rubber",), **changes) -> render.Scene:
    """Solids are (kind, position, sizes); they stand upright."""
    count = len(solids)
    names = [colours[k % len(colours)] for k in range(count)]
    return render.Scene(
        kinds=np.array([kind for kind, _, _ in solids], np.int64),
        positions=np.array([at for _, at, _ in solids], float).reshape(-1, 3),
        rotations=np.tile(np.eye(3), (count, 1, 1)),
        sizes=np.array([(*size, 0, 0, 0, 0)[:4] for _, _, size in solids], float).reshape(-1, 4),
        colours=np.array([render.linear(render.PALETTE[n]) for n in names]).reshape(-1, 3),
        materials=np.array(
            [render.MATERIALS.index(materials[k % len(materials)]) for k in range(count)]
        ),
        object_ids=np.arange(1, count + 1),
        **changes,
    )


BALL = (render.SPHERE, (0.0, 0.0, 0.4), (0.27,))
SOLIDS = {
    "ball": BALL,
    "box": (render.BOX, (0.0, 0.0, 0.25), (0.25, 0.25, 0.25)),
    "cylinder": (render.CYLINDER, (0.0, 0.0, 0.25), (0.23, 0.25)),
    "cup": (render.CUP, (0.0, 0.0, 0.28), (0.27, 0.21, 0.28, 0.03)),
}


def test_a_ball_covers_the_disc_that_it_should():
    _, ids, depth = render.render(scene(BALL), CAMERA, Size(256, 256), supersample=1)
    distance = math.dist(CAMERA.position, BALL[1])
    # The outline is the cone of half angle asin(r / d) around the middle of the picture.
    radius = math.tan(math.asin(0.27 / distance)) / math.tan(math.radians(17.5)) * 128
    assert (ids == 1).sum() == pytest.approx(math.pi * radius**2, rel=0.005)
    rows, columns = np.nonzero(ids == 1)
    assert rows.mean() == pytest.approx(127.5, abs=0.1) and columns.mean() == pytest.approx(
        127.5, abs=0.1
    )
    assert depth[128, 128] == pytest.approx(distance - 0.27, abs=0.002)


def test_project_agrees_with_the_masks():
    at = (0.4, 0.3, 0.5)
    _, ids, depth = render.render(scene((render.SPHERE, at, (0.1,))), CAMERA, SIZE)
    x, y, _ = render.project(CAMERA, np.array(at))
    rows, columns = np.nonzero(ids == 1)
    assert (columns.mean() + 0.5) / 96 == pytest.approx(x, abs=0.005)
    assert (rows.mean() + 0.5) / 96 == pytest.approx(y, abs=0.005)
    assert depth[rows, columns].min() == pytest.approx(
        math.dist(at, CAMERA.position) - 0.1, abs=0.01
    )


@pytest.mark.parametrize("shape", SOLIDS)
def test_depth_lies_on_the_solid(shape):
    """Every pixel of a solid, taken back into space by its depth, is a point of its surface."""
    kind, at, size = SOLIDS[shape]
    _, ids, depth = render.render(scene(SOLIDS[shape]), CAMERA, SIZE)
    eye, right, up, forward = render.camera_axes(CAMERA)
    rows, columns = np.nonzero(ids == 1)
    scale = math.tan(math.radians(17.5)) / 48
    rays = (
        forward
        + ((columns + 0.5 - 48) * scale)[:, None] * right
        + ((48 - rows - 0.5) * scale)[:, None] * up
    )
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    p = eye + rays * depth[rows, columns, None] - np.array(at)
    across = np.hypot(p[:, 0], p[:, 1])
    if kind == render.SPHERE:
        off = np.abs(np.linalg.norm(p, axis=1) - size[0])
    elif kind == render.BOX:
        off = np.abs((np.abs(p) / size).max(1) - 1) * size[0]
    elif kind == render.CYLINDER:
        off = np.minimum(np.abs(across - size[0]), np.abs(np.abs(p[:, 2]) - size[1]))
    else:
        top, bottom, half, wall = size
        outer = 0.5 * (top + bottom) + (top - bottom) / (2 * half) * p[:, 2]
        ends = np.minimum(np.abs(p[:, 2] - half), np.abs(p[:, 2] + half - wall))
        off = np.minimum(np.minimum(np.abs(across - outer), np.abs(across - outer + wall)), ends)
        assert (np.abs(across - outer + wall) < 1e-3).any(), "the inside of a cup is seen"
    assert len(rows) > 300 and off.max() < 1e-3


def test_the_same_scene_gives_the_same_picture():
    first = render.render(scene(*SOLIDS.values()), CAMERA, SIZE)
    again = render.render(scene(*SOLIDS.values()), CAMERA, SIZE)
    assert all((a == b).all() for a, b in zip(first, again, strict=True))


def test_size_and_supersampling_keep_the_picture():
    small = render.render(scene(BALL), CAMERA, Size(48, 48), supersample=4)[0].astype(float)
    large = render.render(scene(BALL), CAMERA, SIZE, supersample=2)[0].astype(float)
    assert np.abs(small - large.reshape(48, 2, 48, 2, 3).mean((1, 3))).mean() < 1.5
    assert render.render(scene(BALL), CAMERA, Size(40, 24))[0].shape == (24, 40, 3)


def test_a_shadow_falls_away_from_the_sun():
    low = (render.SPHERE, (0.0, 0.0, 0.2), (0.2,))
    bare = scene(sun=(-1.0, 0.0, 1.0), ground=2)
    with_ball = scene(low, sun=(-1.0, 0.0, 1.0), ground=2)
    before = render.render(bare, CAMERA, SIZE)[0].astype(float).sum(2)
    after, ids, _ = render.render(with_ball, CAMERA, SIZE)
    darker = (before - after.astype(float).sum(2)) * (ids == 0)
    assert darker.max() > 100
    assert (darker[:, 48:] > 60).sum() > 10 * max(1, (darker[:, :40] > 60).sum())


def test_nearer_things_hide_farther_ones():
    near, far = (render.SPHERE, (0, -0.5, 0.4), (0.1,)), (render.SPHERE, (0, 0.3, 0.25), (0.3,))
    for order in ((near, far), (far, near)):
        _, ids, depth = render.render(scene(*order), CAMERA, SIZE)
        x, y, _ = render.project(CAMERA, np.array(near[1], float))
        assert ids[int(y * 96), int(x * 96)] == 1 + order.index(near)
        assert (depth[ids == 1 + order.index(near)].max()) < depth[
            ids == 1 + order.index(far)
        ].min()


@pytest.mark.parametrize("material", ["rubber", "plastic", "metal", "wood"])
def test_colours_are_told_apart(material):
    """The median colour of a ball is nearest to its own name among all balls, in hue and brightness."""
    seen = {}
    for colour in COLOURS:
        rgb, ids, _ = render.render(
            scene(BALL, colours=(colour,), materials=(material,)), CAMERA, SIZE
        )
        seen[colour] = np.median(rgb[ids == 1].astype(float), axis=0)
    for a in COLOURS:
        for b in COLOURS:
            if a != b:
                assert np.linalg.norm(seen[a] - seen[b]) > 45, (a, b, seen[a], seen[b])


@pytest.mark.parametrize("ground", range(len(render.GROUNDS)))
@pytest.mark.parametrize("sky", range(len(render.SKIES)))
def test_surroundings_are_muted(ground, sky):
    rgb, _, _ = render.render(scene(ground=ground, sky=sky), CAMERA, SIZE)
    rgb = rgb.astype(float)
    assert (rgb.max(2) - rgb.min(2)).max() < 60
    assert 60 < np.median(rgb[48:]) < 190


def test_an_empty_scene_has_no_ids():
    _, ids, depth = render.render(scene(), CAMERA, SIZE)
    assert not ids.any() and (depth > 1).all() and (depth < 50).all()


def test_supersample_out_of_range_is_refused():
    with pytest.raises(RequestError, match="supersample is 9"):
        render.render(scene(BALL), CAMERA, SIZE, supersample=9)


def test_no_ray_leaps_over_thin_water():
    """Where there is a sheet of water 3 cm thick over the table, every pixel shows water, and where it is."""
    spacing = 0.03
    z = np.arange(9) * spacing - 0.15
    density = np.maximum(0.015 - np.abs(z - 0.03), -0.045).astype(np.float32)
    sheet = render.Water(
        density=np.broadcast_to(density, (60, 40, 9)),
        origin=(-0.885, -0.585, float(z[0])),
        spacing=spacing,
        level=0.0,
    )
    _, ids, depth = render.render(scene(water=sheet), CAMERA, Size(200, 200), supersample=1)
    corners = np.array([[a, b, 0.045] for a in (-0.8, 0.8) for b in (-0.5, 0.5)])
    x, y, _ = render.project(CAMERA, corners).T
    left, right = (200 * bound(x[[1, 3]]) for bound in (np.min, np.max))  # of the far edge
    inside = slice(int(200 * y.min()) + 1, int(200 * y.max())), slice(int(left) + 1, int(right))
    assert ids[inside].size > 5000
    assert (ids[inside] == 200).all()
    # Down to the surface along each ray.
    eye, right_axis, up, forward = render.camera_axes(CAMERA)
    row, column = np.mgrid[inside]
    half = math.tan(math.radians(17.5))
    across, away = (column + 0.5) / 100 - 1, 1 - (row + 0.5) / 100
    ways = forward + half * (across[..., None] * right_axis + away[..., None] * up)
    expected = (0.045 - eye[2]) / (ways / np.linalg.norm(ways, axis=-1, keepdims=True))[..., 2]
    np.testing.assert_allclose(depth[inside], expected, atol=2e-3)
