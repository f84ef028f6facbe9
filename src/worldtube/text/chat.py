"""One question to a language or vision model behind an OpenAI-compatible address.

Owns the wire: keys, retries, what can go wrong. Knows nothing of what is asked.
"""

import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worldtube.errors import DataError, RequestError

KEYS = ("WORLDTUBE_ENDPOINT_KEY", "OPENAI_API_KEY")
"""Environment variables that may hold the key, the first that is set; a local server may need none."""
AGAIN = frozenset((408, 409, 429, 500, 502, 503, 504, 529))
"""HTTP answers after which the same question may be asked again."""
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler())


@dataclass(frozen=True, kw_only=True)
class Chat:
    """`Chat(url="http://localhost:8000/v1", model="qwen2.5-vl").ask([...])`."""

    url: str
    """Up to and with the version, as OpenAI's clients take it: http://localhost:8000/v1."""
    model: str
    timeout: float = 120.0
    """Seconds that one try may take."""
    tries: int = 4
    pause: float = 1.0
    """Seconds before the second try; twice as many before each one after."""

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise RequestError(
                f"the endpoint {self.url!r} is not accepted; an address such as http://localhost:8000/v1 is"
            )
        if not self.model:
            raise RequestError(
                "the endpoint's model '' is not accepted; the name of one that it serves is"
            )

    def ask(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> str:
        """The text of the answer. Raises RequestError where the endpoint cannot be used, DataError for this answer."""
        body = json.dumps({"model": self.model, "messages": list(messages), **options}).encode()
        headers = {"Content-Type": "application/json"}
        if key := next((os.environ[name] for name in KEYS if os.environ.get(name)), None):
            headers["Authorization"] = f"Bearer {key}"
        address = f"{self.url.rstrip('/')}/chat/completions"
        problem = ""
        for attempt in range(self.tries):
            if attempt:
                time.sleep(self.pause * 2 ** (attempt - 1))
            request = urllib.request.Request(address, body, headers)
            try:
                with _OPENER.open(request, timeout=self.timeout) as answer:
                    return _text(answer.read(), address)
            except urllib.error.HTTPError as error:
                told = error.read(500).decode("utf-8", "replace")
                problem = f"HTTP {error.code} {told.strip()}"
                if error.code in AGAIN:
                    continue
                kind = DataError if error.code in (400, 413, 422) else RequestError
                raise kind(f"{address} answered {problem}") from error
            except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
                problem = str(getattr(error, "reason", error))
        raise RequestError(f"{address} could not be used, {self.tries} times: {problem}")


def _text(body: bytes, address: str) -> str:
    try:
        text = json.loads(body)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError) as error:
        raise DataError(f"{address} gave no chat completion but {body[:200]!r}") from error
    if not isinstance(text, str) or not text.strip():
        raise DataError(f"{address} gave an answer without text")
    return text.strip()
