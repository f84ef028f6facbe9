"""Law 8: every example runs, every help block in the docs is what the command prints."""

import ast
import importlib.util
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import worldtube
from worldtube.models.local import embedded_path

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))


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
def test_example(example, tmp_path, forks):
    done = forks.run(example, cwd=tmp_path, timeout=900)
    assert done.returncode == 0, done.stderr
    assert done.stdout or list(tmp_path.iterdir())
    assert len(example.read_text().splitlines()) <= 40


def test_python_blocks_of_the_readme(tmp_path, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert blocks
    monkeypatch.chdir(tmp_path)
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})


def run_cell(source: str, names: dict) -> object:
    """Run a notebook's cell and return the value of its last line, which a notebook displays; None without one."""
    body = ast.parse(source).body
    last = ast.Expression(body.pop().value) if isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), "cell", "exec"), names)
    return None if last is None else eval(compile(last, "cell", "eval"), names)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.stem)
@pytest.mark.filterwarnings("ignore::worldtube.PromptWarning")
def test_notebook(notebook, tmp_path, monkeypatch):
    """Its cells run in order, those that end in a clip display a video, and the file holds no outputs."""
    monkeypatch.chdir(tmp_path)
    content = json.loads(notebook.read_text())
    assert (content["nbformat"], content["nbformat_minor"]) == (4, 5)
    cells = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    names, played = {}, 0
    for cell in cells:
        assert cell["outputs"] == [] and cell["execution_count"] is None
        value = run_cell("".join(cell["source"]), names)
        if isinstance(value, worldtube.Clip):
            assert value._repr_html_().startswith("<video ")
            played += 1
    assert len(cells) == 10 and played >= 8
    assert {path.name for path in tmp_path.iterdir()} == {"boxes.mp4", "boxes.gif"}


def run_page(page: str, names: dict) -> int:
    """Run a page's Python from top to bottom in one namespace, and compare the values that its comments show.

    A value stands behind an expression, two spaces and `# `, or on the next line; returns how many were compared.
    """
    compared = 0
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        lines = block.splitlines()
        for statement in ast.parse(block).body:
            source = ast.unparse(statement)
            if not isinstance(statement, ast.Expr):
                exec(source, names)
                continue
            value = eval(source, names)
            following = lines[statement.end_lineno : statement.end_lineno + 1]
            shown = re.search(r"  # (.*)$", lines[statement.end_lineno - 1]) or (
                re.match(r"# (.*)$", following[0]) if following else None
            )
            if shown is not None and shown[1] != "fmt: skip":
                assert repr(value) == shown[1].strip(), source
                compared += 1
    return compared


@pytest.mark.filterwarnings("ignore::worldtube.PromptWarning")
def test_the_page_about_python(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_page((ROOT / "docs" / "python.md").read_text(), {}) >= 30
    assert (tmp_path / "ball.mp4").is_file()


def test_the_page_about_python_names_everything():
    from worldtube.generate.options import CALL_OPTIONS, PYTHON_OPTIONS
    from worldtube.generate.tasks import OPTIONS

    public = {name for kind in (worldtube.Session, worldtube.Generated) for name in vars(kind)}
    public |= {*vars(worldtube.Clip), *OPTIONS, *PYTHON_OPTIONS, *CALL_OPTIONS}
    public |= {*worldtube.__all__} - {"ClipLike", "World"}
    page = (ROOT / "docs" / "python.md").read_text()
    names = {name for name in public if not name.startswith("_")}
    assert not [name for name in sorted(names) if not re.search(rf"\b{name}\b", page)]


def words_of(command: str) -> list[str] | None:
    """The words after `python` of a command that needs no shell; None for others."""
    words = list(shlex.shlex(command, posix=True, punctuation_chars=True))
    if any(set(word) <= set("();<>|&") for word in words):
        return None
    name, *rest = shlex.split(command, comments=True)
    return {"worldtube": ["-m", "worldtube", *rest], "python": rest}.get(name)


def follow(guide, folder, forks):
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
            words = words_of(command)
            if words is None or words[0] == "-c":
                done = subprocess.run(
                    ["bash", "-c", shell + command],
                    cwd=folder,
                    capture_output=True,
                    text=True,
                    timeout=300,
                )
            else:
                done = forks.run(*words, cwd=folder, timeout=300)
            told = re.search(r"exit code (\d)", command)
            assert done.returncode == int(told[1] if told else 0), (command, done.stderr)
            said = done.stderr if done.returncode == 2 else done.stdout
            assert not printed or said.startswith(printed.rstrip("\n")), (command, said)
            seen += 1
    return seen


def test_the_guide_to_provenance(tmp_path, forks):
    assert follow("provenance.md", tmp_path, forks) >= 7
    assert json.loads((tmp_path / "longer.json").read_text())["verdict"] == "unaltered"


def test_the_guide_to_models(tmp_path, forks):
    pytest.importorskip("diffusers")
    sys.path.append(str(ROOT / "tests" / "models"))
    import tiny

    tiny.wan(tmp_path / "wan")
    forks.imports(
        "diffusers.pipelines.wan.pipeline_wan",
        "transformers.models.umt5.modeling_umt5",
        "worldtube.models.diffusers",
    )
    assert follow("models.md", tmp_path, forks) >= 5
    assert (tmp_path / "box.mp4").exists()


def test_the_guide_to_hardware(tmp_path, forks):
    assert follow("hardware.md", tmp_path, forks) == 2


def test_the_guide_to_given_clips(tmp_path, forks):
    assert follow("given.md", tmp_path, forks) == 5


def test_the_guide_to_films(tmp_path, forks):
    """Its commands run in order on films that are made here, and print first what it says they print."""
    pytest.importorskip("lance")
    pytest.importorskip("scenedetect")
    spec = importlib.util.spec_from_file_location("films", ROOT / "tests" / "data" / "films.py")
    films = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(films)
    films.good(tmp_path / "films")
    assert follow("films.md", tmp_path, forks) == 5
    assert (tmp_path / "page.html").read_text().count("<video") == 8


def test_the_guide_to_training(tmp_path, forks):
    assert follow("training.md", tmp_path, forks) >= 7
    assert (tmp_path / "own" / "before.png").is_file() and (tmp_path / "own.mp4").is_file()
    assert "Validation loss" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.slow
def test_the_guide_to_scaling(tmp_path, forks):
    assert follow("scaling.md", tmp_path, forks) == 1
    assert (tmp_path / "ladder" / "compute.png").exists()


def test_the_weights_ship_and_are_small():
    weights = list(embedded_path().parent.glob("*.safetensors"))
    assert embedded_path() in weights
    assert sum(p.stat().st_size for p in weights) < 64e6


def test_the_guide_to_states(tmp_path, forks):
    pytest.importorskip("mujoco")
    assert follow("state.md", tmp_path, forks) >= 1
