"""Word's DOCX files, through python-docx. Headers, footers, notes and comments are not read."""

import io
import zipfile
from collections.abc import Callable
from typing import Any

from corpus.blocks import Blocks
from corpus.errors import LoadError
from corpus.extract import Columns, Extract, Reading
from corpus.text import headline, stated_title

__all__ = ["looks_like_docx", "read_docx"]

_MAIN_PART = "word/document.xml"
_MAX_UNPACKED = 256 * 2**20
_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_TEXT = {f"{_W}t", "{http://schemas.openxmlformats.org/officeDocument/2006/math}t"}
_CHARACTERS = {f"{_W}tab": "\t", f"{_W}noBreakHyphen": "-"}
_BREAKS = {f"{_W}br", f"{_W}cr"}
_PARAGRAPH, _ROW, _CELL, _TEXT_BOX = (f"{_W}{name}" for name in ("p", "tr", "tc", "txbxContent"))
_LEFT_OUT = {
    f"{_W}del",
    f"{_W}moveFrom",
    # What programs show that do not know the newer form before it.
    "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback",
}


def looks_like_docx(data: bytes) -> bool:
    """Whether this is a zip container with a Word document in it."""
    if not data.startswith(b"PK\x03\x04"):
        return False
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as container:
            return _MAIN_PART in container.namelist()
    except (zipfile.BadZipFile, ValueError, OSError):
        return False


def read_docx(data: bytes, _: Columns) -> Reading:
    """The body in order, with its tables, text boxes and fields; deleted text is not in it.

    Raises:
        LoadError: it is damaged, unpacks to too much, or has no text.
    """
    import docx
    from docx.opc.exceptions import PackageNotFoundError
    from lxml import etree

    _require_reasonable_size(data)
    try:
        document = docx.Document(io.BytesIO(data))
        text = _text(document.element.body)
    except (
        zipfile.BadZipFile, PackageNotFoundError, etree.XMLSyntaxError, KeyError, ValueError,
        AttributeError,
    ) as error:  # fmt: skip
        raise LoadError(f"is a damaged DOCX file: {error}") from error
    properties = document.core_properties
    made = properties.modified or properties.created
    extract = Extract(
        text,
        title=stated_title(properties.title or "") or headline(text),
        date=made.date().isoformat() if made else None,
    )
    return Reading([extract])


def _require_reasonable_size(data: bytes) -> None:
    """Refuse what would unpack to more than memory should hold."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as container:
            unpacked = sum(entry.file_size for entry in container.infolist())
    except zipfile.BadZipFile as error:
        raise LoadError(f"is a damaged DOCX file: {error}") from error
    if unpacked > _MAX_UNPACKED:
        raise LoadError(
            f"unpacks to {unpacked / 2**20:,.0f} MB, more than {_MAX_UNPACKED / 2**20:,.0f};"
            " it may be made to fill the memory"
        )


def _text(body: Any) -> str:
    # Not python-docx's own `paragraph.text`, which leaves out what is tracked as inserted and
    # what stands in content controls.
    from lxml import etree

    blocks = Blocks()
    walk = etree.iterwalk(body, events=("start", "end"))
    starts: dict[str, Callable[[], None]] = {
        _ROW: blocks.start_row,
        _CELL: blocks.start_cell,
        _TEXT_BOX: blocks.end,
        **dict.fromkeys(_BREAKS, blocks.line_break),
    }
    ends: dict[str, Callable[[], None]] = {_PARAGRAPH: blocks.end, _ROW: blocks.end_row}
    for event, element in walk:
        tag = element.tag
        if event == "end":
            if tag in ends:
                ends[tag]()
        elif tag in _LEFT_OUT:
            walk.skip_subtree()
        elif tag in _TEXT:
            blocks.add(element.text, verbatim=True)
        elif tag in _CHARACTERS:
            blocks.add(_CHARACTERS[tag], verbatim=True)
        elif tag in starts:
            starts[tag]()
    return blocks.text()
