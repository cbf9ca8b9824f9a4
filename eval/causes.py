"""Why a question went wrong: the first stage that lost it."""

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

__all__ = ["CAUSES", "RIGHT_F1", "Cause", "Evidence", "cause_of"]

Cause: TypeAlias = Literal[
    "not indexed",
    "not retrieved",
    "not read first",
    "wrong span",
    "wrong document",
    "abstained wrongly",
    "answered wrongly",
]
CAUSES: tuple[Cause, ...] = get_args(Cause)

RIGHT_F1 = 0.5
"""From this F1 on an answer counts as right: "58 defectors" for "58" is no failure."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What each stage did with a question."""

    answerable: bool
    f1: float
    """Of the best answer, given or not."""
    answered: bool
    """Whether it was given."""
    indexed: bool
    """Whether any passage of the index holds a whole gold span."""
    retrieved: bool
    """Whether one of the passages that were read does."""
    read_first: bool
    """Whether the best answer was read in such a passage."""
    right_document: bool
    """Whether a document that it is cited from is one of the gold's."""


def cause_of(evidence: Evidence) -> Cause | None:
    """The first stage that lost the question; None where nothing was lost.

    `abstained wrongly`: the right answer, not sure enough to be given. `not indexed`: no
    passage holds the answer. `wrong document`: the right words, cited from elsewhere.
    `not retrieved`: no passage that was read holds the answer. `wrong span`: the best
    answer was read in a passage that holds the right one. `not read first`: in another
    passage, though the right one was read too. `answered wrongly`: the documents do not
    say, and yet an answer was given.
    """
    if not evidence.answerable:
        return "answered wrongly" if evidence.answered else None
    right = evidence.f1 >= RIGHT_F1
    # Before all else: a right answer was found, even where no passage has gold's very words.
    if right and evidence.right_document:
        return None if evidence.answered else "abstained wrongly"
    if not evidence.indexed:
        return "not indexed"
    if right:
        return "wrong document"
    if not evidence.retrieved:
        return "not retrieved"
    return "wrong span" if evidence.read_first else "not read first"
