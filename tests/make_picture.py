"""Make the README's picture of the page, from the sample: python tests/make_picture.py."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from playwright.sync_api import sync_playwright
from serving import chromium, serving

from qa.indexing import SAMPLE, index_files

PICTURE = Path(__file__).parent / "picture" / "page.png"
QUESTIONS = ("When was the Ardvik Observatory founded?", "Who carried out the security review?")
WIDTH, HEIGHT = 1280, 800


def main() -> None:
    os.environ.pop("CITESPAN_TOKEN", None)
    with TemporaryDirectory() as folder:
        index_files(Path(folder) / "index", [SAMPLE])
        with serving(Path(folder) / "index") as server, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
            page = browser.new_page(
                viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light"
            )
            page.set_default_timeout(120_000)
            page.goto(server.url)
            page.wait_for_selector(".example")
            for n, question in enumerate(QUESTIONS, 1):
                page.fill("#question textarea", question)
                page.keyboard.press("Enter")
                page.wait_for_selector(f".turn:nth-of-type({n}):not(.pending) .feedback")
            page.wait_for_function(
                "() => document.querySelector('#source img')?.naturalWidth > 500"
            )
            page.mouse.move(0, 0)
            page.wait_for_timeout(1500)
            PICTURE.parent.mkdir(exist_ok=True)
            page.screenshot(path=PICTURE)
            browser.close()
    # Few colours are in it: a palette is a third of the size.
    Image.open(PICTURE).convert("RGB").quantize(200).save(PICTURE, optimize=True)
    print(f"{PICTURE}: {PICTURE.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
