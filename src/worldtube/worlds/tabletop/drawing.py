"""A state drawn by the ray caster, at any size, with its water: the exact reference of learned renderers. No engine,
no seed."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from worldtube.state import Body, State
from worldtube.video import Size
from worldtube.worlds import render
from worldtube.worlds.fluid.drawing import water_of
from worldtube.worlds.tabletop.things import Thing
from worldtube.worlds.world import Camera

KINDS = {"ball": render.SPHERE, "box": render.BOX, "cylinder": render.CYLINDER, "cup": render.CUP}

_UNCHANGED = 4e-4
"""Metres by which nothing has moved in a frame that is not drawn again."""


class Drawing(NamedTuple):
    """Pictures of T frames."""

    rgb: np.ndarray
    """uint8 (T, H, W, 3)."""
    ids: np.ndarray
    """uint8 (T, H, W): 0 ground and sky, 1 + k body k, 200 water, 201 what it wetted."""
    depth: np.ndarray
    """float32 (T, H, W): metres along the ray."""


def make_scene(
    bodies: Sequence[Body | Thing],
    positions: np.ndarray,
    rotations: np.ndarray,
    **surroundings: Any,
) -> render.Scene:
    """What the ray caster needs.

    Args:
        bodies: K bodies
        positions: float64 (K, 3)
        rotations: float64 (K, 3, 3)
        surroundings: further fields of `render.Scene`
    """
    colours = [render.linear(render.PALETTE[body.colour]) for body in bodies]
    return render.Scene(
        kinds=np.array([KINDS[body.shape] for body in bodies], np.int64),
        positions=positions,
        rotations=rotations,
        sizes=np.array([body.dimensions for body in bodies], np.float64).reshape(-1, 4),
        colours=np.array(colours, np.float64).reshape(-1, 3),
        materials=np.array([render.MATERIALS.index(body.material) for body in bodies], np.int64),
        object_ids=np.arange(1, 1 + len(bodies)),
        **surroundings,
    )


def scene_of(state: State, frame: int) -> render.Scene:
    """What the ray caster needs of one frame."""
    around = state.surroundings
    water, stain = water_of(state, frame)
    return make_scene(
        state.bodies,
        state.poses.positions[frame].astype(np.float64),
        state.poses.rotations[frame].astype(np.float64),
        ground=render.GROUNDS.index(around.ground),
        ground_tint=around.ground_tint,
        ground_offset=around.ground_offset,
        sky=render.SKIES.index(around.sky),
        sun=around.sun,
        table=around.table,
        water=water,
        stain=stain,
    )


def camera_of(state: State, frame: int) -> Camera:
    """The camera of one frame."""
    position, target = state.camera.positions[frame], state.camera.targets[frame]
    return Camera(
        position=(float(position[0]), float(position[1]), float(position[2])),
        target=(float(target[0]), float(target[1]), float(target[2])),
        field_of_view=state.camera.field_of_view,
    )


def _key(state: State, frame: int) -> np.ndarray:
    """Numbers of a frame; where they are the same as those of another, so is its picture."""
    arrays = [
        state.poses.positions,
        state.poses.rotations,
        state.camera.positions,
        state.camera.targets,
    ]
    if state.water is not None:
        water = state.water
        arrays += [water.positions, water.sides, water.present, water.wetness]
    return np.concatenate([array[frame].ravel().astype(np.float32) for array in arrays])


def draw(state: State, size: Size, *, supersample: int = 2) -> Drawing:
    """Draw every frame of a state; frames in which nothing moved are copies of the one before."""
    frames: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    drawn: np.ndarray | None = None
    for t in range(state.num_frames):
        key = _key(state, t)
        if drawn is not None and np.abs(key - drawn).max() < _UNCHANGED:
            frames.append(frames[-1])
            continue
        drawn = key
        picture = render.render(
            scene_of(state, t), camera_of(state, t), size, supersample=supersample
        )
        frames.append(picture)
    return Drawing(*(np.stack(parts) for parts in zip(*frames, strict=True)))
