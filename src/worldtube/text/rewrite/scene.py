"""What a prompt or a caption says, as values. Knows nothing of words or of how they are read."""

from dataclasses import dataclass, field


class Unread(Exception):
    """The prompt says something that is not understood; the words at fault are the message."""


@dataclass(kw_only=True)
class Thing:
    """Things of one look. What was not said is None."""

    shape: str = ""
    count: int | None = None
    """None: several."""
    colour: str | None = None
    size: str | None = None
    material: str | None = None
    others: tuple[str, ...] = ()
    """Adjectives that are kept as they are."""
    water: bool = False
    motion: str | None = None
    """right, left, fall or rest."""
    verb: str | None = None
    """roll, slide, fly or move."""
    speed: str | None = None
    """slowly or quickly."""
    tilted: bool = False


@dataclass(frozen=True, kw_only=True)
class Happening:
    kind: str
    a: tuple[int, ...]
    """Numbers of the things."""
    b: int | None = None


@dataclass(kw_only=True)
class Scene:
    things: list[Thing] = field(default_factory=list)
    links: list[tuple[int, str, int]] = field(default_factory=list)
    happenings: list[Happening] = field(default_factory=list)
    ground: str | None = None
    sky: str | None = None
    camera: tuple[str, str | None] | None = None
