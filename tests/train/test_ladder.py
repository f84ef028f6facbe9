"""The ladder: its law on made-up runs whose law is known, its FLOPs against a counter, a killed one, its face."""

import json
import math
import shutil
import time
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from worldtube import models
from worldtube.cli import main
from worldtube.data.catalog import Catalog
from worldtube.data.catalog import row as catalog_row
from worldtube.errors import DataError, RequestError
from worldtube.models.local import embedded_path
from worldtube.records import read
from worldtube.tokens import Grid, Words, layout
from worldtube.train.ladder import (
    COMPUTE,
    LADDERS,
    Scene,
    Trial,
    beyond,
    block_weights,
    carry_out,
    climb,
    flops,
    judged,
    network,
    prepared,
)
from worldtube.train.ladder.law import fitted, optimum
from worldtube.train.ladder.trial import SPENT
from worldtube.train.ladder.validation import Validation
from worldtube.train.loop import train
from worldtube.train.steps import alone
from worldtube.transformer import Transformer, TransformerConfig
from worldtube.video import Clip

pytest.importorskip("scipy")
TINY = LADDERS["tiny"][1]


def runs(
    budgets=(1e9, 3e9, 9e9), sizes=(1e4, 3e4, 9e4, 2.7e5), noise=0.0, true=(0.4, 20, 0.3, 300, 0.4)
):
    """Runs of 6 N D FLOPs whose law is known."""
    E, A, a, B, b = true
    rng, rows = np.random.default_rng(0), []
    for budget in budgets:
        for N in sizes:
            D = budget / (6 * N)
            loss = (E + A * N**-a + B * D**-b) * math.exp(noise * rng.standard_normal())
            rows.append({"budget": budget, "width": N, "N": N, "D": D, "loss": loss})
    return rows


