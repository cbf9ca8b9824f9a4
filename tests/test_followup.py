"""Which questions lean on the one before; what that is worth."""

import json
from pathlib import Path

import pytest
from conftest import TESTS

from qa.answers import f1
from qa.followup import leans, understood
from qa.pipeline import Pipeline

PAIRS = [
    json.loads(line)
    for line in (TESTS / "data" / "followups.jsonl").read_text(encoding="utf-8").splitlines()
]
_RIGHT = 0.6


def test_there_are_as_many_pairs_as_was_said() -> None:
    assert sum(pair["follows"] for pair in PAIRS) == 40
    assert len(PAIRS) == 55


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair["then"])
def test_a_question_is_taken_for_what_it_is(pair: dict[str, object]) -> None:
    assert leans(str(pair["then"])) == pair["follows"]
    assert not leans(str(pair["first"]))


def test_the_first_question_follows_none_and_words_are_never_changed() -> None:
    assert understood("When was it built?", None).follows is None
    meant = understood(" When was it built? ", "Who owns the Sula Bris?")
    assert meant.question == "When was it built?"
    assert meant.topic == "Who owns the Sula Bris? When was it built?"
    # The next one leans on both, and a chain does not grow without end.
    topic = meant.topic
    for _ in range(50):
        topic = understood("And then?", topic).topic
    assert len(topic.split()) == 60


def test_follow_ups_find_more_right_answers_than_the_questions_alone(sample_index: Path) -> None:
    """The difference that CHANGELOG.md gives, from the same pairs and models."""
    alone = together = 0
    with Pipeline.open(sample_index) as pipeline:
        for pair in PAIRS:
            if not pair["follows"]:
                continue
            meant = understood(pair["then"], pair["first"])
            for topic in (meant.question, meant.topic):
                found = pipeline.ask(meant.question, search_for=topic, answers=1).answers
                right = bool(found) and f1(found[0].text, pair["answers"]) >= _RIGHT
                if topic == meant.question:
                    alone += right
                else:
                    together += right
    assert together > alone
    assert together >= 28
