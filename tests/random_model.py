"""The model that ships with random stages after the plan: it makes clips by way of their state, of no beauty."""

from typing import Any

import torch

from worldtube import models
from worldtube.dynamics import Dynamics, DynamicsConfig
from worldtube.models.local import LocalModel
from worldtube.models.parts import PARTS, StateParts, load_part
from worldtube.renderer import Renderer, RendererConfig


def random_parts() -> StateParts:
    """The planner that ships, so that states are sound; dynamics and renderer are small and random."""
    torch.manual_seed(0)
    stages = {
        "dynamics": Dynamics(DynamicsConfig(width=32, point_width=16)).eval(),
        "renderer": Renderer(RendererConfig(width=32, pair_hidden=32, depth=1)).eval(),
    }
    return StateParts(**{name: stages.get(name) or load_part(name) for name in PARTS})


def random_model() -> LocalModel:
    shipped, parts = models.load(dtype="float32"), random_parts()
    return LocalModel(
        shipped.card,
        shipped.codec,
        shipped.transformer,
        bank=shipped.bank,
        load_parts=lambda: parts,
    )


def two_bodies(num_frames: int = 13) -> dict[str, Any]:
    """The readable form of a red ball that begins to roll to the right, towards a blue box that stands."""
    still = {"rotations": [[1, 0, 0, 0]], "spins": [[0, 0, 0]], "velocities": [[0, 0, 0]]}
    same = {"material": "rubber", "size": "small", "mass": 4.0, "friction": 0.4, "restitution": 0.4}
    ball = {"shape": "ball", "colour": "red", "dimensions": [0.16, 0, 0, 0], "group": 0}
    box = {"shape": "box", "colour": "blue", "dimensions": [0.14, 0.14, 0.14, 0], "group": 1}
    rolls = {"velocities": [[0.8, 0, 0]], "spins": [[0, 5, 0]], "positions": [[-0.6, 0, 0.16]]}
    return {
        "format": 1,
        "fps": 12,
        "bodies": [
            same | ball | still | rolls,
            same | box | still | {"positions": [[0.5, 0.1, 0.14]]},
        ],
        "surroundings": {
            "ground": "wood",
            "ground_tint": [1, 1, 1],
            "ground_offset": [0, 0],
            "sky": "day",
            "sun": [0, -0.6, 0.8],
            "table": [-3, 3, -0.75, 0.95],
        },
        "camera": {
            "positions": [[0.02 * k, -2.9, 1.6] for k in range(num_frames)],
            "targets": [[0, 0.05, 0.4]] * num_frames,
            "field_of_view": 35.0,
        },
    }
