"""Whatever stands behind `VideoModel` keeps its promises: our networks, the exact model, every family of others'."""

import importlib.util
import json
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
import tiny
import torch

from worldtube import models, provenance
from worldtube.cli import main
from worldtube.codec import CodecConfig, VideoCodec
from worldtube.codec.plan import OBJECT_WIDTH, SCENE_WIDTH, PlanTokens, decode_plan
from worldtube.errors import RequestError
from worldtube.generate import budget, engine
from worldtube.generate.layout import outline
from worldtube.generate.request import Given, Request
from worldtube.generate.session import Session
from worldtube.generate.tasks import TASKS, possible
from worldtube.models import ABILITIES, MODELS, GaussianModel, VideoModel
from worldtube.models.diffusers.families import FAMILIES
from worldtube.models.local import Card, LocalModel
from worldtube.tokens import pack, select
from worldtube.transformer import Transformer, TransformerConfig
from worldtube.video import Clip, Size

SIZES = TransformerConfig(token_width=64, width=32, depth=1, head_width=16, hidden=32, text_depth=1)


def local(path):
    torch.manual_seed(0)
    codec = VideoCodec(CodecConfig(channels=16, encoder_widths=(8, 8), decoder_widths=(8, 8)))
    network = Transformer(SIZES)
    with torch.no_grad():  # open what starts closed
        for p in network.parameters():
            p.add_(0.05 * torch.randn_like(p))
    models.save(LocalModel(Card(), codec, network), path)


OTHERS = tiny.FOLDERS if importlib.util.find_spec("diffusers") else {}
KINDS = ("local", "gaussian", *OTHERS)


@pytest.fixture(scope="module", params=KINDS)
def path(request, tmp_path_factory):
    """Where a model's weights are; None for the one that has none."""
    if request.param == "gaussian":
        return None
    folder = tmp_path_factory.mktemp("models") / request.param.replace(" ", "-")
    if request.param == "local":
        local(folder.with_suffix(".safetensors"))
        return folder.with_suffix(".safetensors")
    OTHERS[request.param](folder)
    return folder


@pytest.fixture(scope="module")
def model(path):
    return GaussianModel() if path is None else models.load(path, dtype=torch.float32)


def clip_for(model, frames=9):
    side = 2 * model.stride[1]
    pixels = np.random.default_rng(0).integers(60, 200, (frames, side, side, 3), dtype=np.uint8)
    pixels[:] = pixels[:, :1, :1]  # flat frames, which any codec can hold
    return Clip(frames=pixels, fps=model.fps)


def lattice(model, frames=9):
    clip = clip_for(model, frames)
    return model.grid(clip.size, frames, model.fps)


@pytest.mark.skipif(not OTHERS, reason="needs the extra diffusers")
def test_every_kind_and_family_is_here(tmp_path):
    from worldtube.models.diffusers import DiffusersModel

    classes = {getattr(import_module(m), c) for m, c in (h.split(":") for h in MODELS.values())}
    assert classes == {LocalModel, GaussianModel, DiffusersModel}
    assert {family.__name__.lower() for family in FAMILIES.values()} <= set(OTHERS)


def test_pixels_to_tokens_and_back(model):
    assert isinstance(model, VideoModel) and model.abilities <= set(ABILITIES)
    clip = clip_for(model)
    grid = model.grid(clip.size, clip.num_frames, clip.fps)
    layout, tokens = model.layout(grid), model.encode(clip)
    assert grid.num_frames == clip.num_frames and model.pixels(grid) == clip.size
    assert tokens.shape == (layout.bounds[-1], model.token_width) and tokens.dtype == torch.float32
    assert torch.equal(tokens, model.encode(clip))
    frames = model.decoder(grid)(tokens)
    assert frames.shape == clip.frames.shape and frames.dtype == np.uint8
    still = replace(clip, frames=clip.frames[:1])
    grid = model.grid(still.size, 1, clip.fps)
    assert model.decoder(grid)(model.encode(still)).shape == still.frames.shape


@pytest.mark.parametrize("frames", [1, 9, 17, 25])
def test_decoding_in_parts_equals_the_whole(model, frames):
    grid = lattice(model, frames)
    each = model.layout(replace(grid, frames=1)).bounds[-1]
    tokens = torch.randn(each * grid.frames, model.token_width, generator=torch.manual_seed(1))
    whole = model.decoder(grid)(tokens)
    assert whole.shape[0] == frames
    for step in (1, 2, 4):
        decode = model.decoder(grid)
        parts = [decode(part) for part in tokens.split(each * step)]
        assert np.abs(np.concatenate(parts).astype(int) - whole).max() <= 1


