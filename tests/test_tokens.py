"""Patches there and back, places in spacetime, packing."""

import pytest
import torch

from worldtube.tokens import Grid, Words, join, layout, pack, patchify, select, unpatchify


@pytest.mark.parametrize("shape", [(3, 1, 4, 4), (2, 3, 4, 8), (1, 2, 8, 2)])
def test_patchify_there_and_back(shape):
    latents = torch.randn(shape)
    grid = Grid(frames=shape[1], height=shape[2], width=shape[3], seconds_per_frame=0.1, stride=4)
    tokens = patchify(latents, 2)
    assert tokens.shape == (shape[1] * shape[2] * shape[3] // 4, shape[0] * 4)
    assert torch.equal(unpatchify(tokens, grid, 2), latents)


def test_the_first_latent_is_one_frame_and_the_others_a_stride():
    grid = Grid(frames=3, height=2, width=2, seconds_per_frame=0.5, stride=4, start=10)
    assert grid.num_frames == 9
    # frame 0; the middle of frames 1-4; the middle of frames 5-8
    assert grid.seconds().tolist() == [10, 10 + 0.5 * 2.5, 10 + 0.5 * 6.5]
    assert layout(grid, 2).kinds.tolist() == [1, 0, 0]


def test_positions_do_not_depend_on_resolution():
    small = layout(Grid(frames=1, height=4, width=4, seconds_per_frame=1, stride=4), 2)
    large = layout(Grid(frames=1, height=8, width=8, seconds_per_frame=1, stride=4), 2)
    assert small.positions[:, 1].unique().tolist() == [-0.25, 0.25]
    assert large.positions[:, 1].mean() == 0 and large.positions[:, 1].max() == 0.375
    wide = layout(Grid(frames=1, height=4, width=16, seconds_per_frame=1, stride=4), 2)
    assert wide.positions[:, 2].max() > 0.5 > wide.positions[:, 1].max()


def test_pack_separates_and_join_connects():
    one = layout(Grid(frames=2, height=2, width=2, seconds_per_frame=1, stride=4), 2)
    two = layout(Grid(frames=3, height=2, width=4, seconds_per_frame=1, stride=4), 2, causal=True)
    packed = pack([one, two, one])
    assert packed.bounds == (0, 2, 8, 10) and packed.lengths == (2, 6, 2)
    assert packed.causal == (False, True, False)
    assert packed.rows.tolist() == [0, 0, 1, 1, 1, 1, 1, 1, 2, 2]
    joined = join([one, two])
    assert joined.bounds == (0, 8) and joined.causal == (True,)
    assert torch.equal(joined.positions[2:], two.positions)
    assert joined.spans == (0, 2, 8) and packed.spans == packed.bounds
    assert joined.frames.tolist() == [0, 1, 2, 2, 3, 3, 4, 4]
    assert pack([joined, one]).spans == (0, 2, 8, 10) and pack([joined, one]).bounds == (0, 8, 10)


def test_taking_frames_keeps_their_places():
    whole = layout(Grid(frames=5, height=2, width=4, seconds_per_frame=1, stride=4), 2)
    some = select(whole, torch.isin(whole.frames, torch.tensor([0, 3])))
    assert some.bounds == (0, 4) and some.frames.tolist() == [0, 0, 3, 3]
    assert torch.equal(some.positions[2:], whole.positions[6:8])
    three = join([whole, whole, whole])
    assert three.spans == (0, 10, 20, 30)
    assert select(three, (three.frames < 2) | (three.frames > 12)).spans == (0, 4, 8)


def test_words():
    words = Words.of([torch.zeros(3, 4), torch.ones(1, 4)])
    assert words.bounds == (0, 3, 4) and words.states.shape == (4, 4)
