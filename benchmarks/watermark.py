"""How often the watermark is found after what may happen to a clip, how often in clips that are not ours, and what
it costs.

Clips are simulated (`worldtube.worlds`, at 256x256, scaled down for the smaller sizes), made by the embedded model's
student, skies (smooth gradients), film-like (a camera passes rough ground, with grain), and cut from the films in
`--media`. With `--before FILE`, another version of `watermark.py` is measured beside today's, on the same clips.
Three records: `watermark` (marked by us, saved as `worldtube` saves,
then attacked), `watermark_foreign` (never marked, in other encoders' files, against our secret and many others)
and `watermark_cost`.
"""

import argparse
import importlib.util
import io
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import timing
from PIL import Image, ImageFilter

from worldtube import video
from worldtube.provenance import watermark as today
from worldtube.provenance.watermark import CLAIM
from worldtube.video import Clip, Size, fit

SECRET = b"the secret of this benchmark, 32"
FRAMES, FPS = 25, 12.0
Attack = Callable[[Clip], Clip]


def coded(clip: Clip, format: str = "mp4", crf: int = 16) -> Clip:
    """The clip after a file of that format."""
    buffer = io.BytesIO()
    video.write(clip, buffer, format=format, crf=crf)
    return video.read(buffer.getvalue())


def foreign(clip: Clip, codec: str, container: str, options: dict[str, str]) -> Clip:
    """The clip after another encoder than those that we save with."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as output:
        stream: Any = output.add_stream(codec, rate=round(clip.fps), options=options)
        stream.width, stream.height, stream.pix_fmt = clip.size.width, clip.size.height, "yuv420p"
        for array in clip.frames:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(array, format="rgb24")))
        output.mux(stream.encode())
    return video.read(buffer.getvalue())


def scaled(clip: Clip, factor: float) -> Clip:
    size = Size(*(2 * round(side * factor / 2) for side in (clip.size.width, clip.size.height)))
    return fit(clip, size)


def cropped(clip: Clip, share: float) -> Clip:
    y, x = (round(side * share / 2) for side in clip.frames.shape[1:3])
    cut = np.ascontiguousarray(clip.frames[:, y:-y, x:-x])
    return fit(replace(clip, frames=cut), clip.size)


def brighter(clip: Clip) -> Clip:
    return replace(clip, frames=np.clip(clip.frames * 1.1 + 12, 0, 255).astype(np.uint8))


def blurred(clip: Clip) -> Clip:
    """Gaussian of 0.7 pixels."""
    soft = ImageFilter.GaussianBlur(0.7)
    frames = [np.asarray(Image.fromarray(frame).filter(soft)) for frame in clip.frames]
    return replace(clip, frames=np.stack(frames))


def photographed(clip: Clip) -> Clip:
    """One frame as a JPEG of quality 80."""
    buffer = io.BytesIO()
    Image.fromarray(clip.frames[len(clip.frames) // 2]).save(buffer, "jpeg", quality=80)
    return video.read(buffer.getvalue())


ATTACKS: dict[str, Attack] = {
    "as saved (also remuxed)": lambda clip: clip,
    "H.264 again, CRF 23": lambda clip: coded(clip, crf=23),
    "H.264 again, CRF 28": lambda clip: coded(clip, crf=28),
    "H.264 again, CRF 33": lambda clip: coded(clip, crf=33),
    "H.264 again, CRF 35": lambda clip: coded(clip, crf=35),
    "VP9, same quality as CRF 28": lambda clip: coded(clip, "webm", crf=28),
    "H.265, CRF 28": lambda clip: foreign(
        clip, "libx265", "mp4", {"crf": "28", "x265-params": "log-level=none"}
    ),
    "halved, then CRF 28": lambda clip: coded(scaled(clip, 0.5), crf=28),
    "doubled, then CRF 28": lambda clip: coded(scaled(clip, 2), crf=28),
    "GIF": lambda clip: coded(clip, "gif"),
    "brighter, more contrast, CRF 23": lambda clip: coded(brighter(clip), crf=23),
    "blurred, CRF 23": lambda clip: coded(blurred(clip), crf=23),
    "every other frame, CRF 28": lambda clip: coded(replace(clip, frames=clip.frames[::2]), crf=28),
    "first half cut off, CRF 28": lambda clip: coded(
        replace(clip, frames=clip.frames[clip.num_frames // 2 :]), crf=28
    ),
    "one frame as a JPEG": photographed,
    "4 % cropped, CRF 23": lambda clip: coded(cropped(clip, 0.04), crf=23),
}
ENCODERS: dict[str, Attack] = {
    "H.264, CRF 18": lambda clip: foreign(clip, "libx264", "mp4", {"crf": "18"}),
    "H.264, CRF 32, fast": lambda clip: foreign(
        clip, "libx264", "matroska", {"crf": "32", "preset": "veryfast"}
    ),
    "H.265": lambda clip: foreign(clip, "libx265", "mp4", {"x265-params": "log-level=none"}),
    "MPEG-4": lambda clip: foreign(clip, "mpeg4", "avi", {"q": "6"}),
    "VP9": lambda clip: coded(clip, "webm", crf=24),
}

SKIES = (
    ((90, 140, 210), (190, 215, 240)),
    ((60, 90, 160), (230, 180, 150)),
    ((140, 170, 200), (220, 225, 230)),
    ((30, 40, 80), (120, 80, 90)),
    ((20, 25, 40), (60, 70, 100)),
    ((200, 190, 180), (245, 240, 235)),
)
"""Colours above and below: noon, evening, haze, dusk, night, fog."""
PICTURE = Path(__file__).parents[1] / "docs" / "gallery" / "watermark.png"
"""Sky and generated clip at 64x64, four times enlarged: plain, with the mark before, with today's."""
WHAT = ("watermark_cost", "watermark_foreign", "watermark")


