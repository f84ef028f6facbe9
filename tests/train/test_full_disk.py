"""A disk that takes no more ends in one sentence, and what was finished before stays."""

import errno
import os
import shutil
import subprocess
import sys

import pytest
import torch

from worldtube import cli, records
from worldtube.errors import RequestError, WorldtubeError
from worldtube.models.weights import save_weights
from worldtube.train.checkpoint import Checkpoints

STATE = {"weights": torch.ones(50_000)}
"""200 kB."""


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 400 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    how = [mount, "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)]
    if mount is None or subprocess.run(how, capture_output=True).returncode:
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(folder):
    with pytest.raises(OSError, match="No space left"):
        (folder / "filler").write_bytes(b"x" * 1_000_000)


def test_every_file_of_a_run_on_a_full_disk(small_disk):
    checkpoints = Checkpoints(small_disk)
    checkpoints.save(STATE, step=1)
    checkpoints.wait()
    with (
        pytest.raises(RequestError, match=r"record\.jsonl cannot be written: No space left"),
        records.Run(small_disk / "record.jsonl", {}) as run,
    ):
        run.log(step=1, loss=0.5)
        fill(small_disk)
        for step in range(2, 2000):
            run.log(step=step, loss=0.5)
    for path in ("model.safetensors", "new.safetensors"):
        with pytest.raises(
            RequestError, match=f"{path} cannot be written: No space left on device"
        ):
            save_weights(STATE, small_disk / path, config={})
    checkpoints.save(STATE, step=2)
    with pytest.raises(WorldtubeError) as told:
        checkpoints.wait()
    assert str(told.value) == (
        "the checkpoint of step 2 cannot be written: No space left on device; "
        "the run goes on from step 1 when it is started again"
    )
    assert sorted(path.name for path in small_disk.iterdir()) == [
        "checkpoints",
        "filler",
        "record.jsonl",
    ]
    state = {"weights": torch.zeros(50_000)}
    again = Checkpoints(small_disk)
    again.load(state)
    assert again.facts() == {"step": 1} and torch.equal(state["weights"], STATE["weights"])
    assert records.read(small_disk / "record.jsonl")[1][0]["loss"] == 0.5


def test_files_that_may_not_grow(tmp_path):
    """The same where no disk can be mounted: the kernel refuses to let files grow beyond 100 kB."""
    code = (
        "import resource, sys, torch; from pathlib import Path\n"
        "from worldtube.train.checkpoint import Checkpoints\n"
        "c = Checkpoints(Path(sys.argv[1])); c.save({'w': torch.ones(100)}, step=1); c.wait()\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, -1))\n"
        "from worldtube.errors import WorldtubeError\n"
        "c.save({'w': torch.ones(50_000)}, step=2)\n"
        "try: c.wait()\n"
        "except WorldtubeError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True)
    assert "step 2 cannot be written: File too large; the run goes on from step 1" in done.stdout
    assert Checkpoints(tmp_path).facts() == {"step": 1}


@pytest.mark.parametrize("name", [None, "there.bin"])
def test_any_command_says_it_in_a_sentence(monkeypatch, capsys, name):
    def full(rest):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)

    monkeypatch.setitem(cli.COMMANDS, "info", ("", full))
    assert cli.main(["info"]) == 1
    where = f"{name} cannot be written: " if name else ""
    assert capsys.readouterr().err == (
        f"worldtube: {where}No space left on device; what was finished is kept\n"
    )
