"""Law 5: a killed and resumed run equals an uninterrupted one to the bit; patterns, rate and guard."""

import json
import os
import shutil
import signal
import time
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from states import same, state_of

from worldtube.codec import CodecConfig, VideoCodec
from worldtube.data.catalog import Catalog
from worldtube.data.catalog import row as catalog_row
from worldtube.data.latents import (
    TRUTH_CHANNELS,
    cache_latents,
    cache_tails,
    cache_text,
    cache_truth,
)
from worldtube.diffusion.noise import logit_normal
from worldtube.errors import DataError, RequestError, WorldtubeError
from worldtube.models import load, load_codec, save_codec
from worldtube.records import read
from worldtube.text.encoder import TextEncoder
from worldtube.tokens import Grid, join, layout, pack
from worldtube.train import patterns
from worldtube.train.checkpoint import Checkpoints
from worldtube.train.loop import held_out, setup, train
from worldtube.train.optimizer import Optimizer, learning_rate
from worldtube.train.parallel import Ranks
from worldtube.train.recipes import RECIPES
from worldtube.train.start import repatched
from worldtube.train.steps import LOCK, alone
from worldtube.train.student import StudentConfig
from worldtube.transformer import Transformer
from worldtube.video import Clip

CONFIG = replace(RECIPES["tiny"][1], steps=12, sample_every=0, log_every=1)


