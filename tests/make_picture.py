"""Make the README's picture of the page, from the sample: python tests/make_picture.py."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from serving import serving
from visiting import Visitor, browsing

from qa.indexing import SAMPLE, index_files

PICTURE = Path(__file__).parent / "picture" / "page.png"
QUESTIONS = ("When was the Ardvik Observatory founded?", "Who carried out the security review?")
WIDTH, HEIGHT = 1280, 900


def main() -> None:
    os.environ.pop("CITESPAN_TOKEN", None)
    with TemporaryDirectory() as folder:
        index_files(Path(folder) / "index", [SAMPLE])
        with serving(Path(folder) / "index") as server, browsing() as browser:
            context = browser.new_context(
                viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light"
            )
            visitor = Visitor(context, server).enter()
            page = visitor.page
            page.wait_for_selector(".example")
            for question in QUESTIONS:
                visitor.ask(question)
            page.wait_for_function(
                "() => document.querySelector('#source img')?.naturalWidth > 500"
            )
            page.mouse.move(0, 0)
            page.wait_for_timeout(1500)
            PICTURE.parent.mkdir(exist_ok=True)
            page.screenshot(path=PICTURE)
            context.close()
    # Few colours are in it: a palette is a third of the size.
    Image.open(PICTURE).convert("RGB").quantize(200).save(PICTURE, optimize=True)
    print(f"{PICTURE}: {PICTURE.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
