"""Pictures to learn rendering from: short windows of simulated states, drawn in several looks and encoded.

Latents of a window equal those of the whole clip, since the codec is causal and each window begins a clip. Owns the
files of windows; they appear whole or not at all, and a call that was killed goes on with what lacks.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from worldtube.codec import VideoCodec
from worldtube.errors import DataError
from worldtube.renderer import Scenes
from worldtube.train.chunks import write_chunks
from worldtube.video import Size

logger = logging.getLogger(__name__)

CHUNK = 50
"""Simulations in a file."""
LOOKS = 4
"""Windows per simulation, each in another look."""


@torch.inference_mode()
def make_chunk(codec: VideoCodec, first: int, size: Size) -> tuple[Scenes, Tensor]:
    """Items and their latents float16 (I, C, h, w) of seeds `first` to `first + CHUNK`."""
    from worldtube.worlds.tabletop.drawing import draw
    from worldtube.worlds.tabletop.engine import describe, simulate
    from worldtube.worlds.tabletop.looks import mirror, mirror_poses, recolour, restage
    from worldtube.worlds.tabletop.plan import plan

    stride = codec.stride[0]
    length = 1 + stride
    scenes, latents = [], []
    for seed in range(first, first + CHUNK):
        try:
            drawn = plan(seed)
        except AssertionError as error:  # no room for so many things
            logger.debug("seed %d: %s", seed, error)
            continue
        rng = np.random.default_rng((0x6C6F6F6B, seed))
        state, _ = simulate(drawn, num_frames=int(rng.integers(13, 22)))
        last = state.num_frames - length
        starts = [0, *sorted(int(v) for v in rng.integers(1, last, LOOKS - 2)), last]
        windows = []
        for look, start in enumerate(starts):
            other, poses = drawn, state.poses
            if look:
                other = restage(recolour(other, rng), rng)
            if rng.random() < 0.5:
                other, poses = mirror(other), mirror_poses(poses)
            bodies = tuple(
                replace(body, colour=thing.colour)
                for body, thing in zip(state.bodies, other.things, strict=True)
            )
            window = describe(other, bodies, poses)[start : start + length]
            windows.append(draw(window, size).rgb)
            scenes.append(Scenes.from_state(window, stride=stride))
        pixels = torch.from_numpy(np.stack(windows)).permute(0, 4, 1, 2, 3).float() / 127.5 - 1
        latents.append(codec.encode(pixels).transpose(1, 2).flatten(0, 1).half())
    return Scenes.concat(scenes), torch.cat(latents)


def make_pictures(
    folder: Path,
    codec: VideoCodec,
    seeds: range,
    size: Size,
    *,
    progress: Callable[[int, int], None] | None = None,
    until: Callable[[], bool] = lambda: False,
) -> None:
    """Make the windows of the seeds, in files of CHUNK simulations; those that are there are left alone."""

    def make(first: int) -> dict[str, np.ndarray]:
        scenes, latents = make_chunk(codec, first, size)
        arrays = {f.name: getattr(scenes, f.name).numpy() for f in fields(Scenes)}
        return arrays | {"latents": latents.numpy()}

    write_chunks(folder, seeds, CHUNK, make, progress=progress, until=until)


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """All windows of a folder, in memory."""

    scenes: Scenes
    latents: Tensor
    """float16 (I, C, h, w)."""

    @classmethod
    def read(cls, folder: Path) -> "Pictures":
        """Raises DataError where there are none."""
        scenes, latents = [], []
        for path in sorted(folder.glob("*.npz")):
            with np.load(path) as file:
                latents.append(torch.from_numpy(file["latents"]))
                scenes.append(
                    Scenes(**{f.name: torch.from_numpy(file[f.name]) for f in fields(Scenes)})
                )
        if not latents:
            raise DataError(f"{folder} holds no pictures (make_pictures writes them)")
        return cls(scenes=Scenes.concat(scenes), latents=torch.cat(latents))

    def __len__(self) -> int:
        return len(self.latents)
