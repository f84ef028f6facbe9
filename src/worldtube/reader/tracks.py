"""From maps of pixels to things in frames, and from things in frames to tracks.

Owns how instances are told apart, how they are linked over time, how the camera's motion is seen in the
ground, and the numbers that the witness gets of a track. Knows no network.
"""

from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from worldtube.reader.network import OFFSET, SIDE
from worldtube.worlds.world import COLOURS, SHAPES

PEAK = 0.25
"""A centre shows when its map is above this."""
SMALLEST = 5
"""Pixels that an instance must have."""
GAP = 5
"""Frames that a thing may be out of sight and still be the same thing."""


@dataclass(kw_only=True)
class Instance:
    """One thing in one frame; lengths in pixels of a 64-pixel picture."""

    x: float
    y: float
    area: int
    box: tuple[int, int, int, int]
    """left, top, right, bottom (inclusive)."""
    spread: tuple[float, float, float]
    """Second moments xx, yy, xy."""
    colour: np.ndarray
    """(8,) mean probabilities."""
    shape: np.ndarray
    """(4,) mean probabilities."""
    size: float
    """Mean probability of large."""
    pixels: np.ndarray
    """(SIDE, SIDE) bool."""

    @property
    def edges(self) -> tuple[bool, bool, bool, bool]:
        left, top, right, bottom = self.box
        return left == 0, top == 0, right == SIDE - 1, bottom == SIDE - 1


@dataclass(kw_only=True)
class Track:
    """One thing over time: frame -> instance."""

    seen: dict[int, Instance] = field(default_factory=dict)

    @property
    def first(self) -> int:
        return min(self.seen)

    @property
    def last(self) -> int:
        return max(self.seen)

    def vote(self, what: str) -> np.ndarray:
        """Mean of an instance's probabilities, weighted by what was seen of it."""
        weights = np.array([min(one.area, 60) for one in self.seen.values()], float)
        values = np.array([getattr(one, what) for one in self.seen.values()])
        return np.average(values, axis=0, weights=weights)

    def where(self, num_frames: int) -> np.ndarray:
        """(T, 2) x and y; nan where it was not seen."""
        out = np.full((num_frames, 2), np.nan)
        for t, one in self.seen.items():
            out[t] = one.x, one.y
        return out


_ROWS, _COLUMNS = np.mgrid[:SIDE, :SIDE].astype(np.float32)


def crop_place(box: tuple[int, int, int, int]) -> tuple[float, float, float]:
    """Middle x, y and half side of the square that shows the thing in this box with some of what is around it."""
    left, top, right, bottom = box
    half = max(right - left + 1, bottom - top + 1, 5) * 0.65
    return (left + right) / 2, (top + bottom) / 2, half


def instances(maps: dict[str, np.ndarray]) -> list[Instance]:
    """Things in one frame. `maps`: kind and colour and size as probabilities (channels, 64, 64), centre (64, 64) as a
    probability, offset (2, 64, 64) in pixels (x, y)."""
    kind = maps["kind"].argmax(0)
    on = (kind >= 1) & (kind <= len(SHAPES))
    if on.sum() < SMALLEST:
        return []
    centre = maps["centre"]
    padded = np.pad(centre, 1)
    around = np.max(
        [padded[i : i + SIDE, j : j + SIDE] for i in range(3) for j in range(3)], axis=0
    )
    peaks = np.argwhere((centre >= around) & (centre > PEAK)).astype(
        np.float32
    )  # (P, 2) rows, columns
    rows, columns = np.nonzero(on)
    aim = np.stack([rows + maps["offset"][1][on], columns + maps["offset"][0][on]], 1)  # (n, 2)
    colours = maps["colour"][: len(COLOURS), on]  # (8, n)
    best = colours.argmax(0)
    if len(peaks):
        gaps = np.linalg.norm(aim[:, None] - peaks[None], axis=2)
        owner = gaps.argmin(1)
        owner[gaps.min(1) > 7] = -1
    else:
        owner = np.full(len(aim), -1)
    found = []
    for peak in range(-1, len(peaks)):
        mine = owner == peak
        for colour in np.unique(best[mine]):
            chosen = mine & (best == colour)
            if chosen.sum() < max(SMALLEST, 0.15 * mine.sum()):
                continue
            found.append(_instance(rows[chosen], columns[chosen], maps))
    return _joined(found)


def _instance(rows: np.ndarray, columns: np.ndarray, maps: dict[str, np.ndarray]) -> Instance:
    pixels = np.zeros((SIDE, SIDE), bool)
    pixels[rows, columns] = True
    x, y = float(columns.mean()), float(rows.mean())
    dx, dy = columns - x, rows - y
    shape = maps["kind"][1 : 1 + len(SHAPES), rows, columns].mean(1)
    colour = maps["colour"][: len(COLOURS), rows, columns].mean(1)
    return Instance(
        x=x,
        y=y,
        area=len(rows),
        box=(int(columns.min()), int(rows.min()), int(columns.max()), int(rows.max())),
        spread=(float((dx * dx).mean()), float((dy * dy).mean()), float((dx * dy).mean())),
        colour=colour / max(colour.sum(), 1e-6),
        shape=shape / max(shape.sum(), 1e-6),
        size=float(maps["size"][1, rows, columns].mean()),
        pixels=pixels,
    )


