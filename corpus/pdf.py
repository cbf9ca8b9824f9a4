"""The text of PDF files, character by character.

Every character of the text keeps its index in PDFium's own numbering of the
page, from which its place on the page follows. Text is taken in the order of
the page's content. Forms, annotations and text within images are not read.
"""

import cmath
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

from corpus.errors import LoadError
from corpus.extract import Columns, Extract, Reading
from corpus.pdfium import Page, opened
from corpus.text import headline, stated_day, stated_title

__all__ = ["ADDED", "NEW_LINE", "PageText", "page_text", "read_pdf"]

_Placed: TypeAlias = tuple[str, int]
"""A character with PDFium's index of it on its page."""
ADDED = -1
"""The index of a character that PDFium does not have."""

_BREAK_CODES = (0x02, 0xFFFE)
"""What PDFium reports for a hyphen at the end of a line; it leaves the line's end out."""
_BROKEN = "\x02"
_HIGH, _LOW = range(0xD800, 0xDC00), range(0xDC00, 0xE000)
"""The first and the second half of a character beyond the first plane, in UTF-16."""
_HYPHENATED = re.compile(r"\w+-\w+")
_WORD_BEFORE = re.compile(r"\w*\Z")
_WORD_AFTER = re.compile(r"\w*")
_ADDRESS = re.compile(r"[/@]\S*\Z|\w\.\w\S*\Z")
_CONJUNCTIONS = {"and", "or", "to", "und", "oder", "bis", "et", "ou", "y", "o", "e", "en", "of"}
_MAX_WORD = 64
_VERTICAL_FROM = "\u2e80"
"""From here on are the characters of East Asia, which may stand below each other in one line."""
_BACK, NEW_LINE = 0.1, 0.5
"""A line begins where a character stands no further on than so much of its size, and so much
lower."""
_LINE = re.compile(r"[^\n]*\n|[^\n]+")

_PARAGRAPH_GAP = 1.35
_LARGE_TYPE_GAP = 1.5
"""Lines further apart than so many times the page's usual distance end a paragraph, unless they
are merely in large type: further apart than so many times their own font size. Typeset paragraphs
stand 1.5 lines apart or more, and lines within one seldom more than 1.45 sizes."""
_FONT_CHANGE = 0.1
"""And so do lines whose font sizes differ by more than this part: headings, captions, notes."""

_MAX_LISTED_PAGES = 8


@dataclass(frozen=True, slots=True)
class PageText:
    """A page's text with PDFium's index of each of its characters."""

    text: str
    indices: Sequence[int]
    """As long as the text; `ADDED` for characters that the page does not have."""


def read_pdf(data: bytes, _: Columns) -> Reading:
    """The text of all pages, joined by form feeds.

    Raises:
        LoadError: it is damaged, needs a password, or has no text layer.
    """
    with opened(data) as pdf:
        texts: list[str] = []
        scanned: list[int] = []
        for number in range(1, len(pdf) + 1):
            with pdf.page(number) as page:
                text = page_text(page).text
                texts.append(text)
                if not text.strip() and page.has_image():
                    scanned.append(number)
        title, made = pdf.metadata("Title"), pdf.metadata("CreationDate")
    text = "\f".join(texts)
    if not text.strip():
        raise LoadError(
            f"is scanned: its {_pages(len(texts))} no text layer; it needs OCR first,"
            " such as `ocrmypdf`"
            if scanned
            else f"has no text: its {_pages(len(texts))} none"
        )
    starts = [0]
    for before in texts[:-1]:
        starts.append(starts[-1] + len(before) + 1)
    extract = Extract(
        text,
        title=stated_title(title) or headline(text),
        date=stated_day(made),
        page_starts=tuple(starts),
    )
    return Reading([extract], _note(scanned))


def page_text(page: Page) -> PageText:
    """The page's text: its lines, paragraphs parted by blank lines, broken words made whole."""
    characters = _mended(_parted(page, _decoded(page.codes())))
    lines = [
        characters[line.start() : line.end()]
        for line in _LINE.finditer("".join(character for character, _ in characters))
    ]
    placed: list[_Placed] = []
    for line, ends_paragraph in zip(lines, _paragraph_ends(page, lines), strict=True):
        placed += line
        if ends_paragraph:
            placed.append(("\n", ADDED))
    return PageText("".join(c for c, _ in placed), [i for _, i in placed])


def _decoded(codes: Sequence[int]) -> list[_Placed]:
    """The characters that these codes mean."""
    characters: list[_Placed] = []
    for i, code in enumerate(codes):
        # One character may be two of PDFium's, as in UTF-16; it has the place of the second.
        before, after = codes[i - 1] if i else 0, codes[i + 1] if i + 1 < len(codes) else 0
        if code in _HIGH and after in _LOW:
            continue
        if code in _LOW and before in _HIGH:
            code = 0x10000 + ((before - _HIGH.start) << 10) + (code - _LOW.start)
        if code in _BREAK_CODES:
            characters.append((_BROKEN, i))
        elif code in _HIGH or code in _LOW:
            characters.append(("\ufffd", i))  # Half of one.
        elif code in (0x09, 0x0A) or 0x20 <= code < 0x7F or 0xA0 <= code <= 0x10FFFF:
            characters.append((chr(code), i))
        # What is left are control characters: PDFium ends a line with two, and passes on others.
    return characters


def _parted(page: Page, characters: list[_Placed]) -> list[_Placed]:
    """The characters with line ends where PDFium leaves them out, as after a line of one character.

    A column of figures would else be one number.
    """
    kept: list[_Placed] = []
    last: complex | None = None
    for character, i in characters:
        if character.isspace() or character == _BROKEN or character >= _VERTICAL_FROM:
            last = None
        else:
            place = page.origin(i)
            if last is not None and _begins_line(page, i, place - last):
                kept.append(("\n", ADDED))
            last = place
        kept.append((character, i))
    return kept


def _begins_line(page: Page, index: int, step: complex) -> bool:
    """Whether the step to this character leads back and into another line, as the text runs."""
    if step.real > 0 and abs(step.imag) < step.real:
        return False  # Onwards, as nearly all text goes.
    size = page.font_size(index)
    step *= cmath.exp(-1j * page.angle(index))
    return step.real <= _BACK * size and abs(step.imag) > NEW_LINE * size


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
            kept += [("-", i), ("\n", ADDED)]
        elif not put_in or address or f"{left}-{right}".lower() in known:
            kept.append(("-", i))
    return kept


def _paragraph_ends(page: Page, lines: Sequence[Sequence[_Placed]]) -> list[bool]:
    """Whether each line is its paragraph's last, by its distance to the next and their fonts."""
    visible = [[i for c, i in line if not c.isspace()] for line in lines]
    # Broken words make one line of several, which begins higher on the page than it ends. Sizes
    # are those at the ends, since notes' numbers and drop capitals stand at the beginnings.
    firsts = [page.down(line[0]) if line else None for line in visible]
    lasts = [page.down(line[-1]) if line else None for line in visible]
    _, page_height = page.size
    sizes = [page.font_size(line[-1]) if line else 0.0 for line in visible]
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
