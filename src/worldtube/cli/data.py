"""`record`, `ingest`, `caption`, `cache` and `data`: clips, words for them, what training needs of them."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from worldtube.cli.arguments import parse, positional
from worldtube.cli.bar import Bar
from worldtube.cli.export import export


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
            out: folder of the catalog; made, with those above it, when it does not exist
            count: clips, seeds first_seed to first_seed + count - 1
            first_seed: 0 to 7,999,999 are for training, 8,000,000 to 8,999,999 for validation
            size: width x height in pixels; `worldtube cache` takes multiples of 8, and leaves out the rest
            frames: of each clip, at 12 a second; `worldtube cache` takes 1 + a multiple of 4, and leaves out the rest
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
    def command(
        data: Path,
        *,
        codec: Path | None = None,
        captions: str | None = None,
        device: str = "auto",
    ) -> Any:
        """Compute the latents and text states of a catalog's clips, once.

        Args:
            data: folder of a catalog; of its clips the codec takes 1 + a multiple of 4 frames and sides that are
                multiples of 8, what is beyond is left out
            codec: model file whose codec to use; the embedded model when not said
            captions: whose (truth, sidecar, endpoint, transformers, own); the recorded ones when not said
            device: where the codec computes: auto, cpu, cuda, mps, or such as cuda:1; always in float32, so that
                datasets of all machines are alike
        """
        return data, codec, captions, device

    data, codec, captions, device = parse(positional(command, "data"), "cache", rest)
    from worldtube.data.prepare import prepare_dataset
    from worldtube.models.local import embedded_path

    clips, texts = prepare_dataset(
        data, codec or embedded_path(), captions=captions, device=device, bar=Bar
    )
    print(
        f"{data}: latents of {clips} clips and words of {texts} clips were missing and are there now"
    )
    return 0


def caption(rest: list[str]) -> int:
    def command(
        data: Path,
        *,
        by: str = "own",
        model: str | None = None,
        url: str | None = None,
        prompt: Path | None = None,
        column: str | None = None,
        folder: Path | None = None,
        temperature: float | None = None,
        device: str | None = None,
        dtype: str | None = None,
    ) -> Any:
        """Write captions for the clips of a catalog that this captioner has not told yet; goes on where it stopped.

        Args:
            data: folder of a catalog
            by: truth (engine-made clips), sidecar (--column or --folder), endpoint (--url and --model),
                transformers (--model) or own
            model: what the endpoint or transformers is to use; a weight file for own
            url: of an OpenAI-compatible endpoint, such as http://localhost:8000/v1; a key, where it needs one,
                is read from WORLDTUBE_ENDPOINT_KEY or OPENAI_API_KEY
            prompt: file with another instruction for endpoint or transformers
            column: the catalog's column that holds the text
            folder: the folder that was ingested, with NAME.txt or NAME.json beside the films, or one of such texts
            temperature: of own: 0 writes the likeliest words, 1 varies them most; 0.6 when not said
            device: where transformers or own computes: auto (when not said), cpu, cuda, mps, or such as cuda:1
            dtype: what transformers computes in: auto (when not said), float32 or bfloat16
        """
        options = {"url": url, "column": column, "folder": folder, "temperature": temperature}
        options |= {"device": device, "dtype": dtype}
        options["path" if by == "own" else "model"] = (
            Path(model) if model and by == "own" else model
        )
        options["prompt"] = prompt and _prompt(prompt)
        return data, by, {name: value for name, value in options.items() if value is not None}

    data, by, options = parse(positional(command, "data"), "caption", rest)
    from worldtube.data import caption as captions
    from worldtube.data.catalog import Catalog

    _fitting(by, options, captions.CAPTIONERS)
    who = captions.captioner(by, **options)
    catalog = Catalog(data, mode="r+")
    with Bar(f"captions by {by}") as bar:
        count = captions.fill(catalog, who, progress=bar)
    told = f"{data}: {count['told']} clips captioned by {by}"
    print(told + (f", {count['failed']} could not be (see above)" if count["failed"] else ""))
    return 1 if count["failed"] and not count["told"] else 0


CAPTION_OPTIONS = (
    *("url", "model", "prompt", "column", "folder", "temperature", "device", "dtype"),
)


def _fitting(by: str, given: Mapping[str, Any], captioners: Mapping[str, Any]) -> None:
    """Raises RequestError, in the command's own words, for options that this captioner lacks or does not take."""
    from dataclasses import MISSING, fields

    from worldtube.errors import RequestError, unknown

    if by not in captioners:
        raise unknown("captioner", by, captioners)
    spelled = {"path": "--model"} | {name: f"--{name}" for name in CAPTION_OPTIONS}
    taken = {
        one.name: one.default is MISSING for one in fields(captioners[by]) if one.name in spelled
    }
    lacking = [spelled[name] for name, needed in taken.items() if needed and name not in given]
    other = [spelled[name] for name in given if name not in taken]
    if lacking or other:
        problem = (
            f"needs {' and '.join(lacking)}" if lacking else f"does not take {', '.join(other)}"
        )
        accepted = ", ".join(spelled[name] for name in taken) or "no options"
        raise RequestError(f"captioner {by} {problem} (accepted: {accepted})")


