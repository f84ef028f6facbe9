"""Films for tests, made here: shots that differ, clocks that are uneven, files that are broken in every way we know."""

import random
from pathlib import Path

import av
import numpy as np

WIDTH, HEIGHT = 96, 64
COLOURS = ((200, 60, 50), (40, 160, 90), (60, 80, 200), (210, 190, 60))


def shot(index: int, num_frames: int, *, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """A square that wanders to and fro over a background of its own: uint8 (T, H, W, 3)."""
    rng = np.random.default_rng(index)
    back = np.array(COLOURS[index % len(COLOURS)]) + rng.integers(
        -25, 25, (height // 8 + 1, width // 8 + 1, 3)
    )
    back = back.repeat(8, 0).repeat(8, 1)[:height, :width]
    frames = np.broadcast_to(back, (num_frames, height, width, 3)).clip(0, 255).astype(np.uint8)
    frames = frames.copy()
    side = height // 3
    for t, frame in enumerate(frames):
        left = bounce(7 * index + 2 * t, width - side)
        top = bounce(11 * index + t, height - side)
        frame[top : top + side, left : left + side] = 240 - 60 * (index % 3)
    return frames


def bounce(place: int, most: int) -> int:
    """There and back: a jump would be a cut."""
    return most - abs(place % (2 * most) - most)


def write(
    path: Path,
    frames: np.ndarray,
    *,
    fps: float = 24,
    times: list[float] | None = None,
    codec: str = "libx264",
    degrees: int = 0,
    sound: int = 0,
    container: str | None = None,
    muxing: dict[str, str] | None = None,
    held: float | None = None,
) -> Path:
    """The frames as a film; times: when each is shown, in seconds; held: how long the last one is.

    sound: pieces of 64 ms; container: of another kind than the name says; muxing: options of it.
    """
    with av.open(str(path), mode="w", format=container, options=muxing or {}) as output:
        options = {"crf": "12", "g": "48"} if codec == "libx264" else {}
        stream = output.add_stream(codec, rate=1000 if times else round(fps), options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = {"mjpeg": "yuvj420p", "gif": "rgb8"}.get(codec, "yuv420p")
        stream.codec_context.thread_count = 1
        if degrees:
            stream.set_display_rotation(degrees)
        tone = output.add_stream("aac", rate=16000, layout="mono") if sound else None
        for index, array in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(array, format="rgb24")
            frame = frame.reformat(format=stream.pix_fmt)
            if times:
                frame.pts = round(times[index] * 1000)
            output.mux(stream.encode(frame))
        packets = stream.encode()
        if held and packets:
            max(packets, key=lambda packet: packet.pts).duration = round(
                held / packets[0].time_base
            )
        output.mux(packets)
        if tone is not None:
            beep(output, tone, sound)
    return path


def beep(output, tone, num_frames: int = 8) -> None:
    for index in range(num_frames):
        wave = np.sin(np.arange(1024) / 9)[None].astype(np.float32)
        samples = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
        samples.sample_rate, samples.pts = 16000, 1024 * index
        output.mux(tone.encode(samples))
    output.mux(tone.encode())


def good(folder: Path) -> Path:
    """Five films: three shots, uneven times, a turned one with sound, odd sides, and the first once more."""
    folder.mkdir(exist_ok=True)
    cuts = np.concatenate([shot(0, 60), shot(1, 72), shot(2, 110)])
    write(folder / "cuts.mp4", cuts)
    (folder / "cuts.txt").write_text("a square wanders\nover coloured ground\n")
    steps = np.random.default_rng(7).uniform(0.02, 0.08, 100)
    write(folder / "uneven.mkv", shot(3, 100), times=np.cumsum(steps).tolist())
    write(folder / "turned.mov", shot(4, 70), degrees=90, sound=8)
    write(folder / "odd.avi", shot(5, 66, width=95, height=63), codec="mpeg4")
    (folder / "more").mkdir(exist_ok=True)
    (folder / "more" / "copy.mp4").write_bytes((folder / "cuts.mp4").read_bytes())
    return folder


def bad(folder: Path) -> dict[str, str]:
    """Files that give no clip, or not all of theirs: name -> what the reason must say."""
    folder.mkdir(exist_ok=True)
    whole = write(folder / "whole.mp4", np.concatenate([shot(0, 90), shot(1, 90)])).read_bytes()
    (folder / "whole.mp4").unlink()
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "truncated.mp4").write_bytes(whole[: len(whole) // 2])
    (folder / "text.mp4").write_text("this is no film at all\n" * 40)
    (folder / "noise.mkv").write_bytes(random.Random(0).randbytes(20000))
    write(folder / "frame.mp4", shot(6, 1))
    write(folder / "short.mp4", shot(7, 20))
    write(folder / "huge.avi", np.zeros((1, 4320, 7680, 3), np.uint8), codec="mjpeg")
    with av.open(str(folder / "sound.mp4"), mode="w") as output:
        beep(output, output.add_stream("aac", rate=16000, layout="mono"))
    damaged = bytearray(write(folder / "damaged.mkv", shot(8, 240)).read_bytes())
    middle = len(damaged) * 7 // 10
    damaged[middle : middle + 4000] = random.Random(1).randbytes(4000)
    (folder / "damaged.mkv").write_bytes(damaged)
    return {
        "empty.mp4": "the file is empty",
        "truncated.mp4": "not readable as a film",
        "text.mp4": "not readable as a film",
        "noise.mkv": "not readable as a film",
        "frame.mp4": "one picture is no film",
        "short.mp4": "no shot lasts the 2.08 s of a clip (the longest 0.83 s)",
        "huge.avi": "pictures of 7680x4320",
        "sound.mp4": "no video (only sound)",
        "damaged.mkv": "damaged",
    }
