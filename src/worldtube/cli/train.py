"""`train`: the transformer by recipe; the codec and the reader with loops of their own."""

from pathlib import Path
from typing import Annotated, Any

from worldtube.cli.arguments import folder_exists, parse, seeds_of
from worldtube.cli.bar import Bar


def train(rest: list[str]) -> int:
    from worldtube.errors import unknown

    if rest and rest[0] == "codec":
        from worldtube.train.codec import command

        print(command(rest[1:], bar=Bar))
        return 0
    if rest and rest[0] == "reader":
        return reader(rest[1:])
    if rest and rest[0] == "ladder":
        return ladder(rest[1:])
    from worldtube.train.recipes import RECIPES

    if not rest or rest[0].startswith("-"):
        print(
            "usage: worldtube train RECIPE --data CATALOG [CATALOG ...] --codec MODEL --out DIR [--steps N ...]\n"
        )
        print("\n".join(f"  {name:<8}{line}" for name, (line, _) in RECIPES.items()))
        print("  ladder  many small runs, the scaling law that they follow, and how far it holds")
        print("  codec   the video compression network (its own loop)")
        print(
            "  reader  the network that `evaluate` reads clips with (its own loop, in one sitting)\n"
        )
        print("worldtube train RECIPE --help lists every setting. A run goes on where it stopped.")
        return 0
    if rest[0] not in RECIPES:
        raise unknown("recipe", rest[0], [*RECIPES, "codec", "reader", "ladder"])
    import tyro

    from worldtube.train.loop import TrainConfig
    from worldtube.train.loop import train as run

    def command(
        *,
        data: list[Path],
        out: Path,
        codec: Path | None = None,
        start: Path | None = None,
        threads: int | None = None,
        config: Annotated[TrainConfig, tyro.conf.arg(name="")] = RECIPES[rest[0]][1],
    ) -> Any:
        """Train the transformer; goes on where it stopped, to the bit.

        Args:
            data: folders of catalogs with latents and words
            out: folder of the run: checkpoint, record, sample sheets, model.safetensors
            codec: model file whose codec made the latents; the embedded model when not said
            start: begin from the weights in this model file
            threads: torch threads; torch's own choice when not said
        """
        return data, out, codec, start, threads, config

    data, out, codec, start, threads, config = parse(command, f"train {rest[0]}", rest[1:])
    from worldtube.models.local import embedded_path

    folder_exists(out)
    if threads:
        import torch

        torch.set_num_threads(threads)
    with Bar(f"training {rest[0]}") as bar:
        run(config, data=data, codec=codec or embedded_path(), out=out, start=start, progress=bar)
    print(out / "model.safetensors")
    return 0


def reader(rest: list[str]) -> int:
    """`train reader`: the arguments after it."""
    import tyro

    from worldtube.evaluate.reader.training import TEST_SEEDS, ReaderConfig, train_file

    usual = ReaderConfig()

    def command(
        *,
        data: list[Path],
        out: Path,
        seeds: str = f"{TEST_SEEDS.start}:{TEST_SEEDS.stop}",
        threads: int | None = None,
        config: Annotated[ReaderConfig, tyro.conf.arg(name="")] = usual,
    ) -> Any:
        """Train the network that `evaluate` reads clips with, on true clips, and measure it on others.

        Args:
            data: folders of catalogs; seeds 8,500,000 and up show all colours on all shapes, have some
            out: weight file to write, which holds what was measured too
            seeds: A:B, seeds A to B - 1 of the true clips that it is measured on; not those of `data`
            threads: torch threads; torch's own choice when not said
        """
        return data, out, seeds, threads, config

    data, out, seeds, threads, config = parse(command, "train reader", rest)
    folder_exists(out)
    chosen = seeds_of(seeds)
    if threads:
        import torch

        torch.set_num_threads(threads)
    with Bar("training reader") as bar:
        train_file(data, out, config=config, seeds=chosen, progress=bar)
    print(out)
    return 0


def ladder(rest: list[str]) -> int:
    """`train ladder`: the arguments after it."""
    from worldtube.errors import unknown
    from worldtube.records import read
    from worldtube.train.ladder import LADDERS, climb

    def command(
        *,
        out: Path,
        size: str = "laptop",
        data: list[Path] | None = None,
        validation: Path | None = None,
        codec: Path | None = None,
        processes: int | None = None,
    ) -> Any:
        """Runs of several budgets and sizes, and the law L(N, D) of their loss; goes on where it stopped.

        Args:
            out: folder of the ladder: runs, record.jsonl, ladder.png, compute.png
            size: how large a ladder (tiny, ci, laptop)
            data: folders of catalogs with latents and words; clips are recorded when not said
            validation: folder of a catalog to measure on; recorded when not said
            codec: model file whose codec made the latents; the embedded model when not said
            processes: runs at a time; all cores when not said
        """
        return out, size, data, validation, codec, processes

    out, size, data, validation, codec, processes = parse(command, "train ladder", rest)
    if size not in LADDERS:
        raise unknown("ladder", size, LADDERS)
    folder_exists(out)
    with Bar(f"ladder {size}") as bar:
        record = climb(
            LADDERS[size][1],
            out=out,
            data=data,
            validation=validation,
            codec=codec,
            processes=processes,
            progress=bar,
        )
    held = read(record)[1][-1]["held_out"]
    print(
        f"{record}: loss {held['loss']:.4f} at {held['budget']:.3g} FLOPs, foretold {held['predicted']:.4f} "
        f"({held['error']:+.1%})"
    )
    return 0
