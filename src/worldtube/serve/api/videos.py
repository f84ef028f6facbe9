"""Routes of videos: the ten operations, and the stream, the preview and the cancelling that are ours."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import RedirectResponse, Response, StreamingResponse
from sqlalchemy import insert, select
from starlette.concurrency import run_in_threadpool

from worldtube.errors import NotFound, RequestError
from worldtube.serve import moderation, plan
from worldtube.serve.api.content import FileAnswer
from worldtube.serve.api.errors import ApiError, blame, missing
from worldtube.serve.api.server import Asked, Here, Needed, Server, asks, body_schema, known_id
from worldtube.serve.form import data_url
from worldtube.serve.jobs import Row, new_id, now
from worldtube.serve.jobs.tables import characters
from worldtube.serve.keys import Caller
from worldtube.serve.plan import Facts, Source
from worldtube.serve.schema import (
    VARIANTS,
    Character,
    CharacterTold,
    Create,
    Deleted,
    Edit,
    Extend,
    Page,
    Remix,
    Upload,
    Video,
    VideoReference,
    variants_of,
)
from worldtube.state import State, check_state
from worldtube.video import Size

router = APIRouter(prefix="/v1/videos", tags=["videos"])
LINK_SECONDS = 600
STREAM_SECONDS = 0.3
HALVES = ("physics", "renderer")
Inputs = dict[str, Path | str]
"""Name beside the job -> a file of this host, or a key of the store."""


@router.post("", response_model=Video, openapi_extra=body_schema(Create))
def create(
    here: Here,
    caller: Needed,
    asked: Annotated[Asked[Create], Depends(asks(Create))],
    out: Response,
) -> Any:
    def row(models: dict[str, Facts]) -> tuple[dict[str, Any], Inputs]:
        body, inputs, picture = asked.body, Inputs(), None
        facts = _model(body.model, models)
        if body.input_reference is not None:
            with blame("input_reference"):
                given = body.input_reference
                source = given.path if isinstance(given, Upload) else asked.path("reference")
                if not isinstance(given, Upload):
                    source.write_bytes(data_url(given.image_url, given.file_id))
                inputs["picture.png"] = asked.path("picture.png")
                seen = here.examine(source, inputs["picture.png"], "picture", facts.fps)
                picture = Size(seen.width, seen.height)
                inputs["picture"] = source
        state = None
        if body.state is not None:
            with blame("state"):
                state = check_state(State.from_json(body.state))
            inputs["state.json"] = asked.path("state.json")
            state.save(inputs["state.json"])
        for half in HALVES:
            with blame(half):
                plan.check_half(body, half, facts)
        with blame("num_frames" if state is None else "state"):
            return plan.create(body, facts, picture, state), inputs

    return _submit(here, caller, asked, row, out)


@router.get("", response_model=Page)
def list_videos(
    here: Here,
    caller: Needed,
    after: str | None = None,
    limit: Annotated[int, Query(ge=0, le=100)] = 20,
    order: Literal["asc", "desc"] = "desc",
) -> Any:
    rows, more = here.jobs.page(
        caller.id,
        after=after and known_id(after, "video"),
        limit=limit,
        newest_first=order == "desc",
    )
    data = [here.tell(row) for row in rows]
    ends = (data[0].id, data[-1].id) if data else (None, None)
    # Past the model's own validation, which would check every video once more.
    page = Page.model_construct(data=data, first_id=ends[0], last_id=ends[1], has_more=more)
    return Response(page.model_dump_json(), media_type="application/json")


@router.post("/edits", response_model=Video, openapi_extra=body_schema(Edit))
def edit(
    here: Here, caller: Needed, asked: Annotated[Asked[Edit], Depends(asks(Edit))], out: Response
) -> Any:
    def row(models: dict[str, Facts]) -> tuple[dict[str, Any], Inputs]:
        facts, source, inputs = _source(here, caller, asked, models, "video")
        return plan.edit(asked.body, facts, source), inputs

    return _submit(here, caller, asked, row, out)


@router.post("/extensions", response_model=Video, openapi_extra=body_schema(Extend))
def extend(
    here: Here,
    caller: Needed,
    asked: Annotated[Asked[Extend], Depends(asks(Extend))],
    out: Response,
) -> Any:
    def row(models: dict[str, Facts]) -> tuple[dict[str, Any], Inputs]:
        following = None
        facts, source, inputs = _source(here, caller, asked, models, "video")
        if asked.body.next_video is not None:
            _, following, more = _source(here, caller, asked, {facts.name: facts}, "next_video")
            inputs |= more
        for half in HALVES:
            with blame(half):
                plan.check_half(asked.body, half, facts, source)
        with blame("seconds"):
            return plan.extend(asked.body, facts, source, following), inputs

    return _submit(here, caller, asked, row, out)


@router.post("/characters", response_model=CharacterTold, openapi_extra=body_schema(Character))
def create_character(
    here: Here, caller: Needed, asked: Annotated[Asked[Character], Depends(asks(Character))]
) -> Any:
    here.admit(caller)
    id, given = new_id("char"), asked.body.video
    with blame("video"):
        if isinstance(given, Upload):
            source = given.path
        else:
            row = _finished(here, caller, given, "video")
            source = here.store.path(_key(row, "video.mp4"))
        clip = asked.path("clip.mp4")
        here.examine(source, clip, "character", next(iter(here.models().values())).fps)
    for name in ("clip.mp4", "clip.png"):
        here.store.put(asked.path(name), f"characters/{id}/{name}")
    values = {"id": id, "owner": caller.id, "name": asked.body.name, "created_at": now()}
    with here.database.writing() as connection:
        query = insert(characters).values(values).returning(characters)
        row = connection.execute(query).mappings().one()
    return _character(row)


def _character(row: Row) -> CharacterTold:
    return CharacterTold(id=row["id"], name=row["name"], created_at=int(row["created_at"]))


@router.get("/characters/{id}", response_model=CharacterTold)
def get_character(here: Here, caller: Needed, id: str) -> Any:
    mine = (characters.c.id == known_id(id, "character", "char"), characters.c.owner == caller.id)
    with here.database.reading() as connection:
        row = connection.execute(select(characters).where(*mine)).mappings().first()
    if row is None:
        raise missing("character", id)
    return _character(row)


@router.get("/{id}", response_model=Video)
def retrieve(here: Here, caller: Needed, id: str, out: Response) -> Any:
    out.headers["openai-poll-after-ms"] = str(here.config.poll_ms)
    return here.tell(_row(here, caller, id))


@router.delete("/{id}", response_model=Deleted)
def delete(here: Here, caller: Needed, id: str) -> Any:
    """Also of one that waits or is being made: the worker leaves it at the next step."""
    if not here.jobs.delete(caller.id, known_id(id, "video")):
        raise missing("video", id)
    here.store.delete(f"videos/{id}")
    return Deleted(id=id, object="video.deleted")


@router.post("/{id}/cancel", response_model=Video)
def cancel(here: Here, caller: Needed, id: str) -> Any:
    """Ours: end a job and keep its row, failed with the code `cancelled`."""
    row = here.jobs.cancel(caller.id, known_id(id, "video"))
    if row is None:
        raise missing("video", id)
    return Video.of(row)


@router.api_route("/{id}/content", methods=["GET", "HEAD"], response_class=Response)
def content(
    here: Here,
    caller: Needed,
    id: str,
    variant: Literal["video", "thumbnail", "spritesheet", "state"] = "video",
    redirect: bool = True,
) -> Any:
    """`redirect=false`, ours: the bytes from here, also where files lie in a bucket that could be pointed to."""
    row = _row(here, caller, id)
    if row["status"] != "completed":
        code = "video_failed" if row["status"] == "failed" else "video_not_ready"
        raise ApiError(404, code, f"video {id} is {row['status'].replace('_', ' ')}")
    if variant not in variants_of(row):
        message = f"video {id} has no {variant}: it was made without one, or of several shots"
        raise ApiError(404, f"{variant}_not_found", message, "variant")
    name, kind = VARIANTS[variant]
    return _file(here, _key(row, name), kind, f"{id}{Path(name).suffix}", redirect=redirect)


@router.get("/{id}/preview", response_class=Response, responses={204: {"description": "none yet"}})
def preview(here: Here, caller: Needed, id: str) -> Any:
    """Ours: a small moving picture of what it will be, as far as the model can tell by now; 204 before the first."""
    row = _row(here, caller, id)
    name = f"{id}-preview.webp"
    try:
        if row["status"] == "completed":
            return _file(here, _key(row, "thumbnail.webp"), "image/webp", name)
        path = here.store.path(f"videos/{id}/preview/preview.webp")
        # Read at once: the next preview takes its place.
        data = path.read_bytes()
    except (NotFound, FileNotFoundError) as error:
        if row["status"] == "failed":
            raise ApiError(404, "video_failed", f"video {id} has no preview") from error
        return Response(status_code=204, headers={"cache-control": "no-store"})
    return Response(data, media_type="image/webp", headers={"cache-control": "no-store"})


@router.get("/{id}/events", response_class=StreamingResponse)
async def events(here: Here, caller: Needed, id: str, request: Request) -> Any:
    """Ours: server-sent events, the video each time it changes, until it ends (`event: end` then)."""
    first = await run_in_threadpool(_row, here, caller, id)

    async def stream() -> AsyncIterator[str]:
        row, told = first, ""
        while not await request.is_disconnected():
            data = (await run_in_threadpool(here.tell, row)).model_dump_json()
            if data != told:
                yield f"event: video\ndata: {data}\n\n"
                told = data
            if row["status"] in ("completed", "failed"):
                break
            await asyncio.sleep(STREAM_SECONDS)
            found = await run_in_threadpool(here.jobs.get, caller.id, id)
            if found is None:
                break
            row = found
        yield "event: end\ndata: {}\n\n"

    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(stream(), media_type="text/event-stream", headers=headers)


@router.post("/{id}/remix", response_model=Video, openapi_extra=body_schema(Remix))
def remix(
    here: Here,
    caller: Needed,
    id: str,
    asked: Annotated[Asked[Remix], Depends(asks(Remix))],
    out: Response,
) -> Any:
    def row(models: dict[str, Facts]) -> tuple[dict[str, Any], Inputs]:
        found = _finished(here, caller, VideoReference(id=id), None)
        facts = _model(asked.body.model or _still_served(found, models), models)
        return plan.edit(asked.body, facts, _source_of(found)), _inputs_of(
            here, found, facts, "clip"
        )

    return _submit(here, caller, asked, row, out)


# What the routes have in common.


def _submit(
    here: Server,
    caller: Caller,
    asked: Asked[Any],
    row_of: Callable[[dict[str, Facts]], tuple[dict[str, Any], Inputs]],
    out: Response,
) -> Video:
    """Check, put the files in their place, store the row, and only then answer: the work comes after."""
    out.headers["openai-poll-after-ms"] = str(here.config.poll_ms)
    key = asked.idempotency_key
    earlier = here.jobs.earlier(caller.id, asked.hash, key, repeated=asked.repeated)
    if earlier is not None:
        return Video.of(earlier)
    here.admit(caller)
    body = asked.body
    shots = getattr(body, "storyboard", None) or ()
    words = [body.prompt or "", *(shot.prompt for shot in shots)]
    moderation.check_at_once(words, here.config.moderation)
    row, inputs = row_of(here.models())
    id = new_id("video")
    try:
        for name, file in inputs.items():
            at = f"videos/{id}/in/{name}"
            if isinstance(file, Path):
                here.store.put(file, at)
            else:
                here.store.copy(file, at)
        row |= {"id": id, "owner": caller.id, "body_hash": asked.hash, "idempotency_key": key}
        stored = here.jobs.add(
            row,
            quota=caller.queue_quota or here.config.queue_quota,
            deadline_seconds=here.config.deadline_minutes * 60,
            repeated=asked.repeated,
        )
    except BaseException:
        here.store.delete(f"videos/{id}")
        raise
    if stored["id"] != id:
        here.store.delete(f"videos/{id}")
    return Video.of(stored)


def _row(here: Server, caller: Caller, id: str) -> Row:
    row = here.jobs.get(caller.id, known_id(id, "video"))
    if row is None:
        raise missing("video", id)
    if row["expires_at"] is not None and row["expires_at"] <= time.time():
        raise ApiError(404, "video_expired", f"video {id} has expired")
    return row


def _finished(here: Server, caller: Caller, given: VideoReference, param: str | None) -> Row:
    """A video of the caller's that is done. Raises ApiError."""
    try:
        row = _row(here, caller, given.id)
    except ApiError as error:
        if param is None:
            raise
        raise ApiError(404, error.code, error.message, f"{param}.id") from error
    if row["status"] != "completed":
        message = (
            f"video {given.id} is {row['status'].replace('_', ' ')} (accepted: a completed one)"
        )
        raise ApiError(400, "video_not_ready", message, param and f"{param}.id")
    return row


