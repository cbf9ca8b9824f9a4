"""Which questions lean on the one before, and what to search for then. No model rewrites them."""

import re
from dataclasses import dataclass

__all__ = ["Understood", "leans", "understood"]

_OPENING = re.compile(
    r"(?:and|but|or|so|then|also)\b|(?:what|how) about\b|(?:what|who|where|how) else\b"
    r"|(?:(?:for|by|in|at|on|to|from|with|since|until|of) )?"
    r"(?:why|when|where|who|whom|what|how|which|how (?:many|much|long|old|far|often|so)"
    r"|(?:what|which) (?:one|ones|year|day|month))(?: not| then| exactly)?\s*[?.!]*$",
    re.IGNORECASE,
)
"""Questions that begin like this go on from something; so do those of a question word alone."""
_ALONE = re.compile(
    r"\b(?:he|him|his|she|her|hers|it|its|himself|herself|itself|then"
    r"|the (?:same|others?|latter|former|ones?))\b",
    re.IGNORECASE,
)
"""Pronouns that need a name before them."""
_SEVERAL = re.compile(r"\b(?:they|them|their|theirs|themselves)\b", re.IGNORECASE)
"""These are content with a plural."""
_POINTING = re.compile(
    r"\b(?:do|does|did|is|are|was|were|has|had|can|could|will|would|about|after|at|before|by|during"
    r"|for|from|in|like|of|on|since|than|to|until|with|over|under) (?:that|this|these|those)\b"
    r"(?! (?:year|month|week|day|century)\b)"
    r"|(?<!is )(?<!are )(?<!was )(?<!were )(?<!has )(?<!have )(?<!had )\bthere\s*[?.!]*$",
    re.IGNORECASE,
)
"""`that` is a pronoun after these; elsewhere it may open a clause."""
_EMPTY_IT = re.compile(
    r"\bit (?:takes?|took|costs?|rains?|rained|snows?|snowed)\b(?= to| in| on)", re.I
)
"""As in "how long does it take to": the word stands for nothing."""
_NAME = re.compile(r"(?<!^)\b[A-Z][\w’'-]+")
_PLURAL = re.compile(r"\b[a-z]{2,}(?:[^s\W]s|men|women|people|children)\b")
_MOST_WORDS = 60


@dataclass(frozen=True, slots=True)
class Understood:
    """A question with what it leans on."""

    question: str
    """What the reader is asked: always the visitor's own words."""
    topic: str
    """What is searched for; the next question may lean on it."""
    follows: str | None
    """What it is taken to follow; None where it stands alone."""


def leans(question: str) -> bool:
    """Whether the question leans on an earlier one.

    It does when it opens like a continuation, or has a pronoun that nothing in
    it explains: no name, or for several no plural, stands before the pronoun.

    >>> leans("And in 2015?"), leans("When was it built?"), leans("What about the crew?")
    (True, True, True)
    >>> leans("When was the bridge built?"), leans("When did Ada Moreau publish her report?")
    (False, False)
    """
    text = question.strip()
    if _OPENING.match(text) or _POINTING.search(text):
        return True
    bare = _EMPTY_IT.sub("", text)
    return any(
        not any(explained.search(bare, 0, pronoun.start()) for explained in explains)
        for pronouns, explains in ((_ALONE, (_NAME,)), (_SEVERAL, (_NAME, _PLURAL)))
        for pronoun in pronouns.finditer(bare)
    )


def understood(question: str, topic: str | None) -> Understood:
    """How the question is understood after an earlier one.

    Searched for together with what it leans on, and read by itself: of seven
    ways that were measured, this finds the most right answers.

    Args:
        question: as it was asked.
        topic: what was searched for before; None at the beginning.
    """
    question = question.strip()
    if not topic or not leans(question):
        return Understood(question, question, None)
    words = f"{topic} {question}".split()
    return Understood(question, " ".join(words[-_MOST_WORDS:]), topic)
