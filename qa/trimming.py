"""Which characters of a document a span of the reader's is: trimmed, and of one piece."""

import re

from corpus.blocks import CELL_END
from corpus.records import Document
from corpus.split import PARAGRAPH_END

__all__ = ["crosses", "trimmed"]

_WITH_TABLES = {"html", "docx"}
_LINE_MARKUP = re.compile(r"(?:#{1,6}|>|[-*+])\s+")
"""What begins a line, and means what it says elsewhere: "> 5 mm"."""
_LINE_START = re.compile(r"[\s>#*+|-]*")
_CELL = re.compile(r"\|\s+")
_MARKUP_PAIRS = "*_~"
_MARKUP_SINGLE = "*`"


def trimmed(text: str, start: int, end: int, *, markdown: bool) -> tuple[int, int]:
    """The span without white space at its ends, nor Markdown's own signs."""
    while True:
        quote = text[start:end]
        left = len(quote) - len(quote.lstrip())
        right = len(quote.rstrip())
        quote = quote[left:right]
        start, end = start + left, start + max(left, right)
        if not markdown or not quote:
            return start, end
        first, last = quote[0], quote[-1]
        before = text[text.rfind("\n", 0, start) + 1 : start]
        if match := _CELL.match(quote) or (
            _LINE_START.fullmatch(before) and _LINE_MARKUP.match(quote)
        ):
            start += match.end()
        elif len(quote) > 1 and first == last == "`" and "`" not in quote[1:-1]:
            return start + 1, end - 1  # Inside, everything is meant.
        elif len(quote) > 1 and first == last and first in _MARKUP_PAIRS and _is_outer(quote):
            start, end = start + 1, end - 1
        elif first in _MARKUP_SINGLE and _is_outer(quote):
            start += 1
        elif (last in _MARKUP_SINGLE and _is_outer(quote[::-1])) or quote.endswith(" |"):
            end -= 1
        else:
            return start, end


def _is_outer(quote: str) -> bool:
    """Whether the sign that the quote begins with has no partner within it: `a` and `b` have."""
    return quote[0] not in quote.strip(quote[0])


def crosses(document: Document, start: int, end: int) -> bool:
    """Whether `document.text[start:end]` begins in one paragraph or table cell and ends in another.

    The cells of a row that is a document begin where its lines are anchored; in
    other tables they are parted as the loaders part them.
    """
    if PARAGRAPH_END.search(document.text, start, end):
        return True
    if document.row is not None:
        return any(start < at < end for at, _ in document.line_anchors)
    return document.kind in _WITH_TABLES and CELL_END in document.text[start:end]
