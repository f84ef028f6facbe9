"""The loss on clips that are not trained on, with the same levels and noise each time, so that runs compare.

Owns which draws those are: levels spread evenly over 0 to 1, keyed by the row. Knows nothing of the loop.
"""

import torch

from worldtube.data.batches import GOLDEN, Batches, draw
from worldtube.train import patterns
from worldtube.train.loss import errors
from worldtube.train.parallel import Ranks
from worldtube.transformer import Transformer
from worldtube.worlds.world import VALIDATION_SEEDS

NUM_BATCHES, NUM_BINS = 4, 10


class Validation:
    """Measures a network on the first batches, which are always the same."""

    def __init__(self, batches: Batches, ranks: Ranks):
        self.batches, self.ranks = batches, ranks

    @torch.no_grad()
    def __call__(self, transformer: Transformer) -> dict[str, float]:
        """`validation_loss`, over all tokens, and `validation_loss_0.1` and so on for levels up to there.

        transformer: all of it, in every process; each measures some rows.
        """
        sums = torch.zeros(2, NUM_BINS, dtype=torch.double, device=self.ranks.device)
        for k in range(NUM_BATCHES):
            batch = self.batches.batch(k, self.ranks.share)
            rows = [k * self.batches.rows + row for row in batch.rows]
            levels = torch.tensor([max(1e-3, (row + 0.5) * GOLDEN % 1.0) for row in rows])
            sigma = levels.repeat_interleave(torch.tensor(batch.layout.lengths))
            rngs = [draw(VALIDATION_SEEDS.start, row) for row in rows]
            noise = patterns.noise(batch.layout, rngs, batch.tokens.shape[1])
            error, sigma, _ = errors(transformer, batch, sigma, noise, self.ranks.device)
            which = (sigma * NUM_BINS).long().clamp(max=NUM_BINS - 1)
            sums[0].index_add_(0, which, error.double())
            sums[1].index_add_(0, which, torch.ones_like(error).double())
        error, count = self.ranks.total(sums).tolist()
        told = {"validation_loss": sum(error) / sum(count)}
        for k, (one, number) in enumerate(zip(error, count, strict=True), 1):
            if number:
                told[f"validation_loss_{k / NUM_BINS:.1f}"] = one / number
        return told
