"""BM25 search: any question, and after changes the same as a fresh index."""

import math
import shutil
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from corpus.errors import DamagedIndexError
from embeddings.lexical import LexicalIndex, _spelt_out

TEXTS = [
    (1, "The quick brown fox jumps over the lazy dog."),
    (2, "Foxes are quick animals; a fox hunts at night."),
    (3, "Café Müller opened in Zürich."),
    (4, "The dog sleeps."),
    (5, ""),
]


@pytest.fixture
def index(tmp_path: Path) -> LexicalIndex:
    index = LexicalIndex.create(tmp_path / "lexical")
    index.update((), TEXTS)
    return index


def test_words_match_by_stem_case_and_accent(index: LexicalIndex) -> None:
    assert [i for i, _ in index.search("FOX hunting", 5)] == [2, 1]
    assert [i for i, _ in index.search("cafe muller zurich", 5)] == [3]
    assert index.search("zebra", 5) == []
    assert index.search("", 5) == []
    assert index.search("fox", 0) == []


@pytest.mark.parametrize("text", ["Müller", "Ärzte", "Việt", "Å"])
@pytest.mark.parametrize("hidden", ["", "\u00ad", "\u200b", "\u200d", "\u2060", "\ufeff"])
def test_a_word_is_found_however_it_is_spelt(tmp_path: Path, text: str, hidden: str) -> None:
    spellings = [
        hidden.join(unicodedata.normalize(form, text)) for form in ("NFC", "NFD", "NFKC", "NFKD")
    ]
    index = LexicalIndex.create(tmp_path / "lexical")
    index.update((), enumerate([*spellings, "another word"], 1))
    for spelling in [text, *spellings]:
        assert sorted(i for i, _ in index.search(f"Where is {spelling}?", 9)) == [1, 2, 3, 4]


CHINESE = "国务院新闻办公室于二〇二三年发布了关于中国海洋生态环境保护的白皮书并回答了记者的提问"
JAPANESE = "東京タワーは昭和三十三年に完成した高さ三百三十三メートルの電波塔であり多くの人が訪れる"


def test_text_without_spaces_is_found_by_any_part_of_it(tmp_path: Path) -> None:
    index = LexicalIndex.create(tmp_path / "lexical")
    index.update((), [(1, CHINESE), (2, JAPANESE), (3, "An iPhone手机 of 2023")])
    for id_, text in ((1, CHINESE), (2, JAPANESE)):
        for length in (2, 5, len(text)):
            for at in range(len(text) - length + 1):
                found = index.search(text[at : at + length], 3)
                assert id_ in [i for i, _ in found]
                assert length == 2 or found[0][0] == id_
    assert [i for i, _ in index.search("iphone", 3)] == [3]
    assert [i for i, _ in index.search("手机", 3)] == [3]


@given(st.text(st.characters(max_codepoint=0x24F, exclude_characters="\u00ad")))
def test_other_text_is_searched_as_it_stands(text: str) -> None:
    assert _spelt_out(text) == text


def test_scores_are_bm25(tmp_path: Path) -> None:
    texts = [(n, "fox " * (n % 4) + "hare " * (n % 7) + "owl") for n in range(1, 30)]
    index = LexicalIndex.create(tmp_path / "lexical")
    index.update((), texts)
    counts = {n: Counter(text.split()) for n, text in texts}
    average = sum(c.total() for c in counts.values()) / len(counts)

    def bm25(n: int) -> float:
        total = 0.0
        for word in ("fox", "hare"):
            holding = sum(word in c for c in counts.values())
            idf = math.log(1 + (len(counts) - holding + 0.5) / (holding + 0.5))
            frequency, length = counts[n][word], counts[n].total()
            total += idf * frequency * 2.2 / (frequency + 1.2 * (0.25 + 0.75 * length / average))
        return total

    for n, score in index.search("fox and hare", 50):
        assert score == pytest.approx(bm25(n), rel=1e-3)


def test_words_that_only_ask_do_not_count(tmp_path: Path) -> None:
    index = LexicalIndex.create(tmp_path / "lexical")
    index.update((), [(1, "Who was it that they were with?"), (2, "A fox sleeps."), (3, "An owl.")])
    assert index.search("Who was the fox with?", 5) == index.search("fox", 5) != []
    # Where there are no others, they are all that is asked for.
    assert [i for i, _ in index.search("Who was it?", 5)] == [1]


def test_equal_scores_fall_by_id(tmp_path: Path) -> None:
    index = LexicalIndex.create(tmp_path / "lexical")
    index.update((), [(n, "the same words") for n in (9, 3, 7, 1, 5)])
    assert [i for i, _ in index.search("same words", 3)] == [1, 3, 5]


def test_after_deletion_and_addition_the_right_passages_answer(
    index: LexicalIndex, tmp_path: Path
) -> None:
    index.update([1, 4], [(6, "A dog and a fox meet.")])
    assert len(index) == 4
    reopened = LexicalIndex.open(tmp_path / "lexical")
    assert [i for i, _ in reopened.search("dog", 5)] == [6]
    assert {i for i, _ in reopened.search("fox", 5)} == {2, 6}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=80))
@pytest.mark.parametrize("extra", ["", 'C++: "foo', "a AND (", "text:[* TO", "\\", "中文句子"])
def test_no_question_is_a_syntax_error(index: LexicalIndex, extra: str, question: str) -> None:
    for _, score in index.search(question + extra, 3):
        assert score > 0


def test_a_missing_or_broken_folder_is_damage(index: LexicalIndex, tmp_path: Path) -> None:
    (tmp_path / "lexical" / "meta.json").write_text("{}")
    with pytest.raises(DamagedIndexError, match="citespan index"):
        LexicalIndex.open(tmp_path / "lexical")
    shutil.rmtree(tmp_path / "lexical")
    with pytest.raises(DamagedIndexError):
        LexicalIndex.open(tmp_path / "lexical")
