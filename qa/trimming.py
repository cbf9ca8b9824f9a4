"""Which characters of a document a span of the reader's is: trimmed, and of one piece."""

import re

from corpus.blocks import CELL_END
from corpus.records import Document
from corpus.split import PARAGRAPH_END

__all__ = ["crosses", "trimmed"]

_WITH_TABLES = {"html", "docx"}
_LINE_MARKUP = re.compile(r"(?:#{1,6}|>|\||[-*+])\s+")
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
        if match := _LINE_MARKUP.match(quote):
            start += match.end()
        elif len(quote) > 1 and quote[0] == quote[-1] == "`":
            return start + 1, end - 1  # Inside, everything is meant.
        elif len(quote) > 1 and quote[0] == quote[-1] and quote[0] in _MARKUP_PAIRS:
            start, end = start + 1, end - 1
        elif quote[0] in _MARKUP_SINGLE:
            start += 1
        elif quote[-1] in _MARKUP_SINGLE or quote.endswith(" |"):
            end -= 1
        else:
            return start, end


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
