"""Rewriting by a language model behind an OpenAI-compatible address, held to what was asked.

Owns the instruction, and the check that no colour, number, shape or direction came or went.
"""

import logging
from collections import Counter
from dataclasses import dataclass

from worldtube.errors import RequestError
from worldtube.text.chat import Chat
from worldtube.text.rewrite.items import items
from worldtube.text.rewrite.scene import Unread

logger = logging.getLogger(__name__)

INSTRUCTION = (
    "Rewrite the user's prompt for a text-to-video model as one to three short plain English sentences, as a caption "
    "of the finished clip: first what is there and what it does (number, size, colour, thing, motion), then what "
    "happens in order, then the background and the camera if the user names them. Keep every number, colour, thing "
    "and direction exactly. Add nothing. Answer with the caption alone."
)
KEPT = ("colour", "way", "ground", "sky")


@dataclass(frozen=True)
class Endpoint:
    """`Endpoint("qwen3-4b@http://localhost:8000/v1")`."""

    where: str

    def __post_init__(self) -> None:
        model, _, url = self.where.partition("@")
        if not model or not url:
            raise RequestError(
                f"the endpoint {self.where!r} is not accepted; MODEL@URL is, such as qwen3-4b@http://localhost:8000/v1"
            )

    def __call__(self, prompt: str) -> str:
        model, _, url = self.where.partition("@")
        messages = [{"role": "system", "content": INSTRUCTION}, {"role": "user", "content": prompt}]
        text = " ".join(
            Chat(url=url, model=model, timeout=30, tries=2).ask(messages, temperature=0).split()
        )
        try:
            lost = changed(prompt, text)
        except Unread as error:
            lost = f"what cannot be compared ({error})"
        if lost:
            logger.warning("the rewriter changed %s; the prompt is used as it is", lost)
            return prompt
        return text


def changed(prompt: str, text: str) -> str:
    """What facts, as far as the grammar's words show them, a rewriting brought or lost; "" for none. Raises Unread."""
    before, after = facts(prompt), facts(text)
    return ", ".join(sorted({str(value) for _, value in (before - after) + (after - before)}))


def facts(text: str) -> Counter[tuple[str, object]]:
    """Colours, directions, shapes and numbers that a text names, each once."""
    found: set[tuple[str, object]] = set()
    for item in items(text):
        if item.kind in KEPT:
            found.add((item.kind, item.value))
        elif item.kind == "shape":
            found.add((item.kind, item.value[0]))
        elif item.kind in ("count", "times") and item.value != 1:
            found.add(("count", item.value))
    return Counter(found)
