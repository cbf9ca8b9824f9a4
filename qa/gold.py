"""Gold questions: what people wrote down as right, read strictly.

Two forms. SQuAD's JSON holds articles, their paragraphs and the questions on
them. A row, a line of JSON lines or CSV, is one question on documents that lie
elsewhere; its spans count in `Document.text`. Lone surrogates, which JSON can hold and no
file, become U+FFFD, as in documents.
"""

import csv
import gzip
import hashlib
import io
import json
import lzma
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corpus.errors import GoldError
from corpus.text import whole

__all__ = [
    "Article",
    "GoldRow",
    "GoldSpan",
    "Paragraph",
    "Place",
    "Question",
    "append_row",
    "packed_suffix",
    "parse_row",
    "read_rows",
    "read_squad",
    "row_as_json",
]

_ROW_KEYS = ("id", "question", "answers", "spans", "tags")
_UNPACKING: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.decompress,
    ".xz": lzma.decompress,
}
_ROW_EXAMPLE = '{"question": "Who wrote it?", "answers": ["Ada Moreau"]}'


@dataclass(frozen=True, slots=True)
class GoldSpan:
    """A right answer: `text == paragraph.text[start:end]`, offsets in code points."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Question:
    """A question about one paragraph; without spans the paragraph does not answer it."""

    id: str
    text: str
    spans: tuple[GoldSpan, ...]

    @property
    def golds(self) -> tuple[str, ...]:
        """The texts of the right answers."""
        return tuple(span.text for span in self.spans)


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A paragraph and the questions asked about it."""

    text: str
    questions: tuple[Question, ...]


