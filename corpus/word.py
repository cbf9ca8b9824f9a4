"""Word's files: DOCX, and its siblings with macros and for templates.

python-docx is not used to read them: it refuses the siblings, leaves out tracked
insertions and what stands in content controls, and makes up properties.
"""

import io
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from corpus.blocks import Blocks
from corpus.errors import LoadError
from corpus.extract import Columns, Extract, Reading
from corpus.text import headline, stated_day, stated_title

__all__ = ["looks_like_docx", "read_docx"]

_MAIN_PART = "word/document.xml"
_RELATIONSHIPS = "_rels/.rels"
_PROPERTIES = "docProps/core.xml"
_MAX_UNPACKED = 256 * 2**20

# Names without their namespaces, of which there are two: of the usual kind of file and of the
# strict one. The names are unambiguous within a document's body.
_TEXT = {"t"}
_CHARACTERS = {"tab": "\t", "noBreakHyphen": "-"}
_LEFT_OUT = {
    "del", "moveFrom",  # tracked as deleted
    "Fallback",  # for programs that do not know the newer form before it
    "rt",  # the reading printed above a word
    "pPr", "rPr", "tblPr", "trPr", "tcPr", "sectPr", "sdtPr",
}  # fmt: skip


def looks_like_docx(data: bytes) -> bool:
    """Whether this is a zip container with a Word document in it."""
    if not data.startswith(b"PK\x03\x04"):
        return False
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as container:
            return any(name.startswith("word/document") for name in container.namelist())
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
        return False


def read_docx(data: bytes, _: Columns) -> Reading:
    """The body in order, with its tables, text boxes and fields; deleted text is not in it.

    Headers, footers, notes and comments are parts of their own and are not read.

    Raises:
        LoadError: it is damaged, unpacks to too much, or has no text.
    """
    with _container(data) as container:
        name = _main_part(container)
        body = _parsed(container, name).find("{*}body")
        if body is None:
            raise LoadError(f"is a damaged DOCX file: {name} has no body")
        properties = None
        with suppress(LoadError):  # Without its properties a document can still be read.
            properties = _parsed(container, _PROPERTIES)
    text = _text(body)
    extract = Extract(
        text,
        title=stated_title(_property(properties, "title")) or headline(text),
        date=stated_day(_property(properties, "modified"))
        or stated_day(_property(properties, "created")),
    )
    return Reading([extract])


@contextmanager
def _container(data: bytes) -> Iterator[zipfile.ZipFile]:
    """The zip container, unless it would unpack to more than memory should hold."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as container:
            unpacked = sum(entry.file_size for entry in container.infolist())
            if unpacked > _MAX_UNPACKED:
                raise LoadError(
                    f"unpacks to {unpacked / 2**20:,.0f} MB, more than"
                    f" {_MAX_UNPACKED / 2**20:,.0f}; it may be made to fill the memory"
                )
            yield container
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
        raise LoadError(f"is a damaged DOCX file: {error}") from error


def _main_part(container: zipfile.ZipFile) -> str:
    """The name of the part with the body, which the container's relationships tell."""
    with suppress(LoadError):
        for relationship in _parsed(container, _RELATIONSHIPS).iter("{*}Relationship"):
            if relationship.get("Type", "").endswith("/officeDocument"):
                return str(relationship.get("Target", _MAIN_PART)).removeprefix("/")
    return _MAIN_PART


def _parsed(container: zipfile.ZipFile, name: str) -> Any:
    """The root of one of its parts."""
    from lxml import etree

    try:
        entry = container.getinfo(name)
        with container.open(entry) as stream:
            # Never more than the directory says, whatever comes out.
            content = stream.read(entry.file_size + 1)
        if len(content) > entry.file_size:
            raise LoadError(f"is a damaged DOCX file: {name} is larger than it says")
        # Entities are how a small file becomes a huge one, and the format forbids them.
        parser = etree.XMLParser(resolve_entities=False, no_network=True)
        root = etree.fromstring(content, parser)
        if root.getroottree().docinfo.internalDTD is not None:
            raise LoadError(f"is a damaged DOCX file: {name} declares entities, as none may")
        return root
    except etree.XMLSyntaxError as error:
        if not error.lineno:  # What libxml2 says when there is no memory left.
            raise MemoryError from error
        raise LoadError(f"is a damaged DOCX file: {name}: {error}") from error
    except KeyError:
        raise LoadError(f"is a damaged DOCX file: it has no {name}") from None
    except (
        zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError,
        RuntimeError, ValueError, OSError,
    ) as error:  # fmt: skip
        raise LoadError(f"is a damaged DOCX file: {name}: {error}") from error


def _text(body: Any) -> str:
    from lxml import etree

    blocks = Blocks()
    starts: dict[str, Callable[[], None]] = {
        "tr": blocks.start_row,
        "tc": blocks.start_cell,
        "txbxContent": blocks.end,
        "br": blocks.line_break,
        "cr": blocks.line_break,
    }
    ends: dict[str, Callable[[], None]] = {
        "p": blocks.end,
        "tr": blocks.end_row,
        "tc": blocks.end_cell,
    }
    walk = etree.iterwalk(body, events=("start", "end"))
    for event, element in walk:
        name = etree.QName(element).localname
        if event == "end":
            if name in ends:
                ends[name]()
        elif name in _LEFT_OUT:
            walk.skip_subtree()
        elif name in _TEXT:
            blocks.add(element.text, verbatim=True)
        elif name in _CHARACTERS:
            blocks.add(_CHARACTERS[name], verbatim=True)
        elif name in starts:
            starts[name]()
    return blocks.text()


def _property(properties: Any, name: str) -> str:
    return ((properties.findtext(f"{{*}}{name}") if properties is not None else "") or "").strip()
