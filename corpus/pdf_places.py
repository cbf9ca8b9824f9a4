"""Where words stand on the pages of a PDF file, and what the pages look like."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from corpus.errors import LoadError
from corpus.pdf import ADDED, NEW_LINE, page_text
from corpus.pdfium import Page, Rectangle, opened
from corpus.records import Document

__all__ = ["Box", "boxes", "page_image"]

_MOST_PIXELS = 16_000_000
"""Of a page's image."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle on a page as it is displayed.

    Coordinates are fractions of the page's width and height, from its top left
    corner: they hold at every scale, and for rotated pages.
    """

    page: int
    """From 1."""
    left: float
    top: float
    right: float
    bottom: float


def boxes(data: bytes, document: Document, start: int, end: int) -> list[Box]:
    """Where `document.text[start:end]` stands on its pages, a box for each line.

    Args:
        data: the file's bytes.
        document: what was made of them.
        start: half-open, in the document's text.
        end: likewise.

    Raises:
        LoadError: the pages do not say the same as the document, so that no place is known.
    """
    starts = document.page_starts
    found: list[Box] = []
    with opened(data) as pdf:
        first, last = bisect_right(starts, start), bisect_left(starts, end)
        for number, page_start in enumerate(starts[max(0, first - 1) : last], max(1, first)):
            page_end = starts[number] - 1 if number < len(starts) else len(document.text)
            with pdf.page(number) as page:
                placed = page_text(page)
                if placed.text != document.text[page_start:page_end]:
                    raise LoadError(
                        f"says something else on page {number} than when it was indexed, by"
                        " another version of its reader; `citespan index` reads it again"
                    )
                indices = placed.indices[max(0, start - page_start) : end - page_start]
                found.extend(Box(number, *line) for line in _lines(page, indices))
    return found


def page_image(data: bytes, number: int, *, width: int) -> bytes:
    """The page as a PNG image, as it is displayed.

    Args:
        data: the file's bytes.
        number: the page, from 1.
        width: of the image, in pixels; a page that would then be very tall gets a narrower one.

    Raises:
        LoadError: there is no such page, or it cannot be drawn.
    """
    with opened(data) as pdf:
        if not 1 <= number <= len(pdf):
            raise LoadError(f"has no page {number}: its pages are 1 to {len(pdf)}")
        with pdf.page(number) as page:
            across, down = page.size
            if across <= 0 or down <= 0:
                raise LoadError(f"has a page {number} without a size")
            # A page may say that it is a mile long.
            return page.png(scale=min(width / across, (_MOST_PIXELS / (across * down)) ** 0.5))


def _lines(page: Page, indices: Sequence[int]) -> Iterator[Rectangle]:
    """What each run of these characters covers that stands on one line."""
    run: list[Rectangle] = []
    before = tallest = 0.0
    for index in indices:
        if index == ADDED or (one := page.rectangle(index)) is None:
            continue
        _, top, right, bottom = one
        down, height = page.down(index), bottom - top
        tallest = max(tallest, height)
        if run and (abs(down - before) > NEW_LINE * tallest or right < run[-1][0]):
            yield _around(run)
            run, tallest = [], height
        run.append(one)
        before = down
    if run:
        yield _around(run)


def _around(run: Sequence[Rectangle]) -> Rectangle:
    lefts, tops, rights, bottoms = zip(*run, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)
