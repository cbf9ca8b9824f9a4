"""PDF files, character by character through PDFium. The only file that imports pypdfium2.

Every character of the text keeps its index in PDFium's own numbering of the
page, from which its place on the page follows. Text is taken in the order of
the page's content. Forms, annotations and text within images are not read.
"""

import cmath
import ctypes
import io
import re
import statistics
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from threading import Lock
from typing import Any, TypeAlias

from corpus.errors import LoadError
from corpus.extract import Columns, Extract, Reading
from corpus.records import Document
from corpus.text import headline, stated_day, stated_title

__all__ = ["Box", "boxes", "page_image", "read_pdf"]

_LOCK = Lock()
"""PDFium is not thread-safe."""

_Placed: TypeAlias = tuple[str, int]
"""A character with PDFium's index of it on its page."""
_ADDED = -1
"""The index of a character that PDFium does not have."""

_WRONG_PASSWORD = 4
_BREAK_CODES = (0x02, 0xFFFE)
"""What PDFium reports for a hyphen at the end of a line; it leaves the line's end out."""
_BROKEN = "\x02"
_HYPHENATED = re.compile(r"\w+-\w+")
_WORD_BEFORE = re.compile(r"\w*\Z")
_WORD_AFTER = re.compile(r"\w*")
_ADDRESS = re.compile(r"[/@]\S*\Z|\w\.\w\S*\Z")
_CONJUNCTIONS = {"and", "or", "to", "und", "oder", "bis", "et", "ou", "y", "o", "e", "en", "of"}
_MAX_WORD = 64
_VERTICAL_FROM = "\u2e80"
"""From here on are the characters of East Asia, which may stand below each other in one line."""
_BACK, _DOWN = 0.1, 0.5
"""A line begins where a character stands no further on than so much of its size, and lower."""
_LINE = re.compile(r"[^\n]*\n|[^\n]+")

_PARAGRAPH_GAP = 1.35
_LARGE_TYPE_GAP = 1.5
"""Lines further apart than so many times the page's usual distance end a paragraph, unless they
are merely in large type: further apart than so many times their own font size. Typeset paragraphs
stand 1.5 lines apart or more, and lines within one seldom more than 1.45 sizes."""
_FONT_CHANGE = 0.1
"""And so do lines whose font sizes differ by more than this part: headings, captions, notes."""

_MAX_LISTED_PAGES = 8
_IMAGE_DEPTH = 4
"""Scanners put a page's image into a form, and sometimes that into another."""
_MOST_PIXELS = 16_000_000
"""Of a page's image."""
_DEVICE = 1 << 20
"""Pixels of the imaginary screen on which places are worked out: PDFium rounds to whole ones."""


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


@dataclass(frozen=True, slots=True)
class _Page:
    """A page's text with PDFium's index of each of its characters."""

    text: str
    indices: Sequence[int]


