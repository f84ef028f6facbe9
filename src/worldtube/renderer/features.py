"""What a renderer reads: for each cell of the latent grid where its rays go, for each near body how they pass it.

Features are of rays in general (closest points of a few rays through a cell to a body, in the body's own axes and
radii; the same for rays from the ground to the sun, which make its shadow), not the ray caster's own formulas.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from worldtube.renderer import ground
from worldtube.renderer.scenes import NUM_ATTRIBUTES, NUM_SURROUNDINGS, Scenes

_OFFSETS = torch.tensor([[-0.25, -0.25], [0.25, -0.25], [-0.25, 0.25], [0.25, 0.25], [0.0, 0.0]])
"""Rays through a cell, in cells from its centre; the last is its centre."""
_GROUND_RAYS = 4
"""Rays per side of a cell that look up the pattern of the ground."""
_FAR = 8.0
"""Metres of the ground plane beyond which a ray counts as missing it."""
_FREQUENCIES = (0.4, 0.8)


@dataclass(frozen=True, kw_only=True)
class Features:
    """Features of I items of N cells and of the P pairs of a cell and a body near it."""

    pair: Tensor
    """(P, pair width)."""
    cell_of_pair: Tensor
    """int64 (P,): item * N + cell."""
    cell: Tensor
    """(I, N, cell width)."""
    covered: Tensor
    """bool (I, N): whether a body may be seen in the cell."""


def pair_width(stride: int) -> int:
    """Numbers per pair of a cell and a body."""
    samples, harmonics = len(_OFFSETS) - 1, 2 * len(_FREQUENCIES)
    per_instant = (
        3 * samples + samples + 3 * harmonics + 3
    )  # closest points, coverage, Fourier, ray
    shadow = 3 * samples + samples
    place = (
        3 + 1 + 1 + 1 + 1 + 1 + 1
    )  # up in body axes, depth, size, height, offset x and y, shadow
    return stride * (per_instant + shadow + place) + 3 + NUM_ATTRIBUTES


def cell_width() -> int:
    """Numbers per cell."""
    pattern = _GROUND_RAYS**2 * 3
    return 2 * (2 + 1 + 4 + pattern) + 2 + NUM_SURROUNDINGS + 6 + 1


@torch.no_grad()
def compute_features(scenes: Scenes, height: int, width: int) -> Features:
    """Compute the features of a latent grid of height x width cells."""
    cells = height * width
    view = _camera_axes(scenes)  # (I, S, 3, 3): rows right, up, forward
    axes = _canonical_axes(scenes, view)  # (I, K, S, 3, 3): rows are body axes in the world
    half = scenes.half_height[:, None, None]

    def project(points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(I, K, S, 3) -> column, row in cells and depth in metres, (I, K, S)."""
        seen = torch.einsum("bsij,bksj->bksi", view, points - scenes.eye[:, None])
        depth = seen[..., 2].clamp(min=0.5)
        column = 0.5 * width + 0.5 * height * seen[..., 0] / (depth * half)
        return column, 0.5 * height * (1 - seen[..., 1] / (depth * half)), depth

    position, sun = scenes.position, scenes.sun
    column, row, depth = project(position)
    radius = scenes.radius[..., None] / (depth * half) * height / 2  # (I, K, S) in cells
    foot = position * position.new_tensor([1.0, 1.0, 0.0])
    climb = position[..., 2:].clamp(min=0) / sun[:, None, None, 2:].clamp(min=0.1)
    shadow = position - sun[:, None, None] * climb
    grid_row, grid_column = torch.meshgrid(
        torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij"
    )
    grid_row, grid_column = grid_row.flatten(), grid_column.flatten()  # (N,)

    def near(x: Tensor, y: Tensor, reach_x: Tensor, reach_y: Tensor) -> Tensor:
        """bool (I, K, N): cells within an ellipse at any instant."""
        across = (x[..., None] - grid_column) / reach_x[..., None]
        down = (y[..., None] - grid_row) / reach_y[..., None]
        return (across.square() + down.square() < 1).any(2)

    covered = near(column, row, radius * 1.45 + 0.75, radius * 1.45 + 0.75)
    foot_column, foot_row, _ = project(foot)
    shadow_column, shadow_row, _ = project(shadow)
    touched = (
        covered
        | near(foot_column, foot_row, radius * 1.6 + 0.7, radius + 0.7)
        | near(shadow_column, shadow_row, radius * 2.2 + 0.7, radius * 1.2 + 0.7)
    )
    covered, touched = covered & scenes.exists[..., None], touched & scenes.exists[..., None]
    i, k, n = touched.nonzero(as_tuple=True)

    rays, hits, on_ground = _rays(scenes, view, height, width)  # (I, S, N, R, ...)
    body = axes[i, k]  # (P, S, 3, 3)
    centre, reach = position[i, k], scenes.radius[i, k][:, None, None, None]
    eye = torch.einsum("psij,psj->psi", body, scenes.eye[i] - centre)  # body axes
    direction = torch.einsum("psij,psrj->psri", body, rays[i, :, n])
    along = (eye[:, :, None] * direction).sum(-1, keepdim=True)
    closest = (eye[:, :, None] - along * direction) / reach  # (P, S, R, 3) in radii
    point = F.pad(on_ground[i, :, n], (0, 1)) - centre[:, :, None]
    point = torch.einsum("psij,psrj->psri", body, point)
    light = torch.einsum("psij,pj->psi", body, sun[i])[:, :, None]
    ahead = -(point * light).sum(
        -1, keepdim=True
    )  # metres from the ground to the body, towards the sun
    closest_to_light = (point + ahead * light) / reach
    central = closest[:, :, -1].clamp(-2.5, 2.5)
    waves = [wave(math.pi * f * central) for f in _FREQUENCIES for wave in (torch.sin, torch.cos)]
    lit = torch.log(ahead[:, :, -1, 0].abs() + 0.1) * (ahead[:, :, -1, 0] > 0)

    def coverage(points: Tensor) -> Tensor:
        return torch.sigmoid(4 * (1 - points.norm(dim=-1)))

    pair = torch.cat(
        [
            closest[:, :, :-1].clamp(-4, 4).flatten(2) / 1.5,
            coverage(closest[:, :, :-1]) * 2 - 0.5,
            *waves,
            direction[:, :, -1] * 1.5,
            closest_to_light[:, :, :-1].clamp(-4, 4).flatten(2) / 1.5,
            coverage(closest_to_light[:, :, :-1]) * (ahead[:, :, :-1, 0] > 0) * 2 - 0.5,
            body[..., 2] * 1.5,
            (depth[i, k, :, None] - 3) / 0.5,
            (radius[i, k, :, None] * 8 / height - 0.8) * 3,
            (centre[..., 2:] - 0.3) * 2,
            (column[i, k] - grid_column[n][:, None]).clamp(-3, 3)[..., None] / 1.5,
            (row[i, k] - grid_row[n][:, None]).clamp(-3, 3)[..., None] / 1.5,
            lit[..., None],
        ],
        dim=-1,
    ).flatten(1)
    pair = torch.cat([pair, light[:, -1, 0] * 1.5, scenes.attributes[i, k]], dim=-1)
    cell = _cell_features(scenes, view, hits, on_ground, height, width)
    return Features(pair=pair, cell_of_pair=i * cells + n, cell=cell, covered=covered.any(1))


