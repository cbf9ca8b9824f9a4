"""Models on ONNX Runtime: exported once, cached, run one sequence at a time.

Asking a question imports neither torch nor transformers. They are needed once,
to export a model, which happens the first time that it is used.

Sequences are never padded into a batch. Dynamic int8 quantisation takes one
activation scale for a whole input, so in a batch a passage's logits depend on
its company; alone they do not. One session with one thread is shared by a pool
of workers, which makes results equal bit for bit however many workers there are.
"""

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from corpus.cores import cores
from corpus.durable import place
from corpus.errors import ExportError, ModelError
from corpus.records import ModelIdentity
from embeddings import onnx_export
from embeddings.onnx_export import Precision, Role

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = [
    "ExportedModel",
    "ModelSource",
    "Role",
    "TokenSequence",
    "export",
    "identify",
    "is_exported",
    "user_cache",
]

_Item = TypeVar("_Item")
_Made = TypeVar("_Made")

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


@dataclass(frozen=True, slots=True)
class TokenSequence:
    """The tokens of one model input."""

    input_ids: NDArray[np.int64]
    """Shape (length,)."""
    token_type_ids: NDArray[np.int64]
    """Shape (length,): which segment each token is of, from 0."""


@dataclass(frozen=True, slots=True)
class _Manifest:
    """What is known of an exported model, kept beside it."""

    name: str
    sha256: str
    max_tokens: int
    token_types: bool
    prompts: dict[str, str]


class ExportedModel:
    """An exported model with its tokenizer; both are loaded when either is first used."""

    def __init__(self, folder: Path, workers: int) -> None:
        self._folder = folder
        self._workers = workers
        self._loading = Lock()
        self._tokenizer: Tokenizer
        self._session: Any = None
        manifest = json.loads((folder / "export.json").read_text(encoding="utf-8"))
        self._manifest = _Manifest(**manifest)

    @property
    def identity(self) -> ModelIdentity:
        """Its name and the hash of the weights it was exported from."""
        return ModelIdentity(self._manifest.name, self._manifest.sha256)

    @property
    def max_tokens(self) -> int:
        """The longest sequence it reads, special tokens included."""
        return self._manifest.max_tokens

    @property
    def prompts(self) -> dict[str, str]:
        """What the model wants in front of a text, by the kind of text."""
        return self._manifest.prompts

    @property
    def tokenizer(self) -> "Tokenizer":
        """The model's tokenizer, which neither truncates nor pads."""
        self.warm()
        return self._tokenizer

    @property
    def graph(self) -> Path:
        """The file that ONNX Runtime reads."""
        return self._folder / "model.onnx"

    def warm(self) -> None:
        """Load tokenizer and session now, once, whichever thread comes first."""
        # functools.cached_property would have one lock for all models in Python 3.11.
        with self._loading:
            if self._session is None:
                self._tokenizer = self._load_tokenizer()
                self._session = self._load_session()

    def _load_tokenizer(self) -> "Tokenizer":
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self._folder / "tokenizer.json"))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    def _load_session(self) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # The graph was optimised when it was exported.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            return onnxruntime.InferenceSession(
                self.graph, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's have no base of their own.
            raise ModelError(
                f"{self.graph} cannot be loaded ({error}); delete {self._folder}, and it is made"
                " again"
            ) from error

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._workers, thread_name_prefix="citespan")

    def spread(
        self,
        work: Callable[[_Item], _Made],
        items: Sequence[_Item],
        *,
        size: Callable[[_Item], int],
    ) -> list[_Made]:
        """What the work makes of each item, in order; it may run the model.

        The workers share the items, so that while one is in the graph another gets its
        tokens or takes its logits apart.
        """
        self.warm()
        if len(items) <= 1 or self._workers == 1:
            return [work(item) for item in items]
        # Large ones first: the last to finish is then a small one, and no worker waits long.
        order = sorted(range(len(items)), key=lambda i: -size(items[i]))
        jobs = {i: self._pool.submit(work, items[i]) for i in order}
        return [jobs[i].result() for i in range(len(items))]

    def run(self, sequence: TokenSequence) -> list[NDArray[np.float32]]:
        """The model's outputs for one sequence, float32, each with a leading axis of 1.

        An encoder's is one of shape (1, dim); a reader's are two of shape (1, length), the
        logits of an answer's first and last token.
        """
        self.warm()
        inputs = {"input_ids": sequence.input_ids[None, :]}
        if self._manifest.token_types:
            inputs["token_type_ids"] = sequence.token_type_ids[None, :]
        outputs: list[NDArray[np.float32]] = self._session.run(None, inputs)
        return outputs


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
        raise ExportError(
            f"{source.folder} cannot be exported to ONNX ({type(error).__name__}: {error})"
        ) from error
    manifest = _Manifest(
        identity.name,
        identity.sha256,
        exported.max_tokens,
        exported.token_types,
        exported.prompts or dict(source.prompts),
    )
    (out / "export.json").write_text(json.dumps(asdict(manifest), indent=1), encoding="utf-8")
