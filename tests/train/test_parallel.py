"""Shows 3 and 4: however many processes share a run and whenever it is killed, it is the same run.

Tolerances: one step of two processes in float32 equals that of one to 1e-5 of the largest gradient of each
weight; a run that is killed and resumed on as many processes equals one that was not, to the bit; on another
number it draws the same samples and its loss is the same to 1e-3.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from states import same, state_of
from test_loop import prepared  # noqa: F401 - a fixture
from worker import NO_RAY

from worldtube.cli import main
from worldtube.errors import RequestError
from worldtube.records import read
from worldtube.train.checkpoint import Checkpoints
from worldtube.train.parallel import joined
from worldtube.train.steps import alone as kept

WORKER = Path(__file__).parent / "worker.py"
SIZES = {"width": 64, "depth": 2, "head_width": 32, "hidden": 128, "text_depth": 1}
ENOUGH = 500


def environment(**more):
    return os.environ | {"OMP_NUM_THREADS": "1"} | more


def program_of(what, arguments):
    """The worker's command line."""
    return [WORKER, what, json.dumps([str(a) if isinstance(a, Path) else a for a in arguments])]


def torchrun(what, arguments, *, processes, restarts=0):
    where = ["--standalone", "--nproc-per-node", str(processes)]
    where += ["--max-restarts", str(restarts), "--monitor-interval", "0.2"]
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *where, *program_of(what, arguments)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=ENOUGH,
    )


@pytest.fixture(scope="module")
def start(forks):
    """One process, or several that torch.distributed's environment alone brings together, as Slurm starts them."""

    def start(what, arguments, *, processes=1):
        shared = {}
        if processes > 1:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            shared |= {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes)}
        children = []
        for rank in range(processes):
            own = {"RANK": str(rank), "LOCAL_RANK": str(rank)} if shared else {}
            env = environment(**shared, **own)
            children.append(forks.start(*program_of(what, arguments), env=env))
        ended = [child.wait(ENOUGH) for child in children]
        code = next((one.returncode for one in ended if one.returncode), 0)
        texts = ("".join(getattr(one, name) for one in ended) for name in ("stdout", "stderr"))
        return subprocess.CompletedProcess(program_of(what, arguments), code, *texts)

    return start


def done(result):
    assert result.returncode == 0, result.stderr[-3000:]


def samples(out):
    return [row["ids"] for row in read(out / "samples.jsonl")[1]]


def losses(out):
    return [row["loss"] for row in read(out / "record.jsonl")[1]]


WAYS = {
    "python": (1, {}),
    "ddp": (2, {"parallel": "ddp"}),
    "fsdp": (2, {"parallel": "fsdp"}),
    "sequence": (2, {"parallel": "ddp", "sequence": 2}),
    "fsdp, sequence": (2, {"parallel": "fsdp", "sequence": 2}),
}


@pytest.fixture(scope="module")
def alone(prepared, tmp_path_factory, start):  # noqa: F811
    """One step of one process."""
    out = tmp_path_factory.mktemp("alone") / "step.pt"
    done(start("one_step", [prepared, out, {"dtype": "float32", "rows": 5}]))
    return torch.load(out)


@pytest.mark.parametrize("way", [way for way in WAYS if way != "python"])
def test_a_step_of_two_processes_is_that_of_one(prepared, tmp_path, alone, start, way):  # noqa: F811
    processes, changes = WAYS[way]
    out = tmp_path / "step.pt"
    changes = changes | {"dtype": "float32", "rows": 5}
    started = torchrun if way == "ddp" else start
    done(started("one_step", [prepared, out, changes], processes=processes))
    made = torch.load(out)
    assert made["numbers"] == pytest.approx(alone["numbers"], rel=1e-5)
    assert made["norm"] == pytest.approx(alone["norm"], rel=1e-5)
    learned = 0
    for name, (gradient, after) in alone["named"].items():
        found, found_after = made["named"][name]
        size = gradient.abs().max()
        learned += bool(size > 0)
        assert (found - gradient).abs().max() <= 1e-5 * size, name
        # Muon's products are in bfloat16, Adam's first step is the gradient's sign
        assert (found_after - after).abs().mean() <= 2e-4, name
    assert learned > 0.9 * len(alone["named"])


def equal(a, b):
    """Two runs, to the bit: weights, averages, moments, the log of samples, the losses, the model's file."""
    assert same(state_of(a), state_of(b))
    assert samples(a) == samples(b) and losses(a) == losses(b)
    assert (a / "model.safetensors").read_bytes()[8:] == (b / "model.safetensors").read_bytes()[8:]


STEPS = 8
SLOW_PAIRS = (("fsdp", "python"), ("ddp", "fsdp"))


@pytest.fixture(scope="module")
def straight(prepared, tmp_path_factory, start):  # noqa: F811
    """Runs that nobody killed, by way; each is made once."""
    made = {}

    def of(way):
        if way not in made:
            processes, changes = WAYS[way]
            made[way] = tmp_path_factory.mktemp("straight") / "run"
            done(
                start(
                    "run", [prepared, made[way], {"steps": STEPS, **changes}], processes=processes
                )
            )
        return made[way]

    return of


