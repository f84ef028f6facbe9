"""How often the reader itself is right: true clips read and scored as made ones are.

Owns which true clips those are. Knows nothing of how the reader learned.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from worldtube.evaluate.adherence import of_truth, score, summary
from worldtube.reader import Reader
from worldtube.reader.network import SIDE
from worldtube.video import Clip, Size

NATIVE = Size(SIDE, SIDE)
WORLDS_IN_TURN = ("tabletop", "tabletop", "tabletop", "tabletop", "pour")
"""About the shares of the held-out prompts."""


def true_clips(
    seeds: Iterable[int],
    worlds: tuple[str, ...] = WORLDS_IN_TURN,
    *,
    size: Size = NATIVE,
    num_frames: int = 25,
) -> Iterable[tuple[Clip, Mapping[str, Any]]]:
    """Clips and truths of these seeds, recorded now, of the worlds in turn."""
    from worldtube.worlds.record import record

    for i, seed in enumerate(seeds):
        clip, _, truth = record(worlds[i % len(worlds)], seed, size, num_frames=num_frames)
        yield clip, truth


def accuracy(
    eyes: Reader,
    clips: Iterable[tuple[Clip, Mapping[str, Any]]],
    told: Callable[[int], None] = lambda done: None,
) -> dict[str, Any]:
    """Shares of true facts that are read right, as `adherence.summary` gives them, and the same for each world."""
    scores: dict[str, list[dict[str, list[bool]]]] = {}
    for i, (clip, truth) in enumerate(clips):
        scores.setdefault(truth["world"], []).append(score(of_truth(truth), eyes.read(clip)))
        told(i + 1)
    every = [one for some in scores.values() for one in some]
    return summary(every) | {"worlds": {name: summary(some) for name, some in scores.items()}}
