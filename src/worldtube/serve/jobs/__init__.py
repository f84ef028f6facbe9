"""The queue, which is the table of videos itself: a row waits, is leased to a worker, ends.

Owns every change of a video's status. A worker that has a job holds a lease on its row; each claim raises the
row's epoch, and who comes back with an older epoch has lost it (fencing). Every job ends: completed, or failed with
a code. Knows nothing of HTTP, files or how a clip is made.
"""

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, delete, func, insert, not_, or_, select, update

from worldtube.errors import WorldtubeError
from worldtube.serve.jobs.database import Database, now
from worldtube.serve.jobs.registry import Workers
from worldtube.serve.jobs.tables import characters, deliveries, endpoints, models, videos, workers

__all__ = [
    "ACTIVE",
    "Conflict",
    "Database",
    "Job",
    "Jobs",
    "Lost",
    "QueueFull",
    "Row",
    "Workers",
    "new_id",
    "now",
]

Row = Mapping[str, Any]
ACTIVE = ("queued", "in_progress")
SAME_BODY_SECONDS = 60.0
"""A client's own repeat of a request that it got no answer to comes within this."""
GIVE_UP_SECONDS = 24 * 3600.0
"""Webhooks are tried for so long."""


class Lost(WorldtubeError):
    """The job is no longer this worker's: deleted, ended, or leased to another."""


class QueueFull(WorldtubeError):
    """The key has as many jobs as it may."""


class Conflict(WorldtubeError):
    """The idempotency key stands for another request."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A row and the right to work on it, as long as its epoch is the row's."""

    id: str
    epoch: int
    attempt: int
    row: Row


def new_id(kind: str) -> str:
    """Such as video_..., sorted by the millisecond it was made in, and not to be guessed."""
    return f"{kind}_{int(time.time() * 1000):012x}{secrets.token_hex(12)}"