def row(i):
    """A moving square, as a catalog row."""
    frames = np.full((9, 16, 16, 3), 200, np.uint8)
    for t in range(9):
        frames[t, 4:10, (t + i) % 10 : (t + i) % 10 + 5] = (20 * i % 255, 40, 90)
    clip = Clip(frames=frames, fps=12.0, tracks={"ids": np.zeros((9, 16, 16), np.uint8)})
    captions = {
        "short": "a square",
        "medium": "a square moves right",
        "long": f"a square moves to the right on a light ground, take {i}",
    }
    return catalog_row("square", 1, i, clip, captions, {"seed": i, "objects": []})


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A codec file and a catalog of twelve clips with latents and words."""
    folder = tmp_path_factory.mktemp("prepared")
    torch.manual_seed(0)
    save_codec(
        VideoCodec(CodecConfig(encoder_widths=(8, 8), decoder_widths=(8, 8))),
        folder / "codec.safetensors",
    )
    codec, version = load_codec(folder / "codec.safetensors")
    catalog = Catalog(folder / "data", mode="a")
    catalog.append([row(i) for i in range(12)])
    assert cache_latents(catalog, codec, version=version) == 12
    assert cache_text(catalog, TextEncoder()) == 12
    assert cache_truth(catalog, codec.stride) == 12
    assert cache_latents(catalog, codec, version=version) == 0
    return folder


def run(prepared, out, config=CONFIG, **more):
    return train(
        config, data=[prepared / "data"], codec=prepared / "codec.safetensors", out=out, **more
    )


def test_the_loss_falls(prepared, tmp_path):
    run(prepared, tmp_path / "run", replace(CONFIG, steps=80, rate=1e-2))
    _, rows = read(tmp_path / "run" / "record.jsonl")
    losses = [r["loss"] for r in rows]
    assert np.mean(losses[-10:]) < 0.75 * np.mean(losses[:10])
    assert load(tmp_path / "run" / "model.safetensors").card.notes["clips_seen"] == 80 * CONFIG.rows


@pytest.mark.parametrize("stop", [1, 5, 11])
def test_resumed_equals_uninterrupted(prepared, tmp_path, stop):
    run(prepared, tmp_path / "whole")
    steps = iter(range(1, 100))
    run(prepared, tmp_path / "parts", until=lambda: next(steps) > stop)
    assert Checkpoints(tmp_path / "parts").facts()["step"] == stop
    run(prepared, tmp_path / "parts")
    assert same(state_of(tmp_path / "whole"), state_of(tmp_path / "parts"))
    whole, parts = (read(tmp_path / name / "record.jsonl")[1] for name in ("whole", "parts"))
    assert [r["loss"] for r in whole] == [r["loss"] for r in parts]


def test_killed_and_resumed_equals_uninterrupted(prepared, tmp_path, forks):
    config = replace(CONFIG, steps=24, checkpoint_minutes=0.0)  # a checkpoint after every step
    program = (
        "from pathlib import Path; from dataclasses import replace; import torch, sys; torch.set_num_threads(1)\n"
        "from worldtube.train.loop import train; from worldtube.train.recipes import RECIPES\n"
        "config = replace(RECIPES['tiny'][1], steps=24, checkpoint_minutes=0.0, sample_every=0, log_every=1)\n"
        "p = Path(sys.argv[1]); train(config, data=[p / 'data'], codec=p / 'codec.safetensors', out=Path(sys.argv[2]))"
    )
    out = tmp_path / "killed"
    process = forks.start("-c", program, prepared, out, env=os.environ | {"OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        record = out / "record.jsonl"
        if record.exists() and record.read_text().count("\n") > 6:
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait(60).returncode == -signal.SIGKILL
    reached = Checkpoints(out).facts()["step"]
    assert 0 < reached < 24
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        run(prepared, out, config)
        run(prepared, tmp_path / "whole", replace(config, checkpoint_minutes=9.0))
    finally:
        torch.set_num_threads(threads)
    assert same(state_of(out), state_of(tmp_path / "whole"))


def test_a_folder_in_which_another_process_trains_is_refused(prepared, tmp_path, monkeypatch):
    monkeypatch.setattr("worldtube.train.steps.PATIENCE", 0.2)
    out, config = tmp_path / "run", replace(CONFIG, steps=1)
    with alone(out), pytest.raises(DataError, match=f"another process trains in {out}"):
        run(prepared, out, config)
    assert [path.name for path in out.iterdir()] == [LOCK], "nothing was touched"
    with pytest.raises(ZeroDivisionError) as caught:
        run(prepared, out, config, until=lambda: 1 / 0)
    run(prepared, out, config)
    assert caught.tb, "what still refers to the run that failed keeps no lock"


def test_more_steps_go_on_from_the_plateau(prepared, tmp_path):
    run(prepared, tmp_path / "run", replace(CONFIG, steps=4, decay=0.0))
    run(prepared, tmp_path / "run", replace(CONFIG, steps=8, decay=0.0))
    run(prepared, tmp_path / "once", replace(CONFIG, steps=8, decay=0.0))
    assert same(state_of(tmp_path / "run"), state_of(tmp_path / "once"))


def test_a_bad_sample_is_skipped_and_named(prepared, tmp_path, monkeypatch, caplog):
    from worldtube.data.batches import Batches

    honest = Batches.batch

    def poisoned(self, step, share):
        batch = honest(self, step, share)
        return replace(batch, tokens=batch.tokens * float("nan")) if step == 3 else batch

    monkeypatch.setattr(Batches, "batch", poisoned)
    run(prepared, tmp_path / "run", replace(CONFIG, steps=6))
    assert "step 3" in caplog.text and "square:1:" in caplog.text
    state = state_of(tmp_path / "run")
    assert all(torch.isfinite(m).all() for m in state["masters"].values()) and state["updates"] == 5
    rows = [
        json.loads(line, parse_constant=lambda what: pytest.fail(f"{what} is no JSON"))
        for line in (tmp_path / "run" / "record.jsonl").read_text().splitlines()[1:]
    ]
    assert [row["step"] for row in rows if row.get("skipped") == 1] == [4]
    assert ["loss" in row for row in rows] == [True] * 3 + [False] + [True] * 2
    assert "steps that were not finite<td>1" in (tmp_path / "run" / "report.html").read_text()
    monkeypatch.setattr(
        Batches,
        "batch",
        lambda self, step, share: replace(
            honest(self, step), tokens=honest(self, step).tokens * float("nan")
        ),
    )
    with pytest.raises(WorldtubeError, match="5 steps in a row"):
        run(prepared, tmp_path / "bad")


def test_what_is_added_to_goes_on_with_the_weights_it_was_added_to(prepared, tmp_path):
    starts = []
    for seed in (0, 1):
        run(prepared, tmp_path / f"start{seed}", replace(CONFIG, steps=1, seed=seed))
        starts.append(tmp_path / f"start{seed}" / "model.safetensors")
    for name, change in (("lora", {"lora": 4}), ("student", {"student": StudentConfig()})):
        config = replace(CONFIG, steps=1, **change)
        run(prepared, tmp_path / name, config, start=starts[0])
        moved = (
            tmp_path / f"{name}.safetensors"
        )  # the same bytes in another place are the same start
        moved.write_bytes(starts[0].read_bytes())
        run(prepared, tmp_path / name, replace(config, steps=2), start=moved)
        with pytest.raises(DataError, match=r"start is \w{12} there and \w{12} here"):
            run(prepared, tmp_path / name, replace(config, steps=3), start=starts[1])


def test_stages_that_were_added_since_change_no_run(prepared, tmp_path):
    data = tmp_path / "data"
    codec, version = load_codec(prepared / "codec.safetensors")
    catalog = Catalog(data, mode="a")
    catalog.append([row(i) for i in range(6)])
    cache_latents(catalog, codec, version=version)
    cache_text(catalog, TextEncoder())
    before = set(Catalog(data).columns())
    mix = replace(CONFIG.mix, splits=0.6)
    config = replace(CONFIG, mix=mix, model=replace(CONFIG.model, truth_width=1))

    def to(name, steps):
        codec = prepared / "codec.safetensors"
        train(replace(config, steps=steps), data=[data], codec=codec, out=tmp_path / name)

    to("straight", 4)
    to("resumed", 2)
    catalog = Catalog(data, mode="a")
    cache_tails(catalog, codec, version=version)
    cache_truth(catalog, codec.stride)
    assert set(Catalog(data).columns()) - before == {"tail", "truth_map"}
    to("resumed", 4)
    assert same(state_of(tmp_path / "resumed"), state_of(tmp_path / "straight"))
    to("later", 4)
    assert not same(state_of(tmp_path / "later"), state_of(tmp_path / "straight"))


def test_the_clips_that_a_run_is_measured_on_stay_the_same(prepared, tmp_path):
    def measured(name, steps, folder, rows=4):
        out, config = tmp_path / name, replace(CONFIG, steps=steps, rows=rows, validate_every=1)
        run(prepared, out, config, validation=[folder])
        return [line["validation_loss"] for line in read(out / "record.jsonl")[1]]

    folder = tmp_path / "validation"
    shutil.copytree(prepared / "data", folder)
    straight = measured("straight", 2, folder)
    assert measured("resumed", 1, folder) == straight[:1]
    codec, version = load_codec(prepared / "codec.safetensors")
    catalog = Catalog(folder, mode="a")
    catalog.append([row(i) for i in range(12, 20)])
    cache_latents(catalog, codec, version=version)
    cache_text(catalog, TextEncoder())
    assert measured("resumed", 2, folder) == straight
    assert measured("grown", 1, folder) != straight[:1]
    config = replace(CONFIG, steps=3, validate_every=1)
    with pytest.raises(DataError, match="began with other data: 8 of 20 clips are missing"):
        run(prepared, tmp_path / "grown", config, validation=[prepared / "data"])


def test_runs_of_any_number_of_rows_are_measured_on_the_same():
    assert held_out(replace(CONFIG, rows=3)) == replace(held_out(CONFIG), rows=32)
    assert held_out(CONFIG).rows == 32 and held_out(CONFIG, processes=64).rows == 64


def test_what_does_not_fit_is_said(prepared, tmp_path):
    run(prepared, tmp_path / "run", replace(CONFIG, steps=1))
    with pytest.raises(DataError, match="another network: depth is 2 there and 3 here"):
        run(prepared, tmp_path / "run", replace(CONFIG, model=replace(CONFIG.model, depth=3)))
    for change, words in (
        ({"seed": 1}, "seed is 0 there and 1 here"),
        ({"rows": 5}, "rows is 4 there and 5 here"),
        ({"muon": False}, "muon is True there and False here"),
    ):
        with pytest.raises(DataError, match=words):
            run(prepared, tmp_path / "run", replace(CONFIG, **change))
    assert Checkpoints(tmp_path / "run").facts()["step"] == 1
    start = tmp_path / "run" / "model.safetensors"
    for change, words in (
        ({"width": 96}, "width is 64 there and 96 here"),
        ({"depth": 3}, "depth is 2 there and 3 here"),
        ({"truth_width": 1}, f"truth_width is 0 there and {4 * TRUTH_CHANNELS} here"),
    ):
        config = replace(CONFIG, model=replace(CONFIG.model, **change))
        with pytest.raises(RequestError, match=words):
            run(prepared, tmp_path / "other", config, start=start)
    torch.manual_seed(1)
    save_codec(
        VideoCodec(CodecConfig(encoder_widths=(8, 8), decoder_widths=(8, 8))),
        tmp_path / "other.safetensors",
    )
    with pytest.raises(DataError, match="latents"):
        train(
            CONFIG,
            data=[prepared / "data"],
            codec=tmp_path / "other.safetensors",
            out=tmp_path / "x",
        )


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("dtype", "bf16", "must be one of auto, float32, bfloat16"),
        ("log_every", 0, "1 or more"),
        ("validate_every", 0, "1 or more"),
        ("rows", 0, "1 or more"),
        ("steps", -1, "1 or more"),
        ("patch", 0, "1 or more"),
        ("ema_steps", 0.0, "1 or more"),
        ("checkpoints", 0, "1 or more"),
    ],
)
def test_settings_that_no_run_can_have(name, value, words):
    with pytest.raises(RequestError, match=f"{name} .*{words}"):
        replace(CONFIG, **{name: value})


def test_a_device_that_is_not_there_is_told(prepared, tmp_path):
    for device in ("cuda:77", "gpu"):
        with pytest.raises(
            RequestError, match=f"device must be one of auto, cpu.*, got '{device}'"
        ):
            run(prepared, tmp_path / "run", replace(CONFIG, device=device))
    assert not (tmp_path / "run").exists()


def test_a_record_tells_the_settings_that_a_run_went_on_with(prepared, tmp_path):
    (tmp_path / "record.jsonl").touch()  # a kill while it began
    run(prepared, tmp_path, replace(CONFIG, steps=4, decay=0.0))
    run(prepared, tmp_path, replace(CONFIG, steps=6, decay=0.0))
    first, _ = read(tmp_path / "record.jsonl")
    assert first["config"]["steps"] == 6
    assert [(one["until"], one["config"]["steps"]) for one in first["before"]] == [(4, 4)]
    page = (tmp_path / "report.html").read_text()
    assert "6 of 6" in page and "other settings until step<td>4" in page


def test_a_run_that_goes_on_in_another_dtype_says_so(prepared, tmp_path, caplog):
    run(prepared, tmp_path, replace(CONFIG, steps=2, decay=0.0, dtype="float32"))
    run(prepared, tmp_path, replace(CONFIG, steps=3, decay=0.0, dtype="float32"))
    ours = [record for record in caplog.records if record.name == "worldtube.train.steps"]
    assert not ours
    run(prepared, tmp_path, replace(CONFIG, steps=4, decay=0.0, dtype="bfloat16"))
    (said,) = [one.getMessage() for one in caplog.records if one.name == "worldtube.train.steps"]
    assert "goes on in bfloat16; up to step 3 it computed in float32" in said
    first, _ = read(tmp_path / "record.jsonl")
    assert first["config"]["dtype"] == "bfloat16" and first["config"]["device"] == "cpu"
    assert first["before"][-1]["config"]["dtype"] == "float32"


def test_the_record_names_the_dtype_that_auto_chose(prepared, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLDTUBE_DTYPE", "float32")
    run(prepared, tmp_path, replace(CONFIG, steps=1, dtype="auto", device="auto"))
    first, _ = read(tmp_path / "record.jsonl")
    assert (first["config"]["dtype"], first["config"]["device"]) == ("float32", "cpu")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_muon_computes_in_the_dtype_of_the_run(dtype, monkeypatch):
    """On a CPU without bfloat16 arithmetic its products would take longer than the network's."""
    seen = []
    monkeypatch.setattr(
        "worldtube.train.optimizer.orthogonal",
        lambda matrix, *, dtype: seen.append(dtype) or matrix.to(dtype),
    )
    transformer = Transformer(CONFIG.model).to(dtype)
    optimizer = Optimizer(transformer)
    for p in transformer.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step(1e-3)
    assert set(seen) == {dtype}


