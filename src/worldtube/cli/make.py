"""Every entry of TASKS as a command, and what it makes on disk."""

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin, get_type_hints

from worldtube.cli.arguments import check_quotes, folder_exists, parse
from worldtube.cli.bar import Bar
from worldtube.cli.startup import collection_paused
from worldtube.errors import RequestError

if TYPE_CHECKING:
    from worldtube.generate.request import Request
    from worldtube.generate.session import Session


def read_task(
    task: str, rest: list[str], *, before: str = ""
) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    """From a task's command line: its arguments, its own options and those of every task, and where to write
    with which model and from which files. before: words of the command line that come before the task.
    """
    import inspect

    import tyro

    from worldtube.generate.request import draw_seed
    from worldtube.generate.tasks import OPTIONS, TASKS
    from worldtube.state import State, read_state
    from worldtube.video import Clip, Size, read

    suffix = "png" if task == "image" else "mp4"

    def primitive(kind: Any, metavar: str, make: Callable[[str], Any]) -> Any:
        one = tyro.constructors.PrimitiveConstructorSpec(
            nargs=1,
            metavar=metavar,
            instance_from_str=lambda words: make(words[0]),
            is_instance=lambda value: isinstance(value, kind),
            str_from_instance=lambda value: [str(value)],
        )
        return Annotated[kind, one]

    def own(
        *,
        out: Path = Path(f"{task}.{suffix}"),
        strip: Path | None = None,
        state_path: Annotated[Path | None, tyro.conf.arg(name="state")] = None,
        model: Path | None = None,
        adapters: Path | None = None,
        fast: bool = False,
        device: str = "auto",
        dtype: str = "auto",
        rewrite: bool = True,
        rewriter: str = "grammar",
        sign_prompt: bool = False,
        watermark: bool = True,
        json: bool = False,
    ) -> None:
        """Args:
        out: file to write; its ending chooses the format (mp4, mov, webm, gif, webp, png, jpg)
        strip: also write a PNG of frames side by side
        state_path: also write the clip's physical state as JSON, which can be edited and drawn again (`reproduce`)
        model: weight file or diffusers folder; the embedded model when not said
        adapters: adapters.safetensors of a fine-tuning of that model (`worldtube train finetune --lora`)
        fast: a few steps by the model's student, where it has one
        device: where it computes: auto, cpu, cuda, mps, or such as cuda:1
        dtype: what the network computes in: float32 or bfloat16; auto is the fastest here (`worldtube info`)
        rewrite: put the prompt in the wording that the model learned; what is not understood stays as it is
        rewriter: grammar, or endpoint:MODEL@URL for a language model behind an OpenAI-compatible address
        sign_prompt: the signed credentials hold the prompt too
        watermark: lay the invisible watermark into the picture; without it the credentials say so
        json: print one JSON object about the clip
        """

    def read_seed(word: str) -> int:
        if word in ("random", "-1"):
            return draw_seed()
        return int(word)

    size = primitive(Size, "WxH", Size.parse)
    seed = primitive(int, "INT|random", read_seed)
    given: dict[Path, None] = {}  # files that clips were read from, in order

    def read_given(word: str) -> Clip:
        clip = read(word)
        given[Path(word)] = None
        return clip

    clip = primitive(Clip, "FILE", read_given)
    pair = tyro.constructors.PrimitiveConstructorSpec(
        nargs=2,
        metavar="FLOAT FLOAT",
        instance_from_str=lambda words: (float(words[0]), float(words[1])),
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=lambda value: [str(one) for one in value],
    )
    known = primitive(State, "STATE.json", read_state)
    kinds = {Size | None: size | None, Clip: clip, Clip | None: clip | None, State: known}
    kinds[tuple[float, float]] = Annotated[object, pair]
    hints = get_type_hints(TASKS[task])
    parameters, words = [], []
    for parameter in inspect.signature(TASKS[task]).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            for name, (kind, default, _) in OPTIONS.items():
                option = inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)
                annotation = seed if name == "seed" else kinds.get(kind, kind)
                parameters.append(option.replace(annotation=annotation))
            continue
        annotation = kinds.get(hints[parameter.name], hints[parameter.name])
        if parameter.kind is parameter.VAR_POSITIONAL:
            words.append(parameter.name)
            annotation = tuple[annotation, ...]
        if parameter.kind is not parameter.KEYWORD_ONLY:
            annotation = tyro.conf.Positional[annotation]
            kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
            parameter = parameter.replace(kind=kind)
        parameters.append(parameter.replace(annotation=annotation))
    mine = list(inspect.signature(own).parameters.values())

    def gather(**values: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        return {p.name: values.pop(p.name) for p in mine}, values

    described: Any = gather
    parameters = [p.replace(annotation=_as_union(p.annotation)) for p in parameters + mine]
    described.__signature__ = inspect.Signature(parameters)
    described.__annotations__ = {p.name: p.annotation for p in parameters}
    _, *own_help = inspect.cleandoc(own.__doc__ or "").splitlines()
    shared = [f"    {name}: {meaning}" for name, (_, _, meaning) in OPTIONS.items()]
    more = ["    " + line.strip() for line in own_help if line.strip()]
    described.__doc__ = "\n".join([inspect.cleandoc(TASKS[task].__doc__ or ""), *shared, *more])
    check_quotes(before + task, parameters, rest)
    where, values = parse(described, before + task, rest)
    values = {name: value for name, value in values.items() if value is not None}
    args = [value for name in words for value in values.pop(name)]
    return args, values, where | {"parents": tuple(given)}


def _as_union(kind: Any) -> Any:
    """`X | None` as `Union[X, None]`, which tyro checks without importing typeguard (a tenth of a second)."""
    if get_origin(kind) is Annotated:
        inner, *more = get_args(kind)
        return Annotated[(_as_union(inner), *more)]
    return Union[get_args(kind)] if isinstance(kind, UnionType) else kind  # noqa: UP007


def _make(task: str, rest: list[str]) -> int:
    with collection_paused():
        args, values, where = read_task(task, rest)
        session, request, warnings, streamed = prepared(task, args, values, **where)
    return _run(session, request, warnings, streamed, **where)


def prepared(
    task: str,
    args: list[Any],
    values: dict[str, Any],
    *,
    out: Path,
    strip: Path | None,
    state_path: Path | None,
    model: Path | None,
    adapters: Path | None,
    fast: bool,
    device: str,
    dtype: str,
    rewrite: bool,
    rewriter: str,
    **_: Any,
) -> tuple["Session", "Request", tuple[str, ...], bool]:
    """A loaded model, the request, the warnings about its prompts, which are printed, and whether its frames go to
    their file while they are made; what is wrong with either is told first.
    """
    for path in (out, strip, state_path):
        if path is not None:
            folder_exists(path)
    from worldtube import video
    from worldtube.generate.tasks import OPTIONS, TASKS
    from worldtube.models.header import check_size_for

    # What is wrong in itself is told before anything is loaded, in milliseconds.
    request = TASKS[task](*args, **values)
    video.check_format(out, still=True)
    if request.size is not None and not request.given:
        check_size_for(model, request.size)
    from worldtube.generate.compose import result_shape
    from worldtube.generate.layout import uses_state
    from worldtube.generate.session import load

    session = load(model, device=device, dtype=dtype, fast=fast, adapters=adapters)
    if fast:  # what was not asked for otherwise is as the student learned it
        asked = {name: default for name, (_, default, _) in OPTIONS.items()}
        values = {k: v for k, v in values.items() if k not in asked or v != asked[k]}
    request = session.request(task, *args, **values)
    request, warnings = session.prepare(request, rewriter if rewrite else None)
    one = result_shape(session.model, request)  # and what does not fit, before anything is made
    video.check_format(out, still=one.num_frames == 1)
    if strip is not None:
        video.check_format(strip, still=True)
    for warning in warnings:
        print(f"worldtube: {warning}", file=sys.stderr)
    streamed = one.long and out.suffix[1:].lower() in video.STREAMED
    if state_path is not None:
        if not uses_state(session.model, request):
            raise RequestError("the clip is made without a physical state: there is none to write")
        streamed = False
    return session, request, warnings, streamed


def _run(
    session: "Session",
    request: "Request",
    warnings: tuple[str, ...],
    streamed: bool,
    *,
    out: Path,
    strip: Path | None,
    state_path: Path | None,
    parents: tuple[Path, ...],
    sign_prompt: bool,
    watermark: bool,
    json: bool,
    **_: Any,
) -> int:
    from worldtube import provenance, video
    from worldtube.video import Clip

    options: dict[str, Any] = {
        "parents": parents,
        "sign_prompt": sign_prompt,
        "watermark": watermark,
    }
    with Bar("denoising") as bar:
        if streamed:
            details = session.write(request, out, **options, progress=bar)
        else:
            clip = session.run(request, progress=bar)
            details = clip.details
            clip.save(out, **options)
            if state_path is not None:
                for path, state in zip(
                    _numbered(state_path, len(clip.states)), clip.states, strict=True
                ):
                    state.save(path)
    if strip is not None:
        picture = Clip(frames=video.strip(video.read(out), frames=8)[None], fps=1)
        strip_details = details | {"task": "strip"}
        provenance.write(picture, strip, details=strip_details, parents=[out], watermark=watermark)
    if json:
        _print_json(details | {"path": str(out), "warnings": warnings})
    else:
        size, frames, fps = details["size"], details["num_frames"], details["fps"]
        print(f"{out}  {size}, {frames} frames at {fps:g} fps, seed {request.seed}")
    return 0


def _numbered(path: Path, count: int) -> list[Path]:
    """A path for each of `count` shots: `NAME-1.json`, `NAME-2.json` where there are several."""
    if count == 1:
        return [path]
    return [path.with_name(f"{path.stem}-{number}{path.suffix}") for number in range(1, count + 1)]


def _print_json(told: dict[str, Any]) -> None:
    print(json.dumps(told))


MAKE: dict[str, tuple[str, Callable[[list[str]], int]]] = {
    task: (line, partial(_make, task))
    for task, line in {
        "generate": "words to a clip",
        "image": "words to a picture",
        "animate": "a picture to a clip",
        "extend": "a clip to a longer one, forward or backward",
        "loop": "a clip to one that plays round and round",
        "connect": "two clips to one",
        "edit": "a clip made anew from its own noisy self",
        "paint": "a part of a clip made anew",
        "remix": "a clip with other words and the same layout",
        "storyboard": "several shots with words of their own",
        "reproduce": "a physical state (JSON) to its clip",
    }.items()
}
"""A command for every entry of TASKS (listed here so that help need not load them)."""
