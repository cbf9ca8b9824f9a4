"""Measure the whole tool, from question to cited answer, on gold questions.

    python -m eval.run gold.json --distractors more.json --work /tmp/run

Each article becomes one text file, its paragraphs parted by a blank line; the
paragraphs of other files join the corpus as distractors.
"""

import argparse
import json
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from corpus.records import document_id
from embeddings.search import Hit
from qa.answers import exact_match, f1
from qa.gold import Article, read_squad
from qa.indexing import index_files
from qa.pipeline import Pipeline

__all__ = [
    "Gold",
    "Outcome",
    "index_corpus",
    "measure",
    "parser",
    "summary",
    "write_articles",
    "write_paragraphs",
]

_SEPARATOR = "\n\n"


@dataclass(frozen=True, slots=True)
class Gold:
    """A question with the places that answer it, in the files written for it."""

    id: str
    question: str
    golds: tuple[str, ...]
    spans: tuple[tuple[str, int, int], ...]
    """Document id, start and end; empty where the documents do not answer it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one question."""

    id: str
    question: str
    golds: tuple[str, ...]
    best: str
    """The best answer, whether or not it was sure enough to be given."""
    score: float | None
    """Its ranking score; None where nothing was found."""
    confidence: float
    answered: bool
    em: float
    """Of the best answer, as if it were always given."""
    f1: float
    hit_rank: int | None
    """Rank of the first passage that holds a whole gold span."""
    seconds: float


def write_articles(articles: Sequence[Article], folder: Path) -> list[Gold]:
    """Write each article as one text file; its questions with their spans in that file.

    The folder is emptied first.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    gold: list[Gold] = []
    for number, article in enumerate(articles):
        name = re.sub(r"[^\w .,()-]+", "_", article.title)[:80] or "untitled"
        path = (folder / f"{name}.{number}.txt").absolute()
        text = _SEPARATOR.join(paragraph.text for paragraph in article.paragraphs)
        path.write_text(text, encoding="utf-8", newline="")
        gold.extend(_gold(article, document_id(path)))
    return gold


def write_paragraphs(articles: Sequence[Article], folder: Path) -> list[Gold]:
    """Write each paragraph as a text file of its own; otherwise as `write_articles`."""
    return write_articles(
        [Article(a.title, (paragraph,)) for a in articles for paragraph in a.paragraphs], folder
    )


def _gold(article: Article, document: str) -> Iterator[Gold]:
    offset = 0
    for paragraph in article.paragraphs:
        for question in paragraph.questions:
            spans = tuple((document, offset + s.start, offset + s.end) for s in question.spans)
            yield Gold(question.id, question.text, question.golds, spans)
        offset += len(paragraph.text) + len(_SEPARATOR)


def measure(pipeline: Pipeline, gold: Sequence[Gold], *, read: int = 10) -> Iterator[Outcome]:
    """Ask every question; one outcome each, in order."""
    for item in gold:
        started = time.perf_counter()
        result = pipeline.ask(item.question, read=read)
        seconds = time.perf_counter() - started
        best = result.answers[0] if result.answers else None
        text = best.text if best else ""
        yield Outcome(
            id=item.id,
            question=item.question,
            golds=item.golds,
            best=text,
            score=best.score if best else None,
            confidence=best.confidence if best else 0.0,
            answered=result.answered,
            em=exact_match(text, item.golds),
            f1=f1(text, item.golds),
            hit_rank=_hit_rank(result.hits, item),
            seconds=seconds,
        )


def _hit_rank(hits: Sequence[Hit], gold: Gold) -> int | None:
    for hit in hits:
        passage = hit.passage
        for document, start, end in gold.spans:
            if document == passage.document_id and passage.start <= start and end <= passage.end:
                return hit.rank
    return None


def summary(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Means over the answerable questions, in percent, and over all of them with abstention."""
    answerable = [outcome for outcome in outcomes if outcome.golds]
    n = max(1, len(answerable))
    seconds = sorted(outcome.seconds for outcome in outcomes)
    return {
        "questions": len(outcomes),
        "answerable": len(answerable),
        **{
            f"recall@{k}": 100 * sum((o.hit_rank or k + 1) <= k for o in answerable) / n
            for k in (1, 5, 10)
        },
        "em": 100 * sum(o.em for o in answerable) / n,
        "f1": 100 * sum(o.f1 for o in answerable) / n,
        "f1_with_abstention": 100 * sum(map(_abstaining_f1, outcomes)) / max(1, len(outcomes)),
        "seconds_p50": seconds[len(seconds) // 2],
        "seconds_p95": seconds[int(0.95 * len(seconds))],
    }


def _abstaining_f1(outcome: Outcome) -> float:
    return outcome.f1 if outcome.answered else float(not outcome.golds)


def index_corpus(
    work: Path, articles: Sequence[Article], distractors: Sequence[Path], models: str
) -> list[Gold]:
    """Index the articles, and the paragraphs of other files, under `work`; the articles' gold."""
    gold = write_articles(articles, work / "gold")
    folders = [work / "gold"]
    for number, path in enumerate(distractors):
        folders.append(work / f"distractors-{number}")
        write_paragraphs(read_squad(path), folders[-1])
    index_files(work / "index", folders, models=models)
    return gold


def parser(description: str) -> argparse.ArgumentParser:
    """The options that measuring and fitting share."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("gold", type=Path, help="SQuAD JSON")
    options.add_argument("--distractors", type=Path, action="append", default=[])
    options.add_argument("--work", type=Path, required=True, help="folder for documents and index")
    options.add_argument("--models", default="bundled")
    return options


def main() -> None:
    """Measure and print the summary as JSON."""
    options = parser("Measure the whole tool on gold questions.")
    options.add_argument("--limit", type=int, help="only the first so many questions")
    options.add_argument("--outcomes", type=Path, help="write one JSON line a question")
    arguments = options.parse_args()

    articles = read_squad(arguments.gold)
    gold = index_corpus(arguments.work, articles, arguments.distractors, arguments.models)
    with Pipeline.open(arguments.work / "index") as pipeline:
        outcomes = list(measure(pipeline, gold[: arguments.limit]))
    if arguments.outcomes:
        lines = (json.dumps(asdict(outcome)) + "\n" for outcome in outcomes)
        arguments.outcomes.write_text("".join(lines), encoding="utf-8")
    print(json.dumps(summary(outcomes), indent=1))


if __name__ == "__main__":
    main()
