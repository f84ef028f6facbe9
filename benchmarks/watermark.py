"""How often the watermark is found after what may happen to a clip, how often in clips that are not ours, and what
it costs.

Clips are simulated (`worldtube.worlds`, at 256x256, scaled down for the smaller sizes), made by the embedded
model, and cut from the films in `--media`. Three records: `watermark` (marked by us, saved as `worldtube` saves,
then attacked), `watermark_foreign` (never marked, in other encoders' files, against our secret and many others)
and `watermark_cost`.
"""

import argparse
import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import timing
from PIL import Image

from worldtube import video
from worldtube.provenance.watermark import CLAIM, RUN, Found, Mark, Search
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


def photographed(clip: Clip) -> Clip:
    """One frame as a JPEG of quality 80."""
    buffer = io.BytesIO()
    Image.fromarray(clip.frames[len(clip.frames) // 2]).save(buffer, "jpeg", quality=80)
    return video.read(buffer.getvalue())


ATTACKS: dict[str, Attack] = {
    "as saved (also remuxed)": lambda clip: clip,
    "H.264 again, CRF 28": lambda clip: coded(clip, crf=28),
    "H.264 again, CRF 35": lambda clip: coded(clip, crf=35),
    "VP9, same quality as CRF 28": lambda clip: coded(clip, "webm", crf=28),
    "halved, then CRF 28": lambda clip: coded(scaled(clip, 0.5), crf=28),
    "doubled, then CRF 28": lambda clip: coded(scaled(clip, 2), crf=28),
    "GIF": lambda clip: coded(clip, "gif"),
    "brighter, more contrast, CRF 23": lambda clip: coded(brighter(clip), crf=23),
    "every other frame, CRF 28": lambda clip: coded(replace(clip, frames=clip.frames[::2]), crf=28),
    "first second cut off, CRF 28": lambda clip: coded(
        replace(clip, frames=clip.frames[12:]), crf=28
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

    session = load()
    prompts = ("a red ball rolls to the right", "a small blue box falls", "a green cylinder slides")
    return [
        session.generate(
            prompts[k % 3], seconds=2, seed=8_000_000 + k, size=Size(side, side), steps=8
        )
        for k in range(count)
    ]


def filmed(folder: Path | None, each: int) -> Iterator[tuple[str, Clip]]:
    """Cuts of the films in a folder, evenly spread, at 256x256 (the middle of each picture)."""
    for path in sorted(folder.iterdir()) if folder else ():
        blocks = [len(block) for block in video.read_blocks(path, num_frames=FRAMES)]
        wanted = set(np.linspace(0, len(blocks) - 1, min(each, len(blocks))).astype(int).tolist())
        for index, block in enumerate(video.read_blocks(path, num_frames=FRAMES)):
            if index in wanted and len(block) >= FRAMES // 2:
                yield path.name, fit(Clip(frames=block, fps=FPS), Size(256, 256))


def marked(clip: Clip, name: bytes) -> tuple[Clip, Clip, str]:
    """The clip with its mark, the same as it is saved, and the payload."""
    mark = Mark(SECRET, name)
    laid = replace(clip, frames=np.concatenate(list(mark([clip.frames]))), tracks={})
    laid = Clip(frames=laid.frames, fps=clip.fps)
    return laid, coded(laid), mark.payload


def searched(clip: Clip) -> Search:
    search = Search()
    for first in range(0, clip.num_frames, RUN):
        search.add(clip.frames[first : first + RUN])
    return search


def look(clip: Clip) -> Found:
    return searched(clip).result(SECRET)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2)))


def attacked(sets: dict[str, dict[int, list[Clip]]]) -> list[dict[str, Any]]:
    results = []
    for kind, sizes in sets.items():
        for side, clips in sizes.items():
            saved = [marked(clip, f"{kind} {k}".encode()) for k, clip in enumerate(clips)]
            near = [
                psnr(one[0].frames, clip.frames) for one, clip in zip(saved, clips, strict=True)
            ]
            for attack, do in ATTACKS.items():
                if side * (0.5 if attack.startswith("halved") else 1) < 32:
                    continue
                found = [(look(do(one)), payload) for _, one, payload in saved]
                p = [one.p_value for one, _ in found]
                results.append(
                    {
                        "clips": kind,
                        "side": side,
                        "attack": attack,
                        "count": len(found),
                        "found": sum(one.found for one, _ in found),
                        "named": sum(
                            one.found and one.payload == payload for one, payload in found
                        ),
                        "p_median": float(np.median(p)),
                        "p_worst": max(p),
                        "psnr_db": round(float(np.mean(near)), 1),
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


def cost(clips: dict[int, Clip], repeats: int) -> list[dict[str, Any]]:
    results = []
    for side, clip in clips.items():
        laid, saved, _ = marked(clip, b"cost")
        arms = {
            "mark": lambda clip=clip: list(Mark(SECRET, b"cost")([clip.frames])),
            "search": lambda saved=saved: look(saved),
            "encode": lambda laid=laid: video.encode(laid),
        }
        seconds = timing.in_turn(arms, repeats)
        results.append(
            {
                "side": side,
                "seconds": round(clip.seconds, 3),
                "arms": {name: timing.summary(one) for name, one in seconds.items()},
                "ratios": {"encode_to_mark": timing.ratio(seconds, "encode", "mark")},
            }
        )
        print(results[-1], flush=True)
    return results


def main(arguments: list[str] | None = None) -> list[Path]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--count", type=int, default=36, help="simulated clips")
    parser.add_argument("--generated", type=int, default=12, help="clips of the embedded model")
    parser.add_argument("--media", type=Path, help="folder of films that are not ours")
    parser.add_argument("--each", type=int, default=6, help="cuts of each film")
    parser.add_argument("--secrets", type=int, default=100, help="other secrets to try")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--what", nargs="+", default=WHAT, choices=WHAT, help="records to make")
    parser.add_argument("--out", type=Path, default=timing.RESULTS, help="folder of the records")
    args = parser.parse_args(arguments)
    whole = list(simulated(args.count))
    films = list(filmed(args.media, args.each))
    sources: dict[str, list[Clip]] = {"simulated": whole, "filmed": [clip for _, clip in films]}
    sets = {
        kind: {side: [fit(one, Size(side, side)) for one in clips] for side in args.sizes}
        for kind, clips in sources.items()
        if clips
    }
    if args.generated:
        sets["generated"] = {64: generated(args.generated, 64)}
    told = vars(args) | {
        "media": [name for name in dict.fromkeys(name for name, _ in films)],
        "claim": CLAIM,
    }
    measures = {
        "watermark_cost": lambda: cost(
            {side: fit(whole[0], Size(side, side)) for side in args.sizes}, args.repeats
        ),
        "watermark_foreign": lambda: claimed(unmarked(sets), args.secrets),
        "watermark": lambda: attacked(sets),
    }
    name = f"cpu_{timing.datetime.now(timing.UTC):%Y-%m-%d}.json"
    return [
        timing.write(what, told, measures[what](), args.out / f"{what}_{name}")
        for what in args.what
    ]


if __name__ == "__main__":
    main()
