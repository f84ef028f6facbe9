"""`train`: the transformer by recipe, or the codec with its own loop."""

from pathlib import Path
from typing import Annotated, Any

from worldtube.cli.arguments import folder_exists, parse
from worldtube.cli.bar import Bar


def train(rest: list[str]) -> int:
    from worldtube.errors import unknown

    if rest and not rest[0].startswith("-") and rest[0] == "codec":
        from worldtube.train.codec import command

        return command(rest[1:], bar=Bar)
    from worldtube.train.recipes import RECIPES

    if not rest or rest[0].startswith("-"):
        print(
            "usage: worldtube train RECIPE --data CATALOG [CATALOG ...] --codec MODEL --out DIR [--steps N ...]\n"
        )
        print("\n".join(f"  {name:<8}{line}" for name, (line, _) in RECIPES.items()))
        print("  codec   the video compression network (its own loop)\n")
        print("worldtube train RECIPE --help lists every setting. A run goes on where it stopped.")
        return 0
    if rest[0] not in RECIPES:
        raise unknown("recipe", rest[0], [*RECIPES, "codec"])
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
