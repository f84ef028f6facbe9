"""What is told of every clip: a stage looks at a piece of a film and gives numbers or words, a column for each.

Owns the scores; does not know where pieces come from or where columns go. Stages are listed cheap before dear. A stage
is pure: the same piece gives the same values on every machine and in every process.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
from PIL import Image

from worldtube.errors import MissingExtra
from worldtube.video import Clip
from worldtube.video.film import motion_vectors

LOOKED_AT = 512
"""Pixels on the long side of a piece's whole pictures."""
SAMPLES = 6
"""Pictures of a piece that are looked at one by one."""
Value = float | str


@dataclass(frozen=True, kw_only=True, eq=False)
class Piece:
    """A stretch of a film."""

    source: str
    start: float
    stop: float
    frames: np.ndarray
    """uint8 (T, H, W, 3): the whole pictures on the clip's clock, at most LOOKED_AT pixels long."""
    clip: Clip
    """The same frames cut to the dataset's size."""

    def samples(self, count: int = SAMPLES) -> np.ndarray:
        """Evenly spaced pictures, first and last included."""
        places = np.linspace(0, len(self.frames) - 1, min(count, len(self.frames)))
        return self.frames[places.round().astype(int)]


class Scores(Protocol):
    """A stage. Picklable; made anew in each process, where `setup` comes before the first piece."""

    version: str
    columns: tuple[str, ...]

    def setup(self) -> None: ...

    def __call__(self, piece: Piece) -> Mapping[str, Value]: ...


class Identity:
    """`exact`: hash of the clip's pixels. `phash`: what its first, middle and last picture look like, 64 bits each."""

    version = "1"
    columns: tuple[str, ...] = ("exact", "phash")

    def setup(self) -> None:
        pass

    def __call__(self, piece: Piece) -> dict[str, Value]:
        pixels = hashlib.sha256(piece.clip.frames.tobytes())
        prints = [_perceptual(picture) for picture in piece.samples(3)]
        return {"exact": pixels.hexdigest(), "phash": "".join(prints)}


def _perceptual(picture: np.ndarray) -> str:
    """The perceptual hash of a picture: signs of its lowest cosine coefficients, as 16 hexadecimal digits.

    Zauner, "Implementation and benchmarking of perceptual image hash functions" (2010), section 3.2.
    """
    small = _shrunk(_grey(picture), 32, 32)
    places = np.arange(32)
    basis = np.cos(np.pi * (2 * places[None] + 1) * np.arange(1, 9)[:, None] / 64)
    low = (basis @ small @ basis.T).round(3)
    return np.packbits(low > np.median(low)).tobytes().hex()


class Motion:
    """`motion`: how far blocks move, in picture widths a second, on average over picture and time. `moving`: the
    share of the picture that moves by more than a quarter pixel a frame, likewise."""

    version = "1"
    columns: tuple[str, ...] = ("motion", "moving")
    WIDTH = 256

    def setup(self) -> None:
        pass

    def __call__(self, piece: Piece) -> dict[str, Value]:
        step = max(1, round(max(piece.frames.shape[1:3]) / self.WIDTH))
        small = np.stack([np.asarray(Image.fromarray(f).reduce(step)) for f in piece.frames])
        if min(small.shape[1:3]) < 16 or len(small) < 2:
            return {"motion": 0.0, "moving": 0.0}
        area = float(small.shape[1] * small.shape[2])
        lengths, shares = [], []
        for vectors in motion_vectors(small):
            length = np.hypot(vectors[:, 1], vectors[:, 2])
            lengths.append(float((vectors[:, 0] * length).sum()) / area)
            shares.append(float(vectors[length > 0.25, 0].sum()) / area)
        widths = np.mean(lengths) / small.shape[2] * piece.clip.fps
        return {"motion": _round(widths), "moving": _round(np.mean(shares))}


