"""Options that several commands have, each written once."""

import os
from pathlib import Path
from typing import Annotated

import typer

from corpus.extract import Columns

__all__ = [
    "OFFLINE",
    "Distractors",
    "Docs",
    "Index",
    "Json",
    "Models",
    "Read",
    "Sample",
    "TextColumns",
    "TitleColumn",
    "chosen_columns",
]

OFFLINE = "HF_HUB_OFFLINE"
_OFFLINE_CHOSEN = OFFLINE in os.environ


def _online_for(value: str | None) -> str | None:
    """Go online only when models were asked for that may have to be fetched."""
    if value and value != "bundled" and not Path(value).is_dir() and not _OFFLINE_CHOSEN:
        os.environ[OFFLINE] = "0"
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
        callback=_online_for,
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
Read = Annotated[int, typer.Option(min=1, max=1000, help="How many passages to read.")]
Distractors = Annotated[
    list[Path] | None,
    typer.Option(metavar="FILE", help="SQuAD paragraphs that join SQuAD's own; repeatable."),
]


def chosen_columns(text: list[str] | None, title: str | None) -> Columns | None:
    """The columns named; None where none are."""
    return Columns(tuple(text or ()), title) if text or title else None
