"""Gold questions, with the places that answer them in the documents of an index."""

import hashlib
import os
import random
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from tempfile import mkdtemp

from corpus.database import DocumentSummary
from corpus.durable import place
from corpus.errors import GoldError, InputError
from corpus.records import document_id
from corpus.store import Snapshot
from embeddings.encoder import Encoder
from embeddings.exports import user_cache
from embeddings.follow import Changes
from embeddings.mining import mine
from qa.answers import normalise, without
from qa.gold import (
    Article,
    GoldRow,
    Paragraph,
    Place,
    Question,
    packed_suffix,
    read_rows,
    read_squad,
)
from qa.indexing import index_files, own_index
from qa.settings import DENSE_WEIGHT

__all__ = [
    "Gold",
    "gold_on",
    "index_own",
    "is_squad",
    "place_rows",
    "refuse_distractors",
    "require_indexed",
    "squad_contexts",
    "unplaced",
    "write_articles",
    "write_paragraphs",
    "wrong_contexts",
]

_SEPARATOR = "\n\n"
_MARK, _CODEC = "\ufeff", "utf-16-be"
"""Each file begins with the mark of its codec, so that it is read as text even where its first
paragraph begins as HTML or PDF does."""
_FORMAT = b"2"
"""Goes up when other files are made of the same articles: those of before are not to be found."""
_NAME_CHARS = 60
"""Of a title in a file's name, which has room for 255 bytes."""
_LOOK_ALIKES = 20
"""Among so many of the best paragraphs one without the answer is looked for."""


@dataclass(frozen=True, slots=True)
class Gold:
    """A question with the places that answer it in the documents of an index."""

    id: str
    question: str
    golds: tuple[str, ...]
    """Right answers; none where the documents do not answer it."""
    spans: tuple[Place, ...] = ()
    """Where they stand, by document id. Empty where that is not known, or nowhere."""
    tags: tuple[str, ...] = ()
    paragraph: Place | None = None
    """What it was asked about; None where that is not known."""
    absent: tuple[str, ...] = ()
    """Documents that the gold names and the index has not."""
    article: str | None = None
    """The one it was asked about, where that is no document of the index."""

    @property
    def placed(self) -> bool:
        """Whether the gold says where the answer stands, so that search can be measured."""
        return bool(self.spans or self.absent)


def refuse_distractors(distractors: Sequence[Path], *, own: bool) -> None:
    """Make sure that there is something for distractors to join.

    Args:
        distractors: SQuAD files, or none.
        own: whether the documents are the paragraphs of a SQuAD file, which is to be searched.

    Raises:
        InputError: they are not.
    """
    if distractors and not own:
        raise InputError(
            "--distractors join the paragraphs of a SQuAD file that is searched; leave out --index,"
            " --docs, --sample and --reader-only, or add the documents with --docs"
        )


def is_squad(path: Path) -> bool:
    """Whether the file is to be read as SQuAD's JSON: by its suffix.

    Raises:
        GoldError: the suffix is that of no gold format.
    """
    suffix = packed_suffix(path)
    if suffix not in {".json", ".jsonl", ".ndjson", ".csv"}:
        raise GoldError(
            f"{path}: expected SQuAD's .json, .jsonl or .csv (each also .gz or .xz), or a BEIR"
            " folder with corpus.jsonl, queries.jsonl and qrels/"
        )
    return suffix == ".json"


def gold_on(path: Path, snapshot: Snapshot) -> list[Gold]:
    """The questions of the file, for the documents of this index and not for the file's own.

    Raises:
        GoldError: the file is malformed, or does not fit the documents.
    """
    return unplaced(path) if is_squad(path) else place_rows(path, snapshot)


def unplaced(path: Path) -> list[Gold]:
    """The questions of a SQuAD file without their places, for documents other than its own."""
    return [
        Gold(question.id, question.text, question.golds, article=f"{number}")
        for number, _, question in _asked(_articles(path))
    ]


