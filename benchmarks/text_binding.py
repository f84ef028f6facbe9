"""Which token states can tell whose colour it is? Prints one JSON record.

A small probe (one learned query per question attends over the states of a text, a linear layer
answers) is trained on captions and asked "what colour is the ball?", "how does the box move?", "how
many cups are there?". It is tested on new captions, on (colour, shape) pairs that training never
had, on pairs of texts that differ only by swapped colours, on the held-out prompts in free wording
and on simple German, French and Chinese. Candidates are parts of the encoder's states; each is
probed bare and behind one self-attention layer, as the transformer's text blocks have.
"""

import argparse
import json
import platform
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from worldtube.text.encoder import EMBEDDING, TextEncoder
from worldtube.worlds.language import caption, invent
from worldtube.worlds.language.words import COLOUR_WORDS, MOTIONS, SHAPE_WORDS
from worldtube.worlds.world import HELD_OUT

COLOURS, SHAPES = tuple(COLOUR_WORDS), tuple(SHAPE_WORDS)
CLASSES = {"colour": COLOURS, "motion": MOTIONS, "count": (1, 2, 3, 4)}
QUESTIONS = [(what, shape) for what in CLASSES for shape in SHAPES]
PROMPTS = Path(__file__).parents[1] / "src/worldtube/evaluate/prompts/heldout.jsonl"
Example = tuple[str, dict[tuple[str, str], int]]

GERMAN = {
    "colours": dict(
        zip(
            COLOURS,
            ["rot", "orangefarben", "gelb", "grün", "blau", "violett", "weiß", "schwarz"],
            strict=True,
        )
    ),
    "shapes": dict(
        zip(
            SHAPES,
            (
                ("Ball", "Bälle"),
                ("Würfel", "Würfel"),
                ("Zylinder", "Zylinder"),
                ("Becher", "Becher"),
            ),
            strict=True,
        )
    ),
    "counts": ("ein", "zwei", "drei", "vier"),
    "motions": {
        "right": ("bewegt sich nach rechts", "bewegen sich nach rechts"),
        "left": ("bewegt sich nach links", "bewegen sich nach links"),
        "fall": ("fällt herunter", "fallen herunter"),
        "rest": ("steht still", "stehen still"),
    },
}
FRENCH = {
    "colours": {
        "red": ("rouge", "rouge"),
        "orange": ("orange", "orange"),
        "yellow": ("jaune", "jaune"),
        "green": ("vert", "verte"),
        "blue": ("bleu", "bleue"),
        "purple": ("violet", "violette"),
        "white": ("blanc", "blanche"),
        "black": ("noir", "noire"),
    },
    "shapes": {
        "ball": ("balle", 1),
        "box": ("cube", 0),
        "cylinder": ("cylindre", 0),
        "cup": ("tasse", 1),
    },
    "motions": {
        "right": ("va vers la droite", "vont vers la droite"),
        "left": ("va vers la gauche", "vont vers la gauche"),
        "fall": ("tombe", "tombent"),
        "rest": ("reste immobile", "restent immobiles"),
    },
}
CHINESE = {
    "colours": dict(
        zip(COLOURS, ["红色", "橙色", "黄色", "绿色", "蓝色", "紫色", "白色", "黑色"], strict=True)
    ),
    "shapes": {"ball": "球", "box": "方块", "cylinder": "圆柱体", "cup": "杯子"},
    "motions": {"right": "向右移动", "left": "向左移动", "fall": "掉下来", "rest": "静止不动"},
}


def german(group: dict) -> str:
    several = group["count"] > 1
    ending = "e" if several else "er"
    noun = GERMAN["shapes"][group["shape"]][several]
    colour = GERMAN["colours"][group["colour"]] + ending
    motion = GERMAN["motions"][group["motion"]][several]
    return f"{GERMAN['counts'][group['count'] - 1]} {colour} {noun} {motion}"


def french(group: dict) -> str:
    several = group["count"] > 1
    noun, feminine = FRENCH["shapes"][group["shape"]]
    colour = FRENCH["colours"][group["colour"]][feminine]
    if several:
        noun, colour = f"{noun}s", colour if colour == "orange" else f"{colour}s"
    number = ("une" if feminine else "un", "deux", "trois", "quatre")[group["count"] - 1]
    return f"{number} {noun} {colour} {FRENCH['motions'][group['motion']][several]}"


def chinese(group: dict) -> str:
    number = "一两三四"[group["count"] - 1]
    colour, shape = CHINESE["colours"][group["colour"]], CHINESE["shapes"][group["shape"]]
    return f"{number}个{colour}的{shape}{CHINESE['motions'][group['motion']]}"


def answers(groups: list[dict], *, whole: bool = True) -> dict[tuple[str, str], int]:
    """What may be asked: the first group's facts, of the others only the colour unless `whole`."""
    out = {}
    for index, group in enumerate(groups):
        if sum(other["shape"] == group["shape"] for other in groups) > 1:
            continue  # "the ball" would be either
        for what, values in CLASSES.items():
            if group.get(what) in values and (whole or index == 0 or what == "colour"):
                out[what, group["shape"]] = values.index(group[what])
    return out


