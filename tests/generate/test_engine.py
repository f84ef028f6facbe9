"""Law 3: the engine is exact on the Gaussian model, for every task and sampler; law 6: seeds and neighbours."""

import re

import numpy as np
import pytest
import torch

from worldtube.codec import CodecConfig, VideoCodec
from worldtube.diffusion import schedule
from worldtube.diffusion.samplers import SAMPLERS
from worldtube.errors import RequestError
from worldtube.generate import engine
from worldtube.generate.request import Given, Request
from worldtube.generate.tasks import TASKS, possible
from worldtube.models.gaussian import GaussianModel
from worldtube.models.local import Card, LocalModel
from worldtube.transformer import Transformer, TransformerConfig
from worldtube.video import Clip, Size

PIXEL = Size(1, 1)
MODEL = GaussianModel()
STEPS = {"euler": 256, "heun": 32, "adams": 32, "dpm": 64, "sde": 96}


def grey(levels, size=PIXEL):
    """A clip whose frames are flat greys."""
    frames = np.array(levels, np.uint8)[:, None, None, None]
    return Clip(
        frames=np.broadcast_to(frames, (len(levels), size.height, size.width, 3)).copy(), fps=4
    )


def case(name, sampler, seed):
    """A small request for each task; a new task must be given one here, or the test below fails."""
    common = {"seed": seed, "steps": STEPS[sampler], "sampler": sampler, "guidance": 1.0}
    two = Size(2, 2)
    shots = ("four", "seven")
    cases = {
        "generate": lambda: TASKS["generate"]("four", seconds=1.25, **common),
        "image": lambda: TASKS["image"]("four", size=two, **common),
        "animate": lambda: TASKS["animate"](grey([160]), "four", seconds=1.25, **common),
        "extend": lambda: TASKS["extend"](grey([160, 150]), "four", seconds=0.75, **common),
        "backward": lambda: TASKS["extend"](
            grey([160, 150]), "four", seconds=0.75, backward=True, **common
        ),
        "loop": lambda: TASKS["loop"](grey([160, 110]), "four", seconds=0.75, **common),
        "connect": lambda: TASKS["connect"](
            grey([100]), grey([170, 160]), "four", seconds=0.5, **common
        ),
        "edit": lambda: TASKS["edit"](grey([160, 150]), "four", strength=0.6, **common),
        "remix": lambda: TASKS["remix"](grey([160, 150]), "four", **common),
        "paint": lambda: TASKS["paint"](
            grey([160, 150], two), "four", rectangle=(0, 1, 2, 1), **common
        ),
        "outpaint": lambda: TASKS["paint"](
            grey([160, 150], two), "four", rectangle=(0, 1, 1, 1), outside=True, **common
        ),
        "storyboard": lambda: TASKS["storyboard"](*shots, seconds=(0.75, 0.5), **common),
        # Combinations, and any known piece anywhere.
        "next shot": lambda: Request(
            prompt="", shots=TASKS["storyboard"](*shots, seconds=[0.5]).shots,
            given=(Given(clip=grey([160, 150])),), **common,
        ),
        "middle": lambda: Request(
            prompt="four", seconds=1.25, given=(Given(clip=grey([100, 110]), at=2),), **common
        ),
        "ends": lambda: Request(
            prompt="four",
            seconds=1.25,
            given=(Given(clip=grey([100])), Given(clip=grey([170]), at=-1)),
            **common,
        ),
        "staircase": lambda: Request(prompt="four", seconds=1.25, lag=2, **common),
        "rollout": lambda: Request(
            prompt="four",
            seconds=1.25,
            lag=STEPS[sampler],
            given=(Given(clip=grey([160])),),
            **common,
        ),
        "causal": lambda: TASKS["animate"](
            grey([160]), "four", seconds=1.25, causal=True, lag=STEPS[sampler], **common
        ),
        "causal hops": lambda: TASKS["storyboard"](
            *shots, seconds=(1.25,), causal=True, lag=2, **common
        ),
        "hops": lambda: TASKS["generate"]("four", seconds=2.5, **common),
        "hops backward": lambda: TASKS["extend"](
            grey([160, 150]), "four", seconds=2, backward=True, **common
        ),
    }  # fmt: skip
    return cases[name]()


