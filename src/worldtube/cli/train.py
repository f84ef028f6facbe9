"""`train`: the transformer by recipe, fine-tuning; the codec and the reader with loops of their own; `report`."""

from pathlib import Path
from typing import Annotated, Any, Literal

from worldtube.cli.arguments import folder_exists, parse, positional, seeds_of
from worldtube.cli.bar import Bar


def train(rest: list[str]) -> int:
    from worldtube.errors import unknown

    if rest and rest[0] == "codec":
        from worldtube.train.codec import command

        print(command(rest[1:], bar=Bar))
        return 0
    if rest and rest[0] == "reader":
        return reader(rest[1:])
    if rest and rest[0] == "finetune":
        return finetune(rest[1:])
    from worldtube.train.recipes import RECIPES

    if not rest or rest[0].startswith("-"):
        recipes = "\n".join(f"  {name:<10}{line}" for name, (line, _) in RECIPES.items())
        print(HELP.format(recipes=recipes))
        return 0
    if rest[0] not in RECIPES:
        raise unknown("recipe", rest[0], [*RECIPES, "finetune", "codec", "reader"])
    import tyro

    from worldtube.train.config import TrainConfig

    def command(
        *,
        data: list[Path],
        out: Path,
        codec: Path | None = None,
        start: Path | None = None,
        validation: list[Path] | None = None,
        track: list[str] | None = None,
        on: Literal["here", "ray"] = "here",
        workers: int = 2,
        threads: int | None = None,
        config: Annotated[TrainConfig, tyro.conf.arg(name="")] = RECIPES[rest[0]][1],
    ) -> Any:
        """Train the transformer; goes on where it stopped, to the bit.

        Args:
            data: folders of catalogs with latents and words
            out: folder of the run: checkpoints, record, report.html, sample sheets, model.safetensors
            codec: model file whose codec made the latents; the embedded model when not said
            start: begin from the weights in this model file
            validation: folders of catalogs to measure the loss on; none when not said
            track: tensorboard, trackio or wandb, which get the numbers of the record too
            on: here, in this process or as torchrun started it; or in workers of Ray
            workers: of Ray, with parallel ddp when not said otherwise
            threads: torch threads; torch's own choice when not said
        """
        return data, out, codec, start, validation, track, on, workers, threads, config

    data, out, codec, start, validation, track, on, workers, threads, config = parse(
        command, f"train {rest[0]}", rest[1:]
    )
    from worldtube.models.local import embedded_path

    folder_exists(out)
    where: dict[str, Any] = {
        "data": data,
        "codec": codec or embedded_path(),
        "out": out,
        "start": start,
    }
    where |= {"validation": validation or [], "track": track or []}
    if on == "ray":
        from dataclasses import replace

        from worldtube.train.on_ray import launch

        if workers > 1 and config.parallel == "none":
            config = replace(config, parallel="ddp")
        print(launch(config, workers=workers, **where))
        return 0
    if threads:
        import torch

        torch.set_num_threads(threads)
    from worldtube.train.loop import train as run

    with Bar(f"training {rest[0]}") as bar:
        run(config, progress=bar, **where)
    print(out / "model.safetensors")
    return 0


HELP = """usage: worldtube train RECIPE --data CATALOG [CATALOG ...] --out DIR [--steps N ...]
       worldtube train finetune --data DATASET [DATASET ...] --out DIR [--lora RANK | --full]

{recipes}
  finetune  the model that ships, or another, on clips of your own, in minutes
  codec     the video compression network (its own loop)
  reader    the network that `evaluate` reads clips with (its own loop, in one sitting)

worldtube train RECIPE --help lists every setting. A run goes on where it stopped, to the bit, also after
a kill: give the same command again. Its folder holds the record, report.html and model.safetensors.

Several processes, on one machine or many, share a run; it learns from the same samples:
  torchrun --nproc-per-node 2 -m worldtube train laptop --parallel ddp --data D --out R
  torchrun --nproc-per-node 8 -m worldtube train gpu --parallel fsdp --sequence 2 --data D --out R
  worldtube train laptop --on ray --workers 2 --data D --out R

Try:
  worldtube record tabletop --out clips --count 200 && worldtube cache clips
  worldtube train tiny --data clips --out run --steps 50 && worldtube report run"""


def finetune(rest: list[str]) -> int:
    """`train finetune`: the arguments after it."""

    def command(
        *,
        data: list[Path],
        out: Path,
        model: Path | None = None,
        lora: int = 16,
        full: bool = False,
        steps: int = 200,
        rows: int = 8,
        rate: float | None = None,
        validation: list[Path] | None = None,
        track: list[str] | None = None,
        threads: int | None = None,
    ) -> Any:
        """Fine-tune a model on clips of your own; goes on where it stopped. Minutes on a CPU.

        Args:
            data: datasets of captioned clips; what they lack of latents and words is computed first
            out: folder of the run: before.png and after.png (the datasets' own captions), model.safetensors
            model: the model file to begin from; the embedded model when not said
            lora: rank of the adapters that are trained beside the weights, and merged into them at the end
            full: train the weights themselves; learns more, and forgets more
            steps: optimizer steps
            rows: clips in a batch
            rate: peak learning rate; 3e-3 for adapters and 3e-4 for weights when not said
            validation: datasets to measure the loss on; none when not said
            track: tensorboard, trackio or wandb, which get the numbers of the record too
            threads: torch threads; torch's own choice when not said
        """
        return data, out, model, 0 if full else lora, steps, rows, rate, validation, track, threads

    data, out, model, rank, steps, rows, rate, validation, track, threads = parse(
        command, "train finetune", rest
    )
    from worldtube.models import local
    from worldtube.train import finetune as tuning

    folder_exists(out)
    if threads:
        import torch

        torch.set_num_threads(threads)
    config = tuning.finetune_config(local.load(model), rank=rank, steps=steps, rows=rows, rate=rate)
    print(
        tuning.finetune(
            data,
            out,
            model=model,
            config=config,
            bar=Bar,
            validation=validation or [],
            track=track or [],
        )
    )
    return 0


def report(rest: list[str]) -> int:
    def command(run: Path, *, out: Path | None = None) -> Any:
        """Write a run's record, sample sheets and settings as one page that needs nothing else.

        Args:
            run: folder of a run of `worldtube train`
            out: file to write; report.html in the run's folder when not said
        """
        return run, out

    run, out = parse(positional(command, "run"), "report", rest)
    from worldtube.train.report import write

    if out is not None:
        folder_exists(out)
    print(write(run, out))
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
