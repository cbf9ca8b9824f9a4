"""What commands print: results on stdout; progress and what went wrong on stderr."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from embeddings.follow import Changes

__all__ = [
    "EXIT_ERROR",
    "EXIT_NO_ANSWER",
    "changes_json",
    "print_changes",
    "print_failures",
    "print_figures",
    "print_files",
    "print_json",
    "progress_line",
]

EXIT_ERROR = 1
EXIT_NO_ANSWER = 3
"""Beside 0, answered or done, and 2, which is usage."""


@contextmanager
def progress_line() -> Iterator[Callable[[str], None]]:
    """A line on stderr that each report overwrites; nothing where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    try:
        yield lambda line: typer.echo(f"\r\033[K{line}", err=True, nl=False)
    finally:
        typer.echo("\r\033[K", err=True, nl=False)


def changes_json(changes: "Changes") -> dict[str, Any]:
    """What `index --json` and `rm --json` print."""

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


def print_figures(figures: Mapping[str, float], *, as_json: bool) -> None:
    """What a training reached, on one line or as JSON."""
    if as_json:
        print_json(figures)
    else:
        typer.echo("  ".join(f"{name} {value:.1f}" for name, value in figures.items()))


def print_failures(changes: "Changes") -> None:
    """One line on stderr for each file that could not be read, or was left out."""
    from qa.render import printable

    for what, reasons in (("failed", changes.failed), ("skipped", changes.skipped)):
        for path, reason in sorted(reasons.items()):
            typer.echo(f"{what}: {printable(str(path))}: {printable(reason)}", err=True)


def print_files(changes: "Changes") -> None:
    """One line for each file that comes, changes or goes."""
    from qa.render import printable

    for what, paths in (
        ("added", changes.added),
        ("changed", changes.changed),
        ("removed", changes.removed),
    ):
        for path in sorted(paths):
            typer.echo(f"{what}: {printable(str(path))}")


def print_changes(changes: "Changes", folder: Path, *, dry_run: bool = False) -> None:
    """How many files came, changed and went, and what the index holds now."""
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


def print_json(value: Any) -> None:
    """The value as indented JSON; on a terminal in ASCII, since other characters may steer it."""
    typer.echo(json.dumps(value, ensure_ascii=sys.stdout.isatty(), indent=1))
