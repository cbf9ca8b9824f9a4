"""The commands that measure: `eval`, `why`, `calibrate`, `bench`, and `gold add` for them."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from corpus.errors import InputError
from qa.cli.opening import chosen_index, ready_index
from qa.cli.options import Distractors, Docs, Index, Json, Models, Read, Sample
from qa.cli.output import print_json, progress_line

__all__ = ["bench", "calibrate", "evaluate", "gold_add", "why"]


def evaluate(
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
    read: Annotated[
        int | None,
        typer.Option(min=1, max=1000, help="How many passages to read [default: 10]."),
    ] = None,
    dense_weight: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Weight of search by meaning [default: the index's]."),
    ] = None,
    distractors: Distractors = None,
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
    from eval.compare import failures, read_run, require_measurable, requirements
    from eval.evaluate import READ, SAMPLE_GOLD
    from eval.evaluate import evaluate as evaluated

    if gold is None:
        if not sample:
            raise typer.BadParameter("name a file of gold questions, or use --sample")
        gold = SAMPLE_GOLD
    # What would spoil a run at its end is found before it begins.
    wanted = requirements(fail_under) if fail_under else {}
    require_measurable(
        wanted, read=read or READ, reader_only=reader_only, search_alone=gold.is_dir()
    )
    if html:
        _require_place(html)
    other = read_run(compare) if compare else None
    folder = _ready_for(gold, index, docs, sample, models)
    with progress_line() as progress:
        run = evaluated(
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
    if as_json:
        print_json({**run, "comparison": comparison} if comparison else run)
    else:
        from eval.table import as_table

        typer.echo(as_table(run, comparison))
    if html:
        from eval.report import write_report

        write_report(run, html, comparison)
    if fallen := failures(run, wanted):
        raise InputError(f"--fail-under: {'; '.join(fallen)}")


def why(
    question: Annotated[str, typer.Argument(help="The question.")],
    gold: Annotated[str, typer.Option(metavar="TEXT", help="What would have been right.")],
    index: Index = None,
    docs: Docs = None,
    sample: Sample = False,
    models: Models = None,
    read: Read = 10,
    as_json: Json = False,
) -> None:
    """Walk one question through every stage, and say which lost this answer.

    Example: citespan why "How long did the ferry drift?" --gold "nearly four hours" --sample
    """
    from eval import why as walk
    from qa.pipeline import Pipeline

    folder = ready_index(index, docs, sample, models)
    with Pipeline.open(folder, models=models) as pipeline:
        explanation = walk.explain(pipeline, question, gold, read=read)
    if as_json:
        print_json(walk.as_json(explanation))
    else:
        typer.echo(walk.as_text(explanation))


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
    distractors: Distractors = None,
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

    folder = _ready_for(gold, index, docs, sample, models)
    with progress_line() as progress:
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
        print_json({**asdict(calibration), "index": None if out else str(folder)})
    else:
        typer.echo(
            f"an answer is given from a confidence of {calibration.threshold:.2f} on;"
            f" kept in {out or folder}"
        )


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
    from eval.bench.check import losses, read_bench
    from eval.bench.run import bench as measured
    from eval.bench.run import plan
    from eval.bench.table import as_table, growth_picture, write_into

    before = read_bench(check) if check else None
    with progress_line() as progress:
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
        print_json(run)
    else:
        typer.echo(as_table(run))
    if before and (lost := losses(before, run)):
        raise InputError("; ".join(map(str, lost)))


def gold_add(
    file: Annotated[Path, typer.Argument(help="Answers saved by `ask --json`, or corrections.")],
    to: Annotated[Path, typer.Option(metavar="GOLD", help="The JSON lines file to add to.")],
    index: Index = None,
    docs: Docs = None,
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
    with Snapshot.open(chosen_index(index, docs, sample)) as snapshot:
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
        print_json([row_as_json(row) for row in rows])
    else:
        for row in rows:
            answers = " / ".join(row.answers) or "no answer"
            typer.echo(f"{row.id}  {printable(row.question)}  [{printable(answers)}]")


def _require_place(html: Path) -> None:
    """Make sure that a page can be put there."""
    folder = html.absolute().parent
    if html.is_dir():
        raise InputError(f"--html {html} is a folder; name a file in it")
    if not folder.is_dir():
        raise InputError(f"--html {html}: there is no folder {folder}; make it first")


def _ready_for(
    gold: Path, index: Path | None, docs: list[Path] | None, sample: bool, models: str | None
) -> Path | None:
    """The index to ask; None where the gold brings its documents and no others are named."""
    from eval.evaluate import needs_documents

    if index is None and not docs and not sample and not needs_documents(gold):
        return None
    return ready_index(index, docs, sample, models)
