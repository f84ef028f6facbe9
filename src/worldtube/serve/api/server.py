"""What the routes share: settings, the queue, the files, keys, and the bodies as they come."""

import ipaddress
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import BoundedSemaphore
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Depends, Request
from fastapi.responses import Response
from prometheus_client import CollectorRegistry

from worldtube.serve import media
from worldtube.serve.api.errors import ApiError, missing
from worldtube.serve.config import ServeConfig
from worldtube.serve.form import digest, read_body
from worldtube.serve.hooks import Hooks
from worldtube.serve.jobs import Database, Jobs, Row, Workers
from worldtube.serve.keys import LOCAL, Caller, Keys, Rate
from worldtube.serve.plan import Facts
from worldtube.serve.schema import Body, Video
from worldtube.serve.store import open_store

DECODERS = 2
"""Uploads that are looked at at once."""
FRESH_SECONDS = 1.0
"""For how long what workers have announced is not asked for again."""


class Server:
    def __init__(self, config: ServeConfig):
        self.config = config
        self.database = Database(config.database)
        self.jobs = Jobs(
            self.database,
            lease_seconds=config.lease_seconds,
            attempts=config.attempts,
            keep_seconds=config.keep_hours * 3600,
            unserved_seconds=config.unserved_minutes * 60,
        )
        self.workers = Workers(self.database)
        self.store = open_store(config.store_url, config.place)
        self.keys = Keys(self.database)
        self.rate = Rate()
        self.registry = CollectorRegistry()
        self.hooks = Hooks(self.database, private=config.private_webhooks)
        self.limits = media.Limits(
            pixels=config.max_upload_pixels,
            picture_pixels=config.max_picture_pixels,
            frames=config.max_upload_frames,
            seconds=config.max_upload_seconds,
            cpu_seconds=config.decode_seconds,
            memory_mb=config.decode_memory_mb,
        )
        self._models: tuple[dict[str, Facts], float] = {}, 0.0
        self._decoders = BoundedSemaphore(DECODERS)

    @cached_property
    def since(self) -> float:
        """When this process began, by the database's clock: workers that were last heard from before do not count."""
        return self.workers.clock()

    def served(self) -> dict[str, Facts]:
        """What live workers serve, by name, the default first; empty while none is ready."""
        models, until = self._models
        if time.monotonic() > until:
            announced = self.workers.models(since=self.since)
            models = {name: Facts.of(name, facts) for name, facts in announced.items()}
            # A worker that has just become ready is noticed at once.
            self._models = models, time.monotonic() + FRESH_SECONDS if models else 0.0
        return models

    def models(self) -> dict[str, Facts]:
        """As `served`. Raises ApiError while no worker is ready."""
        models = self.served()
        if not models:
            message = "no worker is ready; one takes some seconds to start"
            raise ApiError(503, "no_model", message, None, {"retry-after": "4"})
        return models

    def sweep(self) -> int:
        """End the jobs that can no longer be made. Returns how many."""
        return self.jobs.sweep(since=self.since)

    def tell(self, row: Row) -> Video:
        """A video as the API shows it; of one that waits also whether there is nobody to make it."""
        video = Video.of(row)
        if row["status"] == "queued" and row["model"] not in self.served():
            minutes = f"{self.config.unserved_minutes:g} minutes"
            warning = (
                f"no worker serves {row['model']!r} now; after {minutes} without one the job fails"
            )
            video.warnings = [*video.warnings, warning]
        return video

    def examine(self, source: Path, out: Path, kind: media.Kind, fps: float) -> media.Seen:
        """Look at an upload. Raises RequestError."""
        with self._decoders:
            return media.examine(source, out, kind, fps=fps, limits=self.limits)

    def signals(self, source: Path) -> dict[str, Any]:
        """Where an upload comes from, as `provenance.verify` tells it. Raises RequestError."""
        with self._decoders:
            return media.signals(source, limits=self.limits)

    def admit(self, caller: Caller) -> None:
        """Let one more job of this key in, by its rate. Raises ApiError."""
        rate = caller.rate_per_minute or self.config.rate_per_minute
        if wait := self.rate.wait(caller.id, rate):
            headers = {"retry-after": str(int(wait) + 1)}
            raise ApiError(
                *(429, "rate_limit_exceeded", f"{rate:g} jobs a minute are accepted", None), headers
            )


