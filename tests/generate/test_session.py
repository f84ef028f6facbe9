"""A session as people write Python: signatures, inputs of other libraries, names of diffusers, several clips."""

import inspect
import math
import re
import subprocess
import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from worldtube import provenance
from worldtube.cli import main
from worldtube.codec import CodecConfig, VideoCodec
from worldtube.codec.plan import OBJECT_WIDTH, SCENE_WIDTH, PlanTokens, decode_plan
from worldtube.errors import PromptWarning, RequestError, WorldtubeError
from worldtube.generate.request import Given, Request
from worldtube.generate.session import Session
from worldtube.generate.tasks import OPTIONS, TASKS
from worldtube.models.gaussian import GaussianModel
from worldtube.models.local import Card, LocalModel
from worldtube.transformer import Transformer, TransformerConfig
from worldtube.video import Clip, Size, fit

FEW = {"steps": 2, "size": "2x2"}
DIFFUSERS = {
    "num_inference_steps",
    "guidance_scale",
    "negative_prompt",
    "height",
    "width",
    "generator",
}


@pytest.fixture(scope="module")
def session() -> Session:
    return Session(GaussianModel())


@pytest.fixture(scope="module")
def network() -> Session:
    """A network of random weights, whose matrix products round by their shape."""
    torch.manual_seed(0)
    codec = VideoCodec(CodecConfig(channels=16, encoder_widths=(8, 8), decoder_widths=(8, 8)))
    config = TransformerConfig(
        token_width=64, width=64, depth=2, head_width=32, hidden=128, text_depth=1
    )
    model = LocalModel(Card(name="tiny"), codec, Transformer(config), torch.float32)
    with torch.no_grad():
        for parameter in model.transformer.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return Session(model)


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    """uint8 (5, 6, 8, 3)."""
    return np.random.default_rng(0).integers(0, 256, (5, 6, 8, 3)).astype(np.uint8)


def seed_generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_is_a_method_that_says_what_it_takes(session, task):
    method = getattr(session, task)
    assert task in vars(Session), "a method of its own, which type checkers see"
    parameters = inspect.signature(method).parameters
    own = set(inspect.signature(TASKS[task]).parameters) - {"options"}
    assert own | {*OPTIONS} | DIFFUSERS | {"progress", "rewrite", "rewriter"} <= set(parameters)
    documented = set(re.findall(r"^    (\w+): ", method.__doc__, re.MULTILINE))
    assert documented == set(parameters)
    assert task in dir(session)
    for name, (_, default, _) in OPTIONS.items():
        assert parameters[name].default == default


def test_details_tell_the_seconds_that_a_clip_has(session):
    given = session.generate("four", seconds=1.25, **FEW)
    assert given.details["seconds"] == 1.25
    assert session.generate("four", num_frames=6, **FEW).details["seconds"] == 1.5
    assert session.extend(given, "four", seconds=0.5, steps=2).details["seconds"] == 1.75
    assert session.storyboard("four", "five", seconds=0.75, **FEW).details["seconds"] == 1.5


def test_a_task_that_is_added_becomes_a_method(session, monkeypatch):
    def twice(prompt: str, **options) -> Request:
        return Request(prompt=prompt * 2, seconds=None, **options)

    monkeypatch.setitem(TASKS, "twice", twice)
    assert session.twice("four", **FEW).request.prompt == "fourfour"
    with pytest.raises(AttributeError, match="no task 'genrate'"):
        session.genrate("four")


def test_a_session_says_what_it_is(session, network):
    assert repr(session) == "Session(gaussian: 1x1 at 4 fps)"
    assert repr(network) == "Session(tiny: 64x64 at 12 fps on cpu)"
    fast = Session(network.model, {"steps": 4})
    assert repr(fast) == "Session(tiny: 64x64 at 12 fps on cpu, steps=4)"


def test_the_names_of_diffusers_mean_the_same(session):
    ours = session.request(
        "generate",
        "four",
        steps=3,
        guidance=1.5,
        negative_prompt="no",
        size="4x2",
        seed=9,
        num_frames=6,
    )
    theirs = session.request(
        "generate", "four", num_inference_steps=3, guidance_scale=1.5, negative_prompt="no", width=4, height=2,
        generator=seed_generator(9), num_frames=6,
    )  # fmt: skip
    assert ours == theirs and ours.size == Size(4, 2) and ours.seed == 9
    assert session.generate("four", num_frames=6, **FEW).num_frames == 6
    assert session.request("generate", "four", width=4).size == Size(4, 1), "the model's own height"


