"""Law 7: the official client, unchanged, through all ten operations. The numbers are those of the acceptance list."""

import asyncio
import base64
import io
import time

import httpx2
import numpy as np
import openai
import pytest
from openai import omit
from PIL import Image
from running import QUICK, finished

from worldtube import video
from worldtube.provenance import VERDICTS


def test_create_and_poll(client, server):  # 1, 2, 3, 8
    began = time.time()
    told = client.videos.create(prompt="a red ball", model="gaussian", seconds="4", size="64x32")
    assert time.time() - began < 5
    assert told.status == "queued" and told.progress == 0 and told.object == "video"
    assert abs(told.created_at - began) < 5 and told.seconds == "4" and told.size == "64x32"
    assert told.completed_at is None and told.error is None and told.remixed_from_video_id is None
    seen = [(told.status, told.progress)]
    while seen[-1][0] in ("queued", "in_progress"):
        told = client.videos.retrieve(told.id)
        seen.append((told.status, told.progress))
        time.sleep(0.01)
    order = {"queued": 0, "in_progress": 1, "completed": 2}
    assert [order[s] for s, _ in seen] == sorted(order[s] for s, _ in seen)
    assert [p for _, p in seen] == sorted(p for _, p in seen) and told.progress == 100
    assert told.completed_at >= told.created_at and told.expires_at > told.completed_at
    clip = video.read(client.videos.download_content(told.id).read())
    assert str(clip.size) == "64x32" and clip.fps == told.fps == 4
    assert clip.num_frames == told.num_frames == 16


def test_the_embedded_model_makes_what_is_asked(client):
    told = client.videos.create_and_poll(
        prompt="a red ball rolls to the right", model="worldtube-small", size="64x64", seconds="1",
        extra_body={"seed": 7, "num_inference_steps": 4},
    )  # fmt: skip
    assert told.status == "completed", told.error
    assert told.num_frames == 13 and told.seed == 7 and told.warnings == []
    clip = video.read(client.videos.download_content(told.id).read())
    from worldtube.generate.session import load

    request = load().request("generate", clip.caption or "a red ball rolls to the right")
    assert clip.fps == 12 and str(clip.size) == "64x64" and request.steps != 4
    assert clip.frames.std() > 5, "a picture, not one colour"


def test_nothing_said_means_what_the_model_makes_best(client):
    """As its model card says: 64x64, or the size of its states, 25 frames at 12 a second."""
    native = next(one for one in client.models.list() if one.id == "worldtube-small")
    told = client.videos.create_and_poll(
        prompt="A red ball rolls to the right.", extra_body={"num_inference_steps": 2}
    )
    assert told.status == "completed", told.error
    best = (native.model_extra.get("state") or {}).get("size", "64x64")  # of those with a state
    assert (told.model, told.size, told.rendered_size) == ("worldtube-small", best, best)
    assert (told.seconds, told.num_frames, told.fps) == ("2", 25, 12)
    assert (native.size, native.seconds, native.fps) == ("64x64", 2, 12)
    assert not [warning for warning in told.warnings if "enlarged" in warning]
    clip = video.read(client.videos.download_content(told.id).read())
    assert str(clip.size) == best and clip.num_frames == 25 and clip.fps == 12


@pytest.mark.parametrize(
    ("size", "seconds"), [("720x1280", "4"), ("1280x720", "8"), ("1792x1024", "12")]
)
def test_what_clients_of_the_closed_models_send(client, size, seconds):
    told = client.videos.create(prompt="a red ball", model="sora-2", size=size, seconds=seconds)
    assert (told.size, told.seconds, told.model) == (size, seconds, "worldtube-small")
    assert told.num_frames == 12 * int(seconds) + 1 and told.rendered_size != size
    assert f"enlarged to {size}" in told.warnings[0]
    client.videos.delete(told.id)


def test_polling_asynchronously(server):
    async def run():
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
            return await client.videos.create_and_poll(prompt="a", **QUICK)

    assert asyncio.run(run()).status == "completed"


