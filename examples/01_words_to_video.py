"""Words to a clip, with the model that ships inside the package."""

import worldtube as wt

session = wt.load()
clip = session.generate("a large red ball rolls into a small blue box", seconds=2, seed=7)
print(clip.size, clip.num_frames, "frames at", clip.fps, "fps")
clip.save("clip.mp4")
