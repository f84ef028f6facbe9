"""Law 8: every example runs, every help block in the docs is what the command prints."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from worldtube.models.local import embedded_path

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def regenerate():
    spec = importlib.util.spec_from_file_location("regenerate", ROOT / "docs" / "regenerate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_help_blocks_are_current():
    page = (ROOT / "docs" / "cli.md").read_text()
    assert page.count("$ worldtube") >= 9
    assert regenerate().regenerated(page) == page, "run `make docs`"


def test_every_command_is_in_the_docs():
    from worldtube.cli import COMMANDS

    page = (ROOT / "docs" / "cli.md").read_text()
    assert not [name for name in COMMANDS if f"$ worldtube {name} " not in page]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda p: p.stem)
def test_example(example, tmp_path):
    done = subprocess.run(
        [sys.executable, example], cwd=tmp_path, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout or list(tmp_path.iterdir())
    assert len(example.read_text().splitlines()) <= 40


def test_python_blocks_of_the_readme(tmp_path, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert blocks
    monkeypatch.chdir(tmp_path)
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})


def follow(guide, folder):
    """Run a guide's commands and scripts in order; each ends as the page says, and prints first what it says."""
    page = (ROOT / "docs" / "guides" / guide).read_text()
    shell = f'worldtube() {{ "{sys.executable}" -m worldtube "$@"; }}; python() {{ "{sys.executable}" "$@"; }}; '
    seen = 0
    for block in re.findall(r"```(?:console|python)\n(.*?)```", page, re.DOTALL):
        if not block.startswith("$ "):
            (folder / "block.py").write_text(block)
            block = "$ python block.py"
        for command, printed in re.findall(r"^\$ (.*)\n?((?:^(?!\$ ).+\n)*)", block, re.MULTILINE):
            if command.startswith("pip install"):
                continue
            done = subprocess.run(
                ["bash", "-c", shell + command],
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=300,
            )
            told = re.search(r"exit code (\d)", command)
            assert done.returncode == int(told[1] if told else 0), (command, done.stderr)
            said = done.stderr if done.returncode == 2 else done.stdout
            assert not printed or said.startswith(printed.rstrip("\n")), (command, said)
            seen += 1
    return seen


def test_the_guide_to_provenance(tmp_path):
    assert follow("provenance.md", tmp_path) >= 7
    assert json.loads((tmp_path / "longer.json").read_text())["verdict"] == "made_here"


def test_the_guide_to_models(tmp_path):
    pytest.importorskip("diffusers")
    sys.path.append(str(ROOT / "tests" / "models"))
    import tiny

    tiny.wan(tmp_path / "wan")
    assert follow("models.md", tmp_path) >= 5
    assert (tmp_path / "box.mp4").exists()


def test_the_guide_to_hardware(tmp_path):
    assert follow("hardware.md", tmp_path) == 2


def test_the_guide_to_films(tmp_path):
    """Its commands run in order on films that are made here, and print first what it says they print."""
    pytest.importorskip("lance")
    pytest.importorskip("scenedetect")
    spec = importlib.util.spec_from_file_location("films", ROOT / "tests" / "data" / "films.py")
    films = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(films)
    films.good(tmp_path / "films")
    assert follow("films.md", tmp_path) == 5
    assert (tmp_path / "page.html").read_text().count("<video") == 8


def test_the_guide_to_training(tmp_path):
    assert follow("training.md", tmp_path) >= 7
    assert (tmp_path / "own" / "before.png").is_file() and (tmp_path / "own.mp4").is_file()
    assert "Validation loss" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.slow
def test_the_guide_to_scaling(tmp_path):
    assert follow("scaling.md", tmp_path) == 1
    assert (tmp_path / "ladder" / "compute.png").exists()


def test_the_weights_ship_and_are_small():
    weights = list(embedded_path().parent.glob("*.safetensors"))
    assert embedded_path() in weights
    assert sum(p.stat().st_size for p in weights) < 40e6


def test_the_guide_to_states(tmp_path):
    pytest.importorskip("mujoco")
    assert follow("state.md", tmp_path) >= 1
