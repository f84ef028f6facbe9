"""The studio as a person uses it: a headless Chromium types, clicks, watches and plays, on a real server."""

import json
import os
import re
import shutil

import numpy as np
import pytest
from random_model import two_bodies
from running import finished

from worldtube import video
from worldtube.video import Clip

playwright = pytest.importorskip("playwright.sync_api", reason="needs: pip install playwright")
axe = pytest.importorskip(
    "axe_playwright_python.sync_playwright", reason="needs: pip install axe-playwright-python"
)
BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
browses = pytest.mark.skipif(BROWSER is None, reason="needs Chromium: apt-get install chromium")
PHONE = {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def chromium():
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=options)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium):
    """A page at an address; when the test ends, its console must have said nothing wrong."""
    pages, said = [], []

    def visit(url, **options):
        page = chromium.new_page(**options)
        page.set_default_timeout(60000)
        page.on("console", lambda m: said.append(m.text) if m.type in ("error", "warning") else 0)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(url)
        pages.append(page)
        return page

    visit.said = said
    yield visit
    for page in pages:
        page.close()
    assert said == []


@pytest.fixture
def page(visit, server, client):
    """The studio of a server whose work was swept away, set to the model that costs nothing."""
    for one in client.videos.list(limit=100):
        client.videos.delete(one.id)
    page = visit(server.url)
    page.locator(".state.ready").wait_for()
    quick(page)
    return page


def quick(page):
    page.evaluate("document.querySelector('details.more').open = true")
    page.get_by_label("Model").select_option("gaussian")
    page.get_by_label("Size", exact=True).select_option("custom")
    page.get_by_label("Width").fill("64")
    page.get_by_label("Height").fill("64")
    page.get_by_label("Seconds", exact=True).fill("1")


def serious(page):
    found = axe.Axe().run(page).response["violations"]
    return [
        (one["id"], [node["target"] for node in one["nodes"]])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]


WATCH = """() => {
    [window.seen, window.previews] = [[], 0];
    new MutationObserver(() => {
        const bar = document.querySelector("#stage progress");
        if (bar) window.seen.push(bar.value);
        window.previews += Boolean(document.querySelector("#stage .making img[src]:not([hidden])"));
    }).observe(document.querySelector("#stage"), {subtree: true, childList: true, attributes: true});
}"""
"""What a person would see of the progress, however slowly the test looks on."""


@browses
def test_type_watch_play_extend(page, client):
    assert serious(page) == []
    page.get_by_label("Prompt").fill("a red ball rolls")
    page.get_by_label("Model").select_option("worldtube-small")
    page.get_by_label("Steps").fill("150")
    alone = page.get_by_label("Words alone")
    if alone.is_visible():  # by way of a state it takes few steps, and no previews
        alone.check()
    page.evaluate(WATCH)
    page.keyboard.press("Control+Enter")
    told = page.locator("#live")
    told.get_by_text("The video is done").wait_for(state="attached")
    seen, previews = page.evaluate("[window.seen, window.previews]")
    assert len(set(seen)) > 3 and seen == sorted(seen) and previews > 0

    clip = page.locator("#stage video")
    clip.wait_for()
    # Not wait_for_function: it asks again by eval, which the page's rules forbid.
    assert (
        clip.evaluate(
            """async (clip) => {
            while (!(clip.readyState >= 2 && clip.currentTime > 0)) await new Promise(requestAnimationFrame);
            return clip.videoWidth;
        }"""
        )
        == 64
    )
    badge = page.locator("#stage .badge")
    badge.wait_for()
    video_id = next(iter(client.videos.list())).id
    data = client.videos.download_content(video_id).read()
    assert badge.locator("> summary").inner_text().strip().endswith("Made here, unaltered")
    badge.locator("> summary").click()
    badge.locator(".statistics > summary").click()
    assert video_id in badge.inner_text() and "nothing has changed since" in badge.inner_text()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename == f"{video_id}.mp4"
    assert download.value.path().read_bytes() == data

    page.get_by_role("group", name="Go on from it").get_by_role("button", name="Extend").click()
    assert page.get_by_label("Prompt").input_value() == "a red ball rolls"
    page.get_by_label("Steps").fill("8")
    page.get_by_role("radio", name="What came before").check()
    page.get_by_label("Seconds added").fill("1")
    page.get_by_role("button", name="Extend").filter(has=page.locator("kbd")).click()
    page.locator("#stage .facts").get_by_text("Extend").wait_for()
    page.locator("#stage .badge").wait_for()
    assert page.locator("#cards li").count() == 2
    assert page.locator("#stage .facts").get_by_text("2 s at 12 fps").count() == 1
    longer = next(iter(client.videos.list()))
    assert longer.task == "extend" and longer.remixed_from_video_id == video_id
    whole = video.read(client.videos.download_content(longer.id).read())
    assert whole.num_frames == 25 and serious(page) == []


