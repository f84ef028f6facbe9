"""What a weight file of ours says of itself in its header, read without torch, so that a wrong request ends at once.

Owns where the model that ships lies and which picture sizes a model takes. Knows nothing of tensors.
"""

import json
import struct
from importlib import resources
from pathlib import Path
from typing import Any

from worldtube.errors import RequestError
from worldtube.video import Size

EMBEDDED = "worldtube-small"
MAX_PIXELS = 1024 * 1024
FIRST_STRIDE = (4, 8)
"""Pixel frames and pixels of a latent cell in weight files that do not say theirs."""
MAX_HEADER = 100_000_000
"""Bytes; safetensors itself refuses larger headers."""


def embedded_path() -> Path:
    """Where the model that ships inside the package lies."""
    return Path(str(resources.files("worldtube") / "weights" / f"{EMBEDDED}.safetensors"))


def read_config(path: Path) -> dict[str, Any] | None:
    """Return the configuration in a weight file's header; None for what is no weight file of ours."""
    try:
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > MAX_HEADER:
                return None
            config = json.loads(json.loads(file.read(length))["__metadata__"]["worldtube"])
    except (OSError, ValueError, struct.error, KeyError, TypeError):
        return None
    return config if isinstance(config, dict) else None


def check_size(size: Size, side: int, max_pixels: int = MAX_PIXELS) -> None:
    """Raise RequestError for a picture that cannot be cut into tokens of `side` x `side` pixels, or is too large."""
    if size.width % side or size.height % side or size.width * size.height > max_pixels:
        raise RequestError(
            f"size must have a width and a height that are multiples of {side}, and at most {max_pixels} pixels "
            f"together, got {size}"
        )


def check_size_for(path: Path | None, size: Size) -> None:
    """Raise RequestError for a size that the model in this file, the one that ships when None, cannot make.

    What is no weight file of ours passes: opening it says more.
    """
    config = read_config(embedded_path() if path is None else path)
    card = (config or {}).get("card")
    if config is not None and isinstance(card, dict):
        _, cell = config.get("stride", FIRST_STRIDE)
        check_size(size, cell * card.get("patch", 1))
