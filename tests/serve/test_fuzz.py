"""Whatever comes in, no 5xx: bodies made wrong at random, and Schemathesis against our own OpenAPI page."""

import json
import random
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
from running import QUICK

PATHS = ("/videos", "/videos/edits", "/videos/extensions", "/videos/characters",
         "/content_provenance_checks", "/webhook_endpoints")  # fmt: skip
ODD = (None, True, -1, 0, 1e308, 2**64, "", " ", "x", "\u202e", "null", "[]", "1x1", "64x64", [], {}, [[]],
       {"id": "video_1"}, {"id": None}, {"id": {"id": 1}}, [{"prompt": 1}], "data:,", "a" * 5000, "\x01")  # fmt: skip


def body(rng: random.Random, files: list[bytes]) -> tuple[bytes, str]:
    """A body that was a good one once, and its content type."""
    fields = {
        "prompt": "a",
        **QUICK,
        "video": {"id": "video_1"},
        "name": "n",
        "url": "https://a.b/",
    }
    for _ in range(rng.randrange(1, 5)):
        name = rng.choice([*fields, "seed", "fps", "storyboard", "input_reference", "extra", ""])
        fields[name] = rng.choice(ODD)
    if rng.random() < 0.5:
        data = json.dumps(fields).encode()
        kind = "application/json"
    else:
        parts = []
        for name, value in fields.items():
            text = value if isinstance(value, str) else json.dumps(value)
            name = name + rng.choice(["", "", "[]", "[id]", "[a][b]", "[", "]"])
            parts.append(f'Content-Disposition: form-data; name="{name}"\r\n\r\n{text}'.encode())
        if rng.random() < 0.2:
            head = b'Content-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
            parts.append(head + rng.choice(files))
        data = b"".join(b"--x\r\n" + part + b"\r\n" for part in parts) + b"--x--\r\n"
        kind = "multipart/form-data; boundary=x"
    if rng.random() < 0.3:
        hurt = bytearray(data)
        for _ in range(rng.randrange(1, 20)):
            hurt[rng.randrange(len(hurt))] = rng.randrange(256)
        data = bytes(hurt[: rng.randrange(len(hurt))] if rng.random() < 0.5 else hurt)
    return data, kind


def memory(pid: int) -> int:
    """Of a process, in MB."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0]) >> 10


@pytest.mark.parametrize("count", [150, pytest.param(2000, marks=pytest.mark.slow)])
def test_wrong_bodies(server, footage, count):
    rng = random.Random(count)
    files = [b"", b"text", footage.read_bytes()[:200], rng.randbytes(3000)]
    api = next(pid for pid, name in server.children().items() if name == "api")
    made, used = [], []
    with httpx2.Client(base_url=f"{server.url}/v1", timeout=60) as http:
        for index in range(count):
            data, kind = body(rng, files)
            path = rng.choice(PATHS)
            answer = http.post(path, content=data, headers={"content-type": kind})
            assert answer.status_code in (200, 400, 404, 429), (path, data, answer.text)
            if answer.status_code == 200:
                made.append(answer.json().get("id"))
            else:
                assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
            if index % (count // 10) == 0:
                used.append(memory(api))
        for id in filter(None, made):
            if id.startswith("video"):
                http.delete(f"/videos/{id}")
    assert api in server.children(), "it never died"
    assert used[-1] < used[2] + 40, f"memory grows: {used} MB"
    assert len(made) < count * 0.9


@pytest.mark.parametrize(
    ("count", "paths"), [(4, "^/v1/videos$"), pytest.param(60, "", marks=pytest.mark.slow)]
)
def test_schemathesis(server, count, paths, tmp_path):
    """Its own command, as anyone runs it against a server."""
    checks = "not_a_server_error,status_code_conformance,content_type_conformance"
    words = ["run", f"{server.url}/openapi.json", "--checks", checks, "--phases", "fuzzing"]
    words += ["--max-examples", str(count), "--seed", "1", "--generation-database", "none"]
    words += ["--include-path-regex", paths] if paths else []
    words += ["--exclude-path-regex", "events|/test$|metrics", "--suppress-health-check", "all"]
    code = "import sys; from schemathesis.cli import schemathesis; sys.exit(schemathesis())"
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
