"""Derived artefacts on disk: one folder a generation, published whole or not at all.

    generations/
        00000007/            what the index names now
            manifest.json    size and sha256 of every other file, written last
            …
        00000008.partial/    a writer at work, or what a killed one left behind

A folder is filled under its partial name, every file and folder is flushed to
the disk, and one rename gives it its name. Whether it is *the* generation is
decided elsewhere, by the SQLite transaction that names it. A reader holds a
shared lock on the manifest of the generation that it has open, and `sweep`
leaves such folders alone.
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from corpus.durable import place
from corpus.errors import DamagedIndexError

__all__ = ["hold", "publish", "sweep", "verify_files"]

_MANIFEST = "manifest.json"
_LOCK_SUFFIX = ".lock"
"""tantivy's locks come and go, and hold nothing."""


def publish(folder: Path, fill: Callable[[Path], None]) -> str:
    """Create `folder` with what `fill` writes into it, durably and in one step.

    The sha256 of its manifest comes back, by which the transaction that names it can say
    that it means this very one.

    Args:
        folder: the generation's folder; a leftover of that name is replaced, since
            nothing names it yet.
        fill: writes files and folders into the empty folder that it is given.
    """
    partial = folder.with_name(f"{folder.name}.partial")
    for leftover in (partial, folder):
        if leftover.exists():
            shutil.rmtree(leftover)
    partial.mkdir(parents=True)
    try:
        fill(partial)
        _describe(partial)
        place(partial, folder)
    except BaseException:
        # A full disk least of all has room for what came to nothing.
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return _sha256(folder / _MANIFEST)


def _describe(partial: Path) -> None:
    """Write the manifest of what lies in the folder."""
    files = {
        file.relative_to(partial).as_posix(): {
            "size": file.stat().st_size,
            "sha256": _sha256(file),
        }
        for file in sorted(partial.rglob("*"))
        if file.is_file() and file.suffix != _LOCK_SUFFIX
    }
    manifest = partial / _MANIFEST
    manifest.write_text(json.dumps({"files": files}, indent=1), encoding="utf-8")
    # tantivy makes some of its files private; who may read one of ours may read them all.
    for name in files:
        (partial / name).chmod(manifest.stat().st_mode)


def hold(folder: Path) -> IO[str]:
    """The manifest, open and locked, so that the folder stays until it is closed.

    Sizes are compared with the manifest, which costs nothing; hashes are not
    (see `verify_files`).

    Raises:
        FileNotFoundError: the folder is gone: a writer has replaced the generation.
        DamagedIndexError: a file is missing or has another size.
    """
    manifest = (folder / _MANIFEST).open(encoding="utf-8")
    try:
        fcntl.flock(manifest, fcntl.LOCK_SH)
        if os.fstat(manifest.fileno()).st_nlink == 0:
            raise FileNotFoundError(folder)
        for damage in _damage(folder, manifest, hashes=False):
            raise DamagedIndexError(
                f"{damage}; run `citespan index` to rebuild it from the documents already indexed"
            )
    except BaseException:
        manifest.close()
        raise
    return manifest


def verify_files(folder: Path, manifest_sha256: str) -> list[str]:
    """What differs from what was published, one sentence each, by size and hash; empty if whole."""
    try:
        if _sha256(folder / _MANIFEST) != manifest_sha256:
            return [f"{folder / _MANIFEST} is not the one that the database names"]
        with (folder / _MANIFEST).open(encoding="utf-8") as manifest:
            return list(_damage(folder, manifest, hashes=True))
    except FileNotFoundError:
        return [f"{folder / _MANIFEST} is missing"]


def sweep(generations: Path, keep: str) -> None:
    """Remove every generation but `keep`, and every partial one, unless a reader holds it.

    Only the one writer calls this.
    """
    for folder in generations.iterdir() if generations.is_dir() else ():
        if folder.name != keep and folder.is_dir():
            with suppress(BlockingIOError), _exclusive(folder / _MANIFEST):
                shutil.rmtree(folder)


@contextmanager
def _exclusive(manifest: Path) -> Iterator[None]:
    """Hold the manifest alone; without one there is nothing that a reader could hold."""
    try:
        file = manifest.open(encoding="utf-8")
    except FileNotFoundError:
        yield
        return
    with file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        manifest.unlink()
        yield


def _damage(folder: Path, manifest: IO[str], *, hashes: bool) -> Iterator[str]:
    try:
        files = json.load(manifest)["files"]
        sizes = {name: expected["size"] for name, expected in files.items()}
        hashed = {name: expected["sha256"] for name, expected in files.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        yield f"{folder / _MANIFEST} is not readable"
        return
    for name, expected_size in sizes.items():
        file = folder / name
        try:
            size = file.stat().st_size
        except OSError:
            yield f"{file} is missing"
            continue
        if size != expected_size:
            yield f"{file} has {size} bytes where {expected_size} were written"
        elif hashes and _sha256(file) != hashed[name]:
            yield f"{file} does not match its checksum"


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
