import numpy as np
import pytest

from worldtube import video
from worldtube.errors import RequestError
from worldtube.generate import budget, cost, engine
from worldtube.generate.assemble import Gap, Kept, Overlay
from worldtube.generate.compose import MAX_PICTURE, adapt, result_shape
from worldtube.generate.request import Given, Request
from worldtube.generate.session import Session
from worldtube.models import GaussianModel
from worldtube.video import Clip, Size, Sound

OPTIONS = {"steps": 4, "seed": 3}
SIZE = Size(80, 60)


class SmallModel(GaussianModel):
    """Works at 8x6 and 4 fps; what it makes hardly differs from the nearest known frame."""

    size = Size(8, 6)

    def __init__(self, brighter: int = 0, **arguments):
        super().__init__(tau=1e4, **arguments)
        self.brighter = brighter

    def decoder(self, grid):
        frames = super().decoder(grid)
        return lambda tokens: (frames(tokens) + np.int16(self.brighter)).clip(0, 255).astype("u1")


@pytest.fixture
def session():
    return Session(SmallModel())


def prepare(session: Session, task: str, *args, **options) -> Request:
    return adapt(session.model, session.request(task, *args, **options))


def film(num_frames=30, fps=10.0, size=SIZE, seed=0, sound=True) -> Clip:
    """A textured background that stays, and a light square that moves."""
    rng = np.random.default_rng(seed)
    ground = rng.integers(90, 150, (size.height, size.width, 3)).astype(np.uint8)
    frames = np.repeat(ground[None], num_frames, 0)
    for k in range(num_frames):
        left = 2 + k * (size.width - 20) // num_frames
        frames[k, 10:22, left : left + 12] = 230
    heard = None
    if sound:
        wave = rng.uniform(-0.5, 0.5, (round(8000 * num_frames / fps), 2)).astype(np.float32)
        heard = Sound(samples=wave, rate=8000)
    return Clip(frames=frames, fps=fps, sound=heard)


def test_extending_keeps_frames_rate_size_and_samples(session):
    clip = film()
    result = session.extend(clip, "on", seconds=2.0, **OPTIONS)
    assert (result.size, result.fps, result.num_frames) == (clip.size, 10.0, 50)
    assert np.array_equal(result.frames[:30], clip.frames)
    assert result.details["size"] == "80x60" and result.details["working_size"] == "8x6"
    assert result.details["fps"] == 10.0 and result.details["working_fps"] == 4.0
    assert np.array_equal(result.sound.samples[: 3 * 8000], clip.sound.samples)
    assert len(result.sound.samples) == 5 * 8000
    assert not result.sound.samples[-8000:].any()


def test_extending_backward_puts_the_clip_at_the_end(session):
    clip = film()
    result = session.extend(clip, "before", seconds=1.0, backward=True, **OPTIONS)
    assert result.num_frames == 40
    assert np.array_equal(result.frames[10:], clip.frames)
    assert np.array_equal(result.sound.samples[8000:], clip.sound.samples)


def test_connecting_takes_size_rate_and_sound_of_the_first(session):
    first, second = film(), film(num_frames=20, fps=25.0, size=Size(160, 90), seed=1)
    second = Clip(
        frames=second.frames, fps=25.0, sound=Sound(samples=second.sound.samples[:, :1], rate=8000)
    )
    result = session.connect(first, second, "between", seconds=1.0, **OPTIONS)
    assert (result.size, result.fps, result.num_frames) == (first.size, 10.0, 30 + 10 + 8)
    fitted = video.fit(video.retime(second, 10.0), first.size)
    assert np.array_equal(result.frames[:30], first.frames)
    assert np.array_equal(result.frames[40:], fitted.frames)
    assert np.array_equal(result.sound.samples[: 3 * 8000], first.sound.samples)
    heard = result.sound.samples[4 * 8000 : 4 * 8000 + len(second.sound.samples)]
    assert np.array_equal(heard, second.sound.samples.repeat(2, 1))


def test_looping_leads_back_to_the_first_frame(session):
    clip = film()
    result = session.loop(clip, "round", seconds=1.0, **OPTIONS)
    assert result.num_frames == 40 and np.array_equal(result.frames[:30], clip.frames)

    def step(a, b):
        return np.abs(a.astype(int) - b).mean()

    assert step(result.frames[-1], clip.frames[0]) < step(clip.frames[-1], clip.frames[0])
    assert np.array_equal(result.sound.samples[: 3 * 8000], clip.sound.samples)
    # What rings on from the end and leads to the beginning is continuous at both.
    assert abs(result.sound.samples[3 * 8000] - clip.sound.samples[-1]).max() < 1e-3
    assert abs(result.sound.samples[-1] - clip.sound.samples[0]).max() < 1e-3


