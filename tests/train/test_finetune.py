"""Fine-tuning with one's own clips: what is missing is computed, both ways learn, captions are asked for."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_loop import CONFIG, prepared, run  # noqa: F401 - a fixture

from worldtube import models
from worldtube.cli import main
from worldtube.cli.bar import Bar
from worldtube.data import caption
from worldtube.data.batches import ready
from worldtube.data.catalog import Catalog
from worldtube.data.catalog import row as catalog_row
from worldtube.data.latents import CAPTIONS, cache_text, words
from worldtube.data.manifest import Manifest
from worldtube.data.views import save_view
from worldtube.errors import DataError
from worldtube.models import load
from worldtube.models.local import load_codec, save
from worldtube.records import read
from worldtube.text.encoder import TextEncoder
from worldtube.train.finetune import finetune_config, own_prompts, prepare
from worldtube.train.loop import setup
from worldtube.train.validation import Validation
from worldtube.video import Clip


@pytest.fixture(scope="module")
def base(prepared, tmp_path_factory):  # noqa: F811
    """A small model of 16 x 16 pixels."""
    folder = tmp_path_factory.mktemp("base")
    run(prepared, folder, replace(CONFIG, steps=30, size=16, rate=1e-2))
    return folder / "model.safetensors"


def own_clips(folder, *, captioned=True, first=0, count=6):
    """As people bring them: no truth, no masks."""
    rows = []
    for i in range(first, first + count):
        frames = np.full((9, 16, 16, 3), 20, np.uint8)
        frames[:, 2 + i : 6 + i, 4:12] = (240, 240, 60 + 20 * i)
        captions = {c: f"a bar of light, {i} down" for c in ("short", "medium", "long")}
        clip = Clip(frames=frames, fps=12.0)
        one = catalog_row("own", 1, i, clip, captions, {}) | {"truth": None}
        if not captioned:
            one |= {f"caption_{c}": None for c in ("short", "medium", "long")}
        rows.append(one)
    catalog = Catalog(folder, mode="a")
    catalog.append(rows)
    return folder


def loss(path, data):
    """Of a model, on clips, with the same levels and noise each time."""
    config = finetune_config(load(path))
    made = setup(replace(config, lora=0, dtype="float32"), codec=path, start=path)
    return Validation(made.batches(config, [data]), made.ranks)(made.model.transformer.eval())[
        "validation_loss"
    ]


@pytest.mark.parametrize("way", [["--lora", "4"], ["--full"]], ids=["lora", "full"])
def test_a_model_goes_on_with_own_clips(base, tmp_path, capsys, way):
    data = own_clips(tmp_path / "clips")
    out = tmp_path / "run"
    words = ["train", "finetune", "--data", str(data), "--out", str(out), "--model", str(base)]
    words += ["--steps", "40", "--rows", "4", "--rate", "1e-2", "--threads", "1", *way]
    assert main(words) == 0
    assert capsys.readouterr().out.strip() == str(out / "model.safetensors")
    assert read(out / "record.jsonl")[1][-1]["step"] == 40
    assert loss(out / "model.safetensors", data) < 0.9 * loss(base, data)
    assert (out / "before.png").is_file() and (out / "after.png").is_file()
    assert (out / "adapters.safetensors").exists() == (way[0] == "--lora")
    before, after = load(base), load(out / "model.safetensors")
    assert after.card.patch == before.card.patch and after.card.fps == before.card.fps
    assert after.transformer.config == before.transformer.config
    assert len(after.bank) == len(before.bank) + 6, "it still knows what it knew"
    assert load_codec(base)[1] == load_codec(out / "model.safetensors")[1]
    catalog = Catalog(data)
    assert not catalog.missing("latents") and not catalog.missing("text_long")
    assert main([*words[:-1], *way[-1:]]) == 0, "a run that is done is done"
    save(models.load(out / "model.safetensors"), tmp_path / "again.safetensors")


def test_without_captions_it_says_what_to_do(base, tmp_path, capsys):
    data = own_clips(tmp_path / "clips", captioned=False)
    words = ["train", "finetune", "--data", str(data), "--out", str(tmp_path / "run")]
    assert main([*words, "--model", str(base)]) == 2
    assert "has no captions" in (said := capsys.readouterr().err) and "worldtube caption" in said
    catalog = Catalog(data, mode="a")
    catalog.add_column("captions_endpoint", "of one that told nothing")
    assert main([*words, "--model", str(base)]) == 2
    assert "has no captions" in capsys.readouterr().err


def test_clips_without_captions_are_left_out_and_told(base, tmp_path, caplog):
    data = own_clips(tmp_path / "clips", count=4)
    own_clips(data, captioned=False, first=4, count=2)
    words = ["train", "finetune", "--data", str(data), "--out", str(tmp_path / "run")]
    assert (
        main([*words, "--model", str(base), "--steps", "1", "--rows", "2", "--threads", "1"]) == 0
    )
    assert f"2 of the 6 clips of {data} have no caption and are left out" in caplog.text


def test_words_of_a_captioner_are_the_models_own(base, tmp_path, capsys):
    """They are what is cached, what the sheets show and what the model is at home with."""
    data, out = own_clips(tmp_path / "clips", captioned=False), tmp_path / "run"
    catalog = Catalog(data, mode="a")
    for name in catalog.ids():
        text = f"a line of light, take {name.split(':')[2]}"
        (tmp_path / f"{name.replace(':', '_')}.txt").write_text(text)
    caption.fill(catalog, caption.captioner("sidecar", folder=tmp_path))
    words = ["train", "finetune", "--data", str(data), "--out", str(out), "--model", str(base)]
    words += ["--steps", "1", "--rows", "2", "--threads", "1"]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "captions by sidecar" in said and f"worldtube cache {data} --captions sidecar" in said
    assert main(["cache", str(data), "--codec", str(base), "--captions", "sidecar"]) == 0
    assert main(words) == 0
    prompts = read(out / "record.jsonl")[0]["config"]["sample_prompts"]
    assert prompts == [f"a line of light, take {i}" for i in range(6)]
    model = load(out / "model.safetensors")
    assert len(model.bank) == len(load(base).bank) + 6
    torch.testing.assert_close(
        model.bank[-6:].float(), model.text.sentence(prompts), atol=1e-3, rtol=0
    )


def test_validation_clips_are_prepared_too(base, tmp_path, capsys):
    """And refused before anything is made, where they cannot be."""
    data, held = own_clips(tmp_path / "clips"), own_clips(tmp_path / "held", count=2)
    bare, out = own_clips(tmp_path / "bare", captioned=False), tmp_path / "run"
    words = ["train", "finetune", "--data", str(data), "--out", str(out), "--model", str(base)]
    words += ["--steps", "2", "--rows", "2", "--threads", "1", "--validation"]
    assert main([*words, str(bare)]) == 2 and not out.exists()
    assert f"{bare} has no captions" in capsys.readouterr().err
    assert main([*words, str(held)]) == 0
    assert "validation_loss" in read(out / "record.jsonl")[1][-1]


def test_the_device_is_asked_for(base, tmp_path, capsys):
    data = own_clips(tmp_path / "clips")
    words = ["train", "finetune", "--data", str(data), "--out", str(tmp_path / "run")]
    for asked in ([*words, "--model", str(base)], ["cache", str(data), "--codec", str(base)]):
        assert main([*asked, "--device", "cuda:77"]) == 2
        assert "device must be one of auto, cpu" in capsys.readouterr().err
    catalog = Catalog(data)
    assert "latents" not in catalog.columns()


@pytest.mark.gpu
def test_own_clips_on_a_gpu(base, tmp_path):
    data, out = own_clips(tmp_path / "clips"), tmp_path / "run"
    assert main(["cache", str(data), "--codec", str(base), "--device", "cuda"]) == 0
    words = ["train", "finetune", "--data", str(data), "--out", str(out), "--model", str(base)]
    words += ["--validation", str(own_clips(tmp_path / "held")), "--device", "cuda"]
    assert main([*words, "--steps", "4", "--rows", "2"]) == 0
    assert (out / "after.png").is_file() and load(out / "model.safetensors").device.type == "cpu"


class Killed(Exception):
    """In place of a signal."""


@pytest.fixture
def killed(monkeypatch):
    """What is called ends where the column gets its second values."""

    def call(function, column):
        honest, left = Catalog.set, iter(range(1))

        def set(self, name, values):
            if name == column and next(left, None) is None:
                raise Killed
            honest(self, name, values)

        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(Catalog, "set", set)
            function()

    return call


@pytest.mark.parametrize("by", [None, "sidecar"])
def test_words_that_a_kill_left_undone_are_made(base, tmp_path, killed, by):
    """Of the captions that they were begun with, so that no clip is left out and none has another's words."""
    data = own_clips(tmp_path / "clips", count=4)
    catalog = Catalog(data, mode="a")
    if by:
        cache_text(catalog, TextEncoder())
        for name in catalog.ids():
            (tmp_path / f"{name.replace(':', '_')}.txt").write_text(f"told of {name}")
        caption.fill(catalog, caption.captioner(by, folder=tmp_path))
    for column in ("text_short", "text_long"):
        killed(lambda: cache_text(catalog, TextEncoder(), captions=by, group=2), column)
        columns = catalog.columns()
        assert len({columns[f"text_{length}"] for length in CAPTIONS}) == 1
    assert len(catalog.missing("text_long")) == 2 and not catalog.missing("text_short")
    prepare(data, base, bar=Bar)
    assert len(ready([catalog])[0]) == 4
    told = [row["medium"] for row in words(catalog, catalog.ids())]
    assert all(text.startswith("told of" if by else "a bar") for text in told)


