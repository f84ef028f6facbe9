"""Rigid bodies of many scenes in one flat list: what does not change about them, their geometry, who may touch whom.

N bodies of all scenes lie behind one another; bodies of one scene have the same `scene` index. Shapes are rounded
convex bodies: a core (point, box or cylinder) widened by a radius; a cup counts as the solid hull that it fills.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from worldtube.state import Body, Poses

SHAPES = ("ball", "box", "cylinder", "cup")
"""The order is part of every saved model."""

GRAVITY = 9.81
"""Metres per second squared."""

NUM_ATTRIBUTES = 12
"""Width of `Bodies.attributes`."""

_CORNER_SIGNS = torch.tensor(
    [[x, y, z] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)]
)
_EDGE_NORMALS = torch.tensor([[-1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 1.0, 0.0]])


class Motion(NamedTuple):
    """Where N bodies are and how they move at one instant (or, with a dimension more, over time)."""

    position: Tensor
    """(N, 3) metres."""
    rotation: Tensor
    """(N, 3, 3) body axes to world axes."""
    velocity: Tensor
    """(N, 3) metres per second."""
    spin: Tensor
    """(N, 3) radians per second, world axes."""

    @classmethod
    def from_poses(cls, poses: Sequence[Poses], frame: int = 0) -> "Motion":
        """One instant of several scenes, flat."""

        def flat(name: str) -> Tensor:
            return torch.from_numpy(np.concatenate([getattr(p, name)[frame] for p in poses]))

        return cls(flat("positions"), flat("rotations"), flat("velocities"), flat("spins"))


@dataclass(frozen=True, kw_only=True)
class Bodies:
    """N bodies of several scenes; tensors are float32 unless said otherwise."""

    shape: Tensor
    """int64 (N,), index into SHAPES."""
    half: Tensor
    """(N, 3) half extents of the box that holds the body, body axes, metres."""
    bottom: Tensor
    """(N,) radius at the lower end: smaller than `half[:, 0]` for a cup."""
    mass: Tensor
    """(N,) kilograms."""
    friction: Tensor
    """(N,)"""
    restitution: Tensor
    """(N,)"""
    table: Tensor
    """(N, 4) left, right, front and back edge of the table below each body, in the table's own frame."""
    to_table: Tensor
    """(N, 3, 3) orthogonal: world axes to the table's frame."""
    scene: Tensor
    """int64 (N,) not decreasing."""
    pairs: tuple[Tensor, Tensor]
    """int64 (E,), (E,): receiver and sender of every ordered pair of bodies of one scene."""

    @classmethod
    def from_scenes(
        cls,
        bodies: Sequence[Sequence[Body]],
        tables: Sequence[tuple[float, float, float, float]],
    ) -> "Bodies":
        """The bodies of several scenes, each with its table."""
        flat = [body for scene in bodies for body in scene]
        counts = [len(scene) for scene in bodies]
        columns = torch.tensor(
            [(*body.dimensions, body.mass, body.friction, body.restitution) for body in flat],
            dtype=torch.float32,
        ).reshape(-1, 7)
        return cls.from_columns(
            shape=torch.tensor([SHAPES.index(body.shape) for body in flat], dtype=torch.long),
            dimensions=columns[:, :4],
            mass=columns[:, 4],
            friction=columns[:, 5],
            restitution=columns[:, 6],
            table=torch.tensor(tables, dtype=torch.float32).reshape(-1, 4),
            counts=torch.tensor(counts, dtype=torch.long),
        )

    @classmethod
    def from_columns(
        cls,
        *,
        shape: Tensor,
        dimensions: Tensor,
        mass: Tensor,
        friction: Tensor,
        restitution: Tensor,
        table: Tensor,
        counts: Tensor,
        to_table: Tensor | None = None,
    ) -> "Bodies":
        """Bodies from flat columns (N, ...).

        Per scene there are the edges of the table (S, 4), how many bodies it has (S,), and `to_table` (S, 3, 3).
        """
        scene = torch.repeat_interleave(torch.arange(len(counts)), counts)
        a, b, c, _ = dimensions.unbind(1)
        is_ball, is_box, is_cylinder, is_cup = (shape == k for k in range(4))
        height = torch.where(is_cylinder, b, torch.where(is_ball, a, c))
        if to_table is None:
            to_table = torch.eye(3).expand(len(counts), 3, 3)
        return cls(
            shape=shape,
            half=torch.stack([a, torch.where(is_box, b, a), height], dim=-1),
            bottom=torch.where(is_cup, b, a),
            mass=mass,
            friction=friction,
            restitution=restitution,
            table=table[scene],
            to_table=to_table[scene],
            scene=scene,
            pairs=_pairs(scene, counts),
        )

    def __len__(self) -> int:
        return len(self.shape)

    @property
    def is_ball(self) -> Tensor:
        return self.shape == 0

    @property
    def is_box(self) -> Tensor:
        return self.shape == 1

    @property
    def is_cup(self) -> Tensor:
        return self.shape == 3

    @property
    def roundness(self) -> Tensor:
        """(N,) radius by which the core is widened, metres."""
        thin = torch.minimum(self.half[:, 0], self.half[:, 2])
        return torch.where(self.is_ball, self.half[:, 0], 0.25 * thin.clamp(max=0.16))

    @property
    def reach(self) -> Tensor:
        """(N,) radius of a sphere around the centre that holds the body."""
        return torch.where(self.is_ball, self.half[:, 0], self.half.norm(dim=-1))

    @property
    def attributes(self) -> Tensor:
        """(N, NUM_ATTRIBUTES) what a network reads, of order one."""
        return torch.cat(
            [
                F.one_hot(self.shape, len(SHAPES)).float(),
                self.half * 4 - 1,
                (self.bottom * 4 - 1)[:, None],
                (self.friction * 2 - 0.8)[:, None],
                ((self.friction + 0.01).log() / 2 + 0.5)[:, None],
                (self.restitution * 2 - 0.5)[:, None],
                (self.mass.clamp(min=0.1).log() / 2 - 0.5)[:, None],
            ],
            dim=-1,
        )

    def support_points(self, rotation: Tensor) -> Tensor:
        """(N, 8, 3) points of the surface that may touch a plane, world axes, relative to the centre.

        The corners of a box, the lowest and highest points of both rims of a cylinder or cup, the lowest of a ball.
        """
        corners = torch.einsum("nij,npj->npi", rotation, _CORNER_SIGNS * self.half[:, None])
        axis = rotation[..., 2]
        down = torch.tensor([0.0, 0.0, -1.0])
        low = F.normalize(down - axis * (axis @ down)[:, None] + 1e-3 * rotation[..., 0], dim=-1)
        side = torch.linalg.cross(axis, low)
        rim = torch.stack([low, -low, side, -side], dim=1)  # (N, 4, 3)
        upper = self.half[:, 2, None, None] * axis[:, None] + self.half[:, :1, None] * rim
        lower = -self.half[:, 2, None, None] * axis[:, None] + self.bottom[:, None, None] * rim
        ball = (self.half[:, :1] * down)[:, None].expand(-1, 8, -1)
        box = self.is_box[:, None, None]
        round_ = self.is_ball[:, None, None]
        return torch.where(box, corners, torch.where(round_, ball, torch.cat([upper, lower], 1)))

    def edge_distances(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """How far (N, P, 3) points lie inside the nearest edge of the table, (N, P) metres, and that edge's
        outward normal (N, P, 3), world axes."""
        x, y, _ = torch.einsum("nij,npj->npi", self.to_table, points).unbind(-1)
        left, right, front, back = self.table[:, None].unbind(-1)
        inside, edge = torch.stack([x - left, right - x, y - front, back - y], dim=-1).min(-1)
        return inside, torch.einsum("nji,npj->npi", self.to_table, _EDGE_NORMALS[edge])

    def closest_points(
        self, position: Tensor, rotation: Tensor, i: Tensor, j: Tensor, *, iterations: int = 6
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Nearest points of pairs of bodies, by alternating projection onto their cores.

        Returns:
            Points on i and on j relative to their centres (E, 3), the unit vector from j to i (E, 3), and the gap
            (E,) in metres, negative where they overlap.
        """
        roundness = self.roundness
        core = torch.where(self.is_ball[:, None], torch.zeros(3), self.half - roundness[:, None])

        def project(point: Tensor, k: Tensor) -> Tensor:
            local = torch.einsum("eji,ej->ei", rotation[k], point - position[k])
            extent = core[k]
            boxed = torch.maximum(torch.minimum(local, extent), -extent)
            radius = local[:, :2].norm(dim=-1, keepdim=True).clamp(min=1e-9)
            disc = local[:, :2] * (extent[:, :1] / radius).clamp(max=1.0)
            local = torch.where(
                self.is_box[k][:, None], boxed, torch.cat([disc, boxed[:, 2:]], dim=-1)
            )
            return torch.einsum("eij,ej->ei", rotation[k], local) + position[k]

        on_j = position[j]
        for _ in range(iterations):
            on_i = project(on_j, i)
            on_j = project(on_i, j)
        offset = on_i - on_j
        distance = offset.norm(dim=-1)
        between = F.normalize(position[i] - position[j], dim=-1)
        apart = (distance > 1e-4)[:, None]
        normal = torch.where(apart, offset / distance.clamp(min=1e-4)[:, None], between)
        gap = distance - roundness[i] - roundness[j]
        on_i = on_i - normal * roundness[i][:, None] - position[i]
        on_j = on_j + normal * roundness[j][:, None] - position[j]
        return on_i, on_j, normal, gap


def _pairs(scene: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    n = len(scene)
    index = torch.arange(n)
    receivers, senders = [], []
    for offset in range(1, int(counts.max()) if len(counts) else 1):
        first = index[: n - offset]
        first = first[scene[: n - offset] == scene[offset:]]
        receivers += [first, first + offset]
        senders += [first + offset, first]
    if not receivers:
        return torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.long)
    return torch.cat(receivers), torch.cat(senders)


def rotation_from_vector(vector: Tensor) -> Tensor:
    """(N, 3) rotation vectors, radians -> (N, 3, 3) (Rodrigues)."""
    angle = vector.norm(dim=-1, keepdim=True).clamp(min=1e-8)
    x, y, z = (vector / angle).unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
    angle = angle[..., None]
    return torch.eye(3) + angle.sin() * cross + (1 - angle.cos()) * (cross @ cross)


def orthonormal(matrix: Tensor) -> Tensor:
    """The rotation (N, 3, 3) nearest to the first two columns of the matrix (Gram-Schmidt)."""
    x = F.normalize(matrix[..., 0], dim=-1)
    y = matrix[..., 1]
    y = F.normalize(y - x * (x * y).sum(-1, keepdim=True), dim=-1)
    return torch.stack([x, y, torch.linalg.cross(x, y)], dim=-1)


def yaw_matrix(angle: Tensor) -> Tensor:
    """(S,) radians -> (S, 3, 3) rotations about z."""
    c, s = angle.cos(), angle.sin()
    zero, one = torch.zeros_like(c), torch.ones_like(c)
    return torch.stack([c, -s, zero, s, c, zero, zero, zero, one], dim=-1).unflatten(-1, (3, 3))
