"""A conversation: what was asked and answered, kept by the visitor's browser and nowhere else."""

import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydantic import TypeAdapter, ValidationError

from corpus.errors import CitespanError
from qa.render import harmless
from qa.results import Answer, Citation, Result

__all__ = [
    "NEAREST",
    "Near",
    "Turn",
    "Verdict",
    "as_markdown",
    "export_json",
    "failed",
    "given",
    "in_words",
    "kept",
    "replaced",
    "restored",
    "turn_of",
]

Verdict: TypeAlias = Literal["right", "wrong", "marked", "unanswerable"]
"""What the visitor said of the answer: `wrong` alone, or with the right span marked, or that the
documents do not answer the question."""
_MOST_TURNS = 200
NEAREST = 3
"""How much is offered where nothing answers."""
_LIKELY = ((0.85, "very likely"), (0.6, "likely"), (0.35, "uncertain"), (0.0, "doubtful"))
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~&:@])")


@dataclass(frozen=True, slots=True)
class Near:
    """A passage that was read, for a question that none answers."""

    document: str
    title: str
    source: str
    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Turn:
    """A question with what came of it."""

    id: str
    question: str
    asked_at: float
    """Seconds since 1970."""
    threshold: float = 0.0
    answers: tuple[Answer, ...] = ()
    nearest: tuple[Near, ...] = ()
    """The best passages, where none answers."""
    dates: Mapping[str, str] = field(default_factory=dict)
    """When the cited documents were made, by their ids, where they say so."""
    seconds: float = 0.0
    topic: str = ""
    """What was searched for: the question, after what it follows."""
    follows: str | None = None
    """What it was understood to follow."""
    verdict: Verdict | None = None
    error: str | None = None
    """Why there is no result."""

    @property
    def answered(self) -> bool:
        """Whether an answer is sure enough to be given."""
        return bool(given(self))

    def citation(self, answer: int, citation: int) -> Citation:
        """One of its citations.

        Raises:
            IndexError: there is none.
        """
        if min(answer, citation) < 0:
            raise IndexError(answer, citation)
        return self.answers[answer].citations[citation]

    @property
    def citations(self) -> list[tuple[int, int]]:
        """The positions of what the page shows of its citations: of the answer, and in it."""
        shown = given(self)
        if not shown:
            return [(n, 0) for n in range(len(self.answers[:NEAREST]))]
        return [(n, c) for n in shown for c in range(len(self.answers[n].citations))]


_ADAPTER = TypeAdapter(list[Turn])


def turn_of(
    question: str,
    result: Result,
    *,
    titles: Mapping[str, tuple[str, str]],
    dates: Mapping[str, str],
    topic: str,
    follows: str | None = None,
) -> Turn:
    """The turn that this result makes.

    Args:
        question: as the visitor asked it.
        result: what the pipeline said.
        titles: title and source of the documents whose passages were read, by id; those that were
            removed since are left out.
        dates: when documents were made, by id.
        topic: what was searched for.
        follows: what the question was understood to follow.
    """
    there = [hit for hit in result.hits if hit.passage.document_id in titles]
    nearest = [] if result.answered else there[:NEAREST]
    return Turn(
        id=secrets.token_hex(6),
        question=question,
        asked_at=time.time(),
        threshold=result.threshold,
        answers=result.answers,
        nearest=tuple(
            Near(
                hit.passage.document_id,
                *titles[hit.passage.document_id],
                hit.passage.start,
                hit.passage.end,
                hit.passage.text,
            )
            for hit in nearest
        ),
        dates=dict(dates),
        seconds=result.seconds.total,
        topic=topic,
        follows=follows,
    )


def failed(question: str, error: CitespanError) -> Turn:
    """The turn of a question that could not be asked."""
    return Turn(secrets.token_hex(6), question, time.time(), error=str(error))


def kept(turns: Sequence[Turn]) -> list[dict[str, Any]]:
    """The turns as the browser keeps them; only the latest where there are very many."""
    dumped: list[dict[str, Any]] = _ADAPTER.dump_python(list(turns[-_MOST_TURNS:]), mode="json")
    return dumped


def restored(stored: Any) -> list[Turn]:
    """The turns that the browser kept; none where it holds something else, such as older ones."""
    try:
        turns = _ADAPTER.validate_python(stored or [])
    except ValidationError:
        return []
    return turns if all(answer.citations for turn in turns for answer in turn.answers) else []


def replaced(turns: Sequence[Turn], turn: Turn) -> list[Turn]:
    """The turns with this one in the place of the one with its id."""
    return [turn if each.id == turn.id else each for each in turns]


def in_words(confidence: float) -> str:
    """How far to trust an answer of this confidence.

    >>> in_words(0.91), in_words(0.2)
    ('very likely', 'doubtful')
    """
    return next(word for least, word in _LIKELY if confidence >= least)


def given(turn: Turn) -> list[int]:
    """Positions of the answers that reach the threshold; none where the documents do not say."""
    return [n for n, answer in enumerate(turn.answers) if answer.confidence >= turn.threshold]


def export_json(turns: Sequence[Turn]) -> dict[str, Any]:
    """The conversation as `citespan verify` checks it."""
    return {
        "citespan": version("citespan"),
        "exported_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "turns": [
            {"answered": turn.answered, **_ADAPTER.dump_python([turn], mode="json")[0]}
            for turn in turns
        ],
    }


def as_markdown(turns: Sequence[Turn]) -> str:
    """The conversation to read or to pass on; nothing in a document becomes markup."""
    blocks = ["# Questions and answers"]
    for turn in turns:
        asked = datetime.fromtimestamp(turn.asked_at, UTC).strftime("%Y-%m-%d %H:%M UTC")
        blocks.append(f"## {_plain(turn.question)}")
        blocks.append(f"*{asked}*" + (f", after “{_plain(turn.follows)}”" if turn.follows else ""))
        if turn.error:
            blocks.append(_plain(turn.error))
            continue
        if not turn.answered:
            blocks.append("The documents do not say.")
        for n in given(turn):
            answer = turn.answers[n]
            blocks.append(
                f"**{_plain(answer.text)}** ({in_words(answer.confidence)},"
                f" {answer.confidence:.0%})"
            )
            blocks.extend(_cited(citation) for citation in answer.citations)
        if turn.verdict:
            blocks.append(f"Marked by the reader: {turn.verdict}.")
    return "\n\n".join(blocks) + "\n"


def _cited(citation: Citation) -> str:
    at = citation.start - citation.sentence_start
    end = at + len(citation.quote)
    sentence = "".join(
        (
            _plain(citation.sentence[:at], strip=False),
            f"**{_plain(citation.quote)}**",
            _plain(citation.sentence[end:], strip=False),
        )
    )
    return f"> {sentence.strip()}\n>\n> {_plain(place(citation))}"


def place(citation: Citation) -> str:
    """Where the citation stands, for people."""
    parts = [
        citation.title,
        Path(citation.source).name,
        *([f"page {citation.page}"] if citation.page is not None else []),
        *([f"line {citation.line}"] if citation.line is not None else []),
        f"characters {citation.start}-{citation.end}",
    ]
    return ", ".join(parts)


def _plain(text: str, *, strip: bool = True) -> str:
    """The text on one line, with every sign that Markdown knows escaped."""
    line = re.sub(r"\s+", " ", harmless(text))
    return _MARKDOWN.sub(r"\\\1", line.strip() if strip else line)