def captions(count: int, seed: int, *, held_out: bool | None) -> list[Example]:
    """Captions of invented facts, all with (True) or all without (False) a held-out pair."""
    rng, out = np.random.default_rng(seed), []
    while len(out) < count:
        truth = invent(rng)
        pairs = [(group["colour"], group["shape"]) in HELD_OUT for group in truth["groups"]]
        if held_out is not None and held_out != any(pairs):
            continue
        text = caption(truth, ("short", "medium", "medium")[len(out) % 3], rng)
        told = [g for i, g in enumerate(truth["groups"]) if i == 0 or g["colour"] in text.lower()]
        if truth["template"] == "pour":  # a held cup that tilts is neither at rest nor moving
            told = [{**group, "motion": None} for group in told]
        asked = answers(told, whole=False)
        if held_out:  # ask only for the colours that were never seen on that shape
            unseen = {g["shape"] for g in told if (g["colour"], g["shape"]) in HELD_OUT}
            asked = {q: a for q, a in asked.items() if q[0] != "colour" or q[1] in unseen}
        if len(told) == len(truth["groups"]) and asked:
            out.append((text, asked))
    return out


def simple(count: int, seed: int, tell) -> list[Example]:
    """One or two groups in another language, pairs as they come."""
    rng, out = np.random.default_rng(seed), []
    for i in range(count):
        shapes = rng.permutation(SHAPES)[: 1 + i % 2]
        groups = [
            {
                "count": int(rng.integers(1, 5)),
                "colour": COLOURS[rng.integers(8)],
                "shape": str(shape),
                "motion": MOTIONS[rng.integers(4)],
            }
            for shape in shapes
        ]
        link = {german: " und ", french: " et ", chinese: "\uff0c"}[tell]
        out.append((link.join(tell(group) for group in groups), answers(groups)))
    return out


def swaps(count: int, seed: int) -> list[Example]:
    """ "a red ball and a blue box", "a blue ball and a red box": both must be right to count."""
    rng, out = np.random.default_rng(seed), []
    frames = ("a {} {} and a {} {}", "a {} {} next to a {} {}", "there is a {} {}, and a {} {}")
    for i in range(count):
        shapes, colours = rng.permutation(SHAPES)[:2], rng.permutation(COLOURS)[:2]
        for one, two in (colours, colours[::-1]):
            text = (
                frames[i % 3]
                .format(one, shapes[0], two, shapes[1])
                .replace("a orange", "an orange")
            )
            colours_of = zip(shapes, (one, two), strict=True)
            asked = {("colour", str(shape)): COLOURS.index(c) for shape, c in colours_of}
            out.append((text, asked))
    return out


def free_wording() -> list[Example]:
    rows = [json.loads(line) for line in PROMPTS.read_text().splitlines()]
    return [(row["prompt"], asked) for row in rows if (asked := answers(row["facts"]))]


class Probe(nn.Module):
    """One query per question over the states; `refine` puts one self-attention layer before it."""

    def __init__(self, width: int, *, refine: bool, shared: bool):
        super().__init__()
        self.refine = refine
        hidden = 128 if refine else width
        if refine:
            self.inner = nn.Linear(width, hidden)
            self.place = nn.Parameter(torch.randn(64, hidden) * 0.1)
            self.layer = nn.TransformerEncoderLayer(
                hidden, 4, 256, dropout=0.0, batch_first=True, norm_first=True
            )
        self.key = nn.Linear(hidden, 64)
        self.query = nn.Parameter(torch.randn(len(QUESTIONS), 64) * 0.1)
        self.value = nn.Linear(hidden, 128)
        # With shared heads an answer can carry over to a shape that it was never given for; a head
        # of a question's own learns that such an answer never comes. The gate lets one state answer
        # for several shapes.
        self.gate = nn.Parameter(torch.ones(len(QUESTIONS), 128)) if shared else None
        kinds = [what for what, _ in QUESTIONS]
        heads = {what: nn.Linear(128, len(CLASSES[what])) for what in CLASSES}
        self.heads = nn.ModuleList(
            heads[what] if shared else nn.Linear(128, len(CLASSES[what])) for what in kinds
        )

    def forward(self, states: Tensor, absent: Tensor) -> list[Tensor]:
        x = states  # (B, S, E)
        if self.refine:
            x = self.layer(self.inner(x) + self.place[: x.shape[1]], src_key_padding_mask=absent)
        scores = torch.einsum("qd,bsd->bqs", self.query, self.key(x)) / 8
        weights = scores.masked_fill(absent[:, None], -torch.inf).softmax(-1)
        pooled = weights @ self.value(x)  # (B, Q, 128)
        if self.gate is not None:
            pooled = pooled * self.gate
        return [head(pooled[:, i]) for i, head in enumerate(self.heads)]


def pack(states: list[Tensor]) -> tuple[Tensor, Tensor]:
    padded = nn.utils.rnn.pad_sequence(states, batch_first=True)
    lengths = torch.tensor([len(one) for one in states])
    return padded, torch.arange(padded.shape[1])[None] >= lengths[:, None]


