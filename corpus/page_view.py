"""PDF pages to look at: their images, and where words stand on them.

Like all parsing of files it is done in a process of its own, with limits, which
here lives for one request: JSON in, the reply out, nothing unpickled.
"""

import hashlib
import json
import math
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from corpus.confine import confine, limit_processor_seconds, private_stdout
from corpus.errors import LoadError
from corpus.pdf_places import Box, boxes, page_image
from corpus.records import Document

__all__ = ["image_of", "places_of"]

_SECONDS = 30
_MEMORY_BYTES = 2 * 2**30
_PNG = b"\x89PNG\r\n\x1a\n"
_COORDINATES = ("left", "top", "right", "bottom")


def image_of(document: Document, page: int, *, width: int = 1200) -> bytes:
    """The page of the document's file as a PNG image.

    Args:
        document: made of a PDF file.
        page: from 1.
        width: in pixels.

    Raises:
        LoadError: the file is gone or another than was indexed, or the page cannot be drawn.
    """
    image = _asked(document, {"page": page, "width": width})
    if not image.startswith(_PNG):
        raise LoadError("made the process that draws its pages break its rules")
    return image


def places_of(document: Document, start: int, end: int) -> list[Box]:
    """Where `document.text[start:end]` stands on the document's pages, a box for each line.

    Raises:
        LoadError: the file is gone or another than was indexed, or says no place.
    """
    request = {
        "start": start,
        "end": end,
        "text": document.text,
        "page_starts": document.page_starts,
    }
    try:
        return [_box(fields) for fields in json.loads(_asked(document, request))]
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise LoadError("made the process that draws its pages break its rules") from error


def _box(fields: Mapping[str, Any]) -> Box:
    """The box, if that is what it is: a hostile file may have taken the process over."""
    sides = [float(fields[side]) for side in _COORDINATES]
    if not all(map(math.isfinite, sides)):
        raise ValueError(sides)
    return Box(int(fields["page"]), *sides)


def _asked(document: Document, request: Mapping[str, Any]) -> bytes:
    told = {**request, "path": str(document.source), "sha256": document.sha256}
    try:
        # -P: a folder of documents, where this may run, is not searched for modules.
        done = subprocess.run(
            [sys.executable, "-P", "-m", "corpus.page_view"],
            input=json.dumps(told).encode(),
            capture_output=True,
            timeout=2 * _SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise LoadError(f"took more than {2 * _SECONDS} s to draw, and was given up") from error
    if done.returncode == 0:
        return done.stdout
    if done.returncode == 1 and done.stdout:
        raise LoadError(done.stdout.decode("utf-8", "replace"))
    raise LoadError("ended the process that draws its pages; it may be damaged")


def _main() -> int:
    replies = private_stdout()
    confine(memory_bytes=_MEMORY_BYTES)
    limit_processor_seconds(_SECONDS)
    with replies:
        try:
            replies.write(_reply(json.load(sys.stdin)))
        except LoadError as error:
            replies.write(str(error).encode())
            return 1
    return 0


def _reply(request: dict[str, Any]) -> bytes:
    path = Path(request["path"])
    try:
        data = path.read_bytes()
    except OSError as error:
        raise LoadError(f"cannot be read: {error.strerror}") from error
    if hashlib.sha256(data).hexdigest() != request["sha256"]:
        raise LoadError("is another file than was indexed; `citespan index` reads it again")
    if "page" in request:
        return page_image(data, request["page"], width=request["width"])
    document = Document(
        id="",
        source=path,
        row=None,
        title="",
        text=request["text"],
        sha256=request["sha256"],
        loader="pdf",
        encoding=None,
        page_starts=tuple(request["page_starts"]),
    )
    found = boxes(data, document, request["start"], request["end"])
    return json.dumps([asdict(box) for box in found]).encode()


if __name__ == "__main__":
    sys.exit(_main())
