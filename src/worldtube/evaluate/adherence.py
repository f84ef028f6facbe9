"""Does a clip show what its words say: prompts with facts, one clip each, read and scored.

Owns the prompts file's format, the scoring of facts against a reading, and the controls that stand beside the scores:
the reader's accuracy on true clips, and the same readings scored against other prompts. Knows nothing of how a clip
is read.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

from worldtube import reader
from worldtube.errors import DataError, NotFound, RequestError, unknown
from worldtube.generate import engine
from worldtube.generate.engine import Generated
from worldtube.generate.request import Request
from worldtube.models.model import VideoModel
from worldtube.reader import Group, Reading
from worldtube.reader.network import EVENTS
from worldtube.worlds.world import COLOURS, MOTIONS, SHAPES, SIZES

Progress = Callable[[int, int], None]
KEYS = ("colour_shape", "colour", "shape", "count", "motion", "size", "event")
BATCH = 8
"""Clips that are made in one packed row; each equals the clip made alone up to rounding."""
SECONDS = 2.0
PROMPTS = ("heldout", "heldout_de", "heldout_es", "heldout_fr", "heldout_zh")
"""Held-out prompts that ship inside the package. They measure only: no training and no tuning may use them."""
_FACTS = {
    "colour": COLOURS,
    "shape": SHAPES,
    "size": SIZES,
    "motion": MOTIONS,
    "count": tuple(range(1, 10)),
}


class Scored(Protocol):
    """What was found in a clip or a state."""

    @property
    def groups(self) -> tuple[Group, ...]: ...

    @property
    def event(self) -> str | None: ...


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a prompts file."""

    prompt: str
    facts: tuple[Mapping[str, Any], ...] = ()
    event: str | None = None


def embedded_prompts(name: str = "heldout") -> Path:
    """The file of the held-out prompts of this name, one of `PROMPTS`."""
    if name not in PROMPTS:
        raise unknown("prompts", name, PROMPTS)
    return Path(str(resources.files("worldtube.evaluate") / "prompts" / f"{name}.jsonl"))


def read_prompts(path: Path | str) -> list[Line]:
    """Lines of {"prompt": ..., "facts": [...], "event": ...}; every fact's key may be absent or null.

    Args:
        path: a file, or one of `PROMPTS` where no file has that name.
    """
    path = Path(path)
    if not path.is_file() and str(path) in PROMPTS:
        path = embedded_prompts(str(path))
    if not path.is_file():
        raise NotFound(
            f"no prompts at {path} (JSON lines with a prompt and its facts are accepted, or one of "
            f"{', '.join(PROMPTS)})"
        )
    out = []
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if text.strip():
            out.append(_line(text, f"{path}, line {number}"))
    if not out:
        raise DataError(f"{path} holds no prompts")
    return out


def _line(text: str, where: str) -> Line:
    try:
        raw = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{where} is not JSON ({error})") from error
    if (
        not isinstance(raw, dict)
        or not isinstance(raw.get("prompt"), str)
        or not raw["prompt"].strip()
    ):
        raise DataError(f"{where} has no prompt; an object with a non-empty 'prompt' is accepted")
    facts = read_facts(raw.get("facts"), where)
    event = raw.get("event")
    if event is not None and event not in EVENTS[1:]:
        raise DataError(f"{where}: event {event!r} is not accepted ({', '.join(EVENTS[1:])} are)")
    return Line(prompt=raw["prompt"], facts=facts, event=event)


def read_facts(facts: Any, where: str) -> tuple[Mapping[str, Any], ...]:
    """Facts as a file has them, checked; None are none."""
    facts = facts or []
    if not isinstance(facts, list) or not all(isinstance(fact, dict) for fact in facts):
        raise DataError(f"{where}: facts {facts!r} are not a list of objects")
    for fact in facts:
        for key, value in fact.items():
            if key not in _FACTS:
                raise unknown(f"fact in {where}", str(key), _FACTS)
            if value is not None and value not in _FACTS[key]:
                accepted = ", ".join(map(str, _FACTS[key]))
                raise DataError(f"{where}: {key} {value!r} is not accepted ({accepted} are)")
    return tuple(facts)


def of_truth(truth: Mapping[str, Any]) -> Line:
    """A true clip's facts as a line, so that the reader is scored as a model is."""
    facts = [
        {key: group[key] for key in _FACTS if group.get(key) is not None}
        for group in truth["groups"]
    ]
    return Line(prompt="", facts=tuple(facts), event=truth["event"])


