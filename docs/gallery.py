"""Makes the pictures of docs/gallery anew from the embedded model; nothing is chosen: seeds are 0, 1, 2, ...

python docs/gallery.py [WEIGHTS]
"""

import sys
from pathlib import Path

from worldtube import models
from worldtube.generate import engine
from worldtube.generate.tasks import TASKS
from worldtube.video import save_image, sheet

FOLDER = Path(__file__).with_name("gallery")
SHEETS = {
    "tabletop-roll": "a large red ball rolls to the right",
    "tabletop-fall": "a small blue box falls onto the table",
    "tabletop-rest": "two small green cylinders stand still next to a yellow cup",
    "pour-knock": "a white ball knocks over a purple cup and the water spills",
}
STRIP = (
    "a large red ball rolls to the right",
    "a small blue box falls onto the table",
    "a green cup slides to the left",
    "three small orange boxes stand still",
    "a purple ball is thrown to the left",
    "a white ball knocks over a purple cup and the water spills",
)


def main(weights: str | None = None) -> None:
    """Write one sheet of 32 samples for each of SHEETS, and the strip of the README."""
    model = models.load(weights)
    FOLDER.mkdir(exist_ok=True)
    for name, prompt in SHEETS.items():
        clips = engine.generate(
            model, [TASKS["generate"](prompt, seed=seed) for seed in range(32)], batch=8
        )
        save_image(sheet(clips, frames=5, columns=4, captions=False), FOLDER / f"{name}.webp")
    clips = engine.generate(model, [TASKS["generate"](prompt) for prompt in STRIP])
    save_image(sheet(clips, frames=7, columns=2, scale=2), FOLDER / "strip.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