def test_a_generator_that_was_drawn_from_gives_the_same_seed(session):
    generator = seed_generator(2**64 - 1)
    torch.rand(3, generator=generator)
    assert session.request("generate", "four", generator=generator).seed == 2**63 - 1


@pytest.mark.parametrize("size", ["4x2", (4, 2), [4, 2], Size(4, 2)])
def test_forms_of_a_size(session, size):
    assert session.request("generate", "four", size=size).size == Size(4, 2)
    assert Request(prompt="four", size=size).size == Size(4, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stepz": 3}, "unknown option of generate 'stepz'; did you mean 'steps'"),
        ({"num_inference_step": 3}, "did you mean 'num_inference_steps'"),
        ({"strength": 0.5}, "unknown option of generate 'strength'"),
        (
            {"steps": 3, "num_inference_steps": 4},
            "steps and num_inference_steps must agree .* got 3 and 4",
        ),
        ({"guidance": 3, "guidance_scale": 4}, "guidance and guidance_scale must agree"),
        ({"size": "4x2", "height": 4}, "size and height and width must agree .* got 4x2 and 1x4"),
        (
            {"seed": 1, "generator": seed_generator(2)},
            "seed and generator must agree .* got 1 and 2",
        ),
        ({"generator": 3}, "generator must be a torch.Generator, got int"),
        ({"size": (4, 2, 3)}, "size must be 'WIDTHxHEIGHT' or"),
        ({"steps": "3"}, "steps must be a whole number, got '3'"),
        ({"steps": 2.5}, "steps must be a whole number, got 2.5"),
        ({"steps": True}, "steps must be a whole number, got True"),
        ({"guidance": "4"}, "guidance must be a number, got '4'"),
        ({"guidance_interval": 0.5}, "guidance_interval must be two numbers, got 0.5"),
        ({"negative_prompt": 3}, "negative_prompt must be a string, got 3"),
        (
            {"seed": [1, 2, 3], "num_videos_per_prompt": 2},
            "seed must hold one for each of 2 clips, got 3",
        ),
        ({"num_videos_per_prompt": 0}, "num_videos_per_prompt must be at least 1, got 0"),
        ({"progress": 3}, "progress must be True, False or a function, got 3"),
    ],
)
def test_wrong_options_are_refused_in_a_sentence(session, options, message):
    with pytest.raises(RequestError, match=message):
        session.generate("four", **options)


@pytest.mark.parametrize("prompt", [None, 3, [], ["four", None]])
def test_what_is_no_prompt_is_refused(session, prompt):
    with pytest.raises(RequestError, match="prompt must"):
        session.generate(prompt)


JUNK = [
    None, "x", "", 3.5, -1, 0, [], {}, object(), math.nan, math.inf, 10**30, True, b"x", (1, 2), ["a", 1], 1 + 2j,
    np.zeros(3), np.zeros((2, 2)), torch.zeros(2), len, "nothing.mp4", 1e-300,
]  # fmt: skip


def one_ball():
    """A state of one ball at rest, five frames."""
    objects = np.zeros((1, OBJECT_WIDTH), np.float32)
    objects[0, :2] = 1
    tokens = PlanTokens(objects=objects, scene=np.zeros(SCENE_WIDTH, np.float32))
    return decode_plan(tokens, num_frames=5)


