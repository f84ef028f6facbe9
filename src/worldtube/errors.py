"""The exception family. Owns what can go wrong; knows nothing of HTTP or exit codes beyond this page.

    WorldtubeError
    ├── RequestError    the caller's fault: HTTP 400, exit code 2
    ├── Refused         policy says no
    ├── NotFound        a named thing does not exist
    ├── MissingExtra    an optional dependency is absent; the message names the install command
    └── DataError       a file or a data set cannot be used as it is

Warnings that Python programs see are of the class `PromptWarning`.

Every message is one sentence with the value at fault and what would be accepted.
"""

import difflib
from collections.abc import Iterable


class WorldtubeError(Exception):
    """Anything that worldtube raises on purpose."""


class RequestError(WorldtubeError):
    """What was asked cannot be done as asked."""


class Refused(WorldtubeError):
    """What was asked is against the configured policy."""


class NotFound(WorldtubeError):
    """A named thing does not exist."""


class MissingExtra(WorldtubeError):
    """An optional dependency is not installed."""

    def __init__(self, what: str, extra: str):
        super().__init__(f"{what} needs an optional part: pip install 'worldtube[{extra}]'")
        self._from = (what, extra)

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), self._from  # or it could not come back from another process


class DataError(WorldtubeError):
    """A file or data set cannot be used as it is."""


class PromptWarning(UserWarning):
    """A prompt was rewritten, is outside of what the model knows, or is too long to be read whole."""


def unknown(kind: str, name: str, known: Iterable[str]) -> RequestError:
    """The error for a name that is not a key of one of our dicts, with the nearest known name."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return RequestError(f"unknown {kind} {name!r}{hint} (accepted: {', '.join(known)})")
