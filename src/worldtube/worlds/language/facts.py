"""The facts of a clip, checked once: a value without words is refused by name.

Owns their shape as this room reads it. Knows nothing of words beyond which values have some. What a
world records beside the facts (where things were on the screen, say) is left alone; inside a group,
a relation, an event or the camera an unknown key is refused, for it would go unsaid.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from worldtube.errors import DataError
from worldtube.worlds.language.words import (
    CAMERA_WORDS,
    COLOUR_WORDS,
    COUNT_WORDS,
    EVENTS,
    GROUND_WORDS,
    MATERIAL_WORDS,
    MOTIONS,
    RELATION_WORDS,
    SHAPE_WORDS,
    SIZE_WORDS,
    SKY_WORDS,
    SPEED_WORDS,
    TEMPLATES,
)


@dataclass(frozen=True, kw_only=True)
class Group:
    count: int
    colour: str
    shape: str
    motion: str
    size: str | None
    material: str | None
    speed: str | None


@dataclass(frozen=True, kw_only=True)
class Happening:
    """One kind of event between two groups, with how many objects took part."""

    kind: str
    a: int | None
    num_a: int = 1
    b: int | None = None
    num_b: int = 1


@dataclass(frozen=True, kw_only=True)
class Facts:
    world: str | None
    template: str | None
    groups: tuple[Group, ...]
    relations: tuple[tuple[int, str, int], ...]
    event: str | None
    happenings: tuple[Happening, ...]
    camera: tuple[str, str | None] | None
    ground: str | None
    sky: str | None
    spilled: float | None


_GROUP_KEYS = frozenset(
    ("count", "colour", "size", "shape", "material", "motion", "speed", "objects")
)


def _known(what: str, value: Any, accepted: Any, *, optional: bool = False) -> Any:
    if value is None and optional:
        return None
    try:
        if value in accepted:
            return value
    except TypeError:  # an unhashable value is not an accepted one
        pass
    names = ", ".join(str(name) for name in accepted)
    raise DataError(f"the facts hold {what} {value!r}, accepted: {names}")


def _keys(what: str, given: Any, accepted: frozenset[str]) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise DataError(f"{what} must be a mapping, not {type(given).__name__}")
    for key in given:
        if key not in accepted:
            raise DataError(f"{what} cannot have {key!r}, accepted: {', '.join(sorted(accepted))}")
    return given


def _read_group(raw: Any) -> Group:
    raw = _keys("a group", raw, _GROUP_KEYS)
    for key in ("count", "colour", "shape", "motion"):
        if key not in raw:
            raise DataError(
                f"a group of the facts lacks {key!r}; it needs count, colour, shape and motion"
            )
    return Group(
        count=_known("count", raw["count"], COUNT_WORDS),
        colour=_known("colour", raw["colour"], COLOUR_WORDS),
        shape=_known("shape", raw["shape"], SHAPE_WORDS),
        motion=_known("motion", raw["motion"], MOTIONS),
        size=_known("size", raw.get("size"), SIZE_WORDS, optional=True),
        material=_known("material", raw.get("material"), MATERIAL_WORDS, optional=True),
        speed=_known("speed", raw.get("speed"), SPEED_WORDS, optional=True),
    )


def _read_events(truth: Mapping[str, Any], group_of: dict[int, int]) -> tuple[Happening, ...]:
    """All events in order, one entry per kind and pair of groups."""
    order: list[tuple[str, int | None, int | None]] = []
    who: dict[tuple[str, int | None, int | None], tuple[set[int], set[int]]] = {}
    for raw in sorted(truth.get("events") or (), key=lambda event: event.get("seconds", 0.0)):
        _keys("an event", raw, frozenset({"kind", "seconds", "a", "b"}))
        kind = _known("event", raw.get("kind"), EVENTS)
        a, b = raw.get("a"), raw.get("b")
        for index in (a, b):
            if index is not None and group_of and index not in group_of:
                raise DataError(
                    f"event {kind!r} names object {index!r}, accepted: {sorted(group_of)}"
                )
        key = (kind, group_of.get(a), group_of.get(b))
        if key not in who:
            order.append(key)
            who[key] = (set(), set())
        who[key][0].add(a)
        who[key][1].add(b)
    found = [
        Happening(kind=kind, a=a, num_a=len(who[kind, a, b][0]), b=b, num_b=len(who[kind, a, b][1]))
        for kind, a, b in order
    ]
    # of "a hits b" and "b hits a" the first one tells it all
    return tuple(
        one
        for i, one in enumerate(found)
        if one.kind != "hit"
        or not any(e.kind == "hit" and {e.a, e.b} == {one.a, one.b} for e in found[:i])
    )


def read(truth: Mapping[str, Any]) -> Facts:
    if not isinstance(truth, Mapping):
        raise DataError(f"the facts must be a mapping, not {type(truth).__name__}")
    if not truth.get("groups"):
        raise DataError("the facts hold no groups; a caption needs at least one")
    groups = tuple(_read_group(raw) for raw in truth["groups"])
    relations = []
    for raw in truth.get("relations") or ():
        _keys("a relation", raw, frozenset({"a", "relation", "b"}))
        a, b = (_known("in a relation the group", raw.get(end), range(len(groups))) for end in "ab")
        relations.append((a, _known("relation", raw.get("relation"), RELATION_WORDS), b))
    group_of: dict[int, int] = {}
    for index, raw in enumerate(truth["groups"]):
        group_of |= dict.fromkeys(raw.get("objects") or (), index)
    for index, raw in enumerate(truth.get("objects") or ()):
        if "group" in raw:
            group_of.setdefault(index, raw["group"])
    camera = truth.get("camera")
    if camera is not None:
        _keys("the camera", camera, frozenset({"kind", "direction"}))
        camera = (camera.get("kind"), camera.get("direction"))
        _known("camera", camera, CAMERA_WORDS)
    spilled = truth.get("spilled_fraction")
    if spilled is not None and not 0 <= spilled <= 1.001:
        raise DataError(f"the facts hold spilled_fraction {spilled!r}, accepted: 0 to 1")
    return Facts(
        world=truth.get("world"),
        template=_known("template", truth.get("template"), TEMPLATES, optional=True),
        groups=groups,
        relations=tuple(relations),
        event=_known("event", truth.get("event"), EVENTS, optional=True),
        happenings=_read_events(truth, group_of),
        camera=camera,
        ground=_known("ground", truth.get("ground"), GROUND_WORDS, optional=True),
        sky=_known("sky", truth.get("sky"), SKY_WORDS, optional=True),
        spilled=spilled,
    )
