"""Word's files: DOCX, and its siblings with macros and for templates.

python-docx is not used to read them: it refuses the siblings, leaves out tracked
insertions and what stands in content controls, and makes up properties.
"""

import io
import unicodedata
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
_SYMBOL = {"sym", "symEx"}
_CHARACTERS = {
    "tab": "\t", "ptab": "\t",
    "noBreakHyphen": "-",
    "den": "/",  # what a fraction is divided by, which comes after its numerator
}  # fmt: skip
_SYMBOLS = {
    "Symbol": {
        start + at: character
        for start, characters in (
            (0x20, " !∀#∃%&∋()∗+,−./0123456789:;<=>?≅ΑΒΧΔΕΦΓΗΙϑΚΛΜΝΟΠΘΡΣΤΥςΩΞΨΖ[∴]⊥_‾"),
            (0x61, "αβχδεφγηιϕκλµνοπθρστυϖωξψζ{|}∼"),
            (0xA0, "€ϒ′≤⁄∞ƒ♣♦♥♠↔←↑→↓°±″≥×∝∂•÷≠≡≈…"),
            (0xBE, "—↵ℵℑℜ℘⊗⊕∅∩∪⊃⊇⊄⊂⊆∈∉∠∇®©™∏√⋅¬∧∨⇔⇐⇑⇒⇓◊〈®©™∑"),
            (0xF1, "〉∫"),
        )
        for at, character in enumerate(characters)
    },
    # What Word itself makes of arrows that are typed as -->
    "Wingdings": {0xDF: "←", 0xE0: "→", 0xE7: "⇐", 0xE8: "⇒", 0xF3: "⇔"},
}
"""By font, which characters stand at its places."""
_UNKNOWN = "\ufffd"
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
        parser = etree.XMLParser(
            resolve_entities=False, no_network=True, remove_comments=True, remove_pis=True
        )
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
        elif name in _SYMBOL:
            blocks.add(_symbol(element), verbatim=True)
        elif name in starts:
            starts[name]()
    return blocks.text()


def _symbol(element: Any) -> str:
    """The character of a symbol, which is told by its font and its place there.

    U+FFFD where only that font knows what it looks like.
    """
    from lxml import etree

    told = {etree.QName(name).localname: value for name, value in element.attrib.items()}
    try:
        code = int(told.get("char", ""), 16)
        character = chr(code)
    except (ValueError, OverflowError):
        return _UNKNOWN
    places = _SYMBOLS.get(told.get("font", ""))
    # Its places are numbered as they are, or moved into the range for private use.
    if places and code & ~0xFF in (0, 0xF000):
        return places.get(code & 0xFF, _UNKNOWN)
    return _UNKNOWN if unicodedata.category(character)[0] == "C" else character


def _property(properties: Any, name: str) -> str:
    return ((properties.findtext(f"{{*}}{name}") if properties is not None else "") or "").strip()
