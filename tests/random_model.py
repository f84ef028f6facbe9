"""The model that ships with stages of random weights: it makes clips by way of their physical state, of no beauty."""

import torch

from worldtube import models
from worldtube.dynamics import Dynamics, DynamicsConfig
from worldtube.generate.plan import planner_config
from worldtube.models.local import LocalModel
from worldtube.models.parts import PARTS, StateParts, load_part
from worldtube.renderer import Renderer, RendererConfig
from worldtube.transformer import Transformer


def random_parts() -> StateParts:
    torch.manual_seed(0)
    planner = Transformer(planner_config(width=32, depth=1, head_width=16, hidden=32, text_depth=1))
    with torch.no_grad():
        for p in planner.parameters():
            p.add_(0.05 * torch.randn_like(p))
        planner.track_out["objects"].bias[0] = 3.0  # objects exist
    stages = {
        "planner": planner.eval(),
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
