"""Small clips with edges, texture and motion, and what may happen to their files."""

import io
from pathlib import Path

import av
import numpy as np
from PIL import Image

from worldtube import video
from worldtube.video import Clip


def scene(side: int = 64, num_frames: int = 25, seed: int = 0) -> Clip:
    """A shaded ground with coarse texture, and a box that moves over it."""
    rng = np.random.default_rng(seed)
    rough = Image.fromarray(rng.integers(0, 60, (side // 4, side // 4), np.uint8))
    rough = np.asarray(rough.resize((side, side), Image.Resampling.BICUBIC), float)
    ground = 90 + rough + np.linspace(0, 50, side)[:, None]
    frames = np.repeat(np.stack([ground, ground * 0.9, ground * 0.8], axis=-1)[None], num_frames, 0)
    for k, frame in enumerate(frames):
        left = side // 8 + k * side // (2 * num_frames)
        frame[side // 3 : side // 2, left : left + side // 4] = (200, 40, 30)
    return Clip(
        frames=frames.clip(0, 255).astype(np.uint8), fps=12, caption="a box on rough ground"
    )


def coded(clip: Clip, crf: int) -> Clip:
    """After a lossy H.264 file."""
    buffer = io.BytesIO()
    video.write(clip, buffer, format="mp4", crf=crf)
    return video.read(buffer.getvalue())


def remux(source: Path, target: Path) -> Path:
    """The same packets in a new file; what is not packets stays behind."""
    with av.open(str(source)) as given, av.open(str(target), "w") as output:
        stream = output.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(given.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                output.mux(packet)
    return target


def flip(source: Path, target: Path, after: bytes = b"mdat", offset: int = 900) -> Path:
    """One bit changed behind the first place where some bytes stand."""
    data = bytearray(source.read_bytes())
    data[data.index(after) + offset] ^= 1
    target.write_bytes(data)
    return target
