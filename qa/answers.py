"""When two answers are the same: SQuAD's normalisation, exact match and F1."""

import re
import string
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

__all__ = ["exact_match", "f1", "normalise", "same_answer_key", "whole_words", "without"]

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_ARTICLE_WORDS = {"a", "an", "the"}
_OUTER = ".,;:!?\"'()[]{}“”‘’„«»…"
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise(text: str) -> str:
    """The text in lower case without ASCII punctuation, English articles or extra spaces.

    The order of steps is that of the official SQuAD 1.1 evaluation script
    (Rajpurkar et al. 2016), so that scores can be compared with published ones.

    >>> normalise("The  Nobel-Prize!")
    'nobelprize'
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def without(texts: Iterable[str], golds: Sequence[str]) -> Iterator[str]:
    """The texts in which no gold answer stands, not even as a part of a word.

    >>> list(without(["It rained.", "In the Rain, he sang."], ["the rain"]))
    []
    >>> list(without(["It snowed.", "It rained."], ["Rain"]))
    ['It snowed.']
    """
    sought = [normalise(gold) for gold in golds]
    for text in texts:
        read = normalise(text)
        if not any(gold in read for gold in sought):
            yield text


def whole_words(text: str, *, any_case: bool = False) -> re.Pattern[str]:
    r"""What finds the text as whole words, whatever white space is between them.

    In a PDF or a text file with short lines they may be parted by a line's end. A blank text
    stands nowhere.

    >>> bool(whole_words("four hours").search("nearly four\nhours"))
    True
    >>> bool(whole_words("our hours").search("four hours"))
    False
    """
    words = r"\s+".join(map(re.escape, text.split()))
    pattern = rf"(?<!\w){words}(?!\w)" if words else r"(?!)"
    return re.compile(pattern, re.IGNORECASE if any_case else 0)


@lru_cache(maxsize=4096)
def same_answer_key(text: str) -> str:
    """What two equal answers share: case, articles, spaces and outer punctuation do not count.

    Gentler than `normalise`, which makes 1.5 and 15, or -5 and 5, the same: good
    enough for a score, but no reason to cite one as proof of the other.

    >>> same_answer_key("The 1.5 Million.") == same_answer_key("1.5 million")
    True
    >>> same_answer_key("1.5 million") == same_answer_key("15 million")
    False
    >>> same_answer_key("Hepatitis A") == same_answer_key("hepatitis")
    False
    """
    words = [word for each in text.split() if (word := each.strip(_OUTER))]
    # Hepatitis A has no article.
    kept = [w for n, w in enumerate(words) if (w.lower() if n == 0 else w) not in _ARTICLE_WORDS]
    return " ".join(kept).casefold() or text.casefold()


def exact_match(prediction: str, golds: Sequence[str]) -> float:
    """1.0 when the prediction equals a gold answer after normalisation, else 0.0.

    No golds means that the question has no answer: then only "" is right.

    >>> exact_match("the 58", ["58", "nearly five dozen"])
    1.0
    """
    return max(float(normalise(prediction) == normalise(gold)) for gold in golds or [""])


def f1(prediction: str, golds: Sequence[str]) -> float:
    """The best token F1, in [0, 1], of the prediction against any gold answer.

    F1 is the harmonic mean of precision and recall over the multiset of
    normalised tokens. Where either side has no tokens left, it is 1.0 if both
    have none and else 0.0, as SQuAD 2.0 has it. No golds means no answer.

    >>> round(f1("58 defectors", ["58"]), 2)
    0.67
    """
    return max(_f1(prediction, gold) for gold in golds or [""])


def _f1(prediction: str, gold: str) -> float:
    predicted, expected = normalise(prediction).split(), normalise(gold).split()
    if not predicted or not expected:
        return float(predicted == expected)
    shared = (Counter(predicted) & Counter(expected)).total()
    return 2 * shared / (len(predicted) + len(expected))
