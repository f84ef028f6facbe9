"""Prepare the prompts of a request, in the same way for the command line, Python and the server.

Owns when a prompt is rewritten and what a user is warned about. Knows nothing of grammars, files or HTTP.
"""

import logging
from dataclasses import replace

from worldtube.generate.layout import outline, uses_state
from worldtube.generate.request import MAX_PROMPT, Request
from worldtube.models.local import LocalModel
from worldtube.models.model import VideoModel
from worldtube.text.rewrite import load_rewriter

logger = logging.getLogger(__name__)

WITHOUT_ENGINES = (
    "the prompt seems to be about water, which needs engines that are not installed (pip install 'worldtube[worlds]'); "
    "the clip is made from words alone"
)
MAX_ECHO = 80
"""Characters of a prompt that a warning repeats."""
MAX_REWRITTEN = 240
"""Characters of a rewritten prompt that a warning shows; the clip's details hold all of it."""


def prepare_prompts(
    model: VideoModel, request: Request, rewriter: str | None = "grammar"
) -> tuple[Request, tuple[str, ...]]:
    """Rewrite a request's prompts and collect what the user should know about them, and of given clips what the result
    does not keep.

    Args:
        rewriter: "grammar", "endpoint:MODEL@URL", or None to leave the prompts as they are. "grammar" applies to
            `LocalModel` only, and to pictures from words alone: other models and plans learned from other captions.

    Returns:
        The request, with the prompts as they were typed in `asked` where they changed, and the warnings.

    Raises:
        RequestError: an unknown rewriter, or a request that the model cannot carry out.
    """
    warnings = list(request.composition.warnings) if request.composition is not None else []
    by_state = uses_state(model, request)
    if "state" in model.abilities and not (by_state or request.no_state or request.given):
        warnings.append(WITHOUT_ENGINES)
    grammar = isinstance(model, LocalModel) and not by_state
    if rewriter is not None and (rewriter != "grammar" or grammar):
        request, failure = _rewrite(request, rewriter)
        warnings += failure
    if request.asked:
        prompts = " | ".join(request.words)
        warnings.append(f"the prompt was rewritten as: {shorten(prompts, MAX_REWRITTEN)}")
    prompts = dict.fromkeys(piece.prompt for piece in outline(model, request).pieces)
    for prompt in prompts:
        warnings += model.doubts(prompt)
    checked = [("prompt", prompt) for prompt in prompts]
    if request.guidance != 1:
        checked.append(("negative prompt", request.negative_prompt))
    for name, prompt in checked:
        if unread := model.unread(prompt):
            end = shorten(unread)
            warnings.append(f"the {name} is too long: {model.name} does not read {end!r}")
    return request, tuple(dict.fromkeys(warnings))


def shorten(text: str, length: int = MAX_ECHO) -> str:
    """The text on one line, cut to `length` characters."""
    text = " ".join(text[: 4 * length].split())
    return text if len(text) <= length else f"{text[: length - 3]}..."


def _rewrite(request: Request, name: str) -> tuple[Request, list[str]]:
    """The rewritten request, and a warning where the rewriter failed; the request is then unchanged."""
    rewriter = load_rewriter(name)

    def rewrite(text: str) -> str:
        return rewriter(text) if text.strip() else text

    try:
        prompt = rewrite(request.prompt)
        shots = tuple(replace(shot, prompt=rewrite(shot.prompt)) for shot in request.shots)
        if max(len(text) for text in (prompt, *(shot.prompt for shot in shots))) > MAX_PROMPT:
            raise ValueError(f"it answered with more than {MAX_PROMPT} characters")
        if prompt == request.prompt and shots == request.shots:
            return request, []
        return replace(request, prompt=prompt, shots=shots, asked=" | ".join(request.words)), []
    except Exception as error:  # no rewriter may keep a clip from being made
        logger.info("the rewriter %s failed", name, exc_info=True)
        reason = shorten(f"{type(error).__name__}: {error}", 2 * MAX_ECHO)
        return request, [f"the rewriter failed ({reason}); the prompt is used as it is"]
