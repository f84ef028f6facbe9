"""The one door out: every clip that we made leaves through `write`. Owns what is written about a clip's making.

For now that is a plain statement, `details` as JSON in the container's comment: anyone can remove or change
it, so it proves nothing. Signatures and watermarks belong here. Knows files only through `video`.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from worldtube import video
from worldtube.errors import DataError
from worldtube.video import Clip


def write(clip: Clip, path: str | Path, *, details: dict[str, Any]) -> Path:
    """Write a clip, whole or not at all, with how it was made (anything that JSON holds) in its comment."""
    path = Path(path)
    text = json.dumps(details, ensure_ascii=False, sort_keys=True, default=str)
    video.write(clip, path, comment=text)
    return path


def write_blocks(
    blocks: Iterable[np.ndarray],
    path: str | Path,
    *,
    fps: float,
    caption: str,
    details: dict[str, Any],
) -> int:
    """As `write`, while frames are being made (mp4, webm); what came before a Ctrl-C is kept. Returns how many came."""
    text = json.dumps(details, ensure_ascii=False, sort_keys=True, default=str)
    return video.write_blocks(path, blocks, fps=fps, caption=caption, comment=text)


def read_details(path: str | Path) -> dict[str, Any]:
    """The details that `write` put into a file. Raises DataError for a file without."""
    try:
        details = json.loads(video.read_tags(path).get("comment", ""))
    except json.JSONDecodeError as error:
        raise DataError(f"{path} does not say how it was made") from error
    if not isinstance(details, dict):
        raise DataError(f"{path} does not say how it was made")
    return details