def targets(examples: list[Example]) -> Tensor:
    out = torch.full((len(examples), len(QUESTIONS)), -1)
    for row, (_, asked) in enumerate(examples):
        for question, answer in asked.items():
            out[row, QUESTIONS.index(question)] = answer
    return out


def fit(
    states: list[Tensor], wanted: Tensor, *, refine: bool, shared: bool, steps: int, seed: int
) -> Probe:
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    probe = Probe(states[0].shape[1], refine=refine, shared=shared)
    optimizer = torch.optim.AdamW(probe.parameters(), lr=2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, steps)
    for _ in range(steps):
        pick = torch.randint(len(states), (64,), generator=generator)
        outputs = probe(*pack([states[i].float() for i in pick]))
        loss = (
            torch.stack(
                [
                    nn.functional.cross_entropy(
                        out, wanted[pick, i], ignore_index=-1, reduction="sum"
                    )
                    for i, out in enumerate(outputs)
                ]
            ).sum()
            / 64
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return probe.eval()


@torch.inference_mode()
def score(probe: Probe, states: list[Tensor], wanted: Tensor) -> tuple[dict[str, float], Tensor]:
    """Accuracy per kind of question, and per example whether all of its answers are right."""
    right = torch.zeros_like(wanted, dtype=torch.bool)
    for start in range(0, len(states), 128):
        rows = slice(start, start + 128)
        for i, out in enumerate(probe(*pack([one.float() for one in states[rows]]))):
            right[rows, i] = out.argmax(-1) == wanted[rows, i]
    asked = wanted >= 0
    found = {}
    for what in CLASSES:
        of = torch.tensor([question[0] == what for question in QUESTIONS])
        if (asked & of).any():
            found[what] = round(right[asked & of].float().mean().item(), 3)
    return found, (right | ~asked).all(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", type=int, default=2400, help="captions to train on")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--heads", choices=("shared", "own"), default="shared")
    parser.add_argument("--only", nargs="*", help="candidates to probe; all of them by default")
    options = parser.parse_args()
    torch.set_num_threads(1)
    encoder, started = TextEncoder(), time.perf_counter()
    encoder.encode(["warm"])
    load_seconds = time.perf_counter() - started
    sets = {
        "train": captions(options.train, 1, held_out=False),
        "same": captions(400, 2, held_out=False),
        "held_out_pairs": captions(400, 3, held_out=True),
        "swapped": swaps(150, 4),
        "free_wording": free_wording(),
        "german": simple(150, 5, german),
        "french": simple(150, 6, french),
        "chinese": simple(150, 7, chinese),
    }
    started = time.perf_counter()
    states = {
        name: [one.half() for one in encoder.encode([t for t, _ in rows])]
        for name, rows in sets.items()
    }
    texts = sum(len(rows) for rows in sets.values())
    encode_ms = 1000 * (time.perf_counter() - started) / texts
    sentences = {name: encoder.sentence([t for t, _ in rows]) * 22.6 for name, rows in sets.items()}
    wanted = {name: targets(rows) for name, rows in sets.items()}

    def sentence(name: str) -> list[Tensor]:
        return list(sentences[name][:, None])

    def joined(name: str) -> list[Tensor]:
        return [
            torch.cat([one.float(), row.expand(len(one), -1)], 1)
            for one, row in zip(states[name], sentences[name], strict=True)
        ]

    candidates = {
        "static_512": lambda name: [one[:, :EMBEDDING] for one in states[name]],
        "ngram_768": lambda name: [one[:, EMBEDDING:] for one in states[name]],
        "both_1280": lambda name: states[name],
        "sentence_512": sentence,
        "both_and_sentence_1792": joined,
    }
    results = {}
    for candidate, take in candidates.items():
        if options.only and candidate not in options.only:
            continue
        for refine in (False, True):
            if refine and candidate == "sentence_512":
                continue  # one state has nothing to attend to
            began = time.perf_counter()
            probe = fit(
                take("train"),
                wanted["train"],
                refine=refine,
                shared=options.heads == "shared",
                steps=options.steps,
                seed=options.seed,
            )
            row: dict = {"train_seconds": round(time.perf_counter() - began, 1)}
            for name in list(sets)[1:]:
                row[name], whole = score(probe, take(name), wanted[name])
                if name == "swapped":
                    row[name]["both_texts_right"] = round(
                        whole.view(-1, 2).all(1).float().mean().item(), 3
                    )
            results[candidate + ("+attention" if refine else "")] = row
    record = {
        "what": "text_binding",
        "encoder": encoder.name,
        "version": encoder.version,
        "machine": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "load_seconds": round(load_seconds, 2),
        "encode_ms_per_text": round(encode_ms, 2),
        "train": options.train,
        "steps": options.steps,
        "heads": options.heads,
        "seed": options.seed,
        "texts": {name: len(rows) for name, rows in sets.items()},
        "results": results,
    }
    print(json.dumps(record, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
