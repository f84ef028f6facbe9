"""The tables. Owns what is remembered; the migrations beside it say how an older database becomes this one."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

METADATA = MetaData()

videos = Table(
    "videos",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("owner", String(64), nullable=False),
    Column("created_at", Float, nullable=False),
    # what was asked
    Column("task", String(32), nullable=False),
    Column("model", String(128), nullable=False),
    Column("prompt", Text, nullable=False),
    Column("size", String(16), nullable=False),
    Column("seconds", String(16), nullable=False),
    Column("fps", Float, nullable=False),
    Column("num_frames", Integer, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("rendered_size", String(16), nullable=False),
    Column("remixed_from", String(64)),
    Column("spec", JSON, nullable=False),
    Column("shape", String(256), nullable=False),
    Column("warnings", JSON, nullable=False),
    Column("idempotency_key", String(255)),
    Column("body_hash", String(64), nullable=False),
    # how it goes
    Column("status", String(16), nullable=False),
    Column("progress", Integer, nullable=False),
    Column("error", JSON),
    Column("completed_at", Float),
    Column("expires_at", Float),
    Column("sha256", String(64)),
    # names of what can be fetched of a finished video; null of those from before there were several kinds
    Column("variants", JSON),
    # who makes it
    Column("attempt", Integer, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("lease_owner", String(128)),
    Column("lease_until", Float),
    Column("cancel_requested", Boolean, nullable=False),
    Column("deadline", Float, nullable=False),
    UniqueConstraint("owner", "idempotency_key", name="one_video_per_idempotency_key"),
    Index("videos_of_an_owner", "owner", "id"),
    Index("videos_to_make", "status", "created_at"),
    Index("videos_that_expire", "expires_at"),
    Index("videos_by_body", "body_hash"),
    Index("videos_by_file", "sha256"),
)

workers = Table(
    "workers",
    METADATA,
    Column("name", String(128), primary_key=True),
    Column("started_at", Float, nullable=False),
    Column("seen_at", Float, nullable=False),
    # [{"name": ..., "facts": {...}}], the worker's default first
    Column("models", JSON, nullable=False),
)

# When a model was first and last served, also where no worker serves it now.
models = Table(
    "models",
    METADATA,
    Column("name", String(128), primary_key=True),
    Column("created_at", Float, nullable=False),
    Column("seen_at", Float, nullable=False),
)

keys = Table(
    "keys",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("name", String(80), nullable=False),
    Column("hash", String(64), nullable=False, unique=True),
    Column("hint", String(16), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("revoked_at", Float),
    Column("queue_quota", Integer),
    Column("rate_per_minute", Float),
)

characters = Table(
    "characters",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("owner", String(64), nullable=False, index=True),
    Column("name", String(80), nullable=False),
    Column("created_at", Float, nullable=False),
)

endpoints = Table(
    "webhook_endpoints",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("owner", String(64), nullable=False, index=True),
    Column("name", String(80), nullable=False),
    Column("url", Text, nullable=False),
    Column("event_types", JSON, nullable=False),
    Column("secret", String(128), nullable=False),
    Column("old_secret", String(128)),
    Column("old_secret_until", Float),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
)

deliveries = Table(
    "webhook_deliveries",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("endpoint", String(64), nullable=False, index=True),
    Column("body", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("next_at", Float, nullable=False, index=True),
    Column("give_up_at", Float, nullable=False),
)
