"""The adapter against the pipelines it stands in for: same weights, noise, words and steps, same clip."""

import json
import os
import pickle
import sys

import numpy as np
import pytest
import tiny
import torch
from PIL import Image

from worldtube import models
from worldtube.diffusion import noise as noising
from worldtube.errors import DataError, MissingExtra
from worldtube.generate import engine
from worldtube.generate.layout import plan
from worldtube.generate.request import Request
from worldtube.generate.tasks import TASKS
from worldtube.tokens import unpatchify
from worldtube.video import Clip, Size

diffusers = pytest.importorskip("diffusers")
STEPS, GUIDANCE, PROMPT, NEGATIVE = 4, 3.0, "a red ball", "blur"
TOLERANCE = 2e-4
"""Largest difference of a latent; they are of about unit variance. Ours computes both sides of guidance at once."""


def opened(name, tmp_path, pipeline):
    """The pipeline itself and our model, both in float32 from the same files."""
    folder = tmp_path / name.replace(" ", "-")
    tiny.FOLDERS[name](folder)
    pipe = getattr(diffusers, pipeline).from_pretrained(str(folder), dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe, models.load(folder, dtype=torch.float32)


def noise_of(model, request):
    """(1, C, t, h, w) what the engine begins with, and the grid."""
    one = plan(model, request)
    drawn = torch.randn(one.known.shape, generator=torch.Generator().manual_seed(request.seed))
    grid = one.pieces[0].grid
    return unpatchify(drawn, grid, model.patch)[None], grid


def made(model, request):
    plans, (tokens,) = engine.sample(model, [request])
    grid = plans[0].pieces[0].grid
    clip = engine.generate(model, [request])[0]
    return unpatchify(tokens, grid, model.patch)[None], clip.frames


def ours(scheduler):
    """The pipeline's own scheduler, walking down our levels: `schedule.uniform` at its shift."""

    class Ours(type(scheduler)):
        def set_timesteps(self, count, device=None):
            super().set_timesteps(sigmas=np.linspace(1, 1 / count, count), device=device)

    return Ours.from_config(scheduler.config)


def request_of(**more):
    common = {"steps": STEPS, "sampler": "euler", "guidance": GUIDANCE, "seed": 5}
    return Request(prompt=PROMPT, negative_prompt=NEGATIVE, **common, **more)


def same(latents, wanted, frames, wanted_frames):
    assert wanted.std() > 0.3, "there is something to compare"
    assert (latents - wanted).abs().max() <= TOLERANCE
    shown = (wanted_frames[0] * 255).round().astype(int)
    assert frames.shape == shown.shape and np.abs(frames - shown).max() <= 1


def arguments(grid, model):
    size = model.pixels(grid)
    return {
        "prompt": PROMPT,
        "negative_prompt": NEGATIVE,
        "height": size.height,
        "width": size.width,
        "num_frames": grid.num_frames,
        "num_inference_steps": STEPS,
        "guidance_scale": GUIDANCE,
    }


@pytest.mark.parametrize("name", ["wan", "wan each"])
def test_wan_is_the_pipeline(name, tmp_path):
    pipe, model = opened(name, tmp_path, "WanPipeline")
    pipe.scheduler = ours(pipe.scheduler)
    request = request_of(size=Size(32, 48), num_frames=9, fps=16, shift=pipe.scheduler.shift)
    noise, grid = noise_of(model, request)
    told = arguments(grid, model)
    wanted, frames = (
        pipe(**told, latents=noise.clone(), output_type=kind).frames for kind in ("latent", "np")
    )
    same(*interleaved(made(model, request), wanted, frames))


def interleaved(own, wanted, frames):
    return own[0], wanted, own[1], frames


def test_wan_shifts_its_levels_as_we_do(tmp_path):
    folder = tmp_path / "wan"
    tiny.wan(folder, shift=5.0)
    pipe = diffusers.WanPipeline.from_pretrained(str(folder), dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = ours(pipe.scheduler)
    model = models.load(folder, dtype=torch.float32)
    assert model.defaults["shift"] == 5.0
    request = request_of(size=Size(32, 32), num_frames=5, fps=16, shift=model.defaults["shift"])
    noise, grid = noise_of(model, request)
    wanted = pipe(**arguments(grid, model), latents=noise, output_type="latent").frames
    assert (made(model, request)[0] - wanted).abs().max() <= TOLERANCE


def picture():
    pixels = np.random.default_rng(0).integers(0, 255, (4, 4, 3), dtype=np.uint8)
    return pixels.repeat(8, 0).repeat(8, 1)


def animated(model, shift):
    """A request that begins with a picture, as the pipelines for that do."""
    clip = Clip(frames=picture()[None], fps=model.fps)
    common = {"steps": STEPS, "sampler": "euler", "guidance": GUIDANCE, "seed": 5, "shift": shift}
    return TASKS["animate"](clip, PROMPT, seconds=9 / model.fps, negative_prompt=NEGATIVE, **common)


def test_wan_from_a_picture_is_the_pipeline(tmp_path):
    pipe, model = opened("wan each", tmp_path, "WanPipeline")
    parts = {n: getattr(pipe, n) for n in ("tokenizer", "text_encoder", "vae", "transformer")}
    pipe = diffusers.WanImageToVideoPipeline(
        **parts, scheduler=ours(pipe.scheduler), expand_timesteps=True
    )
    pipe.set_progress_bar_config(disable=True)
    request = animated(model, 1.0)
    noise, grid = noise_of(model, request)
    told = arguments(grid, model) | {"image": Image.fromarray(picture())}
    wanted, frames = (
        pipe(**told, latents=noise.clone(), output_type=kind).frames for kind in ("latent", "np")
    )
    same(*interleaved(made(model, request), wanted, frames))


def packed(latents):
    return latents.flatten(2).mT


@pytest.mark.parametrize("fps", [25, 12])
def test_ltx_is_the_pipeline(tmp_path, fps):
    pipe, model = opened("ltx", tmp_path, "LTXPipeline")
    shift = float(np.exp(ltx_mu(pipe, 5 * 16 * 8)))
    request = request_of(size=Size(64, 32), num_frames=17, fps=fps, shift=shift)
    noise, grid = noise_of(model, request)
    told = arguments(grid, model) | {"frame_rate": fps}
    wanted, frames = (
        pipe(**told, latents=packed(noise), output_type=kind).frames for kind in ("latent", "np")
    )
    wanted = wanted.mT.unflatten(2, noise.shape[2:])
    same(*interleaved(made(model, request), wanted, frames))


def ltx_mu(pipe, tokens):
    c = pipe.scheduler.config
    slope = (c.max_shift - c.base_shift) / (c.max_image_seq_len - c.base_image_seq_len)
    return c.base_shift + slope * (tokens - c.base_image_seq_len)


def test_ltx_from_a_picture_is_the_pipeline(tmp_path):
    pipe, model = opened("ltx", tmp_path, "LTXImageToVideoPipeline")
    shift = float(np.exp(ltx_mu(pipe, 3 * 8 * 8)))
    request = animated(model, shift)
    noise, grid = noise_of(model, request)
    known = unpatchify(plan(model, request).known, grid, model.patch)[None]
    noise[:, :, :1] = known[:, :, :1]
    told = arguments(grid, model) | {"frame_rate": model.fps, "image": Image.fromarray(picture())}
    wanted = pipe(**told, latents=packed(noise), output_type="latent").frames
    wanted = wanted.mT.unflatten(2, noise.shape[2:])
    latents, _ = made(model, request)
    assert (latents - wanted).abs().max() <= TOLERANCE
    assert torch.equal(latents[:, :, 0], known[:, :, 0])


def test_cogvideox_is_the_pipeline(tmp_path, monkeypatch):
    """Its steps are those of DDIM, which in our levels are Euler's."""
    pipe, model = opened("cogvideox", tmp_path, "CogVideoXPipeline")
    pipe.scheduler.set_timesteps(STEPS)
    signal = pipe.scheduler.alphas_cumprod[pipe.scheduler.timesteps]
    levels = noising.sigma_from_vp(signal.sqrt(), (1 - signal).sqrt())
    path = torch.cat([levels, levels.new_zeros(1)]).float()
    assert path[0] == 1 and bool((path.diff() < 0).all())
    monkeypatch.setattr(engine.schedule, "uniform", lambda steps, shift: path)
    request = request_of(size=Size(48, 32), num_frames=17, fps=8)
    noise, grid = noise_of(model, request)
    told = arguments(grid, model) | {"max_sequence_length": 16}
    wanted, frames = (
        pipe(**told, latents=noise.transpose(1, 2).clone(), output_type=kind).frames
        for kind in ("latent", "np")
    )
    same(*interleaved(made(model, request), wanted.transpose(1, 2), frames))


def test_cogvideox_without_rotary_positions(tmp_path):
    """As the 2B weights: the network alone, asked as the pipeline asks it."""
    folder = tmp_path / "cogvideox-2b"
    tiny.cogvideox(folder, rotary=False)
    clip = engine.generate(
        models.load(folder), [TASKS["generate"](PROMPT, seconds=1, size=Size(32, 32), steps=2)]
    )[0]
    assert clip.num_frames == 9


def test_two_networks_share_the_levels(tmp_path):
    """Wan 2.2 A14B: one for high noise, one for low."""
    folder = tmp_path / "wan"
    tiny.wan(folder)
    first = diffusers.WanPipeline.from_pretrained(str(folder), dtype=torch.float32)
    torch.manual_seed(1)
    second = diffusers.WanTransformer3DModel.from_config(first.transformer.config)
    parts = {n: getattr(first, n) for n in ("tokenizer", "text_encoder", "vae", "transformer")}
    both = diffusers.WanPipeline(
        **parts, scheduler=first.scheduler, transformer_2=second, boundary_ratio=0.6
    )
    both.save_pretrained(folder)
    both.set_progress_bar_config(disable=True)
    both.scheduler = ours(both.scheduler)
    model = models.load(folder, dtype=torch.float32)
    request = request_of(size=Size(32, 32), num_frames=5, fps=16, shift=1.0)
    noise, grid = noise_of(model, request)
    wanted = both(**arguments(grid, model), latents=noise, output_type="latent").frames
    assert (made(model, request)[0] - wanted).abs().max() <= TOLERANCE

    (clip,) = engine.generate(model, [request])
    edits = [  # one begins below the boundary, the other above, in one batch
        TASKS["edit"](clip, PROMPT, strength=strength, steps=STEPS, sampler="euler", seed=5)
        for strength in (0.3, 0.95)
    ]
    _, together = engine.sample(model, edits)
    for edit, tokens in zip(edits, together, strict=True):
        assert (engine.sample(model, [edit])[1][0] - tokens).abs().max() <= TOLERANCE


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "without model_index.json"),
        ({"model_index.json": "{"}, "is not JSON"),
        ({"model_index.json": '{"_class_name": "FluxPipeline"}'}, "holds a FluxPipeline .accepted: Wan"),
        ({"model_index.json": '{"_class_name": "WanPipeline"}'}, "cannot be opened as a WanPipeline"),
    ],
)  # fmt: skip
def test_a_folder_that_cannot_be_opened(tmp_path, files, words):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=words):
        models.load(tmp_path)


