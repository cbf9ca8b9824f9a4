"""The doors through which files come in: what any bytes do there, and the laws that they keep.

Each target takes bytes, and returns when they were read or refused in so many
words. Whatever else happens is a finding: another exception, or a broken law.
`fuzz.py` looks for such bytes; `test_fuzz.py` tries those that were found.
"""

import csv
import gzip
import io
import json
import lzma
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import qa.verify
from corpus.database import DocumentSummary
from corpus.errors import CitespanError, LoadError
from corpus.extract import Columns
from corpus.load import Loaded, load
from corpus.pdf_places import boxes
from corpus.records import Document, document_id
from corpus.sandbox import ReadFile
from corpus.split import sentence_around, split
from corpus.text import whole
from eval.beir import read_beir
from eval.gold import is_squad
from qa.corrections import rows_of
from qa.gold import parse_row, read_rows, read_squad, row_as_json
from qa.render import printable
from qa.settings import model_pair

__all__ = ["SEEDS", "TARGETS", "WORDS"]

Target = Callable[[bytes], None]

_SPLIT_CHARS = 3_000
"""Of longer texts the passages are not looked at: another target is there for them."""
_PART = b"\n--\0--\n"
"""Between the files of one input."""
_NOTE = "Some first words.\n\nThe keeper of the old harbour was Ada Moreau. It has 58 berths.\n"
_NOTE_PATH = Path(__file__).absolute()
"""Where saved answers say that the note lies; a file must be there."""


@cache
def _scratch() -> Path:
    return Path(tempfile.mkdtemp(prefix="citespan-fuzz-"))


