"""The commands, one small function each; everything is imported where it is used, so help comes at once.

Owns what is printed and the exit codes: 0 done, 1 failed, 2 the caller's fault, 130 interrupted. Knows
nothing of how anything is done.
"""

import json
import logging
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

COMMANDS: dict[str, tuple[str, Callable[[list[str]], int]]] = {}
"""name -> (line of help, function of the remaining arguments). Filled at the end of the file."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; errors become one sentence on stderr."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(level=logging.WARNING, format="worldtube: %(message)s")
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_help())
        return 0
    if arguments[0] in ("--version", "-V"):
        from worldtube import __version__

        print(f"worldtube {__version__}")
        return 0
    from worldtube.errors import RequestError, WorldtubeError, unknown

    try:
        name, rest = arguments[0], arguments[1:]
        if name not in COMMANDS:
            raise unknown("command", name, COMMANDS)
        return COMMANDS[name][1](rest)
    except RequestError as error:
        print(f"worldtube: {error}", file=sys.stderr)
        return 2
    except WorldtubeError as error:
        print(f"worldtube: {error}", file=sys.stderr)
        return 2 if type(error).__name__ in ("DataError", "NotFound", "MissingExtra") else 1
    except KeyboardInterrupt:
        print("worldtube: interrupted; what was finished is kept", file=sys.stderr)
        return 130


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {line}" for name, (line, _) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: worldtube COMMAND ...",
            "",
            "An open Sora in Python: words to video on a laptop, and everything to train it.",
            "",
            *lines,
            "",
            "worldtube COMMAND --help tells about one. Try:",
            '  worldtube generate "a red ball rolls into a stack of blue boxes" --seed 7 --out clip.mp4',
        ]
    )


def _parse(function: Callable[..., Any], name: str, rest: list[str]) -> Any:
    """Call `function` with the arguments that its signature describes; tyro's complaints exit with 2."""
    import tyro

    return tyro.cli(
        function,
        prog=f"worldtube {name}",
        description=(function.__doc__ or "").split("\n")[0],
        args=rest,
        config=(tyro.conf.AvoidSubcommands,),
    )


class _Bar:
    """A progress bar with the remaining time on a terminal; plain lines, at most one in ten seconds, elsewhere."""

    def __init__(self, what: str):
        self.what, self.began, self.told = what, time.monotonic(), 0.0
        self.terminal = sys.stderr.isatty()
        self.bar: Any = None

    def __enter__(self) -> "_Bar":
        if self.terminal:
            from rich import progress
            from rich.console import Console

            self.bar = progress.Progress(
                progress.TextColumn("{task.description}"),
                progress.BarColumn(),
                progress.MofNCompleteColumn(),
                progress.TimeRemainingColumn(),
                progress.TextColumn("{task.fields[note]}"),
                console=Console(stderr=True),
            )
            self.task = self.bar.add_task(self.what, total=None, note="")
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    def __call__(self, done: int, total: int, numbers: dict[str, float] | None = None) -> None:
        note = " ".join(f"{k} {v:.4g}" for k, v in (numbers or {}).items())
        now = time.monotonic()
        if self.bar is not None:
            self.bar.update(self.task, completed=done, total=total, note=note)
        elif now - self.told > 10:
            self.told = now
            left = (now - self.began) / max(done, 1) * (total - done)
            print(f"{self.what} {done}/{total} {left:.0f} s left {note}".rstrip(), file=sys.stderr, flush=True)


def _folder_exists(out: Path) -> None:
    from worldtube.errors import RequestError

    if not out.absolute().parent.is_dir():
        raise RequestError(f"the output folder {out.absolute().parent} does not exist; name one that does")


