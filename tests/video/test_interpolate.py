from fractions import Fraction

import numpy as np
import pytest

from worldtube.video import interpolate


def sliding(num_frames: int, speed: int) -> np.ndarray:
    """A textured square that slides over a grey ground."""
    rng = np.random.default_rng(0)
    square = rng.integers(0, 255, (24, 24, 3)).astype(np.uint8)
    square = np.stack([square[i // 4 * 4] for i in range(24)])[:, [j // 4 * 4 for j in range(24)]]
    frames = np.full((num_frames, 64, 96, 3), 128, np.uint8)
    for k in range(num_frames):
        frames[k, 20:44, 8 + speed * k : 32 + speed * k] = square
    return frames


def test_whole_positions_are_the_frames_themselves():
    frames = sliding(6, 4)
    result = interpolate(frames, Fraction(1), Fraction(1), 5)
    assert np.array_equal(result, frames[1:])
    result = interpolate(frames, Fraction(0), Fraction(2, 5), 13)
    assert np.array_equal(result[::5], frames[::2])


def test_things_are_moved_instead_of_blended():
    true = sliding(13, 4)
    result = interpolate(true[::2], Fraction(0), Fraction(1, 2), 13)
    blended = (true[:-2:2].astype(np.float32) + true[2::2]) / 2
    moved = np.abs(result[1::2].astype(np.float32) - true[1::2]).mean()
    assert moved < 0.5 * np.abs(blended - true[1::2]).mean()


def test_parts_are_equal_to_the_whole():
    frames, step = sliding(10, 4), Fraction(2, 5)
    whole = interpolate(frames, step, step, 22)
    part = interpolate(frames[4:], 12 * step - 4, step, 11)
    assert np.array_equal(part, whole[11:])


@pytest.mark.parametrize("shape", [(1, 40, 40), (2, 40, 40), (3, 7, 9), (4, 33, 47)])
def test_few_frames_and_odd_sizes(shape):
    frames = np.random.default_rng(0).integers(0, 255, (*shape, 3)).astype(np.uint8)
    result = interpolate(frames, Fraction(1, 3), Fraction(1, 3), 12)
    assert result.shape == (12, *shape[1:], 3)
    assert np.array_equal(result[-1], frames[-1])
