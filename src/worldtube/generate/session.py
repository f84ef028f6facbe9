"""A loaded model with the tasks as methods: what `worldtube.load()` returns.

Knows nothing of its own; it joins `models` and the engine for people who type Python.
"""

import inspect
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from os import PathLike
from pathlib import Path
from typing import Any, Unpack, cast, get_type_hints, overload

import numpy as np
import torch

from worldtube import models, provenance
from worldtube.errors import PromptWarning, RequestError, unknown
from worldtube.generate import budget, engine
from worldtube.generate.compose import adapt, natural_fps, result_shape
from worldtube.generate.engine import Generated, Progress
from worldtube.generate.layout import outline
from worldtube.generate.options import (
    CALL_OPTIONS,
    SEVERAL,
    ManySeeds,
    OneSeed,
    describe_options,
    expand_seeds,
    resolve_options,
)
from worldtube.generate.progress import ProgressBar
from worldtube.generate.prompts import prepare_prompts
from worldtube.generate.request import Request
from worldtube.generate.tasks import TASKS
from worldtube.generate.values import as_flag, as_integer, as_text
from worldtube.models.model import StateModel, VideoModel
from worldtube.state import State, as_state
from worldtube.video import Clip, ClipLike, Size, as_clip, as_mask, retime

MAX_BATCH = 16
"""Clips that are packed into one row at most, where memory has room for them."""


class _Timeless(Clip):
    """A mask from an array: its frames are those of the clip that it belongs to."""