def _camera_axes(scenes: Scenes) -> Tensor:
    forward = F.normalize(scenes.target - scenes.eye, dim=-1)
    up = forward.new_tensor([0.0, 0.0, 1.0]).expand_as(forward)
    right = F.normalize(torch.linalg.cross(forward, up), dim=-1)
    return torch.stack([right, torch.linalg.cross(right, forward), forward], dim=-2)


def _canonical_axes(scenes: Scenes, view: Tensor) -> Tensor:
    """Axes (I, K, S, 3, 3) of each body, rows, the same for rotations that look the same: those of round bodies turn
    to the viewer, boxes show their nearest side, both ends of boxes and cylinders are alike."""
    toward = F.normalize(scenes.position - scenes.eye[:, None], dim=-1)
    shape = scenes.shape[..., None, None]
    z, x = scenes.rotation[..., 2], scenes.rotation[..., 0]
    z = torch.where(shape == 0, z.new_tensor([0.0, 0.0, 1.0]), z)
    last_up, last_right = view[:, None, -1, 1], view[:, None, -1, 0]
    facing = (z[:, :, -1] * (last_up + 0.4 * last_right)).sum(-1)[..., None, None]
    z = torch.where(((shape == 1) | (shape == 2)) & (facing < 0), -z, z)
    y = torch.linalg.cross(z, x)
    sides = torch.stack([x, y, -x, -y], dim=2)  # (I, K, 4, S, 3)
    nearest = (sides[..., -1, :] * toward[:, :, None, -1]).sum(-1).argmax(-1)
    index = nearest[..., None, None, None].expand(-1, -1, 1, *sides.shape[3:])
    boxed = sides.gather(2, index)[:, :, 0]
    turned = F.normalize(toward - z * (toward * z).sum(-1, keepdim=True), dim=-1)
    x = torch.where(shape == 1, boxed, turned)
    return torch.stack([x, torch.linalg.cross(z, x), z], dim=-2)


def _directions(
    scenes: Scenes, view: Tensor, column: Tensor, row: Tensor, height: int, width: int
) -> Tensor:
    """Unit vectors (I, S, ..., 3) through points (...) of the picture, in cells."""
    half = scenes.half_height[(slice(None), *([None] * column.ndim))]
    x = (column - width / 2) * 2 / height * half
    y = (height / 2 - row) * 2 / height * half
    local = torch.stack([x, y, torch.ones_like(x)], dim=-1)  # (I, ..., 3)
    return F.normalize(torch.einsum("bsij,b...i->bs...j", view, local), dim=-1)


