"""Fine-tuning with one's own clips: what is missing is computed, both ways learn, captions are asked for."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_loop import CONFIG, prepared, run  # noqa: F401 - a fixture

from worldtube import models
from worldtube.cli import main
from worldtube.data import caption
from worldtube.data.catalog import Catalog
from worldtube.data.catalog import row as catalog_row
from worldtube.data.manifest import Manifest
from worldtube.data.views import save_view
from worldtube.models import load
from worldtube.models.local import load_codec, save
from worldtube.records import read
from worldtube.train.finetune import finetune_config, own_prompts
from worldtube.train.loop import setup
from worldtube.train.validation import Validation
from worldtube.video import Clip


@pytest.fixture(scope="module")
def base(prepared, tmp_path_factory):  # noqa: F811
    """A small model of 16 x 16 pixels."""
    folder = tmp_path_factory.mktemp("base")
    run(prepared, folder, replace(CONFIG, steps=30, size=16, rate=1e-2))
    return folder / "model.safetensors"


def own_clips(folder, *, captioned=True, count=6):
    """As people bring them: no truth, no masks."""
    rows = []
    for i in range(count):
        frames = np.full((9, 16, 16, 3), 20, np.uint8)
        frames[:, 2 + i : 6 + i, 4:12] = (240, 240, 60 + 20 * i)
        captions = {c: f"a bar of light, {i} down" for c in ("short", "medium", "long")}
        clip = Clip(frames=frames, fps=12.0)
        one = catalog_row("own", 1, i, clip, captions, {}) | {"truth": None}
        if not captioned:
            one |= {f"caption_{c}": None for c in ("short", "medium", "long")}
        rows.append(one)
    with Catalog(folder, mode="a") as catalog:
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
    with Catalog(data) as catalog:
        assert not catalog.missing("latents") and not catalog.missing("text_long")
    assert main([*words[:-1], *way[-1:]]) == 0, "a run that is done is done"
    save(models.load(out / "model.safetensors"), tmp_path / "again.safetensors")


def test_without_captions_it_says_what_to_do(base, tmp_path, capsys):
    data = own_clips(tmp_path / "clips", captioned=False)
    words = ["train", "finetune", "--data", str(data), "--out", str(tmp_path / "run")]
    assert main([*words, "--model", str(base)]) == 2
    assert "has no captions" in (said := capsys.readouterr().err) and "worldtube caption" in said
    with Catalog(data, mode="a") as catalog:
        catalog.add_column("captions_endpoint", "of one that told nothing")
    assert main([*words, "--model", str(base)]) == 2
    assert "has no captions" in capsys.readouterr().err


def test_words_of_a_captioner_are_the_models_own(base, tmp_path, capsys):
    """They are what is cached, what the sheets show and what the model is at home with."""
    data, out = own_clips(tmp_path / "clips", captioned=False), tmp_path / "run"
    with Catalog(data, mode="a") as catalog:
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


def test_the_defaults_are_the_models_own():
    model = models.load()
    config = finetune_config(model)
    assert config.model == model.transformer.config and config.patch == model.card.patch == 1
    assert config.lora and finetune_config(model, rank=0).lora == 0
    assert finetune_config(model, rank=0).rate < config.rate


def test_a_run_may_learn_from_a_saved_view(base, tmp_path, capsys):
    data, out = own_clips(tmp_path / "clips"), tmp_path / "run"
    with Catalog(data) as catalog:
        save_view(catalog, "low", "seed >= 4")
    words = ["train", "finetune", "--data", str(data), "--out", str(out), "--model", str(base)]
    words += ["--steps", "2", "--rows", "2", "--threads", "1", "--view"]
    assert main([*words, "lwo"]) == 2 and "low" in capsys.readouterr().err
    assert main([*words, "low"]) == 0
    ids = Manifest.load(out).ids
    assert [name.split(":")[2] for name in ids[0]] == ["4", "5"]
    assert own_prompts([data], ids) == ("a bar of light, 4 down", "a bar of light, 5 down")