@browses
def test_a_job_that_is_being_made_can_be_cancelled(page, client):
    page.get_by_label("Prompt").fill("a red ball rolls")
    page.get_by_label("Model").select_option("worldtube-small")
    if page.get_by_label("Words alone").is_visible():
        page.get_by_label("Words alone").check()
    page.get_by_label("Seconds", exact=True).fill("8")
    page.get_by_label("Steps").fill("1000")
    page.locator("#submit").click()
    page.get_by_role("button", name="Cancel").click()
    page.locator("#stage").get_by_role("heading", name="Cancelled").wait_for()
    assert [one.error.code for one in client.videos.list()] == ["cancelled"]
    page.get_by_role("button", name="Reuse").click()
    assert page.get_by_label("Seconds", exact=True).input_value() == "8"
    assert page.get_by_label("Model").input_value() == "worldtube-small"


@browses
def test_a_job_that_waits_is_told_to_everyone(page):
    page.route(re.compile("/events$"), lambda route: None)  # nothing is heard of it
    page.get_by_label("Prompt").fill("a red ball rolls")
    page.locator("#submit").click()
    bar = page.get_by_role("progressbar", name="Waiting for a worker")
    assert bar.evaluate("bar => bar.value") == 0
    assert "waits for a worker" in page.locator("#live").inner_text()
    assert serious(page) == []


@browses
def test_every_task_is_asked_for_as_the_server_wants_it(page, client, picture, footage):
    made = client.videos.create_and_poll(
        prompt="a", model="gaussian", size="64x64", seconds="1", extra_body={"seed": 1}
    )
    page.reload()
    page.locator("#stage .badge").wait_for()
    quick(page)
    page.get_by_label("Prompt").fill("a blue box")

    def ask(task, *, then=lambda: None):
        page.get_by_role("radio", name=task).check()
        then()
        page.locator("#submit").click()
        page.locator("#stage .facts").get_by_text(task, exact=True).wait_for()
        assert page.locator("#form-error").inner_text() == ""
        found = next(iter(client.videos.list(limit=1)))
        return finished(client, found.id)

    def work(label):
        page.get_by_label(f"{label}: one of your work").select_option(made.id)

    def upload(label, path):
        page.locator("label.drop", has_text=label).locator("input").set_input_files(path)

    done = {"animate": ask("Animate", then=lambda: upload("Picture", picture))}
    done["loop"] = ask("Loop", then=lambda: upload("Clip", footage))
    page.get_by_role("button", name="Remove clip").click()
    done["connect"] = ask("Connect", then=lambda: (work("First clip"), upload("Then", footage)))
    done["edit"] = ask("Edit", then=lambda: page.get_by_label("How much may change").fill("0.5"))

    def shots():
        page.get_by_label("Words of shot 1").fill("a red ball")
        page.get_by_label("Words of shot 2").fill("a blue box, from the side")
        page.get_by_label("Seconds of shot 1").fill("0.5")
        page.get_by_role("button", name="Add a shot").click()
        page.keyboard.type("the end")

    done["storyboard"] = ask("Storyboard", then=shots)
    assert {name: (one.task, one.status) for name, one in done.items()} == {
        name: (name, "completed") for name in done
    }
    assert done["animate"].size == "64x64" and done["loop"].size == "48x32"
    assert done["edit"].remixed_from_video_id == made.id == done["connect"].remixed_from_video_id
    assert [shot["seconds"] for shot in done["storyboard"].storyboard] == [0.5, 2, 2]
    # Earlier work is found by its words, those of shots too, and by its task.
    page.get_by_label("Find by words").fill("side box")
    page.get_by_text("1 found among 6").wait_for()
    page.get_by_label("Find by words").fill("")
    page.get_by_label("Show only").select_option("loop")
    page.get_by_text("1 found among 6").wait_for()
    page.locator("#cards button").click()
    page.locator("#stage .facts").get_by_text("Loop").wait_for()
    page.get_by_role("button", name="Compare").click()
    page.get_by_role("button", name="Pause both").wait_for()
    assert page.locator(".sides video").count() == 2 and serious(page) == []
    page.get_by_role("button", name="Done").click()
    page.get_by_role("button", name="Delete").click()
    page.locator("#delete-yes").click()
    page.get_by_text("0 found among 5").wait_for()
    left = [one.task for one in client.videos.list(limit=100)]
    assert "loop" not in left and len(left) == 5


