"""Gold questions: articles, their paragraphs, and questions with the spans that answer them."""

import gzip
import json
import lzma
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corpus.errors import GoldError

__all__ = ["Article", "GoldSpan", "Paragraph", "Question", "read_squad"]


_MALFORMED = (LookupError, TypeError, AttributeError, ValueError, OSError, EOFError, lzma.LZMAError)


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


def read_squad(path: Path) -> list[Article]:
    """The articles of a SQuAD 1.1 or 2.0 file (.json, .json.gz or .json.xz).

    Raises:
        GoldError: the file is not SQuAD's format, or an answer's characters are
            not those of its paragraph at the given offset.
    """
    try:
        data = json.loads(_bytes(path))
        return [
            Article(str(article.get("title", "")), tuple(_paragraphs(path, article)))
            for article in data["data"]
        ]
    except FileNotFoundError:
        raise GoldError(f"no gold file at {path}") from None
    except IsADirectoryError:
        raise GoldError(f"{path} is a folder; expected a SQuAD file") from None
    except (
        KeyError,
        TypeError,
        AttributeError,
        ValueError,
        EOFError,
        OSError,
        lzma.LZMAError,
    ) as error:
        raise GoldError(
            f"{path} is not SQuAD JSON ({type(error).__name__}: {error}); expected"
            ' {"data": [{"title", "paragraphs": [{"context", "qas": [...]}]}]}'
        ) from error


def _bytes(path: Path) -> bytes:
    data = path.read_bytes()
    if path.suffix == ".gz":
        return gzip.decompress(data)
    return lzma.decompress(data) if path.suffix == ".xz" else data


def _paragraphs(path: Path, article: dict[str, Any]) -> Iterator[Paragraph]:
    for paragraph in article["paragraphs"]:
        text = paragraph["context"]
        yield Paragraph(text, tuple(_question(path, text, entry) for entry in paragraph["qas"]))


def _question(path: Path, text: str, entry: dict[str, Any]) -> Question:
    spans = []
    # SQuAD 2.0 leaves `answers` empty where `is_impossible` is true.
    for answer in entry["answers"]:
        start, quote = answer["answer_start"], answer["text"]
        seen = text[start : start + len(quote)]
        if seen != quote or not quote:
            raise GoldError(
                f"{path}: question {entry['id']}: the paragraph has {seen!r} at {start},"
                f" the answer is {quote!r}; answer_start counts code points from 0"
            )
        spans.append(GoldSpan(start, start + len(quote), quote))
    return Question(str(entry["id"]), entry["question"], tuple(dict.fromkeys(spans)))