@pytest.fixture(scope="module", autouse=True)
def few_draws():
    """Of the bootstrap: a third of what users get."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("worldtube.train.ladder.law.DRAWS", 33)
        yield


@pytest.fixture(scope="module")
def exact(few_draws):
    """The law of runs without noise."""
    return fitted(runs())


def test_a_law_is_found_again(exact):
    rows, law = runs(), exact
    assert max(abs(law(row["N"], row["D"]) / row["loss"] - 1) for row in rows) < 2e-3
    told = law.told()
    assert told["a"]["value"] == pytest.approx(0.3, abs=0.05)
    assert told["b"]["value"] == pytest.approx(0.4, abs=0.05)
    assert told["exponent"]["value"] == pytest.approx(0.4 / 0.7, abs=0.05)
    for row in runs(budgets=(2.7e10, 2.43e11)):
        assert law(row["N"], row["D"]) == pytest.approx(row["loss"], rel=0.02)


def test_one_outlier_does_not_bend_it_and_noise_widens_the_intervals(exact):
    rows = runs(noise=0.003)
    rows[5]["loss"] *= 1.3
    law, unseen = fitted(rows), runs(budgets=(2.7e10,))
    told = judged(law, rows, unseen)
    assert abs(told["held_out"]["error"]) < 0.03
    assert told["held_out"]["error"] == pytest.approx(
        told["held_out"]["predicted"] / min(row["loss"] for row in unseen) - 1
    )
    low, high = told["held_out"]["interval"]
    narrow = exact.interval(unseen)
    assert low < told["held_out"]["predicted"] < high and high - low > 2 * (narrow[1] - narrow[0])


def test_the_best_size_of_a_budget():
    rows = runs(budgets=(9e9,), sizes=tuple(np.geomspace(1e3, 1e6, 13)))
    fine = np.geomspace(1e3, 1e6, 10_001)
    loss = 0.4 + 20 * fine**-0.3 + 300 * (9e9 / (6 * fine)) ** -0.4
    assert math.log(optimum(rows)["N"] / fine[loss.argmin()]) == pytest.approx(0, abs=0.1)
    assert optimum(rows[:3])["N"] is None, "at the edge"


@pytest.mark.parametrize("width", [24, 96])
def test_flops_are_those_that_are_done(width):
    sizes = TransformerConfig(**asdict(network(TINY, width)) | {"token_width": 96})
    net = Transformer(sizes)
    place = layout(Grid(frames=7, height=8, width=8, seconds_per_frame=1 / 12, stride=4), 2)
    words = Words.of([torch.randn(25, sizes.text_width)])
    x, level = torch.randn(112, 96), torch.full((112,), 0.5)
    with FlopCounterMode(display=False) as counter:
        velocity, _ = net(x, level, place, net.read(words))
        velocity.sum().backward()
    # What reads x, the words and the level makes no gradient of those: 4 in place of 6.
    spared = 2 * width * (112 * 96 + 25 * sizes.text_width + 256)
    assert flops(sizes, 112, 25) - spared == counter.get_total_flops()
    passed = [
        p.numel()
        for name, p in net.blocks.named_parameters()
        if p.ndim == 2 and not name.endswith(("table", "words.kv.weight"))
    ]
    assert block_weights(sizes) == sum(passed)


@pytest.fixture(scope="module")
def climbed(tmp_path_factory):
    """A tiny ladder, interrupted after its fourth run and gone on with; killed before, while it began."""
    out = tmp_path_factory.mktemp("ladder") / "tiny"
    out.mkdir()
    (out / "record.jsonl").touch()

    def stop(done, total, told):
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        climb(TINY, out=out, processes=1, progress=stop)
    before = read(out / "record.jsonl")[1]
    assert len(before) == 4
    assert main(["train", "ladder", "--size", "tiny", "--out", str(out), "--processes", "1"]) == 0
    return out, before


def test_a_killed_ladder_goes_on(climbed):
    out, before = climbed
    header, rows = read(out / "record.jsonl")
    assert rows[:4] == before
    *made, last = rows
    assert [row["step"] for row in rows] == list(range(1, len(rows) + 1))
    assert header["config"]["budgets"] == list(TINY.budgets)
    each = {(row["budget"], row["width"], row["rate"]) for row in made}
    assert len(each) == len(made) and {width for _, width, _ in each} == set(TINY.widths)
    for budget in TINY.budgets[:-1]:
        for width in TINY.widths:
            rates = sorted(rate for b, w, rate in each if (b, w) == (budget, width))
            assert len(rates) >= (3 if budget == TINY.budgets[0] else 2)
            assert rates[1] / rates[0] == pytest.approx(2, rel=1e-3)
    assert all(row["loss"] == pytest.approx(np.mean(row["bins"])) for row in made)
    assert all(0 < 6 * row["D"] * row["N"] < row["budget"] for row in made)
    held = last["held_out"]
    of_it = [row for row in made if row["budget"] == TINY.budgets[-1]]
    assert held["loss"] == min(row["loss"] for row in of_it)
    assert held["error"] == pytest.approx(held["predicted"] / held["loss"] - 1)
    assert [row["budget"] for row in last["compute"]] == pytest.approx(
        [TINY.budgets[-1] * k / 32 for k in (1, 4, 32)], rel=1e-3
    )
    for name, least in (("ladder", 800), ("compute", 100)):
        with Image.open(out / f"{name}.png") as picture:
            assert picture.size[0] > least


@pytest.mark.parametrize(
    ("losses", "further"),
    [
        ((1.0, 0.9, 0.95), []),
        ((1.0, 0.95), [4e-3]),
        ((0.955, 0.95), []),
        ((0.9, 0.95), [5e-4]),
        ((0.945, 0.95), []),
        ((0.9, 0.95, 1.2), [5e-4]),
        ((0.9, 0.9), []),
    ],
)
def test_a_further_rate_is_tried_where_it_may_be_worth_a_run(losses, further):
    assert beyond({1e-3 * 2**k: loss for k, loss in enumerate(losses)}) == further


def dataset(
    folder, *, first, clips=2, shots=1, frames=5, side=16, words=10, version=None, ready=True
):
    """A catalog of grey clips; the numbers in its latents and words are not looked at."""
    if version is None:
        _, version = models.load_codec(embedded_path())
    captions = {"short": "grey", "medium": "grey", "long": "grey"}
    clip = Clip(frames=np.full((frames, side, side, 3), 99, np.uint8), fps=12.0)
    catalog = Catalog(folder, mode="a")
    rows = [
        catalog_row("grey", 1, first + i, clip, captions, {}, shot=shot)
        for i in range(clips)
        for shot in range(shots)
    ]
    catalog.append(rows)
    names = [one["id"] for one in rows] if ready else []
    catalog.add_column("latents", version)
    latents = np.zeros((24, 1 + (frames - 1) // 4, side // 8, side // 8), np.float16)
    catalog.set("latents", dict.fromkeys(names, latents))
    for length in ("short", "medium", "long"):
        catalog.add_column(f"text_{length}", "1")
        states = np.zeros((words, 8), np.float16)
        catalog.set(f"text_{length}", dict.fromkeys(names, states))
    return folder


def test_what_is_counted_is_of_all_datasets(tmp_path):
    data = [
        dataset(tmp_path / "a", first=0, clips=3, words=10),
        dataset(tmp_path / "b", first=10, clips=1, words=20),
    ]
    validation = dataset(tmp_path / "validation", first=20, frames=9)
    scene = prepared(TINY, tmp_path, data, validation, embedded_path(), 1)
    assert (scene.clips, scene.words, scene.tokens) == (4, 12.5, 2 * 2 * 2)


def test_a_ladder_is_of_its_clips_and_of_what_made_what_is_read(tmp_path):
    data = dataset(tmp_path / "a", first=0)
    validation = dataset(tmp_path / "validation", first=20, clips=TINY.held_out_clips)

    def identity(one=data, other=validation):
        return prepared(TINY, tmp_path, [one], other, embedded_path(), 1).identity

    before = identity()
    assert before["codec"] == models.load_codec(embedded_path())[1]
    moved = dataset(tmp_path / "moved", first=1)
    assert _differing(before, identity(moved)) == {"training"}
    assert _differing(before, identity(other=moved)) == {"validation"}
    dataset(validation, first=30)
    catalog = Catalog(data, mode="a")
    catalog.add_column("motion", "1")
    assert identity() == before, "as before: the first are validated on, motion is not read"
    catalog = Catalog(data, mode="a")
    for column in ("text_short", "text_medium", "text_long"):
        states = {name: catalog.take([name], [column])[0][column] for name in catalog}
        catalog.add_column(column, "2")
        catalog.set(column, states)
    assert _differing(before, identity()) == {"training"}


def _differing(one, other):
    return {name for name in {**one, **other} if one.get(name) != other.get(name)}


@pytest.mark.parametrize(
    ("other", "error", "words"),
    [
        ({"frames": 9}, RequestError, "latents of 2x2x2 and 3x2x2 make no ladder"),
        ({"side": 24}, RequestError, "latents of 2x2x2 and 2x3x3 make no ladder"),
        ({"shots": 2}, RequestError, "several shots of an episode make no ladder"),
        ({"ready": False}, DataError, "b has no clips with latents and text"),
        ({"version": "another"}, DataError, "b has latents of codec another"),
    ],
)
def test_datasets_that_make_no_ladder_are_refused(tmp_path, other, error, words):
    data = [dataset(tmp_path / "a", first=0), dataset(tmp_path / "b", first=10, **other)]
    validation = dataset(tmp_path / "validation", first=20)
    with pytest.raises(error, match=words):
        prepared(TINY, tmp_path, data, validation, embedded_path(), 1)


def test_clips_that_no_row_shows_whole_make_no_ladder(tmp_path):
    data = [dataset(tmp_path / "a", first=0, frames=41)]
    with pytest.raises(RequestError, match="11 latent frames make no ladder"):
        prepared(TINY, tmp_path, data, dataset(tmp_path / "b", first=9), embedded_path(), 1)


@pytest.mark.parametrize(
    ("what", "error", "words"),
    [
        ({"side": 24}, RequestError, "latents of 3x3 do not divide into patches of 2"),
        ({"ready": False}, DataError, "validation has no clips with latents and text"),
        ({"version": "another"}, DataError, "validation has latents of codec another"),
    ],
)
def test_clips_that_cannot_be_validated_on_are_refused_first(tmp_path, what, error, words):
    data = [dataset(tmp_path / "a", first=0)]
    validation = dataset(tmp_path / "validation", first=20, **what)
    with pytest.raises(error, match=words):
        prepared(replace(TINY, patch=2), tmp_path, data, validation, embedded_path(), 1)


def test_a_run_is_the_same_again(climbed, tmp_path):
    """To the bit, in another folder: weights, order, noise and validation follow from the configuration."""
    out, before = climbed
    scene = prepared(TINY, out, None, None, embedded_path(), 1)
    first = before[0]
    trial = Trial(flops=first["budget"], width=first["width"], rate=first["rate"])
    again = carry_out(trial, scene=replace(scene, out=tmp_path))
    assert again["bins"] == first["bins"]


def test_what_a_run_costs_is_summed_over_a_kill(climbed, tmp_path, monkeypatch):
    out, before = climbed
    scene = replace(prepared(TINY, out, None, None, embedded_path(), 1), out=tmp_path)
    one = next(row for row in before if row["steps"] > 20)
    trial = Trial(flops=one["budget"], width=one["width"], rate=one["rate"])
    steps = iter(range(one["steps"]))

    def killed(*given, **more):
        train(*given, until=lambda: next(steps) > one["steps"] / 2, **more)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("worldtube.train.ladder.trial.train", killed)
        carry_out(trial, scene=scene)
    first = float((tmp_path / "runs" / trial.name / SPENT).read_text())
    began = time.process_time()
    row = carry_out(trial, scene=scene)
    assert row["cpu_seconds"] == pytest.approx(first + time.process_time() - began, rel=0.05)
    assert row["bins"] == one["bins"]


def test_validation_draws_nothing_anew(climbed):
    out, _ = climbed
    model = models.load(next((out / "runs").iterdir()) / "model.safetensors", dtype=torch.float32)
    one, other = (Validation(out / "data" / "validation", TINY, model) for _ in range(2))
    assert one(model) == other(model) and len(one.levels) == 10
    with torch.no_grad():
        for weight in (model.transformer.token_out.weight, model.transformer.token_out.bias):
            weight.zero_()
    said = one(model)
    assert max(abs(a - b) for a, b in zip(said, [said[0]] * 10, strict=True)) < 0.2 * said[0], (
        "all see velocities"
    )
    velocities = torch.cat([(noises - tokens).flatten() for tokens, _, _, noises in one.clips])
    assert sum(said) / 10 == pytest.approx(float(velocities.square().mean()), rel=1e-4)


def test_a_record_of_another_ladder_is_refused(climbed):
    out, _ = climbed
    with pytest.raises(DataError, match="another rate, seed; choose"):
        climb(replace(TINY, rate=1e-3, seed=1), out=out, processes=1)


def test_a_ladder_with_other_clips_is_refused_and_one_that_tells_less_is_read(climbed, tmp_path):
    out, _ = climbed
    data, validation = out / "data" / "training", out / "data" / "validation"
    copied = tmp_path / "tiny"
    shutil.copytree(out, copied)
    with pytest.raises(DataError, match="another validation; choose"):
        climb(TINY, out=copied, data=[data], validation=data, processes=1)
    record = copied / "record.jsonl"
    header, *rows = record.read_text().splitlines(keepends=True)
    told = json.loads(header)
    for name in ("codec", "training", "validation"):  # as those before this version
        del told["config"][name]
    record.write_text("".join([json.dumps(told) + "\n", *rows]))
    climb(TINY, out=copied, data=[data], validation=validation, processes=1)
    assert [one["loss"] for one in read(record)[1][:-1]] == [
        one["loss"] for one in read(out / "record.jsonl")[1][:-1]
    ]


def test_a_ladder_that_goes_on_is_refused(climbed, monkeypatch):
    out, _ = climbed
    monkeypatch.setattr("worldtube.train.steps.PATIENCE", 0.2)
    with alone(out), pytest.raises(DataError, match=f"another process trains in {out}"):
        climb(TINY, out=out, processes=1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"budgets": (1e9, 3e9)}, "3 or more"),
        ({"budgets": (3e9, 1e9, 9e9)}, "that rise"),
        ({"widths": (24, 50)}, "width 50"),
        ({"budgets": (1e7, 3e7, 9e7)}, "suit 0 of the widths 24, 48"),
        ({"budgets": (1.6e8, 4e8, 3.6e9)}, "suit 1 of the widths 24, 48"),
        ({"budgets": (3.2e8, 1.04e9, 1.6e9)}, "suit 0 of the widths 24, 48"),
    ],
)
def test_what_makes_no_ladder_is_refused(climbed, tmp_path, change, words):
    out, _ = climbed
    data = [out / "data" / "training"]
    with pytest.raises(RequestError, match=words):
        climb(
            replace(TINY, **change),
            out=tmp_path / "ladder",
            data=data,
            validation=out / "data" / "validation",
        )


@pytest.mark.parametrize("name", LADDERS)
def test_sizes_suit_their_budgets(name, tmp_path):
    """Told before an hour of runs; with 25 words a caption, as those of the recorder have."""
    config = LADDERS[name][1]
    side, frames = config.size // 8 // config.patch, 1 + (config.num_frames - 1) // 4
    scene = Scene(
        config=config,
        out=tmp_path,
        data=(),
        validation=tmp_path,
        codec=tmp_path,
        tokens=frames * side**2,
        words=25.0,
        clips=config.clips,
        token_width=24 * config.patch**2,
    )
    *_, before, last = config.budgets
    assert len(scene.widths(config.budgets[0])) >= 2 and scene.widths(last / max(COMPUTE))
    assert len(scene.widths(before)) == len(config.widths)


def test_an_unknown_ladder(tmp_path, capsys):
    assert main(["train", "ladder", "--size", "huge", "--out", str(tmp_path / "x")]) == 2
    assert "huge" in capsys.readouterr().err


@pytest.mark.slow
def test_the_ladder_of_ci_foretells_its_largest_budget(tmp_path):
    record = climb(LADDERS["ci"][1], out=tmp_path / "ci")
    assert abs(read(record)[1][-1]["held_out"]["error"]) <= 0.03
