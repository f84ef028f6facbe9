"""Settings of a server. Owns their meaning, defaults and where things lie; does not read them from anywhere."""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from worldtube.errors import RequestError
from worldtube.files import home

ALIASES = ("sora-2", "sora-2-pro")
"""Names of models that are gone; they, and every other name that begins with `ALIAS_PREFIX`, mean the default model."""
ALIAS_PREFIX = "sora-"


@dataclass(frozen=True, kw_only=True)
class ServeConfig:
    host: str = "127.0.0.1"
    """Address to listen at. Without any key only a loopback address is accepted."""
    port: int = 8000
    """Port to listen at."""
    folder: Path | None = None
    """Where jobs and files lie; WORLDTUBE_HOME/serve when not said."""
    database_url: str | None = None
    """postgresql+psycopg://... for workers on many hosts; an SQLite file in `folder` when not said."""
    store_url: str | None = None
    """Where files go, as fsspec writes it (s3://bucket/path); `folder` when not said."""
    model: tuple[str, ...] = ("embedded", "embedded:fast")
    """Models to serve, as SOURCE or NAME=SOURCE; a source is embedded, gaussian or a weight file, with :fast for
    its student. The first is the default, and what sora-2 means."""
    devices: tuple[str, ...] = ("auto",)
    """A worker for each: auto, cpu, cuda, mps, or such as cuda:0 cuda:1; repeat cpu for several."""
    dtype: str = "auto"
    """What networks compute in: float32 or bfloat16; auto is the fastest on the worker's device."""
    batch: int = 1
    """Jobs of one model and shape that a worker makes together. On a CPU 1 is best."""
    render_pixels: int | None = None
    """Largest picture that a model makes; what is asked larger is made smaller and enlarged, and the answer says so.
    Four times the model's own area when not said."""
    keep_hours: float = 168.0
    """How long a finished video and its file are kept."""
    deadline_minutes: float = 360.0
    """A job that has not ended by then fails."""
    unserved_minutes: float = 10.0
    """A job that waits for a model fails after the model has been served by no worker for so long."""
    lease_seconds: float = 30.0
    """A worker not heard of for so long has lost its job to the next one."""
    attempts: int = 5
    """How often a job is begun when workers are lost."""
    max_upload_mb: float = 100.0
    """Largest body of a request."""
    max_upload_pixels: int = 1920 * 1088
    """Largest frame of a clip that is uploaded. A larger picture is scaled down to it."""
    max_picture_pixels: int = 64_000_000
    """Largest picture that is scaled down; a larger one is refused before it is decoded."""
    max_upload_seconds: float = 60.0
    """Longest upload."""
    max_upload_frames: int = 3600
    """Most frames of an upload."""
    decode_seconds: float = 30.0
    """Time after which the process that looks at an upload is stopped."""
    decode_memory_mb: int = 2048
    """Memory of that process."""
    queue_quota: int = 200
    """Jobs of one key that may wait or run; more get a 429."""
    rate_per_minute: float = 600.0
    """Jobs that one key may create a minute, in each API process."""
    poll_ms: int = 1000
    """What clients are told to wait between polls."""
    moderation: str = "blocklist"
    """What refuses prompts: blocklist (a short list of words and sentences, no more), off, or the address of an
    endpoint in the format of OpenAI's /v1/moderations, which sees frames too."""
    rewriter: str = "grammar"
    """What puts prompts in the wording that the model learned: grammar, endpoint:MODEL@URL for a language model behind
    an OpenAI-compatible address, or off. A finished video says in its warnings how its prompt was put."""
    private_webhooks: bool = False
    """Allow webhooks to plain http and to private addresses."""

    def __post_init__(self) -> None:
        for name in (
            *("keep_hours", "deadline_minutes", "unserved_minutes", "lease_seconds"),
            "max_upload_mb",
        ):
            if not getattr(self, name) > 0:
                raise RequestError(f"{name} {getattr(self, name)} is not accepted; above 0 is")
        for name in ("batch", "attempts", "queue_quota"):
            if getattr(self, name) < 1:
                raise RequestError(f"{name} {getattr(self, name)} is not accepted; 1 or more is")
        if not self.model:
            raise RequestError("no model to serve (accepted: embedded, gaussian or weight files)")
        if self.moderation not in ("blocklist", "off") and "://" not in self.moderation:
            raise RequestError(
                f"moderation must be blocklist, off or an address, got {self.moderation!r}"
            )

        asks = re.fullmatch(r"endpoint:[^@]+@https?://.+", self.rewriter)
        if self.rewriter not in ("grammar", "off") and not asks:
            raise RequestError(
                f"rewriter {self.rewriter!r} is not accepted; grammar, off or endpoint:MODEL@URL is"
            )

    @property
    def place(self) -> Path:
        """The folder, made where it does not exist."""
        folder = self.folder or home() / "serve"
        folder.mkdir(parents=True, exist_ok=True)
        return folder.absolute()

    @property
    def database(self) -> str:
        return self.database_url or f"sqlite:///{self.place / 'jobs.sqlite'}"

    def to_json(self) -> str:
        return json.dumps(asdict(self), default=str)

    @staticmethod
    def from_json(text: str) -> "ServeConfig":
        told = json.loads(text)
        told |= {name: tuple(told[name]) for name in ("model", "devices")}
        return ServeConfig(**told | {"folder": told["folder"] and Path(told["folder"])})
