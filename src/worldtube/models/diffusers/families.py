"""Families of open-weight video models: for each, how its codec, its words and its network are asked.

Owns every number and convention that differs between them. A new family is a class here and its entry
in FAMILIES. Knows nothing of tokens or requests; levels and velocities are ours (`diffusion.noise`).
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from worldtube.diffusion import noise as noising
from worldtube.errors import DataError, RequestError
from worldtube.video import Size

STEPS = 1000
"""All these networks count noise levels 0 to 1 as times 0 to 1000."""
Stream = Callable[[Tensor], Iterator[Tensor]]
"""Latents (1, C, t, h, w) of a clip's next latent frames -> pixels (1, 3, T, H, W) of those that can be decoded now."""


@dataclass(frozen=True)
class Reading:
    """Words as the networks read them."""

    states: Tensor
    """(B, S, E), zeros behind a prompt's own."""
    mask: Tensor
    """(B, S) 1 where a prompt has a state."""

    @classmethod
    def of(cls, states: Sequence[Tensor]) -> "Reading":
        padded = torch.nn.utils.rnn.pad_sequence(list(states), batch_first=True)
        mask = [torch.ones(len(one), device=padded.device, dtype=torch.long) for one in states]
        return cls(padded, torch.nn.utils.rnn.pad_sequence(mask, batch_first=True))

    def of_rows(self, rows: list[int]) -> "Reading":
        return Reading(self.states[rows], self.mask[rows])


class Family(Protocol):
    """How one family is asked; made from a loaded pipeline."""

    codec: torch.nn.Module
    transformer: torch.nn.Module
    dtype: torch.dtype
    """Of most of the network's weights; some may stay in float32."""
    channels: int
    """Of a latent."""
    stride: tuple[int, int]
    """Pixel frames per latent frame after the first, pixels per latent."""
    patch: int
    """Latents per token side."""
    whole: int
    """Frames after the first come in multiples of this."""
    together: int
    """Latent frames that the codec decodes at once at least."""
    width: int
    """Of the network."""
    fine_width: int
    """Of the codec where it is finest."""
    fps: float
    size: Size
    frames: int
    """Most frames that the weights know."""
    abilities: frozenset[str]
    defaults: Mapping[str, Any]
    pipe: Any
    max_tokens: int
    """Tokens of a prompt that are read, the end mark among them."""

    def encode(self, pixels: Tensor) -> Tensor:
        """(1, 3, T, H, W) in [-1, 1] -> (1, C, t, h, w) of about unit variance."""
        ...

    def decoder(self, frames: int) -> Stream:
        """For a clip of so many latent frames."""
        ...

    def states(self, prompt: str) -> Tensor:
        """(S, E)"""
        ...

    def velocity(self, latents: Tensor, levels: Tensor, reading: Reading, fps: float) -> Tensor:
        """(B, C, t, h, w) at levels (B, n), one for each token -> as large."""
        ...


def _one_level(levels: Tensor, name: str) -> Tensor:
    """(B, n) -> (B,). Raises RequestError where a clip has several."""
    if bool((levels != levels[:, :1]).any()):
        raise RequestError(f"{name} takes one noise level for a whole clip, not one for each token")
    return levels[:, 0]


def _times(levels: Tensor) -> Tensor:
    """(B, n) levels -> times, (B, 1) where each clip has one: a time for each token takes memory in every block."""
    same = bool((levels == levels[:, :1]).all())
    return STEPS * (levels[:, :1] if same else levels)


def _fits(name: str, pipe: Any, channels: int) -> None:
    """Raises DataError for networks that read more than noisy latents."""
    if pipe.transformer.config.in_channels != channels:
        raise DataError(
            f"these {name} weights read {pipe.transformer.config.in_channels} channels (accepted: the {channels} of"
            " their codec; weights that take a picture in further channels are not)"
        )


def _per_channel(values: Any, like: Tensor) -> Tensor:
    return torch.as_tensor(values).view(1, -1, 1, 1, 1).to(like)


