"""From a world to a clip: pictures, masks, captions, truth. A pure function of (world, version, seed, size).

Knows nothing of files or of many clips.
"""

from typing import Any

import numpy as np

from worldtube.errors import RequestError, unknown
from worldtube.video import Clip, Size
from worldtube.worlds import WORLDS
from worldtube.worlds.render import project

LENGTHS = ("short", "medium", "long")


def record(
    world: str, seed: int, size: Size, *, num_frames: int = 25, fps: float = 12.0
) -> tuple[Clip, dict[str, str], dict[str, Any]]:
    """Simulate one seed: the clip (with its "ids" track, uint8 (T, H, W)), captions by length, and the truth.

    The truth also holds `trajectories` (metres, per object and frame), `screen` (x and y in [0, 1] from the
    top left, and visible pixels) and `camera_path` (position, target, vertical field of view).
    """
    if world not in WORLDS:
        raise unknown("world", world, WORLDS)
    sim = WORLDS[world](size=size)
    if fps != sim.fps:
        raise RequestError(f"fps {fps:g} is not accepted; the world {world} runs at {sim.fps:g}")
    frames, ids, path, cameras = [], [], [], []
    for t in range(num_frames):
        frames.append((sim.reset(seed=seed) if t == 0 else sim.step())[0])
        ids.append(sim.masks())
        path.append(sim.state["positions"])
        cameras.append(sim.camera())
    captions = {length: sim.caption(length) for length in LENGTHS}
    truth = dict(sim.truth)
    sim.close()
    path = np.array(path)  # (T, K, 3)
    places = np.array([project(c, p, size.width / size.height)[:, :2] for c, p in zip(cameras, path, strict=True)])
    seen = np.array([np.bincount(m.ravel(), minlength=256)[1 : 1 + path.shape[1]] for m in ids])
    truth["trajectories"] = np.round(path.transpose(1, 0, 2), 3).tolist()
    truth["screen"] = np.concatenate([places.round(4), seen[..., None]], -1).transpose(1, 0, 2).tolist()
    truth["camera_path"] = [[*c.position, *c.target, c.field_of_view] for c in cameras]
    clip = Clip(
        frames=np.stack(frames), fps=sim.fps, caption=captions["medium"], tracks={"ids": np.stack(ids)}
    )
    return clip, captions, truth