def test_velocity(model):
    """Finite, the same again, moved by words, noise level and values; the same beside others of any size."""
    small = model.layout(lattice(model, 1))
    large = model.layout(lattice(model))
    reading = model.read(model.embed(["a red ball", "", "a red ball"]))
    row = pack([large, large, small])
    x = torch.randn(row.bounds[-1], model.token_width, generator=torch.manual_seed(0))
    n = large.bounds[-1]
    x[n : 2 * n] = x[:n]
    level = torch.full((len(x),), 0.5)
    velocity = model.velocity(x, level, row, reading)
    assert velocity.shape == x.shape and velocity.dtype == torch.float32
    assert velocity.isfinite().all()
    assert torch.equal(velocity, model.velocity(x, level, row, reading))
    assert not torch.allclose(velocity[:n], velocity[n : 2 * n]), "words are read"
    alone = model.velocity(x[:n], level[:n], large, model.read(model.embed(["a red ball"])))
    torch.testing.assert_close(alone, velocity[:n], rtol=1e-4, atol=1e-4)
    other = model.velocity(x[:n], level[:n] + 0.3, large, model.read(model.embed(["a red ball"])))
    assert not torch.allclose(other, alone, atol=1e-4), "levels are read"
    for end in (0.0, 1.0):
        assert model.velocity(x, level * 0 + end, row, reading).isfinite().all()


def test_known_frames_move_what_is_made(model):
    """A token of frame 0 at level 0 and the others higher, where the weights say that they can."""
    layout = model.layout(lattice(model))
    levels = torch.where(layout.frames == 0, 0.0, 0.6)
    x = torch.randn(layout.bounds[-1], model.token_width, generator=torch.manual_seed(0))
    reading = model.read(model.embed(["a red ball"]))
    if "known frames" not in model.abilities:
        with pytest.raises(RequestError, match="one noise level"):
            model.velocity(x, levels, layout, reading)
        return
    made = model.velocity(x, levels, layout, reading)
    late = layout.frames > 0
    x[~late] += 1
    again = model.velocity(x, levels, layout, reading)
    assert not torch.allclose(made[late], again[late], atol=1e-4)


def test_what_is_remembered_is_seen(model):
    """New tokens after a clean past have the velocity that they have in the whole causal row."""
    side = 2 * model.stride[1]
    grid = model.grid(Size(side, side), 1 + 8 * model.stride[0], model.fps)
    layout = model.layout(grid, causal=True)
    early = layout.frames < 2
    before, after = select(layout, early), select(layout, ~early)
    reading = model.read(model.embed(["a red ball"]))
    x = torch.randn(layout.bounds[-1], model.token_width)
    sigma = torch.where(early, 0.0, 0.3 + layout.frames / 20)
    if "causal" not in model.abilities:
        for refused in (
            lambda: model.velocity(x, sigma, layout, reading),
            lambda: model.remember(x[early], before, reading),
            lambda: model.recall(x[early], before),
        ):
            with pytest.raises(RequestError, match=model.name):
                refused()
        return
    kept = model.remember(x[early], before, reading)
    assert len(kept) == before.bounds[-1]
    past = model.recall(kept, before)
    made = model.velocity(x[~early], sigma[~early], after, reading, past)
    whole = model.velocity(x, sigma, layout, reading)[~early]
    torch.testing.assert_close(made, whole, rtol=1e-4, atol=1e-4)
    other = model.recall(kept.flip(0), before)
    made = model.velocity(x[~early], sigma[~early], after, reading, other)
    assert (made - whole).abs().max() > 1e-3


def test_footprint(model):
    """Larger clips need more, and the stages are those that there are."""
    each = model.footprint()
    assert min(each.token, each.pair, each.decoded, each.encoded) >= 0 and each.token > 0
    assert each.together >= 1 and model.doubts("a red ball") == []
    assert model.unread("a red ball") == ""
    small, large = (
        budget.need(model, [Request(prompt="a red ball", num_frames=n, size=clip_for(model).size)])
        for n in (9, 25)
    )
    assert all(large[stage] > small[stage] for stage in ("held", "network", "decode"))


def one_ball():
    """A state of one ball at rest, five frames."""
    objects = np.zeros((1, OBJECT_WIDTH), np.float32)
    objects[0, :2] = 1
    tokens = PlanTokens(objects=objects, scene=np.zeros(SCENE_WIDTH, np.float32))
    return decode_plan(tokens, num_frames=5)


