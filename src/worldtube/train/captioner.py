"""How the re-captioner learns: engine-made clips, the reader's evidence of them, the grammar's words for the facts.

Owns the loop. Every text is told anew from the facts each time a clip comes, so no wording is learned by heart, and
half of the clips come as in a mirror. Never sees the catalogs' own captions.
"""

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from worldtube import reader
from worldtube.data.catalog import Catalog
from worldtube.device import autocast, check_dtype, find_device
from worldtube.errors import DataError, RequestError
from worldtube.evaluate.accuracy import true_clips
from worldtube.evaluate.captions import accuracy
from worldtube.reader import captioner
from worldtube.reader.captioner import PAD, Captioner, CaptionerConfig, Network, split
from worldtube.reader.evidence import COLOURS_AT, evidence, sight
from worldtube.worlds.language import FIELDS, LENGTHS, caption, fields, invent
from worldtube.worlds.language import words as tables
from worldtube.worlds.language.schema import part
from worldtube.worlds.language.words import TEMPLATES
from worldtube.worlds.world import COLOURS, VALIDATION_SEEDS

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
SHARES = {
    "short": 0.16,
    "medium": 0.2,
    "long": 0.22,
    "subject": 0.12,
    "background": 0.06,
    "camera": 0.1,
    "chronology": 0.14,
}
"""How often each field is asked for."""
TEST_SEEDS = VALIDATION_SEEDS[:200]
TEXTS = 2
"""Of a clip in a step."""
_OPPOSITE = {"left": "right", "right": "left", "left of": "right of", "right of": "left of"}


@dataclass(frozen=True, kw_only=True)
class CaptionerTraining:
    """How long and how fast the captioner learns."""

    network: CaptionerConfig = field(default_factory=CaptionerConfig)
    """Sizes of the network."""
    steps: int = 3000
    """Optimizer steps."""
    batch: int = 32
    """Clips in a step; each is told twice."""
    rate: float = 1.5e-3
    """The highest, after a rise; it falls to nothing."""
    seed: int = 0
    """Of the weights, the order and the wording."""
    dtype: str = "float32"
    """What the network computes in: auto, float32 or bfloat16; the captioner that ships was trained in float32."""
    device: str = "auto"
    """Where it computes: auto, cpu, cuda, mps, or such as cuda:1."""

    def __post_init__(self) -> None:
        check_dtype(self.dtype)
        for name in ("steps", "batch"):
            if getattr(self, name) < 1:
                raise RequestError(f"{name} {getattr(self, name)} is not accepted; 1 or more is")


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """The facts and the evidence of one clip, as it is or in a mirror."""

    truth: Mapping[str, Any]
    evidence: Mapping[str, Tensor]


def lessons(data: Sequence[Path], *, progress: Progress | None = None) -> list[Lesson]:
    """Two of every clip with facts. Raises DataError where there is none."""
    eyes, out = reader.load(), []
    for folder in data:
        catalog = Catalog(folder)
        names = catalog.ids("problem IS NULL AND truth IS NOT NULL")
        for done, name in enumerate(names, 1):
            (row,) = catalog.take([name], ["truth"])
            seen = sight(eyes, catalog.clip(name))
            truth = visible(row["truth"])
            out += [
                Lesson(truth=truth, evidence=evidence(eyes, seen)),
                Lesson(truth=mirrored(truth), evidence=evidence(eyes, seen.mirrored())),
            ]
            if progress is not None:
                progress(done, len(names))
    if not out:
        raise DataError(f"no clips with facts in {', '.join(map(str, data))}")
    return out


def train_file(
    data: Sequence[Path],
    out: Path,
    *,
    config: CaptionerTraining | None = None,
    start: Path | None = None,
    seeds: range = TEST_SEEDS,
    progress: Progress | None = None,
) -> Captioner:
    """Train on the clips of catalogs, measure on true clips of `seeds`, write the weights with what was measured."""
    begun = None if start is None else captioner.load(start)
    known = lessons(data, progress=progress)
    own = train_captioner(known, config=config, start=begun, progress=progress)
    measured = accuracy(own, true_clips(seeds))
    own.accuracy = measured | {"clips": len(seeds), "seeds": [seeds.start, seeds.stop]}
    own.save(out)
    return own


def visible(truth: Mapping[str, Any]) -> dict[str, Any]:
    """The facts that are told: no paths, and of materials only glass; 64 pixels hardly show the others."""
    kept = ("world", "template", "groups", "relations", "event", "events", "objects", "camera")
    out = {
        name: truth[name] for name in (*kept, "ground", "sky", "spilled_fraction") if name in truth
    }
    out["groups"] = [
        group | {"material": group.get("material") if group.get("material") == "glass" else None}
        for group in truth["groups"]
    ]
    return out


