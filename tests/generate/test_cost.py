"""What is foretold of a request: passes and tokens as the engine then has them, memory as it is then asked for."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_engine import CASES, case, grey, model_for
from torch.profiler import ProfilerActivity, profile

from worldtube.codec import CodecConfig, VideoCodec
from worldtube.errors import RequestError
from worldtube.generate import budget, cost, engine
from worldtube.generate.layout import hops, plan, reach
from worldtube.generate.tasks import TASKS
from worldtube.models.gaussian import GaussianModel
from worldtube.models.local import SCRATCH, Card, LocalModel
from worldtube.transformer import Transformer, TransformerConfig
from worldtube.video import Clip, Size


def local(patch=2):
    codec = VideoCodec(CodecConfig(channels=16, encoder_widths=(32, 64), decoder_widths=(32, 64)))
    sizes = TransformerConfig(
        token_width=16 * patch**2, width=128, depth=2, head_width=32, hidden=352, text_depth=1
    )
    return LocalModel(Card(patch=patch), codec, Transformer(sizes), torch.bfloat16)


class Counted:
    """A model that counts what it computes."""

    def __init__(self, model):
        self.model, self.tokens, self.decoded = model, [], 0

    def __getattr__(self, name):
        return getattr(self.model, name)

    def velocity(self, x, *rest):
        self.tokens.append(len(x))
        return self.model.velocity(x, *rest)

    def remember(self, x, *rest):
        self.tokens.append(len(x))
        return self.model.remember(x, *rest)

    def decoder(self, grid):
        decode = self.model.decoder(grid)

        def frames(tokens):
            made = decode(tokens)
            self.decoded += len(made)
            return made

        return frames


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("name", CASES)
def test_passes_are_those_of_the_run(name, guidance):
    request = case(name, "heun", 0)
    lag = 3 if request.lag == request.steps else request.lag
    request = replace(request, guidance=guidance, steps=3, lag=lag)
    counted = Counted(model_for(name))
    clip = engine.generate(counted, [request])[0]
    told = cost.predict(model_for(name), request)
    assert told.passes == len(counted.tokens) and told.longest == max(counted.tokens)
    assert told.num_frames == clip.num_frames and told.size == clip.size
    assert told.fps == clip.fps and told.tokens == len(plan(counted, request).start)
    assert {"prepare", "denoise", "decode"} <= told.stages.keys()
    assert all((seconds >= 0).all() for seconds in told.stages.values())
    assert told.peak > budget.most(told.memory) > 0


def test_a_streamed_clip_is_rehearsed_as_it_is_made(monkeypatch):
    model, request = GaussianModel(window=4), case("hops", "euler", 0)
    shown = []
    monkeypatch.setattr(cost, "timed", lambda run, times: np.array([times, run() is not None]))
    for streamed in (False, True):
        told = cost.predict(model, request, streamed=streamed, format="mp4")
        shown.append(told.stages["decode"][0])
        assert told.memory["held"] > 0
    assert shown[0] == 1 < shown[1], "hop by hop"
    assert told.memory["held"] < budget.need(model, [request])["held"]


@pytest.mark.parametrize("name", CASES)
def test_no_hop_sees_more_than_is_foretold(name):
    model, request = model_for(name), case(name, "euler", 0)
    one = plan(model, request)
    stepwise = request.causal and request.lag == request.steps
    seen = [len(one.layout.frames[hop.seen].unique()) for hop in hops(one, 4, stepwise=stepwise)]
    count = int(one.layout.frames.max()) + 1
    assert max(seen) <= reach(count, 4, one.cuts)
    if not (one.start == 0).any() and not request.causal:
        assert max(seen) == reach(count, 4, one.cuts)


def test_many_tokens_are_timed_in_part(monkeypatch):
    """Exact where time is a * tokens + b * tokens ** 2; two rows of two pieces stay what they are."""
    model = local(patch=1)
    one = model.layout(model.grid(Size(64, 64), 13, 12.0))
    layout = cost.engine.pack([one, one])
    monkeypatch.setattr(cost, "MANY_TOKENS", 64)
    asked = []

    def run(keep, where):
        assert where.bounds[-1] == int(keep.sum()) and len(where.bounds) == 3
        asked.append(where.bounds[-1])
        return 2.0 * where.bounds[-1] + 0.5 * where.bounds[-1] ** 2

    monkeypatch.setattr(cost, "timed", lambda work, times: np.full(2, times * work()))
    count = layout.bounds[-1]
    assert cost._passes(run, layout, 3) == pytest.approx(3 * (2.0 * count + 0.5 * count**2))
    assert max(asked) <= 64 < count


def test_the_first_time_counts_once(monkeypatch):
    ticks = iter([0, 9, 10, 12, 20, 21, 30, 32])  # the first takes 9, then 2, 1 and 2
    monkeypatch.setattr(cost, "clocks", lambda: np.full(2, float(next(ticks))))
    assert cost.timed(lambda: None, 11) == pytest.approx(9 + 10 * 2)
    ticks = iter([0, 9])
    assert cost.timed(lambda: None, 1) == pytest.approx(9)


def asked_for(run):
    """The most bytes that tensors held at once while `run` ran."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        run()
    events = [e for e in profiled.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = np.cumsum([e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())])
    return held.max()


