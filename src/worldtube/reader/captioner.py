"""The re-captioner: evidence of a clip in, words of a field out.

Owns its network, its words and its weight file. Knows nothing of how it learned. Words are those of the captions'
grammar, one token each; the field ("short", "subject", ...) is the first token of what is written.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from worldtube import reader
from worldtube.device import find_device
from worldtube.errors import DataError, NotFound
from worldtube.models.weights import save_weights
from worldtube.reader.evidence import CELLS, MOMENTS, WIDTHS, evidence, sight
from worldtube.video import Clip
from worldtube.worlds.language import FIELDS

FORMAT = 1
LONGEST = 72
"""Tokens of a text at most."""
PAD, END = 0, 1
MARKS = ("<pad>", "<end>", *(f"<{name}>" for name in FIELDS))
"""Tokens that are no words."""


def split(text: str) -> list[str]:
    """A caption's words and marks, in lower case."""
    return re.findall(r"[a-z0-9'-]+|[.,;:]", text.lower())


def join(words: Sequence[str]) -> str:
    """A caption of these words; one that ends with a full stop has capitals."""
    text = re.sub(r" ([.,;:])", r"\1", " ".join(words))
    if text.endswith("."):
        text = re.sub(r"(^|\. )([a-z])", lambda found: found[1] + found[2].upper(), text)
    return text


@dataclass(frozen=True, kw_only=True)
class CaptionerConfig:
    """Sizes of the network."""

    width: int = 160
    """Of a token."""
    heads: int = 5
    """Of attention."""
    hidden: int = 384
    """Of the layers between."""
    seeing: int = 2
    """Blocks over the evidence."""
    writing: int = 2
    """Blocks over the words."""


class Network(nn.Module):
    """Evidence and the words so far -> logits of the next word."""

    def __init__(self, config: CaptionerConfig, words: Sequence[str]):
        super().__init__()
        self.config, self.words = config, tuple(words)
        width = config.width
        shape: dict[str, Any] = {
            "d_model": width,
            "nhead": config.heads,
            "dim_feedforward": config.hidden,
            "dropout": 0.0,
            "activation": "gelu",
            "batch_first": True,
            "norm_first": True,
        }
        self.norms = nn.ModuleDict({kind: nn.LayerNorm(n) for kind, n in WIDTHS.items()})
        self.inward = nn.ModuleDict({kind: nn.Linear(n, width) for kind, n in WIDTHS.items()})
        self.moments = nn.Parameter(0.02 * torch.randn(MOMENTS, width))
        self.cells = nn.Parameter(0.02 * torch.randn(CELLS * CELLS, width))
        self.see = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(**shape), config.seeing, enable_nested_tensor=False
        )
        self.embed = nn.Embedding(len(MARKS) + len(words), width)
        self.places = nn.Parameter(0.02 * torch.randn(LONGEST, width))
        self.write = nn.TransformerDecoder(
            nn.TransformerDecoderLayer(**shape), config.writing, norm=nn.LayerNorm(width)
        )
        self.out = nn.Linear(width, len(MARKS) + len(words))

    @property
    def device(self) -> torch.device:
        return self.places.device

    def look(self, clips: Sequence[Mapping[str, Tensor]]) -> tuple[Tensor, Tensor]:
        """Evidence of clips -> (B, S, D) states and (B, S) where there are none."""
        most = max(len(one["tracks"]) for one in clips)
        tracks = torch.zeros(len(clips), most, WIDTHS["tracks"])
        empty = torch.ones(len(clips), most, dtype=torch.bool)
        for row, one in enumerate(clips):
            tracks[row, : len(one["tracks"])] = one["tracks"]
            empty[row, : len(one["tracks"])] = False
        device = self.device
        values = {"tracks": tracks.to(device)}
        values |= {
            kind: torch.stack([one[kind].float() for one in clips]).to(device)
            for kind in list(WIDTHS)[1:]
        }
        parts = {kind: self.inward[kind](self.norms[kind](value)) for kind, value in values.items()}
        parts["moments"] = parts["moments"] + self.moments
        parts["cells"] = parts["cells"] + self.cells
        states = torch.cat(list(parts.values()), 1)  # (B, S, D)
        none = F.pad(empty.to(device), (0, states.shape[1] - most), value=False)
        return self.see(states, src_key_padding_mask=none), none

    def forward(self, seen: tuple[Tensor, Tensor], tokens: Tensor) -> Tensor:
        """(B, L) tokens, the field first -> (B, L, words) logits of the token after each."""
        states, none = seen
        length = tokens.shape[1]
        x = self.embed(tokens) + self.places[:length]  # (B, L, D)
        later = nn.Transformer.generate_square_subsequent_mask(
            length, device=tokens.device, dtype=torch.bool
        )
        x = self.write(x, states, tgt_mask=later, tgt_is_causal=True, memory_key_padding_mask=none)
        return self.out(x)

    def numbers(self, field: str, text: str) -> list[int]:
        """Tokens of a field's text; raises DataError for a word that it does not have."""
        index = {word: len(MARKS) + i for i, word in enumerate(self.words)}
        try:
            return [MARKS.index(f"<{field}>"), *(index[word] for word in split(text)), END]
        except KeyError as error:
            raise DataError(f"the captioner has no word {error.args[0]!r} (of {text!r})") from error