@pytest.mark.parametrize("task", TASKS)
def test_no_value_of_any_parameter_ends_in_a_traceback(session, task):
    """Every parameter gets every wrong value: it is refused in a sentence, or it is a right one for that parameter."""
    clip = Clip(frames=np.zeros((5, 4, 4, 3), np.uint8), fps=4)
    required = {
        "state": one_ball(),
        "picture": clip,
        "clip": clip,
        "first": clip,
        "second": clip,
        "prompt": "four",
    }
    parameters = inspect.signature(getattr(session, task)).parameters
    calls = {"num_videos_per_prompt", "num_images_per_prompt", "progress", "rewrite", "rewriter"}
    refused = 0
    for name in [name for name in parameters if name not in calls]:
        for junk in JUNK:
            options = {key: value for key, value in required.items() if key in parameters}
            if task == "paint" and name != "mask":
                options["rectangle"] = (0, 0, 2, 2)
            shots = ("four",) if task == "storyboard" else ()
            if name == "shots":
                shots = (junk,)
            else:
                options[name] = junk
            try:
                session.prepare(session.request(task, *shots, **options), None)
            except WorldtubeError as error:
                assert str(error)
                refused += 1
    assert refused > 8 * len(parameters)


@pytest.mark.parametrize("value", [0, -1, 2.5, "x", [], object()])
def test_a_wrong_number_of_clips_is_refused(session, value):
    with pytest.raises(RequestError, match="num_videos_per_prompt must be"):
        session.generate("four", num_videos_per_prompt=value)
    with pytest.raises(RequestError, match="num_images_per_prompt must be"):
        session.image("four", num_images_per_prompt=value)


@pytest.mark.parametrize("options", [{"rewrite": 3}, {"rewriter": 3}, {"progress": "x"}])
def test_wrong_options_of_a_call_are_refused(session, options):
    with pytest.raises(RequestError, match=f"{next(iter(options))} must be"):
        session.edit(Clip.from_frames(np.zeros((2, 2))), "four", **options)


def test_the_same_value_under_two_names_is_accepted(session):
    request = session.request(
        "generate", "four", steps=3, num_inference_steps=3, size="4x2", width=4, height=2
    )
    assert (request.steps, request.size) == (3, Size(4, 2))


@pytest.mark.parametrize(
    "options",
    [{"steps": 0}, {"seconds": 0}, {"seconds": 99}, {"guidance": 51}, {"sampler": "adam"}, {"fps": 0.5},
     {"shift": 0}, {"lag": 17}, {"seed": -5}, {"guidance_rescale": 2}, {"num_frames": 0}],
)  # fmt: skip
def test_wrong_values_have_the_sentence_of_the_command_line(session, options, tmp_path, capsys):
    with pytest.raises(RequestError) as error:
        session.generate("a red ball", **options)
    words = [w for k, v in options.items() for w in (f"--{k.replace('_', '-')}", str(v))]
    assert main(["generate", "a red ball", *words, "--out", str(tmp_path / "a.mp4")]) == 2
    assert capsys.readouterr().err == f"worldtube: {error.value}\n"


def test_numbers_of_numpy_are_numbers(session):
    options = {"steps": np.int64(3), "seconds": np.float32(1), "guidance": 4, "seed": np.uint8(7)}
    request = session.request("generate", "four", **options)
    assert [type(getattr(request, name)) for name in options] == [int, float, float, int]


def test_no_seed_is_a_random_one_that_is_told(session):
    first, second = (session.generate("four", seed=None, **FEW) for _ in range(2))
    assert first.seed != second.seed
    assert first.seed == first.request.seed == first.details["seed"]
    assert f"seed {first.seed}" in repr(first)
    again = session.generate("four", seed=first.seed, **FEW)
    assert np.array_equal(first.frames, again.frames)
    assert Request(prompt="four", seed=None).seed != Request(prompt="four", seed=None).seed
    assert session.generate("four", **FEW).seed == 0


@pytest.mark.parametrize("word", ["random", "-1"])
def test_a_random_seed_by_the_command_line_is_told(word, tmp_path, capsys):
    import json

    assert main(["generate", "a red ball", "--seconds", "0.1", "--steps", "1", "--guidance", "1", "--seed", word,
                 "--json", "--out", str(tmp_path / "a.mp4")]) == 0  # fmt: skip
    told = json.loads(capsys.readouterr().out)
    assert told["seed"] > 0 and provenance.read_details(tmp_path / "a.mp4")["seed"] == told["seed"]


def test_several_prompts_make_a_list_in_order(session):
    clips = session.generate(["four", "seven"], seed=3, **FEW)
    assert [clip.request.prompt for clip in clips] == ["four", "seven"]
    assert [clip.seed for clip in clips] == [3, 4]
    for clip in clips:
        alone = session.generate(clip.request.prompt, seed=clip.seed, **FEW)
        assert np.array_equal(alone.frames, clip.frames)
    assert len(session.generate(["four"], **FEW)) == 1
    assert [clip.num_frames for clip in session.image(("four", "seven"), **FEW)] == [1, 1]


