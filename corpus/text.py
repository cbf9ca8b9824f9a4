"""Plain text and Markdown: the file's bytes, decoded. Other text formats decode here too.

Nothing is decoded with errors ignored, and the codec is recorded. Newlines stay
as they are, a byte order mark stays, Markdown keeps its markup: so every offset
in the text is a place in the file.
"""

import codecs
import re
from contextlib import suppress
from datetime import date

from corpus.errors import LoadError
from corpus.extract import Columns, Extract, Reading

__all__ = ["decode", "headline", "read_text", "read_unknown", "stated_day", "stated_title", "whole"]

# UTF-32 first: its little-endian mark starts with UTF-16's.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_WESTERN = "cp1252"
_MISTAKEN_FOR_WESTERN = {
    "cp1250", "cp1257", "cp775", "cp852", "hp_roman8", "iso8859_2", "iso8859_4", "iso8859_10",
    "iso8859_13", "iso8859_16", "mac_latin2",
}  # fmt: skip
"""What charset-normalizer answers for French, Spanish or English text in cp1252. It is overruled
where cp1252 is plausible too and it has not clearly recognised one of these languages:"""
_CENTRAL_EUROPEAN = {"Croatian", "Czech", "Hungarian", "Polish", "Romanian", "Slovak", "Slovene"}
_COHERENT = 0.5
_WESTERN_BYTES = re.compile(rb"[^\x81\x8d\x8f\x90\x9d]*")
"""What cp1252 has characters for."""
_EAST_ASIAN = ("big5", "cp932", "cp949", "cp950", "euc_", "gb", "johab", "shift_jis")
_FEW = 8
_FEW_SHARE = 0.05
"""Text of a language that is written in several bytes a character has more bytes above ASCII than
this many; a lone degree sign or apostrophe before a letter is like one of its characters."""
_ESCAPES = ((b"\x1b$)C", "iso2022_kr"), (b"\x1b$", "iso2022_jp_2"))
"""Codecs of seven bits, which look like ASCII but for their escapes."""
_ASCII = bytes(range(0x80))
_SEQUENCES = re.compile(
    rb"[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]{2}"
    rb"|\xed[\x80-\x9f][\x80-\xbf]|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}"
    rb"|\xf4[\x80-\x8f][\x80-\xbf]{2}"
)
"""What UTF-8 makes of a character above ASCII."""
_WIDE_SHARE = 0.2
"""More than so many bytes of Western text are zero when each character has two or four."""
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_HEADING = re.compile(r"#{1,6}\s+(?P<title>.+?)\s*#*\s*$")
_TITLE_CHARS = 120
_DAY = re.compile(r"(?:D:)?(\d{4})-?(\d\d)-?(\d\d)")
_JUNK_TITLE = re.compile(
    r"untitled.*|unnamed|document ?\d*|microsoft \w+ - .*|.*\.(docx?|pdf|tex|dvi|indd|p65)"
    r"|(word|powerpoint) (document|presentation)",
    re.IGNORECASE,
)


def read_text(data: bytes, _: Columns) -> Reading:
    """A file that calls itself text: odd control characters are taken as meant."""
    text, encoding, guessed = decode(data)
    if guessed:
        _require_text(text)
    return _reading(text, encoding)


def read_unknown(data: bytes, _: Columns) -> Reading:
    """A file of unknown extension: text when it decodes and holds no control characters."""
    text, encoding, _guessed = decode(data)
    _require_text(text)
    return _reading(text, encoding)


def decode(data: bytes, declared: str | None = None) -> tuple[str, str, bool]:
    """The text, the codec that it was decoded with, strictly, and whether that was a guess.

    Args:
        data: the file's bytes.
        declared: the codec that the file names itself; used where the bytes bear it out.

    Raises:
        LoadError: no codec fits, or it is UTF-8 with damage.
    """
    marked = next((codec for mark, codec in _MARKS if data.startswith(mark)), None)
    if marked and marked != "utf-8":
        try:
            return whole(data.decode(marked)), marked, False
        except UnicodeDecodeError as error:
            raise LoadError(f"starts like {marked} but is not: {error.reason}") from error
    if declared and not marked:
        try:
            return whole(data.decode(declared)), declared, False
        except (UnicodeDecodeError, LookupError):
            pass  # Pages lie about their encoding; the bytes decide.
    if codec := _unmarked_codec(data):
        return whole(data.decode(codec)), codec, True
    try:
        return whole(data.decode("utf-8")), "utf-8", False
    except UnicodeDecodeError as error:
        if marked or _is_mostly_utf8(data):
            # Any codec of one byte a character would read it, and read "Ã©" for every "é".
            raise LoadError(
                f"is UTF-8 but for byte {data[error.start]:#04x} at {error.start}; it was cut off"
                " there, or put together from files of two encodings: mend that character and"
                " save it as UTF-8"
            ) from error
        codec = _legacy_codec(data, error)
    return whole(data.decode(codec)), codec, True


