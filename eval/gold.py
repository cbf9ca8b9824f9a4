"""Gold questions of every format, with the places that answer them in the documents of an index."""

import hashlib
import json
import random
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from corpus.database import DocumentSummary
from corpus.durable import place
from corpus.errors import GoldError
from corpus.extract import Columns
from corpus.records import document_id
from corpus.store import Snapshot
from embeddings.encoder import Encoder
from embeddings.exports import user_cache
from embeddings.mining import mine
from qa.answers import normalise, without
from qa.gold import Article, GoldRow, Place, Question, packed_suffix, read_rows, read_squad
from qa.indexing import MAX_FILE_BYTES, index_files, own_index
from qa.settings import DENSE_WEIGHT

__all__ = [
    "Beir",
    "Gold",
    "index_beir",
    "index_corpus",
    "index_own",
    "is_squad",
    "place_rows",
    "read_beir",
    "squad_contexts",
    "unplaced",
    "write_articles",
    "write_paragraphs",
    "wrong_contexts",
]

_SEPARATOR = "\n\n"
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

    @property
    def placed(self) -> bool:
        """Whether the gold says where the answer stands, so that search can be measured."""
        return bool(self.spans or self.absent)


@dataclass(frozen=True, slots=True)
class Beir:
    """A retrieval collection: documents, queries, and how relevant which is to which."""

    corpus: Path
    """`corpus.jsonl`, whose n-th object is its n-th document."""
    titled: bool
    """Whether its documents have titles."""
    rows: dict[str, int]
    """Of each document's id, its place in the corpus, from 1."""
    queries: dict[str, str]
    relevance: dict[str, dict[str, int]]
    """Of each query, the documents judged, by id."""


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


def unplaced(path: Path) -> list[Gold]:
    """The questions of a SQuAD file without their places, for documents other than its own."""
    return [
        Gold(question.id, question.text, question.golds)
        for article in _articles(path)
        for paragraph in article.paragraphs
        for question in paragraph.questions
    ]


def squad_contexts(path: Path) -> list[tuple[Gold, str]]:
    """The questions of a SQuAD file, each with its paragraph; `Place`s count in paragraphs."""
    return [
        (_gold(question, Place(f"{number}", 0, len(paragraph.text))), paragraph.text)
        for number, article in enumerate(_articles(path))
        for paragraph in article.paragraphs
        for question in paragraph.questions
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
    texts: dict[str, str] = {}

    def text(id_: str) -> str:
        if id_ not in texts:
            if len(texts) > 64:
                texts.clear()
            texts[id_] = snapshot.document(id_).text
        return texts[id_]

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
        row.id,
        row.question,
        row.answers,
        tuple(spans),
        row.tags,
        None,
        tuple(dict.fromkeys(absent)),
    )


def write_articles(articles: Sequence[Article], folder: Path) -> list[Gold]:
    """Write each article as one text file; its questions with their spans in that file.

    The folder is emptied first.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for path, text, _ in _files(articles, folder):
        path.write_text(text, encoding="utf-8", newline="")
    return _golds(articles, folder)


def write_paragraphs(articles: Sequence[Article], folder: Path) -> list[Gold]:
    """Write each paragraph as a text file of its own; otherwise as `write_articles`."""
    return write_articles(
        [Article(a.title, (paragraph,)) for a in articles for paragraph in a.paragraphs], folder
    )


def _files(articles: Sequence[Article], folder: Path) -> Iterator[tuple[Path, str, Article]]:
    """The file that each article becomes, its paragraphs parted by a blank line."""
    for number, article in enumerate(articles):
        name = re.sub(r"[^\w .,()-]+", "_", article.title)[:80] or "untitled"
        text = _SEPARATOR.join(paragraph.text for paragraph in article.paragraphs)
        yield (folder / f"{name}.{number}.txt").absolute(), text, article


def _golds(articles: Sequence[Article], folder: Path) -> list[Gold]:
    golds: list[Gold] = []
    for path, _, article in _files(articles, folder):
        document, offset = document_id(path), 0
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
    """
    articles = _articles(path)
    digest = hashlib.sha256()
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
    index_files(index, [folder / "files"], models=models, progress=progress)
    return index, _golds(articles, folder / "files" / "gold")


