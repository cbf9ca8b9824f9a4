"""The command line. Prints; every piece of work is done on a lower floor.

Heavy imports stand inside the functions that need them, so that `--help` is instant.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from corpus.errors import CitespanError, InputError, RootError, StoppedError
from corpus.extract import DEFAULT_COLUMNS, Columns
from corpus.log import event, failure, log_to

if TYPE_CHECKING:
    from corpus.store import Snapshot
    from embeddings.follow import Changes

__all__ = ["app", "main"]

EXIT_ERROR = 1
EXIT_NO_ANSWER = 3
_DEFAULT_INDEX = ".citespan"

app = typer.Typer(
    help="Ask your documents; every answer is a quote you can check.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
train = typer.Typer(help="Fine-tune a model on gold questions.", no_args_is_help=True)
app.add_typer(train, name="train")
gold = typer.Typer(help="Keep gold questions.", no_args_is_help=True)
app.add_typer(gold, name="gold")

_VERBOSE = "--verbose"
_OFFLINE = "HF_HUB_OFFLINE"
_OFFLINE_CHOSEN = _OFFLINE in os.environ


def _models(value: str | None) -> str | None:
    """Go online only when models were asked for that may have to be fetched."""
    if value and value != "bundled" and not Path(value).is_dir() and not _OFFLINE_CHOSEN:
        os.environ[_OFFLINE] = "0"
    return value


Index = Annotated[
    Path | None,
    typer.Option(
        "--index",
        metavar="DIR",
        help="Where the index lies [default: $CITESPAN_INDEX, or .citespan].",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Docs = Annotated[
    list[Path] | None,
    typer.Option("--docs", metavar="PATH", help="Index these documents first; repeatable."),
]
Sample = Annotated[bool, typer.Option("--sample", help="Use the sample documents.")]
Models = Annotated[
    str | None,
    typer.Option(
        "--models",
        callback=_models,
        metavar="PRESET|DIR",
        help="Models of a new index: bundled, balanced, best, multilingual, or a folder with"
        " encoder/ and reader/.",
    ),
]
TextColumns = Annotated[
    list[str] | None,
    typer.Option(
        "--text-column",
        metavar="NAME",
        help="Make documents of this column of CSV and JSON lines; repeatable [default: all].",
    ),
]
TitleColumn = Annotated[
    str | None,
    typer.Option("--title-column", metavar="NAME", help="Take rows' titles from this column."),
]
MaxFileMb = Annotated[
    float, typer.Option("--max-file-mb", min=0, max=1e6, help="Skip larger files.")
]


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"citespan {version('citespan')}")
        raise typer.Exit


@app.callback()
def _root(
    _: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option(
            _VERBOSE, help="Log to stderr; may follow any command. See also CITESPAN_LOG=FILE."
        ),
    ] = False,
) -> None:
    if place := os.environ.get("CITESPAN_LOG"):
        log_to(place)
    if verbose and place != "-":
        log_to("-")


@app.command()
def index(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[PATH]...", help="Files and folders [default: the roots]."),
    ] = None,
    index: Index = None,
    docs: Docs = None,
    sample: Sample = False,
    models: Models = None,
    strict: Annotated[bool, typer.Option(help="Fail if any file cannot be read.")] = False,
    allow_empty: Annotated[
        bool, typer.Option(help="Drop the documents of roots that are missing or empty.")
    ] = False,
    max_file_mb: MaxFileMb = 64,
    text_column: TextColumns = None,
    title_column: TitleColumn = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Bring the index in line with these files, or with its roots.

    Example: citespan index reports/ notes.md
    """
    named = [*(paths or []), *_documents(docs, sample)]
    folder = _index_folder(index, docs, sample, models)
    changes = _index(
        folder,
        named,
        models,
        max_bytes=int(max_file_mb * 2**20),
        allow_empty=allow_empty,
        columns=_columns(text_column, title_column),
        dry_run=dry_run,
    )
    if as_json:
        _print_json(_changes_json(changes))
    else:
        _print_failures(changes)
        if dry_run:
            _print_files(changes)
        _print_changes(changes, folder, dry_run=dry_run)
    _require_success(changes, strict=strict)


