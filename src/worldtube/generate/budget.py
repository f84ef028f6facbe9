"""What a request needs in memory, from its shapes alone, and the refusal of one that does not fit.

Owns the estimate and its constants, and where the memory of this machine is read. Computes nothing of a
clip; what a model needs per token and pixel is the model's own to say.
"""

import math
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from worldtube.errors import RequestError
from worldtube.generate.layout import Outline, outline
from worldtube.generate.request import Request
from worldtube.models.model import VideoModel
from worldtube.video import Size

MB = 1e6
HEAP = 60 * MB
"""What a process holds beyond what is alive in it: heap that is not given back, kernels made for new shapes."""
CAUTION = 1.25
"""A refusal takes the estimate for so many times as much; measured errors are smaller (docs/benchmarks.md)."""
PLACE = 60
"""Bytes of where a token is: positions, frames, kinds and masks, by piece and joined."""
HELD, WALKED = 6, 8
"""Float32 copies of a token's numbers, from beginning to end and while a sampler walks."""


@dataclass(frozen=True, kw_only=True)
class Need:
    """Bytes beyond those of the loaded model."""

    held: float
    """From beginning to end: tokens, levels, frames that are kept."""
    network: float
    """While the network looks at a hop."""
    decode: float
    encode: float

    @property
    def peak(self) -> float:
        return self.held + max(self.network, self.decode, self.encode)


def seen_frames(model: VideoModel, shapes: Outline) -> int:
    """The most latent frames that are seen at once (`layout.hops`)."""
    cuts = sum(piece.cut for piece in shapes.pieces)
    return min(_latent_frames(shapes), model.window * min(3, 1 + cuts))


def _latent_frames(shapes: Outline) -> int:
    return sum(piece.grid.frames for piece in shapes.pieces)


def tokens_per_frame(model: VideoModel, shapes: Outline) -> int:
    return model.layout(model.grid(shapes.size, 1, shapes.fps)).bounds[-1]


def need(model: VideoModel, requests: Sequence[Request], *, streamed: bool) -> Need:
    """What requests that are made in one row need. streamed: frames go to their file as they are made."""
    held = network = decode = encode = 0.0
    for request in requests:
        shapes, each = outline(model, request), model.footprint(causal=request.causal)
        frame = tokens_per_frame(model, shapes)
        tokens, seen = frame * _latent_frames(shapes), frame * seen_frames(model, shapes)
        rows = 1 + request.steps + request.lag * seen_frames(model, shapes)
        held += tokens * (4 * HELD * model.token_width + PLACE) + 8 * rows * max(tokens, seen)
        sides = 1 if request.guidance == 1 else 2  # with the words and without, in one row
        network += seen * (sides * each.token + 4 * WALKED * model.token_width)
        network += sides * (seen**2 * each.pair + seen * each.remembered)
        area = shapes.size.width * shapes.size.height
        coded = [area * piece.grid.num_frames for piece in shapes.pieces]
        some = max(each.at_once, area * model.stride[0])
        decode = max(decode, each.decoded * min(some, max(coded)))
        for piece, pixels in zip(shapes.pieces, coded, strict=True):
            if piece.given is not None and piece.given.tokens is None:
                encode = max(encode, each.encoded * min(some, pixels) + 6 * pixels)
        held += (0 if streamed else 6) * area * shapes.num_frames  # in blocks, and joined
    return Need(held=held, network=network, decode=decode, encode=encode)


def available(device: torch.device | str = "cpu") -> int | None:
    """Bytes that can still be had where a model computes; None where nobody says."""
    if torch.device(device).type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            told = dict(line.split(":") for line in file)
        return 1024 * int(told["MemAvailable"].split()[0])
    except (OSError, KeyError, ValueError):
        pages = next((n for n in ("SC_AVPHYS_PAGES", "SC_PHYS_PAGES") if n in _sysconf()), None)
        return os.sysconf(pages) * os.sysconf("SC_PAGE_SIZE") if pages else None


def _sysconf() -> dict[str, int]:
    return getattr(os, "sysconf_names", {})


def resident() -> tuple[float, float]:
    """Bytes that this process holds now, and the most that it ever held (both the latter where only that is told)."""
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    most = float(unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            now = float(int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
    except OSError:
        return most, most
    return now, max(now, most)


def check(model: VideoModel, requests: Sequence[Request], *, streamed: bool = False) -> None:
    """Raises RequestError, with what would fit, for requests that need more memory than there is."""
    room = available(getattr(model, "device", "cpu"))
    if room is None:
        return

    def needs(some: Sequence[Request]) -> float:
        return CAUTION * need(model, some, streamed=streamed).peak + HEAP

    wanted = needs(requests)
    if wanted <= room:
        return
    first = max(requests, key=lambda one: needs([one]))
    shapes = outline(model, first)
    many = f"{len(requests)} clips of " if len(requests) > 1 else ""
    what = f"{many}{shapes.size} for {shapes.num_frames / shapes.fps:.3g} s"

    def fits(one: Request) -> bool:
        try:
            return needs([one] * len(requests)) <= room
        except RequestError:  # such as a given clip that is longer
            return False

    would = _smaller(model, first, fits)
    raise RequestError(
        f"{what} needs about {wanted / 1e9:.2g} GB of memory and {room / 1e9:.2g} GB is free ({would})"
    )


def _smaller(model: VideoModel, request: Request, fits: Callable[[Request], bool]) -> str:
    """In words: the largest size of the same shape, and the longest duration, that would fit."""
    shapes, side = outline(model, request), model.stride[1]
    would = []
    for share in (math.sqrt(k / 20) for k in range(19, 0, -1)):
        size = Size(*(side * max(1, int(share * v / side)) for v in _sides(shapes.size)))
        if size != shapes.size and fits(replace(request, size=size)):
            would.append(f"{size}")
            break
    if request.num_frames is None and request.seconds is not None and not request.shots:
        for share in (k / 20 for k in range(19, 0, -1)):
            shorter = replace(request, seconds=share * request.seconds)
            if share * request.seconds >= 0.1 and fits(shorter):
                would.append(f"{math.floor(10 * share * request.seconds) / 10:g} s")
                break
    return f"{' or '.join(would)} would fit" if would else "nothing smaller would fit either"


def _sides(size: Size) -> tuple[int, int]:
    return size.width, size.height
