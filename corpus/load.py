"""Files to documents. Nothing is decoded with errors ignored, and the codec is recorded.

The text of a .txt or .md file is its bytes decoded: newlines stay as they are,
a byte order mark stays, Markdown keeps its markup. So every offset in the text
is a place in the file.
"""

import codecs
import hashlib
import re
from pathlib import Path

from corpus.errors import LoadError
from corpus.records import Document, document_id

__all__ = ["LOADER", "load"]

LOADER = "text/1"
"""Goes up whenever the same bytes would give another text."""

_TEXT_SUFFIXES = {".txt", ".md", ".markdown", ".text", ".rst"}
_OTHER_FORMATS = {
    b"%PDF-": "a PDF file",
    b"PK\x03\x04": "a zip container (DOCX, XLSX, EPUB or an archive)",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"\x1f\x8b": "a gzip archive",
    b"\xd0\xcf\x11\xe0": "an old Office file",
    b"\x7fELF": "a program",
    b"SQLite format 3": "an SQLite database",
}
# UTF-32 first: its little-endian mark starts with UTF-16's.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_WESTERN = "cp1252"
_MISTAKEN_FOR_WESTERN = {
    "cp1250", "cp1257", "cp775", "cp852", "hp_roman8", "iso8859_2", "iso8859_4", "iso8859_10",
    "iso8859_13", "iso8859_16", "mac_latin2",
}  # fmt: skip
"""What charset-normalizer answers for short French, Spanish or English text in cp1252. True Polish
or Czech text is implausible as cp1252, and then it is not overruled."""
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_HEADING = re.compile(r"#{1,6}\s+(?P<title>.+?)\s*#*\s*$")
_TITLE_CHARS = 120


def load(path: Path) -> list[Document]:
    """The documents in the file: one, for text and Markdown.

    Args:
        path: an absolute path.

    Raises:
        LoadError: the file cannot be read, is no text, or is empty.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise LoadError(f"cannot be read: {error.strerror}") from error
    text, encoding = _decode(data, known_text=path.suffix.lower() in _TEXT_SUFFIXES)
    if not text.strip("\ufeff \t\r\n\f\v"):
        raise LoadError("has no text: the file is empty or holds only white space")
    document = Document(
        id=document_id(path),
        source=path,
        row=None,
        title=_title(text) or path.stem,
        text=text,
        sha256=hashlib.sha256(data).hexdigest(),
        loader=LOADER,
        encoding=encoding,
    )
    return [document]


def _decode(data: bytes, *, known_text: bool) -> tuple[str, str]:
    """The text and the codec it was decoded with, strictly."""
    for signature, what in _OTHER_FORMATS.items():
        if data.startswith(signature):
            raise LoadError(f"is {what}, which this version does not read")
    codec = next((codec for mark, codec in _MARKS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(codec)
    except UnicodeDecodeError as error:
        if codec != "utf-8":
            raise LoadError(f"starts like {codec} but is not: {error.reason}") from error
        codec = _legacy_codec(data, error)
        text = data.decode(codec)
        known_text = False  # A guessed codec has to prove itself by the text it gives.
    if not known_text and (control := _CONTROL.search(text)):
        raise LoadError(
            f"is not text: it has the control character U+{ord(control[0]):04X}"
            f" at character {control.start()}"
        )
    return _whole(text), codec


def _legacy_codec(data: bytes, error: UnicodeDecodeError) -> str:
    """The codec that most likely wrote these bytes, which are not UTF-8."""
    from charset_normalizer import from_bytes

    matches = from_bytes(data)
    best = matches.best()
    if best is None:
        raise LoadError(
            f"is not UTF-8 (byte {data[error.start]:#04x} at {error.start}) and no other"
            " encoding fits; save it as UTF-8"
        )
    plausible = {codec for match in matches for codec in match.could_be_from_charset}
    if best.encoding in _MISTAKEN_FOR_WESTERN and _WESTERN in plausible:
        return _WESTERN
    return best.encoding


def _whole(text: str) -> str:
    """The text with lone surrogates, which no encoder accepts, as U+FFFD, one for one."""
    return _SURROGATE.sub("\ufffd", text)


def _title(text: str) -> str | None:
    """The first heading or headline: a short first line that is no sentence."""
    first, _, rest = text.lstrip("\ufeff \t\r\n").partition("\n")
    first = first.strip()
    if heading := _HEADING.match(first):
        return heading["title"]
    if (
        rest.strip()
        and len(first) <= _TITLE_CHARS
        and not first.endswith((".", "!", ":", ",", ";"))
    ):
        return first or None
    return None
