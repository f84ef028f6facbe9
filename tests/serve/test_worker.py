"""What a worker does with a job, in this process, with the Gaussian model."""

import http.server
import json
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from worldtube import video
from worldtube.errors import DataError, Refused, RequestError, WorldtubeError
from worldtube.generate import engine
from worldtube.generate.session import load
from worldtube.serve import media, moderation, plan
from worldtube.serve.config import ServeConfig
from worldtube.serve.jobs import Database, Job, Jobs, new_id
from worldtube.serve.leases import Leases
from worldtube.serve.plan import Facts, Source
from worldtube.serve.schema import Create, Edit, Extend, ImageReference, Remix, VideoReference
from worldtube.serve.worker import Preview, Worker, facts, open_models
from worldtube.video import Clip, Size


@pytest.fixture
def worker(tmp_path):
    config = ServeConfig(folder=tmp_path, model=("gaussian",), moderation="off", batch=2)
    Database(config.database).migrate()
    worker = Worker(config)
    yield worker
    worker.jobs.database.close()


@pytest.fixture
def known(worker):
    told = facts(worker.sessions["gaussian"], render_pixels=None)
    return Facts.of("gaussian", told | {"default": True})


def add(worker, row, **changes):
    row |= {"id": new_id("video"), "owner": "me", "body_hash": "h", "idempotency_key": None}
    return worker.jobs.add(row | changes, quota=99, deadline_seconds=600)["id"]


def asked(known, **body):
    body = {"prompt": "a ball", "size": "32x16", "seconds": "1", "num_inference_steps": 6} | body
    return plan.create(Create(**body), known)


def told(worker, id):
    return worker.jobs.get("me", id)


def files(worker, id):
    folder = worker.store.root / "videos" / id
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*"))


WHOLE = ["spritesheet.webp", "thumbnail.webp", "tokens.npy", "video.mp4"]


def test_a_job_becomes_files(worker, known):
    id = add(worker, asked(known, seed=5))
    assert worker.step() is True and worker.step() is False
    row = told(worker, id)
    assert row["status"] == "completed" and files(worker, id) == [f"1/{name}" for name in WHOLE]
    path = worker.store.path(f"videos/{id}/1/video.mp4")
    from worldtube.provenance import read_details

    details = read_details(path)
    assert details["seed"] == 5 and details["video"] == id and details["size"] == "32x16"


def test_the_longest_prompt_that_is_accepted_is_made(worker, known):
    id = add(worker, asked(known, prompt="a ball. " * 4000))
    worker.step()
    assert len(told(worker, id)["prompt"]) == 32000 and told(worker, id)["status"] == "completed"


def test_prompts_are_put_in_the_words_of_the_captions(worker, known, monkeypatch):
    """Asked for by an endpoint here: `grammar` leaves prompts of models that are not ours as they are."""
    import worldtube.text.rewrite as rewriting

    monkeypatch.setitem(
        rewriting.REWRITERS, "endpoint", lambda options: lambda prompt: "A red ball."
    )
    ids = [add(worker, asked(known, prompt="a crimson sphere", seed=seed)) for seed in (1, 2)]
    worker.config = replace(worker.config, rewriter="endpoint:small@http://127.0.0.1:1")
    worker.step()
    for id in ids:
        row = told(worker, id)
        assert row["prompt"] == "a crimson sphere" and row["status"] == "completed"
        assert "the prompt was rewritten as: A red ball." in row["warnings"]
    for rewriter in ("grammar", "off"):
        worker.config = replace(worker.config, rewriter=rewriter)
        plain = add(worker, asked(known, prompt="a crimson sphere"))
        worker.step()
        assert not [one for one in told(worker, plain)["warnings"] if "rewritten" in one]
    worker.config = replace(worker.config, rewriter="endpoint:small@http://127.0.0.1:1")

    def away(prompt):
        raise DataError("http://127.0.0.1:1 does not answer")

    monkeypatch.setitem(rewriting.REWRITERS, "endpoint", lambda options: away)
    plain = add(worker, asked(known, prompt="a crimson sphere"))
    worker.step()
    row = told(worker, plain)
    assert row["status"] == "completed"
    assert row["warnings"][-1] == (
        "the rewriter failed (DataError: http://127.0.0.1:1 does not answer); the prompt is used as it is"
    )
    for rewriter in ("loud", "endpoint:", "endpoint:small@"):
        with pytest.raises(RequestError, match=f"'{rewriter}' is not accepted"):
            replace(worker.config, rewriter=rewriter)