@cache
def _tokenizer() -> Any:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(model_pair("bundled").encoder.folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _check_told(error: CitespanError) -> None:
    assert printable(str(error)), "no reason is given"


# Documents.


def _loads(suffix: str, data: bytes, columns: Columns | None = None) -> Loaded | None:
    """What the loader makes of the bytes, its laws checked; None where it refuses them."""
    path = Path(f"/folder/file{suffix}")
    try:
        loaded = load(path, data, columns or Columns())
    except LoadError as error:
        _check_told(error)
        return None
    assert loaded.documents
    assert len({document.id for document in loaded.documents}) == len(loaded.documents)
    for document in loaded.documents:
        assert document.id == document_id(path, document.row)
        _check_document(document, data)
    return loaded


def _check_document(document: Document, data: bytes) -> None:
    text = document.text
    sent = asdict(document) | {"source": str(document.source)}
    # It goes through a pipe as JSON, and into a database.
    frame = json.loads(json.dumps(sent, ensure_ascii=False).encode("utf-8"))
    again = frame | {
        "page_starts": tuple(frame["page_starts"]),
        "line_anchors": tuple(map(tuple, frame["line_anchors"])),
    }
    assert again == sent
    assert text.strip("\ufeff \t\r\n\f\v")
    assert document.title.strip()
    assert document.title == " ".join(document.title.split()), "a title of several lines"
    if document.date is not None:
        assert date.fromisoformat(document.date).isoformat() == document.date
    if document.kind in ("text", "markdown"):
        assert document.encoding is not None
        assert text == whole(data.decode(document.encoding)), "the text is not the file's"
    if document.page_starts:
        assert document.page_starts[0] == 0
        assert all(text[start - 1] == "\f" for start in document.page_starts[1:])
        assert document.page(len(text)) == len(document.page_starts)
    assert list(document.line_anchors) == sorted(document.line_anchors)
    if document.line_anchors:
        assert document.encoding is not None
        written = data.decode(document.encoding)
        lines = written.count("\n") + written.replace("\r\n", "\n").count("\r") + 1
        for at, line in (*document.line_anchors, (len(text) - 1, 1)):
            assert 0 <= at < len(text)
            assert 1 <= line <= (document.line(at) or 0) <= lines
    if len(text) <= _SPLIT_CHARS:
        _check_passages(text, 160, 32)


def _check_passages(text: str, most: int, overlap: int) -> None:
    tokenizer = _tokenizer()
    covered: set[int] = set()
    last = (-1, -1)
    for start, end in split(text, tokenizer, max_tokens=most, overlap_tokens=overlap):
        assert 0 <= start < end <= len(text)
        assert last[0] < start
        assert last[1] < end
        last = (start, end)
        assert len(tokenizer.encode(text[start:end], add_special_tokens=False).ids) <= most
        covered.update(range(start, end))
        low, high = sentence_around(text, start, min(end, start + 3))
        assert 0 <= low <= start < min(end, start + 3) <= high <= len(text)
    assert all(i in covered or c.isspace() for i, c in enumerate(text))


def _text(data: bytes) -> None:
    _loads(".txt", data)


def _unknown(data: bytes) -> None:
    """Whatever the content says that it is: a loader is chosen by it."""
    _loads("", data)


def _markdown(data: bytes) -> None:
    _loads(".md", data)


def _html(data: bytes) -> None:
    _loads(".html", data)


def _csv(data: bytes) -> None:
    _loads(".csv", data)
    _loads(".csv", data, Columns(("text", "a"), "b"))


def _json_lines(data: bytes) -> None:
    _loads(".jsonl", data)
    _loads(".jsonl", data, Columns(("text", "a"), "b"))


def _docx(data: bytes) -> None:
    """A container, or the parts of one: what is packed can hardly be altered to any purpose."""
    _loads(".docx", data if data.startswith(b"PK") else _container(data.split(_PART)))


def _container(parts: Sequence[bytes]) -> bytes:
    names = ("word/document.xml", "docProps/core.xml", "_rels/.rels")
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as container:
        for name, part in zip(names, parts, strict=False):
            container.writestr(name, part)
    return stream.getvalue()


def _pdf(data: bytes) -> None:
    """A file, or what is drawn on the one page of it."""
    if not data.startswith(b"%PDF-"):
        from test_pdf import handmade

        content, *meant = data.split(_PART)
        named = meant[0].decode("utf-8", "replace") if meant else ""
        data = handmade(content, dict(zip("ABCDEFGHIJKLMNOP", named, strict=False)))
    loaded = _loads(".pdf", data)
    if loaded is None:
        return
    (document,) = loaded.documents
    for start in range(0, len(document.text), 1 + len(document.text) // 4):
        for box in boxes(data, document, start, min(start + 9, len(document.text))):
            assert box.left <= box.right
            assert box.top <= box.bottom
            assert 1 <= box.page <= len(document.page_starts)


def _passages(data: bytes) -> None:
    """Any text, in passages of any size."""
    if len(data) < 3:
        return
    most = 8 + data[0] % 60
    _check_passages(data[2:].decode("utf-8", "replace"), most, data[1] % (most - 4))


# Gold questions and saved answers.


def _read(name: str, data: bytes, read: Callable[[Path], Any]) -> Any:
    """What comes of the file; None where it is refused in so many words."""
    path = _scratch() / name
    path.write_bytes(data)
    try:
        return read(path)
    except CitespanError as error:
        _check_told(error)
        return None


def _rows(name: str, data: bytes) -> None:
    rows = _read(name, data, read_rows)
    for row in rows or []:
        written = json.loads(json.dumps(row_as_json(row)))
        assert parse_row(written, "the row") == row
        assert row.question.strip()
        assert all(answer.strip() for answer in row.answers)


def _gold_json_lines(data: bytes) -> None:
    _rows("gold.jsonl", data)


def _gold_csv(data: bytes) -> None:
    _rows("gold.csv", data)


def _gold_squad(data: bytes) -> None:
    for article in _read("gold.json", data, read_squad) or []:
        assert type(article.title) is str
        for paragraph in article.paragraphs:
            assert type(paragraph.text) is str
            for question in paragraph.questions:
                assert type(question.id) is type(question.text) is str
                for span in question.spans:
                    assert type(span.start) is type(span.end) is int
                    assert span.text == paragraph.text[span.start : span.end] != ""
                    assert 0 <= span.start < span.end <= len(paragraph.text)


def _gold_packed(data: bytes) -> None:
    """What is packed, or seems so, under every name that gold has."""
    for name in ("gold.json.gz", "gold.JSONL.xz", "gold.csv.gz", "gold.jsonl"):
        path = _scratch() / name
        _read(name, data, read_squad if is_squad(path) else read_rows)


def _gold_beir(data: bytes) -> None:
    parts = [*data.split(_PART), b"", b"", b""]
    folder = _scratch() / "beir"
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    for name, part in zip(("corpus.jsonl", "queries.jsonl", "qrels/test.tsv"), parts, strict=False):
        (folder / name).write_bytes(part)
    try:
        beir = read_beir(folder)
    except CitespanError as error:
        _check_told(error)
        return
    assert beir.relevance
    assert beir.relevance.keys() <= beir.queries.keys()
    assert all(judged.keys() <= beir.rows.keys() for judged in beir.relevance.values())


class _NoteReader:
    """Reads the note wherever it is asked for, in place of a process of its own."""

    def __init__(self, **_: Any) -> None:
        pass

    def __enter__(self) -> "_NoteReader":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read_all(self, files: Iterator[tuple[Path, None]]) -> Iterator[ReadFile]:
        for path, _ in files:
            (note,) = load(path, _NOTE.encode()).documents
            yield ReadFile(path, "read", 0.0, sha256="0" * 64, documents=[note])


def _saved(data: bytes) -> None:
    citations = _read("answers.json", data, qa.verify.read_citations)
    if citations is None:
        return
    reader, qa.verify.Sandbox = qa.verify.Sandbox, _NoteReader  # type: ignore[misc,assignment]
    try:
        report = qa.verify.verify(citations)
    finally:
        qa.verify.Sandbox = reader  # type: ignore[misc]
    assert len(report["citations"]) == len(citations) == sum(report["counts"].values())
    for citation in json.loads(json.dumps(report))["citations"]:
        printable(citation["quote"])
        if citation["status"] == "moved":
            found = _NOTE[citation["start_now"] : citation["end_now"]]
            assert found == citation["quote"]


class _NoteIndex:
    """As much of an index as corrections look at, with the note alone in it."""

    def __init__(self) -> None:
        ((self._note),) = load(Path("/folder/note.txt"), _NOTE.encode()).documents

    def summaries(self) -> list[DocumentSummary]:
        note = self._note
        return [DocumentSummary(note.id, note.source, note.title, None, "text", None, None, 1, 0.0)]

    def document(self, id_: str) -> Document:
        assert id_ == self._note.id
        return self._note

    def find(self, name: str) -> str:
        if name not in (self._note.id, "note.txt"):
            raise CitespanError("no such document")
        return self._note.id


def _corrections(data: bytes) -> None:
    index: Any = _NoteIndex()
    for row in _read("answers.jsonl", data, lambda path: rows_of(path, index)) or []:
        assert parse_row(json.loads(json.dumps(row_as_json(row))), "the row")
        for place in row.spans:
            assert _NOTE[place.start : place.end] in row.answers


TARGETS: dict[str, Target] = {
    "text": _text,
    "unknown": _unknown,
    "markdown": _markdown,
    "html": _html,
    "csv": _csv,
    "jsonl": _json_lines,
    "docx": _docx,
    "pdf": _pdf,
    "passages": _passages,
    "gold-jsonl": _gold_json_lines,
    "gold-csv": _gold_csv,
    "gold-squad": _gold_squad,
    "gold-packed": _gold_packed,
    "gold-beir": _gold_beir,
    "saved": _saved,
    "corrections": _corrections,
}
"""By name, what is tried with any bytes."""


# Where the search begins: small inputs that are read.

_PROSE = (
    "# The harbour\n\nPeter R. Neumann left the U.S. Army. It has 58 berths; caf\u00e9, \U0001f600,"
    " e\u0301, \u05e9\u05dc\u05d5\u05dd.\r\n\r\n- an item\n| a | b |\n\fA new page.\n"
)
_SENTENCE = "The keeper of the old harbour was Ada Moreau."
_AT = _NOTE.index(_SENTENCE)
_CITED = {
    "document": document_id(_NOTE_PATH), "title": "note", "source": str(_NOTE_PATH),
    "sha256": "1" * 64, "start": _AT + 34, "end": _AT + 44, "page": None, "line": 3,
    "quote": "Ada Moreau", "sentence": _SENTENCE, "sentence_start": _AT, "passage": 1,
}  # fmt: skip
_ANSWER = {
    "question": "Who kept it?", "answered": True, "threshold": 0.5,
    "answers": [{"text": "Ada Moreau", "confidence": 0.9, "citations": [_CITED]}],
}  # fmt: skip
_ROW = {
    "id": "1", "question": "Who kept it?", "answers": ["Ada Moreau"],
    "spans": [{"document": "note.txt", "start": _AT + 34, "end": _AT + 44}], "tags": ["who"],
}  # fmt: skip
_SQUAD = {
    "version": "2",
    "data": [{"title": "Note", "paragraphs": [{"context": _NOTE, "qas": [
        {"id": "1", "question": "Who?", "answers": [
            {"answer_start": _AT + 34, "text": "Ada Moreau"}]},
        {"id": "2", "question": "When?", "answers": [], "is_impossible": True}]}]}],
}  # fmt: skip
_PAGE = f"""<!doctype html><html lang="en"><head><meta charset="utf-8"><title>The harbour</title>
<meta name="date" content="2014-05-06"></head><body><nav><a href="/">Home</a></nav><article>
<h1>The harbour</h1><p>{_SENTENCE} It has &#53;8 berths, and more than that in summer.</p><table>
<tr><th>Year</th><td>1911</td></tr></table><ul><li>One</li></ul><pre>a
 b</pre></article><script>x</script></body></html>"""
_WORD = """<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main">
<w:body><w:p><w:r><w:t>The harbour</w:t></w:r></w:p><w:p><w:r><w:t xml:space="preserve">Ada </w:t>
<w:tab/><w:t>Moreau</w:t><w:br/></w:r><w:del><w:r><w:delText>no</w:delText></w:r></w:del></w:p>
<w:tbl><w:tr><w:tc><w:p><w:r><w:t>58</w:t></w:r></w:p></w:tc></w:tr></w:tbl><w:sectPr/></w:body>
</w:document>"""
_CORE = """<cp:coreProperties
 xmlns:cp="http://schemas.openxmlformats.org/package/2006/metadata/core-properties"
 xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:t="http://purl.org/dc/terms/">
<dc:title>Harbour</dc:title><t:created>2014-05-06T00:00:00Z</t:created></cp:coreProperties>"""
_RELATED = """<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">
<Relationship Id="1" Type="http://x/officeDocument" Target="word/document.xml"/></Relationships>"""
_DRAWN = b"72 700 Td (Ada Moreau kept it.) Tj 0 -24 Td (It has 58 berths, and) Tj 0 -24 Td (more) '"


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _csv_of(row: dict[str, Any]) -> bytes:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(row))
    writer.writeheader()
    writer.writerow({k: v if isinstance(v, str) else json.dumps(v) for k, v in row.items()})
    return stream.getvalue().encode()


def _table() -> bytes:
    return b'a,b,text\r\n1,"The, harbour","Ada ""A"" Moreau\r\nkept it."\r\n\r\n2,Port,58\r\n'


def _text_seeds() -> list[bytes]:
    codecs = ("utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le")
    legacy = "Le caf\u00e9 du port \u00e9tait ferm\u00e9 d\u00e8s septembre.\n" * 3
    return [
        *(_PROSE.encode(codec) for codec in codecs),
        legacy.encode("cp1252"),
        "\u6e2f\u306f\u9589\u307e\u3063\u3066\u3044\u305f\u3002\n".encode("iso2022_jp_2"),
        ("\u6e2f\u306f\u9589\u307e\u3063\u3066\u3044\u305f\u3002\n" * 3).encode("shift_jis"),
    ]


def _pdf_seeds() -> list[bytes]:
    from test_pdf import drawn, handmade, lines

    return [
        _DRAWN,
        _DRAWN + _PART + "\u00e9\u05d0\U0001f600xyz".encode(),
        handmade(_DRAWN, {"A": "\ud83d\ude00"}, b"/Title(Harbour)/CreationDate(D:20140506)"),
        handmade(b"1 0 0 -1 72 700 Tm (Ada-) Tj T* (Moreau) Tj", page=b"/Rotate 90"),
        drawn(lines("Ada Moreau kept it.", "", "It has 58 berths."), lines("A second page.")),
    ]


def _docx_seeds() -> list[bytes]:
    parts = [_WORD.encode(), _CORE.encode(), _RELATED.encode()]
    return [_PART.join(parts), _container(parts)]


SEEDS: dict[str, Callable[[], list[bytes]]] = {
    "text": _text_seeds,
    "unknown": lambda: [
        *_text_seeds(), _PAGE.encode(), _table(), *_docx_seeds()[1:], *_pdf_seeds()[2:3]
    ],
    "markdown": _text_seeds,
    "html": lambda: [
        _PAGE.encode(),
        _PAGE.replace("utf-8", "windows-1252").replace("berths", "caf\u00e9s").encode("cp1252"),
        b"<?xml version='1.0' encoding='koi8-r'?><html><p hidden>No</p><div>Yes<br>so</div></html>",
    ],
    "csv": lambda: [_table(), _table().replace(b",", b";"), _table().decode().encode("utf-16")],
    "jsonl": lambda: [
        b'{"a": 1.50, "b": "Port", "text": "Ada\\r\\nMoreau"}\n{"a": [1, {"x": null}]}\nno\n',
        b'{"a": "\\ud800", "b": true, "text": ["x", "y"], "c": {"d": NaN}}\r\n{}\r\n',
    ],
    "docx": _docx_seeds,
    "pdf": _pdf_seeds,
    "passages": lambda: [bytes([n, 4 * n]) + _PROSE.encode() for n in (0, 7, 30)],
    "gold-jsonl": lambda: [_json(_ROW) + b"\n" + _json({"question": "When?", "answers": []})],
    "gold-csv": lambda: [_csv_of(_ROW), b"question,answers,tags\r\nWho?,Ada Moreau,\"a, b\"\r\n"],
    "gold-squad": lambda: [_json(_SQUAD)],
    "gold-packed": lambda: [
        gzip.compress(_json(_SQUAD), mtime=0),
        lzma.compress(_json(_ROW)),
        gzip.compress(_csv_of(_ROW), 0, mtime=0),
        _json(_ROW),
    ],
    "gold-beir": lambda: [
        _PART.join([
            b'{"_id": "1", "title": "Port", "text": "Ada"}\n', b'{"_id": "q", "text": "Who?"}\n',
            b"query-id\tcorpus-id\tscore\nq\t1\t1\n",
        ])
    ],
    "saved": lambda: [
        _json(_ANSWER),
        _json(_ANSWER) + b"\n" + _json({"error": "blank"}) + b"\n",
        _json({"turns": [_ANSWER]}),
        _json({**_ANSWER, "answers": [{"citations": [{**_CITED, "start": 35, "end": 45,
                                                      "sentence_start": 1}]}]}),
    ],
    "corrections": lambda: [
        _json(_ANSWER),
        _json({"question": "Who?", "answers": ["Ada Moreau"], "tags": ["x"]}),
        _json(_ROW),
        _json({"question": "When?", "answered": False, "answers": []}),
    ],
}  # fmt: skip
"""For each target, inputs that lead far into it."""

_JSON_WORDS = [b'"question"', b'"answers"', b'"spans"', b'"id"', b'"tags"', b'"document"', b'"end"',
               b'"start"', b"null", b"true", b"1e999", b"-1", b"NaN", b"[]", b"{}", b'""',
               b"\\ud800", b"\\u0000"]  # fmt: skip
_XML_WORDS = [b"<w:p>", b"</w:p>", b"<w:tbl>", b"<w:tr>", b"<w:tc>", b"<w:t>", b"<w:br/>", b"<!--",
              b"<![CDATA[", b"<!ENTITY", b"&#x1F600;", b"&#xD800;", b"mc:Fallback"]  # fmt: skip
_HTML_WORDS = [b"<p>", b"</p>", b"<table>", b"<tr>", b"<td>", b"<article>", b"<main>", b"<pre>",
               b"<br>", b"<svg>", b"<template>", b"hidden", b"<!--", b"<![CDATA[", b"&nbsp;",
               b"charset=", b"<title>", b"<body>", b"<select>", b"<frameset>"]  # fmt: skip
_PDF_WORDS = [b"obj", b"endobj", b"stream", b"endstream", b"/Kids", b"/Count", b"/Rotate", b" Tj",
              b" TJ", b" Tm", b" Td", b" Tf", b" Do", b" cm", b" q", b" Q", b"/MediaBox", b"T*",
              b" 1e38", b" -1", b" Tr", b" Tz", b" Ts", b" Tw"]  # fmt: skip
_TEXT_WORDS = [b"\r\n", b"\f", b"\xff\xfe", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"\x1b$)C", b"\x1b$B",
               b"\xc2\x85", b"\x00\x00\xfe\xff", b"# ", b"U.S. ", b"\xf0\x9f\x98\x80"]  # fmt: skip

WORDS: dict[str, list[bytes]] = {
    "text": _TEXT_WORDS,
    "unknown": [*_TEXT_WORDS, *_HTML_WORDS, b"%PDF-", b"PK\x03\x04"],
    "markdown": _TEXT_WORDS,
    "html": _HTML_WORDS,
    "csv": [b'"', b'""', b"\r\n", b"\r", b";", b"\t", b"|", b"title", b"text", b"\x00"],
    "docx": [*_XML_WORDS, _PART],
    "pdf": [*_PDF_WORDS, _PART],
    "passages": _TEXT_WORDS,
    "gold-csv": [b'"', b'""', b"\r\n", b"question", b"answers", b"spans", b"tags", b"id"],
    "gold-packed": [b"\x1f\x8b\x08", b"\xfd7zXZ\x00"],
    "gold-beir": [*_JSON_WORDS, b'"_id"', b'"text"', b"\t", _PART],
    "gold-squad": [*_JSON_WORDS, b'"answer_start"', b'"text"', b'"qas"', b'"paragraphs"'],
    **dict.fromkeys(("jsonl", "gold-jsonl", "saved", "corrections"), _JSON_WORDS),
}
"""For each target, what its inputs are made of."""
