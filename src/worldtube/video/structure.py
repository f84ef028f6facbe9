"""What the bytes of a media file tell without decoding: whether its end is there, and holes in compressed pictures.

FFmpeg reads what it finds and does not report that a file was cut off. Most containers say how long they are, so the
container is walked here. Bytes after its end (trailers of cameras, a newline) do not matter. Knows nothing of pictures.
"""

import io
import re
import struct
from collections.abc import Iterator
from typing import BinaryIO

PICTURE_BOXES = (b"moov", b"mdat", b"moof")
"""Top-level boxes of an mp4 without which pictures are lost."""
OTHER_BOXES = (
    b"free skip wide meta uuid udta pdin sidx ssix styp mfra emsg prft pnot PICT imda".split()
)
MOST_EDITS = 1 << 16
EBML, SEGMENT = 0x1A45DFA3, 0x18538067
START_CODES = ("h264", "hevc", "vvc", "mpeg1video", "mpeg2video", "mpeg4", "vc1", "cavs")
"""Codecs whose compressed pictures never hold three zero bytes, except before a start code or at the end."""
ARITHMETIC = ("vp8", "vp9", "av1", "libdav1d")
"""Codecs whose compressed pictures look like noise."""
HOLE = re.compile(rb"\0{3,}[^\0\1]")
LONG_HOLE = re.compile(rb"\0{64,}[^\0]")


def is_complete(file: BinaryIO) -> bool | None:
    """Say whether a file is there to its end: True, False, or None where its container does not tell."""
    file.seek(0)
    head = file.read(12)
    end = file.seek(0, io.SEEK_END)
    if head[:4] == b"GIF8":
        return _gif(file)
    if head[4:8] == b"ftyp":
        return _boxes(file, end)
    if int.from_bytes(head[:4], "big") == EBML:
        return _matroska(file, end)
    if head[:3] == b"FLV":
        return _flv(file, end)
    if head[:4] == b"OggS":
        return _ogg(file, end)
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return _avi(file, end)
    return None


def has_hole(data: bytes, codec: str) -> bool:
    """Say whether a compressed picture (the data of one packet) holds zeros that no encoder writes.

    Disks and interrupted downloads leave blocks of zeros. Some decoders make smeared pictures of them without an error.
    """
    if b"\0\0\0" not in data:
        return False
    if codec in ARITHMETIC:
        return LONG_HOLE.search(data) is not None
    if codec not in START_CODES:
        return False
    units = _units(data) if codec in ("h264", "hevc", "vvc") else None
    if units is None:
        return HOLE.search(data) is not None
    return any(b"\0\0\0" in unit.rstrip(b"\0") for unit in units)


def _units(data: bytes) -> list[bytes] | None:
    """The units of a packet in which each is led by its length in four bytes; None where they are not."""
    units, place = [], 0
    while place < len(data):
        start = place + 4
        place = start + int.from_bytes(data[place:start], "big")
        if place > len(data):
            return None
        units.append(data[start:place])
    return units


def track_ends(file: BinaryIO) -> dict[int, float]:
    """Return when each track of an mp4 or mov ends, by its id, in seconds on the file's clock.

    FFmpeg tells another end where frames are reordered and last differently long.
    """
    file.seek(4)
    kind, end = file.read(4), file.seek(0, io.SEEK_END)
    if kind != b"ftyp":
        return {}
    scale, ends = 0, dict[int, float]()
    for _, start, stop in _children(file, 0, end, (b"moov",)):
        for box, first, _ in _children(file, start, stop, (b"mvhd",)):
            scale = _fields(file, first, box)[0]
        for _, first, last in _children(file, start, stop, (b"trak",)):
            track, length = 0, 0
            for box, place, _ in _children(file, first, last, (b"tkhd",)):
                track, _, length = _fields(file, place, box)
            for _, begin, until in _children(file, first, last, (b"edts",)):
                for _, place, _ in _children(file, begin, until, (b"elst",)):
                    length = _edited_length(file, place) or length
            if scale and 0 < length < 0xFFFFFFFF:
                ends[track] = length / scale
    return ends


def _children(
    file: BinaryIO, start: int, end: int, wanted: tuple[bytes, ...]
) -> Iterator[tuple[bytes, int, int]]:
    """Boxes of these kinds between two places: (kind, first byte of the content, end)."""
    while start + 8 <= end:
        file.seek(start)
        part = file.read(16)
        length, kind, head = int.from_bytes(part[:4], "big"), part[4:8], 8
        if length == 1:
            length, head = int.from_bytes(part[8:16], "big"), 16
        if length < head:
            return
        if kind in wanted:
            yield kind, start + head, min(start + length, end)
        start += length


def _fields(file: BinaryIO, start: int, kind: bytes) -> tuple[int, ...]:
    """Of mvhd: (time scale, duration); of tkhd: (track id, reserved, duration)."""
    file.seek(start)
    wide = file.read(4)[:1] == b"\1"  # version 1 has longer times
    file.seek(start + 4 + (16 if wide else 8))
    form = {b"mvhd": ">I", b"tkhd": ">II"}[kind] + ("Q" if wide else "I")
    data = file.read(struct.calcsize(form))
    return struct.unpack(form, data) if len(data) == struct.calcsize(form) else (0, 0, 0)


