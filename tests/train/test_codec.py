"""The codec's training loop: it learns, its order is a function of the step, and it resumes to the
bit after a kill."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from forks import Child, Forks
from states import same, state_of

from worldtube import records
from worldtube.cli import main
from worldtube.codec import CodecConfig
from worldtube.data.catalog import Catalog, row
from worldtube.errors import DataError, RequestError, WorldtubeError
from worldtube.evaluate import reconstruction
from worldtube.models.local import load_codec
from worldtube.train.checkpoint import Checkpoints
from worldtube.train.codec import (
    CodecTrainConfig,
    Pool,
    draw_batch,
    train_codec,
)
from worldtube.train.pools import read_pools
from worldtube.train.steps import alone
from worldtube.video import Clip

TINY = CodecConfig(
    channels=4,
    encoder_widths=(8, 16),
    encoder_blocks=(1, 1),
    decoder_widths=(8, 16),
    decoder_blocks=(1, 1),
)
CONFIG = CodecTrainConfig(
    codec=TINY,
    steps=12,
    batch=4,
    frames=(5, 9),
    sides=(16, 24),
    rate=4e-3,
    warmup=2,
    log_every=1,
    validate_every=6,
    checkpoint_minutes=0.0,
)


def discs(count: int, side: int = 16, frames: int = 9) -> Pool:
    """Discs of random colour that cross a shaded ground."""
    rng = np.random.default_rng(side)
    y, x = np.mgrid[:side, :side] / side
    clips = np.empty((count, frames, side, side, 3), np.uint8)
    ids = np.empty((count, frames, side, side), np.uint8)
    for clip in range(count):
        ground, colour = rng.uniform(60, 200, (2, 3))
        start, speed = rng.uniform(0.2, 0.8, 2), rng.uniform(-0.05, 0.05, 2)
        for frame in range(frames):
            cx, cy = start + speed * frame
            inside = (x - cx) ** 2 + (y - cy) ** 2 < 0.05
            clips[clip, frame] = np.where(
                inside[..., None], colour, ground * (0.5 + y[..., None] / 2)
            )
            ids[clip, frame] = inside
    return Pool(frames=clips, ids=ids)


def test_it_learns_beyond_the_linear_start(tmp_path: Path) -> None:
    pool = discs(64)
    clips = [
        Clip(frames=frames, fps=12, tracks={"ids": ids})
        for frames, ids in zip(pool.frames[:8], pool.ids[:8], strict=True)
    ]
    config = CodecTrainConfig(
        codec=TINY,
        steps=120,
        batch=8,
        frames=(9,),
        sides=(16,),
        rate=8e-3,
        ema_steps=20,
        noise=0.02,
    )
    torch.manual_seed(0)
    train_codec(CodecTrainConfig(**{**vars(config), "steps": 0}), [pool], tmp_path / "linear")
    linear = load_codec(tmp_path / "linear" / "codec.safetensors")[0]
    codec = train_codec(config, [pool], tmp_path / "trained", validation=clips)
    before, after = (reconstruction.measure(c, clips)["psnr"] for c in (linear, codec))
    assert before > 15
    assert after > before + 0.7
    saved = load_codec(tmp_path / "trained" / "codec.safetensors")[0]
    assert reconstruction.measure(saved, clips)["psnr"] == pytest.approx(after)
    header, rows = records.read(tmp_path / "trained" / "run.jsonl")
    assert header["config"]["codec"]["channels"] == 4
    assert rows[-1]["step"] == 120
    assert rows[-1]["psnr"] == pytest.approx(after, abs=0.05)
    assert (tmp_path / "trained" / "samples" / "0000120.png").is_file()


SCRIPT = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path[:0] = [sys.argv[1], str(Path(sys.argv[1]).parent)]
from test_codec import CONFIG, discs
from worldtube.train.codec import train_codec
train_codec(CONFIG, [discs(16), discs(8, side=24)], Path(sys.argv[2]),
            progress=lambda step, steps, numbers: print(step, flush=True))
"""


def start_run(forks: Forks, folder: Path) -> Child:
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    return forks.start("-c", SCRIPT, Path(__file__).parent, folder, env=env)