def test_references_of_all_shapes(client, picture):  # 4
    data = picture.read_bytes()
    rng = np.random.default_rng(1)
    large = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (820, 820, 3), np.uint8)).save(large, format="png")
    assert len(large.getvalue()) > 1_900_000
    url = "data:image/png;base64," + base64.b64encode(large.getvalue()).decode()
    jobs = [
        client.videos.create(prompt="a", **QUICK, input_reference=given)
        for given in (data, picture, ("p.png", data, "image/png"))
    ]
    with picture.open("rb") as file:
        jobs.append(client.videos.create(prompt="a", **QUICK, input_reference=file))
    body = {"input_reference": {"image_url": url}}
    jobs.append(client.videos.create(prompt="a", **QUICK, extra_body=body))
    done = [finished(client, job.id) for job in jobs]
    assert [one.task for one in done] == ["animate"] * 5 and {d.status for d in done} == {
        "completed"
    }
    clips = [video.read(client.videos.download_content(one.id).read()) for one in done[:4]]
    # The same first frame, which is the picture's, each with a watermark of its own.
    first = [clip.frames[0].astype(int) for clip in clips]
    assert max(np.abs(one - first[0]).mean() for one in first) < 8
    assert np.abs(first[0] - clips[0].frames[-1]).mean() > 6


def test_seeds_and_wrong_fields(client):  # 5
    body = {"seed": 11, "num_inference_steps": 4}
    made = [
        client.videos.create_and_poll(prompt=f"a{i}"[:1], **QUICK, extra_body=body) for i in "ab"
    ]
    frames = [video.read(client.videos.download_content(one.id).read()).frames for one in made]
    assert made[0].id != made[1].id and (frames[0] == frames[1]).all()
    for extra, param in (({"seed": "x"}, "seed"), ({"sead": 1}, "sead"), ({"fps": 0}, "fps")):
        with pytest.raises(openai.BadRequestError) as error:
            client.videos.create(prompt="a", **QUICK, extra_body=extra)
        assert error.value.param == param and error.value.request_id.startswith("req_")
        assert error.value.code and error.value.type == "invalid_request_error"


@pytest.fixture(scope="module")
def made(client):
    """A finished video."""
    return client.videos.create_and_poll(prompt="a red ball", **QUICK)


def test_content(client, made, tmp_path):  # 6, 7
    client.videos.download_content(made.id).write_to_file(tmp_path / "a.mp4")
    whole = (tmp_path / "a.mp4").read_bytes()
    assert whole.find(b"moov") < whole.find(b"mdat")
    with client.videos.with_streaming_response.download_content(made.id) as answer:
        assert b"".join(answer.iter_bytes()) == whole
        assert answer.headers["content-type"] == "video/mp4"

    def part(span):
        raw = client.videos.with_raw_response.download_content(
            made.id, extra_headers={"Range": f"bytes={span}"}
        )
        assert raw.status_code == 206
        return raw.content

    assert part("0-99") == whole[:100]
    assert part("0-199") + part("200-299") + part("300-") == whole
    with pytest.raises(openai.APIStatusError) as error:
        part(f"{len(whole) + 10}-")
    assert error.value.status_code == 416
    assert error.value.code == "invalid_range" and str(len(whole)) in error.value.message
    assert error.value.response.headers["content-range"] == f"bytes */{len(whole)}"
    # What is not understood is ignored, as RFC 9110 says: the whole file comes.
    for span in (
        "lines=0-5",
        "seconds=0-1",
        "bytes",
        "bytes=",
        "bytes=a-b",
        "bytes=5-2",
        "bytes=-",
    ):
        raw = client.videos.with_raw_response.download_content(
            made.id, extra_headers={"Range": span}
        )
        assert raw.status_code == 200 and raw.content == whole, span
    raw = client.videos.with_raw_response.download_content(
        made.id, extra_headers={"Range": f"BYTES = 0-9, {len(whole) + 5}-"}
    )
    assert raw.status_code == 206 and raw.content == whole[:10]
    for variant in ("thumbnail", "spritesheet"):
        answer = client.videos.download_content(made.id, variant=variant)
        assert answer.response.headers["content-type"] == "image/webp"
        picture = Image.open(io.BytesIO(answer.read()))
        picture.load()
        assert picture.size == ((32, 16) if variant == "thumbnail" else (4 * 32, 16))
    with pytest.raises(openai.BadRequestError) as error:
        client.videos.download_content(made.id, variant="subtitles")
    assert error.value.param == "variant"


