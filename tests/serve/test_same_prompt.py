"""The same prompt by command line, Python and HTTP: one rewriting, one list of warnings, one clip.

From words alone: plans of a physical state take prompts as they are.
"""

import json

import numpy as np
import pytest
from running import finished

import worldtube
from worldtube import video
from worldtube.cli import main
from worldtube.generate.session import load

CASES = {
    "two tiny crimson spheres roll leftwards, fast": ["rewritten as: Two small red balls"],
    "a red ball rolls to the right": [],
    "pouring water into a glass": [],
    "quarterly numbers of the stock market": ["outside of what worldtube-small knows"],
    "a red ball, a blue box and their shadows, " * 60: ["too long"],
}


@pytest.fixture(scope="module")
def session():
    return load()


@pytest.mark.parametrize("prompt", CASES)
def test_the_same_prompt_by_command_line_python_and_http(
    prompt, session, client, tmp_path, capsys, recwarn
):
    path = tmp_path / "cli.mp4"
    options = {"seconds": "1", "size": "64x64", "seed": "7", "steps": "1"}
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    assert main(["generate", prompt, *words, "--no-state", "--json", "--out", str(path)]) == 0
    printed = capsys.readouterr()
    told = json.loads(printed.out)
    lines = [
        line.removeprefix("worldtube: ")
        for line in printed.err.splitlines()
        if line.startswith("worldtube: ") and "watermark" not in line  # one step makes flat frames
    ]

    clip = session.generate(
        prompt, seconds=1, size=video.Size(64, 64), seed=7, steps=1, no_state=True
    )
    issued = [str(one.message) for one in recwarn if one.category is worldtube.PromptWarning]

    job = client.videos.create(
        prompt=prompt, model="worldtube-small", size="64x64", seconds="1",
        extra_body={"seed": 7, "num_inference_steps": 1, "no_state": True},
    )  # fmt: skip
    job = finished(client, job.id)
    assert job.status == "completed", job.error
    made = video.read(client.videos.download_content(job.id).read())

    assert list(clip.warnings) == issued == told["warnings"] == lines == job.warnings
    assert len(clip.warnings) == len(CASES[prompt])
    for warning, part in zip(clip.warnings, CASES[prompt], strict=True):
        assert part in warning and len(warning) < 300
    assert told["prompt"] == clip.request.prompt and job.prompt == prompt
    saved = video.read(clip.save(tmp_path / "python.mp4"))
    assert np.array_equal(saved.frames, video.read(path).frames)
    assert np.array_equal(made.frames, saved.frames)


def test_rewriting_can_be_turned_off(session, recwarn):
    prompt = "two tiny crimson spheres roll leftwards, fast"
    clip = session.generate(prompt, seconds=None, steps=1, rewrite=False)
    assert clip.request.prompt == prompt and clip.warnings == () and not len(recwarn)
