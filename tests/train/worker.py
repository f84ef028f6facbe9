"""One process of a run, for tests: what to do and its arguments, as JSON. Started by python, torchrun or by hand."""

import json
import os
import signal
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch.distributed.tensor import DTensor, distribute_tensor

from worldtube.data.batches import Batches
from worldtube.train.config import TrainConfig
from worldtube.train.loop import setup, train
from worldtube.train.parallel import joined, whole
from worldtube.train.recipes import RECIPES

NO_RAY = 77
"""Exit code where Ray itself cannot start, which is no fault of ours: in some containers it finds no address."""


def config_of(changes):
    config = replace(RECIPES["tiny"][1], sample_every=0, log_every=1, log_samples=True)
    return replace(config, **changes)


def die_once(out, die_at, step, numbers):
    """The last process (or the only one) does, at the first checkpoint from step `die_at` on."""
    died = Path(out) / "died"
    rank, world = (int(os.environ.get(name, d)) for name, d in (("RANK", 0), ("WORLD_SIZE", 1)))
    if die_at is not None and step >= die_at and rank == world - 1 and not died.exists():
        died.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def given(folder, out):
    folder, out = Path(folder), Path(out)
    return {"data": [folder / "data"], "codec": folder / "codec.safetensors", "out": out}


def run(folder, out, changes, die_at=None):
    """Train, and maybe die."""
    train(config_of(changes), **given(folder, out), kept=partial(die_once, out, die_at))


def poisoned(folder, out, changes):
    """Train, where one row of the second process is not finite in step 2."""
    honest = Batches.batch

    def batch(self, step, share):
        made = honest(self, step, share)
        if step == 2 and share[0] == 1:
            made.tokens[: made.layout.bounds[1]] = float("nan")
            Path(out, "bad").write_text(made.ids[0])
        return made

    Batches.batch = batch
    run(folder, out, changes)


def report_or_die(out, die_at, step, numbers):
    import ray.train

    die_once(out, die_at, step, numbers)
    ray.train.report({"step": step, **numbers})


def on_ray(folder, out, changes, workers, die_at=None):
    """Train in workers of Ray, of which one may die."""
    import ray
    from worker import report_or_die  # by the name that the workers know

    from worldtube.train.on_ray import launch

    honest = ray.init

    def init(**told):
        try:
            return honest(**told)
        except Exception as error:
            print(error, file=sys.stderr)
            sys.exit(NO_RAY)

    ray.init = init
    kept = partial(report_or_die, out, die_at)
    launch(config_of(changes), workers=workers, **given(folder, out), kept=kept)


def one_step(folder, out, changes):
    """The loss, the gradients and the weights after one step, of the processes together."""
    config: TrainConfig = config_of(changes)
    with joined(config.parallel, sequence=config.sequence) as ranks:
        made = setup(config, codec=Path(folder) / "codec.safetensors", start=None, ranks=ranks)
        transformer, optimizer = made.model.transformer, made.optimizer
        with torch.no_grad():  # what begins at zero would hide what comes before it
            for number, p in enumerate(optimizer.masters):
                generator = torch.Generator().manual_seed(number)
                value = 0.2 * torch.randn(p.shape, generator=generator)
                if isinstance(p, DTensor):
                    value = distribute_tensor(value, p.device_mesh, p.placements)
                p.add_(value)
            optimizer._spread()
        batch = made.batches(config, [Path(folder) / "data"]).batch(3, ranks.share)
        loss, numbers = made.objective(transformer, batch, step=3)
        loss.backward()
        gradients = [
            torch.zeros(p.shape) if p.grad is None else whole(p.grad.float().clone())
            for p in optimizer.working
        ]
        ranks.add_up(gradients)
        norm = optimizer.step(1e-2)
        after = [whole(m.detach()).clone() for m in optimizer.masters]
        if ranks.rank == 0:
            named = dict(zip(optimizer.names, zip(gradients, after, strict=True), strict=True))
            torch.save({"numbers": numbers, "norm": norm, "named": named}, out)


if __name__ == "__main__":
    torch.set_num_threads(1)
    what, arguments = sys.argv[1], json.loads(sys.argv[2])
    {"run": run, "one_step": one_step, "on_ray": on_ray, "poisoned": poisoned}[what](*arguments)
