"""What a server keeps of uploads: size, frame rate and sound."""

import numpy as np
import pytest
from PIL import Image

from worldtube import video
from worldtube.errors import RequestError
from worldtube.serve import media, plan
from worldtube.serve.config import ServeConfig
from worldtube.serve.jobs import Database, new_id
from worldtube.serve.plan import Facts, Source
from worldtube.serve.schema import Create, Edit, Extend, VideoReference
from worldtube.serve.worker import Worker, facts
from worldtube.video import Clip, Size, Sound

LIMITS = media.Limits(
    pixels=1920 * 1088,
    picture_pixels=64_000_000,
    frames=3600,
    seconds=60,
    cpu_seconds=30,
    memory_mb=2048,
)
VIDEO = {"video": VideoReference(id="v"), "num_inference_steps": 2}


@pytest.fixture
def worker(tmp_path):
    config = ServeConfig(folder=tmp_path, model=("gaussian",), moderation="off")
    Database(config.database).migrate()
    worker = Worker(config)
    yield worker
    worker.jobs.database.close()


@pytest.fixture
def known(worker):
    told = facts(worker.sessions["gaussian"], render_pixels=None)
    return Facts.of("gaussian", told | {"default": True})


@pytest.fixture
def upload(tmp_path):
    """A clip of 1.2 s, 96x64 at 30 fps, with sound."""
    frames = np.full((36, 64, 96, 3), 90, np.uint8)
    for k in range(36):
        frames[k, 20:40, 2 * k : 2 * k + 20] = (200, 30, 30)
    wave = np.sin(np.arange(round(1.2 * 8000)) / 5).astype(np.float32)[:, None] / 2
    path = tmp_path / "upload.mp4"
    video.write(Clip(frames=frames, fps=30.0, sound=Sound(samples=wave, rate=8000)), path)
    return path


def seen(upload, tmp_path, fps=4.0):
    found = media.examine(upload, tmp_path / "clip.mp4", "clip", fps=fps, limits=LIMITS)
    size = Size(found.width, found.height)
    seconds = found.num_frames / found.fps
    return Source(num_frames=found.num_frames, fps=found.fps, size=size, seconds=seconds)


def run(worker, row, **inputs):
    row |= {"id": new_id("video"), "owner": "me", "body_hash": "h", "idempotency_key": None}
    id = worker.jobs.add(row, quota=99, deadline_seconds=600)["id"]
    for name, path in inputs.items():
        worker.store.put(path, f"videos/{id}/in/{name}")
    worker.step()
    told = worker.jobs.get("me", id)
    assert told["status"] == "completed", told["error"]
    return told, worker.store.path(f"videos/{id}/1/video.mp4")


@pytest.mark.parametrize("task", ["extend", "backward", "loop", "connect", "edit"])
def test_the_result_has_the_size_rate_and_sound_of_the_upload(
    worker, known, upload, tmp_path, task
):
    source = seen(upload, tmp_path)
    given = video.read(tmp_path / "clip.mp4")
    assert (source.size, source.fps, source.num_frames) == (Size(96, 64), 30.0, 36)
    assert np.array_equal(given.frames, video.read(upload).frames)
    inputs = {"clip.mp4": tmp_path / "clip.mp4"}
    if task == "edit":
        row = plan.edit(Edit(prompt="a", **VIDEO), known, source)
        expected = "gaussian makes this at 2x1 and 4 fps; it is enlarged to 96x64 and 30 fps"
    else:
        body = {"prompt": "a", "seconds": 1} | VIDEO
        body |= {"direction": task} if task != "extend" else {}
        following = None
        if task == "connect":
            following, body["next_video"] = source, VideoReference(id="v")
            inputs["next.mp4"] = tmp_path / "clip.mp4"
        row = plan.extend(Extend(**body), known, source, following)
        expected = (
            "gaussian makes new frames at 2x1 and 4 fps; they are brought to 96x64 and 30 fps"
        )
    told, path = run(worker, row, **inputs)
    assert expected in told["warnings"]
    clip = video.read(path)
    assert (str(clip.size), clip.fps) == (told["size"], told["fps"]) == ("96x64", 30.0)
    count = {"edit": 36, "connect": 36 + 30 + 36}.get(task, 36 + 30)
    assert clip.num_frames == told["num_frames"] == count
    assert clip.sound is not None and clip.sound.seconds == pytest.approx(count / 30, abs=0.05)
    start = 30 if task == "backward" else 0
    if task != "edit":
        kept = clip.frames[start : start + 36].astype(int)
        assert np.abs(kept - given.frames).mean() < 4  # watermarked and coded


def test_a_long_result_is_streamed_with_its_sound(worker, known, upload, tmp_path):
    source = seen(upload, tmp_path)
    row = plan.extend(Extend(prompt="a", seconds=10, **VIDEO), known, source, None)
    told, path = run(worker, row, **{"clip.mp4": tmp_path / "clip.mp4"})
    clip = video.read(path)
    assert clip.num_frames == told["num_frames"] == 336 and clip.fps == 30.0
    assert np.abs(clip.sound.samples[:8000]).max() > 0.3
    assert np.abs(clip.sound.samples[-8000:]).max() < 0.01


def test_a_clip_that_is_too_fast_is_taken_at_the_rate_of_the_model(tmp_path):
    frames = np.zeros((30, 64, 96, 3), np.uint8)
    video.write(Clip(frames=frames, fps=90.0), tmp_path / "fast.mp4")
    found = seen(tmp_path / "fast.mp4", tmp_path, fps=12.0)
    assert (found.fps, found.num_frames) == (12.0, 4)


def test_a_phone_photo_becomes_the_first_frame(worker, known, tmp_path):
    photo = Image.new("RGB", (4000, 3000), (200, 60, 60))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by the camera
    photo.save(tmp_path / "photo.jpg", exif=exif)
    found = media.examine(
        tmp_path / "photo.jpg", tmp_path / "picture.png", "picture", fps=4.0, limits=LIMITS
    )
    assert found.width < found.height and found.width * found.height <= LIMITS.pixels
    body = Create(prompt="a", size="96x128", seconds="1", num_inference_steps=2)
    row = plan.create(body, known) | {"task": "animate"}
    told, path = run(worker, row, **{"picture.png": tmp_path / "picture.png"})
    clip = video.read(path)
    assert (str(clip.size), clip.num_frames) == ("96x128", told["num_frames"])
    with pytest.raises(RequestError, match="megapixels"):
        bomb = Image.new("1", (20000, 10000))
        bomb.save(tmp_path / "bomb.png")
        media.examine(tmp_path / "bomb.png", tmp_path / "x.png", "picture", fps=4.0, limits=LIMITS)