def test_a_file_that_was_cut_short(tmp_path):
    tiny.wan(tmp_path / "wan")
    (file,) = (tmp_path / "wan" / "text_encoder").glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(DataError, match="cannot be opened as a WanPipeline"):
        models.load(tmp_path / "wan")


def test_weights_that_read_more_are_refused(tmp_path):
    """Wan 2.1 I2V has the picture in further channels; CogVideoX 1.5 has patches of two frames."""
    tiny.wan(tmp_path / "wan")
    config = tmp_path / "wan" / "transformer" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"in_channels": 36}))
    for weights in config.parent.glob("*.safetensors"):
        network = diffusers.WanTransformer3DModel.from_config(json.loads(config.read_text()))
        network.save_pretrained(config.parent)
        assert weights.exists()
    with pytest.raises(DataError, match=r"36 channels \(accepted: the 16"):
        models.load(tmp_path / "wan")


def test_no_student_and_no_extra(tmp_path, monkeypatch):
    tiny.wan(tmp_path / "wan")
    with pytest.raises(DataError, match="no student"):
        models.load(tmp_path / "wan", fast=True)
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(MissingExtra, match=r"worldtube\[diffusers\]"):
        models.load(tmp_path / "wan")


def test_nothing_is_imported_before_it_is_needed():
    import subprocess

    code = "import sys, worldtube.models; sys.exit('diffusers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("name", tiny.FOLDERS)
