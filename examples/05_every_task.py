"""Every task: one engine, other things known. What goes in may come from files: `worldtube.video.read(path)`."""

import worldtube as wt

session = wt.load()
few = {"steps": 6, "seed": 1}
picture = session.image("a large red ball on a wooden table", **few)
clip = session.animate(picture, "the red ball rolls to the right", seconds=1, **few)
made = {
    "longer": session.extend(clip, "the red ball rolls to the right", seconds=1, **few),
    "earlier": session.extend(clip, "a red ball rolls", seconds=1, backward=True, **few),
    "round": session.loop(clip, "a red ball", seconds=1, **few),
    "between": session.connect(picture, clip, "a red ball", seconds=0.5, **few),
    "edited": session.edit(clip, "a large blue ball", strength=0.8, **few),
    "painted": session.paint(clip, "a small green box", rectangle=(32, 24, 32, 40), **few),
    "remixed": session.remix(clip, "the blue ball rolls to the right", **few),
    "shots": session.storyboard("a red ball rolls", "a red ball, from above", seconds=[1], **few),
}
for name, one in made.items():
    print(name, one.save(f"{name}.mp4"), one.num_frames, "frames")

# Tasks are data, so they combine: a storyboard whose first shot begins with that picture.
request = wt.Request(
    prompt="",
    shots=session.request("storyboard", "the red ball rolls", "a red ball", seconds=[1]).shots,
    given=(wt.Given(clip=picture),),
    steps=6,
)
session.run(request).save("board.mp4")