CASES = (
    *possible(GaussianModel.abilities),
    *("backward", "outpaint", "next shot", "middle", "ends", "staircase", "rollout", "hops"),
    *("hops backward", "causal", "causal hops"),
)


def model_for(name, token_width=3):
    """In time the process is Markov, so a short window loses nothing."""
    return GaussianModel(token_width=token_width, window=4 if "hops" in name else 1000)


def exact(one, sampler):
    """Mean (n,) and covariance (n, n) that a plan's tokens must have, in closed form."""
    prior = MODEL.covariance(one.layout.positions)
    mean = torch.cat(
        [torch.full((len(p.start),), len(p.prompt) / 10, dtype=torch.float64) for p in one.pieces]
    )
    known, data = one.start == 0, one.known[:, 0].double()
    partly = (one.start > 0) & (one.start < 1)
    if partly.any():
        # From level s the probability flow scales each principal axis of variance v by sqrt(v / ((1 - s)^2 v + s^2));
        # the reverse SDE draws from the posterior.
        assert partly.all() and one.start.unique().numel() == 1
        s = float(one.start[0])
        values, axes = torch.linalg.eigh(prior)
        if sampler == "sde":
            marginal = (1 - s) ** 2 * prior + s**2 * torch.eye(len(prior))
            gain = (1 - s) * torch.linalg.solve(marginal, prior).T
            posterior = prior - (1 - s) * gain @ prior
            return mean + (1 - s) * gain @ (data - mean), s**2 * gain @ gain.T + posterior
        flow = axes @ torch.diag((values / ((1 - s) ** 2 * values + s**2)).sqrt()) @ axes.T
        return mean + (1 - s) * flow @ (data - mean), s**2 * flow @ flow.T
    if known.any():
        gain = torch.linalg.solve(prior[known][:, known], prior[known]).T
        mean = mean + gain @ (data[known] - mean[known])
        prior = prior - gain @ prior[known]
    return mean, prior


class Basis:
    """In place of `torch.randn`: column 0 draws zeros, every other column a single one, each at a place of its own.

    On the Gaussian model whatever the engine makes is an affine map of what it draws, the same in each of the P
    numbers of a token. So with enough columns, column 0 is the mean, and the others less that are the map itself:
    no error of sampling is left, and a bar tells of the engine and the sampler alone.
    """

    def __init__(self):
        self.drawn = 0

    def __call__(self, *shape, generator):
        n, width = shape if len(shape) == 2 else shape[0]
        numbers, place = torch.zeros(n, width), 1 + self.drawn + torch.arange(n)
        self.drawn += n
        numbers[torch.arange(n), place.clamp(max=width - 1)] = 1
        return numbers


