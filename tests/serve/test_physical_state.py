"""Videos by way of their physical state, through the official client, with stages of random weights."""

import copy
import json

import httpx2
import numpy as np
import openai
import pytest
from openai import omit
from running import finished

from worldtube import video
from worldtube.serve.schema import VARIANTS
from worldtube.state import MAX_BODIES, NAMES, State

SMALL = {"model": "random", "size": "48x32"}
STILLS = ["video", "thumbnail", "spritesheet"]


@pytest.fixture(scope="module")
def client(inside):
    with inside.client() as client:
        yield client


def make(client, **body):
    body = {"prompt": "a red ball", "seconds": "1"} | SMALL | body
    told = finished(client, client.videos.create(**body).id)
    assert told.status == "completed", told.error
    return told


def frames_of(client, id):
    return video.read(client.videos.download_content(id).read()).frames.astype(int)


def state_of(client, id):
    return client.videos.download_content(id, variant="state").json()


@pytest.fixture(scope="module")
def made(client, inside):
    """A video of 13 frames and its state."""
    told = make(client, extra_body={"seed": inside.seed})
    return told, state_of(client, told.id)


def test_a_finished_video_offers_its_state(client, made):
    told, data = made
    assert told.variants == [*STILLS, "state"] == list(VARIANTS)
    state = State.from_json(data)
    assert state.num_frames == told.num_frames == 13 and state.fps == told.fps == 12
    answer = client.videos.with_raw_response.download_content(told.id, variant="state")
    assert answer.headers["content-type"] == "application/json"
    assert client.videos.retrieve(told.id).variants == told.variants


def test_without_a_state_there_is_none_to_fetch(client):
    board = {"storyboard": [{"prompt": "a", "seconds": 0.5}, {"prompt": "b", "seconds": 0.5}]}
    for told in (
        make(client, extra_body={"no_state": True, "num_inference_steps": 2}),
        make(client, prompt=omit, seconds=omit, extra_body=board),
    ):
        assert told.variants == STILLS
        with pytest.raises(openai.NotFoundError) as error:
            state_of(client, told.id)
        assert error.value.code == "state_not_found" and error.value.param == "variant"
        assert f"video {told.id} has no state" in error.value.message


def test_a_state_that_was_edited_is_drawn(client, made):
    data = copy.deepcopy(made[1])
    data["bodies"] = data["bodies"][:1]
    data["bodies"][0]["colour"] = "green"
    again = make(client, prompt=omit, seconds=omit, extra_body={"state": json.dumps(data)})
    assert (again.task, again.seconds, again.num_frames) == ("reproduce", "1.083", 13)
    drawn = state_of(client, again.id)
    assert [body["colour"] for body in drawn["bodies"]] == ["green"]
    np.testing.assert_allclose(drawn["bodies"][0]["positions"], data["bodies"][0]["positions"])
    longer = make(client, seconds="2", extra_body={"state": json.dumps(data)})
    assert longer.num_frames == 25 == len(state_of(client, longer.id)["camera"]["positions"])
    assert longer.prompt == "a red ball"


def test_the_same_state_makes_the_same_picture(client, inside, made):
    told, data = made
    again = make(client, prompt=omit, seconds=omit, extra_body={"state": json.dumps(data)})
    one, other = frames_of(client, told.id), frames_of(client, again.id)
    assert np.abs(one - other).mean() < 4  # each has a watermark of its own
    seed = {"seed": inside.seed + 1}
    assert np.abs(one - frames_of(client, make(client, extra_body=seed).id)).mean() > 4


def test_json_takes_a_state_as_it_is(inside, made):
    body = {"state": made[1], "size": "48x32", "model": "random", "fps": 24, "seconds": 0.5}
    told = httpx2.post(f"{inside.url}/v1/videos", json=body).json()
    assert (told["task"], told["fps"], told["num_frames"]) == ("reproduce", 24, 13)