def simulated(count: int) -> Iterator[Clip]:
    """Seeds of validation; every sixth pours."""
    from worldtube.worlds.record import record

    for k in range(count):
        world = "pour" if k % 6 == 5 else "tabletop"
        clip, *_ = record(world, 8_000_000 + k, Size(256, 256), num_frames=FRAMES)
        yield replace(clip, tracks={})


def generated(count: int, side: int) -> list[Clip]:
    from worldtube import load

    session = load(fast=True)
    prompts = ("a red ball rolls to the right", "a small blue box falls", "a green cylinder slides")
    clips = []
    for k in range(count):
        options = {"seconds": 2, "seed": 8_000_000 + k, "size": Size(side, side)}
        clip = session.generate(prompts[k % 3], **options)
        clips.append(Clip(frames=clip.frames, fps=clip.fps))
    return clips


def sky(side: int, seed: int) -> Clip:
    """A gradient from above to below, with soft clouds for every other seed."""
    rng = np.random.default_rng(seed)
    above, below = np.array(SKIES[seed % len(SKIES)], float)
    down = np.linspace(0, 1, side)[:, None, None]
    picture = np.repeat((1 - down) * above + down * below, side, axis=1)
    if seed % 2:
        cloud = Image.fromarray(rng.integers(0, 255, (5, 7), dtype=np.uint8))
        cloud = np.asarray(cloud.resize((side, side), Image.Resampling.BICUBIC), float)
        white = np.clip(cloud[..., None] / 255 - 0.5, 0, None) / 2
        picture = picture * (1 - white) + 250 * white
    frames = np.repeat(picture.clip(0, 255).astype(np.uint8)[None], FRAMES, axis=0)
    return Clip(frames=frames, fps=FPS)


