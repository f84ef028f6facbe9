"""Facts that no engine made, for banks of example captions and for tests of the wording."""

from typing import Any

import numpy as np

from worldtube.worlds.language.words import (
    CAMERA_WORDS,
    COLOUR_WORDS,
    GROUND_WORDS,
    SHAPE_WORDS,
    SIZE_WORDS,
    SKY_WORDS,
    TEMPLATES,
)


def invent(rng: np.random.Generator, template: str | None = None) -> dict[str, Any]:
    """Well-formed, plausible facts of one clip, of one template if it is named."""
    template = template or TEMPLATES[int(rng.integers(len(TEMPLATES)))]
    world = "pour" if template in ("knock", "pour") else "tabletop"

    def pick(options: Any) -> Any:
        return list(options)[int(rng.integers(len(options)))]

    def group(shape: str, motion: str, most: int = 4) -> dict[str, Any]:
        return {
            "count": int(rng.integers(1, most + 1)),
            "colour": pick(COLOUR_WORDS),
            "size": pick(SIZE_WORDS),
            "shape": shape,
            "material": "glass"
            if world == "pour" and shape == "cup"
            else pick(("rubber", "plastic", "metal", "wood")),
            "motion": motion,
            "speed": pick(("slow", "fast", None)) if motion in ("right", "left") else None,
        }

    way, any_shape = pick(("right", "left")), pick(SHAPE_WORDS)
    relations: list[dict[str, Any]] = []
    kinds: list[tuple[str, int, int | None]] = []
    if template == "drop":
        groups = [group(any_shape, "fall")]
        kinds = [("bounced", 0, None)] if any_shape == "ball" else []
    elif template == "throw":
        groups = [group(any_shape, way, 2)]
    elif template == "roll":
        groups = [group(pick(("ball", "cylinder")), way)]
    elif template == "slide":
        groups = [group(pick(("box", "cup", "cylinder")), way)]
    elif template == "rest":
        groups = [group(any_shape, "rest")]
    elif template == "stack":
        groups = [group(pick(("box", "cylinder")), "rest")]
        if rng.random() < 0.5 or groups[0]["count"] == 1:
            groups = [group("box", "rest", 1), group(pick(("box", "cylinder")), "rest", 1)]
            relations = [{"a": 0, "relation": "on top of", "b": 1}]
        kinds = [("stacked", 0, len(groups) - 1)]
    elif template in ("collide", "hit_drop"):
        falls = template == "hit_drop"
        groups = [
            group("ball", "fall" if falls else way, 1),
            group(pick(("box", "cylinder")), "rest", 1),
        ]
        kinds = [("hit", 0, 1)]
        relations = [] if falls else [{"a": 0, "relation": pick(("into", "towards")), "b": 1}]
        if rng.random() < 0.4:
            kinds.append(("toppled", 1, None))
    elif template == "edge":
        groups = [group(any_shape, way, 2)]
        kinds = [("fell_off", 0, None)]
    elif template == "knock":
        groups = [group("ball", way, 1), group("cup", "rest", 1)]
        kinds = [("hit", 0, 1), ("tipped", 1, None), ("spilled", 1, None)]
        kinds = kinds[: int(rng.integers(1, 4))] if rng.random() < 0.8 else [("missed", 0, 1)]
        relation = "towards" if kinds[0][0] == "missed" else "into"
        relations = [{"a": 0, "relation": relation, "b": 1}]
    elif rng.random() < 0.65:
        groups = [group("cup", "rest", 1), group("cup", "rest", 1)]
        relations = [{"a": 0, "relation": pick(("left of", "right of")), "b": 1}]
        kinds = [("poured", 0, 1)]
        if rng.random() < 0.2:
            kinds = [("poured", 0, None), ("spilled", 0, None)]
    else:
        groups = [group("cup", "rest", 1)]
        kinds = [("poured", 0, None)]
    if (
        len(groups) == 1
        and groups[0]["count"] < 3
        and rng.random() < 0.5
        and template in ("drop", "throw", "roll", "slide", "rest")
    ):
        groups.append(group(pick(SHAPE_WORDS), pick(("rest", groups[0]["motion"])), 2))
        if groups[1]["motion"] == "rest" and rng.random() < 0.5:
            relations = [
                {"a": 0, "relation": pick(("left of", "right of", "behind", "in front of")), "b": 1}
            ]
    objects: list[dict[str, Any]] = []
    for index, one in enumerate(groups):
        one["objects"] = list(range(len(objects), len(objects) + one["count"]))
        looks = {key: one[key] for key in ("colour", "shape", "size", "material")}
        objects += [{**looks, "group": index} for _ in one["objects"]]
    events = [
        {
            "kind": kind,
            "seconds": 0.5 + 0.25 * i,
            "a": groups[a]["objects"][0],
            "b": None if b is None else groups[b]["objects"][0],
        }
        for i, (kind, a, b) in enumerate(kinds)
    ]
    truth: dict[str, Any] = {
        "world": world,
        "version": 1,
        "seed": 0,
        "template": template,
        "groups": groups,
        "relations": relations,
        "event": kinds[-1][0] if kinds else None,
        "events": events,
        "objects": objects,
        "camera": dict(
            zip(("kind", "direction"), pick((("fixed", None), *CAMERA_WORDS)), strict=True)
        ),
        "ground": pick(GROUND_WORDS),
        "sky": pick(SKY_WORDS),
    }
    if any(kind == "spilled" for kind, _, _ in kinds):
        truth["spilled_fraction"] = float(rng.random())
    return truth