def _model(name: str | None, models: dict[str, Facts]) -> Facts:
    try:
        return plan.choose(name, models)
    except RequestError as error:
        raise ApiError(400, "model_not_found", str(error), "model") from error


def _still_served(row: Row, models: dict[str, Facts]) -> str | None:
    return row["model"] if row["model"] in models else None


def _key(row: Row, name: str) -> str:
    return f"videos/{row['id']}/{row['epoch']}/{name}"


def _source_of(row: Row) -> Source:
    return Source(
        num_frames=row["num_frames"],
        fps=row["fps"],
        size=Size.parse(row["size"]),
        seconds=float(row["seconds"]),
        id=row["id"],
        model=row["model"],
        seed=row["seed"],
        rendered=Size.parse(row["rendered_size"]),
        halves=_halves_of(row),
    )


def _halves_of(row: Row) -> dict[str, str] | None:
    """What moves and what draws the state of a video, where it has one."""
    if "state" not in variants_of(row):
        return None
    options = row["spec"]["options"]
    return {name: options[name] for name in HALVES if name in options}


def _inputs_of(here: Server, row: Row, facts: Facts, name: str) -> Inputs:
    inputs = Inputs({f"{name}.mp4": _key(row, "video.mp4")})
    if row["model"] == facts.name and "tokens.npy" in here.store.names(_key(row, "")):
        inputs[f"{name}.npy"] = _key(row, "tokens.npy")
    if facts.state_size is not None and "state" in variants_of(row):
        inputs[f"{name}.json"] = _key(row, "state.json")
    return inputs


