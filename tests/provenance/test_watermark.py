"""The mark: found where it is, after what happens to clips; not found where it is not; p-values that are true."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from scenes import coded, scene

from worldtube.provenance.watermark import CLAIM, RUN, Mark, Search, _p_value, _words
from worldtube.video import Clip, Size, fit

SECRET = b"a secret of 32 bytes for testing"


def mark(clip: Clip, name: bytes = b"one", secret: bytes = SECRET) -> tuple[Clip, str]:
    laid = Mark(secret, name)
    return replace(clip, frames=np.concatenate(list(laid([clip.frames])))), laid.payload


def look(clip: Clip, secret: bytes = SECRET):
    search = Search()
    for first in range(0, clip.num_frames, RUN):
        search.add(clip.frames[first : first + RUN])
    return search.result(secret)


def exact_tail(agree: int, weights: list[int]) -> Fraction:
    """P(sum of the weights of fair coins >= agree), in whole numbers."""
    ways = [1] + [0] * sum(weights)
    for weight in weights:
        ways = [n + (ways[k - weight] if k >= weight else 0) for k, n in enumerate(ways)]
    return Fraction(sum(ways[agree:]), 2 ** len(weights))


def test_p_value_is_the_exact_tail():
    rng = np.random.default_rng(0)
    for count, share in ((5, 0.0), (40, 0.9), (300, 0.7), (300, 0.95), (300, 1.0)):
        weights = rng.integers(0, 4, count)
        agree = int(share * weights.sum())
        exact = exact_tail(agree, [int(weight) for weight in weights if weight])
        expected = float(min(exact * 2**24 * 40, Fraction(1)))
        assert _p_value(agree, weights, 40) == pytest.approx(expected, rel=1e-10, abs=0)
    assert _p_value(0, np.zeros(3, int), 40) == 1


def test_votes_of_unmarked_clips_agree_as_often_as_chance():
    """For fixed frames the weighted sum is that of fair coins over secrets: mean and spread of one word say so."""
    search = Search()
    search.add(scene().frames[:RUN])
    signs = np.sign(search._votes[0, 0, 0]).ravel()[::3]
    weights = np.arange(len(signs)) % 4
    sums = np.concatenate([_words(b"secret %d" % k)[0] @ (weights * signs) for k in range(40)])
    spread = float(np.sqrt((weights[signs != 0] ** 2).sum()))
    assert abs(sums.mean()) < 4 * spread / len(sums) ** 0.5
    assert sums.std() == pytest.approx(spread, rel=0.08)
    results = [search.result(b"secret %d" % k) for k in range(200)]
    assert min(found.p_value for found in results) > CLAIM
    _words.cache_clear()


@pytest.mark.parametrize(("side", "crf"), [(64, 16), (64, 28), (128, 28), (256, 28)])
def test_found_after_encoding(side: int, crf: int):
    clip, payload = mark(scene(side))
    found = look(coded(clip, crf))
    assert found.found and found.payload == payload
    assert not look(coded(scene(side), crf)).found
    assert not look(clip, b"the secret of another installation").found


def test_found_after_halving_and_encoding():
    clip, payload = mark(scene(256))
    found = look(coded(fit(clip, Size(128, 128)), 28))
    assert found.found and found.payload == payload


def sky(side: int, num_frames: int = 25) -> Clip:
    """A smooth gradient from blue to white."""
    down = np.linspace(0, 1, side)[:, None, None]
    picture = np.repeat((1 - down) * [90, 140, 210] + down * [190, 215, 240], side, axis=1)
    return Clip(frames=np.repeat(picture.astype(np.uint8)[None], num_frames, 0), fps=12)


@pytest.mark.parametrize("side", [64, 128, 256])
def test_not_seen(side: int):
    clip = scene(side)
    marked, _ = mark(clip)
    error = np.mean((marked.frames.astype(float) - clip.frames) ** 2)
    assert 10 * np.log10(255**2 / error) >= 42


@pytest.mark.parametrize("side", [64, 128])
def test_no_grain_in_skies(side: int):
    """A sky above texture stays as it is; a picture that is all sky changes by one level, and holds the mark."""
    frames = sky(side).frames.copy()
    rough = np.clip(1.6 * scene(side).frames - 60, 0, 255).astype(np.uint8)
    frames[:, side // 2 :] = rough[:, side // 2 :]
    marked, payload = mark(Clip(frames=frames, fps=12))
    above = slice(0, side // 2 - side // 16)
    assert (marked.frames[:, above] == frames[:, above]).all()
    found = look(coded(marked, 16))
    assert found.found and found.payload == payload
    clip = sky(side)
    marked, payload = mark(clip)
    change = marked.frames.astype(int) - clip.frames
    assert np.abs(change).max() <= 1
    found = look(coded(marked, 16))
    assert found.found and found.payload == payload


@pytest.mark.parametrize("part", [slice(0, 12), slice(12, 25), slice(0, 25, 2), slice(5, None)])
def test_found_in_a_part_of_the_frames(part: slice):
    marked, payload = mark(scene())
    found = look(coded(replace(marked, frames=marked.frames[part]), 23))
    assert found.found and found.payload == payload


def test_found_after_more_contrast():
    marked, payload = mark(scene())
    brighter = np.clip(marked.frames * 1.1 + 12, 0, 255).astype(np.uint8)
    found = look(coded(replace(marked, frames=brighter), 23))
    assert found.found and found.payload == payload


def test_same_frames_same_pixels_however_they_come():
    clip = scene(64, 60)
    whole = np.concatenate(list(Mark(SECRET, b"x")([clip.frames])))
    cuts = np.split(clip.frames, [1, 5, 29, 30, 58])
    assert (whole == np.concatenate(list(Mark(SECRET, b"x")(cuts)))).all()
    assert (whole != np.concatenate(list(Mark(SECRET, b"y")([clip.frames])))).any()


def test_the_pattern_stays_while_it_works_and_follows_a_cut():
    still = np.repeat(scene().frames[:1], 3 * RUN, axis=0)
    added = np.concatenate(list(Mark(SECRET, b"x")([still]))).astype(int) - still
    assert (added == added[0]).all()
    two = np.concatenate(
        [scene(seed=1, num_frames=RUN).frames, scene(seed=2, num_frames=RUN).frames]
    )
    marked, payload = mark(Clip(frames=two, fps=12))
    for half in np.split(marked.frames, 2):
        found = look(Clip(frames=half, fps=12))
        assert found.found and found.payload == payload


def test_a_mark_over_a_mark_names_the_later_generation():
    once, first = mark(scene(), b"one")
    twice, second = mark(coded(once, 16), b"two")
    found = look(coded(twice, 28))
    assert found.found and found.payload == second != first


def test_an_interrupt_lets_out_what_came():
    def blocks():
        yield scene().frames[:7]
        raise KeyboardInterrupt

    out = []
    with pytest.raises(KeyboardInterrupt):
        for run in Mark(SECRET, b"x")(blocks()):
            out.append(run)
    assert sum(map(len, out)) == 7


@pytest.mark.parametrize("frames", [np.zeros((2, 1, 1, 3)), np.full((3, 16, 16, 3), 255)])
def test_tiny_or_flat_frames_are_left_whole(frames):
    clip = Clip(frames=frames.astype(np.uint8), fps=12)
    marked, _ = mark(clip)
    assert marked.frames.shape == clip.frames.shape and not look(marked).found
