"""The video compression networks: what a codec is, and the dict of those we have.

Owns the protocol and `CODECS`. Knows nothing of training data, files or noise levels.
"""

from typing import Protocol, runtime_checkable

import torch

from worldtube.codec.autoencoder import CodecConfig, DecoderStream, EncoderStream, VideoCodec

__all__ = ["CODECS", "Codec", "CodecConfig", "DecoderStream", "EncoderStream", "VideoCodec"]


@runtime_checkable
class Codec(Protocol):
    """Pixels to latents and back, causally: latent j depends on frames up to `stride[0] * j` only."""

    stride: tuple[int, int, int]
    """Frames, rows and columns of pixels behind one latent (the first latent holds one frame)."""
    channels: int
    """Numbers in one latent."""

    @property
    def device(self) -> torch.device:
        """Where it computes, and pixels and latents are to be."""
        ...

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """(B, 3, T, H, W) in [-1, 1], T = 1 + 4 k -> (B, C, 1 + k, H / 8, W / 8), about unit
        variance."""
        ...

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """(B, C, 1 + k, h, w) -> (B, 3, 1 + 4 k, 8 h, 8 w) in [-1, 1]."""
        ...

    def encoder_stream(self) -> EncoderStream:
        """An encoder that takes a clip in pieces."""
        ...

    def decoder_stream(self) -> DecoderStream:
        """A decoder that takes latents in pieces."""
        ...


CODECS: dict[str, type[VideoCodec]] = {"causal": VideoCodec}
