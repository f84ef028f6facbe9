"""Errors as OpenAI's clients read them: {"error": {"message", "type", "param", "code"}}, whatever went wrong."""

import logging
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from worldtube.errors import DataError, NotFound, Refused, RequestError
from worldtube.serve.form import TooLarge
from worldtube.serve.jobs import Conflict, QueueFull

logger = logging.getLogger(__name__)
TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
CODES = {404: "not_found", 405: "method_not_allowed"}


class ApiError(Exception):
    """An answer that is not what was asked for."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ):
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.param, self.headers = param, dict(headers or {})

    def response(self) -> JSONResponse:
        kind = TYPES.get(
            self.status, "invalid_request_error" if self.status < 500 else "server_error"
        )
        error = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        return JSONResponse({"error": error}, self.status, headers=self.headers)


def missing(kind: str, id: str) -> ApiError:
    return ApiError(404, f"{kind}_not_found", f"no {kind} {id[:80]!r}")


@contextmanager
def blame(param: str) -> Generator[None]:
    """Say of which field an error is that is raised in the block."""
    try:
        yield
    except (RequestError, DataError) as error:
        raise ApiError(400, "invalid_value", str(error), param) from error


def of_validation(errors: list[Any]) -> ApiError:
    """The first thing that pydantic finds wrong, in one sentence that names the field."""
    first = errors[0]
    # Of a union every member complains; who wanted a file says least.
    first = next((e for e in errors if "a file is accepted" not in e["msg"]), first)
    where = [p for p in first["loc"] if p not in ("query", "path", "body", "header")]
    where = [str(p) for p in where if not str(p).startswith("function-") and p not in UNION]
    param, kind = ".".join(where) or None, first["type"]
    message = first["msg"].removeprefix("Value error, ")
    if kind == "extra_forbidden":
        return ApiError(400, "unknown_parameter", f"unknown field {param!r}", param)
    if kind == "missing" or message.endswith(" is missing"):
        param = param or message.split()[0]
        return ApiError(400, "missing_required_parameter", f"{param} is missing", param)
    code = "invalid_type" if kind.endswith(("_type", "_parsing")) else "invalid_value"
    if param is None and kind == "value_error":
        word = message.split()[0].strip("'")
        param = word if word.isidentifier() and word not in ("a", "the") else None
    return ApiError(400, code, f"{param}: {message}" if param else message, param)


UNION = ("ImageReference", "VideoReference")


def install(app: FastAPI) -> None:
    """Give every error that leaves a route its answer."""

    def answer(kind: type[Exception], make: Any) -> None:
        async def handle(request: Request, error: Exception) -> JSONResponse:
            return make(error).response()

        app.add_exception_handler(kind, handle)

    answer(ApiError, lambda error: error)
    answer(RequestValidationError, lambda error: of_validation(list(error.errors())))
    answer(ValidationError, lambda error: of_validation(error.errors()))
    answer(RequestError, lambda error: ApiError(400, "invalid_value", str(error)))
    answer(TooLarge, lambda error: ApiError(413, "body_too_large", str(error)))
    answer(Refused, lambda error: ApiError(400, "moderation_blocked", str(error), "prompt"))
    answer(NotFound, lambda error: ApiError(404, "not_found", str(error)))
    answer(
        Conflict,
        lambda error: ApiError(
            409, "idempotency_key_reused", str(error), None, {"x-should-retry": "false"}
        ),
    )
    answer(
        QueueFull,
        lambda error: ApiError(429, "queue_full", str(error), None, {"retry-after": "2"}),
    )
    answer(HTTPException, _of_starlette)
    answer(
        Exception,
        lambda error: ApiError(500, "server_error", "an error of the server; its log tells more"),
    )


def _of_starlette(error: HTTPException) -> ApiError:
    code = CODES.get(error.status_code, "invalid_value")
    return ApiError(error.status_code, code, str(error.detail), None, error.headers)