def _make(task: str, rest: list[str]) -> int:
    """Every entry of TASKS is a command: its own options, and where to write with which model."""
    import inspect

    import tyro

    from worldtube.generate.tasks import TASKS
    from worldtube.video import Size

    build = TASKS[task]
    suffix = "png" if task == "image" else "mp4"

    def command(
        *,
        request: Any = None,
        out: Path = Path(f"{task}.{suffix}"),
        strip: Path | None = None,
        model: Path | None = None,
        json: bool = False,
    ) -> tuple[Any, Path, Path | None, Path | None, bool]:
        """Args:
            out: file to write; its ending chooses the format (mp4, webm, gif, webp, png)
            strip: also write a PNG of frames side by side
            model: weight file; the embedded model when not said
            json: print one JSON object about the clip
        """
        return request, out, strip, model, json

    signature = inspect.signature(build)
    parameters = []
    for parameter in signature.parameters.values():
        annotation = parameter.annotation
        if annotation in (Size | None, "Size | None"):
            annotation = Annotated[
                Size | None,
                tyro.constructors.PrimitiveConstructorSpec(
                    nargs=1,
                    metavar="WxH",
                    instance_from_str=lambda words: Size.parse(words[0]),
                    is_instance=lambda value: isinstance(value, Size),
                    str_from_instance=lambda value: [str(value)],
                ),
            ]
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
            annotation = tyro.conf.Positional[annotation]
        parameters.append(parameter.replace(annotation=annotation))
    own = [p for name, p in inspect.signature(command).parameters.items() if name != "request"]

    def both(*args: Any, **kwargs: Any) -> Any:
        mine = {p.name: kwargs.pop(p.name) for p in own if p.name in kwargs}
        return command(request=build(*args, **kwargs), **mine)

    both.__signature__ = inspect.Signature(parameters + own)  # type: ignore[attr-defined]
    both.__annotations__ = {p.name: p.annotation for p in parameters + own}
    _, *own_help = inspect.cleandoc(command.__doc__ or "").splitlines()
    both.__doc__ = "\n".join([inspect.cleandoc(build.__doc__ or ""), *("    " + line.strip() for line in own_help if line.strip())])
    request, out, strip, model, as_json = _parse(both, task, rest)
    return _run(request, out, strip, model, as_json)


def _run(request: Any, out: Path, strip: Path | None, model: Path | None, as_json: bool) -> int:
    for path in (out, strip):
        if path is not None:
            _folder_exists(path)
    from worldtube import video
    from worldtube.generate.session import load

    video.check_format(out, still=request.seconds is None)
    session = load(model)
    session.model.grid(request.size or session.model.size, 1, 12.0)  # a size that does not fit is told now
    if not session.model.familiar(request.prompt):
        print(
            "worldtube: this prompt is outside the model's domain (it knows balls, boxes, cylinders and cups on a"
            " table, and water); the clip is made all the same",
            file=sys.stderr,
        )
    with _Bar("denoising") as bar:
        clip = session.run(request, progress=bar)
    path = clip.save(out)
    if strip is not None:
        video.save_image(video.strip(clip, frames=8), strip)
    if as_json:
        print(json.dumps(clip.details | {"path": str(path)}))
    else:
        print(f"{path}  {clip.size}, {clip.num_frames} frames at {clip.fps:g} fps, seed {request.seed}")
    return 0


def generate(rest: list[str]) -> int:
    return _make("generate", rest)


def image(rest: list[str]) -> int:
    return _make("image", rest)


