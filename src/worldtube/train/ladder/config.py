"""What a ladder is: its budgets, sizes and data, and what a run of one size costs.

Owns the FLOPs. Knows nothing of runs.
"""

from dataclasses import dataclass

from worldtube.errors import RequestError
from worldtube.transformer import TransformerConfig

HEAD = 24
"""Width of an attention head; a network has a block for each of them."""


@dataclass(frozen=True, kw_only=True)
class LadderConfig:
    """What decides the numbers of a ladder."""

    budgets: tuple[float, ...]
    """FLOPs of a run, rising; the last one is held out."""
    widths: tuple[int, ...]
    """Sizes of the network: multiples of 24, with a block for every 24."""
    rows: int = 16
    """Clips in a batch."""
    least_steps: int = 100
    """Of a run: sizes for which a budget allows fewer are left out of it. Shorter ones have hardly left the warm-up
    and follow no law."""
    most_epochs: float = 10.0
    """Of a run: sizes that would see each clip more often are left out too, since what they lack is clips."""
    rate: float = 4e-3
    """In the middle of the learning rates that are tried first."""
    size: int = 64
    """Picture side, pixels."""
    num_frames: int = 25
    """Of a clip, at 12 a second."""
    patch: int = 2
    """Latent cells per token side."""
    clips: int = 300
    """To record where no data are named."""
    held_out_clips: int = 48
    """Clips that are validated on."""
    levels: int = 10
    """Noise levels at which each of them is, evenly spread."""
    dtype: str = "float32"
    """What runs compute in: float32 or bfloat16; one for the whole ladder, so that a law compares like with like."""
    device: str = "auto"
    """Where runs compute: auto, cpu, cuda, mps, or such as cuda:1."""
    seed: int = 0


LADDERS: dict[str, tuple[str, LadderConfig]] = {
    "tiny": (
        "three budgets of seconds each, for the test of the tool itself",
        LadderConfig(
            budgets=(3.2e8, 1.04e9, 3.44e9), widths=(24, 48), rows=2, least_steps=8, most_epochs=1e9, clips=8,
            held_out_clips=4, size=16, num_frames=5, patch=1,
        ),
    ),
    "ci": (
        "four budgets of clips of one second at 32x32; a quarter of an hour on two cores",
        LadderConfig(
            budgets=(2e11, 4e11, 8e11, 1.6e12), widths=(48, 72, 96), rows=8, least_steps=130,
            most_epochs=12, rate=8e-3, clips=3000, size=32, num_frames=13, patch=1,
        ),
    ),
    "laptop": (
        "four budgets of clips of two seconds at 64x64; an hour on two cores",
        LadderConfig(
            budgets=(1.2e12, 2.4e12, 4.8e12, 9.6e12), widths=(72, 96, 120), rows=8, least_steps=150,
            most_epochs=12, clips=4000, held_out_clips=100,
        ),
    ),
}  # fmt: skip
"""name -> (what it is for, configuration)."""


def network(config: LadderConfig, width: int) -> TransformerConfig:
    """The network of a width; token_width is set by the codec."""
    if width % HEAD or width < HEAD:
        raise RequestError(f"width {width} is not accepted; multiples of {HEAD} are")
    hidden = 8 * round(width / 3)
    return TransformerConfig(
        width=width, depth=width // HEAD, head_width=HEAD, hidden=hidden, text_depth=1
    )


def block_weights(sizes: TransformerConfig) -> int:
    """Weights that every token passes, N: attention to tokens and to words, and the MLP, of all blocks."""
    return sizes.depth * (6 * sizes.width**2 + 3 * sizes.width * sizes.hidden)


def flops(sizes: TransformerConfig, tokens: float, words: float) -> float:
    """Of one clip, forward and backward: 6 a weight and token, 12 a pair of attention and channel.

    What depends on the clip alone (its noise level) is counted once per clip, what reads the words once per
    word: plain 6 N D would overstate a diffusion transformer by half.
    """
    width, hidden = sizes.width, sizes.hidden
    ends = 2 * sizes.token_width * width
    word = sizes.text_width * width + sizes.text_depth * (4 * width**2 + 3 * width * hidden)
    word += sizes.depth * 2 * width**2
    once = 256 * width + 9 * width**2
    pairs = sizes.depth * tokens * (tokens + words) + sizes.text_depth * words**2
    per_token = block_weights(sizes) + ends
    return 6 * (per_token * tokens + word * words + once) + 12 * pairs * width
