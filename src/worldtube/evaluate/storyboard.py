"""Do the same things stay the same things across cuts: scripts of several shots, made, cut and read shot by shot.

Owns the scripts file's format and what it is that two shots agree in. Knows nothing of how a clip is made or read.
"""

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from worldtube import reader
from worldtube.errors import DataError, NotFound, RequestError
from worldtube.evaluate.adherence import Line, read_facts, score, summary, wilson
from worldtube.generate import engine, layout
from worldtube.generate.request import Request
from worldtube.generate.tasks import TASKS
from worldtube.models.model import VideoModel
from worldtube.reader import Group, Reading
from worldtube.reader.network import SIDE
from worldtube.video import Clip, Size
from worldtube.worlds.world import HELD_OUT, VALIDATION_SEEDS

Progress = Callable[[int, int], None]
SECONDS = 2.0
"""Of every shot."""
KEYS = ("colour", "shape", "count", "all")
TRUE_WORLD = "tabletop"


@dataclass(frozen=True, kw_only=True)
class Script:
    """The words of every shot, and the facts that hold in all of them."""

    shots: tuple[str, ...]
    facts: tuple[Mapping[str, Any], ...] = ()


def embedded_scripts() -> Path:
    """The held-out scripts that ship inside the package."""
    return Path(str(resources.files("worldtube.evaluate") / "prompts" / "scripts.jsonl"))


def read_scripts(path: Path | str) -> list[Script]:
    """Lines of {"shots": ["...", "...", ...], "facts": [...]}, facts as in a prompts file."""
    path = Path(path)
    if not path.is_file():
        raise NotFound(f"no scripts at {path} (JSON lines with shots and facts are accepted)")
    out = []
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if text.strip():
            out.append(_script(text, f"{path}, line {number}"))
    if not out:
        raise DataError(f"{path} holds no scripts")
    return out


def _script(text: str, where: str) -> Script:
    try:
        raw = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{where} is not JSON ({error})") from error
    shots = raw.get("shots") if isinstance(raw, dict) else None
    if not isinstance(shots, list) or len(shots) < 2:
        raise DataError(f"{where} has no shots; an object with words for 2 or more is accepted")
    if not all(isinstance(words, str) and words.strip() for words in shots):
        raise DataError(f"{where}: shots {shots!r} are not all words")
    return Script(shots=tuple(shots), facts=read_facts(raw.get("facts"), where))


def cut(model: VideoModel, request: Request, frames: np.ndarray, fps: float) -> list[Clip]:
    """A made storyboard's shots, cut where the request says."""
    lengths: list[int] = []
    for piece in layout.plan(model, request).pieces:
        if piece.cut or not lengths:
            lengths.append(0)
        lengths[-1] += piece.num_frames
    return [Clip(frames=part, fps=fps) for part in np.split(frames, np.cumsum(lengths)[:-1])]


def seen(fact: Mapping[str, Any], reading: Reading) -> Group | None:
    """What stands in a shot for a named thing: the group of its colour and shape, else one of its shape, else one of
    its colour."""
    wanted = {key: fact[key] for key in ("shape", "colour") if fact.get(key) is not None}
    for keys in (tuple(wanted), ("shape",), ("colour",)):
        found = [
            group
            for group in reading.groups
            if keys and all(key in wanted and getattr(group, key) == wanted[key] for key in keys)
        ]
        if found:
            return max(found, key=lambda group: group.count)
    return None


def agree(script: Script, readings: Sequence[Reading]) -> dict[str, list[bool]]:
    """For every named thing and every cut: is what is seen before it what is seen after it, by `KEYS`.

    What stands for a thing in neither shot agrees in nothing.
    """
    out: dict[str, list[bool]] = {key: [] for key in KEYS}
    for fact in script.facts:
        for before, after in itertools.pairwise(readings):
            a, b = seen(fact, before), seen(fact, after)
            same = {
                key: a is not None and b is not None and getattr(a, key) == getattr(b, key)
                for key in ("colour", "shape", "count")
            }
            for key, value in (same | {"all": all(same.values())}).items():
                out[key].append(value)
    return out


