"""`record` and `cache`: clips of worlds, and what training needs of them."""

from pathlib import Path
from typing import Any

from worldtube.cli.arguments import folder_exists, parse, positional
from worldtube.cli.bar import Bar


def record(rest: list[str]) -> int:
    def command(
        world: str,
        *,
        out: Path,
        count: int = 1000,
        first_seed: int = 0,
        size: str = "64x64",
        frames: int = 25,
        shots: int = 1,
        processes: int | None = None,
    ) -> Any:
        """Simulate a world and record clips with captions and truth; goes on where it stopped.

        Args:
            world: one of the worlds (`worldtube info` lists them)
            out: folder of the catalog; made when it does not exist
            count: clips, seeds first_seed to first_seed + count - 1
            first_seed: 0 to 7,999,999 are for training, 8,000,000 to 8,999,999 for validation
            size: width x height in pixels
            frames: of each clip, at 12 a second; 1 + a multiple of 4 wastes none
            shots: cameras on each episode, a clip each (the first is the seed's own)
            processes: all cores when not said
        """
        return world, out, count, first_seed, size, frames, shots, processes

    world, out, count, first_seed, size, frames, shots, processes = parse(
        positional(command, "world"), "record", rest
    )
    from worldtube.data.ingest import record_world
    from worldtube.errors import RequestError
    from worldtube.video import Size

    if count < 1:
        raise RequestError(f"count {count} is not accepted; 1 or more is")
    folder_exists(out)
    with Bar(f"recording {world}") as bar:
        record_world(
            world,
            seeds=range(first_seed, first_seed + count),
            size=Size.parse(size),
            out=out,
            num_frames=frames,
            shots=shots,
            processes=processes,
            progress=bar,
        )
    print(out)
    return 0


def cache(rest: list[str]) -> int:
    def command(data: Path, *, codec: Path | None = None) -> Any:
        """Compute the latents and text states of a catalog's clips, once.

        Args:
            data: folder of a catalog
            codec: model file whose codec to use; the embedded model when not said
        """
        return data, codec

    data, codec = parse(positional(command, "data"), "cache", rest)
    from worldtube.data.catalog import Catalog
    from worldtube.data.latents import cache_latents, cache_tails, cache_text, cache_truth
    from worldtube.models.local import embedded_path, load_codec
    from worldtube.text.encoder import TextEncoder

    codec = codec or embedded_path()
    network, version = load_codec(codec)
    with Catalog(data, mode="a") as catalog:
        with Bar("latents") as bar:
            clips = cache_latents(catalog, network, version=version, progress=bar)
        with Bar("latents of second pieces") as bar:
            cache_tails(catalog, network, version=version, progress=bar)
        with Bar("truth") as bar:
            cache_truth(catalog, network.stride, progress=bar)
        with Bar("words") as bar:
            texts = cache_text(catalog, TextEncoder(), progress=bar)
        catalog.compact()
    print(
        f"{data}: latents of {clips} clips and words of {texts} clips were missing and are there now"
    )
    return 0
