"""Tasks: functions that return a `Request`. A task is data; the engine never asks which one it was."""

from collections.abc import Callable

from worldtube.generate.request import Request
from worldtube.video import Size


def generate(
    prompt: str,
    *,
    seconds: float = 2.0,
    size: Size | None = None,
    fps: float | None = None,
    seed: int = 0,
    steps: int = 24,
    sampler: str = "euler",
    guidance: float = 4.0,
    negative_prompt: str = "",
) -> Request:
    """Words to a clip.

    Args:
        prompt: what is to be seen
        seconds: duration, up to 60
        size: width x height in pixels; the model's own when not said
        fps: frames per second; the model's own when not said
        seed: same seed, same bytes on one machine
        steps: rows of noise levels; more is finer and slower
        sampler: euler or heun
        guidance: how strongly the words pull; 1 is none
        negative_prompt: what guidance pushes away from
    """
    return Request(
        prompt=prompt,
        seconds=seconds,
        size=size,
        fps=fps,
        seed=seed,
        steps=steps,
        sampler=sampler,
        guidance=guidance,
        negative_prompt=negative_prompt,
    )


def image(
    prompt: str,
    *,
    size: Size | None = None,
    seed: int = 0,
    steps: int = 24,
    sampler: str = "euler",
    guidance: float = 4.0,
    negative_prompt: str = "",
) -> Request:
    """Words to a picture: a clip of one frame.

    Args:
        prompt: what is to be seen
        size: width x height in pixels; the model's own when not said
        seed: same seed, same bytes on one machine
        steps: rows of noise levels; more is finer and slower
        sampler: euler or heun
        guidance: how strongly the words pull; 1 is none
        negative_prompt: what guidance pushes away from
    """
    return Request(
        prompt=prompt,
        seconds=None,
        size=size,
        seed=seed,
        steps=steps,
        sampler=sampler,
        guidance=guidance,
        negative_prompt=negative_prompt,
    )


TASKS: dict[str, Callable[..., Request]] = {"generate": generate, "image": image}
