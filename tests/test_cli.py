"""The commands as a person meets them: what they write, and one sentence with exit code 2 for what they cannot do."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image

from worldtube import models, video
from worldtube.cli import COMMANDS, main
from worldtube.codec import CodecConfig, VideoCodec
from worldtube.codec.plan import OBJECT_WIDTH, SCENE_WIDTH, PlanTokens, decode_plan
from worldtube.errors import NotFound, RequestError
from worldtube.generate.session import load
from worldtube.generate.tasks import TASKS
from worldtube.models import header
from worldtube.models.local import Card, LocalModel
from worldtube.transformer import Transformer, TransformerConfig
from worldtube.video import Clip, Size

TINY = TransformerConfig(token_width=64, width=32, depth=1, head_width=16, hidden=32, text_depth=1)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A model file of a few thousand random weights."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    codec = VideoCodec(CodecConfig(channels=16, encoder_widths=(8, 8), decoder_widths=(8, 8)))
    models.save(LocalModel(Card(name="tiny"), codec, Transformer(TINY)), path)
    return path


def run(*arguments, capsys):
    code = main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_generate_writes_a_clip(weights, tmp_path, capsys):
    out, strip = tmp_path / "a.mp4", tmp_path / "a.png"
    code, printed, _ = run(
        "generate", "a red ball", "--model", weights, "--seconds", 1, "--steps", 2, "--seed", 3, "--out", out,
        "--strip", strip, "--json", "--guidance-interval", 0.2, 0.8, capsys=capsys,
    )  # fmt: skip
    told = json.loads(printed)
    assert code == 0 and told["seed"] == 3 and told["path"] == str(out)
    assert told["guidance_interval"] == [0.2, 0.8]
    clip = video.read(out)
    assert clip.num_frames == told["num_frames"] == 13 and str(clip.size) == "64x64"
    assert video.read(strip).num_frames == 1


@pytest.mark.parametrize("ending", ["webm", "gif", "webp"])
def test_formats(weights, tmp_path, capsys, ending):
    out = tmp_path / f"a.{ending}"
    code, *_ = run(
        "generate",
        "a",
        "--model",
        weights,
        "--seconds",
        0.5,
        "--steps",
        1,
        "--out",
        out,
        capsys=capsys,
    )
    assert code == 0 and video.read(out).num_frames == 5


def test_image_writes_one_frame(weights, tmp_path, capsys):
    out = tmp_path / "a.png"
    code, *_ = run(
        "image",
        "a red ball",
        "--model",
        weights,
        "--size",
        "96x64",
        "--steps",
        2,
        "--out",
        out,
        capsys=capsys,
    )
    clip = video.read(out)
    assert code == 0 and clip.num_frames == 1 and str(clip.size) == "96x64"


TASK_ARGUMENTS = {
    "generate": ["a red ball", "--seconds", 0.5],
    "image": ["a red ball"],
    "animate": ["{picture}", "a red ball", "--seconds", 0.5],
    "extend": ["{clip}", "a red ball", "--seconds", 0.5, "--backward"],
    "loop": ["{clip}", "--seconds", 0.3],
    "connect": ["{clip}", "{picture}", "--seconds", 0.5],
    "edit": ["{clip}", "a red ball", "--strength", 0.5],
    "paint": ["{clip}", "a red ball", "--rectangle", 0, 0, 32, 32],
    "remix": ["{clip}", "a blue ball"],
    "storyboard": ["a red ball", "a blue ball", "--seconds", 0.5, 0.75],
}
# What is added to a clip has its 15 frames a second; what is made anew has the model's 12.
FRAMES = {"animate": 5, "extend": 18, "loop": 14, "connect": 19, "edit": 8, "paint": 10, "remix": 8}
FRAMES |= {"generate": 5, "image": 1, "storyboard": 5 + 9}


@pytest.mark.parametrize("task", [task for task in TASKS if task != "reproduce"])
def test_every_task_is_a_command(task, weights, tmp_path, capsys):
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (10, 32, 48, 3), np.uint8)
    video.write(Clip(frames=frames, fps=15.0), tmp_path / "clip.mp4")
    video.write(Clip(frames=frames[:1], fps=15.0), tmp_path / "picture.png")
    names = {"clip": tmp_path / "clip.mp4", "picture": tmp_path / "picture.png"}
    arguments = [str(a).format(**names) for a in TASK_ARGUMENTS[task]]
    out = tmp_path / ("out.png" if task == "image" else "out.mp4")
    arguments = [task, *arguments, "--model", weights, "--steps", 1, "--out", out]
    code, told, err = run("plan", *arguments, "--json", capsys=capsys)
    assert code == 0 and not out.exists(), err
    code, printed, err = run(*arguments, capsys=capsys)
    assert code == 0, err
    told = json.loads(told)
    assert (told["num_frames"], told["passes"]) == (FRAMES[task], 1)
    assert told["size"] in printed and told["peak_mb"] > told["memory_mb"]["network"] > 0
    assert told["cpu_seconds"] == pytest.approx(sum(told["stages_cpu_seconds"].values()), abs=0.01)
    made = video.read(out)
    assert made.num_frames == FRAMES[task] and f"{made.num_frames} frames" in printed
    words = {"generate", "image", "storyboard"}
    assert str(made.size) == ("64x64" if task in words else "48x32")


def test_a_state_is_read_and_weights_without_states_refuse_it(weights, tmp_path, capsys):
    objects = np.zeros((1, OBJECT_WIDTH), np.float32)
    objects[0, :2] = 1
    tokens = PlanTokens(objects=objects, scene=np.zeros(SCENE_WIDTH, np.float32))
    decode_plan(tokens, num_frames=5).save(tmp_path / "state.json")
    out = ["--model", weights, "--out", tmp_path / "out.mp4"]
    code, _, err = run("reproduce", tmp_path / "state.json", *out, capsys=capsys)
    assert code == 2 and "reproduce is not possible with tiny" in err
    code, _, err = run("reproduce", tmp_path / "none.json", *out, capsys=capsys)
    assert code == 2 and "none.json is not a state file" in err
    state = ["--state", tmp_path / "made.json"]
    code, _, err = run("generate", "a red ball", *state, *out, capsys=capsys)
    assert code == 2 and "without a physical state: there is none to write" in err
    assert not (tmp_path / "out.mp4").exists()


def test_measures_say_which_options_they_take(capsys):
    code, _, err = run("evaluate", "seam", "--physics", "engine", capsys=capsys)
    assert code == 2 and "the measure seam takes no physics; adherence and motion do" in err


def test_footage_keeps_its_size_rate_and_sound(weights, tmp_path, capsys):
    frames = np.random.default_rng(0).integers(0, 255, (30, 90, 160, 3)).astype(np.uint8)
    wave = np.sin(np.arange(8000) / 5).astype(np.float32)[:, None] / 2
    sound = video.Sound(samples=wave, rate=8000)
    given = tmp_path / "given.mov"
    video.write(Clip(frames=frames, fps=30.0, sound=sound), given)
    options = ["--model", weights, "--steps", 1, "--seconds", 0.5]
    for task, out in (("extend", "a.mp4"), ("loop", "b.webm"), ("extend", "c.gif")):
        code, printed, err = run(task, given, *options, "--out", tmp_path / out, capsys=capsys)
        assert code == 0 and "160x90, 45 frames at 30 fps" in printed, err
        clip = video.read(tmp_path / out)
        assert str(clip.size) == "160x90" and clip.num_frames == 45
        assert (clip.sound is None) == out.endswith("gif")
    loss = "the result is 80x48 at 12 fps: tiny makes no more of the given 160x90 at 30 fps"
    edit = ["edit", given, "a ball", *options[:4], "--out", tmp_path / "d.mp4"]
    assert loss in run(*edit, capsys=capsys)[2]
    code, printed, err = run(*edit, "--size", "160x90", "--fps", 30, capsys=capsys)
    assert "160x90, 30 frames at 30 fps" in printed and loss not in err


def test_a_phone_photo_is_scaled_down_turned_and_looped(weights, tmp_path, capsys):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (4000, 3000), (90, 120, 60)).save(tmp_path / "photo.jpg", exif=exif)
    code, printed, err = run(
        "loop", tmp_path / "photo.jpg", "--model", weights, "--steps", 1, "--seconds", 0.5,
        "--out", tmp_path / "round.mp4", capsys=capsys,
    )  # fmt: skip
    assert code == 0 and "1246x1662, 6 frames at 12 fps" in printed
    assert "the picture of 3000x4000 is scaled down to 1246x1662" in err


def test_options_of_several_words_are_not_taken_for_a_prompt():
    from worldtube.cli.make import read_task

    for words in (["--rectangle", "0", "0", "32", "32"], ["--guidance-interval", "0.2", "0.8"]):
        with pytest.raises(NotFound, match=r"nothing\.mp4"):
            read_task("paint", ["nothing.mp4", "a red ball", *words])
        with pytest.raises(RequestError, match=r'paint nothing\.mp4 "a red ball" --'):
            read_task("paint", ["nothing.mp4", "a", "red", "ball", *words])


def test_a_long_clip_is_written_as_it_is_made(weights, tmp_path, capsys, monkeypatch):
    """Ctrl-C leaves a file that plays; the whole clip is the same as one that is made in memory."""
    request = TASKS["generate"]("a red ball", seconds=11, steps=1)
    session = load(weights)
    parts = []

    def stop(done, total):
        parts.append(done)
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        session.write(request, tmp_path / "part.mp4", progress=stop)
    part = video.read(tmp_path / "part.mp4")
    assert part.num_frames == 1 + 4 * (10 + 5 + 5 - 1), "three hops of six"
    out = tmp_path / "whole.mp4"
    code, *_ = run("generate", "a red ball", "--seconds", 11, "--steps", 1, "--model", weights,
                   "--out", out, capsys=capsys)  # fmt: skip
    assert code == 0 and video.read(out).num_frames == 133
    session.run(request).save(tmp_path / "memory.mp4")
    whole, memory = video.read(out).frames, video.read(tmp_path / "memory.mp4").frames
    assert np.abs(whole.astype(int) - memory).mean() < 0.5
    assert np.abs(part.frames.astype(int) - whole[: part.num_frames]).mean() < 1
    assert not list(tmp_path.glob(".*")), "nothing half-written is left"


def test_same_seed_same_bytes(weights, tmp_path, capsys):
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        run("generate", "x", "--model", weights, "--seconds", 0.5, "--steps", 2, "--seed", seed,
            "--out", tmp_path / f"{name}.mp4", capsys=capsys)  # fmt: skip
    a, b, c = (video.read(tmp_path / f"{name}.mp4").frames for name in "abc")
    assert (a == b).all() and (a != c).any()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["generate", "", "--out", "{out}/a.mp4"], "empty"),
        (["generate", "a", "--seconds", "0", "--out", "{out}/a.mp4"], "seconds 0"),
        (["generate", "a", "--seconds", "-2", "--out", "{out}/a.mp4"], "seconds -2"),
        (["generate", "a", "--seconds", "1e6", "--out", "{out}/a.mp4"], "at most 60"),
        (
            ["generate", "a", "--size", "70x64", "--model", "{weights}", "--out", "{out}/a.mp4"],
            "multiples of 16",
        ),
        (
            ["generate", "a", "--size", "80000x64", "--model", "{weights}", "--out", "{out}/a.mp4"],
            "80000x64",
        ),
        (["animate", "{out}/none.png", "--out", "{out}/a.mp4"], "none.png"),
        (["storyboard", "--out", "{out}/a.mp4"], "0 shots"),
        (
            ["storyboard", "a", "b", "--seconds", "1", "2", "3", "--out", "{out}/a.mp4"],
            "3 durations",
        ),
        (["generate", "a", "--size", "big", "--out", "{out}/a.mp4"], "big"),
        (["generate", "a", "--sampler", "euller", "--out", "{out}/a.mp4"], "did you mean 'euler'"),
        (
            ["generate", "a", "--model", "{out}/none.safetensors", "--out", "{out}/a.mp4"],
            "none.safetensors",
        ),
        (
            ["generate", "a", "--model", "{truncated}", "--out", "{out}/a.mp4"],
            "not a whole safetensors",
        ),
        (["generate", "a", "--model", "{strange}", "--out", "{out}/a.mp4"], "worldtube"),
        (["generate", "a", "--model", "{weights}", "--out", "{out}/none/a.mp4"], "does not exist"),
        (["generate", "a", "--model", "{weights}", "--out", "{out}/a.xyz"], "xyz"),
        (["image", "a", "--model", "{weights}", "--size", "0x0", "--out", "{out}/a.png"], "0"),
        (["plan", "genrate", "a"], "did you mean 'generate'"),
        (["plan", "generate", "", "--model", "{weights}"], "empty"),
        (["plan", "train", "laptp"], "did you mean 'laptop'"),
        (["plan", "train", "tiny", "--device", "cuda"], "device must be one of auto, cpu"),
        (["plan", "train", "student", "--codec", "{weights}"], "without a teacher"),
        (["train", "laptp"], "did you mean 'laptop'"),
        (["record", "tabeltop", "--out", "{out}/d", "--count", "1"], "did you mean 'tabletop'"),
        (["record", "tabletop", "--out", "{out}/d", "--count", "0"], "count 0"),
        (["evaluate", "adherense", "--model", "{weights}"], "did you mean 'adherence'"),
        (["evaluate", "motion", "--model", "{weights}", "--seeds", "9-8"], "9-8"),
        (
            ["evaluate", "adherence", "--model", "{weights}", "--prompts", "heldout_it"],
            "heldout, heldout_de",
        ),
        (["generat"], "did you mean 'generate'"),
    ],
)
def test_bad_input_gets_one_sentence_and_two(arguments, words, weights, tmp_path, capsys):
    truncated, strange = tmp_path / "t.safetensors", tmp_path / "s.safetensors"
    truncated.write_bytes(weights.read_bytes()[:-100])
    strange.write_bytes(b"not weights at all")
    out = tmp_path / "out"
    out.mkdir()
    values = {"out": out, "weights": weights, "truncated": truncated, "strange": strange}
    try:
        code = main([a.format(**values) for a in arguments])
    except SystemExit as stop:  # tyro's own complaint about a value that it cannot read
        code = stop.code
    printed = capsys.readouterr()
    assert code == 2, printed.err
    assert words in printed.err
    assert "Traceback" not in printed.err
    assert not list(out.iterdir()), "something was written"


def test_plan_says_where_time_and_memory_go(weights, tmp_path, capsys):
    arguments = ["a red ball", "--seconds", 11, "--steps", 1, "--model", weights]
    code, printed, _ = run("plan", "generate", *arguments, capsys=capsys)
    lines = dict(line.split("  ", 1) for line in printed.splitlines())
    assert code == 0 and list(lines) == ["clip", "network", "seconds", "peak memory"]
    assert "64x64, 133 frames" in lines["clip"] and "passes" in lines["network"]
    assert "start" in lines["seconds"] and "MB" in lines["peak memory"]
    for arguments in ([], ["--help"], ["train"]):
        code, printed, _ = run("plan", *arguments, capsys=capsys)
        assert code == 0 and "worldtube plan train RECIPE" in printed


def test_plan_of_a_training_run(weights, capsys):
    arguments = ["plan", "train", "tiny", "--codec", weights, "--rows", 16]
    code, printed, err = run(*arguments, "--json", capsys=capsys)
    assert code == 0, err
    told = json.loads(printed)
    frame = (64 // (8 * Card().patch)) ** 2
    assert told["tokens"] == 2 * frame * (7 * 7 + 1), "one row in eight is an image"
    assert told["peak_mb"] > told["memory_mb"]["gradients"] > 0
    steps = told["stages_cpu_seconds"]
    assert set(steps) == {"start", "prepare", "rows", "network", "optimizer"}
    assert 20 * told["step_cpu_seconds"] == pytest.approx(
        sum(steps[part] for part in ("rows", "network", "optimizer")), abs=0.01
    )
    code, printed, _ = run(*arguments, capsys=capsys)
    assert code == 0 and "16 rows" in printed and "peak memory" in printed


def test_what_cannot_fit_is_refused_before_it_is_made(weights, tmp_path, capsys, monkeypatch):
    from worldtube.generate import budget

    monkeypatch.setattr(budget, "available", lambda device: 60e6)
    arguments = ["generate", "a red ball", "--size", "512x512", "--model", weights]
    for more in (["--seconds", 2], ["--seconds", 12]):  # in memory, and as it is made
        for command in ([], ["plan"]):
            out = ["--out", tmp_path / "a.mp4"]
            code, _, err = run(*command, *arguments, *more, *out, capsys=capsys)
            assert code == 2 and "0.06 GB is free" in err and "would fit" in err
    assert not list(tmp_path.iterdir())


def test_a_foreign_prompt_is_told_and_made(weights, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        LocalModel, "doubts", lambda self, prompt: ["outside"] * ("ball" not in prompt)
    )
    options = ["--model", weights, "--seconds", 0.5, "--steps", 1, "--out", tmp_path / "a.gif"]
    code, _, err = run("generate", "the stock market crashes", *options, capsys=capsys)
    assert code == 0 and "worldtube: outside\n" in err and (tmp_path / "a.gif").exists()
    _, _, err = run("generate", "a red ball", *options, capsys=capsys)
    assert "outside" not in err


def test_help_comes_at_once():
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "worldtube", "--help"],
        capture_output=True,
        text=True,
    )
    assert time.perf_counter() - began < 5
    assert all(name in done.stdout for name in COMMANDS)
    assert " torch" not in done.stderr and " numpy" not in done.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["info", "--help"]])
def test_nobody_reads_on(arguments):
    process = subprocess.Popen(
        [sys.executable, "-m", "worldtube", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()
    assert process.stderr.read() == b"" and process.wait() == 141
    process.stderr.close()


def test_help_of_generate_needs_no_torch():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "worldtube", "generate", "--help"],
        capture_output=True,
        text=True,
    )
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert "--guidance" in done.stdout and "tyro" in imported and "torch" not in imported


def test_info_tells_of_the_model(weights, capsys):
    code, printed, _ = run("info", "--model", weights, "--json", capsys=capsys)
    told = json.loads(printed)
    assert code == 0 and told["model"]["name"] == "tiny" and "heun" in told["samplers"]


def test_a_name_that_is_not_there_says_what_is():
    import worldtube

    with pytest.raises(AttributeError, match="no attribute 'Pipeline'"):
        _ = worldtube.Pipeline


def test_generate_says_how_it_puts_the_prompt_and_keeps_what_was_asked(weights, tmp_path, capsys):
    few = [
        "--steps",
        1,
        "--seconds",
        0.5,
        "--model",
        weights,
        "--json",
        "--out",
        tmp_path / "clip.mp4",
    ]
    code, out, err = run("generate", "a tiny crimson orb rolls leftwards", *few, capsys=capsys)
    told = json.loads(out)
    assert code == 0 and "rewritten as: A small red ball rolls to the left." in err
    assert told["prompt"] == "A small red ball rolls to the left."
    assert told["asked"] == "a tiny crimson orb rolls leftwards"
    code, out, err = run(
        "generate", "a tiny crimson orb rolls leftwards", "--no-rewrite", *few, capsys=capsys
    )
    assert (
        json.loads(out)["prompt"] == "a tiny crimson orb rolls leftwards" and "rewritten" not in err
    )
    assert json.loads(out)["asked"] == ""
    code, _, err = run("generate", "a ball", "--rewriter", "parrot", *few, capsys=capsys)
    assert code == 2 and "parrot" in err


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["generate", "a", "red", "ball"], 'generate "a red ball"'),
        (
            ["generate", "--seed", "7", "--fast", "a", "red", "ball", "--no-rewrite"],
            'generate "a red ball" --seed 7 --fast --no-rewrite',
        ),
        (["generate", "a ball", "$falls", "--seed=3"], "generate 'a ball $falls' --seed=3"),
        (["edit", "my clip.mp4", "a", "blue", "box"], "edit 'my clip.mp4' \"a blue box\""),
        (
            ["generate", "--guidance-interval", "0.1", "0.9", "a", "ball"],
            'generate "a ball" --guidance-interval 0.1 0.9',
        ),
        (["plan", "image", "a", "ball", "--size", "64x64"], 'plan image "a ball" --size 64x64'),
    ],
)
def test_a_prompt_without_quotes_is_understood(arguments, meant, capsys):
    assert main(arguments) == 2
    told = capsys.readouterr().err
    assert told == f"worldtube: a prompt is one argument; did you mean: worldtube {meant}\n"


@pytest.mark.parametrize("arguments", [["a", "ball", "--bogus", "1"], ["a", "ball", "--help"]])
def test_what_is_no_matter_of_quotes_is_left_to_the_parser(arguments, capsys):
    with pytest.raises(SystemExit):
        main(["generate", *arguments])
    assert "did you mean: worldtube" not in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    "wrong",
    [
        ["--size", "70x64"], ["--size", "4096x4096"], ["--size", "wide"], ["--steps", "0"],
        ["--seconds", "1000"], ["--out", "clip.xyz"], ["--out", "missing/clip.mp4"], ["more", "words"],
    ],
)  # fmt: skip
def test_wrong_values_are_told_before_torch_is_loaded(wrong, tmp_path):
    code = (
        "import sys; from worldtube.cli import main; code = main(['generate', 'a ball', *sys.argv[1:]])\n"
        "assert 'torch' not in sys.modules and 'worldtube.text.encoder' not in sys.modules; sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *wrong], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 2 and done.stderr.startswith("worldtube: "), done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_header_of_a_weight_file_says_which_sizes_it_takes(weights, tmp_path):
    model = models.load(weights)
    assert header.read_config(weights)["stride"] == list(model.codec.stride[:2])
    side = model.stride[1]
    header.check_size_for(weights, Size(side, 2 * side))
    with pytest.raises(RequestError, match=f"multiples of {side}, .* got {side + 1}x{side}"):
        header.check_size_for(weights, Size(side + 1, side))
    header.check_size_for(None, Size(64, 64))
    for content in (b"", b"abc", b"\xff" * 8, (9).to_bytes(8, "little") + b"not JSON!", b"\0" * 8):
        (tmp_path / "odd").write_bytes(content)
        header.check_size_for(tmp_path / "odd", Size(1, 1))
    header.check_size_for(tmp_path / "none", Size(1, 1))
    header.check_size_for(tmp_path, Size(1, 1))
