"""What changes memory, speed or reach and not the result: checkpointing of gradients, compiling; adapters; the page."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from states import same, state_of
from test_loop import CONFIG, prepared, row, run  # noqa: F401 - a fixture

from worldtube.cli import main
from worldtube.data.catalog import Catalog
from worldtube.data.latents import cache_latents, cache_text, cache_truth
from worldtube.errors import DataError, MissingExtra, NotFound, RequestError
from worldtube.models import load, load_codec
from worldtube.models.adapters import merged
from worldtube.models.adapters import read as read_adapters
from worldtube.records import read
from worldtube.text.encoder import TextEncoder
from worldtube.train import report, tracking
from worldtube.train.checkpoint import Checkpoints
from worldtube.train.loop import setup


def gradients(prepared, **changes):  # noqa: F811
    """Of one batch, for weights that are all at work."""
    config = replace(CONFIG, dtype="float32", **changes)
    made = setup(config, codec=prepared / "codec.safetensors", start=None)
    with torch.no_grad():
        for number, p in enumerate(made.model.transformer.parameters()):
            p.add_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(number)))
    batch = made.batches(config, [prepared / "data"]).batch(2)
    loss, _ = made.objective(made.model.transformer, batch, step=2)
    loss.backward()
    return loss, {name: p.grad for name, p in made.model.transformer.named_parameters()}


def test_gradient_checkpointing_changes_nothing(prepared):  # noqa: F811
    plain, lean = gradients(prepared), gradients(prepared, gradient_checkpointing=True)
    assert torch.equal(plain[0], lean[0])
    for name, gradient in plain[1].items():
        assert (gradient is None) == (lean[1][name] is None)
        assert gradient is None or torch.equal(gradient, lean[1][name]), name


@pytest.mark.compile
@pytest.mark.filterwarnings("ignore")  # of the compiler's own
def test_compiled_blocks_give_the_same_gradients(prepared):  # noqa: F811
    plain, fast = gradients(prepared), gradients(prepared, compile=True)
    torch.testing.assert_close(plain[0], fast[0], rtol=1e-5, atol=0)
    for name, gradient in plain[1].items():
        size = 0 if gradient is None else gradient.abs().max()
        assert gradient is None or (gradient - fast[1][name]).abs().max() <= 1e-4 * size, name


def test_a_checkpoint_that_finds_no_space_leaves_the_one_before(prepared, tmp_path):  # noqa: F811
    """Files may grow to 100 kB from step 3 on: the run says so, and the checkpoint of step 2 is whole."""
    program = (
        "import resource, signal, sys; from pathlib import Path; sys.path.insert(0, sys.argv[1])\n"
        "from test_loop import CONFIG, train; from dataclasses import replace\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "def kept(step, numbers):\n"
        "    if step == 3: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, -1))\n"
        "p = Path(sys.argv[2]); config = replace(CONFIG, steps=6, checkpoint_minutes=0.0)\n"
        "from worldtube.train.checkpoint import Checkpoints; honest = Checkpoints.save\n"
        "def save(self, state, *, step, **facts):\n"
        "    self.wait()\n"
        "    if step == 3: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, -1))\n"
        "    honest(self, state, step=step, **facts)\n"
        "Checkpoints.save = save\n"
        "train(config, data=[p / 'data'], codec=p / 'codec.safetensors', out=Path(sys.argv[3]))"
    )
    here, out = os.path.dirname(__file__), tmp_path / "run"
    made = subprocess.run(
        [sys.executable, "-c", program, here, str(prepared), str(out)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=200,
    )
    assert made.returncode != 0
    assert Checkpoints(out).facts()["step"] == 2 and state_of(out)["updates"] == 2
    assert not list((out / "checkpoints").glob("*.partial")), "nothing half-written stays"
    assert "could not be written" in made.stderr or "File too large" in made.stderr
    run(prepared, out, replace(CONFIG, steps=6))
    run(prepared, tmp_path / "whole", replace(CONFIG, steps=6))
    assert state_of(out)["step"] == 6 and same(state_of(out), state_of(tmp_path / "whole"))


def test_only_the_newest_checkpoints_stay(prepared, tmp_path):  # noqa: F811
    run(prepared, tmp_path, replace(CONFIG, steps=5, checkpoint_minutes=0.0, checkpoints=3))
    folder = tmp_path / "checkpoints"
    assert sorted(p.name for p in folder.iterdir()) == [
        "00000003",
        "00000004",
        "00000005",
        "latest",
    ]
    (folder / "00000005" / "facts.json").write_text("{")
    with pytest.raises(DataError, match=r"not a complete checkpoint.*00000003 or 00000004 in "):
        run(prepared, tmp_path)
    (folder / "latest").write_text("00000004")
    run(prepared, tmp_path, replace(CONFIG, steps=5))
    assert Checkpoints(tmp_path).facts()["step"] == 5


@pytest.mark.parametrize("text", ["", "\n", "\0" * 8])
def test_an_empty_latest_means_the_newest_checkpoint(tmp_path, caplog, text):
    folder = tmp_path / "checkpoints"
    for step in (2, 4):
        (folder / f"{step:08d}").mkdir(parents=True)
        (folder / f"{step:08d}" / "facts.json").write_text(json.dumps({"step": step}))
    (folder / "latest").write_text(text)
    assert Checkpoints(tmp_path).facts() == {"step": 4}
    assert "latest is empty; going on from step 4" in caplog.text
    for step in (2, 4):
        shutil.rmtree(folder / f"{step:08d}")
    with pytest.raises(DataError, match=r"no checkpoint is beside it .*checkpoints is deleted"):
        Checkpoints(tmp_path)


def test_a_run_keeps_the_clips_it_began_with(prepared, tmp_path):  # noqa: F811
    run(prepared, tmp_path, replace(CONFIG, steps=2, log_samples=True))
    path = tmp_path / "manifest.json"
    told = json.loads(path.read_text())
    assert len(told["ids"][0]) == 12
    told["ids"][0] = told["ids"][0][:6]
    path.write_text(json.dumps(told))
    with pytest.raises(DataError, match="manifest"):
        run(prepared, tmp_path, replace(CONFIG, steps=4))


def test_clips_that_came_since_change_nothing(prepared, tmp_path):  # noqa: F811
    """Neither what is learned nor what the model is at home with."""
    grown, config = tmp_path / "grown", replace(CONFIG, steps=4, log_samples=True)
    shutil.copytree(prepared, grown)
    run(prepared, tmp_path / "whole", config)
    steps = iter(range(1, 100))
    run(grown, tmp_path / "parts", config, until=lambda: next(steps) > 2)
    codec, version = load_codec(grown / "codec.safetensors")
    catalog = Catalog(grown / "data", mode="a")
    catalog.append([{**row(i), "caption_medium": "a stripe"} for i in range(12, 20)])
    assert cache_latents(catalog, codec, version=version) == 8
    assert cache_text(catalog, TextEncoder()) == cache_truth(catalog, codec.stride) == 8
    run(grown, tmp_path / "parts", config)
    whole, parts = (
        [line["ids"] for line in read(tmp_path / name / "samples.jsonl")[1]]
        for name in ("whole", "parts")
    )
    assert len(whole) == 4 and whole == parts
    models = [load(tmp_path / name / "model.safetensors") for name in ("whole", "parts")]
    assert torch.equal(models[0].bank, models[1].bank)
    assert same(state_of(tmp_path / "whole"), state_of(tmp_path / "parts"))
    run(grown, tmp_path / "new", replace(config, steps=1))
    assert len(json.loads((tmp_path / "new" / "manifest.json").read_text())["ids"][0]) == 20


def test_validation_is_the_same_each_time(prepared, tmp_path):  # noqa: F811
    config = replace(CONFIG, steps=6, validate_every=3, rate=0.0)
    run(prepared, tmp_path, config, validation=[prepared / "data"])
    measured = [row for row in read(tmp_path / "record.jsonl")[1] if "validation_loss" in row]
    assert [row["step"] for row in measured] == [3, 6]
    names = [name for name in measured[0] if name.startswith("validation_loss")]
    assert len(names) > 5 and all(measured[0][name] == measured[1][name] for name in names)


def test_adapters_are_merged_into_the_model(prepared, tmp_path, caplog):  # noqa: F811
    full = run(prepared, tmp_path / "full", replace(CONFIG, steps=2))
    start = tmp_path / "full" / "model.safetensors"
    config = replace(CONFIG, steps=6, lora=4, rate=1e-2)
    run(prepared, tmp_path / "few", config, start=start)
    state = state_of(tmp_path / "few")
    assert state["masters"].keys() == state["ema"].keys()
    assert all(name.endswith((".up", ".down")) for name in state["masters"])
    adapters = read_adapters(tmp_path / "few" / "adapters.safetensors")
    assert adapters.keys() == state["masters"].keys()
    base = load(start, dtype=torch.float32).transformer.state_dict()
    wanted = merged(base | adapters)
    found = load(tmp_path / "few" / "model.safetensors", dtype=torch.float32).transformer
    changed = 0
    for name, value in found.state_dict().items():
        assert torch.equal(value, wanted[name].bfloat16().float()), name
        changed += not torch.equal(value, base[name])
    assert changed == len(adapters) // 2
    with pytest.raises(RequestError, match=f"1 to {full.transformer.config.width - 1}"):
        run(prepared, tmp_path / "none", replace(CONFIG, lora=64))
    with pytest.raises(DataError, match="lora is 4 there and 0 here"):
        run(prepared, tmp_path / "few", replace(CONFIG, steps=6))
    path = tmp_path / "few" / "adapters.safetensors"
    beside = load(start, adapters=path, dtype=torch.float32).transformer.state_dict()
    assert all(torch.equal(beside[name], value) for name, value in wanted.items())
    assert "beside the weights" not in caplog.text
    load(tmp_path / "few" / "model.safetensors", adapters=path)  # which has them already
    assert "were trained beside the weights of another model" in caplog.text
    with pytest.raises(NotFound, match="no adapters"):
        load(start, adapters=tmp_path / "adapters.safetensors")
    for other in (start, prepared / "codec.safetensors"):
        with pytest.raises(DataError, match="does not fit this model"):
            load(start, adapters=other)
    with pytest.raises(DataError, match="does not fit this model"):
        load(adapters=path)
    with pytest.raises(RequestError, match="do not go with a student"):
        load(adapters=path, fast=True)


def test_the_page_of_a_run(prepared, tmp_path, capsys):  # noqa: F811
    out = tmp_path / "run"
    config = replace(CONFIG, steps=6, sample_every=3, sample_steps=1, sample_prompts=("a square",))
    run(prepared, out, config, validation=[prepared / "data"])
    page = (out / "report.html").read_text()
    for said in ("Loss by noise level", "loss_high_noise", "Validation loss", "Tokens a second"):
        assert said in page
    assert "Most memory" in page and page.count("data:image/webp;base64,") == 2
    assert "http" not in page.replace("https://", "http://").split("Configuration")[0]
    assert main(["report", str(out), "--out", str(tmp_path / "page.html")]) == 0
    assert (tmp_path / "page.html").read_text() == page
    assert main(["report", str(prepared)]) == 2
    assert "no record of a run" in capsys.readouterr().err


def test_lines_of_a_chart_are_thinned():
    points = [(x, float(x % 2)) for x in range(1000)]
    few = report.thinned(points)
    assert len(few) <= report.POINTS and few[-1][0] == 999
    assert all(0.3 < y < 0.7 for _, y in few)
    assert report.chart("empty", [{"step": 1, "loss": float("nan")}], ["loss"]) == ""


def test_tensorboard_hears_every_line(prepared, tmp_path):  # noqa: F811
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run(prepared, tmp_path, replace(CONFIG, steps=4), track=("tensorboard",))
    run(prepared, tmp_path, replace(CONFIG, steps=6), track=("tensorboard",))
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    heard = [(event.step, event.value) for event in events.Scalars("loss")]
    rows = read(tmp_path / "record.jsonl")[1]
    assert heard == [(row["step"], pytest.approx(row["loss"])) for row in rows]


@pytest.mark.parametrize("name", ["trackio", "wandb"])
def test_services_are_called_alike(tmp_path, monkeypatch, name):
    """A module of its own in place of one that is not installed; without any, the extra is named."""
    monkeypatch.setitem(sys.modules, name, None)
    with (
        pytest.raises(MissingExtra, match=rf"worldtube\[{name}\]"),
        tracking.tracked([name], tmp_path, {}, 0),
    ):
        pass
    calls = []

    class Module:
        init = staticmethod(lambda **given: calls.append(given))
        log = staticmethod(lambda numbers, step: calls.append((step, numbers)))
        finish = staticmethod(lambda: calls.append("finished"))

    monkeypatch.setitem(sys.modules, name, Module)
    for folder in (tmp_path / "run", tmp_path / "other" / "run"):
        folder.mkdir(parents=True)

    def told(folder, step):
        calls.clear()
        with tracking.tracked([name], folder, {"steps": 2}, step) as log:
            log(step=step + 1, loss=0.5)
        assert calls[0]["config"] == {"steps": 2} and calls[0]["resume"] == "allow"
        assert calls[1:] == [(step + 1, {"loss": 0.5}), "finished"]
        assert calls[0]["name"].startswith("run")
        return calls[0]["id" if name == "wandb" else "name"]

    first = told(tmp_path / "run", 0)
    assert told(tmp_path / "run", 1) == first  # it goes on
    assert told(tmp_path / "other" / "run", 0) != first
    assert told(tmp_path / "run", 0) != first  # begun anew
    with (
        pytest.raises(RequestError, match="did you mean 'wandb'"),
        tracking.tracked(["wandbb"], tmp_path, {}, 0),
    ):
        pass
