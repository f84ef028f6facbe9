"""Weights to begin a run from: those of a model of the same sizes, or of one with larger patches.

Knows nothing of batches or optimisers.
"""

from collections.abc import Mapping

from einops import reduce
from torch import Tensor

from worldtube.errors import RequestError


def repatched(state: Mapping[str, Tensor], patch: int, into: int) -> dict[str, Tensor]:
    """A transformer's weights for tokens of `into` latent cells a side, from those for `patch`.

    What reads a token is summed over the cells that a new token stands for, so that a flat patch is read
    as before; what writes one is their mean (Beyer et al. 2023, FlexiViT, with nearest for bilinear).
    Raises RequestError where `into` does not divide `patch`.
    """
    if patch % into:
        raise RequestError(
            f"weights for a patch of {patch} cannot start a patch of {into} (accepted: a divisor of {patch})"
        )
    sides = {"n": into, "m": into, "p": patch // into, "q": patch // into}
    new = dict(state)
    new["token_in.weight"] = reduce(
        state["token_in.weight"], "d (c n p m q) -> d (c n m)", "sum", **sides
    )
    for name in ("token_out", "truth_out"):
        if f"{name}.weight" in state:
            weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
            new[f"{name}.weight"] = reduce(weight, "(c n p m q) d -> (c n m) d", "mean", **sides)
            new[f"{name}.bias"] = reduce(bias, "(c n p m q) -> (c n m)", "mean", **sides)
    return new


WORDS = ("text_in.", "text_blocks.", ".words.")
"""What belongs to the words, in the names of a transformer's weights."""


def wordless(state: Mapping[str, Tensor], fresh: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A transformer's weights with all that reads words as in `fresh`: it can make pictures and understands nothing."""
    return {
        name: fresh[name] if any(part in name for part in WORDS) else value
        for name, value in state.items()
    }