def test_all_of_the_model_is_on_the_device(prepared, monkeypatch):
    """`meta` stands in for a GPU; its weights are on no device that an optimizer knows."""
    monkeypatch.setattr("worldtube.train.loop.Optimizer", lambda *_, **__: None)
    codec, device = prepared / "codec.safetensors", Ranks(device="meta")
    model = setup(CONFIG, codec=codec, start=None, ranks=device).model
    for part in (model.codec, model.transformer):
        assert {value.device.type for value in part.state_dict().values()} == {"meta"}


@pytest.mark.gpu
def test_sheets_of_samples_are_made_on_a_gpu(prepared, tmp_path):
    config = replace(CONFIG, steps=2, device="cuda", sample_every=1, sample_prompts=("a square",))
    run(prepared, tmp_path, config, validation=[prepared / "data"])
    assert (tmp_path / "samples-000002.png").is_file()
    made = load(tmp_path / "model.safetensors", device="cpu")
    assert made.device.type == "cpu" and load_codec(tmp_path / "model.safetensors")


def test_half_of_the_rows_have_a_level_per_token():
    for table in (patterns.PATTERNS, patterns.PIECES):
        assert sum(share for share, _ in table.values()) == pytest.approx(1)
    assert patterns.PATTERNS["generate"][0] == 0.5