def read_pdf(data: bytes, _: Columns) -> Reading:
    """The text of all pages, joined by form feeds.

    Raises:
        LoadError: it is damaged, needs a password, or has no text layer.
    """
    with _opened(data) as pdf:
        texts: list[str] = []
        scanned: list[int] = []
        for number in range(len(pdf)):
            with _page(pdf, number) as page:
                text = _characters(page).text
                texts.append(text)
                if not text.strip() and _has_image(page):
                    scanned.append(number + 1)
        title, made = _metadata(pdf, "Title"), _metadata(pdf, "CreationDate")
    text = "\f".join(texts)
    if not text.strip():
        raise LoadError(
            f"is scanned: its {_pages(len(texts))} no text layer; it needs OCR first,"
            " such as `ocrmypdf`"
            if scanned
            else f"has no text: its {_pages(len(texts))} none"
        )
    starts = [0]
    for page_text in texts[:-1]:
        starts.append(starts[-1] + len(page_text) + 1)
    extract = Extract(
        text,
        title=stated_title(title) or headline(text),
        date=stated_day(made),
        page_starts=tuple(starts),
    )
    return Reading([extract], _note(scanned))


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
    with _opened(data) as pdf:
        first, last = bisect_right(starts, start), bisect_left(starts, end)
        for number, page_start in enumerate(starts[max(0, first - 1) : last], max(1, first)):
            page_end = starts[number] - 1 if number < len(starts) else len(document.text)
            with _page(pdf, number - 1) as page:
                placed = _characters(page)
                if placed.text != document.text[page_start:page_end]:
                    raise LoadError(
                        f"says something else on page {number} than when it was indexed;"
                        " `citespan index` reads it again"
                    )
                indices = placed.indices[max(0, start - page_start) : end - page_start]
                found.extend(_lines(page, number, indices))
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
    with _opened(data) as pdf:
        if not 1 <= number <= len(pdf):
            raise LoadError(f"has no page {number}: its pages are 1 to {len(pdf)}")
        with _page(pdf, number - 1) as page:
            across, down = page.get_size()
            if across <= 0 or down <= 0:
                raise LoadError(f"has a page {number} without a size")
            # A page may say that it is a mile long.
            scale = min(width / across, (_MOST_PIXELS / (across * down)) ** 0.5)
            image = page.render(scale=scale, may_draw_forms=False).to_pil()
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


@contextmanager
def _opened(data: bytes) -> Iterator[Any]:
    import pypdfium2

    with _LOCK:
        try:
            pdf = pypdfium2.PdfDocument(data)
        except pypdfium2.PdfiumError as error:
            if getattr(error, "err_code", None) == _WRONG_PASSWORD:
                raise LoadError("is protected by a password; save it without one") from error
            raise LoadError("is a damaged PDF file: PDFium cannot open it") from error
        try:
            yield pdf
        finally:
            pdf.close()


@contextmanager
def _page(pdf: Any, number: int) -> Iterator[Any]:
    """The page, from 0; closed at once, because a PDF may have thousands."""
    import pypdfium2

    try:
        page = pdf[number]
    except pypdfium2.PdfiumError as error:
        raise LoadError(f"is a damaged PDF file: page {number + 1} cannot be opened") from error
    try:
        yield page
    finally:
        page.close()


def _characters(page: Any) -> _Page:
    """The page's text: its lines, paragraphs parted by blank lines, broken words made whole."""
    textpage = page.get_textpage()
    try:
        characters = _mended(_parted(textpage, _decoded(textpage)))
        lines = [(m.start(), m.end()) for m in _LINE.finditer("".join(c for c, _ in characters))]
        ends = _paragraph_ends(page, textpage, [characters[start:end] for start, end in lines])
        pieces = [
            [*characters[start:end], *([("\n", _ADDED)] if ends_paragraph else [])]
            for (start, end), ends_paragraph in zip(lines, ends, strict=True)
        ]
    finally:
        textpage.close()
    placed = [pair for piece in pieces for pair in piece]
    return _Page("".join(c for c, _ in placed), [i for _, i in placed])


def _decoded(textpage: Any) -> list[_Placed]:
    import pypdfium2.raw as pdfium

    characters: list[_Placed] = []
    high = 0
    for i in range(pdfium.FPDFText_CountChars(textpage)):
        code = pdfium.FPDFText_GetUnicode(textpage, i)
        if 0xD800 <= code < 0xDC00:  # One character as two of PDFium's, as in UTF-16.
            high = code
            continue
        if high and 0xDC00 <= code < 0xE000:
            code = 0x10000 + ((high - 0xD800) << 10) + (code - 0xDC00)
        high = 0
        if code in _BREAK_CODES:
            characters.append((_BROKEN, i))
        elif code in (0x09, 0x0A) or 0x20 <= code < 0x7F or 0xA0 <= code < 0xD800:
            characters.append((chr(code), i))
        elif 0xD800 <= code < 0xE000:
            characters.append(("\ufffd", i))
        elif 0xE000 <= code <= 0x10FFFF:
            characters.append((chr(code), i))
        # What is left are control characters: PDFium ends a line with two, and passes on others.
    return characters


