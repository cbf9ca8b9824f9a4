"""Text to passages: whole sentences, up to a number of the encoder's tokens, with overlap."""

import math
import re
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import sentencex

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["PARAGRAPH_END", "Extent", "sentence_around", "split"]

Extent: TypeAlias = tuple[int, int]
"""Start and end of a run of characters, half-open."""

_LINE = re.compile(r"[^\r\n\f]*(?:\r\n|[\r\n\f]|\Z)")
_WIDE_SPACE = re.compile(r"[^\S\x00-\x7f]")
_HEADING = re.compile(r"\s*#{1,6}\s")
_ITEM = re.compile(r"\s*(?:[-*+•]\s|\d{1,3}[.)]\s|\|)")

_CHARS_PER_TOKEN = 12
"""So many characters weigh at least one token. Prose has about five. Without it, a tokenizer that
makes one unknown token of a thousand letters would let a passage grow without end."""

_MAX_SENTENCE_CHARS = 20_000
"""Longer "sentences" (minified data, logs) are cut into such pieces before anything else. It is
also how far around a span its sentence is looked for."""

PARAGRAPH_END = re.compile(r"\f|(?:\r\n|\n|\r)[^\S\r\n]*(?:\r\n|\n|\r)")
"""A blank line or a page break. No sentence goes on after it, and no answer."""


class _Sentence(NamedTuple):
    start: int
    end: int
    block: int
    """Which paragraph, heading, list item or table row it belongs to, counted from 0."""
    heading: bool


class _Unit(NamedTuple):
    """What passages are packed from: a sentence, or a piece of one that is too long."""

    sentence: _Sentence
    start: int
    end: int
    size: int
    """In tokens; see `_size`."""


def split(
    text: str, tokenizer: "Tokenizer", *, max_tokens: int, overlap_tokens: int
) -> list[Extent]:
    """Where the passages of the text are, in order.

    A passage starts and ends with a sentence, prefers to end with a paragraph,
    and ends with a heading only where it holds nothing else that is new. Every
    non-space character lies in a passage.

    Args:
        text: the document's text.
        tokenizer: the encoder's, which neither truncates nor pads.
        max_tokens: the most tokens of one passage, special tokens not counted.
        overlap_tokens: the most tokens that a passage repeats of the one before,
            in whole sentences.
    """
    units = [
        unit
        for sentence in _sentences(text)
        for unit in _units(text, sentence, tokenizer, max_tokens)
    ]
    extents: list[Extent] = []
    first = new = 0  # Where the passage begins, and what of it no passage before it holds.
    while new < len(units):
        stop = _stop(units, first, new, max_tokens)
        # Tokens of a whole can outnumber those of its parts: a tokenizer may join across them.
        while stop - first > 1 and max_tokens < _size(
            tokenizer, text[units[first].start : units[stop - 1].end]
        ):
            if stop - 1 > new:
                stop -= 1
            else:
                first += 1
        extents.append((units[first].start, units[stop - 1].end))
        if stop < len(units):
            first = _repeat_from(units, first, stop, overlap_tokens, max_tokens)
        new = stop
    return extents


def sentence_around(text: str, start: int, end: int) -> Extent:
    """The sentence that holds `text[start:end]`, or the run of sentences it reaches into.

    A sentence longer than 20,000 characters on either side is cut there.
    """
    low, high = max(0, start - _MAX_SENTENCE_CHARS), min(len(text), end + _MAX_SENTENCE_CHARS)
    # Sentences end with paragraphs, so that the paragraph's are the text's own.
    low = max((match.end() for match in PARAGRAPH_END.finditer(text, low, start)), default=low)
    if match := PARAGRAPH_END.search(text, end, high):
        high = match.end()
    touching = [
        sentence
        for sentence in _sentences(text[low:high])
        if sentence.start < end - low and sentence.end > start - low
    ]
    if not touching:
        return start, end
    return min(start, low + touching[0].start), max(end, low + touching[-1].end)


def _stop(units: list[_Unit], first: int, new: int, max_tokens: int) -> int:
    """The index after the last unit of the passage that begins with unit `first`.

    Above `new`, the first unit that is not a repetition: every passage adds something.
    """

    def starts_block(unit: int) -> bool:
        return units[unit].sentence.block != units[unit - 1].sentence.block

    stop, size = first, 0
    block_stop, block_size = new, 0  # The same at the start of the last block.
    while stop < len(units) and (stop == first or size + units[stop].size <= max_tokens):
        if stop > new and starts_block(stop):
            block_stop, block_size = stop, size
        size += units[stop].size
        stop += 1
    if stop == len(units):
        return stop
    if not starts_block(stop) and block_size >= max_tokens / 2:
        stop = block_stop  # Rather a passage half full than a block cut in two.
    while stop - 1 > new and units[stop - 1].sentence.heading:
        stop -= 1
    return stop


