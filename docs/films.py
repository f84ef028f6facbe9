"""Takes the pictures of a set of films in docs/gallery: the page of the dataset, and a sheet of its clips.

runs/films.sh; python docs/films.py data/films/filmed  (Chromium, playwright)
"""

import io
import os
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import sync_playwright

from worldtube.data.catalog import Catalog
from worldtube.data.page import write_page
from worldtube.data.views import view
from worldtube.video import save_image, sheet

FOLDER = Path(__file__).with_name("gallery")
MOST_BYTES = 150_000
MIDDLE = """async () => {
    for (const clip of document.querySelectorAll("video")) {
        await new Promise((over) => { clip.onseeked = over; clip.currentTime = clip.duration / 2; });
    }
}"""


def photographed(page: Path) -> Image.Image:
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=root)
        seen = browser.new_page(viewport={"width": 1180, "height": 1000}, color_scheme="light")
        seen.goto(page.absolute().as_uri())
        seen.evaluate(MIDDLE)
        shot = seen.screenshot(full_page=True)
        browser.close()
    return Image.open(io.BytesIO(shot))


def main(dataset: Path) -> None:
    catalog = Catalog(dataset)
    with tempfile.TemporaryDirectory() as folder:
        picture = photographed(write_page(catalog, Path(folder, "page.html"), clips=28))
        path = FOLDER / "data-page.webp"
        picture.save(path, quality=72, method=6)
        assert path.stat().st_size < MOST_BYTES, f"{path} has {path.stat().st_size} bytes"
        names = view(catalog, "lively")
        chosen = [names[place] for place in np.linspace(0, len(names) - 1, 16).round().astype(int)]
        rows = catalog.take(chosen, ["source", "start"])
        clips = [
            replace(catalog.clip(name), caption=f"{row['source']} at {row['start']:.1f} s")
            for name, row in zip(chosen, rows, strict=True)
        ]
        save_image(sheet(clips, frames=8, columns=2), FOLDER / "films.webp")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
