"""Questions changed in one word or name, so that their own paragraph answers them no longer.

People write unanswerable questions by such small changes: another name, another year,
the opposite, a "not" (Rajpurkar et al. 2018, table 1). A reader that has met none
answers them all.
"""

import random
import re
from collections.abc import Sequence

from qa.answers import normalise, whole_words

__all__ = ["altered"]

_NAME = re.compile(r"(?<=[a-z,] )[A-Z][\w-]+(?: (?:of |the |de |von )?[A-Z][\w-]+)*")
"""Capitalised words in a row, but not where a sentence begins."""
_YEAR = re.compile(r"\b1\d{3}\b|\b20\d\d\b")
_NUMBER = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})*(?:\.\d+)?(?![\d.,]*\d)\b")
_KINDS = (_NAME, _YEAR, _NUMBER)
_OPPOSITES = {
    one: other
    for pair in (
        "first last|most least|largest smallest|biggest smallest|highest lowest|before after"
        "|north south|northern southern|east west|eastern western|more less|oldest youngest"
        "|oldest newest|increase decrease|increased decreased|won lost|win lose|born buried"
        "|started ended|start end|began ended|begin end|minimum maximum|male female|men women"
        "|early late|earlier later|upper lower|inside outside|imports exports|bought sold"
        "|father mother|husband wife|son daughter|brother sister|summer winter|above below"
        "|best worst|longest shortest|allowed forbidden|supported opposed|support oppose"
        "|included excluded|public private|urban rural|ancient modern|majority minority"
        "|joined left|arrived departed|accepted rejected|higher lower|larger smaller"
        "|older younger|faster slower|rise fall|rose fell|opened closed|future past"
        "|strongest weakest|cheapest dearest|positive negative|advantages disadvantages"
        "|internal external|domestic foreign|friend enemy|friends enemies|married divorced"
    ).split("|")
    for one, other in (pair.split(), reversed(pair.split()))
}
_OPPOSED = re.compile(rf"\b(?:{'|'.join(_OPPOSITES)})\b")
_DENIABLE = re.compile(r"\b(?:is|are|was|were|do|does|did|has|have|had|could|would|should)\b")
_DENIED, _OPPOSED_FIRST = 0.08, 0.5
"""How often a "not" is put in, and how often else an opposite where there is one: in SQuAD 2.0 a
tenth and a fifth of the questions."""
_NEAR = 120
"""Within so many characters around a right answer nothing may stand that is swapped in: what
is said there of another may answer the question after all."""


def altered(
    question: str,
    passage: str,
    answers: Sequence[tuple[int, int]],
    alike: Sequence[str],
    rng: random.Random,
) -> str | None:
    """The question with a name, a year or a number of `alike` in it, its opposite, or denied.

    Args:
        question: as it was asked.
        passage: what answers it.
        answers: where, as half-open spans of characters.
        alike: texts on the same subject, whose names may be swapped in.
        rng: decides.

    Returns:
        None where nothing of it can be changed.
    """
    near = " ".join(passage[max(0, start - _NEAR) : end + _NEAR] for start, end in answers)
    if rng.random() < _DENIED:
        return _denied(question)
    if rng.random() < _OPPOSED_FIRST and (opposite := _opposed(question, passage, rng)):
        return opposite
    return _swapped(question, near, alike, rng) or _opposed(question, passage, rng)


def _swapped(question: str, near: str, alike: Sequence[str], rng: random.Random) -> str | None:
    found = [(kind, match) for kind in _KINDS for match in kind.finditer(question)]
    rng.shuffle(found)
    taken = set(normalise(question + " " + near).split())
    for kind, match in found:
        others = sorted(
            {
                other
                for text in alike
                for other in kind.findall(text)
                if len(other) > 1 and taken.isdisjoint(normalise(other).split())
            }
        )
        if others:
            return f"{question[: match.start()]}{rng.choice(others)}{question[match.end() :]}"
    return None


def _opposed(question: str, passage: str, rng: random.Random) -> str | None:
    """With one word's opposite, of which the passage says nothing."""
    found = [
        match
        for match in _OPPOSED.finditer(question)
        if not whole_words(_OPPOSITES[match[0]], any_case=True).search(passage)
    ]
    if not found:
        return None
    match = rng.choice(found)
    opposite = _OPPOSITES[match[0]]
    return f"{question[: match.start()]}{opposite}{question[match.end() :]}"


def _denied(question: str) -> str | None:
    match = _DENIABLE.search(question)
    return f"{question[: match.end()]}n't{question[match.end() :]}" if match else None
