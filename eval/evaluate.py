"""What `citespan eval` does: gold of any format in, a whole run out."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from corpus.errors import GoldError, InputError
from embeddings.encoder import open_encoder
from embeddings.exports import export
from eval.beir import index_beir, read_beir
from eval.compare import require_same
from eval.gold import (
    Gold,
    gold_on,
    index_own,
    is_squad,
    refuse_distractors,
    squad_contexts,
    wrong_contexts,
)
from eval.run import Outcome, contexts, measure, measure_reader, measure_retrieval
from eval.summary import Run, run_json
from qa.pipeline import Pipeline
from qa.reader import Reader
from qa.settings import model_pair

__all__ = ["READ", "SAMPLE_GOLD", "evaluate", "needs_documents"]

SAMPLE_GOLD = Path(__file__).parent / "sample" / "gold.jsonl"
"""Questions on the sample documents in the package."""
READ = 10
"""How many passages are read for a question where nothing else is said."""


def needs_documents(path: Path) -> bool:
    """Whether the gold is on documents that lie elsewhere, and brings none of its own."""
    return not path.is_dir() and not is_squad(path)


def evaluate(
    path: Path,
    folder: Path | None,
    *,
    reader_only: bool = False,
    read: int | None = None,
    dense_weight: float | None = None,
    distractors: Sequence[Path] = (),
    limit: int | None = None,
    unanswerable: int = 0,
    models: str | None = None,
    against: Run | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Run:
    """The run over these gold questions; see `eval.summary.run_json`.

    Args:
        path: SQuAD's JSON, JSON lines, CSV, or a BEIR folder.
        folder: the index that is asked; None for gold with documents of its own.
        reader_only: give the reader the right text, and do not search.
        read: how many passages are read for a question; None for ten.
        dense_weight: as if the index had been made with it; None for its own.
        distractors: SQuAD files whose paragraphs join the gold's own documents.
        limit: only so many questions, the first ones.
        unanswerable: so many questions more, each with a text that does not answer it.
        models: as in `--models`.
        against: a run that this one is to be compared with.
        progress: receives a line now and then.

    Raises:
        GoldError: a question is malformed.
        InputError: the options do not go together, or the other run covers other questions;
            found before anything is measured.
    """
    _check_options(path, folder, reader_only, read, dense_weight, distractors, unanswerable)
    read = read or READ
    settings: dict[str, Any] = {
        "gold": str(path),
        "version": version("citespan"),
        "reader_only": reader_only,
        "read": read,
        "limit": limit,
        "distractors": [{"name": str(file), "sha256": _sha256(file)} for file in distractors],
        "left_out": 0,
    }
    if path.is_dir():
        return _search(path, settings, dense_weight, limit, models, against, progress)
    settings["gold_sha256"] = _sha256(path)
    if reader_only and folder is None:
        return _read_own(path, settings, limit, unanswerable, models, against, progress)

    gold: list[Gold] | None = None
    if folder is None:
        folder, gold = index_own(path, distractors, models or "bundled", progress=progress)
    with Pipeline.open(folder, models=models, dense_weight=dense_weight) as pipeline:
        if gold is None:
            gold = gold_on(path, pipeline.snapshot)
        gold = gold[:limit]
        recipe = pipeline.snapshot.recipe
        settings |= {
            "index": str(folder),
            "generation": pipeline.snapshot.generation,
            "encoder": str(recipe.encoder),
            "reader": str(recipe.reader),
            "dense_weight": recipe.dense_weight if dense_weight is None else dense_weight,
            "threshold": pipeline.threshold,
        }
        if reader_only:
            return _read_placed(path, pipeline, gold, settings, against, progress)
        _require_same(gold, settings, against)
        return _run(measure(pipeline, gold, read=read), len(gold), settings, progress)


def _check_options(
    path: Path,
    folder: Path | None,
    reader_only: bool,
    read: int | None,
    dense_weight: float | None,
    distractors: Sequence[Path],
    unanswerable: int,
) -> None:
    """Refuse options that contradict each other, or that would do nothing."""
    if path.is_dir() and (folder is not None or reader_only):
        raise InputError(
            f"{path} is a BEIR folder, which brings its documents and measures search alone;"
            " leave out --index, --docs, --sample and --reader-only"
        )
    if reader_only and (read is not None or dense_weight is not None):
        raise InputError(
            "--reader-only searches nothing; leave out --read and --dense-weight, or --reader-only"
        )
    if reader_only and folder is not None and is_squad(path):
        raise InputError(
            f"{path} brings its paragraphs, which are what --reader-only reads; leave out --index,"
            " --docs and --sample"
        )
    searches_own = folder is None and not reader_only and not path.is_dir()
    refuse_distractors(distractors, own=searches_own)
    if unanswerable and (not reader_only or folder is not None):
        raise InputError(
            "--unanswerable gives the reader wrong paragraphs of a SQuAD file; use it with"
            " --reader-only, without --index, --docs and --sample"
        )


def _search(
    path: Path,
    settings: dict[str, Any],
    dense_weight: float | None,
    limit: int | None,
    models: str | None,
    against: Run | None,
    progress: Callable[[str], None],
) -> Run:
    """Search alone, for the queries of a BEIR folder."""
    beir = read_beir(path, limit=limit)
    asked = [Gold(id_, beir.queries[id_], ()) for id_ in beir.relevance]
    _require_same(asked, settings, against)
    index = index_beir(beir, models or "bundled", progress=progress)
    with Pipeline.open(index, models=models, dense_weight=dense_weight) as pipeline:
        recipe = pipeline.snapshot.recipe
        settings |= {
            "encoder": str(recipe.encoder),
            "dense_weight": recipe.dense_weight if dense_weight is None else dense_weight,
        }
        found = measure_retrieval(pipeline, beir, k=settings["read"])
        return _run(found, len(beir.relevance), settings, progress)


def _read_own(
    path: Path,
    settings: dict[str, Any],
    limit: int | None,
    unanswerable: int,
    models: str | None,
    against: Run | None,
    progress: Callable[[str], None],
) -> Run:
    """The reader alone, given the paragraphs of a SQuAD file."""
    if not is_squad(path):
        raise GoldError(f"{path} has no texts of its own; name its documents with --docs")
    pair = model_pair(models or "bundled")
    asked = squad_contexts(path)[:limit]
    if unanswerable:
        asked += wrong_contexts(path, asked, open_encoder(pair.encoder), unanswerable)
    _require_same([item for item, _ in asked], settings, against)
    settings |= {"reader": pair.reader.name, "unanswerable": unanswerable}
    reader = Reader(export(pair.reader, "reader"))
    return _run(measure_reader(reader, asked), len(asked), settings, progress)


def _read_placed(
    path: Path,
    pipeline: Pipeline,
    gold: Sequence[Gold],
    settings: dict[str, Any],
    against: Run | None,
    progress: Callable[[str], None],
) -> Run:
    """The reader alone, given what the gold says that the questions were asked about."""
    asked = list(contexts(pipeline, gold))
    _require_same([item for item, _ in asked], settings, against)
    settings["left_out"] = len(gold) - len(asked)
    if not asked:
        raise GoldError(
            f"{path} says of no question which text it was asked about; give spans, or"
            " measure without --reader-only"
        )
    return _run(measure_reader(pipeline.reader, asked), len(asked), settings, progress)


def _run(
    outcomes: Iterator[Outcome],
    total: int,
    settings: dict[str, Any],
    progress: Callable[[str], None],
) -> Run:
    """All of it measured, with a line of progress for each question."""
    measured = []
    for outcome in outcomes:
        measured.append(outcome)
        progress(f"{len(measured)} of {total} questions")
    return run_json(measured, settings)


def _require_same(asked: Sequence[Gold], settings: dict[str, Any], against: Run | None) -> None:
    if against is not None:
        require_same({item.id: (item.question, item.golds) for item in asked}, settings, against)


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        raise GoldError(f"no gold file at {path}") from None
    except OSError as error:
        raise GoldError(f"{path} cannot be read: {error.strerror}") from error
