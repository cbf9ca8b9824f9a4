"""HTML pages: the main text, by trafilatura; all that is visible where it finds little."""

import codecs
import re
from typing import Any

from corpus.blocks import Blocks
from corpus.errors import LoadError
from corpus.extract import Columns, Extract, Reading
from corpus.text import decode, headline, stated_title

__all__ = ["looks_like_html", "read_html"]

_SNIFFED = 2048
_BEGINNING = re.compile(
    rb"(\xef\xbb\xbf)?\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*<(!doctype\s+html|html)[\s>]",
    re.IGNORECASE | re.DOTALL,
)
_CHARSET = re.compile(rb"<meta[^>]+charset\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)
_XML_DECLARATION = re.compile(r"\A\ufeff?\s*<\?xml[^>]*>")
_ENCODING = re.compile(rb"\A\s*<\?xml[^>]+encoding\s*=\s*[\"']([\w.:-]+)", re.IGNORECASE)
_SHARE = 0.25
"""What trafilatura finds is too little when it is less than this part of all that is visible:
menus and footers seldom outweigh an article four to one."""

# trafilatura's own names for what it found, and HTML's for all the rest.
_BLOCKS = {
    "p", "head", "quote", "list", "table", "div", "ab", "fw", "formula", "figure",
    "address", "article", "aside", "blockquote", "body", "button", "caption", "center", "dd",
    "details", "dialog", "dl", "dt", "fieldset", "figcaption", "footer", "form", "h1", "h2", "h3",
    "h4", "h5", "h6", "header", "hr", "legend", "main", "nav", "ol", "option", "pre", "section",
    "select", "summary", "textarea", "title", "ul",
}  # fmt: skip
_ITEMS = {"item", "li"}
_ROWS = {"row", "tr"}
_CELLS = {"cell", "td", "th"}
_BREAKS = {"lb", "br"}
_VERBATIM = {"pre", "textarea"}
_UNSEEN = frozenset({"head", "iframe", "noscript", "object", "script", "style", "svg", "template"})


def looks_like_html(data: bytes) -> bool:
    """Whether the file begins as an HTML page does."""
    return _BEGINNING.match(data[:_SNIFFED]) is not None


def read_html(data: bytes, _: Columns) -> Reading:
    """The page's main text, with its tables, title and date.

    Raises:
        LoadError: it has no text, or cannot be decoded.
    """
    from trafilatura import bare_extraction, load_html

    page, encoding, _guessed = decode(data, _declared(data))
    # lxml refuses a declaration of an encoding in what is decoded already.
    page = _XML_DECLARATION.sub("", page)
    tree = load_html(page)
    if tree is None:
        raise LoadError("has no text: there is nothing of HTML in it")
    # It changes the tree that it is given.
    visible = _visible(tree)
    found = bare_extraction(
        page, include_comments=True, include_tables=True, favor_recall=True, with_metadata=True
    )
    main = ""
    if found is not None and not isinstance(found, dict):
        parts = [found.body, found.commentsbody]
        main = "\n\n".join(filter(None, (_text(part) for part in parts if part is not None)))
    text = main if len(main) >= _SHARE * len(visible) else visible
    title = getattr(found, "title", None) or tree.findtext(".//title") or ""
    extract = Extract(
        text,
        title=stated_title(title) or headline(text),
        date=getattr(found, "date", None),
        encoding=encoding,
    )
    return Reading([extract])


def _visible(tree: Any) -> str:
    """All text of the page that a browser would show."""
    body = tree.find(".//body")
    return _text(tree if body is None else body, unseen=_UNSEEN)


def _text(root: Any, unseen: frozenset[str] = frozenset()) -> str:
    """The text of all elements under the root, in order."""
    from lxml import etree

    blocks = Blocks()
    verbatim = 0
    walk = etree.iterwalk(root, events=("start", "end", "comment", "pi"))
    for event, element in walk:
        tag = element.tag if isinstance(element.tag, str) else ""
        if event == "start":
            if tag in unseen and element is not root:
                walk.skip_subtree()
                continue
            _open(blocks, tag)
            verbatim += tag in _VERBATIM
            blocks.add(element.text, verbatim=verbatim > 0)
            continue
        if event == "end" and not (tag in unseen and element is not root):
            verbatim -= tag in _VERBATIM
            _close(blocks, tag)
        if element is not root:
            blocks.add(element.tail, verbatim=verbatim > 0)
    return blocks.text()


def _open(blocks: Blocks, tag: str) -> None:
    if tag in _ROWS:
        blocks.start_row()
    elif tag in _CELLS:
        blocks.start_cell()
    elif tag in _BREAKS:
        blocks.line_break()
    elif tag in _ITEMS:
        blocks.end(tight=True)
    elif tag in _BLOCKS:
        blocks.end()


def _close(blocks: Blocks, tag: str) -> None:
    if tag in _ROWS:
        blocks.end_row()
    elif tag in _BLOCKS:
        blocks.end()
    elif tag in _ITEMS:
        blocks.end(tight=True)


def _declared(data: bytes) -> str | None:
    """The codec that the page says it is in; browsers take Latin-1 for Windows' superset of it."""
    match = _ENCODING.match(data) or _CHARSET.search(data[:_SNIFFED])
    if match is None:
        return None
    try:
        name = codecs.lookup(match[1].decode("ascii")).name
    except LookupError:
        return None
    return "cp1252" if name in ("iso8859-1", "ascii") else name