def cases(model):
    """A request for each task: a new task must be given one here."""
    fps, clip = model.fps, clip_for(model)
    still = replace(clip, frames=clip.frames[:1])
    few = {"steps": 2, "seed": 3}
    new = 8 / fps
    return {
        "generate": lambda: TASKS["generate"](
            "a red ball", seconds=17 / fps, size=clip.size, **few
        ),
        "image": lambda: TASKS["image"]("a red ball", size=clip.size, **few),
        "animate": lambda: TASKS["animate"](still, "a red ball", seconds=9 / fps, **few),
        "extend": lambda: TASKS["extend"](clip, "a red ball", seconds=new, **few),
        "loop": lambda: TASKS["loop"](clip, "a red ball", seconds=new, **few),
        "connect": lambda: TASKS["connect"](clip, clip, "a red ball", seconds=new, **few),
        "edit": lambda: TASKS["edit"](clip, "a red ball", **few),
        "remix": lambda: TASKS["remix"](clip, "a red ball", **few),
        "paint": lambda: TASKS["paint"](
            clip, "a red ball", rectangle=(0, 0, clip.size.width, model.stride[1]), **few
        ),
        "storyboard": lambda: TASKS["storyboard"](
            "a red ball", "a blue box", seconds=(9 / fps,), size=clip.size, **few
        ),
        "reproduce": lambda: TASKS["reproduce"](one_ball(), size=clip.size, **few),
    }


@pytest.mark.parametrize("task", TASKS)
def test_a_task_is_done_or_refused_by_name(model, task):
    request = replace(cases(model)[task](), task=task)
    if task not in possible(model.abilities):
        with pytest.raises(
            RequestError, match=f"^{task} is not possible with {model.name} .*gener"
        ):
            outline(model, request)
        with pytest.raises(RequestError, match=f"^{task} is not possible"):
            engine.generate(model, [request])
        return
    first, again = (engine.generate(model, [request])[0] for _ in range(2))
    assert np.array_equal(first.frames, again.frames)
    assert first.num_frames == outline(model, request).num_frames
    assert not request.given or request.given[0].strength or first.size == clip_for(model).size


@pytest.mark.parametrize(
    "change",
    [
        {"causal": True},
        {"lag": 1},
        {"num_frames": 1601},
        {"given": (Given(clip=Clip(frames=np.zeros((2, 8, 8, 3), np.uint8), fps=8)),)},
        {"given": (Given(clip=Clip(frames=np.zeros((1, 8, 8, 3), np.uint8), fps=8), at=-1),)},
    ],
    ids=["causal", "lag", "long", "known frames that no codec holds", "known at the end"],
)
def test_what_weights_cannot_do_is_refused(model, change):
    request = Request(prompt="a red ball", fps=8, size=clip_for(model).size, num_frames=9, steps=2)
    request = replace(request, **change)
    if set(ABILITIES) - {"state"} <= model.abilities:
        outline(model, request)
        return
    with pytest.raises(RequestError, match=f"this request is not possible with {model.name} "):
        outline(model, request)


def test_a_size_that_does_not_fit_is_refused(model):
    side = model.stride[1]
    if side == 1:
        pytest.skip("every size fits the exact model")
    with pytest.raises(RequestError, match=f"multiples of {side}, .* got {2 * side + 1}x{side}"):
        model.grid(Size(2 * side + 1, side), 9, model.fps)


def command(model, path, task="generate"):
    size = clip_for(model).size
    return [task, "a red ball", "--model", str(path), "--size", str(size), "--steps", "2"]


def test_the_command_line_makes_a_signed_file(model, path, tmp_path, capsys):
    if path is None:
        pytest.skip("the exact model has no file")
    out = tmp_path / "clip.mp4"
    words = [*command(model, path), "--seconds", str(9 / model.fps), "--out", str(out), "--json"]
    assert main(words) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["model"] == model.name and told["num_frames"] == 9
    assert provenance.verify(out).verdict == "unaltered"
    assert main(["plan", *words]) == 0
    planned = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert planned["num_frames"] == 9 and planned["cpu_seconds"] > 0 and planned["passes"] == 2
    assert main(["info", "--model", str(path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["tasks"] == possible(model.abilities) and told["weights"]["transformer"] > 0


def test_the_command_line_refuses_by_name(model, path, tmp_path, capsys):
    if path is None or set(ABILITIES) - {"state"} <= model.abilities:
        pytest.skip("nothing to refuse")
    words = ["storyboard", "a ball", "a box", *command(model, path)[2:], "--seconds", "1"]
    assert main([*words, "--out", str(tmp_path / "clip.mp4")]) == 2
    assert f"storyboard is not possible with {model.name}" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_session_has_the_weights_defaults(model):
    request = Session(model).request("generate", "a red ball")
    for name, value in model.defaults.items():
        assert getattr(request, name) == value
    assert Session(model).request("generate", "a red ball", guidance=1.5).guidance == 1.5
