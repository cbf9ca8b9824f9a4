"""CSV and JSON lines: one document a row, with its line in the file.

Unless told otherwise, a row's text is all of its columns, each as "name: value"
in a line of its own, since a fact is worth little without what it is about. A
column that is called text, body or the like stands alone, between blank lines.
"""

import csv
import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from corpus.errors import LoadError
from corpus.extract import Columns, Extract, Reading
from corpus.text import decode, whole

__all__ = ["read_csv", "read_json_lines"]

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+\Z")
_LINE_END = re.compile(r"\r\n|\r|\n")
_DELIMITERS = ",;\t|"
_STATED = re.compile(r'(?i)("?)sep=([^\w\s"]|\t)\1[\r\n]+')
"""A first line by which a file tells Excel its delimiter."""
_NO_DELIMITER = "\x1f"
"""Stands in no text: a table of one column, whose commas are commas."""
_SNIFFED_ROWS = 50
_MAIN_COLUMNS = (
    "text", "body", "content", "article", "abstract", "passage", "paragraph", "context",
    "description", "summary", "message", "comment", "review",
)  # fmt: skip
_TITLE_COLUMNS = ("title", "headline", "heading", "name", "subject")
_TITLE_CHARS = 120
_NUMBER = re.compile(r"[\d\s.,:/%+-]*")


class _Cell(NamedTuple):
    name: str
    value: str
    line: int
    """The file's line on which the value begins."""
    breaks: bool
    """Whether line ends in the value are the file's, and not merely written as `\\n` in it."""


def read_csv(data: bytes, columns: Columns) -> Reading:
    """The rows below the header, whose delimiter is found out.

    Raises:
        LoadError: there are no rows, or none of the columns asked for.
    """
    text, encoding, _guessed = decode(data)
    lines = _LINE.findall(text.removeprefix("\ufeff"))
    stated = _STATED.fullmatch(lines[0]) if lines else None
    if stated:
        lines[0] = "\n"  # Blank, so that the others keep their numbers.
    delimiter = stated[2] if stated else _delimiter(lines)
    note = None
    try:
        records = list(_records(lines, delimiter, strict=True))
    except csv.Error as error:
        records = list(_records(lines, delimiter, strict=False))
        note = f"its quotes are not those of a CSV file ({error}); rows near there may be mixed up"
    if len(records) < 2:
        raise LoadError("has no rows: expected a first line of column names, and rows below it")
    (_, header), *rows = records
    names = [_name(name) for name in header]
    _require(names, columns)
    extracts = [
        _extract(row, list(_cells(names, values, line)), columns, encoding)
        for row, (line, values) in enumerate(rows, 1)
    ]
    return _reading(extracts, note)


def read_json_lines(data: bytes, columns: Columns) -> Reading:
    """The objects, one a line; lines that are none are left out and counted.

    Raises:
        LoadError: no line is an object, or none has the keys asked for.
    """
    text, encoding, _guessed = decode(data)
    extracts: list[Extract | None] = []
    bad: list[int] = []
    names: dict[str, None] = {}
    for number, line in enumerate(_LINE.findall(text.removeprefix("\ufeff")), 1):
        if not line.strip():
            continue
        try:
            values = _DECODER.decode(line)
            if not isinstance(values, dict):
                raise ValueError(f"expected an object, got {type(values).__name__}")
            cells = [_Cell(_name(key), _written(values[key]), number, False) for key in values]
        except (ValueError, RecursionError):
            bad.append(number)
            continue
        names.update(dict.fromkeys(cell.name for cell in cells))
        extracts.append(_extract(len(extracts) + 1, cells, columns, encoding))
    if not extracts:
        raise LoadError("has no JSON objects; expected one on each line")
    _require(list(names), columns)
    note = None
    if bad:
        note = f"{len(bad)} of its lines are no JSON objects, such as line {bad[0]}; left out"
    return _reading(extracts, note)


def _reading(extracts: Sequence[Extract | None], note: str | None) -> Reading:
    found = [extract for extract in extracts if extract is not None]
    if not found:
        raise LoadError("has no text in any of its rows")
    return Reading(found, note)


def _records(
    lines: Sequence[str], delimiter: str, *, strict: bool
) -> Iterator[tuple[int, list[str]]]:
    """The records that are not blank, each with the line on which it begins."""
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(lines, delimiter=delimiter, strict=strict)
    line = 1
    for values in reader:
        if any(value.strip() for value in values):
            yield line, values
        line = reader.line_num + 1


