"""Checkpoints: everything a run needs to go on to the bit, in a folder each; whole or not at all.

Weights (float32 masters), optimizer, EMA and the step; data order and noise follow from the step. Written
in the background by torch.distributed.checkpoint, by as many processes as there are, and read by any other
number. Load none that you do not trust: the format's table of contents is a pickle; a model file is not.
Knows nothing of what is in the state.
"""

import json
import logging
import shutil
import warnings
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Self, cast

from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint.api import CheckpointException

from worldtube.errors import DataError, WorldtubeError
from worldtube.files import atomic_write, publish, remove_parts
from worldtube.train.parallel import ALONE, Ranks

logger = logging.getLogger(__name__)

FOLDER, LATEST, FACTS = "checkpoints", "latest", "facts.json"


class Checkpoints:
    """The checkpoints in a run's folder, of which the newest `keep` stay.

    Each is a folder that gets its name, its step, when all of it is on the disk; then `latest` names it.
    """

    def __init__(self, folder: Path, *, ranks: Ranks = ALONE, keep: int = 2):
        if (folder / "checkpoint.pt").exists():
            raise DataError(
                f"{folder} holds checkpoint.pt of an earlier version (accepted: another folder; "
                "its model.safetensors as --start)"
            )
        self.folder, self.ranks, self.keep = folder / FOLDER, ranks, keep
        self.pending: Future | None = None
        if ranks.rank == 0:
            self.folder.mkdir(parents=True, exist_ok=True)
            for left in self.folder.glob("*.partial"):
                shutil.rmtree(left)
            remove_parts(self.folder)
        self.latest: Path | None = ranks.first_says(self._latest())

    def _latest(self) -> Path | None:
        """The checkpoint that `latest` names; the newest one, with a warning, where that file is empty."""
        pointer = self.folder / LATEST
        if not pointer.is_file():
            return None
        name = pointer.read_text().strip("\0\n\r\t ")  # a power cut may leave zeros
        if name:
            return self.folder / name
        steps = self._steps()
        if not steps:
            raise DataError(
                f"{pointer} is empty and no checkpoint is beside it (accepted: the run after its folder "
                f"{self.folder} is deleted, which begins it anew)"
            )
        logger.warning("%s is empty; going on from step %d", pointer, int(steps[-1]))
        return self.folder / steps[-1]

    def _steps(self) -> list[str]:
        """Names of the complete checkpoints, oldest first: a folder gets its name when all of it is on the disk."""
        return sorted(path.name for path in self.folder.iterdir() if path.name.isdigit())

    def facts(self) -> dict[str, Any] | None:
        """What was said of the newest checkpoint when it was saved; None when there is none.

        Raises DataError where it is not whole.
        """
        if self.latest is None:
            return None
        try:
            return json.loads((self.latest / FACTS).read_text())
        except (OSError, ValueError) as error:
            raise _broken(self.latest, error) from error

    def load(self, state: dict[str, Any]) -> None:
        """Fill the tensors of `state` with those of the newest checkpoint. Raises DataError."""
        assert self.latest is not None, "facts() told whether there is one"
        _no_warning()
        try:
            dcp.load(state, checkpoint_id=self.latest, no_dist=self.ranks.world == 1)
        except (CheckpointException, OSError, RuntimeError, ValueError, EOFError) as error:
            raise _broken(self.latest, error) from error

    def save(self, state: dict[str, Any], *, step: int, **facts: Any) -> None:
        """Begin to write a checkpoint of tensors as they are now; they may change when this returns.

        facts: what JSON can hold. Raises WorldtubeError where the one before could not be written.
        """
        self.wait()
        name = f"{step:08d}"
        if self.latest is not None and self.latest.name == name:
            return
        partial = self.folder / f"{name}.partial"
        _no_warning()
        self.pending = cast(
            Future,
            dcp.async_save(
                state,
                storage_writer=dcp.FileSystemWriter(partial),
                process_group=self.ranks.quiet,
                no_dist=self.ranks.world == 1,
            ),
        )
        self.writing, self.wanted = partial, {"step": step, **facts}
        self.written: Future = Future()
        self.pending.add_done_callback(self._publish)

    def _publish(self, done: Future) -> None:
        """In the background, when all processes have written their parts."""
        try:
            done.result()
            if self.ranks.rank == 0:
                self._put(self.writing, self.wanted)
        except BaseException as error:
            shutil.rmtree(self.writing, ignore_errors=True)
            self.written.set_exception(error)
        else:
            self.latest = self.writing.with_suffix("")
            self.written.set_result(None)

    def _put(self, partial: Path, facts: Mapping[str, Any]) -> None:
        atomic_write(partial / FACTS, json.dumps(facts))
        shutil.rmtree(partial.with_suffix(""), ignore_errors=True)  # of a run that went another way
        publish(partial, partial.with_suffix(""))
        atomic_write(self.folder / LATEST, partial.stem)
        older = [name for name in self._steps() if name < partial.stem]
        for name in older[: -self.keep + 1 or None]:
            shutil.rmtree(self.folder / name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        """What was begun is finished; where something else went wrong, that is what is told."""
        try:
            self.wait()
        except WorldtubeError as error:
            if kind is None:
                raise
            logger.warning("%s", error)

    def wait(self) -> None:
        """Until what was begun is on the disk. Raises WorldtubeError where it could not be written."""
        if self.pending is None:
            return
        self.pending = None
        try:
            self.written.result()
        except (Exception, CheckpointException) as error:  # the latter is no Exception
            before = (
                f"the run goes on from step {int(self.latest.name)} when it is started again"
                if self.latest
                else "there is no earlier one"
            )
            raise WorldtubeError(
                f"the checkpoint of step {int(self.writing.stem)} cannot be written: {_reason(error)}; {before}"
            ) from error


def differences(saved: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Which fields differ, in words: `depth is 2 there and 3 here`; empty where none does."""
    saved, wanted = (
        json.loads(json.dumps(values)) for values in (saved, wanted)
    )  # tuples are lists
    names = [name for name in {**saved, **wanted} if saved.get(name) != wanted.get(name)]
    return ", ".join(f"{n} is {saved.get(n)} there and {wanted.get(n)} here" for n in names)


def _reason(error: BaseException) -> str:
    """Return what the operating system said, where that is behind an error, else the error's last line."""
    failures = error.failures.values() if isinstance(error, CheckpointException) else ()
    for cause in (error, *(failure for failure, _ in failures)):
        while cause is not None:
            if isinstance(cause, OSError) and cause.strerror:
                return cause.strerror
            cause = cause.__cause__ or cause.__context__
    return (str(error).strip() or type(error).__name__).splitlines()[-1]


def _broken(path: Path, error: BaseException) -> DataError:
    reason = _reason(error)
    others = sorted(p.name for p in path.parent.iterdir() if p.name.isdigit() and p != path)
    another = f"{' or '.join(others)} in {path.parent / LATEST}" if others else "no other one"
    return DataError(
        f"{path} is not a complete checkpoint: {reason} (accepted: {another}, or the run after {path.parent} is "
        "deleted, which begins it anew)"
    )


def _no_warning() -> None:
    """A run of one process is what is meant; the warning would come from the thread that writes."""
    warnings.filterwarnings("ignore", message="torch.distributed is disabled", category=UserWarning)