@pytest.mark.parametrize(
    ("prompt", "options", "expected"),
    [
        ("four", {"num_videos_per_prompt": 3, "seed": 5}, [5, 6, 7]),
        ("four", {"num_videos_per_prompt": 1}, [0]),
        (["four", "six"], {"num_videos_per_prompt": 2}, [0, 1, 2, 3]),
        ("four", {"seed": [7, 5]}, [7, 5]),
        ("four", {"seed": np.array([7, 5])}, [7, 5]),
        (["four", "six"], {"seed": [7, 5]}, [7, 5]),
        ("four", {"generator": [seed_generator(7), seed_generator(5)]}, [7, 5]),
        (["four", "six"], {"generator": seed_generator(7)}, [7, 8]),
        (["four", "six"], {"seed": 2**63 - 1}, [2**63 - 1, 0]),
    ],
)
def test_seeds_of_several_clips(session, prompt, options, expected):
    clips = session.generate(prompt, **options, **FEW)
    assert [clip.seed for clip in clips] == expected


def test_random_seeds_of_several_clips_differ(session):
    assert len({clip.seed for clip in session.generate(["four"] * 3, seed=None, **FEW)}) == 3


def test_a_batch_is_one_row_and_equals_single_clips_up_to_rounding(network, monkeypatch):
    rows = []
    velocity = network.model.velocity
    monkeypatch.setattr(
        network.model, "velocity",
        lambda x, sigma, layout, *rest: (rows.append(layout.lengths), velocity(x, sigma, layout, *rest))[1],
    )  # fmt: skip
    options = {"seconds": 0.4, "steps": 2, "guidance": 1.0, "sampler": "euler", "rewrite": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PromptWarning)
        packed = network.generate(["a red ball", "a blue box", "a cup"], **options)
        assert [len(lengths) for lengths in rows] == [3, 3]
        for clip in packed:
            alone = network.generate(clip.request.prompt, seed=clip.seed, **options)
            assert np.abs(alone.frames.astype(int) - clip.frames).max() <= 2


def test_a_batch_that_does_not_fit_is_made_in_parts(network, monkeypatch):
    from worldtube.generate import budget, engine

    requests = [Request(prompt="a", seconds=0.4, steps=1)] * 6
    room = budget._reserved(network.model, requests[:3], False)
    monkeypatch.setattr(budget, "available", lambda device="cpu": room)
    sizes = []
    sample = engine.sample
    monkeypatch.setattr(
        engine,
        "sample",
        lambda model, some, **rest: (sizes.append(len(some)), sample(model, some, **rest))[1],
    )
    assert len(network._run(requests, None)) == 6
    assert sizes == [3, 3]


def forms_of_a_picture(picture: np.ndarray, folder) -> list:
    """uint8 (H, W, 3) in every form that is accepted."""
    path = folder / "picture.png"
    image = Image.fromarray(picture)
    image.save(path)
    tensor = torch.from_numpy(picture).permute(2, 0, 1)
    return [path, str(path), path.read_bytes(), image, [image], picture, picture / 255, picture[None], tensor,
            tensor.float() / 255, tensor[None], Clip.from_frames(picture)]  # fmt: skip


def test_a_picture_in_every_form(session, frames, tmp_path):
    for form in forms_of_a_picture(frames[0], tmp_path):
        for request in (
            session.request("animate", form, "four"),
            session.request("animate", picture=form, prompt="four"),
            session.request("loop", form, "four"),
            session.request("connect", form, form),
            Request(prompt="four", given=(Given(clip=form),)),
        ):
            assert np.array_equal(request.given[0].clip.frames, frames[:1])