def grid(frames, start=0.0):
    return Grid(frames=frames, height=8, width=8, seconds_per_frame=0.1, stride=4, start=start)


ONE = layout(grid(5), 2)
TWO = join([layout(grid(3), 2), layout(grid(2, start=1.0), 2)])


def draws(name, table, row):
    """Forty draws of one pattern, (40, frames, cells)."""
    rng = np.random.default_rng(0)
    frame = row.frames.numpy()
    at = patterns.Place(
        frame=frame,
        piece=np.searchsorted(row.spans, np.arange(len(frame)), side="right") - 1,
        y=row.positions[:, 1].numpy(),
        x=row.positions[:, 2].numpy(),
    )
    draw = partial(logit_normal, rng)
    return np.stack([table[name][1](rng, at, draw) for _ in range(40)]).reshape(40, 5, 16)


@pytest.mark.parametrize(
    ("name", "table", "row"),
    [
        *[(name, patterns.PATTERNS, ONE) for name in patterns.PATTERNS],
        *[(name, patterns.PIECES, TWO) for name in patterns.PIECES],
    ],
    ids=[*patterns.PATTERNS, *(f"{name} of pieces" for name in patterns.PIECES)],
)
def test_patterns(name, table, row):
    sigma = draws(name, table, row)
    assert (sigma >= 0).all() and (sigma <= 1).all()
    assert (sigma > 0).any(axis=(1, 2)).all(), "a row must have something to learn"
    whole_frames = (sigma == sigma[:, :, :1]).all(axis=(1, 2))
    assert not whole_frames.all() if name == "paint" else whole_frames.all()
    one_level = (sigma == sigma[:, :1, :1]).all(axis=(1, 2))
    assert one_level.all() if name in ("generate", "storyboard") else not one_level.all()
    known = (sigma == 0).all(axis=2)
    if name in ("animate", "extend", "shots"):
        assert known[:, 0].all() and not known[:, -1].any()
    if name == "before":
        assert known[:, -1].all() and not known[:, 0].any()
    if name in ("backward", "connect"):
        assert known[:, 3:].all() and not known[:, 2].any()
    if name == "connect":
        assert known[:, 0].any()
    if name == "staircase":
        assert (np.diff(sigma[:, :, 0]) >= 0).all()