def _repeat_from(
    units: list[_Unit], first: int, stop: int, overlap_tokens: int, max_tokens: int
) -> int:
    """Where the next passage begins: some sentences before `stop`, so that context carries over.

    Never so many that the next new unit would not fit, with the headings above it.
    """
    begin, size = stop, 0
    new = stop
    while new < len(units) - 1 and units[new].sentence.heading:
        new += 1
    room = min(overlap_tokens, max_tokens - sum(unit.size for unit in units[stop : new + 1]))
    while begin - 1 > first and size + units[begin - 1].size <= room:
        begin -= 1
        size += units[begin].size
    return begin


def _units(
    text: str, sentence: _Sentence, tokenizer: "Tokenizer", max_tokens: int
) -> Iterator[_Unit]:
    for low in range(sentence.start, sentence.end, _MAX_SENTENCE_CHARS):
        piece = _trim(text, low, min(low + _MAX_SENTENCE_CHARS, sentence.end))
        if piece is None:
            continue
        start, end = piece
        size = _size(tokenizer, text[start:end])
        if size <= max_tokens:
            yield _Unit(sentence, start, end, size)
        else:
            yield from _cut(text, sentence, start, end, tokenizer, max_tokens)


def _cut(
    text: str, sentence: _Sentence, start: int, end: int, tokenizer: "Tokenizer", max_tokens: int
) -> Iterator[_Unit]:
    """What is too long for a passage, in pieces that are not: at words, or within a long one."""
    from semantic_text_splitter import TextSplitter

    splitter = TextSplitter.from_callback(partial(_size, tokenizer), max_tokens, trim=False)
    for piece in splitter.chunks(text[start:end]):
        if trimmed := _trim(text, start, start + len(piece)):
            yield _Unit(sentence, *trimmed, _size(tokenizer, text[slice(*trimmed)]))
        start += len(piece)


def _sentences(text: str) -> Iterator[_Sentence]:
    """Every sentence, trimmed of white space, in order; together all non-space characters."""
    for block, (start, end, heading) in enumerate(_blocks(text)):
        while start < end:
            # In pieces: the time that sentencex takes grows with the square of the quotation marks
            # that are never closed. The last sentence may go on in the next piece.
            stop = min(end, start + _MAX_SENTENCE_CHARS)
            # White space of several bytes between an abbreviation and its full stop makes it
            # panic (seen with 1.0.32); to a sentence it is a space like any other.
            piece = _WIDE_SPACE.sub(" ", text[start:stop])
            cuts = [b["start_index"] for b in sentencex.get_sentence_boundaries("en", piece)]
            if stop < end and cuts and cuts[-1] > 0:
                stop = start + cuts.pop()
            for low, high in zip([0, *cuts], [*cuts, stop - start], strict=True):
                if trimmed := _trim(text, start + low, start + high):
                    yield _Sentence(*trimmed, block, heading)
            start = stop


def _blocks(text: str) -> Iterator[tuple[int, int, bool]]:
    """Start, end and "is a heading" of each block.

    Blocks are parted by blank lines and page breaks; headings, list items and
    table rows are blocks of their own.
    """
    start = 0
    heading = False
    for line in _LINE.finditer(text):
        content = line[0]
        is_heading = _HEADING.match(content) is not None
        if heading or is_heading or _ITEM.match(content) or not content.strip():
            if line.start() > start:
                yield start, line.start(), heading
            start, heading = line.start(), is_heading
        if content.endswith("\f"):
            yield start, line.end(), heading
            start, heading = line.end(), False
    if start < len(text):
        yield start, len(text), heading


def _trim(text: str, start: int, end: int) -> Extent | None:
    """The extent without white space at its ends; None when nothing is left."""
    piece = text[start:end]
    left = len(piece) - len(piece.lstrip())
    right = len(piece.rstrip())
    return (start + left, start + right) if left < right else None


def _size(tokenizer: "Tokenizer", text: str) -> int:
    """How many tokens the text has, or weighs by its characters where those are too many."""
    tokens = len(tokenizer.encode(text, add_special_tokens=False).ids)
    return max(tokens, math.ceil(len(text) / _CHARS_PER_TOKEN))
