"""A run on Ray: the same `train`, started in workers by Ray Train, which starts them again when one dies.

Owns the launch. The run's folder must be one that all workers see; its checkpoints are ours, so Ray is told
of progress and keeps nothing.
"""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from worldtube.device import find_device
from worldtube.errors import MissingExtra, WorldtubeError
from worldtube.train.config import TrainConfig

RESTARTS = 3


def launch(
    config: TrainConfig,
    *,
    workers: int,
    out: Path,
    threads: int | None = None,
    restarts: int = RESTARTS,
    **where: Any,
) -> Path:
    """Run `train` in this many workers of a Ray cluster, or of this machine; returns the model's file.

    threads: torch threads of each worker, one when None. where: as for `train`, but what a call tells (progress,
    until, kept). Raises MissingExtra, and WorldtubeError with the workers' own words when they failed once more than
    `restarts` allows.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")  # or a report blocks for 2 s
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
        from ray.train.torch import TorchConfig, TorchTrainer
        from ray.train.v2.api.config import FailureConfig, RunConfig, ScalingConfig
        from ray.train.v2.api.exceptions import TrainingFailedError
    except ImportError as error:
        raise MissingExtra("--on ray", "ray") from error

    if config.device == "auto":  # the same for all workers
        config = replace(config, device=find_device(config.device).type)
    begun = not ray.is_initialized()
    if begun:
        ray.init(
            num_cpus=None
            if "RAY_ADDRESS" in os.environ
            else max(workers * (threads or 1) + 1, os.cpu_count() or 1),
            object_store_memory=None if "RAY_ADDRESS" in os.environ else 200_000_000,
            include_dashboard=False,
            log_to_driver=False,
        )
    try:
        on_gpu = config.device == "cuda"
        trainer = TorchTrainer(
            work,
            train_loop_config={"config": config, "out": out.absolute(), "threads": threads}
            | absolute(where),
            torch_config=TorchConfig(backend="nccl" if on_gpu else "gloo"),
            scaling_config=ScalingConfig(
                num_workers=workers,
                use_gpu=on_gpu,
                resources_per_worker=None if on_gpu else {"CPU": threads or 1},
            ),
            run_config=RunConfig(
                name=out.name,
                storage_path=str(out.absolute().parent / f".{out.name}.ray"),
                failure_config=FailureConfig(max_failures=restarts),
            ),
        )
        trainer.fit()
    except TrainingFailedError as error:
        raise WorldtubeError(f"the run on Ray failed: {error}") from error
    finally:
        if begun:
            ray.shutdown()
    return out / "model.safetensors"


def absolute(where: Mapping[str, Any]) -> dict[str, Any]:
    """Workers have folders of their own."""

    def one(value: Any) -> Any:
        if isinstance(value, Path):
            return value.absolute()
        return [one(each) for each in value] if isinstance(value, list | tuple) else value

    return {name: one(value) for name, value in where.items()}


def work(given: dict[str, Any]) -> None:
    """What every worker does."""
    import ray.train
    import torch

    from worldtube.train.loop import train

    def kept(step: int, numbers: dict[str, float]) -> None:
        ray.train.report({"step": step, **numbers})

    threads = given.pop("threads")
    if threads:
        torch.set_num_threads(threads)
    given.setdefault("data", [])
    given.setdefault("kept", kept)
    train(**given)