def film_like(seed: int) -> Clip:
    """A hand-held camera passes ground with detail of all sizes, with grain, at 256x256."""
    rng = np.random.default_rng(seed)
    size = 400
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
    ground = np.fft.ifft2(np.fft.fft2(rng.standard_normal((size, size))) / (frequency + 0.004)).real
    ground = 120 + rng.uniform(20, 50) * ground / ground.std()
    dx, grain = rng.uniform(-5, 5), rng.uniform(1, 6)
    frames = []
    for k in range(FRAMES):
        x, y = round(70 + dx * (k - FRAMES / 2) / 2), round(70 + 10 * np.sin(k / 4))
        picture = ground[y : y + 256, x : x + 256, None] + [8, 0, -12]
        frames.append(picture + rng.normal(0, grain, (256, 256, 1)))
    return Clip(frames=np.stack(frames).clip(0, 255).astype(np.uint8), fps=FPS)


def filmed(folder: Path | None, each: int) -> Iterator[tuple[str, Clip]]:
    """Cuts of the films in a folder, evenly spread, at 256x256 (the middle of each picture)."""
    for path in sorted(folder.iterdir()) if folder else ():
        blocks = [len(block) for block in video.read_blocks(path, num_frames=FRAMES)]
        wanted = set(np.linspace(0, len(blocks) - 1, min(each, len(blocks))).astype(int).tolist())
        for index, block in enumerate(video.read_blocks(path, num_frames=FRAMES)):
            if index in wanted and len(block) >= FRAMES // 2:
                yield path.name, fit(Clip(frames=block, fps=FPS), Size(256, 256))


