"""The dense index: vectors by passage id. The only file that imports faiss.

Up to 50,000 passages the index is flat, and a search is exact. Above, vectors
are quantised to 8 bits in inverted lists, which are probed until the recall
against exact search, measured when the index is built, reaches .99.

Scores are always computed here from the stored float16 vectors, never taken from
FAISS: so they are the same in both kinds of index, and the order is total.
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from corpus.errors import DamagedIndexError

__all__ = [
    "FLAT_LIMIT",
    "STORED",
    "Floats",
    "Ids",
    "Scored",
    "Stored",
    "VectorIndex",
    "inner_products",
]

Floats: TypeAlias = NDArray[np.float32]
Stored: TypeAlias = NDArray[np.floating[Any]]
"""Vectors of `STORED` precision, whatever they are kept in."""
Ids: TypeAlias = NDArray[np.int64]
Scored: TypeAlias = list[tuple[int, float]]
"""Passage ids with their scores, best first, equal scores in order of id."""

STORED = np.dtype("<f2")
"""How vectors are stored: float16, little-endian. Rounded before they enter FAISS."""

FLAT_LIMIT = 50_000
"""Up to so many passages the search is exact."""
_LISTS_PER_ROOT = 4
_SAMPLED_PER_LIST = 40
"""How many inverted lists there are, in square roots of the number of vectors, and how many vectors
are drawn for each to train them on. FAISS advises 4 to 16, and at least 39."""
_TARGET_RECALL = 0.99
_RECALL_QUERIES = 200
_RECALL_AT = 10
"""Recall is measured with so many questions, in the best so many passages of each."""
_QUESTION_DISTANCE = 1.6
"""How far the queries that recall is measured with lie from a passage: their inner product is then
.53, as the median question's with its own passage (.52 of 219 held-out ones)."""
_PROBES = (48, 64, 96, 128, 192, 256)
"""How many lists are looked into: the first of these that reaches the recall, or the last. Fewer
than the first are never enough, since questions stray in other ways than noise does: of 1,000,000
passages 16 lists find .992 of what is nearest to the queries above, and .973 of what is nearest to
questions; 48 find .999 and .995."""
_ROWS = 65_536
"""How many vectors are float32 at once; FAISS itself takes so many at a time."""
_SLACK = 16
"""How many more candidates than are wanted are scored anew, since near-ties may swap: FAISS adds in
another order, and inverted lists hold 8 bits a number. Of 1,000,000 passages the best hundred
are then the same as with a hundred more (330 questions), and a search takes a quarter less."""


class VectorIndex:
    """Searches vectors by inner product."""

    def __init__(self, index: Any, recall: float) -> None:
        self._index = index
        self.recall = recall
        """Measured recall@10 against exact search; 1.0 where the search is exact."""

    @classmethod
    def build(cls, ids: Ids, vectors: Stored) -> "VectorIndex":
        """An index of these vectors.

        Args:
            ids: shape (n,), int64, the passages' ids, ascending.
            vectors: shape (n, dim), already rounded to `STORED`.
        """
        import faiss

        n, dim = vectors.shape
        if n <= FLAT_LIMIT:
            flat = cls(faiss.IndexIDMap2(faiss.IndexFlatIP(dim)), 1.0)
            flat.add(ids, vectors)
            return flat
        n_lists = int(_LISTS_PER_ROOT * math.sqrt(n))
        index = faiss.index_factory(dim, f"IVF{n_lists},SQ8", faiss.METRIC_INNER_PRODUCT)
        size = min(n, _SAMPLED_PER_LIST * n_lists)
        sample = np.random.default_rng(0).choice(n, size=size, replace=False)
        index.train(vectors[np.sort(sample)].astype(np.float32))
        made = cls(index, 1.0)
        made.add(ids, vectors)
        made.recall = _tune(index, ids, vectors)
        return made

    @classmethod
    def open(cls, folder: Path, *, writable: bool = False) -> "VectorIndex":
        """The index saved in the folder; mapped, unless it is to be changed.

        Raises:
            DamagedIndexError: there is none that can be read.
        """
        import faiss

        flags = 0 if writable else faiss.IO_FLAG_MMAP_IFC
        try:
            index: Any = faiss.read_index(str(folder / "vectors.faiss"), flags)
            described = json.loads((folder / "vectors.json").read_text(encoding="utf-8"))
            if hasattr(faiss.downcast_index(index), "nprobe"):
                index.nprobe = described["nprobe"]
            return cls(index, described["recall"])
        except (OSError, RuntimeError, ValueError, TypeError, KeyError, MemoryError) as error:
            raise DamagedIndexError(
                f"{folder} holds no readable FAISS index; run `citespan index` to rebuild it"
            ) from error

    def save(self, folder: Path) -> None:
        """Write the index into the folder.

        Raises:
            OSError: the disk is full or fails.
        """
        import faiss

        # Through Python's file, which says when the disk is full; FAISS's own is silent of that
        # where it comes out as late as on closing.
        with (folder / "vectors.faiss").open("wb") as stream:
            to_stream: Any = faiss.PyCallbackIOWriter(stream.write)  # type: ignore[attr-defined]
            faiss.write_index(self._index, to_stream)
        described = {"recall": self.recall, "nprobe": getattr(self._index, "nprobe", 0)}
        (folder / "vectors.json").write_text(json.dumps(described), encoding="utf-8")

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def contents(self) -> tuple[Ids, Floats] | None:
        """The ids and the vectors as they were put in; None where they are kept quantised."""
        import faiss

        if not self.exact:
            return None
        inner = faiss.downcast_index(self._index.index)
        return faiss.vector_to_array(self._index.id_map), inner.reconstruct_n(0, inner.ntotal)

    @property
    def exact(self) -> bool:
        """Whether a search looks at every vector."""
        return not hasattr(self._index, "nprobe")

    def remove(self, ids: Sequence[int]) -> None:
        """Take these passages out."""
        self._index.remove_ids(np.asarray(ids, dtype=np.int64))

    def add(self, ids: Ids, vectors: Stored) -> None:
        """Put these passages in; arguments as for `build`, in any order."""
        for rows, block in _blocks(vectors):
            self._index.add_with_ids(block, ids[rows])

    def search(
        self,
        query: Floats,
        k: int,
        stored: Callable[[Sequence[int]], dict[int, bytes]],
        within: Sequence[int] | None = None,
    ) -> Scored:
        """The `k` passages with the highest inner product, or all where there are fewer.

        Args:
            query: shape (dim,), float32.
            k: how many.
            stored: gives the vectors of the passages with these ids, as bytes of `STORED`, by id.
            within: ids of the passages to choose among; None means all.
        """
        among = len(self) if within is None else len(within)
        wanted = min(among, k + _SLACK)
        if wanted == 0:
            return []
        restriction = None if within is None else self._restriction(within)
        _, found = self._index.search(query[None, :], wanted, params=restriction)
        # FAISS pads with id -1 where it finds fewer.
        candidates = [id_ for id_ in found[0].tolist() if id_ >= 0]
        return inner_products(query, stored(candidates))[:k]

    def _restriction(self, within: Sequence[int]) -> Any:
        """FAISS's own form of "only these passages"; every list is then looked into."""
        import faiss

        parameters: Any = faiss.SearchParameters if self.exact else faiss.SearchParametersIVF
        chosen = faiss.IDSelectorBatch(np.asarray(within, dtype=np.int64))
        return parameters(sel=chosen, **({} if self.exact else {"nprobe": self._index.nlist}))


