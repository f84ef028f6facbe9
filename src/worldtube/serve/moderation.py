"""What is refused.

Owns the checks; knows nothing of jobs.
`--moderation blocklist` is a list of words and, in the worker, a measure of how near a prompt is to a few sentences.
It reads prompts alone, never frames, and misses most of what a person would refuse.
`--moderation off` checks nothing.
An address asks an endpoint in the format of OpenAI's /v1/moderations about prompts and frames (its key:
WORLDTUBE_MODERATION_KEY in the environment).
"""

import io
import json
import os
import re
import unicodedata
import urllib.request
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from worldtube.errors import Refused, WorldtubeError
from worldtube.files import data_url

WORDS = ("child porn", "child pornography", "csam", "cp porn", "underage sex", "nude child",
         "nude children", "naked child", "naked children", "gore porn", "snuff film", "beheading video",
         "revenge porn", "rape video")  # fmt: skip
SENTENCES = (
    "sexual content that involves a minor",
    "a naked child in a sexual pose",
    "a real murder filmed in gory detail",
    "step by step instructions for building a bomb",
    "propaganda that calls for killing people of a religion",
)
NEAR = 0.62
"""Cosine to one of SENTENCES from which a prompt is refused."""
FRAMES = 4
"""Frames of a clip that an endpoint sees."""


def wordlist(prompt: str) -> str | None:
    """Why a prompt is refused, by words of WORDS; None where it is not."""
    text = unicodedata.normalize("NFKC", prompt).casefold()
    text = " ".join(re.findall(r"\w+", text))
    found = next((words for words in WORDS if re.search(rf"\b{words}\b", text)), None)
    return found and "it asks for what this server does not make"


@lru_cache(maxsize=1)
def _encoder() -> tuple[Any, Any]:
    from worldtube.text.encoder import TextEncoder

    encoder = TextEncoder()
    return encoder, encoder.sentence(SENTENCES)


def embedding(prompt: str) -> str | None:
    """Why a prompt is refused, by its nearness to SENTENCES; needs the text encoder, so workers alone ask it."""
    encoder, bank = _encoder()
    near = float((encoder.sentence([prompt]) @ bank.T).max())
    return "it is near to what this server does not make" if near >= NEAR else None


AT_ONCE: dict[str, Callable[[str], str | None]] = {"wordlist": wordlist}
"""Checks of a prompt when it is asked; the answer is a 400."""
IN_THE_WORKER: dict[str, Callable[[str], str | None]] = {"embedding": embedding}
"""Checks of a prompt before it is made; the job fails."""
OF_FRAMES: dict[str, Callable[[np.ndarray], str | None]] = {}
"""Checks of frames (T, H, W, 3) when they are made; the job fails. None by default."""


def _through(checks: dict[str, Callable[[Any], str | None]], value: Any) -> None:
    for name, check in checks.items():
        if reason := check(value):
            raise Refused(f"the request was refused: {reason} (check: {name})")


def check_at_once(prompts: Sequence[str], policy: str) -> None:
    """Raises Refused."""
    for prompt in prompts:
        _through(AT_ONCE if policy == "blocklist" else {}, prompt)


def check_prompts(prompts: Sequence[str], policy: str) -> None:
    """Raises Refused."""
    for prompt in filter(None, prompts):
        if policy == "blocklist":
            _through(IN_THE_WORKER, prompt)
        elif policy != "off":
            _ask(policy, prompt)


def check_frames(frames: np.ndarray, policy: str) -> None:
    """frames uint8 (T, H, W, 3). Raises Refused."""
    if policy == "blocklist":
        _through(OF_FRAMES, frames)
    elif policy != "off":
        chosen = np.unique(np.linspace(0, len(frames) - 1, FRAMES).round().astype(int))
        for index in chosen:
            url = {"url": _data_url(frames[index])}
            _ask(policy, [{"type": "image_url", "image_url": url}])


def _data_url(frame: np.ndarray) -> str:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(frame).save(out, format="png")
    return data_url(out.getvalue(), "image/png")


def _ask(address: str, what: Any) -> None:
    body = json.dumps({"model": "omni-moderation-latest", "input": what}).encode()
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get("WORLDTUBE_MODERATION_KEY"):
        headers["Authorization"] = f"Bearer {key}"
    request = urllib.request.Request(address, body, headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            flagged = any(one["flagged"] for one in json.load(answer)["results"])
    except (OSError, ValueError, KeyError) as error:
        # Not to know is not to allow.
        raise WorldtubeError(f"the moderation endpoint gave no answer: {error}") from error
    if flagged:
        raise Refused("the request was refused by the moderation endpoint")