def test_content_of_what_is_not_done(client):  # 7, 10
    slow = client.videos.create(prompt="a", **QUICK, extra_body={"num_inference_steps": 1000})
    with pytest.raises(openai.NotFoundError) as error:
        client.videos.download_content(slow.id)
    assert error.value.code == "video_not_ready"
    assert client.videos.delete(slow.id).deleted is True
    for call in (client.videos.retrieve, client.videos.download_content, client.videos.delete):
        with pytest.raises(openai.NotFoundError) as error:
            call(slow.id)
        assert error.value.code == "video_not_found"


def test_listing(client):  # 9
    mine = [client.videos.create(prompt=f"list {i}", **QUICK).id for i in range(7)]
    down = [one.id for one in client.videos.list(limit=2)]
    up = [one.id for one in client.videos.list(limit=2, order="asc")]
    assert down == up[::-1] and len(set(down)) == len(down) and down[:7] == mine[::-1]
    page = client.videos.list(limit=3, after=mine[3])
    assert [one.id for one in page.data] == mine[2::-1] and page.last_id == mine[0]
    assert client.videos.list(limit=0).data == []
    client.videos.delete(mine[3])
    page = client.videos.list(limit=3, after=mine[3])
    assert [one.id for one in page.data] == mine[2::-1], "it still marks its place"
    for wrong in ({"after": "video_none"}, {"limit": 101}, {"order": "up"}, {"after": "a\0b"}):
        with pytest.raises((openai.BadRequestError, openai.NotFoundError)):
            client.videos.list(**wrong)


def test_deleting_while_listing(server):
    """Videos of other tests may lie between these."""
    with server.client() as client:
        mine = {client.videos.create(prompt=f"gone {i}", **QUICK).id for i in range(6)}
        deleted = []
        for one in client.videos.list(limit=2):
            if one.id in mine:
                assert client.videos.delete(one.id).deleted
                deleted.append(one.id)
        assert set(deleted) == mine and len(deleted) == 6
        assert not mine & {one.id for one in client.videos.list(limit=100)}


def test_remix_edit_extend(client, made, footage):  # 11
    remixed = client.videos.remix(made.id, prompt="a blue ball")
    assert remixed.remixed_from_video_id == made.id and remixed.seed == made.seed
    by_file = client.videos.edit(prompt="a blue ball", video=footage)
    body = {"video": {"id": made.id}}
    by_id = client.videos.edit(prompt="a blue ball", video=omit, extra_body=body)
    longer = client.videos.extend(prompt="on", seconds="2", video=omit, extra_body=body)
    assert float(longer.seconds) == float(made.seconds) + 2
    assert longer.num_frames == made.num_frames + 8 and longer.model == made.model == "gaussian"
    uploaded = client.videos.extend(
        prompt="on", seconds="1", video=footage, extra_body={"num_inference_steps": 2}
    )
    both = client.videos.extend(
        prompt="between", seconds="1", video=omit,
        extra_body={"video": {"id": made.id}, "direction": "connect", "next_video": {"id": made.id}},
    )  # fmt: skip
    round_ = client.videos.extend(
        prompt="round", seconds="1", video=omit, extra_body=body | {"direction": "loop"}
    )
    before = client.videos.extend(
        prompt="before", seconds="1", video=omit, extra_body=body | {"direction": "backward"}
    )
    frames = {
        remixed.id: 4, by_file.id: 9, by_id.id: 4, longer.id: 12, uploaded.id: 9 + 12, both.id: 12,
        round_.id: 8, before.id: 8,
    }  # fmt: skip
    for id, count in frames.items():
        told = finished(client, id)
        assert told.status == "completed", told.error
        clip = video.read(client.videos.download_content(id).read())
        assert clip.num_frames == told.num_frames == count, told.task
    source = video.read(client.videos.download_content(made.id).read()).frames
    kept = video.read(client.videos.download_content(longer.id).read()).frames[:4]
    assert np.abs(kept.astype(int) - source).mean() < 6, "what was there is there"