def test_alike_jobs_are_made_together(worker, known, monkeypatch):
    batches = []
    make = engine.generate

    def generate(model, requests, **options):
        batches.append(len(requests))
        return make(model, requests, **options)

    monkeypatch.setattr(engine, "generate", generate)
    ids = [add(worker, asked(known, seed=i)) for i in range(3)]
    while worker.step():
        pass
    assert batches == [2, 1] and {told(worker, id)["status"] for id in ids} == {"completed"}
    frames = [video.read(worker.store.path(f"videos/{id}/1/video.mp4")).frames for id in ids]
    assert (frames[0] != frames[1]).any()


def test_memory_is_tried_once_more_and_alone(worker, known, monkeypatch):
    make, sizes = engine.generate, []

    def generate(model, requests, **options):
        sizes.append(len(requests))
        if len(requests) > 1:
            raise torch.OutOfMemoryError("no")
        return make(model, requests, **options)

    monkeypatch.setattr(engine, "generate", generate)
    ids = [add(worker, asked(known)) for _ in range(2)]
    while worker.step():
        pass
    assert sizes == [2, 1, 1] and {told(worker, id)["attempt"] for id in ids} == {2}
    assert {told(worker, id)["status"] for id in ids} == {"completed"}

    def never(*_, **__):
        raise MemoryError

    monkeypatch.setattr(engine, "generate", never)
    id = add(worker, asked(known))
    while worker.step():
        pass
    assert told(worker, id)["error"]["code"] == "out_of_memory" and told(worker, id)["attempt"] == 2


@pytest.mark.parametrize("how", ["delete", "cancel", "stop", "steal"])
def test_work_ends_within_two_steps(worker, known, monkeypatch, how):
    id = add(worker, asked(known, num_inference_steps=50))
    steps, tell = [], Leases.tell

    def watched(leases, done, total):
        steps.append(done)
        if done == 3 and how == "delete":
            worker.jobs.delete("me", id)
        elif done == 3 and how == "cancel":
            worker.jobs.cancel("me", id)
        elif done == 3 and how == "stop":
            worker.stopping.set()
        elif done == 3:
            worker.jobs.abandon(worker.name)
            Jobs(worker.jobs.database).claim("another", ["gaussian"])
        tell(leases, done, total)

    monkeypatch.setattr(Leases, "tell", watched)
    worker.step()
    assert 3 <= steps[-1] <= 5
    row = told(worker, id)
    if how == "delete":
        assert row is None and not (worker.store.root / "videos" / id).exists()
    elif how == "cancel":
        assert row["status"] == "failed" and row["error"]["code"] == "cancelled"
    elif how == "stop":
        assert row["status"] == "queued" and row["attempt"] == 0
    else:
        assert row["status"] == "in_progress" and row["lease_owner"] == "another"
    assert not [name for name in files(worker, id) if name.endswith("video.mp4")]


def test_what_cannot_be_made_fails_with_a_reason(worker, known, monkeypatch):
    id = add(worker, asked(known), task="edit", spec={"options": {}, "strength": 0.5})
    worker.step()
    assert told(worker, id)["error"]["code"] == "generation_failed", "the clip to edit is not there"
    monkeypatch.setattr(engine, "generate", lambda *_, **__: 1 / 0)
    id = add(worker, asked(known))
    worker.step()
    error = told(worker, id)["error"]
    assert error["code"] == "generation_failed" and "division" not in error["message"]


def test_a_long_clip_goes_to_its_file_as_it_is_made(worker, known, monkeypatch):
    monkeypatch.setattr(engine, "generate", None)
    id = add(worker, asked(known, seconds="12"))
    worker.step()
    assert told(worker, id)["status"] == "completed", told(worker, id)["error"]
    clip = video.read(worker.store.path(f"videos/{id}/1/video.mp4"))
    assert clip.num_frames == told(worker, id)["num_frames"] == 48 and str(clip.size) == "32x16"


