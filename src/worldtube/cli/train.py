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
    if rest and rest[0] == "captioner":
        return captioner(rest[1:])
    if rest and rest[0] == "wording":
        return wording(rest[1:])
    from worldtube.train.recipes import RECIPES

    if not rest or rest[0].startswith("-"):
        print(
            "usage: worldtube train RECIPE --data CATALOG [CATALOG ...] --codec MODEL --out DIR [--steps N ...]\n"
        )
        print("\n".join(f"  {name:<8}{line}" for name, (line, _) in RECIPES.items()))
        print("  codec   the video compression network (its own loop)")
        print(
            "  reader  the network that `evaluate` reads clips with (its own loop, in one sitting)"
        )
        print("  captioner  the network that writes captions (its own loop, in one sitting)")
        print(
            "  wording  what captions are worth: the same training with short, dense, mixed or own ones\n"
        )
        print("worldtube train RECIPE --help lists every setting. A run goes on where it stopped.")
        return 0
    if rest[0] not in RECIPES:
        raise unknown("recipe", rest[0], [*RECIPES, "codec", "reader", "captioner", "wording"])
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

    from worldtube.train.reader import TEST_SEEDS, ReaderConfig, train_file

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


def captioner(rest: list[str]) -> int:
    """`train captioner`: the arguments after it."""
    import tyro

    from worldtube.train.captioner import TEST_SEEDS, CaptionerTraining, train_file

    usual = CaptionerTraining()

    def command(
        *,
        data: list[Path],
        out: Path,
        start: Path | None = None,
        seeds: str = f"{TEST_SEEDS.start}:{TEST_SEEDS.stop}",
        threads: int | None = None,
        config: Annotated[CaptionerTraining, tyro.conf.arg(name="")] = usual,
    ) -> Any:
        """Train the network that captions clips, on engine-made ones, and measure it on others.

        Args:
            data: folders of catalogs of engine-made clips
            out: weight file to write, which holds what was measured too
            start: begin from this weight file's network
            seeds: A:B, seeds A to B - 1 of the true clips that it is measured on; not those of `data`
            threads: torch threads; torch's own choice when not said
        """
        return data, out, start, seeds, threads, config

    data, out, start, seeds, threads, config = parse(command, "train captioner", rest)
    folder_exists(out)
    chosen = seeds_of(seeds)
    if threads:
        import torch

        torch.set_num_threads(threads)
    with Bar("training captioner") as bar:
        train_file(data, out, config=config, start=start, seeds=chosen, progress=bar)
    print(out)
    return 0


def wording(rest: list[str]) -> int:
    """`train wording`: the arguments after it."""
    import json as text

    import tyro

    from worldtube.evaluate.report import table
    from worldtube.models.local import embedded_path
    from worldtube.train.wording import Wording, WordingConfig, rows

    usual = WordingConfig()

    def command(
        *,
        data: Path,
        out: Path,
        start: Path | None = None,
        threads: int | None = None,
        json: bool = False,
        config: Annotated[WordingConfig, tyro.conf.arg(name="")] = usual,
    ) -> Any:
        """Train the same small model on the same clips with other captions, and measure what each understands.

        Args:
            data: folder of a catalog with latents and words, and for the arm `own` captions by own
            out: folder of the runs; what is trained there is not trained again
            start: model file that all arms begin from, its words forgotten; the embedded model when not said
            threads: torch threads; torch's own choice when not said
            json: print one JSON object
        """
        return data, out, start, threads, json, config

    data, out, start, threads, as_json, config = parse(command, "train wording", rest)
    folder_exists(out)
    if threads:
        import torch

        torch.set_num_threads(threads)
    with Bar("training wording") as bar:
        result = Wording(data=data, out=out, start=start or embedded_path(), config=config).run(
            lambda name, step, steps: bar(step, steps)
        )
    print(text.dumps(result) if as_json else table(rows(result)))
    return 0
