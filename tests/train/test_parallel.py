"""Shows 3 and 4: however many processes share a run and whenever it is killed, it is the same run.

Tolerances: one step of two processes in float32 equals that of one to 1e-5 of the largest gradient of each
weight; a run that is killed and resumed on as many processes equals one that was not, to the bit; on another
number it draws the same samples and its loss is the same to 1e-3.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from states import same, state_of
from test_loop import prepared  # noqa: F401 - a fixture

from worldtube.errors import RequestError
from worldtube.records import read
from worldtube.train.checkpoint import Checkpoints
from worldtube.train.parallel import joined

WORKER = Path(__file__).parent / "worker.py"
SIZES = {"width": 64, "depth": 2, "head_width": 32, "hidden": 128, "text_depth": 1}
ENOUGH = 240


def environment(**more):
    return os.environ | {"OMP_NUM_THREADS": "1"} | more


def start(what, arguments, *, processes=1, restarts=0):
    """By python, or by torchrun."""
    program = [str(WORKER), what, json.dumps([str(a) if isinstance(a, Path) else a for a in arguments])]
    if processes > 1:
        where = ["--nproc-per-node", str(processes), "--max-restarts", str(restarts)]
        where += ["--monitor-interval", "0.2", "--master-port", str(free_port())]
        program = ["-m", "torch.distributed.run", *where, *program]
    return subprocess.run(
        [sys.executable, *program],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=ENOUGH,
    )


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


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
def alone(prepared, tmp_path_factory):  # noqa: F811
    """One step of one process."""
    out = tmp_path_factory.mktemp("alone") / "step.pt"
    done(start("one_step", [prepared, out, {"dtype": "float32", "rows": 5}]))
    return torch.load(out)


@pytest.mark.parametrize("way", [way for way in WAYS if way != "python"])
def test_a_step_of_two_processes_is_that_of_one(prepared, tmp_path, alone, way):  # noqa: F811
    processes, changes = WAYS[way]
    out = tmp_path / "step.pt"
    changes = changes | {"dtype": "float32", "rows": 5}
    done(start("one_step", [prepared, out, changes], processes=processes))
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
