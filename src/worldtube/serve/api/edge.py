"""What surrounds every route: a request id, a limit on bodies, counts and times. Plain ASGI, around the whole app."""

import logging
import re
import secrets
import time
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram

from worldtube.serve.api.errors import ApiError

logger = logging.getLogger(__name__)


class Edge:
    def __init__(self, app: Any, *, max_bytes: int, registry: CollectorRegistry):
        self.app, self.max_bytes = app, max_bytes
        self.too_large = f"the body must have at most {max_bytes / 1e6:g} MB (--max-upload-mb)"
        self.requests = Counter(
            *("worldtube_requests", "Requests answered", ["method", "status"]), registry=registry
        )
        self.seconds = Histogram(
            *("worldtube_request_seconds", "Until the headers of the answer", ["method"]),
            registry=registry,
        )

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, method, id = (
            time.perf_counter(),
            _method(scope["method"]),
            "req_" + secrets.token_hex(16),
        )
        read, started = 0, False

        async def limited() -> Any:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self.max_bytes:
                raise ApiError(413, "body_too_large", self.too_large)
            return message

        async def labelled(message: Any) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message["headers"], (b"x-request-id", id.encode())]
                self.requests.labels(method, message["status"]).inc()
                self.seconds.labels(method).observe(time.perf_counter() - began)
            await send(message)

        try:
            if _length(scope) > self.max_bytes:
                error = ApiError(413, "body_too_large", self.too_large)
                await error.response()(scope, receive, labelled)
                return
            await self.app(scope, limited, labelled)
        except Exception:
            # The app has answered it with a 500 already, unless it was too late for any answer.
            logger.exception(
                "%s %s %s", id, method, re.sub(r"[^\x21-\x7e]", "?", scope["path"])[:200]
            )
            if not started:
                error = ApiError(500, "server_error", "an error of the server; its log tells more")
                await error.response()(scope, receive, labelled)


def _length(scope: Any) -> int:
    """What a request says of the length of its body; 0 where it says nothing."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0


def _method(name: str) -> str:
    return name if name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS") else "other"
