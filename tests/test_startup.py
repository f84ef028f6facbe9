"""What `worldtube generate` imports and reads before it makes a clip: nothing that it does not use."""

import json
import subprocess
import sys

import pytest

NEEDLESS = {
    # of the commands that make clips, none needs these
    *(
        "scipy",
        "matplotlib",
        "pandas",
        "sympy",
        "networkx",
        "rich",
        "numba",
        "mujoco",
        "gymnasium",
        "lance",
        "ray",
    ),
    *(
        "fastapi",
        "starlette",
        "pydantic",
        "sqlalchemy",
        "uvicorn",
        "alembic",
        "openai",
        "onnxruntime",
    ),
    *(
        "diffusers",
        "transformers",
        "accelerate",
        "scenedetect",
        "torchvision",
        "typeguard",
        "einops.layers.torch",
    ),
    *("torch._dynamo", "torch._inductor", "torch.utils.tensorboard"),
    *(
        "PIL.PdfImagePlugin",
        "PIL.DdsImagePlugin",
    ),  # Pillow loads all of its formats when it is asked for one
    *("worldtube.models.diffusers", "worldtube.models.gaussian", "worldtube.text.rewrite.endpoint"),
    *(
        "worldtube.serve",
        "worldtube.train",
        "worldtube.data",
        "worldtube.evaluate",
        "worldtube.reader",
    ),
    *("worldtube.cli.train", "worldtube.cli.data", "worldtube.cli.serve"),
}
CODE = """
import gc, json, sys
from worldtube.cli import main
code = main(["generate", "a red ball rolls to the right", "--fast", "--seconds", "0.5", "--out", sys.argv[1]])
from worldtube.text import encoder
parts = encoder._load().table._parts
unpacked = sum(len(part._unpacked) for part in parts) / sum(part._num_rows * part._width for part in parts)
print(json.dumps({
    "code": code, "modules": list(sys.modules), "unpacked": unpacked,
    "frozen": gc.get_freeze_count(), "gc": gc.isenabled()
}))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    out = tmp_path_factory.mktemp("startup") / "clip.mp4"
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(out)], capture_output=True, text=True, check=True
    )
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["code"] == 0 and out.exists()
    return told


def test_nothing_needless_is_imported(told):
    assert sorted(NEEDLESS & set(told["modules"])) == []


def test_a_prompt_reads_few_rows_of_the_text_encoder(told):
    assert told["unpacked"] < 0.5


def test_what_was_loaded_is_not_searched_for_garbage(told):
    assert told["gc"] and told["frozen"] > 100_000