@browses
def test_what_is_wrong_is_said_where_it_is(page, visit, client):
    page.locator("#submit").click()
    assert "words are needed" in page.get_by_role("alert").filter(visible=True).inner_text()
    assert page.evaluate("document.activeElement.id") == "prompt"
    page.get_by_label("Prompt").fill("a")
    assert page.locator("#form-error").inner_text() == ""
    page.get_by_role("radio", name="Animate").check()
    page.locator("#submit").click()
    assert page.locator("#form-error").inner_text() == "Picture: a picture is needed."
    page.get_by_role("radio", name="Generate").check()
    page.get_by_label("Width").fill("17")
    page.locator("#submit").click()
    page.locator("#form-error").get_by_text("even sides").wait_for()
    assert visit.said and all("400 (Bad Request)" in text for text in visit.said)
    visit.said.clear()
    assert list(client.videos.list()) == []


@browses
def test_with_the_keyboard_alone(page):
    reached = {}
    page.get_by_role("link", name="Skip to the prompt").focus()
    for _ in range(40):
        name, drawn = page.evaluate(
            """() => {
                const one = document.activeElement;
                const covered = one.matches(".chips input, .segments input");
                const box = covered ? one.nextElementSibling : one;
                const style = getComputedStyle(box);
                const drawn = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
                return [one.id || one.name || one.textContent.trim(), drawn];
            }"""
        )
        reached[name] = drawn
        page.keyboard.press("Tab")
    wanted = {"check-open", "task", "prompt", "size", "seconds", "model", "seed", "submit"}
    wanted |= {"find", "find-task", "a large red ball rolls to the right"}
    assert wanted <= set(reached), wanted - set(reached)
    assert [name for name in wanted if not reached[name]] == []
    page.get_by_role("radio", name="Generate").focus()
    page.keyboard.press("ArrowRight")
    assert page.get_by_role("radio", name="Animate").is_checked()
    page.get_by_role("button", name="Check a file").press("Enter")
    assert page.get_by_role("dialog").is_visible() and serious(page) == []
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.id") == "check-open"


@browses
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_in_light_and_dark(visit, server, client, scheme):
    client.videos.create_and_poll(prompt="a red ball", model="gaussian", size="64x64", seconds="1")
    page = visit(server.url, viewport=PHONE, color_scheme=scheme, has_touch=True, is_mobile=True)
    page.locator("#stage .badge").wait_for()
    ground = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert (sum(map(float, re.findall(r"[\d.]+", ground)[:3])) > 384) == (scheme == "light")
    for task in ("Generate", "Extend", "Connect", "Edit", "Storyboard"):
        page.get_by_role("radio", name=task).check()
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], task
    assert serious(page) == []