def server_of(request: Request) -> Server:
    return request.app.state.server


def caller_of(request: Request, response: Response) -> Caller:
    """Whose key it is. Raises ApiError."""
    kind, _, secret = request.headers.get("authorization", "").partition(" ")
    secret = secret.strip() if kind.lower() == "bearer" else ""
    caller = server_of(request).keys.caller(secret)
    if caller is None:
        message = (
            "a key of this server is needed: Authorization: Bearer wt-... (worldtube keys create)"
        )
        raise ApiError(401, "invalid_api_key", message)
    if caller is LOCAL and not _from_here(request):
        message = (
            "without a key this server answers its own machine alone, and no other site's pages"
        )
        raise ApiError(401, "invalid_api_key", message)
    return caller


def _from_here(request: Request) -> bool:
    """Whether the address in the request is this machine's own: a name that a stranger's page was given, or that
    page's own origin, is not."""
    origin = request.headers.get("origin")
    if origin is not None and origin.partition("://")[2] != request.headers.get("host", ""):
        return False
    return is_loopback(request.url.hostname or "")


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Scratch:
    """A folder that is made when it is first asked for, and gone with the block."""

    def __enter__(self) -> "Scratch":
        self.folder: Path | None = None
        return self

    def path(self, name: str) -> Path:
        if self.folder is None:
            self.folder = Path(tempfile.mkdtemp(prefix="worldtube-"))
        return self.folder / name

    def __exit__(self, *_: object) -> None:
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


AnyBody = TypeVar("AnyBody", bound=Body)


@dataclass(frozen=True)
class Asked(Generic[AnyBody]):
    """A body, checked; a hash of it; and where files may lie that last as long as the request."""

    body: AnyBody
    hash: str
    path: Callable[[str], Path]
    idempotency_key: str | None
    repeated: bool


Needed = Annotated[Caller, Depends(caller_of)]
Here = Annotated[Server, Depends(server_of)]


def asks(kind: type[AnyBody]) -> Callable[..., Any]:
    """A dependency that reads a body of this kind, however it was sent. The caller is known before it is read."""

    async def read(request: Request, caller: Needed) -> AsyncIterator[Asked[AnyBody]]:
        key = request.headers.get("idempotency-key")
        if key is not None and not (0 < len(key) <= 255 and key.isascii() and key.isprintable()):
            raise ApiError(
                400,
                "invalid_value",
                "an idempotency key has 1 to 255 printable characters of ASCII",
            )
        count = request.headers.get("x-stainless-retry-count", "0")
        with Scratch() as scratch:
            values = await read_body(request, scratch.path)
            body = kind.model_validate(values)
            hashed = digest(request.url.path, values)
            repeated = count.isdigit() and count != "0"
            yield Asked(body, hashed, scratch.path, key, repeated)

    return read


def known_id(id: str, kind: str, prefix: str | None = None) -> str:
    """An id of a shape that we make: nothing else reaches the database or the store. Raises ApiError."""
    head, _, tail = id.partition("_")
    if head != (prefix or kind) or len(tail) != 36 or set(tail) - set("0123456789abcdef"):
        raise missing(kind, id)
    return id


def body_schema(kind: type[Body]) -> dict[str, Any]:
    """For the OpenAPI page: the same fields in JSON and in a form."""
    schema = {"schema": {"$ref": f"#/components/schemas/{kind.__name__}"}}
    content = {"application/json": schema, "multipart/form-data": schema}
    return {"requestBody": {"required": True, "content": content}}