def whole(text: str) -> str:
    """The text with lone surrogates, which no encoder accepts, as U+FFFD, one for one."""
    return _SURROGATE.sub("\ufffd", text)


def headline(text: str) -> str | None:
    """The first heading or headline: a short first line that is no sentence."""
    first, _, rest = text.lstrip("\ufeff \t\r\n").partition("\n")
    if len(first) > 4 * _TITLE_CHARS:
        return None
    first = " ".join(first.split())  # Of signs that end lines elsewhere, too.
    if heading := _HEADING.match(first):
        return heading["title"]
    if (
        rest.strip()
        and len(first) <= _TITLE_CHARS
        and not first.endswith((".", "!", ":", ",", ";"))
    ):
        return first or None
    return None


def stated_title(title: str) -> str | None:
    """The title that a file states, unless a program put it there by itself."""
    title = whole(" ".join(_CONTROL.sub(" ", title).split()))
    return title if title and not _JUNK_TITLE.fullmatch(title) else None


def stated_day(written: str) -> str | None:
    """The day at the beginning of a date that a file states, if there is such a day."""
    if match := _DAY.match(written.strip()):
        with suppress(ValueError):
            return date(*map(int, match.groups())).isoformat()
    return None


def _reading(text: str, encoding: str) -> Reading:
    return Reading([Extract(text, headline(text), encoding=encoding, line_anchors=((0, 1),))])


def _require_text(text: str) -> None:
    if control := _CONTROL.search(text):
        raise LoadError(
            f"is not text: it has the control character U+{ord(control[0]):04X}"
            f" at character {control.start()}"
        )


def _unmarked_codec(data: bytes) -> str | None:
    """A codec whose bytes would be taken for UTF-8, but say by themselves that they are not."""
    candidates = [codec for escape, codec in _ESCAPES if escape in data]
    if data.count(0) > _WIDE_SHARE * len(data):
        big_endian = data[0::2].count(0) > data[1::2].count(0)
        candidates += ["utf-32-be", "utf-16-be"] if big_endian else ["utf-32-le", "utf-16-le"]
    for codec in candidates:
        with suppress(UnicodeDecodeError):
            if not _CONTROL.search(data.decode(codec)):
                return codec
    return None


def _is_mostly_utf8(data: bytes) -> bool:
    """Whether more is well-formed above ASCII than there are bytes that are not.

    In other encodings such sequences come about by chance, and are outnumbered.
    """
    rest, sequences = _SEQUENCES.subn(b"", data)
    return sequences > len(rest.translate(None, delete=_ASCII))


def _legacy_codec(data: bytes, error: UnicodeDecodeError) -> str:
    """The codec that most likely wrote these bytes, which are not UTF-8."""
    from charset_normalizer import from_bytes

    matches = from_bytes(data)
    best = matches.best()
    if best is None:
        raise LoadError(
            f"is not UTF-8 (byte {data[error.start]:#04x} at {error.start}) and no other"
            " encoding fits; save it as UTF-8"
        )
    plausible = {codec for match in matches for codec in match.could_be_from_charset}
    high = sum(byte >= 0x80 for byte in data)
    if (
        high <= _FEW
        and high < _FEW_SHARE * len(data)
        and best.encoding.startswith(_EAST_ASIAN)
        and _WESTERN_BYTES.fullmatch(data)
    ):
        return _WESTERN
    recognised = best.language in _CENTRAL_EUROPEAN and best.coherence >= _COHERENT
    if best.encoding in _MISTAKEN_FOR_WESTERN and _WESTERN in plausible and not recognised:
        return _WESTERN
    return best.encoding
