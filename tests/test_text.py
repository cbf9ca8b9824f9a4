"""Plain text: nothing lost, nothing guessed in silence, offsets exact."""

import codecs
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.errors import LoadError
from corpus.load import load as load_bytes
from corpus.records import Document
from corpus.text import decode

NOTE = "Überraschend viele Gäste: 1 234 € für Äpfel, Öl und Süßes – „gut“, sagte Zoë.\n" * 6
RUSSIAN = "Пятьдесят восемь человек рассказали о своём уходе публично, сообщает центр.\n" * 6


def load(path: Path) -> Sequence[Document]:
    return load_bytes(path, path.read_bytes()).documents


def write(folder: Path, data: bytes, name: str = "note.txt") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


@settings(max_examples=200)
@given(
    st.text(
        st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=300
    ),
    st.data(),
)
def test_a_slice_of_the_text_is_a_slice_of_the_file(
    tmp_path_factory: pytest.TempPathFactory, text: str, data: st.DataObject
) -> None:
    path = write(tmp_path_factory.mktemp("load"), text.encode("utf-8"))
    if all(character.isspace() or character == "\ufeff" for character in text):
        with pytest.raises(LoadError, match="no text"):
            load(path)
        return
    if text.encode().startswith((codecs.BOM_UTF16_LE, b"%PDF-", b"PK\x03\x04", b"GIF8", b"%!PS")):
        return
    (document,) = load(path)
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    # Read back through the file's bytes, independently of our text.
    before = len(text[:start].encode("utf-8"))
    length = len(text[start:end].encode("utf-8"))
    assert path.read_bytes()[before : before + length].decode("utf-8") == document.text[start:end]
    assert document.line(start) == len(
        path.read_bytes()[:before].replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    ) - (text[:start].endswith("\r") and text[start : start + 1] == "\n")


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_newlines_stay_and_lines_count(tmp_path: Path, newline: str) -> None:
    text = newline.join(["one", "two", "", "four 58", "five\x0bstill\u2028five"])
    (document,) = load(write(tmp_path, text.encode()))
    assert document.text == text
    assert document.line(text.index("58")) == 4
    assert document.line(len(text) - 1) == 5


@pytest.mark.parametrize(
    ("mark", "codec"),
    [
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
    ],
)
def test_a_byte_order_mark_decides_and_stays(tmp_path: Path, mark: bytes, codec: str) -> None:
    (document,) = load(write(tmp_path, mark + "Title\n\n58 élan".encode(codec)))
    assert (document.text, document.encoding) == ("\ufeffTitle\n\n58 élan", codec)
    assert document.title == "Title"


@pytest.mark.parametrize(
    ("text", "codec"),
    [
        (NOTE, "cp1252"),
        ("Où êtes-vous allé à Noël ? Le garçon a déjà mangé.", "cp1252"),
        ("The price is £500, a naïve café.", "cp1252"),
        ("Mężczyzna powiedział, że rząd przyjął ustawę w środę, a później wyjechał.", "cp1250"),
        (RUSSIAN, "cp1251"),
        (RUSSIAN, "koi8-r"),
        ("政府は昨日、新しい政策を発表した。首相は記者会見で述べた。" * 6, "shift_jis"),
        ("政府は昨日、新しい政策を発表した。", "iso2022_jp"),
        ("The report names 58 people.\n", "utf-16-le"),
        ("The report names 58 people.\n", "utf-16-be"),
        ("The report names 58 people.\n", "utf-32-le"),
        ("The report names 58 people.\n", "utf-32-be"),
    ],
)
def test_old_encodings_are_found_and_recorded(tmp_path: Path, text: str, codec: str) -> None:
    data = text.encode(codec)
    (document,) = load(write(tmp_path, data))
    assert document.encoding is not None
    assert document.text.encode(document.encoding) == data
    assert document.text == text


LEGACY = {
    "cp1252 mac-roman": NOTE,
    "cp437 cp850 iso8859-15": "Où êtes-vous allé à Noël ? Le garçon a déjà mangé.",
    "cp1250 iso8859-2 cp852": "Mężczyzna powiedział, że rząd przyjął ustawę w środę, a później.",
    "cp1251 koi8-r cp866 iso8859-5 mac-cyrillic": RUSSIAN,
    "cp1253 iso8859-7 cp737": "Ο υπουργός είπε ότι το μέτρο θα ισχύσει από αύριο σε όλη τη χώρα.",
    "cp1254 iso8859-9": "Bakan, yeni önlemin yarın ülke çapında geçerli olacağını söyledi.",
    "cp1255": "השר אמר כי הצעד החדש ייכנס לתוקף ממחר בכל רחבי הארץ.",
    "cp1256 iso8859-6": "قال الوزير إن القرار الجديد سيدخل حيز التنفيذ غدا في جميع أنحاء البلاد.",
    "cp874": "รัฐมนตรีกล่าวว่ามาตรการใหม่จะมีผลบังคับใช้ทั่วประเทศตั้งแต่วันพรุ่งนี้เป็นต้นไป",
    "shift_jis euc_jp": "政府は昨日、新しい政策を発表した。首相は記者会見でそのように述べた。",
    "gb18030 gbk": "部长昨天在新闻发布会上说，新的措施将从明天起在全国范围内实施。",
    "big5": "部長昨天在記者會上說，新的措施將從明天起在全國各地實施。",
    "euc_kr johab": "장관은 어제 기자회견에서 새로운 조치가 내일부터 전국에서 시행된다고 말했다.",
}


