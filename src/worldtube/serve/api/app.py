"""The application: routes, errors, the edge around them, and the sweeper beside them."""

import logging
import threading
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from worldtube import __version__
from worldtube.serve import schema, studio
from worldtube.serve.api import others, videos, webhooks
from worldtube.serve.api.edge import Edge
from worldtube.serve.api.errors import install
from worldtube.serve.api.server import Server
from worldtube.serve.config import ServeConfig

logger = logging.getLogger(__name__)

SWEEP_SECONDS, DELIVER_SECONDS, EXPIRE_SECONDS, ORPHAN_SECONDS = 1.0, 1.0, 30.0, 3600.0
BODIES = (
    *(schema.Create, schema.Remix, schema.Edit, schema.Extend, schema.Character, schema.Check),
    *(schema.Endpoint, schema.EndpointChange, schema.Rotate, schema.Try),
)


def application(config: ServeConfig) -> Any:
    """The ASGI application of a server."""
    server = Server(config)

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncGenerator[None]:
        over = threading.Event()
        duties = (
            (server.sweep, SWEEP_SECONDS),
            (server.hooks.deliver, DELIVER_SECONDS),
            (lambda: expire(server), EXPIRE_SECONDS),
            (lambda: clear_orphans(server), ORPHAN_SECONDS),
        )
        threads = [
            threading.Thread(target=_every, args=(*duty, over), daemon=True) for duty in duties
        ]
        for thread in threads:
            thread.start()
        yield
        over.set()
        for thread in threads:
            thread.join(timeout=5)
        server.database.close()

    app = FastAPI(
        title="worldtube",
        version=__version__,
        description="Words to video: the Videos API of OpenAI's clients, and some more.",
        lifespan=life,
        responses={
            status: {"model": schema.Error}
            for status in (400, 401, 404, 405, 409, 413, 429, 500, 503)
        },
        redoc_url=None,
    )
    app.state.server = server
    others.Queue(server, server.registry)
    install(app)
    for room in (videos, webhooks, others, studio):
        app.include_router(room.router)
    app.openapi = lambda: _openapi(app)
    return Edge(app, max_bytes=int(config.max_upload_mb * 1e6), registry=server.registry)


def _every(duty: Callable[[], Any], seconds: float, over: threading.Event) -> None:
    while not over.wait(seconds):
        try:
            duty()
        except Exception:  # the next time may go better
            logger.exception("sweeping")


def expire(server: Server) -> None:
    """Rows and files past their time; the file first, so that no row is ever without knowing of it."""
    while ids := server.jobs.expired():
        for id in ids:
            server.store.delete(f"videos/{id}")
        server.jobs.forget(ids)


def clear_orphans(server: Server) -> None:
    """Files of videos that there are not: of a create or a worker that was killed half way, an hour ago."""
    hour_ago = int((time.time() - 3600) * 1000)
    old = [
        name
        for name in server.store.names("videos")
        if int(name.partition("_")[2][:12] or "0", 16) < hour_ago
    ]
    for first in range(0, len(old), 500):
        some = old[first : first + 500]
        for name in set(some) - server.jobs.known(some):
            server.store.delete(f"videos/{name}")


def _openapi(app: FastAPI) -> dict[str, Any]:
    """FastAPI's page with the bodies that are read by hand, and without the errors that are never sent."""
    if app.openapi_schema is None:
        page = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        _, bodies = models_json_schema(
            [(body, "validation") for body in BODIES], ref_template="#/components/schemas/{model}"
        )
        page["components"]["schemas"] |= bodies["$defs"]
        page["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        page["security"] = [{"key": []}]
        for path in page["paths"].values():
            for operation in path.values():
                operation["responses"].pop("422", None)
        app.openapi_schema = page
    return app.openapi_schema