def test_a_clip_in_every_form(session, frames):
    tensor = torch.from_numpy(frames).permute(0, 3, 1, 2)
    clip = Clip(frames=frames, fps=4)
    images = [Image.fromarray(frame) for frame in frames]
    for form in (
        clip,
        images,
        tuple(images),
        frames,
        frames / 255,
        tensor,
        tensor / 255,
        list(frames),
    ):
        for task in ("extend", "loop", "edit", "remix", "paint"):
            options = {"rectangle": (0, 0, 2, 2)} if task == "paint" else {}
            given = session.request(task, form, "four", **options).given[0].clip
            assert np.array_equal(given.frames, frames) and given.fps == 4
        given = session.request("extend", form, "four", fps=12).given[0].clip
        assert given.fps == 12, "arrays have the rate that is made; clips are brought to it"


def test_a_mask_in_every_form(session, frames, tmp_path):
    mask = np.zeros((6, 8), bool)
    mask[2:4, 3:5] = True
    image = Image.fromarray(mask)
    image.save(tmp_path / "mask.png")
    clip = Clip(frames=frames, fps=4)
    for form in (
        mask, mask * 1.0, mask * np.uint8(255), image, tmp_path / "mask.png", torch.from_numpy(mask),
        np.stack([mask] * 5), torch.from_numpy(np.stack([mask] * 5)), Clip.from_frames(image),
    ):  # fmt: skip
        kept = session.request("paint", clip, "four", mask=form).given[0].mask
        assert np.array_equal(np.broadcast_to(kept, (5, 6, 8)), np.broadcast_to(~mask, (5, 6, 8)))
        assert np.array_equal(np.broadcast_to(Given(clip=clip, mask=form).mask, (5, 6, 8))[0], mask)


def test_a_mask_of_another_size_is_refused(session, frames):
    clip = Clip(frames=frames, fps=4)
    with pytest.raises(
        RequestError, match=r"mask must have the size of its clip, 8x6.* got 1 of 6x8"
    ):
        Given(clip=clip, mask=np.zeros((8, 6), bool))
    with pytest.raises(RequestError, match="does not fit"):
        session.paint(clip, "four", mask=np.zeros((8, 6), bool))


def test_what_is_no_picture_is_refused(session):
    for value in ({}, None, 3, np.zeros((3, 6, 8))):
        with pytest.raises(RequestError, match=r"must be a path|must have shape"):
            session.animate(value, "four")


@pytest.mark.filterwarnings("ignore::worldtube.PromptWarning")
def test_a_file_that_a_clip_was_made_from_is_in_its_credentials(network, tmp_path):
    textured = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3)).astype(np.uint8)
    Clip(frames=textured, fps=12).save(tmp_path / "given.mp4")
    clip = network.extend(tmp_path / "given.mp4", "a ball", seconds=0.3, steps=1)
    assert clip.sources == (tmp_path / "given.mp4",)
    report = provenance.verify(clip.save(tmp_path / "longer.mp4"))
    assert [parent["title"] for parent in report.credentials.parents] == ["given.mp4"]
    (tmp_path / "given.mp4").unlink()
    clip.save(tmp_path / "again.mp4")


@pytest.mark.filterwarnings("ignore::worldtube.PromptWarning")
def test_a_generated_clip_goes_on_at_another_size(network):
    options = {"seconds": 0.3, "steps": 1, "size": "96x96"}
    clip = network.generate("a ball", seconds=0.3, steps=1)
    longer = network.extend(clip, "a ball", **options)
    decoded = network.extend(Clip(frames=clip.frames, fps=clip.fps), "a ball", **options)
    assert np.array_equal(longer.frames, decoded.frames)


