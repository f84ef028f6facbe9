"""A prompt in the wording of the captions that a model learned from.

Owns `REWRITERS`. Knows nothing of models: whether a rewriter helps is measured (docs/model-card.md). The default one is
faithful by construction: it reads a prompt with a grammar of what the captions can say and tells that in the captions'
plain words. What it does not understand it leaves as it is.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from worldtube.errors import unknown
from worldtube.text.rewrite.reading import read
from worldtube.text.rewrite.scene import Scene, Unread
from worldtube.text.rewrite.substitution import substituted
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


class Rewriter(Protocol):
    """From a prompt to a prompt. A text that it cannot put better comes back as it is."""

    def __call__(self, prompt: str) -> str: ...


@dataclass(frozen=True)
class Grammar:
    """Reads the prompt and tells it anew; a word that is not understood only leaves it as it is."""

    def __call__(self, prompt: str) -> str:
        for whole in (True, False):
            try:
                scene = read(prompt, whole=whole)
                if whole or complete(scene):
                    return _other_words(prompt, tell(scene))
            except Unread:
                continue
        return substituted(prompt)


def _other_words(prompt: str, text: str) -> str:
    """The text, or the prompt where nothing but capitals and full stops would change."""
    same = [one.lower().replace(".", "").split() for one in (prompt, text)]
    return prompt if same[0] == same[1] else text


def complete(scene: Scene) -> bool:
    """Whether of every thing it is said what it does, so that words passed over did not say that."""
    busy = {index for one in scene.happenings for index in (*one.a, one.b)}
    busy |= {index for a, _, b in scene.links for index in (a, b)}
    return bool(scene.things) and all(
        thing.colour and (thing.motion or index in busy) for index, thing in enumerate(scene.things)
    )


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
