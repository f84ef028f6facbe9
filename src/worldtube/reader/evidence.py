"""What a captioner sees of a clip: the reader's tracks and states as a short sequence of vectors.

Owns which numbers those are. Knows nothing of words. All weights are the reader's and stay as they are.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from worldtube.reader import Reader, at_rate, to_input, tracks
from worldtube.reader.network import EVENTS
from worldtube.video import Clip
from worldtube.worlds.world import COLOURS, MOTIONS, SHAPES, SIZES

MOST = 8
"""Tracks at most: those seen in most frames."""
MOMENTS = 6
"""Stretches of time that the clip is cut into."""
CELLS = 4
"""Cells a side that the first picture is cut into."""
_WITNESS, _FINE, _DEEP = 64, 24, 96
WIDTHS = {
    "tracks": 3 * _WITNESS + len(COLOURS) + len(SHAPES) + 1 + len(MOTIONS) + len(SIZES) + 20,
    "moments": 2 * _WITNESS + 6 + 2,
    "cells": 2 * _FINE + _DEEP + 6,
    "scene": len(EVENTS) + 6 + 1,
}
"""Kind of vector -> how many numbers."""
COLOURS_AT = 3 * _WITNESS
"""Where a track's vector tells its colours."""


@dataclass(frozen=True, kw_only=True)
class Sight:
    """What the reader followed through a clip, before it judges."""

    first: np.ndarray
    """uint8 (64, 64, 3), the first picture."""
    rows: Tensor
    """(K, T, features) of `tracks.features`."""
    colours: Tensor
    """(K, colours)"""
    camera: np.ndarray
    """(T - 1, 6) motion of the ground."""
    wet: np.ndarray
    """(T, 2) water and stain."""

    def mirrored(self) -> "Sight":
        """The same clip seen in a mirror."""
        camera = self.camera.copy()
        camera[:, [0, 2, 4]] *= -1  # of (x, y) by (1, u, v), what has one x in it
        return Sight(
            first=self.first[:, ::-1],
            rows=tracks.mirrored(self.rows),
            colours=self.colours,
            camera=camera,
            wet=self.wet,
        )


def sight(reader: Reader, clip: Clip) -> Sight:
    frames = at_rate(clip)
    found, water, stain, camera = reader.look(frames)
    found = sorted(found, key=lambda track: -len(track.seen))[:MOST]
    rows = tracks.features(found, len(frames), camera, water, stain)
    colours = np.array([track.vote("colour") for track in found], np.float32)
    return Sight(
        first=frames[0],
        rows=torch.from_numpy(rows),
        colours=torch.from_numpy(colours.reshape(-1, len(COLOURS))),
        camera=camera.reshape(-1, 6),
        wet=np.sqrt(np.stack([water, stain], 1)) / 16,
    )


@torch.inference_mode()
def evidence(reader: Reader, seen: Sight) -> dict[str, Tensor]:
    """Kind of vector -> (how many, `WIDTHS`) float32: up to 8 tracks, 6 moments, 16 cells, 1 scene."""
    count, length = seen.rows.shape[:2]
    events = torch.zeros(len(EVENTS))
    states = torch.zeros(1, _WITNESS, length)
    things = torch.zeros(0, WIDTHS["tracks"])
    if count:
        there = torch.ones(1, count)
        x = reader.witness.states(seen.rows[None], there)
        told = reader.witness.judge(x, there)
        events = told["event"][0]
        parts = [reader.witness.pool(x)[0], seen.colours, seen.rows[:, 0, 36:40]]
        parts += [told[name][0] for name in ("real", "motion", "size")]
        things = torch.cat([*parts, torch.stack([_ends(row) for row in seen.rows])], 1)
        states = x[0].transpose(1, 2)  # (K, D, T)
    over = F.adaptive_avg_pool1d(states, MOMENTS)  # (K, D, 6)
    camera, wet = torch.from_numpy(seen.camera).float(), torch.from_numpy(seen.wet).float()
    if not len(camera):  # a picture
        camera = torch.zeros(1, 6)
    moments = [over.amax(0), over.mean(0)]
    moments += [F.adaptive_avg_pool1d(x.T, MOMENTS) for x in (4 * camera, wet)]
    scene = torch.cat([events.softmax(0), camera.sum(0) / 8, torch.tensor([count / 4])])
    return {
        "tracks": things,
        "moments": torch.cat(moments).T.contiguous(),
        "cells": _cells(reader, seen.first),
        "scene": scene[None],
    }


def _ends(row: Tensor) -> Tensor:
    """(T, features) -> (20,): where a thing is first and last seen, how far it came, and when."""
    when = row[:, 0].nonzero()[:, 0]
    first, last = int(when[0]), int(when[-1])
    times = torch.tensor([first / len(row), last / len(row)])
    return torch.cat([row[first, 1:8], row[last, 1:8], row[last, 24:28], times])


def _cells(reader: Reader, first: np.ndarray) -> Tensor:
    """The first picture as (16, ...): colours, textures and what the reader's trunk makes of them."""
    pixels = to_input(first[None])
    fine, _, deep = reader.pixels.trunk(pixels)

    def mean(x: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(x, CELLS)

    def spread(x: Tensor) -> Tensor:
        return (mean(x.square()) - mean(x).square()).clamp_min(0).sqrt()

    maps = [mean(fine), spread(fine), mean(deep), mean(pixels), spread(pixels)]
    return torch.cat(maps, 1)[0].flatten(1).T.contiguous()