def test_what_the_text_encoder_cuts_off_is_known(name, tmp_path):
    """The states of a prompt are those of the part that is read."""
    folder = tmp_path / "model"
    tiny.FOLDERS[name](folder)
    model = models.load(folder, dtype=torch.float32)
    prompt = "ab" * model.family.max_tokens
    unread = model.unread(prompt)
    assert model.unread("a red ball") == "" and prompt.endswith(unread)
    (whole, read) = (model.embed([text]).states for text in (prompt, prompt.removesuffix(unread)))
    assert unread and torch.equal(whole, read)


class Malicious:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize("kind", ["noise", "empty", "text", "malicious", "malicious zip"])
@pytest.mark.parametrize("part", ["text_encoder", "transformer"])
def test_pickled_weights_that_are_damaged_or_hold_code(tmp_path, kind, part):
    tiny.wan(tmp_path / "wan")
    (file,) = (tmp_path / "wan" / part).glob("*.safetensors")
    file.unlink()
    broken = file.parent / ("pytorch_model.bin" if part == "text_encoder" else f"{file.stem}.bin")
    content = {
        "noise": np.random.default_rng(0).bytes(4000),
        "empty": b"",
        "text": b"version https://git-lfs.github.com/spec/v1\n",
        "malicious": pickle.dumps(Malicious(tmp_path / "made")),
    }
    if kind == "malicious zip":
        torch.save({"weight": Malicious(tmp_path / "made")}, broken)
    else:
        broken.write_bytes(content[kind])
    with pytest.raises(DataError, match="wan cannot be opened as a WanPipeline") as told:
        models.load(tmp_path / "wan")
    assert "\n" not in str(told.value) and not (tmp_path / "made").exists()
    if kind == "malicious zip":
        assert "no code of it was run" in str(told.value)


