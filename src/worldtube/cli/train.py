"""`train`: the transformer by recipe, and what has a word of its own; `report`: a run as a page."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from worldtube.cli.arguments import folder_exists, parse, positional, seeds_of
from worldtube.cli.bar import Bar


def train(rest: list[str]) -> int:
    from worldtube.errors import unknown

    if rest and rest[0] in OWN:
        return OWN[rest[0]][1](rest[1:])
    from worldtube.train.recipes import RECIPES

    if not rest or rest[0].startswith("-"):
        lines = {name: line for name, (line, _) in (RECIPES | OWN).items()}
        print(HELP.format(words="\n".join(f"  {name:<11}{line}" for name, line in lines.items())))
        return 0
    if rest[0] not in RECIPES:
        raise unknown("recipe", rest[0], [*RECIPES, *OWN])
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
            on: here, in this process or as torchrun started it; or in workers of Ray, without a progress bar
            workers: of Ray, with parallel ddp when not said otherwise
            threads: torch threads; torch's own choice when not said, one for a worker of Ray
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
        print(launch(config, workers=workers, threads=threads, **where))
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

{words}

worldtube train RECIPE --help lists every setting. A run goes on where it stopped, to the bit, also after
a kill: give the same command again. Its folder holds the record, report.html and model.safetensors.

Several processes, on one machine or many, share a run; it learns from the same samples:
  torchrun --nproc-per-node 2 -m worldtube train laptop --parallel ddp --data D --out R
  torchrun --nproc-per-node 8 -m worldtube train gpu --parallel fsdp --sequence 2 --data D --out R
  worldtube train laptop --on ray --workers 2 --data D --out R

Try:
  worldtube record tabletop --out clips --count 200 && worldtube cache clips
  worldtube train tiny --data clips --out run --steps 50 && worldtube report run"""


