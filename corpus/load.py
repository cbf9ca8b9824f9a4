"""Files to documents: which loader reads which file.

A loader is chosen by what the file begins with, and only then by its extension,
because extensions lie. To add one, write its function and a line in `LOADERS`.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from corpus.errors import LoadError
from corpus.extract import DEFAULT_COLUMNS, Columns, Reading
from corpus.html import looks_like_html, read_html
from corpus.pdf import read_pdf
from corpus.records import Document, document_id
from corpus.tables import read_csv, read_json_lines
from corpus.text import read_text, read_unknown
from corpus.word import looks_like_docx, read_docx

__all__ = ["LOADERS", "UNREAD", "Loaded", "Loader", "chosen_loader", "is_current", "load"]

_FORMATS = 2
"""Goes up when a format is added: files that were not known for what they are are read anew."""
UNREAD = f"unread/{_FORMATS}"
"""What is recorded as the loader of a file that none reads."""

_NO_TEXT = "has no text: the file is empty or holds only white space"
_ZIP = b"PK\x03\x04"
_NOT_READ = {
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"\x1f\x8b": "a gzip archive; unpack it first",
    b"\xd0\xcf\x11\xe0": "an old Office file, or one with a password; save it as DOCX without one",
    b"{\\rtf": "an RTF file; save it as DOCX",
    b"%!PS": "a PostScript file; save it as PDF",
    b"\x7fELF": "a program",
    b"SQLite format 3": "an SQLite database",
}
_NOT_READ_ZIPS = {
    "xl/workbook": "an Excel workbook; save its sheets as CSV",
    "ppt/presentation": "a PowerPoint presentation; save it as PDF",
    "META-INF/container.xml": "an EPUB book; save it as HTML",
    "content.xml": "an OpenDocument file; save it as DOCX",
}


@dataclass(frozen=True, slots=True)
class Loader:
    """How one format is read."""

    name: str
    version: int
    """Goes up whenever our own code would make another text of the same bytes."""
    read: Callable[[bytes, Columns], Reading]
    """Raises LoadError where the bytes cannot be read."""
    suffixes: frozenset[str] = frozenset()
    recognises: Callable[[bytes], bool] | None = None
    """Whether the content, whatever the file is called, is of this format."""
    uses_columns: bool = False
    assumed: bool = False
    """Whether it reads what no other one knows."""
    libraries: tuple[str, ...] = ()
    """Distributions that read the format, whose other versions may make another text of it.

    charset-normalizer is not among them: it guesses at few files, and all would be read anew.
    """

    def identity(self, columns: Columns) -> str:
        """The loader with all that decides what text it makes of given bytes."""
        identity = f"{self.name}/{self.version}"
        identity += "".join(f" {name}/{_installed(name)}" for name in self.libraries)
        if self.uses_columns and columns != DEFAULT_COLUMNS:
            identity += f" {json.dumps([columns.text, columns.title], ensure_ascii=False)}"
        return f"{identity} {UNREAD}" if self.assumed else identity


@cache
def _installed(distribution: str) -> str:
    """Its version, as its metadata say: the library itself is not imported for that."""
    from importlib.metadata import version

    return version(distribution)


def _suffixes(names: str) -> frozenset[str]:
    return frozenset(f".{name}" for name in names.split())


def _looks_like_pdf(data: bytes) -> bool:
    return data.startswith(b"%PDF-")


LOADERS = (
    Loader("pdf", 2, read_pdf, _suffixes("pdf"), _looks_like_pdf, libraries=("pypdfium2",)),
    Loader("docx", 2, read_docx, _suffixes("docx"), looks_like_docx),
    Loader(
        "html", 2, read_html, _suffixes("html htm xhtml"), looks_like_html,
        libraries=("lxml", "trafilatura"),
    ),
    Loader("csv", 2, read_csv, _suffixes("csv tsv"), uses_columns=True),
    Loader("jsonl", 2, read_json_lines, _suffixes("jsonl ndjson"), uses_columns=True),
    Loader("markdown", 2, read_text, _suffixes("md markdown")),
    Loader("text", 2, read_text, _suffixes("txt text rst")),
    Loader("text", 2, read_unknown, assumed=True),
)  # fmt: skip
"""In the order in which they are tried."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a file holds."""

    documents: Sequence[Document]
    note: str | None
    """What in it was left unread, for the user."""


def load(
    path: Path,
    data: bytes,
    columns: Columns = DEFAULT_COLUMNS,
    *,
    loader: Loader | None = None,
    sha256: str | None = None,
) -> Loaded:
    """The documents in the file: a row each in tables, else one.

    Args:
        path: an absolute path, from which ids and titles follow.
        data: the file's bytes.
        columns: which columns of a table to use.
        loader: the chosen one, where it is known already.
        sha256: of the bytes, likewise.

    Raises:
        LoadError: no loader reads it, it is damaged, or it is empty.
    """
    loader = loader or chosen_loader(path, data)
    if not data.strip():
        raise LoadError(_NO_TEXT)
    reading = loader.read(data, columns)
    sha256 = sha256 or hashlib.sha256(data).hexdigest()
    documents = [
        Document(
            id=document_id(path, extract.row),
            source=path,
            row=extract.row,
            title=extract.title
            or (path.stem if extract.row is None else f"{path.stem}, row {extract.row}"),
            text=extract.text,
            sha256=sha256,
            loader=loader.identity(columns),
            encoding=extract.encoding,
            date=extract.date,
            page_starts=extract.page_starts,
            line_anchors=extract.line_anchors,
        )
        for extract in reading.extracts
        if any(not (c.isspace() or c == "\ufeff") for c in extract.text)
    ]
    if not documents:
        raise LoadError(_NO_TEXT)
    return Loaded(documents, reading.note)


def chosen_loader(path: Path, data: bytes) -> Loader:
    """The loader for this content, or else for this extension.

    Raises:
        LoadError: it is of a format that none reads.
    """
    suffix = path.suffix.lower()
    for loader in LOADERS:
        if loader.recognises and loader.recognises(data):
            return loader
    _refuse_other_formats(data, suffix)
    return next((loader for loader in LOADERS if suffix in loader.suffixes), LOADERS[-1])


def is_current(identity: str, columns: Columns) -> bool:
    """Whether a file that was read by this loader would be read by the same one today."""
    return identity == UNREAD or any(identity == loader.identity(columns) for loader in LOADERS)


def _refuse_other_formats(data: bytes, suffix: str) -> None:
    for signature, what in _NOT_READ.items():
        if data.startswith(signature):
            raise LoadError(f"is {what}")
    if data.startswith(_ZIP) and suffix != ".docx":
        try:
            names = zipfile.ZipFile(io.BytesIO(data)).namelist()
        except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
            raise LoadError(f"is a damaged zip archive: {error}") from error
        for beginning, what in _NOT_READ_ZIPS.items():
            if any(name.startswith(beginning) for name in names):
                raise LoadError(f"is {what}")
        raise LoadError("is a zip archive; unpack it first")
