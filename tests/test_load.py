"""Which loader reads which file: the content decides, then the extension; nothing else escapes."""

import codecs
import hashlib
import io
import zipfile
from pathlib import Path

import docx
import pytest
from conftest import python
from hypothesis import example, given, settings
from hypothesis import strategies as st
from reportlab.pdfgen.canvas import Canvas

from corpus import load as load_module
from corpus.errors import LoadError
from corpus.extract import DEFAULT_COLUMNS, Columns
from corpus.load import LOADERS, UNREAD, Loader, chosen_loader, is_current, load
from corpus.records import document_id


def pdf() -> bytes:
    stream = io.BytesIO()
    canvas = Canvas(stream, invariant=1)
    canvas.setTitle("The title")
    canvas.drawString(72, 700, "Some words of exam-")
    canvas.drawString(72, 686, "ple in a PDF file.")
    canvas.showPage()
    canvas.save()
    return stream.getvalue()


def word() -> bytes:
    document = docx.Document()
    document.add_paragraph("Some words in a Word file.")
    document.add_table(1, 2).rows[0].cells[0].text = "cell"
    stream = io.BytesIO()
    document.save(stream)
    return stream.getvalue()


def zipped(*names: str, method: int = zipfile.ZIP_STORED, content: str = "content") -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as container:
        for name in names:
            container.writestr(name, content)
    return stream.getvalue()


PDF, DOCX = pdf(), word()
HTML = (
    b'<!DOCTYPE html><html><head><meta charset="windows-1252"><title>T</title></head><body>'
    b"<h1>Top</h1><p>Some caf\xe9 words.</p><table><tr><td>a<td>b</table><pre>x\n y</pre></html>"
)
CSV = b'name,note\r\nAda,"She wrote\r\n""it"""\r\nBob;\xe9,\r\n'
JSONL = b'{"a": "x\\u00e9", "b": [1, 2.5, null]}\n{"a": {"c": "\\ud83d\\ude00"}}\n'
TEXT = b"Plain words.\n"
FILES = {".pdf": PDF, ".docx": DOCX, ".html": HTML, ".csv": CSV, ".jsonl": JSONL}


@pytest.mark.parametrize(
    ("name", "data", "loader"),
    [
        ("a.pdf", PDF, "pdf"),
        ("a.dat", PDF, "pdf"),
        ("a.html", PDF, "pdf"),
        ("a.docx", DOCX, "docx"),
        ("a.zip", DOCX, "docx"),
        ("a", DOCX, "docx"),
        ("a.html", HTML, "html"),
        ("a.txt", HTML, "html"),
        ("a.csv", b"\n\n<HTML>\n", "html"),
        ("a.HTM", b"<p>no beginning</p>", "html"),
        ("a.xhtml", TEXT, "html"),
        ("a.csv", CSV, "csv"),
        ("a.TSV", CSV, "csv"),
        ("a.jsonl", JSONL, "jsonl"),
        ("a.ndjson", JSONL, "jsonl"),
        ("a.md", TEXT, "markdown"),
        ("a.txt", TEXT, "text"),
        ("a.bin", TEXT, "text"),
        ("a", TEXT, "text"),
        ("a.pdf", TEXT, "pdf"),
        ("a.docx", TEXT, "docx"),
        ("a.docx", DOCX[:200], "docx"),
    ],
)
def test_the_content_decides_and_then_the_extension(name: str, data: bytes, loader: str) -> None:
    assert chosen_loader(Path("/folder") / name, data).name == loader


