"""Measures: how good codec, model and reader are, on inputs that no training saw. Owns `MEASURES`.

A measure is a function (model, *, seeds, prompts, count, progress) -> a JSON-able result.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from worldtube.errors import RequestError
from worldtube.evaluate import adherence, captions, drift, motion, seam, sizes, storyboard
from worldtube.models.model import VideoModel
from worldtube.worlds.world import VALIDATION_SEEDS

Progress = Callable[[int, int], None]


def _reconstruction(
    model: VideoModel,
    *,
    seeds: range | None = None,
    prompts: Path | None = None,
    count: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """PSNR, SSIM and a perceptual distance of the model's codec on clips of both worlds, in turn by seed."""
    from worldtube.evaluate.reconstruction import measure
    from worldtube.worlds import WORLDS
    from worldtube.worlds.record import record

    _no_prompts("reconstruction", prompts)
    codec = getattr(model, "codec", None)
    if codec is None:
        raise RequestError(f"the model {model.name} has no codec to measure; a local model has one")
    seeds = _some(seeds, count, 200)
    names = sorted(WORLDS)
    clips = []
    for i, seed in enumerate(seeds):
        clips.append(record(names[i % len(names)], seed, model.size)[0])
        if progress is not None:
            progress(i + 1, len(seeds))
    told = {"measure": "reconstruction", "model": model.name, "clips": len(clips)}
    return told | measure(codec, clips)


def _reader(
    model: VideoModel | None,
    *,
    seeds: range | None = None,
    prompts: Path | None = None,
    count: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The reader's accuracy on true clips of both worlds, in turn by seed; the model does not matter."""
    from worldtube import reader
    from worldtube.evaluate import accuracy

    _no_prompts("reader", prompts)
    seeds = _some(seeds, count, 200)
    told = progress or (lambda done, total: None)
    result = accuracy.accuracy(
        reader.load(), accuracy.true_clips(seeds), lambda done: told(done, len(seeds))
    )
    return {"measure": "reader", "clips": len(seeds)} | result


def _some(seeds: range | None, count: int | None, usual: int) -> range:
    if count is not None and count < 1:
        raise RequestError(f"count {count} is not accepted; 1 or more is")
    seeds = VALIDATION_SEEDS[: count or usual] if seeds is None else seeds
    return seeds[:count]


def _no_prompts(name: str, prompts: Path | None) -> None:
    if prompts is not None:
        raise RequestError(
            f"the measure {name} takes no prompts, got {prompts}; adherence, motion, drift, sizes and storyboard do"
        )


MEASURES: dict[str, Callable[..., dict[str, Any]]] = {
    "adherence": adherence.measure,
    "captions": captions.measure,
    "drift": drift.measure,
    "motion": motion.measure,
    "reader": _reader,
    "reconstruction": _reconstruction,
    "seam": seam.measure,
    "sizes": sizes.measure,
    "storyboard": storyboard.measure,
}
"""Name -> measure."""
WITH_OPTIONS = ("adherence", "motion")
"""Measures that take options of the requests they make."""