def _parted(textpage: Any, characters: list[_Placed]) -> list[_Placed]:
    """The characters with line ends where PDFium leaves them out, as after a line of one character.

    A column of figures would else be one number.
    """
    import pypdfium2.raw as pdfium

    x, y = ctypes.c_double(), ctypes.c_double()
    kept: list[_Placed] = []
    last: complex | None = None
    for character, i in characters:
        if character.isspace() or character == _BROKEN or character >= _VERTICAL_FROM:
            last = None
        else:
            pdfium.FPDFText_GetCharOrigin(textpage, i, x, y)
            place = complex(x.value, y.value)
            if last is not None and _begins_line(textpage, i, place - last):
                kept.append(("\n", _ADDED))
            last = place
        kept.append((character, i))
    return kept


def _begins_line(textpage: Any, index: int, step: complex) -> bool:
    """Whether the step to this character leads back and into another line, as the text runs."""
    import pypdfium2.raw as pdfium

    if step.real > 0 and abs(step.imag) < step.real:
        return False  # Onwards, as nearly all text goes.
    size: float = pdfium.FPDFText_GetFontSize(textpage, index)
    step *= cmath.exp(-1j * pdfium.FPDFText_GetCharAngle(textpage, index))
    return step.real <= _BACK * size and abs(step.imag) > _DOWN * size


def _mended(characters: list[_Placed]) -> list[_Placed]:
    """The characters with every word that a line's end broke put together again.

    The hyphen stays where the page has the word with its hyphen elsewhere, in an
    address, and beside a digit or a capital ("2014-2015", "Anglo-American").
    Otherwise the typesetter put it in, and it goes.
    """
    text = "".join(character for character, _ in characters)
    if _BROKEN not in text:
        return characters
    known = {word.lower() for word in _HYPHENATED.findall(text)}
    kept: list[_Placed] = []
    for at, (character, i) in enumerate(characters):
        if character != _BROKEN:
            kept.append((character, i))
            continue
        before = _WORD_BEFORE.search(text, max(0, at - _MAX_WORD), at)
        after = _WORD_AFTER.match(text, at + 1, at + 1 + _MAX_WORD)
        left, right = before[0] if before else "", after[0] if after else ""
        put_in = left[-1:].isalpha() and right[:1].islower()
        address = _ADDRESS.search(text, max(0, at - _MAX_WORD), at)
        if right in _CONJUNCTIONS:  # As in "pre- and post-war": two words, parted by a line's end.
            kept += [("-", i), ("\n", _ADDED)]
        elif not put_in or address or f"{left}-{right}".lower() in known:
            kept.append(("-", i))
    return kept


def _paragraph_ends(page: Any, textpage: Any, lines: Sequence[Sequence[_Placed]]) -> list[bool]:
    """Whether each line is its paragraph's last, by its distance to the next and their fonts."""
    import pypdfium2.raw as pdfium

    visible = [[i for c, i in line if not c.isspace()] for line in lines]
    # Broken words make one line of several, which begins higher on the page than it ends. Sizes
    # are those at the ends, since notes' numbers and drop capitals stand at the beginnings.
    firsts = [_height(page, textpage, line[0]) if line else None for line in visible]
    lasts = [_height(page, textpage, line[-1]) if line else None for line in visible]
    page_height = page.get_height()
    sizes = [pdfium.FPDFText_GetFontSize(textpage, line[-1]) if line else 0.0 for line in visible]
    gaps = [
        below - above if above is not None and below is not None else 0.0
        for above, below in zip(lasts, firsts[1:], strict=False)
    ]
    # Upwards is the next column, where the paragraph may go on.
    usual = statistics.median_low([gap for gap in gaps if gap > 0] or [0.0])
    ends = [
        (gap > _PARAGRAPH_GAP * usual and gap * page_height > _LARGE_TYPE_GAP * other)
        or abs(one - other) > _FONT_CHANGE * max(one, other)
        for gap, (one, other) in zip(gaps, pairwise(sizes), strict=True)
    ]
    return [*ends, False][: len(lines)]


