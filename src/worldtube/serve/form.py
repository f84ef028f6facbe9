"""Bodies in: JSON, multipart or urlencoded, to one dictionary of plain values and uploads.

Owns the clients' way of writing nested values as form fields (`nested[a]=1`, `list[]=x`, `shots[][prompt]=...`) and
what no body may hold. Knows no field's meaning.
"""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from worldtube.errors import RequestError
from worldtube.serve.schema import Upload

MAX_FIELD = 32 << 20
"""Bytes of a form field: a picture as a data URL may have 20 MiB."""
MAX_FIELDS = 200
MAX_DEPTH = 8
FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")
Plain = Any


class TooLarge(RequestError):
    """A body, or a part of it, has more bytes than are accepted."""


async def read_body(request: Request, path: Callable[[str], Path]) -> dict[str, Plain]:
    """The body's fields, nulls left out; `path` says where its files go. Raises RequestError."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in FORMS:
        try:
            async with request.form(
                max_part_size=MAX_FIELD, max_fields=MAX_FIELDS, max_files=4
            ) as form:
                pairs = [
                    (
                        name,
                        await _kept(value, path(str(index)))
                        if isinstance(value, UploadFile)
                        else value,
                    )
                    for index, (name, value) in enumerate(form.multi_items())
                ]
        except HTTPException as error:
            if "exceeded maximum size" in error.detail:
                raise TooLarge(f"a form field must have at most {MAX_FIELD} bytes") from error
            if error.detail.startswith("Too many fields"):
                raise RequestError(
                    f"a form must have at most {MAX_FIELDS} fields (accepted: a state as one field of JSON text)"
                ) from error
            raise
        return _clean(nested(pairs))
    data = await request.body()
    if len(data) > MAX_FIELD:
        raise TooLarge(f"a JSON body must have at most {MAX_FIELD} bytes, got {len(data)}")
    if not data and kind in ("", "application/json"):
        return {}
    if kind not in ("", "application/json") and not kind.endswith("+json"):
        raise RequestError(
            f"content type {kind!r} is not accepted; application/json or multipart/form-data is"
        )
    try:
        value = json.loads(data, parse_constant=_constant)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"the body is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise RequestError("the body is not accepted; a JSON object is")
    return _clean(value)


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number of JSON")


async def _kept(file: UploadFile, path: Path) -> Upload:
    digest = hashlib.sha256()
    with path.open("wb") as out:
        while data := await file.read(1 << 20):
            digest.update(data)
            out.write(data)
    return Upload(path, digest.hexdigest())


def nested(pairs: list[tuple[str, Plain]]) -> dict[str, Plain]:
    """[("a[b]", 1), ("c[]", 2), ("c[]", 3)] -> {"a": {"b": 1}, "c": [2, 3]}.

    Of objects in a list, `d[][e]`, a value belongs to the first that has none of its name yet, in whichever order
    a client sends them; so all of them must have the same fields. Raises RequestError.
    """
    out: dict[str, Plain] = {}
    lists: list[list[Plain]] = []
    for name, value in pairs:
        match = re.fullmatch(r"([^\[\]]*)((?:\[[^\[\]]*\])*)", name)
        if match is None:
            raise RequestError(f"field {name[:80]!r} is not accepted; its brackets do not match")
        path = [match[1], *re.findall(r"\[([^\[\]]*)\]", match[2])]
        if len(path) > MAX_DEPTH:
            raise RequestError(f"field {name[:80]!r} is nested too deeply")
        _put(out, path, value, name, lists)
    for items in lists:
        if len({frozenset(item) for item in items}) > 1:
            raise RequestError(
                "objects in a list of a form must have the same fields (JSON is freer)"
            )
    return out


def _put(
    out: dict[str, Plain], path: list[str], value: Plain, name: str, lists: list[list[Plain]]
) -> None:
    """Put a value where a path of names leads; "" is the next place in a list."""
    mixed = RequestError(f"field {name!r} does not fit the fields before it")
    head, *rest = path
    if not rest:
        if head in out:
            raise RequestError(f"field {name!r} is given twice")
        out[head] = value
        return
    if rest[0] != "":
        inner = out.setdefault(head, {})
        if not isinstance(inner, dict):
            raise mixed
        _put(inner, rest, value, name, lists)
        return
    items = out.setdefault(head, [])
    if not isinstance(items, list):
        raise mixed
    if len(rest) == 1:
        items.append(value)
        return
    if not all(isinstance(item, dict) for item in items):
        raise mixed
    place = next((item for item in items if rest[1] not in item), None)
    if place is None:
        lists.append(items)
        items.append(place := {})
    _put(place, rest[1:], value, name, lists)


def _clean(value: Plain, depth: int = 0) -> Plain:
    """Without nulls; raises RequestError for text that no database takes and for bottomless nesting."""
    if depth > MAX_DEPTH:
        raise RequestError(f"the body is nested more than {MAX_DEPTH} deep")
    if isinstance(value, str):
        if "\0" in value or any("\ud800" <= c <= "\udfff" for c in value):
            raise RequestError("text with NUL characters or halves of characters is not accepted")
        return value
    if isinstance(value, dict):
        inner = {_clean(k, depth): _clean(v, depth + 1) for k, v in value.items()}
        return {k: v for k, v in inner.items() if v is not None}
    if isinstance(value, list):
        return [_clean(item, depth + 1) for item in value]
    return value


def data_url(url: str | None, file_id: str | None) -> bytes:
    """What an image reference holds. Raises RequestError: no address is fetched, no file is kept by an id."""
    if file_id is not None:
        raise RequestError(f"file_id {file_id[:80]!r} is not accepted; a file or a data: URL is")
    if url is None or not url.startswith("data:"):
        raise RequestError(
            f"image_url {(url or '')[:80]!r} is not accepted; data:image/...;base64,... is"
        )
    head, comma, data = url.partition(",")
    if not comma or not head.endswith(";base64"):
        raise RequestError("image_url is not accepted; data:image/...;base64,... is")
    try:
        return base64.b64decode(data, validate=True)
    except ValueError as error:
        raise RequestError(f"image_url is not base64: {error}") from error


def digest(route: str, body: dict[str, Plain]) -> str:
    """A hash of what is asked: the same for the same fields and files, however they were sent."""

    def plain(value: Plain) -> Plain:
        if isinstance(value, Upload):
            return {"sha256": value.sha256}
        if isinstance(value, str | int | float | bool):
            return str(value)
        raise TypeError

    def text(value: Plain) -> Plain:
        if isinstance(value, dict):
            return {k: text(v) for k, v in value.items()}
        if isinstance(value, list):
            return [text(v) for v in value]
        return plain(value)

    return hashlib.sha256(json.dumps([route, text(body)], sort_keys=True).encode()).hexdigest()