@pytest.mark.filterwarnings("ignore::worldtube.PromptWarning")
def test_other_frames_have_no_tokens(network):
    clip = network.generate("a ball", seconds=0.3, steps=1)
    assert clip.tokens is not None and replace(clip, caption="x").tokens is clip.tokens
    for other in (
        clip[1:],
        clip.subclip(0, 0.2),
        fit(clip, Size(96, 96)),
        replace(clip, frames=255 - clip.frames),
    ):
        assert other.tokens is None and other.seed == clip.seed
        assert other[:1].tokens is None
    dark = replace(clip, frames=clip.frames // 8)
    longer = network.extend(dark, "a ball", seconds=0.3, steps=1)
    assert np.array_equal(longer.frames[: len(dark)], network.extend(
        Clip(frames=dark.frames, fps=dark.fps), "a ball", seconds=0.3, steps=1).frames[: len(dark)])  # fmt: skip


@pytest.mark.filterwarnings("ignore::worldtube.PromptWarning")
def test_slices_of_a_generated_clip_are_still_generated(network, tmp_path):
    clip = network.generate("a ball", seconds=0.5, steps=1)
    part = clip[2:5]
    assert type(part) is type(clip) and part.num_frames == 3 and part.tokens is None
    assert part.details["seconds"] == 0.25
    assert part.details["num_frames"] == 3 and clip.details["num_frames"] == len(clip)
    assert provenance.read_details(part.save(tmp_path / "part.mp4"))["num_frames"] == 3
    assert clip != part and clip == clip, "clips are compared by identity"
    assert "<video" in part._repr_html_() and len(repr(part)) < 100


def test_progress_is_a_function_or_a_bar(session, capsys):
    calls = []
    session.generate(
        "four",
        seconds=1,
        steps=4,
        sampler="euler",
        progress=lambda done, total: calls.append((done, total)),
    )
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]
    session.generate("four", seconds=1, steps=4, progress=True)
    printed = capsys.readouterr().err
    assert printed.endswith("\n") and max(len(line) for line in re.split("[\r\n]", printed)) < 80
    session.generate("four", seconds=1, steps=4, progress=False)
    assert capsys.readouterr().err == ""


def test_warnings_point_at_the_line_that_called(network):
    with pytest.warns(PromptWarning) as found:
        clip = network.image("two tiny crimson spheres", steps=1, guidance=1.0)
        clips = network.image(["two tiny crimson spheres"] * 2, steps=1, guidance=1.0)
        network.animate(clip, "two tiny crimson spheres", seconds=0.1, steps=1, guidance=1.0)
    assert {one.filename for one in found} == {__file__} and len(found) == 3
    assert all(one.warnings == clip.warnings for one in clips)


def test_types_are_what_a_checker_sees(tmp_path):
    ty = pytest.importorskip("ty").find_ty_bin()
    good = """
        from typing import assert_type

        import numpy as np
        import torch
        from PIL import Image

        import worldtube as wt

        session = wt.load()
        assert_type(session, wt.Session)
        assert_type(session.generate("a", seconds=2, size="64x64", seed=None), wt.Generated)
        assert_type(session.generate(["a", "b"], seed=[1, 2]), list[wt.Generated])
        assert_type(session.generate("a", num_videos_per_prompt=2), list[wt.Generated])
        assert_type(session.image("a", width=64, height=64), wt.Generated)
        clip = session.animate(Image.new("RGB", (64, 64)), "a", guidance_scale=2.0)
        session.extend(np.zeros((5, 64, 64, 3)), "a")
        session.edit(torch.zeros(5, 3, 64, 64), "a", generator=torch.Generator())
        session.paint("clip.mp4", "a", mask=np.zeros((64, 64)))
        session.loop([Image.new("RGB", (64, 64))], "a")
        assert_type(clip[3:5], wt.Generated)
        assert_type(clip[3], np.ndarray)
        assert_type(clip.seed, int)
        wt.Given(clip="clip.mp4", mask=Image.new("L", (64, 64)))
        """
    bad = """
        import worldtube as wt

        session = wt.load()
        session.generate(3)
        session.generate("a", steps="four")
        session.animate({}, "a")
        session.edit("clip.mp4")
        """
    for name, text in (("good", good), ("bad", bad)):
        (tmp_path / f"{name}.py").write_text(inspect.cleandoc(text))
    checked = [
        subprocess.run(
            [ty, "check", "--python", sys.prefix, "--output-format", "concise", str(tmp_path / f"{name}.py")],
            cwd=tmp_path, capture_output=True, text=True,
        )
        for name in ("good", "bad")
    ]  # fmt: skip
    assert checked[0].returncode == 0, checked[0].stdout
    lines = {
        int(line.split(":")[1]) for line in checked[1].stdout.splitlines() if "bad.py:" in line
    }
    assert lines == {4, 5, 6, 7}, checked[1].stdout


def test_the_function_of_the_package_has_the_signature_of_the_method():
    import worldtube

    method = inspect.signature(Session.generate).parameters
    function = inspect.signature(worldtube.generate).parameters
    assert set(method) - {"self", "num_videos_per_prompt"} == set(function)
