"""Takes the pictures of the studio in docs/gallery: a person's first ten minutes, on the model that is in the package.

worldtube serve --folder NEW --port 8001 & python docs/studio.py http://127.0.0.1:8001  (Chromium, playwright)
"""

import io
import os
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

FOLDER = Path(__file__).with_name("gallery")
MADE = (
    ("a small blue box falls onto the table", "64x64"),
    ("a green cup slides to the left", "64x64"),
    ("two black boxes stand still", "96x64"),
    ("a white ball knocks over a purple cup and the water spills", "64x64"),
    ("a large red ball rolls to the right", "64x64"),
)
STATE = "a large red ball rolls to the right and hits a small blue box"
"""Made by way of its physical state, where the model knows states."""
MOST_BYTES = 150_000
WAIT = 180_000


def keep(page: Page, name: str, part: str = "") -> None:
    shown = page.locator(part) if part else page
    picture = Image.open(io.BytesIO(shown.screenshot()))
    path = FOLDER / f"studio-{name}.webp"
    picture.save(path, quality=82, method=6)
    assert path.stat().st_size < MOST_BYTES, f"{path} has {path.stat().st_size} bytes"


def make(page: Page, prompt: str, size: str) -> None:
    page.get_by_role("radio", name="Generate").check()
    page.get_by_label("Prompt").fill(prompt)
    page.get_by_label("Size", exact=True).select_option(size)
    page.locator("#submit").click()
    page.locator("#stage .making").wait_for()


def done(page: Page) -> None:
    page.locator("#stage .badge").wait_for(timeout=WAIT)


def still(page: Page) -> None:
    """The clip in its middle, without its controls: pictures are the same however fast this machine is."""
    page.evaluate(
        """async () => {
            for (const clip of document.querySelectorAll("#stage video")) {
                clip.pause();
                clip.controls = false;
                await new Promise((over) => { clip.onseeked = over; clip.currentTime = clip.duration / 2; });
            }
            const pictures = [...document.querySelectorAll("#cards img[src]")].slice(0, 5);
            const there = (one) => one.complete && one.naturalWidth;
            while (!pictures.every(there)) await new Promise((over) => setTimeout(over, 50));
        }"""
    )


def objects(page: Page) -> None:
    """A video with its objects and their paths; nothing where the model knows no states."""
    if page.locator("#size option[value=best]").count() == 0:
        return
    page.evaluate("document.querySelector('details.more').open = true")
    page.get_by_label("Seed").fill("6")
    make(page, STATE, "best")
    done(page)
    page.get_by_label("Seed").fill("")
    page.get_by_label("Show paths").check()
    still(page)
    page.wait_for_timeout(500)  # the paths follow the frame
    keep(page, "objects", "#stage")
    page.get_by_label("Show paths").uncheck()
    page.evaluate("document.querySelector('details.more').open = false")


def main(url: str) -> None:
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=root)
        desk = {"width": 1280, "height": 860}
        page = browser.new_page(viewport=desk, color_scheme="light")
        page.goto(url)
        page.locator(".state.ready").wait_for(timeout=WAIT)
        for prompt, size in MADE[:-1]:
            make(page, prompt, size)
            done(page)
        page.locator("summary", has_text="More settings").click()
        page.get_by_label("Steps").fill("60")  # long enough for a picture of it
        alone = page.get_by_label("Words alone")
        if alone.is_visible():  # by way of a state there is no picture of it before it is done
            alone.check()
        make(page, *MADE[-1])
        page.locator(".making img:not([hidden])").wait_for(timeout=WAIT)
        keep(page, "making")
        done(page)
        page.get_by_label("Steps").fill("")
        if alone.is_visible():
            alone.uncheck()
        page.locator("summary", has_text="More settings").click()
        still(page)
        keep(page, "light")
        page.locator("#stage .badge summary").click()
        keep(page, "badge", "#stage .badge")
        page.locator("#stage .badge summary").click()
        page.get_by_role("button", name="Compare").click()
        page.get_by_role("button", name="Pause both").click()
        still(page)
        keep(page, "compare")
        page.get_by_role("button", name="Done").click()
        objects(page)
        page.close()

        page = browser.new_page(viewport=desk, color_scheme="dark")
        page.goto(url)
        done(page)
        page.get_by_role("group", name="Go on from it").get_by_text("Extend").click()
        page.get_by_label("Prompt").fill("the ball rolls on")
        still(page)
        keep(page, "dark")
        page.get_by_role("radio", name="Storyboard").check()
        page.get_by_label("Words of shot 1").fill("a red ball rolls to the right")
        page.get_by_label("Words of shot 2").fill("a red ball, from the side")
        keep(page, "storyboard")
        page.close()

        for scheme in ("light", "dark"):
            page = browser.new_page(
                viewport={"width": 390, "height": 844},
                color_scheme=scheme,
                is_mobile=True,
                has_touch=True,
            )
            page.goto(url)
            done(page)
            still(page)
            if scheme == "dark":
                page.locator("#stage").scroll_into_view_if_needed()
                page.evaluate("document.querySelector('#stage').scrollIntoView()")
            keep(page, f"phone-{scheme}")
            page.close()
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1])