@pytest.mark.parametrize("patch", [1, 2])
def test_the_footprint_is_what_is_asked_for(patch):
    model = local(patch)
    reading, told = model.read(model.embed(["a red ball"])), model.footprint()

    def network(side):
        layout = model.layout(model.grid(Size(patch * side, patch * side), 37, 12.0))
        x = torch.randn(layout.bounds[-1], model.token_width)
        sigma = torch.where(layout.frames < 3, 0.0, 0.5)
        return len(x), asked_for(lambda: model.velocity(x, sigma, layout, reading))

    (few, short), (many, long) = network(128), network(192)  # in both, tiles of scores are full
    assert told.token * (many - few) == pytest.approx(long - short, rel=0.25)
    grid = model.grid(Size(128, 128), 37, 12.0)
    x = torch.randn(model.layout(grid).bounds[-1], model.token_width)
    decode, pixels = model.decoder(grid), 4 * grid.frames * 128 * 128
    found = SCRATCH * asked_for(lambda: decode(x))
    assert told.decoded * pixels == pytest.approx(found, rel=0.25)
    clip = Clip(frames=np.zeros((37, 128, 128, 3), np.uint8), fps=12.0)
    found = SCRATCH * asked_for(lambda: model.encode(clip))
    assert told.encoded * pixels == pytest.approx(found, rel=0.25)


REQUESTS = {
    "short": TASKS["generate"]("a", seconds=2, size=Size(256, 256), steps=1),
    "long": TASKS["generate"]("a", seconds=30, size=Size(128, 64), steps=1),
    "given": TASKS["extend"](grey([9] * 24, Size(64, 64)), "a", seconds=2, steps=1, fps=4.0),
}


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("make", [GaussianModel, local])
def test_what_does_not_fit_is_refused_with_what_does(name, make, monkeypatch):
    model, request = make(), REQUESTS[name]
    if make is GaussianModel:
        request = replace(request, size=Size(32, 16) if name == "long" else Size(32, 32))
    wanted = budget.CAUTION * budget.most(budget.need(model, [request])) + budget.HEAP
    room = budget.HEAP + 0.6 * (wanted - budget.HEAP)
    monkeypatch.setattr(budget, "available", lambda device: room)
    monkeypatch.setattr(type(model), "encode", None)  # nothing may be computed
    monkeypatch.setattr(type(model), "embed", None)
    with pytest.raises(RequestError, match=r"GB of memory and .* GB is free") as refused:
        engine.generate(model, [request])
    assert f"{wanted / 1e9:.2g} GB" in str(refused.value)
    with pytest.raises(RequestError, match="GB is free"):
        cost.predict(model, request)
    smaller = re.search(r"\((\d+)x(\d+)", str(refused.value))
    budget.check(model, [replace(request, size=Size(int(smaller[1]), int(smaller[2])))])
    shorter = re.search(r"([\d.]+) s would fit", str(refused.value))
    assert bool(shorter) == (name != "given")
    if shorter:
        assert 0 < float(shorter[1]) < request.seconds
        budget.check(model, [replace(request, seconds=float(shorter[1]))])
    monkeypatch.setattr(budget, "available", lambda device: 1.0)
    with pytest.raises(RequestError, match="nothing smaller"):
        list(engine.stream(model, request))


def test_a_batch_needs_more_than_one(monkeypatch):
    model, request = local(), REQUESTS["short"]
    alone = budget.CAUTION * budget.most(budget.need(model, [request])) + budget.HEAP
    monkeypatch.setattr(budget, "available", lambda device: alone)
    budget.check(model, [request])
    with pytest.raises(RequestError, match="3 clips of 256x256"):
        engine.generate(model, [request] * 3, batch=3)


def test_memory_that_is_free_is_told():
    assert 1e7 < budget.available() < 1e14
    now, peak = cost.resident()
    assert 5e7 < now <= 1.01 * peak


def test_frames_are_decoded_a_few_at_a_time(monkeypatch):
    model, request = local(), TASKS["generate"]("a", seconds=2, steps=1)
    whole = engine.generate(model, [request])[0].frames
    monkeypatch.setattr(engine, "PIXELS_AT_ONCE", 2 * 4 * 64 * 64)
    shapes = []
    decoder = model.decoder
    monkeypatch.setattr(
        model,
        "decoder",
        lambda grid: (lambda decode: lambda x: shapes.append(len(x)) or decode(x))(decoder(grid)),
    )
    parts = engine.generate(model, [request])[0].frames
    assert shapes == [2 * 16, 2 * 16, 2 * 16, 16]
    assert np.abs(whole.astype(int) - parts).max() <= 1
