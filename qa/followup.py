"""Which questions lean on the one before, and what to search and read for them."""

import re
from dataclasses import dataclass

__all__ = ["Understood", "leans", "understood"]

_OPENING = re.compile(
    r"(?:and|but|or|so|then|also)\b|(?:what|how) about\b|what else\b|who else\b|where else\b"
    r"|(?:why|when|where|who|how|which|which one|how many|how much|how long|how old|how far|by whom"
    r"|since when|until when|in which year|what year)\s*(?:not|then|exactly|so)?\s*[?.!]*$",
    re.IGNORECASE,
)
"""Questions that begin like this go on from something; so do those of a question word alone."""
_UNBOUND = re.compile(
    r"\b(?:he|him|his|she|her|hers|it|its|they|them|their|theirs|himself|herself|itself|themselves"
    r"|that|this|those|these|there|then|one|ones|both|the (?:same|other|others|latter|former))\b",
    re.IGNORECASE,
)
_BOUND = re.compile(
    r"\b(?:is|was|are|were|will|would|has|had|how long (?:does|did)|(?:does|did)) (?:there|it)\b"
    r"(?=.*\b(?:rain|snow|take|cost)\b)"
    r"|\b(?:is|was|are|were|has|have|had) there\b|\bthere (?:is|was|are|were)\b"
    r"|\bthat\b(?=\s+(?:\w+\s+)?(?:was|were|is|are|has|have|had|did|does|caused|made|killed|\w+ed)\b)"
    r"|\b(?:this|that) (?:year|month|week|day)\b|\bone of\b|\bno one\b|\bone another\b",
    re.IGNORECASE,
)
_NAME = re.compile(r"(?<!^)(?<![.?!] )\b[A-Z][\w’'-]+")
_BEFORE = re.compile(r"\b(?:who|which|whose|when|while|after|before|because|and)\b", re.IGNORECASE)
_MOST_ANSWER_WORDS = 12


@dataclass(frozen=True, slots=True)
class Understood:
    """A question with what it leans on."""

    question: str
    """What the reader is asked."""
    search_for: str
    """What is searched for."""
    follows: str | None
    """The earlier question that it is taken to follow; None where it stands alone."""


def leans(question: str) -> bool:
    """Whether the question leans on an earlier one.

    It does when it opens like a continuation, or has a pronoun that nothing in
    it explains: no name stands before the pronoun.

    >>> leans("And in 2015?"), leans("When was it built?"), leans("What about the crew?")
    (True, True, True)
    >>> leans("When was the bridge built?"), leans("When did Ada Moreau publish her report?")
    (False, False)
    """
    text = question.strip()
    if _OPENING.match(text):
        return True
    bound = [match.span() for match in _BOUND.finditer(text)]
    for pronoun in _UNBOUND.finditer(text):
        if any(start <= pronoun.start() < end for start, end in bound):
            continue
        if not _NAME.search(text, 0, pronoun.start()):
            return True
    return False


def understood(question: str, *, earlier: str | None, answer: str | None) -> Understood:
    """How the question is understood after an earlier one.

    Args:
        question: as it was asked.
        earlier: what the reader was asked before; None at the beginning.
        answer: what was answered to that; None where the documents did not say.
    """
    question = question.strip()
    if not earlier or not leans(question):
        return Understood(question, question, None)
    context = " ".join(part for part in (earlier, _short(answer)) if part)
    return Understood(question, f"{context} {question}", earlier)


def _short(answer: str | None) -> str:
    return " ".join((answer or "").split()[:_MOST_ANSWER_WORDS])
