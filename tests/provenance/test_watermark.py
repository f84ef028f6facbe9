"""The mark: found where it is, after what happens to clips; not found where it is not; p-values that are true."""

from dataclasses import replace
from fractions import Fraction
from math import comb

import numpy as np
import pytest
from scenes import coded, scene

from worldtube.provenance.watermark import CLAIM, RUN, Mark, Search, _p_value
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


def test_p_value_is_the_binomial_tail():
    for agree, of in ((9, 12), (600, 1083), (900, 1083), (0, 5)):
        tail = sum(Fraction(comb(of, k), 2**of) for k in range(agree, of + 1)) * 2**24
        assert _p_value(agree, of) == pytest.approx(float(min(tail, 1)), rel=1e-12)


def test_signs_of_unmarked_clips_agree_as_often_as_chance():
    """For fixed frames the number of agreeing signs is binomial over secrets: mean and spread of one word say so."""
    search = Search()
    search.add(scene().frames[:RUN])
    signs = np.where(search._votes < 0, -1, 1)
    from worldtube.provenance.watermark import _words

    sums = np.concatenate([_words(b"secret %d" % k)[:64] @ signs for k in range(40)])
    count = len(signs)
    assert abs(sums.mean()) < 4 * (count / len(sums)) ** 0.5
    assert sums.std() == pytest.approx(count**0.5, rel=0.08)
    results = [search.result(b"secret %d" % k) for k in range(200)]
    assert min(one.p_value for one in results) > CLAIM
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


@pytest.mark.parametrize("side", [64, 128])
def test_hardly_seen(side: int):
    clip = scene(side)
    marked, _ = mark(clip)
    error = np.mean((marked.frames.astype(float) - clip.frames) ** 2)
    assert 10 * np.log10(255**2 / error) > 36
    assert np.abs(marked.frames.astype(int) - clip.frames).max() < 24


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