@browses
def test_the_key_is_asked_for_and_sent(visit, keyed):
    page = visit(keyed.url)
    dialog = page.get_by_role("dialog", name="Key of this server")
    dialog.get_by_label("Key", exact=True).fill("wt-wrong")
    dialog.get_by_role("button", name="Use").click()
    dialog.get_by_text("a key of this server is needed").wait_for()
    assert all("401 (Unauthorized)" in text for text in visit.said)
    visit.said.clear()
    dialog.get_by_label("Key", exact=True).fill(keyed.keys["ann"])
    dialog.get_by_role("button", name="Use").click()
    page.locator(".state.ready").wait_for()
    quick(page)
    page.get_by_label("Prompt").fill("a red ball")
    page.locator("#submit").click()
    page.locator("#stage .badge").wait_for()
    assert page.evaluate("localStorage.length") == 0, "kept for this tab alone unless asked"


VERDICTS = (
    ([("unaltered", "trusted")], False, "good", "Made here, unaltered"),
    ([("derived", "valid")], False, "some", "Derived from something made here"),
    ([("derived", "not_present")], True, "some", "Derived from something made here"),
    ([("derived", "invalid")], False, "some", "Derived from something made here"),
    ([("known_other", "trusted")], False, "good", "Unaltered, signed by Someone"),
    ([("altered", "invalid")], True, "bad", "Changed since it was signed"),
    ([("unknown_other", "valid")], False, "some", "Signed by someone unknown here"),
    ([("no_signal", "not_present")], True, "some", "Made on this server, not signed"),
    ([("no_signal", "not_present")], False, "none", "No signal found"),
    ([], True, "some", "Made on this server"),
    ([], False, "none", "No signal found"),
)
"""What `verify` says and in which state the credentials are, whether it is a copy -> how the badge looks and reads."""


@browses
def test_a_badge_says_no_more_than_the_server(page):
    from worldtube.provenance import VERDICTS as KNOWN

    assert {verdict for told, *_ in VERDICTS for verdict, _ in told} == set(KNOWN)
    for told, copy, tone, words in VERDICTS:
        results = [{"type": "exact_hash", "outcome": "detected" if copy else "not_detected"}]
        results += [
            {"type": "c2pa", "verdict": verdict, "validation_state": state, "issuer": "Someone"}
            for verdict, state in told
        ]
        found = page.evaluate(
            "async (told) => (await import('/studio/provenance.js')).verdict(told)", results
        )
        assert (found["tone"], found["words"]) == (tone, words), (told, found)


@browses
def test_a_file_from_elsewhere_has_no_signal(page, tmp_path):
    path = tmp_path / "elsewhere.png"
    frames = np.random.default_rng(5).integers(0, 255, (1, 64, 64, 3), np.uint8)
    video.write(Clip(frames=frames, fps=1.0), path)
    page.get_by_role("button", name="Check a file").click()
    page.get_by_label("File", exact=True).set_input_files(path)
    page.locator("#check-result").get_by_text("No signal found").wait_for()
    assert "that does not say who made it" in page.locator("#check-result").inner_text()