def test_a_video_with_a_state_goes_on_from_it(client, made):
    told, data = made
    for direction in ({}, {"seed": 3}):
        body = {"video": {"id": told.id}, **direction}
        longer = client.videos.extend(prompt="on", seconds="1", video=omit, extra_body=body)
        longer = finished(client, longer.id)
        assert longer.status == "completed" and longer.num_frames == 25, longer.error
        state = state_of(client, longer.id)
        for body, before in zip(state["bodies"], data["bodies"], strict=True):
            assert body["positions"][:13] == before["positions"]
        before, after = frames_of(client, told.id), frames_of(client, longer.id)
        assert np.abs(before - after[:13]).mean() < 4
    alone = {"video": {"id": told.id}, "no_state": True, "num_inference_steps": 2}
    words = client.videos.extend(prompt="on", seconds="1", video=omit, extra_body=alone)
    assert finished(client, words.id).variants == STILLS


def test_deleting_a_video_deletes_its_state(client, inside):
    told = make(client, seconds="0.5")
    path = inside.worker.store.root / "videos" / told.id
    assert [p.name for p in path.rglob("state.json")] == ["state.json"]
    client.videos.delete(told.id)
    assert not path.exists()
    with pytest.raises(openai.NotFoundError):
        state_of(client, told.id)


def test_either_half_may_be_an_engine_and_stays_so(client):
    pytest.importorskip("mujoco", reason="the worlds extra is not installed")
    told = make(client, seconds="0.5", extra_body={"renderer": "engine", "physics": "engine"})
    body = {"video": {"id": told.id}}
    longer = client.videos.extend(prompt="on", seconds="0.5", video=omit, extra_body=body)
    longer = finished(client, longer.id)
    before, after = frames_of(client, told.id), frames_of(client, longer.id)
    assert longer.num_frames == told.num_frames + 6
    assert np.abs(before - after[: len(before)]).mean() < 4
    drawn = client.videos.extend(
        prompt="on", seconds="0.5", video=omit, extra_body=body | {"renderer": "model"}
    )
    other = frames_of(client, finished(client, drawn.id).id)
    assert np.abs(before - other[: len(before)]).mean() > 8


def test_a_long_video_has_its_state_too(client):
    told = make(client, seconds="11", size="32x32")
    assert told.num_frames == 133 == len(state_of(client, told.id)["camera"]["positions"])


def test_no_size_said_means_what_suits_the_way_it_is_made(client, inside, monkeypatch):
    """States have a native size of their own; what they do not cover is made at that of the network."""
    body = {"model": "random", "prompt": "a red ball", "seconds": "0.25"}
    told = finished(client, client.videos.create(**body).id)
    assert (told.size, told.rendered_size, told.warnings) == ("128x128", "128x128", [])
    model = inside.worker.sessions["random"].model
    monkeypatch.setattr(model, "covers", lambda prompt: "water" not in prompt)
    monkeypatch.setattr("worldtube.worlds.have_engines", lambda: False, raising=False)
    body |= {"prompt": "water", "extra_body": {"num_inference_steps": 2}}
    words = finished(client, client.videos.create(**body).id)
    assert (words.size, words.rendered_size, words.variants) == ("128x128", "64x64", STILLS)
    assert "random makes this at 64x64; it is enlarged to 128x128" in words.warnings
    clip = video.read(client.videos.download_content(words.id).read())
    assert str(clip.size) == "128x128"
    body["extra_body"] |= {"no_state": True}
    assert finished(client, client.videos.create(**body).id).size == "64x64"


def test_models_say_what_states_they_know(client):
    known = {one.id: one.model_dump().get("state") for one in client.models.list()}
    assert known["gaussian"] is None
    assert known["random"] == {
        "size": "128x128",
        "max_bodies": MAX_BODIES,
        "shapes": list(NAMES["shape"]),
        "colours": list(NAMES["colour"]),
        "materials": list(NAMES["material"]),
    }


def wrong(data, change):
    data = copy.deepcopy(data)
    change(data)
    return data


def crowd(data):
    data["bodies"] = [copy.deepcopy(data["bodies"][0]) for _ in range(5)]


