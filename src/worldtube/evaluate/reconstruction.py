"""How well a codec gives clips back. Owns PSNR, SSIM and a perceptual distance; does not know how
the codec was trained."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from worldtube.codec import Codec
from worldtube.errors import RequestError
from worldtube.video import Clip

POOR = 28.0
"""PSNR, dB, under which a clip counts as poor."""


def psnr(made: Tensor, pixels: Tensor) -> Tensor:
    """Peak signal-to-noise ratio, dB, of (B, 3, T, H, W) in [-1, 1], one number a clip; equal clips
    have 100."""
    error = (made - pixels).square().mean((1, 2, 3, 4))
    return 10 * torch.log10(4 / error.clamp_min(4e-10))


def ssim(made: Tensor, pixels: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004: 11 x 11 Gaussian window of 1.5 pixels), mean over
    channels and frames."""
    frames = made.shape[2]
    a, b = (x.transpose(1, 2).flatten(0, 2)[:, None] / 2 + 0.5 for x in (made, pixels))
    line = torch.exp(-torch.arange(-5.0, 6.0, device=a.device).square() / (2 * 1.5**2))
    line = line / line.sum()

    def blur(x: Tensor) -> Tensor:
        x = F.conv2d(x, line.view(1, 1, 11, 1))
        return F.conv2d(x, line.view(1, 1, 1, 11))

    means = blur(a), blur(b)
    variances = blur(a * a) - means[0] ** 2 + blur(b * b) - means[1] ** 2
    covariance = blur(a * b) - means[0] * means[1]
    c1, c2 = 0.01**2, 0.03**2
    score = (2 * means[0] * means[1] + c1) * (2 * covariance + c2)
    score = score / ((means[0] ** 2 + means[1] ** 2 + c1) * (variances + c2))
    return score.mean((1, 2, 3)).view(-1, frames * 3).mean(1)


def gmsd(made: Tensor, pixels: Tensor) -> Tensor:
    """Gradient magnitude similarity deviation (Xue et al. 2014, eq. 2-6): 0 is equal, 0.1 is
    clearly seen, mean over frames.

    The perceptual measure here: it sees blurred, doubled and broken edges, and knows no network.
    """
    frames = made.shape[2]
    luma = torch.tensor([0.299, 0.587, 0.114], device=made.device).view(1, 3, 1, 1)
    kernel = torch.tensor([[1.0, 0, -1]] * 3, device=made.device) / 3
    kernels = torch.stack([kernel, kernel.T])[:, None]
    strengths = []
    for x in (made, pixels):
        grey = ((x.transpose(1, 2).flatten(0, 1) / 2 + 0.5) * luma).sum(1, keepdim=True) * 255
        strengths.append(F.conv2d(F.avg_pool2d(grey, 2), kernels).square().sum(1).sqrt())
    a, b = strengths
    similarity = (2 * a * b + 170) / (a * a + b * b + 170)
    return similarity.flatten(1).std(1, correction=0).view(-1, frames).mean(1)


def reconstruct(codec: Codec, clip: Clip) -> np.ndarray:
    """The frames uint8 (T, H, W, 3) of a clip after coding; T = 1 + 4 k and sides that the codec
    takes."""
    pixels = torch.from_numpy(np.ascontiguousarray(clip.frames)).permute(3, 0, 1, 2)[None].float()
    made = codec.decode(codec.encode(pixels / 127.5 - 1))[0]  # (3, T, H, W)
    return ((made + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 3, 0).numpy()


def measure(codec: Codec, clips: Sequence[Clip]) -> dict[str, Any]:
    """Scores of a codec on clips, after rounding to 8 bits as a viewer gets them.

    `psnr`, `ssim`, `gmsd` (perceptual; 0 is best) are means over clips; `psnr_first` is that of the
    first frame, `psnr_objects` of the pixels on things where the clips have an `ids` track,
    `psnr_worst` that of the worst clip, `poor` the share of clips under 28 dB, `per_clip` the PSNR
    of each.
    """
    if not clips:
        raise RequestError("there are no clips to measure (accepted: at least 1)")
    rows: dict[str, list[float]] = {"psnr": [], "psnr_first": [], "ssim": [], "gmsd": []}
    squares, things = 0.0, 0.0
    for clip in clips:
        coded = reconstruct(codec, clip)
        made, pixels = (
            torch.from_numpy(np.ascontiguousarray(frames)).permute(3, 0, 1, 2)[None].float() / 127.5
            - 1
            for frames in (coded, clip.frames)
        )
        rows["psnr"].append(float(psnr(made, pixels)))
        rows["psnr_first"].append(float(psnr(made[:, :, :1], pixels[:, :, :1])))
        rows["ssim"].append(float(ssim(made, pixels)))
        rows["gmsd"].append(float(gmsd(made, pixels)))
        if "ids" in clip.tracks:
            on = torch.from_numpy(clip.tracks["ids"] > 0)  # (T, H, W)
            squares += float(((made - pixels)[0].square() * on).sum())
            things += 3 * float(on.sum())
    scores: dict[str, Any] = {name: float(np.mean(values)) for name, values in rows.items()}
    scores["psnr_worst"] = float(np.min(rows["psnr"]))
    scores["poor"] = float(np.mean(np.array(rows["psnr"]) < POOR))
    if things:
        scores["psnr_objects"] = float(10 * np.log10(4 * things / max(squares, 4e-10)))
    scores["per_clip"] = rows["psnr"]
    return scores
