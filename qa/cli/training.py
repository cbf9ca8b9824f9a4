"""The commands that train: `train reader` and `train encoder`."""

from pathlib import Path
from typing import Annotated

import typer

from corpus.errors import InputError
from qa.cli.options import Json, Models
from qa.cli.output import print_figures

__all__ = ["encoder", "reader"]

TrainedOn = Annotated[
    list[str], typer.Option("--train", metavar="FILE[@SHARE]", help="SQuAD JSON; repeatable.")
]
Base = Annotated[
    str, typer.Option(metavar="NAME|DIR", help="all-MiniLM-L6-v2, or a model's folder.")
]
Epochs = Annotated[float, typer.Option(min=0.01, help="Passes over the data.")]
LearningRate = Annotated[float, typer.Option(min=0)]


def reader(
    train: TrainedOn,
    validation: Annotated[Path, typer.Option(help="SQuAD JSON, never trained on.")],
    base: Base,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the reader goes.")],
    epochs: Epochs = 2,
    learning_rate: LearningRate = 2e-4,
    batch_size: Annotated[int, typer.Option(min=1)] = 32,
    max_tokens: Annotated[int, typer.Option(min=32)] = 320,
    negatives: Annotated[
        float,
        typer.Option(min=0, max=1, help="Share of questions also shown with a wrong paragraph."),
    ] = 0.22,
    searched: Annotated[
        float, typer.Option(min=0, max=1, help="Share of those found by search.")
    ] = 0.0,
    altered: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Share of questions also shown changed, and without an answer."
        ),
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
        altered=altered,
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
    print_figures(figures, as_json=as_json)


def encoder(
    train: TrainedOn,
    validation: Annotated[
        list[str],
        typer.Option(metavar="FILE[@SHARE]", help="SQuAD JSON, never trained on; repeatable."),
    ],
    base: Base,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the encoder goes.")],
    epochs: Epochs = 1,
    learning_rate: LearningRate = 5e-5,
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
            f"{error.name} is not installed; training needs it:"
            " pip install -c constraints.txt '.[train]'"
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
    print_figures(figures, as_json=as_json)