def test_words_of_two_captioners_are_refused(base, tmp_path):
    """As a kill left them in an earlier version."""
    data = own_clips(tmp_path / "clips")
    prepare(data, base, bar=Bar)
    catalog = Catalog(data, mode="a")
    catalog.add_column("text_short", "other")
    for act in (lambda: prepare(data, base, bar=Bar), lambda: ready([catalog])):
        with pytest.raises(DataError, match=r"text_short of other, text_medium of .* --captions"):
            act()
    assert len(catalog.missing("text_short")) == 6, "nothing was made of it"


def test_the_defaults_are_the_models_own():
    model = models.load()
    config = finetune_config(model)
    assert config.model == model.transformer.config and config.patch == model.card.patch == 1
    assert config.lora and finetune_config(model, rank=0).lora == 0
    assert finetune_config(model, rank=0).rate < config.rate


def test_a_run_may_learn_from_a_saved_view(base, tmp_path, capsys):
    data, out = own_clips(tmp_path / "clips"), tmp_path / "run"
    catalog = Catalog(data)
    save_view(catalog, "low", "seed >= 4")
    words = ["train", "finetune", "--data", str(data), "--out", str(out), "--model", str(base)]
    words += ["--steps", "2", "--rows", "2", "--threads", "1", "--view"]
    assert main([*words, "lwo"]) == 2 and "low" in capsys.readouterr().err
    assert main([*words, "low"]) == 0
    ids = Manifest.load(out).ids
    assert [name.split(":")[2] for name in ids[0]] == ["4", "5"]
    assert own_prompts([data], ids) == ("a bar of light, 4 down", "a bar of light, 5 down")