class Session:
    """A loaded model; every task is a method.

        session = worldtube.load()
        clip = session.generate("a red ball rolls to the right", seconds=2, seed=7)
        clip.save("ball.mp4")

    Pictures and clips may be paths, PIL images, NumPy arrays, torch tensors, lists of pictures or `Clip`s
    (`worldtube.as_clip`). Options are checked before anything is computed: wrong values raise `RequestError`.

    Attributes:
        model: the `VideoModel`
        defaults: options of every task where a call does not give them
    """

    def __init__(self, model: VideoModel, defaults: Mapping[str, Any] | None = None):
        self.model = model
        self.defaults = dict(model.defaults if defaults is None else defaults)

    def __repr__(self) -> str:
        model = self.model
        device = getattr(model, "device", None)
        place = f" on {device}" if device is not None else ""
        size = (
            getattr(model, "state_size", model.size) if "state" in model.abilities else model.size
        )
        defaults = "".join(f", {name}={value!r}" for name, value in self.defaults.items())
        return f"Session({model.name}: {size} at {model.fps:g} fps{place}{defaults})"

    def __dir__(self) -> Iterable[str]:
        return sorted({*super().__dir__(), *TASKS})

    @overload
    def generate(
        self,
        prompt: str,
        *,
        seconds: float = 2.0,
        num_frames: int | None = None,
        num_videos_per_prompt: None = None,
        **options: Unpack[OneSeed],
    ) -> Generated: ...
    @overload
    def generate(
        self,
        prompt: str | Sequence[str],
        *,
        seconds: float = 2.0,
        num_frames: int | None = None,
        num_videos_per_prompt: int | None = None,
        **options: Unpack[ManySeeds],
    ) -> list[Generated]: ...
    @describe_options
    def generate(
        self,
        prompt: str | Sequence[str],
        *,
        seconds: float = 2.0,
        num_frames: int | None = None,
        num_videos_per_prompt: int | None = None,
        **options: Any,
    ) -> Generated | list[Generated]:
        """Text to video.

        Several prompts, seeds or videos per prompt make a list of clips, computed together in one packed row. Each
        equals the clip that its prompt and seed make alone, up to the rounding of matrix products.

        Args:
            prompt: what is to be seen; a list for several clips
            seconds: duration, up to 60
            num_frames: exact number of frames, in place of `seconds`
            num_videos_per_prompt: clips of each prompt, with seeds one after the other
            {options}

        Returns:
            A clip; a list of them where `prompt` or `seed` is a list or `num_videos_per_prompt` is given.
        """
        return self._run_several(
            "generate",
            prompt,
            num_videos_per_prompt,
            options,
            seconds=seconds,
            num_frames=num_frames,
        )

    @overload
    def image(
        self, prompt: str, *, num_images_per_prompt: None = None, **options: Unpack[OneSeed]
    ) -> Generated: ...
    @overload
    def image(
        self,
        prompt: str | Sequence[str],
        *,
        num_images_per_prompt: int | None = None,
        **options: Unpack[ManySeeds],
    ) -> list[Generated]: ...
    @describe_options
    def image(
        self,
        prompt: str | Sequence[str],
        *,
        num_images_per_prompt: int | None = None,
        **options: Any,
    ) -> Generated | list[Generated]:
        """Text to image: a clip of one frame; `to_pil()[0]` is the picture.

        Args:
            prompt: what is to be seen; a list for several pictures
            num_images_per_prompt: pictures of each prompt, with seeds one after the other
            {options}

        Returns:
            A clip; a list of them where `prompt` or `seed` is a list or `num_images_per_prompt` is given.
        """
        return self._run_several("image", prompt, num_images_per_prompt, options)

    @describe_options
    def animate(
        self,
        picture: ClipLike,
        prompt: str = "",
        *,
        seconds: float = 2.0,
        num_frames: int | None = None,
        **options: Unpack[OneSeed],
    ) -> Generated:
        """Image to video: a clip that begins with the picture.

        Args:
            picture: the first frame
            prompt: what happens
            seconds: duration, up to 60
            num_frames: exact number of frames, in place of `seconds`
            {options}
        """
        return self._run_task(
            "animate", picture, prompt, seconds=seconds, num_frames=num_frames, **options
        )

    @describe_options
    def extend(
        self,
        clip: ClipLike,
        prompt: str = "",
        *,
        seconds: float = 2.0,
        backward: bool = False,
        **options: Unpack[OneSeed],
    ) -> Generated:
        """Make a clip longer: add what comes after it, or before.

        Args:
            clip: what is there already; one just generated is continued without encoding it again
            prompt: what happens
            seconds: how much is added
            backward: add what came before instead
            {options}
        """
        return self._run_task("extend", clip, prompt, seconds=seconds, backward=backward, **options)

    @describe_options
    def loop(
        self, clip: ClipLike, prompt: str = "", *, seconds: float = 1.0, **options: Unpack[OneSeed]
    ) -> Generated:
        """Make a clip loop: from its end a way back to its beginning is added.

        Args:
            clip: what is there already; a picture will do
            prompt: what happens
            seconds: duration of the way back; of a picture, of the whole clip
            {options}
        """
        return self._run_task("loop", clip, prompt, seconds=seconds, **options)

    @describe_options
    def connect(
        self,
        first: ClipLike,
        second: ClipLike,
        prompt: str = "",
        *,
        seconds: float = 1.0,
        **options: Unpack[OneSeed],
    ) -> Generated:
        """Connect two clips: what happens between them is made.

        Args:
            first: the beginning
            second: the end
            prompt: what happens
            seconds: duration of what is between
            {options}
        """
        return self._run_task("connect", first, second, prompt, seconds=seconds, **options)

    @describe_options
    def edit(
        self, clip: ClipLike, prompt: str, *, strength: float = 0.8, **options: Unpack[OneSeed]
    ) -> Generated:
        """Video to video: edit a clip with a prompt, from its own noisy self (Meng et al. 2021, SDEdit).

        Args:
            clip: what is there already
            prompt: what is to be seen
            strength: 0 keeps the clip as it is, 1 makes it anew
            {options}
        """
        return self._run_task("edit", clip, prompt, strength=strength, **options)

    @describe_options
    def paint(
        self,
        clip: ClipLike,
        prompt: str = "",
        *,
        rectangle: tuple[int, int, int, int] | None = None,
        mask: ClipLike | None = None,
        outside: bool = False,
        **options: Unpack[OneSeed],
    ) -> Generated:
        """Inpainting: make a part of a clip anew, inside a rectangle or a mask, or outside of it.

        Args:
            clip: what is there already
            prompt: what is to be seen
            rectangle: left, top, width and height in pixels of what is made
            mask: picture or clip that is light where things are made; arrays and tensors may be (T, H, W)
            outside: keep that part and make the rest (outpainting)
            {options}
        """
        return self._run_task(
            "paint", clip, prompt, rectangle=rectangle, mask=mask, outside=outside, **options
        )

    @describe_options
    def remix(
        self, clip: ClipLike, prompt: str, *, strength: float = 0.95, **options: Unpack[OneSeed]
    ) -> Generated:
        """Make a clip with another prompt, from the same seed and with the same layout.

        Args:
            clip: what is there already; one just generated brings its seed along
            prompt: what is to be seen instead
            strength: how much may change, 0 to 1
            {options}
        """
        return self._run_task("remix", clip, prompt, strength=strength, **options)

    @describe_options
    def storyboard(
        self, *shots: str, seconds: float | Sequence[float] = 2.0, **options: Unpack[OneSeed]
    ) -> Generated:
        """Several shots with prompts of their own, with a cut between them and the same things in all.

        Args:
            shots: the prompt of each shot
            seconds: duration of each shot; one number is for all
            {options}
        """
        return self._run_task("storyboard", *shots, seconds=seconds, **options)

    @describe_options
    def reproduce(
        self,
        state: State | str | PathLike | Mapping[str, Any],
        prompt: str = "",
        *,
        seconds: float | None = None,
        **options: Unpack[OneSeed],
    ) -> Generated:
        """State to video: draw a physical state, and let it go on where more is asked for than it holds.

        Args:
            state: a `State`, its JSON form, or the path of such a file (docs/guides/state.md)
            prompt: words that go with the clip
            seconds: duration; the state's own by default
            {options}
        """
        return self._run_task("reproduce", state, prompt, seconds=seconds, **options)

    def run(self, request: Request, *, progress: Progress | bool | None = None) -> Generated:
        """Carry out one request. Given clips of other sizes and rates than the model's stay as they are.

        Args:
            progress: True for a progress bar on stderr, or a function of (evaluations done, evaluations in all)
        """
        return self._run([request], _reporter(progress))[0]

    def write(
        self,
        request: Request,
        path: str | Path,
        *,
        parents: Sequence[str | Path] = (),
        sign_prompt: bool = False,
        watermark: bool = True,
        progress: Progress | bool | None = None,
    ) -> dict[str, Any]:
        """Carry out one request into an mp4 or webm file as its frames are made; returns the details.

        However long the clip, memory stays that of a few seconds. Ctrl-C leaves a file of what is done.
        parents, sign_prompt, watermark: as for `Generated.save`. progress: as for `run`.
        """
        request = adapt(self.model, request)
        shape, made = result_shape(self.model, request), request.composition
        one = outline(self.model, request)
        details = engine.describe(self.model, request, one, shape.num_frames)
        frames = engine.stream(self.model, request, progress=_reporter(progress))
        provenance.write_blocks(
            frames,
            path,
            fps=shape.fps,
            caption=request.prompt,
            details=details,
            parents=parents,
            sign_prompt=sign_prompt,
            sound=None if made is None else made.sound,
            watermark=watermark,
        )
        return details

    def request(self, task: str, *args: Any, **options: Any) -> Request:
        """Return the request of an entry of TASKS, from arguments as its method takes them.

        The result has the size and frame rate of the first given clip, or those in the options; what the model makes
        for it is decided when it is prepared or run (`compose.adapt`).
        """
        return self._request(task, args, options)[0]

    def _request(
        self, task: str, args: Sequence[Any], options: Mapping[str, Any]
    ) -> tuple[Request, tuple[Path, ...]]:
        """The request of a task, and the files among its arguments."""
        if task not in TASKS:
            raise unknown("task", task, TASKS)
        options = resolve_options(task, options, self._native_size(task, options))
        sources: dict[Path, None] = {}

        def convert(name: str, value: Any) -> Any:
            if name == "state" and _hints(task).get(name) is State:
                return as_state(value)
            if not _takes_clip(task, name) or (name == "mask" and value is None):
                return value
            if isinstance(value, str | PathLike):
                sources[Path(value)] = None
            default = options.get("fps") or self.model.fps  # of what has no clock of its own
            if name == "mask" and not isinstance(value, Clip):
                white = as_mask(value)[..., None] * np.uint8(255)
                return _Timeless(frames=white.repeat(3, axis=3), fps=default)
            return as_clip(value, fps=default)

        names = [*_positional(task), *[""] * len(args)]
        args = [convert(name, value) for name, value in zip(names, args, strict=False)]
        options = {name: convert(name, value) for name, value in options.items()}
        values = [value for value in (*args, *options.values()) if isinstance(value, Clip)]
        clips = [clip for clip in values if type(clip) is not _Timeless]
        fps = options.get("fps") or natural_fps(self.model, clips)

        def time(value: Any) -> Any:
            if not isinstance(value, Clip):
                return value
            if type(value) is _Timeless:
                moving = (clip.fps for clip in clips if clip.num_frames > 1)
                value = Clip(frames=value.frames, fps=next(moving, fps))
            # A picture has no rate of its own.
            return retime(value, fps) if value.num_frames > 1 else replace(value, fps=fps)

        args = [time(value) for value in args]
        request = TASKS[task](
            *args, **self.defaults | {name: time(value) for name, value in options.items()}
        )
        return replace(request, task=task), tuple(sources)

    def _native_size(self, task: str, options: Mapping[str, Any]) -> Size:
        """Picture size of what a task makes where nothing says otherwise."""
        value = options.get("no_state")
        takes_clips = any(
            _takes_clip(task, name) for name in inspect.signature(TASKS[task]).parameters
        )
        alone = value is not None and as_flag("no_state", value)
        if takes_clips or alone or "state" not in self.model.abilities:
            return self.model.size
        return cast(StateModel, self.model).state_size

    def prepare(
        self, request: Request, rewriter: str | None = "grammar"
    ) -> tuple[Request, tuple[str, ...]]:
        """Adapt a request to the model, rewrite its prompts and collect warnings, as every task does (`compose.adapt`,
        `prepare_prompts`)."""
        return prepare_prompts(self.model, adapt(self.model, request), rewriter)

    def _run_task(self, task: str, *args: Any, **options: Any) -> Generated:
        """The clip of a task."""
        call, options = _split(options)
        return self._run_calls([self._request(task, args, options)], **call)[0]

    def _run_several(
        self,
        task: str,
        prompt: str | Sequence[str],
        each: int | None,
        options: Mapping[str, Any],
        **own: Any,
    ) -> Generated | list[Generated]:
        """The clips of one or several prompts, `each` of every one, or as many as there are seeds."""
        call, options = _split(options)
        several = isinstance(prompt, list | tuple)
        prompts = list(prompt) if several else [prompt]
        name = "num_images_per_prompt" if task == "image" else "num_videos_per_prompt"
        if each is not None and as_integer(name, each) < 1:
            raise RequestError(f"{name} must be at least 1, got {each}")
        seeds = options.get("generator")
        seeds = options.get("seed") if seeds is None else seeds
        if isinstance(seeds, SEVERAL) and len(prompts) == 1 and each is None and len(seeds):
            each = len(seeds)
        if not prompts:
            raise RequestError("prompt must hold at least 1 prompt, got an empty list")
        prompts = [text for text in prompts for _ in range(each or 1)]
        shared = {name: v for name, v in options.items() if name not in ("seed", "generator")}
        requests = [
            self._request(task, [text], own | shared | {"seed": seed})
            for text, seed in zip(prompts, expand_seeds(options, len(prompts)), strict=True)
        ]
        clips = self._run_calls(requests, **call)
        return clips if several or each is not None else clips[0]

    def _run_calls(
        self,
        calls: Sequence[tuple[Request, tuple[Path, ...]]],
        *,
        rewrite: bool = True,
        rewriter: str = "grammar",
        progress: Progress | bool | None = None,
    ) -> list[Generated]:
        """Prepare the prompts of requests that share their options, issue what is to be said of them, and make the
        clips; beside each request stand the files that it was made from."""
        progress = _reporter(progress)
        by = as_text("rewriter", rewriter) if as_flag("rewrite", rewrite) else None
        prepared = [self.prepare(request, by) for request, _ in calls]
        for message in dict.fromkeys(message for _, messages in prepared for message in messages):
            warnings.warn(message, PromptWarning, stacklevel=4)  # the line that called the task
        clips = self._run([request for request, _ in prepared], progress)
        return [
            replace(clip, warnings=messages, sources=sources)
            for clip, (_, messages), (_, sources) in zip(clips, prepared, calls, strict=True)
        ]

    def _run(self, requests: Sequence[Request], progress: Progress | None) -> list[Generated]:
        """The clips of requests that share their options, packed into as few rows as memory has room for."""
        requests = [adapt(self.model, request) for request in requests]
        size = min(len(requests), MAX_BATCH)
        while size > 1 and not budget.fits(self.model, requests[:size]):
            size = (size + 1) // 2
        return engine.generate(self.model, requests, batch=size, progress=progress)

    def __getattr__(self, name: str) -> Callable[..., Generated]:
        """A task that was added to TASKS."""
        if name not in TASKS:
            raise AttributeError(f"a session has no task {name!r} (accepted: {', '.join(TASKS)})")
        return partial(self._run_task, name)