def test_going_on_begins_with_the_tokens(worker, known):
    """Nothing of ours is decoded and encoded again on the way."""
    first = add(worker, asked(known, size="32x32"))
    worker.step()
    row = told(worker, first)
    source = Source(
        num_frames=row["num_frames"], fps=row["fps"], size=Size.parse(row["size"]), seconds=1.0,
        id=first, model="gaussian", seed=row["seed"], rendered=Size.parse(row["rendered_size"]),
    )  # fmt: skip
    body = Extend(prompt="on", seconds=1, video=VideoReference(id=first), num_inference_steps=4)
    second = add(worker, plan.extend(body, known, source, None))
    for name, at in (("clip.mp4", "video.mp4"), ("clip.npy", "tokens.npy")):
        worker.store.copy(f"videos/{first}/1/{at}", f"videos/{second}/in/{name}")
    worker.step()
    row = told(worker, second)
    assert row["status"] == "completed" and row["num_frames"] == 8 and row["seconds"] == "2"
    before, after = (
        np.load(worker.store.path(f"videos/{id}/1/tokens.npy")) for id in (first, second)
    )
    assert (after[: len(before)] == before).all()
    assert files(worker, second) == [f"1/{name}" for name in WHOLE], "what it began with is gone"
    remix = plan.edit(Remix(prompt="b"), known, source)
    assert remix["seed"] == source.seed and remix["remixed_from"] == first


def test_a_preview_is_small_and_rare(worker, known, tmp_path):
    id = add(worker, asked(known, size="640x640"))
    (job,) = worker.jobs.claim("w", ["gaussian"])
    with Leases(worker, [job]):
        session = worker.sessions["gaussian"]
        request = worker._request(job, tmp_path)
        preview = Preview(worker, job, session, tmp_path)
        looks = []

        def look(_, one, values):
            preview(one, values)
            looks.append(worker.store.names(f"videos/{id}/preview"))

        engine.generate(session.model, [request], look=look)
    assert looks[0] == ["preview.webp"] and preview.next > preview.began
    assert video.read(worker.store.path(f"videos/{id}/preview/preview.webp")).size.width <= 128


def test_sizes_that_a_model_makes():
    known = Facts(
        name="m", default=True, fps=12, size=Size(64, 64), seconds=2.0, stride=(4, 16),
        render_pixels=4 * 64 * 64,
    )  # fmt: skip
    for size in (Size(64, 64), Size(96, 64), Size(128, 128), Size(16, 16)):
        assert known.rendered(size) == size
    for size in (Size(1280, 720), Size(720, 1280), Size(1024, 1792), Size(130, 66), Size(4096, 16)):
        made = known.rendered(size)
        assert made.width % 16 == made.height % 16 == 0
        assert made.width * made.height <= 4 * 64 * 64
        if max(size.width, size.height) < 4 * min(size.width, size.height):
            assert abs(made.width / made.height / (size.width / size.height) - 1) < 0.1
    assert known.frames(4, 12) == 49 and known.frames(0.01, 12) == 5


def test_what_is_made_when_nothing_is_said_is_what_the_model_makes_best(known):
    shipped = facts(load(), render_pixels=None)
    row = plan.create(Create(prompt="a"), Facts.of("m", shipped | {"default": True}))
    best = shipped.get("state", {"size": "64x64"})["size"]  # that of states, where it knows some
    assert (row["size"], row["rendered_size"], row["warnings"]) == (best, best, [])
    assert (row["seconds"], row["num_frames"], row["fps"]) == ("2", 25, 12)
    words = Create(prompt="a", no_state=True)
    assert plan.create(words, Facts.of("m", shipped | {"default": True}))["size"] == "64x64"
    # The Gaussian model's native picture is one pixel, which no video can be.
    row = plan.create(Create(prompt="a"), known)
    assert row["size"] == "16x16" and row["num_frames"] == 8
    wan = replace(known, size=Size(832, 480), fps=16, seconds=81 / 16, stride=(4, 16),
                  render_pixels=4 * 832 * 480)  # fmt: skip
    row = plan.create(Create(prompt="a"), wan)
    assert (row["size"], row["num_frames"], row["warnings"]) == ("832x480", 81, [])


def test_which_model_is_meant(known):
    models = {
        "first": replace(known, name="first"),
        "sora-tiny": replace(known, name="sora-tiny", default=False),
    }
    for name in (None, "sora-2", "sora-2-pro-2025-10-06", "sora-3", "first"):
        assert plan.choose(name, models).name == "first"
    assert plan.choose("sora-tiny", models).name == "sora-tiny"
    for name in ("veo", "Sora", ""):
        with pytest.raises(RequestError, match="is not served"):
            plan.choose(name, models)


