"""Which workers are alive, and which models they serve.

Owns what workers announce. A worker's row lasts as long as its heartbeat: nothing that an earlier start of the server
left behind counts. Knows nothing of videos.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import and_, delete, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from worldtube.serve.jobs.database import Database, now
from worldtube.serve.jobs.tables import models, workers

HEARTBEAT_SECONDS = 1.0
"""How often a worker says that it is alive."""
SILENT_SECONDS = 15.0
"""A worker that has been silent for so long is not counted as alive."""


class Workers:
    def __init__(self, database: Database):
        self.database = database

    def clock(self) -> float:
        """The database's time, unix seconds."""
        with self.database.reading() as connection:
            return connection.execute(select(now())).scalar_one()

    def announce(self, worker: str, served: Mapping[str, Mapping[str, Any]]) -> None:
        """Say that a worker is ready, and which models it serves: name -> facts, its default first."""
        listed = [{"name": name, "facts": dict(facts)} for name, facts in served.items()]
        dialect = postgresql if self.database.postgres else sqlite
        with self.database.writing() as connection:
            connection.execute(delete(workers).where(workers.c.name == worker))
            values = {"name": worker, "started_at": now(), "seen_at": now(), "models": listed}
            connection.execute(insert(workers).values(values))
            for name in served:
                query: Any = dialect.insert(models).values(
                    name=name, created_at=now(), seen_at=now()
                )
                query = query.on_conflict_do_update(
                    index_elements=["name"], set_={"seen_at": now()}
                )
                connection.execute(query)

    def keep_alive(self, worker: str) -> bool:
        """Renew a worker's announcement; False where there is none to renew."""
        with self.database.writing() as connection:
            mine = workers.c.name == worker
            query = update(workers).where(mine).values(seen_at=now()).returning(workers.c.models)
            listed = connection.execute(query).scalar()
            if listed is None:
                return False
            names = [model["name"] for model in listed]
            query = update(models).where(models.c.name.in_(names)).values(seen_at=now())
            connection.execute(query)
        return True

    def withdraw(self, worker: str) -> None:
        """A worker has ended, or takes no more jobs."""
        with self.database.writing() as connection:
            connection.execute(delete(workers).where(workers.c.name == worker))

    def models(self, *, since: float = 0.0, worker: str | None = None) -> dict[str, dict[str, Any]]:
        """What live workers serve: name -> facts, `created_at` and `default`.

        The models of the worker that started last come first, in the order in which it serves them. The first of all is
        the default.

        Args:
            since: only workers that have been heard from after this time of the database's clock count
            worker: only this one counts
        """
        alive = and_(workers.c.seen_at > now() - SILENT_SECONDS, workers.c.seen_at > since)
        if worker is not None:
            alive = and_(alive, workers.c.name == worker)
        query = select(workers.c.models).where(alive).order_by(workers.c.started_at.desc())
        with self.database.reading() as connection:
            found = {}
            for listed in connection.execute(query).scalars():
                for model in listed:
                    found.setdefault(model["name"], model["facts"])
            query = select(models.c.name, models.c.created_at).where(models.c.name.in_(found))
            created = {name: created_at for name, created_at in connection.execute(query)}
        return {
            name: facts | {"created_at": created.get(name, 0.0), "default": index == 0}
            for index, (name, facts) in enumerate(found.items())
        }
