"""The lexical index: BM25 over words. The only file that imports tantivy."""

import os
import re
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from corpus.errors import DamagedIndexError
from embeddings.vectors import Scored

if TYPE_CHECKING:
    import tantivy

__all__ = ["ANALYSIS", "LexicalIndex"]

ANALYSIS = 2
"""Which way this is of making words of a text; with another number, indexes are built again."""
_ANALYSER = "citespan_english"
_MAX_WORD_BYTES = 64
"""Of UTF-8. Longer "words" are data, such as keys and checksums, and are not searched."""
_INVISIBLE = re.compile(
    "[\u00ad\u200c\u200d\u2060\ufeff]|\u200b(?![\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff])"
)
"""Soft hyphens, and other characters without a width, that stand within words; only in Thai, Lao,
Burmese and Khmer does one of them part words."""
_UNSPACED = re.compile(
    "[\u3005-\u3007\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]+"
)
"""Han, Hiragana and Katakana, which have no spaces between words."""
_HEAP_BYTES = 64_000_000
"""What new passages may fill before tantivy writes a segment; it wants 15 MB at least."""
_ASKING = (
    "a an and are as at be been but by did do does for had has have how if in into is it many much"
    " no not of on or such that the their then there these they this to was were what when where"
    " which who whom whose why will with"
)
"""Lucene's English stop words, and those that make a sentence a question: they say nothing of what
is asked. Without them R@1 of BM25 is 71.0 instead of 67.5, of both searches 75.1 instead of
74.7 (1,777 questions among 8,811 passages), and a search of 1,000,000 passages takes a sixth of the
time."""
_TIES = 16
"""How many more hits are fetched than asked for, so that ties at the last place fall by id."""


class LexicalIndex:
    """Searches passages by the words they share with a question (BM25, k1 1.2, b 0.75)."""

    def __init__(self, index: "tantivy.Index") -> None:
        self._analyser = _analyser()
        index.register_tokenizer(_ANALYSER, self._analyser)
        self._asking = frozenset(self._analyser.analyze(_ASKING))
        self._index = index
        self._searcher = index.searcher()

    @classmethod
    def create(cls, folder: Path) -> "LexicalIndex":
        """An empty index in the folder, which is made.

        Raises:
            OSError: the disk is full or fails.
        """
        import tantivy

        folder.mkdir()
        try:
            return cls(tantivy.Index(_schema(), path=str(folder)))
        except ValueError as error:  # Its only word for whatever befalls its files.
            raise OSError(f"tantivy: {error}") from error

    @classmethod
    def open(cls, folder: Path) -> "LexicalIndex":
        """The index in the folder.

        Raises:
            DamagedIndexError: it cannot be opened.
        """
        import tantivy

        with _readable():
            if os.access(folder, os.W_OK):
                return cls(tantivy.Index.open(str(folder)))
            # tantivy takes a lock even to read. Where it cannot, it gets a folder of links.
            with tempfile.TemporaryDirectory(prefix="citespan-") as links:
                for file in folder.iterdir():
                    if file.suffix != ".lock":
                        Path(links, file.name).symlink_to(file.absolute())
                return cls(tantivy.Index.open(links))

    def __len__(self) -> int:
        return int(self._searcher.num_docs)

    def update(self, removed: Iterable[int], added: Iterable[tuple[int, str]]) -> None:
        """Take out passages by id and put in others, (id, text); on the disk when this returns.

        Raises:
            OSError: the disk is full or fails.
        """
        import tantivy

        try:
            # One thread: segments, and with them the order of hits, are then the same every time.
            writer = self._index.writer(heap_size=_HEAP_BYTES, num_threads=1)
            for id_ in removed:
                writer.delete_documents_by_term("id", id_)
            for id_, text in added:
                writer.add_document(tantivy.Document(id=id_, text=_spelt_out(text)))
            writer.commit()
            writer.wait_merging_threads()
            self._index.reload()
        except ValueError as error:
            raise OSError(f"tantivy: {error}") from error
        self._searcher = self._index.searcher()

    def search(self, question: str, k: int, within: Sequence[int] | None = None) -> Scored:
        """The `k` passages with the highest BM25 score; only those that share a word.

        Words that only make a question do not count, unless it has no others.

        With `within`, passages with these ids alone; how rare a word is counts in all.

        Raises:
            DamagedIndexError: the index's files are broken.
        """
        import tantivy

        k = min(k, len(self))
        schema = self._index.schema
        asked = set(self._analyser.analyze(_spelt_out(question)))
        words = sorted(asked - self._asking or asked)
        if not words or k < 1:
            return []
        query = tantivy.Query.boolean_query(
            [
                (tantivy.Occur.Should, tantivy.Query.term_query(schema, "text", word, "freq"))
                for word in words
            ]
        )
        if within is not None:
            chosen = tantivy.Query.term_set_query(schema, "id", within)
            query = tantivy.Query.boolean_query(
                [
                    (tantivy.Occur.Must, query),
                    (tantivy.Occur.Must, tantivy.Query.const_score_query(chosen, 0.0)),
                ]
            )
        with _readable():
            hits = self._searcher.search(query, limit=k + _TIES, count=False).hits
            ids = self._searcher.fast_field_values("id", [address for _, address in hits])
        scored = [(int(id_ or 0), float(score)) for id_, (score, _) in zip(ids, hits, strict=True)]
        return sorted(scored, key=lambda pair: (-pair[1], pair[0]))[:k]


def _spelt_out(text: str) -> str:
    """The text with each word in the one form that the analyser finds it by.

    The analyser parts words at combining marks and at characters that are not
    seen, and takes a Chinese sentence for one word: of such text each two
    neighbouring characters are made a word, as Lucene does.
    """
    if text.isascii():
        return text
    composed = unicodedata.normalize("NFC", _INVISIBLE.sub("", text))
    return _UNSPACED.sub(_in_pairs, composed)


def _in_pairs(found: re.Match[str]) -> str:
    run = found[0]
    pairs = (run[at : at + 2] for at in range(max(1, len(run) - 1)))
    return f" {' '.join(pairs)} "


@contextmanager
def _readable() -> Iterator[None]:
    """Within it, what tantivy cannot read is said to be damaged.

    It panics on some files with a wrong byte, of which Python makes a
    BaseException, that would end a server's thread.
    """
    try:
        yield
    except BaseException as error:
        if not isinstance(error, ValueError | OSError) and not _is_panic(error):
            raise
        raise DamagedIndexError(
            "the lexical index cannot be read; run `citespan index` to rebuild it"
        ) from error


def _is_panic(error: BaseException) -> bool:
    return type(error).__module__ == "pyo3_runtime"  # It has a name there, and is not exported.


def _schema() -> "tantivy.Schema":
    import tantivy

    # Signed: tantivy 0.27 deletes nothing, silently, by a term of an unsigned field.
    return (
        tantivy.SchemaBuilder()
        .add_integer_field("id", indexed=True, fast=True)
        .add_text_field("text", tokenizer_name=_ANALYSER, index_option="freq")
        .build()
    )


def _analyser() -> "tantivy.TextAnalyzer":
    from tantivy import Filter, TextAnalyzerBuilder, Tokenizer

    return (
        TextAnalyzerBuilder(Tokenizer.simple())
        .filter(Filter.remove_long(_MAX_WORD_BYTES))
        .filter(Filter.lowercase())
        .filter(Filter.ascii_fold())
        .filter(Filter.stemmer("english"))
        .build()
    )