class Captioner:
    """Reads a clip and writes the fields of its caption."""

    def __init__(self, network: Network, accuracy: Mapping[str, Any] | None = None):
        self.network = network.eval()
        self.accuracy = dict(accuracy or {})
        """Measured on true clips of seeds that it was not trained on."""
        self._eyes: reader.Reader | None = None

    @property
    def eyes(self) -> reader.Reader:
        """The reader that ships, whose trunk this looks through."""
        self._eyes = self._eyes or reader.load()
        return self._eyes

    def read(self, clip: Clip) -> dict[str, Tensor]:
        return evidence(self.eyes, sight(self.eyes, clip))

    @torch.inference_mode()
    def tell(
        self,
        clips: Sequence[Mapping[str, Tensor]],
        fields: Sequence[str] = FIELDS,
        *,
        temperature: float = 0.0,
        seeds: Sequence[int] | None = None,
    ) -> list[dict[str, str]]:
        """Texts of some fields for the evidence of clips.

        temperature: 0 writes the likeliest word each time, 1 draws as captions vary. seeds: one a clip, so that a
        clip's caption does not depend on its neighbours.
        """
        if not clips:
            return []
        states, none = self.network.look(clips)
        out: list[dict[str, str]] = [{} for _ in clips]
        for field in fields:
            tokens = torch.full((len(clips), 1), MARKS.index(f"<{field}>"))
            done = torch.zeros(len(clips), dtype=torch.bool)
            draws = [
                torch.Generator().manual_seed(seed * len(FIELDS) + FIELDS.index(field))
                for seed in (seeds or range(len(clips)))
            ]
            while not bool(done.all()) and tokens.shape[1] < LONGEST:
                logits = self.network((states, none), tokens.to(states.device))[:, -1].cpu()
                logits[:, [i for i in range(len(MARKS)) if i != END]] = -torch.inf
                if temperature:
                    chances = (logits / temperature).softmax(-1)
                    new = torch.stack(
                        [
                            torch.multinomial(p, 1, generator=g)[0]
                            for p, g in zip(chances, draws, strict=True)
                        ]
                    )
                else:
                    new = logits.argmax(-1)
                new = torch.where(done, PAD, new)
                done |= new == END
                tokens = torch.cat([tokens, new[:, None]], 1)
            for one, row in zip(out, tokens.tolist(), strict=True):
                words = [self.network.words[i - len(MARKS)] for i in row[1:] if i >= len(MARKS)]
                one[field] = join(words)
        return out

    def save(self, path: Path | str) -> None:
        """Write the weights, half precision, whole or not at all."""
        tensors = {
            name: value.half().contiguous() for name, value in self.network.state_dict().items()
        }
        told = {
            "format": FORMAT,
            "model": "captioner",
            "sizes": asdict(self.network.config),
            "words": self.network.words,
            "accuracy": self.accuracy,
        }
        save_weights(tensors, path, config=told)


def embedded_path() -> Path:
    """Where the captioner that ships inside the package lies."""
    return Path(str(resources.files("worldtube") / "weights" / "captioner.safetensors"))


def load(path: Path | str | None = None, *, device: torch.device | str = "cpu") -> Captioner:
    """The captioner in a file; without a path, the one that ships; its network on a device of `worldtube.device`.

    Raises NotFound, DataError, RequestError for a device that is not there.
    """
    path = embedded_path() if path is None else Path(path)
    if not path.is_file():
        raise NotFound(
            f"no captioner at {path} (a file of `worldtube train captioner` is accepted)"
        )
    try:
        with safe_open(str(path), framework="pt") as file:
            told = json.loads((file.metadata() or {}).get("worldtube", "null"))
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        raise DataError(f"{path} is not a whole safetensors file ({error})") from error
    if not told or told.get("format") != FORMAT or told.get("model") != "captioner":
        raise DataError(f"{path} holds no captioner of format {FORMAT}")
    network = Network(CaptionerConfig(**told["sizes"]), told["words"])
    try:
        network.load_state_dict(cast(dict[str, Tensor], tensors))
    except RuntimeError as error:
        raise DataError(f"{path}: the captioner's weights do not fit") from error
    return Captioner(network.to(find_device(device)), told["accuracy"])