class Look:
    """`sharpness`: variance of the Laplacian of the brightness (0 to 255), the greatest of the pictures. `brightness`:
    mean, 0 to 1. `black`: the share of pictures with next to nothing in them. `letterbox`: the share of the picture
    that black bars cover all the time. `static`: the share of steps in time in which nothing changes."""

    version = "1"
    columns: tuple[str, ...] = ("sharpness", "brightness", "black", "letterbox", "static")
    DARK = 24
    """Of 255: what a coded black may come to."""

    def setup(self) -> None:
        pass

    def __call__(self, piece: Piece) -> dict[str, Value]:
        grey = np.stack([_grey(picture) for picture in piece.samples()])  # (n, H, W)
        centre = grey[:, 1:-1, 1:-1]
        around = grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1] + grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:]
        sharp = (4 * centre - around).var(axis=(1, 2)).max() if centre.size else 0.0
        bright = np.percentile(grey, 98, axis=(1, 2))
        steps = np.abs(np.diff(piece.clip.frames.astype(np.int16), axis=0)).mean(axis=(1, 2, 3))
        return {
            "sharpness": _round(sharp),
            "brightness": _round(grey.mean() / 255),
            "black": _round((bright < self.DARK).mean()),
            "letterbox": _round(self._bars(grey.max(axis=0))),
            "static": _round((steps < 0.25).mean()) if len(steps) else 1.0,
        }

    def _bars(self, brightest: np.ndarray) -> float:
        """The share outside of the rows and columns that are ever brighter than black."""
        rows = np.flatnonzero(np.percentile(brightest, 95, axis=1) >= self.DARK)
        columns = np.flatnonzero(np.percentile(brightest, 95, axis=0) >= self.DARK)
        if not len(rows) or not len(columns):
            return 1.0
        inside = (rows[-1] + 1 - rows[0]) * (columns[-1] + 1 - columns[0])
        return float(1 - inside / brightest.size)


class Text:
    """`text_area`: the share of the picture under readable text, and `words`: that text, by RapidOCR (its package holds
    the models) in the first, middle and last picture. Seconds a clip."""

    version = "rapidocr-1"
    columns: tuple[str, ...] = ("text_area", "words")

    def __init__(self) -> None:
        if find_spec("rapidocr") is None:  # told before the first film is looked at
            raise MissingExtra("reading burnt-in text", "ocr")

    def setup(self) -> None:
        try:
            import rapidocr
        except ModuleNotFoundError as error:  # where this is another machine
            raise MissingExtra("reading burnt-in text", "ocr") from error
        import logging

        reader = rapidocr.RapidOCR(
            params={
                "Global.log_level": "error",
                "EngineConfig.onnxruntime.intra_op_num_threads": 1,
                "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            }
        )
        logging.getLogger("RapidOCR").setLevel(logging.ERROR)
        self._read = reader

    def __call__(self, piece: Piece) -> dict[str, Value]:
        shares, words = [], []
        for picture in piece.samples(3):
            told = self._read(np.ascontiguousarray(picture[..., ::-1]))
            boxes = () if told.boxes is None else np.asarray(told.boxes)
            area = sum(_area(box) for box in boxes)
            shares.append(area / (picture.shape[0] * picture.shape[1]))
            words += told.txts or ()
        return {"text_area": _round(np.mean(shares)), "words": " | ".join(dict.fromkeys(words))}

    def __getstate__(self) -> dict[str, Any]:
        return {}


def _area(box: np.ndarray) -> float:
    """Of a polygon (n, 2), by the shoelace formula."""
    x, y = box[:, 0], box[:, 1]
    return 0.5 * abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1)))


def _grey(picture: np.ndarray) -> np.ndarray:
    """Brightness of uint8 (H, W, 3), by BT.709: float64 (H, W), 0 to 255."""
    return picture @ np.array([0.2126, 0.7152, 0.0722])


def _shrunk(grey: np.ndarray, height: int, width: int) -> np.ndarray:
    """Mean over cells, which may be uneven; a smaller picture repeats its rows and columns."""
    rows = np.linspace(0, grey.shape[0], height + 1)
    columns = np.linspace(0, grey.shape[1], width + 1)
    total = np.pad(grey.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    top, bottom = rows[:-1].astype(int), np.maximum(rows[1:].astype(int), rows[:-1].astype(int) + 1)
    left = columns[:-1].astype(int)
    right = np.maximum(columns[1:].astype(int), left + 1)
    cells = (
        total[np.ix_(bottom, right)]
        - total[np.ix_(top, right)]
        - total[np.ix_(bottom, left)]
        + total[np.ix_(top, left)]
    )
    return cells / np.outer(bottom - top, right - left)


def _round(value: Any) -> float:
    """Six digits: sums over pictures may differ in the last bits between processors."""
    return float(f"{float(value):.6g}")


STAGES: dict[str, Callable[[], Scores]] = {
    "identity": Identity,
    "look": Look,
    "motion": Motion,
    "text": Text,
}
"""Cheap before dear."""
DEFAULT = ("identity", "look", "motion")
"""Those that need no models."""
