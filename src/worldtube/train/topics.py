"""Training of the layer that tells which world a prompt speaks of, on captions of invented facts; in a minute."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from worldtube.errors import RequestError
from worldtube.models.parts import save_part
from worldtube.text.encoder import TextEncoder
from worldtube.text.topics import TOPICS, Topics, TopicsConfig
from worldtube.train.steps import Progress
from worldtube.worlds.language import caption, invent, write_freely

WEIGHTS = "topics.safetensors"
WATER = ("poured", "spilled")
"""Events that no state of rigid bodies shows; a cup that is hit or missed is a body like others."""
LENGTHS = ("short", "medium", "long")


@dataclass(frozen=True, kw_only=True)
class TopicsTrainConfig:
    """Everything that decides the numbers of a run."""

    captions: int = 3000
    """Of each topic."""
    steps: int = 400
    """Over all captions at once."""
    rate: float = 0.05
    """Of Adam, falling to 0 along a cosine."""
    decay: float = 1e-4
    """Weight of the squared weights in the loss."""
    caution: float = 4.0
    """What it costs to leave the way of states wrongly, against 1 for going it wrongly."""
    seed: int = 0
    """Of the captions."""

    def __post_init__(self) -> None:
        for name in ("captions", "steps"):
            if getattr(self, name) < 1:
                raise RequestError(f"{name} must be at least 1, got {getattr(self, name)}")


def write_captions(count: int, seed: int) -> tuple[list[str], Tensor]:
    """`count` captions of each topic, half of them in the free style, and their topics int64 (N,)."""
    rng = np.random.default_rng((0x746F7069, seed))
    texts, topics = [], []
    while min(np.bincount(topics, minlength=len(TOPICS))) < count:
        facts = invent(rng)
        topic = int(any(event["kind"] in WATER for event in facts["events"]))
        if topics.count(topic) == count:
            continue
        free = rng.random() < 0.5
        texts.append(
            write_freely(facts, rng) if free else caption(facts, LENGTHS[rng.integers(3)], rng)
        )
        topics.append(topic)
    return texts, torch.tensor(topics)


def train_topics(
    config: TopicsTrainConfig, folder: Path, *, progress: Progress | None = None
) -> Topics:
    """Train, and leave `topics.safetensors` in `folder`. It takes a minute: a run that was stopped begins anew."""
    torch.manual_seed(config.seed)
    texts, topics = write_captions(config.captions, config.seed)
    sentences = TextEncoder().sentence(texts)
    model, weight = Topics(TopicsConfig()), torch.tensor([config.caution, 1.0])
    optimizer = torch.optim.Adam(model.parameters(), lr=config.rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps)
    for step in range(1, config.steps + 1):
        loss = F.cross_entropy(model(sentences), topics, weight=weight)
        loss = loss + config.decay * model.linear.weight.square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if progress is not None:
            progress(step, config.steps, {"loss": float(loss.detach())})
    folder.mkdir(parents=True, exist_ok=True)
    save_part("topics", model.config, model.state_dict(), folder / WEIGHTS)
    return model.eval()


@torch.no_grad()
def measure(model: Topics, *, count: int = 300, seed: int = 1) -> float:
    """Share of unseen captions whose topic is told right."""
    texts, topics = write_captions(count, seed)
    return float((model(TextEncoder().sentence(texts)).argmax(1) == topics).float().mean())