def _source(
    here: Server, caller: Caller, asked: Asked[Any], models: dict[str, Facts], field: str
) -> tuple[Facts, Source, Inputs]:
    """The video that a body gives, as a file or by its id, and what to put beside the job."""
    given, name = getattr(asked.body, field), "clip" if field == "video" else "next"
    if isinstance(given, VideoReference):
        row = _finished(here, caller, given, field)
        facts = _model(asked.body.model or _still_served(row, models), models)
        return facts, _source_of(row), _inputs_of(here, row, facts, name)
    facts = _model(asked.body.model, models)
    clip = asked.path(f"{name}.mp4")
    with blame(field):
        seen = here.examine(given.path, clip, "clip", facts.fps)
    source = Source(
        num_frames=seen.num_frames,
        fps=seen.fps,
        size=Size(seen.width, seen.height),
        seconds=seen.num_frames / seen.fps,
        warning=seen.warning,
    )
    return facts, source, Inputs({clip.name: clip, name: given.path})


def _file(here: Server, key: str, kind: str, name: str, *, redirect: bool = True) -> Response:
    if redirect and (link := here.store.link(key, LINK_SECONDS)):
        return RedirectResponse(link, 302)
    return FileAnswer(
        here.store.path(key), media_type=kind, filename=name, content_disposition_type="inline"
    )