def _joined(found: list[Instance]) -> list[Instance]:
    """Slivers of the same colour whose middles coincide are one thing."""
    out: list[Instance] = []
    for one in sorted(found, key=lambda i: -i.area):
        if not any(
            a.colour.argmax() == one.colour.argmax() and abs(a.x - one.x) + abs(a.y - one.y) < 2.5
            for a in out
        ):
            out.append(one)
    return out


def link(frames: list[list[Instance]]) -> list[Track]:
    """Tracks by nearest predicted place; a thing keeps its colour."""
    tracks: list[Track] = []
    for t, found in enumerate(frames):
        costs = []
        for i, track in enumerate(tracks):
            if t - track.last > GAP:
                continue
            x, y, speed = _expected(track, t)
            old = track.seen[track.last]
            for j, one in enumerate(found):
                gap = float(np.hypot(one.x - x, one.y - y))
                alike = float(np.minimum(one.colour, old.colour).sum())
                limit = 6 + 0.35 * np.sqrt(old.area) + 0.8 * speed + 1.5 * (t - track.last)
                if alike > 0.35 and gap < limit:
                    shape = float(np.minimum(one.shape, old.shape).sum())
                    costs.append((gap + 6 * (1 - alike) + 3 * (1 - shape), i, j))
        used_tracks: set[int] = set()
        used: set[int] = set()
        for _, i, j in sorted(costs):
            if i in used_tracks or j in used:
                continue
            tracks[i].seen[t] = found[j]
            used_tracks.add(i)
            used.add(j)
        for j, one in enumerate(found):
            if j not in used:
                tracks.append(Track(seen={t: one}))
    return tracks


def _expected(track: Track, t: int) -> tuple[float, float, float]:
    """Where a thing should be at a frame, and how fast it went (pixels a frame)."""
    times = sorted(track.seen)
    one = track.seen[times[-1]]
    if len(times) < 2:
        return one.x, one.y, 4.0
    before = track.seen[times[-2]]
    steps = times[-1] - times[-2]
    vx, vy = (one.x - before.x) / steps, (one.y - before.y) / steps
    ahead = min(t - times[-1], 2)
    return one.x + vx * ahead, one.y + vy * ahead, float(np.hypot(vx, vy))


