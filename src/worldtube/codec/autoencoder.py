"""The causal video autoencoder: 4 frames x 8 x 8 pixels behind one latent of `channels` numbers.

Owns the network, its scale (latents leave with about unit variance) and its streaming. Does not
know how it is trained, what is in the clips, or what the latents are used for.

**Time.** The first frame is written four times, so frames come in groups of 4: T = 1 + 4 k frames
are 1 + k groups, group 0 holds frame 0 alone and group j the frames 4 j - 3 ... 4 j. All temporal
layers look at the present and the past group, norms see one position only, so latent j is a
function of frames 0 ... 4 j: an image is a one-frame clip, and a clip may be coded piece by piece
with a memory of one group per temporal layer.

**Start at the linear optimum.** Encoder and decoder are each a linear patch projection plus a
residual network whose last layer starts at zero. `fit_linear` sets the projections from the
principal components of 4 x 8 x 8 patches, so training starts where the best linear codec ends.

**A channel of fixed capacity.** While training, Gaussian noise of a fixed size is added to the
latents, and their mean variance is held near one. That is a Gaussian channel of fixed capacity: a
KL term whose posterior variance is fixed (Ghosh et al., "From Variational to Deterministic
Autoencoders", arXiv 1903.12436, argue noise injection plus a bound on the code for the learned
variance; Rombach et al., arXiv 2112.10752, use a tiny KL weight to the same end). Two things follow
that a diffusion model needs: a small error in a latent is a small error in the picture, and no
information hides in digits that diffusion cannot resolve.

**Half-whitened.** For a linear code through such a channel under a bound on the total variance, the
least square error is reached when component i with variance v_i is sent with variance proportional
to sqrt(v_i) (Lee and Petersen, "Optimal linear coding for vector channels", IEEE Trans. Commun.
1976), so principal components are scaled by v_i ** -0.25. Full whitening would spend as much of the
latent on dust as on the scene, none would drown edges in the noise. One common scale for all
channels after that keeps the order of size: coarse structure appears first as the noise level
falls.

**CPU.** 3-D convolutions of one clip leave oneDNN in float32, so the network is 2-D convolutions on
B * t pictures, with temporal taps folded into the channels, in channels-last layout: tensors are
(B, t, h, w, D) in memory throughout.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn

from worldtube.errors import DataError, RequestError

Memory = dict[nn.Module, torch.Tensor]
"""What a stream carries from one piece to the next: the last group seen by each temporal layer."""

FRAMES, PATCH, FINE = (
    4,
    8,
    4,
)  # frames and pixels behind a latent; pixels behind a position of the fine grid
PATCH_NUMBERS = FRAMES * PATCH * PATCH * 3


@dataclass(frozen=True, kw_only=True)
class CodecConfig:
    """The sizes of a `VideoCodec`."""

    channels: int = 24
    """Numbers in one latent."""
    encoder_widths: tuple[int, int] = (96, 192)
    """Width of the encoder on the fine grid (a position per 4 x 4 pixels) and on the latent grid (8
    x 8)."""
    encoder_blocks: tuple[int, int] = (2, 2)
    """Residual blocks of the encoder on the two grids."""
    decoder_widths: tuple[int, int] = (128, 256)
    """Width of the decoder on the fine and on the latent grid."""
    decoder_blocks: tuple[int, int] = (3, 4)
    """Residual blocks of the decoder on the two grids."""

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "CodecConfig":
        """From JSON values; raises DataError for a field that does not exist."""
        known = {field.name for field in fields(cls)}
        if strange := sorted(set(values) - known):
            raise DataError(
                f"codec configuration has unknown fields {strange} (accepted: {sorted(known)})"
            )
        frozen: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        return cls(**frozen)


def group_frames(pixels: torch.Tensor) -> torch.Tensor:
    """(B, 3, 1 + 4 k, H, W) -> (B, 3, 4 + 4 k, H, W): the first frame four times."""
    return torch.cat([pixels[:, :, :1].expand(-1, -1, FRAMES - 1, -1, -1), pixels], dim=2)


def patchify(pixels: torch.Tensor) -> torch.Tensor:
    """(B, 3, 4 t, H, W) -> (B, t, H / 4, W / 4, 192)."""
    return rearrange(pixels, "b c (t f) (h p) (w q) -> b t h w (f p q c)", f=FRAMES, p=FINE, q=FINE)


def unpatchify(patches: torch.Tensor) -> torch.Tensor:
    """(B, t, H / 4, W / 4, 192) -> (B, 3, 4 t, H, W)."""
    return rearrange(
        patches, "b t h w (f p q c) -> b c (t f) (h p) (w q)", f=FRAMES, p=FINE, q=FINE, c=3
    )


def fold(x: torch.Tensor) -> torch.Tensor:
    """(B, t, 2 h, 2 w, D) -> (B, t, h, w, 4 D)."""
    return rearrange(x, "b t (h p) (w q) d -> b t h w (p q d)", p=2, q=2)


def unfold(x: torch.Tensor) -> torch.Tensor:
    """(B, t, h, w, 4 D) -> (B, t, 2 h, 2 w, D)."""
    return rearrange(x, "b t h w (p q d) -> b t (h p) (w q) d", p=2, q=2)


def norm(x: torch.Tensor) -> torch.Tensor:
    """RMS norm over the channels of one position; its gain would be absorbed by the layer that
    follows."""
    return x * torch.rsqrt(x.float().square().mean(-1, keepdim=True) + 1e-6).to(x.dtype)


class Spatial(nn.Module):
    """A 2-D convolution of every group's picture; (B, t, h, w, D) -> (B, t, h, w, D').

    The weight is one matrix (D', size * size * D), which is what the optimizer wants and, seen as a
    kernel, is channels-last.
    """

    def __init__(self, width_in: int, width_out: int, size: int = 3):
        super().__init__()
        self.shape = (width_out, size, size, width_in)
        self.padding = size // 2
        fan_in = size * size * width_in
        self.weight = nn.Parameter(torch.randn(width_out, fan_in) * (3 * fan_in) ** -0.5)
        self.bias = nn.Parameter(torch.zeros(width_out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        flat = x.flatten(0, 1).permute(0, 3, 1, 2)  # (B t, D, h, w), channels last in memory
        kernel = self.weight.view(self.shape).permute(0, 3, 1, 2)  # (D', D, size, size)
        flat = F.conv2d(flat, kernel, self.bias, padding=self.padding)  # (B t, D', h, w)
        return flat.permute(0, 2, 3, 1).unflatten(0, x.shape[:2])


class Temporal(nn.Module):
    """A causal convolution over time with two taps: the past group and this one; zeros before the
    clip."""

    def __init__(self, width: int):
        super().__init__()
        self.mix = Spatial(2 * width, width, 1)

    def forward(self, x: torch.Tensor, memory: Memory | None) -> torch.Tensor:
        before = None if memory is None else memory.get(self)
        if before is None:
            before = torch.zeros_like(x[:, :1])
        past = torch.cat([before, x[:, :-1]], dim=1)  # (B, t, h, w, D)
        if memory is not None:
            memory[self] = x[:, -1:].clone()
        return self.mix(torch.cat([past, x], dim=-1))


class Block(nn.Module):
    """x + temporal(spatial(x)), each after a norm and a SiLU."""

    def __init__(self, width: int):
        super().__init__()
        self.spatial = Spatial(width, width)
        self.temporal = Temporal(width)
        nn.init.zeros_(self.temporal.mix.weight)

    def forward(self, x: torch.Tensor, memory: Memory | None) -> torch.Tensor:
        hidden = self.spatial(F.silu(norm(x)))  # (B, t, h, w, D)
        return x + self.temporal(F.silu(norm(hidden)), memory)


class Encoder(nn.Module):
    """Patches on the fine grid -> latents."""

    def __init__(self, config: CodecConfig):
        super().__init__()
        fine, coarse = config.encoder_widths
        self.linear = nn.Linear(PATCH_NUMBERS, config.channels)
        self.enter = Spatial(PATCH_NUMBERS // 4, fine, 1)
        self.fine_blocks = nn.ModuleList(Block(fine) for _ in range(config.encoder_blocks[0]))
        self.down = Spatial(4 * fine, coarse, 1)
        self.coarse_blocks = nn.ModuleList(Block(coarse) for _ in range(config.encoder_blocks[1]))
        self.leave = Spatial(coarse, config.channels, 1)
        nn.init.zeros_(self.leave.weight)

    def forward(self, pixels: torch.Tensor, memory: Memory | None) -> torch.Tensor:
        """(B, 3, 4 t, H, W) -> (B, C, t, h, w)."""
        patches = patchify(pixels)  # (B, t, 2 h, 2 w, 192)
        x = self.enter(patches)  # (B, t, 2 h, 2 w, fine)
        for block in self.fine_blocks:
            x = block(x, memory)
        x = self.down(fold(x))  # (B, t, h, w, coarse)
        for block in self.coarse_blocks:
            x = block(x, memory)
        latents = self.linear(fold(patches)) + self.leave(F.silu(norm(x)))  # (B, t, h, w, C)
        return latents.permute(0, 4, 1, 2, 3)


class Decoder(nn.Module):
    """Latents -> pixels of whole groups."""

    def __init__(self, config: CodecConfig):
        super().__init__()
        fine, coarse = config.decoder_widths
        self.linear = nn.Linear(config.channels, PATCH_NUMBERS)
        self.enter = Spatial(config.channels, coarse)
        self.coarse_blocks = nn.ModuleList(Block(coarse) for _ in range(config.decoder_blocks[1]))
        self.up = Spatial(coarse, 4 * fine, 1)
        self.fine_blocks = nn.ModuleList(Block(fine) for _ in range(config.decoder_blocks[0]))
        self.leave = Spatial(fine, PATCH_NUMBERS // 4)
        nn.init.zeros_(self.leave.weight)

    def forward(self, latents: torch.Tensor, memory: Memory | None) -> torch.Tensor:
        """(B, C, t, h, w) -> (B, 3, 4 t, 8 h, 8 w)."""
        z = latents.permute(0, 2, 3, 4, 1)  # (B, t, h, w, C)
        x = self.enter(z)  # (B, t, h, w, coarse)
        for block in self.coarse_blocks:
            x = block(x, memory)
        x = unfold(self.up(x))  # (B, t, 2 h, 2 w, fine)
        for block in self.fine_blocks:
            x = block(x, memory)
        patches = unfold(self.linear(z)) + self.leave(F.silu(norm(x)))  # (B, t, 2 h, 2 w, 192)
        return unpatchify(patches)


class VideoCodec(nn.Module):
    """See the top of the file. `encode` and `decode` are the codec; `compress` and `expand` are
    what training sees."""

    stride = (FRAMES, PATCH, PATCH)
    shift: torch.Tensor
    scale: torch.Tensor

    def __init__(self, config: CodecConfig | None = None):
        super().__init__()
        self.config = config or CodecConfig()
        self.channels = self.config.channels
        self.encoder = Encoder(self.config)
        self.decoder = Decoder(self.config)
        self.register_buffer("shift", torch.zeros(self.channels))
        self.register_buffer("scale", torch.ones(()))

    @property
    def device(self) -> torch.device:
        return self.shift.device

    def compress(self, pixels: torch.Tensor, memory: Memory | None = None) -> torch.Tensor:
        """Whole groups (B, 3, 4 t, H, W) -> latents (B, C, t, h, w), differentiable."""
        raw = self.encoder(pixels.to(self.encoder.enter.weight.dtype), memory)
        return (raw - self.shift[:, None, None, None]) / self.scale

    def expand(self, latents: torch.Tensor, memory: Memory | None = None) -> torch.Tensor:
        """Latents (B, C, t, h, w) -> whole groups (B, 3, 4 t, H, W), differentiable, not clamped.

        Encoder and decoder compute in the types of their own weights: `codec.decoder.bfloat16()`
        halves the time on a CPU and costs about 0.002 dB, while latents stay as they were.
        """
        raw = latents * self.scale + self.shift[:, None, None, None]
        return self.decoder(raw.to(self.decoder.enter.weight.dtype), memory)

    @torch.no_grad()
    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels (B, 3, 1 + 4 k, H, W) in [-1, 1] -> latents (B, C, 1 + k, H / 8, W / 8) of about
        unit variance.

        Raises RequestError where T is not 1 + 4 k or H, W are not multiples of 8.
        """
        return self.encoder_stream()(pixels)

    @torch.no_grad()
    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents (B, C, 1 + k, h, w) -> pixels (B, 3, 1 + 4 k, 8 h, 8 w) in [-1, 1]."""
        return self.decoder_stream()(latents)

    def encoder_stream(self) -> "EncoderStream":
        """An encoder that takes a clip in pieces."""
        return EncoderStream(self)

    def decoder_stream(self) -> "DecoderStream":
        """A decoder that takes latents in pieces."""
        return DecoderStream(self)

    @torch.no_grad()
    def fit_linear(self, patches: torch.Tensor) -> float:
        """Set the linear paths from patches (N, 768) of whole groups, as `fold(patchify(pixels))`
        orders them.

        Principal components, half-whitened (see above) to a mean variance of one. Returns the share
        of variance kept.
        """
        mean = patches.mean(0).double()
        centred = patches - mean.float()
        variances, vectors = torch.linalg.eigh((centred.T @ centred).double() / len(patches))
        kept = variances.flip(0)[: self.channels].clamp_min(1e-8)
        basis = vectors.flip(1)[:, : self.channels]  # (768, C)
        gain = kept**-0.25 / kept.sqrt().mean().sqrt()  # sent variance sqrt(v), mean one
        self.encoder.linear.weight.copy_((basis * gain).T)
        self.encoder.linear.bias.copy_(-(mean @ basis) * gain)
        self.decoder.linear.weight.copy_(basis / gain)
        self.decoder.linear.bias.copy_(mean)
        return float(kept.sum() / variances.sum())

    @torch.no_grad()
    def set_scale(self, latents: torch.Tensor) -> None:
        """Make `latents` (N, C), as `compress` gives them now, have mean zero and, over all
        channels, variance one."""
        shift = latents.double().mean(0)
        scale = (latents.double() - shift).square().mean().sqrt()
        self.shift += (shift * self.scale).to(self.shift)
        self.scale *= scale.to(self.scale)


def deepen(codec: VideoCodec, decoder_blocks: tuple[int, int]) -> VideoCodec:
    """The same codec with more decoder blocks; a new block begins as the identity, so nothing that
    it makes changes.

    Raises RequestError where there would be fewer blocks than before.
    """
    before = codec.config.decoder_blocks
    if any(new < old for new, old in zip(decoder_blocks, before, strict=True)):
        raise RequestError(
            f"decoder_blocks {decoder_blocks} are fewer (accepted: at least {before})"
        )
    deeper = VideoCodec(replace(codec.config, decoder_blocks=decoder_blocks))
    deeper.to(codec.shift.dtype)
    deeper.load_state_dict({**deeper.state_dict(), **codec.state_dict()})
    return deeper


class EncoderStream:
    """Frames in, latents out, piece by piece: the first piece has 1 + 4 m frames, the others 4 m.
    Constant memory."""

    def __init__(self, codec: VideoCodec):
        self.codec = codec
        self.memory: Memory = {}
        self.started = False

    @torch.no_grad()
    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """(B, 3, T, H, W) in [-1, 1] -> (B, C, t, H / 8, W / 8)."""
        if pixels.ndim != 5 or pixels.shape[1] != 3:
            raise RequestError(
                f"pixels have shape {tuple(pixels.shape)} (accepted: (B, 3, T, H, W))"
            )
        frames, height, width = pixels.shape[2:]
        if height % PATCH or width % PATCH or not height or not width:
            raise RequestError(
                f"a clip of {width}x{height} cannot be coded (accepted: multiples of {PATCH})"
            )
        if not self.started:
            if frames % FRAMES != 1:
                raise RequestError(
                    f"a clip of {frames} frames cannot be coded (accepted: 1, 5, 9, ... 1 + 4 k)"
                )
            pixels = group_frames(pixels)
        elif frames % FRAMES or not frames:
            raise RequestError(
                f"a later piece of {frames} frames cannot be coded (accepted: multiples of {FRAMES})"
            )
        self.started = True
        return self.codec.compress(pixels, self.memory).float()


class DecoderStream:
    """Latents in, frames out, piece by piece: the first latent gives one frame, the others four.
    Constant memory."""

    def __init__(self, codec: VideoCodec):
        self.codec = codec
        self.memory: Memory = {}
        self.started = False

    @torch.no_grad()
    def __call__(self, latents: torch.Tensor) -> torch.Tensor:
        """(B, C, t, h, w) -> (B, 3, T, 8 h, 8 w) in [-1, 1]."""
        if latents.ndim != 5 or latents.shape[1] != self.codec.channels or not latents.shape[2]:
            raise RequestError(
                f"latents have shape {tuple(latents.shape)} (accepted: (B, {self.codec.channels}, t, h, w), t >= 1)"
            )
        pixels = self.codec.expand(latents, self.memory).float().clamp_(-1, 1)
        if not self.started:
            pixels = pixels[:, :, FRAMES - 1 :]
        self.started = True
        return pixels