def _edited_length(file: BinaryIO, start: int) -> int:
    """The sum of the edits of an edit list, in units of the movie."""
    file.seek(start)
    head = file.read(8)
    wide = head[:1] == b"\1"
    form = ">QqI" if wide else ">IiI"
    count = min(int.from_bytes(head[4:8], "big"), MOST_EDITS)
    data = file.read(count * struct.calcsize(form))
    data = data[: len(data) - len(data) % struct.calcsize(form)]
    return sum(length for length, _, _ in struct.iter_unpack(form, data))


def _gif(file: BinaryIO) -> bool:
    file.seek(0)
    head = file.read(13)
    if len(head) < 13:
        return False
    if head[10] & 0x80:
        file.seek(3 << ((head[10] & 7) + 1), io.SEEK_CUR)
    while True:
        kind = file.read(1)
        if kind == b";":
            return True
        if kind == b",":
            place = file.read(9)
            if len(place) < 9:
                return False
            if place[8] & 0x80:
                file.seek(3 << ((place[8] & 7) + 1), io.SEEK_CUR)
        elif kind not in (b"!", b"\0"):
            return False
        if kind == b"\0":  # padding between blocks
            continue
        file.seek(1, io.SEEK_CUR)  # of an extension its label, of a picture its code size
        while True:
            length = file.read(1)
            if not length:
                return False
            if length == b"\0":
                break
            file.seek(length[0], io.SEEK_CUR)


def _boxes(file: BinaryIO, end: int) -> bool | None:
    """mp4, mov and their relatives: boxes, each led by its length."""
    start, seen = 0, set[bytes]()
    while start + 8 <= end:
        file.seek(start)
        part = file.read(16)
        length, kind = int.from_bytes(part[:4], "big"), part[4:8]
        if kind == b"ftyp" and start and seen >= {b"moov", b"mdat"}:
            break  # another file behind this one
        foreign = kind not in PICTURE_BOXES and kind not in OTHER_BOXES and kind != b"ftyp"
        if foreign and (seen >= {b"moov", b"mdat"} or start + length > end):
            break  # bytes that belong to something else
        seen.add(kind)
        if length == 1:
            length = int.from_bytes(part[8:16], "big")
        if length == 0:  # to the end of the file, wherever that is
            return None if kind == b"mdat" else True
        if start + length > end and kind in PICTURE_BOXES:
            return False
        if kind == b"sidx" and _indexed_end(file, start, length) > end:
            return False
        start += max(length, 8)
    if b"meta" in seen and b"moov" not in seen:
        return True  # a still picture
    if not {b"moov", b"mdat"} <= seen:
        return False
    # Fragments may be missing without a trace, where no index tells of them.
    return None if b"moof" in seen and b"sidx" not in seen else True


def _indexed_end(file: BinaryIO, start: int, length: int) -> int:
    """Where the fragments end of which a segment index tells."""
    file.seek(start + 8)
    data = file.read(min(length, 1 << 20) - 8)
    place = 28 if data[:1] == b"\1" else 20  # behind version, ids and times
    first = int.from_bytes(
        data[place - 8 : place] if place == 28 else data[place - 4 : place], "big"
    )
    count = int.from_bytes(data[place + 2 : place + 4], "big")
    sizes = (data[place + 4 + 12 * i : place + 8 + 12 * i] for i in range(count))
    return start + length + first + sum(int.from_bytes(size, "big") & 0x7FFFFFFF for size in sizes)


def _matroska(file: BinaryIO, end: int) -> bool | None:
    start = 0
    while start < end:
        file.seek(start)
        head = file.read(16)
        width = _vint_width(head[:1])
        element = int.from_bytes(head[:width], "big")
        size_width = _vint_width(head[width : width + 1])
        size = int.from_bytes(head[width : width + size_width], "big") & ((1 << 7 * size_width) - 1)
        if element == SEGMENT and size == (1 << 7 * size_width) - 1:
            return None  # a live recording
        start += width + size_width + size
        if element == SEGMENT or start > end:
            return start <= end
    return False


def _vint_width(first: bytes) -> int:
    return 9 - first[0].bit_length() if first and first[0] else 8


def _flv(file: BinaryIO, end: int) -> bool | None:
    file.seek(0)
    head = file.read(4096)
    place = head.find(b"filesize\0")
    if place > 0 and len(head) >= place + 17:
        size = struct.unpack(">d", head[place + 9 : place + 17])[0]
        if size > 0:
            return end >= size
    start = int.from_bytes(head[5:9], "big") + 4
    while start < end:
        file.seek(start)
        tag = file.read(4)
        if tag[:1] not in (b"\x08", b"\x09", b"\x12"):
            return None
        start += 11 + int.from_bytes(tag[1:4], "big") + 4
    # A file may also end between two tags, which is seen by its times.
    return False if start > end else None


def _ogg(file: BinaryIO, end: int) -> bool | None:
    file.seek(max(0, end - (1 << 17)))
    tail = file.read()
    last = tail.rfind(b"OggS\0")
    # The last page of a stream says so; one that does not may be that of a stream which goes on.
    return True if 0 <= last < len(tail) - 6 and tail[last + 5] & 4 else None


def _avi(file: BinaryIO, end: int) -> bool | None:
    start = 0
    while start + 12 <= end:
        file.seek(start)
        head = file.read(12)
        length = int.from_bytes(head[4:8], "little")
        if head[:4] != b"RIFF":
            break  # bytes behind the last part
        if length in (0, 0xFFFFFFFF):  # never finished
            return None
        start += 8 + length + length % 2
        if start > end + 1:
            return False
    return True