@pytest.mark.parametrize(
    ("name", "data", "text"),
    [
        ("a.dat", PDF, "Some words of example in a PDF file."),
        ("a.zip", DOCX, "Some words in a Word file.\n\ncell"),
        ("a.txt", b"<!DOCTYPE html>\n<html><body><p>Some &lt;words&gt;", "Some <words>"),
        ("a.bin", TEXT, "Plain words.\n"),
        ("a.md", b"# Plain *words*", "# Plain *words*"),
    ],
)
def test_a_wrong_extension_misleads_nobody(name: str, data: bytes, text: str) -> None:
    (document,) = load(Path("/folder") / name, data).documents
    assert document.text == text
    assert document.sha256 == hashlib.sha256(data).hexdigest()
    assert document.source == Path("/folder") / name


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.png", b"\x89PNG\r\n\x1a\n....", "a PNG image"),
        ("a.txt", b"\xff\xd8\xff\xe0....", "a JPEG image"),
        ("a.csv", b"GIF89a..", "a GIF image"),
        ("a.gz", b"\x1f\x8b\x08..", "gzip archive; unpack"),
        ("a.doc", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "save it as DOCX"),
        ("a.docx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "with a password"),
        ("a.rtf", b"{\\rtf1 words}", "RTF file; save it as DOCX"),
        ("a.ps", b"%!PS-Adobe-3.0", "PostScript file; save it as PDF"),
        ("a.out", b"\x7fELF\x02", "a program"),
        ("a.db", b"SQLite format 3\x00", "an SQLite database"),
        ("a.xlsx", zipped("[Content_Types].xml", "xl/workbook.xml"), "Excel.*CSV"),
        ("a.pptx", zipped("[Content_Types].xml", "ppt/presentation.xml"), "PowerPoint.*PDF"),
        ("a.epub", zipped("mimetype", "META-INF/container.xml"), "EPUB book.*HTML"),
        ("a.odt", zipped("mimetype", "content.xml"), "OpenDocument.*DOCX"),
        ("a.zip", zipped("notes.txt"), "zip archive; unpack"),
        ("a.zip", DOCX[:200], "zip archive"),
        ("a.docx", DOCX[:200], "damaged DOCX"),
        ("a.docx", zipped("notes.txt"), "damaged DOCX"),
        ("a.docx", TEXT, "damaged DOCX"),
        ("a.pdf", TEXT, "damaged PDF"),
        ("a.pdf", PDF[:200], "damaged PDF"),
        ("a.txt", b"", "no text"),
        ("a.pdf", b" \n", "no text|damaged PDF"),
        ("a.bin", b"\x00\x01\x02", "control character"),
    ],
)
def test_what_is_not_read_says_what_to_do(name: str, data: bytes, reason: str) -> None:
    with pytest.raises(LoadError, match=reason):
        load(Path("/folder") / name, data)


def test_the_words_in_an_archive_do_not_make_it_a_workbook() -> None:
    data = zipped("notes.txt", content="the axl/ and the content.xml")
    with pytest.raises(LoadError, match="zip archive"):
        load(Path("/folder/a.zip"), data)


def test_rows_have_ids_of_their_own() -> None:
    path = Path("/folder/a.csv")
    documents = load(path, b"a,b\n1,2\n3,4\n").documents
    assert [document.row for document in documents] == [1, 2]
    assert [document.id for document in documents] == [document_id(path, 1), document_id(path, 2)]
    edited = load(path, b"a,b\n5,6\n3,4\n7,8\n").documents
    assert [document.id for document in edited[:2]] == [document.id for document in documents]
    assert len({document.id for document in edited}) == 3
    assert load(path.with_suffix(".txt"), TEXT).documents[0].id == document_id(
        path.with_suffix(".txt")
    )


@pytest.mark.parametrize("loader", LOADERS, ids=lambda loader: loader.name)
@pytest.mark.parametrize("columns", [DEFAULT_COLUMNS, Columns(("a", "b"), "c")])
def test_todays_loaders_are_current_and_yesterdays_are_not(
    loader: Loader, columns: Columns
) -> None:
    assert is_current(loader.identity(columns), columns)
    assert is_current(UNREAD, columns)
    older = loader.identity(columns).replace(f"/{loader.version}", f"/{loader.version - 1}")
    assert not is_current(older, columns)
    assert not is_current("another/1", columns)
    assert not is_current("unread/1", columns)


