"""What requests need in memory, from their shapes alone, and the refusal of those that do not fit.

Owns the estimate, its constants and where free memory is read. Computes nothing of a clip; what a model
needs per token and pixel is the model's to say.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from worldtube.errors import RequestError
from worldtube.generate.assemble import PIXELS_PER_BLOCK
from worldtube.generate.compose import result_shape
from worldtube.generate.layout import PIXELS_AT_ONCE, outline, reach
from worldtube.generate.request import Request
from worldtube.models.model import VideoModel
from worldtube.video import Size

HEAP = 50e6
"""Bytes that a process holds beyond what is alive in it: heap not given back, kernels made for new shapes."""
CAUTION = 1.25
"""A request is refused when so many times the estimate does not fit; measured errors are smaller."""
PLACE = 60
"""Bytes of where a token is: positions, frames, kinds and masks, by piece and joined."""
COMPOSED = 40
"""Bytes a pixel of a block of frames that are put together with given ones."""
HELD, WALKED = 6, 8
"""Float32 copies of a token's numbers from beginning to end, and more while a sampler walks."""


def need(
    model: VideoModel, requests: Sequence[Request], *, streamed: bool = False
) -> dict[str, float]:
    """Bytes beyond the loaded model: `held` from beginning to end and, one at a time, those of each stage.

    All requests are made in one row. streamed: frames go to their file as they are made. Raises RequestError for
    shapes that the model does not make.
    """
    held = network = decode = encode = 0.0
    for request in requests:
        shapes, each = outline(model, request), model.footprint(causal=request.causal)
        count = sum(piece.grid.frames for piece in shapes.pieces)
        frame = model.layout(replace(shapes.pieces[0].grid, frames=1)).bounds[-1]
        tokens, seen = frame * count, frame * reach(count, model.window, shapes.cuts)
        levels = 1 + request.steps + request.lag * seen // frame
        held += tokens * (4 * HELD * model.token_width + PLACE + 8 * levels)
        sides = 1 if request.guidance == 1 else 2  # with the words and without, in one row
        network += sides * seen * (each.token + each.remembered + each.pair * seen)
        network += 4 * WALKED * model.token_width * seen
        area = shapes.size.width * shapes.size.height
        for piece in shapes.pieces:
            fine = area * model.stride[0]  # of a latent frame; the first is computed whole too
            frames = piece.grid.frames
            done = fine * (min(frames, model.window) if streamed else frames)
            least = fine * each.together
            decode = max(decode, each.decoded * min(done, max(PIXELS_AT_ONCE, least)))
            if piece.given is not None and piece.given.tokens is None:
                encode = max(encode, each.encoded * fine * frames)
        made = request.composition
        if made is not None and made.parts:
            # New frames that wait for their neighbours, and a block of the result with what is added to it.
            frame = made.size.width * made.size.height
            held += 3 * area * shapes.num_frames + COMPOSED * max(frame, PIXELS_PER_BLOCK)
            held += 0 if streamed else 6 * frame * made.num_frames
        else:
            held += 0 if streamed else 6 * area * shapes.num_frames  # in blocks, and joined
    return {"held": held, "network": network, "decode": decode, "encode": encode}


def most(needed: dict[str, float]) -> float:
    """What is held and the largest stage."""
    return needed["held"] + max(value for stage, value in needed.items() if stage != "held")


def available(device: torch.device | str = "cpu") -> float:
    """Bytes that can still be had where a model computes; all that there are where no more is told."""
    if torch.device(device).type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return 1024 * float(dict(line.split(":") for line in lines)["MemAvailable"].split()[0])
    except OSError:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def fits(model: VideoModel, requests: Sequence[Request], *, streamed: bool = False) -> bool:
    """Whether there is memory for requests that are made in one row."""
    room = available(getattr(model, "device", "cpu"))
    return _reserved(model, requests, streamed) <= room


def _reserved(model: VideoModel, requests: Sequence[Request], streamed: bool) -> float:
    """The bytes that must be free."""
    return CAUTION * most(need(model, requests, streamed=streamed)) + HEAP


def check(model: VideoModel, requests: Sequence[Request], *, streamed: bool = False) -> None:
    """Raises RequestError, with what would fit, for requests that need more memory than there is."""
    room = available(getattr(model, "device", "cpu"))

    def needs(some: Sequence[Request]) -> float:
        return _reserved(model, some, streamed)

    wanted = needs(requests)
    if wanted <= room:
        return
    largest = max(requests, key=lambda one: needs([one]))
    shapes = result_shape(model, largest)
    many = f"{len(requests)} clips of " if len(requests) > 1 else ""
    would = _smaller(model, largest, lambda one: needs([one] * len(requests)) <= room)
    raise RequestError(
        f"{many}{shapes.size} for {shapes.num_frames / shapes.fps:.3g} s needs about {wanted / 1e9:.2g} GB "
        f"of memory and {room / 1e9:.2g} GB is free ({would})"
    )


def _smaller(model: VideoModel, request: Request, fits: Callable[[Request], bool]) -> str:
    """In words: the largest size of about the same shape, and the longest duration, that would fit."""
    size, side, would = result_shape(model, request).size, model.stride[1], []
    shares = [k / 20 for k in range(19, 0, -1)]
    sizes = [
        Size(*(side * max(1, int(share * v / side)) for v in (size.width, size.height)))
        for share in shares
    ]
    would += [one for one in sizes if one != size and fits(_resized(request, one))][:1]
    if request.seconds is not None and not request.given and not request.shots:
        shorter = [int(10 * share * request.seconds) / 10 for share in shares]
        some = (s for s in shorter if s > 0 and fits(replace(request, seconds=s)))
        would += [f"{s:g} s" for s in some][:1]
    return f"{' or '.join(map(str, would))} would fit" if would else "nothing smaller would either"


def _resized(request: Request, size: Size) -> Request:
    made = request.composition
    if made is None or not made.parts:
        return replace(request, size=size)
    return replace(request, composition=replace(made, size=size))