class Wan:
    """Wan 2.1 and 2.2 (flow matching). TI2V-5B has a time for each token; A14B has a network for high noise and one
    for low."""

    max_tokens = 512
    together = 1

    def __init__(self, pipe: Any):
        self.pipe, self.codec, self.transformer = pipe, pipe.vae, pipe.transformer
        self.dtype = pipe.transformer.dtype
        codec, network = pipe.vae.config, pipe.transformer.config
        _fits("Wan", pipe, codec.z_dim)
        self.channels, self.patch = codec.z_dim, network.patch_size[1]
        self.stride = (codec.scale_factor_temporal, codec.scale_factor_spatial)
        self.whole = self.stride[0]
        self.width = network.num_attention_heads * network.attention_head_dim
        self.fine_width = codec.base_dim
        self.each = bool(pipe.config.get("expand_timesteps"))
        self.fps, self.size, self.frames = (
            (24.0, Size(1280, 704), 121) if self.each else (16.0, Size(832, 480), 81)
        )
        self.abilities = frozenset({"known frames"} if self.each else ())
        schedule = pipe.scheduler.config
        shift = schedule.get("flow_shift") or schedule.get("shift") or 3.0
        self.defaults: Mapping[str, Any] = {"guidance": 5.0, "shift": float(shift)}

    def encode(self, pixels: Tensor) -> Tensor:
        latents = self.codec.encode(pixels).latent_dist.mode()
        mean, std = self.codec.config.latents_mean, self.codec.config.latents_std
        return (latents - _per_channel(mean, latents)) / _per_channel(std, latents)

    def decoder(self, frames: int) -> Stream:
        """The codec's own loop, with its memory kept between calls."""
        from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d, unpatchify

        codec = self.codec
        memory: list[Any] = [None] * sum(
            isinstance(m, WanCausalConv3d) for m in codec.decoder.modules()
        )
        begun = False

        def stream(latents: Tensor) -> Iterator[Tensor]:
            nonlocal begun
            std, mean = codec.config.latents_std, codec.config.latents_mean
            latents = latents * _per_channel(std, latents) + _per_channel(mean, latents)
            for frame in codec.post_quant_conv(latents).split(1, dim=2):
                out = codec.decoder(frame, feat_cache=memory, feat_idx=[0], first_chunk=not begun)
                begun = True
                patch = codec.config.patch_size
                yield (out if patch is None else unpatchify(out, patch_size=patch)).clamp(-1, 1)

        return stream

    def states(self, prompt: str) -> Tensor:
        """Zeros up to 512, which the network reads too."""
        return self.pipe.encode_prompt(
            prompt, do_classifier_free_guidance=False, max_sequence_length=self.max_tokens
        )[0][0]

    def velocity(self, latents: Tensor, levels: Tensor, reading: Reading, fps: float) -> Tensor:
        boundary = self.pipe.config.get("boundary_ratio")
        times = _times(levels) if self.each else _one_level(_times(levels), "this Wan model")
        if self.each or boundary is None:
            return self._ask(self.transformer, latents, times, reading)
        low = times < boundary * STEPS  # rows of one batch may be on either side
        made = torch.empty_like(latents)
        for network, which in ((self.transformer, ~low), (self.pipe.transformer_2, low)):
            rows = which.nonzero()[:, 0].tolist()
            if rows:
                part = self._ask(network, latents[rows], times[rows], reading.of_rows(rows))
                made[rows] = part.to(made)
        return made

    def _ask(self, network: Any, latents: Tensor, times: Tensor, reading: Reading) -> Tensor:
        return network(
            hidden_states=latents.to(reading.states),
            timestep=times,
            encoder_hidden_states=reading.states,
            return_dict=False,
        )[0]


