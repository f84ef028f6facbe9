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
    if keyed:
        _tell_hidden(config)
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


def _tell_hidden(config: Any) -> None:
    """Say that there is work that no key sees."""
    from worldtube.serve.jobs import Database
    from worldtube.serve.keys import LOCAL, Keys

    database = Database(config.database)
    if keyless := Keys(database).owned().get(LOCAL.id):
        _tell(f"no key sees the {_counted(keyless)}")
        _tell("made without one; worldtube keys move gives it all to a key")
    database.close()


def _tell_start(config: Any) -> None:
    models, count = ", ".join(config.model), len(config.devices)
    named = "" if config.devices == ("auto",) else f" {', '.join(config.devices)}"
    kind = "worker" if count == 1 else "workers"
    line = f"starting {kind}{named} with {models} ..."
    if len(line) > 69:  # of a terminal's 80 columns
        line = f"starting {count} {kind} with {len(config.model)} models ..."
    _tell(line)


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
        to: str = "",
        *,
        name: str = "",
        queue_quota: int | None = None,
        rate_per_minute: float | None = None,
        folder: Path | None = None,
        database_url: str | None = None,
    ) -> Any:
        """Make, list or revoke the keys of a server, and move videos from one key to another.

        Args:
            action: create, list, revoke or move
            id: which key to revoke, or whose videos, characters and webhooks to move (local: those made without a key)
            to: the key that they are moved to
            name: what a new key is for
            queue_quota: jobs of a new key that may wait or run; the server's own number when not said
            rate_per_minute: jobs that a new key may create a minute; the server's own number when not said
            folder: the server's folder; WORLDTUBE_HOME/serve when not said
            database_url: the server's database, where it is not in its folder
        """
        return action, id, to, name, queue_quota, rate_per_minute, folder, database_url

    asked = positional(positional(positional(command, "action"), "id"), "to")
    action, id, to, name, quota, rate, folder, url = parse(asked, "keys", rest)
    actions = ("create", "list", "revoke", "move")
    if action not in actions:
        raise unknown("action", action, actions)
    from worldtube.serve.config import ServeConfig
    from worldtube.serve.jobs import Database
    from worldtube.serve.keys import LOCAL, Keys

    database = Database(ServeConfig(folder=folder, database_url=url).database)
    database.migrate()
    door = Keys(database)
    if action == "create":
        if not name:
            raise RequestError("a key needs a name, such as --name laptop")
        made, secret = door.create(name, queue_quota=quota, rate_per_minute=rate)
        print(secret)
        _tell(f"made {made}")
        _tell("its secret is shown this once")
        if keyless := door.owned().get(LOCAL.id):
            _tell(f"no key sees the {_counted(keyless)}")
            _tell("made without one; this gives it all to the new key:")
            print(f"    worldtube keys move {LOCAL.id} {made}", file=sys.stderr, flush=True)
    elif action == "move":
        if not (id and to):
            raise RequestError("two keys are needed: worldtube keys move FROM TO (or local TO)")
        print(f"moved {_counted(door.move(id, to)) or 'nothing'}")
    elif action == "revoke":
        door.revoke(id)
        print(id)
    else:
        owned = door.owned()
        for key in door.all():
            state = "revoked" if key["revoked_at"] else "valid"
            print(f"{key['id']}  {state:<8}{key['hint']:<16}{key['name']}")
            if counts := owned.get(key["id"]):
                print(f"    {_counted(counts)}")
        if keyless := owned.get(LOCAL.id):
            print(f"{LOCAL.id}  made without a key")
            print(f"    {_counted(keyless)}")
    database.close()
    return 0


def _counted(counts: dict[str, int]) -> str:
    """{"video": 2, "character": 1} -> "2 videos and 1 character"."""
    texts = [f"{count} {name}{'s' * (count != 1)}" for name, count in counts.items()]
    return " and ".join(filter(None, (", ".join(texts[:-1]), *texts[-1:])))
