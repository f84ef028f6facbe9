"""The one door out: every clip or picture that we made leaves through `write` or `write_blocks`.

Owns the order: watermark, encode, look at what came of it, sign, check, fsync, rename; a file appears whole
and signed, or not at all. How it was made is said twice: `details` as JSON in the container's comment, which
anyone can change, and in the signed credentials. `verify` says where a file comes from.
"""

import hashlib
import json
import logging
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from worldtube import video
from worldtube.errors import DataError, NotFound, RequestError
from worldtube.files import publish
from worldtube.provenance import credentials
from worldtube.provenance import identity as identities
from worldtube.provenance.credentials import PROMPTS, TOLD
from worldtube.provenance.identity import Identity
from worldtube.provenance.verdict import EXIT_CODES, VERDICTS, Report, verify
from worldtube.provenance.watermark import RUN, Mark, Search
from worldtube.video import Clip, Sound

__all__ = [
    "EXIT_CODES",
    "VERDICTS",
    "Identity",
    "Report",
    "read_details",
    "verify",
    "write",
    "write_blocks",
]

logger = logging.getLogger(__name__)


def write(
    clip: Clip,
    path: str | Path,
    *,
    details: Mapping[str, Any],
    parents: Sequence[str | Path] = (),
    sign_prompt: bool = False,
    watermark: bool = True,
    identity: Identity | None = None,
) -> Path:
    """Write a clip, whole or not at all: watermarked, with how it was made, signed.

    details: anything that JSON holds; `credentials.TOLD` names what is signed of it.
    parents: files that this was made from; what is known of each goes into the credentials.
    sign_prompt: also sign the prompts. identity: the installation's own when not said.
    watermark: lay the invisible watermark into the frames; without it the credentials say that there is none.
    A webm cannot be signed: it is watermarked, and a warning says so. Another warning says when the format holds no
    sound and the clip has some.
    """
    path = Path(path)
    format = video.check_format(path, still=clip.num_frames == 1)
    if clip.sound is not None and format not in video.WITH_SOUND:
        logger.warning(
            "%s holds no sound: %.1f s of it are left out (accepted: %s)",
            *(path.name, clip.sound.seconds, ", ".join(video.WITH_SOUND)),
        )

    def encode(part: Path, mark: Mark, comment: str) -> int:
        frames = np.concatenate(list(mark([clip.frames]))) if watermark else clip.frames
        marked = Clip(frames=frames, fps=clip.fps, caption=clip.caption, sound=clip.sound)
        video.write(marked, part, comment=comment)
        return clip.num_frames

    _leave(path, encode, details, parents, sign_prompt, watermark, identity)
    return path


def write_blocks(
    blocks: Iterable[np.ndarray],
    path: str | Path,
    *,
    fps: float,
    caption: str,
    details: Mapping[str, Any],
    parents: Sequence[str | Path] = (),
    sign_prompt: bool = False,
    watermark: bool = True,
    identity: Identity | None = None,
    sound: Sound | None = None,
) -> int:
    """As `write`, while frames are being made (mp4, webm); what came before a Ctrl-C is kept. Returns how many came."""
    path = Path(path)
    video.check_format(path)
    stopped: KeyboardInterrupt | None = None

    def encode(part: Path, mark: Mark, comment: str) -> int | None:
        nonlocal stopped
        marked = mark(blocks) if watermark else iter(blocks)
        try:
            return video.write_blocks(
                part, marked, fps=fps, caption=caption, comment=comment, sound=sound
            )
        except KeyboardInterrupt as interrupt:
            stopped = interrupt
            return None

    count = _leave(path, encode, details, parents, sign_prompt, watermark, identity)
    if stopped is not None:
        raise stopped
    return count


def read_details(path: str | Path) -> dict[str, Any]:
    """The details that `write` put into a file. Raises DataError for a file without."""
    try:
        details = json.loads(video.read_tags(path).get("comment", ""))
    except json.JSONDecodeError as error:
        raise DataError(f"{path} does not say how it was made") from error
    if not isinstance(details, dict):
        raise DataError(f"{path} does not say how it was made")
    return details


def _leave(
    path: Path,
    encode: Callable[[Path, Mark, str], int | None],
    details: Mapping[str, Any],
    parents: Sequence[str | Path],
    sign_prompt: bool,
    watermark: bool,
    identity: Identity | None,
) -> int:
    """The way out. encode: writes a file with a mark and a comment, and says how many frames it should have,
    None for as many as there are. Returns how many there are."""
    sources = [Path(parent) for parent in parents]
    for source in sources:
        if not source.is_file():
            raise NotFound(f"no file {source}, from which {path.name} is said to be made")
    if not path.parent.is_dir():
        raise RequestError(f"no folder {path.parent} to write {path.name} in")
    identity = identity or identities.load()
    text = json.dumps(details, ensure_ascii=False, sort_keys=True, default=str)
    mark = Mark(identity.secret, _name(details, sources))
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            part = Path(folder, f"made{path.suffix.lower()}")
            wanted = encode(part, mark, text)
            if not part.exists():  # not one frame came
                return 0
            count, payload = _probe(part, path.name, wanted, mark if watermark else None, identity)
            sign = partial(
                credentials.sign,
                title=path.name,
                details=details,
                watermark=payload if watermark else None,
                parents=sources,
                sign_prompt=sign_prompt,
            )
            whole = _signed(part, path.name, sign, identity)
            publish(whole, path)
    except (OSError, RequestError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        if not isinstance(cause, OSError):
            raise
        # The name that was asked for, not that of a temporary file.
        raise RequestError(f"{path} cannot be written: {cause.strerror}") from error
    return count


def _name(details: Mapping[str, Any], sources: Sequence[Path]) -> bytes:
    """What tells a generation from others: what was asked and from which files. The same again has the same name."""
    told = {name: details[name] for name in TOLD + PROMPTS if name in details and name != "task"}
    hashes = []
    for source in sources:
        with open(source, "rb") as file:
            hashes.append(hashlib.file_digest(file, "sha256").hexdigest())
    return json.dumps([told, hashes], sort_keys=True, default=str).encode()


def _probe(
    part: Path, name: str, wanted: int | None, mark: Mark | None, identity: Identity
) -> tuple[int, str]:
    """Decode what was encoded: how many frames there are, and the payload if the watermark can be read."""
    search, count = Search(), 0
    for block in video.read_blocks(part, num_frames=RUN):
        if mark is not None:
            search.add(block)
        count += len(block)
    # Equal frames of an animated picture may have become one that is shown for longer.
    if wanted not in (None, count) and part.suffix[1:] in video.STREAMED:
        raise DataError(f"{name} was written with {wanted} frames and holds {count}")
    if mark is None:
        return count, ""
    found = search.result(identity.secret)
    if found.found and found.payload == mark.payload:
        return count, mark.payload
    logger.warning("%s does not hold the watermark: too small, too flat or too busy", name)
    return count, ""


def _signed(part: Path, name: str, sign: Callable[..., Any], identity: Identity) -> Path:
    """The signed copy of a file; the file itself, with a warning, where it cannot be signed."""
    if part.suffix[1:] not in credentials.MIME:
        can = ", ".join(credentials.MIME)
        logger.warning(
            "%s holds no credentials: its format has no place for them (%s do)", name, can
        )
        return part
    try:
        import c2pa  # noqa: F401 - only to see whether it is there
    except ImportError:
        logger.warning("%s is not signed: pip install c2pa-python", name)
        return part
    whole = part.with_name(f"signed{part.suffix}")
    sign(part, whole, identity)
    return whole