def _height(page: Any, textpage: Any, index: int) -> float:
    """How far down the displayed page a character stands."""
    import pypdfium2.raw as pdfium

    x, y = ctypes.c_double(), ctypes.c_double()
    pdfium.FPDFText_GetCharOrigin(textpage, index, x, y)
    return _displayed(page, x.value, y.value)[1]


def _lines(page: Any, number: int, indices: Sequence[int]) -> Iterator[Box]:
    """A box for each run of these characters that stands on one line."""
    import pypdfium2.raw as pdfium

    textpage = page.get_textpage()
    try:
        run: list[Box] = []
        baseline = 0.0
        for i in indices:
            if i == _ADDED:
                continue
            left, right, bottom, top = (ctypes.c_double() for _ in range(4))
            pdfium.FPDFText_GetCharBox(textpage, i, left, right, bottom, top)
            if left.value == right.value:
                continue  # A space that PDFium put in.
            one = _displayed(page, left.value, bottom.value)
            other = _displayed(page, right.value, top.value)
            (x0, x1), (y0, y1) = sorted((one[0], other[0])), sorted((one[1], other[1]))
            box = Box(number, x0, y0, x1, y1)
            before, baseline = baseline, _height(page, textpage, i)
            if run:
                tallest = max(held.bottom - held.top for held in (*run, box))
                if abs(baseline - before) > _DOWN * tallest or box.right < run[-1].left:
                    yield _union(run)
                    run = []
            run.append(box)
        if run:
            yield _union(run)
    finally:
        textpage.close()


def _displayed(page: Any, x: float, y: float) -> tuple[float, float]:
    """A place as fractions of the displayed page, from its top left, its rotation applied."""
    import pypdfium2.raw as pdfium

    right, down = ctypes.c_int(), ctypes.c_int()
    pdfium.FPDF_PageToDevice(page, 0, 0, _DEVICE, _DEVICE, 0, x, y, right, down)
    return right.value / _DEVICE, down.value / _DEVICE


def _union(run: Sequence[Box]) -> Box:
    return Box(
        run[0].page,
        min(box.left for box in run),
        min(box.top for box in run),
        max(box.right for box in run),
        max(box.bottom for box in run),
    )


def _has_image(page: Any) -> bool:
    import pypdfium2.raw as pdfium

    return any(
        item.type == pdfium.FPDF_PAGEOBJ_IMAGE for item in page.get_objects(max_depth=_IMAGE_DEPTH)
    )


def _metadata(pdf: Any, key: str) -> str:
    """What the file states under the key; pypdfium2's own method fails on half a character."""
    import pypdfium2.raw as pdfium

    length = pdfium.FPDF_GetMetaText(pdf, key.encode(), None, 0)
    buffer = ctypes.create_string_buffer(length)
    pdfium.FPDF_GetMetaText(pdf, key.encode(), buffer, length)
    return buffer.raw.decode("utf-16-le", "surrogatepass").rstrip("\0")


def _pages(count: int) -> str:
    return "one page has" if count == 1 else f"{count} pages have"


def _note(scanned: Sequence[int]) -> str | None:
    """What to say of pages that are images without text."""
    if not scanned:
        return None
    listed = ", ".join(str(number) for number in scanned[:_MAX_LISTED_PAGES])
    if len(scanned) > _MAX_LISTED_PAGES:
        listed += f" and {len(scanned) - _MAX_LISTED_PAGES} more"
    which = f"page {listed} is" if len(scanned) == 1 else f"pages {listed} are"
    return f"{which} scanned, without a text layer; the other pages were read"
