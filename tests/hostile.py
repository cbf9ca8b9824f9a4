"""Documents made to do harm, or that look so; each is written by a few lines, and none is kept."""

import copy
import os
import socket
import struct
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

Writer = Callable[[Path], object]

_TYPES = (
    '<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-'
    'types"><Default Extension="xml" ContentType="application/xml"/></Types>'
)
_WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_LAUGHS = "".join(
    f'<!ENTITY laugh{n} "{f"&laugh{n - 1};" * 10 if n else "ha"}">' for n in range(12)
)
_SECRET = '<!ENTITY secret SYSTEM "file:///etc/passwd">'


def body(text: str, *, attribute: str = "", entities: str = "") -> bytes:
    """A DOCX file's main part."""
    doctype = f"<!DOCTYPE d [{entities}]>" if entities else ""
    return (
        f'<?xml version="1.0"?>{doctype}<w:document xmlns:w="{_WORD}"><w:body>'
        f"<w:p><w:r><w:t{attribute}>{text}</w:t></w:r></w:p></w:body></w:document>"
    ).encode()


def docx(path: Path, main: bytes, **parts: bytes) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as container:
        container.writestr("[Content_Types].xml", _TYPES)
        container.writestr("word/document.xml", main)
        for name, content in parts.items():
            container.writestr(name.replace("__", "/") + ".xml", content)


def docx_bomb(path: Path, megabytes: int = 300) -> None:
    """One part that unpacks to much."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as container:
        container.writestr("[Content_Types].xml", _TYPES)
        with container.open("word/document.xml", "w", force_zip64=True) as stream:
            for _ in range(megabytes):
                stream.write(b" " * 2**20)


def docx_of_overlapping_parts(path: Path) -> None:
    """Many entries of the directory, all of the same packed bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as container:
        container.writestr("word/document.xml", body("x" * 2**20))
        entry = container.infolist()[0]
        for number in range(300):
            again = copy.copy(entry)
            again.filename = f"word/part{number}.xml"
            container.filelist.append(again)


