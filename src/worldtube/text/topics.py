"""Which world a prompt speaks of, told from its sentence embedding by one linear layer."""

from dataclasses import dataclass

from torch import Tensor, nn

from worldtube.text.encoder import EMBEDDING

TOPICS = ("tabletop", "pour")
"""Worlds, in the order of every saved layer."""


@dataclass(frozen=True, kw_only=True)
class TopicsConfig:
    """Sizes of the layer."""

    width: int = EMBEDDING
    """Of a sentence embedding."""


class Topics(nn.Module):
    """Logits (B, topics) of sentence embeddings (B, width)."""

    def __init__(self, config: TopicsConfig | None = None):
        super().__init__()
        self.config = config or TopicsConfig()
        self.linear = nn.Linear(self.config.width, len(TOPICS))

    def forward(self, sentences: Tensor) -> Tensor:
        return self.linear(sentences)

    def name(self, sentence: Tensor) -> str:
        """The topic of one sentence embedding (width,)."""
        return TOPICS[int(self(sentence[None])[0].argmax())]
