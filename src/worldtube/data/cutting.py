"""Films to rows: how a dataset cuts them, what is known of a file, and the two stages that read one.

Knows nothing of catalogs, folders or where it runs; what is told of clips is in `stages`, where cuts fall in `shots`.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from worldtube import video
from worldtube.data import shots
from worldtube.data.shots import SHOTS, Shots
from worldtube.data.stages import LOOKED_AT, Piece, Scores
from worldtube.errors import DataError, RequestError, WorldtubeError, unknown
from worldtube.video import Clip, Size
from worldtube.video.film import Film, look, nearest

VERSION = 2
"""Of how files become clips; part of their ids."""


@dataclass(frozen=True, kw_only=True)
class Cutting:
    """How films become clips; one for each dataset."""

    size: Size = field(default=Size(64, 64))
    """Of the clips: pictures are scaled until they cover it, and cut around the centre."""
    num_frames: int = 25
    fps: float = 12.0
    crf: int = 0
    """0 keeps every pixel, as in engine-made clips; 16 takes about a sixth of the disk."""
    shots: str = "adaptive"
    """An entry of SHOTS."""

    def __post_init__(self) -> None:
        if self.shots not in SHOTS:
            raise unknown("shot detector", self.shots, SHOTS)
        if self.num_frames < 2 or not 0 < self.fps <= 240:
            raise RequestError(
                f"clips of {self.num_frames} frames at {self.fps:g} fps (accepted: from 2 frames, above 0 to 240)"
            )
        if self.size.width % 2 or self.size.height % 2 or not 0 <= self.crf <= 51:
            raise RequestError(
                f"clips of {self.size} at crf {self.crf} (accepted: even sides, and crf 0 to 51)"
            )

    @property
    def seconds(self) -> float:
        return self.num_frames / self.fps

    def told(self) -> dict[str, Any]:
        own = {"size": str(self.size), "version": VERSION, "detector": SHOTS[self.shots].version}
        return asdict(self) | own


@dataclass(frozen=True, kw_only=True)
class Found:
    """What is known of a file."""

    source: str
    """Its path below the folder that was given."""
    sha256: str
    film: Film | None
    shots: Shots
    captions: Mapping[str, str] = field(default_factory=dict)

    @property
    def problem(self) -> str:
        return self.shots.problem

    def id(self, start: float, stop: float) -> str:
        begin, end = round(1000 * start), round(1000 * stop)
        return f"film:{VERSION}:{self.sha256[:16]}:{begin}-{end}"


@dataclass(frozen=True, kw_only=True)
class Part:
    """Stretches of one film that are read in one go."""

    found: Found
    spans: tuple[tuple[float, float], ...]


class Watch:
    """Stage: a path to what is in the file, as JSON holds it."""

    def __init__(self, detector: str):
        self.detector = detector

    def setup(self) -> None:
        SHOTS[self.detector]()  # a missing package is told before the first file

    def __call__(self, path: str) -> dict[str, Any]:
        try:
            if not os.path.isfile(path):
                raise DataError("not a regular file")
            film = look(path)
            try:
                found = shots.find(film, SHOTS[self.detector]())
            except DataError as error:
                found = Shots(spans=(), problem=str(error))
            return {"film": asdict(film), "spans": found.spans, "problem": found.problem}
        except DataError as error:
            return {"film": None, "spans": (), "problem": str(error)}


class Cut:
    """Stage: a part of a film to rows of the catalog, with what its stages tell of each."""

    def __init__(self, cutting: Cutting, stages: Mapping[str, Scores]):
        self.cutting, self.stages = cutting, dict(stages)

    def setup(self) -> None:
        for stage in self.stages.values():
            stage.setup()

    def __call__(self, part: Part) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """(row, scores) of each stretch; where the film cannot be read, the rows say so."""
        made = []
        frames = self._frames(part.found, part.spans)
        for place, span in enumerate(part.spans):
            try:
                made.append(self._clip(part.found, span, frames))
            except DataError:
                # What a stretch gives does not depend on those that are read with it.
                made.append(self._alone(part.found, span))
                frames = self._frames(part.found, part.spans[place + 1 :])
        return made

    def _alone(
        self, found: Found, span: tuple[float, float]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        try:
            return self._clip(found, span, self._frames(found, [span]))
        except DataError as error:
            return problem_row(found, span, str(error)), {}

    def _frames(self, found: Found, spans: Sequence[tuple[float, float]]) -> Iterator[np.ndarray]:
        """The frames of these stretches one after the other, num_frames of each."""
        assert found.film is not None
        ticks = (np.arange(self.cutting.num_frames) / self.cutting.fps).tolist()
        times = [start + tick for start, _ in spans for tick in ticks]
        return nearest(found.film, times, within=self._scale(found.film.size))

    def _scale(self, film: Size) -> int:
        """The long side of pictures large enough to look at, and twice what the clip needs."""
        size = self.cutting.size
        cover = max(size.width / film.width, size.height / film.height)
        return max(LOOKED_AT, round(2 * cover * max(film.width, film.height)))

    def _clip(
        self, found: Found, span: tuple[float, float], frames: Iterator[np.ndarray]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        size, whole, fitted = self.cutting.size, [], []
        for _ in range(self.cutting.num_frames):
            frame = next(frames)
            whole.append(_within(frame, LOOKED_AT))
            fitted.append(video.fit(Clip(frames=frame[None], fps=1), size).frames[0])
        clip = Clip(frames=np.stack(fitted), fps=self.cutting.fps)
        start, stop = span
        piece = Piece(
            source=found.source, start=start, stop=stop, frames=np.stack(whole), clip=clip
        )
        scores: dict[str, Any] = {}
        for name, stage in self.stages.items():
            try:
                scores |= stage(piece)
            except (WorldtubeError, MemoryError):
                raise
            except Exception as error:
                raise DataError(f"stage {name}: {type(error).__name__}: {error}") from error
        row = _place(found, span) | {
            "width": size.width,
            "height": size.height,
            "num_frames": clip.num_frames,
            "fps": clip.fps,
            "video": video.encode(clip, lossless=self.cutting.crf == 0, crf=self.cutting.crf),
            **{f"caption_{length}": words for length, words in found.captions.items()},
        }
        return row, scores


def _within(frame: np.ndarray, side: int) -> np.ndarray:
    height, width = frame.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return frame
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BOX))


def _place(found: Found, span: tuple[float, float]) -> dict[str, Any]:
    return {
        "id": found.id(*span),
        "version": VERSION,
        "source": found.source,
        "source_hash": found.sha256,
        "start": span[0],
        "stop": span[1],
    }


def problem_row(found: Found, span: tuple[float, float], problem: str) -> dict[str, Any]:
    """The row of a stretch that gave no clip, or, from 0 to 0, of a whole file."""
    return _place(found, span) | {"problem": problem}
