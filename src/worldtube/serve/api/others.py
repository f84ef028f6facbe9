"""Routes beside the videos: models, provenance checks, health, metrics."""

import hashlib
import time
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.responses import Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from worldtube.serve.api.errors import ApiError
from worldtube.serve.api.server import Asked, Here, Needed, Server, asks, body_schema
from worldtube.serve.config import ALIAS_PREFIX, ALIASES
from worldtube.serve.schema import Check

router = APIRouter()


TOLD = ("default", "fps", "size", "seconds", "stride", "render_pixels", "tasks", "state")
"""Facts of a model that are told with it; ours, and not of its aliases."""


def _model(name: str, created: float, facts: Mapping[str, Any] | None = None) -> dict[str, Any]:
    told = {fact: facts[fact] for fact in TOLD if fact in facts} if facts else {}
    return {
        "id": name,
        "object": "model",
        "created": int(created),
        "owned_by": "worldtube",
        **told,
    }


@router.get("/v1/models", tags=["models"])
def list_models(here: Here, caller: Needed) -> Any:
    """The models of live workers, the default first, and the names that mean the default."""
    models = here.workers.models(since=here.since)
    data = [_model(name, facts["created_at"], facts) for name, facts in models.items()]
    if data:
        data += [_model(name, data[0]["created"]) for name in ALIASES if name not in models]
    return {"object": "list", "data": data}


@router.get("/v1/models/{name}", tags=["models"])
def get_model(here: Here, caller: Needed, name: str) -> Any:
    data = list_models(here, caller)["data"]
    for model in data:
        if model["id"] == name:
            return model
    if data and name.startswith(ALIAS_PREFIX):
        return _model(name[:80], data[0]["created"])
    raise ApiError(404, "model_not_found", f"no model {name[:80]!r}", "model")


@router.post("/v1/content_provenance_checks", tags=["provenance"], openapi_extra=body_schema(Check))
def check(here: Here, caller: Needed, asked: Annotated[Asked[Check], Depends(asks(Check))]) -> Any:
    """What a file says of where it comes from. `not_detected` is: no signal found; never: not made by a machine."""
    here.admit(caller)
    path = asked.body.file.path
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    row = here.jobs.file(digest)
    exact = {"type": "exact_hash", "outcome": _outcome(row is not None)}
    if row is not None and row["owner"] == caller.id:
        exact |= {"video_id": row["id"], "model": row["model"]}
    report = here.signals(path)
    return {
        "object": "content_provenance_check",
        "created_at": int(time.time()),
        "verdict": report["verdict"],
        "summary": report["words"],
        "reasons": report["reasons"],
        "details": report["details"],
        "results": [*_signals(report), exact],
    }


def _signals(report: dict[str, Any]) -> list[dict[str, Any]]:
    """The credentials and the watermark of `provenance.verify`, each as a result."""
    credentials, mark = report["credentials"], report["watermark"] or {}
    made = credentials["generation"]
    return [
        {
            "type": "c2pa",
            "outcome": _outcome(credentials["state"] != "not_present"),
            "validation_state": credentials["state"],
            "issuer": credentials["issuer"] or None,
            "model": made.get("model"),
            "generated_at": credentials["made_at"] or None,
            "verdict": report["verdict"],
            "reasons": report["reasons"],
        },
        {
            "type": "worldtube_watermark",
            "outcome": _outcome(mark.get("found", False)),
            "score": mark["agree"] / mark["of"] if mark.get("of") else None,
            "p_value": mark.get("p_value"),
        },
    ]


def _outcome(found: bool) -> str:
    return "detected" if found else "not_detected"


@router.get("/livez", tags=["operation"])
def livez() -> Any:
    """Whether this process answers. For restarting it; `/healthz` says whether jobs are taken."""
    return {"status": "ok"}


@router.get("/healthz", tags=["operation"])
def healthz(here: Here, out: Response) -> Any:
    """Whether jobs are taken: the database answers and a worker is ready, else 503; and whether a key is needed."""
    models = list(here.workers.models(since=here.since))
    if not models:
        out.status_code = 503
    status = "ok" if models else "starting"
    return {"status": status, "models": models, "keys": here.keys.exist()}


@router.get("/metrics", tags=["operation"], response_class=Response)
def metrics(here: Here) -> Any:
    return Response(generate_latest(here.registry), media_type="text/plain; version=0.0.4")


class Queue(Collector):
    """Counts of the queue, read when they are asked for."""

    def __init__(self, server: Server, registry: CollectorRegistry):
        self.server = server
        registry.register(self)

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterable[Metric]:
        counts, waiting = self.server.jobs.counts()
        videos = GaugeMetricFamily("worldtube_videos", "Videos by status", labels=["status"])
        for status in ("queued", "in_progress", "completed", "failed"):
            videos.add_metric([status], counts.get(status, 0))
        yield videos
        yield GaugeMetricFamily(
            "worldtube_oldest_queued_seconds", "How long the oldest job has waited", value=waiting
        )