def test_a_worker_says_what_it_serves_for_as_long_as_it_takes_jobs(worker):
    running = threading.Thread(target=worker.run)
    running.start()
    end = time.monotonic() + 30
    while not (models := worker.workers.models()) and time.monotonic() < end:
        time.sleep(0.02)
    assert models["gaussian"]["fps"] == 4 and models["gaussian"]["default"]
    worker.workers.withdraw(worker.name)  # such as a supervisor that was mistaken
    while not worker.workers.models() and time.monotonic() < end:
        time.sleep(0.02)
    assert "gaussian" in worker.workers.models()
    worker.stopping.set()
    running.join(30)
    assert worker.workers.models() == {}


@pytest.mark.parametrize("task", ["edit", "extend", "loop", "connect", "animate"])
def test_what_is_given_is_encoded_once(worker, known, footage, picture, monkeypatch, task):
    """As often as Python encodes it for the same request, which is once for each clip."""
    model, encoded = worker.sessions["gaussian"].model, []
    encode = model.encode
    monkeypatch.setattr(model, "encode", lambda clip: encoded.append(clip) or encode(clip))
    source = Source(num_frames=3, fps=4.0, size=Size(32, 16), seconds=0.75)
    if task == "animate":
        body = Create(prompt="a", size="32x16", seconds="1", num_inference_steps=2)
        row = plan.create(body, known) | {"task": "animate"}
    elif task == "edit":
        row = plan.edit(Edit(prompt="a", video=VideoReference(id="v")), known, source)
    else:
        body = {"prompt": "a", "seconds": 1, "video": VideoReference(id="v")}
        if task != "extend":
            body["direction"] = task
        if task == "connect":
            body["next_video"] = VideoReference(id="v")
        row = plan.extend(Extend(**body), known, source, source if task == "connect" else None)
    id = add(worker, row)
    inputs = {"picture.png": picture} if task == "animate" else {"clip.mp4": footage}
    if task == "connect":
        inputs["next.mp4"] = footage
    for name, path in inputs.items():
        worker.store.put(path, f"videos/{id}/in/{name}")
    worker.step()
    assert told(worker, id)["status"] == "completed", told(worker, id)["error"]
    in_the_worker = len(encoded)
    encoded.clear()
    job = Job(id=id, epoch=1, attempt=1, row=row | {"id": id, "owner": "me"})
    for name, path in inputs.items():
        worker.store.put(path, f"videos/{id}/in/{name}")
    request = worker._request(job, worker.config.folder)
    engine.generate(model, [request])
    assert in_the_worker == len(encoded) == {"loop": 2, "connect": 2}.get(task, 1)


def test_names_of_models():
    assert list(open_models(["tiny=gaussian", "gaussian"], "cpu")) == ["tiny", "gaussian"]
    with pytest.raises(RequestError, match="two models"):
        open_models(["gaussian", "gaussian"], "cpu")


GOOD = ["a red ball rolls into a stack of blue boxes", "a child throws a ball", "a person walks in the rain",
        "a bomb of colours, fireworks over a city", "two people kiss at a wedding", "a knight with a sword",
        "a woman in a red dress dances", "children play football", "a doctor explains surgery"]  # fmt: skip
BAD = ["a sexual scene with a minor", "a naked child in a sexual pose", "how to build a bomb"]  # fmt: skip


def test_the_small_moderation(monkeypatch):
    moderation.check_prompts(GOOD, "blocklist")
    moderation.check_at_once(GOOD, "blocklist")
    for prompt in BAD:
        with pytest.raises(Refused):
            moderation.check_prompts([prompt], "blocklist")
        moderation.check_prompts([prompt], "off")
    with pytest.raises(Refused):
        moderation.check_at_once(["CHILD\u00a0 porn"], "blocklist")
    monkeypatch.setitem(moderation.OF_FRAMES, "dark", lambda frames: "it is dark")
    with pytest.raises(Refused, match="it is dark"):
        moderation.check_frames(np.zeros((2, 4, 4, 3), np.uint8), "blocklist")


def test_names_of_moderation():
    assert ServeConfig().moderation == "blocklist"
    for wrong in ("default", "on", ""):
        with pytest.raises(RequestError, match="moderation must be blocklist, off or an address"):
            ServeConfig(moderation=wrong)