def record(rest: list[str]) -> int:
    def command(
        world: Annotated[str, "positional"],
        *,
        out: Path,
        count: int = 1000,
        first_seed: int = 0,
        size: str = "64x64",
        processes: int | None = None,
    ) -> Any:
        """Simulate a world and record clips with captions and truth; goes on where it stopped.

        Args:
            world: one of the worlds (`worldtube info` lists them)
            out: folder of the catalog; made when it does not exist
            count: clips, seeds first_seed to first_seed + count - 1
            first_seed: 0 to 7,999,999 are for training, 8,000,000 to 8,999,999 for validation
            size: width x height in pixels
            processes: all cores when not said
        """
        return world, out, count, first_seed, size, processes

    world, out, count, first_seed, size, processes = _parse(_positional(command, "world"), "record", rest)
    from worldtube.data.ingest import record_world
    from worldtube.errors import RequestError
    from worldtube.video import Size

    if count < 1:
        raise RequestError(f"count {count} is not accepted; 1 or more is")
    _folder_exists(out)
    with _Bar(f"recording {world}") as bar:
        record_world(
            world,
            seeds=range(first_seed, first_seed + count),
            size=Size.parse(size),
            out=out,
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

    data, codec = _parse(_positional(command, "data"), "cache", rest)
    from worldtube.data.catalog import Catalog
    from worldtube.data.latents import cache_latents, cache_text, cache_truth
    from worldtube.models.local import embedded_path, load_codec
    from worldtube.text.encoder import TextEncoder

    codec = codec or embedded_path()
    network, version = load_codec(codec)
    with Catalog(data, mode="a") as catalog:
        with _Bar("latents") as bar:
            clips = cache_latents(catalog, network, version=version, progress=bar)
        with _Bar("truth") as bar:
            cache_truth(catalog, network.stride, progress=bar)
        with _Bar("words") as bar:
            texts = cache_text(catalog, TextEncoder(), progress=bar)
    print(f"{data}: latents of {clips} clips and words of {texts} clips were missing and are there now")
    return 0


def train(rest: list[str]) -> int:
    from worldtube.errors import unknown

    if rest and not rest[0].startswith("-") and rest[0] == "codec":
        from worldtube.train.codec import command

        return command(rest[1:], bar=_Bar)
    from worldtube.train.recipes import RECIPES

    if not rest or rest[0].startswith("-"):
        print("usage: worldtube train RECIPE --data CATALOG [CATALOG ...] --codec MODEL --out DIR [--steps N ...]\n")
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

    data, out, codec, start, threads, config = _parse(command, f"train {rest[0]}", rest[1:])
    from worldtube.models.local import embedded_path

    _folder_exists(out)
    if threads:
        import torch

        torch.set_num_threads(threads)
    with _Bar(f"training {rest[0]}") as bar:
        run(config, data=data, codec=codec or embedded_path(), out=out, start=start, progress=bar)
    print(out / "model.safetensors")
    return 0


def evaluate(rest: list[str]) -> int:
    def command(
        measure: str,
        *,
        model: Path | None = None,
        seeds: str | None = None,
        prompts: Path | None = None,
        count: int | None = None,
        json: bool = False,
    ) -> Any:
        """Measure a model on held-out seeds and prompts.

        Args:
            measure: one of the measures (`worldtube info` lists them)
            model: weight file; the embedded model when not said
            seeds: A:B, seeds A to B - 1; our own scores use 8,000,000 and up
            prompts: JSON lines of {"prompt": ..., "facts": [...], "event": ...}
            count: clips at most
            json: one JSON object on stdout and nothing else
        """
        return measure, model, seeds, prompts, count, json

    measure, model, seeds, prompts, count, as_json = _parse(_positional(command, "measure"), "evaluate", rest)
    from worldtube.errors import RequestError, unknown
    from worldtube.evaluate import MEASURES
    from worldtube.evaluate.report import table
    from worldtube.generate.session import load

    if measure not in MEASURES:
        raise unknown("measure", measure, MEASURES)
    chosen = None
    if seeds is not None:
        first, _, last = seeds.partition(":")
        if not (first.isdigit() and last.isdigit() and int(first) < int(last)):
            raise RequestError(f"seeds {seeds!r} is not accepted; A:B with A < B is, such as 8000000:8000200")
        chosen = range(int(first), int(last))
    with _Bar(f"measuring {measure}") as bar:
        result = MEASURES[measure](load(model).model, seeds=chosen, prompts=prompts, count=count, progress=bar)
    print(json.dumps(result) if as_json else table(result))
    return 0


def info(rest: list[str]) -> int:
    def command(*, model: Path | None = None, json: bool = False) -> Any:
        """What is installed: the model, worlds, tasks, samplers, recipes, measures.

        Args:
            model: weight file; the embedded model when not said
            json: print one JSON object
        """
        return model, json

    model, as_json = _parse(command, "info", rest)
    from dataclasses import asdict

    from worldtube import __version__
    from worldtube.diffusion.samplers import SAMPLERS
    from worldtube.evaluate import MEASURES
    from worldtube.generate.session import load
    from worldtube.generate.tasks import TASKS
    from worldtube.train.recipes import RECIPES

    loaded = load(model).model
    told: dict[str, Any] = {
        "worldtube": __version__,
        "model": asdict(loaded.card),
        "weights": {
            part: sum(p.numel() for p in module.parameters())
            for part, module in (("codec", loaded.codec), ("transformer", loaded.transformer))
        },
        "tasks": list(TASKS),
        "samplers": list(SAMPLERS),
        "recipes": list(RECIPES),
        "measures": list(MEASURES),
    }
    try:
        from worldtube.worlds import WORLDS

        told["worlds"] = list(WORLDS)
    except ImportError:
        told["worlds"] = "not installed: pip install 'worldtube[worlds]'"
    if as_json:
        print(json.dumps(told))
    else:
        for name, value in told.items():
            print(f"{name:<10} {', '.join(value) if isinstance(value, list) else value}")
    return 0


def _positional(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Mark one parameter as positional for tyro, which is only imported here."""
    import tyro

    function.__annotations__[name] = tyro.conf.Positional[
        Path if function.__annotations__[name] is Path else str
    ]
    return function


COMMANDS |= {
    "generate": ("words to a clip", generate),
    "image": ("words to a picture", image),
    "record": ("simulate a world and record clips", record),
    "cache": ("latents and words of recorded clips, once", cache),
    "train": ("train the transformer (tiny, laptop, gpu) or the codec", train),
    "evaluate": ("measure a model on held-out seeds and prompts", evaluate),
    "info": ("the model, worlds, tasks, samplers, recipes, measures", info),
}
