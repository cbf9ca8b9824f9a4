"""Text put together from the marked-up pieces of a page or a word processor's file."""

import re

__all__ = ["CELL_END", "Blocks"]

CELL_END = " | "
"""What parts the cells of a table's row."""
_SPACES = re.compile(r"[ \t\n\r\f\v]+")


class Blocks:
    """Paragraphs parted by blank lines; table rows and list items by line ends.

    A table row is one line, its cells parted by " | ", so that a question finds
    the cells of a row together. A table within a cell is part of that cell.
    """

    def __init__(self) -> None:
        self._blocks: list[str] = []
        self._gaps: list[str] = []
        self._tight_before = False
        self._inline: list[str] = []
        self._cells: list[list[str]] = []
        self._outside: list[str] = []
        self._rows = 0

    def __len__(self) -> int:
        return len(self._blocks)

    def add(self, text: str | None, *, verbatim: bool = False) -> None:
        """Go on with the current block; runs of white space become one space unless `verbatim`."""
        if text and not verbatim:
            text = _SPACES.sub(" ", text)
            if self._inline and self._inline[-1][-1:].isspace():
                text = text.removeprefix(" ")
        if text:
            self._inline.append(text)

    def line_break(self) -> None:
        """Go on in a new line of the current block."""
        if self._inline:
            self._inline[-1] = self._inline[-1].rstrip(" ")
        self._inline.append("\n")

    def end(self, *, tight: bool = False) -> None:
        """End the current block; a tight one, such as a list item, stands close to the next."""
        if self._rows:
            self._inline.append(" ")
        else:
            text = "".join(self._inline).strip()
            self._inline.clear()
            self._append(text, tight=tight)

    def start_row(self) -> None:
        """Begin a table's row."""
        if not self._rows:
            self.end(tight=True)
            self._cells = []
        self._rows += 1
        self.end_cell()

    def start_cell(self) -> None:
        """Begin a row's next cell."""
        self.end()
        if self._rows == 1:
            self._inline = []
            self._cells.append(self._inline)

    def end_cell(self) -> None:
        """End the cell; what stands in a row outside its cells is shown before it."""
        self.end()
        if self._rows == 1:
            self._inline = self._outside

    def end_row(self) -> None:
        """End the row; empty cells at its end leave nothing."""
        self._rows -= 1
        if self._rows:
            return
        self._inline, self._outside = self._outside, []
        self.end(tight=True)
        cells = [_SPACES.sub(" ", "".join(cell)).strip() for cell in self._cells]
        while cells and not cells[-1]:
            cells.pop()
        self._append(_SPACES.sub(" ", CELL_END.join(cells)).strip(), tight=True)

    def close(self) -> list[str]:
        """End all that is open; every block, in order."""
        self._rows = 0
        self.end()
        return self._blocks

    def text(self, first: int = 0, stop: int | None = None) -> str:
        """The blocks from `first` to before `stop`, all by default, with what parts them."""
        self.close()
        blocks, gaps = self._blocks[first:stop], self._gaps[first:stop]
        return "".join(blocks[:1]) + "".join(
            gap + block for gap, block in zip(gaps[1:], blocks[1:], strict=True)
        )

    def _append(self, text: str, *, tight: bool) -> None:
        if not text:
            self._tight_before &= tight
            return
        self._blocks.append(text)
        self._gaps.append("\n" if tight and self._tight_before else "\n\n")
        self._tight_before = tight