def test_levels_of_a_pack():
    pack_of = pack([ONE, TWO] * 40)
    rngs = [np.random.default_rng(row) for row in range(80)]
    sigma = patterns.levels(pack_of, rngs, mean=0, spread=1).view(40, 2, 5, 16)
    together = (sigma == sigma[:, :, :1, :1]).all(dim=(2, 3)).float().mean(0)
    assert 0.3 < together[0] < 0.7 and 0.1 < together[1] < 0.5
    assert (sigma[:, 1, 3:] == 0).all(dim=(1, 2)).float().mean() > 0.2


def test_learning_rate():
    rates = [learning_rate(s, peak=1.0, warmup=10, steps=100, decay=0.2) for s in range(101)]
    assert rates[0] == 0.1 and rates[9] == 1.0 and rates[80] == 1.0 and rates[100] == 0
    assert rates[90] == pytest.approx(0.5)


def test_a_student_comes_closer_to_its_teacher(prepared, tmp_path):
    """Its few unguided steps land nearer to the teacher's many guided ones than the teacher's own few would."""
    where = {"data": [prepared / "data"], "codec": prepared / "codec.safetensors"}
    config = replace(
        RECIPES["student"][1],
        model=CONFIG.model,
        patch=2,
        rows=4,
        steps=50,
        rate=3e-3,
        ema_steps=10,
        log_every=1,
        sample_every=0,
        student=StudentConfig(guidance=3.0, substeps=2),
    )
    with pytest.raises(RequestError, match="teacher"):
        train(config, **where, out=tmp_path / "student")
    teacher = train(replace(CONFIG, steps=40, rate=3e-3), **where, out=tmp_path / "teacher")
    start = tmp_path / "teacher" / "model.safetensors"
    with pytest.raises(RequestError, match="its teacher's, 2, is"):
        train(replace(config, patch=1), **where, start=start, out=tmp_path / "other")
    student = train(config, **where, start=start, out=tmp_path / "student")
    # The same clips, noise and levels for both: from step to step the loss varies more than it falls.
    made = setup(config, codec=where["codec"], start=start)
    batches, losses = made.batches(config, where["data"]), []
    for weights in (teacher.transformer, student.transformer):
        made.model.transformer.load_state_dict(weights.state_dict())
        with torch.no_grad():
            each = [
                made.objective(made.model.transformer, batches.batch(step), step=step)[1]["loss"]
                for step in range(1000, 1016)
            ]
        losses.append(np.mean(each))
    assert losses[1] < 0.8 * losses[0], losses

    both = tmp_path / "student" / "model.safetensors"
    assert load(both, fast=True).defaults["steps"] == load(both).card.student_steps == 4
    assert load(both).card.notes == teacher.card.notes | {"student_clips_seen": 50 * 4}
    assert load(both).bank is not None
    for fast, wanted in ((False, teacher), (True, student)):
        found = load(both, fast=fast).transformer.state_dict()
        for name, value in wanted.transformer.state_dict().items():
            assert torch.equal(found[name].bfloat16(), value.bfloat16()), name  # as files hold them
    again = replace(config, steps=52, student=config.student)
    train(again, **where, start=both, out=tmp_path / "student")  # its teacher is the same
    with pytest.raises(DataError, match="no student"):
        load(start, fast=True)


