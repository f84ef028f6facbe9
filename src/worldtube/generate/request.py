"""What is asked of the engine, as a value.

Owns the limits of a request and their messages. Knows nothing of models, tasks or how it is done.
"""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from worldtube.diffusion.samplers import SAMPLERS
from worldtube.errors import RequestError, unknown
from worldtube.generate.values import as_flag, as_integer, as_number, as_text
from worldtube.video import Clip, ClipLike, Size, as_clip, as_mask

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from worldtube.generate.assemble import Composition
    from worldtube.state import State

MAX_SECONDS = 60.0
MAX_STEPS = 1000
MAX_FPS = 120.0
MAX_PROMPT = 32000
HALVES = ("model", "engine")
"""What may move a state, and what may draw it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Given:
    """Something already known."""

    clip: Clip
    """An image is a clip of one frame. What `as_clip` accepts is converted."""
    at: int | Literal["end"] = 0
    """First frame of the result that it fills; negative counts from the end; "end" puts it just after the end:
    seen by what is made, not shown."""
    strength: float = 0.0
    """0 keeps it as it is, 1 makes it anew."""
    mask: np.ndarray | None = None
    """bool (T, H, W) or (H, W): what is kept; the rest is made anew. All, when not said. Pictures and clips are
    converted: what is light is kept."""
    tokens: Tensor | None = None
    """The clip's own tokens where they are known, so that it need not be encoded again."""

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            clip: ClipLike,
            at: int | Literal["end"] = 0,
            strength: float = 0.0,
            mask: ClipLike | None = None,
            tokens: Tensor | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        clip = as_clip(self.clip)
        object.__setattr__(self, "clip", clip)
        object.__setattr__(self, "strength", as_number("strength", self.strength))
        if self.at != "end":
            object.__setattr__(self, "at", as_integer("at", self.at))
        if self.mask is None:
            return
        mask = as_mask(self.mask)
        count, height, width = mask.shape
        if (height, width) != clip.frames.shape[1:3] or count not in (1, clip.num_frames):
            raise RequestError(
                f"a mask must have the size of its clip, {clip.size}, and 1 frame or {clip.num_frames}, "
                f"got {count} of {width}x{height}"
            )
        object.__setattr__(self, "mask", mask[0] if count == 1 else mask)


