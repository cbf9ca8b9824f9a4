"""The commands about answers: `ask`, `chat` and `verify`."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from corpus.errors import CitespanError
from corpus.extract import DEFAULT_COLUMNS
from qa.cli.opening import ready_index
from qa.cli.options import (
    Docs,
    Index,
    Json,
    Models,
    Read,
    Sample,
    TextColumns,
    TitleColumn,
    chosen_columns,
)
from qa.cli.output import EXIT_ERROR, EXIT_NO_ANSWER, print_json

__all__ = ["ask", "chat", "verify"]


def ask(
    question: Annotated[str, typer.Argument(help="The question, or - to read one a line.")],
    index: Index = None,
    docs: Docs = None,
    sample: Sample = False,
    models: Models = None,
    answers: Annotated[int, typer.Option(min=1, max=1000, help="How many answers, at most.")] = 5,
    read: Read = 10,
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
    folder = ready_index(index, docs, sample, models)

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
        print_json(render.as_json(result))
    else:
        colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        typer.echo(render.as_text(result, colour=colour))
    if not result.answered:
        raise typer.Exit(EXIT_NO_ANSWER)


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
        folder = ready_index(index, docs, sample, models, always_tell=True)

        from qa.library import Library

        port = listening.getsockname()[1]
        access = Access.checked(host, port, token, no_auth=no_auth)
        library = Library(folder, models=models)
        shown = f"[{host}]" if ":" in host else host
        typer.echo(f"Citespan is at http://{shown}:{port}/ - stop it with Ctrl-C", err=True)
        serve(library, access, listening)


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

    columns = chosen_columns(text_column, title_column) or DEFAULT_COLUMNS
    report = check(read_citations(file), columns)
    if as_json:
        print_json(report)
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


def _answer_lines(answer: Callable[[str], dict[str, Any]]) -> None:
    """One line of JSON for each line of stdin; what cannot be asked is an `error` in its place."""
    for line in sys.stdin.buffer:
        try:
            printed = answer(line.decode("utf-8", "replace").removeprefix("\ufeff"))
        except CitespanError as error:
            printed = {"error": str(error)}
        typer.echo(json.dumps(printed, ensure_ascii=sys.stdout.isatty()))
        sys.stdout.flush()
