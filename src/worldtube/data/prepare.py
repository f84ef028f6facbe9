"""What a dataset needs before training: latents, latents of second pieces, truth maps and text states.

Owns which stages there are; `latents` computes them. Knows nothing of batches or training.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from worldtube.data.caption import need
from worldtube.data.catalog import Catalog
from worldtube.data.latents import Progress, cache_latents, cache_tails, cache_text, cache_truth
from worldtube.models.local import load_codec
from worldtube.text.encoder import TextEncoder

Bar = Callable[[str], AbstractContextManager[Progress | None]]
"""Makes the progress bar of a stage from its name."""


def no_bar(stage: str) -> AbstractContextManager[None]:
    """Show nothing."""
    return nullcontext()


def prepare_dataset(
    folder: Path,
    codec: Path,
    *,
    captions: str | None = None,
    text: bool = True,
    device: str = "auto",
    bar: Bar = no_bar,
) -> tuple[int, int]:
    """Compute of a dataset's clips what training reads and is not there yet.

    Args:
        folder: of the dataset.
        codec: model file whose codec makes the latents.
        captions: captioner whose words are encoded (a key of `CAPTIONERS`); the recorded captions when None.
        text: whether text states are computed at all.
        device: where the codec computes.
        bar: makes the progress bar of each stage that has something to do.

    Returns:
        How many clips had no latents, and how many had no text states.

    Raises:
        NotFound: the captioner has no captions in this dataset.
        DataError: the codec can take nothing of some clips, or the disk is full.
    """
    network, version = load_codec(codec, device=device)
    catalog = Catalog(folder, mode="r+")
    if captions is not None:
        need(catalog, captions)  # before the latents, which take long
    with bar(f"latents of {folder.name}") as progress:
        clips = cache_latents(catalog, network, version=version, progress=progress)
    with bar(f"latents of second pieces of {folder.name}") as progress:
        cache_tails(catalog, network, version=version, progress=progress)
    with bar(f"truth of {folder.name}") as progress:
        cache_truth(catalog, network.stride, progress=progress)
    texts = 0
    if text:
        with bar(f"words of {folder.name}") as progress:
            texts = cache_text(catalog, TextEncoder(), captions=captions, progress=progress)
    catalog.compact()
    return clips, texts
