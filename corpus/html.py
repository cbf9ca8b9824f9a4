"""HTML pages: the main text, by trafilatura; all that is visible where it finds little."""

import codecs
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import deepcopy
from functools import partial
from typing import Any, NamedTuple

from corpus.blocks import CELL_END, Blocks
from corpus.errors import LoadError
from corpus.extract import Columns, Extract, Reading
from corpus.text import decode, headline, stated_title, whole

__all__ = ["looks_like_html", "read_html"]

_SNIFFED = 2048
_BEGINNING = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?(?:<!--(?:[^-]|-(?!->))*-->\s*)*"
    rb"<(?:!doctype\s+html|html)[\s>]",
    re.IGNORECASE,
)
_CHARSET = re.compile(rb"<meta[^>]+charset\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)
_XML_DECLARATION = re.compile(r"\A\ufeff?\s*<\?xml[^>]*>")
_ENCODING = re.compile(rb"\A\s*<\?xml[^>]+encoding\s*=\s*[\"']([\w.:-]+)", re.IGNORECASE)
_AS_BROWSERS_DO = {
    "ascii": "cp1252", "iso8859-1": "cp1252", "iso8859-9": "cp1254", "iso8859-11": "cp874",
    "tis-620": "cp874", "shift_jis": "cp932", "euc_kr": "cp949", "gb2312": "gb18030",
    "gbk": "gb18030",
}  # fmt: skip
"""Codecs whose supersets browsers use in their place (WHATWG Encoding Standard)."""
_DECLARABLE = re.compile(
    r"cp125\d|cp866|cp874|cp932|cp949|iso8859-\d+|koi8-[ru]|mac-(roman|cyrillic)|gb18030|big5"
    r"|euc_jp|iso2022_jp|utf-8"
)
"""The codecs that a page may declare: each says of ASCII what ASCII says, or escapes from it."""
_SHARE = 0.25
"""What stands around trafilatura's finding is too little when it is less than this part of all
that is visible: menus and footers seldom outweigh an article four to one."""

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
_NO_READING = frozenset({"button", "input", "nav", "select", "textarea"})
_HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6", "summary", "dt"}
"""Where a button is the heading itself, which opens what is below it."""
_TELLING = 24
"""So many characters, white space left out, are enough to know a block by; menus' are shorter."""
_MOSTLY = 2.0
"""An element is mostly main text when it is no longer than so many times what was found in it."""
_NEAR = 3
"""A short block belongs to the main text when one at most so many blocks away surely does."""


def looks_like_html(data: bytes) -> bool:
    """Whether the file begins as an HTML page does."""
    return _BEGINNING.match(data[:_SNIFFED]) is not None


def read_html(data: bytes, _columns: Columns) -> Reading:
    """The page's main text, with its tables, title and date.

    Raises:
        LoadError: it has no text, or cannot be decoded.
    """
    from lxml import etree, html
    from trafilatura import bare_extraction

    page, encoding, _ = decode(data, _declared(data))
    # lxml refuses a declaration of an encoding in what is decoded already.
    page = _XML_DECLARATION.sub("", page).replace("\0", "\ufffd").removeprefix("\ufeff")
    parser = html.HTMLParser(huge_tree=True, remove_comments=True, remove_pis=True)
    try:
        tree = html.document_fromstring(page, parser=parser)
    except (etree.ParserError, etree.XMLSyntaxError) as error:
        raise LoadError("has no text: there is nothing of HTML in it") from error
    if any("Excessive depth" in entry.message for entry in parser.error_log):
        raise LoadError("is nested too deeply to be read whole")
    found, main = None, ""
    # Whatever befalls it, all that is visible can still be read.
    with suppress(Exception):
        found = bare_extraction(
            deepcopy(tree),
            include_comments=True,
            include_tables=True,
            favor_recall=True,
            with_metadata=True,
            date_extraction_params={"extensive_search": False, "original_date": True},
        )
    if found is not None and not isinstance(found, dict):
        parts = [found.body, found.commentsbody]
        main = "\n".join(_walk(part).blocks.text() for part in parts if part is not None)
    body = tree.find("body")
    text = whole(_main_text(tree if body is None else body, main))
    title = getattr(found, "title", None) or tree.findtext("head/title") or ""
    extract = Extract(
        text,
        title=stated_title(title) or headline(text),
        date=getattr(found, "date", None),
        encoding=encoding,
    )
    return Reading([extract])


def _main_text(body: Any, main: str) -> str:
    """The part of the page that holds all of what trafilatura found to be its main text.

    That is the smallest element that does (and the `article` or `main` about it, if
    any), unless most of that is something else; then all from the first to the last
    such block. trafilatura's own text loses captions, fact boxes, headings, and what
    stands in no paragraph.
    """
    page = _walk(body, _UNSEEN | _NO_READING)
    at = _recognised(page.blocks.close(), main.split("\n"))
    text = page.blocks.text()
    if at:
        span = page.blocks.text(at[0], at[-1] + 1)
        inside = set(_container([page.elements[i] for i in at]).iter())
        held = [i for i, element in enumerate(page.elements) if element in inside]
        container = page.blocks.text(min(held), max(held) + 1)
        best = container if len(container) <= _MOSTLY * len(span) else span
        if len(_squeezed(best)) >= len(_squeezed(main)):
            text = best
    visible = _walk(body, _UNSEEN).blocks.text()
    return text if len(text) >= _SHARE * len(visible) else visible


def _recognised(blocks: Sequence[str], main: Sequence[str]) -> list[int]:
    """Which of the blocks are part of the main text, whose lines are given.

    Their beginnings or ends show it; with short ones, which a menu may have too,
    only near others.
    """
    lines = {_squeezed(line) for line in main}
    beginnings = {line[:_TELLING] for line in lines}
    ends = {line[-_TELLING:] for line in lines}
    squeezed = [_squeezed(block) for block in blocks]
    telling = [
        len(block) >= _TELLING and (block[:_TELLING] in beginnings or block[-_TELLING:] in ends)
        for block in squeezed
    ]
    return [
        i
        for i, block in enumerate(squeezed)
        if telling[i] or (block in lines and any(telling[max(0, i - _NEAR) : i + _NEAR + 1]))
    ]


def _container(elements: Sequence[Any]) -> Any:
    """The smallest element that holds these, or the `article` or `main` that it is part of."""
    first, *others = elements
    shared = [first, *first.iterancestors()]
    for element in others:
        around = {element, *element.iterancestors()}
        shared = [ancestor for ancestor in shared if ancestor in around]
    named = (ancestor for ancestor in shared if ancestor.tag in ("article", "main"))
    return next(named, shared[0])


def _squeezed(text: str) -> str:
    return "".join(text.split()).replace(CELL_END.strip(), "")


class _Walked(NamedTuple):
    blocks: Blocks
    elements: list[Any]
    """For each block, the element that it is the text of, or part of the text of."""


def _walk(root: Any, unseen: frozenset[str] = frozenset()) -> _Walked:
    """The text of all elements under the root, in order, but for those unseen."""
    from lxml import etree

    blocks = Blocks()
    end_item = partial(blocks.end, tight=True)
    around: dict[str, Callable[[], None]] = {
        **dict.fromkeys(_BLOCKS, blocks.end),
        **dict.fromkeys(_ITEMS, end_item),
    }
    starts: dict[str, Callable[[], None]] = {
        **around,
        **dict.fromkeys(_ROWS, blocks.start_row),
        **dict.fromkeys(_CELLS, blocks.start_cell),
        **dict.fromkeys(_BREAKS, blocks.line_break),
    }
    ends: dict[str, Callable[[], None]] = {
        **around,
        **dict.fromkeys(_ROWS, blocks.end_row),
        **dict.fromkeys(_CELLS, blocks.end_cell),
    }
    elements: list[Any] = []
    verbatim = 0
    walk = etree.iterwalk(root, events=("start", "end"))
    for event, element in walk:
        tag = element.tag
        passed_over = element is not root and (
            (tag in unseen and not _is_heading(element)) or "hidden" in element.attrib
        )
        if event == "start":
            if passed_over:
                walk.skip_subtree()
                continue
            if tag in starts:
                starts[tag]()
            # What ended there belongs to the element around this one.
            elements.extend([element.getparent()] * (len(blocks) - len(elements)))
            verbatim += tag in _VERBATIM
            blocks.add(element.text, verbatim=verbatim > 0)
            continue
        if not passed_over:
            verbatim -= tag in _VERBATIM
            if tag in ends:
                ends[tag]()
            elements.extend([element] * (len(blocks) - len(elements)))
        if element is not root:
            blocks.add(element.tail, verbatim=verbatim > 0)
    blocks.close()
    elements.extend([root] * (len(blocks) - len(elements)))
    return _Walked(blocks, elements)


def _is_heading(element: Any) -> bool:
    return element.tag == "button" and any(
        ancestor.tag in _HEADINGS for ancestor in element.iterancestors()
    )


def _declared(data: bytes) -> str | None:
    """The codec that the page says it is in, as browsers understand it."""
    match = _ENCODING.match(data) or _CHARSET.search(data[:_SNIFFED])
    if match is None:
        return None
    try:
        name = codecs.lookup(match[1].decode("ascii")).name
    except (LookupError, UnicodeError):
        return None
    name = _AS_BROWSERS_DO.get(name, name)
    return name if _DECLARABLE.fullmatch(name) else None
