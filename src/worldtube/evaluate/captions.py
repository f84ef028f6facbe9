"""Are captions true: each field read with the prompts' grammar, and what it says held against the engine's facts.

Owns the scoring. Knows nothing of how captions are written: the grammar's own captions of the same facts are scored
beside them, so that a mistake of the reading shows, and the same captions against other clips' facts.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from worldtube.errors import RequestError
from worldtube.evaluate.adherence import wilson
from worldtube.models.model import VideoModel
from worldtube.reader import captioner
from worldtube.text.rewrite import Scene, Unread, read
from worldtube.video import Clip
from worldtube.worlds import language
from worldtube.worlds.language.facts import read as read_facts
from worldtube.worlds.world import VALIDATION_SEEDS

Progress = Callable[[int, int], None]
Truth = Mapping[str, Any]
KEYS = ("colour", "shape", "count", "size", "motion", "order", "background", "camera")
RECALL = ("things", "events")
BATCH = 20
_HAPPENS = {"tipped": "toppled"}


def score(text: str, truth: Truth) -> dict[str, list[bool]]:
    """Everything that a text says, right or wrong, by kind; and of `things` and `events` which it tells.

    A thing of the text is that of the truth with which it agrees most. `order`: the events told are among the true
    ones, in their order. `read`: whether the text could be read at all.
    """
    out: dict[str, list[bool]] = {key: [] for key in (*KEYS, *RECALL, "read")}
    try:
        scene = read(text)
    except Unread:
        out["read"].append(False)
        return out
    out["read"].append(True)
    left = list(truth["groups"])
    for thing in scene.things:
        said = {key: getattr(thing, key) for key in ("colour", "shape", "size", "count", "motion")}
        if thing.tilted:
            said["motion"] = "rest"
        said = {key: value for key, value in said.items() if value is not None}
        if "colour" not in said:
            continue  # "the box" without one named before
        near = max(left, key=lambda group: _agreement(said, group), default=None)
        if near is not None:
            left.remove(near)
        for key, value in said.items():
            out[key].append(near is not None and near[key] == value)
    if not scene.things:
        return _around(scene, truth, out)
    out["things"] = [
        any((t.colour, t.shape) == (group["colour"], group["shape"]) for t in scene.things)
        for group in truth["groups"]
    ]
    told, true = (
        _told(scene),
        [_HAPPENS.get(one.kind, one.kind) for one in read_facts(truth).happenings],
    )
    if told:
        out["order"].append(_within(told, true))
    if any(thing.motion or thing.tilted for thing in scene.things):  # not the subject alone
        out["events"] = [kind in told for kind in dict.fromkeys(true)]
    return _around(scene, truth, out)


def _around(scene: Scene, truth: Truth, out: dict[str, list[bool]]) -> dict[str, list[bool]]:
    for name in ("ground", "sky"):
        if getattr(scene, name) is not None:
            out["background"].append(getattr(scene, name) == truth[name])
    if scene.camera is not None:
        true_camera = truth["camera"]
        out["camera"].append(scene.camera == (true_camera["kind"], true_camera["direction"]))
    return out


def _agreement(said: Mapping[str, Any], group: Mapping[str, Any]) -> int:
    weights = {"colour": 8, "shape": 6}
    return sum(weights.get(key, 1) for key, value in said.items() if group[key] == value)


def _told(scene: Scene) -> list[str]:
    """Kinds of events in the order told; what is knocked over was hit and falls over."""
    out: list[str] = []
    for one in scene.happenings:
        out += ["hit", "toppled"] if one.kind == "over" else [one.kind]
    return [kind for i, kind in enumerate(out) if i == 0 or kind != out[i - 1]]


def _within(told: Sequence[str], true: Sequence[str]) -> bool:
    rest = iter(true)
    return all(kind in rest for kind in told)


def summary(scores: Sequence[Mapping[str, Sequence[bool]]]) -> dict[str, Any]:
    """Shares of right statements by kind (None where none was made), how many there were, and 95 % intervals."""
    keys = (*KEYS, *RECALL, "read")
    right = {key: sum(sum(one[key]) for one in scores) for key in keys}
    number = {key: sum(len(one[key]) for one in scores) for key in keys}
    shares = {key: right[key] / number[key] if number[key] else None for key in keys}
    return {
        **shares,
        "n": number,
        "interval": {key: wilson(right[key], number[key]) for key in keys},
    }


def compare(texts: Sequence[Mapping[str, str]], truths: Sequence[Truth]) -> dict[str, Any]:
    """Scores of all fields together and of each, with the controls."""
    grammar = [language.fields(truth, np.random.default_rng(i)) for i, truth in enumerate(truths)]
    shift = max(1, len(truths) // 3)
    others = [*truths[shift:], *truths[:shift]]

    def scored(
        told: Sequence[Mapping[str, str]], facts: Sequence[Truth], name: str
    ) -> list[dict[str, list[bool]]]:
        return [
            score(one[name], truth) for one, truth in zip(told, facts, strict=True) if one.get(name)
        ]

    fields = {name: summary(scored(texts, truths, name)) for name in language.FIELDS}

    def together(told: Sequence[Mapping[str, str]], facts: Sequence[Truth]) -> dict[str, Any]:
        return summary([one for name in language.FIELDS for one in scored(told, facts, name)])

    return {
        **together(texts, truths),
        "fields": fields,
        "true_captions": {name: summary(scored(grammar, truths, name)) for name in language.FIELDS},
        "no_text": together(texts, others),
    }


def accuracy(
    own: captioner.Captioner,
    clips: Iterable[tuple[Clip, Truth]],
    told: Callable[[int], None] = lambda done: None,
    *,
    temperature: float = 0.0,
) -> dict[str, Any]:
    """`compare` of what a captioner writes of true clips."""
    texts, truths, waiting = [], [], []
    for clip, truth in clips:
        waiting.append(own.read(clip))
        truths.append(truth)
        told(len(truths))
        if len(waiting) == BATCH:
            texts += own.tell(waiting, temperature=temperature)
            waiting = []
    texts += own.tell(waiting, temperature=temperature)
    return compare(texts, truths)


def measure(
    model: VideoModel | None,
    *,
    seeds: range | None = None,
    prompts: Path | None = None,
    count: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The re-captioner that ships against the engines' facts on true clips of both worlds, whatever the model."""
    from worldtube.evaluate.accuracy import true_clips

    if prompts is not None:
        raise RequestError(f"the measure captions takes no prompts, got {prompts}; adherence does")
    if count is not None and count < 1:
        raise RequestError(f"count {count} is not accepted; 1 or more is")
    seeds = VALIDATION_SEEDS[:200] if seeds is None else seeds
    seeds = seeds[:count]
    result = accuracy(
        captioner.load(),
        true_clips(seeds),
        lambda done: progress(done, len(seeds)) if progress is not None else None,
    )
    return {"measure": "captions", "clips": len(seeds)} | result