@app.command()
def ask(
    question: Annotated[str, typer.Argument(help="The question, or - to read one a line.")],
    index: Index = None,
    docs: Docs = None,
    sample: Sample = False,
    models: Models = None,
    answers: Annotated[int, typer.Option(min=1, max=1000, help="How many answers, at most.")] = 5,
    read: Annotated[int, typer.Option(min=1, max=1000, help="How many passages to read.")] = 10,
    min_confidence: Annotated[
        float | None, typer.Option(min=0, max=1, help="Answer from this confidence on.")
    ] = None,
    within: Annotated[
        list[str] | None,
        typer.Option(
            "--in", metavar="PATH", help="Ask only this file, folder or document; repeatable."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Answer one question with quotes from the documents.

    Exit code 0 when answered, 3 when the documents do not say.

    Example: citespan ask "How many defectors went public?" --sample
    """
    folder = _index_folder(index, docs, sample, models)
    if documents := _documents(docs, sample):
        changes = _index(folder, documents, models)
        if sys.stderr.isatty():
            _print_failures(changes)
        _require_success(changes, strict=False)

    from qa import render
    from qa.pipeline import Pipeline

    with Pipeline.open(folder, models=models) as pipeline:

        def answer(text: str) -> Any:
            return pipeline.ask(
                text,
                answers=answers,
                read=read,
                min_confidence=min_confidence,
                within=within or (),
            )

        if question == "-":
            _answer_lines(lambda line: render.as_json(answer(line)))
            return
        result = answer(question)
    if as_json:
        _print_json(render.as_json(result))
    else:
        colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        typer.echo(render.as_text(result, colour=colour))
    if not result.answered:
        raise typer.Exit(EXIT_NO_ANSWER)


@app.command("eval")
def eval_(
    gold: Annotated[
        Path | None,
        typer.Argument(help="SQuAD .json, .jsonl, .csv or a BEIR folder [--sample has its own]."),
    ] = None,
    index: Index = None,
    docs: Docs = None,
    sample: Sample = False,
    models: Models = None,
    reader_only: Annotated[
        bool, typer.Option("--reader-only", help="Give the reader the right text; no search.")
    ] = False,
    read: Annotated[int, typer.Option(min=1, max=1000, help="How many passages to read.")] = 10,
    dense_weight: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Weight of search by meaning [default: the index's]."),
    ] = None,
    distractors: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="SQuAD paragraphs that join SQuAD's own; repeatable."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="The first so many questions.")] = None,
    unanswerable: Annotated[
        int,
        typer.Option(
            min=0, metavar="N", help="With --reader-only: N more, with a wrong paragraph."
        ),
    ] = 0,
    compare: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="An earlier run, saved by --json, to compare with."),
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a report to open in a browser.")
    ] = None,
    fail_under: Annotated[
        str | None,
        typer.Option(metavar="NAME=N,...", help="Exit with 1 below, such as f1=70,recall@5=0.9."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure against gold questions: figures with intervals, and the cause of each miss.

    Example: citespan eval gold.jsonl --docs reports/ --html report.html
    """
    from eval.compare import compare as compared
    from eval.compare import failures, read_run, requirements
    from eval.evaluate import SAMPLE_GOLD, evaluate, needs_documents

    if gold is None:
        if not sample:
            raise typer.BadParameter("name a file of gold questions, or use --sample")
        gold = SAMPLE_GOLD
    wanted = requirements(fail_under) if fail_under else {}
    other = read_run(compare) if compare else None
    folder = None
    if index is not None or docs or sample or needs_documents(gold):
        folder = _index_folder(index, docs, sample, models)
    if documents := _documents(docs, sample):
        changes = _index(folder or Path(_DEFAULT_INDEX), documents, models)
        if sys.stderr.isatty():
            _print_failures(changes)
        _require_success(changes, strict=False)
    with _progress() as progress:
        run = evaluate(
            gold,
            folder,
            reader_only=reader_only,
            read=read,
            dense_weight=dense_weight,
            distractors=distractors or (),
            limit=limit,
            unanswerable=unanswerable,
            models=models,
            against=other,
            progress=progress,
        )
    comparison = {"with": str(compare), **compared(run, other)} if other else None
    if html:
        from eval.report import write_report

        write_report(run, html, comparison)
    if as_json:
        _print_json({**run, "comparison": comparison} if comparison else run)
    else:
        from eval.table import as_table

        typer.echo(as_table(run, comparison))
    if fallen := failures(run, wanted):
        raise InputError(f"--fail-under: {'; '.join(fallen)}")


@app.command()
def why(
    question: Annotated[str, typer.Argument(help="The question.")],
    gold: Annotated[str, typer.Option(metavar="TEXT", help="What would have been right.")],
    index: Index = None,
    docs: Docs = None,
    sample: Sample = False,
    models: Models = None,
    read: Annotated[int, typer.Option(min=1, max=1000, help="How many passages to read.")] = 10,
    as_json: Json = False,
) -> None:
    """Walk one question through every stage, and say which lost this answer.

    Example: citespan why "How long did the ferry drift?" --gold "nearly four hours" --sample
    """
    from eval import why as walk
    from qa.pipeline import Pipeline

    folder = _index_folder(index, docs, sample, models)
    if documents := _documents(docs, sample):
        _require_success(_index(folder, documents, models), strict=False)
    with Pipeline.open(folder, models=models) as pipeline:
        explanation = walk.explain(pipeline, question, gold, read=read)
    if as_json:
        _print_json(walk.as_json(explanation))
    else:
        typer.echo(walk.as_text(explanation))


@app.command()
def chat(
    index: Index = None,
    docs: Docs = None,
    sample: Sample = False,
    models: Models = None,
    host: Annotated[
        str, typer.Option(help="The address to listen on; others than 127.0.0.1 ask for a token.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")
    ] = 7860,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="CITESPAN_TOKEN", show_envvar=False, help="Visitors must show this token."
        ),
    ] = None,
    no_auth: Annotated[
        bool, typer.Option("--no-auth", help="Let everybody in who can reach the address.")
    ] = False,
) -> None:
    """Serve the chat page, the REST interface and the MCP tools.

    Example: citespan chat --docs reports/
    """
    from qa.access import Access

    Access.checked(host, port, token, no_auth=no_auth)  # Before anything that takes long.
    from qa.server import bound, serve

    with bound(host, port) as listening:
        folder = _index_folder(index, docs, sample, models)
        if documents := _documents(docs, sample):
            changes = _index(folder, documents, models)
            _print_failures(changes)
            _require_success(changes, strict=False)

        from qa.library import Library

        port = listening.getsockname()[1]
        access = Access.checked(host, port, token, no_auth=no_auth)
        library = Library(folder, models=models)
        shown = f"[{host}]" if ":" in host else host
        typer.echo(f"Citespan is at http://{shown}:{port}/ - stop it with Ctrl-C", err=True)
        serve(library, access, listening)


@app.command("list")
def list_(index: Index = None, as_json: Json = False) -> None:
    """List the documents in the index.

    Example: citespan list --json
    """
    from qa.render import printable, short, summary_json

    with _snapshot(index) as snapshot:
        summaries = snapshot.summaries()
    if as_json:
        _print_json([summary_json(summary) for summary in summaries])
        return
    typer.echo(f"{'id':<16}  {'type':<8}  pages  passages  {'indexed':<16}  title (source)")
    for summary in summaries:
        indexed = datetime.fromtimestamp(summary.indexed_at).strftime("%Y-%m-%d %H:%M")
        row = f", row {summary.row}" if summary.row is not None else ""
        typer.echo(
            f"{summary.id}  {summary.kind:<8}  {summary.pages or '':>5}  {summary.passages:>8}"
            f"  {indexed}  {printable(summary.title)} ({printable(short(summary.source))}{row})"
        )


@app.command()
def rm(
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME...", help="Files, folders, or what else names a document."),
    ],
    index: Index = None,
    as_json: Json = False,
) -> None:
    """Take documents out of the index; they stay out until they are indexed by name again.

    Example: citespan rm reports/draft.pdf
    """
    from qa.indexing import remove_files

    folder = _index_folder(index, None, False, None)
    with _progress() as progress:
        changes = remove_files(folder, names, progress=progress)
    if as_json:
        _print_json(_changes_json(changes))
    else:
        _print_files(changes)
        _print_changes(changes, folder)


