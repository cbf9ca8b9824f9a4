"""Make the PDF and DOCX documents of the sample from their text sources.

The sources are `tests/data/sample_sources/NAME.pdf.md` and `NAME.docx.md`, in a small part of
Markdown: blocks parted by blank lines. The first block is `# Title`, the second the byline,
`AUTHOR, PUBLICATION, DAY MONTH YEAR`; then come `## Heading`, paragraphs and pipe tables.
The same sources give the same bytes on every run.

    python tests/make_sample.py [DIR]
"""

import os
import sys
import zipfile
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any
from unittest import mock
from xml.sax.saxutils import escape

import docx
from reportlab.lib import colors
from reportlab.lib.enums import TA_JUSTIFY, TA_LEFT
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.platypus import BaseDocTemplate, Frame, PageTemplate, Paragraph, Table, TableStyle

SOURCES = Path(__file__).parent / "data" / "sample_sources"
SAMPLE = Path(__file__).parent.parent / "corpus" / "sample"
ZIP_TIME = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Article:
    """A source, parsed: every block of the body is a heading, a paragraph or a table's rows."""

    title: str
    byline: str
    author: str
    published: datetime
    body: list[tuple[str, Any]]


@dataclass(frozen=True)
class Layout:
    """How a PDF looks."""

    columns: int = 1
    font: str = "Times-Roman"
    bold: str = "Times-Bold"
    alignment: int = TA_JUSTIFY


LAYOUTS = {
    "emergency-call-outage-regulator-findings": Layout(
        font="Helvetica", bold="Helvetica-Bold", alignment=TA_LEFT
    ),
    "marathon-lisgard-short-course": Layout(columns=2),
}
"""Of the PDFs that are not one justified column of Times."""


def read(path: Path) -> Article:
    title, byline, *blocks = path.read_text(encoding="utf-8").strip().split("\n\n")
    author, _, date = byline.split(", ")
    return Article(
        title=title.removeprefix("# "),
        byline=byline,
        author=author,
        published=datetime.strptime(date, "%d %B %Y").replace(tzinfo=UTC),
        body=[parse(block) for block in blocks],
    )


def parse(block: str) -> tuple[str, Any]:
    if block.startswith("## "):
        return "heading", block.removeprefix("## ")
    if block.startswith("|"):
        header, _, *rows = [
            [cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()
        ]
        return "table", [header, *rows]
    return "paragraph", block


def write_pdf(article: Article, layout: Layout, path: Path) -> None:
    size, leading = 10.5, 16
    text = ParagraphStyle(
        "text", fontName=layout.font, fontSize=size, leading=leading, alignment=layout.alignment
    )
    text.spaceAfter = leading / 2
    cell = ParagraphStyle("cell", text, leading=13, alignment=TA_LEFT, spaceAfter=0)
    head = ParagraphStyle("head", cell, fontName=layout.bold)
    heading = ParagraphStyle("heading", head, fontSize=12.5, leading=17, spaceBefore=8)
    heading.spaceAfter, heading.keepWithNext = 4, True
    title = ParagraphStyle("title", head, fontSize=19, leading=24, spaceAfter=10)
    byline = ParagraphStyle("byline", cell, textColor=colors.dimgrey, spaceAfter=14)

    story: list[Any] = [
        Paragraph(escape(article.title), title),
        Paragraph(escape(article.byline), byline),
    ]
    for kind, content in article.body:
        if kind == "table":
            cells = [
                [Paragraph(escape(value), cell if number else head) for value in row]
                for number, row in enumerate(content)
            ]
            everywhere = (0, 0), (-1, -1)
            grid = TableStyle(
                [("GRID", *everywhere, 0.5, colors.grey), ("VALIGN", *everywhere, "TOP")]
            )
            story.append(Table(cells, style=grid, spaceBefore=4, spaceAfter=12))
        else:
            story.append(Paragraph(escape(content), heading if kind == "heading" else text))

    width, height = A4
    margin, bottom, gap = 28 * mm, 30 * mm, 9 * mm
    column = (width - 2 * margin - gap * (layout.columns - 1)) / layout.columns
    frames = [
        Frame(margin + i * (column + gap), bottom, column, height - bottom - margin, 0, 0, 0, 0)
        for i in range(layout.columns)
    ]

    def footer(canvas: Any, _: BaseDocTemplate) -> None:
        canvas.setFont(layout.font, 9)
        canvas.drawCentredString(width / 2, bottom / 2, str(canvas.getPageNumber()))

    document = BaseDocTemplate(
        str(path), pagesize=A4, title=article.title, author=article.author, invariant=1
    )
    document.addPageTemplates(PageTemplate(frames=frames, onPageEnd=footer))
    # ReportLab takes the date of a document that is to be the same on every run from here.
    with mock.patch.dict(os.environ, SOURCE_DATE_EPOCH=f"{article.published.timestamp():.0f}"):
        document.build(story)


def write_docx(article: Article, path: Path) -> None:
    document = docx.Document()
    document.add_heading(article.title, level=0)
    document.add_paragraph(article.byline, style="Subtitle")
    for kind, content in article.body:
        if kind == "heading":
            document.add_heading(content, level=1)
        elif kind == "paragraph":
            document.add_paragraph(content)
        else:
            table = document.add_table(len(content), len(content[0]), style="Table Grid")
            for row, values in zip(table.rows, content, strict=True):
                for cell, value in zip(row.cells, values, strict=True):
                    cell.text = value
            document.add_paragraph()

    properties = document.core_properties
    properties.title = article.title
    properties.author = properties.last_modified_by = article.author
    properties.created = properties.modified = article.published
    properties.comments = ""
    saved = BytesIO()
    document.save(saved)
    with zipfile.ZipFile(saved) as parts, zipfile.ZipFile(path, "w") as fixed:
        for name in parts.namelist():
            part = zipfile.ZipInfo(name, ZIP_TIME)
            fixed.writestr(part, parts.read(name), zipfile.ZIP_DEFLATED)


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for source in sorted(SOURCES.glob("*.md")):
        article, path = read(source), folder / source.stem
        if path.suffix == ".pdf":
            write_pdf(article, LAYOUTS.get(path.stem, Layout()), path)
        else:
            write_docx(article, path)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else SAMPLE)