def test_after_a_kill_it_goes_on_to_the_bit(tmp_path: Path, forks: Forks) -> None:
    killed = start_run(forks, tmp_path / "killed")
    # A checkpoint is begun after every step, when the last one is whole.
    while killed.poll() is None and "7" not in killed.stdout().split():
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait(60).returncode == -signal.SIGKILL
    stopped = Checkpoints(tmp_path / "killed").facts()
    assert stopped is not None
    assert 5 <= stopped["step"] < CONFIG.steps
    running = [start_run(forks, tmp_path / name) for name in ("whole", "killed")]
    whole, again = (child.wait(300) for child in running)
    assert whole.returncode == again.returncode == 0
    assert again.stdout.split()[0] == str(stopped["step"] + 1)

    first, second = (state_of(tmp_path / name) for name in ("whole", "killed"))
    assert first["step"] == CONFIG.steps
    assert same(first, second)
    weights = [(tmp_path / name / "codec.safetensors").read_bytes() for name in ("whole", "killed")]
    assert weights[0] == weights[1]
    rows = [records.read(tmp_path / name / "run.jsonl")[1] for name in ("whole", "killed")]
    assert [row["loss"] for row in rows[0]] == [row["loss"] for row in rows[1]]
    assert [row["step"] for row in rows[1]] == list(range(1, CONFIG.steps + 1))


def test_a_batch_is_a_function_of_the_step() -> None:
    pools = [discs(16), discs(8, side=24)]
    shapes = set()
    for step in range(12):
        pixels, weights, names = draw_batch(pools, CONFIG, step)
        again, *_ = draw_batch(pools, CONFIG, step)
        assert len(names) == len(pixels)
        assert torch.equal(pixels, again)
        assert weights.shape == (len(pixels), 1, *pixels.shape[2:])
        assert weights.mean().item() == pytest.approx(1, abs=1e-5)
        shapes.add(tuple(pixels.shape))
    assert {shape[2] for shape in shapes} == {5, 9}
    assert {shape[3] for shape in shapes} == {16, 24}
    assert not torch.equal(draw_batch(pools, CONFIG, 0)[0][:1], draw_batch(pools, CONFIG, 4)[0][:1])


def test_clips_without_masks_are_weighted_by_change() -> None:
    pool = discs(4)
    pixels, weights, _ = draw_batch([Pool(frames=pool.frames)], CONFIG, 0)
    assert weights.shape == (len(pixels), 1, *pixels.shape[2:])
    assert weights.max() > 1.2 * weights.min()


def test_a_frozen_encoder_stays_and_the_decoder_learns(tmp_path: Path) -> None:
    pool = discs(16)
    torch.manual_seed(0)
    start = train_codec(CONFIG, [pool], tmp_path / "first")
    frozen = CodecTrainConfig(**{**vars(CONFIG), "freeze_encoder": True, "seed": 1})
    codec = train_codec(frozen, [pool], tmp_path / "second", start=start)
    for name, value in start.state_dict().items():
        same = torch.equal(value, codec.state_dict()[name])
        assert same == (not name.startswith("decoder.")), name
    with pytest.raises(RequestError, match="freeze_encoder"):
        train_codec(frozen, [pool], tmp_path / "third")


def test_steps_that_are_not_finite_are_skipped_and_then_stop_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from worldtube.train import codec as loop

    honest = loop.loss_of
    bad: set[int] = {2, 3}

    def sometimes(codec, pixels, weights, *, config, step):
        loss, parts = honest(codec, pixels, weights, config=config, step=step)
        return (loss * float("nan") if step in bad else loss), parts

    monkeypatch.setattr(loop, "loss_of", sometimes)
    codec = train_codec(CONFIG, [discs(8)], tmp_path / "twice")
    assert all(value.isfinite().all() for value in codec.state_dict().values())
    rows = records.read(tmp_path / "twice" / "run.jsonl")[1]
    assert [row["step"] for row in rows if "skipped" in row] == [3, 4]
    bad.update(range(20))
    pool = discs(8)
    pool = replace(pool, names=tuple(f"discs:1:{seed}" for seed in range(8)))
    with pytest.raises(WorldtubeError, match=r"5 steps in a row.* on .*discs:1:\d"):
        train_codec(CONFIG, [pool], tmp_path / "always")


@pytest.mark.parametrize(
    ("field", "value"),
    [("frames", (12,)), ("sides", (16, 20)), ("dtype", "half"), ("log_every", 0)],
)
def test_what_cannot_be_trained_on_is_said(field: str, value: object) -> None:
    with pytest.raises(RequestError, match=field):
        CodecTrainConfig(**{field: value})


def filled(folder: Path, pool: Pool) -> Catalog:
    catalog = Catalog(folder, mode="a")
    for seed, (frames, ids) in enumerate(zip(pool.frames, pool.ids, strict=True)):
        clip = Clip(frames=frames, fps=12, caption="a disc", tracks={"ids": ids})
        captions = dict.fromkeys(("short", "medium", "long"), "a disc")
        catalog.append([row(folder.name, 1, seed, clip, captions, {"world": "discs"})])
    return Catalog(folder)


