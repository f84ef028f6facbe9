"""Open-weight video models in folders that diffusers reads, behind our protocol.

Owns what all families share: dense latents to packed tokens and back, and how such a folder is opened.
Knows no family; `families` does. diffusers and transformers are imported when a folder is opened.
"""

import json
import pickle
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from worldtube.device import find_device, find_dtype
from worldtube.errors import DataError, MissingExtra, RequestError
from worldtube.models.diffusers.families import FAMILIES, Family, Reading
from worldtube.models.header import check_size
from worldtube.models.model import Footprint
from worldtube.tokens import Grid, Layout, Words, patchify, unpatchify
from worldtube.tokens import layout as layout_of
from worldtube.video import Clip, Size

INDEX = "model_index.json"
MAX_PIXELS = 2048 * 2048


@dataclass(frozen=True, kw_only=True)
class Card:
    """What is known of such a model."""

    name: str
    """The folder's."""
    family: str
    """Key of FAMILIES."""
    fps: float
    width: int
    height: int
    window: int
    """Latent frames that are seen at once."""


class DiffusersModel:
    """A `VideoModel` from the parts of a diffusers pipeline."""

    def __init__(self, card: Card, family: Family):
        self.card, self.family = card, family
        self.name, self.fps, self.window = card.name, card.fps, card.window
        self.size = Size(card.width, card.height)
        self.codec, self.transformer = family.codec, family.transformer
        self.patch = family.patch
        self.stride = (family.stride[0], family.stride[1] * family.patch)
        self.token_width = family.channels * family.patch**2
        self.abilities = family.abilities
        self.defaults: Mapping[str, Any] = family.defaults

    @property
    def device(self) -> torch.device:
        return next(self.transformer.parameters()).device

    def grid(self, size: Size, num_frames: int, fps: float, *, start: float = 0.0) -> Grid:
        frames, side = self.stride
        check_size(size, side, MAX_PIXELS)
        if (num_frames - 1) % self.family.whole:
            raise RequestError(
                f"{num_frames} frames do not fit {self.name}: the number must be 1 + a multiple of {self.family.whole}"
            )
        cell = side // self.patch
        return Grid(
            frames=1 + (num_frames - 1) // frames,
            height=size.height // cell,
            width=size.width // cell,
            seconds_per_frame=1 / fps,
            stride=frames,
            start=start,
        )

    def layout(self, grid: Grid, *, causal: bool = False) -> Layout:
        return layout_of(grid, self.patch, causal=causal)

    def pixels(self, grid: Grid) -> Size:
        cell = self.stride[1] // self.patch
        return Size(grid.width * cell, grid.height * cell)

    @torch.inference_mode()
    def encode(self, clip: Clip) -> Tensor:
        pixels = torch.from_numpy(np.ascontiguousarray(clip.frames)).to(self.device)
        pixels = pixels.permute(3, 0, 1, 2)[None].float() / 127.5 - 1  # (1, 3, T, H, W)
        return patchify(self.family.encode(pixels)[0].float().cpu(), self.patch)

    def decoder(self, grid: Grid) -> Callable[[Tensor], np.ndarray]:
        stream, size = self.family.decoder(grid.frames), self.pixels(grid)
        each = (grid.height // self.patch) * (grid.width // self.patch)

        @torch.inference_mode()
        def frames(tokens: Tensor) -> np.ndarray:
            part = replace(grid, frames=len(tokens) // each)
            latents = unpatchify(tokens.to(self.device), part, self.patch)[None]
            blocks = [block[0].float() for block in stream(latents)]  # (3, T, H, W) each
            if not blocks:
                return np.empty((0, size.height, size.width, 3), np.uint8)
            pixels = ((torch.cat(blocks, dim=1) + 1) * 127.5).round().clamp(0, 255)
            return pixels.to(torch.uint8).permute(1, 2, 3, 0).cpu().numpy()

        return frames

    def footprint(self, *, causal: bool = False) -> Footprint:
        """Rough: some tensors of a block's width a token, of the codec's finest width a pixel."""
        weights = self.family.dtype.itemsize
        fine = 4 * 8 * self.family.fine_width
        return Footprint(
            token=weights * 24 * self.family.width,
            pair=0.0,
            remembered=0.0,
            decoded=fine,
            encoded=fine,
            together=self.family.together,
        )

    def doubts(self, prompt: str) -> list[str]:
        return []

    def unread(self, prompt: str) -> str:
        tokenizer = self.family.pipe.tokenizer
        ids = tokenizer(prompt, add_special_tokens=False, verbose=False).input_ids
        return tokenizer.decode(ids[self.family.max_tokens - 1 :]).strip()  # one is the end mark

    @torch.inference_mode()
    def embed(self, prompts: Sequence[str]) -> Words:
        return Words.of([self.family.states(prompt) for prompt in prompts])

    def read(self, words: Words) -> Reading:
        bounds = zip(words.bounds[:-1], words.bounds[1:], strict=True)
        states = [words.states[a:b].to(self.device, self.family.dtype) for a, b in bounds]
        return Reading.of(states)

    @torch.inference_mode()
    def velocity(
        self, x: Tensor, sigma: Tensor, layout: Layout, reading: Reading, past: Any = None
    ) -> Tensor:
        """Rows of one shape go through the network as a batch, others after them.

        Raises RequestError for rows that are not whole clips in one piece, as these networks take them.
        """
        if past is not None or any(layout.causal) or layout.spans != layout.bounds:
            raise RequestError(
                f"{self.name} takes whole clips in one piece, not causal ones or ones of several pieces"
            )
        alike: dict[_Shape, list[int]] = {}
        bounds = list(zip(layout.bounds[:-1], layout.bounds[1:], strict=True))
        for row, (a, b) in enumerate(bounds):
            alike.setdefault(self._shape(layout, a, b), []).append(row)
        out = torch.empty_like(x)
        for shape, rows in alike.items():
            stack = torch.stack([x[slice(*bounds[row])] for row in rows])
            levels = torch.stack([sigma[slice(*bounds[row])] for row in rows])
            sides = {"t": shape.frames, "h": shape.rows, "p": self.patch, "q": self.patch}
            latents = rearrange(
                stack.to(self.device), "b (t h w) (c p q) -> b c t (h p) (w q)", **sides
            )
            made = self.family.velocity(
                latents, levels.to(self.device), reading.of_rows(rows), shape.fps or self.fps
            )
            made = rearrange(made.float(), "b c t (h p) (w q) -> b (t h w) (c p q)", **sides)
            for row, part in zip(rows, made.to(x.device), strict=True):
                out[slice(*bounds[row])] = part
        return out

    def _shape(self, layout: Layout, a: int, b: int) -> "_Shape":
        frames, places = layout.frames[a:b], layout.positions[a:b]
        t, h, w = (len(values.unique()) for values in (frames, places[:, 1], places[:, 2]))
        if t * h * w != b - a:
            raise RequestError(
                f"{self.name} takes whole clips; {b - a} tokens are no {t} frames of {h} x {w}"
            )
        last = float(places[-1, 0] - places[b - a - 1 - h * w, 0]) if t > 1 else 0.0
        return _Shape(frames=t, rows=h, columns=w, fps=self._fps(last, t))

    def _fps(self, last: float, frames: int) -> float | None:
        """Frames a second, from the seconds between the last two latent frames, of which the first holds one frame."""
        if frames == 1:
            return None
        apart = self.stride[0] if frames > 2 else (self.stride[0] + 1) / 2
        return round(apart / last, 3)

    def remember(self, x: Tensor, layout: Layout, reading: Reading, past: Any = None) -> Tensor:
        """These networks hide no frames, so nothing can be kept of them: raises RequestError."""
        raise RequestError(
            f"{self.name} cannot remember: every frame of its clips sees every other"
        )

    def recall(self, kept: Tensor, layout: Layout) -> Any:
        """As `remember`."""
        raise RequestError(f"{self.name} cannot recall: every frame of its clips sees every other")


@dataclass(frozen=True)
class _Shape:
    frames: int
    rows: int
    columns: int
    fps: float | None


def load(
    path: Path | str,
    *,
    device: torch.device | str = "auto",
    dtype: torch.dtype | str = "auto",
    fast: bool = False,
) -> DiffusersModel:
    """The model in a folder that a diffusers pipeline was saved in. Reads nothing from a network.

    `dtype` is the transformer's and the text encoder's; the codec stays in float32; `auto` as `worldtube.device`
    chooses. Weights that are there only as a variant (`*.fp16.safetensors`) are taken. Pickled weights are read without
    running code. Raises DataError for what cannot be opened or is of no known family, MissingExtra.
    """
    path, device = Path(path), find_device(device)
    dtype = find_dtype(dtype, device)
    index = _index(path)
    name = index.get("_class_name")
    if name not in FAMILIES:
        raise DataError(f"{path} holds a {name} (accepted: {', '.join(FAMILIES)})")
    if fast:
        raise DataError(f"{path} holds no student; `fast` needs one")
    try:
        import diffusers.utils.logging
        import transformers.utils.logging
    except ImportError as error:
        raise MissingExtra(f"the model in {path}", "diffusers") from error
    try:
        with _quiet(diffusers.utils.logging, transformers.utils.logging):
            pipe = getattr(diffusers, name).from_pretrained(
                str(path),
                dtype={"default": dtype, "vae": torch.float32},
                local_files_only=True,
                variant=_variant(path),
            )
    except (MemoryError, torch.OutOfMemoryError, MissingExtra):
        raise
    except ImportError as error:  # a tokenizer that needs another package
        raise MissingExtra(f"the model in {path}", "diffusers") from error
    except Exception as error:  # any: three libraries parse files of unknown origin
        raise DataError(f"{path} cannot be opened as a {name} ({_reason(error)})") from error
    pipe.to(device)
    for part in (
        pipe.vae,
        pipe.transformer,
        pipe.text_encoder,
        getattr(pipe, "transformer_2", None),
    ):
        if part is not None:
            part.eval().requires_grad_(False)
    family = FAMILIES[name](pipe)
    card = Card(
        name=path.resolve().name,
        family=name,
        fps=family.fps,
        width=family.size.width,
        height=family.size.height,
        window=1 + (family.frames - 1) // family.stride[0],
    )
    return DiffusersModel(card, family)


def _variant(path: Path) -> str | None:
    """Return the variant of the weights, such as fp16, where a part of the pipeline has no others.

    Raises DataError where there are several to choose from.
    """
    variants = set()
    for folder in {file.parent for file in path.glob("*/*.safetensors")}:
        names = [file.name.split(".") for file in folder.glob("*.safetensors")]
        found = {name[1].partition("-")[0] for name in names if len(name) > 2}
        if all(len(name) > 2 for name in names):
            variants.add(frozenset(found))
    common = frozenset.intersection(*variants) if variants else frozenset()
    if variants and len(common) != 1:
        told = ", ".join(sorted(frozenset.union(*variants)))
        raise DataError(
            f"{path} has only variants of its weights, {told} (accepted: the same one for every part, or weights "
            "without a variant)"
        )
    return next(iter(common), None)


def _reason(error: Exception) -> str:
    """What another library complains of, in a line."""
    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(cause)
    if any(isinstance(cause, pickle.UnpicklingError) for cause in causes):
        return (
            "a pickled weight file is damaged or holds more than weights, and no code of it was run; "
            "weights as safetensors are accepted"
        )
    text = str(error).strip()
    return text.splitlines()[0] if text else repr(error)


@contextmanager
def _quiet(*rooms: Any) -> Generator[None]:
    """Bars of other libraries are off inside."""
    shown = [room for room in rooms if room.is_progress_bar_enabled()]
    for room in shown:
        room.disable_progress_bar()
    try:
        yield
    finally:
        for room in shown:
            room.enable_progress_bar()


def _index(path: Path) -> Mapping[str, Any]:
    try:
        return json.loads((path / INDEX).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        inside = sorted(file.parent for file in path.glob(f"snapshots/*/{INDEX}"))
        accepted = " or ".join(map(str, inside)) or "a folder of a diffusers pipeline"
        raise DataError(f"{path} is a folder without {INDEX} (accepted: {accepted})") from error
    except json.JSONDecodeError as error:
        raise DataError(f"{path / INDEX} is not JSON: {error}") from error
