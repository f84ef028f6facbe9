"""Several clips in one packed batch: each depends on its own seed and not on its neighbours."""

import worldtube as wt

session = wt.load()
clips = session.generate(
    ["a large yellow cup stands still", "a small red ball rolls", "a blue box slides to the left"],
    seconds=1,
    seed=7,
    steps=8,
    progress=True,
)
for clip in clips:
    print(clip)
    clip.save(f"clip-{clip.seed}.gif")
