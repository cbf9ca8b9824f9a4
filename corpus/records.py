"""What flows through the house: frozen records, made once and never edited.

Offsets are half-open and count Unicode code points of `Document.text`.
"""

import bisect
import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

__all__ = ["Document", "ModelIdentity", "Passage", "Recipe", "document_id"]

_LINE_END = re.compile(r"\r\n|\n|\r")


@dataclass(frozen=True)
class Document:
    """One readable text: a file, or one row of a table.

    Not slotted, unlike its siblings, because it caches where its lines start.
    """

    id: str
    """16 hex digits, stable over edits; see `document_id`."""
    source: Path
    """The file's absolute path."""
    row: int | None
    """Which row of the file, from 1; None where the file is one document."""
    title: str
    text: str
    """What offsets count in. Never changes after loading."""
    sha256: str
    """Of the file's bytes."""
    loader: str
    """Which loader made the text, with its version and settings: `text/1`."""
    encoding: str | None
    """The codec the bytes were decoded with; None where the format fixes it."""
    date: str | None = None
    """When it was published or made, YYYY-MM-DD, as the file's own metadata say."""
    page_starts: tuple[int, ...] = ()
    """Offset at which each page starts; empty where the format has no pages."""
    line_anchors: tuple[tuple[int, int], ...] = ()
    """Pairs of an offset and the file's line there. On from it, each line end of the text
    is one of the file. Empty where the file has no lines that a person would count."""

    @property
    def kind(self) -> str:
        """The format: its loader's name."""
        return self.loader.partition("/")[0]

    @cached_property
    def _line_starts(self) -> list[int]:
        return [end.end() for end in _LINE_END.finditer(self.text)]

    def line(self, offset: int) -> int | None:
        r"""The file's line that holds the offset, from 1; None where it has none.

        Lines end at \n, \r\n or \r and at nothing else.
        """
        at = bisect.bisect_right(self.line_anchors, offset, key=lambda anchor: anchor[0])
        if at == 0:
            return None
        anchored, line = self.line_anchors[at - 1]
        starts = self._line_starts
        return line + bisect.bisect_right(starts, offset) - bisect.bisect_right(starts, anchored)

    def page(self, offset: int) -> int | None:
        """The page that holds the offset, from 1; None where the format has no pages."""
        return bisect.bisect_right(self.page_starts, offset) if self.page_starts else None


@dataclass(frozen=True, slots=True)
class Passage:
    """A run of sentences of one document: `document.text[start:end] == text`, always."""

    id: int
    """Never reused, also when the passage is gone."""
    document_id: str
    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Which model: a name for people, and the hash of its weights for certainty."""

    name: str
    """A preset's model, or the folder it was loaded from."""
    sha256: str

    def __str__(self) -> str:
        return f"{self.name} (weights {self.sha256[:12]})"


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides what an index answers besides its documents; stored in it."""

    encoder: ModelIdentity
    reader: ModelIdentity
    models: str
    """What `--models` said: a preset's name or a folder."""
    passage_tokens: int
    """The largest passage, in the encoder's tokens without special ones."""
    overlap_tokens: int
    """How many tokens, at most, a passage repeats of the one before it."""
    dense_weight: float
    """Weight of the dense search in the fused score; BM25 has the rest. In [0, 1]."""


def document_id(path: Path, row: int | None = None) -> str:
    """The id of the document at this path: 16 hex digits of sha256(path + "#" + row).

    >>> document_id(Path("/a.txt")) == document_id(Path("/a.txt"), row=1)
    False
    """
    name = f"{path}#{'' if row is None else row}"
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:16]
