"""Routes of webhook endpoints, as `client.webhooks` calls them."""

import http.client
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from worldtube.serve.api.errors import ApiError, blame, missing
from worldtube.serve.api.server import Asked, Here, Needed, asks, body_schema, known_id
from worldtube.serve.jobs import Row
from worldtube.serve.schema import EVENTS, Deleted, Endpoint, EndpointChange, Rotate, Try

router = APIRouter(prefix="/v1", tags=["webhooks"])
KIND = "webhook_endpoint"


def _id(id: str) -> str:
    return known_id(id, KIND, "we")


def _told(row: Row | None, id: str, *, secret: bool = False) -> dict[str, Any]:
    if row is None:
        raise missing(KIND, id)
    hint = f"{row['secret'][:10]}...{row['secret'][-4:]}"
    told = {
        "id": row["id"],
        "object": KIND,
        "name": row["name"],
        "url": row["url"],
        "event_types": row["event_types"],
        "created_at": int(row["created_at"]),
        "updated_at": int(row["updated_at"]),
        "signing_secret_hint": hint,
    }
    return told | ({"signing_secret": row["secret"]} if secret else {})


@router.post("/webhook_endpoints", openapi_extra=body_schema(Endpoint))
def create(
    here: Here, caller: Needed, asked: Annotated[Asked[Endpoint], Depends(asks(Endpoint))]
) -> Any:
    """The secret is told here, and nowhere else but when it is rotated."""
    body = asked.body
    with blame("url"):
        row = here.hooks.create(caller.id, body.name, body.url, body.event_types)
    return _told(row, row["id"], secret=True)


@router.get("/webhook_endpoints")
def list_endpoints(
    here: Here,
    caller: Needed,
    after: str | None = None,
    limit: Annotated[int, Query(ge=0, le=100)] = 20,
) -> Any:
    rows = here.hooks.all(caller.id, after=after and _id(after))
    data = [_told(row, row["id"]) for row in rows[:limit]]
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {}
    more = {"first_id": None, "last_id": None, "has_more": limit < len(rows)}
    return {"object": "list", "data": data, **more, **ends}


@router.get("/webhook_endpoints/{id}")
def retrieve(here: Here, caller: Needed, id: str) -> Any:
    return _told(here.hooks.get(caller.id, _id(id)), id)


@router.post("/webhook_endpoints/{id}", openapi_extra=body_schema(EndpointChange))
def update(
    here: Here,
    caller: Needed,
    id: str,
    asked: Annotated[Asked[EndpointChange], Depends(asks(EndpointChange))],
) -> Any:
    changes = {name: value for name, value in asked.body if value is not None}
    if "event_types" in changes:
        changes["event_types"] = list(changes["event_types"])
    with blame("url"):
        return _told(here.hooks.change(caller.id, _id(id), changes), id)


@router.delete("/webhook_endpoints/{id}", response_model=Deleted)
def delete(here: Here, caller: Needed, id: str) -> Any:
    if not here.hooks.delete(caller.id, _id(id)):
        raise missing(KIND, id)
    return Deleted(id=id, object=f"{KIND}.deleted")


@router.post("/webhook_endpoints/{id}/rotate_secret", openapi_extra=body_schema(Rotate))
def rotate_secret(
    here: Here, caller: Needed, id: str, asked: Annotated[Asked[Rotate], Depends(asks(Rotate))]
) -> Any:
    keep = asked.body.keep_old_secret_active_for_24_hours
    return _told(here.hooks.rotate(caller.id, _id(id), keep_old=keep), id, secret=True)


@router.post("/webhook_endpoints/{id}/test", openapi_extra=body_schema(Try))
def test(
    here: Here, caller: Needed, id: str, asked: Annotated[Asked[Try], Depends(asks(Try))]
) -> Any:
    """Sends a sample at once and tells the status that came back."""
    kind = asked.body.event_type
    here.admit(caller)
    try:
        status = here.hooks.test(caller.id, _id(id), kind)
    except (OSError, http.client.HTTPException) as error:
        raise ApiError(
            400, "webhook_unreachable", f"the endpoint was not reached: {error}"
        ) from error
    if status is None:
        raise missing(KIND, id)
    told = {"object": f"{KIND}.test", "webhook_endpoint_id": id, "event_type": kind}
    return told | {"status_code": status, "success": True}


@router.get("/webhook_event_types")
def event_types(caller: Needed) -> Any:
    return {"object": "list", "data": list(EVENTS)}