def shares(agreed: Sequence[Mapping[str, Sequence[bool]]]) -> dict[str, Any]:
    """By what was to agree: the share that did, of how many, and its interval of 95 %."""
    out = {}
    for key in KEYS:
        right, number = (
            sum(sum(one[key]) for one in agreed),
            sum(len(one[key]) for one in agreed),
        )
        out[key] = {
            "agree": right / number if number else None,
            "of": number,
            "interval": wilson(right, number),
        }
    return out


def measure(
    model: VideoModel,
    *,
    seeds: range | None = None,
    prompts: Path | None = None,
    count: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Make a storyboard of each script (seed: the line's number, or from `seeds`) and read it shot by shot.

    `across_cuts` is how often what stands for a named thing is the same on both sides of a cut; beside it the same for
    things of held-out pairs of colour and shape alone, for as many true episodes filmed three times, and for shots of
    different scripts put together. `words` scores every shot against the facts.
    """
    if count is not None and count < 1:
        raise RequestError(f"count {count} is not accepted; 1 or more is")
    scripts = read_scripts(prompts or embedded_scripts())[:count]
    if seeds is not None and len(seeds) < len(scripts):
        raise RequestError(
            f"{len(seeds)} seeds are not enough for {len(scripts)} scripts; a seed for each is accepted"
        )
    eyes = reader.load()
    told = progress or (lambda done, total: None)
    readings = []
    for i, (script, seed) in enumerate(
        zip(scripts, range(len(scripts)) if seeds is None else seeds, strict=False)
    ):
        request = TASKS["storyboard"](*script.shots, seconds=(SECONDS,), seed=seed)
        made = engine.generate(model, [request])[0]
        shots = cut(model, request, made.frames, made.fps)
        readings.append([eyes.read(shot) for shot in shots])
        told(i + 1, 2 * len(scripts))
    true = true_episodes(eyes, len(scripts), lambda n: told(len(scripts) + n, 2 * len(scripts)))
    return {"measure": "storyboard", "model": model.name, "scripts": len(scripts)} | compare(
        scripts, readings, true, eyes
    )


def true_episodes(
    eyes: reader.Reader, count: int, told: Callable[[int], None]
) -> list[tuple[Script, list[Reading]]]:
    """Held-out episodes, each filmed by three cameras, with their facts as a script's."""
    from worldtube.worlds.record import record

    out = []
    for i in range(count):
        clips, truth = [], {}
        for shot in range(3):
            clip, _, truth = record(TRUE_WORLD, VALIDATION_SEEDS[i], Size(SIDE, SIDE), shot=shot)
            clips.append(clip)
        facts = tuple(
            {key: group[key] for key in ("colour", "shape", "count")} for group in truth["groups"]
        )
        words = tuple(clip.caption for clip in clips)
        out.append((Script(shots=words, facts=facts), [eyes.read(clip) for clip in clips]))
        told(i + 1)
    return out


def compare(
    scripts: Sequence[Script],
    readings: Sequence[Sequence[Reading]],
    true: Sequence[tuple[Script, Sequence[Reading]]],
    eyes: reader.Reader,
) -> dict[str, Any]:
    """Agreement across cuts and with the words, with the controls."""
    every = list(zip(scripts, readings, strict=True))
    new = [
        (Script(shots=one.shots, facts=facts), shots)
        for one, shots in every
        if (facts := tuple(f for f in one.facts if (f.get("colour"), f.get("shape")) in HELD_OUT))
    ]
    mixed = [
        (one, [shots[0], *readings[(i + 1) % len(readings)][1:2]])
        for i, (one, shots) in enumerate(every)
        if len(every) > 1
    ]
    groups = {"made": every, "held_out_pairs": new, "true_clips": true, "other_scripts": mixed}
    told = {name: shares([agree(*pair) for pair in pairs]) for name, pairs in groups.items()}
    table = {
        key: told["made"][key]
        | {name: told[name][key]["agree"] for name in groups if name != "made"}
        for key in KEYS
    }
    lines = [
        (Line(prompt=words, facts=one.facts), reading)
        for one, shots in every
        for words, reading in zip(one.shots, shots, strict=True)
    ]
    words = summary([score(line, reading) for line, reading in lines])
    return {
        "across_cuts": table,
        "words": {
            key: {
                "score": words[key],
                "of": words["n"][key],
                "interval": words["interval"][key],
                "reader": eyes.accuracy.get(key),
            }
            for key in ("colour_shape", "colour", "shape", "count", "size")
        },
    }
