"""The guide, from its server to its last key: what it tells a reader to run is run, as it stands there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "guides" / "serve.md"
BLOCK = re.compile(r"```(console|python)\n(.*?)```", re.DOTALL)


@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
def test_the_guide(server, tmp_path, monkeypatch, capsys):
    """`pip install` and `worldtube serve` stand for the server that the tests have; the keys go elsewhere."""
    monkeypatch.chdir(tmp_path)
    here = server.url.removeprefix("http://")
    env = os.environ | {"WORLDTUBE_HOME": str(tmp_path), "PYTHONWARNINGS": "ignore"}
    space, commands, scripts = {}, 0, 0
    for kind, text in BLOCK.findall(GUIDE.read_text()):
        text = text.replace("127.0.0.1:8000", here)
        if kind == "python":
            exec(compile(text, str(GUIDE), "exec"), space)
            scripts += 1
            continue
        for line in (one[2:] for one in text.splitlines() if one.startswith("$ ")):
            commands += 1
            if line.startswith(("pip install", "worldtube serve")):
                continue
            if line.startswith("curl") and not shutil.which("curl"):
                continue
            line = (
                line.replace("worldtube ", f"{sys.executable} -m worldtube ", 1)
                if line.startswith("worldtube")
                else line
            )
            done = subprocess.run(["bash", "-c", line], env=env, capture_output=True, text=True)
            assert done.returncode == 0 and done.stdout, (line, done.stderr)
            assert '"error":{' not in done.stdout, (line, done.stdout)
    assert scripts == 3 and commands == 7
    assert (tmp_path / "ball.mp4").stat().st_size > 1000 and (tmp_path / "ball.webp").exists()
    space["client"].close()
    told = capsys.readouterr().out
    assert "completed" in told and told.splitlines()[1] == "2"
    assert ("reproduce 2" in told) == ("state" in space["video"].variants)


def test_the_line_that_the_guide_shows_is_the_one_that_is_printed():
    """`tests/serve/test_restart.py` compares the whole line with what a server prints."""
    text = (ROOT / "src" / "worldtube" / "cli" / "serve.py").read_text()
    shown = "worldtube serves at http://127.0.0.1:8000/v1 (no key: this machine only)"
    assert shown in GUIDE.read_text()
    assert "no key: this machine only" in text


def test_compose_and_dockerfile_name_what_there_is():
    """Read, not run: there is no engine in the tests."""
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    assert set(services) == {"api", "worker", "postgres"}
    from worldtube.cli import COMMANDS

    assert {services[name]["command"][0] for name in ("api", "worker")} <= set(COMMANDS)
    copied = re.findall(
        r"^COPY (?!--from)(.*) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE
    )
    assert all((ROOT / name).exists() for line in copied for name in line.split())


def test_the_run_is_a_script_that_bash_reads():
    assert subprocess.run(["bash", "-n", ROOT / "runs" / "serve.sh"]).returncode == 0
