"""Simulated motion to learn dynamics from: many seeds without pictures, made once and kept in a folder.

Owns the files and the draw of windows. Files appear whole or not at all; a call that was killed goes on with the
seeds that lack.
"""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from worldtube.dynamics import GRAVITY, SHAPES, Bodies, Motion
from worldtube.dynamics.bodies import yaw_matrix
from worldtube.errors import DataError
from worldtube.train.chunks import write_chunks

logger = logging.getLogger(__name__)

INSTANTS = 7
"""Rows of poses per picture frame: windows may begin at any of them."""
CHUNK = 200
"""Simulations in a file."""
PUSHED = 0.35
"""Share of simulations in which a body is pushed."""


def make_chunk(first: int, *, num_frames: int = 25) -> dict[str, np.ndarray]:
    """Simulate seeds `first` to `first + CHUNK`; those whose plan cannot be drawn are left out."""
    from worldtube.worlds.tabletop.engine import simulate
    from worldtube.worlds.tabletop.plan import plan

    rows: dict[str, list[Any]] = {
        name: [] for name in ("motion", "columns", "table", "count", "push")
    }
    for seed in range(first, first + CHUNK):
        try:
            drawn = plan(seed)
        except AssertionError as error:  # no room for so many things
            logger.debug("seed %d: %s", seed, error)
            continue
        rng = np.random.default_rng((0x70757368, seed))
        pushes, frame = {}, -1
        if rng.random() < PUSHED:
            frame, index = int(rng.integers(0, 16)), int(rng.integers(len(drawn.things)))
            angle, speed = rng.uniform(0, 2 * math.pi), rng.uniform(0.4, 2.2)
            change = np.array(
                [speed * math.cos(angle), speed * math.sin(angle), rng.uniform(0, 0.8)]
            )
            mass = simulate(drawn, num_frames=1)[0].bodies[index].mass
            pushes = {frame: (index, change * mass)}
        state, _ = simulate(drawn, num_frames=num_frames, pushes=pushes, instants=INSTANTS)
        poses = state.poses
        flat = [
            poses.positions,
            poses.rotations.reshape(*poses.positions.shape[:2], 9),
            poses.velocities,
            poses.spins,
        ]
        rows["motion"].append(np.concatenate(flat, axis=-1).transpose(1, 0, 2))  # (K, T, 18)
        rows["columns"].append(
            np.array(
                [
                    (SHAPES.index(b.shape), *b.dimensions, b.mass, b.friction, b.restitution)
                    for b in state.bodies
                ],
                np.float32,
            )
        )
        rows["table"].append(np.array(state.surroundings.table, np.float32))
        rows["count"].append(np.int64(len(state.bodies)))
        rows["push"].append(np.int64(frame * INSTANTS))
    joined = {name: np.concatenate(rows[name]) for name in ("motion", "columns")}
    return joined | {name: np.stack(rows[name]) for name in ("table", "count", "push")}


def make_simulations(
    folder: Path,
    seeds: range,
    *,
    progress: Callable[[int, int], None] | None = None,
    until: Callable[[], bool] = lambda: False,
) -> None:
    """Simulate the seeds into files of CHUNK each; those that are there are left alone."""
    write_chunks(folder, seeds, CHUNK, make_chunk, progress=progress, until=until)


@dataclass(frozen=True, kw_only=True)
class Window:
    """A packed batch of short stretches of motion."""

    bodies: Bodies
    motion: Motion
    """(N, 1 + steps, ...)."""


