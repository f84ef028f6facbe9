"""Our own model: codec, text encoder and transformer as one, and how it is loaded and saved.

Owns the weight file (one safetensors file, bf16, the whole configuration as JSON in its metadata).
Knows nothing of requests or training.
"""

import hashlib
import json
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from worldtube.codec import CODECS, CodecConfig, VideoCodec
from worldtube.codec.autoencoder import FINE, FRAMES
from worldtube.device import find_device, find_dtype, uses_packed_weights
from worldtube.errors import DataError, NotFound, RequestError, unknown
from worldtube.models.adapters import put
from worldtube.models.header import EMBEDDED, check_size, embedded_path
from worldtube.models.model import ABILITIES, Footprint
from worldtube.models.parts import StateParts, has_state_parts, load_state_parts
from worldtube.models.weights import Uninitialized, match_track_rows, save_weights
from worldtube.text.encoder import FAMILIAR, TextEncoder
from worldtube.tokens import TRACKS, Grid, Layout, Words, patchify, unpatchify
from worldtube.tokens import layout as layout_of
from worldtube.transformer import LayoutContext, Past, Reading, Transformer, TransformerConfig
from worldtube.transformer.packed import pack_linears
from worldtube.video import Clip, Size

FORMAT = 1
EMBEDDED_KNOWS = "it knows balls, boxes, cylinders and cups on a table, and water"
FIRST_TRACKS = ("rgb", "sound", "depth", "motion", "temperature", "action")
"""Tracks of weight files that do not name theirs."""
RIGID_WORLD = "tabletop"
"""The world whose states need no engine; without engines, pictures of others are made from words alone."""
SCRATCH = 1.5
"""Memory of convolutions to that of their tensors: the library behind them takes some of its own."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a model says of itself; saved with the weights."""

    name: str = "untrained"
    codec: str = "causal"
    """Key of CODECS."""
    patch: int = 2
    """Latent cells per token side."""
    fps: float = 12.0
    width: int = 64
    """Native width, pixels."""
    height: int = 64
    """Native height, pixels."""
    window: int = 10
    """Latent frames of a shot that are seen at once."""
    student_steps: int = 0
    """Steps that the student needs; 0 where there is none."""
    latent_scale: tuple[float, ...] = ()
    """Divide each latent channel by this; empty for ones. Measured on the training latents."""
    latent_shift: tuple[float, ...] = ()
    """Subtract this from each latent channel first."""
    notes: dict[str, Any] = field(default_factory=dict)
    """Training facts: clips seen, data, scores."""


