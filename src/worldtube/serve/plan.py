"""From what is asked to a row of the table: which model, which sizes, how many frames, and what the worker is to do.

Owns the meaning of bodies. Knows models only by the facts that workers announce, so that no weights are needed here.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from math import log
from typing import Any

from worldtube.errors import RequestError
from worldtube.serve.config import ALIAS_PREFIX, ALIASES
from worldtube.serve.schema import (
    MAX_FPS,
    MAX_PIXELS,
    MAX_SIDE,
    MIN_SIDE,
    Create,
    Edit,
    Extend,
    Remix,
    total,
)
from worldtube.state import State
from worldtube.video import Size, nearest_num_frames


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a served model can do."""

    name: str
    default: bool
    fps: float
    size: Size
    """Picture size that the model makes best; what a request gets that names none."""
    seconds: float
    """Duration that the model makes best; what a request gets that names none."""
    stride: tuple[int, int]
    render_pixels: int
    tasks: tuple[str, ...] | None = None
    """That its weights can do; None: all."""
    state_size: Size | None = None
    """Picture size that it makes best by way of a physical state; None where it knows none."""

    @staticmethod
    def of(name: str, told: Mapping[str, Any]) -> "Facts":
        return Facts(
            name=name,
            default=told["default"],
            fps=told["fps"],
            size=Size.parse(told["size"]),
            seconds=told["seconds"],
            stride=(told["stride"][0], told["stride"][1]),
            render_pixels=told["render_pixels"],
            tasks=tuple(told["tasks"]) if "tasks" in told else None,
            state_size=Size.parse(told["state"]["size"]) if told.get("state") else None,
        )

    @property
    def default_size(self) -> Size:
        """The native size, or the smallest multiple of it that a video can have."""
        times = -(-MIN_SIDE // min(self.size.width, self.size.height))
        if (self.size.width * times) % 2 or (self.size.height * times) % 2:
            times += times % 2
        return Size(times * self.size.width, times * self.size.height)

    def frames(self, seconds: float, fps: float) -> int:
        """The nearest number that the codec holds without waste."""
        return nearest_num_frames(seconds, fps, self.stride[0])

    def rendered(self, size: Size) -> Size:
        """The size to make a clip at that is shown at `size`: itself where the model can, else the nearest in shape
        and area that it can."""
        side, area = self.stride[1], size.width * size.height
        if size.width % side == size.height % side == 0 and area <= self.render_pixels:
            return size
        aim = min(area, self.render_pixels)
        choices = [
            Size(side * w, side * max(1, round(side * w * size.height / size.width / side)))
            for w in range(1, max(2, self.render_pixels // side**2 + 1))
        ]
        fitting = [c for c in choices if c.width * c.height <= self.render_pixels] or choices[:1]

        def far(one: Size) -> float:
            shape = log(one.width * size.height / (one.height * size.width))
            return 4 * abs(shape) + abs(log(one.width * one.height / aim))

        return min(fitting, key=far)


@dataclass(frozen=True, kw_only=True)
class Source:
    """A video that is edited, extended or remixed."""

    num_frames: int
    fps: float
    size: Size
    seconds: float
    id: str | None = None
    """Where it is a video of ours."""
    model: str | None = None
    seed: int | None = None
    rendered: Size | None = None
    warning: str = ""
    """What of it is not kept."""
    halves: Mapping[str, str] | None = None
    """Of a video with a physical state: `physics` and `renderer`, where they were asked for."""


Row = dict[str, Any]


def choose(name: str | None, models: Mapping[str, Facts]) -> Facts:
    """The model by a name, or by one of those that mean the default. Raises RequestError, with param `model`."""
    if name is None or (name not in models and name.startswith(ALIAS_PREFIX)):
        return next(facts for facts in models.values() if facts.default)
    if name not in models:
        raise RequestError(
            f"model {name!r} is not served (accepted: {', '.join((*models, *ALIASES))})"
        )
    return models[name]


def create(
    body: Create, facts: Facts, picture: Size | None = None, state: State | None = None
) -> Row:
    """Words, or words and a picture, or a storyboard, or a physical state.

    Args:
        picture: the size of the picture that is given; the video has it too where the body names none
        state: what is drawn, checked
    """
    spec: dict[str, Any] = {}
    usual = facts.default_size if picture is None else _playable(picture)
    if picture is None and facts.state_size is not None and not body.no_state:
        usual = facts.state_size
        spec |= {"any_size": True} if body.size is None else {}
    size = Size.parse(body.size) if body.size else usual
    fps = body.fps or (facts.fps if state is None else state.fps)
    if fps > MAX_FPS:
        raise RequestError(f"fps of a state must be at most {MAX_FPS:g}, got {fps:g}")
    if body.storyboard is not None:
        each = [facts.frames(shot.seconds, fps) for shot in body.storyboard]
        spec["shots"] = [[shot.prompt, shot.seconds] for shot in body.storyboard]
        task, num_frames = "storyboard", sum(each)
        seconds = sum(shot.seconds for shot in body.storyboard)
    else:
        task = "generate" if body.input_reference is None else "animate"
        seconds = body.seconds or facts.seconds
        num_frames = body.num_frames or facts.frames(seconds, fps)
        if state is not None:
            task = "reproduce"
            if body.num_frames is None and body.seconds is None:
                num_frames = max(1, round(state.seconds * fps))
        exact = body.num_frames is not None or (state is not None and body.seconds is None)
        seconds = num_frames / fps if exact else seconds
        if seconds > 60:
            raise RequestError(f"num_frames {num_frames} at {fps:g} fps is not accepted; 60 s are")
    rendered, warnings = _rendered(facts, size)
    if task == "animate" and warnings:
        warnings = [f"{facts.name} makes new frames at {rendered}; they are brought to {size}"]
    return _row(body, facts, task, size, rendered, fps, num_frames, seconds, spec, warnings)


def _playable(size: Size) -> Size:
    """The size of a picture as one that a video can have: even sides within the limits, in about its shape."""
    area = size.width * size.height
    scale = min(1.0, MAX_SIDE / max(size.width, size.height), (MAX_PIXELS / area) ** 0.5)
    scale = max(scale, MIN_SIDE / min(size.width, size.height))
    sides = (max(MIN_SIDE, 2 * int(scale * side / 2)) for side in (size.width, size.height))
    return Size(*(min(MAX_SIDE, side) for side in sides))


def edit(body: Edit | Remix, facts: Facts, source: Source) -> Row:
    """A video made anew with other words."""
    task = "remix" if isinstance(body, Remix) else "edit"
    rendered, warnings = _of_source(facts, source, new_only=False)
    row = _row(
        *(body, facts, task, source.size, rendered, source.fps, source.num_frames, source.seconds),
        {"strength": body.strength},
        warnings,
    )
    if task == "remix" and body.seed is None and source.seed is not None:
        row["seed"] = source.seed
    return row | {"remixed_from": source.id}


def extend(body: Extend, facts: Facts, source: Source, following: Source | None) -> Row:
    """A video and what comes after it, before it or between it and another."""
    task = "extend" if body.direction in ("forward", "backward") else body.direction
    rendered, warnings = _of_source(facts, source, new_only=True)
    frames = source.num_frames
    if following is not None:  # shown at the rate of the first
        frames += max(1, round(following.num_frames * source.fps / following.fps))
        warnings += [following.warning] if following.warning else []
    num_frames = total(frames, source.fps, body.seconds)
    seconds = source.seconds + (following.seconds if following else 0.0) + body.seconds
    spec: dict[str, Any] = {"seconds": body.seconds}
    if task == "extend":
        spec["backward"] = body.direction == "backward"
    row = _row(
        *(body, facts, task, source.size, rendered, source.fps, num_frames, seconds, spec, warnings)
    )
    if (
        body.direction == "forward"
        and source.halves
        and facts.state_size is not None
        and not body.no_state
    ):
        row["spec"]["options"] = dict(source.halves) | row["spec"]["options"]
    return row | {"remixed_from": source.id}


def check_half(
    body: Create | Extend, name: str, facts: Facts, source: Source | None = None
) -> None:
    """Raises RequestError where `physics` or `renderer` is asked for and there is no state that it would be of.

    Args:
        source: the video that is extended
    """
    half = getattr(body, name)
    if half == "engine" and facts.state_size is None:
        raise RequestError(
            f"{name} must be model with {facts.name}, got {half!r}: it knows no states"
        )
    if half is not None and source is not None and source.halves is None:
        raise RequestError(
            f"{name} is accepted for a video with a physical state; this one has none"
        )


def _of_source(facts: Facts, source: Source, *, new_only: bool) -> tuple[Size, list[str]]:
    """The size that the model works at, and what is to be said of it. new_only: given frames stay as they are."""
    if source.rendered is not None and source.model == facts.name:
        rendered = source.rendered
    else:
        rendered = facts.rendered(source.size)
    warnings = [source.warning] if source.warning else []
    slower = abs(source.fps - facts.fps) > 1e-3
    if rendered == source.size and not slower:
        return rendered, warnings
    made, shown = f"{rendered}", f"{source.size}"
    if slower:
        made, shown = f"{made} and {facts.fps:g} fps", f"{shown} and {source.fps:g} fps"
    if new_only:
        message = f"{facts.name} makes new frames at {made}; they are brought to {shown}"
    else:
        message = f"{facts.name} makes this at {made}; it is enlarged to {shown}"
    return rendered, [*warnings, message]


def _rendered(facts: Facts, size: Size) -> tuple[Size, list[str]]:
    rendered = facts.rendered(size)
    if rendered == size:
        return size, []
    return rendered, [f"{facts.name} makes this at {rendered}; it is enlarged to {size}"]


def _row(
    body: Create | Edit | Remix | Extend,
    facts: Facts,
    task: str,
    size: Size,
    rendered: Size,
    fps: float,
    num_frames: int,
    seconds: float,
    spec: dict[str, Any],
    warnings: list[str],
) -> Row:
    if facts.tasks is not None and task not in facts.tasks:
        raise RequestError(
            f"{task} is not possible with {facts.name}; its weights can do {', '.join(facts.tasks)}"
        )
    options = {
        "steps": body.num_inference_steps,
        "guidance": body.guidance_scale,
        "negative_prompt": body.negative_prompt,
    }
    if isinstance(body, Create | Extend):
        options |= {"no_state": body.no_state or None}
        options |= {"physics": body.physics, "renderer": body.renderer}
    spec |= {"options": {name: value for name, value in options.items() if value is not None}}
    seed = body.seed if body.seed is not None else random.SystemRandom().randrange(2**31)
    told = (task, rendered, fps, num_frames, body.num_inference_steps, body.guidance_scale)
    return {
        "task": task,
        "model": facts.name,
        "prompt": body.prompt or "",
        "size": str(size),
        "rendered_size": str(rendered),
        "seconds": f"{round(seconds, 3):g}",
        "fps": fps,
        "num_frames": num_frames,
        "seed": seed,
        "spec": spec,
        "shape": "|".join(map(str, told)),
        "warnings": warnings,
        "remixed_from": None,
    }