def test_catalogs_share_the_memory(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A clip takes 9 * 16 * 16 * 4 = 9216 bytes, so that 1 MB is 108 of them."""
    many, few = discs(80), discs(70)
    catalogs = [filled(tmp_path / "many", many), filled(tmp_path / "few", few)]
    (pool,) = read_pools(catalogs, megabytes=1)
    count = [sum(name.startswith(of) for name in pool.names) for of in ("many", "few")]
    assert count == [54, 54]
    assert "42 clips are left out" in caplog.text
    caplog.clear()
    (pool,) = read_pools(catalogs[:1], megabytes=1)
    assert len(pool) == 80 and not caplog.records
    assert pool.names == tuple(catalogs[0].ids())
    assert abs(pool.frames.astype(int) - many.frames).mean() < 4
    assert (pool.ids == many.ids).all(), "each beside its own masks"
    (pool,) = read_pools([catalogs[0], filled(tmp_path / "small", discs(4))], megabytes=1)
    assert len(pool) == 84


MEMORY = """
import re
from pathlib import Path
import numpy as np
from worldtube.train.pools import read_pools
from worldtube.video import Clip

class Clips:
    def ids(self, where):
        return [str(k) for k in range(150)]

    def take(self, ids, columns):
        return [{"id": one, "num_frames": 9, "height": 96, "width": 96} for one in ids]

    def clip(self, name):
        frames = np.full((9, 96, 96, 3), int(name), np.uint8)
        return Clip(frames=frames, fps=12, tracks={"ids": frames[..., 0].copy()})

def held(what):  # the most counts from exec on here, and from before it in getrusage
    return 1024 * int(re.search(what + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

before = held("VmRSS")
(pool,) = read_pools([Clips()], megabytes=100)
assert (pool.frames[:, 0, 0, 0, 0] == np.arange(150)).all() and (pool.ids[7] == 7).all()
print((held("VmHWM") - before) / (pool.frames.nbytes + pool.ids.nbytes))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_no_clip_is_in_memory_twice() -> None:
    told = subprocess.run(
        [sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True
    ).stdout
    assert 0.9 < float(told) < 1.3


def test_a_run_is_not_resumed_on_other_clips(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = replace(discs(8), names=tuple("abcdefgh"))
    steps = iter(range(1, 100))
    train_codec(CONFIG, [named], tmp_path, until=lambda: next(steps) > 1)
    other = replace(named, names=tuple("abcdefgx"))
    with pytest.raises(DataError, match=r"clips is 8 \(\w+\) there and 8 \(\w+\) here"):
        train_codec(CONFIG, [other], tmp_path)
    with pytest.raises(DataError, match="seed is 0 there and 1 here"):
        train_codec(replace(CONFIG, seed=1), [named], tmp_path)
    monkeypatch.setattr("worldtube.train.steps.PATIENCE", 0.2)
    with alone(tmp_path), pytest.raises(DataError, match="another process trains"):
        train_codec(CONFIG, [named], tmp_path)
    assert Checkpoints(tmp_path).facts()["step"] == 1, "nothing was learned"


def test_the_command_trains_from_catalogs(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    filled(tmp_path / "clips", discs(4))
    words = f"--data {tmp_path}/clips --validation {tmp_path}/clips --out {tmp_path}/run --steps 2"
    sizes = "--batch 2 --frames 5 --sides 16 --validate-every 2 --codec.channels 4"
    widths = "--codec.encoder-widths 8 8 --codec.decoder-widths 8 8 --codec.decoder-blocks 1 1"
    written = tmp_path / "run" / "codec.safetensors"
    command = ["train", "codec"]
    assert main([*command, *words.split(), *sizes.split(), *widths.split()]) == 0
    told = capsys.readouterr()
    assert told.out == f"{written}\n" and "training codec 2/2 loss" in told.err
    codec, _ = load_codec(written)
    assert codec.channels == 4
    assert "psnr" in records.read(tmp_path / "run" / "run.jsonl")[1][-1]

    deeper = f"--start {tmp_path}/run/codec.safetensors --freeze-encoder --codec.decoder-blocks 2 1"
    words = words.replace("/run", "/second")
    assert main([*command, *words.split(), *sizes.split(), *deeper.split()]) == 0
    assert load_codec(tmp_path / "second" / "codec.safetensors")[0].config.decoder_blocks == (2, 1)
    assert main([*command, "--data", f"{tmp_path}/clips", "--out", f"{tmp_path}/no/where"]) == 2
    assert "does not exist" in capsys.readouterr().err
