"""From decoded frames of any format to 8-bit RGB as it is meant to be seen.

Frames that do not tell their matrix are read as players do: large ones as BT.709, others as BT.601. High dynamic range
(PQ, HLG) is tone-mapped: diffuse white of 203 cd/m² becomes nearly white, brighter light is rolled off. What is
transparent is white.
"""

import functools
from collections.abc import Iterator

import av
import numpy as np
from av.video.reformatter import Colorspace, ColorTrc, Interpolation, VideoReformatter

EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
"""Without these FFmpeg's colour conversion darkens every pixel by about one."""
SMALLER = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
"""Likewise, for pictures that become smaller."""
UNSPECIFIED = 2
LARGE = 1280, 576
"""Untagged frames of so many columns, or of more lines, are BT.709."""
BT2020 = 9
WHITE = 203.0
"""Diffuse white of high dynamic range in cd/m² (ITU-R BT.2408)."""
PEAK = 1000.0
"""Light in cd/m² that becomes full white."""
KNEE = 0.6
"""Share of diffuse white up to which light is unchanged."""
GAMMA = 2.4
"""Of a display for BT.709 (ITU-R BT.1886)."""
STEPS = 1 << 13
TO_BT709 = np.array(
    [
        [1.660491, -0.587641, -0.072850],
        [-0.124550, 1.132900, -0.008349],
        [-0.018151, -0.100579, 1.118730],
    ],
    np.float32,
)
"""Linear light of BT.2020 primaries to BT.709 primaries (ITU-R BT.2087)."""


def to_rgb(
    frame: av.VideoFrame,
    width: int | None = None,
    height: int | None = None,
    *,
    interpolation: int = EXACT,
    reformatter: VideoReformatter | None = None,
) -> np.ndarray:
    """Convert a decoded frame to uint8 RGB (H, W, 3), scaled to `width` x `height` where they are given."""
    reformatter = reformatter or VideoReformatter()
    matrix = None
    if frame.colorspace == UNSPECIFIED and (frame.width >= LARGE[0] or frame.height > LARGE[1]):
        matrix = Colorspace.ITU709

    def convert(name: str) -> np.ndarray:
        return reformatter.reformat(
            frame,
            width,
            height,
            format=name,
            src_colorspace=matrix,
            interpolation=interpolation,
            threads=1,
        ).to_ndarray()

    if frame.color_trc in (ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67):
        return tone_map(convert("rgb48le"), frame.color_trc, wide=frame.color_primaries == BT2020)
    if has_alpha(frame.format.name) and not _is_opaque(frame):
        return on_white(convert("rgba"))
    return convert("rgb24")


def has_alpha(name: str) -> bool:
    """Say whether a pixel format of FFmpeg holds transparency."""
    return name.startswith(("rgba", "bgra", "argb", "abgr", "yuva", "gbrap", "ya8", "ya16", "pal8"))


def _is_opaque(frame: av.VideoFrame) -> bool:
    """Say whether a frame of four bytes a pixel is opaque, without converting it; of other formats False."""
    if frame.format.name not in ("rgba", "bgra", "argb", "abgr"):
        return False
    plane = frame.planes[0]
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: frame.height]
    first = 0 if frame.format.name in ("argb", "abgr") else 3
    return bool(rows[:, first : 4 * frame.width : 4].min() == 255)


def on_white(rgba: np.ndarray) -> np.ndarray:
    """Lay uint8 RGBA (H, W, 4) on white: uint8 (H, W, 3)."""
    rgb = np.empty((*rgba.shape[:2], 3), np.uint8)
    for rows in row_blocks(len(rgba)):
        alpha = rgba[rows, :, 3:].astype(np.uint16)
        rgb[rows] = (rgba[rows, :, :3] * alpha + 255 * (255 - alpha) + 127) // 255
    return rgb


def row_blocks(height: int) -> Iterator[slice]:
    """Yield slices of rows of a picture, so that wider numbers are in memory for a part of it alone."""
    for start in range(0, height, 64):
        yield slice(start, min(start + 64, height))


def tone_map(code: np.ndarray, transfer: int, *, wide: bool = True) -> np.ndarray:
    """Map high dynamic range to BT.709.

    Args:
        code: uint16 (H, W, 3), full range, as the file's transfer function encodes it
        transfer: ColorTrc.SMPTE2084 (PQ) or ColorTrc.ARIB_STD_B67 (HLG)
        wide: whether the primaries are those of BT.2020
    """
    light = _light(transfer)[code >> 4]  # (H, W, 3), 1 is diffuse white
    if wide:
        light = light @ TO_BT709.T
    peak = PEAK / WHITE
    place = np.sqrt(np.clip(light, 0, peak) / peak) * (STEPS - 1)
    return _display()[(place + 0.5).astype(np.uint16)]


@functools.cache
def _light(transfer: int) -> np.ndarray:
    """Linear light, in units of diffuse white, of each of 4096 code values: float32 (4096,)."""
    code = (np.arange(4096) + 0.5) / 4096
    if transfer == ColorTrc.SMPTE2084:  # SMPTE ST 2084
        root = code ** (32 / 2523)
        low = np.maximum(root - 3424 / 4096, 0)
        nits = 10000 * (low / (2413 / 128 - 2392 / 128 * root)) ** (16384 / 2610)
    else:  # ITU-R BT.2100 HLG on a display of 1000 cd/m²
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        scene = np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12)
        nits = 1000 * scene**1.2
    return (nits / WHITE).astype(np.float32)


@functools.cache
def _display() -> np.ndarray:
    """8-bit code of light between 0 and PEAK by its square root: uint8 (STEPS,)."""
    peak = PEAK / WHITE
    light = (np.arange(STEPS) / (STEPS - 1)) ** 2 * peak
    # Möbius curve: the identity up to KNEE, smooth there, 1 at the peak.
    a = -(KNEE**2) * (peak - 1) / (KNEE**2 - 2 * KNEE + peak)
    b = (KNEE**2 - 2 * KNEE * peak + peak) / (peak - 1)
    scale = (b**2 + 2 * b * KNEE + KNEE**2) / (b - a)
    mapped = np.where(light <= KNEE, light, scale * (light + a) / (light + b))
    return np.round(255 * np.clip(mapped, 0, 1) ** (1 / GAMMA)).astype(np.uint8)
