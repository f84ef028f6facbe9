"""Step an engine-made world, push something, and ask what happened. Needs worldtube[worlds]."""

import numpy as np

import worldtube as wt
from worldtube.video import write
from worldtube.worlds import make

world = make("tabletop", size=wt.Size(128, 128))
frames = [world.reset(seed=3)[0]]
for _ in range(24):
    frame, reward, terminated, truncated, info = world.step()
    frames.append(frame)
print(world.caption("long"))
print([event.kind for event in world.events])
write(wt.Clip(frames=np.stack(frames), fps=world.fps), "tabletop.mp4")