class Simulations:
    """All simulations of a folder in memory, drawn as windows."""

    def __init__(self, folder: Path):
        paths = sorted(folder.glob("*.npz"))
        if not paths:
            raise DataError(f"{folder} holds no simulations (make_simulations writes them)")
        parts = []
        for path in paths:
            with np.load(path) as file:
                parts.append({name: torch.from_numpy(file[name]) for name in file.files})
        joined = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        self.motion: Tensor = joined["motion"]  # (sum K, T, 18)
        self.columns: Tensor = joined["columns"]  # (sum K, 8)
        self.table: Tensor = joined["table"]  # (S, 4)
        self.count: Tensor = joined["count"]  # (S,)
        self.push: Tensor = joined["push"]  # (S,) instant of the push, negative without
        self.first = self.count.cumsum(0) - self.count

    def __len__(self) -> int:
        return len(self.count)

    def weights(self, stride: int, steps: int) -> Tensor:
        """(S, T - stride * steps): how worth learning a window is that begins there: contacts most, flight some,
        rest little; none over the instant of a push or when all lies on the floor."""
        velocity = self.motion[..., 12:15]
        starts = self.motion.shape[1] - stride * steps
        change = velocity[:, stride : stride + starts] - velocity[:, :starts]
        free = GRAVITY * stride / INSTANTS / 12
        still = velocity[:, :starts].norm(dim=-1) < 0.02
        calm = change.norm(dim=-1) < 1.02 * free
        worth = torch.where(
            calm, torch.where(still, 0.03, 0.3), torch.tensor(1.0)
        )  # (sum K, starts)
        scene = torch.repeat_interleave(torch.arange(len(self)), self.count)
        height = torch.full((len(self), starts), -9.0)
        index = scene[:, None].expand(-1, starts)
        height.scatter_reduce_(0, index, self.motion[:, :starts, 2], "amax")
        best = torch.zeros(len(self), starts).scatter_reduce_(0, index, worth, "amax")
        begin = torch.arange(starts)[None]
        crossed = (begin < self.push[:, None]) & (begin + stride * steps >= self.push[:, None])
        return best * ~crossed * (height > -0.5)

    def window(
        self,
        scenes: Tensor,
        starts: Tensor,
        *,
        stride: int,
        steps: int,
        generator: torch.Generator | None,
    ) -> Window:
        """Stretches of 1 + steps instants; with a generator mirrored and turned about the vertical at random."""
        count = self.count[scenes]
        offset = torch.arange(int(count.sum())) - torch.repeat_interleave(
            count.cumsum(0) - count, count
        )
        rows = torch.repeat_interleave(self.first[scenes], count) + offset
        times = torch.repeat_interleave(starts, count)[:, None] + stride * torch.arange(steps + 1)
        values = self.motion[rows[:, None], times]  # (N, 1 + steps, 18)
        position, velocity, spin = values[..., :3], values[..., 12:15], values[..., 15:18]
        rotation = values[..., 3:12].unflatten(-1, (3, 3))
        to_table = torch.eye(3).expand(len(scenes), 3, 3)
        if generator is not None:
            side = torch.where(torch.rand(len(scenes), generator=generator) < 0.5, -1.0, 1.0)
            mirror = torch.diag_embed(
                torch.stack([side, torch.ones_like(side), torch.ones_like(side)], -1)
            )
            turn = yaw_matrix(2 * math.pi * torch.rand(len(scenes), generator=generator))
            world = turn @ mirror  # (S, 3, 3), the change of the world
            to_table = world.transpose(1, 2)
            per_body = torch.repeat_interleave(world, count, 0)
            mirrored = torch.repeat_interleave(mirror, count, 0)
            sign = torch.repeat_interleave(side, count)[:, None, None]  # determinant
            position = torch.einsum("nij,ntj->nti", per_body, position)
            velocity = torch.einsum("nij,ntj->nti", per_body, velocity)
            spin = sign * torch.einsum("nij,ntj->nti", per_body, spin)
            rotation = torch.einsum("nij,ntjk,nkl->ntil", per_body, rotation, mirrored)
        columns = self.columns[rows]
        bodies = Bodies.from_columns(
            shape=columns[:, 0].long(),
            dimensions=columns[:, 1:5],
            mass=columns[:, 5],
            friction=columns[:, 6],
            restitution=columns[:, 7],
            table=self.table[scenes],
            counts=count,
            to_table=to_table,
        )
        return Window(bodies=bodies, motion=Motion(position, rotation, velocity, spin))


class WindowSampler:
    """Draws (scene, start) in proportion to weights (S, starts)."""

    def __init__(self, weights: Tensor):
        self.width = weights.shape[1]
        self.cumulative = weights.flatten().double().cumsum(0)

    def __call__(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """`count` scenes and starts, int64."""
        at = torch.rand(count, generator=generator, dtype=torch.float64) * self.cumulative[-1]
        index = torch.searchsorted(self.cumulative, at).clamp(max=len(self.cumulative) - 1)
        return index // self.width, index % self.width
