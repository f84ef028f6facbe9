"""The student: a network that does in a few steps what its teacher does in many, guidance included.

Owns its loss: progressive distillation in one go (Salimans & Ho 2022, with guidance as in Meng et al. 2023).
Each of the student's few steps must land where several guided steps of the teacher land, from noised
clips and, half of the time, from where the student itself got to, so that it learns to mend its own
errors (Agarwal et al. 2023). Knows nothing of the loop around it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from worldtube.data.batches import Batch, draw
from worldtube.diffusion import noise as noising
from worldtube.diffusion import schedule
from worldtube.diffusion.guidance import classifier_free
from worldtube.diffusion.samplers import SAMPLERS
from worldtube.tokens import Words
from worldtube.train import patterns
from worldtube.train.parallel import Ranks
from worldtube.transformer import Transformer


@dataclass(frozen=True, kw_only=True)
class StudentConfig:
    """What the student is to do."""

    steps: int = 4
    """Steps of the student, from noise to data, without guidance."""
    substeps: int = 4
    """Steps of the teacher in each of them."""
    guidance: float = 4.0
    """Of the teacher."""
    shift: float = 3.0
    """Of both their levels."""
    own: float = 0.5
    """Share of the batches that start from where the student got to, in place of a noised clip."""


class Distillation:
    """The loss of a student of `teacher`; called as the loop's own loss is."""

    def __init__(self, teacher: Transformer, no_words: Tensor, config: StudentConfig, ranks: Ranks):
        self.teacher = teacher.to(ranks.device).eval().requires_grad_(False)
        self.no_words, self.config, self.ranks = no_words, config, ranks
        steps, shift = config.steps, config.shift
        self.path = schedule.uniform(steps, shift=shift)
        self.fine = schedule.uniform(steps * config.substeps, shift=shift)

    def __call__(
        self, student: Transformer, batch: Batch, *, seed: int, step: int
    ) -> tuple[Tensor, dict[str, float]]:
        """Mean squared error, per unit of noise level, of where the student's step ends; as `loss_of` shares it."""
        rng = draw(seed, 4, step)
        rngs = [draw(seed, 5, step, row) for row in batch.rows]
        made = patterns.levels(batch.layout, rngs, mean=0, spread=1) > 0
        start = made.float()
        k, own = int(rng.integers(self.config.steps)), rng.random() < self.config.own
        noise = patterns.noise(batch.layout, rngs, batch.tokens.shape[1])
        device = self.ranks.device
        layout = batch.layout.to(device)
        words = batch.words.to(device)
        with torch.no_grad():
            level = start if own else start * self.path[k]
            x = noising.corrupt(batch.tokens, noise, level).to(device)
            start = start.to(device)
            if own and k:
                reading = student.read(words)
                levels = schedule.from_start(self.path[: k + 1].to(device), start)
                x = _walk(lambda x, sigma: student(x, sigma, layout, reading)[0], x, levels)
            told = self.teacher.read(words)
            empty = Words.of([self.no_words] * (len(layout.spans) - 1)).to(device)
            untold = self.teacher.read(empty)

            def teach(x: Tensor, sigma: Tensor) -> Tensor:
                return self.teacher(x, sigma, layout, told)[0]

            def both(x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
                return teach(x, sigma), self.teacher(x, sigma, layout, untold)[0]

            guided = classifier_free(teach, both, self.config.guidance)
            each = self.config.substeps
            fine = self.fine[k * each : (k + 1) * each + 1].to(device)
            end = _walk(guided, x, schedule.from_start(fine, start))
            target = (x - end) / (self.path[k] - self.path[k + 1])
        velocity, _ = student(x, start * self.path[k], layout, student.read(words))
        made = made.to(device)
        error = (velocity - target).square().mean(-1)[made].sum()
        totals = self.ranks.total(
            torch.stack([made.sum(), torch.tensor(len(made), device=device)]).double()
        )
        loss = error / totals[0]
        told = float(self.ranks.total(loss.detach()))
        return loss, {"loss": told, f"loss_step_{k}": told, "tokens": float(totals[1])}


def _walk(velocity, x: Tensor, levels: Tensor) -> Tensor:
    return SAMPLERS["euler"](velocity, x, levels, torch.randn_like)
