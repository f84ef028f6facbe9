"""`generate` and `image`: every entry of TASKS as a command, and what it makes on disk."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

from worldtube.cli.arguments import folder_exists, parse
from worldtube.cli.bar import Bar


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

    described: Any = both
    described.__signature__ = inspect.Signature(parameters + own)
    described.__annotations__ = {p.name: p.annotation for p in parameters + own}
    _, *own_help = inspect.cleandoc(command.__doc__ or "").splitlines()
    more = ["    " + line.strip() for line in own_help if line.strip()]
    described.__doc__ = "\n".join([inspect.cleandoc(build.__doc__ or ""), *more])
    request, out, strip, model, as_json = parse(described, task, rest)
    return _run(request, out, strip, model, as_json)


def _run(request: Any, out: Path, strip: Path | None, model: Path | None, as_json: bool) -> int:
    for path in (out, strip):
        if path is not None:
            folder_exists(path)
    from worldtube import video
    from worldtube.generate.session import load

    video.check_format(out, still=request.seconds is None)
    session = load(model)
    session.model.grid(
        request.size or session.model.size, 1, 12.0
    )  # a size that does not fit is told now
    if not session.model.familiar(request.prompt):
        print(
            "worldtube: this prompt is outside the model's domain (it knows balls, boxes, cylinders and cups on a"
            " table, and water); the clip is made all the same",
            file=sys.stderr,
        )
    with Bar("denoising") as bar:
        clip = session.run(request, progress=bar)
    path = clip.save(out)
    if strip is not None:
        video.save_image(video.strip(clip, frames=8), strip)
    if as_json:
        print(json.dumps(clip.details | {"path": str(path)}))
    else:
        print(
            f"{path}  {clip.size}, {clip.num_frames} frames at {clip.fps:g} fps, seed {request.seed}"
        )
    return 0


def generate(rest: list[str]) -> int:
    return _make("generate", rest)


def image(rest: list[str]) -> int:
    return _make("image", rest)
