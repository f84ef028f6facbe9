"""Files as answers: whole, or the part that a Range header names.

Owns what RFC 9110 leaves to a server: a range that is not understood is ignored, and errors have OpenAI's shape. Knows
nothing of videos.
"""

import os
import re
from typing import Any

from fastapi.responses import FileResponse
from starlette.datastructures import Headers

from worldtube.serve.api.errors import ApiError

RANGE = re.compile(
    r"\s*bytes\s*=\s*(\d{1,18}-\d{0,18}|-\d{1,18})(\s*,\s*(\d{1,18}-\d{0,18}|-\d{1,18}))*\s*",
    re.IGNORECASE,
)


class FileAnswer(FileResponse):
    """A file, with byte ranges."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        wanted = Headers(scope=scope).get("range")
        if wanted is not None:
            parts = _parts(wanted)
            length = os.stat(self.path).st_size
            if not parts:  # not understood: the whole file, as if nothing had been asked
                kept = [(name, value) for name, value in scope["headers"] if name != b"range"]
                scope = {**scope, "headers": kept}
            elif not any(_is_inside(first, last, length) for first, last in parts):
                headers = {"content-range": f"bytes */{length}"}
                message = (
                    f"Range must lie within the {length} bytes of the file, got {wanted[:80]!r}"
                )
                error = ApiError(416, "invalid_range", message, "Range", headers)
                await error.response()(scope, receive, send)
                return
            else:  # those inside; the others are left out
                inside = [part for part in parts if _is_inside(*part, length)]
                texts = ",".join(f"{first}-{last}" for first, last in inside)
                headers = [(n, v) for n, v in scope["headers"] if n != b"range"]
                scope = {**scope, "headers": [*headers, (b"range", f"bytes={texts}".encode())]}
        await super().__call__(scope, receive, send)


def _parts(text: str) -> list[tuple[str, str]]:
    """ "bytes=0-9,-5" -> [("0", "9"), ("", "5")]; empty for another unit and for what is malformed."""
    if RANGE.fullmatch(text) is None:
        return []
    parts = [part.strip().partition("-") for part in text.partition("=")[2].split(",")]
    if any(first and last and int(last) < int(first) for first, _, last in parts):
        return []
    return [(first, last) for first, _, last in parts]


def _is_inside(first: str, last: str, length: int) -> bool:
    return int(first) < length if first else int(last) > 0 and length > 0
