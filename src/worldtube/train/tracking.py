"""Where the numbers of a run also go, for those who watch elsewhere: `SINKS`. The record is the truth.

Knows nothing of what the numbers mean.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

from worldtube.errors import MissingExtra, unknown

PROJECT = "worldtube"


class Sink(Protocol):
    """Takes numbers of steps until it is closed."""

    def log(self, step: int, numbers: dict[str, float]) -> None: ...

    def close(self) -> None: ...


class Tensorboard:
    """Event files in the run's folder; what came after `step` is hidden."""

    def __init__(self, folder: Path, config: dict[str, Any], step: int):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingExtra("--track tensorboard", "tensorboard") from error
        self.writer = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def log(self, step: int, numbers: dict[str, float]) -> None:
        for name, value in numbers.items():
            self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        self.writer.close()


class Service:
    """trackio or wandb, which are called alike; a run that goes on keeps its name there."""

    def __init__(self, name: str, folder: Path, config: dict[str, Any], step: int):
        try:
            self.module: Any = __import__(name)
        except ImportError as error:
            raise MissingExtra(f"--track {name}", name) from error
        where = {"id": folder.name, "dir": str(folder)} if name == "wandb" else {}
        self.module.init(project=PROJECT, name=folder.name, config=config, resume="allow", **where)

    def log(self, step: int, numbers: dict[str, float]) -> None:
        self.module.log(numbers, step=step)

    def close(self) -> None:
        self.module.finish()


def _service(name: str) -> Callable[[Path, dict[str, Any], int], Sink]:
    return lambda folder, config, step: Service(name, folder, config, step)


SINKS: dict[str, Callable[[Path, dict[str, Any], int], Sink]] = {
    "tensorboard": Tensorboard,
    "trackio": _service("trackio"),
    "wandb": _service("wandb"),
}
"""name -> what opens it: (folder of the run, configuration, step that the run goes on from)."""


@contextmanager
def tracked(
    names: Sequence[str], folder: Path, config: dict[str, Any], step: int
) -> Generator[Callable[..., None]]:
    """Some sinks as one function, of step and numbers. Raises RequestError, MissingExtra."""
    for name in names:
        if name not in SINKS:
            raise unknown("tracker", name, SINKS)
    with ExitStack() as stack:
        sinks = [SINKS[name](folder.resolve(), config, step) for name in names]
        for sink in sinks:
            stack.callback(sink.close)

        def log(*, step: int, **numbers: float) -> None:
            for sink in sinks:
                sink.log(step, numbers)

        yield log
