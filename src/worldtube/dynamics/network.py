"""The learned step: a graph network over bodies and the points where they may touch, one step of time at once.

It predicts residuals on ballistic motion, and gates that hold still what is at rest (after Sanchez-Gonzalez et al.
2020, learned simulators; Allen et al. 2023, FIGNet). All inputs are differences and velocities, never places, so
that what was learned in one place holds in another. Knows nothing of training or of where a state comes from.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worldtube.dynamics.bodies import (
    GRAVITY,
    NUM_ATTRIBUTES,
    SHAPES,
    Bodies,
    Motion,
    orthonormal,
    rotation_from_vector,
)

FLOOR = -0.9
"""Height of the floor below the table, metres."""

_POINT_FEATURES = 3 + 4 + 4 + 3 + 1 + 1 + 3 + 1
_NODE_FEATURES = NUM_ATTRIBUTES + 3 + 3 + 9 + 1 + 1
_PAIR_FEATURES = 3 + 4 + 4 + 3 + 3 + 3 + 1 + 1 + 3 + len(SHAPES) + 1
_NEAR = 0.05
"""Metres beyond what bodies move in a step at which they still see each other."""


@dataclass(frozen=True, kw_only=True)
class DynamicsConfig:
    """Sizes of the network."""

    steps_per_second: float = 12.0
    """Steps of the network in a second."""
    width: int = 128
    """Of a body's and a pair's features."""
    point_width: int = 96
    """Of the features of a point that may touch the table."""
    rounds: int = 2
    """Rounds in which bodies pass messages to their neighbours."""


class Dynamics(nn.Module):
    """One step of time for N bodies."""

    def __init__(self, config: DynamicsConfig | None = None):
        super().__init__()
        self.config = config or DynamicsConfig()
        width, points = self.config.width, self.config.point_width
        self.point_in = nn.Linear(_POINT_FEATURES, points)
        self.point_attributes = nn.Linear(NUM_ATTRIBUTES, points, bias=False)
        self.node_in = nn.Linear(_NODE_FEATURES, width)
        self.pair_in = nn.Linear(_PAIR_FEATURES, width)
        self.blocks = nn.ModuleDict(
            {
                "points": _mlp(points, points, width),
                "nodes": _mlp(width, width, width),
                "head": nn.Linear(width, width),
            }
        )
        for k in range(self.config.rounds):
            self.blocks[f"message_{k}"] = _mlp(3 * width, width, width)
            self.blocks[f"update_{k}"] = _mlp(2 * width, 2 * width, width)
        self.out = nn.Linear(width, 14)
        nn.init.normal_(self.out.weight, std=0.01)
        nn.init.zeros_(self.out.bias)
        with torch.no_grad():
            self.out.bias[12:] = 2.0  # gates begin open
        frame = self.dt * 12
        scale = (
            [0.02 * frame] * 3 + [0.4 * frame**0.5] * 3 + [0.1 * frame] * 3 + [3.0 * frame**0.5] * 3
        )
        self.register_buffer("scale", torch.tensor(scale), persistent=False)

    @property
    def dt(self) -> float:
        """Seconds of one step."""
        return 1 / self.config.steps_per_second

    def forward(self, bodies: Bodies, motion: Motion) -> Motion:
        """Return the motion one step later."""
        position, rotation, velocity, spin = motion
        dt = self.dt
        hidden = self._encode(bodies, motion)  # (N, D)
        i, j, pair, weight = self._pairs(bodies, motion)  # (E,), (E,), (E, D), (E, 1)
        for k in range(self.config.rounds):
            normed = _rms_norm(hidden)
            received = torch.zeros_like(hidden)
            if len(i):
                message = self.blocks[f"message_{k}"](
                    torch.cat([normed[i], normed[j], pair], dim=-1)
                )
                received = received.index_add(0, i, message * weight)
            hidden = hidden + self.blocks[f"update_{k}"](torch.cat([normed, received], dim=-1))
        out = self.out(F.silu(self.blocks["head"](_rms_norm(hidden))))  # (N, 14)
        move, turn = torch.sigmoid(2 * out[:, 12:]).chunk(2, dim=-1)  # (N, 1) each: gates
        shift, boost, twist, torque = (out[:, :12] * self.scale).split(3, dim=-1)
        fall = torch.tensor([0.0, 0.0, -GRAVITY * dt])
        return Motion(
            position + move * (velocity * dt + 0.5 * fall * dt + shift),
            orthonormal(rotation_from_vector(turn * (spin * dt + twist)) @ rotation),
            move * (velocity + fall + boost),
            turn * (spin + torque),
        )

    def _encode(self, bodies: Bodies, motion: Motion) -> Tensor:
        """(N, D) features of each body by itself: its points against table and floor, its velocities."""
        position, rotation, velocity, spin = motion
        dt, attributes = self.dt, bodies.attributes
        offsets = bodies.support_points(rotation)  # (N, 8, 3)
        points = position[:, None] + offsets
        speeds = velocity[:, None] + torch.linalg.cross(spin[:, None].expand_as(offsets), offsets)
        inside, normal = bodies.edge_distances(points)
        near_edge = torch.exp(-(inside / 0.25).square())[..., None]
        height = points[..., 2]
        height_after = height + speeds[..., 2] * dt - 0.5 * GRAVITY * dt * dt
        features = torch.cat(
            [
                offsets * 4,
                _squash(height),
                _squash(height_after),
                speeds,
                torch.tanh(inside / 0.02)[..., None],
                torch.tanh(inside / 0.15)[..., None],
                normal * near_edge,
                torch.tanh((height - FLOOR) / 0.1)[..., None],
            ],
            dim=-1,
        )
        touch = F.silu(self.point_in(features) + self.point_attributes(attributes)[:, None])
        touch = self.blocks["points"](touch).mean(1)
        axis = rotation[..., 2]
        cup = bodies.is_cup.float()[:, None]
        symmetric = torch.cat(
            [
                axis * axis[:, 2:],
                axis.square(),
                axis[:, :1] * axis[:, 1:2],
                axis[:, 2:] * cup,
                cup,
            ],
            dim=-1,
        )  # (N, 9): a cylinder turned upside down reads the same
        symmetric = torch.where(bodies.is_ball[:, None], torch.zeros(()), symmetric)
        nodes = torch.cat(
            [
                attributes,
                velocity,
                spin / 4,
                symmetric,
                torch.tanh(velocity.norm(dim=-1, keepdim=True) / 0.02),
                torch.tanh(spin.norm(dim=-1, keepdim=True) / 0.1),
            ],
            dim=-1,
        )
        return self.blocks["nodes"](F.silu(self.node_in(nodes))) + touch

    def _pairs(self, bodies: Bodies, motion: Motion) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Receivers, senders, features (E, D) and soft weights (E, 1) of bodies that may meet within a step."""
        position, rotation, velocity, spin = motion
        i, j = bodies.pairs
        if len(i):
            relative = velocity[i] - velocity[j]
            distance = (position[i] - position[j]).norm(dim=-1) - bodies.reach[i] - bodies.reach[j]
            near = distance < _NEAR + relative.norm(dim=-1) * self.dt
            i, j = i[near], j[near]
        if not len(i):
            return i, j, position.new_zeros(0, self.config.width), position.new_zeros(0, 1)
        on_i, on_j, normal, gap = bodies.closest_points(position, rotation, i, j)
        relative = velocity[i] - velocity[j]
        at_contact = (
            relative + torch.linalg.cross(spin[i], on_i) - torch.linalg.cross(spin[j], on_j)
        )
        along = (at_contact * normal).sum(-1)
        features = torch.cat(
            [
                normal,
                _squash(gap),
                _squash(gap + along * self.dt),
                on_i * 4,
                on_j * 4,
                at_contact,
                along[:, None],
                (bodies.mass[i] / bodies.mass[j]).log()[:, None] / 2,
                (position[i] - position[j]) * 2,
                F.one_hot(bodies.shape[j], len(SHAPES)).float(),
                torch.tanh(-gap / 0.05)[:, None],
            ],
            dim=-1,
        )
        weight = torch.sigmoid((0.12 + relative.norm(dim=-1) * self.dt - gap) / 0.02)
        return i, j, F.silu(self.pair_in(features)), weight[:, None]


def _mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, outputs))


def _rms_norm(x: Tensor) -> Tensor:
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)


def _squash(metres: Tensor) -> Tensor:
    """(...,) distances -> (..., 4): fine near 0, bounded far away."""
    scales = metres.new_tensor([0.006, 0.025, 0.1, 0.4])
    return torch.tanh(metres[..., None] / scales)
