"""What the bench does in processes of their own, where a start is cold and memory their own.

    python -m eval.bench.child WORK ARGUMENT...

prints one object of JSON.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.bench.timing import Timing, first_line, peak_bytes, run, timed

if TYPE_CHECKING:
    from embeddings.encoder import Vectors

__all__ = ["in_child", "timed_child"]

_YARDSTICK, _YARDSTICK_ROUNDS = 20_000, 50
"""Search is compared with numpy's product of a vector with so many."""


def in_child(work: str, *arguments: str | Path | int) -> dict[str, Any]:
    """What this work, a function below, gives in a process of its own.

    Raises:
        RuntimeError: it failed.
    """
    answer: dict[str, Any] = json.loads(run(_command(work, *arguments)))
    return answer


def timed_child(work: str, *arguments: str | Path | int) -> tuple[float, dict[str, Any]]:
    """As `in_child`, with the seconds from the process's start to what it gives.

    Raises:
        RuntimeError: it failed.
    """
    seconds, line = first_line(_command(work, *arguments))
    return seconds, json.loads(line)


def _command(work: str, *arguments: str | Path | int) -> list[str | Path]:
    return [sys.executable, "-m", "eval.bench.child", work, *map(str, arguments)]


def build(folder: str, n: str, real: str, words: str) -> dict[str, Any]:
    """Build an index of `n` made passages."""
    import numpy as np

    from embeddings.exports import identify
    from eval.bench.large import add_made
    from eval.bench.made import MadeText, MadeVectors
    from qa.settings import default_recipe, model_pair

    pair = model_pair("bundled")
    recipe = default_recipe("bundled", identify(pair.encoder), identify(pair.reader))
    text = MadeText(json.loads(Path(words).read_text(encoding="utf-8")))
    built = add_made(
        Path(folder), text.passages(int(n)), MadeVectors(np.load(real)).batches(int(n)), recipe
    )
    return {**asdict(built), "peak_bytes": peak_bytes()}


def first(folder: str, question: str) -> dict[str, Any]:
    """Search for one question: from nothing to the first hit."""
    from qa.pipeline import Pipeline

    with Pipeline.open(folder) as pipeline:
        found = pipeline.search(question, 10)
    return {"passage": found[0].passage.id, "peak_bytes": peak_bytes()}


def search(folder: str, questions: str, encoded: str) -> dict[str, Any]:
    """Search for every question, one at a time; their vectors are ready."""
    import numpy as np

    from corpus.store import Snapshot
    from embeddings.search import DEPTH, Search
    from embeddings.vectors import VectorIndex

    asked = json.loads(Path(questions).read_text(encoding="utf-8"))
    vectors = np.load(encoded)
    with Snapshot.open(Path(folder)) as snapshot:
        ready = _Ready(dict(zip(asked, vectors, strict=True)))
        hybrid = Search.open(snapshot, ready)  # type: ignore[arg-type]
        for question in asked[:10]:
            hybrid.search(question, 10)
        seconds = []
        for question in asked:
            started = time.perf_counter()
            hybrid.search(question, 10)
            seconds.append(time.perf_counter() - started)
        peak = peak_bytes()
        index = VectorIndex.open(snapshot.artefacts)
        # As deep as the hybrid search looks, since it rescores as many.
        dense = [index.search(vector, DEPTH, snapshot.passage_vectors)[:10] for vector in vectors]
    block = np.random.default_rng(0).standard_normal((_YARDSTICK, vectors.shape[1]), np.float32)
    product = [timed(lambda: block @ vectors[0]) for _ in range(_YARDSTICK_ROUNDS)]
    return {
        "seconds": seconds,
        "dense": [[id_ for id_, _ in found] for found in dense],
        "peak_bytes": peak,
        "yardstick": Timing(tuple(product)).p50,
    }


def index(folder: str, documents: str) -> dict[str, Any]:
    """Index the documents on one core, with vectors that cost nothing."""
    import numpy as np

    from corpus.writer import Writer
    from embeddings.encoder import open_encoder
    from embeddings.follow import update
    from qa.indexing import MAX_FILE_BYTES
    from qa.settings import default_recipe, model_pair

    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
    pair = model_pair("bundled")
    real = open_encoder(pair.encoder)
    rng = np.random.default_rng(0)

    class Free:
        """The real encoder, but for the encoding."""

        identity, tokenizer, passage_prompt = real.identity, real.tokenizer, ""

        def encode_passages(self, texts: Sequence[str]) -> "Vectors":
            return rng.standard_normal((len(texts), 384), dtype=np.float32)

    recipe = default_recipe("bundled", real.identity, real.identity)
    started = time.perf_counter()
    with Writer.open(Path(folder), lambda: recipe) as writer:
        changes = update(
            writer,
            [Path(documents)],
            Free(),  # type: ignore[arg-type]
            max_bytes=MAX_FILE_BYTES,
        )
        seconds = time.perf_counter() - started
        ids = [summary.id for summary in writer.summaries()]
        texts = [writer.document(id_).text for id_ in ids]
    tokenise = timed(lambda: [real.tokenizer.encode(text) for text in texts])
    return {"seconds": seconds, "passages": changes.passages, "yardstick": tokenise}


class _Ready:
    """An encoder that has seen all its questions before."""

    def __init__(self, vectors: "dict[str, Vectors]") -> None:
        self._vectors = vectors

    def encode_queries(self, texts: Sequence[str]) -> "Vectors":
        return self._vectors[texts[0]][None, :]


WORKS: dict[str, Callable[..., dict[str, Any]]] = {
    "build": build,
    "first": first,
    "search": search,
    "index": index,
}


if __name__ == "__main__":
    print(json.dumps(WORKS[sys.argv[1]](*sys.argv[2:])), flush=True)
