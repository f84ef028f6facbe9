"""Records one clip of one world: pictures, object masks, captions at three lengths, truth.

Owns the order in which a world is run. Knows nothing of files, catalogs or processes.
"""

from typing import Any

import numpy as np

from worldtube.errors import RequestError, unknown
from worldtube.video import Clip, Size

LENGTHS = ("short", "medium", "long")


def record(
    world_name: str, seed: int, size: Size, *, num_frames: int = 25, fps: float = 12, shot: int = 0
) -> tuple[Clip, dict[str, str], dict[str, Any]]:
    """The clip (caption: medium; tracks: `ids` uint8 (T, H, W)), its captions by length, and the truth.

    shot: which camera of the episode that the seed decides; 0 is the seed's own. Same arguments, same bytes
    on one machine.
    """
    from worldtube.worlds import WORLDS  # here, because the first look at it imports the engines

    if world_name not in WORLDS:
        raise unknown("world", world_name, WORLDS)
    world = WORLDS[world_name](size=size)
    if fps != world.fps:
        raise RequestError(f"fps is {fps} (accepted: {world.fps:g}, the clock of {world_name!r})")
    if num_frames < 1:
        raise RequestError(f"num_frames is {num_frames} (accepted: 1 or more)")
    frame, _ = world.reset(seed=seed, options={"shot": shot} if shot else None)
    frames, ids = [frame], [world.masks()]
    while len(frames) < num_frames:
        frames.append(world.step()[0])
        ids.append(world.masks())
    captions = {length: world.caption(length) for length in LENGTHS}
    truth = world.truth
    world.close()
    clip = Clip(
        frames=np.stack(frames),
        fps=float(fps),
        caption=captions["medium"],
        tracks={"ids": np.stack(ids)},
    )
    return clip, captions, truth
