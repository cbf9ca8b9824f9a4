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
    for mark, codec in _MARKS:
        if data.startswith(mark):
            try:
                return _whole(data.decode(codec)), codec
            except UnicodeDecodeError as error:
                raise LoadError(f"starts like {codec} but is not: {error.reason}") from error
    try:
        text, codec = data.decode("utf-8"), "utf-8"
    except UnicodeDecodeError as error:
        text, codec = _decode_legacy(data, error)
        known_text = False  # A guessed codec has to prove itself by the text it gives.
    if not known_text and (control := _CONTROL.search(text)):
        raise LoadError(
            f"is not text: it has the control character U+{ord(control[0]):04X}"
            f" at character {control.start()}"
        )
    return _whole(text), codec


def _decode_legacy(data: bytes, error: UnicodeDecodeError) -> tuple[str, str]:
    from charset_normalizer import from_bytes

    best = from_bytes(data).best()
    if best is None:
        raise LoadError(
            f"is not UTF-8 (byte {data[error.start]:#04x} at {error.start}) and no other"
            " encoding fits; save it as UTF-8"
        )
    return data.decode(best.encoding), best.encoding


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
