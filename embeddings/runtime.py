"""Models on ONNX Runtime, run one sequence at a time.

Sequences are never padded into a batch. Dynamic int8 quantisation takes one
activation scale for a whole input, so in a batch a passage's logits depend on
its company; alone they do not. One session with one thread is shared by a pool
of workers, which makes results equal bit for bit however many workers there are.
"""

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from corpus.errors import ModelError
from corpus.records import ModelIdentity

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["ExportedModel", "Manifest", "TokenSequence"]

_Item = TypeVar("_Item")
_Made = TypeVar("_Made")

_MANIFEST = "export.json"


@dataclass(frozen=True, slots=True)
class TokenSequence:
    """The tokens of one model input."""

    input_ids: NDArray[np.int64]
    """Shape (length,)."""
    token_type_ids: NDArray[np.int64]
    """Shape (length,): which segment each token is of, from 0."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is known of an exported model, kept beside it."""

    name: str
    sha256: str
    """Of the weights that it was exported from."""
    max_tokens: int
    token_types: bool
    prompts: dict[str, str]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """That of the model in the folder.

        Raises:
            OSError, ValueError, TypeError: there is none, or it is broken.
        """
        return cls(**json.loads((folder / _MANIFEST).read_text(encoding="utf-8")))

    def write(self, folder: Path) -> None:
        """Write it beside the model in the folder."""
        (folder / _MANIFEST).write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")


class ExportedModel:
    """An exported model with its tokenizer; both are loaded when either is first used."""

    def __init__(self, folder: Path, workers: int) -> None:
        self._folder = folder
        self._workers = workers
        self._loading = Lock()
        self._tokenizer: Tokenizer
        self._session: Any = None
        self._manifest = Manifest.read(folder)

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
