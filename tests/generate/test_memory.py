"""Law 4: a causal clip made from memory equals one that is computed anew at every step."""

import itertools

import pytest
import torch

from worldtube.codec import CodecConfig, VideoCodec
from worldtube.diffusion import schedule
from worldtube.diffusion.samplers import SAMPLERS
from worldtube.generate import engine
from worldtube.generate.layout import plan
from worldtube.generate.request import Given, Request, Shot
from worldtube.models.local import Card, LocalModel
from worldtube.tokens import Layout, behind
from worldtube.transformer import Transformer, TransformerConfig
from worldtube.video import Clip

STEPS = 3
SHOTS = tuple(Shot(prompt=text, seconds=1) for text in ("a cup", "a box"))
EACH = 4
"""Tokens in a latent frame."""


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    codec = VideoCodec(CodecConfig(channels=4, encoder_widths=(8, 8), decoder_widths=(8, 8)))
    sizes = TransformerConfig(
        token_width=16, width=32, depth=2, head_width=16, hidden=64, text_depth=1
    )
    network = Transformer(sizes)
    with torch.no_grad():  # open what starts closed
        for p in network.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return LocalModel(Card(width=32, height=32), codec, network)


class Recomputing:
    """The same model, but what it remembers of a token is the token: every step computes the row so far."""

    def __init__(self, model):
        self.model = model

    def __getattr__(self, name):
        return getattr(self.model, name)

    def remember(self, x, layout, reading, past=None):
        return x

    def recall(self, kept, layout):
        return kept, layout

    def velocity(self, x, sigma, layout, reading, past=None):
        if past is None:
            return self.model.velocity(x, sigma, layout, reading)
        kept, before = past
        lengths = (before.lengths, layout.lengths)
        sums = (a + b for a, b in zip(*lengths, strict=True))
        row = Layout(
            positions=behind(before.positions, layout.positions, lengths),
            frames=behind(before.frames, layout.frames, lengths),
            kinds=behind(before.kinds, layout.kinds, lengths),
            bounds=tuple(itertools.accumulate(sums, initial=0)),
            causal=layout.causal,
        )
        own = behind(torch.zeros(len(kept)), torch.ones(len(x)), lengths).bool()
        sigma = behind(torch.zeros(len(kept)), sigma, lengths)
        return self.model.velocity(behind(kept, x, lengths), sigma, row, reading)[own]


def known(frames):
    """A clip's tokens, without a codec that would have to make them."""
    pixels = torch.zeros(frames, 32, 32, 3, dtype=torch.uint8).numpy()
    generator = torch.Generator().manual_seed(9)
    tokens = torch.randn((1 + (frames - 1) // 4) * EACH, 16, generator=generator)
    return Given(clip=Clip(frames=pixels, fps=12), tokens=tokens)


def ask(seed=0, frames=25, *, lag=STEPS, given=(), **options):
    return Request(
        **{"prompt": "a red ball", "num_frames": frames, "seed": seed, "steps": STEPS}
        | {"causal": True, "lag": lag, "given": given, "guidance": 3.0}
        | options
    )


@pytest.mark.parametrize("sampler", list(SAMPLERS))
@pytest.mark.parametrize("lag", [STEPS, 1, 0])
def test_memory_equals_computing_anew(model, sampler, lag):
    """Clips of several lengths side by side, of which some begin with what is given."""
    requests = [
        ask(lag=lag, sampler=sampler),
        ask(1, 21, lag=lag, sampler=sampler, given=(known(1),), prompt="two blue boxes fall"),
        ask(2, 29, lag=lag, sampler=sampler, given=(known(9),), negative_prompt="a cup"),
    ]
    _, made = engine.sample(model, requests)
    _, again = engine.sample(Recomputing(model), requests)
    for one, two, request in zip(made, again, requests, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)
        assert one.isfinite().all() and one.std() > 0.3
        for given in request.given:
            assert torch.equal(one[: len(given.tokens)], given.tokens)


@pytest.mark.parametrize(
    "change",
    [{}, {"given": (known(9),)}, {"prompt": "", "shots": SHOTS}],
    ids=["generate", "extend", "storyboard"],
)
def test_memory_equals_the_whole_row_at_every_step(model, change):
    """The staircase as it is defined: all frames in one causal row, of which one moves at a time."""
    request = ask(guidance=1.0, sampler="euler", shift=3.0, **change)
    _, made = engine.sample(model, [request])
    one = plan(model, request)
    path = schedule.uniform(STEPS, shift=3.0)
    levels = schedule.staircase(path, one.start, one.layout.frames, STEPS)
    reading = model.read(model.embed([piece.prompt for piece in one.pieces]))
    whole = SAMPLERS["euler"](
        lambda x, sigma: model.velocity(x, sigma, one.layout, reading),
        engine._first_value(one, torch.Generator().manual_seed(request.seed)),
        levels,
        torch.zeros_like,
    )
    torch.testing.assert_close(made[0], whole, rtol=1e-4, atol=1e-4)


def spied(model, monkeypatch):
    """(tokens in the row, remembered tokens) of every evaluation."""
    seen = []

    def velocity(x, sigma, layout, reading, past=None):
        seen.append((len(x), sum(past.lengths) if past else 0))
        return LocalModel.velocity(model, x, sigma, layout, reading, past)

    monkeypatch.setattr(model, "velocity", velocity, raising=False)
    return seen


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_a_step_computes_one_frame_and_shows_it(model, monkeypatch, guidance):
    """With guidance two in one pass, with and without the words."""
    seen, told = spied(model, monkeypatch), []
    request = ask(guidance=guidance, sampler="euler", given=(known(9),))
    blocks = engine.stream(model, request, progress=lambda *now: told.append(now))
    assert [len(block) for block in blocks] == [9 + 4, 4, 4, 4]
    sides = EACH if guidance == 1 else 2 * EACH
    assert seen == [(sides, sides * past) for past in (3, 4, 5, 6) for _ in range(STEPS)]
    assert told == [(i, 4 * STEPS) for i in range(1, 4 * STEPS + 1)]


@pytest.mark.parametrize("lag", [STEPS, 0])
def test_the_oldest_frames_leave_the_window(model, monkeypatch, lag):
    """All but the first; what is kept of the others was made when these could still be seen."""
    monkeypatch.setattr(model, "window", 4)
    seen = spied(model, monkeypatch)
    _, (made,) = engine.sample(model, [ask(frames=37, guidance=1.0, sampler="euler", lag=lag)])
    assert made.isfinite().all()
    assert max(row + past for row, past in seen) == 4 * EACH
    shapes = [(row // EACH, past // EACH) for row, past in seen[::STEPS]]
    if lag:
        assert shapes == [(1, 0), (1, 1), (1, 2), *[(1, 3)] * 7]
    else:
        assert shapes == [(4, 0), *[(2, 2)] * 3]
