"""The network that turns packed noisy tokens and words into a velocity.

`network` holds its parts in the order of reading, `attention` the batched calls and their kernels.
"""

from worldtube.transformer.attention import attend
from worldtube.transformer.network import (
    Block,
    LayoutContext,
    Past,
    Reading,
    TrackConfig,
    Transformer,
    TransformerConfig,
    level_features,
    rms_norm,
    rope_angles,
    rotate,
)

__all__ = [
    "Block",
    "LayoutContext",
    "Past",
    "Reading",
    "TrackConfig",
    "Transformer",
    "TransformerConfig",
    "attend",
    "level_features",
    "rms_norm",
    "rope_angles",
    "rotate",
]
