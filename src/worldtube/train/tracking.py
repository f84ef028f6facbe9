"""Where the numbers of a run also go, for those who watch elsewhere: `SINKS`. The record is the truth.

Knows nothing of what the numbers mean.
"""

import importlib
import secrets
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

from worldtube.errors import MissingExtra, unknown

PROJECT = "worldtube"
IDENTITY = "track.id"


class Sink(Protocol):
    """Takes numbers of steps until it is closed."""

    def log(self, step: int, numbers: dict[str, float]) -> None: ...

    def close(self) -> None: ...


class Tensorboard:
    """Event files in the run's folder; what came after `step` is hidden."""

    def __init__(self, folder: Path, config: dict[str, Any], step: int):
        writer = _module("torch.utils.tensorboard", "tensorboard").SummaryWriter
        self.writer = writer(str(folder / "tensorboard"), purge_step=step + 1)

    def log(self, step: int, numbers: dict[str, float]) -> None:
        for name, value in numbers.items():
            self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        self.writer.close()


class Service:
    """trackio or wandb, which are called alike; a run that goes on keeps its identity there."""

    def __init__(self, name: str, folder: Path, config: dict[str, Any], step: int):
        self.module: Any = _module(name, name)
        run = identity(folder, step)
        # trackio knows a run by its name
        named = (
            {"id": run, "name": folder.name, "dir": str(folder)}
            if name == "wandb"
            else {"name": run}
        )
        self.module.init(project=PROJECT, config=config, resume="allow", **named)

    def log(self, step: int, numbers: dict[str, float]) -> None:
        self.module.log(numbers, step=step)

    def close(self) -> None:
        self.module.finish()


def identity(folder: Path, step: int) -> str:
    """What a service knows the run by: made when it begins, kept in its folder for when it goes on.

    The folder's name alone would join runs of two places, and a run that is begun anew to the old one, whose later
    steps a service holds to be the newer.
    """
    path = folder / IDENTITY
    if step == 0 or not path.exists():
        path.write_text(f"{folder.name}-{secrets.token_hex(4)}", encoding="utf-8")
    return path.read_text(encoding="utf-8")


def _module(path: str, name: str) -> Any:
    try:
        return importlib.import_module(path)
    except ImportError as error:
        raise MissingExtra(f"--track {name}", name) from error


def _service(name: str) -> Callable[[Path, dict[str, Any], int], Sink]:
    return lambda folder, config, step: Service(name, folder, config, step)


SINKS: dict[str, Callable[[Path, dict[str, Any], int], Sink]] = {
    "tensorboard": Tensorboard,
    "trackio": _service("trackio"),
    "wandb": _service("wandb"),
}
"""name -> what opens it: (folder of the run, configuration, step that the run goes on from)."""


def trackers(names: Sequence[str]) -> None:
    """Raises RequestError for a name that is none of SINKS, MissingExtra for one that is not installed."""
    for name in names:
        if name not in SINKS:
            raise unknown("tracker", name, SINKS)
        _module("torch.utils.tensorboard" if name == "tensorboard" else name, name)


@contextmanager
def tracked(
    names: Sequence[str], folder: Path, config: dict[str, Any], step: int
) -> Generator[Callable[..., None]]:
    """Some sinks as one function, of step and numbers. Raises RequestError, MissingExtra."""
    trackers(names)
    with ExitStack() as stack:
        sinks = [SINKS[name](folder.resolve(), config, step) for name in names]
        for sink in sinks:
            stack.callback(sink.close)

        def log(*, step: int, **numbers: float) -> None:
            for sink in sinks:
                sink.log(step, numbers)

        yield log