@pytest.mark.parametrize(
    "way",
    [
        "python",
        *(pytest.param(w, marks=pytest.mark.slow) for w in ("ddp", "fsdp", "fsdp, sequence")),
    ],
)
def test_killed_and_resumed_is_uninterrupted(prepared, tmp_path, straight, start, way):  # noqa: F811
    processes, changes = WAYS[way]
    out = tmp_path / "run"
    changes = {"steps": STEPS, "checkpoint_minutes": 0.0, **changes}
    arguments = [prepared, out, changes, STEPS // 2]
    if processes > 1:  # torchrun starts them again by itself
        first = torchrun("run", arguments, processes=processes, restarts=1)
    else:
        assert start("run", arguments).returncode == -9
        reached = Checkpoints(out).facts()["step"]
        assert 0 < reached <= STEPS // 2
        first = start("run", arguments)
    done(first)
    assert (out / "died").exists()
    equal(out, straight(way))


def test_on_ray_each_worker_has_its_threads(tmp_path, monkeypatch):
    """By the command, with a trainer that calls what a worker does, once."""
    ray = pytest.importorskip("ray")
    told = {}

    class Here:
        def __init__(self, work, *, train_loop_config, scaling_config, **_):
            told["cpus"] = scaling_config.resources_per_worker
            self.fit = lambda: work(dict(train_loop_config))

    def train(config, **where):
        told["threads"], told["parallel"] = torch.get_num_threads(), config.parallel

    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr("ray.train.torch.TorchTrainer", Here)
    monkeypatch.setattr("worldtube.train.loop.train", train)
    before = torch.get_num_threads()
    wanted = ["--on", "ray", "--threads", str(before + 2)]
    try:
        main(["train", "tiny", "--data", str(tmp_path), "--out", str(tmp_path / "run"), *wanted])
    finally:
        torch.set_num_threads(before)
    assert told == {"cpus": {"CPU": before + 2}, "threads": before + 2, "parallel": "ddp"}


def test_on_ray_a_killed_worker_is_replaced(prepared, tmp_path, straight):  # noqa: F811
    pytest.importorskip("ray")
    out = tmp_path / "run"
    changes = {"steps": STEPS, "checkpoint_minutes": 0.0, "parallel": "ddp"}
    path = os.pathsep.join([str(WORKER.parent), os.environ.get("PYTHONPATH", "")])
    # Ray's workers are nice, so that on a machine with much else to do they would hardly start.
    env = environment(PYTHONPATH=path, RAY_worker_niceness="0")
    program = program_of("on_ray", [prepared, out, changes, 2, STEPS // 2])
    made = subprocess.run(
        [sys.executable, *program], env=env, capture_output=True, text=True, timeout=ENOUGH
    )
    if made.returncode == NO_RAY:
        pytest.skip(f"Ray does not start on this machine: {made.stderr[-1000:]}")
    done(made)
    assert (out / "died").exists()
    equal(out, straight("ddp"))


def test_a_folder_in_which_another_process_trains_is_refused_by_all(prepared, tmp_path, start):  # noqa: F811
    out = tmp_path / "run"
    with kept(out):
        made = start("run", [prepared, out, {"parallel": "ddp"}], processes=2)
    assert made.returncode != 0
    assert made.stderr.count(f"DataError: another process trains in {out}") == 2


@pytest.mark.parametrize(
    ("way", "then"),
    [("python", "fsdp"), *(pytest.param(*p, marks=pytest.mark.slow) for p in SLOW_PAIRS)],
)
def test_another_number_of_processes_goes_on(
    prepared,  # noqa: F811
    tmp_path,
    straight,
    start,
    way,
    then,
):
    out = tmp_path / "run"
    for steps, (processes, changes) in ((STEPS // 2, WAYS[way]), (STEPS, WAYS[then])):
        changes = {"decay": 0.0, "steps": steps, **changes}
        done(start("run", [prepared, out, changes], processes=processes))
    assert samples(out) == samples(straight("python"))
    whole = tmp_path / "whole"
    done(start("run", [prepared, whole, {"decay": 0.0, "steps": STEPS}]))
    assert losses(out) == pytest.approx(losses(whole), rel=1e-3)


def test_a_bad_sample_of_another_process_is_skipped_by_all(prepared, tmp_path, start):  # noqa: F811
    out = tmp_path / "run"
    made = start("poisoned", [prepared, out, {"steps": 4, "parallel": "ddp"}], processes=2)
    done(made)
    assert f"nothing learned from {(out / 'bad').read_text()}\n" in made.stderr
    assert state_of(out)["updates"] == 3 and Checkpoints(out).facts()["step"] == 4


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_asked_to_stop_keeps_the_step_at_hand(prepared, tmp_path, forks, number):  # noqa: F811
    out = tmp_path / "run"
    log, deadline = out / "samples.jsonl", time.monotonic() + ENOUGH
    running = forks.start(
        *program_of("run", [prepared, out, {"steps": 100_000}]), env=environment()
    )
    while time.monotonic() < deadline and running.poll() is None:
        if log.exists() and log.read_text().count("\n") > 4:
            break
        time.sleep(0.05)
    running.send_signal(number)
    ended = running.wait(ENOUGH)
    assert ended.returncode != 0 and "KeyboardInterrupt" in ended.stderr
    assert Checkpoints(out).facts()["step"] == len(samples(out)) > 3


def test_what_cannot_be_shared_is_said(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    with (
        pytest.raises(RequestError, match="4 processes were started and parallel is none"),
        joined("none"),
    ):
        pass
    with (
        pytest.raises(RequestError, match="sequence 3 is not accepted for 4 processes"),
        joined("ddp", sequence=3),
    ):
        pass