@pytest.mark.parametrize("library", ["pypdfium2", "lxml", "trafilatura"])
def test_what_another_version_of_a_library_read_is_read_anew(
    library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {loader.name: loader.identity(DEFAULT_COLUMNS) for loader in LOADERS}
    real = load_module._installed
    monkeypatch.setattr(
        load_module, "_installed", lambda name: "99" if name == library else real(name)
    )
    anew = {name for name, identity in before.items() if not is_current(identity, DEFAULT_COLUMNS)}
    assert anew == {"pdf" if library == "pypdfium2" else "html"}


def test_to_know_their_versions_no_library_is_imported() -> None:
    code = """
import sys
from corpus.load import is_current
from corpus.extract import DEFAULT_COLUMNS
print(is_current("pdf/0", DEFAULT_COLUMNS), {"pypdfium2", "lxml", "trafilatura"} & {*sys.modules})
"""
    assert python(code).stdout == "False set()\n"


def test_other_columns_make_another_loader_of_tables_alone() -> None:
    told = Columns(("a",), "b")
    for loader in LOADERS:
        assert (loader.identity(told) == loader.identity(DEFAULT_COLUMNS)) != loader.uses_columns
        assert is_current(loader.identity(told), DEFAULT_COLUMNS) != loader.uses_columns


COLUMNS = st.builds(
    Columns,
    st.lists(st.text("a,= te\\'", min_size=1, max_size=9), max_size=3).map(tuple),
    st.none() | st.text("a,= te", min_size=1, max_size=9),
)


@given(COLUMNS, COLUMNS)
@example(Columns(("a,b",)), Columns(("a", "b")))
@example(Columns(("a title=b",)), Columns(("a",), "b"))
def test_different_columns_have_different_identities(one: Columns, other: Columns) -> None:
    loader = next(loader for loader in LOADERS if loader.uses_columns)
    assert (loader.identity(one) == loader.identity(other)) == (one == other)


def test_a_file_of_unknown_format_is_read_anew_once_its_format_is_known() -> None:
    """Its identity is not that of .txt files, which stays as it is when a format is added."""
    unknown = chosen_loader(Path("/folder/a.new"), TEXT).identity(DEFAULT_COLUMNS)
    assert unknown != chosen_loader(Path("/folder/a.txt"), TEXT).identity(DEFAULT_COLUMNS)


SUFFIXES = ["", ".unknown", *sorted(suffix for loader in LOADERS for suffix in loader.suffixes)]
SIGNATURES = [
    b"", b"%PDF-1.7\n", b"PK\x03\x04", b"PK\x05\x06", b"<!doctype html><html>", b"<html><body><p>",
    b'<html><meta charset="', b'<?xml version="1.0" encoding="', b'{"', b'{"a": "\\ud', b"a,b\n\"",
    b"a;b\r\n", codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_LE,
    b"GIF8", b"{\\rtf", DOCX[:60], PDF[:120],
]  # fmt: skip


@settings(max_examples=300)
@given(st.sampled_from(SIGNATURES), st.binary(max_size=300), st.sampled_from(SUFFIXES))
def test_any_bytes_have_a_loader_or_a_reason(signature: bytes, data: bytes, suffix: str) -> None:
    try:
        loader = chosen_loader(Path(f"/folder/a{suffix}"), signature + data)
    except LoadError:
        return
    assert loader in LOADERS


def check_load(data: bytes, suffix: str) -> None:
    """Loading gives whole documents or a reason, and nothing else."""
    try:
        loaded = load(Path(f"/folder/a{suffix}"), data)
    except LoadError:
        return
    assert loaded.documents
    for document in loaded.documents:
        assert document.text.strip("\ufeff \t\r\n\f\v")
        for text in (document.text, document.title, loaded.note or ""):
            assert text.encode("utf-8").decode("utf-8") == text
        assert list(document.page_starts) == sorted(document.page_starts)
        assert list(document.line_anchors) == sorted(document.line_anchors)
        assert all(0 <= at <= len(document.text) for at, _ in document.line_anchors)
        assert all(0 <= at <= len(document.text) for at in document.page_starts)


@settings(max_examples=300)
@given(st.sampled_from(SIGNATURES), st.binary(max_size=300), st.sampled_from(SUFFIXES))
def test_loading_any_bytes_fails_with_a_reason_alone(
    signature: bytes, data: bytes, suffix: str
) -> None:
    check_load(signature + data, suffix)


@settings(max_examples=300)
@given(
    st.sampled_from(list(FILES)),
    st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=4)), max_size=4),
    st.sampled_from([1.0, 1.0, 0.99, 0.7]),
)
def test_damaged_files_fail_with_a_reason_alone(
    suffix: str, edits: list[tuple[float, bytes]], kept: float
) -> None:
    data = bytearray(FILES[suffix])
    for place, put in edits:
        at = int(place * (len(data) - len(put)))
        data[at : at + len(put)] = put
    check_load(bytes(data[: int(kept * len(data))]), suffix)
