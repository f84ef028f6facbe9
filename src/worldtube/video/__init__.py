"""Clips, and media files in and out.

Owns frames, sizes and containers; knows nothing of tensors, models or what captions mean. A `Clip` is plain
numpy. `read` takes any container that the bundled FFmpeg or Pillow opens; `write` makes mp4, mov, webm, gif, png, jpg
or webp, whole or not at all. Nothing else in the project opens a media file.
"""

from worldtube.video.clip import Clip, Size, SizeLike
from worldtube.video.convert import ClipLike, PictureLike, as_clip, as_mask
from worldtube.video.fit import (
    fit,
    fit_mask,
    nearest_num_frames,
    resize,
    resize_mask,
    retime,
    tick_frames,
)
from worldtube.video.interpolate import interpolate
from worldtube.video.pictures import save_image, sheet, strip
from worldtube.video.reader import decode, read, read_blocks, read_tags
from worldtube.video.sound import Sound
from worldtube.video.writer import (
    FORMATS,
    STILLS,
    STREAMED,
    WITH_SOUND,
    check_format,
    encode,
    write,
    write_blocks,
)

__all__ = [
    "FORMATS",
    "STILLS",
    "STREAMED",
    "WITH_SOUND",
    "Clip",
    "ClipLike",
    "PictureLike",
    "Size",
    "SizeLike",
    "Sound",
    "as_clip",
    "as_mask",
    "check_format",
    "decode",
    "encode",
    "fit",
    "fit_mask",
    "interpolate",
    "nearest_num_frames",
    "read",
    "read_blocks",
    "read_tags",
    "resize",
    "resize_mask",
    "retime",
    "save_image",
    "sheet",
    "strip",
    "tick_frames",
    "write",
    "write_blocks",
]