class Jobs:
    def __init__(
        self,
        database: Database,
        *,
        lease_seconds: float = 30.0,
        attempts: int = 5,
        keep_seconds: float = 7 * 86400.0,
        unserved_seconds: float = 600.0,
    ):
        self.database = database
        self.lease_seconds, self.attempts, self.keep_seconds = lease_seconds, attempts, keep_seconds
        self.unserved_seconds = unserved_seconds

    # What the API does.

    def earlier(
        self, owner: str, body_hash: str, idempotency_key: str | None, *, repeated: bool
    ) -> Row | None:
        """The video that the same request has made before: by its idempotency key, or by its body where the client
        says that it is repeating itself. Raises Conflict."""
        if idempotency_key is None and not repeated:
            return None
        with self.database.reading() as connection:
            return self._earlier(connection, owner, body_hash, idempotency_key, repeated)

    def _earlier(
        self, connection: Connection, owner: str, body_hash: str, key: str | None, repeated: bool
    ) -> Row | None:
        found = None
        if key is not None:
            same = and_(videos.c.owner == owner, videos.c.idempotency_key == key)
            found = connection.execute(select(videos).where(same)).mappings().first()
            if found is not None and found["body_hash"] != body_hash:
                raise Conflict(
                    f"the idempotency key {key!r} was used with another body (accepted: the same body, or a new key)"
                )
        if found is None and repeated:
            recent = and_(
                videos.c.owner == owner,
                videos.c.body_hash == body_hash,
                videos.c.created_at > now() - SAME_BODY_SECONDS,
            )
            query = select(videos).where(recent).order_by(videos.c.created_at.desc()).limit(1)
            found = connection.execute(query).mappings().first()
        return found

    def add(self, row: Row, *, quota: int, deadline_seconds: float, repeated: bool = False) -> Row:
        """Store a new job; returns its row, or that of the same request made before.

        Raises QueueFull, Conflict.
        """
        owner, key = row["owner"], row["idempotency_key"]
        with self.database.writing() as connection:
            if self.database.postgres:  # one create of a key at a time, so that the quota holds
                number = int.from_bytes(owner.encode()[-7:], "big")
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({number})")
            earlier = self._earlier(connection, owner, row["body_hash"], key, repeated)
            if earlier is not None:
                return earlier
            waiting = (
                select(func.count())
                .select_from(videos)
                .where(videos.c.owner == owner, videos.c.status.in_(ACTIVE))
            )
            if connection.execute(waiting).scalar_one() >= quota:
                raise QueueFull(f"{quota} videos of this key wait or are being made already")
            values = dict(row) | {
                "created_at": now(),
                "deadline": now() + deadline_seconds,
                "status": "queued",
                "progress": 0,
                "attempt": 0,
                "epoch": 0,
                "cancel_requested": False,
            }
            query = insert(videos).values(values).returning(videos)
            return connection.execute(query).mappings().one()

    def get(self, owner: str, id: str) -> Row | None:
        query = select(videos).where(videos.c.id == id, videos.c.owner == owner)
        with self.database.reading() as connection:
            return connection.execute(query).mappings().first()

    def page(
        self, owner: str, *, after: str | None = None, limit: int = 20, newest_first: bool = True
    ) -> tuple[list[Row], bool]:
        """Videos that have not expired, and whether there are more.

        Ids sort by the time they were made at, so `after` marks a place also where its video is deleted or expired.
        """
        alive = or_(videos.c.expires_at.is_(None), videos.c.expires_at > now())
        query = select(videos).where(videos.c.owner == owner, alive).limit(limit + 1)
        query = query.order_by(videos.c.id.desc() if newest_first else videos.c.id)
        if after is not None:
            query = query.where(videos.c.id < after if newest_first else videos.c.id > after)
        with self.database.reading() as connection:
            rows: list[Row] = list(connection.execute(query).mappings())
        return rows[:limit], len(rows) > limit

    def delete(self, owner: str, id: str) -> bool:
        """Forget a video. Who works on it finds its row gone at the next step."""
        with self.database.writing() as connection:
            query = delete(videos).where(videos.c.id == id, videos.c.owner == owner)
            return connection.execute(query).rowcount == 1

    def cancel(self, owner: str, id: str) -> Row | None:
        """End a job that has not ended: at once where it waits, at the next step where it runs."""
        mine = and_(videos.c.id == id, videos.c.owner == owner)
        with self.database.writing() as connection:
            self._fail(connection, and_(mine, videos.c.status == "queued"), "cancelled", CANCELLED)
            connection.execute(
                update(videos)
                .where(mine, videos.c.status == "in_progress")
                .values(cancel_requested=True)
            )
            return connection.execute(select(videos).where(mine)).mappings().first()

    def file(self, sha256: str) -> Row | None:
        """The video whose file has this hash, whoever owns it."""
        with self.database.reading() as connection:
            query = select(videos).where(videos.c.sha256 == sha256).limit(1)
            return connection.execute(query).mappings().first()

    def counts(self) -> tuple[dict[str, int], float]:
        """Videos by status, and for how many seconds the oldest has been waiting."""
        with self.database.reading() as connection:
            rows = connection.execute(
                select(videos.c.status, func.count()).group_by(videos.c.status)
            )
            waiting = select(now() - func.min(videos.c.created_at)).where(
                videos.c.status == "queued"
            )
            return {status: n for status, n in rows}, connection.execute(waiting).scalar() or 0.0

    # What a worker does.

    def claim(self, worker: str, serves: Sequence[str], *, limit: int = 1) -> list[Job]:
        """Lease the oldest job of these models that waits or whose worker is lost, and up to limit - 1 more of its
        shape that wait. Jobs that were begun before are made alone."""
        free = and_(
            videos.c.model.in_(serves),
            videos.c.deadline > now(),
            videos.c.attempt < self.attempts,
            or_(
                videos.c.status == "queued",
                and_(videos.c.status == "in_progress", videos.c.lease_until < now()),
            ),
        )
        with self.database.writing() as connection:
            jobs = self._lease(connection, worker, free, 1)
            if jobs and limit > 1 and jobs[0].attempt == 1:
                alike = and_(
                    videos.c.model == jobs[0].row["model"],
                    videos.c.shape == jobs[0].row["shape"],
                    videos.c.status == "queued",
                    videos.c.attempt == 0,
                    videos.c.deadline > now(),
                )
                jobs += self._lease(connection, worker, alike, limit - 1)
        return jobs

    def _lease(self, connection: Connection, worker: str, which: Any, limit: int) -> list[Job]:
        pick = select(videos.c.id).where(which).order_by(videos.c.created_at).limit(limit)
        if self.database.postgres:
            pick = pick.with_for_update(skip_locked=True)
        ids = list(connection.execute(pick).scalars())
        if not ids:
            return []
        query = (
            update(videos)
            .where(videos.c.id.in_(ids))
            .values(
                status="in_progress",
                lease_owner=worker,
                lease_until=now() + self.lease_seconds,
                epoch=videos.c.epoch + 1,
                attempt=videos.c.attempt + 1,
            )
            .returning(videos)
        )
        rows = connection.execute(query).mappings().all()
        return [Job(id=r["id"], epoch=r["epoch"], attempt=r["attempt"], row=r) for r in rows]

    def beat(self, job: Job, progress: int | None = None) -> bool:
        """Keep the lease, tell the progress (0 to 99; it never falls), and hear whether to stop. Raises Lost."""
        values: dict[str, Any] = {"lease_until": now() + self.lease_seconds}
        if progress is not None:
            most = func.greatest if self.database.postgres else func.max
            values["progress"] = most(videos.c.progress, min(max(progress, 0), 99))
        query = update(videos).where(_held(job)).values(values)
        with self.database.writing() as connection:
            stop = connection.execute(query.returning(videos.c.cancel_requested)).scalar()
        if stop is None:
            raise Lost(f"{job.id} is no longer leased to this worker")
        return stop

    def characters(self, owner: str) -> list[str]:
        """The names of an owner's characters."""
        with self.database.reading() as connection:
            query = select(characters.c.name).where(characters.c.owner == owner).distinct()
            return list(connection.execute(query.order_by(characters.c.name)).scalars())

    def complete(self, job: Job, **facts: Any) -> None:
        """End a job well; facts are columns that only making it has told. Raises Lost."""
        values = facts | {
            "status": "completed",
            "progress": 100,
            "completed_at": now(),
            "expires_at": now() + self.keep_seconds,
            "lease_owner": None,
            "lease_until": None,
        }
        with self.database.writing() as connection:
            query = update(videos).where(_held(job)).values(values).returning(videos)
            row = connection.execute(query).mappings().first()
            if row is None:
                raise Lost(f"{job.id} is no longer leased to this worker")
            self._tell(connection, row)

    def fail(self, job: Job, code: str, message: str) -> None:
        """End a job badly. Raises Lost."""
        with self.database.writing() as connection:
            if not self._fail(connection, _held(job), code, message):
                raise Lost(f"{job.id} is no longer leased to this worker")

    def release(self, job: Job, *, counts: bool) -> None:
        """Put a job back; counts: whether the attempt was one."""
        with self.database.writing() as connection:
            query = update(videos).where(_held(job))
            values = {"status": "queued", "lease_owner": None, "lease_until": None}
            connection.execute(
                query.values(values | {"attempt": videos.c.attempt - int(not counts)})
            )

    def abandon(self, worker: str) -> int:
        """A worker is known to be dead: it serves nothing, its leases end now. Returns how many it had."""
        query = update(videos).where(videos.c.lease_owner == worker)
        with self.database.writing() as connection:
            connection.execute(delete(workers).where(workers.c.name == worker))
            return connection.execute(query.values(lease_until=0.0)).rowcount

    # What the sweeper does.

    def sweep(self, *, since: float = 0.0) -> int:
        """Fail what has passed its deadline, has lost too many workers, or waits for a model that is gone.

        A model is gone when no worker has served it for `unserved_seconds`.

        Args:
            since: when the server started, by the database's clock; time before that does not count as unserved

        Returns:
            How many jobs failed.
        """
        late = and_(videos.c.status.in_(ACTIVE), videos.c.deadline <= now())
        worn = and_(
            videos.c.status == "in_progress",
            videos.c.lease_until < now(),
            videos.c.attempt >= self.attempts,
        )
        earliest = now() - self.unserved_seconds
        served = select(models.c.name).where(models.c.seen_at > earliest)
        unserved = and_(
            or_(
                videos.c.status == "queued",
                and_(videos.c.status == "in_progress", videos.c.lease_until < now()),
            ),
            videos.c.created_at < earliest,
            since < earliest,
            not_(videos.c.model.in_(served)),
        )
        # Most sweeps find nothing, and need not take the writer's turn for it.
        with self.database.reading() as connection:
            if (
                connection.execute(
                    select(videos.c.id).where(or_(late, worn, unserved)).limit(1)
                ).first()
                is None
            ):
                return 0
        with self.database.writing() as connection:
            ended = self._fail(connection, late, "deadline_exceeded", "it took too long")
            worker = f"{self.attempts} workers were lost while making it"
            ended += self._fail(connection, worn, "worker_lost", worker)
            message = f"its model has not been served for {self.unserved_seconds / 60:g} minutes"
            return ended + self._fail(connection, unserved, "model_not_served", message)

    def expired(self, limit: int = 100) -> list[str]:
        """Videos past their time, whose files may go; `forget` then takes the rows."""
        query = select(videos.c.id).where(videos.c.expires_at <= now()).limit(limit)
        with self.database.reading() as connection:
            return list(connection.execute(query).scalars())

    def forget(self, ids: Sequence[str]) -> None:
        with self.database.writing() as connection:
            connection.execute(
                delete(videos).where(videos.c.id.in_(ids), videos.c.expires_at <= now())
            )

    def known(self, ids: Sequence[str]) -> set[str]:
        """Which of these videos there are."""
        with self.database.reading() as connection:
            query = select(videos.c.id).where(videos.c.id.in_(ids))
            return set(connection.execute(query).scalars())

    def _fail(self, connection: Connection, which: Any, code: str, message: str) -> int:
        query = (
            update(videos)
            .where(which)
            .values(
                status="failed",
                error={"code": code, "message": message},
                expires_at=now() + self.keep_seconds,
                epoch=videos.c.epoch + 1,
                lease_owner=None,
                lease_until=None,
            )
            .returning(videos)
        )
        rows = connection.execute(query).mappings().all()
        for row in rows:
            self._tell(connection, row)
        return len(rows)

    def _tell(self, connection: Connection, row: Row) -> None:
        """Put the webhooks of an ended video into their queue, in the transaction that ends it."""
        kind = f"video.{row['status']}"
        query = select(endpoints).where(endpoints.c.owner == row["owner"])
        for endpoint in connection.execute(query).mappings():
            if kind in endpoint["event_types"]:
                queue_event(connection, endpoint["id"], kind, row["id"])


CANCELLED = "it was cancelled"


def queue_event(connection: Connection, endpoint: str, kind: str, about: str) -> str:
    """An event for one endpoint; its id stays the same however often it is sent."""
    event = {
        "id": new_id("evt"),
        "object": "event",
        "created_at": int(time.time()),
        "type": kind,
        "data": {"id": about},
    }
    values = {
        "id": event["id"],
        "endpoint": endpoint,
        "body": json.dumps(event),
        "attempt": 0,
        "next_at": now(),
        "give_up_at": now() + GIVE_UP_SECONDS,
    }
    connection.execute(insert(deliveries).values(values))
    return event["id"]


def _held(job: Job) -> Any:
    return and_(
        videos.c.id == job.id, videos.c.epoch == job.epoch, videos.c.status == "in_progress"
    )