def _prompt(file: Path) -> str:
    from worldtube.errors import DataError, NotFound

    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise NotFound(f"no file {file} with a prompt") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read as a prompt: {error}") from error


def data(rest: list[str]) -> int:
    from worldtube.errors import unknown

    if not rest or rest[0] in ("-h", "--help"):
        print(_words())
        return 0
    if rest[0] not in DATA:
        raise unknown("word", rest[0], DATA)
    return DATA[rest[0]][1](rest[1:])


def _words() -> str:
    width = max(map(len, DATA))
    return "\n".join(
        [
            "usage: worldtube data WORD DATASET ...",
            "",
            "What a dataset holds, and which of its clips are meant.",
            "",
            *(f"  {name:<{width}}  {line}" for name, (line, _) in DATA.items()),
            "",
            "worldtube data WORD --help tells about one. Try:",
            "  worldtube data view DATASET lively --where \"motion > 0.01 AND static < 0.5 AND repeats = ''\"",
            "  worldtube data show DATASET --out page.html",
        ]
    )


def _show(rest: list[str]) -> int:
    def command(dataset: Path, *, out: Path | None = None, clips: int = 96) -> Any:
        """Write one HTML page about a dataset: clips that play, scores, what views drop, captions, problems.

        Args:
            dataset: its folder
            out: the page; page.html in the dataset when not said
            clips: so many of them, evenly spread, are on the page
        """
        return dataset, out, clips

    dataset, out, clips = parse(positional(command, "dataset"), "data show", rest)
    from worldtube.data.catalog import Catalog
    from worldtube.data.page import write_page
    from worldtube.errors import RequestError

    if clips < 0:
        raise RequestError(f"clips {clips} is not accepted; 0 or more is")
    catalog = Catalog(dataset)
    print(write_page(catalog, out or dataset / "page.html", clips=clips))
    return 0


def _view(rest: list[str]) -> int:
    def command(dataset: Path, name: str = "", *, where: str = "") -> Any:
        """Save a condition on a dataset's columns under a name, or tell what one keeps. Nothing is deleted.

        Args:
            dataset: its folder
            name: of the view; all are listed when not said
            where: SQL condition on columns (`worldtube data info` lists them), such as "motion > 0.01 AND black = 0"
        """
        return dataset, name, where

    dataset, name, where = parse(
        positional(positional(command, "dataset"), "name"), "data view", rest
    )
    from worldtube.data import views
    from worldtube.data.catalog import Catalog
    from worldtube.errors import RequestError

    catalog = Catalog(dataset)
    if not name:
        if where:
            raise RequestError("a condition needs a name to be saved under")
        for one in views.views(catalog).values():
            print(f"{one.name}  version {one.version}  {one.where}")
        return 0
    one = views.find_view(catalog, name) if not where else views.save_view(catalog, name, where)
    whole, told = len(catalog.ids(views.WHOLE)), views.drops(catalog, one.where)
    print(f"{name} version {one.version} keeps {told[-1][2]} of {whole} clips")
    width = max(len(term) for term, _, _ in told)
    for term, alone, left in told:
        print(f"  {term:<{width}}  drops {alone} alone, {left} are left after it")
    return 0


def _info(rest: list[str]) -> int:
    def command(dataset: Path, *, json: bool = False) -> Any:
        """Tell what a dataset holds: clips, columns with the versions of their stages, views, problems.

        Args:
            dataset: its folder
            json: print one JSON object
        """
        return dataset, json

    dataset, as_json = parse(positional(command, "dataset"), "data info", rest)
    import json
    from collections import Counter

    from worldtube.data.catalog import Catalog
    from worldtube.data.films import SHOWN
    from worldtube.data.views import WHOLE, view, views

    catalog = Catalog(dataset)
    whole, bad = catalog.ids(WHOLE), catalog.problems()
    rows = catalog.take(bad, ["id", "source", "problem"])
    reasons = Counter(row["problem"] for row in rows)
    named = {
        reason: sorted({row["source"] or row["id"] for row in rows if row["problem"] == reason})
        for reason in reasons
    }
    told = {
        "clips": len(whole),
        "problems": dict(reasons),
        "named": {reason: files[:SHOWN] for reason, files in named.items()},
        "columns": catalog.columns(),
        "views": {name: len(view(catalog, name)) for name in views(catalog)},
    }
    if as_json:
        print(json.dumps(told))
        return 0
    print(f"{dataset}: {len(whole)} clips, {len(bad)} problems")
    stages = [f"{name} ({version})" for name, version in told["columns"].items() if version]
    print(f"columns: {', '.join(name for name, v in told['columns'].items() if not v)}")
    print(f"scores: {', '.join(stages) or 'none'}")
    for name, kept in told["views"].items():
        print(f"view {name}: {kept} clips")
    for reason, count in reasons.most_common():
        print(f"problem: {reason} ({count}: {_listed(named[reason])})")
    return 0


