"""PDF files through PDFium's per-character interface. The only file that imports pypdfium2.

A character is known by its index in PDFium's own numbering of its page.
"""

import ctypes
import io
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from threading import Lock
from typing import Any, TypeAlias

from corpus.errors import LoadError

__all__ = ["Page", "Pdf", "Rectangle", "opened"]

Rectangle: TypeAlias = tuple[float, float, float, float]
"""Left, top, right and bottom on the page as it is displayed, its rotation applied: fractions of
its width and height, from the top left corner."""

_LOCK = Lock()
"""PDFium is not thread-safe."""
_WRONG_PASSWORD = 4
_IMAGE_DEPTH = 4
"""Scanners put a page's image into a form, and sometimes that into another."""
_DEVICE = 1 << 20
"""Pixels of the imaginary screen on which places are worked out: PDFium rounds to whole ones."""


class Page:
    """A page of an open file."""

    def __init__(self, page: Any) -> None:
        self._page = page
        self._x, self._y = ctypes.c_double(), ctypes.c_double()

    @cached_property
    def _text(self) -> Any:
        return self._page.get_textpage()

    @property
    def size(self) -> tuple[float, float]:
        """Its width and height as displayed, in points."""
        width, height = self._page.get_size()
        return width, height

    def codes(self) -> list[int]:
        """Each character's code: Unicode's, a half of one as in UTF-16, or one of PDFium's own."""
        import pypdfium2.raw as pdfium

        count = pdfium.FPDFText_CountChars(self._text)
        return [pdfium.FPDFText_GetUnicode(self._text, i) for i in range(count)]

    def origin(self, index: int) -> complex:
        """Where the character stands, in points to the right and upwards, without rotation."""
        import pypdfium2.raw as pdfium

        pdfium.FPDFText_GetCharOrigin(self._text, index, self._x, self._y)
        return complex(self._x.value, self._y.value)

    def angle(self, index: int) -> float:
        """In which direction the character's line runs, in radians."""
        import pypdfium2.raw as pdfium

        angle: float = pdfium.FPDFText_GetCharAngle(self._text, index)
        return angle

    def font_size(self, index: int) -> float:
        """In points."""
        import pypdfium2.raw as pdfium

        size: float = pdfium.FPDFText_GetFontSize(self._text, index)
        return size

    def down(self, index: int) -> float:
        """How far down the displayed page the character stands, as a fraction of its height."""
        origin = self.origin(index)
        return self._displayed(origin.real, origin.imag)[1]

    def rectangle(self, index: int) -> Rectangle | None:
        """What the character covers; None for a space that PDFium put in."""
        import pypdfium2.raw as pdfium

        left, right, bottom, top = (ctypes.c_double() for _ in range(4))
        pdfium.FPDFText_GetCharBox(self._text, index, left, right, bottom, top)
        if left.value == right.value:
            return None
        x, y = zip(
            self._displayed(left.value, bottom.value),
            self._displayed(right.value, top.value),
            strict=True,
        )
        return min(x), min(y), max(x), max(y)

    def has_image(self) -> bool:
        """Whether there is an image on it."""
        import pypdfium2.raw as pdfium

        items = self._page.get_objects(max_depth=_IMAGE_DEPTH)
        return any(item.type == pdfium.FPDF_PAGEOBJ_IMAGE for item in items)

    def png(self, *, scale: float) -> bytes:
        """The page as it is displayed, with so many pixels a point."""
        stream = io.BytesIO()
        self._page.render(scale=scale, may_draw_forms=False).to_pil().save(stream, "PNG")
        return stream.getvalue()

    def close(self) -> None:
        """Let go of it."""
        if "_text" in vars(self):
            self._text.close()
        self._page.close()

    def _displayed(self, x: float, y: float) -> tuple[float, float]:
        import pypdfium2.raw as pdfium

        right, down = ctypes.c_int(), ctypes.c_int()
        pdfium.FPDF_PageToDevice(self._page, 0, 0, _DEVICE, _DEVICE, 0, x, y, right, down)
        return right.value / _DEVICE, down.value / _DEVICE


class Pdf:
    """An open file."""

    def __init__(self, pdf: Any) -> None:
        self._pdf = pdf

    def __len__(self) -> int:
        return len(self._pdf)

    @contextmanager
    def page(self, number: int) -> Iterator[Page]:
        """The page, from 1; closed at once after use, because a file may have thousands.

        Raises:
            LoadError: it is damaged.
        """
        import pypdfium2

        try:
            page = Page(self._pdf[number - 1])
        except pypdfium2.PdfiumError as error:
            raise LoadError(f"is a damaged PDF file: page {number} cannot be opened") from error
        try:
            yield page
        finally:
            page.close()

    def metadata(self, key: str) -> str:
        """What the file states under the key, "" where nothing; half a character may be in it."""
        import pypdfium2.raw as pdfium

        # pypdfium2's own method fails on half a character.
        length = pdfium.FPDF_GetMetaText(self._pdf, key.encode(), None, 0)
        buffer = ctypes.create_string_buffer(length)
        pdfium.FPDF_GetMetaText(self._pdf, key.encode(), buffer, length)
        return buffer.raw.decode("utf-16-le", "surrogatepass").rstrip("\0")


@contextmanager
def opened(data: bytes) -> Iterator[Pdf]:
    """The file, which nobody else opens meanwhile.

    Raises:
        LoadError: it is damaged, or needs a password.
    """
    import pypdfium2

    with _LOCK:
        try:
            pdf = pypdfium2.PdfDocument(data)
        except pypdfium2.PdfiumError as error:
            if getattr(error, "err_code", None) == _WRONG_PASSWORD:
                raise LoadError("is protected by a password; save it without one") from error
            raise LoadError("is a damaged PDF file: PDFium cannot open it") from error
        try:
            yield Pdf(pdf)
        finally:
            pdf.close()