@given(
    st.sampled_from([(codec, text) for codecs, text in LEGACY.items() for codec in codecs.split()]),
    st.integers(0, 40),
    st.integers(24, 400),
)
def test_no_old_encoding_is_taken_for_damaged_utf_8(
    one: tuple[str, str], start: int, size: int
) -> None:
    """Wherever a piece is cut from it, and whatever of UTF-8 stands in it by chance."""
    (codec, text), said = one, ""
    try:
        decode((text * 9)[start : start + size].encode(codec))
    except LoadError as error:
        said = str(error)
    assert "is UTF-8 but" not in said


@given(
    st.text("é€漢😀ж", min_size=8, max_size=40),
    st.text("ab \n", max_size=9),
    st.floats(0, 1),
    st.sampled_from(["cut", "lost", *(bytes([byte]) for byte in range(0x80, 0x100))]),
)
def test_damaged_utf_8_is_never_read_as_something_else(
    foreign: str, plain: str, place: float, damage: str | bytes
) -> None:
    """A file cut in the middle of a character, a byte lost or one too many, made Léa LÃ©a."""
    data = (plain.join(foreign) + plain).encode()
    at = int(place * len(data))
    if isinstance(damage, bytes):
        data = data[:at] + damage + data[at:]
    else:
        data = data[:at] + (b"" if damage == "cut" else data[at + 1 :])
    try:
        data.decode()
    except UnicodeDecodeError as error:
        if sum(character > "\x7f" for character in data.decode(errors="ignore")) > 5:
            with pytest.raises(LoadError, match=f"is UTF-8 but for byte .* at {error.start};"):
                decode(data)


def test_a_mark_says_that_it_is_utf_8() -> None:
    with pytest.raises(LoadError, match="is UTF-8 but for byte 0xe9 at 6;"):
        decode(codecs.BOM_UTF8 + b"caf\xe9")


@pytest.mark.parametrize(
    ("data", "name", "reason"),
    [
        (b"", "a.txt", "no text"),
        (b" \r\n\t", "a.md", "no text"),
        (b"%PDF-1.7 ...", "a.txt", "PDF"),
        (b"PK\x03\x04....", "a.docx", "damaged DOCX"),
        (b"PK\x03\x04....", "a.txt", "zip"),
        (bytes(range(256)) * 20, "a.bin", "not"),
        (b"abc\x00def", "a.dat", "control character U\\+0000 at character 3"),
        (codecs.BOM_UTF16_LE + b"\x00\xd8", "a.txt", "starts like utf-16-le"),
    ],
)
def test_what_is_no_text_says_why(tmp_path: Path, data: bytes, name: str, reason: str) -> None:
    with pytest.raises(LoadError, match=reason):
        load(write(tmp_path, data, name))


def test_nothing_at_all_is_utf_8() -> None:
    """No byte of it is zero; it was taken for UTF-32."""
    assert decode(b"") == ("", "utf-8", False)


def test_a_text_file_may_hold_nul(tmp_path: Path) -> None:
    (document,) = load(write(tmp_path, b"a\x00bc 58"))
    assert document.text == "a\x00bc 58"


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("# The report #\n\nText.", "The report"),
        ("Headline without stop\n\nText.", "Headline without stop"),
        ("A first sentence.\nAnother.", "note"),
        ("x" * 500 + "\nmore", "note"),
        ("only line", "note"),
    ],
)
def test_titles(tmp_path: Path, text: str, title: str) -> None:
    assert load(write(tmp_path, text.encode()))[0].title == title


def test_ids_are_stable_over_edits_and_differ_by_path(tmp_path: Path) -> None:
    first = load(write(tmp_path, b"one 1"))[0]
    second = load(write(tmp_path, b"two 2"))[0]
    other = load(write(tmp_path, b"one 1", "other.txt"))[0]
    assert first.id == second.id != other.id
    assert first.sha256 == other.sha256 != second.sha256
    assert len(first.id) == 16