def docx_swollen(path: Path, megabytes: int) -> None:
    """A small file with much text in it, honestly declared."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as container:
        container.writestr("[Content_Types].xml", _TYPES)
        with container.open("word/document.xml", "w") as stream:
            start, end = body("|").split(b"|")
            stream.write(start)
            for _ in range(megabytes):
                stream.write(b"swollen " * (2**20 // 8) + b"</w:t><w:t>")
            stream.write(end)


def pdf(objects: Sequence[bytes], trailer: bytes = b"/Root 1 0 R") -> bytes:
    """A PDF file of these objects, numbered from 1."""
    out = bytearray(b"%PDF-1.7\n")
    places = []
    for number, content in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    out += b"trailer\n<</Size %d %s>>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, trailer, start)
    return bytes(out)


def stream(content: bytes, more: bytes = b"") -> bytes:
    return b"<</Length %d %s>>stream\n%s\nendstream" % (len(content), more, content)


_CATALOG = b"<</Type/Catalog/Pages 2 0 R>>"
_FONT = b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"
_BOX = b"/MediaBox[0 0 600 800]"


def written(text: bytes) -> bytes:
    return b"BT /F 12 Tf 50 700 Td (%s) Tj ET" % text


def pdf_of_pages(pages: int, text: bytes = b"A page of many.") -> bytes:
    """So many pages, all with the same content."""
    kids = b" ".join(b"%d 0 R" % (number + 5) for number in range(pages))
    page = b"<</Type/Page/Parent 2 0 R%s/Contents 4 0 R/Resources<</Font<</F 3 0 R>>>>>>" % _BOX
    tree = b"<</Type/Pages/Count %d/Kids[%s]>>" % (pages, kids)
    return pdf([_CATALOG, tree, _FONT, stream(written(text)), *[page] * pages])


def pdf_whose_pages_are_their_own_parents() -> bytes:
    tree = b"<</Type/Pages/Count 9/Parent 2 0 R/Kids[2 0 R 3 0 R]>>"
    return pdf([_CATALOG, tree, b"<</Type/Pages/Count 9/Kids[2 0 R 3 0 R]>>"])


def pdf_that_draws_itself(times: int = 1) -> bytes:
    """A form that contains itself so often, drawn on a page with some words."""
    page = (
        b"<</Type/Page/Parent 2 0 R%s/Contents 5 0 R"
        b"/Resources<</Font<</F 4 0 R>>/XObject<</X 6 0 R>>>>>>" % _BOX
    )
    form = stream(
        b"/X Do " * times,
        b"/Type/XObject/Subtype/Form/BBox[0 0 9 9]/Resources<</XObject<</X 6 0 R>>>>",
    )
    tree = b"<</Type/Pages/Count 1/Kids[3 0 R]>>"
    content = stream(written(b"The page draws itself.") + b" /X Do")
    return pdf([_CATALOG, tree, page, _FONT, content, form])


def pdf_whose_length_is_itself() -> bytes:
    page = b"<</Type/Page/Parent 2 0 R%s/Contents 4 0 R>>" % _BOX
    content = b"<</Length 4 0 R>>stream\nBT ET\nendstream"
    return pdf([_CATALOG, b"<</Type/Pages/Count 1/Kids[3 0 R]>>", page, content])


def pdf_whose_tables_follow_each_other() -> bytes:
    data = pdf([_CATALOG, b"<</Type/Pages/Count 0/Kids[]>>"])
    start = data.index(b"xref\n")
    return data.replace(b"/Root", b"/Prev %d /Root" % start)


def pdf_with_a_password(path: Path, user: str) -> None:
    import pypdf

    writer = pypdf.PdfWriter(pypdf.PdfReader(_plain(path)))
    writer.encrypt(user_password=user, owner_password="owner", algorithm="RC4-128")
    writer.write(path)
    path.with_suffix(".plain").unlink()


def _plain(path: Path) -> Path:
    plain = path.with_suffix(".plain")
    plain.write_bytes(pdf_of_pages(1, b"The owner lets everybody read."))
    return plain


def html_nested(depth: int) -> str:
    return f"<html><body>{'<div>' * depth}The bottom.{'</div>' * depth}</body></html>"


def folders_nested(path: Path, depth: int) -> None:
    """A folder so deep that its files have no name that the system takes whole."""
    path.mkdir()
    here = os.open(".", os.O_RDONLY)
    try:
        os.chdir(path)
        for _ in range(depth):
            Path("d").mkdir()
            os.chdir("d")
        Path("bottom.txt").write_text("At the bottom.")
    finally:
        os.fchdir(here)
        os.close(here)


def unix_socket(path: Path) -> None:
    """An address that nobody listens at any more."""
    here = os.open(".", os.O_RDONLY)
    try:
        os.chdir(path.parent)  # An address may have 108 characters.
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    finally:
        os.fchdir(here)
        os.close(here)


def sparse(path: Path, size: int) -> None:
    path.touch()
    os.truncate(path, size)


def not_utf8(path: Path) -> Path:
    return Path(os.fsdecode(os.fsencode(path.parent) + b"/na\xefve " + os.fsencode(path.name)))


def zip_that_lies(path: Path) -> None:
    """A DOCX file whose directory says that its part is small."""
    docx(path, body("x" * 5_000_000))
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x01\x02")
    data[at + 24 : at + 28] = struct.pack("<I", 100)
    path.write_bytes(data)


LAUGHING_DOCX = body("&laugh11;", entities=_LAUGHS)
LAUGHING_ATTRIBUTE = body("Words.", attribute=' w:x="&laugh11;"', entities=_LAUGHS)
LEAKING_DOCX = body("Words &secret; more.", entities=_SECRET)
LAUGHING_HTML = f"<!DOCTYPE html [{_LAUGHS}]><html><body><p>&laugh11; Words.</p></body></html>"
LAUGHING_XML = f'<?xml version="1.0"?><!DOCTYPE d [{_LAUGHS}{_SECRET}]><d>&laugh11; &secret;</d>'