def _hit_ground(scenes: Scenes, rays: Tensor) -> tuple[Tensor, Tensor]:
    """Whether rays (I, S, ..., 3) meet the plane of the table, bool (I, S, ...), and where, (I, S, ..., 2)."""
    extra = [None] * (rays.ndim - 3)
    eye = scenes.eye[(slice(None), slice(None), *extra)]
    distance = -eye[..., 2:] / rays[..., 2:].clamp(max=-1e-3)
    point = eye[..., :2] + distance * rays[..., :2]
    hit = (rays[..., 2] < -0.02) & (point.abs().amax(-1) < _FAR)
    return hit, torch.where(hit[..., None], point, torch.zeros(()))


def _rays(scenes: Scenes, view: Tensor, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Rays (I, S, N, R, 3) through every cell, whether they meet the ground and where (I, S, N, R, 2)."""
    row, column = torch.meshgrid(
        torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij"
    )
    column = column.flatten()[:, None] + _OFFSETS[:, 0]
    row = row.flatten()[:, None] + _OFFSETS[:, 1]
    rays = _directions(scenes, view, column, row, height, width)
    return rays, *_hit_ground(scenes, rays)


def _cell_features(
    scenes: Scenes, view: Tensor, hits: Tensor, on_ground: Tensor, height: int, width: int
) -> Tensor:
    """(I, N, cell_width()): where the centre of a cell meets the table at the first and the last instant, the pattern
    there, the place in the picture, the surroundings and the camera."""
    ends = [0, -1]
    centre, hit = on_ground[:, ends, :, -1], hits[:, ends, :, -1]  # (I, 2, N, 2)
    left, right, front, back = scenes.table[:, None, None].unbind(-1)
    inside = torch.stack(
        [
            centre[..., 0] - left,
            right - centre[..., 0],
            centre[..., 1] - front,
            back - centre[..., 1],
        ],
        dim=-1,
    ).clamp(-0.5, 0.5)
    pattern = _ground_pattern(scenes, view, height, width)  # (I, 2, N, ...)
    at_ends = torch.cat([centre.clamp(-3, 3), hit[..., None].float(), inside * 2, pattern], dim=-1)
    row, column = torch.meshgrid(
        torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij"
    )
    place = torch.stack([2 * column / width - 1, 2 * row / height - 1], dim=-1).flatten(0, 1)
    eye, target = scenes.eye[:, 0], scenes.target[:, 0]
    camera = torch.cat(
        [
            (eye - eye.new_tensor([0.0, -2.9, 1.6])) * 4,
            (target - eye.new_tensor([0.0, 0.05, 0.43])) * 8,
        ],
        dim=-1,
    )
    whole = torch.cat([scenes.surroundings, camera, scenes.first[:, None].float()], dim=-1)
    items, cells = len(scenes), height * width
    return torch.cat(
        [
            at_ends.transpose(1, 2).flatten(2),
            place.expand(items, cells, 2),
            whole[:, None].expand(items, cells, whole.shape[-1]),
        ],
        dim=-1,
    )


def _ground_pattern(scenes: Scenes, view: Tensor, height: int, width: int) -> Tensor:
    """(I, 2, N, rays * 3): share of the second colour, brightness, and whether it is the table at all."""
    n = _GROUND_RAYS
    fine_row, fine_column = torch.meshgrid(
        (torch.arange(height * n) + 0.5) / n, (torch.arange(width * n) + 0.5) / n, indexing="ij"
    )
    ends = [0, -1]
    part = Scenes(**{**vars(scenes), "eye": scenes.eye[:, ends], "target": scenes.target[:, ends]})
    rays = _directions(
        part, view[:, ends], fine_column.flatten(), fine_row.flatten(), height, width
    )
    hit, point = _hit_ground(part, rays)  # (I, 2, M), (I, 2, M, 2)
    left, right, front, back = scenes.table[:, None, None].unbind(-1)
    on_table = hit & (point[..., 0] > left) & (point[..., 0] < right)
    on_table &= (point[..., 1] > front) & (point[..., 1] < back)
    place = torch.where(
        on_table[..., None], point + scenes.ground_offset[:, None, None], torch.zeros(())
    )
    share, shade = ground.look_up(scenes.ground, place[..., 0], place[..., 1])
    zero = torch.zeros(())
    values = torch.stack(
        [
            torch.where(on_table, (share - 0.4) * 2, zero),
            torch.where(on_table, (shade - 1) * 8, zero),
            on_table.float() * 2 - 1,
        ],
        dim=-1,
    )  # (I, 2, M, 3)
    values = values.unflatten(2, (height, n, width, n))
    return values.permute(0, 1, 2, 4, 3, 5, 6).flatten(4).flatten(2, 3)