def made_of(name, sampler, monkeypatch):
    """A plan, its tokens' mean (n,) and covariance (n, n) as the engine makes them, and the tokens (n, P)."""
    width, drawn = 3, 3
    while drawn >= width:  # the first time round only counts
        width, basis = 3 * (drawn // 3 + 1), Basis()
        with monkeypatch.context() as patched:
            patched.setattr(torch, "randn", basis)
            model = model_for(name, width)
            (one,), (tokens,) = engine.sample(model, [case(name, sampler, seed=0)])
        drawn = basis.drawn
    mean = tokens[:, 0].double()
    by_draw = tokens[:, 1:].double() - mean[:, None]
    return one, mean, by_draw @ by_draw.T, tokens


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("name", CASES)
def test_exact_mean_and_covariance(name, sampler, monkeypatch):
    """Every task, every sampler, to the bar of the design: 0.02."""
    one, mean, covariance, tokens = made_of(name, sampler, monkeypatch)
    wanted_mean, wanted = exact(one, sampler)
    free = one.start > 0
    assert (mean - wanted_mean)[free].abs().max() <= 0.02
    assert (covariance - wanted)[free][:, free].abs().max() <= 0.02
    known = one.start == 0
    assert torch.equal(tokens[known], one.known[known])


def test_samples_have_that_mean_and_covariance():
    """The same with draws from seeds: what is above is of the engine that people use."""
    count = 2000
    requests = [case("connect", "adams", seed) for seed in range(count)]
    plans, tokens = engine.sample(MODEL, requests)
    mean, covariance = exact(plans[0], "adams")
    free = plans[0].start > 0
    centred = (torch.stack(tokens).double() - mean[:, None])[:, free]
    rows = centred.permute(0, 2, 1).reshape(-1, int(free.sum()))
    # Three colours each: the standard error of a mean is 0.013, of a variance 0.018.
    assert rows.mean(0).abs().max() < 0.07
    assert (rows.T @ rows / len(rows) - covariance[free][:, free]).abs().max() < 0.08


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_sample_does_not_depend_on_its_neighbours(sampler):
    """Nor on how many hops and, as a staircase, how many steps they take."""
    model = GaussianModel(window=4)
    requests = [
        Request(prompt="four", seconds=seconds, seed=seed, steps=6, lag=2, sampler=sampler)
        for seed, seconds in ((5, 1.0), (6, 2.5), (7, 2.0))
    ]
    _, three = engine.sample(model, requests)
    for i in range(3):
        _, alone = engine.sample(model, requests[i : i + 1])
        assert torch.equal(three[i], alone[0])
    assert not torch.equal(three[0], three[1][: len(three[0])])


def test_bytes_do_not_depend_on_the_batch():
    """Law 6 on a real network, where matrix products round by their shape."""
    torch.manual_seed(0)
    codec = VideoCodec(CodecConfig(channels=16, encoder_widths=(8, 8), decoder_widths=(8, 8)))
    sizes = TransformerConfig(
        token_width=64, width=64, depth=2, head_width=32, hidden=128, text_depth=1
    )
    model = LocalModel(Card(), codec, Transformer(sizes), torch.bfloat16)
    with torch.no_grad():
        for p in model.transformer.parameters():
            p.add_(0.05 * torch.randn_like(p))
    requests = [TASKS["generate"](f"{n} red balls", seconds=1, seed=n, steps=3) for n in range(3)]
    together = engine.generate(model, requests)
    alone = [engine.generate(model, [request])[0] for request in requests[::-1]][::-1]
    for a, b in zip(together, alone, strict=True):
        assert np.array_equal(a.frames, b.frames)
    packed = engine.generate(model, requests, batch=3)
    difference = [
        np.abs(a.frames.astype(int) - b.frames).mean() for a, b in zip(packed, alone, strict=True)
    ]
    assert max(difference) < 2, "packed in one row the clips are the same up to rounding"


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_same_seed_same_clip(sampler):
    first, second, other = (
        engine.generate(MODEL, [case("generate", sampler, seed)])[0] for seed in (3, 3, 4)
    )
    assert np.array_equal(first.frames, second.frames)
    assert not np.array_equal(first.frames, other.frames)
    assert first.num_frames == 5 and first.fps == 4 and first.caption == "four"


def test_given_frames_come_back_in_the_clip():
    clip = engine.generate(MODEL, [case("extend", "heun", 0)])[0]
    assert clip.frames[:2, 0, 0, 0].tolist() == [160, 150]


def test_guidance_moves_the_mean_linearly():
    """Told 'four' (mean 0.4) against none (0): scale w must give mean 0.4 w with the spread unchanged."""
    requests = [
        Request(prompt="four", seconds=None, steps=24, sampler="heun", guidance=3.0, seed=seed)
        for seed in range(2000)
    ]
    _, tokens = engine.sample(MODEL, requests)
    made = torch.stack(tokens)
    assert made.mean() == pytest.approx(1.2, abs=0.05)
    assert made.std() == pytest.approx(1.0, abs=0.05)


def test_guidance_has_an_interval_and_gives_contrast_back():
    def made(prompts=("four", "eleven"), **change):
        common = {"seconds": 1.25, "steps": 6, "guidance": 6.0} | change
        return engine.sample(MODEL, [Request(prompt=p, **common) for p in prompts])[1]

    for nowhere, none in zip(made(guidance_interval=(0, 0)), made(guidance=1.0), strict=True):
        assert torch.equal(nowhere, none)
    early, always, rescaled = made(guidance_interval=(0.5, 1)), made(), made(guidance_rescale=1.0)
    for i in range(2):
        assert none.mean() < early[i].mean() < always[i].mean()
        assert not torch.equal(rescaled[i], always[i])
    assert torch.equal(rescaled[1], made(["eleven"], guidance_rescale=1.0)[0]), "clip by clip"


def test_larger_clips_shift_further_and_the_native_one_by_three():
    def path(**change):
        seen = []

        class Watched(GaussianModel):
            def velocity(self, x, sigma, layout, reading, past=None):
                seen.append(float(sigma[0]))
                return super().velocity(x, sigma, layout, reading)

        engine.sample(Watched(), [Request(prompt="four", steps=4, guidance=1, **change)])
        return seen

    assert path() == path(shift=3.0) == schedule.uniform(4, shift=3.0)[:-1].tolist()
    assert path(size=Size(2, 2)) == path(size=Size(2, 2), shift=6.0) == path(shift=6.0)


def test_progress_counts_every_evaluation():
    seen = []
    engine.generate(
        MODEL,
        [case("generate", "heun", 0)],
        progress=lambda done, total: seen.append((done, total)),
    )
    total = 2 * STEPS["heun"]
    assert seen == [(i, total) for i in range(1, total + 1)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"prompt": "  "}, "empty"),
        ({"prompt": "x" * 32001}, "32001"),
        ({"seconds": 0}, "0"),
        ({"seconds": -1}, "-1"),
        ({"seconds": 1e9}, "1000000000.0"),
        ({"steps": 0}, "steps 0"),
        ({"sampler": "huen"}, "did you mean 'heun'"),
        ({"guidance": float("nan")}, "nan"),
        ({"guidance_interval": (0.6, 0.4)}, r"guidance_interval (0.6, 0.4)"),
        ({"guidance_interval": (0.0, float("nan"))}, "nan"),
        ({"guidance_rescale": 1.5}, "guidance_rescale 1.5"),
        ({"shift": 0.0}, "shift 0.0"),
        ({"shift": float("inf")}, "shift inf"),
        ({"fps": 0}, "fps 0"),
        ({"seed": -1}, "-1"),
        ({"lag": 99}, "lag 99"),
    ],
)
def test_bad_requests_name_the_value(change, words):
    with pytest.raises(RequestError, match=re.escape(words)):
        Request(**({"prompt": "a red ball"} | change))


