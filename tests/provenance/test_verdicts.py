"""What `verify` says of what may happen to a file: a table, by the report and by the exit code of the command."""

import struct
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from scenes import coded, flip, remux, scene

from worldtube import provenance, video
from worldtube.cli import main
from worldtube.provenance import EXIT_CODES, VERDICTS
from worldtube.provenance import identity as identities
from worldtube.video import Clip, Size, fit

DETAILS = {"model": "tiny", "seed": 7, "task": "generate", "size": "64x64"}


@pytest.fixture(scope="module")
def ours(tmp_path_factory) -> Path:
    """A clip as it leaves."""
    path = tmp_path_factory.mktemp("ours") / "clip.mp4"
    return provenance.write(scene(), path, details=DETAILS)


def film(num_frames: int = 25, side: int = 64) -> Clip:
    """Like a real film: rough ground that a hand-held camera passes, with grain."""
    rng = np.random.default_rng(5)
    frequencies = np.hypot(*np.meshgrid(np.fft.fftfreq(256), np.fft.fftfreq(256)))
    spectrum = np.fft.fft2(rng.standard_normal((256, 256))) / (frequencies + 0.004)
    ground = np.fft.ifft2(spectrum).real
    ground = 120 + 45 * ground / ground.std()
    frames = []
    for k in range(num_frames):
        x, y = 40 + 3 * k, 60 + int(8 * np.sin(k / 3))
        picture = ground[y : y + side, x : x + side, None] + [8, 0, -12]
        frames.append(picture + rng.normal(0, 4, (side, side, 1)))
    return Clip(frames=np.stack(frames).clip(0, 255).astype(np.uint8), fps=12)


def saved(frames: np.ndarray, path: Path, crf: int = 28) -> Path:
    """A file by someone who does not sign."""
    video.write(Clip(frames=np.ascontiguousarray(frames), fps=12), path, crf=crf)
    return path


def with_credentials_of(source: Path, path: Path) -> Path:
    """Put the credentials of one MP4 into another, where they were."""
    signed, target = source.read_bytes(), path.read_bytes()
    start = int.from_bytes(signed[:4], "big")
    length = int.from_bytes(signed[start : start + 4], "big")
    assert signed[start + 4 : start + 8] == b"uuid"
    head = int.from_bytes(target[:4], "big")
    table = (
        target.index(b"stco") + 8
    )  # places of the pictures in the file, which now lie further on
    count = int.from_bytes(target[table : table + 4], "big")
    places = struct.unpack_from(f">{count}I", target, table + 4)
    moved = bytearray(target)
    struct.pack_into(f">{count}I", moved, table + 4, *(place + length for place in places))
    path.write_bytes(moved[:head] + signed[start : start + length] + moved[head:])
    return path


def appended(source: Path, path: Path, tail: bytes) -> Path:
    path.write_bytes(source.read_bytes() + tail)
    return path


def covered(source: Path, path: Path, share: float) -> Path:
    """A picture laid over a share of the height, encoded again."""
    frames = video.read(source).frames.copy()
    picture = np.random.default_rng(1).integers(0, 255, (9, 9, 3), np.uint8)
    side = frames.shape[1]
    large = np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC))
    rows = round(share * side)
    frames[:, :rows] = large[:rows]
    return saved(frames, path)


def foreign_signed(path: Path) -> Path:
    other = identities.load(path.parent / "other" / "provenance")
    return provenance.write(film(), path, details=DETAILS, identity=other, watermark=False)


def box(kind: bytes) -> bytes:
    return struct.pack(">I4s", 108, kind) + b"y" * 100


