"""What a captioner is: what it tells of a clip, in which fields, and the value that a catalog keeps of it.

Knows no captioner by name; `caption` does.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from worldtube.data.catalog import LENGTHS, TOLD, Catalog
from worldtube.errors import DataError, unknown
from worldtube.video import Clip
from worldtube.worlds import language

FIELDS = (*language.FIELDS, "style")
"""short, medium, long (the dense one), subject, background, camera, chronology, style."""
Rows = Sequence[Mapping[str, Any]]
Clips = Sequence[Clip | None]


class Captioner(Protocol):
    """Writes captions. Frozen, so that what it is called by in a catalog cannot change."""

    @property
    def name(self) -> str:
        """The key in CAPTIONERS."""
        ...

    @property
    def columns(self) -> tuple[str, ...]:
        """What it needs of a row besides the id."""
        ...

    @property
    def watches(self) -> bool:
        """Whether it needs the clip itself."""
        ...

    @property
    def model(self) -> str:
        """Who writes: the id of a model, or the version of a rule."""
        ...

    @property
    def prompt(self) -> str:
        """What it is asked; "" where nobody is asked."""
        ...

    def prepare(self, catalog: Catalog) -> None:
        """Called once before the first clip of a catalog."""
        ...

    def __call__(self, rows: Rows, clips: Clips) -> Iterable[dict[str, str] | DataError]:
        """Some of FIELDS of each clip, or why it cannot be told."""
        ...


class EachAlone:
    """A captioner that tells one clip after the other."""

    def prepare(self, catalog: Catalog) -> None:
        """What is asked of one clip depends on no other."""

    def tell(self, row: Mapping[str, Any], clip: Clip | None) -> dict[str, str]:
        """Some of FIELDS. Raises DataError where this clip cannot be told."""
        raise NotImplementedError

    def __call__(self, rows: Rows, clips: Clips) -> Iterator[dict[str, str] | DataError]:
        for row, clip in zip(rows, clips, strict=True):
            try:
                yield self.tell(row, clip)
            except DataError as error:
                yield error


def column(name: str) -> str:
    """The column that a captioner fills."""
    return TOLD + name


def fields_in(told: str | None) -> dict[str, str]:
    """The fields in a value of such a column; none in None."""
    return json.loads(told)["fields"] if told else {}


def value(who: Captioner, fields: Mapping[str, str]) -> str:
    """What is kept of a clip: the fields, and who told them."""
    told = {"by": who.name, "model": who.model, "prompt": who.prompt, "fields": fields}
    return json.dumps(told, ensure_ascii=False)


def version(who: Captioner) -> str:
    """Of a captioner's column: another model or another prompt empties it."""
    return hashlib.sha256(json.dumps([FIELDS, who.model, who.prompt]).encode()).hexdigest()[:12]


def whole(fields: Mapping[str, str]) -> dict[str, str]:
    """Fields without the empty ones, and with all three lengths: one that was not told is the nearest that was.

    Raises DataError for a field that is not one of FIELDS, and where there is none of a whole caption.
    """
    for name in fields:
        if name not in FIELDS:
            raise unknown("caption field", name, FIELDS)
    told = {name: " ".join(text.split()) for name, text in fields.items() if text.strip()}
    nearest = {
        "short": ("medium", "long"),
        "medium": ("long", "short"),
        "long": ("medium", "short"),
    }
    for name, others in nearest.items():
        text = next((told[one] for one in (name, *others) if one in told), None)
        if text is None:
            raise DataError(f"the caption has none of {', '.join(LENGTHS)}")
        told[name] = text
    return told