@browses
def test_the_objects_of_a_video_are_shown_and_drawn_again(visit, inside):
    """From a video by way of its state, over its paths, to the same motion in another colour and another shape."""
    with inside.client() as client:
        made = client.videos.create(
            prompt="a red ball",
            model="random",
            size="64x48",
            extra_body={"state": json.dumps(two_bodies())},
        )
        plain = client.videos.create(prompt="a", model="gaussian", size="64x64", seconds="1")
        assert finished(client, made.id).status == finished(client, plain.id).status == "completed"

        def state_of(id):
            return client.videos.download_content(id, variant="state").json()

        def newest():
            return next(iter(client.videos.list(limit=1)))

        state = state_of(made.id)
        page = visit(f"{inside.url}/#{made.id}")
        page.locator("#stage .badge").wait_for()
        panel = page.get_by_role("region", name="What is in it")
        assert panel.locator("li").count() == len(state["bodies"]) == 2
        colours = [panel.get_by_label(f"Colour of object {k + 1}") for k in range(2)]
        shapes = [panel.get_by_label(f"Shape of object {k + 1}") for k in range(2)]
        assert [one.input_value() for one in colours] == ["red", "blue"]
        assert [one.input_value() for one in shapes] == ["ball", "box"]
        assert "small, " in panel.locator("li").first.inner_text()
        assert page.locator("#stage svg").count() == 0
        panel.get_by_label("Show paths").check()
        assert page.locator("#stage svg polyline").count() == 2
        points = page.locator("#stage svg polyline").first.get_attribute("points").split()
        assert len(points) == 13 and serious(page) == []

        colours[0].select_option("green")
        panel.get_by_role("button", name="Draw again").click()
        page.wait_for_url(lambda url: made.id not in url)
        page.locator("#stage .facts").get_by_text("From a state").wait_for()
        page.locator("#stage .badge").wait_for()
        again = newest()
        drawn = state_of(again.id)
        assert (again.task, again.size, again.num_frames) == ("reproduce", "64x48", 13)
        assert again.prompt == "a small green ball, a small blue box"
        assert drawn["bodies"][0]["colour"] == "green"
        for body, before in zip(drawn["bodies"], state["bodies"], strict=True):
            assert body["positions"] == before["positions"], "the same motion"
        assert page.locator("#stage svg polyline").count() == 2, "paths stay wanted"

        panel = page.get_by_role("region", name="What is in it")
        panel.get_by_label("Shape of object 2").select_option("cylinder")
        assert "physics is computed anew" in panel.inner_text()
        panel.get_by_role("button", name="Draw again").click()
        page.wait_for_url(lambda url: again.id not in url)
        page.locator("#stage .badge").wait_for()
        other = state_of(newest().id)
        assert (
            other["bodies"][1]["shape"] == "cylinder" and len(other["bodies"][1]["positions"]) == 13
        )
        assert other["camera"] == state["camera"]

        assert page.get_by_label("Size", exact=True).input_value() == "best"
        for alone in (False, True):
            page.get_by_label("Prompt").fill("a red ball")
            page.get_by_label("Seconds", exact=True).fill("0.25")
            page.evaluate("document.querySelector('details.more').open = true")
            page.get_by_label("Steps").fill("2")
            page.get_by_label("Words alone").set_checked(alone)
            page.locator("#submit").click()
            page.locator("#stage .facts").get_by_text("0.25 s at 12 fps").wait_for()
            page.locator("#stage .badge").wait_for()
            one = newest()
            assert ("state" in one.variants) != alone
            assert one.size == ("64x64" if alone else "128x128")
            page.locator(f"#cards [data-id={plain.id}] button").click()
            page.locator("#stage .facts").get_by_text("gaussian").wait_for()
        page.get_by_label("Model").select_option("gaussian")
        assert page.get_by_label("Words alone").is_hidden()

        page.locator(f"#cards [data-id={plain.id}] button").click()
        page.locator("#stage .badge").wait_for()
        assert page.locator("#stage .objects, #stage svg").count() == 0


@browses
def test_what_cannot_be_drawn_again_is_said(visit, inside):
    with inside.client() as client:
        body = {"model": "random", "size": "48x32", "seconds": "0.5"}
        made = finished(client, client.videos.create(prompt="a red ball", **body).id)
    page = visit(f"{inside.url}/#{made.id}")
    panel = page.get_by_role("region", name="What is in it")
    page.route(re.compile("/v1/videos$"), lambda route: route.fulfill(status=400, json=REFUSAL))
    panel.get_by_role("button", name="Draw again").click()
    panel.get_by_role("alert").get_by_text("bodies must be 1 to 4").wait_for()
    assert panel.get_by_role("button", name="Draw again").is_enabled()
    assert all("400 (Bad Request)" in text for text in visit.said)
    visit.said.clear()


