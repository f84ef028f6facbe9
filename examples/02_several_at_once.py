"""Several requests in one packed batch: each clip depends on its own seed and not on its neighbours."""

import worldtube as wt
from worldtube.generate.engine import generate

session = wt.load()
requests = [
    wt.Request(prompt="a large yellow cup stands still", seconds=1, seed=seed, steps=8)
    for seed in range(3)
]
for request, clip in zip(requests, generate(session.model, requests), strict=True):
    clip.save(f"cup-{request.seed}.gif")
