"""A prompt in the wording of the captions that a model learned from.

Owns `REWRITERS`. Knows nothing of models: whether a rewriter helps is measured (docs/model-card.md). The default one
reads a prompt with a grammar of what the captions can say and tells that in the captions' plain words. It does so only
where both texts say the same beyond doubt (`certainty`), and leaves all other prompts as they are.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from worldtube.errors import unknown
from worldtube.text.rewrite.certainty import certain, same_facts, same_scene
from worldtube.text.rewrite.reading import read
from worldtube.text.rewrite.scene import Scene, Unread
from worldtube.text.rewrite.telling import tell

__all__ = [
    "REWRITERS",
    "Grammar",
    "Rewriter",
    "Scene",
    "Unread",
    "load_rewriter",
    "read",
    "rewrite",
    "tell",
]

logger = logging.getLogger(__name__)


class Rewriter(Protocol):
    """From a prompt to a prompt. A text that it cannot put better comes back as it is."""

    def __call__(self, prompt: str) -> str: ...


@dataclass(frozen=True)
class Grammar:
    """Put a prompt in the captions' words where it is certain that this says the same; leave all others alone."""

    def __call__(self, prompt: str) -> str:
        try:
            if not certain(prompt):
                return prompt
            scene = read(prompt)
            text = tell(scene)
            same = same_facts(prompt, text) and same_scene(scene, read(text))
        except Unread:
            return prompt
        except Exception:  # a fault of the grammar must not keep a clip from being made
            logger.warning("the grammar failed; the prompt is used as it is", exc_info=True)
            return prompt
        return _other_words(prompt, text) if same else prompt


def _other_words(prompt: str, text: str) -> str:
    """The text, or the prompt where nothing but capitals and full stops would change."""
    same = [one.lower().replace(".", "").split() for one in (prompt, text)]
    return prompt if same[0] == same[1] else text


def _endpoint(options: str) -> Rewriter:
    from worldtube.text.rewrite.endpoint import Endpoint  # with an HTTP client

    return Endpoint(options)


REWRITERS: dict[str, Callable[[str], Rewriter]] = {
    "grammar": lambda options: Grammar(),
    "endpoint": _endpoint,
}
"""Name -> what makes the rewriter of its options: none for `grammar`, MODEL@URL for `endpoint`."""


def load_rewriter(name: str = "grammar") -> Rewriter:
    """The rewriter that `name` says: "grammar" or "endpoint:MODEL@URL". Raises RequestError for another."""
    kind, _, options = name.partition(":")
    if kind not in REWRITERS:
        raise unknown("rewriter", kind, REWRITERS)
    return REWRITERS[kind](options)


def rewrite(prompt: str, by: str = "grammar") -> str:
    """The prompt as the rewriter `by` puts it; as it is where there is nothing to say better."""
    rewriter = load_rewriter(by)
    return rewriter(prompt) if prompt.strip() else prompt
