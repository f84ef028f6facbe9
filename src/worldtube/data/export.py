"""Datasets for other people's programs: WebDataset shards, a folder that Hugging Face's `datasets` reads, plain files.

Owns the layouts. Clips go out as the bytes that they are kept in, with their facts, captions and scores; latents
and other arrays stay here. An export is there whole or not at all: it is made under another name, and one that was
interrupted begins anew. The same clips make the same bytes.
"""

import io
import json
import logging
import shutil
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from worldtube.data.catalog import TOLD, Catalog
from worldtube.errors import DataError, RequestError, unknown
from worldtube.files import publish

logger = logging.getLogger(__name__)

GROUP = 16
"""Clips in memory at a time."""
SHARD_MB = 500
Progress = Callable[[int, int], None]
Sample = tuple[str, bytes, str, dict[str, Any]]
"""(name of its files, mp4, text, facts)"""


def export(
    catalog: Catalog,
    ids: Sequence[str],
    *,
    to: str,
    out: str | Path,
    caption: str | None = None,
    shard_mb: int | None = None,
    progress: Progress | None = None,
) -> int:
    """Write these clips to the new folder `out` in a layout of LAYOUTS; returns how many.

    caption: the column whose text is the sample's, caption_medium when not said; `captions_NAME:FIELD` takes a field
    of a captioner's, the medium one when not said. shard_mb: a shard is closed when it is as large (500). Clips without
    a video are left out. Raises RequestError for a folder that is there and for an option that the layout does not
    use, DataError when the disk is full. How many clips have no text is told in the log.
    """
    out = Path(out)
    if to not in LAYOUTS:
        raise unknown("layout", to, LAYOUTS)
    for option, value in (("caption", caption), ("shard_mb", shard_mb)):
        users = [name for name in LAYOUTS if option in OPTIONS.get(name, ())]
        if value is not None and to not in users:
            raise RequestError(
                f"layout {to} does not use {option} {value!r} (accepted: {', '.join(users)})"
            )
    if shard_mb is not None and shard_mb < 1:
        raise RequestError(f"shard_mb {shard_mb} is not accepted; 1 or more is")
    column = caption or "caption_medium"
    text, silent = _text(catalog, column), list[str]()
    if out.exists():
        raise RequestError(f"{out} is there already (accepted: a new folder)")
    if not out.absolute().parent.is_dir():
        raise RequestError(f"no folder {out.parent} to make {out.name} in")
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)  # of one that was killed
    try:
        part.mkdir()
        samples = _heard(_samples(catalog, ids, text, progress), silent)
        count = LAYOUTS[to](part, samples, (shard_mb or SHARD_MB) * 1_000_000)
        publish(part, out)
    except OSError as error:
        raise DataError(f"{out} cannot be written, and nothing of it is there: {error}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    if "caption" in OPTIONS.get(to, ()) and silent:
        own = column.partition(":")[0]
        told = [name for name in catalog.kinds() if name.startswith(TOLD) and name != own]
        logger.warning(
            "%d of %d clips have no text in %s and got an empty one (--where \"%s <> ''\" leaves them out%s)",
            len(silent),
            count,
            column,
            own,
            f"; --caption takes another column, such as {' or '.join(told)}" if told else "",
        )
    return count


def _heard(samples: Iterator[Sample], silent: list[str]) -> Iterator[Sample]:
    """The same; the names of those without text are put into `silent`."""
    for sample in samples:
        if not sample[2]:
            silent.append(sample[0])
        yield sample


def _text(catalog: Catalog, caption: str) -> Callable[[dict[str, Any]], str]:
    """Row -> the text of a sample."""
    column, _, field = caption.partition(":")
    kinds = catalog.kinds()
    if kinds.get(column) != "text":
        texts = [name for name, kind in kinds.items() if kind == "text"]
        raise RequestError(f"no column {column!r} with text (accepted: {', '.join(texts)})")
    if column.startswith(TOLD):
        from worldtube.data.caption import FIELDS, fields_in  # it brings torch

        field = field or "medium"
        if field not in FIELDS:
            raise unknown("caption field", field, FIELDS)
        return lambda row: fields_in(row[column]).get(field, "")
    if field:
        raise RequestError(
            f"column {column!r} has no fields (accepted: {column}, {TOLD}NAME:FIELD)"
        )
    return lambda row: row[column] or ""


def _samples(
    catalog: Catalog,
    ids: Sequence[str],
    text: Callable[[dict[str, Any]], str],
    progress: Progress | None,
) -> Iterator[Sample]:
    kinds = catalog.kinds()
    facts = [name for name, kind in kinds.items() if kind not in ("blob", "arrays")]
    for start in range(0, len(ids), GROUP):
        for row in catalog.take(ids[start : start + GROUP], [*facts, "video"]):
            mp4 = row.pop("video")
            if mp4 is not None:
                # A dot would end the name for WebDataset, and a colon is no part of one on Windows.
                yield row["id"].replace(":", "_").replace(".", "_"), mp4, text(row), row
        if progress is not None:
            progress(min(start + GROUP, len(ids)), len(ids))


def webdataset(folder: Path, samples: Iterator[Sample], most: int) -> int:
    """`000000.tar`, ... with NAME.mp4, NAME.json (facts, captions, scores, truth) and NAME.txt for each clip."""
    count = shards = 0
    sample = next(samples, None)
    while sample is not None:
        with (
            open(folder / f"{shards:06d}.tar", "wb") as file,
            tarfile.open(fileobj=file, mode="w") as tar,
        ):
            while sample is not None and file.tell() < most:
                _add(tar, sample)
                sample, count = next(samples, None), count + 1
        shards += 1
    return count


def _add(tar: tarfile.TarFile, sample: Sample) -> None:
    name, mp4, text, facts = sample
    parts = {
        "mp4": mp4,
        "json": _told(facts),
        "txt": text.encode(),
    }
    for ending, data in parts.items():
        entry = tarfile.TarInfo(f"{name}.{ending}")
        entry.size = len(data)
        tar.addfile(entry, io.BytesIO(data))


def huggingface(folder: Path, samples: Iterator[Sample], most: int) -> int:
    """`metadata.jsonl` beside `videos/`: `datasets.load_dataset("videofolder", data_dir=...)` gives a column `video`,
    one `text` and the facts, `truth` as JSON."""
    count = 0
    (folder / "videos").mkdir()
    with open(folder / "metadata.jsonl", "w", encoding="utf-8") as lines:
        for name, mp4, text, facts in samples:
            path = folder / "videos" / f"{name}.mp4"
            path.write_bytes(mp4)
            if facts["truth"] is not None:  # worlds tell different things; a column has one kind
                facts["truth"] = json.dumps(facts["truth"], ensure_ascii=False)
            told = {"file_name": f"videos/{path.name}", "text": text, **facts}
            lines.write(json.dumps(told, ensure_ascii=False) + "\n")
            count += 1
    return count


def files(folder: Path, samples: Iterator[Sample], most: int) -> int:
    """NAME.mp4 and NAME.json (facts, captions, scores, truth): what `worldtube ingest` takes as films."""
    count = 0
    for name, mp4, _, facts in samples:
        (folder / f"{name}.mp4").write_bytes(mp4)
        (folder / f"{name}.json").write_bytes(_told(facts))
        count += 1
    return count


def _told(facts: dict[str, Any]) -> bytes:
    known = {key: value for key, value in facts.items() if value is not None}
    return json.dumps(known, ensure_ascii=False).encode()


LAYOUTS: dict[str, Callable[[Path, Iterator[Sample], int], int]] = {
    "webdataset": webdataset,
    "huggingface": huggingface,
    "files": files,
}
"""name -> function of (folder, samples, bytes of a shard) that returns how many it wrote."""
OPTIONS = {"webdataset": ("caption", "shard_mb"), "huggingface": ("caption",)}
"""What a layout makes use of."""
