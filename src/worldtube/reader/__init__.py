"""The reader: tells what is in a clip and what happened, from its pixels alone.

Owns `Reader` (clip -> `Reading`) and its weight file. It is trained on true clips (`training`) and its accuracy on
true clips that it never saw goes with its weights, to stand beside every score. Knows nothing of prompts or models.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor

from worldtube.errors import DataError, NotFound
from worldtube.models.weights import save_weights
from worldtube.reader import tracks as tracking
from worldtube.reader.network import CROP, EVENTS, KINDS, SIDE, Pixels, Shapes, Witness
from worldtube.video import Clip
from worldtube.worlds.world import COLOURS, MOTIONS, SHAPES, SIZES

FORMAT = 1
PARTS = ("pixels", "shapes", "witness")
FPS = 12.0
"""Clips are read at this frame rate."""

__all__ = ["Group", "Reader", "Reading", "Thing"]


@dataclass(frozen=True, kw_only=True)
class Thing:
    """One object as it was read."""

    colour: str
    shape: str
    size: str
    motion: str
    track: tracking.Track
    """Where it was seen, in a 64-pixel picture at 12 frames per second."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Things of one colour and shape."""

    colour: str
    shape: str
    count: int
    size: str
    motion: str


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a clip shows."""

    things: tuple[Thing, ...]
    event: str | None
    tracks: tuple[tracking.Track, ...]
    """Everything that was followed, also what is not taken for a thing of its own."""
    num_frames: int
    water: np.ndarray
    """(T,) pixels of water."""
    stain: np.ndarray
    """(T,) pixels of wet ground."""

    @property
    def groups(self) -> tuple[Group, ...]:
        """Size and motion of a group are those of most of its things."""
        out = []
        for colour, shape in dict.fromkeys((t.colour, t.shape) for t in self.things):
            mine = [t for t in self.things if (t.colour, t.shape) == (colour, shape)]
            size, motion = (
                Counter(getattr(t, what) for t in mine).most_common(1)[0][0]
                for what in ("size", "motion")
            )
            out.append(Group(colour=colour, shape=shape, count=len(mine), size=size, motion=motion))
        return tuple(out)


class Reader:
    """Reads clips with trained networks."""

    def __init__(
        self,
        pixels: Pixels,
        shapes: Shapes,
        witness: Witness,
        accuracy: dict[str, Any] | None = None,
    ):
        self.pixels, self.shapes, self.witness = pixels.eval(), shapes.eval(), witness.eval()
        self.accuracy = accuracy or {}
        """Measured on true clips of seeds that it was not trained on."""

    def read(self, clip: Clip) -> Reading:
        frames = at_rate(clip)
        found, water, stain, camera = self.look(frames)
        rows = tracking.features(found, len(frames), camera, water, stain)
        things, event = self._judge(found, rows)
        return Reading(
            things=things,
            event=event,
            tracks=tuple(found),
            num_frames=len(frames),
            water=water,
            stain=stain,
        )

    @torch.inference_mode()
    def maps(self, frames: np.ndarray) -> dict[str, np.ndarray]:
        """uint8 (T, 64, 64, 3) -> what `tracks.instances` wants, for all frames: probabilities and offsets."""
        maps = self.pixels(to_input(frames))
        told = {name: maps[name].softmax(1) for name in ("kind", "colour", "size")}
        told["centre"] = maps["centre"].sigmoid()
        told["offset"] = maps["offset"]
        return {name: value.numpy() for name, value in told.items()}

    def look(
        self, frames: np.ndarray
    ) -> tuple[list[tracking.Track], np.ndarray, np.ndarray, np.ndarray]:
        """Tracks, pixels of water and of stain per frame, and the background's motion."""
        maps = self.maps(frames)
        kind = maps["kind"].argmax(1)
        seen = [tracking.instances(tracking.maps_from_network(maps, t)) for t in range(len(frames))]
        self._name(frames, seen)
        found = tracking.link(seen)
        water = (kind == KINDS.index("water")).sum((1, 2)).astype(np.float32)
        stain = (kind == KINDS.index("stain")).sum((1, 2)).astype(np.float32)
        # One frame of a thing is a flicker, unless there is no more than a frame to see.
        found = [track for track in found if len(track.seen) >= min(2, len(frames))]
        return found, water, stain, tracking.ground_motion(frames, kind == 0)

    @torch.inference_mode()
    def _name(self, frames: np.ndarray, seen: list[list[tracking.Instance]]) -> None:
        """Tell every instance's shape from a picture of it alone."""
        things = [(t, one) for t, found in enumerate(seen) for one in found]
        if not things:
            return
        pixels = to_input(frames)[[t for t, _ in things]]
        masks = torch.from_numpy(np.stack([one.pixels for _, one in things]))
        told = self.shapes(
            crops(pixels, masks, [tracking.crop_place(one.box) for _, one in things])
        )
        for (_, one), shape in zip(things, told.softmax(1).numpy(), strict=True):
            one.shape = shape

    @torch.inference_mode()
    def _judge(
        self, found: list[tracking.Track], rows: np.ndarray
    ) -> tuple[tuple[Thing, ...], str | None]:
        if not found:
            return (), None
        told = self.witness(torch.from_numpy(rows)[None], torch.ones(1, len(found)))
        event = EVENTS[int(told["event"][0].argmax())]
        things = [
            Thing(
                colour=COLOURS[int(track.vote("colour").argmax())],
                shape=SHAPES[int(track.vote("shape").argmax())],
                size=SIZES[int(told["size"][0, k].argmax())],
                motion=MOTIONS[int(told["motion"][0, k].argmax())],
                track=track,
            )
            for k, track in enumerate(found)
            if float(told["real"][0, k]) > 0
        ]
        return tuple(things), None if event == "none" else event

    def save(self, path: Path | str) -> None:
        """Write the weights, half precision, whole or not at all."""
        tensors = {
            f"{part}.{name}": value.half().contiguous()
            for part, module in zip(PARTS, (self.pixels, self.shapes, self.witness), strict=True)
            for name, value in module.state_dict().items()
        }
        config = {"format": FORMAT, "model": "reader", "accuracy": self.accuracy}
        save_weights(tensors, path, config=config)


