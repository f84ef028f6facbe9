"""What commands ask of their arguments: how a signature is parsed, whether a folder is there, which seeds are meant."""

from collections.abc import Callable
from pathlib import Path
from typing import Any


def parse(function: Callable[..., Any], name: str, rest: list[str]) -> Any:
    """Call `function` with the arguments that its signature describes; tyro's complaints exit with 2."""
    import tyro

    return tyro.cli(
        function,
        prog=f"worldtube {name}",
        description=(function.__doc__ or "").split("\n")[0],
        args=rest,
        config=(tyro.conf.AvoidSubcommands,),
    )


def positional(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Mark one parameter as positional for tyro, which is only imported here."""
    import tyro

    path, text = tyro.conf.Positional[Path], tyro.conf.Positional[str]
    function.__annotations__[name] = path if function.__annotations__[name] is Path else text
    return function


def folder_exists(out: Path) -> None:
    from worldtube.errors import RequestError

    if not out.absolute().parent.is_dir():
        raise RequestError(
            f"the output folder {out.absolute().parent} does not exist; name one that does"
        )


def seeds_of(text: str) -> range:
    """A:B -> seeds A to B - 1."""
    from worldtube.errors import RequestError
    from worldtube.worlds.world import VALIDATION_SEEDS

    first, _, last = text.partition(":")
    if not (first.isdigit() and last.isdigit() and int(first) < int(last)):
        raise RequestError(
            f"seeds must be A:B with A < B, such as {VALIDATION_SEEDS.start}:{VALIDATION_SEEDS[200]}, got {text!r}"
        )
    return range(int(first), int(last))
