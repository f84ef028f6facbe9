"""What a reconstruction is judged by while training. Owns pure functions of pixels; knows no
network.

Pixels are (B, 3, T, H, W) in [-1, 1]; weights (B, 1, T, H, W) with mean one say where errors
matter.
"""

import torch
import torch.nn.functional as F


def object_weights(ids: torch.Tensor, gain: float) -> torch.Tensor:
    """Id masks (B, T, H, W), 0 for the ground -> weights: 1 + `gain` on and next to an object.

    A rendered scene is mostly still ground that any codec gets right; what is looked at are the few
    moving things.
    """
    near = F.max_pool2d((ids > 0).float(), 3, stride=1, padding=1)  # one pixel of edge and shadow
    weights = 1 + gain * near
    return (weights / weights.mean())[:, None]


def change_weights(pixels: torch.Tensor, gain: float) -> torch.Tensor:
    """The same where no masks are known: 1 + `gain` where a pixel differs from its mean over time."""
    change = (pixels - pixels.mean(2, keepdim=True)).abs().amax(1)  # (B, T, H, W)
    return object_weights(change > 0.1, gain)


def charbonnier(error: torch.Tensor, width: float = 0.01) -> torch.Tensor:
    """A smooth absolute value: quadratic below `width`, linear above."""
    return (error.square() + width**2).sqrt() - width


def edges(pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Differences between neighbours along y and along x."""
    return pixels.diff(dim=3), pixels.diff(dim=4)


def reconstruction_loss(
    made: torch.Tensor,
    pixels: torch.Tensor,
    weights: torch.Tensor,
    *,
    square: float,
    edge: float,
    temporal: float,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The training loss and its parts.

    Weighted Charbonnier, plus `square` times the weighted square error (what PSNR counts), plus
    `edge` times the error of the spatial differences (sharpness: a blurred edge and a shifted edge
    cost alike per pixel, but not here), plus `temporal` times the error of the differences over
    time (flicker: errors that stay put cost nothing here).
    """
    error = made - pixels
    parts = {
        "absolute": (weights * charbonnier(error)).mean(),
        "square": (weights * error.square()).mean(),
    }
    loss = parts["absolute"] + square * parts["square"]
    if edge:
        down, across = edges(error)
        parts["edge"] = charbonnier(down).mean() + charbonnier(across).mean()
        loss = loss + edge * parts["edge"]
    if temporal and pixels.shape[2] > 1:
        parts["temporal"] = charbonnier(error.diff(dim=2)).mean()
        loss = loss + temporal * parts["temporal"]
    return loss, parts


def variance_bound(latents: torch.Tensor) -> torch.Tensor:
    """Square of what the variance of latents (B, C, t, h, w), averaged over channels, exceeds one
    by."""
    return (
        F.relu(latents.var(dim=(0, 2, 3, 4)).mean() - 1).square()
        + latents.mean((0, 2, 3, 4)).square().mean()
    )
