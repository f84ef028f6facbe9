"""What is wrong gets a 400 that says what, in OpenAI's shape; never a 5xx, and never FastAPI's own."""

import io
import json
import sys
import zlib

import httpx2
import numpy as np
import openai
import pytest
from running import QUICK

from worldtube import video
from worldtube.video import Clip

GOOD = {"prompt": "a ball", **QUICK}


@pytest.fixture(scope="module")
def http(server):
    with httpx2.Client(base_url=f"{server.url}/v1", timeout=60) as client:
        yield client


def complaint(answer, status=400):
    assert answer.status_code == status, answer.text
    assert answer.headers["x-request-id"].startswith("req_")
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["message"] and error["code"]
    assert "pydantic" not in error["message"] and "Traceback" not in error["message"]
    return error


@pytest.mark.parametrize(
    ("change", "param", "code"),
    [
        ({"prompt": ""}, "prompt", "invalid_value"),
        ({"prompt": "  \n "}, "prompt", "invalid_value"),
        ({"prompt": "x" * 32001}, "prompt", "invalid_value"),
        ({"prompt": None}, "prompt", "missing_required_parameter"),
        ({"prompt": 5}, "prompt", "invalid_type"),
        ({"prompt": ["a"]}, "prompt", "invalid_type"),
        ({"prompt": "a\0b"}, None, "invalid_value"),
        ({"prompt": "\ud800"}, None, "invalid_value"),
        ({"size": "1x1"}, "size", "invalid_value"),
        ({"size": "99999x99999"}, "size", "invalid_value"),
        ({"size": "4096x4096"}, "size", "invalid_value"),
        ({"size": "33x16"}, "size", "invalid_value"),
        ({"size": "big"}, "size", "invalid_value"),
        ({"size": 7}, "size", "invalid_value"),
        ({"seconds": "0"}, "seconds", "invalid_value"),
        ({"seconds": "-1"}, "seconds", "invalid_value"),
        ({"seconds": "61"}, "seconds", "invalid_value"),
        ({"seconds": "nan"}, "seconds", "invalid_value"),
        ({"seconds": "long"}, "seconds", "invalid_type"),
        ({"seconds": True}, "seconds", "invalid_value"),
        ({"seed": -1}, "seed", "invalid_value"),
        ({"seed": 2**63}, "seed", "invalid_value"),
        ({"seed": 1.5}, "seed", "invalid_value"),
        ({"seed": 10**5000}, None, "invalid_value"),
        ({"num_inference_steps": 0}, "num_inference_steps", "invalid_value"),
        ({"guidance_scale": "inf"}, "guidance_scale", "invalid_value"),
        ({"width": 64}, "width", "invalid_value"),
        ({"width": 64, "height": 64}, "size", "invalid_value"),
        ({"num_frames": 0}, "num_frames", "invalid_value"),
        ({"num_frames": 3600}, "num_frames", "invalid_value"),
        ({"model": "nobody"}, "model", "model_not_found"),
        ({"n": 2}, "n", "unknown_parameter"),
        ({"__proto__": {"a": 1}}, "__proto__", "unknown_parameter"),
        ({"storyboard": []}, "storyboard", "invalid_value"),
        ({"storyboard": [{"seconds": 1}]}, "storyboard.0.prompt", "missing_required_parameter"),
        ({"storyboard": [{"prompt": "a"}]}, "seconds", "invalid_value"),
        ({"input_reference": {"image_url": "http://127.0.0.1/"}}, "input_reference", "invalid_value"),
        ({"input_reference": {"image_url": "file:///etc/passwd"}}, "input_reference", "invalid_value"),
        ({"input_reference": {"image_url": "data:image/png;base64,!"}}, "input_reference", "invalid_value"),
        ({"input_reference": {"image_url": "data:image/png;base64,aGk="}}, "input_reference", "invalid_value"),
        ({"input_reference": {"file_id": "file_1"}}, "input_reference", "invalid_value"),
        ({"input_reference": "../../etc/passwd"}, "input_reference", "invalid_type"),
    ],
)  # fmt: skip
def test_fields(http, change, param, code):
    body = {**GOOD, **change}
    answer = http.post("/videos", content=_json(body), headers={"content-type": "application/json"})
    error = complaint(answer)
    assert (error["param"], error["code"]) == (param, code), error
    assert error["type"] == "invalid_request_error"


def _json(value):
    digits = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        return json.dumps(value).encode()
    finally:
        sys.set_int_max_str_digits(digits)


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("multipart/form-data", b"no boundary"),
        ("multipart/form-data; boundary=x", b"--x\r\nbroken"),
        (
            "multipart/form-data; boundary=x",
            b"--x\r\nContent-Disposition: form-data\r\n\r\nv\r\n--x--",
        ),
        ("multipart/form-data; boundary=x", b""),
        ("application/x-www-form-urlencoded", b"prompt=a&prompt=b"),
        ("application/x-www-form-urlencoded", b"prompt=a&prompt[b]=c"),
        ("application/x-www-form-urlencoded", b"prompt[=a"),
        ("application/x-www-form-urlencoded", b"a" + b"[b]" * 500 + b"=1"),
        ("application/x-www-form-urlencoded", b"&".join(b"f%d=1" % i for i in range(999))),
        ("application/json", b"{"),
        ("application/json", b"[]"),
        ("application/json", b"\xff\xfe"),
        ("application/json", b'{"prompt": NaN}'),
        ("application/json", b'{"prompt": ' + b"[" * 100_000),
        ("application/json", b'{"prompt": ' + b"[" * 50 + b"]" * 50 + b"}"),
        ("application/json", b""),
        ("text/plain", b"prompt=a"),
    ],
)
def test_bodies(http, kind, content):
    complaint(http.post("/videos", content=content, headers={"content-type": kind}))