class Ltx:
    """LTX-Video (flow matching, a time for each token, positions in seconds)."""

    together = 10**6  # its decoder looks ahead
    max_tokens = 128
    fps, size, frames = 25.0, Size(704, 512), 257
    abilities = frozenset({"known frames"})

    def __init__(self, pipe: Any):
        self.pipe, self.codec, self.transformer = pipe, pipe.vae, pipe.transformer
        self.dtype = pipe.transformer.dtype
        codec, network = pipe.vae.config, pipe.transformer.config
        _fits("LTX", pipe, codec.latent_channels)
        if network.patch_size != 1 or network.patch_size_t != 1:
            raise DataError(
                f"LTX weights with patches of {network.patch_size} are not supported (accepted: 1)"
            )
        self.channels, self.patch = codec.latent_channels, 1
        self.stride = (pipe.vae.temporal_compression_ratio, pipe.vae.spatial_compression_ratio)
        self.whole = self.stride[0]
        self.width = network.num_attention_heads * network.attention_head_dim
        self.fine_width = codec.block_out_channels[0]
        self.defaults: Mapping[str, Any] = {
            "guidance": 3.0,
            "shift": self._shift(pipe.scheduler.config),
        }

    def _shift(self, schedule: Any) -> float:
        """Of the own schedule for a clip of 5 s at the own size."""
        if not schedule.get("use_dynamic_shifting"):
            return float(schedule.get("shift") or 1.0)
        cells = (1 + round(5 * self.fps) // self.stride[0]) * (
            self.size.width * self.size.height // self.stride[1] ** 2
        )
        few, many = schedule["base_image_seq_len"], schedule["max_image_seq_len"]
        low, high = schedule["base_shift"], schedule["max_shift"]
        return math.exp(low + (high - low) * (min(many, max(few, cells)) - few) / (many - few))

    def _scaled(self, like: Tensor) -> tuple[Tensor, Tensor]:
        std = _per_channel(self.codec.latents_std, like) / self.codec.config.scaling_factor
        return _per_channel(self.codec.latents_mean, like), std

    def encode(self, pixels: Tensor) -> Tensor:
        latents = self.codec.encode(pixels).latent_dist.mode()
        mean, std = self._scaled(latents)
        return (latents - mean) / std

    def decoder(self, frames: int) -> Stream:
        waiting: list[Tensor] = []

        def stream(latents: Tensor) -> Iterator[Tensor]:
            waiting.append(latents)
            if sum(part.shape[2] for part in waiting) < frames:
                return
            whole = torch.cat(waiting, dim=2)
            waiting.clear()
            mean, std = self._scaled(whole)
            # Codecs that take a time were trained to denoise too; 0 is as their pipeline has it.
            time = whole.new_zeros(1) if self.codec.config.timestep_conditioning else None
            yield self.codec.decode(whole * std + mean, time, return_dict=False)[0]

        return stream

    def states(self, prompt: str) -> Tensor:
        states, mask, *_ = self.pipe.encode_prompt(
            prompt, do_classifier_free_guidance=False, max_sequence_length=self.max_tokens
        )
        return states[0][mask[0].bool()]

    def velocity(self, latents: Tensor, levels: Tensor, reading: Reading, fps: float) -> Tensor:
        _, _, t, h, w = latents.shape
        frames, side = self.stride
        out = self.transformer(
            hidden_states=latents.flatten(2).mT.to(reading.states),  # (B, t h w, C)
            encoder_hidden_states=reading.states,
            timestep=_times(levels),
            encoder_attention_mask=reading.mask,
            num_frames=t,
            height=h,
            width=w,
            rope_interpolation_scale=(frames / fps, side, side),
            return_dict=False,
        )[0]
        return out.mT.unflatten(2, (t, h, w))


