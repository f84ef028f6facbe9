"""Levels: where they start, where they end, and that known tokens stay known."""

import pytest
import torch

from worldtube.diffusion import schedule


@pytest.mark.parametrize("shift", [0.5, 1.0, 3.0])
def test_uniform_falls_from_one_to_zero(shift):
    path = schedule.uniform(8, shift=shift)
    assert path[0] == 1 and path[-1] == 0 and len(path) == 9
    assert (path.diff() < 0).all()
    assert (path[1:-1] > schedule.uniform(8)[1:-1]).all() == (shift > 1)


def test_from_start_keeps_known_tokens():
    levels = schedule.from_start(schedule.uniform(4), torch.tensor([0.0, 0.6, 1.0]))
    assert (levels[:, 0] == 0).all()
    assert levels[0].tolist() == pytest.approx([0, 0.6, 1.0]) and (levels[-1] == 0).all()


def test_staircase_starts_each_frame_later():
    path, frame = schedule.uniform(4), torch.tensor([0, 0, 1, 2])
    levels = schedule.staircase(path, torch.ones(4), frame, lag=2)
    assert levels.shape == (4 + 2 * 2 + 1, 4)
    assert torch.equal(levels[:5, 0], path) and (levels[5:, 0] == 0).all()
    assert (levels[:5, 3] == 1).all() and torch.equal(levels[4:, 3], path)
    assert torch.equal(
        schedule.staircase(path, torch.ones(4), frame, lag=0),
        schedule.from_start(path, torch.ones(4)),
    )


def test_shift_grows_with_the_root_of_the_tokens():
    assert schedule.shift_for(112, 112) == 3.0
    assert schedule.shift_for(448, 112) == 6.0 and schedule.shift_for(28, 112) == 1.5
    assert schedule.shift_for(448, 112, native_shift=1.0) == 2.0
    twice = schedule.uniform(8, shift=schedule.shift_for(448, 112))
    native = schedule.uniform(8, shift=3.0)
    # A shift on top of a shift is their product: at each step the ratio of data to noise is halved.
    torch.testing.assert_close(
        (1 - native[1:-1]) / native[1:-1], 2 * (1 - twice[1:-1]) / twice[1:-1]
    )