def overlap(data):
    ball = data["bodies"][0] | {"shape": "ball", "dimensions": [0.2, 0, 0, 0]}
    data["bodies"] = [ball, ball]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(weather="rain"), "state has an unknown field 'weather'"),
        (lambda d: d.pop("camera"), "state has no field 'camera'"),
        (lambda d: d["bodies"][0].update(colour="pink"), "bodies[0].colour must be one of red, orange"),
        (lambda d: d["bodies"][0].update(shape="cone"), "bodies[0].shape must be one of ball, box, cylinder, cup"),
        (crowd, "bodies must be 1 to 4, got 5"),
        (overlap, "bodies[1] must begin outside of bodies[0], got centres 0 m apart"),
        (lambda d: d["bodies"][0]["positions"][0].__setitem__(0, 320), "begin between -20 and 20 m in x, got 320 m"),
        (lambda d: d.update(fps=240), "fps must be between 1 and 120, got 240"),
        (lambda d: d.update(fps=90), "fps of a state must be at most 60, got 90"),
        (lambda d: d.update(format=2), "state format must be 1, got 2"),
        (lambda d: d.update(bodies=5), "bodies must be a list, got int"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", [True, False])
def test_a_wrong_state_is_refused_in_a_sentence(client, inside, made, change, message, form):
    data = wrong(made[1], change)
    body = {"state": json.dumps(data) if form else data, **SMALL}
    sent = {"data": body} if form else {"json": body}
    answer = httpx2.post(f"{inside.url}/v1/videos", **sent)
    error = answer.json()["error"]
    assert answer.status_code == 400 and error["param"] == "state", error
    assert message in error["message"] and error["code"] == "invalid_value"
    assert not [one for one in client.videos.list(limit=100) if one.status == "failed"]


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        ({"state": "not JSON"}, "state", "it must be a JSON object, got text that is no JSON"),
        ({"state": "[1]"}, "state", "it must be a JSON object, got list"),
        ({"state": 5}, "state", "it must be a JSON object, got int"),
        ({"state": {}, "model": "gaussian"}, "state", "state has no field"),
        ({"state": {}, "no_state": True}, "no_state", "no_state is not accepted beside state"),
        ({"state": {}, "storyboard": [{"prompt": "a"}]}, "storyboard", "storyboard is not accepted beside state"),
        ({"physics": "magic"}, "physics", "Input should be 'model' or 'engine'"),
        ({"renderer": "engine", "no_state": True}, "renderer", "renderer is not accepted beside no_state"),
        ({"physics": "engine", "model": "gaussian"}, "physics", "physics must be model with gaussian, got 'engine'"),
        ({"no_state": "perhaps"}, "no_state", "boolean"),
    ],
)  # fmt: skip
def test_wrong_fields_beside_a_state(inside, body, param, message):
    answer = httpx2.post(f"{inside.url}/v1/videos", json={"prompt": "a", **SMALL, **body})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, param), error
    assert message in error["message"]


def test_a_state_needs_a_model_that_knows_states(client, inside, made):
    body = {"state": made[1], "model": "gaussian"}
    error = httpx2.post(f"{inside.url}/v1/videos", json=body).json()["error"]
    assert (
        error["param"] == "state" and "reproduce is not possible with gaussian" in error["message"]
    )
    plain = finished(client, client.videos.create(prompt="a", model="gaussian", seconds="1").id)
    body = {"prompt": "b", "seconds": 1, "video": {"id": plain.id}, "physics": "model"}
    error = httpx2.post(f"{inside.url}/v1/videos/extensions", json=body).json()["error"]
    assert error["param"] == "physics" and "this one has none" in error["message"]


def test_a_nested_state_in_a_form_is_told_how_to_be_sent(client, made):
    """The client writes each number as a field: forms cannot nest lists of lists."""
    with pytest.raises(openai.BadRequestError) as error:
        client.videos.create(prompt="a", **SMALL, extra_body={"state": made[1]})
    assert "a state as one field of JSON text" in error.value.message
