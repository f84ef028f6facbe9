"""Tasks: functions that return a `Request`. A task is data; the engine never asks which one it was."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

from worldtube.errors import RequestError
from worldtube.generate.request import Given, Request, Shot, check_fps
from worldtube.generate.values import as_flag, as_integer, as_number
from worldtube.state import State, check_state
from worldtube.video import Clip, Size

if TYPE_CHECKING:
    import numpy as np


class Options(TypedDict, total=False):
    """What every task takes besides its own; meanings and defaults are those of `Request`."""

    size: Size | None
    fps: float | None
    seed: int
    steps: int
    sampler: str
    guidance: float
    guidance_interval: tuple[float, float]
    guidance_rescale: float
    negative_prompt: str
    shift: float | None
    lag: int
    causal: bool
    no_state: bool
    physics: Literal["model", "engine"]
    renderer: Literal["model", "engine"]


def generate(
    prompt: str,
    *,
    seconds: float = 2.0,
    num_frames: int | None = None,
    **options: Unpack[Options],
) -> Request:
    """Words to a clip.

    Args:
        prompt: what is to be seen
        seconds: duration, up to 60
        num_frames: exact number of frames, in place of `seconds`
    """
    return Request(prompt=prompt, seconds=seconds, num_frames=num_frames, **options)


def image(prompt: str, **options: Unpack[Options]) -> Request:
    """Words to a picture: a clip of one frame.

    Args:
        prompt: what is to be seen
    """
    return Request(prompt=prompt, seconds=None, **options)


def animate(
    picture: Clip,
    prompt: str = "",
    *,
    seconds: float = 2.0,
    num_frames: int | None = None,
    **options: Unpack[Options],
) -> Request:
    """A picture to a clip that begins with it.

    Args:
        picture: the first frame
        prompt: what happens
        seconds: duration, up to 60
        num_frames: exact number of frames, in place of `seconds`
    """
    first = Given(clip=replace(picture, frames=picture.frames[:1], tracks={}))
    return Request(
        prompt=prompt,
        seconds=seconds,
        num_frames=num_frames,
        given=(first,),
        **_gentle(options),
    )


def extend(
    clip: Clip,
    prompt: str = "",
    *,
    seconds: float = 2.0,
    backward: bool = False,
    **options: Unpack[Options],
) -> Request:
    """A clip to a longer one: what comes after it, or before. A clip just made is continued without decoding it.

    Args:
        clip: what is there already
        prompt: what happens
        seconds: how much is added
        backward: add what came before instead
    """
    total = _total([clip], seconds)
    if as_flag("backward", backward):
        given = Given(clip=clip, at=-clip.num_frames)
        return Request(prompt=prompt, num_frames=total, given=(given,), **_gentle(options))
    alone = as_flag("no_state", options.get("no_state", False))
    state = None if alone else getattr(clip, "state", None)
    if state is not None and state.water is None:  # nothing is lost; its frames are drawn again
        own: Options = {"size": clip.size, "fps": clip.fps, **options}
        return Request(prompt=prompt, num_frames=total, state=state, **own)
    given = Given(clip=clip, tokens=getattr(clip, "tokens", None))
    return Request(prompt=prompt, num_frames=total, given=(given,), **_gentle(options))


def loop(
    clip: Clip, prompt: str = "", *, seconds: float = 1.0, **options: Unpack[Options]
) -> Request:
    """A clip to one that can be played round and round: from its end a way is found back to its beginning.

    Args:
        clip: what is there already; a picture will do
        prompt: what happens
        seconds: how long the way back takes; of a picture, how long the whole clip is
    """
    total = _total([clip], seconds)
    if clip.num_frames == 1:
        total = max(2, total - 1)
    count = max(5, int(0.35 * clip.fps))
    start = Clip(frames=clip.frames[:count], fps=clip.fps, sound=clip.sound)
    given = (Given(clip=clip), Given(clip=start, at="end"))
    return Request(prompt=prompt, num_frames=total, given=given, **_gentle(options))


def connect(
    first: Clip,
    second: Clip,
    prompt: str = "",
    *,
    seconds: float = 1.0,
    **options: Unpack[Options],
) -> Request:
    """Two clips to one: what happens between them is made.

    Args:
        first: how it begins
        second: how it ends
        prompt: what happens
        seconds: how long it takes to get from one to the other
    """
    total = _total([first, second], seconds)
    given = (Given(clip=first), Given(clip=second, at=-second.num_frames))
    return Request(prompt=prompt, num_frames=total, given=given, **_gentle(options))


def edit(clip: Clip, prompt: str, *, strength: float = 0.8, **options: Unpack[Options]) -> Request:
    """A clip made anew from its own noisy self (Meng et al. 2021, SDEdit).

    Args:
        clip: what is there already
        prompt: what is to be seen
        strength: 0 keeps it as it is, 1 makes it anew
    """
    given = Given(clip=clip, strength=strength)
    return Request(prompt=prompt, num_frames=clip.num_frames, given=(given,), **options)


def paint(
    clip: Clip,
    prompt: str = "",
    *,
    rectangle: tuple[int, int, int, int] | None = None,
    mask: Clip | None = None,
    outside: bool = False,
    **options: Unpack[Options],
) -> Request:
    """A part of a clip made anew: inside a rectangle or a mask, or outside of it.

    Args:
        clip: what is there already
        prompt: what is to be seen
        rectangle: left, top, width and height in pixels of what is made
        mask: picture or clip that is light where things are made
        outside: keep that part and make the rest
    """
    made = _region(clip, rectangle, mask)
    given = Given(clip=clip, mask=made if as_flag("outside", outside) else ~made)
    return Request(prompt=prompt, num_frames=clip.num_frames, given=(given,), **_gentle(options))


def remix(
    clip: Clip, prompt: str, *, strength: float = 0.95, **options: Unpack[Options]
) -> Request:
    """A clip with other words, from the same seed and with the same layout.

    Args:
        clip: what is there already; one just made brings its seed along
        prompt: what is to be seen instead
        strength: how much of it may change, 0 to 1
    """
    request = getattr(clip, "request", None)
    if request is not None:
        options = {"seed": request.seed, **options}
    return edit(clip, prompt, strength=strength, **options)


def storyboard(
    *shots: str,
    seconds: Sequence[float] = (2.0,),
    **options: Unpack[Options],
) -> Request:
    """Several shots with words of their own to one clip, with a cut between them and the same things in all.

    Args:
        shots: the words of each shot
        seconds: duration of each shot; one number is for all
    """
    if not shots:
        raise RequestError("a storyboard of 0 shots is not accepted; words for 1 or more are")
    several = isinstance(seconds, Sequence) and not isinstance(seconds, str | bytes)
    durations: list[Any] = [*seconds] if several else [seconds]
    if len(durations) not in (1, len(shots)):
        raise RequestError(
            f"{len(durations)} durations for {len(shots)} shots are not accepted; 1 or {len(shots)} are"
        )
    each = durations * (len(shots) if len(durations) == 1 else 1)
    board = tuple(Shot(prompt=p, seconds=s) for p, s in zip(shots, each, strict=True))
    return Request(prompt="", shots=board, **options)


def _gentle(options: Options) -> Options:
    """Words pull less where pictures say most: twice the pull makes seams show twice as much."""
    return {"guidance": 2.0, **options}


def _total(clips: Sequence[Clip], seconds: float) -> int:
    """Frames of clips and of what is made beside them."""
    seconds = as_number("seconds", seconds)
    if not (math.isfinite(seconds) and seconds > 0):
        raise RequestError(f"seconds {seconds} is not accepted; above 0 is")
    fps = next((clip.fps for clip in clips if clip.num_frames > 1), clips[0].fps)
    return sum(clip.num_frames for clip in clips) + max(1, round(seconds * fps))


def _region(
    clip: Clip, rectangle: tuple[int, int, int, int] | None, mask: Clip | None
) -> np.ndarray:
    """bool (T, H, W): where things are made."""
    import numpy as np

    count, height, width, _ = clip.frames.shape
    if (rectangle is None) == (mask is None):
        raise RequestError("painting needs a rectangle or a mask (accepted: one of them)")
    if rectangle is not None:
        try:
            left, top, across, down = (as_integer("rectangle", value) for value in rectangle)
        except (TypeError, ValueError, RequestError):
            raise RequestError(
                f"rectangle must be four whole numbers (left, top, width, height), got {rectangle!r}"
            ) from None
        if not (0 <= left < width and 0 <= top < height and across > 0 and down > 0):
            raise RequestError(
                f"rectangle {left} {top} {across} {down} is not inside a picture of {clip.size}"
            )
        made = np.zeros((count, height, width), bool)
        made[:, top : top + down, left : left + across] = True
        return made
    if mask.size != clip.size or mask.num_frames not in (1, count):
        raise RequestError(
            f"a mask of {mask.num_frames} frames of {mask.size} does not fit a clip of {count} frames of {clip.size}"
        )
    return np.broadcast_to(mask.frames.mean(-1) > 127, (count, height, width))


def reproduce(
    state: State,
    prompt: str = "",
    *,
    seconds: float | None = None,
    **options: Unpack[Options],
) -> Request:
    """A physical state to a clip: its picture.

    Args:
        state: bodies and how they move, the scene and the camera (docs/guides/state.md)
        prompt: words that go with the clip
        seconds: duration; the state's own when not said, and what is longer goes on by the physics

    Raises:
        RequestError: for a state that cannot be drawn (`state.check_state`)
    """
    check_state(state)
    fps = check_fps(options["fps"]) if options.get("fps") is not None else state.fps
    frames = max(1, round(state.seconds * fps)) if seconds is None else None
    return Request(prompt=prompt, seconds=seconds, num_frames=frames, state=state, **options)


TASKS: dict[str, Callable[..., Request]] = {
    "generate": generate,
    "image": image,
    "animate": animate,
    "extend": extend,
    "loop": loop,
    "connect": connect,
    "edit": edit,
    "paint": paint,
    "remix": remix,
    "storyboard": storyboard,
    "reproduce": reproduce,
}
"""name -> function that makes the request."""

NEEDS: dict[str, frozenset[str]] = {
    "animate": frozenset({"known frames"}),
    "extend": frozenset({"known frames"}),
    "loop": frozenset({"known frames", "pieces"}),
    "connect": frozenset({"known frames", "pieces"}),
    "paint": frozenset({"known parts"}),
    "storyboard": frozenset({"pieces"}),
    "reproduce": frozenset({"state"}),
}
"""name -> the least that weights must be able to do for it (`models.model.ABILITIES`); nothing where not listed."""


def possible(abilities: frozenset[str]) -> list[str]:
    """The tasks that weights can do, at least in one way."""
    return [name for name in TASKS if NEEDS.get(name, frozenset()) <= abilities]


OPTIONS: dict[str, tuple[Any, Any, str]] = {
    "size": (
        Size | None,
        None,
        "width x height of the result in pixels; when not said the given clip's own, of a picture at most 1920x1080 "
        "pixels, else the model's; edit and remix: what the model makes of it",
    ),
    "fps": (
        float | None,
        None,
        "frames per second of the result; when not said the given clip's own, else the model's; edit and remix: the "
        "model's",
    ),
    "seed": (
        int,
        0,
        "same seed, same bytes on one machine; random draws one and tells it (None in Python; random or -1 in a shell)",
    ),
    "steps": (int, Request.steps, "rows of noise levels; more is finer and slower"),
    "sampler": (
        str,
        Request.sampler,
        "how the levels are walked down (`worldtube info` lists the samplers)",
    ),
    "guidance": (
        float | None,
        None,
        f"how strongly the words pull, 1 is none; when not said {Request.guidance:g}, or 2 where pictures are kept",
    ),
    "guidance_interval": (
        tuple[float, float],
        Request.guidance_interval,
        "lowest and highest noise level at which the words pull",
    ),
    "guidance_rescale": (
        float,
        Request.guidance_rescale,
        "how far contrast that guidance adds is taken back: 0 not at all, 1 wholly",
    ),
    "negative_prompt": (str, "", "what guidance pushes away from"),
    "shift": (
        float | None,
        Request.shift,
        "above 1 spends more steps at high noise; goes by the number of tokens when not said",
    ),
    "lag": (int, 0, "steps that each latent frame starts after the one before"),
    "causal": (bool, False, "frames do not see later ones"),
    "no_state": (bool, False, "make the picture from words alone, without a physical state first"),
    "physics": (
        str,
        Request.physics,
        "what moves a state: model (learned dynamics) or engine (which they learned from)",
    ),
    "renderer": (
        str,
        Request.renderer,
        "what draws a state: model (learned renderer) or engine (the ray caster, any state exactly)",
    ),
}
"""name of each of Options -> (type, default, meaning), for the commands."""