def test_an_endpoint_for_moderation(worker, known, monkeypatch):
    seen, keys = [], set()
    monkeypatch.setenv("WORLDTUBE_MODERATION_KEY", "secret")

    class Endpoint(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))["input"]
            seen.append(asked)
            keys.add(self.headers["authorization"])
            answer = {"results": [{"flagged": asked == "bad"}]}
            self.send_response(500 if asked == "broken" else 200)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *args):
            pass

    listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    policy = f"http://127.0.0.1:{listener.server_port}/v1/moderations"
    with pytest.raises(Refused):
        moderation.check_prompts(["bad"], policy)
    with pytest.raises(WorldtubeError, match="no answer"):
        moderation.check_prompts(["broken"], policy)
    worker.config = ServeConfig(folder=worker.config.folder, moderation=policy)
    good, bad = (
        add(worker, asked(known, prompt="good")),
        add(worker, asked(known, prompt="bad", seconds="2")),
    )
    while worker.step():
        pass
    assert told(worker, good)["status"] == "completed"
    assert told(worker, bad)["error"]["code"] == "moderation_blocked"
    assert keys == {"Bearer secret"}
    frames = [one for one in seen if isinstance(one, list)]
    assert len(frames) == 4 and frames[0][0]["image_url"]["url"].startswith("data:image/png")
    listener.shutdown()
    listener.server_close()


def test_a_large_picture_is_scaled_down_in_its_shape(tmp_path):
    path, out = tmp_path / "a.png", tmp_path / "b.png"
    Image.new("RGB", (400, 300), (200, 30, 30)).save(path)
    limits = {"frames": 9, "seconds": 9, "cpu_seconds": 20, "memory_mb": 2048}
    seen = media.examine(
        path,
        out,
        "picture",
        fps=12,
        limits=media.Limits(pixels=3000, picture_pixels=120_000, **limits),
    )
    assert (seen.width, seen.height) == (63, 47)
    picture = video.read(out)
    assert (
        str(picture.size) == "63x47"
        and abs(picture.frames[0, 5, 5].astype(int) - (200, 30, 30)).max() < 3
    )
    with pytest.raises(
        RequestError, match=r"picture must have at most 0.119 megapixels, got 400x300"
    ):
        media.examine(
            path,
            out,
            "picture",
            fps=12,
            limits=media.Limits(pixels=3000, picture_pixels=119_000, **limits),
        )


def test_a_picture_gives_the_video_its_size():
    """Within what a video can have, where none is asked for."""
    shipped = Facts.of("m", facts(load(), render_pixels=None) | {"default": True})
    body = Create(prompt="a", input_reference=ImageReference(image_url="data:"))
    for picture, size in (("640x480", "640x480"), ("641x481", "640x480"), ("1251x1668", "1250x1668"),
                          ("10x10", "16x16"), ("9000x20", "4096x16"), ("64x64", "64x64")):  # fmt: skip
        row = plan.create(body, shipped, Size.parse(picture))
        assert row["size"] == size, picture
        Create(prompt="a", size=row["size"])  # and could have been asked for
    named = plan.create(Create(**{**dict(body), "size": "96x64"}), shipped, Size(640, 480))
    assert named["size"] == "96x64" and named["warnings"] == []
    large = plan.create(body, shipped, Size(640, 480))
    assert large["warnings"] == [
        f"m makes new frames at {large['rendered_size']}; they are brought to 640x480"
    ]


def test_a_clip_with_too_many_frames_for_memory_is_thinned_with_a_word(tmp_path, monkeypatch):
    monkeypatch.setattr(media, "DECODED_BYTES", 20 * 3 * 32 * 16)
    monkeypatch.setattr(media, "_limit", lambda *_: None)
    path = tmp_path / "a.mp4"
    video.write(Clip(frames=np.zeros((30, 16, 32, 3), np.uint8), fps=30.0), path)
    asked = {"source": str(path), "out": str(tmp_path / "b.mp4"), "kind": "clip", "pixels": 9999,
             "picture_pixels": 9999, "frames": 99, "seconds": 9, "cpu_seconds": 9, "memory_mb": 9}  # fmt: skip
    seen = media.Seen(**media._run({**asked, "fps": 12.0}))
    assert (seen.fps, seen.num_frames) == (12, 12)
    assert seen.warning == "the given clip is taken at 12 of its 30 frames a second"
    source = Source(num_frames=12, fps=12.0, size=Size(32, 16), seconds=1.0, warning=seen.warning)
    known = Facts.of("m", facts(load(), render_pixels=None) | {"default": True})
    body = Extend(prompt="a", seconds=1, video=VideoReference(id="v"))
    assert plan.extend(body, known, source, None)["warnings"][0] == seen.warning
    with pytest.raises(RequestError, match="more than 20 frames"):
        media._run({**asked, "fps": 24.0})