def test_a_given_clip_must_fit():
    request = Request(prompt="four", seconds=1.0, given=(Given(clip=grey([1, 2, 3]), at=3),))
    with pytest.raises(RequestError, match="3 frames at 3"):
        engine.generate(MODEL, [request])
    two = (Given(clip=grey([1, 2, 3])), Given(clip=grey([1, 2]), at=2))
    with pytest.raises(RequestError, match="3 frames at 0 does not fit: the next begins at 2"):
        engine.generate(MODEL, [Request(prompt="four", seconds=1.0, given=two)])
    fast = Clip(frames=grey([1, 2]).frames, fps=30)
    with pytest.raises(RequestError, match="30 frames a second"):
        engine.generate(MODEL, [Request(prompt="four", fps=4, given=(Given(clip=fast),))])


def test_a_look_is_what_the_clip_becomes():
    """Told after every evaluation, of every clip; the last look is the clip; nobody looking changes nothing."""
    model = GaussianModel()
    requests = [
        TASKS["generate"]("ab", size=Size(2, 2), seconds=2, seed=s, steps=6, sampler="euler")
        for s in (1, 2, 3)
    ]
    seen: dict[int, list] = {0: [], 1: [], 2: []}
    clips = engine.generate(
        model, requests, batch=2, look=lambda index, _, guess: seen[index].append(guess)
    )
    assert [len(looks) for looks in seen.values()] == [6, 6, 6]
    alone = engine.generate(model, requests, batch=2)
    for index, clip in enumerate(clips):
        assert torch.equal(clip.tokens, alone[index].tokens)
        apart = [(look - clip.tokens).abs().mean() for look in seen[index]]
        assert apart[-1] < 1e-6 and apart[-1] < apart[2] < apart[0]


def test_the_estimate_is_computed_only_for_a_preview(monkeypatch):
    calls = []
    monkeypatch.setattr(
        "worldtube.generate.engine.data_from_velocity",
        lambda x, velocity, sigma: calls.append(len(x)) or x - sigma[:, None] * velocity,
    )
    model = GaussianModel()
    request = TASKS["generate"]("four", seconds=1.0, steps=3, sampler="euler")
    plain = engine.generate(model, [request])[0]
    assert calls == []
    seen = []
    watched = engine.generate(model, [request], look=lambda *told: seen.append(told))[0]
    assert len(calls) == len(seen) == 3 and np.array_equal(plain.frames, watched.frames)