def test_painting_keeps_every_pixel_outside(session):
    clip = film()
    result = session.paint(clip, "there", rectangle=(20, 12, 31, 25), **OPTIONS)
    outside = np.ones((60, 80), bool)
    outside[12:37, 20:51] = False
    assert (result.size, result.fps, result.num_frames) == (clip.size, 10.0, 30)
    assert np.array_equal(result.frames[:, outside], clip.frames[:, outside])
    assert not np.array_equal(result.frames[:, ~outside], clip.frames[:, ~outside])
    assert np.array_equal(result.sound.samples, clip.sound.samples)


def test_a_mask_that_moves_is_followed(session):
    clip = film(num_frames=12)
    light = np.zeros((12, 60, 80, 3), np.uint8)
    for k in range(12):
        light[k, 10:40, 5 * k : 5 * k + 20] = 255
    result = session.paint(clip, "there", mask=Clip(frames=light, fps=10.0), **OPTIONS)
    kept = light[..., 0] == 0
    assert np.array_equal(result.frames[kept], clip.frames[kept])


@pytest.mark.parametrize("task", ["edit", "remix"])
def test_a_clip_made_anew_says_what_it_loses(session, task):
    request = prepare(session, task, film(), "other", **OPTIONS)
    _, warnings = session.prepare(request)
    assert warnings == (
        "the result is 8x6 at 4 fps: gaussian makes no more of the given 80x60 at 10 fps "
        "(size and fps enlarge it)",
    )
    result = session.run(request)
    assert (result.size, result.fps, result.num_frames) == (Size(8, 6), 4.0, 12)
    assert result.sound.seconds == pytest.approx(3.0)


def test_a_clip_made_anew_has_the_size_and_rate_that_were_asked_for(session):
    request = prepare(session, "edit", film(), "other", size=Size(80, 60), fps=10.0, **OPTIONS)
    assert session.prepare(request)[1] == ()
    result = session.run(request)
    assert (result.size, result.fps, result.num_frames) == (Size(80, 60), 10.0, 30)


def test_size_and_rate_that_are_asked_for_are_those_of_the_result(session):
    result = session.extend(film(), "on", seconds=1.0, size=Size(40, 30), fps=20.0, **OPTIONS)
    assert (result.size, result.fps, result.num_frames) == (Size(40, 30), 20.0, 80)
    small = video.fit(video.retime(film(), 20.0), Size(40, 30))
    assert np.array_equal(result.frames[:60], small.frames)


def test_what_the_model_makes_itself_is_left_alone(session):
    clip = film(num_frames=8, fps=4.0, size=Size(8, 6))
    request = prepare(session, "extend", clip, "on", seconds=1.0, **OPTIONS)
    assert request.composition.parts == ()
    result = session.run(request)
    bare = Request(
        prompt="on",
        num_frames=12,
        given=(Given(clip=clip),),
        **{"steps": 4, "seed": 3, "guidance": 2.0},
    )
    same = engine.generate(session.model, [bare])[0]
    assert np.array_equal(result.frames, same.frames)
    assert np.array_equal(result.sound.samples[:16000], clip.sound.samples)
    assert "working_size" not in result.details


def test_a_request_written_by_hand_keeps_given_clips_of_any_size(session):
    clip = film()
    request = Request(
        prompt="x",
        num_frames=60,
        given=(Given(clip=clip, at=10), Given(clip=film(num_frames=5, size=Size(64, 64)), at=-5)),
        **OPTIONS,
    )
    adapted = adapt(session.model, request)
    assert [type(part) for part in adapted.composition.parts] == [Gap, Kept, Gap, Kept]
    assert adapt(session.model, adapted) is adapted
    shape = result_shape(session.model, adapted)
    assert (shape.size, shape.fps, shape.num_frames) == (clip.size, 10.0, 60)
    result = session.run(request)
    assert result.num_frames == 60
    assert np.array_equal(result.frames[10:40], clip.frames)
    assert np.array_equal(
        result.frames[55:], video.fit(film(num_frames=5, size=Size(64, 64)), clip.size).frames
    )


def test_given_clips_that_do_not_fit_are_refused(session):
    clip = film()
    with pytest.raises(RequestError, match="30 frames at 10 does not fit into 35 frames"):
        adapt(session.model, Request(prompt="x", num_frames=35, given=(Given(clip=clip, at=10),)))
    two = (Given(clip=clip), Given(clip=clip, at=20))
    with pytest.raises(RequestError, match="30 frames at 0 does not fit: the next begins at 20"):
        adapt(session.model, Request(prompt="x", num_frames=50, given=two))


def test_only_what_is_near_to_new_frames_is_computed():
    model = SmallModel(window=8)
    request = prepare(Session(model), "extend", film(num_frames=300), "on", seconds=1.0, **OPTIONS)
    assert request.num_frames <= 8
    assert request.composition.num_frames == 310


