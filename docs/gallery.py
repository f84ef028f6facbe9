"""Makes the pictures of docs/gallery anew from the embedded model; nothing is chosen: seeds are 0, 1, 2, ...

python docs/gallery.py [WEIGHTS]
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np

from worldtube.generate import engine
from worldtube.generate.session import Session, load
from worldtube.generate.tasks import TASKS
from worldtube.video import Clip, Size, interpolate, resize, save_image, sheet, write

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
FIRST = 8_000_100
"""Held-out seed of the first true clip that tasks are given."""
COUNT = 4
"""Results of each task."""
PAIRS = (
    ("a large red ball rolls to the right", "a large blue ball rolls to the right"),
    ("a small yellow cup stands still", "a small green cup stands still"),
    ("two black boxes stand still", "two white boxes stand still"),
    ("an orange ball falls onto the table", "a purple ball falls onto the table"),
)
BOARDS = (
    ("a red ball rolls to the right", "a red ball stands still", "the camera circles a red ball"),
    ("two blue boxes stand still", "two blue boxes, camera pulls back", "two blue boxes"),
    ("a yellow cup falls", "a yellow cup lies on the table", "the camera moves past a yellow cup"),
    ("a green cylinder next to a white ball", "a green cylinder and a white ball", "a white ball"),
)


def true_clips(frames: int) -> list[Clip]:
    from worldtube.worlds.record import record

    seeds = range(FIRST, FIRST + COUNT)
    return [record("tabletop", seed, Size(64, 64), num_frames=frames)[0] for seed in seeds]


def part(clip: Clip, first: int, last: int | None = None) -> Clip:
    return Clip(frames=clip.frames[first:last], fps=clip.fps, caption=clip.caption)


def of_tasks(session: Session) -> dict[str, list[Clip]]:
    """Clips by task: what was given, where there is something to compare, and what was made of it."""
    true = true_clips(37)
    told = [(clip, clip.caption) for clip in true]
    seeds = range(COUNT)
    makes: dict[str, list[Callable[[], Clip]]] = {
        "animate": [partial(session.animate, part(c, 0, 1), w) for c, w in told],
        "extend": [partial(session.extend, part(c, 0, 13), w, seconds=1) for c, w in told],
        "extend-backward": [
            partial(session.extend, part(c, 12, 25), w, seconds=1, backward=True) for c, w in told
        ],
        "loop": [partial(session.loop, part(c, 0, 13), w) for c, w in told],
        "connect": [
            partial(session.connect, part(c, 0, 9), part(c, 21, 30), w, seconds=1) for c, w in told
        ],
        "paint": [
            partial(session.paint, part(c, 0, 25), "a small blue box", rectangle=(0, 24, 32, 40))
            for c in true
        ],
        "storyboard": [partial(session.storyboard, *b, seconds=[1.4]) for b in BOARDS],
        "image": [partial(session.image, one) for pair in PAIRS for one in pair],
    }
    out = {name: [make() for make in all_of_it] for name, all_of_it in makes.items()}
    for name in ("edit", "remix"):
        out[name] = []
        for seed, (first, other) in zip(seeds, PAIRS, strict=True):
            base = session.generate(first, seed=seed)
            out[name] += [base, getattr(session, name)(base, other)]
    return out


def of_footage(session: Session) -> Clip:
    """True clips of 640x360 at 30 fps, extended: a row of frames of each, the first three of them given."""
    from worldtube.worlds.record import record

    rows = []
    for seed in (FIRST, FIRST + 1):
        true, captions, _ = record("tabletop", seed, Size(640, 360), num_frames=13)
        given = interpolate(true.frames, Fraction(0), Fraction(12, 30), 31)
        clip = session.extend(Clip(frames=given, fps=30.0), captions["medium"], seconds=1)
        small = resize(clip.frames[[0, 15, 30, 31, 45, 60]], Size(240, 135))
        rows.append(np.concatenate(list(small), axis=1))
    return Clip(frames=np.concatenate(rows)[None], fps=1.0)


def of_dynamics() -> np.ndarray:
    """Held-out clips, each as the engine moves it and, below, as the learned dynamics do from its first frame; both
    drawn by the ray caster: uint8 (H, W, 3)."""
    from worldtube.dynamics import continue_states
    from worldtube.models.parts import load_part
    from worldtube.worlds.tabletop.drawing import draw
    from worldtube.worlds.tabletop.engine import simulate
    from worldtube.worlds.tabletop.plan import plan

    states = [simulate(plan(seed))[0] for seed in range(FIRST, FIRST + 6)]
    moved = continue_states(load_part("dynamics"), [state[:1] for state in states], 24)
    rows = []
    for truth, learned in zip(states, moved, strict=True):
        for state, gap in ((truth, 2), (replace(learned, camera=truth.camera), 8)):
            frames = draw(state, Size(96, 96)).rgb[[0, 3, 6, 9, 12, 16, 20, 24]]
            row = np.concatenate(list(frames), axis=1)
            rows.append(np.pad(row, ((0, gap), (0, 0), (0, 0)), constant_values=255))
    return np.concatenate(rows)


def main(weights: str | None = None) -> None:
    """Write one sheet of 32 samples for each of SHEETS, one of each task, and the strip of the README."""
    session = load(weights)
    model = session.model
    FOLDER.mkdir(exist_ok=True)
    write(of_footage(session), FOLDER / "given-extend.webp")
    save_image(of_dynamics(), FOLDER / "dynamics.webp")
    for name, clips in of_tasks(session).items():
        save_image(sheet(clips, frames=9, columns=1), FOLDER / f"task-{name}.webp")
    for name, prompt in SHEETS.items():
        clips = engine.generate(
            model, [TASKS["generate"](prompt, seed=seed) for seed in range(32)], batch=8
        )
        small = [replace(clip, frames=resize(clip.frames, Size(64, 64))) for clip in clips]
        save_image(sheet(small, frames=5, columns=4, captions=False), FOLDER / f"{name}.webp")
    of_strip(session)


def of_strip(session: Session) -> None:
    """The README's first pictures: the clips of STRIP, moving and as frames side by side."""
    clips = engine.generate(session.model, [TASKS["generate"](prompt) for prompt in STRIP])
    save_image(sheet(clips, frames=7, columns=1), FOLDER / "strip.png")
    rows = [np.concatenate([clip.frames for clip in clips[k : k + 3]], axis=2) for k in (0, 3)]
    write(Clip(frames=np.concatenate(rows, axis=1), fps=clips[0].fps), FOLDER / "strip.webp")


if __name__ == "__main__":
    main(*sys.argv[1:])