def _positional(task: str) -> list[str]:
    """Names of a task's positional parameters."""
    parameters = inspect.signature(TASKS[task]).parameters.values()
    return [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]


def _takes_clip(task: str, name: str) -> bool:
    return _hints(task).get(name) in (Clip, Clip | None)


def _hints(task: str) -> dict[str, Any]:
    return get_type_hints(TASKS[task])


def _split(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options of a call (CALL_OPTIONS), and those of its request."""
    call = {name: options[name] for name in CALL_OPTIONS if options.get(name) is not None}
    return call, {name: value for name, value in options.items() if name not in CALL_OPTIONS}


def _reporter(progress: Progress | bool | None) -> Progress | None:
    """A function to be called with progress; True is a bar."""
    if isinstance(progress, bool):
        return ProgressBar() if progress else None
    if progress is not None and not callable(progress):
        raise RequestError(f"progress must be True, False or a function, got {progress!r}")
    return progress


def load(
    path: str | Path | None = None,
    *,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    fast: bool = False,
    adapters: str | Path | None = None,
) -> Session:
    """Load the model in a weight file or a diffusers folder; without a path, the one that ships inside the package.

    Args:
        path: a safetensors file that `worldtube train` wrote, or a folder of a diffusers pipeline
        device: auto, cpu, cuda, mps, or such as cuda:1
        dtype: auto, float32 or bfloat16, what the network computes in; `auto` is the fastest that is right on this
            machine (`worldtube info` tells which and why)
        fast: load its student, which needs 4 steps where the model itself takes 16 with guidance
        adapters: file of a fine-tuning of this model
    """
    return Session(models.load(path, device=device, dtype=dtype, fast=fast, adapters=adapters))


@lru_cache(maxsize=1)
def _default() -> Session:
    return load()


@describe_options
def generate(
    prompt: str,
    *,
    seconds: float = 2.0,
    num_frames: int | None = None,
    **options: Unpack[OneSeed],
) -> Generated:
    """Text to video with the model that ships inside the package, loaded once.

    Args:
        prompt: what is to be seen
        seconds: duration, up to 60
        num_frames: exact number of frames, in place of `seconds`
        {options}
    """
    return _default().generate(prompt, seconds=seconds, num_frames=num_frames, **options)