class CogVideoX:
    """CogVideoX 2B and 5B (variance preserving, v-prediction, one time for a clip)."""

    together = 3
    whole = 8  # its codec holds an odd number of latent frames as they were
    fps = 8.0
    abilities: frozenset[str] = frozenset()

    def __init__(self, pipe: Any):
        self.pipe, self.codec, self.transformer = pipe, pipe.vae, pipe.transformer
        self.dtype = pipe.transformer.dtype
        codec, network, schedule = pipe.vae.config, pipe.transformer.config, pipe.scheduler.config
        _fits("CogVideoX", pipe, codec.latent_channels)
        if network.patch_size_t is not None or schedule.prediction_type != "v_prediction":
            raise DataError(
                f"CogVideoX weights with patch_size_t {network.patch_size_t} that predict "
                f"{schedule.prediction_type} are not supported (accepted: those of version 1.0, 2B and 5B)"
            )
        self.max_tokens: int = network.max_text_seq_length
        self.channels, self.patch = codec.latent_channels, network.patch_size
        self.stride = (codec.temporal_compression_ratio, pipe.vae_scale_factor_spatial)
        self.width = network.num_attention_heads * network.attention_head_dim
        self.fine_width = codec.block_out_channels[0]
        side = self.stride[1]
        self.size = Size(network.sample_width * side, network.sample_height * side)
        self.frames = network.sample_frames
        signal = pipe.scheduler.alphas_cumprod.double()  # alpha ** 2 at times 0, 1, ...
        self.levels = noising.sigma_from_vp(signal.sqrt(), (1 - signal).sqrt()).numpy()
        middle = self.levels[len(self.levels) // 2]
        self.defaults: Mapping[str, Any] = {"guidance": 6.0, "shift": float(middle / (1 - middle))}

    def encode(self, pixels: Tensor) -> Tensor:
        return self.codec.encode(pixels).latent_dist.mode() * self.codec.config.scaling_factor

    def decoder(self, frames: int) -> Stream:
        """The codec's own loop over batches of latent frames, of which the first takes the odd one."""
        codec, at_once = self.codec, self.codec.num_latent_frames_batch_size
        waiting, memory = [], None
        size = min(frames, at_once + frames % at_once)

        def stream(latents: Tensor) -> Iterator[Tensor]:
            nonlocal memory, size
            waiting.extend(latents.split(1, dim=2))
            while len(waiting) >= size:
                part = torch.cat(waiting[:size], dim=2) / codec.config.scaling_factor
                del waiting[:size]
                if codec.post_quant_conv is not None:
                    part = codec.post_quant_conv(part)
                out, memory = codec.decoder(part, conv_cache=memory)
                size = at_once
                yield out

        return stream

    def states(self, prompt: str) -> Tensor:
        return self.pipe.encode_prompt(
            prompt,
            do_classifier_free_guidance=False,
            max_sequence_length=self.max_tokens,
        )[0][0]

    def velocity(self, latents: Tensor, levels: Tensor, reading: Reading, fps: float) -> Tensor:
        sigma = _one_level(levels, "CogVideoX")
        _, _, t, h, w = latents.shape
        side, network = self.stride[1], self.transformer
        rotary = None
        if network.config.use_rotary_positional_embeddings:
            rotary = self.pipe._prepare_rotary_positional_embeddings(
                h * side, w * side, t, latents.device
            )
        times = np.interp(sigma.double().cpu().numpy(), self.levels, np.arange(len(self.levels)))
        x = noising.x_to_vp(latents, sigma)
        v = network(
            hidden_states=x.transpose(1, 2).to(reading.states),
            encoder_hidden_states=reading.states,
            timestep=torch.from_numpy(times).to(latents),
            image_rotary_emb=rotary,
            return_dict=False,
        )[0]
        v = v.transpose(1, 2).to(latents)
        return noising.velocity_from_v_prediction(x, v, *noising.vp_from_sigma(sigma))


FAMILIES: dict[str, Callable[[Any], Family]] = {
    "WanPipeline": Wan,
    "WanImageToVideoPipeline": Wan,
    "LTXPipeline": Ltx,
    "LTXImageToVideoPipeline": Ltx,
    "LTXConditionPipeline": Ltx,
    "CogVideoXPipeline": CogVideoX,
}
"""Class of the pipeline, as model_index.json names it -> how its parts are asked."""