CASES = {
    "untouched": ("unaltered", lambda source, path: source),
    "renamed": ("unaltered", lambda source, path: appended(source, path, b"")),
    "remuxed": ("derived", remux),
    "encoded again, CRF 28": (
        "derived",
        lambda source, path: saved(video.read(source).frames, path),
    ),
    "frames cut out": ("derived", lambda source, path: saved(video.read(source).frames[6:], path)),
    "a quarter covered": ("derived", lambda source, path: covered(source, path, 1 / 4)),
    "all covered": ("no_signal", lambda source, path: covered(source, path, 1.0)),
    "cropped": (
        "no_signal",
        lambda source, path: saved(
            fit(Clip(frames=video.read(source).frames[:, 4:-4, 4:-4], fps=12), Size(64, 64)).frames,
            path,
        ),
    ),
    "bit flipped in the last picture": (
        "derived",
        lambda source, path: flip(
            source, path, b"mdat", len(source.read_bytes().split(b"mdat")[-1]) - 5
        ),
    ),
    "bit flipped in the file type": (
        "derived",
        lambda source, path: flip(source, path, b"ftyp", 6),
    ),
    "newline appended": ("derived", lambda source, path: appended(source, path, b"\n")),
    "web page appended": (
        "derived",
        lambda source, path: appended(source, path, b"<html>" + b"a" * 50),
    ),
    "free box appended": ("derived", lambda source, path: appended(source, path, box(b"free"))),
    "skip box appended": ("derived", lambda source, path: appended(source, path, box(b"skip"))),
    "credentials copied into it, encoded again": (
        "derived",
        lambda source, path: with_credentials_of(source, saved(video.read(source).frames, path)),
    ),
    "forged: credentials copied into a foreign film": (
        "altered",
        lambda source, path: with_credentials_of(source, saved(film().frames, path)),
    ),
    "foreign film": ("no_signal", lambda source, path: saved(film().frames, path, 20)),
    "foreign film with foreign credentials": (
        "unknown_other",
        lambda source, path: foreign_signed(path),
    ),
    "foreign film with foreign credentials, changed": (
        "altered",
        lambda source, path: flip(foreign_signed(path), path),
    ),
}
"""what happened -> verdict, and how: (our clip, path) -> file."""


@pytest.mark.parametrize("case", CASES)
def test_verdict(case: str, ours: Path, tmp_path: Path, capsys):
    expected, change = CASES[case]
    path = change(ours, tmp_path / "another name.mp4")
    report = provenance.verify(path)
    assert report.verdict == expected, report.text(details=True)
    assert main(["verify", str(path)]) == EXIT_CODES[expected]
    printed = capsys.readouterr().out
    assert printed.startswith(f"{path}: {VERDICTS[expected]}")
    assert ("unaltered" in printed) == (case in ("untouched", "renamed"))
    assert "p =" not in printed and "assertion." not in printed, "statistics only with --details"


@pytest.mark.parametrize("format", ["gif", "png", "webp"])
def test_bytes_after_the_end_of_a_picture(format: str, tmp_path: Path):
    clip = scene(num_frames=1 if format == "png" else 5)
    path = provenance.write(clip, tmp_path / f"clip.{format}", details=DETAILS)
    assert provenance.verify(path).verdict == "unaltered"
    longer = appended(path, tmp_path / f"longer.{format}", b"\n<html>")
    assert provenance.verify(longer).verdict == "derived"


def test_sound_alone_cannot_be_checked(tmp_path: Path, capsys):
    path = tmp_path / "sound.m4a"
    with av.open(str(path), "w", format="mp4") as output:
        stream = output.add_stream("aac", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 16_000
        output.mux(stream.encode(frame))
        output.mux(stream.encode())
    assert main(["verify", str(path)]) == 2
    assert "only sound" in capsys.readouterr().err


def test_statistics_stand_behind_details(ours: Path, capsys):
    assert main(["verify", "--details", str(ours)]) == 0
    printed = capsys.readouterr().out
    assert "p = " in printed and "C2PA credentials: trusted" in printed


def test_one_file_that_cannot_be_checked_does_not_stop_the_others(ours: Path, tmp_path, capsys):
    (tmp_path / "text.mp4").write_text("no film")
    assert main(["verify", str(tmp_path / "text.mp4"), str(ours)]) == 2
    printed = capsys.readouterr()
    assert "made here, unaltered" in printed.out and "text.mp4" in printed.err
    lossy = saved(coded(video.read(ours), 23).frames, tmp_path / "lossy.mp4")
    assert main(["verify", str(lossy), str(ours)]) == EXIT_CODES["derived"]


def test_without_a_watermark_the_credentials_say_so(tmp_path: Path, caplog):
    path = provenance.write(scene(), tmp_path / "clip.mp4", details=DETAILS, watermark=False)
    assert (np.abs(video.read(path).frames.astype(int) - scene().frames).mean()) < 1.5
    report = provenance.verify(path)
    assert report.verdict == "unaltered" and not report.watermark.found and not caplog.text
    assert report.credentials.generation["watermark"] is False
    assert not report.credentials.watermark
    assert "c2pa.watermarked.bound" not in report.credentials.actions
    assert any("without a watermark" in reason for reason in report.reasons)
    count = provenance.write_blocks(
        [scene().frames],
        tmp_path / "b.mp4",
        fps=12,
        caption="",
        details=DETAILS,
        watermark=False,
    )
    assert count == 25 and not provenance.verify(tmp_path / "b.mp4").watermark.found