DATA: dict[str, tuple[str, Callable[[list[str]], int]]] = {
    "info": ("what is in it: clips, columns, views, problems", _info),
    "view": ("save a condition under a name, and see what it drops", _view),
    "show": ("one HTML page about it, with clips that play", _show),
    "export": ("its clips for other people's programs", export),
}
"""word of `worldtube data` -> (line of help, function of the remaining arguments)."""


def ingest(rest: list[str]) -> int:
    def command(
        sources: tuple[Path, ...],
        *,
        out: Path,
        size: str = "64x64",
        frames: int = 25,
        fps: float = 12.0,
        crf: int = 0,
        shots: str = "adaptive",
        stages: tuple[str, ...] = ("identity", "look", "motion"),
        on: str = "processes",
        processes: int | None = None,
        memory: int = 4096,
        json: bool = False,
    ) -> Any:
        """Cut films into clips of a dataset, with scores; goes on where it stopped.

        Any file is taken: one that cannot be used gets a row that says why. Films are cut at their shots, and
        shots into clips one after the other; a .txt or .json beside a film is its caption. Nothing is left out for
        its scores: save a view for that, `worldtube data view`.

        Args:
            sources: films, and folders of them
            out: folder of the dataset; made when it does not exist
            size: of the clips, in pixels; pictures are scaled to cover it and cut around the centre;
                `worldtube cache` takes multiples of 8, and leaves out the rest
            frames: of each clip; `worldtube cache` takes 1 + a multiple of 4, and leaves out the rest
            fps: of each clip; frames are taken by their times, whatever the film's own rate
            crf: 0 keeps every pixel; 16 takes about a sixth of the disk
            shots: how cuts are found: adaptive, transnet (a network, dearer) or whole (no cuts)
            stages: what is told of each clip: identity, look, motion, text (burnt-in words, seconds a clip)
            on: where the work runs: here, processes or ray (joins the cluster of RAY_ADDRESS)
            processes: how many at a time; a core each when not said
            memory: MB that a process which reads films may take
            json: print one JSON object
        """
        return sources, out, size, frames, fps, crf, shots, stages, on, processes, memory, json

    command.__annotations__["sources"] = _some_paths()
    sources, out, size, frames, fps, crf, shots, stages, on, processes, memory, as_json = parse(
        command, "ingest", rest
    )
    from dataclasses import asdict

    from worldtube.data.films import Cutting, ingest
    from worldtube.errors import RequestError
    from worldtube.video import Size

    if not sources:
        raise RequestError("name a film or a folder of films")
    cutting = Cutting(size=Size.parse(size), num_frames=frames, fps=fps, crf=crf, shots=shots)
    with Bar("films") as film_bar, Bar("clips") as clip_bar:
        bars = {"films": film_bar, "clips": clip_bar}
        made = ingest(
            sources,
            out=out,
            cutting=cutting,
            stages=stages,
            on=on,
            processes=processes,
            memory_mb=memory,
            progress=lambda what, done, wanted: bars[what](done, wanted),
        )
    if as_json:
        import json

        print(json.dumps(asdict(made)))
        return 0
    print(
        f"{out}: {made.clips} clips ({made.seconds / 60:.1f} min) of {made.files} files, {made.new} of them new; "
        f"{made.repeats} look like an earlier one"
    )
    if made.unused_films:
        films = "1 film" if made.unused_films == 1 else f"{made.unused_films} films"
        print(
            f"{made.unused_seconds:.1f} s at the ends of shots in {films} were shorter than a clip of "
            f"{cutting.seconds:.2f} s and are left out"
        )
    if made.copies:
        told = [f"{copy} of {first}" for copy, first in made.copied.items()]
        print(f"{made.copies} files are copies of others ({_listed(told)})")
    for folder, late in made.late.items():
        print(
            f"{len(late)} films have another text beside them by now than their clips ({_listed(late)}); "
            f"this reads it: worldtube caption {shlex.quote(str(out))} --by sidecar --folder {shlex.quote(folder)}"
        )
    for problem, count in made.problems.items():
        print(f"problem: {problem} ({count}: {_listed(made.named[problem])})")
    return 0


def _listed(names: Sequence[str]) -> str:
    """Up to three names, and whether there are others."""
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _some_paths() -> Any:
    import tyro

    needed = tyro.conf.arg(help_behavior_hint="(required)")
    return tyro.conf.Positional[Annotated[tuple[Path, ...], needed]]
