"""Models exported to ONNX graphs, each once: where they are cached, and whether they are right.

Asking a question imports neither torch nor transformers. They are needed once,
to export a model, which happens the first time that it is used.
"""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from corpus.cores import cores
from corpus.durable import place
from corpus.errors import ExportError, ModelError
from corpus.records import ModelIdentity
from embeddings import onnx_export
from embeddings.onnx_export import Precision, Role
from embeddings.runtime import ExportedModel, Manifest

__all__ = ["ModelSource", "Role", "export", "identify", "is_exported", "user_cache"]

_FORMAT = 4
"""Goes up whenever the same weights would be exported differently."""
_WEIGHTS = "model.safetensors"
"""The only format of weights that is read: it holds numbers and cannot run code."""
_CACHE_VARIABLE = "CITESPAN_CACHE"


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where a model lies, before it is exported."""

    name: str
    """What people call it."""
    folder: Path
    """In the Hugging Face layout."""
    sha256: str | None = None
    """What the weights must hash to; None where any will do."""
    prompts: tuple[tuple[str, str], ...] = ()
    """Kind of text and what goes in front of it, where the model's own files do not say."""


def export(
    source: ModelSource,
    role: Role,
    *,
    fallback: Path | None = None,
    precision: Precision = "int8",
    workers: int | None = None,
) -> ExportedModel:
    """The model for ONNX Runtime, exported now if it never was.

    Exports are cached by the weights' path, size and time of change, so that
    finding one reads no weights. Two processes that need the same export make
    it once.

    Args:
        source: the model folder.
        role: which head to export: sentence embedding, or start and end logits.
        fallback: where to cache when the user's cache cannot be written.
        precision: int8 weights (quantised dynamically, per channel) or float32.
        workers: how many sequences run at once; all cores by default.

    Raises:
        ModelError: the folder has no weights, or not those that were expected.
        ExportError: its architecture cannot be exported.
    """
    weights = _weights(source)
    name = _export_name(weights, role, precision)
    workers = workers or cores()
    caches = [user_cache() / "models", *([fallback / "models"] if fallback else [])]
    for cache in caches:
        if found := _opened(cache / name, workers):
            return found

    cache = _writable(caches)
    with (cache / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if found := _opened(cache / name, workers):
            return found
        partial = cache / f"{name}.partial"
        for leftover in (partial, cache / name):
            shutil.rmtree(leftover, ignore_errors=True)
        partial.mkdir()
        try:
            _export(source, weights, role, precision, partial)
            place(partial, cache / name)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return ExportedModel(cache / name, workers)


def is_exported(source: ModelSource, role: Role, precision: Precision = "int8") -> bool:
    """Whether the model's export lies in the user's cache.

    Raises:
        ModelError: the folder has no weights.
    """
    name = _export_name(_weights(source), role, precision)
    return _opened(user_cache() / "models" / name, workers=1) is not None


def _export_name(weights: Path, role: Role, precision: Precision) -> str:
    status = weights.stat()
    key = json.dumps(
        [_FORMAT, role, precision, str(weights.resolve()), status.st_size, status.st_mtime_ns]
    )
    return f"{role}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def _opened(folder: Path, workers: int) -> ExportedModel | None:
    """The export in the folder; None where there is none, or a broken one."""
    try:
        return ExportedModel(folder, workers)
    except (OSError, ValueError, TypeError):
        return None


def identify(source: ModelSource) -> ModelIdentity:
    """The model's name and the hash of its weights, which are read whole.

    Raises:
        ModelError: there are none, or they are not the ones expected.
    """
    return _identity(source, _weights(source))


def _identity(source: ModelSource, weights: Path) -> ModelIdentity:
    with weights.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    if source.sha256 and sha256 != source.sha256:
        raise ModelError(
            f"{weights} has sha256 {sha256}, expected {source.sha256}: it is not the published"
            " model; install it again"
        )
    return ModelIdentity(source.name, sha256)


def _weights(source: ModelSource) -> Path:
    weights = source.folder / _WEIGHTS
    if not weights.is_file():
        raise ModelError(
            f"{source.folder} has no {_WEIGHTS}; expected a model folder in the Hugging Face layout"
        )
    return weights


def user_cache() -> Path:
    """Where exported models and other things that can be made again are kept."""
    import platformdirs

    return Path(os.environ.get(_CACHE_VARIABLE) or platformdirs.user_cache_path("citespan"))


def _writable(folders: Sequence[Path]) -> Path:
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return folder
        except OSError:
            continue
    raise ModelError(
        f"no place to cache exported models: {', '.join(map(str, folders))} cannot be written;"
        f" set {_CACHE_VARIABLE} to a folder that can"
    )


def _export(
    source: ModelSource, weights: Path, role: Role, precision: Precision, out: Path
) -> None:
    identity = _identity(source, weights)
    try:
        exported = onnx_export.export(source.folder, role, out, precision)
    except Exception as error:  # Whatever torch or transformers make of a model they do not know.
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise ModelError(
                f"{source.folder} cannot be exported: {out.parent} is on a full disk; make room, or"
                f" set {_CACHE_VARIABLE} to another folder"
            ) from error
        raise ExportError(
            f"{source.folder} cannot be exported to ONNX ({type(error).__name__}: {error})"
        ) from error
    manifest = Manifest(
        identity.name,
        identity.sha256,
        exported.max_tokens,
        exported.token_types,
        exported.prompts or dict(source.prompts),
    )
    manifest.write(out)
