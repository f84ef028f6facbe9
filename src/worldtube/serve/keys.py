"""API keys. Owns who may ask, kept as hashes, and how often; knows nothing of HTTP."""

import hashlib
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any

from sqlalchemy import Connection, and_, func, insert, select, update

from worldtube.errors import NotFound, RequestError
from worldtube.serve.jobs import Database, new_id, now
from worldtube.serve.jobs.tables import characters, endpoints, keys, videos

PREFIX = "wt-"


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who asks; sees its own videos alone."""

    id: str
    queue_quota: int | None = None
    rate_per_minute: float | None = None


LOCAL = Caller(id="local")
"""Whoever is on this machine, as long as no key has ever been made."""

OWNED = {"video": videos, "character": characters, "webhook endpoint": endpoints}
"""What belongs to a key, or to LOCAL: name -> table."""


class Keys:
    def __init__(self, database: Database):
        self.database = database

    def create(
        self, name: str, *, queue_quota: int | None = None, rate_per_minute: float | None = None
    ) -> tuple[str, str]:
        """A new key's id and its secret, which is nowhere kept."""
        if not 1 <= len(name) <= 80 or not name.isprintable():
            raise RequestError(f"key name {name!r} is not accepted; 1 to 80 characters are")
        # 256 random bits need no slow hash: there is nothing to guess.
        secret = PREFIX + secrets.token_urlsafe(32)
        values = {
            "id": new_id("key"),
            "name": name,
            "hash": _hash(secret),
            "hint": f"{secret[:6]}...{secret[-4:]}",
            "created_at": now(),
            "queue_quota": queue_quota,
            "rate_per_minute": rate_per_minute,
        }
        with self.database.writing() as connection:
            connection.execute(insert(keys).values(values))
        return values["id"], secret

    def all(self) -> list[Mapping[str, Any]]:
        with self.database.reading() as connection:
            return list(connection.execute(select(keys).order_by(keys.c.created_at)).mappings())

    def revoke(self, id: str) -> None:
        """Raises NotFound."""
        query = update(keys).where(keys.c.id == id, keys.c.revoked_at.is_(None))
        with self.database.writing() as connection:
            if connection.execute(query.values(revoked_at=now())).rowcount == 0:
                raise NotFound(f"no key {id!r} that is not revoked (worldtube keys list)")

    def owned(self) -> dict[str, dict[str, int]]:
        """What belongs to whom: id of a key, or of LOCAL -> {name in OWNED: how many}, zeros left out."""
        found: dict[str, dict[str, int]] = {}
        with self.database.reading() as connection:
            for name, table in OWNED.items():
                query = select(table.c.owner, func.count()).group_by(table.c.owner)
                for owner, count in connection.execute(query):
                    found.setdefault(owner, {})[name] = count
        return found

    def move(self, source: str, target: str) -> dict[str, int]:
        """Give all that belongs to one key, valid or revoked, or to LOCAL to another key.

        Returns:
            What was moved, as in `owned`.

        Raises:
            NotFound: one of them is not a key.
            RequestError: both are the same.
        """
        if source == target:
            raise RequestError(f"two different keys are needed, got {source!r} twice")
        with self.database.writing() as connection:
            known = {id: revoked for id, revoked in connection.execute(
                select(keys.c.id, keys.c.revoked_at).where(keys.c.id.in_((source, target)))
            )}  # fmt: skip
            if source not in known and source != LOCAL.id:
                raise NotFound(f"no key {source!r} (worldtube keys list)")
            if target not in known or known[target] is not None:
                raise NotFound(f"no key {target!r} that is not revoked (worldtube keys list)")
            # An idempotency key that both have used stays with the target's own video.
            theirs = select(videos.c.idempotency_key).where(
                videos.c.owner == target, videos.c.idempotency_key.is_not(None)
            )
            clash = and_(videos.c.owner == source, videos.c.idempotency_key.in_(theirs))
            connection.execute(update(videos).where(clash).values(idempotency_key=None))
            moved = {}
            for name, table in OWNED.items():
                query = update(table).where(table.c.owner == source).values(owner=target)
                if count := connection.execute(query).rowcount:
                    moved[name] = count
        return moved

    def exist(self) -> bool:
        """Whether there has ever been one: revoking the last does not open the door."""
        with self.database.reading() as connection:
            return _any(connection)

    def caller(self, secret: str | None) -> Caller | None:
        """Whose secret it is; LOCAL where no key was ever made; None for nobody's."""
        query = select(keys).where(keys.c.hash == _hash(secret or ""), keys.c.revoked_at.is_(None))
        with self.database.reading() as connection:
            row = connection.execute(query).mappings().first()
            if row is None:
                return None if _any(connection) else LOCAL
        return Caller(
            id=row["id"], queue_quota=row["queue_quota"], rate_per_minute=row["rate_per_minute"]
        )


def _any(connection: Connection) -> bool:
    return connection.execute(select(keys.c.id).limit(1)).first() is not None


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


class Rate:
    """A bucket of tokens for each caller, filled `per_minute`; half a minute's worth may come at once."""

    def __init__(self) -> None:
        self._buckets: dict[str, tuple[float, float]] = {}
        self._lock = Lock()

    def wait(self, caller: str, per_minute: float) -> float:
        """Take a token; 0.0, or the seconds after which there will be one."""
        clock, most = time.monotonic(), max(1.0, per_minute / 2)
        with self._lock:
            tokens, then = self._buckets.get(caller, (most, clock))
            tokens = min(most, tokens + (clock - then) * per_minute / 60)
            left = tokens - 1 if tokens >= 1 else tokens
            self._buckets[caller] = (left, clock)
        return 0.0 if tokens >= 1 else (1 - tokens) * 60 / per_minute
