"""A database and its clock. Owns connections, transactions and migrations; knows no table.

SQLite (one host, write-ahead log) and Postgres behind one face: `reading()` and `writing()` are transactions.
"""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Float, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from worldtube.errors import RequestError

DIALECTS = ("sqlite", "postgresql")


class now(FunctionElement[float]):
    """The database's own clock, unix seconds: hosts need not agree on the time."""

    type = Float()
    inherit_cache = True


@compiles(now, "sqlite")
def _sqlite_now(element: Any, compiler: Any, **_: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(now, "postgresql")
def _postgres_now(element: Any, compiler: Any, **_: Any) -> str:
    return "extract(epoch from clock_timestamp())::float8"


class Database:
    """url: sqlite:///PATH or postgresql+psycopg://...; durable: whether a commit survives a power cut.

    Without `durable`, an SQLite commit survives any crash of a process, and the file is whole after a power cut.
    """

    def __init__(self, url: str, *, durable: bool = True):
        try:
            self.url = make_url(url)
        except ArgumentError as error:
            raise RequestError(f"database url {url!r} cannot be read") from error
        kind = self.url.get_backend_name()
        if kind not in DIALECTS:
            raise RequestError(f"database {kind!r} is not accepted; {' or '.join(DIALECTS)} is")
        self.postgres = kind == "postgresql"
        options: dict[str, Any] = {"pool_pre_ping": True, "pool_size": 10, "max_overflow": 40}
        if not self.postgres:
            # Transactions are begun below, by their kind: the driver must not begin any of its own.
            options = {"connect_args": {"timeout": 30, "isolation_level": None}, "pool_size": 50}
        self.engine = create_engine(self.url, **options)
        if not self.postgres:
            synchronous = "FULL" if durable else "NORMAL"

            @event.listens_for(self.engine, "connect")
            def _(connection: Any, _: Any) -> None:
                for pragma in ("journal_mode=WAL", f"synchronous={synchronous}"):
                    connection.execute(f"PRAGMA {pragma}")

            @event.listens_for(self.engine, "begin")
            def _(connection: Connection) -> None:
                # A transaction that reads and then writes would fail where another wrote in between.
                reading = connection.get_execution_options().get("reading")
                connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

        self._reader = self.engine.execution_options(reading=True)

    @contextmanager
    def reading(self) -> Generator[Connection]:
        with self._reader.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Generator[Connection]:
        with self.engine.begin() as connection:
            yield connection

    def migrate(self) -> None:
        """Bring the tables up to date; several processes may ask at once."""
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
        with self.writing() as connection:
            if self.postgres:
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(9071)")
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    def close(self) -> None:
        self.engine.dispose()