def bomb() -> bytes:
    """A PNG of 30,000 x 30,000 pixels in a few kilobytes."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")
        )

    head = (30000).to_bytes(4, "big") * 2 + bytes([1, 0, 0, 0, 0])
    rows = zlib.compress(bytes(3751) * 30000, 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.fixture(scope="module")
def files(picture, footage):
    data = footage.read_bytes()
    wide = io.BytesIO()
    video.write(Clip(frames=np.zeros((2, 16, 6000, 3), np.uint8), fps=1.0), wide, format="mp4")
    return {
        "text.mp4": b"this is no video",
        "empty.mp4": b"",
        "cut.mp4": data[: len(data) // 2],
        "head.mp4": data[:40],
        "noise.mp4": data[:60] + np.random.default_rng(0).bytes(2000),
        "picture.mp4": picture.read_bytes(),
        "list.m3u8": b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
        "bomb.png": bomb(),
        "page.svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    }  # fmt: skip


NAMES = ["text.mp4", "empty.mp4", "cut.mp4", "head.mp4", "noise.mp4", "picture.mp4", "list.m3u8",
         "bomb.png", "page.svg"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_files(http, files, name):
    given = {"video": (f"../../{name}", files[name], "video/mp4")}
    error = complaint(http.post("/videos/edits", data={"prompt": "a"}, files=given))
    assert error["param"] == "video" and "/tmp" not in error["message"], error


def test_a_video_is_no_picture_and_a_bomb_neither(http, files, footage):
    for data in (footage.read_bytes(), files["bomb.png"]):
        given = {"input_reference": ("a.png", data, "image/png")}
        error = complaint(http.post("/videos", data=GOOD, files=given))
        assert error["param"] == "input_reference"


@pytest.mark.parametrize(
    "id",
    ["video_" + "0" * 36, "video_x", "x", "..%2f..%2fetc", "video_%00", "' OR 1=1 --", "%F0%9F%90%8D", "v" * 5000],
)  # fmt: skip
def test_ids_of_nothing(http, id):
    for path in (
        f"/videos/{id}",
        f"/videos/{id}/content",
        f"/videos/characters/{id}",
        f"/webhook_endpoints/{id}",
    ):
        assert complaint(http.get(path), 404)["type"] == "invalid_request_error"
    complaint(http.delete(f"/videos/{id}"), 404)
    complaint(http.post(f"/videos/{id}/remix", json={"prompt": "a"}), 404)
    if "%" not in id:
        body = {"prompt": "a", "video": {"id": id}}
        assert complaint(http.post("/videos/edits", json=body), 404)["param"] == "video.id"


def test_methods_and_paths(http):
    complaint(http.put("/videos"), 405)
    complaint(http.get("/nothing"), 404)
    complaint(http.get("/videos", params={"limit": "many"}))
    complaint(http.get("/videos", params={"order": "sideways"}))
    complaint(http.get("/videos", params={"after": "' OR 1=1"}), 404)


def test_large_bodies(tmp_path_factory, server, http):
    limit = 100_000_000

    def parts():
        yield b'--x\r\nContent-Disposition: form-data; name="video"; filename="a"\r\n\r\n'
        for _ in range(limit // (1 << 20) + 2):
            yield bytes(1 << 20)

    kind = {"content-type": "multipart/form-data; boundary=x"}
    length = {"content-length": str(len(b"".join(parts())))}
    for headers in (kind, kind | length):  # found while it is read, and known before
        try:
            answer = http.post("/videos/edits", content=parts(), headers=headers)
        except httpx2.TransportError:
            continue  # it hung up before all was sent, which is its right
        error = complaint(answer, 413)
        assert error["code"] == "body_too_large" and "100 MB" in error["message"]
    large = b"x" * ((32 << 20) + 1)
    body = (
        b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n' + large + b"\r\n--x--\r\n"
    )
    error = complaint(http.post("/videos", content=body, headers=kind), 413)
    assert error["code"] == "body_too_large" and error["type"] == "invalid_request_error"
    error = complaint(http.post("/videos", json={"prompt": large.decode()}), 413)
    assert error["code"] == "body_too_large"


def test_refusals_and_idempotency(client, http):  # 13, 14
    error = complaint(http.post("/videos", json={**GOOD, "prompt": "a Snuff-film at night"}))
    assert error["code"] == "moderation_blocked"
    headers = {"Idempotency-Key": "once"}
    first = client.videos.create(prompt="one", **QUICK, extra_headers=headers)
    again = client.videos.create(prompt="one", **QUICK, extra_headers=headers)
    assert first.id == again.id
    with pytest.raises(openai.ConflictError) as conflict:
        client.videos.create(prompt="two", **QUICK, extra_headers=headers)
    assert conflict.value.response.headers["x-should-retry"] == "false"
    # A repeat that the client makes by itself says so; one that it does not is another video.
    twice = [http.post("/videos", json={**GOOD, "prompt": "again"}).json()["id"] for _ in range(2)]
    retry = {"x-stainless-retry-count": "1"}
    third = http.post("/videos", data={**GOOD, "prompt": "again"}, headers=retry).json()["id"]
    assert twice[0] != twice[1] and third == twice[1]
    complaint(http.post("/videos", json=GOOD, headers={"Idempotency-Key": "x" * 256}))


def test_other_sites_pages_and_names_are_not_this_machine(http):
    for headers in (
        {"Origin": "https://evil.example"},
        {"Host": "evil.example"},
        {"Origin": "null"},
    ):
        assert complaint(http.get("/videos", headers=headers), 401)["code"] == "invalid_api_key"