def _articles(path: Path) -> list[Article]:
    """The articles of a SQuAD file, each question of which has an id of its own."""
    articles = read_squad(path)
    seen = set()
    for article in articles:
        for paragraph in article.paragraphs:
            for question in paragraph.questions:
                if question.id in seen:
                    raise GoldError(f"{path}: two questions have the id {question.id!r}")
                seen.add(question.id)
    if not seen:
        raise GoldError(f"{path} holds no questions")
    return articles


def read_beir(folder: Path, *, split: str = "test", limit: int | None = None) -> Beir:
    """The BEIR collection in the folder (Thakur et al. 2021); the first `limit` queries of it.

    Raises:
        GoldError: a file is missing, a line malformed, or a judgement names a query
            or a document that is not there.
    """
    corpus, titled = folder / "corpus.jsonl", False
    rows: dict[str, int] = {}
    for line, entry in _objects(corpus):
        rows[_text(entry, "_id", corpus, line)] = len(rows) + 1
        _text(entry, "text", corpus, line)
        titled = titled or "title" in entry
    asked = folder / "queries.jsonl"
    queries = {
        _text(entry, "_id", asked, line): _text(entry, "text", asked, line)
        for line, entry in _objects(asked)
    }
    path = folder / "qrels" / f"{split}.tsv"
    relevance: dict[str, dict[str, int]] = {}
    for number, judgement in _lines(path):
        fields = judgement.strip().split("\t")
        if number == 1 and fields[-1] == "score":
            continue
        where = f"{path}, line {number}"
        if len(fields) != 3 or not re.fullmatch(r"-?\d+", fields[2]):
            raise GoldError(
                f"{where} is {judgement!r}; expected query, document and a whole number"
            )
        query, document, score = fields
        if query not in queries or document not in rows:
            missing = query if query not in queries else document
            raise GoldError(f"{where} names {missing!r}, which is not in the collection")
        relevance.setdefault(query, {})[document] = int(score)
    if not relevance:
        raise GoldError(f"{path} holds no judgements")
    return Beir(corpus, titled, rows, queries, dict(list(relevance.items())[:limit]))


def index_beir(
    beir: Beir, models: str, *, progress: Callable[[str], None] = lambda _: None
) -> Path:
    """An index of the collection's documents, in the user's cache."""
    index = own_index([beir.corpus], models, purpose="BEIR", progress=progress)
    size = beir.corpus.stat().st_size
    index_files(
        index,
        [beir.corpus],
        models=models,
        columns=Columns(("text",), "title" if beir.titled else None),
        max_bytes=max(MAX_FILE_BYTES, size),
        progress=progress,
    )
    return index


def _lines(path: Path) -> list[tuple[int, str]]:
    """The lines that are not blank, with their numbers."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
        return [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    except FileNotFoundError:
        raise GoldError(
            f"no {path}; a BEIR folder holds corpus.jsonl, queries.jsonl and qrels/test.tsv"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise GoldError(f"{path} cannot be read: {error}") from error


def _objects(path: Path) -> Iterator[tuple[int, Any]]:
    for number, line in _lines(path):
        try:
            yield number, json.loads(line)
        except (ValueError, RecursionError) as error:
            raise GoldError(f"{path}, line {number} is not JSON ({error})") from error


def _text(entry: Any, key: str, path: Path, line: int) -> str:
    value = entry.get(key) if isinstance(entry, dict) else None
    if not isinstance(value, str):
        raise GoldError(f"{path}, line {line} has {key} = {value!r}; expected text")
    return value