def recoloured(lesson: Lesson, order: np.ndarray) -> Lesson:
    """The same lesson with colours exchanged, in the facts and where the reader tells them.

    No training clip shows some pairs of colour and shape; so any pair comes, and the words for one do not hang on the
    other.
    """
    new = {old: COLOURS[int(i)] for old, i in zip(COLOURS, order, strict=True)}
    tracks = lesson.evidence["tracks"].clone()
    first = COLOURS_AT
    tracks[:, first : first + len(COLOURS)][:, torch.from_numpy(order)] = lesson.evidence["tracks"][
        :, first : first + len(COLOURS)
    ]
    truth = dict(lesson.truth)
    for what in ("groups", "objects"):
        truth[what] = [one | {"colour": new[one["colour"]]} for one in lesson.truth.get(what) or ()]
    return Lesson(truth=truth, evidence={**lesson.evidence, "tracks": tracks})


def mirrored(truth: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of the same clip seen in a mirror."""
    out = dict(truth)
    out["groups"] = [
        g | {"motion": _OPPOSITE.get(g["motion"], g["motion"])} for g in truth["groups"]
    ]
    out["relations"] = [
        one | {"relation": _OPPOSITE.get(one["relation"], one["relation"])}
        for one in truth.get("relations") or ()
    ]
    if truth.get("camera"):
        way = truth["camera"].get("direction")
        out["camera"] = truth["camera"] | {"direction": _OPPOSITE.get(way, way)}
    return out


def words() -> list[str]:
    """Every word that the grammar uses: those of its tables, and what tellings of invented facts put between them."""
    rng, found = np.random.default_rng(0), _in_tables(vars(tables))
    for template in TEMPLATES * 40:
        for text in fields(invent(rng, template), rng).values():
            found |= set(split(text))
    return sorted(found)


def _in_tables(value: Any) -> set[str]:
    """Words in a table of tables, its keys left out."""
    if isinstance(value, str):
        return set(split(re.sub(r"\{.*?\}", " ", value)))
    if isinstance(value, Mapping):
        public = [one for name, one in value.items() if not str(name).startswith("_")]
        return {word for one in public for word in _in_tables(one)}
    if isinstance(value, (tuple, list)):
        return {word for one in value for word in _in_tables(one)}
    return set()


def text_of(truth: Mapping[str, Any], name: str, rng: np.random.Generator) -> str:
    return caption(truth, name, rng) if name in LENGTHS else part(truth, name, rng)


def train_captioner(
    known: Sequence[Lesson],
    *,
    config: CaptionerTraining | None = None,
    start: Captioner | None = None,
    progress: Progress | None = None,
) -> Captioner:
    """Learn to write what the grammar tells, from nothing or from `start`. Raises DataError for facts without words."""
    config = config or CaptionerTraining()
    rng = np.random.default_rng(config.seed)
    torch.manual_seed(config.seed)
    network = Network(config.network, words()) if start is None else start.network
    device = find_device(config.device)
    network.to(device).train()
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=config.rate, weight_decay=0.02, betas=(0.9, 0.98)
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.rate, total_steps=config.steps + 1, pct_start=0.06
    )
    for step in range(config.steps):
        picks = [
            recoloured(known[i], rng.permutation(len(COLOURS)))
            for i in rng.integers(len(known), size=config.batch)
        ]
        with autocast(device, config.dtype):
            states, none = network.look([one.evidence for one in picks])
        rows = []
        for clip in range(config.batch * TEXTS):
            name = str(rng.choice(FIELDS, p=[SHARES[field] for field in FIELDS]))
            truth = picks[clip % config.batch].truth
            rows.append((clip % config.batch, network.numbers(name, text_of(truth, name, rng))))
        rows.sort(
            key=lambda row: len(row[1])
        )  # texts of about one length go together: little padding
        loss = torch.zeros((), device=device)
        for first in range(0, len(rows), config.batch // 2 or 1):
            part = rows[first : first + (config.batch // 2 or 1)]
            which = torch.tensor([clip for clip, _ in part], device=device)
            tokens = pad_sequence([torch.tensor(row) for _, row in part], True, PAD).to(device)
            with autocast(device, config.dtype):
                logits = network((states[which], none[which]), tokens[:, :-1]).float()
            loss = loss + F.cross_entropy(
                logits.flatten(0, 1), tokens[:, 1:].flatten(), ignore_index=PAD, reduction="sum"
            )
        loss = loss / sum(len(row) - 1 for _, row in rows)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            logger.info("captioner %d loss %.4f", step, float(loss.detach()))
        if progress is not None:
            progress(step + 1, config.steps)
    return Captioner(network.to("cpu"))
