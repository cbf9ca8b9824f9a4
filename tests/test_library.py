"""The open index of a server: lent to many, and closed when the last of them is done."""

from pathlib import Path

import pytest

from corpus.errors import NoIndexError
from qa.library import Library
from qa.pipeline import Pipeline


@pytest.fixture
def library(sample_index: Path, monkeypatch: pytest.MonkeyPatch) -> Library:
    """One that does not look by itself whether there is another generation."""
    monkeypatch.setattr("qa.library._LOOK_SECONDS", 1e9)
    return Library(sample_index)


def test_who_is_asking_finishes_before_the_index_closes(library: Library) -> None:
    with library.pipeline() as pipeline:
        library.close()
        assert pipeline.snapshot.count()[0] == 24
        assert pipeline.ask("How many defectors went public?").answered
    with pytest.raises(NoIndexError), library.pipeline():
        pass


def test_the_old_generation_is_closed_by_its_last_user(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[Pipeline] = []
    monkeypatch.setattr(Pipeline, "close", lambda pipeline: closed.append(pipeline))
    with library.pipeline() as first, library.pipeline():
        monkeypatch.setattr(library, "_published", lambda: -1)  # As if there were another one.
        library._renew()
        with library.pipeline() as second:
            assert second is not first
        assert closed == []
    assert closed == [first]
    monkeypatch.undo()
    first.close()
    second.close()
