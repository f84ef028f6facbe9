"""One resumable run: batches to losses to steps of the optimizer, with a record, checkpoints and validation.

Owns the loop and its folder. What a batch is, its loss and its measures are arguments; randomness is keyed by
(seed, step), so that a run that was killed goes on to the bit. Knows nothing of what is trained.
"""

import logging
import math
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from worldtube.errors import DataError, RequestError, WorldtubeError
from worldtube.train.checkpoint import Checkpoints, differences
from worldtube.train.optimizer import Optimizer, learning_rate
from worldtube.train.steps import Guard, Progress, alone, record_from, stoppable

logger = logging.getLogger(__name__)

RECORD = "run.jsonl"


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """How long and how fast a run learns."""

    steps: int = 4000
    """Optimizer steps in all."""
    rate: float = 2e-3
    """Peak learning rate."""
    warmup: int = 40
    """Steps of linear warm-up."""
    decay: float = 0.5
    """Share of the steps over which the rate falls to 0 at the end."""
    weight_decay: float = 0.01
    """Of the matrices of the blocks."""
    ema_steps: float = 200
    """The average of the weights looks back over about this many steps."""
    seed: int = 0
    """Of the initial weights, the batches and the noise."""
    log_every: int = 20
    """Steps between lines of the record."""
    validate_every: int = 500
    """Steps between measurements."""
    checkpoint_minutes: float = 3.0
    """Time between checkpoints."""

    def __post_init__(self) -> None:
        for name in ("steps", "ema_steps", "log_every", "validate_every"):
            if getattr(self, name) < 1:
                raise RequestError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not (math.isfinite(self.rate) and self.rate > 0):
            raise RequestError(f"rate must be above 0, got {self.rate}")


def fit(
    module: nn.Module,
    folder: Path,
    config: RunConfig,
    loss: Callable[[int, torch.Generator], tuple[Tensor, Mapping[str, Tensor]]],
    *,
    save: Callable[[Mapping[str, Tensor]], None],
    validate: Callable[[int], Mapping[str, float]] | None = None,
    identity: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    until: Callable[[], bool] = lambda: False,
) -> None:
    """Train `module` in `folder`, going on from the checkpoint there if there is one.

    Args:
        module: what is trained, in the dtype that it computes in (masters are float32); holds the averaged weights at
            the end
        folder: gets `run.jsonl` and `checkpoints/`
        loss: (step, generator) -> scalar loss of that step's batch and its parts for the record; all randomness
            comes from the generator
        save: called with the averaged weights by name with every checkpoint
        validate: step -> numbers for the record, called with the averaged weights in the module
        identity: what a run must have in common with the one that it goes on from (sizes, data)
        until: asked after each step whether to stop and go on another time

    Raises:
        DataError: where another run has the folder, or one with another identity
        WorldtubeError: after five steps in a row without a finite gradient
    """
    with alone(folder):
        _fit(module, folder, config, loss, save, validate, dict(identity or {}), progress, until)


def _fit(
    module: nn.Module,
    folder: Path,
    config: RunConfig,
    loss: Callable[[int, torch.Generator], tuple[Tensor, Mapping[str, Tensor]]],
    save: Callable[[Mapping[str, Tensor]], None],
    validate: Callable[[int], Mapping[str, float]] | None,
    identity: dict[str, Any],
    progress: Progress | None,
    until: Callable[[], bool],
) -> None:
    optimizer = Optimizer(module, weight_decay=config.weight_decay, ema_steps=config.ema_steps)
    checkpoints = Checkpoints(folder)
    step, guard = 0, Guard()
    identity |= {"seed": config.seed}
    if (facts := checkpoints.facts()) is not None:
        if found := differences(facts["identity"], identity):
            raise DataError(f"{folder} holds another run: {found} (use another folder)")
        state = optimizer.state_dict()
        checkpoints.load(state)
        optimizer.load_state_dict(state)
        step, guard.bad = facts["step"], facts["bad"]
        logger.info("resuming at step %d", step)

    def checkpoint() -> None:
        save(optimizer.averaged())
        checkpoints.save(optimizer.state_dict(), step=step, bad=guard.bad, identity=identity)

    with ExitStack() as stack:
        stack.enter_context(checkpoints)
        record = stack.enter_context(record_from(folder / RECORD, asdict(config), step))
        stop = stack.enter_context(stoppable())
        saved, cpu = time.monotonic(), time.process_time()
        while step < config.steps and not (stop() or until()):
            generator = torch.Generator().manual_seed((config.seed << 32) + step)
            value, parts = loss(step, generator)
            value.backward()
            rate = learning_rate(
                step, peak=config.rate, warmup=config.warmup, steps=config.steps, decay=config.decay
            )
            norm = optimizer.step(rate)
            try:
                skipped = guard(step, norm, lambda: [f"batch {step}"])  # noqa: B023
            except WorldtubeError:
                checkpoint()
                raise
            step += 1
            if skipped:
                record.log(step=step, skipped=guard.bad)
                continue
            numbers = {"loss": float(value.detach()), "norm": norm, "rate": rate}
            numbers |= {name: float(part.detach()) for name, part in parts.items()}
            measured = step % config.validate_every == 0 or step == config.steps
            if measured and validate is not None:
                numbers |= _validate_averaged(module, optimizer, lambda: validate(step))  # noqa: B023
            if measured or step % config.log_every == 0:
                numbers["cpu_seconds"] = time.process_time() - cpu
                record.log(step=step, **numbers)
            if progress is not None:
                progress(step, config.steps, numbers)
            if time.monotonic() - saved > 60 * config.checkpoint_minutes:
                checkpoint()
                saved = time.monotonic()
        checkpoint()
    module.load_state_dict({**module.state_dict(), **optimizer.averaged()})


def _validate_averaged(
    module: nn.Module, optimizer: Optimizer, measure: Callable[[], Mapping[str, float]]
) -> Mapping[str, float]:
    """Measure with the averaged weights in the module; the trained ones are put back."""
    trained = {name: value.clone() for name, value in module.state_dict().items()}
    module.load_state_dict({**trained, **optimizer.averaged()})
    module.eval()
    try:
        return measure()
    finally:
        module.load_state_dict(trained)
        module.train()