@browses
def test_with_water_only_colours_change(visit, inside):
    with inside.client() as client:
        body = {"model": "random", "size": "48x32", "seconds": "0.5"}
        made = finished(client, client.videos.create(prompt="a red ball", **body).id)
        state = client.videos.download_content(made.id, variant="state").json()
    page = visit(inside.url)
    page.route(
        re.compile("variant=state"),
        lambda route: route.fulfill(json=state | {"water": {"cups": []}}),
    )
    page.locator(f"#cards [data-id={made.id}] button").click()
    panel = page.get_by_role("region", name="What is in it")
    assert panel.get_by_label("Colour of object 1").is_enabled()
    assert panel.get_by_label("Shape of object 1").is_disabled()
    panel.get_by_text("There is water in it").wait_for()


REFUSAL = {"error": {"message": "bodies must be 1 to 4, got 5", "param": "state"}}


@browses
def test_the_page_reckons_as_the_package_does(visit, inside):
    """Where points are seen, the dimensions of another shape, and what moves how."""
    from worldtube.codec.plan import decode_plan, encode_plan
    from worldtube.state import State, vertical_reach, volume
    from worldtube.worlds.render import project
    from worldtube.worlds.tabletop.engine import simulate
    from worldtube.worlds.tabletop.plan import plan
    from worldtube.worlds.world import Camera

    page = visit(inside.url)
    state = simulate(plan(3), num_frames=5)[0]
    data = state.to_json(digits=9)
    body = data["bodies"][0]

    def run(code, *arguments):
        call = (
            f"async (given) => {{ const m = await import('/studio/objects.js'); return {code}; }}"
        )
        return page.evaluate(call, list(arguments))

    seen = run(
        "m.project(given[0], 4, given[1], {width: 96, height: 64})",
        data["camera"],
        body["positions"],
    )
    camera = Camera(
        position=tuple(data["camera"]["positions"][4]),
        target=tuple(data["camera"]["targets"][4]),
        field_of_view=data["camera"]["field_of_view"],
    )
    expected = project(camera, np.array(body["positions"]), 1.5)[:, :2] * (96, 64)
    np.testing.assert_allclose(seen, expected, atol=1e-3)

    looks = [{"colour": one["colour"], "shape": one["shape"]} for one in data["bodies"]]
    for shape in ("ball", "box", "cylinder", "cup"):
        looks[0] = {"colour": "white", "shape": shape}
        edited = State.from_json(run("m.edit(given[0], given[1])", data, looks))
        one, before = edited.bodies[0], state.bodies[0]
        assert (one.shape, one.colour) == (shape, "white")
        if shape == before.shape:
            assert edited.num_frames == 5 and one.dimensions == before.dimensions
            continue
        assert edited.num_frames == 1 and len(edited.camera) == 5
        np.testing.assert_allclose(one.mass / volume(one), before.mass / volume(before), rtol=1e-5)
        bottoms = [
            s.poses.positions[0, 0, 2] - vertical_reach(b, s.poses.rotations[0, 0])
            for s, b in ((edited, one), (state, before))
        ]
        assert bottoms[0] == pytest.approx(bottoms[1], abs=1e-5)
        again = decode_plan(encode_plan(edited, 4), num_frames=1)
        match = next(b for b in again.bodies if (b.colour, b.shape) == ("white", shape))
        np.testing.assert_allclose(match.dimensions, one.dimensions, rtol=0.02)

    moves = {
        "rests": [[0, 0, 0.2], [0.01, 0, 0.2]],
        "moves right": [[0, 0, 0.2], [0.5, 0.1, 0.2]],
        "moves left and falls": [[0, 0, 0.8], [-0.5, 0.1, 0.2]],
        "moves away": [[0, 0, 0.2], [0, 0.3, 0.2]],
        "moves closer": [[0, 0, 0.2], [0, -0.3, 0.2]],
        "falls": [[0, 0, 1], [0, 0, 0.2]],
    }
    assert [run("m.doing({positions: given[0]})", path) for path in moves.values()] == [*moves]