def _delimiter(lines: Sequence[str]) -> str:
    """The one that cuts the first records into the most columns, equally many in each."""

    def evenness(delimiter: str) -> tuple[float, int]:
        widths: list[int] = []
        for _, values in _records(lines[: 4 * _SNIFFED_ROWS], delimiter, strict=False):
            widths.append(len(values))
            if len(widths) == _SNIFFED_ROWS:
                break
        if not widths or widths[0] == 1:
            return 0.0, 1
        return widths.count(widths[0]) / len(widths), widths[0]

    best = max(_DELIMITERS, key=evenness)
    return best if evenness(best)[1] > 1 else _NO_DELIMITER


def _cells(names: Sequence[str], values: Sequence[str], line: int) -> Iterator[_Cell]:
    """The row's cells by name; those beyond the header are numbered."""
    for at, value in enumerate(values):
        name = names[at] if at < len(names) else f"column {at + 1}"
        yield _Cell(name, value, line, True)
        line += len(_LINE_END.findall(value))


class _Number(str):
    """A number as the file writes it: 19.90 is not 19.9 in a quote."""

    __slots__ = ()


_DECODER = json.JSONDecoder(parse_float=_Number, parse_int=_Number, parse_constant=_Number)


def _name(key: str) -> str:
    return " ".join(whole(key).split())


def _written(value: object) -> str:
    """A JSON value as text: a list of plain ones with commas, anything deeper as JSON."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and not any(isinstance(item, list | dict) for item in value):
        return ", ".join(_written(item) for item in value)
    return _as_json(value)


def _as_json(value: object) -> str:
    if isinstance(value, _Number):
        return value
    if isinstance(value, list):
        return f"[{', '.join(map(_as_json, value))}]"
    if isinstance(value, dict):
        pairs = (f"{_as_json(key)}: {_as_json(item)}" for key, item in value.items())
        return f"{{{', '.join(pairs)}}}"
    return json.dumps(value, ensure_ascii=False)


def _require(names: Sequence[str], columns: Columns) -> None:
    """Refuse columns that the file does not have; of several text columns one will do."""
    asked = [] if set(columns.text) & set(names) else list(columns.text)
    if columns.title and columns.title not in names:
        asked.append(columns.title)
    if asked:
        raise LoadError(
            f"has no column {' or '.join(map(repr, asked))}; it has {', '.join(map(repr, names))}"
        )


def _extract(row: int, cells: Sequence[_Cell], columns: Columns, encoding: str) -> Extract | None:
    """The row as a document; None when it has no text."""
    main = _main_column(cells, columns)
    text = ""
    anchors: list[tuple[int, int]] = []
    after_main = False
    for cell in _chosen(cells, columns):
        value = whole(cell.value)
        stripped = value.strip()
        if not stripped:
            continue
        is_main = cell.name == main
        if text:
            text += "\n\n" if is_main or after_main else "\n"
        after_main = is_main
        line = cell.line
        if cell.breaks:
            line += len(_LINE_END.findall(value[: len(value) - len(value.lstrip())]))
        anchors.append((len(text), line))
        if not is_main and cell.name:
            text += f"{cell.name}: "
        if not cell.breaks:
            anchors.extend((len(text) + end.end(), line) for end in _LINE_END.finditer(stripped))
        text += stripped
    if not text:
        return None
    return Extract(
        text,
        title=_title(cells, columns),
        encoding=encoding,
        row=row,
        line_anchors=tuple(anchors),
    )


def _chosen(cells: Sequence[_Cell], columns: Columns) -> Iterable[_Cell]:
    if not columns.text:
        return cells
    return [cell for name in columns.text for cell in cells if cell.name == name]


def _main_column(cells: Sequence[_Cell], columns: Columns) -> str | None:
    """The column that stands alone: the one asked for, or one that is called text or the like."""
    if columns.text:
        return columns.text[0] if len(columns.text) == 1 else None
    return _first_called(_MAIN_COLUMNS, cells)


def _first_called(names: Sequence[str], cells: Sequence[_Cell]) -> str | None:
    """The column with the first of these names that there is, in capitals or not."""
    found = {cell.name.lower(): cell.name for cell in reversed(cells)}
    return next((found[name] for name in names if name in found), None)


def _title(cells: Sequence[_Cell], columns: Columns) -> str | None:
    """The title column's value; the first column's where none is called so, unless it is a number.

    None where it is empty or long, and where the first column is the text.
    """
    name = columns.title or _first_called(_TITLE_COLUMNS, cells)
    if name is None and cells and not _NUMBER.fullmatch(cells[0].value):
        is_text = cells[0].name == _first_called(_MAIN_COLUMNS, cells)
        name = None if is_text else cells[0].name
    value = next((cell.value for cell in cells if cell.name == name), "")
    title = " ".join(whole(value).split())
    return title if 0 < len(title) <= _TITLE_CHARS else None