@pytest.mark.parametrize("parts", [("transformer",), ("transformer", "text_encoder", "vae")])
def test_weights_that_are_there_as_a_variant_alone(tmp_path, parts):
    """As hubs offer them for smaller downloads."""
    folder = tmp_path / "wan"
    tiny.wan(folder)
    model = models.load(folder, dtype=torch.float32)
    for part in parts:
        (file,) = (folder / part).glob("*.safetensors")
        file.rename(file.with_suffix(".fp16.safetensors"))
    variant = models.load(folder, dtype=torch.float32)
    before, after = (m.family.transformer.state_dict() for m in (model, variant))
    assert all(torch.equal(before[name], after[name]) for name in before)
    file = next((folder / "transformer").glob("*.safetensors"))
    file.rename(file.with_name(file.name.replace("fp16", "fp8")))
    if len(parts) > 1:
        with pytest.raises(DataError, match="only variants of its weights, fp16, fp8"):
            models.load(folder)


def test_a_folder_of_a_hubs_cache_names_the_model_inside(tmp_path):
    inside = tmp_path / "models--a--b" / "snapshots" / "0123abcd"
    tiny.wan(inside)
    with pytest.raises(
        DataError, match=r"without model_index.json \(accepted: .*/snapshots/0123abcd\)"
    ):
        models.load(tmp_path / "models--a--b")
    assert models.load(inside).name == "0123abcd"
