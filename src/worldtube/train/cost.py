"""What a training run will cost, told before it is run: time of a step by its parts, and peak memory.

Some steps of a few rows are timed. A row's share is the same in a whole batch, and so is what is kept for the
gradients; the optimizer's depends on the weights alone. Sheets of samples and checkpoints are left out.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from worldtube.data.batches import Batch, ready
from worldtube.data.catalog import Catalog
from worldtube.device import find_device
from worldtube.errors import RequestError
from worldtube.generate.budget import HEAP
from worldtube.generate.cost import Seconds, clocks, resident
from worldtube.tokens import Words, pack
from worldtube.train.config import TrainConfig
from worldtube.train.loop import Setup, setup
from worldtube.video import Size, nearest_num_frames

SECONDS, NUM_WORDS = 2.0, 16
"""Of a clip, where no data are named."""
ROWS, STEPS = 8, 8
"""What is timed, after a first step that is not."""


@dataclass(frozen=True, kw_only=True)
class TrainCost:
    """What a run takes."""

    weights: int
    """Trained numbers."""
    tokens: float
    """In a batch, on average."""
    prepare: Seconds
    """Before the first step."""
    step: dict[str, Seconds]
    """Where the time of a step goes."""
    memory: dict[str, float]
    """Where the bytes beyond the loaded model go."""
    peak: float
    """Most bytes that the process holds at once, all libraries included."""


def predict(
    config: TrainConfig, *, codec: Path, data: list[Path] | None = None, start: Path | None = None
) -> TrainCost:
    """What a run will take on this machine as it is now, at the price of a few small steps.

    codec, data and start: as for `train`; without data, rows are clips of two seconds. Raises RequestError for a
    device whose memory and time are not told here.
    """
    if (device := find_device(config.device)).type != "cpu":
        raise RequestError(
            f"a run on device {str(device)!r} cannot be planned (accepted: --device cpu)"
        )
    few = replace(config, rows=min(config.rows, ROWS))
    began = clocks()
    made = setup(few, codec=codec, start=start)
    loaded, _ = resident()
    batches = None
    if data:
        ids = ready([Catalog(folder) for folder in data], config.view)
        batches = made.batches(few, data, ids)
    batch_of = _stand_in(made, few) if batches is None else batches.batch
    prepare = clocks() - began
    parts: dict[str, list[Seconds]] = {"rows": [], "network": [], "optimizer": []}
    tokens, bytes_kept = [], []
    for step in range(1 + STEPS):
        marks = [clocks()]
        batch = batch_of(step)
        marks.append(clocks())
        counter = _Kept(made.model.transformer)
        with torch.autograd.graph.saved_tensors_hooks(counter, lambda tensor: tensor):
            loss, _ = made.objective(made.model.transformer, batch, step=step)
        loss.backward()
        marks.append(clocks())
        made.optimizer.step(0.0)
        marks.append(clocks())
        bytes_kept.append(sum(counter.bytes.values()))
        if step == 0:  # kernels are chosen there
            continue
        tokens.append(batch.layout.bounds[-1])
        for part, seconds in zip(parts.values(), np.diff(marks, axis=0), strict=True):
            part.append(seconds)
    times, kept = config.rows / few.rows, float(np.mean(bytes_kept))
    step = {name: np.mean(each, axis=0) for name, each in parts.items()}
    step |= {name: times * step[name] for name in ("rows", "network")}
    _, most = resident()
    held = 0.0 if batches is None else batches.held
    clips = 0.0 if batches is None else batches.held_at_last(config.steps * config.rows)
    return TrainCost(
        weights=sum(p.numel() for p in made.model.transformer.parameters()),
        tokens=times * float(np.mean(tokens)),
        prepare=prepare,
        step=step,
        memory={
            "gradients": times * kept,
            "optimizer": max(0.0, most - loaded - kept - held),
            "clips": clips,
        },
        peak=most + (times - 1) * kept + clips - held + HEAP,
    )


class _Kept:
    """Counts what autograd keeps, each piece of memory once, without the network's own weights."""

    def __init__(self, network: torch.nn.Module):
        self.weights = {p.untyped_storage().data_ptr() for p in network.parameters()}
        self.bytes: dict[int, int] = {}
        """address -> bytes"""

    def __call__(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self.weights:
            self.bytes[storage.data_ptr()] = storage.nbytes()
        return tensor


def _stand_in(made: Setup, config: TrainConfig) -> Callable[[int], Batch]:
    """Batches of noise in the shape of clips; images as often as there will be."""
    model, rows = made.model, config.rows
    generator = torch.Generator().manual_seed(0)
    frames = nearest_num_frames(SECONDS, model.fps, model.stride[0])
    size, images = Size(config.size, config.size), round(config.mix.images * rows)
    counts = [frames] * (rows - images) + [1] * images
    row = pack([model.layout(model.grid(size, count, model.fps)) for count in counts])
    sizes = model.transformer.config
    states = torch.randn(NUM_WORDS, sizes.text_width, generator=generator)
    truth = torch.zeros(row.bounds[-1], sizes.truth_width)

    def batch(step: int) -> Batch:
        return Batch(
            tokens=torch.randn(row.bounds[-1], model.token_width, generator=generator),
            layout=row,
            words=Words.of([states] * rows),
            ids=(),
            rows=tuple(range(rows)),
            truth=truth if sizes.truth_width else None,
        )

    return batch