class LocalModel:
    """A `VideoModel` from a codec, a frozen text encoder and a `Transformer`.

    Args:
        load_parts: reads the stages of clips that are made by way of their physical state, when the first comes;
            None for a model that makes pictures from words alone
    """

    state_size = Size(128, 128)

    def __init__(
        self,
        card: Card,
        codec: VideoCodec,
        transformer: Transformer,
        dtype: torch.dtype | None = None,
        bank: Tensor | None = None,
        load_parts: Callable[[], StateParts] | None = None,
    ):
        self.abilities = frozenset(ABILITIES) - ({"state"} if load_parts is None else set())
        self._load_parts = load_parts
        self.card, self.codec, self.transformer, self.bank = card, codec, transformer, bank
        self.name, self.fps = card.name, card.fps
        self.size, self.window = Size(card.width, card.height), card.window
        self.token_width = transformer.config.token_width
        frames, side, _ = codec.stride
        self.stride = (frames, side * card.patch)
        self.defaults: Mapping[str, Any] = {}
        channels = codec.channels
        self._scale = torch.tensor(card.latent_scale or (1.0,) * channels).view(-1, 1, 1, 1)
        self._shift = torch.tensor(card.latent_shift or (0.0,) * channels).view(-1, 1, 1, 1)
        self._contexts: list[tuple[weakref.ref[Layout], Any, LayoutContext]] = []
        """Layouts that are being denoised, what else their contexts depend on, and those."""
        self.codec.eval().requires_grad_(False)
        if dtype is not None:
            self.transformer.to(dtype)

    @cached_property
    def text(self) -> TextEncoder:
        """The frozen encoder, loaded when the first prompt comes."""
        return TextEncoder()

    @cached_property
    def parts(self) -> StateParts:
        """The stages of clips that are made by way of their state, loaded when the first comes."""
        assert self._load_parts is not None, f"{self.name} knows no states"
        return self._load_parts()

    def covers(self, prompt: str) -> bool:
        sentence = self.text.sentence([prompt])[0]
        return self.parts.topics.name(sentence) == RIGID_WORLD

    @property
    def device(self) -> torch.device:
        return self.transformer.text_in.weight.device

    def grid(self, size: Size, num_frames: int, fps: float, *, start: float = 0.0) -> Grid:
        frames, side = self.stride
        check_size(size, side)
        if (num_frames - 1) % frames:
            raise RequestError(
                f"{num_frames} frames do not fit: the number must be 1 + a multiple of {frames}"
            )
        cell = side // self.card.patch
        return Grid(
            frames=1 + (num_frames - 1) // frames,
            height=size.height // cell,
            width=size.width // cell,
            seconds_per_frame=1 / fps,
            stride=frames,
            start=start,
        )

    def layout(self, grid: Grid, *, causal: bool = False) -> Layout:
        return layout_of(grid, self.card.patch, causal=causal)

    def tokens(self, latents: Tensor) -> Tensor:
        """(C, t, h, w) codec latents -> (n, P) tokens of zero mean and unit variance."""
        return patchify((latents.float() - self._shift) / self._scale, self.card.patch)

    @torch.inference_mode()
    def encode(self, clip: Clip) -> Tensor:
        pixels = torch.from_numpy(np.ascontiguousarray(clip.frames)).to(self.device)
        pixels = pixels.permute(3, 0, 1, 2)[None].float() / 127.5 - 1  # (1, 3, T, H, W)
        return self.tokens(self.codec.encode(pixels)[0].cpu())

    def decoder(self, grid: Grid) -> Callable[[Tensor], np.ndarray]:
        stream = self.codec.decoder_stream()
        each = (grid.height // self.card.patch) * (grid.width // self.card.patch)

        @torch.inference_mode()
        def frames(tokens: Tensor) -> np.ndarray:
            part = replace(grid, frames=len(tokens) // each)
            latents = unpatchify(tokens.cpu(), part, self.card.patch) * self._scale + self._shift
            pixels = stream(latents[None].to(self.device))[0].float()  # (3, T, H, W)
            pixels = ((pixels + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
            return pixels.permute(1, 2, 3, 0).cpu().numpy()

        return frames

    def pixels(self, grid: Grid) -> Size:
        cell = self.stride[1] // self.card.patch
        return Size(grid.width * cell, grid.height * cell)

    def footprint(self, *, causal: bool = False) -> Footprint:
        """From the widest moments: inside SwiGLU with six modulations a token, on the codec's fine grid or where its
        pixels are rounded. What is remembered are keys and values, and the keys turned to where they are."""
        config, each = self.transformer.config, self.transformer.text_in.weight.element_size()
        codec, fine, floats = self.codec.config, FRAMES * FINE * FINE, 4 * 3
        kept = self.codec.decoder.enter.weight.element_size()
        return Footprint(
            token=each * (9 * config.width + 4 * config.hidden),
            pair=causal * (1 + each * (2 + config.width // config.head_width)),
            remembered=causal * each * 2 * 3 * config.depth * config.width,
            decoded=SCRATCH * max(codec.decoder_widths[0] * (6 * kept + 4) / fine, 3.5 * floats),
            encoded=SCRATCH * (codec.encoder_widths[0] * 8 * 4 / fine + 3 * floats),
        )

    def doubts(self, prompt: str) -> list[str]:
        """Of its topic, where there is a bank to compare it with."""
        told, bank = [], self.bank if prompt.strip() else None
        if bank is not None and self.text.familiarity(prompt, bank) < FAMILIAR:
            known = f" ({EMBEDDED_KNOWS})" if self.name == EMBEDDED else ""
            told.append(f"the prompt is outside of what {self.name} knows{known}")
        return told

    def unread(self, prompt: str) -> str:
        return self.text.beyond(prompt)

    def embed(self, prompts: Sequence[str]) -> Words:
        return Words.of(self.text.encode(list(prompts))).to(self.device)

    @torch.inference_mode()
    def read(self, words: Words) -> Reading:
        return self.transformer.read(words)

    @torch.inference_mode()
    def velocity(
        self,
        x: Tensor,
        sigma: Tensor,
        layout: Layout,
        reading: Reading,
        past: Past | None = None,
    ) -> Tensor:
        device, context = self.device, self._context(layout, reading, past)
        out, _ = self.transformer(
            x.to(device), sigma.to(device), context.layout, reading, past, context=context
        )
        return out.to(x.device)

    def _context(self, layout: Layout, reading: Reading, past: Past | None) -> LayoutContext:
        """What the network derives from a layout, computed once for all evaluations of a chunk."""
        key = (reading.bounds, past.lengths if past else None)
        self._contexts = [one for one in self._contexts if one[0]() is not None]  # chunks in hand
        for known, other, context in self._contexts:
            if known() is layout and other == key:
                return context
        context = self.transformer.context(layout.to(self.device), reading, past)
        self._contexts.append((weakref.ref(layout), key, context))
        return context

    @torch.inference_mode()
    def remember(
        self, x: Tensor, layout: Layout, reading: Reading, past: Past | None = None
    ) -> Tensor:
        device = self.device
        return self.transformer.remember(x.to(device), layout.to(device), reading, past)

    @torch.inference_mode()
    def recall(self, kept: Tensor, layout: Layout) -> Past:
        return self.transformer.recall(kept, layout.to(self.device))


def save(
    model: LocalModel,
    path: Path | str,
    *,
    dtype: torch.dtype = torch.bfloat16,
    student: Transformer | None = None,
) -> None:
    """Write codec and transformer with their configuration; whole or not at all.

    student: a transformer of the same sizes that needs few steps, for `load(..., fast=True)`.
    """
    parts: dict[str, torch.nn.Module] = {"codec": model.codec, "transformer": model.transformer}
    if student is not None:
        parts["student"] = student
    config = {
        "card": asdict(model.card),
        "transformer": asdict(model.transformer.config),
        "codec": model.codec.config.to_dict(),
        "tracks": list(TRACKS),
        "stride": list(model.codec.stride[:2]),
    }
    _write(Path(path), parts, config, dtype, model.bank)


def save_codec(codec: VideoCodec, path: Path | str, *, dtype: torch.dtype = torch.float32) -> None:
    """Write a codec alone, as `load_codec` reads it."""
    _write(Path(path), {"codec": codec}, {"codec": codec.config.to_dict()}, dtype)


def _write(
    path: Path,
    parts: Mapping[str, torch.nn.Module],
    config: dict[str, Any],
    dtype: torch.dtype,
    bank: Tensor | None = None,
) -> None:
    tensors = {
        f"{part}.{name}": value.detach()
        .to("cpu", dtype if value.is_floating_point() else value.dtype)
        .contiguous()
        for part, module in parts.items()
        for name, value in module.state_dict().items()
    }
    if bank is not None:
        tensors["bank"] = bank.to(torch.float16).contiguous()
    config |= {"format": FORMAT, "model": "local"}
    save_weights(tensors, path, config=config)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Configuration and tensors of a weight file. Raises NotFound, DataError."""
    if not path.is_file():
        raise NotFound(
            f"no weights at {path} (a .safetensors file that `worldtube train` wrote is accepted)"
        )
    try:
        with safe_open(str(path), framework="pt") as file:
            config = json.loads((file.metadata() or {}).get("worldtube", "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        raise DataError(
            f"{path} is not a whole safetensors file ({error}); a file that `worldtube train` wrote is accepted"
        ) from error
    if config is None or config.get("format") != FORMAT:
        raise DataError(
            f"{path} carries no worldtube configuration of format {FORMAT}; "
            "a file that `worldtube train` wrote is accepted"
        )
    return config, tensors


def _fill(module: torch.nn.Module, part: str, tensors: dict[str, Tensor], path: Path) -> None:
    state = {k.removeprefix(f"{part}."): v for k, v in tensors.items() if k.startswith(f"{part}.")}
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise DataError(
            f"{path}: the {part}'s weights do not fit its configuration ({reason})"
        ) from error
    module.eval().requires_grad_(False)


def _match_tracks(
    tensors: dict[str, Tensor], names: Sequence[str], path: Path
) -> dict[str, Tensor]:
    """Put the rows of track embeddings into the order of TRACKS; a track that is not in the file gets zeros.

    Args:
        tensors: of a weight file.
        names: tracks of the file, two rows each.

    Raises:
        DataError: the file has a track that this version does not know.
    """
    if unknown_tracks := sorted(set(names) - set(TRACKS)):
        raise DataError(
            f"{path} has tracks of a newer version: {', '.join(unknown_tracks)} (accepted: {', '.join(TRACKS)})"
        )
    matched = dict(tensors)
    for key in ("transformer.kind.weight", "student.kind.weight"):
        if key not in tensors or len(tensors[key]) != 2 * len(names):
            continue  # `_fill` reports tensors that are missing or have other sizes
        matched[key] = match_track_rows(tensors[key], names)
    return matched


def load_codec(path: Path | str, *, device: torch.device | str = "cpu") -> tuple[VideoCodec, str]:
    """The codec in a weight file (a codec's own or a whole model's), and the version of its latents.

    Two codecs with the same encoder make the same latents and have the same version, whatever their decoders.
    Raises NotFound, DataError, RequestError for a device that is not there.
    """
    device = find_device(device)
    config, tensors = _read(Path(path))
    codec = CODECS[config.get("card", {}).get("codec", "causal")](
        CodecConfig.from_dict(config["codec"])
    )
    _fill(codec, "codec", tensors, Path(path))
    version = latents_version(codec)
    return codec.to(device), version


def latents_version(codec: VideoCodec) -> str:
    """A name for what an encoder makes: a hash of its weights at bf16, so that rounding them does not change it."""
    digest = hashlib.sha256()
    for name, value in sorted(codec.state_dict().items()):
        if not name.startswith("decoder."):
            digest.update(
                name.encode() + value.to(torch.bfloat16).view(torch.int16).numpy().tobytes()
            )
    return digest.hexdigest()[:12]


def load(
    path: Path | str | None = None,
    *,
    device: torch.device | str = "auto",
    dtype: torch.dtype | str = "auto",
    fast: bool = False,
    adapters: Path | str | None = None,
) -> LocalModel:
    """The model in a safetensors file; without a path, the one that ships inside the package.

    `device` and `dtype` are names of `worldtube.device.DEVICES` and `DTYPES`, or torch's own; `auto` is the fastest
    here. The transformer and the codec's decoder compute in `dtype`, the codec's encoder in float32, so that latents
    are the same everywhere. `fast`: with the student in place of its teacher,
    which makes a clip in `card.student_steps` steps without guidance. `adapters`: file of a fine-tuning of this
    model. Raises NotFound, DataError, RequestError for adapters of a student, which has none, and for a device that
    is not there.
    """
    device = find_device(device)
    dtype = find_dtype(dtype, device)
    path = embedded_path() if path is None else Path(path)
    config, tensors = _read(path)
    if "transformer" not in config:
        raise DataError(f"{path} holds a codec only; a whole model is needed here")
    fields: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in config["card"].items()
    }
    card = Card(**fields)
    if card.codec not in CODECS:
        raise unknown("codec", card.codec, CODECS)
    with Uninitialized():
        codec = CODECS[card.codec](CodecConfig.from_dict(config["codec"]))
        transformer = Transformer(TransformerConfig(**config["transformer"]))
    _fill(codec, "codec", tensors, path)
    tensors = _match_tracks(tensors, config.get("tracks", FIRST_TRACKS), path)
    if fast and not card.student_steps:
        raise DataError(f"{path} holds no student; `fast` needs one (worldtube train student)")
    _fill(transformer, "student" if fast else "transformer", tensors, path)
    if adapters is not None:
        if fast:
            raise RequestError("adapters do not go with a student (accepted: one of the two)")
        put(adapters, transformer, path)
    codec.decoder.to(dtype)  # in bf16 half the time for 0.002 dB
    load_parts = None
    if path == embedded_path() and adapters is None and has_state_parts():
        load_parts = partial(load_state_parts, dtype=dtype)
    model = LocalModel(
        card, codec.to(device), transformer.to(device), dtype, tensors.get("bank"), load_parts
    )
    if uses_packed_weights(device, dtype):
        pack_linears(model.transformer)
    if fast:
        steps = {"steps": card.student_steps, "sampler": "euler"}
        model.defaults = steps | {"guidance": 1.0, "shift": 3.0}
    return model
