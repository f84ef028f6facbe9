"""What may be asked and what is answered: one model for each body, the same for JSON and multipart.

Owns names, types and limits of the wire; the only place with pydantic. Knows no routes, tables or models' weights.
Fields after OpenAI's own are ours; a field that is not here is an error that names it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)

from worldtube.errors import RequestError
from worldtube.video import Size

MAX_SECONDS, MAX_FPS = 60.0, 60.0
MIN_SIDE, MAX_SIDE, MAX_PIXELS = 16, 4096, 1920 * 1088
EVENTS = ("video.completed", "video.failed")
VARIANTS = {
    "video": ("video.mp4", "video/mp4"),
    "thumbnail": ("thumbnail.webp", "image/webp"),
    "spritesheet": ("spritesheet.webp", "image/webp"),
    "state": ("state.json", "application/json"),
}
"""What can be fetched of a finished video: name -> file, media type."""


@dataclass(frozen=True)
class Upload:
    """A file of a multipart body, on this host for as long as the request lasts."""

    path: Path
    sha256: str = field(repr=False)


def _upload(value: Any) -> Upload:
    if not isinstance(value, Upload):
        raise ValueError("a file is accepted")
    return value


def _size(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not accepted; WIDTHxHEIGHT is, such as 1280x720")
    try:
        size = Size.parse(value)
    except RequestError as error:
        raise ValueError(str(error)) from error
    width, height = size.width, size.height
    odd = width % 2 or height % 2
    if odd or not (min(width, height) >= MIN_SIDE and max(width, height) <= MAX_SIDE):
        raise ValueError(f"{value!r} is not accepted; even sides from {MIN_SIDE} to {MAX_SIDE} are")
    if width * height > MAX_PIXELS:
        raise ValueError(f"{value!r} is not accepted; at most {MAX_PIXELS} pixels are")
    return str(size)


File = Annotated[
    Upload, PlainValidator(_upload), WithJsonSchema({"type": "string", "format": "binary"})
]
Picture = Annotated[
    str,
    PlainValidator(_size),
    WithJsonSchema({"type": "string", "pattern": "^[0-9]{2,4}x[0-9]{2,4}$"}),
]
Words = Annotated[str, StringConstraints(min_length=1, max_length=32000, pattern=r"\S")]
Name = Annotated[str, StringConstraints(min_length=1, max_length=80, pattern=r"\S")]
Seconds = Annotated[float, Field(gt=0, le=MAX_SECONDS, allow_inf_nan=False)]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, data: Any) -> Any:
        for name, value in data.items() if isinstance(data, dict) else ():
            field = cls.model_fields.get(name)
            if isinstance(value, bool) and field is not None and field.annotation is not bool:
                raise ValueError(f"{name} is not accepted as {value}")
        return data


class ImageReference(Body):
    image_url: str | None = None
    """data:image/...;base64,... (addresses are not fetched)."""
    file_id: str | None = None


class VideoReference(Body):
    id: str


class Shot(Body):
    prompt: Words
    seconds: Seconds = 2.0


class Options(Body):
    """What every job takes; ours, but for `model`."""

    model: str | None = Field(None, max_length=128)
    seed: int | None = Field(None, ge=0, lt=2**63)
    negative_prompt: str | None = Field(None, max_length=32000)
    guidance_scale: float | None = Field(None, ge=0, le=50, allow_inf_nan=False)
    num_inference_steps: int | None = Field(None, ge=1, le=1000)


Half = Literal["model", "engine"]


class StateOptions(Options):
    """Of jobs that can be made by way of their physical state; ours."""

    no_state: bool = False
    """Make the picture from words alone."""
    physics: Half | None = None
    """What moves a state; `model` when not said, of an extension what moved the video."""
    renderer: Half | None = None
    """What draws a state; as `physics`."""

    @model_validator(mode="after")
    def _one_way(self) -> "StateOptions":
        for name in ("physics", "renderer"):
            if self.no_state and getattr(self, name) is not None:
                raise ValueError(f"{name} is not accepted beside no_state")
        return self


def _json_object(value: Any) -> Any:
    """A JSON object, or its text: forms cannot nest lists of lists."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise ValueError(
                f"it must be a JSON object, got text that is no JSON: {error}"
            ) from error
    if not isinstance(value, dict):
        raise ValueError(f"it must be a JSON object, got {type(value).__name__}")
    return value


JsonObject = Annotated[
    dict[str, Any],
    PlainValidator(_json_object),
    WithJsonSchema({"anyOf": [{"type": "object"}, {"type": "string", "format": "json"}]}),
]


