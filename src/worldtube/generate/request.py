"""What is asked of the engine, as a value.

Owns the limits of a request and their messages. Knows nothing of models, tasks or how it is done.
"""

import math
from dataclasses import dataclass

from worldtube.diffusion.samplers import SAMPLERS
from worldtube.errors import RequestError, unknown
from worldtube.video import Clip, Size

MAX_SECONDS = 60.0
MAX_STEPS = 1000
MAX_PROMPT = 4000


@dataclass(frozen=True, kw_only=True)
class Given:
    """Something already known."""

    clip: Clip
    """An image is a clip of one frame."""
    at: int = 0
    """First pixel frame that it fills; negative counts from the end."""
    strength: float = 0.0
    """0 keeps it as it is, 1 makes it anew."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """One clip to make."""

    prompt: str
    """What is to be seen, in words."""
    size: Size | None = None
    """Width x height in pixels; the model's own when not said."""
    seconds: float | None = 2.0
    """Duration; one frame when None."""
    fps: float | None = None
    """Frames per second; the model's own when not said."""
    seed: int = 0
    """Same seed, same bytes on one machine, whatever else is made beside it."""
    steps: int = 24
    """Rows of noise levels that the sampler walks down."""
    sampler: str = "euler"
    """One of SAMPLERS."""
    guidance: float = 4.0
    """How strongly the words pull; 1 is none."""
    negative_prompt: str = ""
    """What guidance pushes away from; nothing in particular when empty."""
    shift: float = 3.0
    """Above 1 spends more steps at high noise, where it is decided what stands where."""
    lag: int = 0
    """Steps that each latent frame starts after the one before; 0 denoises all together."""
    causal: bool = False
    """Whether tokens see later frames."""
    given: tuple[Given, ...] = ()
    """What is already known."""

    def __post_init__(self) -> None:
        if not self.prompt.strip() and not self.given:
            raise RequestError("the prompt '' is empty; say in a few words what is to be seen")
        if len(self.prompt) > MAX_PROMPT:
            raise RequestError(
                f"a prompt of {len(self.prompt)} characters is too long; at most {MAX_PROMPT} are accepted"
            )
        if self.seconds is not None and not 0 < self.seconds <= MAX_SECONDS:
            raise RequestError(
                f"seconds {self.seconds} is not accepted; above 0 and at most {MAX_SECONDS:g} is"
            )
        if self.fps is not None and not 1 <= self.fps <= 120:
            raise RequestError(f"fps {self.fps} is not accepted; 1 to 120 is")
        if not 1 <= self.steps <= MAX_STEPS:
            raise RequestError(f"steps {self.steps} is not accepted; 1 to {MAX_STEPS} is")
        if self.sampler not in SAMPLERS:
            raise unknown("sampler", self.sampler, SAMPLERS)
        if not (math.isfinite(self.guidance) and 0 <= self.guidance <= 50):
            raise RequestError(f"guidance {self.guidance} is not accepted; 0 to 50 is")
        if not 0 <= self.seed < 2**63:
            raise RequestError(f"seed {self.seed} is not accepted; 0 to {2**63 - 1} is")
        if not (math.isfinite(self.shift) and 0 < self.shift <= 100):
            raise RequestError(f"shift {self.shift} is not accepted; above 0 and at most 100 is")
        if not 0 <= self.lag <= self.steps:
            raise RequestError(
                f"lag {self.lag} is not accepted; 0 to the number of steps, {self.steps}, is"
            )
        for given in self.given:
            if not 0 <= given.strength <= 1:
                raise RequestError(
                    f"strength {given.strength} is not accepted; 0 (keep) to 1 (make anew) is"
                )
