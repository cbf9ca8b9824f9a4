"""The open index of a server: lent to many, and closed when the last of them is done."""

import io
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from serving import copied

from corpus.errors import NoIndexError
from corpus.writer import Writer
from qa.calibration import UNFITTED
from qa.indexing import remove_files
from qa.library import Library, Upload
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
        # As if there were another one.
        monkeypatch.setattr(library, "_published", lambda: (-1, None))
        library._renew()
        with library.pipeline() as second:
            assert second is not first
        assert closed == []
    assert closed == [first]
    monkeypatch.undo()
    first.close()
    second.close()


def test_a_calibration_elsewhere_is_heeded(
    sample_index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qa.library._LOOK_SECONDS", -1.0)
    library = Library(copied(sample_index, tmp_path / "index"))
    for threshold in (0.75, 0.5):
        with library.pipeline() as before:
            assert before.threshold != threshold
        with Writer.open_existing(library.folder) as writer:
            writer.calibrate(replace(UNFITTED, threshold=threshold).dumps())
        with library.pipeline() as after, library.pipeline() as again:
            assert after.threshold == threshold
            assert after is again  # What has not changed is not opened anew.
    library.close()


def test_what_was_taken_out_can_be_uploaded_again(tmp_path: Path) -> None:
    library = Library(tmp_path / "index")
    place = library.uploads / "zil.txt"

    def upload() -> None:
        stream = io.BytesIO(b"The harbour of Zil was opened by Bo Anders in 1911.")
        brought = anyio.run(library.add, [Upload(place.name, stream)])
        assert ([d.source for d in brought.documents], brought.failed) == ([place], ())
        assert place.exists()

    upload()
    for delete in (False, True):
        remove_files(library.folder, [str(place)])
        if delete:
            place.unlink()
        upload()
    library.close()
