"""PSNR, SSIM and GMSD against what is known of them, and the whole measurement of a codec."""

import numpy as np
import pytest
import torch

from worldtube.codec import CodecConfig, VideoCodec
from worldtube.errors import RequestError
from worldtube.evaluate.reconstruction import gmsd, measure, psnr, reconstruct, ssim
from worldtube.video import Clip


def scene(frames: int = 5, side: int = 32) -> torch.Tensor:
    """Two pictures with edges: (2, 3, T, H, W) in [-1, 1]."""
    y, x = np.mgrid[:side, :side] / side
    disc = ((x - 0.5) ** 2 + (y - 0.4) ** 2 < 0.06) * 1.2 - 0.7 + 0.3 * y
    checks = ((np.floor(x * 5) + np.floor(y * 5)) % 2) * 0.8 - 0.4
    pictures = np.stack([disc, checks])[:, None, None].repeat(3, 1).repeat(frames, 2)
    return torch.from_numpy(pictures).float()


def blurred(pixels: torch.Tensor) -> torch.Tensor:
    flat = pixels.transpose(1, 2).flatten(0, 1)
    flat = torch.nn.functional.avg_pool2d(flat, 3, stride=1, padding=1, count_include_pad=False)
    return flat.unflatten(0, (len(pixels), -1)).transpose(1, 2)


def test_equal_clips_have_the_best_scores() -> None:
    x = scene()
    assert psnr(x, x).tolist() == pytest.approx([100, 100])
    assert ssim(x, x).tolist() == pytest.approx([1, 1])
    assert gmsd(x, x).tolist() == pytest.approx([0, 0], abs=1e-6)


def test_psnr_of_a_known_error() -> None:
    x = scene()
    assert psnr(x + 0.02, x).tolist() == pytest.approx([40, 40], abs=1e-3)  # 1 % of the range


def test_ssim_of_two_flat_pictures() -> None:
    """Without structure only the luminance term is left: (2 ab + c1) / (a^2 + b^2 + c1)."""
    a, b = 0.4, 0.6
    pictures = (torch.full((1, 3, 1, 16, 16), 2 * value - 1) for value in (a, b))
    expected = (2 * a * b + 1e-4) / (a * a + b * b + 1e-4)
    assert ssim(*pictures).item() == pytest.approx(expected, abs=1e-3)


def test_blur_costs_more_than_brightness() -> None:
    x = scene()
    soft, bright = blurred(x), x + 0.1
    assert (psnr(bright, x) < 27).all()
    assert (ssim(soft, x) < 0.97).all()
    assert (ssim(bright, x) > ssim(soft, x)).all()
    assert (gmsd(soft, x) > 0.02).all()
    assert (gmsd(bright, x) < 1e-5).all()
    assert (gmsd(blurred(soft), x) > gmsd(soft, x)).all()


def test_measure_counts_objects_and_poor_clips() -> None:
    codec = VideoCodec(
        CodecConfig(
            channels=4,
            encoder_widths=(8, 8),
            encoder_blocks=(0, 0),
            decoder_widths=(8, 8),
            decoder_blocks=(0, 0),
        )
    )
    ground = np.full((5, 16, 16, 3), 128, np.uint8)
    codec.decoder.linear.bias.data.fill_(128 / 127.5 - 1)
    codec.decoder.linear.weight.data.zero_()  # whatever it sees, it says grey
    marked = ground.copy()
    marked[:, :4, :4] = 255
    ids = np.zeros((5, 16, 16), np.uint8)
    ids[:, :4, :4] = 1
    clips = [Clip(frames=frames, fps=12, tracks={"ids": ids}) for frames in (ground, marked)]
    assert np.array_equal(reconstruct(codec, clips[1]), ground)
    scores = measure(codec, clips)
    error = (127 / 127.5) ** 2 / 16
    assert scores["per_clip"] == pytest.approx([100, 10 * np.log10(4 / error)], abs=1e-3)
    assert scores["psnr"] == pytest.approx(np.mean(scores["per_clip"]))
    assert scores["psnr_worst"] == min(scores["per_clip"])
    assert scores["poor"] == 0.5
    assert scores["psnr_objects"] == pytest.approx(10 * np.log10(4 / (error * 16 / 2)), abs=1e-3)
    with pytest.raises(RequestError, match="no clips"):
        measure(codec, [])