def test_storyboard(client):
    board = [{"prompt": "a red ball", "seconds": 1}, {"prompt": "a blue ball", "seconds": 2}]
    told = client.videos.create_and_poll(
        prompt="on a table", model="gaussian", size="32x16", extra_body={"storyboard": board}
    )
    assert told.status == "completed", told.error
    assert (told.task, told.seconds, told.num_frames) == ("storyboard", "3", 4 + 8)


def test_a_single_frame_and_exact_frames(client):
    told = client.videos.create_and_poll(
        prompt="a", model="gaussian", size="32x16", extra_body={"num_frames": 1}
    )
    assert told.num_frames == 1 and told.seconds == "0.25"
    clip = video.read(client.videos.download_content(told.id).read())
    assert clip.num_frames == 1


def test_characters(client, server, footage):  # 12
    hero = client.videos.create_character(name="Mossy", video=footage)
    assert hero.name == "Mossy" and client.videos.get_character(hero.id).id == hero.id
    files = server.folder / "files" / "characters" / hero.id
    subject = video.read(files / "clip.png")
    assert subject.size.width <= 24 and subject.size.height <= 14, "what moves, cut out"
    told = client.videos.create_and_poll(prompt="mossy sits", **QUICK)
    assert any("cannot place the character 'Mossy'" in one for one in told.warnings)
    with pytest.raises(openai.NotFoundError) as error:
        client.videos.get_character("char_none")
    assert error.value.code == "character_not_found"


def test_models_and_health(client, server):
    names = [one.id for one in client.models.list()]
    assert names == ["worldtube-small", "gaussian", "sora-2", "sora-2-pro"]
    assert client.models.retrieve("gaussian").owned_by == "worldtube"
    assert client.models.retrieve("sora-2-2025-12-08").id == "sora-2-2025-12-08"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt")
    with pytest.raises(openai.BadRequestError) as error:
        client.videos.create(prompt="a", model="veo")
    assert error.value.code == "model_not_found" and error.value.param == "model"
    healthy = httpx2.get(f"{server.url}/healthz")
    assert healthy.status_code == 200
    assert healthy.json() == {"status": "ok", "models": names[:2], "keys": False}
    assert httpx2.get(f"{server.url}/livez").json() == {"status": "ok"}
    text = httpx2.get(f"{server.url}/metrics").text
    assert 'worldtube_videos{status="completed"}' in text and "worldtube_requests_total" in text
    page = httpx2.get(f"{server.url}/openapi.json").json()
    assert len([p for p in page["paths"] if p.startswith("/v1/videos")]) >= 9
    assert httpx2.get(f"{server.url}/docs").status_code == 200


def test_provenance_check(client, made):  # 18 and 19
    data = client.videos.download_content(made.id).read()
    file = bytearray(data)

    def check():
        found = client.content_provenance_checks.create(file=("a.mp4", bytes(file), "video/mp4"))
        signed = next(result for result in found.results if result.type == "c2pa")
        assert found.verdict == signed.verdict and found.reasons == signed.reasons
        assert found.summary == VERDICTS[found.verdict] and found.details
        return {one.type: one for one in found.results}

    found = check()
    assert found["exact_hash"].outcome == "detected" and found["exact_hash"].video_id == made.id
    assert found["c2pa"].validation_state == "trusted" and found["c2pa"].model == "gaussian"
    assert found["c2pa"].verdict == "unaltered" and found["c2pa"].generated_at
    assert found["worldtube_watermark"].outcome in ("detected", "not_detected")
    body = {"video": {"id": made.id}}
    longer = client.videos.extend(prompt="on", seconds="1", video=omit, extra_body=body)
    assert finished(client, longer.id).status == "completed"
    file[:] = client.videos.download_content(longer.id).read()
    assert "clip.mp4 is what it was made from." in check()["c2pa"].reasons
    file[file.index(b"mdat") + 40] ^= 1
    found = check()
    assert found["exact_hash"].outcome == "not_detected"
    assert found["c2pa"].validation_state == "invalid"
    marked = found["worldtube_watermark"].outcome == "detected"
    assert found["c2pa"].verdict == ("derived" if marked else "altered")