def version(path: Path | None) -> Any:
    """A watermark's module: today's, or that of a file."""
    if path is None:
        return today
    spec = importlib.util.spec_from_file_location("watermark_before", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def marked(clip: Clip, name: bytes, module: Any = today) -> tuple[Clip, Clip, str]:
    """The clip with its mark, the same as it is saved, and the payload."""
    mark = module.Mark(SECRET, name)
    laid = Clip(frames=np.concatenate(list(mark([clip.frames]))), fps=clip.fps)
    return laid, coded(laid), mark.payload


def searched(clip: Clip, module: Any = today) -> Any:
    search = module.Search()
    for first in range(0, clip.num_frames, module.RUN):
        search.add(clip.frames[first : first + module.RUN])
    return search


def look(clip: Clip, module: Any = today) -> Any:
    return searched(clip, module).result(SECRET)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """At most 99."""
    error = np.mean((a.astype(float) - b) ** 2)
    return min(99.0, float(10 * np.log10(255**2 / max(error, 1e-9))))


def ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Structural similarity of luma in 8 x 8 windows (Wang and others, 2004)."""

    def means(x: np.ndarray) -> np.ndarray:
        total = np.pad(x, ((0, 0), (1, 0), (1, 0))).cumsum(1).cumsum(2)
        return (total[:, 8:, 8:] - total[:, :-8, 8:] - total[:, 8:, :-8] + total[:, :-8, :-8]) / 64

    x, y = (frames @ today.LUMA for frames in (a, b))
    mx, my = means(x), means(y)
    vx, vy, vxy = means(x * x) - mx**2, means(y * y) - my**2, means(x * y) - mx * my
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    return float(
        np.mean((2 * mx * my + c1) * (2 * vxy + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
    )


def grain(marked: np.ndarray, frames: np.ndarray) -> float:
    """Root mean square of the mark in smooth parts (16 x 16 cells of which each gradient is below one level)."""
    luma = frames[0] @ today.LUMA
    slope = np.abs(np.stack(np.gradient(luma))).max(0)
    height, width = luma.shape
    cells = slope[: height // 16 * 16, : width // 16 * 16]
    cells = cells.reshape(height // 16, 16, width // 16, 16).max((1, 3)) < 2
    smooth = np.kron(cells, np.ones((16, 16), bool))
    change = (marked[0].astype(float) - frames[0]) @ today.LUMA
    inside = change[: smooth.shape[0], : smooth.shape[1]][smooth]
    return float(np.sqrt(np.mean(inside**2))) if inside.size else 0.0


def attacked(
    sets: dict[str, dict[int, list[Clip]]], modules: dict[str, Any]
) -> list[dict[str, Any]]:
    results = []
    for kind, sizes in sets.items():
        for side, clips in sizes.items():
            for name, module in modules.items():
                results += attacked_set(kind, side, clips, name, module)
    return results


def attacked_set(
    kind: str, side: int, clips: list[Clip], name: str, module: Any
) -> list[dict[str, Any]]:
    saved = [marked(clip, f"{kind} {k}".encode(), module) for k, clip in enumerate(clips)]
    pairs = [(laid.frames, clip.frames) for (laid, _, _), clip in zip(saved, clips, strict=True)]
    quality = {
        "psnr_db": round(float(np.mean([psnr(*pair) for pair in pairs])), 1),
        "psnr_db_worst": round(min(psnr(*pair) for pair in pairs), 1),
        "ssim": round(float(np.mean([ssim(*pair) for pair in pairs])), 4),
        "grain_levels": round(float(np.mean([grain(*pair) for pair in pairs])), 2),
    }
    results = []
    for attack, change in ATTACKS.items():
        if side * (0.5 if attack.startswith("halved") else 1) < 32:
            continue
        found = [(look(change(clip), module), payload) for _, clip, payload in saved]
        p_values = [result.p_value for result, _ in found]
        named = [result.found and result.payload == payload for result, payload in found]
        results.append(
            {
                "mark": name,
                "clips": kind,
                "side": side,
                "attack": attack,
                "count": len(found),
                "found": sum(result.found for result, _ in found),
                "named": sum(named),
                "p_median": float(np.median(p_values)),
                "p_worst": max(p_values),
                **quality,
            }
        )
        print(results[-1], flush=True)
    return results


def unmarked(sets: dict[str, dict[int, list[Clip]]]) -> dict[str, list[Clip]]:
    """Each clip, at the largest size of its kind, by one encoder, which are taken in turn."""
    return {
        f"{kind}, {side}x{side}, {encoder}": [encode(clip) for clip in clips[turn :: len(ENCODERS)]]
        for kind, sizes in sets.items()
        for turn, (encoder, encode) in enumerate(ENCODERS.items())
        for side, clips in sizes.items()
        if side == max(sizes) and len(clips) > turn
    }


def claimed(sets: dict[str, list[Clip]], secrets: int) -> list[dict[str, Any]]:
    """Clips without a mark: how many are claimed with our secret, and in how many trials with others'."""
    others = [f"another secret, number {k:06}, of 32".encode() for k in range(secrets)]
    results = []
    for kind, clips in sets.items():
        seen = [searched(clip) for clip in clips]
        p = [one.result(SECRET).p_value for one in seen]
        trials = [one.result(other).p_value for other in others for one in seen]
        results.append(
            {
                "clips": kind,
                "count": len(clips),
                "claimed": sum(one <= CLAIM for one in p),
                "p_least": min(p),
                "trials": len(trials),
                "trials_claimed": sum(one <= CLAIM for one in trials),
                "trials_p_least": min(trials, default=1.0),
            }
        )
        print(results[-1], flush=True)
    return results


def cost(clips: dict[int, Clip], repeats: int, modules: dict[str, Any]) -> list[dict[str, Any]]:
    results = []
    for side, clip in clips.items():
        arms: dict[str, Any] = {}
        for name, module in modules.items():
            laid, saved, _ = marked(clip, b"cost", module)
            suffix = "" if module is today else f"_{name}"

            def mark(module: Any = module, clip: Clip = clip) -> Any:
                return list(module.Mark(SECRET, b"cost")([clip.frames]))

            def search(module: Any = module, saved: Clip = saved) -> Any:
                return look(saved, module)

            def encode(laid: Clip = laid) -> Any:
                return video.encode(laid)

            arms |= {f"mark{suffix}": mark, f"search{suffix}": search, f"encode{suffix}": encode}
        seconds = timing.in_turn(arms, repeats)
        results.append(
            {
                "side": side,
                "seconds": round(clip.seconds, 3),
                "arms": {name: timing.summary(times) for name, times in seconds.items()},
                "ratios": {"encode_to_mark": timing.ratio(seconds, "encode", "mark")},
            }
        )
        print(results[-1], flush=True)
    return results


def draw(modules: dict[str, Any], path: Path) -> None:
    """Save the first frames of skies and generated clips, plain and marked by each version, side by side."""
    rows = []
    for clip in (sky(64, 0), sky(64, 1), *generated(2, 64)):
        laid = [marked(clip, b"picture", module)[0] for module in modules.values()]
        rows.append(np.concatenate([each.frames[5] for each in (clip, *laid)], axis=1))
    large = Image.fromarray(np.concatenate(rows))
    large = large.resize((4 * large.width, 4 * large.height), Image.Resampling.BICUBIC)
    large.save(path, optimize=True)


def main(arguments: list[str] | None = None) -> list[Path]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--count", type=int, default=12, help="simulated clips")
    parser.add_argument("--generated", type=int, default=12, help="clips of the embedded model")
    parser.add_argument("--skies", type=int, default=6, help="smooth gradients")
    parser.add_argument("--film-like", type=int, default=12, help="clips like films, made here")
    parser.add_argument("--media", type=Path, help="folder of films that are not ours")
    parser.add_argument("--each", type=int, default=6, help="cuts of each film")
    parser.add_argument("--secrets", type=int, default=100, help="other secrets to try")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--before", type=Path, help="another watermark.py to measure beside")
    parser.add_argument(
        "--picture", action="store_true", help="also draw docs/gallery/watermark.png"
    )
    parser.add_argument("--what", nargs="+", default=WHAT, choices=WHAT, help="records to make")
    parser.add_argument("--out", type=Path, default=timing.RESULTS, help="folder of the records")
    args = parser.parse_args(arguments)
    modules = {"before": version(args.before)} if args.before else {}
    modules["today"] = today
    if args.picture:
        draw(modules, PICTURE)
    whole = list(simulated(args.count))
    films = list(filmed(args.media, args.each))
    sources: dict[str, list[Clip]] = {
        "simulated": whole,
        "film-like": [film_like(seed) for seed in range(args.film_like)],
        "filmed": [clip for _, clip in films],
    }
    sets = {
        kind: {side: [fit(clip, Size(side, side)) for clip in clips] for side in args.sizes}
        for kind, clips in sources.items()
        if clips
    }
    if args.skies:
        sets["skies"] = {side: [sky(side, k) for k in range(args.skies)] for side in args.sizes}
    foreign_sets = dict(sets)
    if args.generated:
        clips = generated(args.generated, 64)
        foreign_sets["generated"] = sets["generated"] = {64: clips}
        second = [replace(clip, frames=clip.frames[: round(clip.fps)]) for clip in clips]
        sets["generated, 1 s"] = {64: second}
    options = vars(args) | {
        "before": str(args.before.name) if args.before else None,
        "media": [name for name in dict.fromkeys(name for name, _ in films)],
        "claim": CLAIM,
    }
    measures = {
        "watermark_cost": lambda: cost(
            {side: fit(whole[0], Size(side, side)) for side in args.sizes}, args.repeats, modules
        ),
        "watermark_foreign": lambda: claimed(unmarked(foreign_sets), args.secrets),
        "watermark": lambda: attacked(sets, modules),
    }
    name = f"cpu_{timing.datetime.now(timing.UTC):%Y-%m-%d}.json"
    return [
        timing.write(what, options, measures[what](), args.out / f"{what}_{name}")
        for what in args.what
    ]


if __name__ == "__main__":
    main()