def test_a_looped_picture_lasts_as_long_as_was_asked(session):
    picture = film(num_frames=1, fps=1.0, sound=False)
    result = session.loop(picture, "round", seconds=3.0, **OPTIONS)
    assert result.seconds == pytest.approx(3.0) and result.fps == 4.0
    assert np.array_equal(result.frames[0], picture.frames[0])


def test_a_large_picture_is_scaled_down_and_said(session):
    photo = np.zeros((300, 400, 3), np.uint8).repeat(10, 0).repeat(10, 1)
    request = prepare(session, "animate", Clip(frames=photo[None], fps=1.0), "go", **OPTIONS)
    size = request.composition.size
    assert size == Size(1662, 1246) and size.width * size.height <= MAX_PICTURE
    assert session.prepare(request)[1] == (
        "the picture of 4000x3000 is scaled down to 1662x1246 (size sets another)",
    )


def test_a_painted_picture_keeps_its_size(session):
    photo = film(num_frames=1, size=Size(800, 600), sound=False)
    result = session.paint(photo, "there", rectangle=(10, 10, 300, 300), **OPTIONS)
    assert result.size == Size(800, 600) and result.num_frames == 1
    assert np.array_equal(result.frames[0, 400:], photo.frames[0, 400:])


def seam_steps(session, clip):
    result = session.extend(clip, "on", seconds=1.0, **OPTIONS)
    steps = np.abs(np.diff(result.frames.astype(np.float32), axis=0)).mean((1, 2, 3))
    return steps[: clip.num_frames - 1], steps[clip.num_frames - 1], result


def test_detail_and_colour_go_on_across_the_seam():
    still = film(num_frames=1, sound=False).frames.repeat(30, 0)
    clip = Clip(frames=still, fps=10.0)
    _, step, result = seam_steps(Session(SmallModel(brighter=25)), clip)
    assert step < 1.5  # of 255; enlarged alone, the first new frame is 15 to 25 away
    plain = video.resize(video.resize(clip.frames[-1:], Size(8, 6)), clip.size)
    assert np.abs(plain.astype(np.float32) - clip.frames[-1]).mean() > 10
    assert abs(result.frames[-1].mean() - clip.frames[-1].mean()) < 2


def test_streamed_frames_and_sound_are_those_of_a_whole_clip(session, tmp_path):
    clip = film()
    request = prepare(session, "extend", clip, "on", seconds=2.0, **OPTIONS)
    whole = session.run(request)
    blocks = np.concatenate(list(engine.stream(session.model, request)))
    assert np.array_equal(blocks, whole.frames)
    details = session.write(request, tmp_path / "streamed.mp4")
    assert details["size"] == "80x60" and details["fps"] == 10.0 and details["num_frames"] == 50
    found = video.read(tmp_path / "streamed.mp4")
    assert (found.size, found.fps, found.num_frames) == (clip.size, 10.0, 50)
    assert found.sound.seconds == pytest.approx(5.0, abs=0.01)
    silence = found.sound.samples[round(3.5 * found.sound.rate) :]
    assert np.abs(silence).max() < 0.01 < np.abs(found.sound.samples[:8000]).max()


def test_saved_files_hold_the_sound_and_others_say_that_they_do_not(session, tmp_path, caplog):
    result = session.extend(film(), "on", seconds=1.0, **OPTIONS)
    result.save(tmp_path / "clip.mp4")
    assert video.read(tmp_path / "clip.mp4").sound is not None
    result.save(tmp_path / "clip.gif")
    assert "clip.gif holds no sound: 4.0 s of it are left out" in caplog.text


def test_memory_and_cost_are_those_of_the_true_result(session):
    small = prepare(session, "extend", film(), "on", seconds=1.0, **OPTIONS)
    large = prepare(session, "extend", film(size=Size(640, 480)), "on", seconds=1.0, **OPTIONS)
    more = budget.need(session.model, [large])["held"] - budget.need(session.model, [small])["held"]
    frame = 3 * (640 * 480 - 80 * 60)
    assert more >= 2 * 40 * frame
    told = cost.predict(session.model, small, format="mp4")
    assert (told.size, told.fps, told.num_frames) == (Size(80, 60), 10.0, 40)
    assert told.stages["assemble"][1] > 0


def test_edits_of_single_pictures_are_overlays_only_when_enlarged(session):
    photo = film(num_frames=1, sound=False)
    plain = prepare(session, "edit", photo, "other", **OPTIONS)
    assert plain.composition.parts == () and plain.size == Size(8, 6)
    enlarged = prepare(session, "edit", photo, "other", size=Size(80, 60), **OPTIONS)
    assert [type(part) for part in enlarged.composition.parts] == [Overlay]
    assert session.run(enlarged).size == Size(80, 60)