@dataclass(frozen=True, slots=True)
class Article:
    """A titled sequence of paragraphs."""

    title: str
    paragraphs: tuple[Paragraph, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Characters `start:end` of a document's text, half-open, in code points."""

    document: str
    """An id, the last parts of a path, or a title."""
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class GoldRow:
    """A question on documents that lie elsewhere; without answers they do not answer it."""

    id: str
    question: str
    answers: tuple[str, ...]
    spans: tuple[Place, ...] = ()
    """Where the answers stand; may be empty, for then only the texts are known."""
    tags: tuple[str, ...] = ()


def read_squad(path: Path) -> list[Article]:
    """The articles of a SQuAD 1.1 or 2.0 file (.json, .json.gz or .json.xz).

    Raises:
        GoldError: the file is not SQuAD's format, or an answer's characters are not
            those of its paragraph at the given offset.
    """
    text = _read(path)
    try:
        return [
            Article(whole(str(article.get("title") or "")), tuple(_paragraphs(path, article)))
            for article in json.loads(text)["data"]
        ]
    except (LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise GoldError(
            f"{path} is not SQuAD JSON ({type(error).__name__}: {error}); expected"
            ' {"data": [{"title", "paragraphs": [{"context", "qas": [...]}]}]}'
        ) from error


def read_rows(path: Path) -> list[GoldRow]:
    """The questions of a JSON lines file or, by its suffix, a CSV file; .gz and .xz too.

    In CSV a cell that begins with `[` holds a JSON list, any other cell of `answers` one
    answer (an empty one: no answer), and any other cell of `tags` tags parted by commas.

    Raises:
        GoldError: a row is not what it must be, named with its line; or two share an id.
    """
    text = _read(path)
    cells = packed_suffix(path) == ".csv"
    rows = [
        (line, parse_row(fields, f"{path}, line {line}"))
        for line, fields in (_csv_rows(path, text) if cells else _json_lines(path, text))
    ]
    if not rows:
        raise GoldError(f"{path} holds no questions; expected one a line, such as {_ROW_EXAMPLE}")
    lines: dict[str, int] = {}
    for line, row in rows:
        if row.id in lines:
            raise GoldError(
                f"{path}, line {line} has the id {row.id!r}, as line {lines[row.id]} has; every"
                " question needs one of its own (without ids, no two may ask the same)"
            )
        lines[row.id] = line
    return [row for _, row in rows]


def parse_row(fields: Any, where: str) -> GoldRow:
    """The row in these JSON fields, checked.

    A row without an id gets one made of its question, so that it keeps it wherever
    in the file it stands.

    Raises:
        GoldError: what is wrong, beginning with `where`.
    """
    if not isinstance(fields, dict):
        raise GoldError(f"{where} is {_shown(fields)}; expected an object such as {_ROW_EXAMPLE}")
    if unknown := [key for key in fields if key not in _ROW_KEYS]:
        raise GoldError(f"{where} has {unknown[0]!r}; expected only {', '.join(_ROW_KEYS)}")
    question = fields.get("question")
    if not isinstance(question, str) or not question.strip():
        raise GoldError(f"{where} has question = {_shown(question)}; expected what is asked")
    answers = _texts(fields.get("answers"), "answers", where)
    spans = fields.get("spans") or []
    if not isinstance(spans, list):
        raise GoldError(f"{where} has spans = {_shown(spans)}; expected a list of objects")
    places = tuple(_place(span, f"{where}: span {n}") for n, span in enumerate(spans, 1))
    if places and not answers:
        raise GoldError(
            f"{where} has spans but no answers; give the spans' texts as answers, or, where the"
            " documents do not say, no spans"
        )
    id_ = fields.get("id")
    if id_ is None or id_ == "":
        id_ = hashlib.sha256(question.strip().encode("utf-8", "replace")).hexdigest()[:12]
    if not isinstance(id_, str | int) or isinstance(id_, bool):
        raise GoldError(f"{where} has id = {_shown(id_)}; expected text")
    tags = _texts(fields.get("tags") or [], "tags", where)
    return GoldRow(whole(str(id_)), whole(question.strip()), answers, places, tags)


def row_as_json(row: GoldRow) -> dict[str, Any]:
    """The row as a line of a gold file holds it; empty spans and tags are left out."""
    spans = [{"document": s.document, "start": s.start, "end": s.end} for s in row.spans]
    fields = {"id": row.id, "question": row.question, "answers": list(row.answers)}
    optional = {"spans": spans, "tags": list(row.tags)}
    return fields | {key: value for key, value in optional.items() if value}


def append_row(path: Path, row: GoldRow) -> None:
    """Add the row at the end of a JSON lines file, which is made where there is none.

    The line is written at once and flushed to the disk; writers of several
    processes do not mix, since a lock on the file is held meanwhile.

    Raises:
        GoldError: the row is malformed, its id is already in the file, or the file itself
            cannot be read as gold.
    """
    import fcntl

    if packed_suffix(path) != path.suffix.lower() or path.suffix.lower() in {".csv", ".json"}:
        raise GoldError(f"{path}: questions are added to JSON lines alone; name a .jsonl file")
    line = json.dumps(row_as_json(row), ensure_ascii=False)
    if parse_row(json.loads(line), "the row") != row:
        raise GoldError(f"the row {line} would not come back as it is; take out surplus spaces")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        before = file.read()
        if before.strip():
            known = {known.id: known.question for known in read_rows(path)}
            if row.id in known:
                raise GoldError(
                    f"{path} already has the question {row.id!r} ({known[row.id]!r}); give"
                    " another id, or take that line out"
                )
        newline = b"\n" if before and not before.endswith(b"\n") else b""
        file.write(newline + line.encode("utf-8") + b"\n")
        file.flush()
        os.fsync(file.fileno())


def packed_suffix(path: Path) -> str:
    """The file's suffix in lower case, without that of its packing: `.json` of `a.JSON.gz`."""
    name = Path(path.name.lower())
    return Path(name.stem).suffix if name.suffix in _UNPACKING else name.suffix


def _read(path: Path) -> str:
    unpacked = _UNPACKING.get(path.suffix.lower(), bytes)
    try:
        return unpacked(path.read_bytes()).decode("utf-8-sig")
    except FileNotFoundError:
        raise GoldError(f"no gold file at {path}") from None
    except IsADirectoryError:
        raise GoldError(f"{path} is a folder; expected a file of gold questions") from None
    except (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error) as error:
        raise GoldError(f"{path} cannot be read ({error}); expected UTF-8 text") from error


def _paragraphs(path: Path, article: dict[str, Any]) -> Iterator[Paragraph]:
    for paragraph in article["paragraphs"]:
        text = _string(paragraph["context"])
        yield Paragraph(text, tuple(_question(path, text, entry) for entry in paragraph["qas"]))


def _question(path: Path, text: str, entry: dict[str, Any]) -> Question:
    spans = []
    # SQuAD 2.0 leaves `answers` empty where `is_impossible` is true.
    for answer in entry["answers"]:
        start, quote = answer["answer_start"], _string(answer["text"])
        seen = text[start : start + len(quote)]
        if seen != quote or not quote or type(start) is not int or start < 0:
            raise GoldError(
                f"{path}: question {entry['id']}: the paragraph has {seen!r} at {start},"
                f" the answer is {quote!r}; answer_start counts code points from 0"
            )
        spans.append(GoldSpan(start, start + len(quote), quote))
    return Question(str(entry["id"]), _string(entry["question"]), tuple(dict.fromkeys(spans)))


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{_shown(value)} where text was expected")
    return whole(value)


def _json_lines(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as error:
                raise GoldError(
                    f"{path}, line {number} is not JSON ({error}); expected one object a line,"
                    f" such as {_ROW_EXAMPLE}"
                ) from error


def _csv_rows(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            if None in row:
                raise GoldError(f"{where} has more cells than the {len(row) - 1} columns named")
            if None in row.values():
                raise GoldError(f"{where} has fewer cells than the {len(row)} columns named")
            yield reader.line_num, {key: _cell(key, row[key], where) for key in row}
    except csv.Error as error:
        raise GoldError(f"{path}, line {reader.line_num} is not CSV ({error})") from error


def _cell(key: str, cell: str, where: str) -> Any:
    if key not in {"answers", "spans", "tags"}:
        return cell
    if cell.lstrip().startswith("["):
        try:
            return json.loads(cell)
        except (ValueError, RecursionError) as error:
            raise GoldError(f"{where} has {key} = {_shown(cell)}, no JSON list: {error}") from error
    if key == "tags":
        return [tag.strip() for tag in cell.split(",") if tag.strip()]
    return [cell] if cell.strip() else []


def _texts(value: Any, key: str, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(v, str) and v.strip() for v in value):
        raise GoldError(
            f"{where} has {key} = {_shown(value)}; expected a list of texts, none of them blank"
        )
    return tuple(dict.fromkeys(map(whole, value)))


def _place(span: Any, where: str) -> Place:
    if not isinstance(span, dict) or set(span) != {"document", "start", "end"}:
        raise GoldError(f'{where} is {_shown(span)}; expected {{"document", "start", "end"}}')
    document, start, end = span["document"], span["start"], span["end"]
    if not isinstance(document, str) or not document.strip():
        raise GoldError(f"{where} has document = {_shown(document)}; expected its name")
    if type(start) is not int or type(end) is not int or not 0 <= start < end:
        raise GoldError(
            f"{where} is {_shown(start)} to {_shown(end)}; expected offsets with 0 <= start < end"
        )
    return Place(whole(document), start, end)


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= 80 else f"{text[:77]}..."
