"""The commands about documents: `index`, `list`, `show`, `rm`, `doctor` and `models`."""

import sys
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from corpus.errors import InputError
from qa.cli.opening import (
    brought_in_line,
    chosen_index,
    named_documents,
    opened_snapshot,
    require_success,
)
from qa.cli.options import (
    Docs,
    Index,
    Json,
    Models,
    Sample,
    TextColumns,
    TitleColumn,
    chosen_columns,
)
from qa.cli.output import (
    EXIT_ERROR,
    changes_json,
    print_changes,
    print_failures,
    print_files,
    print_json,
    progress_line,
)

__all__ = ["doctor", "index", "list_", "models", "rm", "show"]


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
    max_file_mb: Annotated[
        float, typer.Option("--max-file-mb", min=0, max=1e6, help="Skip larger files.")
    ] = 64,
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
    named = [*(paths or []), *named_documents(docs, sample)]
    if paths and (docs or sample) and index is None:
        raise InputError(
            "PATH goes into the index, --docs and --sample into one of their own; name one kind,"
            " or say with --index where all go"
        )
    folder = chosen_index(index, docs, sample, models)
    changes = brought_in_line(
        folder,
        named,
        models,
        max_bytes=int(max_file_mb * 2**20),
        allow_empty=allow_empty,
        columns=chosen_columns(text_column, title_column),
        dry_run=dry_run,
    )
    if as_json:
        print_json(changes_json(changes))
    else:
        print_failures(changes)
        if dry_run:
            print_files(changes)
        print_changes(changes, folder, dry_run=dry_run)
    require_success(changes, strict=strict)


def list_(index: Index = None, as_json: Json = False) -> None:
    """List the documents in the index.

    Example: citespan list --json
    """
    from qa.render import printable, short, summary_json

    with opened_snapshot(index) as snapshot:
        summaries = snapshot.summaries()
    if as_json:
        print_json([summary_json(summary) for summary in summaries])
        return
    typer.echo(f"{'id':<16}  {'type':<8}  pages  passages  {'indexed':<16}  title (source)")
    for summary in summaries:
        indexed = datetime.fromtimestamp(summary.indexed_at).strftime("%Y-%m-%d %H:%M")
        row = f", row {summary.row}" if summary.row is not None else ""
        typer.echo(
            f"{summary.id}  {summary.kind:<8}  {summary.pages or '':>5}  {summary.passages:>8}"
            f"  {indexed}  {printable(summary.title)} ({printable(short(summary.source))}{row})"
        )


def show(
    document: Annotated[str, typer.Argument(help="An id, the end of a path, or a title.")],
    index: Index = None,
    as_json: Json = False,
) -> None:
    """Print a document's text as indexed: what offsets count in.

    Example: citespan show defectors-icsr-report.txt
    """
    with opened_snapshot(index) as snapshot:
        found = snapshot.document(snapshot.find(document))
    if as_json:
        from qa.render import document_json

        print_json(document_json(found))
    elif sys.stdout.isatty():
        from qa.render import harmless

        typer.echo(harmless(found.text))
    else:
        # To the byte: no newline added, none translated.
        sys.stdout.buffer.write(found.text.encode("utf-8"))


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

    folder = chosen_index(index)
    with progress_line() as progress:
        changes = remove_files(folder, names, progress=progress)
    if as_json:
        print_json(changes_json(changes))
    else:
        print_files(changes)
        print_changes(changes, folder)


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

    folder = chosen_index(index)
    with progress_line() as progress:
        report = examine(folder, repair=repair, progress=progress)
    if as_json:
        print_json([asdict(finding) for finding in report])
    else:
        for finding in report:
            typer.echo(f"{finding.state:<7} {finding.part:<8} {printable(finding.message)}")
    if any(finding.state == "damaged" for finding in report):
        raise typer.Exit(EXIT_ERROR)


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
        print_json([asdict(model) for model in described])
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