def squad_contexts(path: Path) -> list[tuple[Gold, str]]:
    """The questions of a SQuAD file, each with its paragraph; `Place`s count in paragraphs."""
    return [
        (_gold(question, Place(f"{number}", 0, len(paragraph.text))), paragraph.text)
        for number, paragraph, question in _asked(_articles(path))
    ]


def wrong_contexts(
    path: Path, asked: Sequence[tuple[Gold, str]], encoder: Encoder, n: int, *, seed: int = 13
) -> list[tuple[Gold, str]]:
    """Questions that their text does not answer: what a reader is to say nothing to.

    Each is one of the answerable questions, drawn at random, with the best paragraph
    that search finds for it in the file in which none of its answers stands. Its id is
    that of the question with "/wrong" behind it.

    Raises:
        GoldError: there are not so many.
    """
    texts = list(dict.fromkeys(text for _, text in squad_contexts(path)))
    answerable = [item for item, _ in asked if item.golds]
    drawn = random.Random(seed).sample(answerable, len(answerable))
    made: list[tuple[Gold, str]] = []
    found = mine(
        encoder, [item.question for item in drawn], texts, k=_LOOK_ALIKES, dense_weight=DENSE_WEIGHT
    )
    for item, positions in zip(drawn, found, strict=True):
        wrong = next(without((texts[position] for position in positions), item.golds), None)
        if wrong is not None and len(made) < n:
            made.append((replace(item, id=f"{item.id}/wrong", golds=(), spans=()), wrong))
    if len(made) < n:
        raise GoldError(f"{path} allows {len(made)} questions with a wrong paragraph, not {n}")
    return made


def place_rows(path: Path, snapshot: Snapshot) -> list[Gold]:
    """The questions of a JSON lines or CSV file, placed in the documents of the index.

    Raises:
        GoldError: a row is malformed, names several documents at once, or its span
            does not hold one of its answers; the row is named.
    """
    summaries = snapshot.summaries()
    named: dict[str, set[str]] = {}
    for summary in summaries:
        for name in _names(summary):
            named.setdefault(name, set()).add(summary.id)

    @lru_cache(maxsize=64)
    def text(id_: str) -> str:
        return snapshot.document(id_).text

    return [_placed(row, named, text, path) for row in read_rows(path)]


def _names(summary: DocumentSummary) -> Iterator[str]:
    yield summary.id
    yield summary.title
    parts = summary.source.parts
    for n in range(1, len(parts) + 1):
        yield str(Path(*parts[-n:]))


def _placed(
    row: GoldRow, named: dict[str, set[str]], text: Callable[[str], str], path: Path
) -> Gold:
    where = f"{path}: question {row.id!r}"
    spans, absent = [], []
    answers = {normalise(answer) for answer in row.answers}
    for span in row.spans:
        ids = sorted(named.get(span.document) or named.get(str(Path(span.document))) or ())
        if len(ids) > 1:
            raise GoldError(f"{where}: {span.document!r} names {len(ids)} documents; give an id")
        if not ids:
            absent.append(span.document)
            continue
        quote = text(ids[0])[span.start : span.end]
        if normalise(quote) not in answers:
            raise GoldError(
                f"{where}: {span.document} has {quote!r} at {span.start}:{span.end}, which is none"
                f" of its answers ({', '.join(map(repr, row.answers))}); offsets count in what"
                " `citespan show` prints"
            )
        spans.append(Place(ids[0], span.start, span.end))
    return Gold(
        id=row.id,
        question=row.question,
        golds=row.answers,
        spans=tuple(spans),
        tags=row.tags,
        absent=tuple(dict.fromkeys(absent)),
    )


