"""Recipes: named training configurations. Each states what it is for, the command and the time."""

from worldtube.data.batches import Mix
from worldtube.train.config import TrainConfig
from worldtube.train.student import StudentConfig
from worldtube.transformer import TransformerConfig

SMALL = TransformerConfig(width=192, depth=6, hidden=512, truth_width=1)
"""Sizes of the model that ships; the widths of tokens and of their truth are set from the patch."""

RECIPES: dict[str, tuple[str, TrainConfig]] = {
    "tiny": (
        "a network of a few thousand weights for tests; seconds on one core",
        TrainConfig(
            model=TransformerConfig(width=64, depth=2, head_width=32, hidden=128, text_depth=1),
            rows=4,
            steps=20,
            warmup=5,
            sample_every=10,
            sample_steps=4,
        ),
    ),
    "laptop": (
        "what ships begins so: 64x64, 2 s, 12 fps, on two CPU cores over one or more sittings",
        TrainConfig(
            model=SMALL,
            rows=32,
            steps=20_000,
            rate=3e-3,
            decay=0.3,
            ema_steps=800,
            mix=Mix(images=0.07, splits=0.12, causal=0.1),
        ),
    ),
    "fine": (
        "what ships ends so: patches of one latent cell, from the model of `laptop` in --start; 90 minutes on one core",
        TrainConfig(
            model=SMALL,
            patch=1,
            rows=16,
            steps=2600,
            rate=2e-3,
            warmup=60,
            decay=0.3,
            ema_steps=300,
            mix=Mix(images=0.07, splits=0.1, causal=0.08),
        ),
    ),
    "student": (
        "four steps in place of sixteen, from the model of `fine` in --start; a quarter of an hour on one core",
        TrainConfig(
            model=SMALL,
            patch=1,
            rows=10,
            steps=200,
            rate=1e-3,
            warmup=20,
            decay=0.5,
            ema_steps=50,
            mix=Mix(drop_words=0.0),
            student=StudentConfig(),
        ),
    ),
    "gpu": (
        "128x128 on one GPU of 24 GB or more, a few hours",
        TrainConfig(
            model=TransformerConfig(width=512, depth=12, hidden=1408),
            rows=128,
            steps=100_000,
            rate=7e-4,
            mix=Mix(images=0.07, splits=0.12, causal=0.1),
            size=128,
            device="cuda",
        ),
    ),
}
"""name -> (what it is for, configuration)."""
