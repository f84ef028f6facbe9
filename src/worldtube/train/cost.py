"""What a training run will cost, told before it is run: seconds per step and in all, and peak memory.

A few rows are trained on for a step or two; time and what is kept for the gradients grow with tokens, the
optimizer's part with the weights alone. Owns that sum; how requests are foretold is `generate.cost`'s.
"""

import copy
import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from worldtube import models
from worldtube.data.batches import Batch, Batches
from worldtube.errors import RequestError
from worldtube.generate import budget
from worldtube.generate import cost as request_cost
from worldtube.generate.cost import Seconds, clocks, median, timed
from worldtube.models.local import Card, LocalModel
from worldtube.text.encoder import TextEncoder
from worldtube.tokens import Words, layout, pack
from worldtube.train.loop import TrainConfig, loss_of, sample_requests
from worldtube.train.optimizer import Optimizer
from worldtube.train.student import Distillation
from worldtube.transformer import Transformer
from worldtube.video import Size

SECONDS, NUM_WORDS = 2.0, 16
"""Of a clip, where no data are named."""
SOME_TOKENS = 1024
"""Rows of about so many tokens together are trained on."""
BATCHES = 6
"""So many batches tell how many tokens there are in one, and so many steps are taken."""


@dataclass(frozen=True, kw_only=True)
class TrainCost:
    """What a run takes."""

    weights: int
    """Trained numbers."""
    steps: int
    tokens: float
    """In a batch, on average."""
    step: Seconds
    sheets: Seconds
    """All sheets of samples."""
    peak_bytes: float
    """Most memory that the process holds at once."""

    @property
    def seconds(self) -> Seconds:
        return self.step * self.steps + self.sheets


def predict(
    config: TrainConfig, *, codec: Path, data: list[Path] | None = None, start: Path | None = None
) -> TrainCost:
    """What a run will take on this machine as it is now; itself it takes a few small steps.

    codec, data and start: as for `train`; without data, rows are clips of two seconds. Raises RequestError for a
    device that is not there.
    """
    if config.device.startswith("cuda") and not torch.cuda.is_available():
        raise RequestError(
            f"device {config.device!r} is not on this machine, so no step can be timed here (accepted: "
            "--device cpu, or this command where the run will be)"
        )
    network, version = models.load_codec(codec)
    card = Card(width=config.size, height=config.size)
    sizes = replace(config.model, token_width=network.channels * card.patch**2)
    torch.manual_seed(config.seed)
    transformer = Transformer(sizes)
    if start is not None:
        transformer.load_state_dict(models.load(start).transformer.state_dict())
    transformer.to(config.device, getattr(torch, config.dtype)).train()
    model = LocalModel(card, network, transformer)
    no_words = TextEncoder().encode([""])[0]
    source: Callable[[int], Callable[[int], Batch]] = partial(_stand_in, model, config)
    if data:

        def source(rows: int) -> Callable[[int], Batch]:
            return Batches(
                data,
                weights=config.weights or None,
                rows=rows,
                patch=card.patch,
                seed=config.seed,
                no_words=no_words,
                tokens_of=model.tokens,
                version=version,
                truth=config.model.truth_width > 0,
                mix=config.mix,
            ).batch

    objective = partial(loss_of, config=config)
    if config.student is not None:
        teacher = copy.deepcopy(transformer)
        objective = partial(
            Distillation(teacher, no_words, config.student, config.device), seed=config.seed
        )
    optimizer = Optimizer(
        transformer, muon=config.muon, weight_decay=config.weight_decay, ema_steps=config.ema_steps
    )
    whole = source(config.rows)
    loading = timed(partial(whole, 0), repeats=1)
    tokens = statistics.mean(whole(step).layout.bounds[-1] for step in range(BATCHES))
    rows = max(1, min(config.rows, round(SOME_TOKENS * config.rows / tokens)))
    some = source(rows)
    taken, updates, kept, seen = [], [], 0.0, 0
    for step in range(1 + BATCHES):
        batch = some(step)
        began = clocks()
        with torch.autograd.graph.saved_tensors_hooks(counter := _Counter(), _same):
            loss, _ = objective(transformer, batch, step=step)
        loss.backward()
        middle = clocks()
        optimizer.step(0.0)
        if step == 0:  # kernels are chosen, memory is asked for
            continue
        taken.append(middle - began)
        updates.append(clocks() - middle)
        kept += counter.bytes
        seen += batch.layout.bounds[-1]
    passes = sum(taken, Seconds()) * (tokens / seen)
    now, most = budget.resident()
    more = kept / seen * (tokens - seen / len(taken))
    sheets = Seconds()
    if config.sample_every and config.steps >= config.sample_every:
        requests = sample_requests(config)
        transformer.eval()
        each = request_cost.predict(model, requests[0]).seconds
        sheets = each * (len(requests) * (config.steps // config.sample_every))
    return TrainCost(
        weights=sum(p.numel() for p in transformer.parameters()),
        steps=config.steps,
        tokens=tokens,
        step=passes + median(updates) + loading.again,
        sheets=sheets,
        peak_bytes=max(most, now + budget.HEAP + max(0.0, more)),
    )


def _same(tensor: Tensor) -> Tensor:
    return tensor


class _Counter:
    """Counts the memory that autograd keeps, each piece once, without the weights themselves."""

    def __init__(self):
        self.places: dict[int, int] = {}

    def __call__(self, tensor: Tensor) -> Tensor:
        if not isinstance(tensor, torch.nn.Parameter):
            storage = tensor.untyped_storage()
            self.places[storage.data_ptr()] = storage.nbytes()
        return tensor

    @property
    def bytes(self) -> int:
        return sum(self.places.values())


def _stand_in(model: LocalModel, config: TrainConfig, rows: int) -> Callable[[int], Batch]:
    """Batches of noise in the shape of clips; images as often as there will be."""
    stride, generator = model.stride[0], torch.Generator().manual_seed(0)
    frames = 1 + stride * round((SECONDS * model.fps - 1) / stride)

    def batch(step: int) -> Batch:
        images = round(config.mix.images * rows)
        counts = [frames] * (rows - images) + [1] * images
        grids = [model.grid(Size(config.size, config.size), n, model.fps) for n in counts]
        row = pack([layout(grid, model.card.patch) for grid in grids])
        states = [torch.randn(NUM_WORDS, config.model.text_width, generator=generator)] * rows
        truth = None
        if config.model.truth_width:
            truth = torch.rand(row.bounds[-1], config.model.truth_width, generator=generator)
        return Batch(
            tokens=torch.randn(row.bounds[-1], model.token_width, generator=generator),
            layout=row,
            words=Words.of(states),
            ids=(),
            truth=truth,
        )

    return batch
