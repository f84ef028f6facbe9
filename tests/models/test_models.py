"""Our own weights there and back."""

import numpy as np
import pytest
import torch

from worldtube import models
from worldtube.codec import CodecConfig, VideoCodec
from worldtube.errors import DataError, RequestError
from worldtube.generate import engine
from worldtube.generate.tasks import TASKS
from worldtube.models.local import Card, LocalModel, latents_version
from worldtube.tokens import TRACKS, pack
from worldtube.transformer import Transformer, TransformerConfig
from worldtube.video import Clip, Size

SIZES = TransformerConfig(token_width=64, width=32, depth=1, head_width=16, hidden=32, text_depth=1)


def local():
    torch.manual_seed(0)
    codec = VideoCodec(CodecConfig(channels=16, encoder_widths=(8, 8), decoder_widths=(8, 8)))
    network = Transformer(SIZES)
    with torch.no_grad():  # open what starts closed
        for p in network.parameters():
            p.add_(0.05 * torch.randn_like(p))
    return LocalModel(Card(), codec, network, torch.bfloat16, bank=torch.eye(512)[:4])


def clip_for(model, frames=3, side=2):
    frames = 1 + (frames - 1) * model.stride[0]
    side = side * model.stride[1]
    pixels = np.random.default_rng(0).integers(60, 200, (frames, side, side, 3), dtype=np.uint8)
    pixels[:] = pixels[:, :1, :1]  # flat frames, which any codec can hold
    return Clip(frames=pixels, fps=model.fps)


def test_what_does_not_fit_is_refused():
    model = local()
    for size in (Size(70, 64), Size(64, 8), Size(4096, 4096)):
        with pytest.raises(RequestError, match=str(size)):
            model.grid(size, 5, 12.0)
    with pytest.raises(RequestError, match="6 frames"):
        model.grid(Size(64, 64), 6, 12.0)


def test_what_is_not_read_of_a_prompt():
    model = local()
    assert model.unread("a red ball") == model.unread("") == ""
    assert model.unread("a red ball and " * 30 + "a cup").endswith("a cup")


def test_there_and_back(tmp_path):
    model, path = local(), tmp_path / "model.safetensors"
    models.save(model, path)
    again = models.load(path, dtype=torch.bfloat16)
    assert again.card == model.card and torch.equal(again.bank.float(), model.bank)
    reading = model.read(model.embed(["a red ball"]))
    layout = model.layout(model.grid(Size(32, 32), 5, 12.0))
    x, sigma = torch.randn(layout.bounds[-1], 64), torch.full((layout.bounds[-1],), 0.7)
    assert torch.equal(
        model.velocity(x, sigma, layout, reading), again.velocity(x, sigma, layout, reading)
    )
    assert not list(tmp_path.glob("*.part"))


def test_codec_file_and_version(tmp_path):
    model = local()
    models.save_codec(model.codec, tmp_path / "codec.safetensors")
    models.save(model, tmp_path / "model.safetensors")
    _, version = models.load_codec(tmp_path / "codec.safetensors")
    assert (
        models.load_codec(tmp_path / "model.safetensors")[1]
        == version
        == latents_version(model.codec)
    )
    with torch.no_grad():
        model.codec.decoder.linear.weight.add_(1)
    assert latents_version(model.codec) == version, "another decoder reads the same latents"
    with torch.no_grad():
        model.codec.encoder.linear.weight.add_(1)
    assert latents_version(model.codec) != version
    with pytest.raises(DataError, match="codec only"):
        models.load(tmp_path / "codec.safetensors")


def test_latents_shift_and_scale():
    model = local()
    card = Card(latent_scale=(2.0,) * 16, latent_shift=(0.5,) * 16)
    scaled = LocalModel(card, model.codec, model.transformer)
    clip = clip_for(model)
    torch.testing.assert_close(scaled.encode(clip), (model.encode(clip) - 0.5) / 2)
    grid = model.grid(clip.size, clip.num_frames, clip.fps)
    difference = scaled.decoder(grid)(scaled.encode(clip)).astype(int) - model.decoder(grid)(
        model.encode(clip)
    )
    assert np.abs(difference).max() <= 1


def rolled(model):
    """The velocity of some noise, two shapes, with words."""
    reading = model.read(model.embed(["a red ball rolls", ""]))
    grids = [model.grid(Size(64, 64), count, 12.0) for count in (5, 1)]
    layout = pack([model.layout(grid) for grid in grids])
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(layout.bounds[-1], model.token_width, generator=generator)
    return model.velocity(x, torch.full((len(x),), 0.7), layout, reading)


@pytest.mark.parametrize(
    "tracks", [(*TRACKS, "camera"), ("camera", *TRACKS[::-1])], ids=["appended", "reordered"]
)
@pytest.mark.parametrize("fast", [False, True])
def test_another_track_leaves_old_files_loadable(monkeypatch, tracks, fast):
    """The file that ships names no tracks; its outputs stay equal when one is added to TRACKS."""
    before = rolled(models.load(fast=fast))
    for module in ("tokens", "transformer.network", "models.local", "models.weights"):
        monkeypatch.setattr(f"worldtube.{module}.TRACKS", tracks)
    model = models.load(fast=fast)
    assert len(model.transformer.kind.weight) == 2 * len(tracks)
    assert torch.equal(rolled(model), before)
    added = model.transformer.kind.weight.unflatten(0, (-1, 2))[tracks.index("camera")]
    assert not added.any(), "a new track begins at zero, the same on every load"


def test_tracks_go_with_the_file(tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    for module in ("tokens", "transformer.network", "models.local", "models.weights"):
        monkeypatch.setattr(f"worldtube.{module}.TRACKS", ("camera", "rgb"))
    model = local()
    before = rolled(model)
    models.save(model, path)
    assert torch.equal(rolled(models.load(path, dtype=torch.bfloat16)), before)
    monkeypatch.undo()
    with pytest.raises(DataError, match=r"tracks of a newer version: camera \(accepted: rgb, "):
        models.load(path)


def test_what_depends_on_the_layout_alone_is_computed_once_a_chunk(monkeypatch):
    model = local()
    calls = []
    context = Transformer.context
    monkeypatch.setattr(
        Transformer,
        "context",
        lambda self, layout, *more: calls.append(layout.bounds) or context(self, layout, *more),
    )
    request = TASKS["generate"]("a red ball", size=Size(16, 16), seconds=0.4, steps=5, seed=1)
    engine.generate(model, [request])
    (one,) = set(calls)
    assert calls == [one]  # with guidance both sides go through the network as one pack
    assert model._contexts == [] or model._contexts[0][0]() is None  # none outlives its chunk
