"""The derived indexes of a generation: FAISS and tantivy, amended or built afresh."""

import json
import shutil
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from corpus import generations
from corpus.errors import DamagedIndexError
from corpus.log import Stages
from corpus.writer import Writer
from embeddings.lexical import ANALYSIS, LexicalIndex
from embeddings.search import lexical_folder
from embeddings.vectors import FLAT_LIMIT, STORED, Ids, Stored, VectorIndex

__all__ = ["altered", "build", "damage"]

_TOMBSTONES = 0.05
"""BM25 counts deleted passages; past this share the indexes are built afresh."""
_MAX_GROWTH = 1.5
"""Past so many times the passages of the last building too: inverted lists are trained on those."""
_STATE = "derived.json"


@dataclass(frozen=True, slots=True)
class _State:
    """What the derived indexes do not say about themselves."""

    built_with: int
    """How many passages there were when they were last built afresh."""
    tombstones: int
    """How many have been deleted since."""
    analysis: int = 1
    """How words were made of texts; indexes that do not say so are of the first way."""


def build(writer: Writer, folder: Path, stages: Stages, *, afresh: bool) -> VectorIndex:
    """Write the indexes of what the writer plans into the folder; the dense one comes back.

    The last ones are amended where that is good enough, and left alone with `afresh`.
    """
    last = None if afresh else _amendable(writer)
    removed = writer.dropped_passages()
    with stages("lexical index"):
        if last is None:
            lexical = LexicalIndex.create(lexical_folder(folder))
        else:
            shutil.copytree(lexical_folder(writer.artefacts), lexical_folder(folder))
            lexical = LexicalIndex.open(lexical_folder(folder))
        new_only = last is not None
        ids, stored = _gather(writer, lexical, removed if new_only else (), new_only=new_only)
    with stages("dense index"):
        if last is None:
            vectors = VectorIndex.build(ids, stored)
            state = _State(built_with=len(ids), tombstones=0, analysis=ANALYSIS)
        else:
            vectors = VectorIndex.open(writer.artefacts, writable=True)
            vectors.remove(removed)
            if len(ids):
                vectors.add(ids, stored)
            state = replace(last, tombstones=last.tombstones + len(removed))
        vectors.save(folder)
    (folder / _STATE).write_text(json.dumps(asdict(state)), encoding="utf-8")
    return vectors


def _amendable(writer: Writer) -> _State | None:
    """The state of the last indexes; None where building afresh is better than amending."""
    state = _last_state(writer)
    passages = writer.count()[1]
    removed = len(writer.dropped_passages())
    after = passages - removed + writer.staged_passages()
    stale = state.tombstones + removed > _TOMBSTONES * passages
    outgrown = after > _MAX_GROWTH * state.built_with
    other_kind = (after > FLAT_LIMIT) != (state.built_with > FLAT_LIMIT)
    return None if stale or outgrown or other_kind else state


def _last_state(writer: Writer) -> _State:
    return _State(**json.loads((writer.artefacts / _STATE).read_text(encoding="utf-8")))


def _gather(
    writer: Writer, lexical: LexicalIndex, removed: Sequence[int], *, new_only: bool
) -> tuple[Ids, Stored]:
    """Feed planned passages to the lexical index; their ids and vectors come back."""
    # Both grow in place: a million vectors are 0.8 GB, and there is to be one copy of them.
    ids = array("q")
    vectors = bytearray()

    def texts() -> Iterator[tuple[int, str]]:
        for passage, title, vector in writer.planned(new_only=new_only):
            ids.append(passage.id)
            vectors.extend(vector)
            # The title's words help BM25 (R@5 +1.8 on held-out questions) and blur vectors
            # (-1.6), so it is searched and not embedded.
            yield passage.id, f"{title}\n{passage.text}"

    lexical.update(removed, texts())
    stored = np.frombuffer(vectors, dtype=STORED).reshape(len(ids), -1 if ids else 1)
    return np.frombuffer(ids, dtype=np.int64), stored


def altered(writer: Writer) -> list[int]:
    """Passages whose stored vector is not the one in the dense index, which has a checksum.

    A large index keeps its vectors quantised, and is not compared.
    """
    contents = VectorIndex.open(writer.artefacts).contents()
    if contents is None:
        return []
    indexed = dict(zip(contents[0].tolist(), contents[1], strict=True))
    nothing = np.empty(0, np.float32)
    return [
        id_
        for id_, vector in writer.each(
            "SELECT p.id, v.vector FROM passages p JOIN vectors v ON v.hash = p.vector"
        )
        if not np.array_equal(
            np.frombuffer(vector, STORED).astype(np.float32), indexed.get(id_, nothing)
        )
    ]


def damage(writer: Writer) -> list[str]:
    """Why the current derived indexes must be built again, one sentence each; empty when not."""
    folder = writer.artefacts
    if writer.generation == 0:
        return ["nothing has been indexed yet"]
    if found := generations.verify_files(folder, writer.meta("manifest")):
        return found
    if _last_state(writer).analysis != ANALYSIS:
        return ["the lexical index was made by another version, which finds other words in texts"]
    passages = writer.count()[1]
    try:
        indexes = (VectorIndex.open(folder), LexicalIndex.open(lexical_folder(folder)))
    except DamagedIndexError as error:
        return [str(error)]
    return [
        f"{type(index).__name__} holds {len(index)} passages where the database has {passages}"
        for index in indexes
        if len(index) != passages
    ]
