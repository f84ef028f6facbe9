"""Picture files through Pillow: pages, modes, orientation, durations.

Still formats (JPEG, TIFF, BMP, ICO) give their first page, whatever else the file holds: the second eye of a stereo
camera, a preview, a scan of several sheets. PNG, WebP and AVIF may be animated. Every mode becomes 8-bit RGB: 16 bits
and floats are scaled, what is transparent is white.
"""

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, features

from worldtube.video.color import on_white, row_blocks

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "ICO") + (
    ("AVIF",) if features.check("avif") else ()
)
ANIMATED = ("PNG", "WEBP", "AVIF", "GIF")
"""Formats whose pages are shown one after the other."""
UNTIMED = 0.1
"""Seconds that a page of an animation stays when it does not tell, as browsers have it."""
MATROSKA = b"\x1aE\xdf\xa3"
"""How MKV and WebM files begin."""
FILM_BRANDS = (
    b"isom",
    b"iso2",
    b"iso4",
    b"iso5",
    b"iso6",
    b"mp41",
    b"mp42",
    b"avc1",
    b"M4V ",
    b"qt  ",
)
"""Brands of MP4 and QuickTime files that hold films; AVIF pictures have others."""
EXIF_TAGS = {
    "title": 0x9C9B,
    "comment": 0x9C9C,
}  # XPTitle and XPComment: the ones that hold any letter
TIFF_BITS, TIFF_WHITE_IS_ZERO, TIFF_SIGN = 258, 262, 339


def open_picture(file: BinaryIO) -> Image.Image | None:
    """Open a file as a picture; None when it is none of FORMATS."""
    head = file.read(12)
    file.seek(0)
    if head[:4] == MATROSKA or (head[4:8] == b"ftyp" and head[8:12] in FILM_BRANDS):
        return None  # without loading all of Pillow's formats
    try:
        return Image.open(file, formats=FORMATS)
    except Image.UnidentifiedImageError:
        return None
    finally:
        file.seek(0)


def count_pages(picture: Image.Image) -> int:
    """Return how many pictures the file shows: 1 for a still format."""
    if picture.format not in ANIMATED:
        return 1
    return getattr(picture, "n_frames", 1) - _first_page(picture)


def _first_page(picture: Image.Image) -> int:
    # An animated PNG may begin with a picture for programs that show no animations.
    return int(bool(picture.info.get("default_image")) and getattr(picture, "n_frames", 1) > 1)


def pages(picture: Image.Image) -> Iterator[tuple[float, np.ndarray]]:
    """Yield the pages of a picture file: (seconds that each is shown, uint8 RGB (H, W, 3))."""
    count, first = count_pages(picture), _first_page(picture)
    for index in range(first, first + count):
        if count > 1:
            picture.seek(index)
        pixels = to_rgb(picture)  # WebP tells the duration of a page once that is decoded
        yield (picture.info.get("duration") or 0) / 1000 or UNTIMED, pixels


def to_rgb(picture: Image.Image) -> np.ndarray:
    """Convert the current page, of any mode, to uint8 RGB (H, W, 3), upright."""
    white_is_zero = getattr(picture, "tag_v2", {}).get(TIFF_WHITE_IS_ZERO) == 0
    full = _full_scale(picture)
    upright = ImageOps.exif_transpose(picture)
    if upright.mode == "F" or upright.mode.startswith("I"):
        values = np.asarray(upright)
        if upright.mode == "I" and picture.format == "TIFF" and not _is_signed(picture):
            values = values.astype(np.int64) & 0xFFFFFFFF
        if white_is_zero and full is not None:
            values = full - values
        grey = _scale(values, full)
        if white_is_zero and full is None:
            grey = 255 - grey
        key = picture.info.get("transparency")
        if isinstance(key, int):  # the grey that is transparent
            grey = np.where(np.asarray(upright) == key, 255, grey).astype(np.uint8)
        return grey[..., None].repeat(3, axis=2)
    if upright.mode in ("La", "RGBa"):
        upright = upright.convert("LA" if upright.mode == "La" else "RGBA")
    if upright.mode == "LAB":
        from PIL import ImageCms

        spaces = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return np.array(ImageCms.profileToProfile(upright, *spaces, outputMode="RGB"))
    if upright.has_transparency_data:
        return on_white(np.array(upright.convert("RGBA")))
    return np.array(upright.convert("RGB"))


def _full_scale(picture: Image.Image) -> float | None:
    """The value of white in modes of more than 8 bits, None where the file does not tell."""
    if picture.mode.startswith("I;16"):
        bits = getattr(picture, "tag_v2", {}).get(TIFF_BITS, (16,))[0]
        return float((1 << bits) - 1)
    if picture.mode == "I" and picture.format == "TIFF":
        bits = getattr(picture, "tag_v2", {}).get(TIFF_BITS, (32,))[0]
        return float((1 << bits - _is_signed(picture)) - 1) if bits <= 16 else None
    return None


def _is_signed(picture: Image.Image) -> bool:
    return getattr(picture, "tag_v2", {}).get(TIFF_SIGN, (1,))[0] == 2


def _scale(values: np.ndarray, full: float | None) -> np.ndarray:
    """Scale to uint8. Without a known white it is the next of 1 (floats), 255, 65,535 or the largest value."""
    if full is None:
        most, whole = 0.0, True
        for rows in row_blocks(len(values)):
            finite = values[rows][np.isfinite(values[rows])].astype(np.float64)
            most = max(most, float(finite.max(initial=0.0)))
            whole &= bool((finite == np.floor(finite)).all())
        steps = (255.0, 65535.0) if whole and most > 1 else (1.0, 255.0, 65535.0)
        full = next((step for step in steps if most <= step), most)
    grey = np.empty(values.shape, np.uint8)
    for rows in row_blocks(len(values)):
        share = np.nan_to_num(values[rows].astype(np.float64) / full, nan=0, posinf=1, neginf=0)
        grey[rows] = np.floor(np.clip(share, 0, 1) * 255 + 1e-6)
    return grey


def read_picture_tags(picture: Image.Image) -> dict[str, str]:
    """Return the text tags of a picture file (`title`, `comment`, ...), keys in lower case."""
    picture.load()  # PNG text may follow the pixels
    texts = getattr(picture, "text", {})
    tags = {key.lower(): str(value) for key, value in texts.items()}
    for key, tag in EXIF_TAGS.items():
        value = picture.getexif().get(tag)
        if isinstance(value, bytes) and key not in tags:
            tags[key] = value.decode("utf-16-le", "replace").rstrip("\0")
    return tags
