"""Questions to begin with, made of the documents' own words, and tried before they are shown."""

import re
from collections.abc import Iterator
from itertools import islice

from qa.pipeline import Pipeline

__all__ = ["examples", "questions_in"]

_SHOWN = 4
_TRIED = 24
_DOCUMENTS = 40
_READ_CHARS = 6_000
"""Of each document; examples come from its beginning."""
_NUMBER = r"(?:\d{1,3}(?:,\d{3})+|\d+|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve)"
_VERB = r"(?:have|had|were|are|was|will|did|died|came|joined|left|took|gave|lost|won|said|voted)"
_COUNTED = re.compile(
    rf"(?:^|[.:;]\s+|, )(?:[A-Z]\w+ |about |nearly |some |at least )?{_NUMBER}"
    rf" (?!dozen|hundred|thousand|million|billion)"
    rf"(?P<clause>(?:[a-z]{{3,}} ){{0,2}}[a-z]{{2,}}s {_VERB}\b[^.;:,()\"“”\n]{{8,60}})[.;,]"
)
_WHEN = re.compile(
    r"(?:^|\n|[.;]\s+)(?P<subject>The (?:[a-z-]+ ){0,2}[a-z-]+|[A-Z][a-z]+(?: [A-Z]?[a-z]+){0,2})"
    r" (?P<verb>was|were) (?P<done>[a-z]+ed|built|made|found|held|lost|won)\b"
    r"[^.;:,()\"“”\n]{0,40}? (?:in|on) (?:\d{1,2} )?(?:[A-Z][a-z]+ )?\d{4}\b"
)
_WHO = re.compile(
    r"(?P<name>[A-Z][a-zé]+(?: [A-Z]\.)? [A-Z][a-zé]+),"
    r" (?:an?|the) (?:[a-z-]+ ){0,3}[a-z-]*(?:er|or|ist|an|ent|ef|ant|st|man|woman)\b"
)


def questions_in(text: str) -> Iterator[str]:
    """Questions that sentences of the text seem to answer, in the order of the text.

    >>> list(questions_in("In all, 58 defectors have gone public since 2014."))
    ['How many defectors have gone public since 2014?']
    >>> list(questions_in("The harbour was opened in 1911."))
    ['When was the harbour opened?']
    >>> list(questions_in("So said Ada Moreau, an engineer."))
    ['Who is Ada Moreau?']
    """
    found = [
        *((m.start(), f"How many {m['clause'].strip()}?") for m in _COUNTED.finditer(text)),
        *((m.start(), _when(m)) for m in _WHEN.finditer(text)),
        *((m.start(), f"Who is {m['name']}?") for m in _WHO.finditer(text)),
    ]
    for _, question in sorted(found):
        yield question


def _when(match: re.Match[str]) -> str:
    subject = re.sub("^The ", "the ", match["subject"])
    return f"When {match['verb']} {subject} {match['done']}?"


def examples(pipeline: Pipeline, n: int = _SHOWN) -> tuple[str, ...]:
    """At most `n` questions that the documents answer, each from another document.

    A question is only an example when the document that it was made of is cited
    first for it, and surely enough.
    """
    summaries = pipeline.snapshot.summaries()
    found: list[str] = []
    tried = 0
    for summary in summaries[:: max(1, len(summaries) // _DOCUMENTS)]:
        if tried == _TRIED:
            break
        text = pipeline.snapshot.document(summary.id).text[:_READ_CHARS]
        # The first few of a document; of these, who somebody is comes last.
        for question in sorted(islice(questions_in(text), 3), key=lambda q: q.startswith("Who")):
            if tried == _TRIED:
                break
            tried += 1
            result = pipeline.ask(question, answers=1)
            if result.answered and result.answers[0].citations[0].document == summary.id:
                found.append(question)
                break
    return tuple(sorted(found, key=lambda q: q.startswith("Who"))[:n])