def inner_products(query: Floats, stored: dict[int, bytes]) -> Scored:
    """Exact scores of stored vectors against a query, best first, equal ones in order of id.

    Args:
        query: shape (dim,), float32.
        stored: vectors as bytes of `STORED`, by passage id.
    """
    if not stored:
        return []
    ids = list(stored)
    vectors = np.frombuffer(b"".join(stored.values()), dtype=STORED).reshape(len(ids), -1)
    # Summed row by row: a matrix product may round a row differently with other rows around it.
    scores = (vectors.astype(np.float64) * query.astype(np.float64)).sum(axis=1)
    return sorted(zip(ids, scores.tolist(), strict=True), key=lambda pair: (-pair[1], pair[0]))


def _tune(index: Any, ids: Ids, vectors: Stored) -> float:
    """Set how many lists are probed, so that recall suffices; that recall, against exact search."""
    rng = np.random.default_rng(0)
    chosen = rng.choice(len(vectors), _RECALL_QUERIES, replace=False)
    queries = vectors[chosen].astype(np.float32)
    noise = rng.standard_normal(queries.shape).astype(np.float32)
    queries += _QUESTION_DISTANCE * noise / np.linalg.norm(noise, axis=1, keepdims=True)
    exact = [set(ids[rows].tolist()) for rows in _exact(vectors, queries)]
    recall = 0.0
    for nprobe in _PROBES:
        index.nprobe = min(nprobe, index.nlist)
        _, found = index.search(queries, _RECALL_AT + _SLACK)
        hits = 0
        for query, candidates, best in zip(queries, found, exact, strict=True):
            rows = np.searchsorted(ids, candidates[candidates >= 0])
            rescored = rows[_top(vectors[rows].astype(np.float32) @ query)]
            hits += len(best.intersection(ids[rescored].tolist()))
        recall = hits / (_RECALL_QUERIES * _RECALL_AT)
        if recall >= _TARGET_RECALL:
            break
    return recall


def _exact(vectors: Stored, queries: Floats) -> Ids:
    """The rows of the best vectors for each query, shape (queries, `_RECALL_AT`)."""
    scores = np.empty((len(queries), 0), dtype=np.float32)
    rows = np.empty((len(queries), 0), dtype=np.int64)
    for where, block in _blocks(vectors):
        numbers = np.broadcast_to(np.arange(len(vectors))[where], (len(queries), len(block)))
        scores, rows = np.hstack([scores, queries @ block.T]), np.hstack([rows, numbers])
        best = np.argpartition(-scores, _RECALL_AT - 1, axis=1)[:, :_RECALL_AT]
        scores, rows = np.take_along_axis(scores, best, 1), np.take_along_axis(rows, best, 1)
    return rows


def _blocks(vectors: Stored) -> Iterator[tuple[slice, Floats]]:
    """The vectors as float32, some at a time, each with where they are."""
    for low in range(0, len(vectors), _ROWS):
        where = slice(low, low + _ROWS)
        yield where, vectors[where].astype(np.float32)


def _top(scores: Floats) -> Ids:
    """Where the best `_RECALL_AT` scores stand."""
    return np.argsort(-scores, kind="stable")[:_RECALL_AT]
