"""Words for the network: the frozen text encoder."""

from worldtube.text.encoder import FAMILIAR, TextEncoder

__all__ = ["FAMILIAR", "TextEncoder"]