def score(line: Line, reading: Scored) -> dict[str, list[bool]]:
    """Every fact that the line states, right or wrong, by kind of fact.

    A fact about a thing that is not there is wrong: count, size and motion are those of the group with the stated
    colour and shape.
    """
    out: dict[str, list[bool]] = {key: [] for key in KEYS}
    groups = reading.groups
    for fact in line.facts:
        fact = {key: value for key, value in fact.items() if value is not None}
        named = [key for key in ("colour", "shape") if key in fact]
        mine = [g for g in groups if all(getattr(g, key) == fact[key] for key in named)]
        if named:
            out["colour_shape"].append(bool(mine))
        for key in named:
            out[key].append(any(getattr(g, key) == fact[key] for g in groups))
        if "count" in fact:
            out["count"].append(sum(g.count for g in mine) == fact["count"])
        for key in ("motion", "size"):
            if key in fact:
                out[key].append(
                    bool(mine) and getattr(max(mine, key=lambda g: g.count), key) == fact[key]
                )
    if line.event is not None:
        out["event"].append(reading.event == line.event)
    return out


def summary(scores: Sequence[Mapping[str, Sequence[bool]]]) -> dict[str, Any]:
    """Shares of right facts by kind (null where none was stated), how many there were, and 95 % intervals."""
    right = {key: sum(sum(s[key]) for s in scores) for key in KEYS}
    number = {key: sum(len(s[key]) for s in scores) for key in KEYS}
    shares = {key: right[key] / number[key] if number[key] else None for key in KEYS}
    return {
        **shares,
        "n": number,
        "interval": {key: wilson(right[key], number[key]) for key in KEYS},
    }


def wilson(right: int, number: int, z: float = 1.96) -> list[float] | None:
    """The interval of Wilson (1927) for a share; None of nothing."""
    if number == 0:
        return None
    share, reach = right / number, z * z / number
    middle = (share + reach / 2) / (1 + reach)
    half = z / (1 + reach) * math.sqrt(share * (1 - share) / number + reach / (4 * number))
    return [round(max(0.0, middle - half), 4), round(min(1.0, middle + half), 4)]


def measure(
    model: VideoModel,
    *,
    seeds: range | None = None,
    prompts: Path | None = None,
    count: int | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Make one clip per prompt (seed: the line's number, or from `seeds`), read it, score every stated fact.

    Args:
        options: of every request, such as `physics`, `renderer` and `no_state`

    Returns:
        Scores from pixels; where clips were made by way of their state, `state` are the scores of the same prompts with
        these clips read from their states, so that a miss is told to be of the plan and dynamics or of the picture.
    """
    lines = read_prompts(prompts or embedded_prompts())
    if count is not None and count < 1:
        raise RequestError(f"count {count} is not accepted; 1 or more is")
    lines = lines[:count]
    if seeds is not None and len(seeds) < len(lines):
        raise RequestError(
            f"{len(seeds)} seeds are not enough for {len(lines)} prompts; a seed for each is accepted"
        )
    eyes = reader.load()
    clips = make(
        model,
        [line.prompt for line in lines],
        seeds=range(len(lines)) if seeds is None else seeds,
        progress=progress,
        **options,
    )
    readings = [eyes.read(clip) for clip in clips]
    told = {"measure": "adherence", "model": model.name, "prompts": len(lines)} | options
    told |= compare(lines, readings, eyes)
    with_state = sum(clip.state is not None for clip in clips)  # with water too
    if with_state:
        told |= {"clips_with_state": with_state, "state": _read_states(lines, clips, readings)}
    return told


def _read_states(
    lines: Sequence[Line], clips: Sequence[Generated], readings: Sequence[Reading]
) -> dict[str, Any]:
    """Scores read from the states of clips; from the pixels of those that have none, or water."""
    from worldtube.evaluate.state import read_motion

    seen = [
        read_motion(clip.state) if clip.state is not None and clip.state.water is None else reading
        for clip, reading in zip(clips, readings, strict=True)
    ]
    return summary([score(line, reading) for line, reading in zip(lines, seen, strict=True)])


def compare(
    lines: Sequence[Line], readings: Sequence[Reading], eyes: reader.Reader
) -> dict[str, Any]:
    """Scores of readings against their lines, with the controls."""
    scores = summary([score(line, reading) for line, reading in zip(lines, readings, strict=True)])
    # The words of other lines: what is right by chance.
    others = []
    for shift in sorted({max(1, len(lines) * k // 4) for k in (1, 2, 3)}) if len(lines) > 1 else ():
        others += [score(line, readings[(i + shift) % len(lines)]) for i, line in enumerate(lines)]
    return {
        **scores,
        "reader": eyes.accuracy,
        "no_text": summary(others) if others else None,
    }


def make(
    model: VideoModel,
    prompts: Sequence[str],
    *,
    seeds: Sequence[int],
    progress: Progress | None = None,
    **options: Any,
) -> list[Generated]:
    """A clip of two seconds for each prompt, some at a time. options: of every request."""
    requests = [
        Request(prompt=prompt, seconds=SECONDS, seed=seed, **options)
        for prompt, seed in zip(prompts, seeds, strict=False)
    ]
    clips: list[Generated] = []
    for start in range(0, len(requests), BATCH):
        clips += engine.generate(model, requests[start : start + BATCH], batch=BATCH)
        if progress is not None:
            progress(len(clips), len(requests))
    return clips
