"""What the bench measures with: how much, and what several measures need."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from corpus.split import split
from corpus.store import Snapshot
from embeddings.encoder import Encoder, OnnxEncoder
from embeddings.exports import export, user_cache
from embeddings.vectors import STORED, Floats
from eval.bench.large import add_made
from eval.bench.made import MadeText
from qa.gold import GoldRow
from qa.indexing import SAMPLE, index_files
from qa.settings import default_recipe, model_pair

__all__ = ["Measure", "Plan", "Workshop"]

_PIECE_TOKENS = 48
"""Real vectors are those of the sample's pieces of so many tokens: some five hundred."""
_TIMES = re.compile(r"≥ (?P<least>[\d.]+) × (?P<whom>.+)")
_EACH = "each"


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    rounds: int = 11
    """How often what is measured as a whole is repeated."""
    questions: int = 330
    """How many gold questions a warm index is asked, the answerable ones first."""
    passages: int = 10_000
    """How many passages a warm index holds."""
    embedded: int = 149
    """How many of the sample's passages are embedded in one call."""
    indexed: int = 4_000
    """How many made passages are indexed on one core."""
    sizes: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000)
    """How many passages the large indexes hold, ascending."""
    read: int = 10
    """How many passages are read for a question."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure, with its target and what it is compared with."""

    name: str
    what: str
    unit: str
    value: float
    target: float | None = None
    higher: bool = False
    """Whether more is better."""
    times: str = ""
    """What is asked beside peers: `≥ 10 × each`, or the beginning of one's name for `each`."""
    ratios: Mapping[str, float] = field(default_factory=dict)
    """How many times as fast as each yardstick and peer; above 1 where it is faster."""
    peers: Mapping[str, float] = field(default_factory=dict)
    """The same figure of each peer."""
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def met(self) -> bool | None:
        """Whether all that is asked was reached; None where nothing is, or it cannot be told."""
        asked = self._times_met()
        if self.target is not None:
            far = self.value >= self.target if self.higher else self.value <= self.target
            asked.append(far)
        if False in asked:
            return False
        return True if asked and None not in asked else None

    def _times_met(self) -> list[bool | None]:
        """For each peer that is meant, whether the ratio was reached; None where none was there."""
        said = _TIMES.fullmatch(self.times)
        if said is None:
            return []
        least, whom = float(said["least"]), said["whom"]
        meant = [name for name in self.peers if whom == _EACH or name.startswith(whom)]
        return [self.ratios[name] >= least for name in meant] or [None]


class Workshop:
    """What several measures need: models, the sample's index and texts, made data."""

    def __init__(
        self, folder: Path, gold: Sequence[GoldRow], progress: Callable[[str], None]
    ) -> None:
        """Work in the folder, which is empty.

        Args:
            folder: for indexes and the like.
            gold: questions on the sample documents.
            progress: receives a line now and then.
        """
        self.folder = folder
        self.gold = gold
        self.progress = progress
        pair = model_pair("bundled")
        self.encoder_model = export(pair.encoder, "encoder")
        self.reader_model = export(pair.reader, "reader")
        self.encoder: Encoder = OnnxEncoder(self.encoder_model)
        self.recipe = default_recipe("bundled", self.encoder.identity, self.reader_model.identity)
        self.sample = folder / "sample"
        index_files(self.sample, [SAMPLE])
        with Snapshot.open(self.sample) as snapshot:
            ids = [summary.id for summary in snapshot.summaries()]
            self.texts = [snapshot.document(id_).text for id_ in ids]
            self.passages = [p.text for p in snapshot.passages(snapshot.passage_ids(ids))]
        self.made = MadeText(self.texts)
        self.questions = [row.question for row in gold]

    def real_vectors(self) -> Floats:
        """The vectors of pieces of the sample's texts, shape (some hundreds, dim)."""
        pieces = [
            text[start:end]
            for text in self.texts
            for start, end in split(
                text, self.encoder.tokenizer, max_tokens=_PIECE_TOKENS, overlap_tokens=0
            )
        ]
        return self.encoder.encode_passages(list(dict.fromkeys(pieces)))

    def filled(self, passages: int) -> Path:
        """An index of so many passages: the sample's, and made ones with their real vectors."""
        folder = self.folder / f"filled-{passages}"
        if not folder.exists():
            index_files(folder, [SAMPLE])
            more = passages - len(self.passages)
            self.progress(f"embedding {more:,} made passages")
            add_made(folder, self.made.passages(more), [self.made_vectors(more)], self.recipe)
        return folder

    def made_vectors(self, n: int) -> Floats:
        """The vectors of the first `n` made passages; kept, since they take minutes."""
        kept = user_cache() / "bench" / f"made-{self.encoder.identity.sha256[:12]}-{n}.npy"
        if not kept.exists():
            kept.parent.mkdir(parents=True, exist_ok=True)
            np.save(kept, self.encoder.encode_passages(list(self.made.passages(n))).astype(STORED))
        vectors: Floats = np.load(kept).astype(np.float32)
        return vectors
