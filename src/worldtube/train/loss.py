"""The loss of the transformer: noise a batch, ask for the velocity, measure how far off it is.

Owns what is random in it, keyed by row, and the mean over all processes. Knows nothing of optimizers or of
where batches come from.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from worldtube.data.batches import Batch, draw
from worldtube.diffusion import noise as noising
from worldtube.train import patterns
from worldtube.train.config import TrainConfig
from worldtube.train.parallel import ALONE, Ranks
from worldtube.transformer import Transformer

BINS = (("low", 0.0, 0.35), ("middle", 0.35, 0.7), ("high", 0.7, 1.01))
"""Noise levels of which the loss is told apart: name, above, up to."""


def loss_of(
    transformer: Transformer,
    batch: Batch,
    *,
    config: TrainConfig,
    step: int,
    ranks: Ranks = ALONE,
) -> tuple[Tensor, dict[str, float]]:
    """Mean squared error of the velocity over unknown tokens, every row with the same weight per token.

    The noise of a row is keyed by (seed, step, row), so it depends neither on what ran before nor on who
    else works on the batch. The mean is over the tokens of all processes: the loss is this one's part of
    it, to be added up, and the numbers are those of all.
    """
    rngs = [draw(config.seed, 3, step, row) for row in batch.rows]
    sigma = patterns.levels(batch.layout, rngs, mean=config.level_mean, spread=config.level_spread)
    noise = patterns.noise(batch.layout, rngs, batch.tokens.shape[1])
    error, sigma, told = errors(transformer, batch, sigma, noise, ranks.device)
    parts = [sigma > 0, *((sigma > low) & (sigma <= high) for _, low, high in BINS)]
    parts.append(torch.ones_like(parts[0]))
    totals = ranks.total(torch.stack([part.sum() for part in parts]).double())
    loss = error[parts[0]].sum() / totals[0].clamp(min=1)
    sums = [(error.detach() * part).sum() for part in parts[:-1]]
    if told is not None and batch.truth is not None:
        truth = transformer.mine(batch.truth.to(told.device))
        known = truth.isfinite()
        each = F.binary_cross_entropy_with_logits(
            told.float(), truth.nan_to_num(), reduction="none"
        )
        off = (each * known).sum()
        loss = loss + config.truth_weight * off / totals[-1]
        sums.append(off.detach())
    means = ranks.total(torch.stack(sums).double()) / totals[: len(sums)]
    names = ["loss", *(f"loss_{name}_noise" for name, *_ in BINS), "loss_truth"]
    numbers = dict(zip(names, means.tolist(), strict=False))
    there = dict(zip(names, totals.tolist(), strict=True))
    numbers = {name: mean for name, mean in numbers.items() if there[name]}
    if not numbers.get("loss_truth", 1.0):  # nobody knows what these clips show
        del numbers["loss_truth"]
    return loss, numbers | {"tokens": float(totals[-1])}


def errors(
    transformer: Transformer, batch: Batch, sigma: Tensor, noise: Tensor, device: str
) -> tuple[Tensor, Tensor, Tensor | None]:
    """For levels sigma (N,) and noise (N, P): the squared error (n,) of the velocity and the level (n,) of this
    process's tokens, and what the network says of the truth."""
    x = noising.corrupt(batch.tokens, noise, sigma).to(device)
    target = transformer.mine(noising.velocity_target(batch.tokens, noise).to(device))
    sigma, layout = sigma.to(device), batch.layout.to(device)
    velocity, told = transformer(x, sigma, layout, transformer.read(batch.words.to(device)))
    return (velocity - target).square().mean(-1), transformer.mine(sigma), told
