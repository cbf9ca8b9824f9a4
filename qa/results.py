"""What comes of a question: spans, answers with their citations, and the whole result."""

from dataclasses import dataclass

from embeddings.search import Hit
from qa.calibration import Signals

__all__ = ["Answer", "Citation", "IndexState", "Result", "Seconds", "Span"]


@dataclass(frozen=True, slots=True)
class Span:
    """A candidate answer, `document.text[start:end]`, inside one passage."""

    hit: Hit
    start: int
    end: int
    text: str
    margin: float
    """How far it beats "no answer in this passage", in the reader's logits."""
    score: float
    """What it is ranked by: the margin plus the weighted search score."""


@dataclass(frozen=True, slots=True)
class Citation:
    """Where an answer stands, and proof of it."""

    document: str
    """The document's id."""
    title: str
    source: str
    """The file's absolute path."""
    sha256: str
    """Of the file's bytes when it was indexed."""
    start: int
    end: int
    page: int | None
    line: int | None
    quote: str
    """The document's own characters from `start` to `end`."""
    sentence: str
    sentence_start: int
    passage: int
    """The id of the passage in which it was read."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with every place that gives it."""

    text: str
    """`citations[0].quote`."""
    confidence: float
    """The probability that it is right, in [0, 1]."""
    score: float
    """What it is ranked by: what the scores of its spans are worth together."""
    signals: Signals
    """What the confidence was made from."""
    citations: tuple[Citation, ...]
    """Best first."""
    disagrees_with: tuple[int, ...] = ()
    """Positions of the answers that contradict it."""


@dataclass(frozen=True, slots=True)
class Seconds:
    """How long each stage took."""

    search: float
    read: float
    total: float


@dataclass(frozen=True, slots=True)
class IndexState:
    """What answered."""

    generation: int
    encoder: str
    reader: str


@dataclass(frozen=True, slots=True)
class Result:
    """What the documents say to a question."""

    question: str
    answers: tuple[Answer, ...]
    """Best first, also those below the threshold."""
    threshold: float
    disagreement: bool
    """Whether the best answer is contradicted, by one of those returned or a lesser one."""
    hits: tuple[Hit, ...]
    """The passages that were read."""
    seconds: Seconds
    index: IndexState

    @property
    def answered(self) -> bool:
        """Whether the best answer is sure enough to be given."""
        return bool(self.answers) and self.answers[0].confidence >= self.threshold
