"""The studio as a person uses it: a headless Chromium types, clicks, watches and plays, on a real server."""

import os
import re
import shutil

import numpy as np
import pytest
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
