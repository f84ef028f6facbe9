"""The studio: the page at `/`, and the files that it is made of.

Owns which files those are and what a browser may do with them. Knows nothing of videos: the page asks the API as any
client does, with a key where the server wants one, so the files themselves need none.
"""

from pathlib import Path
from typing import Any

from fastapi import APIRouter
from fastapi.responses import FileResponse

from worldtube.serve.api.errors import missing

PAGE = Path(__file__).with_name("page")
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
FILES = {path.name: path for path in PAGE.iterdir() if path.suffix in KINDS}
RULES = {
    # Nothing from elsewhere, no script or style in the page itself, and no page of others around it.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob:; media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}

router = APIRouter(include_in_schema=False)


def _answer(path: Path) -> FileResponse:
    return FileResponse(path, media_type=KINDS[path.suffix], headers=RULES)


@router.api_route("/", methods=["GET", "HEAD"])
def front() -> Any:
    return _answer(PAGE / "index.html")


@router.api_route("/studio/{name}", methods=["GET", "HEAD"])
def part(name: str) -> Any:
    if name not in FILES:
        raise missing("file", name)
    return _answer(FILES[name])