class Create(StateOptions):
    prompt: Words | None = None
    seconds: Seconds | None = None
    size: Picture | None = None
    input_reference: File | ImageReference | None = None
    fps: float | None = Field(None, ge=1, le=MAX_FPS, allow_inf_nan=False)
    num_frames: int | None = Field(None, ge=1, le=3600)
    width: int | None = Field(None, ge=MIN_SIDE, le=MAX_SIDE)
    height: int | None = Field(None, ge=MIN_SIDE, le=MAX_SIDE)
    storyboard: tuple[Shot, ...] | None = Field(None, min_length=1, max_length=20)
    """Shots with words of their own; `prompt`, where given, is put before each."""
    state: JsonObject | None = None
    """A physical state that is drawn; it goes on by the physics where more is asked for than it holds."""

    @model_validator(mode="before")
    @classmethod
    def _one_size(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        sides = [data.get(name) for name in ("width", "height")]
        if sides == [None, None]:
            return data
        if None in sides:
            raise ValueError("width and height are accepted together only")
        size = f"{sides[0]}x{sides[1]}"
        if data.get("size") not in (None, size):
            raise ValueError(f"size {data['size']!r} and width x height {size!r} differ")
        return {**data, "size": size}

    @model_validator(mode="after")
    def _one_length(self) -> "Create":
        for name, excluded in (
            ("state", ("input_reference", "storyboard")),
            ("input_reference", ("physics", "renderer")),
        ):
            for other in excluded if getattr(self, name) is not None else ():
                if getattr(self, other) is not None:
                    raise ValueError(f"{other} is not accepted beside {name}")
        if self.state is not None and self.no_state:
            raise ValueError("no_state is not accepted beside state")
        if self.storyboard is None:
            if self.prompt is None and self.state is None:
                raise ValueError("prompt is missing")
            return self
        for name in ("seconds", "num_frames", "input_reference"):
            if getattr(self, name) is not None:
                raise ValueError(f"{name} is not accepted beside a storyboard")
        total = sum(shot.seconds for shot in self.storyboard)
        if total > MAX_SECONDS:
            raise ValueError(
                f"a storyboard of {total:g} seconds is not accepted; {MAX_SECONDS:g} are"
            )
        return self


class Remix(Options):
    prompt: Words
    strength: float = Field(0.95, ge=0, le=1, allow_inf_nan=False)


class Edit(Options):
    prompt: Words
    video: File | VideoReference
    strength: float = Field(0.8, ge=0, le=1, allow_inf_nan=False)


class Extend(StateOptions):
    prompt: Words
    video: File | VideoReference
    seconds: Seconds
    direction: Literal["forward", "backward", "loop", "connect"] = "forward"
    """After the video, before it, from its end back to its beginning, or from its end to `next_video`."""
    next_video: File | VideoReference | None = None

    @model_validator(mode="after")
    def _both_ends(self) -> "Extend":
        if (self.direction == "connect") != (self.next_video is not None):
            raise ValueError("next_video is accepted, and needed, where direction is connect")
        for name in ("physics", "renderer"):
            if self.direction != "forward" and getattr(self, name) is not None:
                raise ValueError(f"{name} is accepted where direction is forward")
        return self


class Character(Body):
    name: Name
    video: File | VideoReference


class Check(Body):
    file: File


class Endpoint(Body):
    name: Name
    url: str = Field(max_length=2000)
    event_types: tuple[Literal["video.completed", "video.failed"], ...] = Field(min_length=1)


class EndpointChange(Body):
    name: Name | None = None
    url: str | None = Field(None, max_length=2000)
    event_types: tuple[Literal["video.completed", "video.failed"], ...] | None = Field(
        None, min_length=1
    )


class Rotate(Body):
    keep_old_secret_active_for_24_hours: bool = False


class Try(Body):
    event_type: Literal["video.completed", "video.failed"]


class VideoError(BaseModel):
    code: str
    message: str


class Video(BaseModel):
    """A video job as the API tells it; every key is always there."""

    id: str
    object: Literal["video"] = "video"
    model: str
    status: Literal["queued", "in_progress", "completed", "failed"]
    progress: int
    created_at: int
    completed_at: int | None
    expires_at: int | None
    prompt: str
    size: str
    seconds: str
    remixed_from_video_id: str | None
    error: VideoError | None
    # Ours:
    task: str
    seed: int
    fps: float
    num_frames: int
    rendered_size: str
    """At which size the model makes it; where smaller than `size`, it is enlarged."""
    warnings: list[str]
    storyboard: list[Shot] | None
    """The shots, where it is made of some."""
    variants: list[str]
    """What can be fetched of it: `video`, `thumbnail`, `spritesheet` and, where it was made by way of it, `state`."""

    @staticmethod
    def of(row: Mapping[str, Any]) -> "Video":
        """From a row of the table."""

        def whole(time: float | None) -> int | None:
            return None if time is None else int(time)

        return Video(
            id=row["id"],
            model=row["model"],
            status=row["status"],
            progress=row["progress"],
            created_at=int(row["created_at"]),
            completed_at=whole(row["completed_at"]),
            expires_at=whole(row["expires_at"]),
            prompt=row["prompt"],
            size=row["size"],
            seconds=row["seconds"],
            remixed_from_video_id=row["remixed_from"],
            error=row["error"] and VideoError(**row["error"]),
            task=row["task"],
            seed=row["seed"],
            fps=row["fps"],
            num_frames=row["num_frames"],
            rendered_size=row["rendered_size"],
            warnings=row["warnings"],
            storyboard=[Shot(prompt=p, seconds=s) for p, s in row["spec"].get("shots", [])] or None,
            variants=variants_of(row),
        )


def variants_of(row: Mapping[str, Any]) -> list[str]:
    """Names of VARIANTS that a row's video has."""
    if row["status"] != "completed":
        return []
    return list(row["variants"] or [name for name in VARIANTS if name != "state"])


class Page(BaseModel):
    object: Literal["list"] = "list"
    data: list[Video]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Deleted(BaseModel):
    id: str
    object: str
    deleted: Literal[True] = True


class CharacterTold(BaseModel):
    id: str
    object: Literal["video.character"] = "video.character"
    name: str
    created_at: int


class ErrorDetail(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None


class Error(BaseModel):
    error: ErrorDetail


def total(source_frames: int, fps: float, seconds: float) -> int:
    """Frames of an extension: the clip's and what is added. Raises RequestError where that is too long."""
    frames = source_frames + max(1, round(seconds * fps))
    if frames > MAX_SECONDS * fps:
        raise RequestError(
            f"a video of {source_frames / fps:g} seconds cannot be extended by {seconds:g} (accepted: up to "
            f"{MAX_SECONDS:g} in all)"
        )
    return frames