def test_stream_preview_and_cancel(client, server):
    steps = {"num_inference_steps": 400}
    job = client.videos.create(
        prompt="a", model="gaussian", size="64x64", seconds="4", extra_body=steps
    )
    seen, preview = [], None
    with httpx2.stream("GET", f"{server.url}/v1/videos/{job.id}/events", timeout=60) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line.startswith('data: {"id'):
                seen.append(line)
            if preview is None and len(seen) > 1:
                got = httpx2.get(f"{server.url}/v1/videos/{job.id}/preview")
                preview = got.content if got.status_code == 200 else None
    assert len(seen) > 2 and '"completed"' in seen[-1]
    assert preview is not None and video.read(preview).size.width <= 128
    slow = client.videos.create(prompt="a", **QUICK, extra_body={"num_inference_steps": 1000})
    httpx2.post(f"{server.url}/v1/videos/{slow.id}/cancel")
    told = finished(client, slow.id)
    assert told.status == "failed" and told.error.code == "cancelled"
    with pytest.raises(openai.NotFoundError) as error:
        client.videos.download_content(slow.id)
    assert error.value.code == "video_failed"


class Unlucky(httpx2.HTTPTransport):
    """Loses the first answer on its way, or gives a 500 in place of asking."""

    def __init__(self, *, asks: bool):
        super().__init__()
        self.asks, self.calls = asks, 0

    def handle_request(self, request):
        self.calls += 1
        if self.calls > 1:
            return super().handle_request(request)
        if self.asks:
            super().handle_request(request).read()
            raise httpx2.ReadError("the connection is gone")
        return httpx2.Response(500, request=request)


@pytest.mark.parametrize("asks", [True, False])
def test_a_repeat_of_the_client_makes_one_video(client, server, asks):  # 14
    transport = Unlucky(asks=asks)
    prompt = f"once, {asks}"
    with server.client(http_client=httpx2.Client(transport=transport)) as unlucky:
        told = unlucky.videos.create(prompt=prompt, **QUICK)
    assert transport.calls == 2
    assert [one.id for one in client.videos.list(limit=5).data if one.prompt == prompt] == [told.id]


def test_a_phone_photo_is_scaled_down(client, server, tmp_path):
    """12 megapixels, turned by its EXIF tag as phones do; as a file and as a data URL."""
    ramp = np.linspace(0, 255, 4032).astype(np.uint8)
    photo = Image.fromarray(np.broadcast_to(ramp[None, :, None], (3024, 4032, 3)).copy())
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "photo.jpg"
    photo.save(path, exif=exif, quality=50)
    url = "data:image/jpeg;base64," + base64.b64encode(path.read_bytes()).decode()
    job = {"prompt": "a", "model": "gaussian", "size": "18x24", "seconds": "1"}
    for given in (
        {"input_reference": path},
        {"extra_body": {"input_reference": {"image_url": url}}},
    ):
        told = client.videos.create_and_poll(**job, **given)
        assert told.status == "completed" and told.task == "animate", told.error
    # What is larger than that is refused by its header, in words.
    large = tmp_path / "large.png"
    Image.new("1", (9000, 9000)).save(large)
    with pytest.raises(openai.BadRequestError) as error:
        client.videos.create(**job, input_reference=large)
    assert error.value.param == "input_reference"
    assert "at most 64 megapixels, got 9000x9000 (81 megapixels)" in error.value.message
