"""The command line. Prints; every piece of work is done on a lower floor.

The commands are functions in the modules of this package; here they get their names. Heavy
imports stand inside the functions that need them, so that `--help` is instant.
"""

import os
import sys
import time
from typing import Annotated, Any

import typer

from corpus.errors import CitespanError
from corpus.log import event, failure, log_to
from qa.cli import answers, documents, measuring, training
from qa.cli.options import OFFLINE
from qa.cli.output import EXIT_ERROR

__all__ = ["app", "main"]

_VERBOSE = "--verbose"

app = typer.Typer(
    help="Ask your documents; every answer is a quote you can check.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("index")(documents.index)
app.command("ask")(answers.ask)
app.command("eval")(measuring.evaluate)
app.command("why")(measuring.why)
app.command("chat")(answers.chat)
app.command("list")(documents.list_)
app.command("rm")(documents.rm)
app.command("doctor")(documents.doctor)
app.command("models")(documents.models)
app.command("show")(documents.show)
app.command("verify")(answers.verify)
app.command("calibrate")(measuring.calibrate)
app.command("bench")(measuring.bench)

train = typer.Typer(help="Fine-tune a model on gold questions.", no_args_is_help=True)
train.command("reader")(training.reader)
train.command("encoder")(training.encoder)
app.add_typer(train, name="train")

gold = typer.Typer(help="Keep gold questions.", no_args_is_help=True)
gold.command("add")(measuring.gold_add)
app.add_typer(gold, name="gold")


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


def main() -> None:
    """Run the command line; a user's mistake is one line and exit code 1, a bug its traceback."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault(OFFLINE, "1")
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