def ground_motion(frames: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """(T - 1, 2, 3): the affine motion of the background from each frame to the next, pixels, about the middle.

    `frames` uint8 (T, 64, 64, 3), `ground` bool (T, 64, 64) where no thing is. Lucas and Kanade 1981, robust weights.
    """
    grey = frames.astype(np.float32).mean(3) / 255
    soft = grey.copy()
    for axis in (1, 2):
        soft = 0.25 * np.roll(soft, 1, axis) + 0.5 * soft + 0.25 * np.roll(soft, -1, axis)
    u, v = (_COLUMNS - SIDE / 2) / (SIDE / 2), (_ROWS - SIDE / 2) / (SIDE / 2)
    inside = np.zeros((SIDE, SIDE), bool)
    inside[2:-2, 2:-2] = True
    out = np.zeros((len(frames) - 1, 2, 3), np.float32)
    guess = np.zeros((2, 3), np.float32)
    for t in range(len(frames) - 1):
        keep = (inside & ground[t] & ground[t + 1]).ravel()
        gx = (0.5 * (np.roll(soft[t], -1, 1) - np.roll(soft[t], 1, 1))).ravel()[keep]
        gy = (0.5 * (np.roll(soft[t], -1, 0) - np.roll(soft[t], 1, 0))).ravel()[keep]
        uu, vv = u.ravel()[keep], v.ravel()[keep]
        basis = np.stack([gx, gx * uu, gx * vv, gy, gy * uu, gy * vv], 1)
        motion = guess.copy()
        for _ in range(3):
            dx = motion[0, 0] + motion[0, 1] * uu + motion[0, 2] * vv
            dy = motion[1, 0] + motion[1, 1] * uu + motion[1, 2] * vv
            at = _sample(soft[t + 1], _COLUMNS.ravel()[keep] + dx, _ROWS.ravel()[keep] + dy)
            error = soft[t].ravel()[keep] - at
            weight = 1 / (1 + (error / 0.03) ** 2)
            left = basis.T @ (basis * weight[:, None]) + 1e-2 * np.eye(6)
            motion += np.linalg.solve(left, basis.T @ (weight * error)).reshape(2, 3).clip(-2, 2)
        out[t] = guess = motion.clip(-6, 6)
    return out


def _sample(picture: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Bilinear."""
    x, y = x.clip(0, SIDE - 1.001), y.clip(0, SIDE - 1.001)
    i, j = y.astype(int), x.astype(int)
    a, b = y - i, x - j
    return (
        picture[i, j] * (1 - a) * (1 - b)
        + picture[i, j + 1] * (1 - a) * b
        + picture[i + 1, j] * a * (1 - b)
        + picture[i + 1, j + 1] * a * b
    )


def features(
    tracks: list[Track], num_frames: int, camera: np.ndarray, water: np.ndarray, stain: np.ndarray
) -> np.ndarray:
    """(K, T, F) float32, all about 1 in size. `camera` from `ground_motion`; water and stain (T,) in pixels."""
    rows = np.zeros((len(tracks), num_frames, NUM_FEATURES), np.float32)
    places = [track.where(num_frames) for track in tracks]
    for k, track in enumerate(tracks):
        shape, colour = track.vote("shape"), track.vote("colour")
        drift = np.zeros(2)
        before: Instance | None = None
        gone = 0
        for t in range(num_frames):
            one = track.seen.get(t)
            row = rows[k, t]
            held = one or before
            if held is not None and t > 0:
                u, v = (held.x - SIDE / 2) / (SIDE / 2), (held.box[3] - SIDE / 2) / (SIDE / 2)
                flow = camera[t - 1] @ (1.0, u, v)
                drift = drift + flow
            else:
                flow = np.zeros(2)
            if one is not None:
                row[0] = 1
                row[1:8] = (
                    one.x / 32 - 1,
                    one.y / 32 - 1,
                    np.sqrt(one.area) / 16,
                    *(np.array(one.box) / 32 - 1),
                )
                row[8:12] = one.edges
                row[12:15] = np.array(one.spread) / 20
                row[15:19] = one.shape
                row[19] = one.size
                if before is not None:
                    row[20:22] = np.array((one.x - before.x, one.y - before.y)) / 4 / (gone + 1)
                    row[22:24] = row[20:22] - flow / 4
                first = track.seen[track.first]
                row[24:26] = np.array((one.x - first.x, one.y - first.y)) / 16
                row[26:28] = row[24:26] - drift / 16
                near = _nearest(places, tracks, k, t)
                row[28:33] = near
            row[33:35] = flow / 4
            row[35] = gone / 5 if one is None else 0
            gone = 0 if one is not None else gone + 1
            before = one or before
        rows[k, :, 36:40] = shape
        rows[k, :, 40] = colour.max()
    rows[:, :, 41] = np.sqrt(water)[None] / 16
    rows[:, :, 42] = np.sqrt(stain)[None] / 16
    rows[:, 1:, 43:49] = camera.reshape(len(camera), 6)[None] / 2
    rows[:, :, 49] = np.linspace(0, (num_frames - 1) / 12, num_frames)[None] - 1
    rows[:, :, 50] = len(tracks) / 4
    # How many things of the same colour and shape are seen in this frame, this one among them.
    labels = [(t.vote("colour").argmax(), t.vote("shape").argmax()) for t in tracks]
    for k, label in enumerate(labels):
        same = [rows[j, :, 0] for j, other in enumerate(labels) if other == label]
        rows[k, :, 51] = np.sum(same, 0) / 4
        rank = sum(
            other == label and len(tracks[j].seen) > len(tracks[k].seen)
            for j, other in enumerate(labels)
        )
        rows[k, :, 52] = rank / 4
        rows[k, :, 53] = len(tracks[k].seen) / num_frames
    return rows


NUM_FEATURES = 54


def mirrored(rows: Tensor) -> Tensor:
    """Features of the clip seen in a mirror; motion labels must be swapped with them."""
    out = rows.clone()
    seen = rows[..., 0]
    # The background's motion is x by (1, x, y) and y by (1, x, y): what changes sign has one x in it.
    for index in (1, 14, 20, 22, 24, 26, 29, 33, 43, 45, 47):
        out[..., index] = -rows[..., index]
    # Boxes: left and right change places.
    last = (SIDE - 1) / 32 - 2
    out[..., 4], out[..., 6] = (last - rows[..., 6]) * seen, (last - rows[..., 4]) * seen
    out[..., 8], out[..., 10] = rows[..., 10], rows[..., 8]
    return out


def _nearest(places: list[np.ndarray], tracks: list[Track], k: int, t: int) -> np.ndarray:
    """Where the nearest other thing is, and whether it is of the same colour and shape."""
    best, row = np.inf, np.zeros(5, np.float32)
    me = places[k][t]
    for j, other in enumerate(places):
        if j == k or np.isnan(other[t, 0]):
            continue
        gap = np.hypot(*(other[t] - me))
        if gap < best:
            best = gap
            alike = float(np.minimum(tracks[j].seen[t].colour, tracks[k].seen[t].colour).sum())
            row = np.array((1, *(other[t] - me) / 16, alike, 1 / (1 + gap / 8)), np.float32)
    return row


def maps_from_network(maps: dict[str, np.ndarray], t: int) -> dict[str, np.ndarray]:
    """One frame of the network's maps, as `instances` wants them."""
    return {
        "kind": maps["kind"][t],
        "colour": maps["colour"][t],
        "size": maps["size"][t],
        "centre": maps["centre"][t, 0],
        "offset": maps["offset"][t] * OFFSET,
    }