@app.command()
def doctor(
    index: Index = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Mend the documents' own records too, after a backup.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check the index; what can be made again from its documents is made again.

    Exit code 0 when it is whole or was mended, 1 when something is left to do.

    Example: citespan doctor
    """
    from qa.doctor import examine
    from qa.render import printable

    folder = _index_folder(index, None, False, None)
    with _progress() as progress:
        report = examine(folder, repair=repair, progress=progress)
    if as_json:
        _print_json([asdict(finding) for finding in report])
    else:
        for finding in report:
            typer.echo(f"{finding.state:<7} {finding.part:<8} {printable(finding.message)}")
    if any(finding.state == "damaged" for finding in report):
        raise typer.Exit(EXIT_ERROR)


@app.command()
def models(
    models: Models = None,
    as_json: Json = False,
) -> None:
    """List the models, which of them are here, and the hashes of their weights.

    Example: citespan models
    """
    from qa.model_list import describe

    described = describe(models)
    if as_json:
        _print_json([asdict(model) for model in described])
    else:
        for model in described:
            typer.echo(
                f"{model.preset:<12}  {model.role:<7}  {model.state:<9}  {model.name}"
                + (f"  sha256 {model.sha256}" if model.sha256 else "")
            )
            if model.state == "altered":
                typer.echo(f"{'':<12}  expected sha256 {model.expected_sha256}")
    if any(model.state == "altered" for model in described):
        raise typer.Exit(EXIT_ERROR)


@app.command()
def show(
    document: Annotated[str, typer.Argument(help="An id, the end of a path, or a title.")],
    index: Index = None,
    as_json: Json = False,
) -> None:
    """Print a document's text as indexed: what offsets count in.

    Example: citespan show defectors-icsr-report.txt
    """
    with _snapshot(index) as snapshot:
        found = snapshot.document(snapshot.find(document))
    if as_json:
        from qa.render import document_json

        _print_json(document_json(found))
    elif sys.stdout.isatty():
        from qa.render import harmless

        typer.echo(harmless(found.text))
    else:
        # To the byte: no newline added, none translated.
        sys.stdout.buffer.write(found.text.encode("utf-8"))


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(help="Answers saved by `ask --json`.")],
    text_column: TextColumns = None,
    title_column: TitleColumn = None,
    as_json: Json = False,
) -> None:
    """Check saved answers against the files as they are now.

    Exit code 0 when every quote is unchanged or moved, 1 otherwise.

    Example: citespan verify answer.json
    """
    from qa.render import printable
    from qa.verify import read_citations
    from qa.verify import verify as check

    columns = _columns(text_column, title_column) or DEFAULT_COLUMNS
    report = check(read_citations(file), columns)
    if as_json:
        _print_json(report)
    else:
        for citation in report["citations"]:
            typer.echo(
                f"{citation['status']:<14} {printable(citation['quote'])}"
                f"  ({printable(citation['source'])})"
            )
        counts = ", ".join(f"{n} {status}" for status, n in sorted(report["counts"].items()))
        typer.echo(counts or "no citations in the file")
    if set(report["counts"]) - {"unchanged", "moved"}:
        raise typer.Exit(EXIT_ERROR)


@gold.command("add")
def gold_add(
    file: Annotated[Path, typer.Argument(help="Answers saved by `ask --json`, or corrections.")],
    to: Annotated[Path, typer.Option(metavar="GOLD", help="The JSON lines file to add to.")],
    index: Index = None,
    sample: Sample = False,
    answer: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What would have been right.")
    ] = None,
    no_answer: Annotated[
        bool, typer.Option("--no-answer", help="The documents do not say.")
    ] = False,
    within: Annotated[
        str | None, typer.Option("--in", metavar="PATH", help="Where a corrected answer stands.")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Put on each question; repeatable.")] = None,
    as_json: Json = False,
) -> None:
    """Turn saved answers and corrections into gold questions, their offsets checked.

    Example: citespan gold add answer.json --to gold.jsonl --answer "58 defectors"
    """
    from corpus.store import Snapshot
    from qa.corrections import add_gold
    from qa.gold import row_as_json
    from qa.render import printable

    if answer is not None and no_answer:
        raise typer.BadParameter("give --answer or --no-answer, not both")
    with Snapshot.open(_index_folder(index, None, sample, None)) as snapshot:
        rows = add_gold(
            file,
            to,
            snapshot,
            answer=answer,
            no_answer=no_answer,
            within=within,
            tags=tag or (),
        )
    if as_json:
        _print_json([row_as_json(row) for row in rows])
    else:
        for row in rows:
            answers = " / ".join(row.answers) or "no answer"
            typer.echo(f"{row.id}  {printable(row.question)}  [{printable(answers)}]")


@train.command()
def reader(
    train: Annotated[
        list[str], typer.Option(metavar="FILE[@SHARE]", help="SQuAD JSON; repeatable.")
    ],
    validation: Annotated[Path, typer.Option(help="SQuAD JSON, never trained on.")],
    base: Annotated[
        str, typer.Option(metavar="NAME|DIR", help="all-MiniLM-L6-v2, or a model's folder.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the reader goes.")],
    epochs: Annotated[float, typer.Option(min=0.01, help="Passes over the data.")] = 2,
    learning_rate: Annotated[float, typer.Option(min=0)] = 2e-4,
    batch_size: Annotated[int, typer.Option(min=1)] = 32,
    max_tokens: Annotated[int, typer.Option(min=32)] = 320,
    negatives: Annotated[
        float,
        typer.Option(min=0, max=1, help="Share of questions also shown with a wrong paragraph."),
    ] = 0.22,
    searched: Annotated[
        float, typer.Option(min=0, max=1, help="Share of those found by search.")
    ] = 0.0,
    averaged: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the steps, at the end, to average.")
    ] = 0.0,
    final_rate: Annotated[
        float, typer.Option(min=0, max=1, help="To what part of it the learning rate falls.")
    ] = 0.0,
    warmup: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the steps in which the rate rises.")
    ] = 0.05,
    dropout: Annotated[float, typer.Option(min=0, max=0.9, help="Of hidden states.")] = 0.0,
    teacher: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="A reader whose opinions it learns too; repeatable."),
    ] = None,
    taught: Annotated[
        float, typer.Option(min=0, max=1, help="How much teachers count beside gold answers.")
    ] = 0.5,
    seed: int = 13,
    models: Models = None,
    as_json: Json = False,
) -> None:
    """Fine-tune an extractive reader; a run that was killed goes on where it was.

    Example: citespan train reader --train squad.json --train more.json@0.3
    --validation dev.json --base all-MiniLM-L6-v2 --out my-reader/
    """
    from embeddings.encoder import open_encoder
    from qa.lessons import Recipe, TrainingSet
    from qa.settings import base_folder, model_pair
    from qa.train import train_reader

    recipe = Recipe(
        epochs=epochs,
        learning_rate=learning_rate,
        batch_size=batch_size,
        max_tokens=max_tokens,
        negatives=negatives,
        searched=searched,
        averaged=averaged,
        final_rate=final_rate,
        warmup=warmup,
        dropout=dropout,
        taught=taught,
        seed=seed,
    )
    sets = [TrainingSet.parse(text) for text in train]
    figures = train_reader(
        sets,
        validation,
        base_folder(base),
        out,
        recipe,
        report=lambda line: typer.echo(line, err=True),
        teachers=teacher or (),
        encoder=open_encoder(model_pair(models or "bundled").encoder) if searched else None,
    )
    if as_json:
        _print_json(figures)
    else:
        typer.echo("  ".join(f"{name} {value:.1f}" for name, value in figures.items()))


@train.command()
def encoder(
    train: Annotated[
        list[str], typer.Option(metavar="FILE[@SHARE]", help="SQuAD JSON; repeatable.")
    ],
    validation: Annotated[
        list[str],
        typer.Option(metavar="FILE[@SHARE]", help="SQuAD JSON, never trained on; repeatable."),
    ],
    base: Annotated[
        str, typer.Option(metavar="NAME|DIR", help="all-MiniLM-L6-v2, or a model's folder.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the encoder goes.")],
    epochs: Annotated[float, typer.Option(min=0.01, help="Passes over the data.")] = 1,
    learning_rate: Annotated[float, typer.Option(min=0)] = 5e-5,
    batch_size: Annotated[int, typer.Option(min=2)] = 64,
    group: Annotated[int, typer.Option(min=1, help="How many passages of a batch are alike.")] = 8,
    seed: int = 13,
    as_json: Json = False,
) -> None:
    """Fine-tune an encoder; a run that was killed goes on where it was.

    Example: citespan train encoder --train squad.json --validation dev.json
    --base all-MiniLM-L6-v2 --out my-encoder/
    """
    try:
        from embeddings.train import EncoderRecipe, train_encoder
    except ImportError as error:
        raise InputError(
            f"{error.name} is not installed; training needs it: pip install 'citespan[train]'"
        ) from error
    from qa.lessons import TrainingSet
    from qa.pairs import pairs
    from qa.settings import base_folder
    from qa.train import plain_tokenizer

    recipe = EncoderRecipe(
        epochs=epochs, learning_rate=learning_rate, batch_size=batch_size, group=group, seed=seed
    )
    folder = base_folder(base)
    tokenizer = plain_tokenizer(folder)
    figures = train_encoder(
        pairs([TrainingSet.parse(text) for text in train], tokenizer, seed=seed),
        [pairs([TrainingSet.parse(text)], tokenizer, seed=seed) for text in validation],
        folder,
        out,
        recipe,
        report=lambda line: typer.echo(line, err=True),
    )
    if as_json:
        _print_json(figures)
    else:
        typer.echo("  ".join(f"{name} {value:.1f}" for name, value in figures.items()))


@app.command()
def calibrate(
    gold: Annotated[Path, typer.Argument(help="Gold: SQuAD .json, .jsonl or .csv.")],
    index: Index = None,
    docs: Docs = None,
    sample: Sample = False,
    models: Models = None,
    target_precision: Annotated[
        float | None,
        typer.Option(min=0.01, max=1, help="Answer so seldom that this share is right."),
    ] = None,
    distractors: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="SQuAD paragraphs that join SQuAD's own; repeatable."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write it there instead, such as beside a reader."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Fit confidence and the no-answer threshold to your questions, and keep them in the index.

    Example: citespan calibrate gold.jsonl --target-precision 0.9
    """
    from corpus.writer import Writer
    from eval.calibrate import calibrate as fitted
    from eval.evaluate import needs_documents

    folder = None
    if index is not None or docs or sample or needs_documents(gold):
        folder = _index_folder(index, docs, sample, models)
    if documents := _documents(docs, sample):
        _require_success(_index(folder or Path(_DEFAULT_INDEX), documents, models), strict=False)
    with _progress() as progress:
        folder, calibration = fitted(
            gold,
            folder,
            target_precision=target_precision,
            distractors=distractors or (),
            models=models,
            progress=progress,
        )
    if out:
        out.write_text(calibration.dumps() + "\n", encoding="utf-8")
    else:
        with Writer.open_existing(folder) as writer:
            writer.calibrate(calibration.dumps())
    if as_json:
        _print_json({**asdict(calibration), "index": None if out else str(folder)})
    else:
        typer.echo(
            f"an answer is given from a confidence of {calibration.threshold:.2f} on;"
            f" kept in {out or folder}"
        )


@app.command()
def bench(
    peers: Annotated[
        bool, typer.Option("--peers", help="Measure the alternatives too; pip installs them.")
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer rounds, and small indexes.")
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="cold, warm, embedding, indexing or large; repeatable."),
    ] = None,
    size: Annotated[
        list[int] | None,
        typer.Option(min=1, metavar="N", help="Passages of a large index; repeatable."),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Keep the run as JSON.")] = None,
    check: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Exit with 1 where ratios fell by a quarter since."),
    ] = None,
    readme: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Put the table between its markers.")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw how search grows, as SVG.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure speed on this machine, beside what it stands on and the alternatives.

    Example: citespan bench --quick
    """
    from eval.bench import bench as measured
    from eval.bench import plan
    from eval.bench_check import losses, read_bench
    from eval.bench_table import as_table, growth_picture, write_into

    before = read_bench(check) if check else None
    with _progress() as progress:
        run = measured(
            plan(quick=quick, sizes=size or ()),
            only=only or (),
            with_peers=peers,
            progress=progress,
        )
    if out:
        out.write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")
    if readme:
        write_into(readme, run, picture)
    if picture and run["growth"]:
        picture.write_text(growth_picture(run) + "\n", encoding="utf-8")
    if as_json:
        _print_json(run)
    else:
        typer.echo(as_table(run))
    if before and (lost := losses(before, run)):
        raise InputError("; ".join(map(str, lost)))


def main() -> None:
    """Run the command line; a user's mistake is one line and exit code 1, a bug its traceback."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault(_OFFLINE, "1")
    started = time.monotonic()
    code: Any = EXIT_ERROR
    try:
        app(_verbose_first(sys.argv[1:]))
    except SystemExit as ended:
        code = ended.code or 0
        raise
    except BrokenPipeError:
        # The reader of our output has seen enough; nothing more can be written, also at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_ERROR)
    except (CitespanError, OSError) as error:
        from qa.render import printable

        event("refused", error=str(error), kind=type(error).__name__)
        typer.echo(f"Error: {printable(str(error))}", err=True)
        sys.exit(EXIT_ERROR)
    except Exception as error:
        typer.echo(f"Error {failure(error)}: this is a bug in Citespan: {error!r:.300}", err=True)
        sys.exit(EXIT_ERROR)
    finally:
        command = next((each for each in sys.argv[1:] if not each.startswith("-")), None)
        event("ended", command=command, code=code, seconds=time.monotonic() - started)


def _verbose_first(arguments: list[str]) -> list[str]:
    """The arguments, `--verbose` before the command, wherever it stood among its options."""
    ours = arguments[: arguments.index("--")] if "--" in arguments else arguments
    if _VERBOSE not in ours:
        return arguments
    return [_VERBOSE, *(each for each in ours if each != _VERBOSE), *arguments[len(ours) :]]


def _documents(docs: list[Path] | None, sample: bool) -> list[Path]:
    if not sample:
        return list(docs or [])
    from qa.indexing import SAMPLE

    return [*(docs or []), SAMPLE]


def _index_folder(
    index: Path | None, docs: list[Path] | None, sample: bool, models: str | None
) -> Path:
    """The named index; for documents named on the spot one of their own; else the default."""
    if index is not None:
        return index
    if documents := _documents(docs, sample):
        from qa.indexing import own_index

        with _progress() as progress:
            return own_index(documents, models or "bundled", progress=progress)
    return Path(os.environ.get("CITESPAN_INDEX") or _DEFAULT_INDEX)


def _index(
    folder: Path,
    paths: list[Path],
    models: str | None,
    **options: Any,
) -> "Changes":
    from qa.indexing import index_files

    with _progress() as progress, _stoppable() as stop:
        return index_files(folder, paths, models=models, progress=progress, stop=stop, **options)


@contextmanager
def _stoppable() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed, once; pressed again it ends the run at once."""
    pressed = False

    def press(*_: object) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True
        if sys.stderr.isatty():
            # Not by way of the stream, in the middle of whose own work this may be called.
            os.write(2, b"\r\033[Kstopping; what was read is kept (Ctrl-C again: at once)\n")

    before = signal.signal(signal.SIGINT, press)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)


def _columns(text: list[str] | None, title: str | None) -> Columns | None:
    """The columns named; None where none are."""
    return Columns(tuple(text or ()), title) if text or title else None


@contextmanager
def _snapshot(index: Path | None) -> "Iterator[Snapshot]":
    from corpus.store import Snapshot

    with Snapshot.open(_index_folder(index, None, False, None)) as snapshot:
        yield snapshot


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """A line on stderr that each report overwrites; nothing where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    try:
        yield lambda line: typer.echo(f"\r\033[K{line}", err=True, nl=False)
    finally:
        typer.echo("\r\033[K", err=True, nl=False)


def _answer_lines(answer: Callable[[str], dict[str, Any]]) -> None:
    for line in sys.stdin.buffer:
        try:
            printed = answer(line.decode("utf-8", "replace").removeprefix("\ufeff"))
        except CitespanError as error:
            printed = {"error": str(error)}
        typer.echo(json.dumps(printed, ensure_ascii=sys.stdout.isatty()))
        sys.stdout.flush()


def _changes_json(changes: "Changes") -> dict[str, Any]:
    def listed(reasons: dict[Path, str]) -> list[dict[str, str]]:
        return [{"path": str(path), "reason": reason} for path, reason in sorted(reasons.items())]

    return {
        "added": [str(path) for path in changes.added],
        "changed": [str(path) for path in changes.changed],
        "removed": [str(path) for path in changes.removed],
        "unchanged": changes.unchanged,
        "failed": listed({**changes.failed, **changes.kept_roots}),
        "skipped": listed(changes.skipped),
        "documents": changes.documents,
        "passages": changes.passages,
        "embedded": changes.embedded,
        "seconds": changes.seconds,
        "generation": changes.generation,
    }


def _print_failures(changes: "Changes") -> None:
    from qa.render import printable

    for what, reasons in (("failed", changes.failed), ("skipped", changes.skipped)):
        for path, reason in sorted(reasons.items()):
            typer.echo(f"{what}: {printable(str(path))}: {printable(reason)}", err=True)


def _require_success(changes: "Changes", *, strict: bool) -> None:
    """Fail when a root was lost or nothing could be read; when strict, if any file could not."""
    if changes.unread:
        raise StoppedError(
            f"stopped before {changes.unread:,} of the files were read; what was read is kept, and"
            " `citespan index` goes on with the rest"
        )
    for reason in changes.kept_roots.values():
        raise RootError(reason)
    read = len(changes.added) + len(changes.changed) + changes.unchanged
    trouble = {**changes.skipped, **changes.failed} if not read else changes.failed
    if trouble and (strict or not read):
        path, reason = next(iter(trouble.items()))
        raise InputError(f"{len(trouble)} of the files could not be read, such as {path}: {reason}")


def _print_files(changes: "Changes") -> None:
    """One line for each file that comes, changes or goes."""
    from qa.render import printable

    for what, paths in (
        ("added", changes.added),
        ("changed", changes.changed),
        ("removed", changes.removed),
    ):
        for path in sorted(paths):
            typer.echo(f"{what}: {printable(str(path))}")


def _print_changes(changes: "Changes", folder: Path, *, dry_run: bool = False) -> None:
    from qa.render import printable

    if dry_run:
        typer.echo("nothing was changed; without --dry-run it would be:")
    typer.echo(
        f"{len(changes.added)} added, {len(changes.changed)} changed,"
        f" {len(changes.removed)} removed, {changes.unchanged} unchanged,"
        f" {len(changes.failed)} failed, {len(changes.skipped)} skipped"
    )
    exact = "exact search" if changes.recall == 1.0 else f"measured recall@10 {changes.recall:.3f}"
    typer.echo(
        f"{changes.documents:,} documents, {changes.passages:,} passages,"
        f" {changes.embedded:,} embedded in {changes.seconds:.1f} s; {exact};"
        f" generation {changes.generation} in {printable(str(folder))}"
    )


def _print_json(value: Any) -> None:
    # On a terminal all but ASCII is escaped: some of it would steer the terminal.
    typer.echo(json.dumps(value, ensure_ascii=sys.stdout.isatty(), indent=1))