def write_articles(articles: Sequence[Article], folder: Path) -> list[Gold]:
    """Write each article as one text file; its questions with their spans in that file.

    The folder is emptied first. An article without text becomes no file.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for path, article in _files(articles, folder):
        text = _SEPARATOR.join(paragraph.text for paragraph in article.paragraphs)
        if text.strip():
            path.write_text(_MARK + text, encoding=_CODEC, newline="")
    return _golds(articles, folder)


def write_paragraphs(articles: Sequence[Article], folder: Path) -> list[Gold]:
    """Write each paragraph as a text file of its own; otherwise as `write_articles`."""
    return write_articles(
        [Article(a.title, (paragraph,)) for a in articles for paragraph in a.paragraphs], folder
    )


def _files(articles: Sequence[Article], folder: Path) -> Iterator[tuple[Path, Article]]:
    """The file that each article becomes; none is hidden, however it is called."""
    folder = Path(os.path.abspath(folder))  # As it is indexed, for the documents' ids.
    for number, article in enumerate(articles):
        name = re.sub(r"[^\w .,()-]+", "_", article.title)[:_NAME_CHARS] or "untitled"
        yield folder / f"{number}-{name}.txt", article


def _golds(articles: Sequence[Article], folder: Path) -> list[Gold]:
    golds: list[Gold] = []
    for path, article in _files(articles, folder):
        document, offset = document_id(path), len(_MARK)
        for paragraph in article.paragraphs:
            place = Place(document, offset, offset + len(paragraph.text))
            golds.extend(_gold(question, place) for question in paragraph.questions)
            offset += len(paragraph.text) + len(_SEPARATOR)
    return golds


def _gold(question: Question, paragraph: Place) -> Gold:
    spans = tuple(
        Place(paragraph.document, paragraph.start + s.start, paragraph.start + s.end)
        for s in question.spans
    )
    return Gold(question.id, question.text, question.golds, spans, paragraph=paragraph)


def index_own(
    path: Path,
    distractors: Sequence[Path],
    models: str,
    *,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[Path, list[Gold]]:
    """An index of a SQuAD file's own paragraphs, in the user's cache, and its questions.

    The next run with files of the same contents embeds nothing.

    Args:
        path: the questions with their paragraphs.
        distractors: SQuAD files whose paragraphs join the documents, each as one.
        models: as in `--models`.
        progress: receives a line now and then.

    Raises:
        GoldError: the questions are malformed, or a paragraph cannot be indexed.
    """
    articles = _articles(path)
    digest = hashlib.sha256(_FORMAT)
    for file in (path, *distractors):
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    folder = user_cache() / "gold" / digest.hexdigest()[:16]
    if not (folder / "files").exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial = Path(mkdtemp(dir=folder))
        write_articles(articles, partial / "gold")
        for number, file in enumerate(distractors):
            write_paragraphs(read_squad(file), partial / f"distractors-{number}")
        try:
            place(partial, folder / "files")
        except OSError:  # Another process was faster.
            shutil.rmtree(partial)
    index = own_index([folder / "files"], models, purpose="gold", progress=progress)
    changes = index_files(index, [folder / "files"], models=models, progress=progress)
    require_indexed(path, changes)
    return index, _golds(articles, folder / "files" / "gold")


def require_indexed(path: Path, changes: Changes) -> None:
    """Make sure that all texts of the gold were read: what is missing would count as not found.

    Raises:
        GoldError: one was not, for the reason given.
    """
    for file, reason in {**changes.skipped, **changes.failed}.items():
        raise GoldError(f"{path}: its texts could not be indexed ({file}: {reason})")


def _articles(path: Path) -> list[Article]:
    """The articles of a SQuAD file, each question of which has an id of its own."""
    articles = read_squad(path)
    counts = Counter(question.id for _, _, question in _asked(articles))
    if not counts:
        raise GoldError(f"{path} holds no questions")
    ((id_, most),) = counts.most_common(1)
    if most > 1:
        raise GoldError(f"{path}: {most} questions have the id {id_!r}; every one needs its own")
    return articles


def _asked(articles: Sequence[Article]) -> Iterator[tuple[int, Paragraph, Question]]:
    """Every question with its paragraph, and which article that is of."""
    for number, article in enumerate(articles):
        for paragraph in article.paragraphs:
            for question in paragraph.questions:
                yield number, paragraph, question