def test_a_finer_patch_starts_where_a_coarser_one_ended(prepared, tmp_path):
    where = {"data": [prepared / "data"], "codec": prepared / "codec.safetensors"}
    with_truth = replace(CONFIG, model=replace(CONFIG.model, truth_width=1), steps=6)
    coarse = train(with_truth, **where, out=tmp_path / "coarse").transformer
    state = {name: value.float() for name, value in coarse.state_dict().items()}
    start = tmp_path / "coarse" / "model.safetensors"
    fine = repatched(state, 2, 1)
    cells = torch.randn(5, state["token_in.weight"].shape[1] // 4)
    flat = cells.repeat_interleave(4, dim=1)  # (c p q): every cell of a patch the same
    arms = [F.linear(x, w["token_in.weight"]) for x, w in ((flat, state), (cells, fine))]
    torch.testing.assert_close(*arms)
    h = torch.randn(5, coarse.config.width)
    for name in ("token_out", "truth_out"):
        whole, part = (F.linear(h, w[f"{name}.weight"], w[f"{name}.bias"]) for w in (state, fine))
        torch.testing.assert_close(part, whole.view(5, -1, 4).mean(-1))
    with pytest.raises(RequestError, match="divisor of 2"):
        repatched(state, 2, 3)

    losses = {}
    for name, begin in (("started", start), ("fresh", None)):
        train(replace(with_truth, patch=1), **where, start=begin, out=tmp_path / name)
        made = load(tmp_path / name / "model.safetensors", dtype=torch.float32)
        assert made.card.patch == 1 and made.transformer.config.truth_width == TRUTH_CHANNELS
        losses[name] = read(tmp_path / name / "record.jsonl")[1][0]["loss"]
    assert losses["started"] < losses["fresh"]
