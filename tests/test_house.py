"""The house rules that a machine can check: arrows between rooms, names, sizes, the public face, the docs."""

import ast
import importlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import worldtube

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "worldtube"
FACE = {
    *("load", "generate", "Session", "Generated", "Request", "Given", "Shot", "verify"),
    *("Clip", "ClipLike", "Size", "Sound", "World", "as_clip", "read"),
    *(
        "WorldtubeError",
        "RequestError",
        "Refused",
        "NotFound",
        "MissingExtra",
        "DataError",
        "PromptWarning",
    ),
}
DICTS = {
    "worldtube.diffusion.samplers": "SAMPLERS",
    "worldtube.codec": "CODECS",
    "worldtube.worlds": "WORLDS",
    "worldtube.models": "MODELS",
    "worldtube.generate.tasks": "TASKS",
    "worldtube.evaluate": "MEASURES",
    "worldtube.data.stages": "STAGES",
    "worldtube.data.shots": "SHOTS",
    "worldtube.workers": "EXECUTORS",
    "worldtube.cli.data": "DATA",
    "worldtube.train.recipes": "RECIPES",
    "worldtube.train.patterns": "PATTERNS",
    "worldtube.video": "FORMATS",
}


def _sources(folder: Path = SOURCE) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def _tracked() -> list[Path]:
    """Files of the project: what git knows, or everything in an unpacked source archive."""
    if (ROOT / ".git").exists() and shutil.which("git"):
        listed = subprocess.run(
            ["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=True
        ).stdout
        return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]
    return [path for path in ROOT.rglob("*") if path.is_file() and ".venv" not in str(path)]


def test_arrows_between_rooms_point_down():
    found = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stdout + found.stderr


def test_no_room_without_a_name_of_its_own():
    forbidden = {"utils", "util", "core", "common", "base", "manager", "helper", "helpers", "misc"}
    assert not [path for path in _sources() if forbidden & {path.stem, path.parent.name}]


def test_every_file_says_what_it_owns():
    # A file of a few lines, such as __main__.py, says it all itself.
    silent = [p for p in _sources() if not p.read_text(encoding="utf-8").lstrip().startswith('"""')]
    assert not [path for path in silent if len(path.read_text(encoding="utf-8").splitlines()) > 5]


def test_public_face():
    assert set(worldtube.__all__) == FACE
    assert set(dir(worldtube)) >= FACE
    for name in FACE:
        assert getattr(worldtube, name) is not None


def test_public_face_is_typed():
    tree = ast.parse((SOURCE / "__init__.py").read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    imports = (node for node in block.body if isinstance(node, ast.ImportFrom))
    assert {alias.name for node in imports for alias in node.names} == FACE
    assert (SOURCE / "py.typed").is_file()


def test_public_face_is_lazy():
    code = "import sys, worldtube; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_help_needs_no_torch():
    code = (
        "import sys, worldtube.cli\ntry: worldtube.cli.main(['--help'])\n"
        "except SystemExit: pass\nsys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


@pytest.mark.parametrize("module", DICTS)
def test_docs_name_every_entry(module: str):
    entries = getattr(importlib.import_module(module), DICTS[module])
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    missing = [name for name in entries if not re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text)]
    assert not missing, f"{DICTS[module]} entries that neither README.md nor docs/ name: {missing}"


def test_docs_name_every_room():
    text = "\n".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").rglob("*.md"))
    rooms = {p.stem if p.suffix else p.name for p in SOURCE.iterdir() if not p.name.startswith("_")}
    assert not [room for room in rooms if not re.search(rf"(?<!\w){room}\b", text)]


def test_no_paths_of_a_particular_machine():
    words = ["/work" + "/", "/root" + "/", "/home" + "/"]
    found = []
    for path in _tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(ROOT)}: {word}" for word in words if word in text]
    assert not found


def test_print_only_in_the_command_line():
    assert not [
        path
        for path in _sources()
        if path.parent.name != "cli"
        and re.search(r"^\s*print\(", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]


def test_the_first_validation_seed_is_written_once():
    """Everything else takes it from `worlds.world.VALIDATION_SEEDS`."""
    users = [p for p in SOURCE.rglob("*.py") if re.search(r"8_?000_?000\b", p.read_text("utf-8"))]
    assert [p.name for p in users] == ["world.py"]
