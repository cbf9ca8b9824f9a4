"""What the program says of its own work: one JSON object a line, where a log was asked for.

    {"time": 1763650000.1, "process": 4711, "level": "info", "event": "asked", ...}

The library only says what happened, through the logger `citespan`; a face
decides where that goes. Until one does, nothing is written but the traceback of
a bug, to stderr, as Python does by itself.
"""

import json
import logging
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from corpus.errors import InputError

__all__ = ["Stages", "event", "failure", "log_to"]

_T = TypeVar("_T")
_LOGGER = logging.getLogger("citespan")
_STDERR = "-"


class Stages:
    """How many seconds each stage took; a stage may be entered again and again.

    What is spent in a stage within another counts for the inner one alone, so
    that the stages add up to no more than the whole.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._inside: list[str] = []
        self._since = 0.0

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Count what is done within as this stage."""
        self._settle()
        self._inside.append(name)
        try:
            yield
        finally:
            self._settle()
            self._inside.pop()

    def waiting(self, name: str, items: Iterable[_T]) -> Iterator[_T]:
        """The items; what is waited for them counts as this stage."""
        iterator, end = iter(items), object()
        while True:
            with self(name):
                item: Any = next(iterator, end)
            if item is end:
                return
            yield item

    def _settle(self) -> None:
        now = time.perf_counter()
        if self._inside:
            name = self._inside[-1]
            self.seconds[name] = self.seconds.get(name, 0.0) + now - self._since
        self._since = now


def event(name: str, **fields: Any) -> None:
    """Say that this happened, if anybody listens."""
    _LOGGER.info(name, extra={"event": name, "fields": fields})


def failure(error: BaseException, id_: str | None = None) -> str:
    """Say that there is a bug, with its traceback; the id comes back, by which it is found.

    Args:
        error: what nobody expected.
        id_: of the request in which it came up; by default a new one.
    """
    id_ = id_ or os.urandom(8).hex()
    _LOGGER.error("error %s", id_, exc_info=error, extra={"event": "bug", "fields": {"id": id_}})
    return id_


def log_to(place: str) -> None:
    """Write the log there from now on: at the end of a file, or for `-` to stderr.

    A new file can be read by its owner alone, since the log holds questions and paths.

    Raises:
        InputError: the file cannot be written.
    """
    if place == _STDERR:
        handler: logging.Handler = logging.StreamHandler()
    else:
        try:
            os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600))
            handler = logging.FileHandler(place, encoding="utf-8")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(
                f"no log can be written to {place!r}: {reason}; set CITESPAN_LOG to another file,"
                " or to - for stderr"
            ) from error
    handler.setFormatter(_Lines())
    _LOGGER.addHandler(handler)
    _LOGGER.setLevel(logging.INFO)
    _LOGGER.propagate = False


class _Lines(logging.Formatter):
    """Records as lines of JSON, in ASCII: nothing in them steers a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """The record on one line."""
        line = {
            "time": record.created,
            "process": record.process,
            "level": record.levelname.lower(),
            "event": getattr(record, "event", record.name),
            **getattr(record, "fields", {"message": record.getMessage()}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)
