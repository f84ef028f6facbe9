"""Write src/worldtube/text/scale.npz: mean and spread of each feature of the token states.

Half of the tokens come from captions, half from random pieces of the vocabulary (16 languages), so
that a prompt in another language stays in range. Run it again only together with a new
`encoder.STATES`.
"""

from pathlib import Path

import numpy as np
import torch

from worldtube.text import encoder as text
from worldtube.worlds.language import caption, invent

LEAST_STD = 0.05
"""A feature that hardly varies is not blown up to unit variance."""


def main() -> None:
    torch.set_num_threads(1)
    rng, encoder = np.random.default_rng(0), text.TextEncoder()
    captions = [caption(invent(rng), ("short", "medium", "long")[i % 3], rng) for i in range(900)]
    told = torch.cat([encoder.features(encoder.tokens(line)) for line in captions])
    vocabulary = text._load().table.shape[0] - 10
    drawn = [rng.integers(3, vocabulary, 12).tolist() for _ in range(len(told) // 14)]
    strange = torch.cat([encoder.features([1, *ids, 2]) for ids in drawn])
    both = torch.cat([told, strange]).double()
    mean, std = both.mean(0), both.std(0).clamp_min(LEAST_STD)
    path = Path(text.__file__).with_name(text.SCALE_FILE)
    np.savez(path, mean=mean.float().numpy(), inverse_std=(1 / std).float().numpy())
    for name, part in (("captions", told), ("random", strange)):
        scaled = (part - mean) / std
        clipped = (scaled.abs() > text.CLIP).float().mean()
        print(f"{name}: mean {scaled.mean():.3f}, std {scaled.std():.3f}, clipped {clipped:.1e}")


if __name__ == "__main__":
    main()
