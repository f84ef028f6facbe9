"""`serve`, `worker` and `keys`: the Videos API on one's own machine."""

import sys
from pathlib import Path
from typing import Annotated, Any

from worldtube.cli.arguments import parse, positional


def _config() -> Any:
    """The usual settings, and their type as an argument of a command. Raises MissingExtra."""
    from worldtube.errors import MissingExtra

    try:
        import alembic  # noqa: F401
        import fastapi  # noqa: F401
        import sqlalchemy  # noqa: F401
    except ImportError as error:
        raise MissingExtra("serving", "serve") from error
    import tyro

    from worldtube.serve.config import ServeConfig

    return ServeConfig(), Annotated[ServeConfig, tyro.conf.arg(name="")]


def serve(rest: list[str]) -> int:
    usual, flattened = _config()

    def command(*, api_only: bool = False, config: Any = usual) -> Any:
        """Serve the Videos API of OpenAI's clients: an API, and a worker for each device.

        Args:
            api_only: no workers here; they are begun elsewhere with `worldtube worker`
        """
        return api_only, config

    command.__annotations__["config"] = flattened
    api_only, config = parse(command, "serve", rest)
    from worldtube.serve.supervisor import check_door, supervise

    keyed = check_door(config)
    who = "a key is needed" if keyed else "no key: this machine only"

    def ready(models: list[str]) -> None:
        print(f"worldtube serves at http://{config.host}:{config.port}/v1 ({who})", flush=True)

    if api_only:
        _tell("starting the api; waiting for a worker (worldtube worker) ...")
    else:
        _tell_start(config)
    return supervise(config, workers=not api_only, ready=ready)


def _tell(line: str) -> None:
    print(f"worldtube: {line}", file=sys.stderr, flush=True)


def _tell_start(config: Any) -> None:
    devices, models = ", ".join(config.devices), ", ".join(config.model)
    kind = "worker" if len(config.devices) == 1 else "workers"
    _tell(f"starting {kind} {devices} with {models} ...")


def worker(rest: list[str]) -> int:
    usual, flattened = _config()

    def command(*, config: Any = usual) -> Any:
        """Make the videos of a server that runs elsewhere, or here with --api-only: same database, same store."""
        return config

    command.__annotations__["config"] = flattened
    config = parse(command, "worker", rest)
    from worldtube.serve.jobs import Database
    from worldtube.serve.supervisor import supervise

    Database(config.database).migrate()

    def ready(models: list[str]) -> None:
        print(f"worldtube worker serves {', '.join(models)}", flush=True)

    _tell_start(config)
    return supervise(config, api=False, ready=ready)


def keys(rest: list[str]) -> int:
    _config()
    from worldtube.errors import RequestError, unknown

    def command(
        action: str,
        id: str = "",
        *,
        name: str = "",
        queue_quota: int | None = None,
        rate_per_minute: float | None = None,
        folder: Path | None = None,
        database_url: str | None = None,
    ) -> Any:
        """Make, list or revoke the keys of a server.

        Args:
            action: create, list or revoke
            id: which key to revoke
            name: what a new key is for
            queue_quota: jobs of a new key that may wait or run; the server's own number when not said
            rate_per_minute: jobs that a new key may create a minute; the server's own number when not said
            folder: the server's folder; WORLDTUBE_HOME/serve when not said
            database_url: the server's database, where it is not in its folder
        """
        return action, id, name, queue_quota, rate_per_minute, folder, database_url

    asked = positional(positional(command, "action"), "id")
    action, id, name, quota, rate, folder, url = parse(asked, "keys", rest)
    if action not in ("create", "list", "revoke"):
        raise unknown("action", action, ("create", "list", "revoke"))
    from worldtube.serve.config import ServeConfig
    from worldtube.serve.jobs import Database
    from worldtube.serve.keys import Keys

    database = Database(ServeConfig(folder=folder, database_url=url).database)
    database.migrate()
    door = Keys(database)
    if action == "create":
        if not name:
            raise RequestError("a key needs a name, such as --name laptop")
        made, secret = door.create(name, queue_quota=quota, rate_per_minute=rate)
        print(secret)
        print(f"worldtube: {made} is made; its secret is shown this once", file=sys.stderr)
    elif action == "revoke":
        door.revoke(id)
        print(id)
    else:
        for key in door.all():
            state = "revoked" if key["revoked_at"] else "valid"
            print(f"{key['id']}  {state:<8}{key['hint']:<16}{key['name']}")
    return 0
