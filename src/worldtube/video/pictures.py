"""Clips as still pictures to look at. Owns contact sheets and strips; does not know video files."""

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from worldtube.errors import RequestError, unknown
from worldtube.files import atomic_write
from worldtube.video.clip import Clip

GAP = 2  # pixels between the frames of a strip
MARGIN = 8  # pixels around each strip of a sheet
BACKGROUND = 24
TEXT_SIZE = 12


def strip(clip: Clip, frames: int = 8, scale: int = 1) -> np.ndarray:
    """Evenly spaced frames of a clip side by side, first and last included: uint8 (H, W, 3)."""
    if frames < 1 or scale < 1:
        raise RequestError(f"frames is {frames} and scale {scale} (accepted: at least 1)")
    chosen = np.linspace(0, clip.num_frames - 1, min(frames, clip.num_frames)).round().astype(int)
    pictures = clip.frames[chosen].repeat(scale, axis=1).repeat(scale, axis=2)
    height, width = pictures.shape[1:3]
    step = width + GAP
    canvas = np.full((height, step * len(pictures) - GAP, 3), BACKGROUND, np.uint8)
    for index, picture in enumerate(pictures):
        canvas[:, index * step : index * step + width] = picture
    return canvas


def sheet(
    clips: Sequence[Clip],
    *,
    frames: int = 6,
    columns: int = 2,
    scale: int = 1,
    captions: bool = True,
) -> np.ndarray:
    """A contact sheet, one strip of frames a clip with its caption above it: uint8 (H, W, 3)."""
    if not clips or columns < 1:
        raise RequestError(
            f"a sheet of {len(clips)} clips in {columns} columns (accepted: at least 1 of each)"
        )
    strips = [strip(clip, frames, scale) for clip in clips]
    columns = min(columns, len(clips))
    width = max(picture.shape[1] for picture in strips) + 2 * MARGIN
    texts = [_wrapped(clip.caption, width - 2 * MARGIN) if captions else [] for clip in clips]
    line = TEXT_SIZE + 3
    rows = [range(i, min(i + columns, len(clips))) for i in range(0, len(clips), columns)]
    text_heights = [max(len(texts[i]) for i in row) * line for row in rows]
    heights = [
        max(strips[i].shape[0] for i in row) + text + 2 * MARGIN
        for row, text in zip(rows, text_heights, strict=True)
    ]
    canvas = Image.new("RGB", (width * columns, sum(heights)), (BACKGROUND,) * 3)
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(TEXT_SIZE)
    top = 0
    for row, text_height, height in zip(rows, text_heights, heights, strict=True):
        for column, i in enumerate(row):
            left = column * width + MARGIN
            for number, text in enumerate(texts[i]):
                draw.text((left, top + 4 + number * line), text, (235, 235, 235), font)
            canvas.paste(Image.fromarray(strips[i]), (left, top + MARGIN + text_height))
        top += height
    return np.array(canvas)


def save_image(array: np.ndarray, path: str | Path) -> Path:
    """Save a uint8 (H, W, 3) or (H, W) picture as .png, .jpg or .webp, whole or not at all."""
    formats = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
    suffix = Path(path).suffix.lower()
    if suffix not in formats:
        raise unknown("picture format", suffix, formats)
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format=formats[suffix])
    return atomic_write(path, buffer.getvalue())


def _wrapped(text: str, width: int) -> list[str]:
    """Lines of a caption for so many pixels (this font's mean letter is about half as wide as high)."""
    return textwrap.wrap(text, max(8, int(width / (TEXT_SIZE * 0.52))))