def codec(rest: list[str]) -> int:
    """`train codec`: the arguments after it."""
    import tyro

    from worldtube.train.codec import CodecTrainConfig

    usual = CodecTrainConfig()

    def command(
        *,
        data: list[Path],
        out: Path,
        validation: list[Path] | None = None,
        num_validation: int = 50,
        start: Path | None = None,
        megabytes: int = 4000,
        threads: int | None = None,
        config: Annotated[CodecTrainConfig, tyro.conf.arg(name="")] = usual,
    ) -> Any:
        """Train the video compression network; goes on where it stopped, to the bit.

        Args:
            data: folders of catalogs to learn from
            out: folder of the run: checkpoint, record, sample sheets, codec.safetensors
            validation: folders of catalogs to measure on; none when not said
            num_validation: clips to measure on, as many from each
            start: begin from the codec in this model file, its decoder made deeper if asked for
            megabytes: bound on the memory for clips
            threads: torch threads; torch's own choice when not said
        """
        return data, out, validation, num_validation, start, megabytes, threads, config

    data, out, validation, num_validation, start, megabytes, threads, config = parse(
        command, "train codec", rest
    )
    folder_exists(out)
    from worldtube.codec.autoencoder import deepen
    from worldtube.data.catalog import Catalog
    from worldtube.models.local import load_codec
    from worldtube.train.codec import WEIGHTS, train_codec
    from worldtube.train.pools import read_pools

    if threads:
        import torch

        torch.set_num_threads(threads)
    pools = read_pools([Catalog(path) for path in data], megabytes=megabytes)
    clips = []
    for path in validation or ():
        catalog = Catalog(path)
        names = catalog.ids("problem IS NULL")
        each = max(1, num_validation // len(validation or ()))
        clips += [catalog.clip(name) for name in names[:each]]
    network = None
    if start is not None:
        network, _ = load_codec(start)
        fine, coarse = map(max, network.config.decoder_blocks, config.codec.decoder_blocks)
        network = deepen(network, (fine, coarse))
    with Bar("training codec") as progress:
        train_codec(config, pools, out, validation=clips, start=network, progress=progress)
    print(out / WEIGHTS)
    return 0


def finetune(rest: list[str]) -> int:
    """`train finetune`: the arguments after it."""
    from worldtube.errors import RequestError

    def command(
        *,
        data: list[Path],
        out: Path,
        model: Path | None = None,
        view: str = "",
        lora: int | None = None,
        full: bool = False,
        steps: int = 200,
        rows: int = 8,
        rate: float | None = None,
        device: str = "auto",
        dtype: str = "auto",
        validation: list[Path] | None = None,
        track: list[str] | None = None,
        threads: int | None = None,
    ) -> Any:
        """Fine-tune a model on clips of your own; goes on where it stopped. Minutes on a CPU.

        Args:
            data: datasets of captioned clips; what they lack of latents and words is computed first
            out: folder of the run: before.png and after.png (the datasets' own captions), model.safetensors
            model: the model file to begin from; the embedded model when not said
            view: saved view that clips must be in (`worldtube data view`); all when not said
            lora: rank of the adapters that are trained beside the weights, and merged into them at the end; 16
                when not said
            full: train the weights themselves; learns more, and forgets more
            steps: optimizer steps
            rows: clips in a batch
            rate: peak learning rate; 3e-3 for adapters and 3e-4 for weights when not said
            device: where it computes: auto, cpu, cuda, mps, or such as cuda:1
            dtype: what the network computes in: float32 or bfloat16; auto is the fastest here
            validation: datasets to measure the loss on, completed like those of data; none when not said
            track: tensorboard, trackio or wandb, which get the numbers of the record too
            threads: torch threads; torch's own choice when not said
        """
        if full and lora:
            raise RequestError(
                f"--full and --lora {lora} are not accepted together; one of both is"
            )
        how = {"steps": steps, "rows": rows, "rate": rate, "view": view}
        how |= {"device": device, "dtype": dtype}
        if full or lora is not None:
            how["rank"] = 0 if full else lora
        return data, out, model, how, validation, track, threads

    data, out, model, how, validation, track, threads = parse(command, "train finetune", rest)
    from worldtube.models import local
    from worldtube.train import finetune as tuning

    folder_exists(out)
    if threads:
        import torch

        torch.set_num_threads(threads)
    config = tuning.finetune_config(local.load(model, device="cpu"), **how)
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


def ladder(rest: list[str]) -> int:
    """`train ladder`: the arguments after it."""
    from dataclasses import replace

    from worldtube.device import find_device, find_dtype
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
        device: str = "auto",
        dtype: str | None = None,
    ) -> Any:
        """Runs of several budgets and sizes, and the law L(N, D) of their loss; goes on where it stopped.

        Args:
            out: folder of the ladder: runs, record.jsonl, ladder.png, compute.png
            size: how large a ladder (tiny, ci, laptop)
            data: folders of catalogs with latents and words; clips are recorded when not said
            validation: folder of a catalog to measure on; recorded when not said
            codec: model file whose codec made the latents; the embedded model when not said
            processes: runs at a time; all cores when not said
            device: where runs compute: auto, cpu, cuda, mps, or such as cuda:1
            dtype: what runs compute in: float32 or bfloat16, auto for the fastest here; the ladder's own when not said
        """
        return out, size, data, validation, codec, processes, device, dtype

    out, size, data, validation, codec, processes, device, dtype = parse(
        command, "train ladder", rest
    )
    if size not in LADDERS:
        raise unknown("ladder", size, LADDERS)
    folder_exists(out)
    config = replace(LADDERS[size][1], device=device)
    if dtype is not None:
        chosen = find_dtype(dtype, find_device(device))
        config = replace(config, dtype=str(chosen).removeprefix("torch."))
    with Bar(f"ladder {size}") as bar:
        record = climb(
            config,
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


def dynamics(rest: list[str]) -> int:
    """`train dynamics`: the arguments after it."""
    import tyro

    from worldtube.train.dynamics import DynamicsTrainConfig

    defaults = DynamicsTrainConfig()

    def command(
        *,
        out: Path,
        simulations: int = 4000,
        start: Path | None = None,
        threads: int | None = None,
        config: Annotated[DynamicsTrainConfig, tyro.conf.arg(name="")] = defaults,
    ) -> Any:
        """Train the learned dynamics of rigid bodies. The motion to learn from is simulated first.

        Args:
            out: folder of the run: simulations, checkpoints, record, dynamics.safetensors
            simulations: how many clips of motion are simulated, a tenth of a megabyte each
            start: begin with the weights in this file
            threads: torch threads; torch's own choice by default
        """
        return out, simulations, start, threads, config

    out, simulations, start, threads, config = parse(command, "train dynamics", rest)
    folder_exists(out)
    if threads:
        import torch

        torch.set_num_threads(threads)
    from worldtube.models.parts import load_part
    from worldtube.train.dynamics import WEIGHTS, train_dynamics
    from worldtube.train.simulations import Simulations, make_simulations
    from worldtube.worlds.world import VALIDATION_SEEDS

    first = VALIDATION_SEEDS.start
    for name, seeds in (("train", range(simulations)), ("validation", range(first, first + 200))):
        with Bar(f"simulating ({name})") as bar:
            make_simulations(out / "simulations" / name, seeds, progress=bar)
    with Bar("training dynamics") as bar:
        train_dynamics(
            config,
            Simulations(out / "simulations" / "train"),
            out,
            validation=Simulations(out / "simulations" / "validation"),
            start=None if start is None else load_part("dynamics", start),
            progress=bar,
        )
    print(out / WEIGHTS)
    return 0


def renderer(rest: list[str]) -> int:
    """`train renderer`: the arguments after it."""
    import tyro

    from worldtube.train.renderer import RendererTrainConfig
    from worldtube.video import Size

    defaults = RendererTrainConfig()

    def command(
        *,
        out: Path,
        simulations: int = 4000,
        size: str = "128x128",
        codec: Path | None = None,
        start: Path | None = None,
        threads: int | None = None,
        config: Annotated[RendererTrainConfig, tyro.conf.arg(name="")] = defaults,
    ) -> Any:
        """Train the learned renderer. The pictures to learn from are simulated, drawn and encoded first.

        Args:
            out: folder of the run: pictures, checkpoints, record, renderer.safetensors
            simulations: how many clips are simulated; each gives eight latent frames in four looks
            size: width x height of the pictures in pixels
            codec: model file whose codec encodes them; the embedded model by default
            start: begin with the weights in this file
            threads: torch threads; torch's own choice by default
        """
        return out, simulations, size, codec, start, threads, config

    out, simulations, size, path, start, threads, config = parse(command, "train renderer", rest)
    folder_exists(out)
    pixels = Size.parse(size)
    if threads:
        import torch

        torch.set_num_threads(threads)
    from worldtube.models.local import embedded_path, load_codec
    from worldtube.models.parts import load_part
    from worldtube.train.pictures import Pictures, make_pictures
    from worldtube.train.renderer import WEIGHTS, train_renderer
    from worldtube.worlds.world import VALIDATION_SEEDS

    network, _ = load_codec(path or embedded_path())
    first = VALIDATION_SEEDS.start
    for name, seeds in (("train", range(simulations)), ("validation", range(first, first + 100))):
        with Bar(f"drawing ({name})") as bar:
            make_pictures(out / "pictures" / name, network, seeds, pixels, progress=bar)
    with Bar("training renderer") as bar:
        train_renderer(
            config,
            Pictures.read(out / "pictures" / "train"),
            network,
            out,
            validation=Pictures.read(out / "pictures" / "validation"),
            start=None if start is None else load_part("renderer", start),
            progress=bar,
        )
    print(out / WEIGHTS)
    return 0


def planner(rest: list[str]) -> int:
    """`train planner`: the arguments after it."""
    import tyro

    from worldtube.train.planner import PlannerTrainConfig

    defaults = PlannerTrainConfig()

    def command(
        *,
        out: Path,
        simulations: int = 10_000,
        water_simulations: int = 2_000,
        start: Path | None = None,
        threads: int | None = None,
        config: Annotated[PlannerTrainConfig, tyro.conf.arg(name="")] = defaults,
    ) -> Any:
        """Train the planner: text to objects, their first state, surroundings and camera.

        The plans to learn from are simulated first; captions are written anew for every step.

        Args:
            out: folder of the run: plans, checkpoints, record, planner.safetensors
            simulations: how many clips of rigid bodies are simulated, each in six looks
            water_simulations: how many clips with water
            start: begin with the weights in this file
            threads: torch threads; torch's own choice by default
        """
        return out, simulations, water_simulations, start, threads, config

    out, simulations, water_simulations, start, threads, config = parse(
        command, "train planner", rest
    )
    folder_exists(out)
    if threads:
        import torch

        torch.set_num_threads(threads)
    from worldtube.models.parts import load_part
    from worldtube.train.planner import WEIGHTS, train_planner
    from worldtube.train.plans import Plans, make_plans
    from worldtube.train.water_plans import make_water_plans
    from worldtube.worlds.world import VALIDATION_SEEDS

    first = VALIDATION_SEEDS.start
    for name, seeds in (("train", range(simulations)), ("validation", range(first, first + 200))):
        with Bar(f"simulating ({name})") as bar:
            make_plans(out / "plans" / name, seeds, progress=bar)
    if water_simulations:
        with Bar("simulating water") as bar:
            make_water_plans(out / "plans" / "water", range(water_simulations), progress=bar)
    names = ("train", "water") if water_simulations else ("train",)
    with Bar("training planner") as bar:
        train_planner(
            config,
            Plans.read(*(out / "plans" / name for name in names)),
            out,
            validation=Plans.read(out / "plans" / "validation"),
            start=None if start is None else load_part("planner", start),
            progress=bar,
        )
    print(out / WEIGHTS)
    return 0


def topics(rest: list[str]) -> int:
    """`train topics`: the arguments after it."""
    import tyro

    from worldtube.train.topics import TopicsTrainConfig

    defaults = TopicsTrainConfig()

    def command(
        *, out: Path, config: Annotated[TopicsTrainConfig, tyro.conf.arg(name="")] = defaults
    ) -> Any:
        """Train the layer that tells which world a prompt speaks of, on captions of invented facts.

        Args:
            out: folder that gets topics.safetensors
        """
        return out, config

    out, config = parse(command, "train topics", rest)
    folder_exists(out)
    from worldtube.train.topics import WEIGHTS, train_topics

    with Bar("training topics") as bar:
        train_topics(config, out, progress=bar)
    print(out / WEIGHTS)
    return 0


OWN: dict[str, tuple[str, Callable[[list[str]], int]]] = {
    "finetune": ("the model that ships, or another, on clips of your own, in minutes", finetune),
    "ladder": ("many small runs, the scaling law that they follow, and how far it holds", ladder),
    "wording": (
        "what captions are worth: the same training with short, dense, mixed or own ones",
        wording,
    ),
    "codec": ("the video compression network (its own loop)", codec),
    "planner": ("text to a plan: objects, their first state, camera", planner),
    "renderer": ("the picture of a state, from simulated and drawn clips", renderer),
    "topics": ("which world a prompt speaks of, from captions", topics),
    "dynamics": ("the learned step of rigid bodies, from simulated motion", dynamics),
    "reader": (
        "the network that `evaluate` reads clips with (its own loop, in one sitting)",
        reader,
    ),
    "captioner": ("the network that writes captions (its own loop, in one sitting)", captioner),
}
"""What is trained without a recipe: word -> (line of help, function of the remaining arguments)."""
