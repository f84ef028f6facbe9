"""What commands ask of their arguments: how a signature is parsed, whether a folder is there, which seeds are meant."""

import inspect
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args, get_origin


def parse(
    function: Callable[..., Any], name: str, rest: list[str], *, description: str | None = None
) -> Any:
    """Call `function` with the arguments that its signature describes; tyro's complaints exit with 2.

    description: text above the options; the docstring's first line when not given.
    """
    import tyro

    return tyro.cli(
        function,
        prog=f"worldtube {name}",
        description=description or (function.__doc__ or "").split("\n")[0],
        args=rest,
        config=(tyro.conf.AvoidSubcommands,),
    )


def check_quotes(name: str, parameters: Sequence[inspect.Parameter], rest: Sequence[str]) -> None:
    """Raise RequestError, with the command as it was probably meant, where a prompt has more words than arguments.

    Args:
        name: of the command, as it was typed.
        parameters: of its function; those that are not keyword-only are positional.
        rest: words of the command line after the name.
    """
    from worldtube.errors import RequestError

    places = [parameter for parameter in parameters if parameter.kind is not parameter.KEYWORD_ONLY]
    if not places or "tuple" in str(places[-1].annotation):  # as many prompts as are wanted
        return
    options = {p.name.replace("_", "-"): p for p in parameters if p.kind is p.KEYWORD_ONLY}
    words, others, waiting = list[str](), list[str](), 0
    for word in rest:
        if waiting:
            waiting -= 1
            others.append(word)
        elif not word.startswith("-"):
            words.append(word)
        else:
            option = word.removeprefix("--").partition("=")[0].replace("_", "-")
            known = options.get(option, options.get(option.removeprefix("no-")))
            if known is None:  # --help, or a misspelled one, which tyro explains
                return
            if "=" not in word and known.annotation is not bool:
                waiting = _count_words(known.annotation)
            others.append(word)
    surplus = len(words) - len(places)
    if surplus < 1 or places[-1].name not in ("prompt", "negative_prompt"):
        return
    first, prompt = words[: len(places) - 1], " ".join(words[len(places) - 1 :])
    quoted = f'"{prompt}"' if not set(prompt) & set('"$`\\!') else shlex.quote(prompt)
    meant = " ".join([*map(shlex.quote, first), quoted, *map(shlex.quote, others)])
    raise RequestError(f"a prompt is one argument; did you mean: worldtube {name} {meant}")


def _count_words(annotation: Any) -> int:
    """Return how many words an option of this type takes: the length of a tuple, else 1."""
    for kind in (annotation, *get_args(annotation)):
        if "FLOAT FLOAT" in str(kind):
            return 2
        if get_origin(kind) is tuple:
            return len(get_args(kind))
    return 1


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