def embedded_path() -> Path:
    """Where the reader that ships inside the package lies."""
    return Path(str(resources.files("worldtube") / "weights" / "reader.safetensors"))


def load(path: Path | str | None = None) -> Reader:
    """The reader in a file; without a path, the one that ships. Raises NotFound, DataError."""
    path = embedded_path() if path is None else Path(path)
    if not path.is_file():
        raise NotFound(
            f"no reader at {path} (a file that `worldtube train reader` wrote is accepted)"
        )
    try:
        with safe_open(str(path), framework="pt") as file:
            config = json.loads((file.metadata() or {}).get("worldtube", "null"))
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        raise DataError(f"{path} is not a whole safetensors file ({error})") from error
    if not config or config.get("format") != FORMAT or config.get("model") != "reader":
        raise DataError(f"{path} holds no reader of format {FORMAT}")
    pixels, shapes, witness = Pixels(), Shapes(), Witness(tracking.NUM_FEATURES)
    for part, module in zip(PARTS, (pixels, shapes, witness), strict=True):
        state = {
            k.removeprefix(f"{part}."): v for k, v in tensors.items() if k.startswith(f"{part}.")
        }
        try:
            module.load_state_dict(state)
        except RuntimeError as error:
            raise DataError(f"{path}: the {part} network's weights do not fit") from error
    return Reader(pixels, shapes, witness, config["accuracy"])


def to_input(frames: np.ndarray) -> Tensor:
    """uint8 (T, 64, 64, 3) -> (T, 3, 64, 64) in [-1, 1]."""
    pixels = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)
    return pixels.float() / 127.5 - 1


def crops(pixels: Tensor, masks: Tensor, places: Sequence[tuple[float, float, float]]) -> Tensor:
    """Pictures (B, 3, 64, 64) and each one's own pixels (B, 64, 64) -> (B, 4, 24, 24) around `crop_place`s."""
    x, y, half = torch.tensor(places, dtype=torch.float32).T[:, :, None, None]  # (B, 1, 1) each
    line = (torch.arange(CROP) + 0.5) / CROP * 2 - 1
    columns, rows = (x + 0.5 + half * line[None, None, :]), (y + 0.5 + half * line[None, :, None])
    grid = torch.stack(torch.broadcast_tensors(columns, rows), -1) / SIDE * 2 - 1
    both = torch.cat([pixels, masks[:, None].float()], 1)
    return F.grid_sample(both, grid, padding_mode="zeros", align_corners=False)


def resized(frames: np.ndarray) -> np.ndarray:
    """uint8 (T, H, W, 3) -> (T, 64, 64, 3), by area."""
    if frames.shape[1:3] == (SIDE, SIDE):
        return frames
    pixels = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float()
    small = F.interpolate(pixels, (SIDE, SIDE), mode="area").round().to(torch.uint8)
    return small.permute(0, 2, 3, 1).contiguous().numpy()


def at_rate(clip: Clip) -> np.ndarray:
    """The frames at 12 a second, 64 x 64."""
    frames = clip.frames
    if abs(clip.fps - FPS) > 0.01 and len(frames) > 1:
        count = max(1, round((len(frames) - 1) / clip.fps * FPS) + 1)
        picks = np.rint(np.arange(count) * clip.fps / FPS).astype(int).clip(0, len(frames) - 1)
        frames = frames[picks]
    return resized(frames)
