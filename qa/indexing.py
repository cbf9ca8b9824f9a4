"""Bring an index in line with files, with the models that it was or will be made with."""

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import corpus
from corpus.database import DATABASE, connect
from corpus.errors import InputError
from corpus.extract import Columns
from corpus.records import ModelIdentity, Recipe
from corpus.writer import Writer
from embeddings.encoder import Encoder, open_encoder
from embeddings.exports import export, user_cache
from embeddings.follow import Changes, remove, update
from qa.settings import default_recipe, model_pair

__all__ = ["MAX_FILE_BYTES", "SAMPLE", "index_files", "own_index", "remove_files"]

MAX_FILE_BYTES = 64 * 2**20
SAMPLE = Path(corpus.__file__).parent / "sample"
"""The sample documents in the package."""


def index_files(
    folder: Path,
    paths: Sequence[Path],
    *,
    models: str | None = None,
    max_bytes: int = MAX_FILE_BYTES,
    allow_empty: bool = False,
    columns: Columns | None = None,
    dry_run: bool = False,
    progress: Callable[[str], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> Changes:
    """What `citespan index` does; see `embeddings.follow.update`.

    Args:
        folder: the index.
        paths: files and folders; none means the index's own roots.
        models: what a new index is made with, `bundled` by default. An existing
            index remembers its own; naming others is refused.
        max_bytes: larger files are skipped.
        allow_empty: let go of the documents of missing and empty roots.
        columns: which columns of tables to use from now on; None leaves them as they were.
        dry_run: find out what there is to do, and change nothing.
        progress: receives a line now and then.
        stop: once it says yes, what was read is kept and the rest left as it was.

    Raises:
        RecipeError: the index was made with other models.
    """
    for path in paths:
        _check_path(path)

    @cache
    def load(name: str) -> tuple[Encoder, ModelIdentity]:
        return _load(name, folder, progress)

    def recipe() -> Recipe:
        for path in paths:
            if not path.exists():
                raise InputError(f"{path} does not exist; nothing was changed")
        encoder, reader = load(models or "bundled")
        return default_recipe(models or "bundled", encoder.identity, reader)

    with ExitStack() as stack:
        if dry_run and not (folder / DATABASE).exists():
            if not paths:
                connect(folder, read_only=True)  # Says that there is none.
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="citespan-")))
        writer = stack.enter_context(Writer.open(folder, recipe, notify=progress, tidy=not dry_run))
        encoder, reader = load(models or writer.recipe.models)
        writer.require_models(encoder=encoder.identity, reader=reader)
        return update(
            writer,
            paths,
            encoder,
            max_bytes=max_bytes,
            allow_empty=allow_empty,
            columns=columns,
            dry_run=dry_run,
            progress=progress,
            stop=stop,
        )


def remove_files(
    folder: Path, names: Sequence[str], *, progress: Callable[[str], None] = lambda _: None
) -> Changes:
    """What `citespan rm` does; see `embeddings.follow.remove`.

    Raises:
        NoIndexError: there is no index in the folder.
    """
    with Writer.open_existing(folder, notify=progress) as writer:
        return remove(writer, names, progress=progress)


def _check_path(path: Path) -> None:
    """Refuse a path that cannot be looked at, or written down."""
    try:
        str(path).encode("utf-8")
        path.exists()
    except UnicodeEncodeError:
        raise InputError(f"{str(path)!r}: its name is not UTF-8; rename it") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error


def own_index(
    paths: Sequence[Path],
    models: str,
    *,
    purpose: str = "documents",
    progress: Callable[[str], None] = lambda _: None,
) -> Path:
    """Where the index of documents named only for one command lies: in the user's cache.

    It depends on the documents' paths, on what is made of them, and on the models' weights,
    so that the next such command finds it and another version of the models does not.
    """
    encoder, reader = _load(models, None, progress)
    weights = [encoder.identity.sha256, reader.sha256]
    named = sorted(str(path.absolute()) for path in paths)
    key = json.dumps([purpose, named, models, weights])
    return user_cache() / "indexes" / hashlib.sha256(key.encode()).hexdigest()[:16]


def _load(
    models: str, fallback: Path | None, progress: Callable[[str], None]
) -> tuple[Encoder, ModelIdentity]:
    progress("loading the models; the first time they are exported, which takes some seconds")
    pair = model_pair(models)
    encoder = open_encoder(pair.encoder, fallback=fallback)
    return encoder, export(pair.reader, "reader", fallback=fallback).identity
