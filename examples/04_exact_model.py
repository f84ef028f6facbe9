"""The engine on a model whose answer is known: clips from a Gaussian process, no weights."""

import torch

from worldtube.generate.engine import sample
from worldtube.generate.tasks import TASKS
from worldtube.models import GaussianModel

requests = [
    TASKS["generate"]("four", seconds=1.25, sampler="heun", guidance=1.0, seed=s)
    for s in range(500)
]
_, tokens = sample(GaussianModel(), requests)
values = torch.stack(tokens)
print(
    "mean",
    float(values.mean()),
    "should be 0.4; standard deviation",
    float(values.std()),
    "should be 1",
)
