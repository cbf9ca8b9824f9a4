"""What visitors bring gets a harmless name, whole, within limits."""

import io
from pathlib import Path
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.errors import LoadError
from qa.uploads import UploadLimits, safe_name, store


@given(st.text(max_size=300))
def test_a_safe_name_is_one_visible_name_in_the_folder(name: str) -> None:
    safe = safe_name(name)
    assert safe == Path(safe).name
    assert not safe.startswith(".")
    assert 0 < len(safe.encode()) <= 120
    assert safe.isprintable()
    assert safe_name(safe) == safe


def test_the_extension_outlives_a_long_name() -> None:
    assert safe_name("é" * 500 + ".pdf").endswith("é.pdf")


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"", "empty"), (b"x" * 101, "more than"), (b"\x89PNG\r\n", "PNG"), (b"\x7fELF", "program")],
)
def test_what_is_refused_leaves_nothing_behind(tmp_path: Path, data: bytes, reason: str) -> None:
    with pytest.raises(LoadError, match=reason):
        store(io.BytesIO(data), "a.txt", tmp_path, UploadLimits(file_bytes=100))
    assert list(tmp_path.iterdir()) == []


def test_a_full_folder_takes_no_more(tmp_path: Path) -> None:
    limits = UploadLimits(total_bytes=150)
    store(io.BytesIO(b"x" * 100), "a.txt", tmp_path, limits)
    with pytest.raises(LoadError, match="remove documents"):
        store(io.BytesIO(b"y" * 100), "b.txt", tmp_path, limits)


def test_no_two_files_take_one_name_also_at_once(tmp_path: Path) -> None:
    places: list[Path] = []

    def bring(n: int) -> None:
        text = f"Member {n}".encode()
        places.append(store(io.BytesIO(text), "same.txt", tmp_path, UploadLimits()))

    threads = [Thread(target=bring, args=[n]) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(places)) == 12
    assert {place.read_bytes() for place in places} == {f"Member {n}".encode() for n in range(12)}
