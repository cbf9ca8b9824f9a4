"""Texts to vectors: the one seam between the models and the search."""

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from corpus.database import VectorHash
from corpus.errors import ExportError
from corpus.records import ModelIdentity
from embeddings.exports import ModelSource, export, identify
from embeddings.runtime import ExportedModel, TokenSequence

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = [
    "Encoder",
    "OnnxEncoder",
    "Prompts",
    "TorchEncoder",
    "Vectors",
    "open_encoder",
    "vector_hash",
]

Vectors: TypeAlias = NDArray[np.float32]

_DEVICE_VARIABLE = "CITESPAN_DEVICE"


@dataclass(frozen=True, slots=True)
class Prompts:
    """What a model wants in front of a text; "" where it wants nothing."""

    query: str
    passage: str

    @classmethod
    def of(cls, named: Mapping[str, str]) -> "Prompts":
        """Those that the model names, as sentence-transformers looks for them.

        >>> Prompts.of({"query": "query: ", "document": "", "passage": "passage: "})
        Prompts(query='query: ', passage='passage: ')
        """
        passages = (named.get(kind) for kind in ("document", "passage", "corpus"))
        return cls(named.get("query") or "", next(filter(None, passages), ""))


class Encoder(Protocol):
    """Gives texts of similar meaning vectors with a high inner product."""

    @property
    def identity(self) -> ModelIdentity:
        """Which model this is."""
        ...

    @property
    def tokenizer(self) -> "Tokenizer":
        """What passages are measured with; neither truncates nor pads."""
        ...

    @property
    def passage_prompt(self) -> str:
        """What is put in front of a passage."""
        ...

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """One unit vector a question, shape (n, dim), float32."""
        ...

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """One unit vector a passage, shape (n, dim), float32."""
        ...


def vector_hash(encoder: Encoder, text: str) -> VectorHash:
    """Under what a passage's vector is kept: the model, and all that was embedded."""
    key = f"{encoder.identity.sha256}\0{encoder.passage_prompt}\0{text}"
    return hashlib.blake2b(key.encode(), digest_size=16).digest()


def open_encoder(
    source: ModelSource, *, fallback: Path | None = None, workers: int | None = None
) -> Encoder:
    """The encoder of this model: on ONNX Runtime where it exports, else on torch.

    With the environment variable `CITESPAN_DEVICE` set, such as to `cuda`, it
    runs on torch on that device.

    Raises:
        ModelError: the model is incomplete or not the one expected.
    """
    device = os.environ.get(_DEVICE_VARIABLE)
    if not device:
        try:
            return OnnxEncoder(export(source, "encoder", fallback=fallback, workers=workers))
        except ExportError:
            device = "cpu"
    return TorchEncoder(source, device)


class _PromptingEncoder(ABC):
    """What encoders have in common: they differ in where a text becomes a vector."""

    def __init__(self, identity: ModelIdentity, prompts: Mapping[str, str]) -> None:
        self._identity = identity
        self._prompts = Prompts.of(prompts)

    @property
    def identity(self) -> ModelIdentity:
        """Which model this is."""
        return self._identity

    @property
    def passage_prompt(self) -> str:
        """What is put in front of a passage."""
        return self._prompts.passage

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """One unit vector a question, shape (n, dim), float32."""
        return self._encode(texts, self._prompts.query)

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """One unit vector a passage, shape (n, dim), float32."""
        return self._encode(texts, self._prompts.passage)

    @abstractmethod
    def _encode(self, texts: Sequence[str], prompt: str) -> Vectors: ...


class OnnxEncoder(_PromptingEncoder):
    """An encoder on ONNX Runtime, without torch."""

    def __init__(self, model: ExportedModel) -> None:
        super().__init__(model.identity, model.prompts)
        self._model = model

    @property
    def tokenizer(self) -> "Tokenizer":
        """What passages are measured with; neither truncates nor pads."""
        return self._model.tokenizer

    def _encode(self, texts: Sequence[str], prompt: str) -> Vectors:
        def encode(text: str) -> Vectors:
            vector: Vectors = self._model.run(self._sequence(prompt + text))[0][0]
            return vector

        rows = self._model.spread(encode, texts, size=len)
        return np.stack(rows).astype(np.float32) if rows else np.empty((0, 0), np.float32)

    def _sequence(self, text: str) -> TokenSequence:
        """The text's tokens; ordinary ones at its end go where there are too many."""
        encoding = self.tokenizer.encode(text)
        ids = np.asarray(encoding.ids, dtype=np.int64)
        types = np.asarray(encoding.type_ids, dtype=np.int64)
        surplus = len(ids) - self._model.max_tokens
        if surplus > 0:
            ordinary = np.flatnonzero(np.asarray(encoding.special_tokens_mask) == 0)
            ids, types = np.delete(ids, ordinary[-surplus:]), np.delete(types, ordinary[-surplus:])
        return TokenSequence(ids, types)


class TorchEncoder(_PromptingEncoder):
    """An encoder on sentence-transformers: for GPUs, and for models that do not export."""

    def __init__(self, source: ModelSource, device: str) -> None:
        from sentence_transformers import SentenceTransformer

        self._model: Any = SentenceTransformer(
            str(source.folder),
            device=device,
            local_files_only=True,
            model_kwargs={"dtype": "float32"},
        )
        # sentence-transformers says "" for prompts that it does not know.
        own = {kind: prompt for kind, prompt in self._model.prompts.items() if prompt}
        super().__init__(identify(source), own or dict(source.prompts))
        backend = self._model.tokenizer.backend_tokenizer
        # A copy: sentence-transformers sets truncation and padding on its own as it goes.
        self._tokenizer: Tokenizer = type(backend).from_str(backend.to_str())
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    @property
    def tokenizer(self) -> "Tokenizer":
        """What passages are measured with; neither truncates nor pads."""
        return self._tokenizer

    def _encode(self, texts: Sequence[str], prompt: str) -> Vectors:
        if not texts:
            return np.empty((0, 0), np.float32)
        vectors: Vectors = self._model.encode(
            list(texts), prompt=prompt, normalize_embeddings=True, show_progress_bar=False
        )
        return vectors.astype(np.float32)