@dataclass(frozen=True, kw_only=True)
class Shot:
    """One shot of a storyboard; a cut follows."""

    prompt: str
    seconds: float = 2.0

    def __post_init__(self) -> None:
        as_text("the prompt of a shot", self.prompt)
        object.__setattr__(self, "seconds", as_number("seconds", self.seconds))


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
    """Same seed, same bytes on one machine, whatever else is made beside it. None is replaced by a random one."""
    steps: int = 16
    """Rows of noise levels that the sampler walks down."""
    sampler: str = "adams"
    """One of SAMPLERS."""
    guidance: float = 4.0
    """How strongly the words pull; 1 is none."""
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    """Lowest and highest noise level at which they pull."""
    guidance_rescale: float = 0.0
    """How far contrast that guidance adds is taken back: 0 not at all, 1 wholly."""
    negative_prompt: str = ""
    """What guidance pushes away from; nothing in particular when empty."""
    shift: float | None = None
    """Above 1 spends more steps at high noise, where it is decided what stands where. When not said, it goes
    by the number of tokens seen at once: 3 at the model's own size and 2 s."""
    lag: int = 0
    """Steps that each latent frame starts after the one before; 0 is all together, `steps` one after the other."""
    causal: bool = False
    """Whether later frames are hidden; what is done is then remembered, and no step computes it again."""
    given: tuple[Given, ...] = ()
    """What is already known."""
    num_frames: int | None = None
    """Exact number of frames, in place of `seconds`."""
    state: State | None = None
    """The physical state that the clip begins with; it goes on from its last frame. Made from the prompt when not
    said, where the model knows states."""
    no_state: bool = False
    """Make the picture from words alone, also where the model could make a physical state first."""
    physics: Literal["model", "engine"] = "model"
    """What moves a state: the learned dynamics, or the engine that they learned from."""
    renderer: Literal["model", "engine"] = "model"
    """What draws a state: the learned renderer, or the ray caster that it learned from."""
    task: str = ""
    """The entry of TASKS that it was asked for as; told in the file, and nothing depends on it."""
    asked: str = ""
    """What was asked, where `prompt` says it in other words (`prepare_prompts`); told in the file."""
    shots: tuple[Shot, ...] = ()
    """Shots with words and durations of their own, in place of `seconds`; `prompt` is put before each."""
    composition: Composition | None = field(default=None, repr=False)
    """How the result is put together from given frames and the model's (`compose.adapt`); size, rate and frames of
    the request are then the model's, those of the result stand here."""

    @property
    def words(self) -> tuple[str, ...]:
        """The prompt and those of the shots, where they say something."""
        return tuple(text for text in (self.prompt, *(s.prompt for s in self.shots)) if text)

    def __post_init__(self) -> None:
        self._convert()
        something = self.given or self.shots or self.state is not None
        if not self.prompt.strip() and not something:
            raise RequestError("the prompt '' is empty; say in a few words what is to be seen")
        if len(self.prompt) > MAX_PROMPT:
            raise RequestError(
                f"a prompt of {len(self.prompt)} characters is too long; at most {MAX_PROMPT} are accepted"
            )
        if self.seconds is not None and not 0 < self.seconds <= MAX_SECONDS:
            raise RequestError(
                f"seconds {self.seconds} is not accepted; above 0 and at most {MAX_SECONDS:g} is"
            )
        if self.fps is not None:
            check_fps(self.fps)
        if not 1 <= self.steps <= MAX_STEPS:
            raise RequestError(f"steps {self.steps} is not accepted; 1 to {MAX_STEPS} is")
        if self.sampler not in SAMPLERS:
            raise unknown("sampler", self.sampler, SAMPLERS)
        for name in ("physics", "renderer"):
            if getattr(self, name) not in HALVES:
                raise unknown(name, getattr(self, name), HALVES)
        if self.no_state and self.state is not None:
            raise RequestError("state and no_state exclude each other, got both")
        if not (math.isfinite(self.guidance) and 0 <= self.guidance <= 50):
            raise RequestError(f"guidance {self.guidance} is not accepted; 0 to 50 is")
        low, high = self.guidance_interval
        if not 0 <= low <= high <= 1:
            raise RequestError(
                f"guidance_interval {self.guidance_interval} is not accepted; 0 <= lowest <= highest <= 1 is"
            )
        if not 0 <= self.guidance_rescale <= 1:
            raise RequestError(
                f"guidance_rescale {self.guidance_rescale} is not accepted; 0 to 1 is"
            )
        if not 0 <= self.seed < 2**63:
            raise RequestError(f"seed {self.seed} is not accepted; 0 to {2**63 - 1} is")
        if self.shift is not None and not 0 < self.shift <= 100:
            raise RequestError(f"shift {self.shift} is not accepted; above 0 and at most 100 is")
        if not 0 <= self.lag <= self.steps:
            raise RequestError(
                f"lag {self.lag} is not accepted; 0 to the number of steps, {self.steps}, is"
            )
        if self.num_frames is not None and not 1 <= self.num_frames <= MAX_FPS * MAX_SECONDS:
            raise RequestError(
                f"num_frames {self.num_frames} is not accepted; 1 to {MAX_FPS * MAX_SECONDS:g} is"
            )
        for shot in self.shots:
            if not shot.prompt.strip() or not 0 < shot.seconds <= MAX_SECONDS:
                raise RequestError(
                    f"a shot {shot.prompt!r} of {shot.seconds} seconds is not accepted; "
                    f"some words and above 0 up to {MAX_SECONDS:g} seconds are"
                )
        for given in self.given:
            if not 0 <= given.strength <= 1:
                raise RequestError(
                    f"strength {given.strength} is not accepted; 0 (keep) to 1 (make anew) is"
                )

    def _convert(self) -> None:
        """Bring every option to its own type. Raises RequestError for what has none."""

        def put(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)

        for name in ("prompt", "negative_prompt", "sampler", "physics", "renderer"):
            as_text(name, getattr(self, name))
        put("causal", as_flag("causal", self.causal))
        put("no_state", as_flag("no_state", self.no_state))
        if self.seed is None:
            put("seed", draw_seed())
        if self.size is not None:
            put("size", Size.of(self.size))
        for name in ("seed", "steps", "lag", "num_frames"):
            if getattr(self, name) is not None:
                put(name, as_integer(name, getattr(self, name)))
        for name in ("seconds", "fps", "guidance", "guidance_rescale", "shift"):
            if getattr(self, name) is not None:
                put(name, as_number(name, getattr(self, name)))
        try:
            low, high = self.guidance_interval
        except (TypeError, ValueError):
            raise RequestError(
                f"guidance_interval must be two numbers, got {self.guidance_interval!r}"
            ) from None
        interval = as_number("guidance_interval", low), as_number("guidance_interval", high)
        put("guidance_interval", interval)


def check_fps(fps: Any) -> float:
    """Return a frame rate as a float. Raises RequestError for what is none."""
    fps = as_number("fps", fps)
    if not 1 <= fps <= MAX_FPS:
        raise RequestError(f"fps {fps} is not accepted; 1 to {MAX_FPS:g} is")
    return fps


def draw_seed() -> int:
    """Return a random seed that is short enough to be typed."""
    return secrets.randbelow(2**31)
