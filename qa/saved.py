"""Files of saved answers: what `ask` printed, JSON lines of it, or an exported conversation."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from corpus.errors import InputError

__all__ = ["citation_with", "objects", "read_saved"]


def read_saved(path: Path, expected: str) -> Any:
    """The one JSON value in the file, or a list of those of its lines.

    Args:
        path: the file.
        expected: what should have been in it, for the error's end.

    Raises:
        InputError: it cannot be read, or is neither JSON nor JSON lines.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    try:
        return json.loads(text)
    except RecursionError:
        raise InputError(f"{path} is nested too deeply; {expected}") from None
    except ValueError:
        lines = enumerate(text.split("\n"), 1)
        return [_parsed(path, number, line, expected) for number, line in lines if line.strip()]


def _parsed(path: Path, number: int, line: str, expected: str) -> Any:
    try:
        return json.loads(line)
    except RecursionError:
        raise InputError(f"{path}: line {number} is nested too deeply; {expected}") from None
    except ValueError as error:
        raise InputError(f"{path}: line {number} is not JSON ({error}); {expected}") from error


def objects(saved: Any) -> Iterator[dict[str, Any]]:
    """Every JSON object in the value, however deep, in the file's order; outer before inner.

    >>> list(objects([{"a": {"b": 1}}, 2]))
    [{'a': {'b': 1}}, {'b': 1}]
    """
    waiting = [saved]  # Not by recursion, which ends sooner than what JSON may nest.
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield value
            waiting.extend(reversed(value.values()))
        elif isinstance(value, list):
            waiting.extend(reversed(value))


def citation_with(
    citation: Any, kinds: Mapping[str, type], where: str, expected: str
) -> dict[str, Any]:
    """The citation, of which each of these keys holds a value of its type, `str` or `int`.

    Args:
        citation: any JSON value.
        kinds: the keys that are needed, with their types.
        where: what the error begins with.
        expected: what should have been in the file, for the error's end.

    Raises:
        InputError: it is no object, or lacks a key.
    """
    if not isinstance(citation, dict):
        raise InputError(f"{where} is {citation!r}, expected an object; {expected}")
    for key, kind in kinds.items():
        value = citation.get(key)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise InputError(
                f"{where} has {key} = {value!r}, expected"
                f" {'text' if kind is str else 'a whole number'}; {expected}"
            )
    return citation
