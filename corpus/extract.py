"""What a loader makes of a file's bytes, and what it may be told."""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["DEFAULT_COLUMNS", "Columns", "Extract", "Reading"]


@dataclass(frozen=True, slots=True)
class Extract:
    """One document's text, before it is known which file it came from.

    The fields mean what they mean in `Document`.
    """

    text: str
    title: str | None = None
    date: str | None = None
    encoding: str | None = None
    row: int | None = None
    page_starts: tuple[int, ...] = ()
    line_anchors: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns of a table, or keys of JSON lines, to use; empty means to choose."""

    text: tuple[str, ...] = ()
    """The document is made of these, in this order."""
    title: str | None = None


DEFAULT_COLUMNS = Columns()
"""Let the loader choose."""


@dataclass(frozen=True, slots=True)
class Reading:
    """All that a loader makes of one file."""

    extracts: Sequence[Extract]
    note: str | None = None
    """What was left unread, for the user; None where nothing was."""
